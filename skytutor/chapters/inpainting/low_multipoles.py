r"""Quadrupole and octopole behind a cut along the Galactic plane, and how they are spoiled.

The largest structures of the sky are wider than a cut, so what is seen nearly says what is hidden.
How nearly, the posterior of the coefficients says. With s the truth and its Wiener mean as the
estimate, ``cov(mean, s) = var(mean)``, and the correlation of the two over all orders m is

.. math:: \rho_l = \sqrt{1 - \frac{\sum_m \mathrm{var}(s_{lm} \mid d)}{\sum_m \mathrm{var}(s_{lm})}}

It is the same for every sky, and no estimate has a higher one.

A map must be cut before it is smoothed. Smoothing carries the bright plane over the edge of the
cut, and there it counts as sky [1]_. `smoothing_trap` shows it with a contaminant that lies wholly
behind the cut, where a cut alone removes all of it.

.. [1] C. J. Copi, D. Huterer, D. J. Schwarz & G. D. Starkman, 2011, MNRAS 418, 505.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.data.patches import best_fit_spectrum
from skytutor.data.sky_masks import galactic_cut
from skytutor.fields.realisations import constrained_realisation
from skytutor.fields.spectra import maps_from_white_noise
from skytutor.fields.wiener import WienerFilter
from skytutor.fields.windows import gaussian_beam
from skytutor.healpix import check_maps, pixel_to_angle
from skytutor.sht import RealHarmonics, real_degrees
from skytutor.validate import positive

__all__ = [
    "BEAM_DEG",
    "CUTS_DEG",
    "DEGREES",
    "LMAX",
    "NOISE",
    "NSIDE",
    "Correlation",
    "Trap",
    "contaminant",
    "exact_correlations",
    "low_filter",
    "low_spectrum",
    "simulated_correlations",
    "smoothing_trap",
]

NSIDE = 16
LMAX = 32
BEAM_DEG = 5.0  # full width at half maximum; a pixel is 3.7 degrees wide
NOISE = 1.0  # muK a pixel
CUTS_DEG = (10.0, 20.0, 30.0)
DEGREES = (2, 3)
_BLOCKS = 20  # of skies, each left out once for the standard error
_BATCH = 250  # skies filtered together


class Correlation(NamedTuple):
    """A correlation over simulated skies.

    Attributes:
        value: of the Wiener mean and the truth, over all orders m and all skies.
        error: its standard error.
        sampled: the same of a constrained realisation and the truth, about ``value**2``.
    """

    value: float
    error: float
    sampled: float


class Trap(NamedTuple):
    """What a contaminant behind the cut does to one degree.

    Attributes:
        cut_first: root mean square over m of what it adds to a coefficient of the Wiener mean, over
            the deviation ``sqrt(C_l)`` of the sky's, if the map is cut and not smoothed.
        smoothed_first: the same if the map is smoothed, and then cut.
        uncertainty: the posterior's deviation of a coefficient after smoothing, likewise.
    """

    cut_first: float
    smoothed_first: float
    uncertainty: float


def low_spectrum(*, beam_deg: float = BEAM_DEG) -> Tensor:
    """Return the best-fit spectrum under a beam, without monopole and dipole.

    Arguments:
        beam_deg: full width at half maximum, in degrees.

    Returns:
        C_l b_l**2 in muK**2, ``(LMAX + 1,)`` float64.
    """
    return best_fit_spectrum(LMAX) * gaussian_beam(math.radians(beam_deg), LMAX).square()


def low_filter() -> WienerFilter:
    """Return the filter of these maps: RING order, float64, all degrees solved exactly.

    The equations have 1,089 rows, so their matrix is factorised once and there is nothing to
    iterate.
    """
    return WienerFilter(NSIDE, LMAX, order="ring", dtype=torch.float64, coarse=LMAX)


def _equations(root: Tensor, mask: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Return maps of coefficients of one deviation each, ``(K, P)``, and the posterior's factor.

    The factor is that of the inverse covariance of coefficients in units of their deviation.
    """
    sky = RealHarmonics(NSIDE, LMAX, order="ring", dtype=torch.float64)
    rows = root[:, None] * sky.synthesis(torch.eye(len(root), dtype=torch.float64))
    matrix = (rows * mask / noise**2) @ rows.T
    matrix.diagonal().add_(1)
    return rows, torch.linalg.cholesky(matrix)


def exact_correlations(cut_deg: float, *, noise: float = NOISE) -> dict[int, float]:
    """Compute the correlation of the Wiener mean and the truth from the posterior covariance.

    Arguments:
        cut_deg: Galactic latitude up to which the sky is hidden, in degrees.
        noise: in muK a pixel.

    Returns:
        The correlation of each degree in `DEGREES`.

    Raises:
        ValueError: a cut that hides all or nothing.

    Example:
        >>> {l: round(rho, 2) for l, rho in exact_correlations(20.0).items()}
        {2: 0.98, 3: 0.98}
    """
    degree = real_degrees(LMAX)[0]
    mask = galactic_cut(NSIDE, cut_deg, order="ring")
    _, cholesky = _equations(low_spectrum()[degree].sqrt(), mask, noise)
    left = torch.cholesky_inverse(cholesky).diagonal()  # variance over the prior's
    return {l: float((1 - left[degree == l].mean()).sqrt()) for l in DEGREES}


def simulated_correlations(
    cut_deg: float, *, size: int, generator: torch.Generator, noise: float = NOISE
) -> dict[int, Correlation]:
    """Measure the correlation of the Wiener mean and the truth on simulated skies.

    Arguments:
        cut_deg: as in `exact_correlations`.
        size: how many skies, at least 20.
        generator: of the random numbers, on the CPU.
        noise: in muK a pixel.

    Returns:
        The correlation of each degree in `DEGREES` with its standard error.

    Raises:
        ValueError: fewer than 20 skies; cuts as in `exact_correlations`.
    """
    if positive(size=size)[0] < _BLOCKS:
        raise ValueError(f"size must be at least {_BLOCKS}, for a standard error, got {size}")
    cl = low_spectrum()
    sky = low_filter()
    mask = galactic_cut(NSIDE, cut_deg, order="ring")
    truth, mean, drawn = [], [], []
    for start in range(0, size, _BATCH):
        n = min(_BATCH, size - start)
        white = torch.randn(n, len(sky.l), generator=generator, dtype=torch.float64)
        maps = maps_from_white_noise(white, cl, harmonics=sky.harmonics)
        data = maps + noise * torch.randn(maps.shape, generator=generator, dtype=torch.float64)
        truth.append(cl[sky.l].sqrt() * white)
        mean.append(sky(data, {"TT": cl}, variance=noise**2, mask=mask).coefs)
        sample = constrained_realisation(
            data,
            {"TT": cl},
            filter=sky,
            variance=noise**2,
            mask=mask,
            generator=generator,
        )
        drawn.append(sample.coefs)
    s, estimate, one = (torch.cat(parts) for parts in (truth, mean, drawn))
    out = {}
    for l in DEGREES:
        these = sky.l == l
        value, error = _correlate(estimate[:, these], s[:, these])
        out[l] = Correlation(value, error, sampled=_correlate(one[:, these], s[:, these])[0])
    return out


def _correlate(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Return the correlation of coefficients ``(N, m)`` of mean 0, and its jackknife error."""
    products = torch.stack([a * b, a.square(), b.square()]).sum(-1)  # (3, N)

    def of(sums: Tensor) -> Tensor:
        return sums[0] / (sums[1] * sums[2]).sqrt()

    total = products.sum(1)
    blocks = torch.stack([part.sum(1) for part in products.tensor_split(_BLOCKS, 1)])
    left_out = torch.stack([of(total - block) for block in blocks])
    spread = (left_out - left_out.mean()).square().sum() * (_BLOCKS - 1) / _BLOCKS
    return float(of(total)), float(spread.sqrt())


def contaminant(*, amplitude: float = 1e4, half_width_deg: float = 20.0) -> Tensor:
    """Make emission that lies wholly near the Galactic plane, brightest towards its centre.

    It falls with the latitude b as ``exp(-|b| / 5 deg)``.

    Arguments:
        amplitude: at the Galactic centre, in muK.
        half_width_deg: latitude beyond which there is none, in degrees.

    Returns:
        ``(P,)`` float64 in muK, RING order, NSIDE 16.

    Example:
        >>> bool((contaminant()[galactic_cut(16, 20.0, order="ring")] == 0).all())
        True
    """
    theta, phi = pixel_to_angle(torch.arange(12 * NSIDE**2), nside=NSIDE, order="ring")
    latitude = (90 - theta.rad2deg()).abs()
    profile = torch.exp(-latitude / 5) * (latitude < half_width_deg)
    # Along the plane from 0.2 at the anticentre to 1 at the centre.
    return amplitude * profile * (0.6 + 0.4 * phi.cos())


def smoothing_trap(
    cut_deg: float = 20.0,
    *,
    smoothing_deg: float = 10.0,
    emission: Tensor | None = None,
    noise: float = NOISE,
) -> dict[int, Trap]:
    """Compute what emission behind the cut does to a map that is smoothed before it is cut.

    The filter is linear, so what the emission adds to the estimate is the filtered emission. The
    spectrum given to the filter is that of the smoothed sky: the only mistake is the order.

    Arguments:
        cut_deg: Galactic latitude up to which the sky is hidden, in degrees.
        smoothing_deg: full width at half maximum of the smoothing, in degrees.
        emission: ``(P,)`` float64 in muK, RING order, NSIDE 16; None is `contaminant`.
        noise: in muK a pixel, as the filter takes it.

    Returns:
        For each degree in `DEGREES` the bias with the cut first, with the smoothing first, and the
        posterior's deviation, in units of ``sqrt(C_l)``.

    Raises:
        ValueError: emission of another size or with NaN; a cut that hides all or nothing.
    """
    given = contaminant() if emission is None else emission
    dirt = check_maps(given, nside=NSIDE, order="ring", name="emission")
    mask = galactic_cut(NSIDE, cut_deg, order="ring").double()
    sky = RealHarmonics(NSIDE, LMAX, order="ring", dtype=torch.float64)
    degree = real_degrees(LMAX)[0]
    window = gaussian_beam(math.radians(smoothing_deg), LMAX)[degree]
    smoothed = sky.synthesis(window * sky.analysis(dirt))
    cl = low_spectrum()
    out = []
    for maps, root in ((dirt, cl[degree].sqrt()), (smoothed, cl[degree].sqrt() * window)):
        rows, cholesky = _equations(root, mask, noise)
        # In units of the prior's deviation, smoothed or not.
        x = torch.cholesky_solve((rows @ (mask * maps) / noise**2)[:, None], cholesky)[:, 0]
        out.append((x, torch.cholesky_inverse(cholesky).diagonal()))
    (cut, _), (leaked, left) = out

    def rms(values: Tensor, l: int) -> float:
        return float(values[degree == l].square().mean().sqrt())

    return {l: Trap(rms(cut, l), rms(leaked, l), rms(left.sqrt(), l)) for l in DEGREES}
