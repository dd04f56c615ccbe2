"""The chapter's own network: cut the picture into components, measure them, then infer.

The two parts are trained one after the other. What measures learns from the simulator's own
components, a target without noise; what infers then learns from a table of measurements, as the
limits do from theirs, so that a million galaxies cost it a minute.
"""

from typing import cast

import torch
from torch import Tensor, nn

from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.posterior_network import PosteriorNetwork

__all__ = ["SpectrumNetwork"]


class SpectrumNetwork(nn.Module):
    """Predict the nine targets of a galaxy from its image, with their covariance.

    Arguments:
        size: pixels along the side of an image, 0.25 arcsec each; a multiple of 8.
        channels: of the four scales of the U-Net that cuts the image into components.
        width: units of the layers that infer the targets from what was measured.
    """

    started: Tensor

    def __init__(
        self,
        *,
        size: int = 64,
        channels: tuple[int, int, int, int] = (32, 64, 96, 128),
        width: int = 384,
    ):
        super().__init__()
        self.measurement = MeasurementNetwork(size=size, channels=channels)
        # Trained before, by itself.
        self.measurement.requires_grad_(False)
        self.inference = PosteriorNetwork(self.measurement.n_features, width)
        # Whether the measurement is trained and the units of its numbers are those of galaxies.
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def adopt(self, measurement: MeasurementNetwork, table: Tensor) -> None:
        """Take over a trained measurement, which stays as it is, and the units of its numbers.

        Arguments:
            measurement: trained, of the same size and channels.
            table: ``(N, F)``, what it measured in many images.
        """
        self.measurement.load_state_dict(measurement.state_dict())
        self.inference.standardise(table)
        self.started.fill_(True)

    def features(self, images: Tensor) -> Tensor:
        """Return what the head sees, ``(B, width)``.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel; `skytutor.chapters.spectra.predictions`
                also checks what they hold.

        Raises:
            ValueError: images of another shape than the network's.
        """
        table = self.measurement(images)
        with torch.autocast(images.device.type, enabled=False):
            return self.inference.features(table)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean ``(B, 9)`` and Cholesky factor ``(B, 9, 9)`` of the posterior.

        Arguments:
            images: ``(B, 5, H, H)``, nanomaggies a pixel, or what was measured in them, ``(B, F)``.

        Raises:
            ValueError: of another shape.
        """
        table = images if images.ndim == 2 else self.measurement(images)
        n_features = self.measurement.n_features
        if table.shape[1:] != (n_features,):
            raise ValueError(
                f"images must be (B, 5, H, H), or measurements (B, {n_features}), "
                f"got {tuple(images.shape)}"
            )
        with torch.autocast(images.device.type, enabled=False):
            return cast(tuple[Tensor, Tensor], self.inference(table))
