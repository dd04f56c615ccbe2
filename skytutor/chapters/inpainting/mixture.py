r"""A network that sees which way a sky is stretched, and fills holes with a spectrum to match.

It learns from skies, holes and what was behind them, and is given no formula for the stretching. A
first fill treats all directions alike. The power of its Fourier modes, weighted by a learned
function of l, makes one complex number e: its angle is twice that of an axis, its length between 0
and 1 says how clear the axis is. The logarithm of the precision is then a learned function of l and
of the angle :math:`\varphi` between mode and x axis,

.. math:: \log Q(k) = \sum_{m=0}^{M} a_m(l)\, \mathrm{Re}\left(e^m\, e^{-2 i m \varphi}\right),

so that a turned sky has a turned precision. Conjugate gradients on Q fill the holes, and the
squared error of what they fill is what trains all of it.

Shapes: maps ``(B, H, H)``; modes ``(H, H // 2 + 1)``; masks ``(B, H, H)``, True where seen.
"""

import torch
from torch import Tensor, nn

from skytutor.fields.flat import filter_maps, frequencies
from skytutor.fields.holes import check_hard_mask, seen_only
from skytutor.sht.solvers import conjugate_gradients

__all__ = ["AxisFromPower", "RadialFunctions", "SteeredFill", "SteeredPrecision"]


class RadialFunctions(nn.Module):
    """Learned functions of the multipole, straight between their knots.

    Arguments:
        n: functions.
        l: multipole of each mode, ``(H, H // 2 + 1)``.
        knots: values of each, evenly from l = 0 to the largest.
    """

    tents: Tensor

    def __init__(self, n: int, l: Tensor, *, knots: int = 40):
        super().__init__()
        place = l / l.max() * (knots - 1)
        # A tent over each knot: 1 there, 0 at its neighbours.
        tents = (1 - (place[..., None] - torch.arange(knots)).abs()).clamp(min=0)
        self.register_buffer("tents", tents.float(), persistent=False)
        self.values = nn.Parameter(torch.zeros(n, knots))

    def forward(self) -> Tensor:
        """Return the functions at every mode, ``(n, H, H // 2 + 1)``."""
        return torch.einsum("nk,yxk->nyx", self.values, self.tents)


class AxisFromPower(nn.Module):
    """One complex number a map: which way, and how clearly, its power is stretched.

    Arguments:
        l: multipole of each mode, ``(H, H // 2 + 1)``.
        phi: its angle to the x axis.
    """

    counts: Tensor
    spin2: Tensor

    def __init__(self, l: Tensor, phi: Tensor, *, knots: int = 40):
        super().__init__()
        self.weights = RadialFunctions(1, l, knots=knots)
        nn.init.constant_(self.weights.values, 10.0)
        counts = _multiplicity(l)
        spin2 = torch.polar(counts, 2 * phi)
        self.register_buffer("counts", counts.float(), persistent=False)
        self.register_buffer("spin2", _mirror_nyquist(spin2), persistent=False)

    def forward(self, filled: Tensor, precision: Tensor) -> Tensor:
        """Return e ``(B,)`` of filled maps, whitened by an isotropic precision."""
        power = torch.fft.rfft2(filled).abs().square() * precision
        # Opposite directions of the axis are the same: the angle counts twice.
        z = (self.weights()[0] * power * self.spin2).sum((-2, -1))
        z = z / (self.counts * power).sum((-2, -1))
        return z / (1 + z.abs().square()).sqrt()


class SteeredPrecision(nn.Module):
    """A learned precision that follows an axis.

    Arguments:
        l: multipole of each mode, ``(H, H // 2 + 1)``.
        phi: its angle to the x axis.
        harmonics: M, of the angle between mode and axis.
    """

    plate: Tensor
    phases: Tensor

    def __init__(self, l: Tensor, phi: Tensor, *, harmonics: int = 4, knots: int = 40):
        super().__init__()
        self.spectra = RadialFunctions(harmonics + 1, l, knots=knots)
        m = torch.arange(harmonics + 1)[:, None, None]
        phases = torch.polar(torch.ones_like(l), -2 * m * phi)
        self.register_buffer("phases", _mirror_nyquist(phases), persistent=False)
        # Before training: nearly a thin plate, whose precision grows as l^4.
        self.register_buffer("plate", 4 * (l / 500 + 0.1).log().float(), persistent=False)

    def forward(self, e: Tensor) -> Tensor:
        """Return the precision ``(B, H, H // 2 + 1)`` for e ``(B,)``; e = 0 is isotropic."""
        powers = torch.stack([e**m for m in range(len(self.phases))], -1)
        steered = (powers[..., None, None] * self.phases).real
        return (self.plate + (self.spectra() * steered).sum(-3)).exp()


class SteeredFill(nn.Module):
    """Fill holes of skies that are stretched along an axis, each sky along another.

    Arguments:
        size: H, pixels along a side, even.
        pixel_arcmin: side of a pixel in arcmin.
        harmonics: M of `SteeredPrecision`.
        first_tolerance: relative residual at which the isotropic fill stops.
        tolerance: that of the steered one, which begins where the other ended.
    """

    def __init__(
        self,
        size: int,
        *,
        pixel_arcmin: float,
        harmonics: int = 4,
        first_tolerance: float = 0.3,
        tolerance: float = 0.03,
    ):
        super().__init__()
        ky, kx = frequencies(size, pixel_arcmin=pixel_arcmin)
        l = torch.hypot(ky, kx)
        phi = torch.atan2(ky.expand_as(l), kx.expand_as(l))
        self.axis = AxisFromPower(l, phi)
        self.precision = SteeredPrecision(l, phi, harmonics=harmonics)
        self.first_tolerance = first_tolerance
        self.tolerance = tolerance

    def forward(self, data: Tensor, mask: Tensor) -> Tensor:
        """Return data ``(B, H, H)``, hidden pixels filled; what stood there does not count."""
        seen = check_hard_mask(mask)
        e, first = self.find_axis(data, seen)
        return improve_fill(first, seen, self.precision(e), tolerance=self.tolerance)

    def find_axis(self, data: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return e ``(B,)``, and the isotropic fill from which it was read."""
        seen = check_hard_mask(mask)
        known = seen_only(data, seen)
        isotropic = self.precision(torch.zeros(1, dtype=torch.complex64, device=data.device))
        # No gradient through this fill: a rough one shows the axis as well.
        with torch.no_grad():
            first = improve_fill(known, seen, isotropic, tolerance=self.first_tolerance)
        return self.axis(first, isotropic), first

    def extra_repr(self) -> str:
        """Return the tolerances for ``print``."""
        return f"first_tolerance={self.first_tolerance}, tolerance={self.tolerance}"


def improve_fill(maps: Tensor, mask: Tensor, precision: Tensor, *, tolerance: float) -> Tensor:
    """Minimise ``x^T Q x`` over hidden pixels: their mean given the seen ones.

    Arguments:
        maps: where to start, ``(B, H, H)``.
        mask: ``(B, H, H)``, True where seen.
        precision: eigenvalues of Q, ``(B, H, H // 2 + 1)``, or one for all maps.
        tolerance: relative residual to stop at.
    """
    hidden = (~mask).to(maps)
    covariance = 1 / precision.detach()  # the preconditioner
    found = conjugate_gradients(
        lambda x: hidden * filter_maps(hidden * x, precision),
        -hidden * filter_maps(maps, precision),
        tolerance=tolerance,
        max_iter=500,
        vector_dims=2,
        preconditioner=lambda x: hidden * filter_maps(x, covariance),
    )
    return maps + found.x


def _multiplicity(l: Tensor) -> Tensor:
    """Return how many modes of the whole plane each of ``rfft2`` stands for: 2, at the edges 1."""
    counts = torch.full_like(l, 2.0)
    counts[:, 0] = 1
    counts[:, -1] = 1
    return counts


def _mirror_nyquist(phases: Tensor) -> Tensor:
    """Return phases ``(..., H, H // 2 + 1)`` as complex64, real at the Nyquist frequency.

    There a mode and its mirror image are one, and only what they have in common counts.
    """
    phases = phases.clone()
    for edge in (phases[..., -1], phases[..., phases.shape[-2] // 2, :]):
        edge.imag.zero_()
    return phases.to(torch.complex64)
