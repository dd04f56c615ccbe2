"""Studies whose cards chapter 5 reads: which bands help, and what adversaries do to their end.

``skytutor compute bands-subsets`` scores networks trained from several seeds and the oracle with
every choice of plates, infrared and ultraviolet; ``bands-adversaries`` trains the pairs.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skytutor.chapters.pretrained import card as read_card
from skytutor.chapters.pretrained import load_pretrained
from skytutor.chapters.recipe import Recipe
from skytutor.chapters.registry import get
from skytutor.chapters.seeds import BANDS as SEEDS
from skytutor.chapters.study_card import write_study
from skytutor.chapters.train import train_recipe
from skytutor.chapters.translation.adversaries import TranslationPair
from skytutor.chapters.translation.answers import Answer, TestSources, Translation, answers_on
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.pair_task import make_gan_recipe, make_pix2pix_recipe
from skytutor.chapters.translation.scores import decibels, on_device
from skytutor.chapters.translation.source_oracle import SourceOracle
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
# Trained from different seeds. Each further one is an hour of a processor, so the card has one.
_NETWORKS = {"smoke": 2, "cpu": 2, "gpu": 1}
_SEEDS = range(3)  # of the noise-matched adversary

Gain = tuple[float, float, float]


def paired_gain(
    without: Tensor,
    with_more: Tensor,
    *,
    networks: bool = False,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Gain:
    """Return by how many decibels a second score is better, and the ends of its 95 % interval.

    Scenes differ far more from each other than two translations of one scene do. So both are scored
    on the same scenes, and scenes are drawn again in pairs; and so are networks that were trained
    from different seeds.

    Arguments:
        without: ``(n, ...)``, mean squared errors of n scenes.
        with_more: the same scenes translated otherwise.
        networks: whether both are ``(S, n, ...)``, of S networks.
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
    axes = 2 if networks else 1
    if without.shape != with_more.shape or without.ndim < axes or without.shape[axes - 1] < 2:
        raise ValueError(
            "without and with_more must be of the same scenes, two or more, "
            f"got {tuple(without.shape)} and {tuple(with_more.shape)}"
        )
    for name, squares in (("without", without), ("with_more", with_more)):
        if not bool(((squares >= 0) & squares.isfinite()).all()) or not bool(squares.any()):
            raise ValueError(f"{name} must be finite, not negative and not all 0")
    n = without.shape[axes - 1]
    first, second = (
        squares.double().reshape(-1, n, *squares.shape[axes:]).flatten(2).mean(2)
        if squares.ndim > axes
        else squares.double().reshape(-1, n)
        for squares in (without, with_more)
    )
    rng = torch.Generator().manual_seed(seed)
    many = len(first)
    chosen = torch.randint(n, (resamples, n), generator=rng)
    again = torch.randint(many, (resamples, many), generator=rng)
    # How often each network is taken: (resamples, S).
    weights = torch.nn.functional.one_hot(again, many).double().mean(1)
    ratio = _resampled(first, chosen, weights) / _resampled(second, chosen, weights)
    ends = (10 * ratio.log10()).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    low, high = ends.tolist()
    return 10 * math.log10(float(first.mean() / second.mean())), low, high


def _resampled(squares: Tensor, scenes: Tensor, weights: Tensor) -> Tensor:
    """Return means of errors ``(S, n)`` over scenes ``(R, n)`` and weighted networks ``(R, S)``."""
    return (weights @ squares).gather(1, scenes).mean(1)


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


def study_subsets(
    models: Sequence[BandTranslator], *, n: int, seed: int, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Score networks and the oracle with every choice of `CHOICES`, on the same scenes.

    Arguments:
        models: trained from different seeds, in evaluation mode.
        n: scenes.
        seed: of the generator that draws them.
        device: on which they answer.

    Returns:
        ``choices``: of each, PSNR of the networks together (``by_network``: of each) and of the
        oracle, and errors of fluxes by magnitude, those of the first network; ``gains``: of each
        pair, what is gained, with its interval, in decibels, by both.
    """
    place = torch.device(device)
    simulator = SceneSimulator(device=place)
    translations: dict[str, Translation] = {}
    with ExitStack() as stack:
        networks = [stack.enter_context(on_device(model, place)) for model in models]
        oracle = stack.enter_context(on_device(pretrained_oracle(), place))
        assert isinstance(oracle, SourceOracle)
        for name, inputs in CHOICES.items():
            translations[f"oracle, {name}"] = by_oracle(simulator, oracle, inputs, TARGETS)
            for k, network in enumerate(networks):
                assert isinstance(network, BandTranslator)
                translations[f"{k}, {name}"] = by_network(network, inputs, TARGETS)
        sources, answers = answers_on(
            simulator, translations, targets=TARGETS, n=n, seed=seed, peaks=False
        )
    rows = [simulator.bands.index(name) for name in TARGETS]
    squares: dict[str, dict[str, Tensor]] = {"network": {}, "oracle": {}}
    choices: dict[str, Any] = {}
    for name in CHOICES:
        own = [answers[f"{k}, {name}"] for k in range(len(models))]
        best = answers[f"oracle, {name}"]
        squares["network"][name] = torch.stack([answer.squares for answer in own])
        squares["oracle"][name] = best.squares[None]
        choices[name] = {
            who: {
                "psnr": decibels(squares[who][name]),
                "flux": _by_magnitude(answer, sources, rows=rows),
            }
            for who, answer in (("network", own[0]), ("oracle", best))
        }
        choices[name]["network"]["by_network"] = [decibels(answer.squares) for answer in own]
    gains = [_gained(squares, less=less, more=more) for less, more in _ADDED]
    return {"scenes": n, "networks": len(models), "choices": choices, "gains": gains}


def _gained(squares: Mapping[str, Mapping[str, Tensor]], *, less: str, more: str) -> dict[str, Any]:
    """Return what bands bring that are added, to networks and to the oracle."""
    gain: dict[str, Any] = {"from": less, "to": more}
    for who, found in squares.items():
        gain[who] = paired_gain(found[less], found[more], networks=True)
    return gain


def make_subsets(folder: Path, *, command: str, profile: Profile) -> Path:
    """Score every choice of bands with networks of several seeds, and write a card.

    The network of seed 0 is the one there is. The others are trained, or go on where an earlier
    call stopped.

    Arguments:
        folder: where the card goes, and a folder for each training.
        command: that repeats this, for the card.
        profile: size, device and seed.

    Returns:
        path of the card.
    """
    models = [load_needed("bands", needed_for="the study of which bands help")]
    recipe = get("bands")
    for seed in range(1, _NETWORKS[profile.name]):
        own, _ = _trained(recipe, folder, profile=profile, seed=seed)
        models.append(load_pretrained(recipe, own))
    networks = [model for model in models if isinstance(model, BandTranslator)]
    # Seed 0 scores the network itself: the study has scenes of its own.
    found = study_subsets(
        networks,
        n=_SCENES[profile.name],
        seed=SEEDS.test_seed(1 + profile.seed),
        device=profile.device,
    )
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
        card = _trained_pair(make_gan_recipe(), folder, profile=profile, seed=seed)
        found["noise-matched"][str(seed)] = card
    found["published"]["0"] = _trained_pair(make_pix2pix_recipe(), folder, profile=profile, seed=0)
    return write_study(folder, ADVERSARIES_CARD, found, command=command, profile=profile)


def _trained(
    recipe: Recipe, folder: Path, *, profile: Profile, seed: int
) -> tuple[Path, dict[str, Any]]:
    """Train a recipe from a seed in a folder of its own, if it is not; return folder and card."""
    own = Path(folder) / f"{recipe.name}-seed{seed}"
    command = f"skytutor train {recipe.name} --profile {profile.name} --seed {seed}"
    seeded = Profile(profile.name, profile.device, seed)
    if (own / f"{recipe.name}.json").exists():
        return own, read_card(recipe, own)
    _, card, _ = train_recipe(recipe, profile=seeded, folder=own, command=command, resume=True)
    return own, card


def _trained_pair(recipe: Recipe, folder: Path, *, profile: Profile, seed: int) -> dict[str, Any]:
    """Train a pair from a seed; return history, scores and duration."""
    own, card = _trained(recipe, folder, profile=profile, seed=seed)
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
