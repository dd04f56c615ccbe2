"""Masks on real maps: what to do first, and how large a hole may be."""

import functools
from typing import Any

import torch
from torch import Tensor

from skytutor.check.compare import brief, single
from skytutor.data.patches import SETUPS, best_fit_spectrum, disc_mask, flat_sky
from skytutor.exercises import grading
from skytutor.fields.flat import FlatSky, filter_maps
from skytutor.fields.holes import DenseHole

__all__ = ["half_known", "prepare"]

_SIZE = 48
_LEVEL = 100.0  # muK, of a constant sky
_WHOSE_NOISE = "Is the noise of the hidden pixels part of what is left of the signal?"


def prepare(attempt: Any) -> bool:
    """Test your `prepare(sky_map, mask, smooth)`: a smoothed map that knows nothing of a plane.

    It is called three times for each mask: with two planes behind it, and with a constant sky.

    Arguments:
        attempt: a function of a map ``(H, H)`` in muK, a mask ``(H, H)`` bool, True where seen, and
            `smooth`, which takes and returns maps. It returns the smoothed map.

    Returns:
        True if nothing hidden reaches the seen pixels, if they are smoothed, and if they keep a
        constant sky.
    """
    return grading.satisfies(
        "prepare",
        _on_three_skies(attempt),
        _prepare_fault,
        cases=[_sky_and_plane(k) for k in range(3)],
    )


class _Smooth:
    """A Gaussian beam on a periodic patch, five pixels wide."""

    def __init__(self) -> None:
        y = torch.fft.fftfreq(_SIZE, dtype=torch.float64)[:, None]
        x = torch.fft.rfftfreq(_SIZE, dtype=torch.float64)
        # A Gaussian of deviation s pixels has the transform exp(-2 pi^2 s^2 f^2).
        variance = (5 / 2.355) ** 2
        self.response = torch.exp(-2 * torch.pi**2 * variance * (y.square() + x.square()))

    def __call__(self, maps: Tensor) -> Tensor:
        return filter_maps(maps, self.response)

    def __repr__(self) -> str:
        return "a beam of 5 pixels"


def _sky_and_plane(number: int) -> tuple[Tensor, Tensor, _Smooth]:
    """Return a sky of some tens of muK with a plane of thousands, a mask and a beam."""
    generator = torch.Generator().manual_seed(number)
    sky_map = 50 * torch.randn(_SIZE, _SIZE, generator=generator, dtype=torch.float64)
    mask = torch.ones(_SIZE, _SIZE, dtype=torch.bool)
    mask[20 : 25 + number] = False
    plane = 2e3 + 1e4 * torch.rand(_SIZE, _SIZE, generator=generator, dtype=torch.float64)
    return torch.where(mask, sky_map, plane), mask, _Smooth()


def _other_plane(sky_map: Tensor, mask: Tensor) -> Tensor:
    """Return the map with its plane the other way round and fainter, the rest as it was."""
    return torch.where(mask, sky_map, 0.01 * sky_map.flip(-1))


def _on_three_skies(attempt: Any) -> Any:
    """Return a function of the same arguments: the answers for two planes and a constant sky."""
    if not callable(attempt):
        return attempt

    @functools.wraps(attempt)
    def all_three(sky_map: Tensor, mask: Tensor, smooth: Any) -> list[Any]:
        constant = torch.where(mask, _LEVEL, sky_map)
        skies = (sky_map.clone(), _other_plane(sky_map, mask), constant)
        return [attempt(sky, mask.clone(), smooth) for sky in skies]

    return all_three


def _prepare_fault(got: Any, sky_map: Tensor, mask: Tensor, smooth: _Smooth) -> str | None:
    maps = []
    for found in got:
        if getattr(found, "shape", None) is None or tuple(found.shape) != tuple(sky_map.shape):
            return f"gives {brief(found)}; a map of the shape of the first is wanted"
        maps.append(torch.as_tensor(found).detach().double())
    seen, other, level = (found[mask] for found in maps)
    if not all(bool(torch.isfinite(part).all()) for part in (seen, other, level)):
        return "gives seen pixels that are not finite"
    return _smooth_fault(maps[0], sky_map, mask, smooth) or _plane_fault(seen, other, level)


def _smooth_fault(found: Tensor, sky_map: Tensor, mask: Tensor, smooth: _Smooth) -> str | None:
    """Return what is wrong with the map far from the plane, or None."""
    smoothed = smooth(sky_map)
    # Far from the mask, by two and a half beams, all good answers are the same.
    far = smooth((~mask).double()) < 1e-9
    if float((found - sky_map)[far].abs().max()) < 1e-6:
        return "does not smooth what is seen"
    if float((found - smoothed)[far].abs().max()) > 1e-3:
        return "differs from the smoothed sky far from the plane, where the mask does not matter"
    return None


def _plane_fault(seen: Tensor, other: Tensor, level: Tensor) -> str | None:
    """Return what is wrong with the seen pixels of two planes and of a constant sky, or None."""
    leak = float((seen - other).abs().max())
    if leak > 1e-3:
        return (
            f"changes by {leak:.0f} muK in a seen pixel when what is hidden changes. At which "
            "moment is the plane in hidden pixels alone?"
        )
    off = (level - _LEVEL).abs()
    if float(off.max()) > 0.01 * _LEVEL:
        return (
            f"gives {float(level[off.argmax()]):.0f} muK in a seen pixel of a sky that is "
            f"{_LEVEL:.0f} muK in all of them. Which part of a beam beside the plane is full?"
        )
    return None


def half_known(attempt: Any) -> bool:
    """Test your `half_radius(sky)`: the disc of which the mean keeps half of the power.

    Arguments:
        attempt: a function of a `FlatSky` that returns the radius in arcmin at which the mean
            square of the conditional mean, over the hidden pixels of one disc, is half of that of
            the signal.

    Returns:
        True if it is right to a pixel.
    """
    noisy = FlatSky(
        40,
        pixel_arcmin=SETUPS["B"].pixel_arcmin,
        cl=best_fit_spectrum(),
        beam_arcmin=SETUPS["B"].beam_arcmin,
        noise=100.0,
    )
    return grading.satisfies(
        "half_radius",
        attempt,
        _radius_fault,
        cases=[(flat_sky("B", 64),), (noisy,), (flat_sky("C", 40),)],
    )


def _radius_fault(got: Any, sky: FlatSky) -> str | None:
    radius = single(got)
    if isinstance(radius, bool) or not isinstance(radius, int | float):
        return f"gives {brief(got)}; a radius in arcmin is wanted"
    pixel = sky.pixel_arcmin
    # More noise than signal: then it seems lost in the smallest of discs.
    drowned = _kept(sky, pixel, subtracted=0.0) < 0.5
    if drowned and 0 <= radius <= 3 * pixel:
        return f"gives {radius:.0f} arcmin. {_WHOSE_NOISE}"
    if not 1.5 * pixel <= radius <= 0.4 * sky.size * pixel:
        return f"gives {brief(got)}, which is no radius in arcmin that fits into the patch"
    if _kept(sky, radius - pixel) >= 0.5 >= _kept(sky, radius + pixel):
        return None
    raw = [_kept(sky, radius + step, subtracted=0.0) for step in (-pixel, pixel)]
    if raw[0] >= 0.5 >= raw[1]:
        return f"gives {radius:.0f} arcmin. {_WHOSE_NOISE}"
    if _kept(sky, radius - pixel) >= 0.75 >= _kept(sky, radius + pixel):
        return (
            f"gives {radius:.0f} arcmin, where the error is half of the sky's deviation. Is half "
            "an amplitude half a power?"
        )
    if _kept(sky, radius - pixel) >= 0.25 >= _kept(sky, radius + pixel):
        return (
            f"gives {radius:.0f} arcmin, where the mean is half as strong as the sky. Is half an "
            "amplitude half a power?"
        )
    return f"gives {radius:.0f} arcmin, where the mean keeps {_kept(sky, radius):.0%} of the power"


def _kept(sky: FlatSky, radius: float, *, subtracted: float = 1.0) -> float:
    """Return the fraction of the signal's power in a disc that its mean keeps.

    Arguments:
        sky: the sky.
        radius: of the disc, in arcmin.
        subtracted: which part of the noise is taken off before; the right one is all.
    """
    mask = disc_mask(sky.size, radius, pixel_arcmin=sky.pixel_arcmin)
    # The noise of hidden pixels is no part of what is left of the signal.
    left = DenseHole(sky.precision, mask).variance.mean() - subtracted * sky.noise**2
    # The covariance of a pixel with itself: the mean over all modes.
    power = torch.fft.irfft2(sky.signal, s=(sky.size, sky.size))[0, 0]
    return 1 - float(left / power)
