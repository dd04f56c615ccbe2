"""How the networks of chapter 5 are asked: images in some bands, and the same sky in others.

Images are compared with scenes as in training, band by band, in what differs from pixel to pixel:
the noise, the sky's level, how bright the brightest pixels are and how sharp. Where single photons
are counted the smallest step between two pixels shows the unit.

Shapes: N scenes, F = 10 bands, of which I are given and T are asked for, H = 64 pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.arrays import as_tensor
from skytutor.chapters.question import Answer, Question
from skytutor.chapters.question_checks import as_rows, check_pixels, in_order, unit_factor
from skytutor.chapters.translation.stretch import softenings
from skytutor.chapters.translation.subsets import TARGETS, check_request
from skytutor.data.bands import SceneSimulator
from skytutor.data.surveys import BANDS
from skytutor.memo import cached_object
from skytutor.validate import hard_mask, one_of

__all__ = ["BandInputs", "BandOutputs", "Names", "band_features", "band_question"]

SIZE = 64
PIXEL = 0.8  # arcsec
_ALL = tuple(BANDS)
_SCENES = 160  # that images are compared with
_CHUNK = 25  # scenes at a time, for the memory's sake
# What counts as far in each feature: about its scatter among scenes of training.
_NOISE_SCATTER = 0.07
_LEVEL_SCATTER = 0.4
_BRIGHT_SCATTER = 1.0
_SHARP_SCATTER = 0.3
_STEP_SCATTER = 0.2
_MEAN_SCATTER = 0.8
_FEW = 0.005  # of the differences between pixels that are not 0

Names = tuple[str, ...]
# The answer of a network: of all F bands, where they are measured, which are given, and which are
# asked for; images ``(N, T, H, H)`` and their standard deviations, or None.
Translate = Callable[[nn.Module, Tensor, Tensor, Names, Names], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class BandInputs:
    """What the images were that a network was trained on.

    Attributes:
        size: pixels along a side.
        pixel_arcsec: side of a pixel.
        bands: that it may be given, any of them or all, as `how_many` says.
        how_many: how many of them.
        surveys: whose they are.
        unit: of the values.
        noise: standard deviation in an empty pixel of each band, in that unit.
        psf_fwhm: full width at half maximum of the point spread function in each band, arcsec.
        sky: what has been done with it.
    """

    size: int
    pixel_arcsec: float
    bands: Names
    how_many: str
    surveys: Names
    unit: str
    noise: tuple[float, ...]
    psf_fwhm: tuple[float, ...]
    sky: str


@dataclass(frozen=True)
class BandOutputs:
    """What the numbers of an answer are.

    Attributes:
        names: of the bands that may be asked for.
        units: of each.
        values: what stands in the pixels.
        errors: what the errors of an answer are.
    """

    names: Names
    units: Names
    values: str
    errors: str


@cached_object(maxsize=1)
def _simulator() -> SceneSimulator:
    return SceneSimulator(size=SIZE, pixel_arcsec=PIXEL)


def _noises(bands: Sequence[str]) -> Tensor:
    """Return the noise of an empty pixel of each band: half of the softening of its stretch."""
    return softenings(bands, pixel_arcsec=PIXEL).double() / 2


def band_features(images: Tensor, bands: Names, targets: Names) -> Tensor:
    """Return what tells images of training from others, each over its scatter, ``(N, 4 I)``.

    Arguments:
        images: ``(N, 10, 64, 64)``, nanomaggies a pixel, all bands of `skytutor.data.surveys.BANDS`
            in their order; those that are not given do not count. NaN where nothing was measured.
        bands: names of the I bands that are given.
        targets: not used: the bands that are asked for.

    Example:
        >>> noise = torch.randn(2, 10, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> features = band_features(noise, ("blue", "red"), ("g",))
        >>> louder = band_features(2 * noise, ("blue", "red"), ("g",))
        >>> features.shape, bool((louder > features)[:, 0].all())
        (torch.Size([2, 8]), True)
    """
    found = []
    for name, noise in zip(bands, _noises(bands), strict=True):
        image = images[:, _ALL.index(name)].double() / noise
        steps = image.diff(dim=-1).abs().flatten(1)
        values = image.flatten(1)
        if BANDS[name].kind == "photons":
            count = 1 / (BANDS[name].counts_per_nanomaggie * noise)
            found.append(_photon_features(steps, values, count))
        else:
            wide = (image[..., 3:] - image[..., :-3]).flatten(1)
            found.append(_sky_features(steps, values, wide))
    return torch.cat(found, 1)


def _logarithm(values: Tensor) -> Tensor:
    return values.clamp(min=1e-9).log()


def _level(values: Tensor) -> Tensor:
    """Return the median of pixels ``(N, P)`` in units of the noise, linear where it is small."""
    return torch.asinh(values.nanmedian(1).values) / _LEVEL_SCATTER


def _sky_features(steps: Tensor, values: Tensor, wide: Tensor) -> Tensor:
    """Return noise, level, brightness and sharpness of one band, ``(N, 4)``."""
    noise = _logarithm(steps.nanmedian(1).values) / _NOISE_SCATTER
    # Bright pixels only: below the noise this would be the noise again.
    bright = values.nanquantile(0.98, dim=1).clamp(min=0.3).log() / _BRIGHT_SCATTER
    # The sharper a source, the less do three pixels more add to a difference.
    sharp = _logarithm(wide.square().nanmean(1)) - _logarithm(steps.square().nanmean(1))
    return torch.stack([noise, _level(values), bright, sharp / _SHARP_SCATTER], 1)


def _photon_features(steps: Tensor, values: Tensor, count: Tensor) -> Tensor:
    """Return step, level, mean difference and number of lit pixels of one band, ``(N, 4)``."""
    # The smallest difference there is, beyond rounding, is that of one photon.
    smallest = torch.where(steps > 1e-3 * count, steps, torch.inf).amin(1)
    step = _logarithm(torch.where(smallest.isfinite(), smallest / count, 1.0)) / _STEP_SCATTER
    lit = (steps > 1e-3 * count).double().mean(1)
    # Of a few photons the smallest step may be two: it counts where there are many.
    step = step * lit / (lit + _FEW)
    mean = _logarithm(steps.nanmean(1)) / _MEAN_SCATTER
    return torch.stack([step, _level(values), mean, lit.clamp(min=1e-3).log() / _MEAN_SCATTER], 1)


def _prepare(
    inputs: BandInputs,
    answers: Names,
    fixed: bool,
    maps: Any,
    *,
    unit: str,
    bands: Sequence[str],
    targets: Sequence[str] = TARGETS,
    mask: Tensor | None = None,
) -> tuple[Tensor, Names, Names]:
    """Return all bands ``(N, F, H, H)``, which are given, and which are asked for.

    Pixels that were not measured are NaN, bands that are not given 0.
    """
    factor = unit_factor(unit, wanted=inputs.unit)
    check_request(bands, targets)
    if fixed:
        in_order("bands", bands, inputs.bands)
    for name in targets:
        one_of("targets", name, allowed=answers)
    words = f"images in {len(bands)} bands of {SIZE} x {SIZE} pixels"
    batch = as_rows(maps, (len(bands), SIZE, SIZE), words=words)
    measured = ~batch.isnan()
    if mask is not None:
        measured = measured & _as_mask(mask, batch)
    check_pixels(batch, measured)
    if not bool(measured.flatten(2).any(2).all()):
        raise ValueError("maps must be measured somewhere in each band that is given, got all NaN")
    images = batch.new_zeros(len(batch), len(_ALL), SIZE, SIZE)
    columns = [_ALL.index(name) for name in bands]
    images[:, columns] = torch.where(measured, batch * factor, torch.nan)
    return images.float(), tuple(name for name in _ALL if name in bands), tuple(targets)


def _as_mask(mask: Any, batch: Tensor) -> Tensor:
    """Return where images were measured, of a shape that broadcasts with theirs."""
    seen = hard_mask(as_tensor("mask", mask).detach().cpu())
    if seen.shape not in (batch.shape[2:], batch.shape[1:], batch.shape):
        raise ValueError(
            f"mask must be {tuple(batch.shape[2:])}, {tuple(batch.shape[1:])} or "
            f"{tuple(batch.shape)}, True where the images were measured, "
            f"got shape {tuple(seen.shape)}"
        )
    return seen


@cached_object(maxsize=1)
def _drawn(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw images of n scenes without and with noise, ``(n, F, H, H)``, as in training.

    Whatever bands are given, the scenes are the same ones: they are kept.
    """
    generator = torch.Generator().manual_seed(seed)
    truths = []
    for start in range(0, n, _CHUNK):
        scenes = _simulator().draw(min(_CHUNK, n - start), generator=generator)
        truths.append(_simulator().truth(scenes))
    seen = _simulator().expose(torch.cat(truths), generator=generator)
    images = torch.where(seen.ivar > 0, seen.images, torch.nan)
    return seen.truth, images


def _sample(bands: Names, n: int, *, seed: int) -> tuple[Tensor, Tensor, Names, Names]:
    truth, images = _drawn(n, seed)
    return truth.clone(), images.clone(), bands, TARGETS


@torch.no_grad()
def _answer(
    translate: Translate,
    model: nn.Module,
    images: Tensor,
    bands: Names,
    targets: Names,
) -> Answer:
    """Return images of the bands that are asked for, ``(N, T, H, H)``."""
    # The networks ask of an inverse variance only whether there is one.
    ivar = images.isfinite().float()
    values, errors = translate(model, images.nan_to_num(nan=0.0), ivar, bands, targets)
    known = None if errors is None else errors.cpu().double()
    return Answer(targets, values.cpu().double(), known, ("nanomaggies",) * len(targets))


def band_question(
    translate: Translate,
    *,
    bands: Names = _ALL,
    targets: Names = _ALL,
    fixed: bool = False,
    values: str,
    errors: str = "none: the network gives images alone",
) -> Question:
    """Return how a network is asked that takes images in some bands.

    Arguments:
        translate: ``translate(model, images, ivar, bands, targets)`` gives images of the targets
            and their standard deviations, or None.
        bands: that it may be given.
        targets: that it may be asked for.
        fixed: whether it takes all of these bands, and answers with all of these targets.
        values: what stands in the pixels of an answer, for the card.
        errors: what the errors are, for the card.
    """
    inputs = BandInputs(
        size=SIZE,
        pixel_arcsec=PIXEL,
        bands=bands,
        how_many="all of them" if fixed else "one or more",
        surveys=tuple(BANDS[name].survey for name in bands),
        unit="nanomaggies",
        noise=tuple(round(noise, 6) for noise in _noises(bands).tolist()),
        psf_fwhm=tuple(BANDS[name].fwhm for name in bands),
        sky="subtracted",
    )
    outputs = BandOutputs(
        names=targets, units=("nanomaggies",) * len(targets), values=values, errors=errors
    )
    return Question(
        inputs=inputs,
        outputs=outputs,
        needs=("unit", "bands"),
        takes=("mask", "targets"),
        prepare=partial(_prepare, inputs, targets, fixed),
        sample=partial(_sample, bands if fixed else ("blue", "red")),
        features=band_features,
        answer=partial(_answer, translate),
        compared="noise, sky level, unit, order of bands, sharpness, brightness",
        skies=_SCENES,
        margin=1.1,
        mask_axes=None,
    )
