"""How the networks of chapter 4 are asked: images of galaxies, and what a spectrum would say.

An image is compared with those of training galaxies in its noise and its sky, by band, and in what
can be measured in circles: how bright the galaxy is, its colours inside and outside, how
concentrated it is, and whether it stands in the middle.

Shapes: N images ``(N, 5, H, H)``, F features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.question import Answer, Question
from skytutor.chapters.question_checks import as_rows, in_order, unit_factor
from skytutor.chapters.spectra.measurement import ApertureFluxes
from skytutor.chapters.spectra.predictions import check_images
from skytutor.chapters.spectra.separation import RED
from skytutor.chapters.spectra.targets import N_LATENTS, TARGETS, natural
from skytutor.data.galaxies import BANDS, SKY_NOISE, GalaxySimulator
from skytutor.data.rendering import PSF_FWHM, pixel_places
from skytutor.memo import cached_object

__all__ = [
    "TARGET_UNITS",
    "GalaxyInputs",
    "GalaxyOutputs",
    "galaxy_question",
    "image_features",
    "posterior_answer",
    "target_outputs",
]

SIZE = 64
PIXEL = 0.25  # arcsec
TARGET_UNITS = (*("1" for _ in range(N_LATENTS)), "ln(angstrom)", "ln(angstrom)", "1")
_SKIES = 400  # galaxies that images are compared with
_OUTSIDE = 6.5  # arcsec: beyond it there is more sky than galaxy
# Circles of `ApertureFluxes`: of the fibre's radius, and the one that stands for all light.
_INNER, _OUTER = 3, 8
# What counts as far in each kind of feature: its scatter among galaxies of training, or less.
_NOISE_SCATTER = 0.04
_MAGNITUDE_SCATTER = 0.3
_COLOUR_SCATTER = (0.19, 0.063, 0.05, 0.032)
_SHAPE_SCATTER = 0.2
_PLACE_SCATTER = 0.04  # arcsec


@dataclass(frozen=True)
class GalaxyInputs:
    """What the images were that a network was trained on.

    Attributes:
        size: pixels along a side.
        pixel_arcsec: side of a pixel.
        bands: in the order in which the network takes them; `predict` sorts.
        filters: whose they are.
        unit: of the values.
        noise: standard deviation of the sky in a pixel of each band, in that unit.
        psf_fwhm: full width at half maximum of the point spread function in each band, arcsec.
        galaxy: where it stands.
    """

    size: int
    pixel_arcsec: float
    bands: tuple[str, ...]
    filters: str
    unit: str
    noise: tuple[float, ...]
    psf_fwhm: tuple[float, ...]
    galaxy: str


@dataclass(frozen=True)
class GalaxyOutputs:
    """What the numbers of an answer are.

    Attributes:
        names: of the things that are answered.
        units: of each; "1" where it has none.
        scale: what they count.
        errors: what the errors of an answer are.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    scale: str
    errors: str


def target_outputs(errors: str) -> GalaxyOutputs:
    """Return what a network gives that answers with the nine targets of the chapter.

    Arguments:
        errors: what they are.

    Example:
        >>> target_outputs("none").names[-1]
        'redshift'
    """
    return GalaxyOutputs(
        names=TARGETS,
        units=TARGET_UNITS,
        scale="latents of spectrum-autoencoder, standardised: its `decode` makes a spectrum of "
        "them; natural logarithms of equivalent widths, rest frame; redshift",
        errors=errors,
    )


def posterior_answer(mean: Tensor, deviation: Tensor) -> Answer:
    """Return the answer that nine standardised targets are, the last three in their own units.

    Arguments:
        mean: ``(N, 9)``, standardised.
        deviation: their standard deviations, ``(N, 9)``.

    Example:
        >>> answer = posterior_answer(torch.zeros(1, 9), torch.ones(1, 9))
        >>> round(float(answer.values[0, -1]), 3), round(float(answer.errors[0, -1]), 3)
        (0.105, 0.058)
    """
    values = torch.cat([mean[:, :N_LATENTS], natural(mean)], 1).double()
    # Units are linear in the targets: the difference is the deviation in their own units.
    high = torch.cat([mean[:, :N_LATENTS], natural(mean + deviation)], 1).double()
    errors = high - values
    errors[:, :N_LATENTS] = deviation[:, :N_LATENTS].double()
    return Answer(TARGETS, values, errors, TARGET_UNITS)


@cached_object(maxsize=1)
def _simulator() -> GalaxySimulator:
    return GalaxySimulator(size=SIZE)


@torch.no_grad()
def image_features(images: Tensor) -> Tensor:
    """Return what tells images of training from others, each over its scatter, ``(N, F)``.

    Arguments:
        images: ``(N, 5, 64, 64)``, nanomaggies a pixel.

    Example:
        >>> images = torch.randn(2, 5, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> louder = image_features(2 * images) - image_features(images)
        >>> bool((louder[:, :5] > 10).all())
        True
    """
    place, radius = pixel_places(SIZE, PIXEL)
    sky = radius > _OUTSIDE
    sigma = torch.tensor(SKY_NOISE, dtype=torch.float64)
    images = images.double()
    # Neighbours far from the galaxy differ by noise alone.
    steps = images.diff(dim=-1)[..., sky[:, 1:] & sky[:, :-1]].abs()
    noise = (1.4826 / 2**0.5 * steps.median(-1).values / sigma).clamp(min=1e-9).log()
    level = torch.asinh(2 * images[..., sky].median(-1).values / sigma)
    measured, _ = ApertureFluxes(SIZE, pixel_arcsec=PIXEL)(images.float())
    n_circles = (measured.shape[1] - 3 + 1) // len(BANDS)
    colours = measured[:, 1 : 1 + (len(BANDS) - 1) * n_circles].double()
    colours = colours.unflatten(1, (len(BANDS) - 1, n_circles))
    colours = colours[..., [_INNER, _OUTER]] / torch.tensor(_COLOUR_SCATTER)[:, None]
    spread = measured[:, -1:].double() / _SHAPE_SCATTER
    magnitude = measured[:, :1].double() / _MAGNITUDE_SCATTER
    centre = _centre(images[:, RED], place.double(), radius) / _PLACE_SCATTER
    parts = [noise / _NOISE_SCATTER, level, magnitude, colours.flatten(1), spread, centre]
    return torch.cat(parts, 1)


def _centre(image: Tensor, place: Tensor, radius: Tensor) -> Tensor:
    """Return where the light in the middle lies, ``(N, 2)`` in arcsec."""
    light = (image * (radius < 2.0)).clamp(min=0)
    total = light.sum((1, 2)).clamp(min=1e-6)
    x = (light * place).sum((1, 2)) / total
    y = (light * place[:, None]).sum((1, 2)) / total
    return torch.stack([x, y], 1)


def _prepare(inputs: GalaxyInputs, maps: Any, *, unit: str, bands: Sequence[str]) -> tuple[Tensor]:
    """Return images in nanomaggies a pixel, their bands in the network's order."""
    factor = unit_factor(unit, wanted=inputs.unit)
    order = in_order("bands", bands, inputs.bands)
    words = f"images in {len(inputs.bands)} bands of {inputs.size} x {inputs.size} pixels"
    batch = as_rows(maps, (len(inputs.bands), inputs.size, inputs.size), words=words)
    images = (batch[:, order] * factor).float()
    check_images(images, size=inputs.size)
    return (images,)


def _sample(n: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Draw redshifts ``(n,)`` and images ``(n, 5, H, H)`` of galaxies, as in training."""
    generator = torch.Generator().manual_seed(seed)
    redshifts = []
    images = []
    for start in range(0, n, 100):
        galaxies = _simulator().draw(min(100, n - start), generator=generator)
        redshifts.append(galaxies.redshift)
        images.append(_simulator().images(galaxies, generator=generator))
    return torch.cat(redshifts), torch.cat(images)


@torch.no_grad()
def _answer(ask: Callable[[nn.Module, Tensor], Answer], model: nn.Module, images: Tensor) -> Answer:
    return ask(model, images)


def galaxy_question(
    ask: Callable[[nn.Module, Tensor], Answer], *, outputs: GalaxyOutputs
) -> Question:
    """Return how a network is asked that takes images of galaxies in five bands.

    Arguments:
        ask: ``ask(model, images)`` gives the answer for images ``(N, 5, 64, 64)``, float32.
        outputs: what it gives.
    """
    inputs = GalaxyInputs(
        size=SIZE,
        pixel_arcsec=PIXEL,
        bands=tuple(BANDS),
        filters="Pan-STARRS",
        unit="nanomaggies",
        noise=SKY_NOISE,
        psf_fwhm=PSF_FWHM,
        galaxy="one, in the middle; sky subtracted",
    )
    return Question(
        inputs=inputs,
        outputs=outputs,
        needs=("unit", "bands"),
        takes=(),
        prepare=partial(_prepare, inputs),
        sample=_sample,
        features=image_features,
        answer=partial(_answer, ask),
        compared="noise, sky level, unit, order of bands, brightness, colours, centre",
        skies=_SKIES,
        margin=1.1,
    )
