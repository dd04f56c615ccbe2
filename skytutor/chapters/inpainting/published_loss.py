"""The published loss of chapter 6: five terms, and how the last is summed.

Shapes: B batch, C channels, H side of the picture, Z latents. Masks are True where seen.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.chapters.inpainting.published import SCALE, Inpainted
from skytutor.chapters.inpainting.scattering import Scattering
from skytutor.validate import one_of

__all__ = ["WEIGHTS", "PublishedLoss", "gaussian_kl", "total_variation"]

# Of the terms, as published.
WEIGHTS = {"valid": 1.0, "hole": 6.0, "perceptual": 0.05, "variation": 0.1, "kl": 1.0}
SUMS = ("batch", "sample", "pixel")


def gaussian_kl(mean: Tensor, log_variance: Tensor, prior_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of each latent's Gaussian from its prior.

    ``KL = (s^2 / D + m^2 / D - 1 - ln(s^2 / D)) / 2`` for N(m, s^2) against N(0, D).

    Arguments:
        mean: m, ``(B, Z)``.
        log_variance: ``ln s^2``, ``(B, Z)``.
        prior_variance: D, ``(Z,)``.

    Returns:
        ``(B, Z)`` in nats.

    Example:
        >>> gaussian_kl(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2), torch.ones(2))
        tensor([[0., 2.]])
    """
    ratio = log_variance - prior_variance.log()
    return 0.5 * (ratio.exp() + mean.square() / prior_variance - 1 - ratio)


def total_variation(maps: Tensor, mask: Tensor) -> Tensor:
    """Return the mean step between neighbours of which one at least is hidden, a scalar.

    Arguments:
        maps: ``(B, C, H, H)``.
        mask: ``(B, 1, H, H)``, boolean.

    Returns:
        the sum of ``|step|`` along rows and columns within the hole and across its edge, over the
        number of all values of `maps`.
    """
    steps = torch.zeros((), dtype=maps.dtype, device=maps.device)
    for axis in (2, 3):
        first = mask.narrow(axis, 0, mask.shape[axis] - 1)
        second = mask.narrow(axis, 1, mask.shape[axis] - 1)
        touched = ~(first & second)
        steps = steps + (maps.diff(dim=axis).abs() * touched).sum()
    return steps / maps.numel()


class PublishedLoss(nn.Module):
    """L1 of the seen, 6 times L1 of the hole, 0.05 perceptual, 0.1 total variation, and KL.

    All but the last are means over all pixels, in the network's unit: 100 muK, or the full range of
    a colour. Perceptual features are a scattering transform's, in the place of a photograph
    network's: L1 between those of the truth and of the picture drawn, and between those of the
    truth and of the picture with its seen pixels put back.

    Arguments:
        size: H.
        kl: "batch" sums the divergence over latents and over the batch, as published; "sample" over
            latents alone; "pixel" divides that by the number of values in a picture, as the other
            terms are, which gives it the weight that it has in the evidence bound.

    Raises:
        ValueError: another sum, or a size that is no multiple of 8.
    """

    def __init__(self, size: int, *, kl: str = "batch"):
        super().__init__()
        self.kl = one_of("kl", kl, allowed=SUMS)
        self.scattering = Scattering(size, scales=2, orientations=4)

    def terms(
        self, found: Inpainted, truth: Tensor, mask: Tensor, prior_variance: Tensor
    ) -> dict[str, Tensor]:
        """Return the five terms, scalars without their weights.

        Arguments:
            found: of the network.
            truth: ``(B, C, H, H)``, in the unit of ``found.maps``.
            mask: ``(B, 1, H, H)``, boolean.
            prior_variance: of the latents, ``(Z,)``.
        """
        scale = SCALE if truth.shape[1] == 1 else 1.0
        error = (found.maps - truth).abs() / scale
        filled = torch.where(mask, truth, found.maps)
        divergence = gaussian_kl(found.mean, found.log_variance, prior_variance).sum()
        divergence = divergence / self._divisor(truth)
        return {
            "valid": (error * mask).mean(),
            "hole": (error * ~mask).mean(),
            "perceptual": self._perceptual([found.maps, filled], truth) / scale,
            "variation": total_variation(filled, mask) / scale,
            "kl": divergence,
        }

    def forward(
        self, found: Inpainted, truth: Tensor, mask: Tensor, prior_variance: Tensor
    ) -> Tensor:
        """Return the weighted sum of `terms`, a scalar; arguments as there."""
        terms = self.terms(found, truth, mask, prior_variance)
        return torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()

    def _divisor(self, truth: Tensor) -> int:
        """Return what the divergence, summed over the batch, is divided by."""
        divisors = {"batch": 1, "sample": len(truth), "pixel": truth.numel()}
        return divisors[self.kl]

    def _perceptual(self, pictures: list[Tensor], truth: Tensor) -> Tensor:
        """Return the summed L1 between features of pictures and of the truth."""
        # Each colour channel is a picture of its own: (B, C, H, H) to (B C, H, H).
        wanted = self.scattering(truth.flatten(0, 1))
        features = [self.scattering(picture.flatten(0, 1)) for picture in pictures]
        return torch.stack([F.l1_loss(one, wanted) for one in features]).sum()
