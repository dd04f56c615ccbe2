"""Bulge, disc and clumps of galaxies: their shapes, and Fourier transforms of their profiles.

Every profile has unit flux, so that its transform is 1 at wavenumber 0. Wavenumbers are in radians
a unit of length. Shapes: B galaxies, J clumps a galaxy.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor
from skytutor.memo import cached_table
from skytutor.values import all_finite

__all__ = [
    "BulgeTable",
    "Shapes",
    "de_vaucouleurs_transform",
    "exponential_transform",
    "moffat_transform",
]

# Half-light radius over scale length of an exponential disc: the root of (1 + x) exp(-x) = 1/2.
HALF_LIGHT_SCALES = 1.678346990016661
# In ``exp(-b (r / r_half)^(1/4))``: half of an incomplete gamma function of order 8 lies below b.
DE_VAUCOULEURS_B = 7.669249442500804
MOFFAT_BETA = 2.5
# The table of the bulge's transform: its ends in wavenumber times half-light radius.
TABLE_FROM = 1e-4
TABLE_TO = 1e5
TABLE_SIZE = 4096


@dataclass(frozen=True)
class Shapes:
    """Shapes of the components of B galaxies; floating tensors on one device.

    Arguments:
        bulge_radius: ``(B,)`` half-light radius along the major axis, arcsec, positive.
        bulge_axis_ratio: ``(B,)`` minor over major axis, in (0, 1].
        bulge_angle: ``(B,)`` of the major axis, radians from +x to +y.
        disc_radius: ``(B,)``, as `bulge_radius`.
        disc_axis_ratio: ``(B,)``, as `bulge_axis_ratio`.
        disc_angle: ``(B,)``, as `bulge_angle`.
        clump_x: ``(B, J)`` from the centre of the galaxy, arcsec.
        clump_y: ``(B, J)``, as `clump_x`.
        clump_sigma: ``(B, J)`` standard deviation of the round Gaussian, arcsec, not negative.
        clump_weight: ``(B, J)`` share in the flux of all clumps; not negative, sums to 1.

    Raises:
        TypeError: one of them is no floating tensor.
        ValueError: of another shape, not finite, or out of range; the message names it.

    Example:
        >>> one, spot = torch.ones(2), torch.zeros(2, 1)
        >>> shapes = Shapes(one, one, one, one, one, one, spot, spot, spot, spot + 1)
        >>> len(shapes)
        2
    """

    bulge_radius: Tensor
    bulge_axis_ratio: Tensor
    bulge_angle: Tensor
    disc_radius: Tensor
    disc_axis_ratio: Tensor
    disc_angle: Tensor
    clump_x: Tensor
    clump_y: Tensor
    clump_sigma: Tensor
    clump_weight: Tensor

    def __post_init__(self) -> None:
        """Check every tensor."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, Tensor) or not value.is_floating_point():
                came = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise TypeError(f"{field.name} must be a floating torch tensor, got {came}")
        wanted = {False: tuple(self.bulge_radius.shape[:1]), True: tuple(self.clump_x.shape)}
        for field in fields(self):
            self._check(field.name, wanted[field.name.startswith("clump")])
        total = self.clump_weight.detach().sum(1)
        worst = float(total[(total - 1).abs().argmax()])
        if abs(worst - 1) > 1e-4:
            raise ValueError(
                f"clump_weight must sum to 1 over the clumps of a galaxy, got {worst:.6g}"
            )

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        """Check one tensor: its shape, that it is finite, and its range."""
        value = getattr(self, name).detach()
        batch = len(self)
        dimensions = 2 if name.startswith("clump") else 1
        if value.shape != shape or len(shape) != dimensions or shape[0] != batch or 0 in shape:
            allowed = "(B, J), as clump_x" if dimensions == 2 else "(B,), as bulge_radius"
            raise ValueError(
                f"{name} must have shape {allowed}, with B = {batch} from bulge_radius and neither "
                f"B nor J 0, got shape {tuple(value.shape)}"
            )
        if not all_finite(value):
            raise ValueError(f"{name} must be finite, got NaN or infinite values")
        low, high = float(value.min()), float(value.max())
        if name.endswith("_radius") and low <= 0:
            raise ValueError(f"{name} must be positive (arcsec), got {low:.6g}")
        if name.endswith("_axis_ratio") and (low <= 0 or high > 1):
            raise ValueError(f"{name} must lie in (0, 1], got {low:.6g} to {high:.6g}")
        if name in ("clump_sigma", "clump_weight") and low < 0:
            raise ValueError(f"{name} must not be negative, got {low:.6g}")

    def __len__(self) -> int:
        """Return B."""
        return self.bulge_radius.shape[0] if self.bulge_radius.dim() else 0

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Shapes":
        """Return the shapes on a device, of another dtype if one is given."""
        moved = [getattr(self, f.name).to(device=device, dtype=dtype) for f in fields(self)]
        return Shapes(*moved)


def de_vaucouleurs_transform(k: Tensor) -> Tensor:
    """Return the transform of a de Vaucouleurs profile of half-light radius 1, in float64.

    Along the real axis the Hankel integral of ``exp(-b r^(1/4))`` oscillates. Turned by 90 degrees
    into the complex plane, where ``J_0`` becomes ``K_0``, it is

    ``(2 / pi) int exp(-b s cos(pi / 8)) sin(b s sin(pi / 8)) K_0(k r) r dr``, ``s = r^(1/4)``,

    without oscillation and smooth in log r, where the trapezoidal rule converges exponentially.

    Arguments:
        k: ``(M,)`` wavenumbers, from 1e-6 to 1e5.

    Returns:
        ``(M,)`` float64, relative error below 1e-12.

    Example:
        >>> de_vaucouleurs_transform(torch.tensor([1e-3, 1.0, 100.0]))
        tensor([1.0000, 0.5445, 0.0030], dtype=torch.float64)
    """
    k = as_tensor("k", k, dtype=torch.float64)
    if k.dim() != 1:
        raise ValueError(f"k must be (M,), got shape {tuple(k.shape)}")
    # Halving the step or widening the ends changes the result by 1e-14.
    step = 0.1
    r = torch.arange(-30.0, 14.0, step, dtype=torch.float64).exp()
    s = DE_VAUCOULEURS_B * r**0.25
    integrand = torch.exp(-s * math.cos(math.pi / 8)) * torch.sin(s * math.sin(math.pi / 8))
    # r dr = r^2 d(log r)
    total = torch.special.modified_bessel_k0(k[:, None] * r) @ (integrand * r**2) * step
    # The integral of exp(-b r^(1/4)) r dr, by which the profile is divided
    flux = 4 * math.factorial(7) / DE_VAUCOULEURS_B**8
    return total * (2 / math.pi) / flux


@cached_table(maxsize=1)
def _bulge_nodes() -> Tensor:
    """Return the bulge's transform at wavenumbers in equal steps of log k, float64."""
    log_k = torch.linspace(
        math.log(TABLE_FROM), math.log(TABLE_TO), TABLE_SIZE, dtype=torch.float64
    )
    return de_vaucouleurs_transform(log_k.exp())


class BulgeTable:
    """The de Vaucouleurs transform from a table in float64, interpolated linearly in log k.

    Its error is 5e-7 of the flux at most. Below 1e-4 it is taken as 1, which is true to 6e-8, and
    above 1e5 as what it is there, 4e-9.

    Arguments:
        device: where the table lies.
        dtype: torch.float32 or torch.float64.

    Example:
        >>> BulgeTable()(torch.tensor([0.0, 1.0, 4.0]))
        tensor([1.0000, 0.5445, 0.3554])
    """

    def __init__(self, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        nodes = _bulge_nodes()
        self._nodes = nodes.to(device, dtype)
        # The last node has no step to the right of it.
        self._steps = torch.diff(nodes, append=nodes[-1:]).to(device, dtype)

    def __call__(self, k_squared: Tensor) -> Tensor:
        """Return the transform.

        Arguments:
            k_squared: of any shape, squares of wavenumber times half-light radius.

        Returns:
            As `k_squared`, from 0 to 1.
        """
        nodes_per_log = (TABLE_SIZE - 1) / math.log(TABLE_TO / TABLE_FROM)
        inside = k_squared.clamp(min=TABLE_FROM**2, max=TABLE_TO**2)
        place = inside.log() * (nodes_per_log / 2) - math.log(TABLE_FROM) * nodes_per_log
        # Rounding may lead past the ends.
        place = place.clamp(0, TABLE_SIZE - 1)
        left = place.detach().long()
        return torch.addcmul(self._nodes[left], place - left, self._steps[left])


def exponential_transform(k_squared: Tensor) -> Tensor:
    """Return the transform of an exponential disc: ``(1 + (k h)^2)^(-3/2)``.

    Arguments:
        k_squared: of any shape, squares of wavenumber times half-light radius; h is that radius
            over 1.678.

    Returns:
        As `k_squared`, from 0 to 1.

    Example:
        >>> exponential_transform(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.6340])
    """
    (k_squared,) = as_floats(k_squared=k_squared)
    return (1 + k_squared / HALF_LIGHT_SCALES**2).rsqrt() ** 3


def moffat_transform(k: Tensor, fwhm: float) -> Tensor:
    """Return the transform of a Moffat profile of beta 2.5: ``(1 + a k) exp(-a k)``.

    ``a`` is the profile's core radius, ``fwhm / (2 sqrt(2^(1 / 2.5) - 1))``.

    Arguments:
        k: of any shape, wavenumbers, not negative.
        fwhm: full width at half maximum.

    Returns:
        As `k`, from 0 to 1.

    Example:
        >>> moffat_transform(torch.tensor([0.0, 1.0]), 1.0)
        tensor([1.0000, 0.7781])
    """
    (k,) = as_floats(k=k)
    core = fwhm / (2 * math.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    return (1 + core * k) * torch.exp(-core * k)
