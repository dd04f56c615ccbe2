"""Networks of recipes: untrained, with their trained weights, and scored."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from skytutor.chapters.recipe import Recipe
from skytutor.chapters.registry import RECIPES, get
from skytutor.data.registry import DataError
from skytutor.training import checkpoint

__all__ = ["card", "describe_cards", "evaluate", "load_pretrained", "network", "pretrained_scores"]


def network(recipe: Recipe, *, seed: int = 0) -> nn.Module:
    """Return the recipe's network, untrained; the same seed gives the same weights."""
    torch.manual_seed(seed)
    return recipe.build()


def load_pretrained(recipe: Recipe | str, folder: Path | None = None) -> nn.Module:
    """Return the recipe's network with trained weights, in evaluation mode.

    Arguments:
        recipe: whose network, or its name.
        folder: where its checkpoint lies; None for the one that comes with the package.

    Raises:
        CheckpointError: no checkpoint, or a damaged one.
        ValueError: no recipe of that name; lists all, and those that are near.

    Example:
        >>> import skytutor
        >>> skytutor.load_pretrained("cmb-t3").training
        False
    """
    recipe = get(recipe) if isinstance(recipe, str) else recipe
    return _load(recipe, folder)[0]


def _load(recipe: Recipe, folder: Path | None) -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained network, in evaluation mode, and its card: the file is read once."""
    folder = checkpoint.pretrained_folder() if folder is None else Path(folder)
    weights, metadata = checkpoint.load_checkpoint(folder, recipe.name)
    model = network(recipe)
    checkpoint.load_into(model, weights, path=folder / recipe.name)
    return model.eval(), metadata


def card(recipe: Recipe, folder: Path | None = None) -> dict[str, Any]:
    """Return what a checkpoint's card says: how it was made, its history, its test scores.

    Arguments:
        recipe: whose card.
        folder: where its checkpoint lies; None for the one that comes with the package.

    Raises:
        CheckpointError: no checkpoint, or a damaged one.
    """
    folder = checkpoint.pretrained_folder() if folder is None else Path(folder)
    return checkpoint.load_checkpoint(folder, recipe.name)[1]


def describe_cards(folder: Path) -> list[Path]:
    """Write into the cards of a folder what their recipes say of inputs and outputs.

    Weights, scores and all else that the cards hold stay as they are; only the seal is made again.

    Arguments:
        folder: of checkpoints.

    Returns:
        the cards of recipes that say it, in the order of the recipes.

    Raises:
        CheckpointError: a checkpoint that is damaged, or a card that cannot be written.
    """
    written = []
    for recipe in RECIPES.values():
        path = Path(folder) / f"{recipe.name}.json"
        if recipe.question is None or not path.exists():
            continue
        # Read whole, so that a card that was altered is refused and not sealed again.
        _, metadata = checkpoint.load_checkpoint(Path(folder), recipe.name)
        checkpoint.write_card(path, metadata | recipe.question.for_card())
        written.append(path)
    return written


def evaluate(
    recipe: Recipe, *, seed: int = 0, size: int | None = None, folder: Path | None = None
) -> dict[str, Any]:
    """Load a checkpoint and score it, on the data that its card names.

    Arguments:
        recipe: to be scored.
        seed: of what is drawn for the test.
        size: test samples; None for all.
        folder: where the checkpoint lies; None for the one that comes with the package.

    Returns:
        what JSON can hold: ``recipe``, ``checkpoint``, ``seed``, ``size``, ``limit``, ``data``,
        ``scores``, ``constant`` and ``published``.

    Raises:
        CheckpointError: no checkpoint, or a damaged one.
        DataError: the test data are not here.
    """
    model, metadata = _load(recipe, folder)
    found = recipe.score(model, seed=seed, size=size, source=metadata.get("source"))
    about = {key: metadata[key] for key in ("command", "profile", "device", "date", "sha256")}
    return {
        "recipe": recipe.name,
        "checkpoint": {"file": f"{recipe.name}.safetensors", **about},
        "seed": seed,
        "size": found.size,
        "limit": recipe.limit if found.limit is None else found.limit,
        "data": found.data,
        "scores": found.scores,
        "constant": found.constant,
        "published": dict(recipe.published),
    }


def pretrained_scores(recipe: Recipe, *, size: int | None = None) -> dict[str, Any]:
    """Return the scores of the checkpoint that comes with the package.

    It is evaluated now if its test data are here; else the scores are those of its card.

    Arguments:
        recipe: whose checkpoint.
        size: test samples where it is evaluated now; None for all.

    Returns:
        the ``scores`` of `evaluate`, with ``how`` ("evaluated now on ..." or "from the card of
        DATE") and ``size``.
    """
    try:
        found = evaluate(recipe, seed=1, size=size)
        how = f"evaluated now on {found['data']}"
    except DataError:
        metadata = card(recipe)
        found = metadata["test"]
        how = f"from the card of {metadata['date'][:10]}"
    return {**found["scores"], "size": found["size"], "how": how}
