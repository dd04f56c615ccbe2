"""The residual network xresnet18, with batch normalisation or network deconvolution.

A ResNet with the changes of [1]_: three small convolutions at the entrance, an average pool before
the shortcut's convolution where the resolution halves, and blocks that begin as the identity. Mish
[2]_ is its activation, and a layer of self-attention after [3]_ stands in its first stage.

Shapes: B batch, C channels, H and W sides of the picture, F features, n outputs.

.. [1] T. He et al., 2018, "Bag of tricks" (arXiv:1812.01187).
.. [2] D. Misra, 2019 (arXiv:1908.08681).
.. [3] H. Zhang et al., 2018, "Self-attention GAN" (arXiv:1805.08318).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.inputs import as_input
from skytutor.layers.deconvolution import NetworkDeconvolution2d
from skytutor.validate import as_length, check_axes, one_of, positive

__all__ = ["ConvUnit", "ResidualBlock", "SelfAttention2d", "XResNet", "scaled", "xresnet18"]

NORMS = ("batch", "deconvolution")
STEM = (32, 32, 64)
STAGES = (64, 128, 256, 512)
LEAST = 32  # pixels a side: the last stage then has one pixel


@dataclass(frozen=True)
class ConvUnit:
    """What makes a convolution with its normalisation and its activation.

    Arguments:
        norm: "batch", convolution and batch normalisation, or "deconvolution".
        activation: makes the activation.
        average: of the deconvolution, as of `NetworkDeconvolution2d`.
        block: likewise.
    """

    norm: str = "batch"
    activation: Callable[[], nn.Module] = nn.Mish
    average: str = "covariance"
    block: int = 64

    def __call__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        active: bool = True,
        zero: bool = False,
    ) -> nn.Sequential:
        """Return the layers.

        Arguments:
            in_channels: C of the input.
            out_channels: C of the output.
            kernel_size: side of the window, odd.
            stride: steps between windows.
            active: whether an activation follows.
            zero: whether a batch normalisation begins with the factor 0.
        """
        padding = kernel_size // 2
        conv: nn.Conv2d | NetworkDeconvolution2d
        if self.norm == "deconvolution":
            conv = NetworkDeconvolution2d(
                in_channels,
                out_channels,
                kernel_size,
                stride=stride,
                padding=padding,
                average=self.average,
                block=self.block,
            )
            layers: list[nn.Module] = [conv]
        else:
            conv = nn.Conv2d(
                in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False
            )
            norm = nn.BatchNorm2d(out_channels)
            nn.init.constant_(norm.weight, 0.0 if zero else 1.0)
            layers = [conv, norm]
        # A rectifier halves the variance: doubled here, so that depth changes nothing.
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if active:
            layers.append(self.activation())
        return nn.Sequential(*layers)


class SelfAttention2d(nn.Module):
    """Self-attention without softmax, as in fastai: channels attend to channels.

    With the pixels of a picture as columns, ``y = x + gamma x x^T W x / (H W)``. The products are
    taken from the left, C x C, so that the cost grows with the pixels and not with their square.
    The factor gamma begins at 0. The division, which fastai leaves out, makes gamma mean the same
    at every size of the picture.

    Arguments:
        channels: C.

    Example:
        >>> x = torch.randn(2, 4, 8, 8)
        >>> bool((SelfAttention2d(4)(x) == x).all())
        True
    """

    def __init__(self, channels: int):
        super().__init__()
        positive(channels=channels)
        self.value = nn.Conv1d(channels, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))
        nn.init.kaiming_normal_(self.value.weight, nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C, H, W)`` of the same.

        Arguments:
            x: ``(B, C, H, W)``.

        Raises:
            TypeError: no tensor of floating-point numbers, or another precision than the weights'.
            ValueError: another shape.
        """
        as_input("x", x, weight=self.value.weight)
        check_axes(f"B {self.value.in_channels} H W", x=x)
        columns = x.flatten(2)  # (B, C, H W)
        similarity = columns @ columns.mT / columns.shape[2]  # (B, C, C)
        attended = similarity @ self.value(columns)  # (B, C, H W)
        return x + self.gamma * attended.view_as(x)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, and an activation after their sum.

    Arguments:
        in_channels: C of the input.
        out_channels: C of the output.
        unit: makes the convolutions.
        stride: 2 halves the resolution.
        attention: whether self-attention follows the second convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        unit: ConvUnit,
        *,
        stride: int = 1,
        attention: bool = False,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.convs = nn.Sequential(
            unit(in_channels, out_channels, stride=stride),
            unit(out_channels, out_channels, active=False, zero=True),
        )
        if attention:
            self.convs.append(SelfAttention2d(out_channels))
        # A 1 x 1 convolution with stride 2 would not look at three pixels of four: pool first.
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if in_channels != out_channels:
            self.shortcut.append(unit(in_channels, out_channels, 1, active=False))
        self.activation = unit.activation()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C', H', W')`` of `x` ``(B, C, H, W)``.

        Arguments:
            x: ``(B, C, H, W)``.

        Raises:
            TypeError: no tensor of floating-point numbers, or another precision than the weights'.
            ValueError: another shape.
        """
        as_input("x", x, weight=next(self.parameters()))
        check_axes(f"B {self.in_channels} H W", x=x)
        return self.activation(self.convs(x) + self.shortcut(x))


class XResNet(nn.Module):
    """Stem, stages of residual blocks, the mean over pixels, and a linear head.

    Arguments:
        in_channels: C, bands of the picture.
        n_outputs: n.
        stem: makes the three convolutions at the entrance.
        unit: makes all others.
        stem_channels: of those three.
        stage_channels: of the stages; each but the first halves the resolution.
        attention: whether self-attention ends the first stage.
    """

    def __init__(
        self,
        in_channels: int,
        n_outputs: int,
        *,
        stem: ConvUnit,
        unit: ConvUnit,
        stem_channels: tuple[int, ...] = STEM,
        stage_channels: tuple[int, ...] = STAGES,
        attention: bool = True,
    ):
        super().__init__()
        positive(in_channels=in_channels, n_outputs=n_outputs)
        self.in_channels = in_channels
        channels = in_channels
        self.stem = nn.Sequential()
        for i, width in enumerate(stem_channels):
            self.stem.append(stem(channels, width, stride=2 if i == 0 else 1))
            channels = width
        self.stages = nn.ModuleList()
        for i, width in enumerate(stage_channels):
            stage = nn.Sequential(
                ResidualBlock(channels, width, unit, stride=2 if i else 1),
                ResidualBlock(width, width, unit, attention=attention and i == 0),
            )
            self.stages.append(stage)
            channels = width
        self.n_features = channels
        self.head = nn.Linear(channels, n_outputs)

    def features(self, x: Tensor) -> Tensor:
        """Return what the head sees: the last stage's mean over pixels, ``(B, F)``.

        Arguments:
            x: pictures ``(B, C, H, W)``, at least 32 pixels a side, of order one.

        Raises:
            TypeError: no tensor of floating-point numbers, or another precision than the weights'.
            ValueError: pictures of another shape.
        """
        as_input("x", x, weight=self.head.weight)
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < LEAST:
            raise ValueError(
                f"x must be (B, {self.in_channels}, H, W) with at least {LEAST} pixels a side, "
                f"got {tuple(x.shape)}"
            )
        x = self.stem(x)  # (B, C, H / 2, W / 2)
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # (B, C, H / 4, W / 4)
        for stage in self.stages:
            x = stage(x)
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, n)``.

        Arguments:
            x: as of `features`.
        """
        return self.head(self.features(x))


def xresnet18(
    in_channels: int,
    n_outputs: int,
    *,
    width: float = 1.0,
    activation: Callable[[], nn.Module] = nn.Mish,
    self_attention: bool = True,
    stem: str = "batch",
    norm: str = "batch",
    average: str = "covariance",
    block: int = 64,
) -> XResNet:
    """Build an xresnet18: 32, 32, 64 channels in the stem, 64, 128, 256, 512 in the stages.

    Arguments:
        in_channels: bands of the picture.
        n_outputs: of the head.
        width: factor of all channels, which are rounded to multiples of 8.
        activation: makes the activation.
        self_attention: whether self-attention ends the first stage.
        stem: "batch" or "deconvolution" in the three convolutions at the entrance; a stem of
            deconvolutions with batch normalisation elsewhere is the hybrid network.
        norm: the same everywhere else.
        average: of the deconvolutions, as of `NetworkDeconvolution2d`.
        block: likewise; blocks of 16 channels cost a fifth of those of 64 on a CPU.

    Returns:
        The network, untrained.

    Raises:
        TypeError, ValueError: a width that is not positive, an unknown norm, sizes below 1.

    Example:
        >>> net = xresnet18(5, 6, width=0.25, stem="deconvolution")
        >>> net(torch.randn(2, 5, 64, 64)).shape, net.n_features
        (torch.Size([2, 6]), 128)
    """
    as_length("width", width)
    one_of("stem", stem, allowed=NORMS)
    one_of("norm", norm, allowed=NORMS)
    return XResNet(
        in_channels,
        n_outputs,
        stem=ConvUnit(stem, activation, average=average, block=block),
        unit=ConvUnit(norm, activation, average=average, block=block),
        stem_channels=tuple(scaled(channels, width) for channels in STEM),
        stage_channels=tuple(scaled(channels, width) for channels in STAGES),
        attention=self_attention,
    )


def scaled(channels: int, width: float) -> int:
    """Return channels times a factor, rounded to the nearest multiple of 8 that is not 0.

    Arguments:
        channels: at width 1.
        width: the factor.

    Returns:
        A positive multiple of 8.

    Example:
        >>> scaled(64, 0.25), scaled(32, 0.1)
        (16, 8)
    """
    return max(8, 8 * round(channels * width / 8))
