"""Does a network answer from what it should not: apparent size, the sky's noise, the sky's level?

Every test changes one thing and holds all else, noise included, so that the difference of two
answers is the network's response to it. Beside it stand the response of the truth, simulated again,
and those of oracle and catalogue, which weigh the same evidence: at given magnitudes a larger
galaxy is likelier to be near, so that no response to size at all would be a fault too.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import LimitNetworks, tables
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.sample import Sample
from skytutor.chapters.spectra.scores import pretrained_limits
from skytutor.chapters.spectra.targets import make_targets, pretrained_autoencoder
from skytutor.data.galaxies import GalaxySimulator
from skytutor.data.galaxy_catalogue import catalogue
from skytutor.data.galaxy_population import Galaxies
from skytutor.data.rendering import Shapes
from skytutor.validate import as_length

__all__ = ["resized", "shortcut_tests", "size_response", "sky_response"]

_BATCH = 250
_LENGTHS = ("bulge_radius", "disc_radius", "clump_x", "clump_y", "clump_sigma")


def resized(galaxies: Galaxies, factor: float) -> Galaxies:
    """Return the same galaxies, `factor` times as large on the sky, of the same light.

    Arguments:
        galaxies: of a simulator.
        factor: on every length.

    Raises:
        TypeError, ValueError: a factor that is no positive number.
    """
    scale = as_length("factor", factor)
    lengths = {name: getattr(galaxies.shapes, name) * scale for name in _LENGTHS}
    rest = {field.name: getattr(galaxies.shapes, field.name) for field in fields(Shapes)}
    shapes = Shapes(**{**rest, **lengths})
    kept = {field.name: getattr(galaxies, field.name) for field in fields(Galaxies)}
    return Galaxies(**{**kept, "shapes": shapes})


def _observed(simulator: GalaxySimulator, galaxies: Galaxies, *, seed: int) -> Sample:
    """Observe galaxies with noise that the seed alone decides."""
    rng = torch.Generator(simulator.device).manual_seed(seed)
    planes = simulator.renderer.planes(galaxies.shapes)
    photometry = simulator.photometry(galaxies, planes=planes, generator=rng)
    spectra = simulator.spectra(galaxies, photometry.fibre, generator=rng)
    images = simulator.images(galaxies, planes=planes, generator=rng)
    table = catalogue(simulator, galaxies, planes, photometry)
    return Sample(galaxies, photometry, table, spectra, images)


def _drawn(simulator: GalaxySimulator, size: int, seed: int) -> Iterator[tuple[Galaxies, int]]:
    """Yield batches of galaxies, and the seed of each batch's noise."""
    rng = torch.Generator(simulator.device).manual_seed(SEEDS.test_seed(seed))
    for start in range(0, size, _BATCH):
        galaxies = simulator.draw(min(_BATCH, size - start), generator=rng)
        noise = torch.randint(2**62, (), generator=rng, device=simulator.device)
        yield galaxies, int(noise)


def _mean_and_error(rows: list[Tensor]) -> dict[str, list[float]]:
    """Return the mean over galaxies of rows ``(n, 9)``, and its standard error."""
    joined = torch.cat(rows)
    error = joined.std(0) / len(joined) ** 0.5
    return {"mean": joined.mean(0).tolist(), "error": error.tolist()}


def size_response(
    model: SpectrumNetwork,
    *,
    factor: float = 1.1,
    size: int = 1000,
    seed: int = 0,
    simulator: GalaxySimulator | None = None,
    autoencoder: SpectrumAutoencoder | None = None,
    limits: LimitNetworks | None = None,
) -> dict[str, dict[str, list[float]]]:
    """Return how answers change with apparent size, fluxes held: derivatives to ln(size).

    Arguments:
        model: in evaluation mode, on the simulator's device.
        factor: above 1; galaxies this much larger are compared with galaxies this much smaller.
        size: galaxies.
        seed: number of the test.
        simulator: to draw from; None for the default.
        autoencoder: whose latents are the targets; None for the one that comes with the package.
        limits: of catalogue and oracle; None for those that come with the package.

    Returns:
        for ``network``, ``oracle``, ``catalogue`` and ``truth`` the ``mean`` over galaxies and its
        standard ``error``, nine numbers each, in standardised targets an e-fold of size.

    Raises:
        TypeError, ValueError: a factor that is no number above 1.
    """
    step = as_length("factor", factor)
    if step <= 1:
        raise ValueError(f"factor must be above 1, got {factor!r}")
    simulator = GalaxySimulator() if simulator is None else simulator
    autoencoder = pretrained_autoencoder(simulator.device) if autoencoder is None else autoencoder
    limits = pretrained_limits() if limits is None else limits
    device = next(limits.parameters()).device

    def answers(sample: Sample) -> dict[str, Tensor]:
        found = {"network": model(sample.images)[0]}
        table = tables(sample)
        for name in ("oracle", "catalogue"):
            found[name] = limits.networks[name](table[name].to(device))[0]
        found["truth"] = make_targets(autoencoder, sample.spectra, sample.galaxies.redshift)
        return found

    slopes: dict[str, list[Tensor]] = {}
    # A central difference: what grows with the square of the step drops out.
    width = 2 * torch.tensor(step).log()
    with torch.no_grad():
        for galaxies, noise in _drawn(simulator, size, seed):
            large = answers(_observed(simulator, resized(galaxies, step), seed=noise))
            small = answers(_observed(simulator, resized(galaxies, 1 / step), seed=noise))
            for name, rows in large.items():
                slopes.setdefault(name, []).append((rows - small[name]) / width.to(rows))
    return {name: _mean_and_error(rows) for name, rows in slopes.items()}


def sky_response(
    model: SpectrumNetwork,
    *,
    noise: float = 1.0,
    level: float = 0.0,
    size: int = 1000,
    seed: int = 0,
    simulator: GalaxySimulator | None = None,
) -> dict[str, Any]:
    """Return how answers change when the sky alone changes; the truth does not.

    Arguments:
        model: in evaluation mode, on the simulator's device.
        noise: factor on the sky's noise, of the same random numbers.
        level: added to every pixel, in standard deviations of its band's noise.
        size: galaxies.
        seed: number of the test.
        simulator: to draw from; None for the default.

    Returns:
        ``mean`` and standard ``error`` of the change in each of nine targets, and its root mean
        square ``rms``, all in the network's own standard deviations; ``width``: the mean of the
        new standard deviation over the old.
    """
    factor = as_length("noise", noise, zero=True)
    simulator = GalaxySimulator() if simulator is None else simulator
    sigma = simulator.noise[:, None, None]
    changes = []
    widths = []
    with torch.no_grad():
        for galaxies, own in _drawn(simulator, size, seed):
            rng = torch.Generator(simulator.device).manual_seed(own)
            images = simulator.images(galaxies)
            white = torch.randn(images.shape, generator=rng, device=simulator.device)
            before, narrow = model(images + sigma * white)
            after, wide = model(images + sigma * (factor * white + level))
            deviation = narrow.square().sum(2).sqrt()
            changes.append((after - before) / deviation)
            widths.append(wide.square().sum(2).sqrt() / deviation)
    joined = torch.cat(changes)
    return {
        **_mean_and_error(changes),
        "rms": joined.square().mean(0).sqrt().tolist(),
        "width": torch.cat(widths).mean(0).tolist(),
    }


def shortcut_tests(
    model: SpectrumNetwork,
    *,
    size: int = 1000,
    seed: int = 0,
    simulator: GalaxySimulator | None = None,
    autoencoder: SpectrumAutoencoder | None = None,
    limits: LimitNetworks | None = None,
) -> dict[str, Any]:
    """Test a network for three shortcuts.

    Arguments:
        model: in evaluation mode, on the simulator's device.
        size: galaxies for each test.
        seed: number of the test.
        simulator: to draw from; None for the default.
        autoencoder: whose latents are the targets; None for the one that comes with the package.
        limits: of catalogue and oracle; None for those that come with the package.

    Returns:
        ``size`` of `size_response`; ``noise`` (half as much again) and ``level`` (a twentieth of a
        standard deviation added to every pixel) of `sky_response`.
    """
    simulator = GalaxySimulator() if simulator is None else simulator
    common: dict[str, Any] = {"size": size, "seed": seed, "simulator": simulator}
    return {
        "size": size_response(model, autoencoder=autoencoder, limits=limits, **common),
        "noise": sky_response(model, noise=1.5, **common),
        "level": sky_response(model, level=0.05, **common),
    }
