"""Studies that train many networks: seeds, universes with more or less to see, the five published.

``skytutor compute spectra-seeds``, ``spectra-universes`` and ``spectra-published`` run them and
write cards that the chapter reads. Minutes on a GPU, a day on a CPU.
"""

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra import separation_task
from skytutor.chapters.spectra.limits import LimitNetworks
from skytutor.chapters.spectra.limits_task import LimitsTask
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.observations import draw_images
from skytutor.chapters.spectra.published import NAMES, build_published
from skytutor.chapters.spectra.published_task import LatentTask, latent_rmse, scaled_bands
from skytutor.chapters.spectra.scores import (
    draw_test,
    gaussian,
    pretrained_limits,
    scores_of,
)
from skytutor.chapters.spectra.separation_task import SeparationTask
from skytutor.chapters.spectra.targets import N_LATENTS, pretrained_autoencoder
from skytutor.chapters.spectra.task import SCHEDULES, SpectrumTask, spectrum_sizes
from skytutor.chapters.spectra.weights import load_needed
from skytutor.data.galaxies import GalaxySimulator
from skytutor.training import checkpoint
from skytutor.training.loop import train
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = [
    "PUBLISHED_CARD",
    "SEEDS_CARD",
    "UNIVERSES",
    "UNIVERSES_CARD",
    "compare_published",
    "make_published",
    "make_seeds",
    "make_universes",
    "study_seed",
    "study_universe",
    "trained",
    "write_study",
]

UNIVERSES_CARD = "spectra-universes"
PUBLISHED_CARD = "spectra-published"
SEEDS_CARD = "spectra-seeds"
_N_SEEDS = 3
_SEED_TABLES = 10  # number of the training set of the first seed
# Name of a universe, and what makes its simulator.
UNIVERSES: Mapping[str, Mapping[str, Any]] = {
    "null": {"null": True},
    "gradient 0": {"gradient": 0.0},
    "gradient 1/3": {"gradient": 1 / 3},
    "gradient 2/3": {"gradient": 2 / 3},
    "gradient 1": {"gradient": 1.0},
}
_HOME = "gradient 1"  # where the weights that come with the package were trained
# Numbers of the scores that the chapter reads.
_KEPT = (
    "rmse",
    "rmse_constant",
    "rmse_colours",
    "rmse_catalogue",
    "rmse_oracle",
    "rmse_noiseless",
    "gap_closed",
    "below_catalogue",
    "above_oracle",
    "above_oracle_error",
    "gap_closed_h_alpha",
    "gap_closed_oiii",
    "sigma_nmad",
    "sigma_nmad_catalogue",
    "sigma_nmad_oracle",
)


def trained(model: nn.Module, task: Task, schedule: Schedule, *, profile: Profile) -> nn.Module:
    """Train a model and return it with the weights best by validation, in evaluation mode.

    Arguments:
        model: to be trained, in place.
        task: data, loss and score.
        schedule: how long.
        profile: device and seed.
    """
    fabric = Fabric(accelerator=profile.device.type, devices=1)
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            model,
            task,
            schedule=schedule,
            folder=Path(folder) / "run",
            seed=profile.seed,
            recipe="study",
            profile=profile.name,
            fabric=fabric,
            progress=False,
        )
    checkpoint.load_into(model, result.best)
    return model.eval().to(profile.device)


def study_universe(name: str, *, profile: Profile) -> dict[str, float | None]:
    """Train limits and network in a universe, and score both on its galaxies.

    What infers is trained from the start and on as many galaxies as the limits are, so that a
    difference between them is one of what they see. The cut into components is trained on from the
    weights that come with the package; on a CPU it stays as it is. At gradient 1, where those
    weights were trained, nothing is trained.

    Arguments:
        name: a key of `UNIVERSES`.
        profile: size, device and seed.

    Returns:
        the scores of `skytutor.chapters.spectra.scores.scores_of` that the chapter reads.

    Raises:
        ValueError: a universe that is not there.
    """
    if name not in UNIVERSES:
        raise ValueError(f"name must be one of {', '.join(UNIVERSES)}, got {name!r}")
    simulator = GalaxySimulator(**UNIVERSES[name], device=profile.device)
    network = load_needed("spectra", needed_for="the study of universes").to(profile.device)
    limits = copy.deepcopy(pretrained_limits()).to(profile.device)
    assert isinstance(network, SpectrumNetwork)
    if name != _HOME:
        torch.manual_seed(profile.seed)
        limits = LimitNetworks().to(profile.device)
        _train_limits(limits, simulator, profile=profile)
        _train_network(network, simulator, profile=profile)
    return _scored(network, simulator, limits, profile=profile)


def _scored(
    network: nn.Module, simulator: GalaxySimulator, limits: nn.Module, *, profile: Profile
) -> dict[str, float | None]:
    """Return those scores that the chapter reads, on the galaxies of a universe."""
    assert isinstance(limits, LimitNetworks)
    test = draw_test(
        gaussian(network),
        seed=SEEDS.test_seed(0),
        size=profile.pick(smoke=100, cpu=5000, gpu=50_000),
        simulator=simulator,
        limits=limits,
    )
    found = scores_of(test)
    return {key: found[key] for key in _KEPT}


def study_seed(seed: int, *, profile: Profile) -> dict[str, float | None]:
    """Train measurement and inference from the start, and score them beside the limits.

    Arguments:
        seed: of weights, batches and the table of measurements; 0 for the weights that come with
            the package.
        profile: size and device.

    Returns:
        as `study_universe`.
    """
    if seed == 0:
        return study_universe(_HOME, profile=profile)
    seeded = Profile(profile.name, profile.device, seed)
    simulator = GalaxySimulator(device=profile.device)
    limits = copy.deepcopy(pretrained_limits()).to(profile.device)
    torch.manual_seed(seed)
    recipe = separation_task.make_recipe()
    plan = recipe.schedules[profile.name]
    measurement = trained(recipe.build(), recipe.task(seeded), plan, profile=seeded)
    assert isinstance(measurement, MeasurementNetwork)
    size, n_validation = spectrum_sizes(profile)
    task = SpectrumTask(
        simulator, measurement, size=size, n_validation=n_validation, seed=_SEED_TABLES + seed
    )
    torch.manual_seed(seed)
    network = trained(SpectrumNetwork(), task, SCHEDULES[profile.name], profile=seeded)
    return _scored(network, simulator, limits, profile=profile)


def make_seeds(folder: Path, *, command: str, profile: Profile) -> Path:
    """Train the network from three seeds and write a card.

    Arguments:
        folder: where the card goes.
        command: that repeats this, for the card.
        profile: size and device.

    Returns:
        path of the card.
    """
    found = {str(seed): study_seed(seed, profile=profile) for seed in range(_N_SEEDS)}
    return write_study(folder, SEEDS_CARD, {"seeds": found}, command=command, profile=profile)


# Training in another universe: galaxies in a table and for validation, and how long.
_IN_TABLE = {"smoke": (64, 64), "cpu": (12_000, 1000), "gpu": (500_000, 20_000)}
_PLANS = {
    "smoke": Schedule(epochs=1, batch_size=32, lr=1e-3),
    "cpu": Schedule(epochs=15, batch_size=200, lr=1e-3, weight_decay=1e-2),
    "gpu": Schedule(epochs=8, batch_size=1024, lr=2e-3, weight_decay=1e-3),
}
# Training of the cut on: the same, and not on a CPU, where it would take hours.
_CUT_SIZES = {"smoke": (64, 64), "gpu": (75_000, 4000)}
_CUT_PLANS = {
    "smoke": Schedule(epochs=1, batch_size=32, lr=1e-3),
    "gpu": Schedule(epochs=2, batch_size=500, lr=1e-3, weight_decay=1e-3, autocast=True),
}


def _train_limits(limits: nn.Module, simulator: GalaxySimulator, *, profile: Profile) -> None:
    """Train limits in another universe."""
    size, n_validation = _IN_TABLE[profile.name]
    task = LimitsTask(simulator, size=size, n_validation=n_validation)
    trained(limits, task, _PLANS[profile.name], profile=profile)


def _train_network(
    network: SpectrumNetwork, simulator: GalaxySimulator, *, profile: Profile
) -> None:
    """Train the cut on, and what infers from the start, in another universe."""
    if profile.name in _CUT_PLANS:
        size, n_validation = _CUT_SIZES[profile.name]
        cut = SeparationTask(simulator, size=size, n_validation=n_validation)
        network.measurement.requires_grad_(True)
        trained(network.measurement, cut, _CUT_PLANS[profile.name], profile=profile)
        network.measurement.requires_grad_(False)
    measurement = copy.deepcopy(network.measurement)
    network.inference = SpectrumNetwork().inference.to(profile.device)
    network.started.fill_(False)
    size, n_validation = _IN_TABLE[profile.name]
    task = SpectrumTask(simulator, measurement, size=size, n_validation=n_validation)
    trained(network, task, _PLANS[profile.name], profile=profile)


def make_universes(folder: Path, *, command: str, profile: Profile) -> Path:
    """Study every universe and write a card.

    Arguments:
        folder: where the card goes.
        command: that repeats this, for the card.
        profile: size, device and seed.

    Returns:
        path of the card.
    """
    found = {name: study_universe(name, profile=profile) for name in UNIVERSES}
    return write_study(
        folder, UNIVERSES_CARD, {"universes": found}, command=command, profile=profile
    )


def compare_published(
    names: Sequence[str] = NAMES, *, seeds: Sequence[int] = (0, 1, 2), profile: Profile
) -> dict[str, dict[str, Any]]:
    """Train the published networks on one fixed set and score them on another.

    Arguments:
        names: of the networks.
        seeds: of weights and batches; one training each.
        profile: size and device.

    Returns:
        for each network ``rmse``, one for each seed, on test galaxies, and ``constant``.
    """
    simulator = GalaxySimulator(device=profile.device)
    sizes = profile.pick(smoke=(64, 64), cpu=(600, 300), gpu=(10_000, 2000))
    task = LatentTask(simulator, size=sizes[0], n_validation=sizes[1])
    rng = torch.Generator(profile.device).manual_seed(SEEDS.test_seed(0))
    autoencoder = pretrained_autoencoder(profile.device)
    n_test = profile.pick(smoke=64, cpu=300, gpu=5000)
    images, targets = draw_images(simulator, n_test, autoencoder=autoencoder, generator=rng)
    test = (scaled_bands(images), targets[:, :N_LATENTS])
    constant = float(test[1].square().mean().sqrt())
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        reached = [_published_rmse(name, seed, task, test, profile=profile) for seed in seeds]
        found[name] = {"rmse": reached, "constant": constant, "seeds": list(seeds)}
    return found


def _published_rmse(
    name: str, seed: int, task: LatentTask, test: tuple[Tensor, Tensor], *, profile: Profile
) -> float:
    """Train one published network from one seed and return its RMSE on test galaxies."""
    torch.manual_seed(seed)
    model = build_published(name, width=profile.pick(smoke=0.125, cpu=0.25, gpu=0.25))
    plan = profile.pick(
        smoke=Schedule(epochs=1, batch_size=32, lr=3e-3),
        cpu=Schedule(epochs=5, batch_size=64, lr=3e-3),
        gpu=Schedule(epochs=10, batch_size=64, lr=3e-3, weight_decay=0.01),
    )
    seeded = Profile(profile.name, profile.device, seed)
    best = trained(model, task, plan, profile=seeded)
    with torch.no_grad():
        return latent_rmse(best, *test)


def make_published(folder: Path, *, command: str, profile: Profile) -> Path:
    """Compare the published networks and write a card.

    Arguments:
        folder: where the card goes.
        command: that repeats this, for the card.
        profile: size and device.

    Returns:
        path of the card.
    """
    found = compare_published(profile=profile)
    return write_study(
        folder, PUBLISHED_CARD, {"networks": found}, command=command, profile=profile
    )


def write_study(
    folder: Path, name: str, found: dict[str, Any], *, command: str, profile: Profile
) -> Path:
    """Write a card of what a study found and of what made it; return its path.

    Arguments:
        folder: where the card goes.
        name: of the card.
        found: what JSON can hold.
        command: that repeats the study.
        profile: size, device and seed.
    """
    card = checkpoint.provenance(
        device=profile.device, seed=profile.seed, profile=profile.name, command=command
    )
    path = Path(folder) / f"{name}.json"
    checkpoint.write_card(path, card | found)
    return path
