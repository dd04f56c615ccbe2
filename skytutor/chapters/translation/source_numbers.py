"""What is said of each source of a translation to the perceptron that puts its light right.

Fluxes are told as ratios to that of the band in which the source is seen best, so that what is
learned is colours and shapes.

Shapes: B scenes, S places for sources, I bands that may be given, T that are asked for, H pixels
along a side.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from skytutor.chapters.translation.source_finding import FoundSources, distances
from skytutor.chapters.translation.source_fits import (
    BandFit,
    band_variance,
    fitted,
    point_images,
)
from skytutor.chapters.translation.subsets import TARGETS
from skytutor.data.scene_rendering import SceneRenderer

__all__ = [
    "N_ABOUT",
    "N_PER_BAND",
    "N_PER_TARGET",
    "about_sources",
    "band_numbers",
    "reference_flux",
    "target_numbers",
]

N_PER_BAND = 13
N_PER_TARGET = 4
N_ABOUT = 6
_FRACTION = 0.02  # of the reference flux: below, ratios are told linearly
_FAINTEST = 1e-3  # nanomaggies
_CORE = 2.0  # pixels, deviation of the window that holds a source's core
_WHOLE = 5.0  # pixels, that of the window in which its shape is told


def _ratio(flux: Tensor, reference: Tensor) -> Tensor:
    return torch.asinh(flux / reference / _FRACTION)


def _log(values: Tensor, least: float) -> Tensor:
    return values.clamp(min=least).log()


def reference_flux(
    fits: Mapping[int, BandFit], given: Tensor, *, columns: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the flux in the band that shows a source best, and which band, ``(B, S)`` each.

    Arguments:
        fits: of the bands that any scene has, by number of the band.
        given: bool ``(B, F)``.
        columns: numbers of the I bands that may be given.

    Returns:
        the flux as a point source, or its error where that is larger, nanomaggies; and the place of
        the band among `columns`.
    """
    shape = next(iter(fits.values())).point.shape
    nothing = given.new_zeros(shape, dtype=torch.float32)
    quality, flux, error = [], [], []
    for column in columns:
        fit = fits.get(column)
        point = nothing if fit is None else fit.point
        deviation = nothing if fit is None else fit.point_error
        measured = given[:, column, None] & (deviation > 0)
        ratio = point / deviation.clamp(min=1e-9)
        quality.append(torch.where(measured, ratio, -torch.inf))
        flux.append(point)
        error.append(deviation)
    best = torch.stack(quality, -1).argmax(-1)
    chosen = [torch.stack(each, -1).gather(-1, best[..., None])[..., 0] for each in (flux, error)]
    # A source that no band shows: its error stands for its flux.
    return torch.maximum(*chosen).clamp(_FAINTEST, 1e9), best


def band_numbers(
    fits: Mapping[int, BandFit],
    given: Tensor,
    reference: Tensor,
    best: Tensor,
    *,
    columns: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Return what was measured in each band, and which bands are given and which is best.

    Arguments:
        fits: as of `reference_flux`.
        given: likewise.
        reference: what it returned.
        best: likewise.
        columns: as of it.

    Returns:
        ``(B, S, I N_PER_BAND)``, 0 for bands that are not given, and ``(B, S, 2 I)`` of zeros and
        ones.
    """
    found = []
    for column in columns:
        fit = fits.get(column)
        if fit is None:
            found.append(reference.new_zeros(*reference.shape, N_PER_BAND))
            continue
        worse = fit.point_misfit / fit.shaped_misfit.clamp(min=1e-2)
        numbers = [
            _ratio(fit.point, reference),
            _log(fit.point_error / reference, 1e-5),
            _ratio(fit.shaped, reference),
            _log(fit.shaped_error / reference, 1e-5),
            _ratio(fit.both_point, reference),
            _ratio(fit.both_shaped, reference),
            *_ratio(fit.apertures, reference[..., None]).unbind(-1),
            _log(fit.point_misfit, 1e-2),
            _log(fit.shaped_misfit, 1e-2),
            _log(worse, 1e-4),
            fit.black,
        ]
        found.append(torch.stack(numbers, -1) * given[:, column, None, None])
    which = given[:, None, list(columns)].expand(*reference.shape, -1)
    flags = torch.cat([which, F.one_hot(best, len(columns))], -1)
    return torch.cat(found, -1), flags.to(reference)


def target_numbers(
    renderer: SceneRenderer,
    found: FoundSources,
    base: Tensor,
    profiles: Sequence[Tensor],
    reference: Tensor,
    *,
    rows: Sequence[int],
) -> Tensor:
    """Return how the translation has each source, ``(B, S, T N_PER_TARGET)``.

    Arguments:
        renderer: of all bands.
        found: where they are.
        base: the translation, ``(B, T, H, H)``, nanomaggies a pixel.
        profiles: of each target, light of each source, ``(B, S, H, H)``.
        reference: ``(B, S)``, nanomaggies.
        rows: numbers of the T bands.
    """
    near = torch.exp(-distances(found, base.shape[-1]) / (2 * _CORE**2))
    numbers = []
    for t, row in enumerate(rows):
        image = base[:, t]
        variance = band_variance(renderer, image, band=row, name=TARGETS[t])
        points = point_images(renderer, found, row).flatten(2)
        flux, _ = fitted(points, image.flatten(1), 1 / variance.flatten(1))
        total = profiles[t].sum((-2, -1))
        core = (profiles[t] * near).sum((-2, -1))
        numbers += [
            _ratio(total, reference),
            _ratio(flux, reference),
            _ratio(core, reference),
            _log(core / total.clamp(min=1e-9), 1e-3),
        ]
    return torch.stack(numbers, -1)


def about_sources(
    found: FoundSources, parts: Tensor, width: Tensor, image: Tensor, reference: Tensor
) -> Tensor:
    """Return brightness, size, shape and neighbours of each source, ``(B, S, N_ABOUT)``.

    Arguments:
        found: where they are.
        parts: ``(B, S, H, H)``, which part of the light is whose.
        width: ``(B, S)``, mean distance of the light, pixels.
        image: ``(B, H, H)``, without noise.
        reference: ``(B, S)``, nanomaggies.
    """
    size = image.shape[-1]
    light = image.clamp(min=0)[:, None] * parts
    own = (light * parts).sum((-2, -1)) / light.sum((-2, -1)).clamp(min=1e-9)
    place = torch.arange(size, device=image.device, dtype=image.dtype)
    across = (place - found.column[..., None])[..., None, :]
    along = (place - found.row[..., None])[..., :, None]
    held = light * torch.exp(-distances(found, size) / (2 * _WHOLE**2))
    held = held / held.sum((-2, -1), keepdim=True).clamp(min=1e-9)
    xx = (held * across.square()).sum((-2, -1))
    yy = (held * along.square()).sum((-2, -1))
    xy = (held * across * along).sum((-2, -1))
    half = (xx + yy) / 2
    longer = (((xx - yy) / 2).square() + xy.square()).sqrt()
    sides = [found.row, found.column, size - 1 - found.row, size - 1 - found.column]
    numbers = [
        reference.log() / 4,
        width.log(),
        _log(1 - own, 1e-4),
        _log(half, 1e-2),
        longer / half.clamp(min=1e-2),
        _log(torch.stack(sides).amin(0) + 1, 1.0),
    ]
    return torch.stack(numbers, -1)
