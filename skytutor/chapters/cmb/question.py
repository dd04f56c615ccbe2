"""How the networks of chapter 3 are asked: inputs, outputs, answers, and powers in bands of l.

Shapes: N maps, K parameters, P = 12 nside**2 pixels in RING order, F features.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from skytutor.arrays import as_tensor
from skytutor.chapters.cmb.summaries import summary_statistics
from skytutor.chapters.question import Answer, Inputs, Outputs, Question
from skytutor.chapters.question_checks import as_rows, check_noise, check_pixels, unit_factor
from skytutor.data.cmb import STUDIES, GaussianSkySimulator
from skytutor.healpix import nside_to_npix, reorder
from skytutor.memo import cached_object
from skytutor.sht import RealHarmonics, real_degrees
from skytutor.validate import one_of

__all__ = ["binned_powers", "make_question"]

# A power below this fraction of the map's largest is rounding of float32.
_ROUNDING = 1e-6
_BINS = 8


@cached_object(maxsize=4)
def _harmonics(nside: int, spin: int) -> RealHarmonics:
    return RealHarmonics(nside, 3 * nside - 1, spin=spin, order="ring")


def _edges(lmax: int) -> Tensor:
    """Return the first l of each bin, geometric from 4 on; below it all is one bin."""
    steps = torch.logspace(2, float(torch.tensor(lmax + 1.0).log2()), _BINS, base=2.0)
    return steps.round().long().unique()[:-1]


@torch.no_grad()
def binned_powers(maps: Tensor, *, nside: int, spin: int) -> Tensor:
    """Return logarithms of the powers of maps in bins of l, each over its scatter.

    The scatter of the logarithm of a power that is the mean of n squares is ``sqrt(2 / n)``. The
    powers are those of the map as it is, noise and mask included: they are compared with those of
    other maps of the same mask alone.

    Arguments:
        maps: ``(N, P)``, or with spin 2 Q and U ``(N, 2, P)``, RING.
        nside: of the maps.
        spin: 0 or 2.

    Returns:
        ``(N, F)`` float64: bins of T, or of E and then B.

    Example:
        >>> maps = torch.randn(2, 192, generator=torch.Generator().manual_seed(0))
        >>> powers = binned_powers(maps, nside=4, spin=0)
        >>> louder = binned_powers(10 * maps, nside=4, spin=0)
        >>> bool((louder > powers + 5).all())
        True
    """
    harmonics = _harmonics(nside, spin)
    lmax = 3 * nside - 1
    squares = harmonics.analysis(maps.float()).double().square()
    squares = squares.view(len(maps), -1, squares.shape[-1])  # (N, 1 or 2, (lmax + 1)**2)
    l = real_degrees(lmax)[0]
    bins = torch.bucketize(l, _edges(lmax), right=True)
    n_bins = int(bins.max()) + 1
    # Spin 2 has no l below 2: those squares are 0, and are not counted.
    counted = (l >= spin).double()
    counts = torch.zeros(n_bins, dtype=torch.float64).index_add(0, bins, counted)
    sums = squares.new_zeros(*squares.shape[:2], n_bins).index_add(2, bins, squares * counted)
    means = sums / counts
    floor = _ROUNDING * means.amax((1, 2), keepdim=True)
    logs = (means + floor).clamp(min=1e-60).log()
    return (logs / (2 / counts).sqrt()).flatten(1)


def _prepare(
    simulator: GaussianSkySimulator,
    inputs: Inputs,
    maps: Tensor,
    *,
    order: str,
    unit: str,
    noise: float | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor]:
    """Return maps in RING order and in the network's unit, 0 where it does not look."""
    one_of("order", order, allowed=("ring", "nested"))
    factor = unit_factor(unit, wanted=inputs.unit)
    seen = simulator.mask
    fields = () if len(inputs.fields) == 1 else (len(inputs.fields),)
    words = f"{', '.join(inputs.fields)} at nside {inputs.nside}"
    batch = as_rows(maps, (*fields, nside_to_npix(inputs.nside)), words=words)
    ring = _as_ring(batch, order=order)
    _check_mask(mask, inputs, order=order, seen=seen)
    check_pixels(ring, seen)
    if noise is not None:
        check_noise(float(noise) * factor, inputs.noise)
    # Unseen pixels may hold anything, NaN too: they are replaced, not multiplied by 0.
    return (torch.where(seen, ring, 0) * factor,)


def _as_ring(maps: Tensor, *, order: str) -> Tensor:
    return maps if order == "ring" else reorder(maps, source="nested", target="ring")


def _check_mask(mask: Tensor | None, inputs: Inputs, *, order: str, seen: Tensor) -> None:
    """Refuse a mask that hides what the network looks at."""
    if mask is None:
        return
    given = as_tensor("mask", mask).detach().cpu().double()
    if given.shape != seen.shape:
        raise ValueError(
            f"mask must be {tuple(seen.shape)} for nside {inputs.nside}, "
            f"got shape {tuple(given.shape)}"
        )
    hidden = int((seen & ~(_as_ring(given, order=order) > 0)).sum())
    if hidden:
        raise ValueError(
            f"mask must show all {int(seen.sum())} pixels that the network looks at "
            f"(its mask: {inputs.mask}), got one that hides {hidden} of them"
        )


@torch.no_grad()
def _answer(simulator: GaussianSkySimulator, model: nn.Module, maps: Tensor) -> Answer:
    """Return values and errors ``(N, K)`` in the parameters' units."""
    summaries = summary_statistics(simulator)(maps.float())
    device = next(model.parameters()).device
    answers = model(summaries.to(device), precomputed=True).cpu().double()
    mean = answers[..., 0]
    sd = answers[..., 1].exp()
    # The interval is one of logarithms, and not symmetric in the parameter: its mean arm is given.
    low = simulator.unnormalise(mean - sd)
    high = simulator.unnormalise(mean + sd)
    names = simulator.names
    return Answer(names, simulator.unnormalise(mean), (high - low) / 2, _units(names))


def _units(names: Sequence[str]) -> tuple[str, ...]:
    """Return the units of parameters: none of this chapter's has any."""
    return ("1",) * len(names)


def _sample(
    simulators: Sequence[GaussianSkySimulator], n: int, *, seed: int
) -> tuple[Tensor, Tensor]:
    """Draw n skies, as many of each simulator; parameters ``(n, K)`` and maps."""
    each = -(-n // len(simulators))
    drawn = [s.sample(each, seed=seed + 1000 * k) for k, s in enumerate(simulators)]
    parameters = torch.cat([one[0] for one in drawn])
    maps = torch.cat([one[1] for one in drawn])
    return parameters[:n], maps[:n]


def make_question(simulators: Sequence[GaussianSkySimulator]) -> Question:
    """Return how the network is asked that was trained on the skies of some simulators.

    Arguments:
        simulators: of one study, at one nside and sky fraction; they differ in noise.

    Example:
        >>> question = make_question([GaussianSkySimulator("T1", noise=5.0)])
        >>> question.inputs.noise, question.outputs.names, question.outputs.highest
        ((5.0,), ('l_p',), (20.0,))
    """
    first = simulators[0]
    bounds = STUDIES[first.study]
    cap = f"a cap about the north pole with {first.f_sky:.0%} of the sky; 0 beyond it"
    inputs = Inputs(
        nside=first.nside,
        order="ring",
        fields=("Q", "U") if first.spin else ("T",),
        unit="muK" if first.study in ("T3", "T4") else "1",
        noise=tuple(float(s.noise) for s in simulators),
        beam="none, and no pixel window",
        f_sky=first.f_sky,
        mask="none" if first.f_sky == 1 else cap,
    )
    outputs = Outputs(
        names=first.names,
        lowest=tuple(low for _, low, _ in bounds),
        highest=tuple(high for _, _, high in bounds),
        units=_units(first.names),
        scale="logarithms (of r + 5e-4), shifted and scaled: prior from -1 to 1",
        errors="the mean arm of an interval that holds 68.27 % of the truths",
    )
    return Question(
        inputs=inputs,
        outputs=outputs,
        needs=("order", "unit"),
        takes=("noise", "mask"),
        prepare=partial(_prepare, first, inputs),
        sample=partial(_sample, tuple(simulators)),
        features=partial(binned_powers, nside=first.nside, spin=first.spin),
        answer=partial(_answer, first),
        compared=f"noise (it saw {inputs.noise}), unit, pixel order, sign of U, beam",
    )
