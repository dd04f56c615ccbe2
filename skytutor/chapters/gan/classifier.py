"""Chapter 1's classifier, in whose feature space generated digits are scored.

Shapes: N samples, P = 12 nside**2 pixels in NESTED order.
"""

from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.chapters.gan.real_maps import digit_maps
from skytutor.chapters.pretrained import load_pretrained
from skytutor.chunks import in_chunks
from skytutor.data import digits
from skytutor.healpix import npix_to_nside
from skytutor.memo import cached_object

CLASSIFIER_NSIDE = 8


def degrade(maps: Tensor) -> Tensor:
    """Average maps over the pixels of nside 8, at which the classifier works.

    Arguments:
        maps: ``(N, 1, P)``, NESTED, nside 8 or more.

    Returns:
        maps ``(N, 1, 768)``, NESTED.

    Raises:
        ValueError: maps of a smaller nside.
    """
    nside = npix_to_nside(maps.shape[-1])
    if nside < CLASSIFIER_NSIDE:
        raise ValueError(f"maps must have nside {CLASSIFIER_NSIDE} or more, got {nside}")
    # In NESTED order the pixels within one of nside 8 follow each other: (N, 1, 768, P / 768).
    return maps.unflatten(2, (12 * CLASSIFIER_NSIDE**2, -1)).mean(3)


class FeatureNetwork(Protocol):
    """A classifier of maps that shows its features."""

    read: nn.Module

    def features(self, maps: Tensor) -> list[Tensor]:
        """Return the activations of each level, the last ``(B, C, 12, n, n)``."""


@dataclass(frozen=True)
class CalibratedClassifier:
    """Chapter 1's classifier of upright digits, with the temperature that calibrates it.

    The network was trained with label smoothing, so it is less confident than it is accurate. One
    number, fitted to digits it was not trained on, divides the logits before the softmax [1]_.

    Attributes:
        network: the classifier, at nside 8.
        temperature: divides the logits.

    .. [1] C. Guo, G. Pleiss, Y. Sun & K. Weinberger, 2017, ICML 34.
    """

    network: FeatureNetwork
    temperature: float

    @torch.no_grad()
    def __call__(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and class probabilities.

        Arguments:
            maps: ``(N, 1, P)``, NESTED, nside 8 or more.

        Returns:
            features ``(N, 128)``, the mean of the last level over the sphere, and probabilities
            ``(N, 10)``.
        """
        features = []
        logits = []
        for part in degrade(maps).split(64):  # few at a time: the finest features are large
            last = self.network.features(part)[-1]  # (64, 128, 12, 2, 2)
            features.append(last.mean((2, 3, 4)))
            logits.append(self.network.read(last.flatten(1)))
        return torch.cat(features), (torch.cat(logits) / self.temperature).softmax(1)


@cached_object(maxsize=4)
def load_classifier(source: str) -> CalibratedClassifier:
    """Load the classifier and fit its temperature to validation digits.

    Arguments:
        source: of the digits, "mnist" or "embedded".
    """
    network = cast(FeatureNetwork, load_pretrained("digits-fixed"))
    uncalibrated = CalibratedClassifier(network, temperature=1.0)
    images, labels = digits.load(source).part("validation")
    probabilities = in_chunks(lambda part: uncalibrated(digit_maps(part))[1], images, size=1000)
    # The logarithm of a softmax differs from the logits by a constant, which a softmax ignores.
    logits = probabilities.log()
    temperatures = torch.linspace(0.2, 2.0, 181)
    losses = torch.stack([F.cross_entropy(logits / t, labels) for t in temperatures])
    return CalibratedClassifier(network, temperature=float(temperatures[losses.argmin()]))
