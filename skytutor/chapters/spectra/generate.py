"""Whole spectra from a posterior of latents, and their error bars.

Each sample of the latents is decoded into a spectrum. What the decoder cannot draw is missing from
all of them: bands that hold the uncertainty of the latents alone are too narrow where six numbers
do not fix a spectrum, most of all in its lines. `ResidualBank` adds it, spectrum by spectrum, from
galaxies of training whose latents are near.

Shapes: B galaxies, S samples of each, D latents, M bins of a spectrum, R galaxies of the bank.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skytutor.chunks import in_chunks
from skytutor.validate import positive
from skytutor.values import all_finite

__all__ = [
    "ResidualBank",
    "SpectrumBands",
    "check_finite",
    "posterior_spectra",
    "predict_bands",
    "spectrum_bands",
]

Decoder = Callable[[Tensor], Tensor]
_ROWS = 1024  # samples whose neighbours in a bank are looked up at once


@dataclass(frozen=True)
class SpectrumBands:
    """Predicted spectra with error bars.

    Attributes:
        mean: ``(B, M)``, posterior mean.
        low: ``(B, M)``, lower end of the central interval of each bin.
        high: ``(B, M)``, its upper end.
        level: probability of the interval.
    """

    mean: Tensor
    low: Tensor
    high: Tensor
    level: float


class ResidualBank:
    """Draw what a decoder leaves out, from galaxies whose latents are near.

    Arguments:
        latents: ``(R, D)``, of galaxies of training.
        residuals: ``(R, M)``, their spectra minus what the decoder makes of their latents.
        neighbours: among how many of the nearest galaxies one is drawn.

    Raises:
        TypeError, ValueError: shapes that do not fit together, NaN or infinite values, or not 1 to
            R neighbours.

    Example:
        >>> bank = ResidualBank(torch.randn(100, 6), torch.randn(100, 1000))
        >>> bank.draw(torch.randn(8, 6)).shape
        torch.Size([8, 1000])
    """

    def __init__(self, latents: Tensor, residuals: Tensor, *, neighbours: int = 20):
        if latents.ndim != 2 or residuals.ndim != 2 or len(latents) != len(residuals):
            raise ValueError(
                "latents must be (R, D) and residuals (R, M), "
                f"got {tuple(latents.shape)} and {tuple(residuals.shape)}"
            )
        positive(neighbours=neighbours)
        if neighbours > len(latents):
            raise ValueError(f"neighbours must be at most R = {len(latents)}, got {neighbours}")
        check_finite(latents=latents, residuals=residuals)
        self.latents = latents
        self.residuals = residuals
        self.neighbours = neighbours

    def draw(self, latents: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw a residual for each row of latents.

        Arguments:
            latents: ``(N, D)``.
            generator: on the CPU; default: torch's own.

        Returns:
            ``(N, M)``, rows of the bank.

        Raises:
            ValueError: another number of latents than the bank has.
        """
        if latents.ndim != 2 or latents.shape[1] != self.latents.shape[1]:
            raise ValueError(
                f"latents must be (N, {self.latents.shape[1]}), got {tuple(latents.shape)}"
            )

        def nearest(rows: Tensor) -> Tensor:
            distance = torch.cdist(rows, self.latents.to(rows))
            return distance.topk(self.neighbours, dim=1, largest=False).indices

        near = in_chunks(nearest, latents, size=_ROWS)  # (N, neighbours)
        choice = torch.randint(self.neighbours, (len(near), 1), generator=generator)
        return self.residuals.to(latents)[near.gather(1, choice.to(near.device))[:, 0]]


def posterior_spectra(
    decoder: Decoder,
    latent_samples: Tensor,
    *,
    residuals: ResidualBank | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Decode samples of the latents into spectra.

    Arguments:
        decoder: takes latents ``(N, D)`` and returns spectra ``(N, M)``, such as ``decode`` of an
            autoencoder.
        latent_samples: ``(B, S, D)``, in the decoder's units.
        residuals: adds what the decoder leaves out; None for the decoded spectra alone.
        generator: of the residuals, on the CPU; default: torch's own.

    Returns:
        ``(B, S, M)``, without gradient.

    Raises:
        ValueError: samples of another shape, or with NaN or infinite values; a decoder that does
            not return ``(N, M)``.

    Example:
        >>> posterior_spectra(lambda z: z @ torch.ones(6, 1000), torch.randn(4, 50, 6)).shape
        torch.Size([4, 50, 1000])
    """
    if latent_samples.ndim != 3:
        raise ValueError(f"latent_samples must be (B, S, D), got {tuple(latent_samples.shape)}")
    check_finite(latent_samples=latent_samples)
    latents = latent_samples.flatten(0, 1)  # (B S, D)
    with torch.no_grad():
        spectra = decoder(latents)
    if spectra.ndim != 2 or len(spectra) != len(latents):
        raise ValueError(
            f"decoder must return ({len(latents)}, M) of {tuple(latents.shape)}, "
            f"got {tuple(spectra.shape)}"
        )
    if residuals is not None:
        spectra = spectra + residuals.draw(latents, generator=generator)
    return spectra.unflatten(0, latent_samples.shape[:2])


def spectrum_bands(spectra: Tensor, *, level: float = 0.68) -> SpectrumBands:
    """Return the mean of spectra and the central interval of each bin.

    Arguments:
        spectra: samples ``(B, S, M)``.
        level: probability of the interval, between 0 and 1.

    Raises:
        ValueError: fewer than two samples, another shape, or a level outside 0..1.

    Example:
        >>> bands = spectrum_bands(torch.linspace(0, 1, 99).reshape(1, 99, 1))
        >>> round(float(bands.low), 2), round(float(bands.high), 2)
        (0.15, 0.85)
    """
    if spectra.ndim != 3 or spectra.shape[1] < 2:
        raise ValueError(f"spectra must be (B, S, M) with S of 2 or more, got {spectra.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}")
    in_order = _sort_samples(spectra)  # (B, M, S)

    def quantile(probability: float) -> Tensor:
        # The k-th of S samples is the quantile k / (S + 1): so a truth that is one more draw lies
        # below it as often as it says, however few samples there are.
        n = spectra.shape[1]
        position = min(max(probability * (n + 1) - 1, 0.0), n - 1.0)
        below = min(int(position), n - 2)
        return torch.lerp(in_order[..., below], in_order[..., below + 1], position - below)

    margin = (1 - level) / 2
    return SpectrumBands(spectra.mean(1), quantile(margin), quantile(1 - margin), level)


def _sort_samples(spectra: Tensor) -> Tensor:
    """Return samples ``(B, S, M)`` as ``(B, M, S)``, in rising order."""
    by_bin = spectra.detach().mT.contiguous()
    if by_bin.device.type != "cpu":
        return by_bin.sort(2).values
    # NumPy sorts short rows with vector instructions, ten times faster than torch on a CPU.
    return torch.from_numpy(np.sort(by_bin.numpy(), axis=2))


def predict_bands(
    decoder: Decoder,
    latent_samples: Tensor,
    *,
    level: float = 0.68,
    residuals: ResidualBank | None = None,
    generator: torch.Generator | None = None,
    rows: int = 32,
) -> SpectrumBands:
    """Return mean and bands of many galaxies, with the sampled spectra of a few in memory.

    Arguments:
        decoder: as in `posterior_spectra`.
        latent_samples: ``(B, S, D)``.
        level: probability of the bands, between 0 and 1.
        residuals: as in `posterior_spectra`.
        generator: as in `posterior_spectra`.
        rows: galaxies at a time.

    Raises:
        TypeError, ValueError: as in `posterior_spectra` and `spectrum_bands`, or `rows` that is no
            positive integer.
    """

    def bands_of(samples: Tensor) -> Tensor:
        spectra = posterior_spectra(decoder, samples, residuals=residuals, generator=generator)
        bands = spectrum_bands(spectra, level=level)
        return torch.stack([bands.mean, bands.low, bands.high], 1)

    stacked = in_chunks(bands_of, latent_samples, size=rows)  # (B, 3, M)
    mean, low, high = stacked.unbind(1)
    return SpectrumBands(mean, low, high, level)


def check_finite(**tensors: Tensor) -> None:
    """Refuse NaN and infinite values.

    Arguments:
        **tensors: by the names that the error message calls them.

    Raises:
        ValueError: one of them holds such a value.
    """
    for name, x in tensors.items():
        if not all_finite(x):
            raise ValueError(f"{name} holds NaN or infinite values")
