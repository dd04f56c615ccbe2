"""How the network on the sphere is asked: maps with holes, filled, and compared.

Shapes: N maps ``(N, P)``, RING once they are prepared, F bands; masks ``(P,)`` True where seen.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.arrays import as_tensor
from skytutor.chapters.inpainting.question import (
    fill_outputs,
    hidden_numbers,
    log_powers,
    seen_pixels,
)
from skytutor.chapters.inpainting.sphere_masks import draw_mask
from skytutor.chapters.inpainting.sphere_sky import SphereSky
from skytutor.chapters.question import Answer, Question
from skytutor.chapters.question_checks import as_rows, check_noise, check_pixels, unit_factor
from skytutor.fields.preconditioners import HolePreconditioner
from skytutor.healpix import npix_to_nside, nside_to_npix, pixel_area, reorder
from skytutor.memo import cached_object
from skytutor.validate import hard_mask, one_of

__all__ = ["SphereInputs", "sphere_powers", "sphere_question"]

_BINS = 8
_SKIES = 200  # that maps are compared with
_HIDDEN = 0.3  # of the sky: more than masks of training hide


@dataclass(frozen=True)
class SphereInputs:
    """What the maps were that the network was trained on.

    Attributes:
        nside: resolution of the maps.
        order: in which the network takes its pixels; `predict` converts.
        fields: of a map.
        unit: of the values.
        noise: standard deviation of white noise in a pixel, in that unit.
        beam: what blurs the sky.
        spectrum: of the sky.
        hidden: the largest fraction of the sky that a mask may hide.
        mask: what those of training look like.
    """

    nside: int
    order: str
    fields: tuple[str, ...]
    unit: str
    noise: tuple[float, ...]
    beam: str
    spectrum: str
    hidden: float
    mask: str


@cached_object(maxsize=2)
def _sky(nside: int) -> SphereSky:
    return SphereSky(nside)


@cached_object(maxsize=2)
def _hole(nside: int, hidden: tuple[int, ...]) -> HolePreconditioner:
    """Return the dense matrix of the hidden pixels: for uniform noise nearly the exact fill."""
    sky = _sky(nside)
    weight = _seen(nside, hidden) / sky.noise**2
    return HolePreconditioner(sky.root, weight, harmonics=sky.harmonics)


def _seen(nside: int, hidden: tuple[int, ...]) -> Tensor:
    return seen_pixels(hidden, nside_to_npix(nside))


@torch.no_grad()
def sphere_powers(nside: int, maps: Tensor, hidden: tuple[int, ...], order: str) -> Tensor:
    """Return logarithms of powers over those of the training's sky, each over its scatter.

    Arguments:
        nside: of the maps.
        maps: ``(N, P)`` float64, RING, muK; hidden pixels do not count.
        hidden: numbers of the hidden pixels, RING.
        order: not used: that in which they were given.

    Returns:
        ``(N, F)`` float64, bands of the degree from the lowest on.

    Example:
        >>> maps = torch.randn(2, 768, generator=torch.Generator().manual_seed(0)).double()
        >>> powers = sphere_powers(8, maps, (5, 6, 7), "ring")
        >>> bool((sphere_powers(8, 10 * maps, (5, 6, 7), "ring") > powers + 5).all())
        True
    """
    sky = _sky(nside)
    seen = _seen(nside, hidden)
    x = _hole(nside, hidden)(sky.right_side(maps, seen))
    filled = torch.where(seen, maps, sky.synthesis(x))
    noise_power = sky.noise**2 * pixel_area(nside)
    squares = sky.harmonics.analysis(filled).square() / (sky.cl + noise_power)[sky.degree]
    edges = torch.logspace(0, math.log10(sky.lmax + 1), _BINS, dtype=torch.float64)
    bins = torch.bucketize(sky.degree.double(), edges[1:-1], right=True)
    return log_powers(squares, bins, counts=squares.new_ones(len(bins)))


def _prepare(
    inputs: SphereInputs,
    maps: Tensor,
    *,
    order: str,
    unit: str,
    mask: Tensor,
    noise: float | None = None,
) -> tuple[Tensor, tuple[int, ...], str]:
    """Return maps in RING order and muK, 0 where hidden, the hidden pixels, and the order given."""
    one_of("order", order, allowed=("ring", "nested"))
    factor = unit_factor(unit, wanted=inputs.unit)
    n_pixels = nside_to_npix(inputs.nside)
    ring = _moved(
        as_rows(maps, (n_pixels,), words=f"T at nside {inputs.nside}"), order, target="ring"
    )
    seen = _moved(_one_mask(mask, n_pixels), order, target="ring")
    part = float((~seen).double().mean())
    if not 0 < part <= inputs.hidden:
        raise ValueError(
            f"mask must hide some pixels and at most {inputs.hidden:.0%} of the sky, more than "
            f"which the network was never asked to fill, got one that hides {part:.0%}"
        )
    check_pixels(ring, seen)
    if noise is not None:
        check_noise(float(noise) * factor, inputs.noise)
    return torch.where(seen, ring, 0) * factor, hidden_numbers(seen), order


def _one_mask(mask: Any, n_pixels: int) -> Tensor:
    given = hard_mask(as_tensor("mask", mask).detach().cpu())
    if given.shape != (n_pixels,):
        raise ValueError(
            f"mask must be ({n_pixels},), one for all maps, got shape {tuple(given.shape)}"
        )
    return given


def _moved(maps: Tensor, source: str, *, target: str) -> Tensor:
    return maps if source == target else reorder(maps, source=source, target=target)


@torch.no_grad()
def _answer(model: nn.Module, maps: Tensor, hidden: tuple[int, ...], order: str) -> Answer:
    """Return filled maps and their errors ``(N, 1, P)``, in the order in which they were given."""
    nside = npix_to_nside(maps.shape[-1])
    noise = _sky(nside).noise
    filled = model(maps, _seen(nside, hidden))
    # The inverse of the matrix is the covariance of the hidden data in units of the noise.
    hole = _hole(nside, hidden)
    variance = torch.cholesky_inverse(hole.cholesky).diagonal() - 1
    errors = torch.full(maps.shape[-1:], noise, dtype=torch.float64)
    errors[hole.index] = noise * variance.sqrt()
    values = _moved(filled, "ring", target=order)[:, None]
    errors = _moved(errors, "ring", target=order).expand(values.shape)
    return Answer(("T",), values, errors, ("muK",))


def _sample(nside: int, n: int, *, seed: int) -> tuple[Tensor, Tensor, tuple[int, ...], str]:
    """Draw signal and data ``(n, P)``, and a mask of training."""
    generator = torch.Generator().manual_seed(seed)
    seen = draw_mask(nside, generator=generator)
    signal, data = _sky(nside).draw(n, generator=generator)
    return signal, data, hidden_numbers(seen), "ring"


def sphere_question(nside: int) -> Question:
    """Return how the network is asked that fills maps of one nside.

    Arguments:
        nside: of the maps.

    Example:
        >>> sphere_question(32).inputs.beam
        'Gaussian, 3.66 degrees full width at half maximum'
    """
    # The set-up of `SphereSky`: two pixels, and 5 muK.
    beam = math.degrees(2 * pixel_area(nside) ** 0.5)
    inputs = SphereInputs(
        nside=nside,
        order="ring",
        fields=("T",),
        unit="muK",
        noise=(5.0,),
        beam=f"Gaussian, {beam:.3g} degrees full width at half maximum",
        spectrum="best fit to Planck's data of 2018, lensed, up to l = 2.5 nside",
        hidden=_HIDDEN,
        mask="a ragged band along a great circle, and discs",
    )
    errors = "standard deviation of the signal given the data, by the spectrum of the training; "
    errors += "the noise where seen"
    return Question(
        inputs=inputs,
        outputs=fill_outputs(errors),
        needs=("order", "unit", "mask"),
        takes=("noise",),
        prepare=partial(_prepare, inputs),
        sample=partial(_sample, nside),
        features=partial(sphere_powers, nside),
        answer=_answer,
        compared="noise (it saw 5 muK), unit, pixel order, beam, foregrounds",
        skies=_SKIES,
        margin=1.1,
    )
