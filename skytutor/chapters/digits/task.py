"""Training and validation on digits laid on the sphere."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.chapters.digits.scores import predict
from skytutor.chapters.seeds import DIGITS as SEEDS
from skytutor.chunks import in_chunks
from skytutor.data import digits
from skytutor.data.projection import SphereProjection
from skytutor.metrics.classification import accuracy
from skytutor.training.schedule import Task


class DigitsTask(Task):
    """Training and validation on digits.

    Arguments:
        projection: how an image becomes a map.
        source: of the digits, as in `skytutor.data.digits.load`.
        max_images: use at most so many training images, and as many for validation; None for all.
        smoothing: label smoothing of the loss.
    """

    score = "accuracy"

    def __init__(
        self,
        projection: SphereProjection,
        *,
        source: str = "auto",
        max_images: int | None = None,
        smoothing: float = 0.0,
    ):
        data = digits.load(source)
        self.projection = projection
        self.smoothing = smoothing
        self.source = data.source
        self.images, self.labels = (t[:max_images] for t in data.part("train"))
        images, self.validation_labels = (t[:max_images] for t in data.part("validation"))
        self.size = len(self.labels)
        # The rotation of each validation digit is drawn once, so that epochs can be compared.
        generator = torch.Generator().manual_seed(SEEDS.validation[0])
        rotations = projection.draw_rotations(len(images), generator=generator)
        self.validation_maps = projection.project(images, rotations)
        augmented = projection.affine_std or projection.shift_std or projection.elastic_std
        self.maps: Tensor | None = None
        if not (projection.rotated or augmented or projection.in_plane_rotation_std_deg):
            # Nothing random about a map: project each image once.
            self.maps = in_chunks(projection.project, self.images, size=1000)

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw rotations, affine maps and elastic shifts of n images, each where there is one."""
        if self.maps is not None:
            return []
        rotations = self.projection.draw_rotations(n, generator=generator)
        affine = self.projection.draw_affine(n, generator=generator)
        return [*rotations, affine, *self.projection.draw_elastic(n, generator=generator)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return maps ``(B, 1, P)`` and labels ``(B,)`` of the training images `indices`."""
        if self.maps is not None:
            return self.maps[indices], self.labels[indices]
        # `draws` is what `draw` returned: the first is a rotation if there are rotations.
        n_rotations = int(self.projection.rotated)
        affine = draws[n_rotations]
        elastic = draws[n_rotations + 1] if self.projection.elastic_std else None
        maps = self.projection.project(
            self.images[indices], draws[:n_rotations], affine=affine, elastic=elastic
        )
        return maps, self.labels[indices]

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the cross-entropy of the batch, a scalar, with smoothed labels."""
        maps, labels = batch
        return F.cross_entropy(model(maps).float(), labels, label_smoothing=self.smoothing)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return loss and accuracy on the validation split."""
        scores = predict(model, self.validation_maps)
        return {
            "loss": float(F.cross_entropy(scores, self.validation_labels)),
            "accuracy": accuracy(scores.argmax(1), self.validation_labels),
        }
