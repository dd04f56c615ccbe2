"""What a map of the microwave background is beside its sky: calibration, beam and noise.

They are fitted to the power spectrum of the map. The map of 2013 was decoded from a picture, and
nobody has said what its beam and noise are; simulations need both.

Shapes: P = 12 nside**2 pixels, RING, nside 512.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.chapters.seeds import INPAINTING
from skytutor.data.patches import SETUPS, best_fit_spectrum
from skytutor.data.skymaps import NSIDE, simulated_sky
from skytutor.fields.flat import interpolate
from skytutor.fields.spectra import pseudo_cl
from skytutor.fields.windows import gaussian_beam, smooth
from skytutor.healpix import pixel_area
from skytutor.sht import alm2map, map2alm

__all__ = ["FIT", "MapModel", "apodised", "fit_map_model"]

SETUP = SETUPS["B"]  # where the fit starts
# Degrees of the fit: below, one sky says little; above, the pixels of nside 512 end.
FIT = (30, 1500)
_TRANSFER = 2  # simulations that measure what the mask does to a spectrum


class MapModel(NamedTuple):
    """What a map is, beside its sky: ``amplitude * C_l * b_l**2`` and white noise.

    Attributes:
        amplitude: of the power, over the best fit.
        beam_arcmin: full width at half maximum.
        noise: standard deviation in a pixel, muK.
    """

    amplitude: float
    beam_arcmin: float
    noise: float


def fit_map_model(maps: Tensor, seen: Tensor) -> MapModel:
    """Fit amplitude, beam and noise to the power spectrum of a map, l from 30 to 1500.

    The likelihood is Whittle's: each C_l has ``f_sky (2 l + 1)`` degrees of freedom. The mask, and
    the sums over pixels that stand for integrals, throw some power of large scales onto small
    ones. How much is measured on simulations seen through the same mask, in bands of 50 degrees.

    Arguments:
        maps: ``(P,)`` in muK, nside 512, RING.
        seen: bool ``(P,)``; what is not seen has no part in the fit.

    Raises:
        ValueError: no such map, or one whose spectrum cannot be fitted.
    """
    weight = apodised(seen)
    l = torch.arange(FIT[0], FIT[1] + 1)
    rng = torch.Generator().manual_seed(INPAINTING.validation[0])
    start = MapModel(amplitude=1.0, beam_arcmin=SETUP.beam_arcmin, noise=SETUP.noise)
    transfer = torch.zeros(len(l), dtype=torch.float64)
    for _ in range(_TRANSFER):
        drawn = simulated_sky(generator=rng, beam_arcmin=start.beam_arcmin, noise=start.noise)
        transfer += _spectrum(drawn, weight)[l] / _model(start, l) / _TRANSFER
    data = _spectrum(torch.where(seen, maps, 0), weight)[l] / _in_bands(transfer, width=50)
    return _fisher_scoring(data, l, freedom=(2 * l + 1) * float(weight.square().mean()))


def _spectrum(maps: Tensor, weight: Tensor) -> Tensor:
    """Return the pseudo-spectrum of a map, its mean taken out, ``(1501,)``."""
    mean = (maps.double() * weight).sum() / weight.sum()
    found = pseudo_cl(maps.double() - mean, weight, nside=NSIDE, lmax=FIT[1], order="ring")
    assert isinstance(found, Tensor)  # of one field; Q and U would have a dict of spectra
    return found


def _model(model: MapModel, l: Tensor) -> Tensor:
    """Return the spectrum of a map at degrees l."""
    beam = gaussian_beam(fwhm=math.radians(model.beam_arcmin / 60), lmax=FIT[1])
    signal = model.amplitude * best_fit_spectrum(FIT[1]) * beam.square()
    return signal[l] + model.noise**2 * pixel_area(NSIDE)


def _in_bands(values: Tensor, *, width: int) -> Tensor:
    """Return values replaced by the means of bands, interpolated between their middles."""
    n = len(values) // width
    means = values[: n * width].view(n, width).mean(1)
    place = ((torch.arange(len(values)) + 0.5) / width - 0.5).clamp(0, n - 1)
    return interpolate(means, place)


def _fisher_scoring(data: Tensor, l: Tensor, *, freedom: Tensor) -> MapModel:
    """Return the model of the largest likelihood."""
    cl = best_fit_spectrum(FIT[1])[l]
    # Amplitude and noise power enter linearly, the beam by its logarithm, -l (l + 1) sigma^2.
    exponent = -(l * (l + 1)).double()
    unit = pixel_area(NSIDE)
    theta = torch.tensor([1.0, _sigma_square(SETUP.beam_arcmin), SETUP.noise**2], dtype=data.dtype)
    for _ in range(50):
        beam = torch.exp(exponent * theta[1])
        model = theta[0] * cl * beam + theta[2] * unit
        slope = torch.stack(
            [cl * beam, theta[0] * cl * beam * exponent, torch.full_like(cl, unit)], -1
        )
        # The columns differ by orders of magnitude, so they are scaled before they are solved for.
        relative = slope / model[:, None]
        scale = relative.norm(dim=0)
        relative = relative / scale
        fisher = relative.T @ (relative * freedom[:, None])
        step = torch.linalg.solve(fisher, relative.T @ (freedom * (data / model - 1))) / scale
        theta = theta + step
        # A map in K would have an amplitude of 1e-12, and every fill would be scaled by it.
        if not bool((theta > 0).all()) or not 0.1 < float(theta[0]) < 10:
            raise ValueError(
                "maps: amplitude, beam and noise cannot be fitted to the spectrum; is it a "
                "temperature map in muK with a beam and noise?"
            )
        if bool((step.abs() < 1e-9 * theta).all()):
            break
    amplitude, square, power = theta.tolist()
    fwhm = math.sqrt(8 * math.log(2) * square) * 180 * 60 / math.pi
    return MapModel(amplitude=amplitude, beam_arcmin=fwhm, noise=math.sqrt(power))


def apodised(seen: Tensor, *, fwhm_deg: float = 1.0) -> Tensor:
    """Return a mask with soft edges: smoothed by a beam, and 0 where nothing is seen.

    Arguments:
        seen: bool ``(P,)``, nside 512, RING.
        fwhm_deg: full width at half maximum of the beam in degrees.
    """
    lmax = 2 * NSIDE
    alms = map2alm(seen.double(), nside=NSIDE, lmax=lmax, order="ring")
    window = gaussian_beam(fwhm=math.radians(fwhm_deg), lmax=lmax)
    soft = alm2map(smooth(alms, window, lmax=lmax), nside=NSIDE, lmax=lmax, order="ring")
    return soft.clamp(0, 1) * seen


def _sigma_square(fwhm_arcmin: float) -> float:
    return math.radians(fwhm_arcmin / 60) ** 2 / (8 * math.log(2))
