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
from torch.distributions import MultivariateNormal

from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.limits import LimitNetworks
from skytutor.chapters.spectra.limits_task import LimitsTask
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.observations import draw_images
from skytutor.chapters.spectra.published import NAMES, build_published
from skytutor.chapters.spectra.published_task import LatentTask, latent_rmse, scaled_bands
from skytutor.chapters.spectra.scores import (
    TestGalaxies,
    answered,
    extract_from_test,
    gain,
    pretrained_limits,
    scores_of,
)
from skytutor.chapters.spectra.targets import N_LATENTS, pretrained_autoencoder
from skytutor.chapters.spectra.task import SCHEDULES, SpectrumTask, spectrum_sizes
from skytutor.chapters.study_card import write_study
from skytutor.chapters.weights import load_needed
from skytutor.data.galaxies import GalaxySimulator
from skytutor.training import checkpoint
from skytutor.training.loop import train
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task
from skytutor.validate import positive

__all__ = [
    "PUBLISHED_CARD",
    "SEEDS_CARD",
    "UNIVERSES",
    "UNIVERSES_CARD",
    "compare_published",
    "make_published",
    "make_seeds",
    "make_universes",
    "study_seeds",
    "study_universe",
    "trained",
]

UNIVERSES_CARD = "spectra-universes"
PUBLISHED_CARD = "spectra-published"
SEEDS_CARD = "spectra-seeds"
_N_SEEDS = 3
_STUDY_TABLE = 10  # number of the training sets of a universe
# Galaxies in a universe's tables and for validation: of numbers, and of measured images.
_LIMITS_SIZES = {"smoke": (64, 64), "cpu": (20_000, 2000), "gpu": (200_000, 10_000)}
_IMAGE_SIZES = {"smoke": (64, 64), "cpu": (3000, 500), "gpu": (20_000, 2000)}
# Galaxies to score on: in each universe, and for the seeds.
_UNIVERSE_TEST = {"smoke": 100, "cpu": 1000, "gpu": 10_000}
_SEEDS_TEST = {"smoke": 100, "cpu": 1000, "gpu": 20_000}
_LIMITS_PLANS = {
    "smoke": Schedule(epochs=1, batch_size=32, lr=1e-3, optimizer="muon"),
    "cpu": Schedule(epochs=8, batch_size=200, lr=1e-3, optimizer="muon"),
    "gpu": Schedule(epochs=8, batch_size=1024, lr=4e-3, optimizer="muon"),
}
# Name of a universe, and what makes its simulator.
UNIVERSES: Mapping[str, Mapping[str, Any]] = {
    "null": {"null": True},
    "gradient 0": {"gradient": 0.0},
    "gradient 1/3": {"gradient": 1 / 3},
    "gradient 2/3": {"gradient": 2 / 3},
    "gradient 1": {"gradient": 1.0},
}
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

    It is done alike in every universe, so that a difference between them is one of what there is
    to see. The limits go on from the weights that come with the package. The network keeps its cut
    into components, and its inference begins as the oracle of the universe.

    Arguments:
        name: a key of `UNIVERSES`.
        profile: size, device and seed.

    Returns:
        the scores of `skytutor.chapters.spectra.scores.scores_of` that the chapter reads, and how
        far network and oracle lie below the catalogue, with standard errors.

    Raises:
        ValueError: a universe that is not there.
    """
    if name not in UNIVERSES:
        raise ValueError(f"name must be one of {', '.join(UNIVERSES)}, got {name!r}")
    simulator = GalaxySimulator(**UNIVERSES[name], device=profile.device)
    package = _package_network().to(profile.device)
    limits = copy.deepcopy(pretrained_limits()).to(profile.device)
    size, n_validation = _LIMITS_SIZES[profile.name]
    tables = LimitsTask(simulator, size=size, n_validation=n_validation, seed=_STUDY_TABLE)
    trained(limits, tables, _LIMITS_PLANS[profile.name], profile=profile)
    size, n_validation = _IMAGE_SIZES[profile.name]
    task = SpectrumTask(
        simulator,
        package.measurement,
        limits,
        size=size,
        n_validation=n_validation,
        seed=_STUDY_TABLE,
    )
    network = copy.deepcopy(package)
    network.started.fill_(False)  # the oracle of another universe would be unlearned slowly
    trained(network, task, SCHEDULES[profile.name], profile=profile)
    galaxies = _test_galaxies(package.measurement, simulator, size=_UNIVERSE_TEST[profile.name])
    return _scored(network, galaxies, limits)


def _package_network() -> SpectrumNetwork:
    """Return the network that comes with the package."""
    network = load_needed("spectra", needed_for="a study of the network")
    assert isinstance(network, SpectrumNetwork)
    return network


def _test_galaxies(
    measurement: nn.Module, simulator: GalaxySimulator, *, size: int
) -> TestGalaxies:
    """Draw the galaxies to score on, and measure their images."""
    return extract_from_test(measurement, seed=SEEDS.test_seed(0), size=size, simulator=simulator)


def _scored(
    network: nn.Module, galaxies: TestGalaxies, limits: LimitNetworks
) -> dict[str, float | None]:
    """Return those scores that the chapter reads."""
    with torch.no_grad():
        mean, factor = (answer.cpu() for answer in network(torch.cat(galaxies.extracted)))
    posterior = MultivariateNormal(mean, scale_tril=factor)
    test = answered(galaxies, mean, posterior, limits=limits)
    found = scores_of(test)
    kept = {key: found[key] for key in _KEPT}
    oracle, catalogue = (test.limits[name][0] - test.targets for name in ("oracle", "catalogue"))
    _, kept["below_catalogue_error"] = gain(mean - test.targets, catalogue)
    below = gain(oracle, catalogue)
    kept["oracle_below_catalogue"], kept["oracle_below_catalogue_error"] = below
    return kept


def study_seeds(n: int, *, profile: Profile) -> dict[str, dict[str, float | None]]:
    """Train what infers from several seeds on one table, and score each beside the limits.

    Arguments:
        n: seeds, 0 to n - 1; the first is that of the weights that come with the package, which
            are not trained again.
        profile: size and device.

    Returns:
        as `study_universe`, for each seed.

    Raises:
        ValueError: n below 1.
    """
    positive(n=n)
    simulator = GalaxySimulator(device=profile.device)
    package = _package_network().to(profile.device)
    limits = copy.deepcopy(pretrained_limits()).to(profile.device)
    galaxies = _test_galaxies(package.measurement, simulator, size=_SEEDS_TEST[profile.name])
    found = {"0": _scored(package, galaxies, limits)}
    if n > 1:
        size, n_validation = spectrum_sizes(profile)
        task = SpectrumTask(
            simulator, package.measurement, limits, size=size, n_validation=n_validation
        )
    for seed in range(1, n):
        network = copy.deepcopy(package)
        network.started.fill_(False)  # what infers begins anew
        seeded = Profile(profile.name, profile.device, seed)
        trained(network, task, SCHEDULES[profile.name], profile=seeded)
        found[str(seed)] = _scored(network, galaxies, limits)
    return found


def make_seeds(folder: Path, *, command: str, profile: Profile) -> Path:
    """Train what infers from three seeds and write a card.

    Arguments:
        folder: where the card goes.
        command: that repeats this, for the card.
        profile: size and device.

    Returns:
        path of the card.
    """
    found = study_seeds(_N_SEEDS, profile=profile)
    return write_study(folder, SEEDS_CARD, {"seeds": found}, command=command, profile=profile)


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
