"""Convolutions on the sphere by harmonic coefficients, and read-outs that do not see a rotation.

A rotation mixes the 2 l + 1 coefficients of a degree among themselves. So weights that depend on l
alone commute with
it: they are the convolution with a filter that looks the same in every direction, a zonal one.

Shapes: B batch, C channels, K = (lmax + 1)**2 real coefficients (`skytutor.sht.real`), P pixels.
    Spin 2 has an axis of
two before the last: E and B, or Q and U.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skytutor.healpix.checks import as_integer
from skytutor.sht import degree_of, real_degrees


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if as_integer(name, size) < 1:
            raise ValueError(f"{name} must be positive, got {size}")


def _entry(coefs: Tensor, channels: int, lmax: int, spin: int, name: str = "coefs") -> None:
    """Refuse coefficients that are not ``(B, C, [2,] K)``."""
    want = (channels, 2, (lmax + 1) ** 2) if spin else (channels, (lmax + 1) ** 2)
    if coefs.dim() != len(want) + 1 or tuple(coefs.shape[1:]) != want:
        text = ", ".join(map(str, want))
        raise ValueError(
            f"{name} must be (B, {text}): {channels} channels, lmax {lmax}, spin {spin}; got {tuple(coefs.shape)}"
        )
    if coefs.is_complex():
        raise TypeError(
            f"{name} must be real coefficients (skytutor.sht.to_real), got {coefs.dtype}"
        )


class _ByDegree(nn.Module):
    """Weights ``(lmax + 1, C, C')``: free for each l, or piecewise linear in l between knots."""

    def __init__(self, in_channels: int, out_channels: int, *, lmax: int, knots: int | None):
        super().__init__()
        _positive(in_channels=in_channels, out_channels=out_channels)
        if as_integer("lmax", lmax) < 0:
            raise ValueError(f"lmax must not be negative, got {lmax}")
        if knots is not None and not 2 <= as_integer("knots", knots) <= lmax + 1:
            raise ValueError(f"knots must lie in 2..{lmax + 1} (lmax + 1), got {knots}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.lmax = lmax
        self.knots = knots
        at = torch.linspace(0, (knots or lmax + 1) - 1, lmax + 1)
        hat = (1 - (at[:, None] - torch.arange(knots or lmax + 1)).abs()).clamp(
            min=0
        )  # (lmax + 1, knots)
        self.register_buffer("hat", hat if knots else None, persistent=False)

    def _draw(self) -> nn.Parameter:
        scale = math.sqrt(2 / self.in_channels)
        return nn.Parameter(
            scale * torch.randn(self.knots or self.lmax + 1, self.in_channels, self.out_channels)
        )

    def _weights(self, weight: Tensor) -> Tensor:
        return weight if self.hat is None else torch.einsum("lk,kio->lio", self.hat, weight)

    def _mix(self, coefs: Tensor, weight: Tensor) -> Tensor:
        """Channels of coefficients ``(B, C, K)`` mixed, degree by degree: ``(B, C', K)``."""
        columns = coefs.split([2 * l + 1 for l in range(self.lmax + 1)], -1)
        mixed = [
            c.transpose(1, 2) @ w
            for c, w in zip(columns, self._weights(weight).unbind(0), strict=True)
        ]
        return torch.cat(mixed, 1).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, lmax={self.lmax}, knots={self.knots}"


class ZonalConv(_ByDegree):
    """Convolve with zonal filters, ``b'_(o,lm) = sum_i w_(l,i,o) b_(i,lm)`` [1]_: rotating the sky commutes with it.

    A zonal filter cannot tell a picture from its mirror image, nor one direction at a point from
    another: `SpinConv` can.

    Arguments:
        in_channels, out_channels: of the coefficients.
        lmax: highest degree.
        knots: give the weights at so many degrees and draw straight lines between: fewer weights,
            and filters that are narrow on the sky. None: one weight for each l.
        bias: add a constant to each channel's map.

    Raises:
        TypeError: complex coefficients. ValueError: sizes out of range, coefficients of another
            shape.

    Example:
        >>> ZonalConv(3, 8, lmax=16)(torch.randn(2, 3, 289)).shape
        torch.Size([2, 8, 289])

    .. [1] C. Esteves et al., 2018, ECCV, arXiv:1711.06721.
    """

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
        self.weight = self._draw()
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, coefs: Tensor) -> Tensor:
        _entry(coefs, self.in_channels, self.lmax, 0)
        out = self._mix(coefs, self.weight)
        if self.bias is None:
            return out
        level = math.sqrt(4 * math.pi) * self.bias[:, None]  # a constant is b_00 alone
        return torch.cat([out[..., :1] + level, out[..., 1:]], -1)


class SpinConv(_ByDegree):
    """Convolve to spin 2: ``E' + i B' = sum_i w_(l,i,o) (E + i B)`` with complex weights that depend on l alone [1]_.

    From spin 0, E is the map and B is nothing: what comes out are its second derivatives, smoothed.
    The imaginary part of a weight turns E into B, which a mirror would undo: this layer knows left
    from right. Rotations commute with it.

    Arguments:
        in_channels, out_channels, lmax, knots: as in `ZonalConv`.
        source: spin of the input, 0 or 2.

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
        self.real, self.imag = self._draw(), self._draw()

    def forward(self, coefs: Tensor) -> Tensor:
        _entry(coefs, self.in_channels, self.lmax, self.source)
        if self.source == 0:
            return torch.stack([self._mix(coefs, self.real), self._mix(coefs, self.imag)], 2)
        e, b = coefs.unbind(2)
        straight = [self._mix(part, self.real) for part in (e, b)]
        crossed = [self._mix(part, self.imag) for part in (e, b)]
        return torch.stack([straight[0] - crossed[1], straight[1] + crossed[0]], 2)


class SpectralConv(nn.Module):
    """Weights on (l, m): ``a'_(o,lm) = sum_i w_(i,o,lm) a_(i,lm)`` with complex w, as spherical neural operators have it.

    Not a convolution in the strict sense: weights that depend on m tie the filter to the poles, and
    only rotations about them commute with it. Here for comparison.

    Arguments:
        in_channels, out_channels, lmax: as in `ZonalConv`.

    Example:
        >>> SpectralConv(3, 4, lmax=8)(torch.randn(2, 3, 81)).shape
        torch.Size([2, 4, 81])
    """

    def __init__(self, in_channels: int, out_channels: int, *, lmax: int):
        super().__init__()
        _positive(in_channels=in_channels, out_channels=out_channels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.lmax = lmax
        l, m = real_degrees(lmax)
        row = l * (l + 1) // 2 + m.abs()  # one weight for the pair (l, m), (l, -m)
        for name, table in (("row", row), ("partner", l * (l + 1) - m), ("sign", m.sign())):
            self.register_buffer(name, table, persistent=False)
        shape = ((lmax + 1) * (lmax + 2) // 2, in_channels, out_channels)
        scale = math.sqrt(1 / in_channels)
        self.real, self.imag = (nn.Parameter(scale * torch.randn(shape)) for _ in range(2))

    def forward(self, coefs: Tensor) -> Tensor:
        _entry(coefs, self.in_channels, self.lmax, 0)
        straight = torch.einsum("bik,kio->bok", coefs, self.real[self.row])
        crossed = torch.einsum(
            "bik,kio->bok", coefs[..., self.partner] * self.sign, self.imag[self.row]
        )
        return straight + crossed

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, lmax={self.lmax}"


class BandPower(nn.Module):
    """Power in bands of l, ``sum_(l in band) sum_m b_lm**2 / sum_(l in band) (2 l + 1)``: no rotation changes it.

    Arguments:
        edges: first degrees of the bands and, last, one past the end; band i is
            ``edges[i] <= l < edges[i + 1]``.

    Raises:
        ValueError: fewer than two edges, not rising from 0 on, or coefficients that do not reach so
            far.

    Example:
        >>> BandPower([0, 2, 4])(torch.ones(1, 16))
        tensor([[1., 1.]])
    """

    def __init__(self, edges: Sequence[int]):
        super().__init__()
        self.edges = tuple(as_integer("edges", edge) for edge in edges)
        if (
            len(self.edges) < 2
            or self.edges[0] < 0
            or any(b <= a for a, b in zip(self.edges, self.edges[1:], strict=False))
        ):
            raise ValueError(
                f"edges must be at least two rising degrees from 0 on, got {list(edges)}"
            )

    def forward(self, coefs: Tensor) -> Tensor:
        if degree_of(coefs) < self.edges[-1] - 1:
            raise ValueError(
                f"coefs must reach l = {self.edges[-1] - 1}, the last band; got lmax {degree_of(coefs)}"
            )
        cuts = [edge**2 for edge in self.edges]
        return torch.stack(
            [coefs[..., a:b].square().mean(-1) for a, b in zip(cuts, cuts[1:], strict=False)], -1
        )

    def extra_repr(self) -> str:
        return f"edges={list(self.edges)}"
