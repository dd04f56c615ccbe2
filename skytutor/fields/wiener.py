"""The Wiener filter of a masked, noisy sky, by conjugate gradients in harmonic space.

A map is ``d = S b + n``: coefficients b with spectrum C_l, synthesised, plus noise of known
variance in each pixel. The most probable b, and its mean given d, is

    b = (C^-1 + S^T N^-1 S)^-1 S^T N^-1 d.

A masked pixel has ``N^-1 = 0``: it says nothing. ``C^-1 b`` is the inverse-covariance filtered map.
With ``b = C^(1/2) x`` the equations for x are
``A x = (1 + C^(1/2) S^T N^-1 S C^(1/2)) x = C^(1/2) S^T N^-1 d`` [1]_.

**When to stop.** A hidden pixel hardly weighs in the right side, so a small residual ``r`` beside
it says little of what is filled in. But no eigenvalue of A is below 1, so the error e of x is at
most ``|e| <= |r|``, and that of a pixel, seen or hidden, at most ``|r|`` times the deviation that
the spectrum gives it. The steps go on until ``|r| <= tolerance |x|``, computed from x itself: the
relative error of x is then no larger than the tolerance (`skytutor.fields.whitened`).

Shapes: maps ``(..., [2,] P)``; K = (lmax + 1)**2 real coefficients (`skytutor.sht.real`).

.. [1] K. M. Smith, O. Zahn & O. Dore, 2007, Phys. Rev. D 76, 043510.
"""

import math
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.fields.preconditioners import CoarsePreconditioner, HolePreconditioner
from skytutor.fields.spectra import FIELDS
from skytutor.fields.whitened import Whitened, solve_whitened
from skytutor.healpix import check_maps
from skytutor.sht import ConvergenceWarning, RealHarmonics, real_degrees
from skytutor.sht.solvers import ConvergenceError, check_limits
from skytutor.tables import TableModule
from skytutor.validate import as_integer, one_of

__all__ = ["Filtered", "WienerFilter"]

Preconditioner = CoarsePreconditioner | HolePreconditioner

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_FAR = 1e3  # a variance off by that much is in another unit


class Filtered(NamedTuple):
    """What `WienerFilter` found.

    Attributes:
        coefs: coefficients ``(..., [2,] K)`` in the maps' unit.
        steps: how many were taken.
        residual: ``|r| / |x|``, the largest in the batch: a bound on the relative error of the
            coefficients in units of the spectrum's root.
    """

    coefs: Tensor
    steps: int
    residual: float


class WienerFilter(TableModule):
    """Filter maps of one nside, lmax, spin and order.

    Differentiable in the map, the spectra and the noise. Of the two preconditioners
    (`skytutor.fields.preconditioners`) "coarse" solves degrees up to `coarse` exactly, whatever the
    mask, and takes the noise as uniform above. "hole" solves for all hidden pixels together: some
    seconds and 8 n**2 bytes for n of them, four times that with spin 2, then five to ten steps
    where the other takes hundreds. What is made for one mask, spectrum and noise serves until
    another comes.

    Arguments:
        nside: of the maps.
        lmax: of the coefficients, at most 3 nside - 1.
        spin: 0 or 2.
        order: "ring" or "nested".
        dtype: of the maps, torch.float32 or torch.float64; single precision does not reach its
            tolerance where the signal's variance is more than some 1e4 times the noise's.
        preconditioner: "coarse" or "hole".
        coarse: last degree that "coarse" solves exactly; its matrix has (coarse + 1)**2 rows, twice
            that with spin 2.
        tolerance: relative error of the coefficients to stop at, in units of the spectrum's root;
            1e-3 in float32 and 1e-6 in float64 by default.
        max_iter: steps to take at most.
        on_failure: "raise" or "warn" where they do not reach the tolerance.

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
        preconditioner: str = "coarse",
        coarse: int = 8,
        tolerance: float | None = None,
        max_iter: int = 1000,
        on_failure: str = "raise",
    ):
        super().__init__()
        self.harmonics = RealHarmonics(nside, lmax, spin=spin, order=order, dtype=dtype)
        self.nside = nside
        self.lmax = lmax
        self.spin = spin
        self.order = order
        self.dtype = dtype
        self.preconditioner = one_of("preconditioner", preconditioner, allowed=("coarse", "hole"))
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
                above 0; what stands where it is 0 does not count, be it NaN or UNSEEN.
            spectra: {"TT": C_l}, or {"EE": C_l, "BB": C_l} with spin 2, each ``(lmax + 1,)`` in the
                maps' units squared.
            variance: of the noise in a pixel, a number or ``(P,)``, positive: with none at all the
                equations have no solution.
            mask: ``(P,)`` in 0..1, weights of the pixels' inverse variance: 1 where seen, 0 where
                hidden, and nothing else with the preconditioner "hole".

        Returns:
            Coefficients, the steps taken and the largest relative residual.

        Raises:
            TypeError: spectra without names, another precision.
            ValueError: names, lengths, signs, an empty mask.
            ConvergenceError: the residual is above the tolerance after `max_iter` steps, or as far
                as the precision goes.

        Warns:
            ConvergenceWarning: the same, with ``on_failure="warn"``, and in the backward pass.
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
            ``(2, K)``; the inverse variance of every pixel, ``(P,)``, 0 where hidden.

        Raises:
            TypeError, ValueError: as a call does, which warns as this does.
        """
        check_maps(maps, nside=self.nside, order=self.order, finite=False)
        if maps.dtype != self.dtype:
            raise TypeError(f"maps must be {self.dtype}, as the filter is; got {maps.dtype}")
        root = self._root(spectra)
        weight = self._weight(variance, mask)
        seen = weight > 0
        maps = torch.where(seen, maps, 0)
        check_maps(maps, nside=self.nside, order=self.order, name="maps, where seen,")
        self._check_units(maps[..., seen], root, weight[seen])
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

        def operator(x: Tensor) -> Tensor:
            return x + root * self.harmonics.adjoint(weight * self.harmonics.synthesis(root * x))

        found = solve_whitened(
            operator,
            root * self.harmonics.adjoint(weight * maps),
            preconditioner=self._preconditioner(root.detach(), weight.detach()),
            tolerance=self.tolerance,
            max_iter=self.max_iter,
            vector_dims=2 if self.spin else 1,
        )
        self._check_converged(found)
        return Filtered(root * found.x, found.steps, found.residual)

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
        made = (
            HolePreconditioner(root, weight, harmonics=self.harmonics)
            if self.preconditioner == "hole"
            else CoarsePreconditioner(root, weight, harmonics=self.harmonics, lmax=self.coarse)
        )
        self._made = (root, weight, made)
        return made

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
        fits = isinstance(mask, Tensor) and mask.shape == (pixels,) and not mask.is_complex()
        if not fits or not bool(((mask >= 0) & (mask <= 1)).all()):
            raise ValueError(
                f"mask must be a tensor, ({pixels},) values in 0..1 at nside {self.nside}, "
                f"got shape {tuple(mask.shape)}"
            )
        if not bool((mask > 0).any()):
            raise ValueError("mask is 0 everywhere: nothing is seen")
        variance = torch.as_tensor(variance, dtype=self.dtype, device=mask.device)
        positive = torch.isfinite(variance) & (variance > 0)
        if variance.shape not in ((), (pixels,)) or not bool(positive.all()):
            raise ValueError(
                f"variance must be positive, a number or ({pixels},), "
                f"got shape {tuple(variance.shape)}"
            )
        hard = (mask == 0) | (mask == 1)
        if self.preconditioner == "hole" and not bool(hard.all()):
            raise ValueError(
                'mask must be 0 or 1 everywhere with preconditioner="hole", got '
                f"{int((~hard).sum())} values between; threshold it, or take "
                'preconditioner="coarse"'
            )
        return mask.to(self.dtype) / variance

    def _check_converged(self, found: Whitened) -> None:
        """Raise or warn if the solution is not what was asked for; NaN is not."""
        if found.residual <= self.tolerance:
            return
        used = (
            f"max_iter = {self.max_iter} steps"
            if found.steps >= self.max_iter
            else (f"{found.steps} steps, as far as {self.dtype} goes")
        )
        message = (
            f"the Wiener filter has not converged: after {used} its residual is "
            f"{found.residual:.1e}, above the tolerance of {self.tolerance:.1e}; allow more steps "
            'or a larger tolerance, or take preconditioner="hole" or torch.float64'
        )
        if self.on_failure == "raise":
            raise ConvergenceError(message)
        warnings.warn(message, ConvergenceWarning, stacklevel=4)

    def _check_units(self, seen: Tensor, root: Tensor, weight: Tensor) -> None:
        """Warn where the seen pixels (..., n) vary as no sky with these spectra does."""
        if torch.compiler.is_compiling():
            return
        # The power of a pixel: a sum over all coefficients, spread over the sphere; no monopole.
        power = root.detach().square().reshape(-1, len(self.l))[:, 1:].sum() / (4 * math.pi)
        expected = float(power / (2 if self.spin else 1) + (1 / weight.detach()).mean())
        found = float(seen.detach().var(dim=-1, correction=0).mean())
        # A map of zeros is a fair question; another unit of length gives another number.
        if found > 0 and not 1 / _FAR <= found / expected <= _FAR:
            warnings.warn(
                f"maps vary by {found:.2g} in the square of their unit, the spectra and the "
                f"variance say {expected:.2g}: are they in the same unit, such as muK and not K, "
                "and the spectra C_l and not D_l?",
                UserWarning,
                stacklevel=4,
            )

    def extra_repr(self) -> str:
        """Return the sizes for ``print``."""
        return (
            f"nside={self.nside}, lmax={self.lmax}, spin={self.spin}, order={self.order!r}, "
            f"dtype={self.dtype}, preconditioner={self.preconditioner!r}"
        )
