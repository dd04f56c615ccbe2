"""How the networks of chapter 6 are asked: patches and maps with holes, filled, and compared.

A patch is compared with skies as in training behind the same mask. All are filled exactly by the
spectrum of the training, and divided by it: what is left has the same power at every multipole,
but for the holes. A spectrum, a beam, a noise or a unit that is another shows in bands of it.

Shapes: N patches ``(N, H, H)``, F bands; masks ``(H, H)`` True where seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.arrays import as_tensor
from skytutor.chapters.question import Answer, Question
from skytutor.chapters.question_checks import as_rows, check_noise, check_pixels, unit_factor
from skytutor.data.patches import SETUPS, flat_sky, mixed_mask
from skytutor.fields.flat import FlatSky
from skytutor.fields.holes import DenseHole, check_hard_mask
from skytutor.memo import cached_object

__all__ = [
    "NO_ERRORS",
    "FillOutputs",
    "PatchInputs",
    "exact_errors",
    "fill_outputs",
    "hidden_numbers",
    "log_powers",
    "mixed_masks",
    "patch_question",
    "seen_pixels",
    "whitened_powers",
]

SIZE = 64
_BINS = 8
_SKIES = 400  # that patches are compared with
NO_ERRORS = "none: the network gives a fill alone"  # what a card says of errors

# What is filled, and its error where there is one: of a network, data and a mask.
PatchFill = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class PatchInputs:
    """What the patches were that a network was trained on.

    Attributes:
        size: pixels along a side.
        pixel_arcmin: side of a pixel.
        edges: what lies beyond them.
        fields: of a patch.
        unit: of the values.
        noise: standard deviation of white noise in a pixel, in that unit.
        beam: what blurs the sky.
        spectrum: of the sky.
        hidden: the largest fraction of a patch that a mask may hide: of training, or of the test.
        mask: what those of training look like.
    """

    size: int
    pixel_arcmin: float
    edges: str
    fields: tuple[str, ...]
    unit: str
    noise: tuple[float, ...]
    beam: str
    spectrum: str
    hidden: float
    mask: str


@dataclass(frozen=True)
class FillOutputs:
    """What the numbers of a filled map are.

    Attributes:
        names: of its fields.
        units: of each.
        values: what stands in the pixels.
        errors: what the errors are.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: str
    errors: str


def fill_outputs(errors: str) -> FillOutputs:
    """Return what a network gives that fills maps of the temperature.

    Arguments:
        errors: what they are.

    Example:
        >>> fill_outputs("none").units
        ('muK',)
    """
    return FillOutputs(
        names=("T",),
        units=("muK",),
        values="the data where seen; the mean of the signal where hidden",
        errors=errors,
    )


@cached_object(maxsize=1)
def _sky() -> FlatSky:
    return flat_sky("B", SIZE)


def hidden_numbers(seen: Tensor) -> tuple[int, ...]:
    """Return the numbers of the hidden pixels: unlike a mask, they are hashable.

    Arguments:
        seen: bool, of any shape, flattened to be numbered.

    Example:
        >>> hidden_numbers(torch.tensor([[True, False], [True, False]]))
        (1, 3)
    """
    return tuple((~seen).flatten().nonzero()[:, 0].tolist())


def seen_pixels(hidden: tuple[int, ...], n_pixels: int) -> Tensor:
    """Return the flattened mask of which `hidden_numbers` gave the numbers, bool ``(n_pixels,)``.

    Arguments:
        hidden: numbers of the hidden pixels.
        n_pixels: of the mask.

    Example:
        >>> seen_pixels((1, 3), 4)
        tensor([ True, False,  True, False])
    """
    seen = torch.ones(n_pixels, dtype=torch.bool)
    seen[list(hidden)] = False
    return seen


def _seen(hidden: tuple[int, ...]) -> Tensor:
    return seen_pixels(hidden, SIZE**2).view(SIZE, SIZE)


def log_powers(squares: Tensor, bins: Tensor, *, counts: Tensor) -> Tensor:
    """Return logarithms of mean squares in bands, each over its scatter, ``(N, F)`` float64.

    The scatter of the logarithm of a mean of n squares is ``sqrt(2 / n)``.

    Arguments:
        squares: of the amplitudes over what is expected of them, ``(N, K)`` float64.
        bins: the band of each, ``(K,)`` int64 from 0 on, none of them empty.
        counts: how many amplitudes each stands for, ``(K,)`` float64.

    Example:
        >>> squares = torch.ones(1, 4, dtype=torch.float64)
        >>> log_powers(squares, torch.tensor([0, 0, 1, 1]), counts=squares[0])
        tensor([[0., 0.]], dtype=torch.float64)
    """
    n_bins = int(bins.max()) + 1
    n = counts.new_zeros(n_bins).index_add(0, bins, counts)
    sums = squares.new_zeros(len(squares), n_bins).index_add(1, bins, squares * counts)
    return (sums / n).clamp(min=1e-60).log() / (2 / n).sqrt()


def whitened_powers(patches: Tensor, hidden: tuple[int, ...]) -> Tensor:
    """Return logarithms of powers over those of the training's sky, each over its scatter.

    Arguments:
        patches: ``(N, 64, 64)`` in muK; hidden pixels do not count.
        hidden: numbers of the hidden pixels in a flattened patch.

    Returns:
        ``(N, F)`` float64, bands of the multipole from the lowest on.

    Example:
        >>> patches = 50 * torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> powers = whitened_powers(patches, (5, 6, 7))
        >>> bool((whitened_powers(10 * patches, (5, 6, 7)) > powers + 5).all())
        True
    """
    sky = _sky()
    filled = DenseHole(sky.precision, _seen(hidden)).fill(patches.double())
    squares = torch.fft.rfft2(filled, norm="ortho").abs().square() * sky.precision
    # A mode and its mirror image are one where the half plane ends.
    counts = torch.full_like(sky.precision, 2.0)
    counts[:, 0] = 1
    counts[:, -1] = 1
    edges = torch.logspace(0, 1, _BINS, base=float(sky.l.max() / sky.l[0, 1])) * sky.l[0, 1]
    bins = torch.bucketize(sky.l, 0.999 * edges[1:-1], right=True).flatten()
    return log_powers(squares.flatten(1), bins, counts=counts.flatten())


def exact_errors(mask: Tensor) -> Tensor:
    """Return the least possible errors of the signal of set-up B behind a mask.

    Arguments:
        mask: ``(64, 64)``, True where seen.

    Returns:
        standard deviations ``(64, 64)`` in muK; the noise where the sky is seen.

    Example:
        >>> mask = torch.ones(64, 64, dtype=torch.bool)
        >>> mask[30:34, 30:34] = False
        >>> errors = exact_errors(mask)
        >>> float(errors[0, 0]), bool(errors[31, 31] > errors[30, 30] > 5)
        (5.0, True)
    """
    hole = DenseHole(_sky().precision, mask)
    noise = _sky().noise
    errors = torch.full(mask.shape, noise, dtype=torch.float64)
    # The variance is that of the data; the noise of hidden pixels is no part of the signal.
    errors[~mask] = (hole.variance - noise**2).sqrt()
    return errors


def mixed_masks(generator: torch.Generator) -> Tensor:
    """Draw a mask of the kind that most of the chapter's networks train on, ``(64, 64)`` bool.

    Arguments:
        generator: of the random numbers.

    Example:
        >>> mixed_masks(torch.Generator().manual_seed(0)).shape
        torch.Size([64, 64])
    """
    return mixed_mask(SIZE, pixel_arcmin=_sky().pixel_arcmin, generator=generator)


def _prepare(
    inputs: PatchInputs, maps: Tensor, *, unit: str, mask: Tensor, noise: float | None = None
) -> tuple[Tensor, tuple[int, ...]]:
    """Return patches in muK, 0 where hidden, and the numbers of the hidden pixels."""
    factor = unit_factor(unit, wanted=inputs.unit)
    words = f"patches of {inputs.size} x {inputs.size} pixels"
    batch = as_rows(maps, (inputs.size, inputs.size), words=words)
    seen = _one_mask(mask, inputs.size)
    part = float((~seen).double().mean())
    if part > inputs.hidden:
        raise ValueError(
            f"mask must hide at most {inputs.hidden:.0%} of a patch, more than which the network "
            f"was never asked to fill, got one that hides {part:.0%}"
        )
    check_pixels(batch, seen)
    if noise is not None:
        check_noise(float(noise) * factor, inputs.noise)
    return torch.where(seen, batch, 0) * factor, hidden_numbers(seen)


def _one_mask(mask: Any, size: int) -> Tensor:
    """Return the mask of all patches as bool ``(H, H)``."""
    given = as_tensor("mask", mask).detach().cpu()
    if given.dim() != 2:
        raise ValueError(
            f"mask must be ({size}, {size}), one for all patches, got shape {tuple(given.shape)}"
        )
    return check_hard_mask(given, size=size)


@torch.no_grad()
def _answer(fill: PatchFill, model: nn.Module, maps: Tensor, hidden: tuple[int, ...]) -> Answer:
    """Return filled patches ``(N, 1, H, H)`` and their errors."""
    filled, errors = fill(model, maps, _seen(hidden))
    if errors is not None:
        errors = errors.double().expand_as(maps)[:, None]
    return Answer(("T",), filled.cpu().double()[:, None], errors, ("muK",))


def _draw_skies(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return _sky().draw(n, generator=generator)


def _sample(
    draw_mask: Callable[[torch.Generator], Tensor],
    draw_skies: Callable[[int, torch.Generator], tuple[Tensor, Tensor]],
    n: int,
    *,
    seed: int,
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Draw signal and data ``(n, H, H)``, and a mask of training."""
    generator = torch.Generator().manual_seed(seed)
    seen = draw_mask(generator)
    signal, data = draw_skies(n, generator)
    return signal, data, hidden_numbers(seen)


def patch_question(
    fill: PatchFill,
    *,
    draw_mask: Callable[[torch.Generator], Tensor] = mixed_masks,
    draw_skies: Callable[[int, torch.Generator], tuple[Tensor, Tensor]] | None = None,
    hidden: float = 0.55,
    mask: str = "discs of 5 to 147 arcmin, and blobs",
    spectrum: str = "best fit to Planck's data of 2018, lensed",
    errors: str = NO_ERRORS,
) -> Question:
    """Return how a network is asked that fills patches of set-up B.

    Arguments:
        fill: ``fill(model, data, mask)`` gives maps ``(N, 64, 64)`` and their standard deviations,
            of that shape or ``(64, 64)``, or None.
        draw_mask: of training, from a generator.
        draw_skies: signal and data of training, from their number and a generator; None for those
            of set-up B.
        hidden: the largest fraction that a mask may hide.
        mask: what those of training look like, for the card.
        spectrum: of the skies, likewise.
        errors: what the errors are, for the card.
    """
    setup = SETUPS["B"]
    inputs = PatchInputs(
        size=SIZE,
        pixel_arcmin=setup.pixel_arcmin,
        edges="periodic: what leaves a patch on one side comes in on the other",
        fields=("T",),
        unit="muK",
        noise=(setup.noise,),
        beam=f"Gaussian, {setup.beam_arcmin} arcmin full width at half maximum",
        spectrum=spectrum,
        hidden=hidden,
        mask=mask,
    )
    return Question(
        inputs=inputs,
        outputs=fill_outputs(errors),
        needs=("unit", "mask"),
        takes=("noise",),
        prepare=partial(_prepare, inputs),
        sample=partial(_sample, draw_mask, draw_skies or _draw_skies),
        features=whitened_powers,
        answer=partial(_answer, fill),
        compared=f"noise (it saw {setup.noise:g} muK), unit, beam, pixel size, foregrounds, edges",
        skies=_SKIES,
        margin=1.1,
        mask_axes=2,
    )
