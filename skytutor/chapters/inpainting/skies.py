"""Test skies of chapter 6: Gaussian skies of set-up B behind one disc, or behind many."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.data.patches import disc_mask, discs_mask, flat_sky
from skytutor.fields.flat import FlatSky
from skytutor.fields.holes import DenseHole
from skytutor.memo import cached_value

__all__ = ["HoleTest", "check_size", "crowded_tests", "disc_test"]

SKIES = 512  # unless another number is asked for
_CROWDED = 8  # masks with many discs each


@dataclass(frozen=True)
class HoleTest:
    """Skies behind one mask, and what is known of them.

    Attributes:
        sky: they are drawn from.
        hole: the exact fill of the mask.
        signal: ``(n, H, H)``.
        data: signal and noise.
        exact: W, the data with hidden pixels filled exactly.
    """

    sky: FlatSky
    hole: DenseHole
    signal: Tensor
    data: Tensor
    exact: Tensor

    @property
    def mask(self) -> Tensor:
        """``(H, H)`` bool, True where seen."""
        return self.hole.seen

    @cached_value
    def variance(self) -> Tensor:
        """Variance of the signal in each hidden pixel given the data, ``(n_hidden,)``."""
        return self.hole.variance - self.sky.noise**2

    @cached_value
    def scatter(self) -> float:
        """Variance, from sky to sky, of the exact fill's square error over its mean."""
        covariance = self.hole.covariance()
        covariance.diagonal().sub_(self.sky.noise**2)
        return 2 * float(covariance.square().sum() / covariance.trace().square())

    def hidden(self, maps: Tensor) -> Tensor:
        """Return the hidden pixels of maps, ``(..., n_hidden)``."""
        return maps.flatten(-2)[..., self.hole.index]


def _make_test(sky: FlatSky, mask: Tensor, n: int, *, generator: torch.Generator) -> HoleTest:
    hole = DenseHole(sky.precision, mask)
    signal, data = sky.draw(n, generator=generator)
    return HoleTest(sky, hole, signal, data, hole.fill(data))


def disc_test(radius: int, *, skies: int, generator: torch.Generator) -> HoleTest:
    """Draw skies of set-up B behind one disc; its place does not matter on a periodic patch.

    Arguments:
        radius: in arcmin.
        skies: how many.
        generator: of the random numbers.
    """
    # A disc of 3 degrees needs the larger patch.
    sky = flat_sky("B", 64 if radius <= 60 else 128)
    mask = disc_mask(sky.size, radius, pixel_arcmin=sky.pixel_arcmin)
    return _make_test(sky, mask, skies, generator=generator)


def crowded_tests(radius: int, *, skies: int, generator: torch.Generator) -> list[HoleTest]:
    """Draw skies of set-up B behind several masks that hide 15 % by discs of one radius.

    Arguments:
        radius: in arcmin, at most 60.
        skies: how many in all, the same behind each mask.
        generator: of the random numbers.
    """
    sky = flat_sky("B", 64)
    tests = []
    for _ in range(_CROWDED):
        mask = discs_mask(sky.size, radius, pixel_arcmin=sky.pixel_arcmin, generator=generator)
        tests.append(_make_test(sky, mask, -(-skies // _CROWDED), generator=generator))
    return tests


def check_size(size: int | None) -> int:
    """Return the number of test skies, 512 unless it is given, once it is checked."""
    if size is not None and not 20 <= size <= 10_000:
        raise ValueError(f"size must lie in 20..10000 skies, got {size}")
    return size or SKIES
