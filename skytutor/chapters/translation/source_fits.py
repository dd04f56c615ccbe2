r"""What the given bands tell of sources whose places were found: fluxes, shapes, and how well.

Each source is seen through two templates in each given band: a point, and the light that a
translation gives it, brought to the band's PSF. Least squares of all sources of a scene at a time
part blends; then each source is measured by itself in what the others leave.

Shapes: B scenes, S places for sources, F bands, T that are asked for, H pixels along a side, P of
an image.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skytutor.chapters.translation.limits import inverse_from_factor
from skytutor.chapters.translation.source_finding import FoundSources, distances
from skytutor.data.exposures import true_variance
from skytutor.data.scene_rendering import SceneRenderer
from skytutor.data.surveys import BANDS

__all__ = [
    "BandData",
    "BandFit",
    "band_data",
    "band_variance",
    "fit_band",
    "fitted",
    "point_images",
    "refined",
]

_RIDGE = 1e-5  # on the diagonal of a matrix of unit columns: two templates may be one
_FARTHEST = 0.7  # pixels that a place moves in one round
_WINDOWS = (1.5, 3.0, 6.0)  # pixels, deviations of Gaussian apertures
_LOCAL = 2.5  # pixels, of the window in which a fit is compared


def point_images(renderer: SceneRenderer, found: FoundSources, band: int) -> Tensor:
    """Return the images of point sources of flux 1, ``(B, S, H, H)``; 0 where nothing was found.

    Arguments:
        renderer: of all bands.
        found: of `find_sources`.
        band: number of the band.
    """
    size, pixel = renderer.scene_size, renderer.scene_pixel
    there = found.there
    half = size * pixel / 2 * (1 - 1e-6)
    x = ((found.column[there] - (size - 1) / 2) * pixel).clamp(-half, half)
    y = ((found.row[there] - (size - 1) / 2) * pixel).clamp(-half, half)
    made = x.new_zeros(*there.shape, size, size)
    if len(x):
        planes = renderer.moved(renderer.points(len(x)), x, y)
        made[there] = renderer.templates(planes[:, None], band=band)[:, 0]
    return made


def band_variance(renderer: SceneRenderer, image: Tensor, *, band: int, name: str) -> Tensor:
    """Return the variance of the survey's noise about an image, in nanomaggies squared.

    Arguments:
        renderer: of all bands.
        image: ``(..., H, H)``, nanomaggies a pixel.
        band: number of the band.
        name: its name.
    """
    psf = renderer.psf_image(band)
    return true_variance(image, BANDS[name], psf=psf, pixel_arcsec=renderer.scene_pixel)


def fitted(templates: Tensor, image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted least-squares fluxes of templates, and their errors, ``(B, K)`` each.

    Arguments:
        templates: ``(B, K, P)``; one that is 0 has the flux 0.
        image: ``(B, P)``.
        weight: ``(B, P)``, inverse variance.
    """
    weighted = templates * weight[:, None]
    gram = (weighted @ templates.mT).double()
    sums = (weighted @ image[..., None]).double()[..., 0]
    length = torch.diagonal(gram, dim1=-2, dim2=-1).sqrt()
    there = length > 0
    length = torch.where(there, length, 1)
    scaled = gram / (length[:, :, None] * length[:, None])
    scaled = scaled + torch.diag_embed((~there).double() + _RIDGE)
    inverse = inverse_from_factor(torch.linalg.cholesky(scaled))
    flux = (inverse @ (sums / length)[..., None])[..., 0] / length
    error = torch.diagonal(inverse, dim1=-2, dim2=-1).sqrt() / length
    return torch.where(there, flux, 0).float(), torch.where(there, error, 0).float()


@dataclass(frozen=True)
class BandData:
    """Images of one band, and the light that a translation gives each source in it.

    Attributes:
        band: number of the band.
        image: ``(B, P)``.
        weight: ``(B, P)``, inverse variance; 0 where nothing was measured.
        profile: ``(B, S, P)``, with the band's PSF.
    """

    band: int
    image: Tensor
    weight: Tensor
    profile: Tensor


def band_data(
    renderer: SceneRenderer,
    image: Tensor,
    ivar: Tensor,
    profile: Tensor,
    *,
    band: int,
    name: str,
) -> BandData:
    """Return one band with weights that do not follow its noise.

    Arguments:
        renderer: of all bands.
        image: ``(B, H, H)``.
        ivar: ``(B, H, H)``; 0 where nothing was measured, or in scenes without the band.
        profile: ``(B, S, H, H)``, light of each source with the band's PSF.
        band: number of the band.
        name: its name.
    """
    shaped = profile.flatten(2)
    data = image.flatten(1)
    # The survey's variance follows the noise itself; that of a first fit does not.
    first, _ = fitted(shaped, data, ivar.flatten(1))
    model = (first.clamp(min=0)[:, None] @ shaped)[:, 0].unflatten(1, image.shape[1:])
    variance = band_variance(renderer, model, band=band, name=name)
    return BandData(band, data, ((ivar > 0) / variance).flatten(1), shaped)


def _parted(point: Tensor, data: BandData) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the others leave for each source ``(B, S, P)``, and its two fluxes."""
    both = torch.cat([point, data.profile], dim=1)
    flux, _ = fitted(both, data.image, data.weight)
    as_point, as_profile = flux.chunk(2, dim=1)
    parts = as_point[..., None] * point + as_profile[..., None] * data.profile
    return (data.image - parts.sum(1))[:, None] + parts, as_point, as_profile


def refined(
    renderer: SceneRenderer, found: FoundSources, bands: list[BandData], *, rounds: int = 3
) -> FoundSources:
    """Return sources in places that fit the images better, all given bands together.

    Arguments:
        renderer: of all bands.
        found: of `find_sources`.
        bands: that any scene has.
        rounds: of Gauss and Newton.
    """
    last = renderer.scene_size - 1
    for _ in range(rounds):
        pairs = [_pull(renderer, found, data) for data in bands]
        pull = torch.stack([pull for pull, _ in pairs]).sum(0)
        trust = torch.stack([trust for _, trust in pairs]).sum(0)
        step = (pull / trust.clamp(min=1e-30)).clamp(-_FARTHEST, _FARTHEST)
        step = torch.where(found.there[..., None], step, 0)
        column = (found.column + step[..., 0]).clamp(0, last)
        row = (found.row + step[..., 1]).clamp(0, last)
        found = replace(found, column=column, row=row)
    return found


def _pull(renderer: SceneRenderer, found: FoundSources, data: BandData) -> tuple[Tensor, Tensor]:
    """Return moves over their variances, and one over these, ``(B, S, 2)`` each: right and up."""
    point = point_images(renderer, found, data.band)
    own, *_ = _parted(point.flatten(2), data)
    # What a source of flux 1 adds when it moves by a pixel.
    steps = [(point.roll(1, axis) - point.roll(-1, axis)) / 2 for axis in (-1, -2)]
    templates = torch.stack([point, *steps], dim=2).flatten(3)  # (B, S, 3, P)
    weight = data.weight[:, None].expand_as(own)
    parts = fitted(templates.flatten(0, 1), own.flatten(0, 1), weight.flatten(0, 1))
    flux, error = (part.unflatten(0, found.there.shape) for part in parts)
    # What was fitted is a flux times a move.
    light = flux[..., :1].clamp(min=0)
    precise = torch.where(light > 0, error[..., 1:].square().clamp(min=1e-30).reciprocal(), 0)
    return precise * light * flux[..., 1:], precise * light.square()


@dataclass(frozen=True)
class BandFit:
    """All sources in one band, each number ``(B, S)``; fluxes in nanomaggies.

    Attributes:
        point: flux as a point source, in what the others leave.
        point_error: its deviation.
        shaped: flux with the translation's profile, likewise.
        shaped_error: its deviation.
        both_point: the point's part where both are fitted together.
        both_shaped: the profile's part.
        apertures: ``(B, S, 3)``, fluxes that a point source would have in three apertures.
        point_misfit: mean square of what a point leaves, in variances.
        shaped_misfit: the same of the profile.
        black: part of a point's light where nothing was measured.
    """

    point: Tensor
    point_error: Tensor
    shaped: Tensor
    shaped_error: Tensor
    both_point: Tensor
    both_shaped: Tensor
    apertures: Tensor
    point_misfit: Tensor
    shaped_misfit: Tensor
    black: Tensor


def fit_band(renderer: SceneRenderer, found: FoundSources, data: BandData) -> BandFit:
    """Measure all sources in one band.

    Arguments:
        renderer: of all bands.
        found: of `refined`.
        data: of `band_data`.
    """
    weight = data.weight
    seen = (weight > 0).to(weight)
    shaped = data.profile
    point = point_images(renderer, found, data.band).flatten(2)
    own, both_point, both_shaped = _parted(point, data)
    point_flux, point_error = _alone(own, point, weight)
    shaped_flux, shaped_error = _alone(own, shaped, weight)
    squared = distances(found, renderer.scene_size).flatten(2)
    local = torch.exp(-squared / (2 * _LOCAL**2)) * seen[:, None]
    local_weight = local / local.sum(-1, keepdim=True).clamp(min=1e-6) * weight[:, None]
    return BandFit(
        point=point_flux,
        point_error=point_error,
        shaped=shaped_flux,
        shaped_error=shaped_error,
        both_point=both_point,
        both_shaped=both_shaped,
        apertures=_apertures(own, point, squared, seen),
        point_misfit=(local_weight * (own - point_flux[..., None] * point).square()).sum(-1),
        shaped_misfit=(local_weight * (own - shaped_flux[..., None] * shaped).square()).sum(-1),
        black=(point * (1 - seen)[:, None]).sum(-1),
    )


def _apertures(own: Tensor, point: Tensor, squared: Tensor, seen: Tensor) -> Tensor:
    """Return the fluxes that a point would have in Gaussian apertures, ``(B, S, 3)``."""
    found = []
    for sigma in _WINDOWS:
        window = torch.exp(-squared / (2 * sigma**2)) * seen[:, None]
        held = (window * point).sum(-1)
        found.append((window * own).sum(-1) / held.clamp(min=1e-3))
    return torch.stack(found, -1)


def _alone(own: Tensor, template: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flux of one template in each image ``(B, S, P)``, and its error."""
    square = (template.square() * weight[:, None]).sum(-1)
    there = square > 0
    flux = (template * own * weight[:, None]).sum(-1) / square.clamp(min=1e-30)
    error = square.clamp(min=1e-30).rsqrt()
    return torch.where(there, flux, 0), torch.where(there, error, 0)
