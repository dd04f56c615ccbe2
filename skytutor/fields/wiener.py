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

from skytutor.fields.spectra import FIELDS
from skytutor.healpix import check_maps
from skytutor.sht import RealHarmonics, real_degrees
from skytutor.sht.solvers import check_limits, conjugate_gradients
from skytutor.validate import as_integer

_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


class Filtered(NamedTuple):
    """What `WienerFilter` found.

    Attributes:
        coefs: coefficients ``(..., [2,] K)`` in the maps' unit.
        steps: how many were taken.
        residual: the largest relative residual in the batch.
    """

    coefs: Tensor
    steps: int
    residual: float


class WienerFilter(nn.Module):
    """Filter maps of one nside, lmax, spin and order.

    Differentiable in the map, the spectra and the noise. The preconditioner solves degrees up to
    `coarse` exactly, whatever the mask, and takes the noise as uniform above.

    Arguments:
        nside: of the maps.
        lmax: of the coefficients, at most 3 nside - 1.
        spin: 0 or 2.
        order: "ring" or "nested".
        dtype: of the maps, torch.float32 or torch.float64.
        coarse: last degree that the preconditioner solves exactly; its matrix has (coarse + 1)**2
            rows, twice that with spin 2.
        tolerance: relative residual to stop at; 1e-5 in float32 and 1e-10 in float64 by default.
        max_iter: steps to take at most.

    Raises:
        ValueError: bad arguments, named.

    Example:
        >>> sky = WienerFilter(4, 8, dtype=torch.float64, order="ring")
        >>> spectra, maps = {"TT": torch.ones(9).double()}, torch.randn(3, 192).double()
        >>> sky(maps, spectra, variance=0.1, mask=torch.ones(192).double()).coefs.shape
        torch.Size([3, 81])
    """

    l: Tensor  # degree of each coefficient

    def __init__(
        self,
        nside: int,
        lmax: int,
        *,
        spin: int = 0,
        order: str,
        dtype: torch.dtype = torch.float32,
        coarse: int = 8,
        tolerance: float | None = None,
        max_iter: int = 500,
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
        self.tolerance = _TOLERANCE[dtype] if tolerance is None else tolerance
        check_limits(self.tolerance, max_iter)
        self.max_iter = max_iter
        self.n_low = (min(coarse, lmax) + 1) ** 2  # coefficients that are solved exactly
        self.register_buffer("l", real_degrees(lmax)[0], persistent=False)

    def forward(
        self, maps: Tensor, spectra: Mapping[str, Tensor], *, variance: Tensor | float, mask: Tensor
    ) -> Filtered:
        """Filter maps ``(..., [2,] P)`` into coefficients ``(..., [2,] K)``.

        Arguments:
            maps: ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2, finite everywhere; what
                stands behind the mask does not count.
            spectra: {"TT": C_l}, or {"EE": C_l, "BB": C_l} with spin 2, each ``(lmax + 1,)`` in the
                maps' units squared.
            variance: of the noise in a pixel, a number or ``(P,)``, positive.
            mask: ``(P,)`` in 0..1, weights of the pixels' inverse variance.

        Returns:
            Coefficients, the steps taken and the largest relative residual.

        Raises:
            TypeError: spectra without names, another precision.
            ValueError: names, lengths, signs, an empty mask.

        Warns:
            ConvergenceWarning: the residual is still above the tolerance after `max_iter` steps,
                forward or in the backward pass.
        """
        check_maps(
            maps, nside=self.nside, order=self.order, finite=not torch.compiler.is_compiling()
        )
        if maps.dtype != self.dtype:
            raise TypeError(f"maps must be {self.dtype}, as the filter is; got {maps.dtype}")
        root = self._root(spectra)
        weight = self._weight(variance, mask)

        def operator(x: Tensor) -> Tensor:
            return x + root * self.harmonics.adjoint(weight * self.harmonics.synthesis(root * x))

        rhs = root * self.harmonics.adjoint(weight * maps)
        with torch.no_grad():
            preconditioner = self._preconditioner(root, weight)
        has_gradient = rhs.requires_grad or root.requires_grad or weight.requires_grad
        with torch.set_grad_enabled(torch.is_grad_enabled() and has_gradient):
            result = conjugate_gradients(
                operator,
                rhs,
                tolerance=self.tolerance,
                max_iter=self.max_iter,
                vector_dims=2 if self.spin else 1,
                preconditioner=preconditioner,
            )
        return Filtered(root * result.x, result.steps, float(result.residual.max()))

    def _root(self, spectra: Mapping[str, Tensor]) -> Tensor:
        """Return the roots of the spectra at each coefficient, ``(K,)`` or ``(2, K)``."""
        names = FIELDS[self.spin]
        if not isinstance(spectra, Mapping):
            raise TypeError(
                f"spectra must be named, such as {{'TT': C_l}}; got {type(spectra).__name__}"
            )
        if set(spectra) != set(names):
            raise ValueError(f"spectra must be {names} for spin {self.spin}, got {tuple(spectra)}")
        for name, cl in spectra.items():
            fits = cl.shape == (self.lmax + 1,)
            if not fits or not bool(torch.isfinite(cl).all()) or bool((cl < 0).any()):
                raise ValueError(
                    f"spectra[{name!r}] must be {self.lmax + 1} finite values, none negative; "
                    f"got {tuple(cl.shape)}"
                )
        cl = torch.stack([spectra[name] for name in names]).to(self.dtype)[:, self.l]  # (1 or 2, K)
        cl = torch.where((self.l < self.spin) | (cl == 0), 0, cl)
        # The gradient of a root is infinite at 0, so the root is taken of 1 there.
        root = torch.where(cl > 0, cl, 1).sqrt() * (cl > 0)
        return root if self.spin else root[0]

    def _weight(self, variance: Tensor | float, mask: Tensor) -> Tensor:
        """Return the inverse variance of every pixel, ``(P,)``, 0 behind the mask."""
        pixels = 12 * self.nside**2
        fits = mask.shape == (pixels,) and not mask.is_complex()
        if not fits or not bool(((mask >= 0) & (mask <= 1)).all()):
            raise ValueError(
                f"mask must be ({pixels},) values in 0..1 at nside {self.nside}, "
                f"got shape {tuple(mask.shape)}"
            )
        if not bool((mask > 0).any()):
            raise ValueError("mask is zero everywhere: nothing is observed")
        variance = torch.as_tensor(variance, dtype=self.dtype, device=mask.device)
        positive = torch.isfinite(variance) & (variance > 0)
        if variance.shape not in ((), (pixels,)) or not bool(positive.all()):
            raise ValueError(
                f"variance must be positive, a number or ({pixels},), "
                f"got shape {tuple(variance.shape)}"
            )
        return mask.to(self.dtype) / variance

    def _preconditioner(self, root: Tensor, weight: Tensor) -> Callable[[Tensor], Tensor]:
        """Return an approximate inverse of the equations: exact below, diagonal above.

        With spin 2, E and B are solved together below.
        """
        # Uniform noise of the mean inverse variance, whose S^T N^-1 S is diagonal.
        mean = weight.mean() * len(weight) / (4 * math.pi)
        diagonal = 1 + root.square() * mean
        low = root[..., : self.n_low].reshape(-1)  # ([2] n_low,)
        # The equations' matrix of the low degrees, a column for each unit vector.
        identity = torch.eye(len(low), dtype=self.dtype, device=low.device)
        unit = identity * low
        unit = unit.unflatten(1, (2, -1)) if self.spin else unit
        product = self.harmonics.adjoint(weight * self.harmonics.synthesis(unit))
        columns = product[..., : self.n_low].reshape(len(low), -1)
        matrix = identity + columns * low
        cholesky = torch.linalg.cholesky((matrix + matrix.T) / 2)

        def preconditioner(residual: Tensor) -> Tensor:
            out = residual / diagonal
            corner = residual[..., : self.n_low]
            flat = corner.reshape(-1, len(low))  # (N, [2] n_low)
            solved = torch.cholesky_solve(flat.T, cholesky).T
            out[..., : self.n_low] = solved.reshape(corner.shape)
            return out

        return preconditioner

    def extra_repr(self) -> str:
        """Return the sizes for ``print``."""
        return (
            f"nside={self.nside}, lmax={self.lmax}, spin={self.spin}, order={self.order!r}, "
            f"dtype={self.dtype}"
        )
