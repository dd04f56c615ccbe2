"""The nine numbers that every network of this chapter predicts of a galaxy."""

import torch
from torch import Tensor

from skytutor.chapters.pretrained import load_pretrained
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.data.galaxies import FibreSpectra
from skytutor.memo import cached_table

__all__ = ["N_LATENTS", "N_TARGETS", "TARGETS", "make_targets", "natural", "pretrained_autoencoder"]

N_LATENTS = 6
TARGETS = (
    *(f"latent {k}" for k in range(1, N_LATENTS + 1)),
    "ln EW H-alpha",
    "ln EW [OIII]",
    "redshift",
)
N_TARGETS = len(TARGETS)
# About the mean and the standard deviation of simulated galaxies: a unit, by definition.
_CENTRE = (2.1, 0.75, 0.105)
_SCALE = (1.20, 1.05, 0.058)


def make_targets(
    autoencoder: SpectrumAutoencoder, spectra: FibreSpectra, redshift: Tensor
) -> Tensor:
    """Return the targets ``(B, 9)``: six latents of the noisy spectrum, two widths, the redshift.

    Arguments:
        autoencoder: trained; its latents are standardised.
        spectra: B spectra.
        redshift: ``(B,)``.
    """
    with torch.no_grad():
        latents = autoencoder.encode(spectra.flux, spectra.inverse_variance)[:, :N_LATENTS]
    rest = torch.cat([spectra.log_widths, redshift[:, None]], dim=1)
    centre = torch.tensor(_CENTRE, device=rest.device)
    scale = torch.tensor(_SCALE, device=rest.device)
    return torch.cat([latents, (rest - centre) / scale], dim=1)


def natural(targets: Tensor) -> Tensor:
    """Return the last three targets ``(..., 3)`` in their own units: ln angstrom twice, redshift.

    Arguments:
        targets: ``(..., 9)``, standardised.
    """
    rest = targets[..., N_LATENTS:]
    return rest * torch.tensor(_SCALE).to(rest) + torch.tensor(_CENTRE).to(rest)


@cached_table(maxsize=1)
def _autoencoder() -> SpectrumAutoencoder:
    found = load_pretrained("spectrum-autoencoder")
    assert isinstance(found, SpectrumAutoencoder)
    return found


def pretrained_autoencoder(device: torch.device | str = "cpu") -> SpectrumAutoencoder:
    """Return the autoencoder that comes with the package, whose latents are the targets.

    Arguments:
        device: where it is to compute.
    """
    return _autoencoder().to(device)
