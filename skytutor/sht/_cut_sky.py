"""What least squares on a cut sky need: weights, coefficients to try them with, a factor."""

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix import pixel_area
from skytutor.sht.real import real_degrees, to_complex
from skytutor.sht.transforms import Harmonics


def pixel_weight(mask: Tensor, sky: Harmonics) -> Tensor:
    """Return the weights of pixels, ``(P,)``, the largest 1, if they determine coefficients."""
    mask = as_tensor("mask", mask)
    if mask.is_complex():
        raise TypeError(f"mask must be bool, integers or floats, got {mask.dtype}")
    pixels = 12 * sky.nside**2
    weight = mask.to(sky.dtype)
    if mask.shape != (pixels,) or not bool(((weight >= 0) & torch.isfinite(weight)).all()):
        raise ValueError(
            f"mask must be ({pixels},) finite values, none negative, at nside {sky.nside}, "
            f"got shape {tuple(mask.shape)}"
        )
    if mask.requires_grad:
        raise ValueError("mask must have no gradient: the coefficients have none in it; detach it")
    numbers = (sky.lmax + 1) ** 2 - sky.spin**2
    seen = int((weight > 0).sum())
    # With spin 2 both are counted twice.
    if seen < numbers:
        raise ValueError(
            f"mask must be above 0 in at least {numbers} pixels, one for each coefficient up to "
            f"lmax {sky.lmax}, got {seen}"
        )
    return weight / weight.max()


def random_alms(sky: Harmonics) -> Tensor:
    """Return coefficients ``([2,] A)`` of unit deviation, the same at every call."""
    components = (2,) if sky.spin else ()
    l = real_degrees(sky.lmax)[0]
    rng = torch.Generator().manual_seed(0)
    white = torch.randn(*components, len(l), generator=rng, dtype=torch.float64)
    white = torch.where(l >= sky.spin, white, 0)
    return to_complex(white.to(sky.m_multiplicity))


class DenseInverse:
    """An approximate inverse of ``S^+ W S`` in the real packing, by its Cholesky factor."""

    def __init__(self, sky: Harmonics, weight: Tensor):
        self.sky = sky
        components = (2,) if sky.spin else ()
        l = real_degrees(sky.lmax)[0].expand(*components, -1).flatten()
        self.used = (l >= sky.spin).to(weight.device)  # ([2] K,)
        unit = torch.eye(len(l), dtype=sky.dtype, device=weight.device)[self.used]
        unit = to_complex(unit.unflatten(-1, (*components, -1)))
        maps = sky.alm2map(unit)
        rows = (maps * weight.sqrt()).flatten(1).double()
        matrix = pixel_area(sky.nside) * (rows @ rows.T)
        self.cholesky = _cholesky(matrix)

    def __call__(self, residual: Tensor) -> Tensor:
        """Return solutions ``(N, [2,] K)`` of right-hand sides of the same shape."""
        flat = residual.flatten(1)
        out = torch.zeros_like(flat)
        solved = torch.cholesky_solve(flat[:, self.used].T.double(), self.cholesky).T
        out[:, self.used] = solved.to(flat)
        return out.reshape(residual.shape)


def _cholesky(matrix: Tensor) -> Tensor:
    """Return a factor of a matrix whose smallest eigenvalues rounding may have made negative.

    They are lifted until there is one. That costs steps, not accuracy.
    """
    level = float(matrix.diagonal().mean())
    lift = 1e-14
    matrix.diagonal().add_(lift * level)
    factor, info = torch.linalg.cholesky_ex(matrix)
    while int(info) and lift < 1:
        matrix.diagonal().add_(9 * lift * level)  # ten times what was there
        lift = 10 * lift
        factor, info = torch.linalg.cholesky_ex(matrix)
    return factor
