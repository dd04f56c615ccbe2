"""What the published average of network deconvolution does in evaluation mode, beside the cure.

The published layer averages the inverse square roots of the batches' covariances. A batch with one
bright star has a small inverse root, and among many large ones it does not count; in evaluation the
star then meets the large ones, layer after layer. `evaluation_losses` trains one network with the
published average and with the average of covariances, from the same weights on the same batches,
and evaluates both after every epoch. `add_stars` puts the stars in.

Shapes: N pictures, C bands, H side, n targets, E epochs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.chapters.spectra.published import build_published
from skytutor.layers.deconvolution import AVERAGES
from skytutor.validate import as_length, positive

__all__ = ["Losses", "add_stars", "evaluation_losses"]

_EVALUATION_BATCH = 256


class Losses(NamedTuple):
    """Mean square errors of a training, epoch by epoch.

    Attributes:
        training: ``(E,)`` float64, of the batches in training mode while the weights changed.
        evaluation: ``(E,)`` float64, of pictures held out, in evaluation mode after the epoch.
    """

    training: Tensor
    evaluation: Tensor

    @property
    def ratio(self) -> Tensor:
        """Evaluation loss over training loss, ``(E,)``: about 1 where the mode changes nothing."""
        return self.evaluation / self.training


def add_stars(
    images: Tensor,
    *,
    fraction: float,
    flux: float,
    fwhm: float = 4.0,
    generator: torch.Generator,
) -> Tensor:
    """Put a star in front of some pictures, anywhere, equally bright in all bands.

    Arguments:
        images: ``(N, C, H, W)``.
        fraction: of the pictures that get one, 0 to 1.
        flux: of each star, in the unit of `images`, summed over pixels.
        fwhm: full width at half maximum of the stars, pixels.
        generator: on the CPU.

    Returns:
        ``(N, C, H, W)``, new.

    Raises:
        ValueError: a fraction outside 0 to 1, a flux or a width that is not positive.
    """
    if as_length("fraction", fraction, zero=True) > 1:
        raise ValueError(f"fraction must lie in 0..1, got {fraction}")
    as_length("flux", flux)
    # Of a Gaussian: the full width at half maximum is 2 sqrt(2 ln 2) standard deviations.
    sigma = as_length("fwhm", fwhm) / 2.3548
    n, _, height, width = images.shape
    drawn = torch.rand(n, 3, generator=generator).to(images)
    has_star = (drawn[:, 0] < fraction).to(images.dtype)
    y = torch.arange(height).to(images) - drawn[:, 1, None] * height  # (N, H)
    x = torch.arange(width).to(images) - drawn[:, 2, None] * width  # (N, W)
    profile = torch.exp(-y.square() / (2 * sigma**2))[:, :, None]
    profile = profile * torch.exp(-x.square() / (2 * sigma**2))[:, None]  # (N, H, W)
    star = profile * flux / (2 * torch.pi * sigma**2)
    return images + (has_star[:, None, None] * star)[:, None]


def evaluation_losses(
    images: Tensor,
    targets: Tensor,
    *,
    name: str = "deconv",
    width: float = 0.25,
    epochs: int = 5,
    batch_size: int = 128,
    held_out: float = 0.2,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> dict[str, Losses]:
    """Train a network of deconvolutions twice, and evaluate it after each epoch.

    Arguments:
        images: ``(N, C, H, W)`` of order one, on the device to train on.
        targets: ``(N, n)``, standardised.
        name: of the network, as of `skytutor.chapters.spectra.published.build_published`.
        width: factor of its channels.
        epochs: E.
        batch_size: pictures in a batch.
        held_out: fraction of the pictures, the last ones, that are only evaluated.
        learning_rate: of Adam.
        seed: of weights and batches.

    Returns:
        The losses by average, "covariance" and "inverse_root". Training losses are the same, for
        the two differ in evaluation mode alone.

    Raises:
        ValueError: different numbers of pictures and targets, or too few for one batch.
    """
    positive(epochs=epochs, batch_size=batch_size)
    n_training = len(images) - int(held_out * len(images))
    if len(images) != len(targets) or n_training < batch_size or n_training == len(images):
        raise ValueError(
            f"images and targets must be as many, at least one batch of {batch_size} and some held "
            f"out; got {len(images)} and {len(targets)}, {n_training} for training"
        )
    losses = {}
    for average in AVERAGES:
        # Weights of their own seed, and the caller's generator left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            sizes = {"n_outputs": targets.shape[1], "in_channels": images.shape[1]}
            network = build_published(name, width=width, average=average, **sizes)
        network.to(images.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        training = []
        evaluation = []
        for order in _epochs(n_training, epochs, batch_size=batch_size, seed=seed):
            training.append(_train(network, optimizer, images, targets, order=order))
            evaluation.append(_evaluate(network, images[n_training:], targets[n_training:]))
        table = torch.tensor([training, evaluation], dtype=torch.float64)
        losses[average] = Losses(table[0], table[1])
    return losses


def _epochs(n: int, epochs: int, *, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yield for each epoch the pictures of its whole batches, ``(batches, batch_size)``."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(n, generator=generator)
        yield order[: n - n % batch_size].view(-1, batch_size)


def _train(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    *,
    order: Tensor,
) -> float:
    """Train for one epoch and return the mean loss of its batches."""
    network.train()
    total = 0.0
    for batch in order.to(images.device):
        loss = F.mse_loss(network(images[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach())
    return total / len(order)


@torch.no_grad()
def _evaluate(network: nn.Module, images: Tensor, targets: Tensor) -> float:
    """Return the mean square error in evaluation mode."""
    network.eval()
    answers = [network(batch) for batch in images.split(_EVALUATION_BATCH)]
    return float(F.mse_loss(torch.cat(answers), targets))
