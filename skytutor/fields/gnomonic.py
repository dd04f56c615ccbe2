r"""Gaussian skies on a gnomonic patch, with the true separations of its pixels.

A patch is a square of pixels on the plane that touches the sphere at the patch's centre, seen from
the sphere's centre. Away from the touching point its pixels shrink on the sky: at 5 degrees by 1 %.
The covariance of two pixels follows from their separation on the sphere,

.. math:: C(\theta) = \sum_l \frac{2 l + 1}{4 \pi} C_l b_l^2 w_l^2 P_l(\cos\theta)

with a beam b and, if asked for, a pixel window w, each applied once: `PatchCovariance.windows`
says which. No pixel repeats another behind the edge, so the matrix is dense, and serves patches of
up to some thousands of pixels.

Shapes: maps ``(..., H, H)``; P = H**2 pixels, n of them hidden.
"""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor
from skytutor.fields._cubic import cubic
from skytutor.fields.flat import check_spectrum
from skytutor.fields.holes import check_hard_mask, put_hidden, seen_only
from skytutor.fields.windows import gaussian_beam
from skytutor.healpix.tangent import check_patch, patch_vectors
from skytutor.validate import as_length, check_generator
from skytutor.values import all_finite

__all__ = ["GnomonicHole", "PatchCovariance", "angular_covariance"]

_ARCMIN = math.pi / 180 / 60  # radians
_LARGEST = 6000  # pixels of a dense matrix: 288 MB


def angular_covariance(cl: Tensor, theta: Tensor) -> Tensor:
    """Return ``sum_l (2 l + 1) C_l P_l(cos theta) / (4 pi)``, the covariance at separations.

    Arguments:
        cl: ``(L,)``, from l = 0 on.
        theta: separations in radians, any shape.

    Returns:
        float64, of the shape of `theta`, in the unit of `cl`.

    Example:
        >>> angular_covariance(torch.tensor([0.0, 4 * math.pi / 3]), torch.tensor([0.0, math.pi]))
        tensor([ 1.0000, -1.0000], dtype=torch.float64)
    """
    x = as_tensor("theta", theta, dtype=torch.float64).cos()
    cl = as_tensor("cl", cl, dtype=torch.float64)
    if cl.dim() != 1:
        raise ValueError(f"cl must be (L,), got shape {tuple(cl.shape)}")
    weighted = (2 * torch.arange(len(cl)) + 1) * cl / (4 * math.pi)
    # The recurrence in l: (l + 1) P_(l+1) = (2 l + 1) x P_l - l P_(l-1).
    previous = torch.zeros_like(x)
    current = torch.ones_like(x)
    total = torch.zeros_like(x)
    for l, weight in enumerate(weighted.tolist()):
        total += weight * current
        following = ((2 * l + 1) * x * current - l * previous) / (l + 1)
        previous = current
        current = following
    return total


class PatchCovariance:
    """Covariance of the pixels of a gnomonic patch, from their separations on the sphere.

    Arguments:
        size: H, pixels along a side; at most 77.
        pixel_arcmin: side of the pixel at the centre.
        cl: C_l of the sky itself from l = 0, ``(L,)``, in the square of the map's unit, with
            neither beam nor pixel window. Monopole and dipole take C_2: without any power they
            would pin the mean and the slope of the patch.
        beam_arcmin: full width at half maximum of a Gaussian beam; 0 for none.
        pixel_window: w_l of the map that the patch is taken from, at least as long as `cl`, such as
            `skytutor.fields.windows.pixel_window`; None for none. A beam that was measured on the
            map has the pixels in it.
        noise: standard deviation of white noise in a pixel of the patch.

    Attributes:
        signal: covariance without noise, ``(P, P)`` float64.
        windows: what multiplies `cl`, in words: each window stands there as often as it was
            applied.

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> covariance = PatchCovariance(5, pixel_arcmin=60.0, cl=torch.ones(100), noise=0.1)
        >>> covariance.windows
        ()
        >>> covariance.signal.shape
        torch.Size([25, 25])
    """

    def __init__(
        self,
        size: int,
        *,
        pixel_arcmin: float,
        cl: Tensor,
        beam_arcmin: float = 0.0,
        pixel_window: Tensor | None = None,
        noise: float = 0.0,
    ):
        self.size = check_patch(size, pixel_arcmin)
        if self.size**2 > _LARGEST:
            raise ValueError(
                f"size must be at most {math.isqrt(_LARGEST)}, got {size}: the matrix is dense; "
                "a larger patch is nearly flat only if it is small, see FlatSky"
            )
        self.pixel_arcmin = float(pixel_arcmin)
        self.noise = as_length("noise", noise, zero=True)
        self.windows: tuple[str, ...] = ()
        power = check_spectrum(cl).clone()
        power[:2] = power[2]
        if as_length("beam_arcmin", beam_arcmin, zero=True):
            beam = gaussian_beam(fwhm=beam_arcmin * _ARCMIN, lmax=len(power) - 1)
            power = power * beam.square()
            self.windows += (f"beam of {beam_arcmin:g} arcmin",)
        if pixel_window is not None:
            power = power * _check_window(pixel_window, len(power)).square()
            self.windows += ("pixel window",)
        self.signal = self._signal(power)

    def _signal(self, power: Tensor) -> Tensor:
        """Return C(theta) between all pixels, interpolated in a fine table."""
        vectors = patch_vectors(self.size, pixel_arcmin=self.pixel_arcmin).reshape(-1, 3)
        # The chord keeps the digits of small angles, which the cosine loses.
        chord = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
        theta = 2 * (chord / 2).clamp(max=1).asin()
        # With 32 steps in the shortest wave a cubic errs by 4e-5 of its amplitude, and by the
        # fourth power of its length less for longer ones.
        step = 2 * math.pi / (len(power) - 1) / 32
        n = int(float(theta.max()) / step) + 4
        table = angular_covariance(power, torch.arange(-1, n, dtype=torch.float64) * step)
        return _cubic(table, theta / step + 1)

    @property
    def total(self) -> Tensor:
        """Covariance of the data, noise and all, ``(P, P)``."""
        return self.signal + self.noise**2 * torch.eye(len(self.signal), dtype=torch.float64)

    def hole(self, mask: Tensor) -> "GnomonicHole":
        """Return the exact fill of one mask.

        Arguments:
            mask: ``(H, H)``, True where the sky is seen.

        Raises:
            TypeError, ValueError: no such mask, or a covariance that cannot be inverted.
        """
        return GnomonicHole(self, mask)

    def draw(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw skies, and the same with noise, ``(n, H, H)`` each.

        Arguments:
            n: how many.
            generator: of the random numbers.
        """
        check_generator(generator)
        values, vectors = torch.linalg.eigh(self.signal)
        root = vectors * values.clamp(min=0).sqrt()
        shape = (2, n, len(root))
        white = torch.randn(shape, generator=generator, dtype=torch.float64)
        signal = (white[0] @ root.T).reshape(n, self.size, self.size)
        return signal, signal + self.noise * white[1].reshape(signal.shape)

    def chi_square(self, data: Tensor) -> Tensor:
        """Return ``d^T C^-1 d / P`` of whole patches, 1 on average if all is right.

        A beam or a pixel window that was applied twice, or not at all, shows here first: the data
        then have more or less power on small scales than C says.

        Arguments:
            data: ``(..., H, H)``, finite.

        Raises:
            ValueError: another size, or NaN and infinite values.
        """
        (data,) = as_floats(data=data)
        if data.shape[-2:] != (self.size, self.size) or not all_finite(data):
            raise ValueError(
                f"data must be (..., {self.size}, {self.size}) and finite, "
                f"got shape {tuple(data.shape)}"
            )
        factor = _cholesky(self.total)
        flat = data.reshape(-1, len(factor)).double()
        white = torch.linalg.solve_triangular(factor, flat.T, upper=False)
        return white.square().mean(0).reshape(data.shape[:-2])

    def __repr__(self) -> str:
        """Return the sizes and the windows for ``print``."""
        return (
            f"PatchCovariance({self.size}, pixel_arcmin={self.pixel_arcmin}, "
            f"windows={self.windows}, noise={self.noise})"
        )


class GnomonicHole:
    """The exact fill of one mask on a gnomonic patch; made by `PatchCovariance.hole`.

    Arguments:
        covariance: of the patch.
        mask: ``(H, H)``, True where seen.

    Attributes:
        index: hidden pixels in the flattened map, ``(n,)``.
        weights: of the seen pixels in the mean of each hidden one, ``(n, P - n)``.
    """

    def __init__(self, covariance: PatchCovariance, mask: Tensor):
        self.seen = check_hard_mask(mask, size=covariance.size)
        if self.seen.dim() != 2:
            raise ValueError(f"mask must be one mask, (H, H), got shape {tuple(self.seen.shape)}")
        flat = self.seen.flatten()
        self.index = (~flat).nonzero()[:, 0]
        total = covariance.total
        hidden = ~flat
        cross = total[hidden][:, flat]  # (n, P - n)
        factor = _cholesky(total[flat][:, flat])
        self.weights = torch.cholesky_solve(cross.T, factor).T
        self._covariance = total[hidden][:, hidden] - self.weights @ cross.T

    @property
    def variance(self) -> Tensor:
        """Variance of the data in each hidden pixel given the seen ones, ``(n,)``."""
        return self._covariance.diagonal()

    def covariance(self) -> Tensor:
        """Return the covariance of the hidden pixels given the seen ones, ``(n, n)``."""
        return self._covariance.clone()

    def fill(self, data: Tensor) -> Tensor:
        """Return the data, hidden pixels replaced by their mean given the seen ones.

        Arguments:
            data: ``(..., H, H)``; what stands in hidden pixels does not count, be it masked.

        Raises:
            ValueError: another size, NaN, infinite, UNSEEN or masked values in seen pixels.
        """
        known = seen_only(data, self.seen)
        mean = known.flatten(-2)[..., self.seen.flatten()].double() @ self.weights.T
        return put_hidden(known, self.index, mean)

    def realisation(self, data: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw hidden pixels, noise and all, from their distribution given the seen ones.

        Arguments:
            data: as in `fill`.
            generator: of the random numbers.

        Returns:
            ``(..., H, H)``, one draw for each map.
        """
        check_generator(generator)
        filled = self.fill(data)
        shape = (*filled.shape[:-2], len(self.index))
        white = torch.randn(shape, generator=generator, dtype=torch.float64)
        drawn = white @ _cholesky(self._covariance).T
        return put_hidden(filled, self.index, filled.flatten(-2)[..., self.index] + drawn)

    def chi_square(self, hidden: Tensor) -> Tensor:
        """Return ``v^T S^-1 v`` of errors ``(..., n)``; its mean is n if they are as predicted."""
        (hidden,) = as_floats(hidden=hidden)
        factor = _cholesky(self._covariance)
        flat = hidden.reshape(-1, len(self.index)).double()
        white = torch.linalg.solve_triangular(factor, flat.T, upper=False)
        return white.square().sum(0).reshape(hidden.shape[:-1])


def _cubic(table: Tensor, place: Tensor) -> Tensor:
    """Interpolate a table at places counted from its first entry, by a cubic through four."""
    k = place.floor().long().clamp(1, len(table) - 3)
    return cubic(table, k - 1, place - k)


def _cholesky(matrix: Tensor) -> Tensor:
    """Return the lower factor, or an error that says why there is none."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed):
        raise ValueError(
            "noise must be larger: without it the pixels of a smooth sky follow from one another "
            "to within rounding, and their covariance cannot be inverted; take a small noise, "
            "such as 0.1"
        )
    return factor


def _check_window(window: Tensor, length: int) -> Tensor:
    values = as_tensor("pixel_window", window, dtype=torch.float64)
    if values.dim() != 1 or len(values) < length or not all_finite(values):
        raise ValueError(
            f"pixel_window must be (L,), L at least {length} as cl, and finite; "
            f"got shape {tuple(values.shape)}"
        )
    return values[:length]
