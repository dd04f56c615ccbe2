"""Convolutions on the sphere by harmonic coefficients, and read-outs that do not see a rotation.

A rotation mixes the 2 l + 1 coefficients of a degree among themselves. So weights that depend on l
alone commute with it: they are the convolution with a filter that looks the same in every
direction, a zonal one.

Shapes: B batch, C channels, K = (lmax + 1)**2 real coefficients (`skytutor.sht.real`), P pixels.
Spin 2 has an axis of two before the last: E and B, or Q and U.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from skytutor.inputs import as_input
from skytutor.sht import lmax_of, real_degrees
from skytutor.tables import TableModule
from skytutor.validate import as_integer, positive


def _check_coefs(coefs: Tensor, *, channels: int, lmax: int, spin: int, weight: Tensor) -> None:
    """Refuse coefficients that are not real and ``(B, C, K)``, or ``(B, C, 2, K)`` for spin 2."""
    if isinstance(coefs, Tensor) and coefs.is_complex():
        raise TypeError(
            f"coefs must be real coefficients (skytutor.sht.to_real), got {coefs.dtype}"
        )
    as_input("coefs", coefs, weight=weight)
    n_coefs = (lmax + 1) ** 2
    wanted = (channels, 2, n_coefs) if spin else (channels, n_coefs)
    shape = tuple(coefs.shape)
    if coefs.dim() != len(wanted) + 1 or shape[1:] != wanted:
        text = ", ".join(map(str, wanted))
        raise ValueError(
            f"coefs must be (B, {text}): {channels} channels, lmax {lmax}, spin {spin}; got {shape}"
        )


class _ByDegree(TableModule):
    """Weights ``(lmax + 1, C, C')``: free for each l, or piecewise linear in l between knots."""

    hat: Tensor | None  # (lmax + 1, knots): what each knot contributes at each l

    def __init__(self, in_channels: int, out_channels: int, *, lmax: int, knots: int | None):
        super().__init__()
        positive(in_channels=in_channels, out_channels=out_channels)
        if as_integer("lmax", lmax) < 0:
            raise ValueError(f"lmax must not be negative, got {lmax}")
        if knots is not None and not 2 <= as_integer("knots", knots) <= lmax + 1:
            raise ValueError(f"knots must lie in 2..{lmax + 1} (lmax + 1), got {knots}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.lmax = lmax
        self.knots = knots
        self.n_weights = knots or lmax + 1
        # Knots stand evenly from l = 0 to lmax; between two of them the weight is linear in l.
        place = torch.linspace(0, self.n_weights - 1, lmax + 1)  # of each l, counted in knots
        distance = (place[:, None] - torch.arange(self.n_weights)).abs()  # (lmax + 1, knots)
        hat = (1 - distance).clamp(min=0)
        self.register_buffer("hat", hat if knots else None, persistent=False)

    def _initial_weight(self) -> nn.Parameter:
        """Draw weights of variance 2 / C, which a ReLU behind the layer halves."""
        scale = math.sqrt(2 / self.in_channels)
        draws = torch.randn(self.n_weights, self.in_channels, self.out_channels)
        return nn.Parameter(scale * draws)

    def _at_each_degree(self, weight: Tensor) -> Tensor:
        """Return the weights at every l, ``(lmax + 1, C, C')``."""
        if self.hat is None:
            return weight
        return torch.einsum("lk,kio->lio", self.hat, weight)

    def _mix(self, coefs: Tensor, weight: Tensor) -> Tensor:
        """Mix the channels of coefficients ``(B, C, K)``, degree by degree: ``(B, C', K)``."""
        # Each degree has 2 l + 1 coefficients and one matrix.
        degrees = coefs.split([2 * l + 1 for l in range(self.lmax + 1)], -1)
        matrices = self._at_each_degree(weight).unbind(0)
        mixed = [
            part.transpose(1, 2) @ matrix  # (B, 2 l + 1, C')
            for part, matrix in zip(degrees, matrices, strict=True)
        ]
        return torch.cat(mixed, 1).transpose(1, 2)

    def _check(self, coefs: Tensor, *, spin: int, weight: Tensor) -> None:
        _check_coefs(coefs, channels=self.in_channels, lmax=self.lmax, spin=spin, weight=weight)

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return f"{self.in_channels}, {self.out_channels}, lmax={self.lmax}, knots={self.knots}"


class ZonalConv(_ByDegree):
    """Convolution with zonal filters [1]_: rotating the sky commutes with it.

    ``b'_(o,lm) = sum_i w_(l,i,o) b_(i,lm)``. A zonal filter cannot tell a picture from its mirror
    image, nor one direction at a point from another: `SpinConv` can.

    Arguments:
        in_channels: C.
        out_channels: C'.
        lmax: highest degree of the coefficients.
        knots: give the weights at so many degrees and draw straight lines between: fewer weights,
            and filters that are narrow on the sky. None: one weight for each l.
        bias: whether to add a learned constant to each channel's map.

    Raises:
        TypeError, ValueError: sizes that are no integers or out of range.

    Example:
        >>> ZonalConv(3, 8, lmax=16)(torch.randn(2, 3, 289)).shape
        torch.Size([2, 8, 289])

    .. [1] C. Esteves et al., 2018, ECCV, arXiv:1711.06721.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        lmax: int,
        knots: int | None = None,
        bias: bool = True,
    ):
        super().__init__(in_channels, out_channels, lmax=lmax, knots=knots)
        self.weight = self._initial_weight()
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, coefs: Tensor) -> Tensor:
        """Convolve.

        Arguments:
            coefs: ``(B, C, K)``, real.

        Returns:
            ``(B, C', K)``.

        Raises:
            TypeError: complex coefficients, no tensor, or another precision than the weights'.
            ValueError: coefficients of another shape.
        """
        self._check(coefs, spin=0, weight=self.weight)
        out = self._mix(coefs, self.weight)
        if self.bias is None:
            return out
        # A constant map has the coefficient b_00 alone: sqrt(4 pi) times its value.
        level = math.sqrt(4 * math.pi) * self.bias[:, None]
        return torch.cat([out[..., :1] + level, out[..., 1:]], -1)


class SpinConv(_ByDegree):
    """Convolution to spin 2 with complex weights that depend on l alone [1]_.

    ``E' + i B' = sum_i w_(l,i,o) (E + i B)``. From spin 0, E is the map and B is nothing: what
    comes out are its second derivatives, smoothed. The imaginary part of a weight turns E into B,
    which a mirror would undo: this layer knows left from right. Rotations commute with it.

    Arguments:
        in_channels: C.
        out_channels: C'.
        lmax: highest degree of the coefficients.
        source: spin of the input, 0 or 2.
        knots: as in `ZonalConv`.

    Raises:
        TypeError, ValueError: sizes that are no integers or out of range, or another spin.

    Example:
        >>> SpinConv(3, 4, lmax=8, source=0)(torch.randn(2, 3, 81)).shape
        torch.Size([2, 4, 2, 81])

    .. [1] C. Esteves, A. Makadia & K. Daniilidis, 2020, NeurIPS, arXiv:2006.10731.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        lmax: int,
        source: int = 2,
        knots: int | None = None,
    ):
        super().__init__(in_channels, out_channels, lmax=lmax, knots=knots)
        if source not in (0, 2):
            raise ValueError(f"source must be 0 or 2, the spin of the input, got {source!r}")
        self.source = source
        self.real = self._initial_weight()
        self.imag = self._initial_weight()

    def forward(self, coefs: Tensor) -> Tensor:
        """Convolve.

        Arguments:
            coefs: ``(B, C, K)`` from spin 0, ``(B, C, 2, K)`` from spin 2 (E and B), real.

        Returns:
            ``(B, C', 2, K)``, E and B.

        Raises:
            TypeError: complex coefficients, no tensor, or another precision than the weights'.
            ValueError: coefficients of another shape.
        """
        self._check(coefs, spin=self.source, weight=self.real)
        if self.source == 0:
            e_mode = self._mix(coefs, self.real)
            b_mode = self._mix(coefs, self.imag)
            return torch.stack([e_mode, b_mode], 2)
        # (u + i v) (E + i B) = (u E - v B) + i (u B + v E)
        e, b = coefs.unbind(2)
        u_e = self._mix(e, self.real)
        u_b = self._mix(b, self.real)
        v_e = self._mix(e, self.imag)
        v_b = self._mix(b, self.imag)
        return torch.stack([u_e - v_b, u_b + v_e], 2)


class SpectralConv(TableModule):
    """Complex weights on (l, m), as spherical neural operators have them.

    ``a'_(o,lm) = sum_i w_(i,o,lm) a_(i,lm)``. Not a convolution in the strict sense: weights that
    depend on m tie the filter to the poles, and only rotations about them commute with it. Here for
    comparison.

    Arguments:
        in_channels: C.
        out_channels: C'.
        lmax: highest degree of the coefficients.

    Raises:
        TypeError, ValueError: sizes that are no integers or out of range.

    Example:
        >>> SpectralConv(3, 4, lmax=8)(torch.randn(2, 3, 81)).shape
        torch.Size([2, 4, 81])
    """

    row: Tensor  # (K,): which weight belongs to a real coefficient
    partner: Tensor  # (K,): coefficient (l, -m) of coefficient (l, m)
    sign: Tensor  # (K,): sign of m

    def __init__(self, in_channels: int, out_channels: int, *, lmax: int):
        super().__init__()
        positive(in_channels=in_channels, out_channels=out_channels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.lmax = lmax
        l, m = real_degrees(lmax)
        # One complex weight serves the pair (l, m), (l, -m).
        self.register_buffer("row", l * (l + 1) // 2 + m.abs(), persistent=False)
        self.register_buffer("partner", l * (l + 1) - m, persistent=False)
        self.register_buffer("sign", m.sign(), persistent=False)
        shape = ((lmax + 1) * (lmax + 2) // 2, in_channels, out_channels)
        scale = math.sqrt(1 / in_channels)
        self.real = nn.Parameter(scale * torch.randn(shape))
        self.imag = nn.Parameter(scale * torch.randn(shape))

    def forward(self, coefs: Tensor) -> Tensor:
        """Weigh the coefficients and sum over channels.

        Arguments:
            coefs: ``(B, C, K)``, real.

        Returns:
            ``(B, C', K)``.

        Raises:
            TypeError: complex coefficients, no tensor, or another precision than the weights'.
            ValueError: coefficients of another shape.
        """
        _check_coefs(coefs, channels=self.in_channels, lmax=self.lmax, spin=0, weight=self.real)
        # The imaginary part of a weight mixes the cosine (m > 0) and the sine (m < 0) of a pair.
        straight = torch.einsum("bik,kio->bok", coefs, self.real[self.row])
        crossed = torch.einsum(
            "bik,kio->bok", coefs[..., self.partner] * self.sign, self.imag[self.row]
        )
        return straight + crossed

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return f"{self.in_channels}, {self.out_channels}, lmax={self.lmax}"


class BinnedSpectrum(nn.Module):
    """Angular power spectrum in bins of l, which no rotation changes.

    ``C_b = sum_(l in b) sum_m b_lm**2 / sum_(l in b) (2 l + 1)``; bins of one degree each give
    C_l.

    Arguments:
        edges: first degrees of the bins and, last, one past the end; bin i is
            ``edges[i] <= l < edges[i + 1]``.

    Raises:
        TypeError: edges that are no integers.
        ValueError: fewer than two edges, or not rising from 0 on.

    Example:
        >>> BinnedSpectrum([0, 2, 4])(torch.ones(1, 16))
        tensor([[1., 1.]])
    """

    def __init__(self, edges: Sequence[int]):
        super().__init__()
        self.edges = tuple(as_integer("edges", edge) for edge in edges)
        rising = all(a < b for a, b in pairwise(self.edges))
        if len(self.edges) < 2 or self.edges[0] < 0 or not rising:
            raise ValueError(
                f"edges must be at least two rising degrees from 0 on, got {list(edges)}"
            )

    def forward(self, coefs: Tensor) -> Tensor:
        """Return the power in each bin.

        Arguments:
            coefs: ``(..., K)``, real.

        Returns:
            ``(..., bins)``, in the square of the coefficients' unit.

        Raises:
            TypeError: no tensor of real floating-point numbers.
            ValueError: coefficients that do not reach the last bin.
        """
        lmax = lmax_of(as_input("coefs", coefs))
        if lmax < self.edges[-1] - 1:
            raise ValueError(
                f"coefs must reach l = {self.edges[-1] - 1}, the last bin; got lmax {lmax}"
            )
        # Coefficients of degrees below l fill the first l**2 places.
        cuts = [edge**2 for edge in self.edges]
        power = [coefs[..., start:end].square().mean(-1) for start, end in pairwise(cuts)]
        return torch.stack(power, -1)

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return f"edges={list(self.edges)}"
