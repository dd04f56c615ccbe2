"""Scores of posteriors on galaxies that nothing was trained on, beside the limits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from skytutor.chapters.recipe import Scores
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.limits import KNOWLEDGE, LimitNetworks, tables
from skytutor.chapters.spectra.limits_task import NAME, rmse
from skytutor.chapters.spectra.sample import draw_samples
from skytutor.chapters.spectra.targets import (
    N_LATENTS,
    make_targets,
    natural,
    pretrained_autoencoder,
)
from skytutor.chapters.weights import load_needed
from skytutor.data.galaxies import GalaxySimulator
from skytutor.memo import cached_table
from skytutor.metrics.calibration import coverage_in_groups, interval_coverage, tarp
from skytutor.metrics.posterior import Posterior
from skytutor.metrics.redshifts import sigma_nmad
from skytutor.metrics.scoring_rules import crps_gaussian, crps_samples

__all__ = [
    "TEST_SIZE",
    "TestGalaxies",
    "TestSet",
    "answered",
    "draw_test",
    "extract_from_test",
    "gain",
    "gaussian",
    "pretrained_limits",
    "score_posterior",
    "scores_of",
]

TEST_SIZE = 5000
_TARP_SIZE = 2000
_NO_GAP = 2e-3  # of an error: about what a longer training of a limit changes
_SAMPLES = 400  # of each posterior, for TARP


@dataclass(frozen=True)
class TestSet:
    """Galaxies to score on, and what each kind of knowledge makes of them.

    Attributes:
        targets: ``(n, 9)``.
        mean: of the network that is scored, ``(n, 9)``.
        posterior: of the same network.
        limits: mean and Cholesky factor for each kind of knowledge.
        magnitude: ``(n,)``, total r.
        redshift: ``(n,)``.
    """

    targets: Tensor
    mean: Tensor
    posterior: Posterior
    limits: dict[str, tuple[Tensor, Tensor]]
    magnitude: Tensor
    redshift: Tensor

    __test__ = False  # pytest: not a test


@cached_table(maxsize=1)
def pretrained_limits() -> LimitNetworks:
    """Return the trained networks of oracle, catalogue, colours and images without noise.

    Raises:
        CheckpointError: the weights are not there; it says what to train.
    """
    networks = load_needed(NAME, needed_for="a score beside the limits")
    assert isinstance(networks, LimitNetworks)
    return networks


@dataclass(frozen=True)
class TestGalaxies:
    """Galaxies to score on, before any network has answered.

    Attributes:
        targets: ``(n, 9)``.
        tables: those of each kind of knowledge, ``(n, F)``.
        magnitude: ``(n,)``, total r.
        redshift: ``(n,)``.
        extracted: what was made of their images, batch by batch.
    """

    targets: Tensor
    tables: dict[str, Tensor]
    magnitude: Tensor
    redshift: Tensor
    extracted: list[Any]

    __test__ = False  # pytest: not a test


def extract_from_test(
    extract: Callable[[Tensor], Any],
    *,
    seed: int,
    size: int,
    simulator: GalaxySimulator | None = None,
) -> TestGalaxies:
    """Draw galaxies, and apply a function to their images, a few at a time.

    Arguments:
        extract: of images ``(B, 5, H, H)``.
        seed: of the generator that draws the galaxies.
        size: how many.
        simulator: to draw from; None for the default.
    """
    simulator = GalaxySimulator() if simulator is None else simulator
    autoencoder = pretrained_autoencoder(simulator.device)
    rng = torch.Generator(simulator.device).manual_seed(seed)
    rows: dict[str, list[Tensor]] = {"targets": [], "magnitude": [], "redshift": []}
    known: dict[str, list[Tensor]] = {name: [] for name in KNOWLEDGE}
    extracted = []
    with torch.no_grad():
        for sample in draw_samples(simulator, size, generator=rng, images=True):
            assert sample.images is not None
            extracted.append(extract(sample.images))
            redshift = sample.galaxies.redshift
            rows["targets"].append(make_targets(autoencoder, sample.spectra, redshift))
            red = sample.photometry.flux[..., 1].sum(1)
            rows["magnitude"].append(22.5 - 2.5 * red.log10())
            rows["redshift"].append(redshift)
            for name, table in tables(sample).items():
                known[name].append(table)
    joined = {name: torch.cat(parts) for name, parts in rows.items()}
    columns = {name: torch.cat(parts) for name, parts in known.items()}
    return TestGalaxies(tables=columns, extracted=extracted, **joined)


def answered(
    galaxies: TestGalaxies,
    mean: Tensor,
    posterior: Posterior,
    *,
    limits: LimitNetworks | None = None,
) -> TestSet:
    """Return what is to be scored: the answers of a network beside those of the limits.

    Arguments:
        galaxies: of `extract_from_test`.
        mean: of the network, ``(n, 9)``, on the CPU.
        posterior: of the same network.
        limits: trained in the same universe; None for those that come with the package.
    """
    limits = pretrained_limits() if limits is None else limits
    with torch.no_grad():
        found = limits(galaxies.tables)
    return TestSet(
        targets=galaxies.targets.cpu(),
        mean=mean,
        posterior=posterior,
        limits={name: (centre.cpu(), factor.cpu()) for name, (centre, factor) in found.items()},
        magnitude=galaxies.magnitude.cpu(),
        redshift=galaxies.redshift.cpu(),
    )


def draw_test(
    predict: Callable[[Tensor], tuple[Tensor, Posterior]],
    *,
    seed: int,
    size: int,
    simulator: GalaxySimulator | None = None,
    limits: LimitNetworks | None = None,
) -> TestSet:
    """Draw galaxies and ask the network and the limits about each.

    Arguments:
        predict: makes mean ``(B, 9)`` and posterior of images ``(B, 5, H, H)``.
        seed: of the generator that draws the galaxies.
        size: how many.
        simulator: to draw from; None for the default.
        limits: trained in the same universe; None for those that come with the package.
    """
    limits = pretrained_limits() if limits is None else limits  # missed before the galaxies
    galaxies = extract_from_test(predict, seed=seed, size=size, simulator=simulator)
    means, posteriors = zip(*galaxies.extracted, strict=True)
    return answered(galaxies, torch.cat(means).cpu(), _join(list(posteriors)), limits=limits)


def _join(posteriors: list[Posterior]) -> Posterior:
    samples = [part.cpu() for part in posteriors if isinstance(part, Tensor)]
    if samples:
        return torch.cat(samples)
    normals = [part for part in posteriors if isinstance(part, MultivariateNormal)]
    means = torch.cat([part.loc.cpu() for part in normals])
    factors = torch.cat([part.scale_tril.cpu() for part in normals])
    return MultivariateNormal(means, scale_tril=factors)


def _accuracy(test: TestSet) -> dict[str, Any]:
    """Return root mean square errors and what of the gap to the oracle is closed."""
    error = {name: mean - test.targets for name, (mean, _) in test.limits.items()}
    own = test.mean - test.targets
    found: dict[str, Any] = {"rmse": rmse(own), "rmse_constant": rmse(test.targets)}
    found |= {f"rmse_{name}": rmse(rest) for name, rest in error.items()}
    found["gap_closed"] = _gap(found["rmse"], found["rmse_catalogue"], found["rmse_oracle"])
    found["below_catalogue"], _ = gain(own, error["catalogue"])
    # Both are scored on the same galaxies: the error of a difference is that of the pairs.
    squares = own[:, :N_LATENTS].square().mean(1)
    other = error["oracle"][:, :N_LATENTS].square().mean(1)
    spread = float((squares - other).std()) / len(own) ** 0.5
    found["above_oracle"] = found["rmse"] - found["rmse_oracle"]
    found["above_oracle_error"] = spread / (2 * found["rmse_oracle"])
    for name, column in (("h_alpha", N_LATENTS), ("oiii", N_LATENTS + 1)):
        at = {key: float(rest[:, column].square().mean().sqrt()) for key, rest in error.items()}
        mine = float(own[:, column].square().mean().sqrt())
        found[f"rmse_{name}"] = mine
        found[f"rmse_{name}_catalogue"] = at["catalogue"]
        found[f"rmse_{name}_oracle"] = at["oracle"]
        found[f"gap_closed_{name}"] = _gap(mine, at["catalogue"], at["oracle"])
    return found


def gain(own: Tensor, other: Tensor) -> tuple[float, float]:
    """Return by which part the RMSE of some answers lies below that of others, and its error.

    Arguments:
        own: errors ``(n, 9)`` of which the six latents count.
        other: those of other answers about the same galaxies.

    Returns:
        one minus the ratio, and its standard error, which is that of the pairs: galaxies that are
        hard for both do not count.

    Raises:
        ValueError: not the same number of galaxies, or fewer than two.
    """
    if own.shape != other.shape or len(own) < 2:
        raise ValueError(
            "own and other must be errors (n, 9) of the same galaxies, two or more, "
            f"got shapes {tuple(own.shape)} and {tuple(other.shape)}"
        )
    mine, theirs = (error[:, :N_LATENTS].square().mean(1).double() for error in (own, other))
    ratio = float((mine.mean() / theirs.mean()).sqrt())
    # Of sqrt(a / b) the relative error is half that of a / b.
    pairs = mine / mine.mean() - theirs / theirs.mean()
    return 1 - ratio, ratio * float(pairs.std()) / len(own) ** 0.5 / 2


def _gap(own: float, start: float, limit: float) -> float | None:
    """Return the part of the way from start to limit; None where there is none to go.

    Where nothing hides in the pixels beyond the catalogue, two learned limits differ by what their
    trainings left undone, and a part of that says nothing.
    """
    way = start - limit
    return (start - own) / way if way > _NO_GAP * limit else None


def _calibration(test: TestSet, *, generator: torch.Generator) -> dict[str, Any]:
    """Return coverage, TARP and the continuous ranked probability score."""
    latents = slice(0, N_LATENTS)
    if isinstance(test.posterior, Tensor):
        crps = crps_samples(test.posterior[..., latents], test.targets[:, latents])
        few: Posterior = test.posterior[:_TARP_SIZE]
    else:
        normal = test.posterior
        crps = crps_gaussian(
            normal.loc[:, latents], normal.stddev[:, latents], test.targets[:, latents]
        )
        few = MultivariateNormal(normal.loc[:_TARP_SIZE], scale_tril=normal.scale_tril[:_TARP_SIZE])
    mean, factor = test.limits["oracle"]
    deviation = factor.square().sum(2).sqrt()
    best = crps_gaussian(mean[:, latents], deviation[:, latents], test.targets[:, latents])
    found: dict[str, Any] = {
        "coverage_68": interval_coverage(test.posterior, test.targets).overall,
        "crps_over_oracle": float(crps.mean() / best.mean()),
    }
    for name, by in (("magnitude", test.magnitude), ("redshift", test.redshift)):
        thirds = coverage_in_groups(test.posterior, test.targets, by)
        found[f"coverage_by_{name}"] = [third.overall for third in thirds]
    distance = tarp(few, test.targets[:_TARP_SIZE], generator=generator, n_samples=_SAMPLES)
    found["tarp"] = distance.deviation
    return found


def scores_of(test: TestSet, *, seed: int = 0) -> dict[str, Any]:
    """Return all scores of a test set.

    Arguments:
        test: of `draw_test`.
        seed: of the random points of TARP.
    """
    rng = torch.Generator().manual_seed(seed)
    found = {**_accuracy(test), **_calibration(test, generator=rng)}
    truth = natural(test.targets)[:, 2]
    found["sigma_nmad"] = sigma_nmad(natural(test.mean)[:, 2], truth)
    for name in ("catalogue", "oracle"):
        mean, _ = test.limits[name]
        found[f"sigma_nmad_{name}"] = sigma_nmad(natural(mean)[:, 2], truth)
    return found


def gaussian(model: nn.Module) -> Callable[[Tensor], tuple[Tensor, Posterior]]:
    """Return what asks a network with a Gaussian head for mean and posterior.

    Arguments:
        model: a `SpectrumNetwork`.
    """

    def predict(images: Tensor) -> tuple[Tensor, Posterior]:
        mean, factor = model(images)
        return mean, MultivariateNormal(mean, scale_tril=factor)

    return predict


def score_posterior(
    predict: Callable[[Tensor], tuple[Tensor, Posterior]], *, seed: int, size: int | None
) -> Scores:
    """Score a network on simulated galaxies.

    Arguments:
        predict: makes mean and posterior of images.
        seed: number of the test.
        size: galaxies; None for 5,000.
    """
    n = TEST_SIZE if size is None else size
    test = draw_test(predict, seed=SEEDS.test_seed(seed), size=n)
    found = scores_of(test, seed=seed)
    return Scores(
        scores=found,
        constant={"rmse": found["rmse_constant"]},
        size=n,
        data="simulated galaxies, 64 pixels",
        limit={"rmse": found["rmse_oracle"], "sigma_nmad": found["sigma_nmad_oracle"]},
    )
