"""Scores of a translation source by source: fluxes, temperatures, redshifts, what is made up.

The flux of a source in a predicted image is measured as in any image of a known scene, by least
squares of all sources at once (`skytutor.chapters.translation.limits`).

Shapes: B scenes, N sources, T bands that were asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from skytutor.chapters.translation.limits import measure_sources
from skytutor.chapters.translation.scored_scenes import SceneBatch
from skytutor.data.bands import EMPTY, Observation, SceneSimulator
from skytutor.data.stars import StarTable
from skytutor.metrics.sources import Peaks, find_peaks, point_source_flux

__all__ = [
    "PhotoZ",
    "SourceErrors",
    "flux_errors",
    "magnitudes",
    "measured_flux",
    "significant_peaks",
    "temperatures",
]

_THRESHOLD = 5.0  # standard deviations of a source
_MOST = 24.0  # magnitude of the faintest bin


def measured_flux(
    simulator: SceneSimulator, batch: SceneBatch, images: Tensor, bands: Sequence[int]
) -> Tensor:
    """Return the flux of each source in predicted images, ``(N, T)``, nanomaggies.

    Arguments:
        simulator: that drew the scenes.
        batch: of `draw_batches`.
        images: ``(B, T, H, H)``, nanomaggies a pixel.
        bands: numbers of the T bands.
    """
    whole = torch.zeros_like(batch.seen.truth)
    whole[:, list(bands)] = images
    shown = Observation(whole, torch.ones_like(whole), batch.seen.truth)
    found = measure_sources(simulator, batch.scenes, shown, planes=batch.planes, bands=bands)
    total, _ = found.total()
    return total[batch.scenes.kind != EMPTY]


@dataclass(frozen=True)
class SourceErrors:
    """Relative errors of fluxes of one band, ``flux / truth - 1``, for a group of sources.

    Attributes:
        bias: their median.
        scatter: half the distance of the 16th and the 84th percentile.
        n: sources.
    """

    bias: float
    scatter: float
    n: int


def flux_errors(flux: Tensor, truth: Tensor) -> SourceErrors:
    """Return bias and scatter of the fluxes of sources.

    Arguments:
        flux: ``(N,)``.
        truth: ``(N,)``, positive.

    Raises:
        ValueError: shapes that differ, or fewer than two sources.

    Example:
        >>> truth = torch.tensor([1.0, 10.0, 100.0])
        >>> flux_errors(1.5 * truth, truth)
        SourceErrors(bias=0.5, scatter=0.0, n=3)
    """
    if flux.shape != truth.shape or flux.ndim != 1 or len(flux) < 2:
        raise ValueError(
            f"flux and truth must be (N,), of two sources or more, "
            f"got {tuple(flux.shape)} and {tuple(truth.shape)}"
        )
    error = (flux / truth - 1).double()
    low, middle, high = error.quantile(torch.tensor([0.16, 0.5, 0.84], dtype=torch.float64))
    return SourceErrors(float(middle), float(high - low) / 2, len(error))


def temperatures(flux: Tensor, table: StarTable) -> Tensor:
    """Return the colour temperatures of stars, kelvin, ``(N,)``; NaN where a flux is not positive.

    Arguments:
        flux: ``(N, T)``.
        table: of the T bands' filters.
    """
    seen = (flux > 0).all(1)
    found = torch.full((len(flux),), torch.nan)
    found[seen] = table.temperature(flux[seen])
    return found


class PhotoZ:
    """Redshifts from fluxes by boosted trees, trained on true fluxes of simulated galaxies.

    Applied to predicted fluxes it tells whether a translation has kept what colours say.

    Arguments:
        seed: of the trees.
    """

    def __init__(self, *, seed: int = 0):
        self.trees = HistGradientBoostingRegressor(max_iter=200, random_state=seed)

    @staticmethod
    def _numbers(flux: Tensor) -> Tensor:
        """Return the magnitude in the first band and colours, ``(N, T)``."""
        magnitudes = 22.5 - 2.5 * flux.clamp(min=1e-3).log10()
        return torch.cat([magnitudes[:, :1], magnitudes.diff(dim=1)], dim=1)

    def fit(self, flux: Tensor, redshift: Tensor) -> "PhotoZ":
        """Learn.

        Arguments:
            flux: ``(N, T)``, nanomaggies.
            redshift: ``(N,)``.
        """
        self.trees.fit(self._numbers(flux).numpy(), redshift.numpy())
        return self

    def predict(self, flux: Tensor) -> Tensor:
        """Return redshifts, ``(N,)``.

        Arguments:
            flux: ``(N, T)``, nanomaggies.
        """
        return torch.from_numpy(self.trees.predict(self._numbers(flux).numpy())).float()


def significant_peaks(images: Tensor, *, psf: Tensor, noise: float) -> tuple[Tensor, Peaks]:
    """Return the flux of a point source in each pixel, ``(B, H, H)``, and its peaks.

    Arguments:
        images: ``(B, H, H)``, nanomaggies a pixel.
        psf: ``(H, H)``, of the band.
        noise: deviation of an empty pixel of the survey.
    """
    flux, error = point_source_flux(images, psf)
    return flux, find_peaks(flux, least=_THRESHOLD * noise * error)


def magnitudes(peaks: Peaks) -> Tensor:
    """Return the magnitudes of peaks, ``(P,)``.

    Arguments:
        peaks: of `significant_peaks`.
    """
    return (22.5 - 2.5 * peaks.flux.log10()).clamp(max=_MOST)
