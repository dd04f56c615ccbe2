"""Samples of what may stand in a hole, and whether they are as they should be.

From any fill that is exact and linear comes a sample of the hidden sky: draw a sky f, fill
``d - f`` and add f again. What is seen is then d, and what is hidden has the distribution of the
sky given d [1]_. It is a variational autoencoder whose latent variables are the modes of f, with
the spectrum as their prior.

A sample has sqrt(2) times the least RMSE, the power of the sky, no seam at the edge of the hole,
and the truth lies within its intervals as often as they say.

.. [1] Y. Hoffman & E. Ribak, 1991, ApJ 380, L5.
"""

from typing import Any

import torch
from torch import Tensor

from skytutor.chapters.inpainting.baselines import Fill
from skytutor.chapters.inpainting.networks import LearnedFill
from skytutor.chapters.inpainting.skies import HoleTest, crowded_tests, disc_test
from skytutor.data.patches import RADII
from skytutor.fields.flat import FlatSky, band_powers

__all__ = [
    "BANDS",
    "REPEATS",
    "band_coverage",
    "edge_jump",
    "realisation",
    "score_many_holes",
    "score_samples",
    "spread_ratio",
]

BANDS = (200, 460, 720, 980, 1240, 1500)  # edges of five bands of multipoles
# Samples of a sky: the more, the fewer hidden pixels there are to average over.
REPEATS = {5: 16, 15: 8, 30: 4, 60: 2, 180: 1}
# Of 18 samples, the truth lies between the fourth and the fourth last in 13 / 19 = 68.4 %.
_DRAWS = 18
_OUTSIDE = 3


def realisation(
    fill: Fill, data: Tensor, mask: Tensor, sky: FlatSky, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw what may stand in the hidden pixels, given what is seen.

    Arguments:
        fill: of data ``(n, H, H)`` behind a mask, linear and exact.
        data: ``(n, H, H)``.
        mask: ``(H, H)``, True where seen.
        sky: spectrum and noise of the data.
        generator: of the random numbers.

    Returns:
        two maps ``(n, H, H)`` that are the data where the sky is seen: hidden pixels without noise,
        and the same with noise.
    """
    signal, noisy = sky.draw(len(data), generator=generator)
    mean = fill(data - noisy, mask)
    return torch.where(mask, data, mean + signal), torch.where(mask, data, mean + noisy)


def spread_ratio(fill: Fill, test: HoleTest, *, repeats: int, generator: torch.Generator) -> float:
    """Return the RMSE of samples over the least RMSE; sqrt(2) is right.

    A sample's distance from the exact fill is independent of the truth's, so that their mean
    squares add up.

    Arguments:
        fill: as in `realisation`.
        test: skies behind a mask.
        repeats: samples of each sky.
        generator: of the random numbers.
    """
    exact = test.hidden(test.exact)
    total = 0.0
    for _ in range(repeats):
        signal, _ = realisation(fill, test.data, test.mask, test.sky, generator=generator)
        total += float((test.hidden(signal) - exact).square().sum(-1).mean())
    return (1 + total / repeats / float(test.variance.sum())) ** 0.5


def edge_jump(maps: Tensor, mask: Tensor | None = None) -> float:
    """Return the mean squared difference of neighbouring pixels.

    Arguments:
        maps: ``(..., H, H)``, periodic.
        mask: ``(H, H)``: only of neighbours of which one is seen and one is hidden; None for all.

    Example:
        >>> edge_jump(torch.tensor([[0.0, 2.0], [0.0, 2.0]]))
        2.0
    """
    total = 0.0
    pairs = 0.0
    for axis in (-2, -1):
        square = (maps - maps.roll(1, axis)).square()
        across = torch.ones_like(maps[..., :, :])
        if mask is not None:
            across = (mask != mask.roll(1, axis)).to(maps).expand_as(maps)
        total += float((square * across).sum())
        pairs += float(across.sum())
    return total / pairs


def score_many_holes(
    fill: Fill, *, quick: Fill, radius: int, skies: int, generator: torch.Generator
) -> dict[str, Any]:
    """Score samples behind masks with many discs.

    Arguments:
        fill: as in `realisation`.
        quick: the mean as it is used, for the intervals of pixels.
        radius: of the discs in arcmin.
        skies: in all.
        generator: of the random numbers.

    Returns:
        ``hole_power`` of samples over that of the truth, through the holes alone, in the bands of
        `BANDS`; ``patch_power``, the same on the whole patch; ``jump_ratio``, the squared jump over
        the edge of holes over that of the truth anywhere; ``coverage68_pixels``; and ``chi2`` of
        the truth's distance from the fill for a degree of freedom.
    """
    powers: dict[str, list[Tensor]] = {"hole": [], "patch": []}
    jumps = []
    inside = []
    chi_square = []
    for test in crowded_tests(radius, skies=skies, generator=generator):
        _, sample = realisation(fill, test.data, test.mask, test.sky, generator=generator)
        windows = {"hole": (~test.mask).double(), "patch": None}
        for name, window in windows.items():
            found = [_powers(maps, test.sky, window).mean(0) for maps in (sample, test.data)]
            powers[name].append(torch.stack(found))
        jumps.append([edge_jump(sample, test.mask), edge_jump(test.data)])
        away = test.hidden(quick(test.data, test.mask) - test.signal).abs()
        inside.append((away <= test.variance.sqrt()).double().mean())
        distance = test.hidden(test.data - fill(test.data, test.mask))
        chi_square.append(test.hole.chi_square(distance).mean() / len(test.hole.index))
    means = {name: torch.stack(each).mean(0) for name, each in powers.items()}
    jump, usual = torch.tensor(jumps, dtype=torch.float64).mean(0)
    return {
        "hole_power": (means["hole"][0] / means["hole"][1]).tolist(),
        "patch_power": (means["patch"][0] / means["patch"][1]).tolist(),
        "jump_ratio": float(jump / usual),
        "coverage68_pixels": float(torch.stack(inside).mean()),
        "chi2": float(torch.stack(chi_square).mean()),
    }


def _powers(maps: Tensor, sky: FlatSky, window: Tensor | None) -> Tensor:
    return band_powers(maps, BANDS, pixel_arcmin=sky.pixel_arcmin, window=window)


def band_coverage(fill: Fill, test: HoleTest, *, generator: torch.Generator) -> float:
    """Return how often the band powers of the true hole lie within the middle 68 % of samples.

    Arguments:
        fill: as in `realisation`.
        test: skies behind a mask.
        generator: of the random numbers.
    """
    window = (~test.mask).double()
    true = _powers(test.data, test.sky, window)
    below = torch.zeros_like(true)
    for _ in range(_DRAWS):
        _, sample = realisation(fill, test.data, test.mask, test.sky, generator=generator)
        below += _powers(sample, test.sky, window) < true
    middle = (below > _OUTSIDE - 1) & (below < _DRAWS - _OUTSIDE + 1)
    return float(middle.double().mean())


def score_samples(model: LearnedFill, *, size: int, generator: torch.Generator) -> dict[str, Any]:
    """Score the samples of ours, run on until the residual is small.

    Arguments:
        model: in evaluation mode.
        size: skies of each radius for the spread, eight times as many for power and jumps.
        generator: of the random numbers.

    Returns:
        what `score_many_holes` gives for discs of one degree, ``sample_ratio`` by radius,
        ``coverage68_bands``, and ``coverage68``, of both coverages the one that is farther from
        68.27 %.
    """

    def converged(data: Tensor, mask: Tensor) -> Tensor:
        return torch.cat([model.fill(d, mask, tolerance=1e-4).maps for d in data.split(64)])

    spread = {}
    for radius in RADII:
        test = disc_test(radius, skies=size, generator=generator)
        repeats = REPEATS[radius]
        ratio = spread_ratio(converged, test, repeats=repeats, generator=generator)
        spread[str(radius)] = ratio
    found = score_many_holes(converged, quick=model, radius=60, skies=8 * size, generator=generator)
    test = disc_test(60, skies=4 * size, generator=generator)
    found["coverage68_bands"] = band_coverage(converged, test, generator=generator)
    both = (found["coverage68_pixels"], found["coverage68_bands"])
    found["coverage68"] = max(both, key=lambda fraction: abs(fraction - 0.6827))
    return {"sample_ratio": spread, **found}
