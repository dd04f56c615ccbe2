r"""Training that counts the light of sources, not that of pixels alone.

An error a pixel forgives a star that is drawn too wide: most pixels are empty, the few in its core
are one wrong number each, and the star's flux, which is what a photometrist reads, is lost. So the
flux that a point source would have in each pixel, the image filtered with its own PSF, is compared
too, at the peaks of the truth,

.. math:: L = \overline{|\Delta \,\mathrm{asinh}(y/\sigma)|}
   + \lambda\; \overline{|\Delta \,\mathrm{asinh}(F/2\sigma_F)|}_\text{peaks}.

The absolute error asks for the median: of as many sources too much light as too little.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.stretch import unstretched
from skytutor.chapters.translation.task import BandsTask
from skytutor.chapters.weights import load_needed
from skytutor.data.bands import SceneSimulator
from skytutor.metrics.sources import point_source_flux
from skytutor.training.schedule import Schedule

__all__ = ["SCHEDULES", "FluxTask", "build_flux", "peaks_of"]

# It begins from the network that was trained on pixels alone.
SCHEDULES = {
    "smoke": Schedule(epochs=1, batch_size=4, lr=1e-3),
    "cpu": Schedule(epochs=1, batch_size=16, lr=1e-3),
    "gpu": Schedule(epochs=5, batch_size=32, lr=1e-3),
}
_WEIGHT = 0.2  # of the sources beside the pixels: both errors are then of one size
_MOST = 20.0  # stretched: far above any star
_SIGNIFICANT = 5.0  # standard deviations of a source that counts


def peaks_of(flux: Tensor, *, least: float) -> Tensor:
    """Return which pixels hold a source, the largest of nine and above `least`: ``(B, H, H)``.

    Arguments:
        flux: ``(B, H, H)``, of `skytutor.metrics.sources.point_source_flux`.
        least: smallest flux of a source.

    Example:
        >>> flux = torch.zeros(1, 5, 5)
        >>> flux[0, 2, 2:4] = torch.tensor([9.0, 8.0])
        >>> peaks_of(flux, least=5.0).nonzero().tolist()
        [[0, 2, 2]]
    """
    return (flux == F.max_pool2d(flux, 3, 1, 1)) & (flux > least)


class FluxTask(BandsTask):
    """Scenes of `BandsTask`, with an error of the flux of sources beside that of pixels.

    Arguments:
        simulator: to draw from, on the device of the training.
        size: scenes in the table.
        n_validation: scenes to validate on.
        seed: number of the training set.
    """

    # Weights are chosen by the error that is minimised: the PSNR does not count sources.
    score = "minus_error"

    def __init__(self, simulator: SceneSimulator, *, size: int, n_validation: int, seed: int = 0):
        super().__init__(simulator, size=size, n_validation=n_validation, seed=seed)
        device = simulator.device
        bands = range(len(simulator.bands))
        self.psf = [simulator.renderer.psf_image(band).to(device) for band in bands]

    def error(self, answer: Tensor, truth: Tensor, hidden: Tensor, *, rows: list[int]) -> Tensor:
        """Return the error of pixels and that of sources, a scalar.

        Arguments:
            answer: as of `BandsTask.error`.
            truth: likewise.
            hidden: likewise.
            rows: likewise.
        """
        pixels = super().error(answer, truth, hidden, rows=rows)
        # A network that has gone astray answers with fluxes that float32 does not hold.
        flux = unstretched(answer.clamp(-_MOST, _MOST), self.softening[rows])
        sources = torch.zeros((), device=answer.device)
        count = 0
        for t, row in enumerate(rows):
            errors = self._source_errors(flux[hidden[:, t], t], truth[hidden[:, t], t], band=row)
            sources = sources + errors.sum()
            count += len(errors)
        return pixels + _WEIGHT * sources / max(count, 1)

    def _source_errors(self, flux: Tensor, truth: Tensor, *, band: int) -> Tensor:
        """Return the absolute errors of the stretched fluxes of sources of one band, ``(P,)``."""
        if not len(flux):
            return flux.new_zeros(0)
        # Both in one transform: images (B, H, H) become fluxes of point sources, pixel by pixel.
        both, error = point_source_flux(torch.cat([flux, truth]), self.psf[band])
        # The softening is twice the noise of an empty pixel.
        error = error * float(self.softening[band]) / 2
        found, wanted = both.chunk(2)
        there = peaks_of(wanted, least=_SIGNIFICANT * error)
        scale = 2 * error
        return (torch.asinh(found[there] / scale) - torch.asinh(wanted[there] / scale)).abs()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the PSNR of `BandsTask.validate`, and the error of plates translated, negative.

        Arguments:
            model: a `BandTranslator`, in evaluation mode.
        """
        rows = self._published_rows()
        answers = {name: self._translated(model, name) for name in ("plates", "all")}
        answer = answers["plates"]
        hidden = torch.ones(answer.shape[:2], dtype=torch.bool, device=answer.device)
        error = self.error(answer, self.validation.truth[:, rows], hidden, rows=rows)
        return {**self._scored(answers), "minus_error": -float(error)}


def build_flux() -> BandTranslator:
    """Return the network that learned from pixels alone, to go on from.

    Raises:
        CheckpointError: its weights are not there; it says what to train.
    """
    network = load_needed("bands", needed_for="the recipe bands-flux")
    assert isinstance(network, BandTranslator)
    return network
