"""Fourier sums along all rings of both polar caps at once, by Bluestein's chirps: a handful of operations, as a GPU wants.

The rings have 4, 8, ..., 4 (nside - 1) pixels, so no one FFT serves them. With
``2 m p = m**2 + p**2 - (p - m)**2``

    sum_m F_m exp(2 pi i m p / n) = c_p sum_m (F_m c_m) conj(c_(p - m)),      c_k = exp(i pi k**2 /
    n),

a convolution, which FFTs of one length do for all rings [1]_. On a CPU a loop over the rings is
faster.

Shapes: N maps, C = nside - 1 rings of a cap, M orders, P = 4 C pixels of the longest ring, L >= M +
    P - 1.

.. [1] L. I. Bluestein, 1970, IEEE Trans. Audio Electroacoust. 18, 451.
"""

import torch
from torch import Tensor, nn

from skytutor.sht.rings import rings


def _chirp(k: Tensor, n: Tensor) -> Tensor:
    """``exp(i pi k**2 / n)``, the angle reduced while it is a whole number."""
    angle = (k * k) % (2 * n)
    return torch.polar(torch.ones(()).double(), torch.pi * angle.double() / n.double())


def _fast_length(least: int) -> int:
    """The next length with no other prime factors than 2, 3 and 5."""
    while True:
        left = least
        for prime in (2, 3, 5):
            while left % prime == 0:
                left //= prime
        if left == 1:
            return least
        least += 1


class CapFourier(nn.Module):
    """Both ways between orders and pixels of the caps of one nside; phases of the first pixels are not its business.

    Arguments:
        nside: at least 2.
        orders: M, how many m from 0.
    """

    def __init__(self, nside: int, orders: int):
        super().__init__()
        self.nside = nside
        self.orders = orders
        self.longest = 4 * (nside - 1)
        self.length = _fast_length(orders + self.longest - 1)
        n = rings(nside).count[: nside - 1, None]
        m = torch.arange(orders)
        p = torch.arange(self.longest)
        lag = torch.arange(self.length)  # p - m or m - p, wrapped around
        for name, most, factor in (
            ("kernel", self.longest, 2),
            ("turned", orders, 1),
        ):  # F_m stands for -m too
            wrapped = torch.where(lag < most, lag, lag - self.length)
            self.register_buffer(
                name, factor * torch.fft.fft(_chirp(wrapped, n).conj()), persistent=False
            )
        self.register_buffer("chirp_m", _chirp(m, n), persistent=False)
        self.register_buffer("chirp_p", _chirp(p, n), persistent=False)
        # Where pixel p of ring i lies in the caps' 2 nside (nside - 1) pixels, and which p there
        # are.
        start = rings(nside).start[: nside - 1, None]
        self.register_buffer("there", (p < n).flatten().nonzero().flatten(), persistent=False)
        self.register_buffer("at", start + p % n, persistent=False)
        self.register_buffer("seen", (p < n).double(), persistent=False)
        # The southern cap's rings come in the opposite order.
        southern = [torch.arange(4 * i) + 2 * i * (i - 1) for i in range(nside - 1, 0, -1)]
        self.register_buffer("southern", torch.cat(southern), persistent=False)
        self.register_buffer("northern", torch.cat(southern).argsort(), persistent=False)

    def to_pixels(self, orders: Tensor) -> Tensor:
        """Pixels ``(N, 2 nside (nside - 1))``, ring after ring, of orders ``(N, C, M)``: twice the real part of the sum."""
        kind = orders.dtype
        wave = torch.fft.fft(orders * self.chirp_m.to(kind), self.length) * self.kernel.to(kind)
        sums = torch.fft.ifft(wave)[..., : self.longest] * self.chirp_p.to(kind)  # (N, C, P)
        return sums.real.flatten(1).index_select(1, self.there)

    def to_orders(self, pixels: Tensor) -> Tensor:
        """Orders ``(N, C, M)`` of pixels: ``sum_p f_p exp(-2 pi i m p / n)``."""
        kind = torch.complex128 if pixels.dtype == torch.float64 else torch.complex64
        padded = pixels[:, self.at] * self.seen.to(pixels.dtype)  # (N, C, P)
        # The conjugate of the other way, with m and p in each other's places.
        wave = torch.fft.fft(padded * self.chirp_p.to(kind), self.length) * self.turned.to(kind)
        return (torch.fft.ifft(wave)[..., : self.orders] * self.chirp_m.to(kind)).conj()
