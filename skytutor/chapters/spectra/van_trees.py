r"""A bound below the oracle that needs no network: the Bayesian Cramer-Rao bound of van Trees.

The simulator makes a galaxy of standard normal numbers. Let :math:`\theta` be those that shape its
spectrum (`NAMES`), and give the estimator more than any has: which real galaxy this one is a copy
of, all numbers of pure geometry (inclination, angles, places and weights of clumps), the true
shapes x, and the image y. What is given and does not depend on :math:`\theta` is called c. For a
target :math:`T(\theta, x, \eta)` with noise :math:`\eta` of the spectrograph, any estimate
:math:`\hat T(x, y, c)` obeys

.. math::
    \langle (\hat T - T)^2 \rangle \ge \langle \mathrm{Var}(T | \theta, x, c) \rangle
    + \big\langle J_c^T (I_c + 1)^{-1} J_c \big\rangle_c ,

:math:`J_c = \langle \partial_\theta T \rangle`, at fixed x, and :math:`I_c` the mean Fisher
information of x and y about :math:`\theta`, both for one c [1]_. The 1 is the information of the
standard normal prior. The image enters through the component fluxes, :math:`J_f^T G J_f /
\sigma^2`; the shapes through radii and clump sizes, whose scatter is normal in their logarithm.

What is assumed: derivatives exist almost everywhere and jumps are taken as differences over a tenth
of a standard deviation; radii and clump sizes are told before they are limited to the frame, which
only tells more; and the angular-diameter distance grows no faster than the redshift. Means over a
few draws would make the second term too large, for it is convex. So one half of the draws chooses a
direction w and the other half evaluates :math:`2 w J - w (I + 1) w`, which no w makes larger than
the bound.

The bound is loose: the galaxy that is known tells redshift to 1 % and stars to 6 %.

.. [1] H. L. van Trees, 1968, Detection, Estimation, and Modulation Theory, part I, section 2.4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.targets import N_LATENTS, make_targets
from skytutor.data.galaxies import GalaxySimulator
from skytutor.data.galaxy_population import Galaxies
from skytutor.data.rendering import Shapes

__all__ = ["NAMES", "Bound", "van_trees_bound", "weighted_bound"]

# The normal numbers that shape a spectrum, and the call of the simulator that draws them.
_CALLS = {
    "redshift": 1,
    "templates": 2,
    "brightness": 3,
    "bulge": 4,
    "clumpiness": 5,
    "lines": 15,
    "activity": 16,
    "dispersion": 17,
}
NAMES = tuple(_CALLS)
_ROW = 0  # the call that chooses a real galaxy
_SCATTER = (7, 8, 13)  # the calls that draw radii of bulge and disc, and sizes of clumps
_LARGEST = 4.5  # arcsec: radii are compressed to this
_RADIUS_SCATTER = 0.25  # of the logarithm
_CLUMP_SCATTER = 0.3
_REDSHIFT_SCATTER = 0.01  # relative
_STEP = 0.1  # of differences, standard deviations


class _Recorded(TorchFunctionMode):
    """Keep every random number that is drawn, or give those that were kept instead of new ones.

    Arguments:
        numbers: one tensor a call, in order; None to draw and keep.
    """

    def __init__(self, numbers: Sequence[Tensor] | None = None):
        super().__init__()
        self.numbers: list[Tensor] = [] if numbers is None else list(numbers)
        self._replay = numbers is not None
        self._at = 0

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer calls of torch; those that draw from what is kept."""
        if func not in (torch.randn, torch.rand, torch.randint):
            return func(*args, **(kwargs or {}))
        if not self._replay:
            self.numbers.append(func(*args, **(kwargs or {})))
            return self.numbers[-1].clone()
        self._at += 1
        return self.numbers[self._at - 1].clone()


def _galaxies(simulator: GalaxySimulator, numbers: Sequence[Tensor]) -> Galaxies:
    with _Recorded(numbers):
        return simulator.draw(len(numbers[_ROW]), generator=torch.Generator(simulator.device))


def _draw_numbers(
    simulator: GalaxySimulator, n: int, draws: int, *, generator: torch.Generator
) -> list[Tensor]:
    """Return the numbers of n galaxies, each `draws` times with other spectra and radii."""
    with _Recorded() as fresh:
        simulator.draw(n * draws, generator=generator)
    varied = {*_CALLS.values(), *_SCATTER}
    found = []
    for call, numbers in enumerate(fresh.numbers):
        first = numbers[::draws].repeat_interleave(draws, dim=0)
        found.append(numbers if call in varied else first)
    return found


def _radii(shapes: Shapes) -> Tensor:
    """Return the logarithms ``(B, 2)`` of the radii of bulge and disc before compression."""
    radii = torch.stack([shapes.bulge_radius, shapes.disc_radius], dim=1).double()
    return torch.atanh((radii / _LARGEST).clamp(max=1 - 1e-6)).log()


@dataclass(frozen=True)
class _Response:
    """Derivatives by the P normal numbers, of B galaxies."""

    targets: Tensor  # (B, 9, P)
    fluxes: Tensor  # (B, 5, 3, P)
    radii: Tensor  # (B, 2, P)
    variance: Tensor  # (B, 9), of the targets by the spectrograph's noise
    gram: Tensor  # (B, 5, 3, 3)


def _respond(
    simulator: GalaxySimulator,
    numbers: Sequence[Tensor],
    *,
    autoencoder: SpectrumAutoencoder,
    seed: int,
) -> _Response:
    """Return central differences at fixed shapes and fixed noise of the spectrograph.

    Arguments:
        simulator: to observe with.
        numbers: that make B galaxies.
        autoencoder: whose latents are targets.
        seed: of the spectrograph's noise.
    """
    centre = _galaxies(simulator, numbers)
    planes = simulator.renderer.planes(centre.shapes)
    fibre = simulator.renderer.fibre(planes)

    def observe(galaxies: Galaxies, seed: int) -> Tensor:
        rng = torch.Generator(simulator.device).manual_seed(seed)
        spectra = simulator.spectra(galaxies, fibre, generator=rng)
        return make_targets(autoencoder, spectra, galaxies.redshift)

    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for call in _CALLS.values():
        width = numbers[call][0].numel()
        for k in range(width):
            ends = []
            for sign in (-1, 1):
                moved = [part.clone() for part in numbers]
                moved[call].view(-1, width)[:, k] += sign * _STEP
                galaxies = _galaxies(simulator, moved)
                radii = _radii(galaxies.shapes)
                # The shapes are known: what they tell is in the radii, and they stay.
                galaxies = replace(galaxies, shapes=centre.shapes)
                ends.append((observe(galaxies, seed), simulator.fluxes(galaxies).mT, radii))
            low, high = ends
            slopes = [(right - left) / (2 * _STEP) for left, right in zip(low, high, strict=True)]
            columns.append((slopes[0], slopes[1], slopes[2]))
    # Half the mean square of the difference of two equal measurements is their variance.
    pair = observe(centre, seed) - observe(centre, seed + 1)
    targets, fluxes, radii = (torch.stack(part, dim=-1) for part in zip(*columns, strict=True))
    gram = simulator.renderer.gram(planes)
    return _Response(targets, fluxes, radii, pair.square() / 2, gram)


def _information(response: _Response, noise: Tensor) -> Tensor:
    """Return the Fisher information ``(B, P, P)`` of image and shapes.

    Arguments:
        response: of B galaxies.
        noise: ``(5,)``, standard deviations of a pixel.
    """
    weight = (response.gram / noise[:, None, None] ** 2).double()
    fluxes = response.fluxes.double()
    found = torch.einsum("bfip,bfij,bfjq->bpq", fluxes, weight, fluxes)
    radii = response.radii / _RADIUS_SCATTER
    found = found + torch.einsum("brp,brq->bpq", radii, radii)
    # Twelve clumps whose sizes tell the distance, which follows the redshift at most.
    found[:, 0, 0] += 12 * (_REDSHIFT_SCATTER / _CLUMP_SCATTER) ** 2
    return found


def weighted_bound(jacobian: Tensor, information: Tensor) -> Tensor:
    """Return ``J^T (I + 1)^-1 J`` of means over draws, never too large on average.

    One half of the draws chooses the direction, the other half evaluates it, and the reverse.

    Arguments:
        jacobian: ``(C, K, T, P)``, derivatives of T targets for K draws, K even.
        information: ``(C, K, P, P)``, Fisher information of the data.

    Returns:
        ``(C, T)``, bounds on the variance of each target.

    Raises:
        ValueError: an odd number of draws.

    Example:
        >>> weighted_bound(torch.ones(1, 2, 1, 1), 3 * torch.ones(1, 2, 1, 1))
        tensor([[0.2500]])
    """
    draws = jacobian.shape[1]
    if draws % 2:
        raise ValueError(f"jacobian must hold an even number of draws, got {draws}")
    one = torch.eye(information.shape[-1]).to(information)
    slopes = [part.mean(1) for part in jacobian.chunk(2, dim=1)]
    totals = [part.mean(1) + one for part in information.chunk(2, dim=1)]
    found = []
    for chosen, kept in ((0, 1), (1, 0)):
        direction = torch.linalg.solve(totals[chosen], slopes[chosen].mT)  # (C, P, T)
        gain = 2 * (direction * slopes[kept].mT).sum(1)
        cost = (direction * (totals[kept] @ direction)).sum(1)
        found.append(gain - cost)
    return (found[0] + found[1]) / 2


@dataclass(frozen=True)
class Bound:
    """Van Trees bound of the targets.

    Attributes:
        rmse: over the six latents.
        standard_error: of `rmse`, over the galaxies that were drawn.
        variances: of each of the nine targets.
        noise: the part of `variances` that the spectrograph's noise makes.
    """

    rmse: float
    standard_error: float
    variances: list[float]
    noise: list[float]


def van_trees_bound(
    simulator: GalaxySimulator,
    autoencoder: SpectrumAutoencoder,
    *,
    n: int,
    draws: int = 16,
    seed: int = 0,
    batch: int = 128,
) -> Bound:
    """Return the bound for galaxies of a simulator.

    Arguments:
        simulator: no null universe, whose draws have another order.
        autoencoder: whose latents are targets, on the simulator's device.
        n: galaxies that are known, C.
        draws: of spectra and radii of each, K, even.
        seed: of all random numbers.
        batch: galaxies times draws at a time.

    Raises:
        ValueError: a null universe, or an odd number of draws.
    """
    if simulator.population.null:
        raise ValueError("simulator must not be a null universe")
    rng = torch.Generator(simulator.device).manual_seed(seed)
    each = max(1, batch // draws)
    bounds = []
    noise = []
    for start in range(0, n, each):
        size = min(each, n - start)
        numbers = _draw_numbers(simulator, size, draws, generator=rng)
        response = _respond(simulator, numbers, autoencoder=autoencoder, seed=seed + 2 * start)
        information = _information(response, simulator.noise)
        slopes = response.targets.double().unflatten(0, (size, draws))
        bounds.append(weighted_bound(slopes, information.unflatten(0, (size, draws))))
        noise.append(response.variance.double().unflatten(0, (size, draws)).mean(1))
    noisy = torch.cat(noise)
    total = torch.cat(bounds) + noisy
    each_galaxy = total[:, :N_LATENTS].mean(1)
    # Of very few galaxies the mean may fall below 0, which is a bound as well.
    rmse = float(each_galaxy.mean().clamp(min=1e-12).sqrt())
    error = float(each_galaxy.std(correction=0)) / n**0.5 / (2 * rmse)
    return Bound(rmse, error, total.mean(0).tolist(), noisy.mean(0).tolist())
