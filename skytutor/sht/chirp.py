"""Fourier sums along all rings of both polar caps at once, by Bluestein's chirps.

The rings have 4, 8, ..., 4 (nside - 1) pixels, so no one FFT serves them. With
``2 m p = m**2 + p**2 - (p - m)**2``

    sum_m F_m exp(2 pi i m p / n) = c_p sum_m (F_m c_m) conj(c_(p - m)),

    c_k = exp(i pi k**2 / n),

a convolution, which FFTs of one length do for all rings [1]_. That is a handful of operations, as a
GPU wants; on a CPU a loop over the rings is faster.

Shapes: N maps, C = nside - 1 rings of a cap, M orders, P = 4 C pixels of the longest ring,
L >= M + P - 1.

.. [1] L. I. Bluestein, 1970, IEEE Trans. Audio Electroacoust. 18, 451.
"""

import torch
from torch import Tensor

from skytutor.healpix.rings import rings
from skytutor.tables import TableModule


def _chirp(k: Tensor, n: Tensor) -> Tensor:
    """Return ``exp(i pi k**2 / n)``, the angle reduced while it is a whole number."""
    angle = (k * k) % (2 * n)
    return torch.polar(torch.ones(()).double(), torch.pi * angle.double() / n.double())


def _fast_length(least: int) -> int:
    """Return the next length with no other prime factors than 2, 3 and 5."""
    while True:
        remainder = least
        for prime in (2, 3, 5):
            while remainder % prime == 0:
                remainder //= prime
        if remainder == 1:
            return least
        least += 1


class CapFourier(TableModule):
    """Both ways between orders and pixels of the caps of one nside.

    The longitude of a ring's first pixel is left to the caller.

    Arguments:
        nside: at least 2.
        orders: M, how many m from 0.
    """

    chirp_m: Tensor  # (C, M), c_m
    chirp_p: Tensor  # (C, P), c_p
    pixel_kernel: Tensor  # (C, L), transform of 2 conj(c_k), for sums over the orders
    order_kernel: Tensor  # (C, L), transform of conj(c_k), for sums over the pixels
    valid: Tensor  # where the rings' own pixels lie in a flat (C, P)
    pixel: Tensor  # (C, P), which pixel of the cap each of these is; past a ring's end, any one
    inside: Tensor  # (C, P), 1 within the ring and 0 past its end
    southern: Tensor  # pixels of the southern cap in the order of the northern rings
    northern: Tensor  # the inverse of that permutation

    def __init__(self, nside: int, orders: int):
        super().__init__()
        self.nside = nside
        self.orders = orders
        self.longest = 4 * (nside - 1)
        self.length = _fast_length(orders + self.longest - 1)
        n = rings(nside).pixels[: nside - 1, None]  # (C, 1)
        m = torch.arange(orders)
        p = torch.arange(self.longest)
        start = rings(nside).start[: nside - 1, None]
        # The southern cap's rings come in the opposite order.
        southern = torch.cat(
            [torch.arange(4 * i) + 2 * i * (i - 1) for i in range(nside - 1, 0, -1)]
        )
        tables = {
            # An order m > 0 stands for -m too, hence the 2.
            "pixel_kernel": 2 * self._kernel(self.longest, n),
            "order_kernel": self._kernel(orders, n),
            "chirp_m": _chirp(m, n),
            "chirp_p": _chirp(p, n),
            "valid": (p < n).flatten().nonzero().flatten(),
            "pixel": start + p % n,
            "inside": (p < n).double(),
            "southern": southern,
            "northern": southern.argsort(),
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def _kernel(self, outputs: int, n: Tensor) -> Tensor:
        """Return the transform ``(C, L)`` of ``conj(c_k)`` for so many outputs of a convolution.

        Lags from 0 on stand first and negative ones at the end, as a circular convolution reads
        them.
        """
        lag = torch.arange(self.length)
        wrapped = torch.where(lag < outputs, lag, lag - self.length)
        return torch.fft.fft(_chirp(wrapped, n).conj())

    def to_pixels(self, orders: Tensor) -> Tensor:
        """Return twice the real part of ``sum_m F_m exp(2 pi i m p / n)``.

        Arguments:
            orders: ``(N, C, M)`` complex.

        Returns:
            ``(N, 2 nside (nside - 1))`` real, ring after ring.
        """
        dtype = orders.dtype
        chirped = orders * self.chirp_m.to(dtype)  # (N, C, M)
        spectrum = torch.fft.fft(chirped, self.length) * self.pixel_kernel.to(dtype)  # (N, C, L)
        sums = torch.fft.ifft(spectrum)[..., : self.longest] * self.chirp_p.to(dtype)  # (N, C, P)
        return sums.real.flatten(1).index_select(1, self.valid)

    def to_orders(self, pixels: Tensor) -> Tensor:
        """Return ``sum_p f_p exp(-2 pi i m p / n)``.

        Arguments:
            pixels: ``(N, 2 nside (nside - 1))`` real, ring after ring.

        Returns:
            ``(N, C, M)`` complex.
        """
        if pixels.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"pixels must be float32 or float64, got {pixels.dtype}")
        dtype = torch.complex128 if pixels.dtype == torch.float64 else torch.complex64
        padded = pixels[:, self.pixel] * self.inside.to(pixels.dtype)  # (N, C, P)
        # The conjugate of `to_pixels`, with m and p in each other's places.
        chirped = padded * self.chirp_p.to(dtype)
        spectrum = torch.fft.fft(chirped, self.length) * self.order_kernel.to(dtype)  # (N, C, L)
        return (torch.fft.ifft(spectrum)[..., : self.orders] * self.chirp_m.to(dtype)).conj()
