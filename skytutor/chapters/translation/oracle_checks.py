"""Checks of the oracle, and cards that are read beside it.

``skytutor compute bands-limits-check`` says what half of the scenes would have cost: an oracle that
has seen enough of them loses nothing. ``skytutor compute bands-limits-beside`` brings the scores of
the chapter's cards beside a new oracle.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from skytutor.chapters.pretrained import card as read_recipe_card
from skytutor.chapters.pretrained import network
from skytutor.chapters.registry import RECIPES, get
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.study_card import write_study
from skytutor.chapters.translation.answers import answers_on
from skytutor.chapters.translation.oracle_task import SCHEDULES, OracleTask, oracle_sizes
from skytutor.chapters.translation.scores import decibels, gap_closed, on_device
from skytutor.chapters.translation.source_oracle import SourceOracle
from skytutor.chapters.translation.study import ADVERSARIES_CARD, CHOICES, paired_gain
from skytutor.chapters.translation.subsets import TARGETS
from skytutor.chapters.translation.translations import LIMITS, by_oracle
from skytutor.chapters.weights import load_needed
from skytutor.data.bands import SceneSimulator
from skytutor.training import checkpoint
from skytutor.training.loop import train
from skytutor.training.profile import Profile

__all__ = ["CHECK_CARD", "beside_oracle", "compare_oracles", "make_beside", "make_limits_check"]

CHECK_CARD = "bands-limits-check"
_SCENES = {"smoke": 4, "cpu": 100, "gpu": 1000}


def compare_oracles(
    whole: SourceOracle, smaller: SourceOracle, *, n: int, seed: int, device: torch.device
) -> dict[str, Any]:
    """Return by how many decibels one oracle is better than another, for each choice of bands.

    Arguments:
        whole: in evaluation mode.
        smaller: trained on half of the scenes.
        n: scenes.
        seed: of the generator that draws them.
        device: on which they answer.

    Returns:
        by name of `CHOICES`: ``whole`` and ``half``, the PSNR; ``gain`` of the first over the
        second with the ends of its 95 % interval, over pairs of scenes; and ``next_gain``, what
        twice as many scenes would bring if what an oracle lacks falls as the inverse of their
        number: half as much.
    """
    simulator = SceneSimulator(device=device)
    with on_device(whole, device) as large, on_device(smaller, device) as small:
        translations = {}
        for name, inputs in CHOICES.items():
            for who, oracle in (("whole", large), ("half", small)):
                assert isinstance(oracle, SourceOracle)
                made = by_oracle(simulator, oracle, inputs, TARGETS)
                translations[f"{who}, {name}"] = made
        _, answers = answers_on(
            simulator, translations, targets=TARGETS, n=n, seed=seed, peaks=False
        )
    found = {}
    for name in CHOICES:
        squares = {who: answers[f"{who}, {name}"].squares for who in ("whole", "half")}
        gain = paired_gain(squares["half"], squares["whole"])
        psnr = {who: decibels(errors) for who, errors in squares.items()}
        found[name] = {**psnr, "gain": gain, "next_gain": gain[0] / 2}
    return found


def _trained_on_half(folder: Path, *, profile: Profile) -> tuple[SourceOracle, int]:
    """Train an oracle on half of the scenes in as many steps; return it and their number."""
    size, n_validation = oracle_sizes(profile)
    simulator = SceneSimulator(device=profile.device)
    task = OracleTask(simulator, size=size // 2, n_validation=n_validation)
    schedule = SCHEDULES[profile.name]
    recipe = get(LIMITS)
    result = train(
        network(recipe, seed=profile.seed),
        task,
        schedule=replace(schedule, epochs=2 * schedule.epochs),
        folder=Path(folder) / f"{LIMITS}-half",
        seed=profile.seed,
        recipe=LIMITS,
        profile=profile.name,
        fabric=Fabric(accelerator=profile.device.type, devices=1),
        resume=True,
    )
    oracle = network(recipe, seed=profile.seed)
    checkpoint.load_into(oracle, result.best)
    assert isinstance(oracle, SourceOracle)
    return oracle.eval(), size // 2


def make_limits_check(folder: Path, *, command: str, profile: Profile) -> Path:
    """Train the oracle on half of its scenes, compare it with the one there is, and write a card.

    Arguments:
        folder: where the card goes, and a folder for the training, which goes on if it was stopped.
        command: that repeats this, for the card.
        profile: size, device and seed.

    Returns:
        path of the card.
    """
    smaller, scenes = _trained_on_half(folder, profile=profile)
    whole = load_needed(LIMITS, needed_for="the check of the oracle")
    assert isinstance(whole, SourceOracle)
    n = _SCENES[profile.name]
    # Scenes of its own: no card of a recipe is scored on them.
    seed = SEEDS.test_seed(1000 + profile.seed)
    choices = compare_oracles(whole, smaller, n=n, seed=seed, device=profile.device)
    found = {"scenes": n, "trained_on": [scenes, 2 * scenes], "choices": choices}
    return write_study(folder, CHECK_CARD, found, command=command, profile=profile)


def beside_oracle(test: Mapping[str, Any], oracle: Mapping[str, Any]) -> dict[str, Any]:
    """Return the test of a translation with the scores of another oracle on the same scenes.

    Arguments:
        test: of a card of a translation.
        oracle: of the card of an oracle: its ``test``.

    Raises:
        ValueError: tests of other sizes, or of other scenes: an empty sky scores differently.
    """
    same = test["size"] == oracle["size"] and math.isclose(
        test["constant"]["psnr"], oracle["constant"]["psnr"], rel_tol=1e-6
    )
    if not same:
        raise ValueError(
            f"test must be of the oracle's {oracle['size']} scenes, got {test['size']} scenes on "
            f"which an empty sky has {test['constant']['psnr']:.4f} dB"
        )
    old, best = test["scores"], dict(oracle["scores"])
    limits = best.pop("psnr")
    scores = {**old, "oracle": best, "subsets": {}}
    for name, row in old["subsets"].items():
        closed = gap_closed(row["psnr"], old["psnr_pixelwise"], limits[name])
        scores["subsets"][name] = {**row, "psnr_oracle": limits[name], "gap_closed": closed}
    scores |= scores["subsets"]["plates"]
    return {**test, "scores": scores, "limit": {"psnr": limits["plates"]}}


def make_beside(folder: Path) -> list[Path]:
    """Bring the scores of all cards of a folder beside the oracle whose card lies there.

    What translations reach stays as it is. Only cards of the same test as the oracle's are changed,
    and the study of adversaries, which is scored on it.

    Arguments:
        folder: of checkpoints.

    Returns:
        paths of the cards that were written.

    Raises:
        CheckpointError: no oracle, a checkpoint that is damaged, or a card that cannot be written.
    """
    folder = Path(folder)
    oracle = read_recipe_card(get(LIMITS), folder)
    written = []
    for recipe in RECIPES.values():
        path = folder / f"{recipe.name}.json"
        if not recipe.name.startswith("bands") or not path.exists():
            continue
        card = read_recipe_card(recipe, folder)
        if "psnr_oracle" not in card["test"]["scores"] or card["seed"] != oracle["seed"]:
            continue
        test = beside_oracle(card["test"], oracle["test"])
        checkpoint.write_card(path, {**card, "test": test})
        written.append(path)
    path = folder / f"{ADVERSARIES_CARD}.json"
    if path.exists():
        card = checkpoint.read_card(path)
        for kind in ("noise-matched", "published"):
            for training in card[kind].values():
                training["test"] = beside_oracle(training["test"], oracle["test"])
        checkpoint.write_card(path, card)
        written.append(path)
    return written
