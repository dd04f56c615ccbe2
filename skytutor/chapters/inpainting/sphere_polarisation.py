"""The learned preconditioner on Q and U, with the weights that were trained on temperature.

Gates are the same for Q and U, filters the same functions of signal over noise for E and B: the
sum stays symmetric and positive, and more steps lead to the exact fill.

Shapes: maps Q and U ``(N, 2, P)``, RING order, float64, muK; coefficients E and B ``(N, 2, K)``.
"""

import torch
from torch import Tensor

from skytutor.chapters.inpainting.polarisation import LMAX, NOISE, NSIDE, polarisation_spectra
from skytutor.chapters.inpainting.sphere import SphereFill
from skytutor.chapters.inpainting.walk import Operator
from skytutor.fields.whitened import Whitened, solve_whitened
from skytutor.healpix import pixel_area
from skytutor.sht import RealHarmonics, real_degrees
from skytutor.sht.solvers import ConvergenceError

__all__ = ["PolarisedFill"]


class PolarisedFill:
    """Fill Q and U at nside 32 as `skytutor.chapters.inpainting.polarisation` has them.

    Arguments:
        model: a `SphereFill` of any nside, trained on temperature.
        tolerance: relative error of the coefficients to stop at.

    Attributes:
        last: solution, steps and residual of the last call; None before the first.

    Example:
        >>> maps = torch.randn(1, 2, 12288, dtype=torch.float64)
        >>> fill = PolarisedFill(SphereFill(4), tolerance=0.5)
        >>> fill(maps, (torch.arange(12288) > 99).double()).shape
        torch.Size([1, 2, 12288])
    """

    def __init__(self, model: SphereFill, *, tolerance: float = 1e-6):
        self.model = model.at(NSIDE)
        self.tolerance = tolerance
        self.last: Whitened | None = None
        self.harmonics = RealHarmonics(NSIDE, LMAX, spin=2, order="ring", dtype=torch.float64)
        self.degree = real_degrees(LMAX)[0]
        spectra = polarisation_spectra()
        cl = torch.stack([spectra["EE"], spectra["BB"]])  # (2, lmax + 1)
        self.ratio = cl / (NOISE**2 * pixel_area(NSIDE))
        self.root = cl.sqrt()[:, self.degree]
        self.diagonal = 1 + self.ratio[:, self.degree]

    def __call__(self, maps: Tensor, mask: Tensor) -> Tensor:
        """Return the maps, hidden pixels filled with the Wiener mean.

        Arguments:
            maps: ``(N, 2, P)``.
            mask: ``(P,)``, 1 where seen and 0 where hidden.

        Returns:
            ``(N, 2, P)``; steps and residual are in `last`.

        Raises:
            ConvergenceError: the tolerance is not reached in 1000 steps.
        """
        seen = mask > 0
        weight = seen.double() / NOISE**2
        self.last = solve_whitened(
            lambda x: x + self._adjoint(weight * self._synthesis(x)),
            self._adjoint(torch.where(seen, maps, 0) / NOISE**2),
            preconditioner=self.preconditioner(seen),
            tolerance=self.tolerance,
            max_iter=1000,
            vector_dims=2,
        )
        if not self.last.residual <= self.tolerance:
            raise ConvergenceError(
                f"the fill has not converged: residual {self.last.residual:.1e} after "
                f"{self.last.steps} steps, tolerance {self.tolerance:.1e}"
            )
        return torch.where(seen, maps, self._synthesis(self.last.x))

    @torch.no_grad()
    def preconditioner(self, mask: Tensor) -> Operator:
        """Return ``r -> P r`` for residuals ``(..., 2, K)``.

        Arguments:
            mask: ``(P,)`` bool, True where seen.
        """
        each = [self.model.filters(ratio, nside=NSIDE) for ratio in self.ratio]
        filters = pixel_area(NSIDE) * torch.stack(each, 1)[..., self.degree]  # (C, 2, K)
        gates = self.model.gates(mask).double() * ~mask
        plain = gates[0].square()
        gates = gates[1:, None]  # (C, 1, P)

        def apply(residual: Tensor) -> Tensor:
            z = residual / self.diagonal
            hidden = self._synthesis(z)
            # Each channel: gate, filter, the same gate, so that the sum is symmetric.
            coefs = filters * self.harmonics.adjoint(gates * hidden[..., None, :, :])
            filled = (gates * self.harmonics.synthesis(coefs)).sum(-3) + plain * hidden
            return z + self._adjoint(filled / NOISE**2) / self.diagonal

        return apply

    def _synthesis(self, x: Tensor) -> Tensor:
        return self.harmonics.synthesis(self.root * x)

    def _adjoint(self, maps: Tensor) -> Tensor:
        return self.root * self.harmonics.adjoint(maps)
