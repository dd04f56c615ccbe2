"""How well any method could know a galaxy's spectrum from its image: the oracle of known shapes.

Where positions, sizes, ellipticities, PSFs and noise are known, an image is linear in the fluxes of
bulge, disc and clumps. Their least-squares estimates and covariance are then sufficient: nothing
else in the pixels tells of the spectrum. The posterior mean of the targets given these numbers and
the shapes is what no network on pixels can beat. It is learned from simulated galaxies, of which no
image has to be made. Beside it stand the same for catalogues (above) and for images without noise
(below).
"""

import torch
from torch import Tensor, nn

from skytutor.chapters.spectra.features import catalogue_features, colour_features
from skytutor.chapters.spectra.posterior_network import PosteriorNetwork
from skytutor.chapters.spectra.sample import Sample
from skytutor.data.galaxies import SKY_NOISE, Photometry, stable_cholesky
from skytutor.data.rendering import Shapes

__all__ = ["KNOWLEDGE", "LimitNetworks", "least_squares", "tables"]

# What is known, and how many numbers tell it.
KNOWLEDGE = {"colours": 5, "catalogue": 17, "oracle": 75, "noiseless": 28}
_WIDTHS = {"colours": 128, "catalogue": 192, "oracle": 384, "noiseless": 256}


def least_squares(photometry: Photometry) -> tuple[Tensor, Tensor]:
    """Return component fluxes ``(B, 5, 3)`` and the Cholesky factor of their covariance.

    ``f = G^-1 y`` with y the sums of image times template, and covariance ``sigma^2 G^-1``.

    Arguments:
        photometry: of a simulator.

    Returns:
        fluxes in nanomaggies, and L ``(B, 5, 3, 3)`` of the covariance ``L L^T``.
    """
    gram = photometry.gram[..., :3, :3].double()
    lower = stable_cholesky(gram)
    flux = torch.cholesky_solve(photometry.measured[..., :3, None].double(), lower)[..., 0]
    noise = torch.tensor(SKY_NOISE, dtype=torch.float64, device=gram.device)
    covariance = torch.cholesky_inverse(lower) * noise[:, None, None] ** 2
    return flux.float(), stable_cholesky(covariance).float()


def _shape_numbers(shapes: Shapes) -> Tensor:
    """Return what the shapes tell ``(B, 5)``; positions and angles tell nothing of a spectrum."""
    clump = (shapes.clump_sigma * shapes.clump_weight).sum(1)
    columns = [
        shapes.bulge_radius.log(),
        shapes.bulge_axis_ratio,
        shapes.disc_radius.log(),
        shapes.disc_axis_ratio.log(),
        clump.log(),
    ]
    return torch.stack(columns, dim=1)


def tables(sample: Sample) -> dict[str, Tensor]:
    """Return the numbers of each kind of knowledge, ``(B, F)`` each.

    Arguments:
        sample: of B galaxies.
    """
    photometry = sample.photometry
    shapes = torch.cat([_shape_numbers(sample.galaxies.shapes), photometry.fibre], dim=1)
    known = catalogue_features(sample.table)
    flux, lower = least_squares(photometry)
    # Fractions of the light in each band, and their errors; both span orders of magnitude.
    total = sample.table.total[..., None].clamp(min=1e-3)
    fraction = torch.asinh(flux / total / 0.02)
    rows, columns = torch.tril_indices(3, 3)
    error = lower[..., rows, columns] / total
    error = error.sign() * torch.log1p(error.abs() / 1e-4)
    true = 22.5 - 2.5 * photometry.flux.clamp(min=1e-4).log10()
    # The same light as colours of each component, relative to its r band.
    return {
        "colours": colour_features(sample.table),
        "catalogue": known,
        "oracle": torch.cat([known, shapes, fraction.flatten(1), error.flatten(1), _sum(flux)], 1),
        "noiseless": torch.cat([true.flatten(1), shapes, _sum(photometry.flux.mT)], dim=1),
    }


def _sum(flux: Tensor) -> Tensor:
    """Return the r magnitude and colours ``(B, 5)`` of all components together, ``(B, 5, 3)``."""
    magnitudes = 22.5 - 2.5 * flux.sum(2).clamp(min=1e-3).log10()
    colours = magnitudes[:, :-1] - magnitudes[:, 1:]
    return torch.cat([magnitudes[:, 1:2], colours], dim=1)


class LimitNetworks(nn.Module):
    """One `PosteriorNetwork` for each kind of knowledge of `KNOWLEDGE`."""

    started: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Whether the units of the numbers are known.
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self.networks = nn.ModuleDict(
            {name: PosteriorNetwork(size, _WIDTHS[name]) for name, size in KNOWLEDGE.items()}
        )

    def standardise(self, by_knowledge: dict[str, Tensor]) -> None:
        """Take the units of all numbers from tables.

        Arguments:
            by_knowledge: of `tables`.
        """
        for name, network in self.networks.items():
            assert isinstance(network, PosteriorNetwork)
            network.standardise(by_knowledge[name])
        self.started.fill_(True)

    def forward(self, by_knowledge: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return mean and Cholesky factor for each kind of knowledge.

        Arguments:
            by_knowledge: of `tables`.
        """
        return {name: network(by_knowledge[name]) for name, network in self.networks.items()}
