"""The Wiener filter of a masked, noisy sky, by conjugate gradients in harmonic space.

A map is ``d = S b + n``: coefficients b with spectrum C_l, synthesised, plus noise of known
variance in each pixel. The most probable b, and its mean given d, is

    b = (C^-1 + S^T N^-1 S)^-1 S^T N^-1 d.

A masked pixel has ``N^-1 = 0``: it says nothing. ``C^-1 b`` is the inverse-covariance filtered map.
With ``b = C^(1/2) x`` the equations for x are
``A x = (1 + C^(1/2) S^T N^-1 S C^(1/2)) x = C^(1/2) S^T N^-1 d`` [1]_.

**When to stop.** A hidden pixel hardly weighs in the right side, so a small residual ``r`` beside
it says little of what is filled in. But no eigenvalue of A is below 1, so the error e of x is at
most ``|e| <= |r|``, and that of any pixel, seen or hidden, at most ``|r|`` times the deviation
sigma that the spectra give a pixel. The steps go on until ``|r| sigma`` is below the tolerance
times the root mean square of the filtered map itself: a bound on the largest error of the map. By
the orthonormality of the harmonics that is ``|r| |C^(1/2)| / |b|``.

The equations are solved in float64, whatever the maps are: their condition is that of signal to
noise, and at a ratio of 1e4 in variance float32 says nothing of a hidden pixel.

Shapes: maps ``(..., [2,] P)``; K = (lmax + 1)**2 real coefficients (`skytutor.sht.real`).

.. [1] K. M. Smith, O. Zahn & O. Dore, 2007, Phys. Rev. D 76, 043510.
"""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.arrays import split_masked
from skytutor.fields._wiener_input import (
    check_hole,
    pixel_weight,
    refuse_transforms,
    spectra_root,
    warn_of_units,
)
from skytutor.fields.preconditioners import CoarsePreconditioner, HolePreconditioner
from skytutor.fields.whitened import Whitened, solve_whitened
from skytutor.healpix import check_maps
from skytutor.sht import ConvergenceWarning, RealHarmonics, real_degrees
from skytutor.sht.solvers import ConvergenceError, check_limits
from skytutor.tables import TableModule
from skytutor.validate import as_integer, one_of

__all__ = ["Filtered", "WienerFilter"]

Preconditioner = CoarsePreconditioner | HolePreconditioner

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-5}
# Hidden values up to which their matrix is made unasked: 32 MB and a second.
_MAX_HIDDEN = 2048


class Filtered(NamedTuple):
    """What `WienerFilter` found.

    Attributes:
        coefs: coefficients ``(..., [2,] K)`` in the maps' unit.
        steps: how many were taken.
        residual: a bound on the largest error of any pixel, seen or hidden, over the root mean
            square of the filtered map; the largest in the batch.
    """

    coefs: Tensor
    steps: int
    residual: float


class WienerFilter(TableModule):
    """Filter maps of one nside, lmax, spin and order.

    Differentiable to every order in the map, the spectra and the noise. Of the two preconditioners
    (`skytutor.fields.preconditioners`) "coarse" solves degrees up to `coarse` exactly, whatever the
    mask, and takes the noise as uniform above. "hole" solves for all hidden pixels together: some
    seconds and 8 n**2 bytes for n of them, four times that with spin 2, then five to ten steps
    where the other takes hundreds. What is made for one mask, spectrum and noise serves until
    another comes. ``.half()`` and ``.double()`` of a network around leave its tables as they are.

    Arguments:
        nside: of the maps.
        lmax: of the coefficients, at most 3 nside - 1.
        spin: 0 or 2.
        order: "ring" or "nested".
        dtype: of the maps and coefficients, torch.float32 or torch.float64; the equations are
            solved in float64.
        preconditioner: "coarse" or "hole"; None is "hole" where the mask hides some pixels and at
            most 2048 (1024 with spin 2), else "coarse".
        coarse: last degree that "coarse" solves exactly; its matrix has (coarse + 1)**2 rows, twice
            that with spin 2.
        tolerance: to stop at: the largest error of any pixel, seen or hidden, over the root mean
            square of the filtered map; 1e-3 in float32 and 1e-5 in float64 by default.
        max_iter: steps to take at most.
        on_failure: "raise" or "warn" where they do not reach the tolerance, forward or backward.

    Raises:
        ValueError: bad arguments, named.

    Example:
        >>> sky = WienerFilter(4, 8, dtype=torch.float64, order="ring")
        >>> spectra, maps = {"TT": torch.ones(9).double()}, torch.randn(3, 192).double()
        >>> sky(maps, spectra, variance=0.1, mask=torch.ones(192).double()).coefs.shape
        torch.Size([3, 81])
    """

    _fixed_precision = True
    l: Tensor  # degree of each coefficient

    def __init__(
        self,
        nside: int,
        lmax: int,
        *,
        spin: int = 0,
        order: str,
        dtype: torch.dtype = torch.float32,
        preconditioner: str | None = None,
        coarse: int = 8,
        tolerance: float | None = None,
        max_iter: int = 1000,
        on_failure: str = "raise",
    ):
        super().__init__()
        self.harmonics = RealHarmonics(nside, lmax, spin=spin, order=order, dtype=dtype)
        self.equations = (
            self.harmonics
            if dtype == torch.float64
            else RealHarmonics(nside, lmax, spin=spin, order=order, dtype=torch.float64)
        )
        self.nside = nside
        self.lmax = lmax
        self.spin = spin
        self.order = order
        self.dtype = dtype
        if preconditioner is not None:
            one_of("preconditioner", preconditioner, allowed=("coarse", "hole"))
        self.preconditioner = preconditioner
        if as_integer("coarse", coarse) < 0:
            raise ValueError(f"coarse must not be negative, got {coarse}")
        self.coarse = min(coarse, lmax)
        self.tolerance = _TOLERANCE[dtype] if tolerance is None else tolerance
        check_limits(self.tolerance, max_iter)
        self.max_iter = max_iter
        self.on_failure = one_of("on_failure", on_failure, allowed=("raise", "warn"))
        self._made: tuple[Tensor, Tensor, Preconditioner] | None = None
        self.register_buffer("l", real_degrees(lmax)[0], persistent=False)

    def forward(
        self, maps: Tensor, spectra: Mapping[str, Tensor], *, variance: Tensor | float, mask: Tensor
    ) -> Filtered:
        """Filter maps ``(..., [2,] P)`` into coefficients ``(..., [2,] K)``.

        Arguments:
            maps: ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2, finite where the mask is
                above 0; what stands where it is 0 does not count, be it NaN or UNSEEN. A masked
                array's own mask hides pixels too.
            spectra: {"TT": C_l}, or {"EE": C_l, "BB": C_l} with spin 2, each ``(lmax + 1,)`` in the
                maps' units squared.
            variance: of the noise in a pixel, a number or ``(P,)``, positive where the mask is
                above 0: with none at all the equations have no solution.
            mask: ``(P,)`` in 0..1, of bool, integers or floats, weights of the pixels' inverse
                variance: 1 where seen, 0 where hidden, and nothing else with
                ``preconditioner="hole"``.

        Returns:
            Coefficients, the steps taken and the bound on the error.

        Raises:
            TypeError: spectra without names, another precision, a mask that is no tensor, tensors
                inside a transform of torch.func.
            ValueError: names, lengths, signs, an empty mask.
            ConvergenceError: the bound is above the tolerance after `max_iter` steps, or as far as
                the precision goes; or that of a gradient, whose tolerance is relative to its norm.

        Warns:
            ConvergenceWarning: the same, with ``on_failure="warn"``.
            UserWarning: the maps' variance is 1e3 times what the spectra and the noise say, or a
                thousandth of it: K taken for muK, C_l for D_l.
        """
        return self.solve(*self.check(maps, spectra, variance=variance, mask=mask))

    def check(
        self, maps: Tensor, spectra: Mapping[str, Tensor], *, variance: Tensor | float, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `solve` takes, if the input is fit for use.

        Arguments:
            maps: as in a call.
            spectra: likewise.
            variance: likewise.
            mask: likewise.

        Returns:
            The maps, 0 where hidden; the roots of the spectra at each coefficient, ``(K,)`` or
            ``(2, K)``; the inverse variance of every pixel, ``(P,)``, 0 where hidden; both of these
            float64.

        Raises:
            TypeError, ValueError: as a call does, which warns as this does.
        """
        maps, mask = split_masked("maps", maps, mask, axes=1)
        named = dict(spectra) if isinstance(spectra, Mapping) else {}
        refuse_transforms(maps=maps, variance=variance, mask=mask, **named)
        maps = check_maps(maps, nside=self.nside, order=self.order, finite=False)
        if maps.dtype != self.dtype:
            raise TypeError(f"maps must be {self.dtype}, as the filter is; got {maps.dtype}")
        root = self._root(spectra)
        weight = self._weight(variance, mask)
        seen = weight > 0
        maps = torch.where(seen, maps, 0)
        check_maps(maps, nside=self.nside, order=self.order, name="maps, where seen,")
        warn_of_units(maps[..., seen], root, weight[seen])
        return maps, root, weight

    def solve(self, maps: Tensor, root: Tensor, weight: Tensor) -> Filtered:
        """Filter maps that `check` has passed.

        Arguments:
            maps: ``(..., [2,] P)``.
            root: ``([2,] K)``, as `check` returns it.
            weight: ``(P,)``, likewise.

        Returns:
            As a call does.

        Raises:
            ConvergenceError: as a call does.
        """

        def size(x: Tensor) -> Tensor:
            # The filtered map's root mean square over the deviation that the spectra give a pixel.
            return (root * x).norm(dim=axes) / root.norm().clamp(min=tiny)

        axes = tuple(range(-root.dim(), 0))
        tiny = torch.finfo(root.dtype).tiny
        found = solve_whitened(
            self._operator,
            root * self.equations.adjoint(weight * maps.double()),
            preconditioner=self._preconditioner(root.detach(), weight.detach()),
            tolerance=self.tolerance,
            max_iter=self.max_iter,
            vector_dims=root.dim(),
            parameters=(root, weight),
            size=size,
            check=self._check_converged,
        )
        return Filtered((root * found.x).to(self.dtype), found.steps, found.residual)

    def _operator(self, x: Tensor, root: Tensor, weight: Tensor) -> Tensor:
        """Return A x."""
        sky = self.equations.synthesis(root * x)
        return x + root * self.equations.adjoint(weight * sky)

    def prepare(
        self, spectra: Mapping[str, Tensor], *, variance: Tensor | float, mask: Tensor
    ) -> Preconditioner:
        """Make the preconditioner for these spectra, noise and mask, and keep it for the next call.

        A call does that by itself; this is to have it done, or timed, before.

        Arguments:
            spectra: as in a call.
            variance: likewise.
            mask: likewise.

        Returns:
            The preconditioner.

        Raises:
            TypeError, ValueError: as a call does.
        """
        return self._preconditioner(
            self._root(spectra).detach(), self._weight(variance, mask).detach()
        )

    @torch.no_grad()
    def _preconditioner(self, root: Tensor, weight: Tensor) -> Preconditioner:
        """Return the preconditioner made last if it is for these, or make one."""
        if self._made is not None:
            old_root, old_weight, made = self._made
            same_device = old_root.device == root.device
            if same_device and old_root.equal(root) and old_weight.equal(weight):
                return made
        self._made = None  # what is not needed any more goes before the next is made
        made = self._make(root, weight)
        self._made = (root, weight, made)
        return made

    def _make(self, root: Tensor, weight: Tensor) -> Preconditioner:
        kind = self.preconditioner
        if kind is None:
            hidden = int((weight == 0).sum()) * (2 if self.spin else 1)
            exact = self.coarse == self.lmax  # then nothing is left to the steps
            kind = "hole" if 0 < hidden <= _MAX_HIDDEN and not exact else "coarse"
        if kind == "hole":
            return HolePreconditioner(root, weight, harmonics=self.equations)
        return CoarsePreconditioner(root, weight, harmonics=self.equations, lmax=self.coarse)

    def _root(self, spectra: Mapping[str, Tensor]) -> Tensor:
        """Return the roots of the spectra at each coefficient, ``(K,)`` or ``(2, K)``."""
        return spectra_root(spectra, self.l, spin=self.spin)

    def _weight(self, variance: Tensor | float, mask: Tensor) -> Tensor:
        """Return the inverse variance of every pixel, ``(P,)``, 0 behind the mask."""
        weight = pixel_weight(variance, mask, nside=self.nside)
        if self.preconditioner == "hole":
            check_hole(mask)
        return weight

    def _check_converged(self, found: Whitened) -> None:
        """Raise or warn if the solution is not what was asked for; NaN is not."""
        if found.residual <= self.tolerance:
            return
        used = (
            f"max_iter = {self.max_iter} steps"
            if found.steps >= self.max_iter
            else f"{found.steps} steps, as far as torch.float64 goes,"
        )
        message = (
            f"the Wiener filter has not converged: after {used} pixels may be off by "
            f"{found.residual:.1e} of the filtered map's root mean square, above the tolerance of "
            f"{self.tolerance:.1e}; allow more steps or a larger tolerance, or take "
            'preconditioner="hole"'
        )
        if self.on_failure == "raise":
            raise ConvergenceError(message)
        warnings.warn(message, ConvergenceWarning, stacklevel=5)

    def extra_repr(self) -> str:
        """Return the sizes for ``print``."""
        return (
            f"nside={self.nside}, lmax={self.lmax}, spin={self.spin}, order={self.order!r}, "
            f"dtype={self.dtype}, preconditioner={self.preconditioner!r}"
        )
