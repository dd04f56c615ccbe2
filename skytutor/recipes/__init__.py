"""Recipes: what each chapter trains and how it is scored, under one name.

A recipe joins data, network, schedule and scores, so that the same two commands serve every
chapter: ``skytutor train RECIPE`` and ``skytutor evaluate RECIPE``. One file a chapter; each adds
to `RECIPES`.
"""

from skytutor.recipes.base import (
    Recipe,
    Scores,
    card,
    check_run,
    evaluate,
    load_pretrained,
    network,
    pretrained_folder,
    pretrained_scores,
    run,
)
from skytutor.recipes.cmb import CMB
from skytutor.recipes.digits import DIGITS
from skytutor.recipes.gan import GAN
from skytutor.recipes.gan_skies import SKIES

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (*DIGITS, *GAN, SKIES, *CMB)}


def get(name: str) -> Recipe:
    """Return the recipe called `name`.

    Arguments:
        name: a key of `RECIPES`.

    Raises:
        ValueError: lists all names if there is none.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}; got {name!r}")
    return RECIPES[name]


__all__ = [
    "RECIPES",
    "Recipe",
    "Scores",
    "card",
    "check_run",
    "evaluate",
    "get",
    "load_pretrained",
    "network",
    "pretrained_folder",
    "pretrained_scores",
    "run",
]
