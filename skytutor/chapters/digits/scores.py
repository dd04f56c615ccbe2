"""Scores of chapter 1: accuracy on the test digits, at drawn rotations where the sky turns."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.recipe import Scores
from skytutor.chunks import in_chunks
from skytutor.data.digits import Digits
from skytutor.data.projection import SphereProjection
from skytutor.metrics.classification import (
    accuracy,
    confusion_matrix,
    constant_accuracy,
    wilson_interval,
)


@torch.no_grad()
def predict(model: nn.Module, maps: Tensor, *, batch_size: int = 64) -> Tensor:
    """Return class scores ``(N, 10)``, computed on the model's device.

    Arguments:
        model: gives class scores ``(B, 10)`` of maps ``(B, 1, P)``.
        maps: ``(N, 1, P)``, on the CPU.
        batch_size: maps at a time.
    """
    device = next(model.parameters()).device
    return in_chunks(lambda part: model(part.to(device)).cpu(), maps, size=batch_size)


def predict_digits(
    projection: SphereProjection, model: nn.Module, images: Tensor, *, seed: int
) -> Tensor:
    """Return the digits ``(N,)`` that a network reads in images.

    Arguments:
        projection: how an image becomes a map.
        model: as in `predict`.
        images: ``(N, H, H)``.
        seed: draws their rotations, if `projection` has rotations.
    """
    generator = torch.Generator().manual_seed(seed)
    rotations = projection.draw_rotations(len(images), generator=generator)

    def read(part: Tensor, *rotations: Tensor) -> Tensor:
        return predict(model, projection.project(part, rotations)).argmax(1)

    return in_chunks(read, images, *rotations, size=256)


def score(
    projection: SphereProjection,
    model: nn.Module,
    data: Digits,
    *,
    seed: int,
    size: int | None,
) -> Scores:
    """Score a network on the test split, or on the first `size` of its images.

    If the digits are rotated, ``centred`` is the score on the same digits at the same rotations,
    each laid down by its own centre of mass: without a hint at which way is up.

    Arguments:
        projection: how an image becomes a map.
        model: gives class scores ``(B, 10)`` of maps ``(B, 1, P)``.
        data: whose test split is read.
        seed: draws the rotations of the test digits.
        size: number of test images, None for all.

    Raises:
        ValueError: a size outside the test split.
    """
    images, labels = data.part("test")
    if size is not None and not 1 <= size <= len(labels):
        raise ValueError(f"size must lie in 1..{len(labels)} (the test split), got {size}")
    images = images[:size]
    labels = labels[:size]
    scores = _compare(predict_digits(projection, model, images, seed=seed), labels)
    if projection.rotated:
        centred = replace(projection, centred=True)
        scores["centred"] = _compare(predict_digits(centred, model, images, seed=seed), labels)
    return Scores(
        scores=scores,
        constant={"accuracy": constant_accuracy(labels)},
        size=len(labels),
        data=f"{data.source} test",
    )


def _compare(predicted: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return accuracy, its 95 % interval and the recall of each class."""
    correct = accuracy(predicted, labels)
    low, high = wilson_interval(correct, len(labels), z=1.96)
    counts = confusion_matrix(predicted, labels, classes=10).double()
    # A class that a small test set lacks has recall 0, not 0/0.
    recall = (counts.diagonal() / counts.sum(1).clamp(min=1)).tolist()
    return {"accuracy": correct, "interval95": [low, high], "recall": [round(r, 4) for r in recall]}
