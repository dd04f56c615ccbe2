"""Network deconvolution: a convolution of patches made white, in place of batch normalisation.

Neighbouring pixels and bands of a picture say nearly the same, and a convolution has to learn its
way round that. Network deconvolution [1]_ takes the correlations out first: the patches under the
window lose their mean and are multiplied by the inverse square root of their covariance, which is
found by a few steps of Newton and Schulz. Both are linear, so they are folded into the weights and
the layer costs one convolution.

Shapes: B batch, C channels in, O channels out, k side of the window, G blocks of channels, D = k k
C / G entries of a patch in one block.

.. [1] C. Ye et al., 2020, ICLR (arXiv:1905.11926).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.arrays import as_floats
from skytutor.inputs import as_input
from skytutor.validate import as_integer, as_length, one_of, positive

__all__ = ["NetworkDeconvolution2d", "fold_deconvolutions", "inverse_square_root"]

AVERAGES = ("covariance", "inverse_root")
# Fewer patches than this for each of their entries make a poor covariance.
PATCHES_PER_ENTRY = 4


def inverse_square_root(matrices: Tensor, *, iterations: int = 5) -> Tensor:
    """Return ``A^(-1/2)`` of positive definite matrices by coupled Newton-Schulz steps.

    With ``Y = A / |A|`` and ``Z = I``, each step takes ``T = (3 I - Z Y) / 2``, ``Y <- Y T`` and
    ``Z <- T Z``; ``Z / sqrt(|A|)`` goes to the root. Small eigenvalues come last: a step makes
    their inverse root at most 1.5 times larger, so that five steps leave directions alone that
    hold less than about 1/60 of the norm.

    Arguments:
        matrices: ``(..., D, D)``, symmetric with positive eigenvalues.
        iterations: steps, at least 1; five as published, about twenty for the exact root.

    Returns:
        ``(..., D, D)``, as `matrices`.

    Raises:
        TypeError, ValueError: no positive number of steps, or matrices that are not square.

    Example:
        >>> inverse_square_root(torch.diag(torch.tensor([4.0, 1.0])), iterations=20)
        tensor([[0.5000, 0.0000],
                [0.0000, 1.0000]])
    """
    positive(iterations=iterations)
    (matrices,) = as_floats(matrices=matrices)
    if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2]:
        raise ValueError(f"matrices must be (..., D, D), got {tuple(matrices.shape)}")
    # Divided by the Frobenius norm, no eigenvalue is above 1, and the steps converge.
    norm = matrices.square().sum((-2, -1), keepdim=True).sqrt()
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    y = matrices / norm
    # The first step has Z = I: two products of matrices less.
    step = 1.5 * identity - 0.5 * y
    z = step
    for _ in range(iterations - 1):
        y = y @ step
        step = 1.5 * identity - 0.5 * z @ y
        z = step @ z
    return z / norm.sqrt()


class NetworkDeconvolution2d(nn.Module):
    """A convolution whose patches have mean 0 and covariance 1, as far as a few steps reach.

    In training, mean and covariance are those of the batch; in evaluation they are averages over
    past batches. As published, what is averaged are the inverse roots, which begin at the identity.
    The mean of inverse roots is not the inverse root of the mean: batches with little variance
    count most, and a picture brighter than those comes out far too large, the more so after each
    layer. Averaging mean and covariance and inverting then is the cure, and the default.

    More than `block` channels are split into equal blocks, whitened each by itself.

    Arguments:
        in_channels: C.
        out_channels: O.
        kernel_size: k, side of the window.
        stride: steps between windows.
        padding: rows and columns of zeros at each border.
        bias: whether a constant is added.
        block: most channels in a block; the largest divisor of C up to this is taken.
        shared: one mean and covariance for all blocks, as published, or one for each block.
        eps: added to the diagonal of the covariance, in the square of the input's unit.
        iterations: Newton-Schulz steps.
        momentum: weight of a new batch in the running average.
        sampling_stride: the covariance is taken from one window in this many, along each side;
            from more of them where a small picture would leave less than 4 D patches.
        average: "covariance", or "inverse_root" as published.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, an unknown average.

    Example:
        >>> layer = NetworkDeconvolution2d(5, 8, 3, padding=1)
        >>> layer(torch.randn(2, 5, 16, 16)).shape
        torch.Size([2, 8, 16, 16])
    """

    bias: nn.Parameter | None
    running_mean: Tensor
    running_matrix: Tensor
    num_batches: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        block: int = 64,
        shared: bool = True,
        eps: float = 1e-5,
        iterations: int = 5,
        momentum: float = 0.1,
        sampling_stride: int = 3,
        average: str = "covariance",
    ):
        super().__init__()
        positive(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
        positive(stride=stride, block=block, iterations=iterations, sampling_stride=sampling_stride)
        self.in_channels = in_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = _padding(padding)
        self.block = _largest_divisor(in_channels, block)
        self.eps = as_length("eps", eps)
        self.iterations = iterations
        self.momentum = _momentum(momentum)
        self.sampling_stride = sampling_stride
        self.average = one_of("average", average, allowed=AVERAGES)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        groups = 1 if shared else in_channels // self.block
        size = self.block * kernel_size**2
        self.register_buffer("running_mean", torch.zeros(groups, size))
        # The average covariance, or the average inverse root; the identity stands for both.
        self.register_buffer("running_matrix", torch.eye(size).repeat(groups, 1, 1))
        self.register_buffer("num_batches", torch.tensor(0))
        self._cache: tuple[Tensor, int, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, O, H', W')`` of `x` ``(B, C, H, W)``.

        Raises:
            TypeError, ValueError: an input of another shape or smaller than the window.
        """
        self._check(x)
        # The inverse root needs single precision, also where autocast runs the rest in less.
        with torch.autocast(x.device.type, enabled=False):
            if self.training:
                mean, whitening = self._batch_statistics(x)
            else:
                mean, whitening = self._running_statistics()
            weight, bias = self._fold(mean, whitening)
        return F.conv2d(
            x, weight.to(x.dtype), bias.to(x.dtype), stride=self.stride, padding=self.padding
        )

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and covariance of the sampled patches of a batch.

        Arguments:
            x: ``(B, C, H, W)``.

        Returns:
            mean ``(G, D)`` and covariance plus `eps` on the diagonal, ``(G, D, D)``; G is 1 where
            blocks share them. Entries run over the channels of a block, then over the window.
        """
        # float16 and bfloat16 hold too few digits for a covariance.
        x = x if x.dtype == torch.float64 else x.float()
        blocks = x.unflatten(1, (-1, self.block)).flatten(0, 1)  # (B C/block, block, H, W)
        stride = self.stride * self._sampling(x.shape)
        patches = F.unfold(blocks, self.kernel_size, padding=self.padding, stride=stride)
        groups = len(self.running_mean)
        # (B C/block, D, n) to (G, D, N): blocks that share their statistics count as more patches.
        patches = patches.unflatten(0, (len(x), -1, groups)).permute(2, 3, 0, 1, 4).flatten(2)
        mean = patches.mean(-1)
        # Subtracted first: in a difference of squares a large mean would eat the digits.
        patches = patches - mean[..., None]
        covariance = patches @ patches.mT / patches.shape[-1]  # (G, D, D)
        return mean, covariance + self.eps * torch.eye(covariance.shape[-1]).to(covariance)

    def fold(self) -> nn.Conv2d:
        """Return the plain convolution that the layer is in evaluation mode, without gradient."""
        conv = nn.Conv2d(
            self.in_channels,
            len(self.weight),
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
        )
        weight, bias = self._fold(*self._running_statistics())
        conv.weight = nn.Parameter(weight.detach().to(self.weight.dtype))
        conv.bias = nn.Parameter(bias.detach().to(self.weight.dtype))
        return conv.train(self.training)

    def _sampling(self, shape: torch.Size) -> int:
        """Return the sampling stride for pictures ``(B, C, H, W)``."""
        groups, size = self.running_mean.shape
        n_blocks = shape[0] * shape[1] // (self.block * groups)
        for sampling in range(self.sampling_stride, 1, -1):
            steps = [
                (side + 2 * self.padding - self.kernel_size) // (self.stride * sampling) + 1
                for side in shape[2:]
            ]
            if n_blocks * math.prod(steps) >= PATCHES_PER_ENTRY * size:
                return sampling
        return 1

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and whitening of a batch, and let the running averages take them in."""
        mean, covariance = self.statistics(x)
        whitening = inverse_square_root(covariance, iterations=self.iterations)
        with torch.no_grad():
            self.num_batches += 1
            if self.average == "inverse_root":
                weight = torch.full_like(self.running_mean[0, 0], self.momentum)
                matrix = whitening
            else:
                # The plain mean of the first batches, so that nothing of the beginning stays in.
                weight = self.num_batches.double().reciprocal().clamp(min=self.momentum)
                matrix = covariance
            for running, new in ((self.running_mean, mean), (self.running_matrix, matrix)):
                running.lerp_(new.to(running.dtype), weight.to(running.dtype))
        self._cache = None
        return mean, whitening

    def _running_statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and whitening of past batches."""
        if self.average == "inverse_root":
            return self.running_mean, self.running_matrix
        if torch.compiler.is_compiling():
            return self.running_mean, self._invert()
        # Inverted once for all batches; anything that writes into the buffer counts its version up.
        version = self.running_matrix._version
        if (
            self._cache is None
            or self._cache[0] is not self.running_matrix
            or self._cache[1] != version
        ):
            self._cache = self.running_matrix, version, self._invert()
        return self.running_mean, self._cache[2]

    @torch.no_grad()
    def _invert(self) -> Tensor:
        """Return the inverse root of the average covariance, a tensor that autograd may use."""
        with torch.inference_mode(False):
            matrix = self.running_matrix
            matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
            return inverse_square_root(matrix, iterations=self.iterations)

    def _fold(self, mean: Tensor, whitening: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights and constant of the one convolution that centres, whitens, convolves.

        ``W D (x - m) + b`` is a convolution with weights ``W D`` and constant ``b - W D m``.
        """
        mean = mean.to(whitening.dtype)
        weight = self.weight.to(whitening.dtype)
        # (O, C, k, k) to (C/block, O, D): the channels of a block lie side by side.
        weight = weight.unflatten(1, (-1, self.block)).flatten(2).transpose(0, 1)
        weight = weight @ whitening
        constant = -(weight @ mean[..., None]).sum(0)[:, 0]  # (O,)
        if self.bias is not None:
            constant = constant + self.bias
        return weight.transpose(0, 1).reshape(self.weight.shape), constant

    def _check(self, x: Tensor) -> None:
        """Refuse what is not ``(B, C, H, W)`` or smaller than one window."""
        as_input("x", x, weight=self.weight)
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"x must be (B, {self.in_channels}, H, W), got {tuple(x.shape)}")
        least = max(1, self.kernel_size - 2 * self.padding)
        if len(x) == 0 or min(x.shape[2:]) < least:
            raise ValueError(
                f"x must hold at least one picture of {least} pixels a side, got {tuple(x.shape)}"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the inverse root out of copies: it belongs to the buffer of this very layer."""
        return {**self.__dict__, "_cache": None}

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return (
            f"{self.in_channels}, {len(self.weight)}, {self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, block={self.block}, iterations={self.iterations}, "
            f"sampling_stride={self.sampling_stride}, average={self.average!r}"
        )


def fold_deconvolutions(model: nn.Module) -> nn.Module:
    """Replace every network deconvolution inside a model by the convolution it is in evaluation.

    The model answers as before in evaluation mode, at the cost of plain convolutions, and its
    weights are all that a file has to hold. It can be trained on, but whitens no longer.

    Arguments:
        model: any module; changed in place, unless it is a deconvolution itself.

    Returns:
        The model.

    Example:
        >>> net = nn.Sequential(NetworkDeconvolution2d(1, 2, 3), nn.ReLU())
        >>> fold_deconvolutions(net)[0]
        Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
    """
    if isinstance(model, NetworkDeconvolution2d):
        return model.fold()
    for name, child in model.named_children():
        setattr(model, name, fold_deconvolutions(child))
    return model


def _largest_divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number up to `most`."""
    return max(d for d in range(1, min(number, most) + 1) if number % d == 0)


def _padding(padding: int) -> int:
    """Return the padding if it is an integer and not negative."""
    if as_integer("padding", padding) < 0:
        raise ValueError(f"padding must not be negative, got {padding}")
    return padding


def _momentum(momentum: float) -> float:
    """Return the momentum if it is above 0 and at most 1."""
    if as_length("momentum", momentum) > 1:
        raise ValueError(f"momentum must be at most 1, got {momentum}")
    return momentum
