"""Studies whose cards chapter 5 reads: which bands help, and what adversaries do to their end.

``skytutor compute bands-subsets`` scores the trained network and the oracle with every choice of
plates, infrared and ultraviolet; ``bands-adversaries`` trains the pairs.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skytutor.chapters.pretrained import card as read_card
from skytutor.chapters.pretrained import load_pretrained
from skytutor.chapters.recipe import Recipe
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.study_card import write_study
from skytutor.chapters.train import train_recipe
from skytutor.chapters.translation.adversaries import TranslationPair
from skytutor.chapters.translation.answers import Answer, TestSources, Translation, answers_on
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.pair_task import make_gan_recipe, make_pix2pix_recipe
from skytutor.chapters.translation.scores import decibels
from skytutor.chapters.translation.source_scores import flux_errors
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS
from skytutor.chapters.translation.translations import by_network, by_oracle, pretrained_oracle
from skytutor.chapters.weights import load_needed
from skytutor.data.bands import SceneSimulator
from skytutor.training.profile import Profile
from skytutor.validate import positive

__all__ = [
    "ADVERSARIES_CARD",
    "CHOICES",
    "SUBSETS_CARD",
    "Gain",
    "make_adversaries",
    "make_subsets",
    "paired_gain",
    "separation",
    "study_subsets",
]

SUBSETS_CARD = "bands-subsets"
ADVERSARIES_CARD = "bands-adversaries"
# Every choice of the three kinds of bands.
CHOICES: Mapping[str, tuple[str, ...]] = {
    **PUBLISHED,
    "infrared": ("J", "H", "K"),
    "ultraviolet": ("FUV", "NUV"),
    "infrared + ultraviolet": ("J", "H", "K", "FUV", "NUV"),
}
# What is added, and what it is added to.
_ADDED = (
    ("plates", "plates + infrared"),
    ("plates", "plates + ultraviolet"),
    ("plates", "all"),
    ("plates + infrared", "all"),
    ("plates + ultraviolet", "all"),
    ("infrared", "plates + infrared"),
    ("ultraviolet", "plates + ultraviolet"),
    ("infrared", "infrared + ultraviolet"),
    ("ultraviolet", "infrared + ultraviolet"),
)
_SCENES = {"smoke": 10, "cpu": 100, "gpu": 1000}
_SEPARATION = {"smoke": 4, "cpu": 40, "gpu": 200}  # scenes
_SPLIT = 17.0  # magnitude in r that parts bright sources from faint ones
_RESAMPLES = 2000
_SEEDS = range(3)  # of the noise-matched adversary

Gain = tuple[float, float, float]


def paired_gain(
    without: Tensor, with_more: Tensor, *, resamples: int = _RESAMPLES, seed: int = 0
) -> Gain:
    """Return by how many decibels a second score is better, and the ends of its 95 % interval.

    Scenes differ far more from each other than two translations of one scene do. So both are scored
    on the same scenes, and scenes are drawn again in pairs.

    Arguments:
        without: ``(n, ...)``, mean squared errors of n scenes.
        with_more: the same scenes translated otherwise.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ValueError: shapes that differ, fewer than two scenes, errors that are negative, not finite
            or all 0, or fewer than one resample.

    Example:
        >>> paired_gain(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.0]))[0]
        3.010299956639812
    """
    positive(resamples=resamples)
    if without.shape != with_more.shape or len(without) < 2:
        raise ValueError(
            "without and with_more must be of the same scenes, two or more, "
            f"got {tuple(without.shape)} and {tuple(with_more.shape)}"
        )
    for name, squares in (("without", without), ("with_more", with_more)):
        if not bool(((squares >= 0) & squares.isfinite()).all()) or not bool(squares.any()):
            raise ValueError(f"{name} must be finite, not negative and not all 0")
    first, second = (
        squares.double().reshape(len(squares), -1).mean(1) for squares in (without, with_more)
    )
    rng = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(first), (resamples, len(first)), generator=rng)
    ratio = first[chosen].mean(1) / second[chosen].mean(1)
    ends = (10 * ratio.log10()).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    low, high = ends.tolist()
    return 10 * math.log10(float(first.mean() / second.mean())), low, high


def _by_magnitude(answer: Answer, sources: TestSources, *, rows: list[int]) -> dict[str, Any]:
    """Return errors of the fluxes of bright and of faint sources, by band."""
    simulator_r = rows[TARGETS.index("r")]
    red = 22.5 - 2.5 * sources.flux[:, simulator_r].log10()
    truth = sources.flux[:, rows]
    groups = {"r < 17": red < _SPLIT, "r > 17": red >= _SPLIT}
    return {
        name: {
            group: vars(flux_errors(answer.flux[chosen, t], truth[chosen, t]))
            for group, chosen in groups.items()
        }
        for t, name in enumerate(TARGETS)
    }


def study_subsets(model: BandTranslator, *, n: int, seed: int) -> dict[str, Any]:
    """Score a network and the oracle with every choice of `CHOICES`, on the same scenes.

    Arguments:
        model: in evaluation mode.
        n: scenes.
        seed: of the generator that draws them.

    Returns:
        ``choices``: of each, PSNR of network and oracle and errors of fluxes by magnitude;
        ``gains``: of each pair, what is gained, with its interval, in decibels, by both.
    """
    simulator = SceneSimulator()
    oracle = pretrained_oracle()
    translations: dict[str, Translation] = {}
    for name, inputs in CHOICES.items():
        translations[f"network, {name}"] = by_network(model, inputs, TARGETS)
        translations[f"oracle, {name}"] = by_oracle(simulator, oracle, inputs, TARGETS)
    sources, answers = answers_on(simulator, translations, targets=TARGETS, n=n, seed=seed)
    rows = [simulator.bands.index(name) for name in TARGETS]
    choices: dict[str, Any] = {}
    for name in CHOICES:
        choices[name] = {}
        for who in ("network", "oracle"):
            answer = answers[f"{who}, {name}"]
            choices[name][who] = {
                "psnr": decibels(answer.squares),
                "flux": _by_magnitude(answer, sources, rows=rows),
            }
    gains = []
    for less, more in _ADDED:
        gain: dict[str, Any] = {"from": less, "to": more}
        for who in ("network", "oracle"):
            before, after = (answers[f"{who}, {name}"].squares for name in (less, more))
            gain[who] = paired_gain(before, after)
        gains.append(gain)
    return {"scenes": n, "choices": choices, "gains": gains}


def make_subsets(folder: Path, *, command: str, profile: Profile) -> Path:
    """Score every choice of bands and write a card.

    Arguments:
        folder: where the card goes.
        command: that repeats this, for the card.
        profile: size and seed.

    Returns:
        path of the card.
    """
    model = load_needed("bands", needed_for="the study of which bands help")
    assert isinstance(model, BandTranslator)
    # Seed 0 scores the network itself: the study has scenes of its own.
    found = study_subsets(model, n=_SCENES[profile.name], seed=SEEDS.test_seed(1 + profile.seed))
    return write_study(folder, SUBSETS_CARD, found, command=command, profile=profile)


def make_adversaries(folder: Path, *, command: str, profile: Profile) -> Path:
    """Train the adversaries to their end, go on where an earlier call stopped, and write a card.

    Arguments:
        folder: where the card goes, and a folder for each training.
        command: that repeats this, for the card.
        profile: size and device.

    Returns:
        path of the card.
    """
    found: dict[str, Any] = {"noise-matched": {}, "published": {}}
    for seed in _SEEDS:
        card = _trained(make_gan_recipe(), folder, profile=profile, seed=seed)
        found["noise-matched"][str(seed)] = card
    found["published"]["0"] = _trained(make_pix2pix_recipe(), folder, profile=profile, seed=0)
    return write_study(folder, ADVERSARIES_CARD, found, command=command, profile=profile)


def _trained(recipe: Recipe, folder: Path, *, profile: Profile, seed: int) -> dict[str, Any]:
    """Train a pair from a seed in a folder of its own; return history, scores and duration."""
    own = Path(folder) / f"{recipe.name}-seed{seed}"
    command = f"skytutor train {recipe.name} --profile {profile.name} --seed {seed}"
    seeded = Profile(profile.name, profile.device, seed)
    if (own / f"{recipe.name}.json").exists():
        card = read_card(recipe, own)
    else:
        _, card, _ = train_recipe(recipe, profile=seeded, folder=own, command=command, resume=True)
    found = {name: card[name] for name in ("command", "seconds", "history", "test")}
    pair = load_pretrained(recipe, own)
    assert isinstance(pair, TranslationPair)
    if seed:
        found["test"] = _rescored(recipe, pair)
    n = _SEPARATION[profile.name]
    found["separation"] = separation(pair, n=n, seed=SEEDS.test_seed(1 + profile.seed))
    return found


def _rescored(recipe: Recipe, pair: TranslationPair) -> dict[str, Any]:
    """Return scores on the scenes of seed 0: a card has those of its own seed."""
    with torch.no_grad():
        return recipe.score(pair, seed=0).for_card()


def separation(pair: TranslationPair, *, n: int, seed: int) -> dict[str, float]:
    """Return in which part of the patches a discriminator takes a survey's image for more real.

    The other image is a perfect answer: the truth without noise, and the truth as the same survey
    would see it once more. One half means that it cannot be told from the first.

    Arguments:
        pair: in evaluation mode.
        n: scenes.
        seed: of the generator that draws them.

    Returns:
        ``truth`` and ``second exposure``.
    """
    simulator = SceneSimulator()
    rng = torch.Generator().manual_seed(seed)
    seen = simulator.observe(simulator.draw(n, generator=rng), generator=rng)
    again = simulator.expose(seen.truth, generator=rng).images
    shown_images = {"survey": seen.images, "truth": seen.truth, "second exposure": again}
    outputs = {}
    for name, images in shown_images.items():
        shown = torch.cat([pair.condition(seen.images), pair.shown(images)], dim=1)
        # One at a time, for the published networks are normalised by the pixels of one image.
        with torch.no_grad():
            outputs[name] = torch.cat([pair.discriminator(one) for one in shown.split(1)])
    survey = outputs.pop("survey")
    # What looks equally real counts by one half.
    return {
        name: float(((survey > found).float() + (survey == found).float() / 2).mean())
        for name, found in outputs.items()
    }
