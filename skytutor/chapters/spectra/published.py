"""The five published image networks of chapter 4 and the errors they reached.

Wu & Peek [1]_ predict six latents of a galaxy's spectrum from its picture in five bands, and
compare batch normalisation with network deconvolution, in a simple network and in an xresnet18.

Shapes: B batch, H side of the picture, n outputs.

.. [1] J. F. Wu & J. E. G. Peek, 2020 (arXiv:2009.12318).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn

from skytutor.layers.resnet import ConvUnit, scaled, xresnet18
from skytutor.validate import as_length, one_of, positive

__all__ = ["NAMES", "PUBLISHED", "PublishedError", "SimpleCNN", "build_published"]

N_BANDS = 5
# Four layers that halve the resolution. The widths are ours: the paper leaves them open.
CHANNELS = (32, 64, 128, 256)
_AFTER_10 = "arXiv:2009.12318, comparison of five networks trained for 10 epochs"
_AFTER_50 = "arXiv:2009.12318, the two best networks trained for 50 epochs"


class PublishedError(NamedTuple):
    """One figure of the paper.

    Attributes:
        network: one of `NAMES`.
        epochs: of the training.
        rmse: root of the mean square error over six standardised latents and all validation
            galaxies; a constant has 1.0.
        source: where it stands.
    """

    network: str
    epochs: int
    rmse: float
    source: str


_FIGURES = (
    PublishedError("simple", 10, 0.885, _AFTER_10),
    PublishedError("deconv", 10, 0.824, _AFTER_10),
    PublishedError("xresnet", 10, 0.727, _AFTER_10),
    PublishedError("alldeconv", 10, 0.735, _AFTER_10),
    PublishedError("hybrid", 10, 0.711, _AFTER_10),
    PublishedError("xresnet", 50, 0.698, _AFTER_50),
    PublishedError("hybrid", 50, 0.688, _AFTER_50),
)
# By network and number of epochs.
PUBLISHED: Mapping[tuple[str, int], PublishedError] = MappingProxyType(
    {(figure.network, figure.epochs): figure for figure in _FIGURES}
)
# What the networks of one kind have in the stem and elsewhere.
_SIMPLE = {"simple": "batch", "deconv": "deconvolution"}
_XRESNET = {
    "xresnet": ("batch", "batch"),
    "alldeconv": ("deconvolution", "deconvolution"),
    "hybrid": ("deconvolution", "batch"),
}
NAMES = (*_SIMPLE, *_XRESNET)


class SimpleCNN(nn.Module):
    """Four convolutions of 3 x 3 with stride 2, the mean over pixels, and a linear head.

    Arguments:
        in_channels: bands of the picture.
        n_outputs: n.
        norm: "batch" or "deconvolution", as of `skytutor.layers.resnet.ConvUnit`.
        width: factor of the channels, which are rounded to multiples of 8.
        average: of the deconvolutions, "covariance" or as published "inverse_root".
        block: most channels that are whitened together.

    Example:
        >>> import torch
        >>> SimpleCNN(5, 6, norm="batch", width=0.25)(torch.randn(2, 5, 64, 64)).shape
        torch.Size([2, 6])
    """

    def __init__(
        self,
        in_channels: int,
        n_outputs: int,
        *,
        norm: str,
        width: float = 1.0,
        average: str = "covariance",
        block: int = 64,
    ):
        super().__init__()
        unit = ConvUnit(norm, nn.ReLU, average=average, block=block)
        channels = in_channels
        self.convs = nn.Sequential()
        for at_full_width in CHANNELS:
            self.convs.append(unit(channels, scaled(at_full_width, width), stride=2))
            channels = scaled(at_full_width, width)
        self.n_features = channels
        self.head = nn.Linear(channels, n_outputs)

    def features(self, x: Tensor) -> Tensor:
        """Return what the head sees, ``(B, F)``.

        Arguments:
            x: pictures ``(B, C, H, H)``.
        """
        return self.convs(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, n)``.

        Arguments:
            x: pictures ``(B, C, H, H)``.
        """
        return self.head(self.features(x))


def build_published(
    name: str,
    *,
    width: float = 1.0,
    n_outputs: int = 6,
    in_channels: int = N_BANDS,
    average: str = "covariance",
    block: int = 64,
) -> nn.Module:
    """Build one of the five networks, untrained.

    Each has a method ``features``, ``(B, n_features)`` before the linear head.

    Arguments:
        name: "simple", "deconv", "xresnet", "alldeconv" or "hybrid": deconvolution in none,
            all, none, all, and the first three convolutions.
        width: factor of all channels, which are rounded to multiples of 8.
        n_outputs: n, six latents in the paper.
        in_channels: bands.
        average: what the deconvolutions average for evaluation; "inverse_root" as published.
        block: most channels that they whiten together, 64 as published.

    Returns:
        The network.

    Raises:
        TypeError, ValueError: an unknown name, sizes that are not positive.

    Example:
        >>> build_published("hybrid", width=0.25).n_features
        128
    """
    one_of("name", name, allowed=NAMES)
    positive(n_outputs=n_outputs, in_channels=in_channels)
    as_length("width", width)
    if name in _SIMPLE:
        return SimpleCNN(
            in_channels,
            n_outputs,
            norm=_SIMPLE[name],
            width=width,
            average=average,
            block=block,
        )
    stem, norm = _XRESNET[name]
    return xresnet18(
        in_channels,
        n_outputs,
        width=width,
        stem=stem,
        norm=norm,
        average=average,
        block=block,
    )
