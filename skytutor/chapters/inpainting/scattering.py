"""A scattering transform: features of a picture that no training made.

The published loss compares pictures by features of a network trained on photographs. Here wavelets
take its place: filter, take the modulus, filter again, smooth. The features hardly change when the
picture is shifted or slightly deformed, and tell textures of one power spectrum apart [1]_ [2]_.

.. [1] S. Mallat, 2012, Comm. Pure Appl. Math. 65, 1331 (arXiv:1101.2286).
.. [2] J. Bruna & S. Mallat, 2013, IEEE PAMI 35, 1872 (arXiv:1203.1513); widths and frequencies of
   the Morlet wavelets as in M. Andreux et al., 2020, JMLR 21, 60 (arXiv:1812.11214).
"""

import math

import torch
from torch import Tensor, nn

from skytutor.validate import positive

__all__ = ["Scattering", "gaussian_response", "morlet_response"]

WIDTH = 0.8  # of the finest wavelet's envelope, pixels
FREQUENCY = 0.75 * math.pi  # of the finest wavelet, radians a pixel


def _frequencies(size: int) -> tuple[Tensor, Tensor]:
    """Return the frequencies of ``fft2`` and their aliases, ``(9, size, size)`` each."""
    one = 2 * math.pi * torch.fft.fftfreq(size, dtype=torch.float64)
    turns = 2 * math.pi * torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    # A filter sampled on pixels sums its response over all frequencies that look alike there.
    y, x, turn_y, turn_x = torch.meshgrid(one, one, turns, turns, indexing="ij")
    return (y + turn_y).flatten(2).movedim(2, 0), (x + turn_x).flatten(2).movedim(2, 0)


def gaussian_response(size: int, *, width: float) -> Tensor:
    """Return the Fourier response of a Gaussian whose pixels sum to 1.

    Arguments:
        size: H, side of the picture.
        width: standard deviation, pixels.

    Returns:
        ``(H, H)``, float64, in the order of ``fft2``.
    """
    y, x = _frequencies(size)
    response = (-0.5 * width**2 * (x**2 + y**2)).exp().sum(0)
    return response / response[0, 0]


def morlet_response(size: int, *, width: float, frequency: float, angle: float) -> Tensor:
    """Return the Fourier response of a Morlet wavelet: a plane wave under a Gaussian, of mean 0.

    It is not scaled. The envelope is round: the slant of 4 / L in [1]_ for L = 4 orientations.

    Arguments:
        size: H, side of the picture.
        width: standard deviation of the envelope, pixels.
        frequency: of the wave, radians a pixel.
        angle: of the wave's direction from the x axis, radians.

    Returns:
        ``(H, H)``, float64, in the order of ``fft2``; 0 at frequency 0.

    .. [1] M. Andreux et al., 2020, JMLR 21, 60.
    """
    y, x = _frequencies(size)
    offset_x = x - frequency * math.cos(angle)
    offset_y = y - frequency * math.sin(angle)
    wave = (-0.5 * width**2 * (offset_x**2 + offset_y**2)).exp().sum(0)
    envelope = (-0.5 * width**2 * (x**2 + y**2)).exp().sum(0)
    # Take away as much of the envelope as makes the mean vanish: a constant picture gives nothing.
    return wave - wave[0, 0] / envelope[0, 0] * envelope


class Scattering(nn.Module):
    """Wavelets, modulus, and wavelets again; each result smoothed and sampled more coarsely.

    ``S0 = x * phi``, ``S1 = |x * psi_1| * phi``, ``S2 = ||x * psi_1| * psi_2| * phi`` with psi_2
    coarser than psi_1. The picture is periodic. Filters are scaled together so that no picture, and
    no difference of two, grows: ``|S x - S y| <= |x - y|``.

    Arguments:
        size: H, side of the picture; a multiple of ``2**scales``.
        scales: J. Wavelets double in width from one to the next; phi is ``2**J`` pixels wide.
        orientations: L, angles of the wavelets over half a turn.

    Attributes:
        features: number of features at a place, ``1 + J L + J (J - 1) / 2 L**2``.

    Raises:
        TypeError, ValueError: sizes that are no positive integers or do not fit together.

    Example:
        >>> scattering = Scattering(32, scales=2, orientations=4)
        >>> scattering(torch.zeros(5, 32, 32)).shape
        torch.Size([5, 25, 8, 8])
    """

    wavelets: Tensor  # (J, L, H, H): responses of psi
    low_pass: Tensor  # (H, H): response of phi

    def __init__(self, size: int, *, scales: int = 3, orientations: int = 4):
        super().__init__()
        positive(size=size, scales=scales, orientations=orientations)
        if size % 2**scales:
            raise ValueError(f"size must be a multiple of 2**scales = {2**scales}, got {size}")
        self.size = size
        self.scales = scales
        self.orientations = orientations
        n = orientations
        self.features = 1 + scales * n + scales * (scales - 1) // 2 * n**2
        wavelets = torch.stack([self._wavelets(2.0**j) for j in range(scales)])  # (J, L, H, H)
        low_pass = gaussian_response(size, width=WIDTH * 2 ** (scales - 1))
        # The energy that all filters pass at each frequency; a real picture has as much at the
        # opposite one, so that their mean counts.
        energy = wavelets.square().sum((0, 1))
        opposite = energy.flip(0, 1).roll((1, 1), (0, 1))
        passed = low_pass**2 + 0.5 * (energy + opposite)
        largest = passed.max().sqrt()
        self.register_buffer("wavelets", (wavelets / largest).float(), persistent=False)
        self.register_buffer("low_pass", (low_pass / largest).float(), persistent=False)

    def _wavelets(self, factor: float) -> Tensor:
        """Return the L wavelets that are `factor` times as wide as the finest, each of peak 1."""
        angles = [math.pi * k / self.orientations for k in range(self.orientations)]
        responses = [
            morlet_response(
                self.size, width=WIDTH * factor, frequency=FREQUENCY / factor, angle=angle
            )
            for angle in angles
        ]
        wavelets = torch.stack(responses)  # (L, H, H)
        return wavelets / wavelets.amax((1, 2), keepdim=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the features of pictures.

        Arguments:
            maps: ``(B, H, H)``, real, any unit.

        Returns:
            ``(B, features, H / 2**J, H / 2**J)``, in the unit of the maps: the smoothed picture,
            then order one by width and angle, then order two.

        Raises:
            ValueError: maps of another shape.
        """
        if maps.ndim != 3 or maps.shape[1:] != (self.size, self.size):
            raise ValueError(f"maps must be (B, {self.size}, {self.size}), got {tuple(maps.shape)}")
        spectrum = torch.fft.fft2(maps)[:, None]  # (B, 1, H, H)
        smoothed = [self._smooth(spectrum)]
        second = []
        for j in range(self.scales):
            # The modulus drops the wave's phase, that is, where exactly its crests lie.
            first = torch.fft.ifft2(spectrum * self.wavelets[j]).abs()  # (B, L, H, H)
            first_spectrum = torch.fft.fft2(first)
            smoothed.append(self._smooth(first_spectrum))
            # What is left of the modulus at coarser widths: how the strength varies from place to
            # place. Finer wavelets find next to nothing in it.
            coarser = self.wavelets[j + 1 :].flatten(0, 1)  # (L', H, H)
            if len(coarser):
                again = torch.fft.ifft2(first_spectrum[:, :, None] * coarser).abs()
                second.append(self._smooth(torch.fft.fft2(again.flatten(1, 2))))
        return torch.cat(smoothed + second, 1)

    def _smooth(self, spectrum: Tensor) -> Tensor:
        """Smooth by phi and keep every ``2**J``-th pixel of a row and of a column."""
        step = 2**self.scales
        coarse = self.size // step
        # Frequencies that look alike on the coarse pixels are summed: (step, n) of each axis.
        folded = (spectrum * self.low_pass).unflatten(-2, (step, coarse))
        folded = folded.unflatten(-1, (step, coarse)).mean((-4, -2))  # (..., n, n)
        return torch.fft.ifft2(folded).real

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return f"{self.size}, scales={self.scales}, orientations={self.orientations}"
