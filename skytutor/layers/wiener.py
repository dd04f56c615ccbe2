"""The Wiener filter of a masked, noisy sky, by conjugate gradients in harmonic space.

A map is ``d = S b + n``: coefficients b with spectrum C_l, synthesised, plus noise of known
variance in each pixel. The most probable b, and its mean given d, is

    b = (C^-1 + S^T N^-1 S)^-1 S^T N^-1 d.

A masked pixel has ``N^-1 = 0``: it says nothing. ``C^-1 b`` is the inverse-covariance filtered map.
With ``b = C^(1/2) x`` the equations for x are
``(1 + C^(1/2) S^T N^-1 S C^(1/2)) x = C^(1/2) S^T N^-1 d`` [1]_.

Shapes: maps ``(..., [2,] P)``; K = (lmax + 1)**2 real coefficients (`skytutor.sht.real`).

.. [1] K. M. Smith, O. Zahn & O. Dore, 2007, Phys. Rev. D 76, 043510.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skytutor.healpix import check_maps
from skytutor.healpix.checks import as_integer
from skytutor.sht import RealHarmonics, real_degrees
from skytutor.spectra import FIELDS


class Filtered(NamedTuple):
    """Coefficients ``(..., [2,] K)``, steps taken, and the largest relative residual."""

    coefs: Tensor
    steps: int
    residual: float


class WienerFilter(nn.Module):
    """Filter maps of one nside, lmax, spin and order; differentiable in the map, the spectra and the noise.

    The preconditioner solves degrees up to `coarse` exactly, whatever the mask, and takes the noise
    as uniform above.

    Arguments:
        nside, lmax, spin, order, dtype: as in `skytutor.sht.Harmonics`.
        coarse: last degree that is solved exactly; its matrix has (coarse + 1)**2 rows, twice that
            with spin 2.
        tolerance: relative residual to stop at. most: steps to take at most.

    Raises:
        ValueError: bad arguments, named.

    Example:
        >>> sky = WienerFilter(4, 8, dtype=torch.float64)
        >>> spectra, maps = {"TT": torch.ones(9).double()}, torch.randn(3, 192).double()
        >>> sky(maps, spectra, variance=0.1, mask=torch.ones(192).double()).coefs.shape
        torch.Size([3, 81])
    """

    def __init__(
        self,
        nside: int,
        lmax: int,
        *,
        spin: int = 0,
        order: str = "ring",
        dtype: torch.dtype = torch.float32,
        coarse: int = 8,
        tolerance: float | None = None,
        most: int = 500,
    ):
        super().__init__()
        self.harmonics = RealHarmonics(nside, lmax, spin=spin, order=order, dtype=dtype)
        self.nside = nside
        self.lmax = lmax
        self.spin = spin
        self.order = order
        self.dtype = dtype
        if as_integer("coarse", coarse) < 0:
            raise ValueError(f"coarse must not be negative, got {coarse}")
        self.tolerance = (
            {torch.float32: 1e-5, torch.float64: 1e-10}[dtype] if tolerance is None else tolerance
        )
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must lie in (0, 1), got {tolerance}")
        if as_integer("most", most) < 1:
            raise ValueError(f"most must be positive, got {most}")
        self.most = most
        self.low = (min(coarse, lmax) + 1) ** 2
        self.register_buffer("l", real_degrees(lmax)[0], persistent=False)

    def forward(
        self, maps: Tensor, spectra: Mapping[str, Tensor], *, variance: Tensor | float, mask: Tensor
    ) -> Filtered:
        """Filter maps ``(..., [2,] P)``.

        Arguments:
            maps: finite everywhere; what stands behind the mask does not count.
            spectra: {"TT": C_l}, or {"EE": C_l, "BB": C_l} with spin 2, each ``(lmax + 1,)`` in the
                maps' units squared.
            variance: of the noise in a pixel, a number or ``(P,)``, positive.
            mask: ``(P,)`` in 0..1, weights of the pixels' inverse variance.

        Raises:
            TypeError: spectra without names, another precision. ValueError: names, lengths, signs,
                an empty mask.
        """
        check_maps(
            maps, nside=self.nside, order=self.order, finite=not torch.compiler.is_compiling()
        )
        if maps.dtype != self.dtype:
            raise TypeError(f"maps must be {self.dtype}, as the filter is; got {maps.dtype}")
        root = self._root(spectra)
        weight = self._weight(variance, mask)

        def system(x: Tensor) -> Tensor:
            return x + root * self.harmonics.adjoint(weight * self.harmonics.synthesis(root * x))

        right = root * self.harmonics.adjoint(weight * maps)
        with torch.no_grad():
            near = self._preconditioner(root, weight)
            x, steps, residual = self._solve(system, right, near)
        # Differentiate the equations, not the steps: dx = A^-1 (d right - dA x).
        if torch.is_grad_enabled() and (
            right.requires_grad or root.requires_grad or weight.requires_grad
        ):
            again = lambda r: self._solve(system, r, near)[0]  # noqa: E731
            x = x + _Implicit.apply(right - system(x), again)
        return Filtered(root * x, steps, residual)

    def _root(self, spectra: Mapping[str, Tensor]) -> Tensor:
        if not isinstance(spectra, Mapping):
            raise TypeError(
                f"spectra must be named, such as {{'TT': C_l}}; got {type(spectra).__name__}"
            )
        if set(spectra) != set(FIELDS[self.spin]):
            raise ValueError(
                f"spectra must be {FIELDS[self.spin]} for spin {self.spin}, got {tuple(spectra)}"
            )
        for name, c in spectra.items():
            if (
                c.shape != (self.lmax + 1,)
                or not bool(torch.isfinite(c).all())
                or bool((c < 0).any())
            ):
                raise ValueError(
                    f"spectra[{name!r}] must be {self.lmax + 1} finite values, none negative; got {tuple(c.shape)}"
                )
        c = torch.stack([spectra[name] for name in FIELDS[self.spin]]).to(self.dtype)[
            :, self.l
        ]  # (1 or 2, K)
        c = torch.where((self.l < self.spin) | (c == 0), 0, c)
        root = torch.where(c > 0, c, 1).sqrt() * (c > 0)
        return root if self.spin else root[0]

    def _weight(self, variance: Tensor | float, mask: Tensor) -> Tensor:
        pixels = 12 * self.nside**2
        if (
            mask.shape != (pixels,)
            or mask.is_complex()
            or not bool(((mask >= 0) & (mask <= 1)).all())
        ):
            raise ValueError(
                f"mask must be ({pixels},) values in 0..1 at nside {self.nside}, got shape {tuple(mask.shape)}"
            )
        if not bool((mask > 0).any()):
            raise ValueError("mask is zero everywhere: nothing is observed")
        variance = torch.as_tensor(variance, dtype=self.dtype, device=mask.device)
        if variance.shape not in ((), (pixels,)) or not bool(
            (torch.isfinite(variance) & (variance > 0)).all()
        ):
            raise ValueError(
                f"variance must be positive, a number or ({pixels},), got shape {tuple(variance.shape)}"
            )
        return mask.to(self.dtype) / variance

    def _preconditioner(self, root: Tensor, weight: Tensor) -> Callable[[Tensor], Tensor]:
        """Exact below, diagonal above; with spin 2 E and B are solved together."""
        mean = weight.mean() * len(weight) / (4 * math.pi)
        diagonal = 1 + root.square() * mean
        low = root[..., : self.low].reshape(-1)  # ([2] low,)
        unit = torch.eye(len(low), dtype=self.dtype, device=low.device) * low
        unit = unit.unflatten(1, (2, -1)) if self.spin else unit
        seen = self.harmonics.adjoint(weight * self.harmonics.synthesis(unit))[..., : self.low]
        matrix = (
            torch.eye(len(low), dtype=self.dtype, device=low.device)
            + seen.reshape(len(low), -1) * low
        )
        factor = torch.linalg.cholesky((matrix + matrix.T) / 2)

        def near(rest: Tensor) -> Tensor:
            out = rest / diagonal
            corner = rest[..., : self.low]
            flat = corner.reshape(-1, len(low))
            out[..., : self.low] = torch.cholesky_solve(flat.T, factor).T.reshape(corner.shape)
            return out

        return near

    @torch.no_grad()
    def _solve(self, system: Callable, right: Tensor, near: Callable) -> tuple[Tensor, int, float]:
        axes = (-2, -1) if self.spin else (-1,)
        tiny = torch.finfo(self.dtype).tiny

        def inner(a: Tensor, b: Tensor) -> Tensor:
            return (a * b).sum(axes, keepdim=True)

        found = torch.zeros_like(right)
        rest = right
        way = close = near(rest)
        now = inner(rest, close)
        size = inner(right, right)
        for step in range(1, self.most + 1):
            there = system(way)
            length = now / inner(way, there).clamp(min=tiny)
            found = found + length * way
            rest = rest - length * there
            if bool((inner(rest, rest) <= self.tolerance**2 * size).all()):
                break
            close = near(rest)
            before = now
            now = inner(rest, close)
            way = close + now / before.clamp(min=tiny) * way
        return found, step, float((inner(rest, rest) / size.clamp(min=tiny)).max().sqrt())

    def extra_repr(self) -> str:
        return f"nside={self.nside}, lmax={self.lmax}, spin={self.spin}, order={self.order!r}, dtype={self.dtype}"


class _Implicit(torch.autograd.Function):
    """Nothing forward, where the equations already hold; a solve with the same, symmetric matrix backward."""

    @staticmethod
    def forward(ctx, rest: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.solve = solve
        return torch.zeros_like(rest)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return ctx.solve(gradient), None
