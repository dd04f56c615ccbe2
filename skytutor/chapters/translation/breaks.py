"""Images unlike those of the training: worse air, an unseen kind of star, black plates, gaps.

Shapes: B scenes, F bands, H pixels along a side.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from skytutor.chapters.translation.scored_scenes import SceneBatch
from skytutor.data.bands import STAR, Observation, SceneSimulator
from skytutor.data.surveys import BANDS
from skytutor.validate import one_of

__all__ = ["KINDS", "make_break"]

KINDS = (
    "as in training",
    "worse air",
    "a line in g",
    "thirty times as bright",
    "a gap, ivar 0",
    "a gap, ivar kept",
)
_PLATES = ("blue", "red")
_WORSE = 1.5  # width of a star on the plates, in what it was in training
_LINE = {"g": 3.0, "blue": 1.5}  # factors on the fluxes of stars
_BRIGHTER = 30.0
_GAP = 1 / 3  # of the red plate


def _widened(images: Tensor, *, fwhm: float, pixel_arcsec: float) -> Tensor:
    """Return images ``(B, H, H)`` blurred so that a star of width `fwhm` is wider by `_WORSE`."""
    sigma = fwhm * math.sqrt(_WORSE**2 - 1) / 2.355 / pixel_arcsec
    reach = math.ceil(4 * sigma)
    place = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-(place**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    # A Gaussian in two dimensions is one along the rows and one along the columns.
    along = F.conv2d(images[:, None], kernel[None, None, None], padding=(0, reach))
    return F.conv2d(along, kernel[None, None, :, None], padding=(reach, 0))[:, 0]


def make_break(
    kind: str, simulator: SceneSimulator, batch: SceneBatch, *, generator: torch.Generator
) -> Observation:
    """Return the scenes of a batch as they would be seen under one kind of change.

    Arguments:
        kind: of `KINDS`. "worse air": stars on the plates are 1.5 times as wide. "a line in g":
            stars are 3 times as bright in g and 1.5 times in blue, as no star of the training is.
            "thirty times as bright": all fluxes, so that plates saturate. "a gap": a third of the
            red plate is 0, where nothing was measured; its inverse variance says so or does not.
        simulator: that drew the scenes.
        batch: of `skytutor.chapters.translation.scored_scenes.draw_batches`.
        generator: of the noise.

    Returns:
        images, inverse variance, and the truth of these images, in which the plates of "worse air"
        are blurred and other bands are not.

    Raises:
        ValueError: no such kind.
    """
    one_of("kind", kind, allowed=KINDS)
    truth = batch.seen.truth
    if kind == "worse air":
        truth = truth.clone()
        for name in _PLATES:
            band = simulator.bands.index(name)
            truth[:, band] = _widened(
                truth[:, band],
                fwhm=BANDS[name].fwhm,
                pixel_arcsec=simulator.renderer.scene_pixel,
            )
    if kind == "a line in g":
        flux = batch.scenes.flux.clone()
        star = (batch.scenes.kind == STAR)[..., None]
        for name, factor in _LINE.items():
            band = simulator.bands.index(name)
            flux[..., band] = torch.where(star, factor * flux[..., band], flux[..., band])
        truth = simulator.truth(replace(batch.scenes, flux=flux), planes=batch.planes)
    if kind == "thirty times as bright":
        truth = _BRIGHTER * truth
    seen = simulator.expose(truth, generator=generator)
    if not kind.startswith("a gap"):
        return seen
    images, ivar = seen.images.clone(), seen.ivar.clone()
    red = simulator.bands.index("red")
    missing = slice(0, round(_GAP * images.shape[-1]))
    images[:, red, :, missing] = 0
    if kind == "a gap, ivar 0":
        ivar[:, red, :, missing] = 0
    return Observation(images, ivar, seen.truth)
