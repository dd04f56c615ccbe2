r"""A small piece of sky as a square of pixels: Gaussian fields in Fourier modes.

On a patch of a few degrees the sphere is nearly a plane, and a spherical harmonic of degree l is
nearly a plane wave of wave number ``k = l``. A stationary field on a periodic square of H x H
pixels has independent Fourier modes; with pixels of a radians along a side the variance of a mode
is, in the square of the map's unit,

.. math:: T(k) = C_k b_k^2 / a^2 + \sigma^2

for a spectrum C, a Gaussian beam b and white noise of standard deviation :math:`\sigma` in a
pixel [1]_. The mean of T over all modes is the variance of a pixel.

Shapes: maps ``(..., H, W)`` with H = W; modes ``(H, H // 2 + 1)``, as ``torch.fft.rfft2`` has them.
What varies over a patch repeats beyond its edge, so the left edge continues the right one.

.. [1] W. Hu, 2000, Phys. Rev. D 62, 043007, section II.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor
from skytutor.fields.windows import gaussian_beam
from skytutor.healpix import check_values
from skytutor.validate import as_integer, as_length, check_generator, positive
from skytutor.values import extremes

__all__ = ["FlatSky", "band_powers", "check_spectrum", "filter_maps", "frequencies", "laplacian"]

_ARCMIN = math.pi / 180 / 60  # radians


def frequencies(size: int, *, pixel_arcmin: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the wave vector of every mode of ``rfft2``.

    Arguments:
        size: H, pixels along a side.
        pixel_arcmin: side of a pixel in arcmin.

    Returns:
        ky ``(H, 1)`` and kx ``(1, H // 2 + 1)``, float64, in 1 / radian: lengths are multipoles.

    Example:
        >>> ky, kx = frequencies(4, pixel_arcmin=60.0)
        >>> kx
        tensor([[ 0., 90., 180.]], dtype=torch.float64)
    """
    (size,) = positive(size=size)
    step = as_length("pixel_arcmin", pixel_arcmin) * _ARCMIN
    ky = torch.fft.fftfreq(size, d=step, dtype=torch.float64) * 2 * math.pi
    kx = torch.fft.rfftfreq(size, d=step, dtype=torch.float64) * 2 * math.pi
    return ky[:, None], kx[None]


def filter_maps(maps: Tensor, response: Tensor) -> Tensor:
    """Multiply the Fourier modes of maps by a response, a circular convolution.

    Arguments:
        maps: ``(..., H, H)`` real.
        response: ``(..., H, H // 2 + 1)``, real or complex.

    Returns:
        ``(..., H, H)``, in the precision of `maps`.

    Raises:
        TypeError: maps that are not floating.
        ValueError: no squares, or a response of another size.

    Example:
        >>> maps = torch.randn(2, 8, 8)
        >>> torch.allclose(filter_maps(maps, torch.ones(8, 5)), maps, atol=1e-6)
        True
    """
    (maps,) = as_floats(maps=maps)
    response = as_tensor("response", response, like=maps)
    size = maps.shape[-1] if maps.dim() else 0
    if maps.shape[-2:] != (size, size) or response.shape[-2:] != (size, size // 2 + 1):
        raise ValueError(
            "maps must be (..., H, H) and response (..., H, H // 2 + 1), "
            f"got shapes {tuple(maps.shape)} and {tuple(response.shape)}"
        )
    modes = torch.fft.rfft2(maps)
    # A real response stays real, which is half the work; a complex one keeps its phase.
    modes = modes * response.to(modes if response.is_complex() else maps)
    return torch.fft.irfft2(modes, s=maps.shape[-2:])


def laplacian(size: int, power: int = 1) -> Tensor:
    """Return the eigenvalues of minus the five-point Laplacian, to a power.

    As a precision they make the conditional mean the harmonic fill (power 1, the membrane) or the
    biharmonic fill (power 2, the thin plate).

    Arguments:
        size: H, pixels along a side.
        power: exponent, a positive integer.

    Returns:
        ``(H, H // 2 + 1)``, float64; 0 for the constant mode.

    Example:
        >>> laplacian(2)
        tensor([[0., 4.],
                [4., 8.]], dtype=torch.float64)
    """
    (power,) = positive(power=power)
    ky, kx = frequencies(size, pixel_arcmin=1 / _ARCMIN)  # radians per pixel
    return (4 - 2 * ky.cos() - 2 * kx.cos()) ** power


class FlatSky:
    """A Gaussian sky on a periodic square: its modes' variances, and draws of it.

    Arguments:
        size: H, pixels along a side.
        pixel_arcmin: side of a pixel in arcmin.
        cl: C_l from l = 0, ``(L,)``, in the square of the map's unit. It is interpolated between
            degrees and 0 beyond the last. The constant mode takes the power of the longest wave
            that fits the patch: without any it would pin the sum over the patch, and so say
            something about hidden pixels that no sky says.
        beam_arcmin: full width at half maximum of a Gaussian beam; 0 for none.
        noise: standard deviation of the white noise in a pixel, not negative.

    Attributes:
        l: multipole of each mode, ``(H, H // 2 + 1)``.
        signal: variance that each mode gives to a pixel, beam applied.
        total: the same with noise.

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> sky = FlatSky(16, pixel_arcmin=10.0, cl=torch.ones(2000), noise=1.0)
        >>> signal, data = sky.draw(3, generator=torch.Generator().manual_seed(1))
        >>> data.shape
        torch.Size([3, 16, 16])
    """

    def __init__(
        self,
        size: int,
        *,
        pixel_arcmin: float,
        cl: Tensor,
        beam_arcmin: float = 0.0,
        noise: float = 0.0,
    ):
        self.size = as_integer("size", size)
        if self.size < 2:
            raise ValueError(f"size must be at least 2 pixels, got {size}")
        self.pixel_arcmin = as_length("pixel_arcmin", pixel_arcmin)
        self.beam_arcmin = as_length("beam_arcmin", beam_arcmin, zero=True)
        self.noise = as_length("noise", noise, zero=True)
        self.cl = check_spectrum(cl)
        ky, kx = frequencies(self.size, pixel_arcmin=self.pixel_arcmin)
        self.l = (ky.square() + kx.square()).sqrt()
        # A map of independent modes of variance C_l / a^2 has the angular spectrum C_l.
        area = (self.pixel_arcmin * _ARCMIN) ** 2
        longest = self.l[0, 1]
        self.signal = interpolate(self._beamed(), self.l.clamp(min=longest)) / area
        self.total = self.signal + self.noise**2

    def _beamed(self) -> Tensor:
        """Return C_l b_l^2, ``(L,)``."""
        if self.beam_arcmin == 0:
            return self.cl
        beam = gaussian_beam(fwhm=self.beam_arcmin * _ARCMIN, lmax=len(self.cl) - 1)
        return self.cl * beam.to(self.cl).square()

    @property
    def precision(self) -> Tensor:
        """The inverse of `total`, ``(H, H // 2 + 1)``.

        Raises:
            ValueError: modes of so little power and noise that they have no inverse in float64.
        """
        low, high = extremes(self.total)
        # Beyond the rounding of the largest the smallest means nothing.
        if low <= high * torch.finfo(self.total.dtype).eps:
            raise ValueError(
                f"noise must be larger, got {self.noise:g}: modes beyond the beam have no power "
                "to speak of, and hidden pixels would follow from them exactly; take a small "
                "noise, such as 0.01"
            )
        return 1 / self.total

    def draw(
        self, n: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float64
    ) -> tuple[Tensor, Tensor]:
        """Draw skies, and the same with noise.

        Arguments:
            n: how many.
            generator: of the random numbers.
            dtype: of the maps.

        Returns:
            signal and data, ``(n, H, H)`` each.
        """
        check_generator(generator)
        (n,) = positive(n=n)
        shape = (2, n, self.size, self.size)
        white = torch.randn(shape, generator=generator, dtype=dtype)
        signal = filter_maps(white[0], self.signal.sqrt())
        return signal, signal + self.noise * white[1]

    def __repr__(self) -> str:
        """Return the sizes for ``print``."""
        return (
            f"FlatSky({self.size}, pixel_arcmin={self.pixel_arcmin}, "
            f"beam_arcmin={self.beam_arcmin}, noise={self.noise})"
        )


def interpolate(values: Tensor, l: Tensor) -> Tensor:
    """Interpolate values of whole degrees to any multipoles, 0 beyond the last.

    Arguments:
        values: ``(L,)``, of l = 0 to L - 1.
        l: multipoles, of any shape, not negative.

    Returns:
        of the shape of `l`, in the precision of `values`.

    Example:
        >>> interpolate(torch.tensor([0.0, 2.0, 4.0]), torch.tensor([0.5, 2.0, 7.0]))
        tensor([1., 4., 0.])
    """
    values, l = as_floats(values=values, l=l)
    below = l.floor().long().clamp(max=len(values) - 1)
    above = (below + 1).clamp(max=len(values) - 1)
    part = (l - below).to(values)
    between = values[below] * (1 - part) + values[above] * part
    return torch.where(l > len(values) - 1, 0, between)


def band_powers(
    maps: Tensor, edges: Sequence[float], *, pixel_arcmin: float, window: Tensor | None = None
) -> Tensor:
    """Measure the mean power of maps in bands of multipoles, behind a window.

    Arguments:
        maps: ``(..., H, H)``; where the window is 0 they may hold anything, and nowhere else.
        edges: of the bands, n + 1 increasing multipoles.
        pixel_arcmin: side of a pixel in arcmin.
        window: ``(..., H, H)``, such as 1 in a hole and 0 outside, to measure the hole alone; None
            for the whole patch.

    Returns:
        C_l of each band ``(..., n)`` in the square of the maps' unit, over the mean square of the
        window. The mixing of degrees that a window brings is left in, as in pseudo-spectra.

    Raises:
        ValueError: edges that do not increase, a band without a mode; no squares, NaN,
            infinite or UNSEEN pixels, a window of another size or of zeros alone.

    Example:
        >>> maps = torch.randn(4, 32, 32, dtype=torch.float64)
        >>> band_powers(maps, [200, 800, 1400], pixel_arcmin=6.0).shape
        torch.Size([4, 2])
    """
    (maps,) = as_floats(maps=maps)
    size = _check_square(maps)
    bounds = as_tensor("edges", edges, dtype=torch.float64)
    if bounds.dim() != 1 or len(bounds) < 2 or bool((bounds.diff() <= 0).any()):
        raise ValueError(f"edges must be at least two increasing multipoles, got {bounds.tolist()}")
    area = (pixel_arcmin * _ARCMIN) ** 2
    norm = torch.ones(1, dtype=maps.dtype, device=maps.device)
    if window is not None:
        window = _check_window(as_tensor("window", window, dtype=maps.dtype).to(maps.device), size)
        # First the choice: 0 times NaN is NaN.
        maps = torch.where(window != 0, maps, 0)
    check_values(maps, name="maps", axes=2)
    if window is not None:
        maps = maps * window
        norm = window.square().mean((-2, -1))[..., None]
    ky, kx = frequencies(size, pixel_arcmin=pixel_arcmin)
    l = (ky.square() + kx.square()).sqrt()
    # rfft2 leaves out half of the modes: those with 0 < kx < Nyquist stand for two.
    twice = torch.full_like(kx, 2.0)
    twice[0, 0] = 1.0
    if size % 2 == 0:
        twice[0, -1] = 1.0
    band = torch.bucketize(l, bounds, right=True) - 1
    powers = torch.fft.rfft2(maps, norm="ortho").abs().square() * area
    found = []
    for i in range(len(bounds) - 1):
        weight = (twice * (band == i)).to(maps)
        if not bool(weight.any()):
            raise ValueError(
                f"edges: no mode of a {size} x {size} patch lies in {edges[i]}..{edges[i + 1]}"
            )
        found.append((powers * weight).sum((-2, -1)) / weight.sum())
    return torch.stack(found, -1) / norm


def _check_square(maps: Tensor) -> int:
    """Return the side of maps, refused if they are no squares."""
    if maps.dim() < 2 or maps.shape[-1] != maps.shape[-2] or not maps.numel():
        raise ValueError(f"maps must be (..., H, H), got shape {tuple(maps.shape)}")
    return maps.shape[-1]


def _check_window(window: Tensor, size: int) -> Tensor:
    """Return a window, refused if it is of another size or shows nothing."""
    if window.shape[-2:] != (size, size):
        raise ValueError(
            f"window must be (..., {size}, {size}) as the maps, got shape {tuple(window.shape)}"
        )
    check_values(window, name="window", axes=2)
    if not bool((window != 0).flatten(-2).any(-1).all()):
        raise ValueError("window is 0 everywhere: nothing is left to measure")
    return window


def check_spectrum(cl: Tensor) -> Tensor:
    """Return a spectrum as float64 without gradient, refused if no Gaussian sky can have it.

    Arguments:
        cl: C_l from l = 0, ``(L,)``.

    Raises:
        ValueError: fewer than 3 values, or negative, NaN or infinite ones.

    Example:
        >>> check_spectrum([1, 2, 3])
        tensor([1., 2., 3.], dtype=torch.float64)
    """
    values = as_tensor("cl", cl, dtype=torch.float64).detach()
    good = values.dim() == 1 and len(values) >= 3 and bool(torch.isfinite(values).all())
    if not good or bool((values < 0).any()):
        raise ValueError(
            "cl must be at least 3 finite values from l = 0 on, none negative; "
            f"got shape {tuple(values.shape)}"
        )
    return values
