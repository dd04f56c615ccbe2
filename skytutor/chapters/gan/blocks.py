"""The layers of chapter 2's generators and discriminators, on the sphere and on the plane alike.

A map is twelve square faces, a picture is one. Both are kept as ``(B, C, F, n, n)`` with F faces of
n x n cells, and the same networks serve both. Only the convolution differs: on the sphere it sees
across the borders of faces, on the plane it pads the picture with 0.

Shapes: B batch, Z latent, C channels, F faces, n cells along a face's side.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from skytutor.layers.hierarchy import to_children, to_parents
from skytutor.training.adversarial import check_labels, check_latent
from skytutor.validate import as_integer, one_of, positive

# (input channels, output channels, n) to a convolution of (B, C, F, n, n) that keeps n
Convolution = Callable[[int, int, int], nn.Module]
_SLOPE = 0.2  # of the leaky ReLU where its argument is negative


def _noise_weight(channels: int) -> nn.Parameter:
    """Return the weight of a noise map in each channel, ``(C, 1, 1, 1)``: 0.1 before training."""
    return nn.Parameter(torch.full((channels, 1, 1, 1), 0.1))


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and shift depend on a conditioning vector [1]_.

    ``y = (1 + s) * norm(x) + t``, where ``(s, t)`` is a linear function of the conditioning.

    Arguments:
        channels: C, of the input.
        n_conditioning: numbers in the conditioning vector.

    .. [1] V. Dumoulin et al., 2017, ICLR (arXiv:1610.07629).
    """

    def __init__(self, channels: int, n_conditioning: int):
        super().__init__()
        # Named as in the pretrained files.
        self.norm = nn.BatchNorm3d(channels, affine=False)
        self.read = nn.Linear(n_conditioning, 2 * channels)

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        """Return ``(B, C, F, n, n)``, normalised; the conditioning is ``(B, n_conditioning)``."""
        # (B, 2 C) to (B, 2 C, 1, 1, 1), in halves of (B, C, 1, 1, 1)
        scale, shift = self.read(conditioning)[:, :, None, None, None].chunk(2, 1)
        return self.norm(x) * (1 + scale) + shift


class UpBlock(nn.Module):
    """One level up in resolution: from n cells along a side to 2 n.

    A linear map of each cell gives the channels of its four children. Noise is added where there is
    any. A residual branch of normalisation, ReLU and convolution is added to the result.

    Arguments:
        in_channels: C.
        out_channels: O.
        n_conditioning: numbers in the conditioning vector.
        n: cells along a face's side of the output.
        conv: makes the convolution of the residual branch.
        noise: whether noise maps are added, with a weight for each channel that is learned.
        residual: whether there is a residual branch.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        n_conditioning: int,
        n: int,
        conv: Convolution,
        noise: bool,
        residual: bool,
    ):
        super().__init__()
        # Named as in the pretrained files: `spread` to the children, `after` is the second norm.
        self.norm = ConditionalBatchNorm(in_channels, n_conditioning)
        self.spread = nn.Conv3d(in_channels, 4 * out_channels, 1)
        self.noise = _noise_weight(out_channels) if noise else None
        self.after = ConditionalBatchNorm(out_channels, n_conditioning) if residual else None
        self.conv = conv(out_channels, out_channels, n) if residual else None

    def forward(self, x: Tensor, conditioning: Tensor, noise: Tensor | None) -> Tensor:
        """Return ``(B, O, F, n, n)``.

        Arguments:
            x: ``(B, C, F, n / 2, n / 2)``.
            conditioning: ``(B, n_conditioning)``.
            noise: ``(B, F n n)``, one number for each cell of the output, or None.
        """
        x = to_children(self.spread(F.relu(self.norm(x, conditioning))))  # (B, O, F, n, n)
        if self.noise is not None and noise is not None:
            x = x + self.noise * noise.view(len(x), 1, *x.shape[2:])  # (B, 1, F, n, n)
        if self.after is None or self.conv is None:
            return x
        return x + self.conv(F.relu(self.after(x, conditioning)))


def _checked_widths(widths: Sequence[int]) -> list[int]:
    """Return `widths` as a list; ``ValueError`` that names the first that is not positive."""
    return positive(**{f"widths[{k}]": width for k, width in enumerate(widths)})


def _check_levels(widths: Sequence[int], *, side: int) -> None:
    """Refuse widths that are not two for each level, and a side that has too few cells for them."""
    divisor = 2 ** (len(widths) // 2 + 1)
    if side % divisor:
        raise ValueError(
            f"side must be divisible by {divisor} for {len(widths)} widths, got {side}"
        )
    if len(widths) % 2:
        raise ValueError(f"widths must be two for each level, got {len(widths)}")


class Generator(nn.Module):
    """Latents to F faces of `start` x `start` cells, then one `UpBlock` a level.

    The finest level has no block of its own. Its cells are made as channels of their parents, by a
    convolution and `to_children`, and joined by a last convolution to one channel.

    Arguments:
        faces: F, 12 on the sphere and 1 on the plane.
        start: cells along a face's side at the first level.
        widths: channels at each level, from the first to the finest.
        conv: makes the convolutions.
        latent: numbers in the latent vector, the same for all levels.
        classes: number of classes, each with an embedding beside the latents; 0 for none.
        noise: whether there is noise at each level after the first. Its numbers are part of the
            input: `self.latent` counts them in.
        signed: whether maps are without bounds; else they are brought to 0..1 by a sigmoid.
    """

    def __init__(
        self,
        *,
        faces: int,
        start: int,
        widths: Sequence[int],
        conv: Convolution,
        latent: int,
        classes: int,
        noise: bool,
        signed: bool,
    ):
        super().__init__()
        widths = _checked_widths(widths)
        (latent,) = positive(latent=latent)
        n_conditioning = 2 * latent if classes else latent
        sides = [start * 2**k for k in range(1, len(widths))]  # of the levels after the first
        self.faces = faces
        self.start = start
        self.base_latent = latent
        self.classes = classes
        self.signed = signed
        self.noise_sizes = [faces * side**2 for side in sides] if noise else []
        self.latent = latent + sum(self.noise_sizes)
        # Named as in the pretrained files: `spread` to the first level, `fine` to the finest cells.
        self.label = nn.Embedding(classes, latent) if classes else None
        self.spread = nn.Linear(n_conditioning, widths[0] * faces * start**2)
        self.levels = _up_blocks(
            widths[:-1], sides, n_conditioning=n_conditioning, conv=conv, noise=noise
        )
        self.norm = ConditionalBatchNorm(widths[-2], n_conditioning)
        self.fine = conv(widths[-2], 4 * widths[-1], sides[-1] // 2)
        self.noise = _noise_weight(widths[-1]) if noise else None
        self.last = conv(widths[-1], 1, sides[-1])

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return generated maps ``(B, 1, F, n, n)``, float32, n that of the finest level.

        Arguments:
            z: ``(B, Z)``, Z = `self.latent`: the latent vector, then the noise of each level.
            labels: classes ``(B,)``, ``torch.long``, or None where there are no classes.
        """
        check_latent(z, self.latent)
        check_labels(labels, self.classes)
        conditioning, *parts = z.split([self.base_latent, *self.noise_sizes], 1)
        noise: list[Tensor | None] = [*parts] if parts else [None] * (len(self.levels) + 1)
        if self.label is not None:
            conditioning = torch.cat([conditioning, self.label(labels)], 1)  # (B, 2 base_latent)
        x = self.spread(conditioning)  # (B, C F start**2)
        x = x.view(len(z), -1, self.faces, self.start, self.start)
        for block, block_noise in zip(self.levels, noise[:-1], strict=True):
            x = block(x, conditioning, block_noise)
        x = to_children(self.fine(F.relu(self.norm(x, conditioning))))  # (B, C, F, n, n)
        if self.noise is not None and noise[-1] is not None:
            x = x + self.noise * noise[-1].view(len(x), 1, *x.shape[2:])
        x = self.last(F.relu(x)).float()  # (B, 1, F, n, n)
        return x if self.signed else torch.sigmoid(x)


def _up_blocks(
    widths: Sequence[int],
    sides: Sequence[int],
    *,
    n_conditioning: int,
    conv: Convolution,
    noise: bool,
) -> nn.ModuleList:
    """Return the blocks from each width to the next; the k-th puts out `sides[k]` cells a side."""
    blocks = nn.ModuleList()
    n_blocks = len(widths) - 1
    for k in range(n_blocks):
        block = UpBlock(
            widths[k],
            widths[k + 1],
            n_conditioning=n_conditioning,
            n=sides[k],
            conv=conv,
            noise=noise,
            # The last block is followed by a convolution on its own level anyway.
            residual=k != n_blocks - 1,
        )
        blocks.append(block)
    return blocks


def _moments(x: Tensor) -> Tensor:
    """Return mean and standard deviation of each channel: ``(B, C, F, n, n)`` to ``(B, 2 C)``."""
    x = x.flatten(2)  # (B, C, F n n)
    # The small number keeps the slope of the root finite where a channel is constant.
    std = (x.float().var(2) + 1e-4).sqrt()
    return torch.cat([x.mean(2), std], 1)


class Discriminator(nn.Module):
    """From the finest cells down to few of many channels, and one number for each map.

    The children of each cell become channels before the first convolution. Then each level has a
    convolution, and a linear map from the children's channels to those of their parent.

    Arguments:
        last_cells: cells of a map at the last level, over all faces.
        side: cells along a face's side in the input.
        widths: channels, two for each level: of the convolution, and of the step to the next level.
        conv: makes the convolutions.
        classes: number of classes; 0 for none.
        head: "flat" reads each cell of the last level, "pool" the mean and standard deviation of
            each channel at each level.
        group: maps that are compared with each other by one more channel; 0 for none.
        spectral: whether every weight matrix is kept at a largest singular value of one.
    """

    def __init__(
        self,
        *,
        last_cells: int,
        side: int,
        widths: Sequence[int],
        conv: Convolution,
        classes: int,
        head: str,
        group: int,
        spectral: bool,
    ):
        super().__init__()
        widths = _checked_widths(widths)
        _check_levels(widths, side=side)
        if as_integer("group", group) < 0:
            raise ValueError(f"group must be 0 or a number of maps, got {group}")
        self.head = one_of("head", head, allowed=("flat", "pool"))
        self.group = group
        self.classes = classes
        bound: Callable[[nn.Module], nn.Module] = spectral_norm if spectral else nn.Identity()
        # Named as in the pretrained files: `judge` is the last linear layer.
        self.steps = nn.ModuleList()
        in_channels = 4  # the children of each cell
        n_levels = len(widths) // 2
        for k in range(n_levels):
            width, out_channels = widths[2 * k : 2 * k + 2]
            # The last step has one more channel, of the standard deviation within a group.
            extra = 1 if group > 1 and k == n_levels - 1 else 0
            convolution = bound(conv(in_channels, width, side >> (k + 1)))
            up = bound(nn.Conv3d(4 * width + extra, out_channels, 1))
            self.steps.append(nn.ModuleList([convolution, up]))
            in_channels = out_channels
        if head == "flat":
            n_features = in_channels * last_cells
        else:
            n_features = 2 * (sum(widths[::2]) + in_channels)
        self.judge = bound(nn.Linear(n_features, 1))
        self.label = bound(nn.Embedding(classes, n_features)) if classes else None

    def forward(self, faces: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the discriminator's output ``(B,)``, large for maps that it takes for real.

        Arguments:
            faces: ``(B, 1, F, n, n)``.
            labels: classes ``(B,)``, ``torch.long``, or None where there are no classes.
        """
        check_labels(labels, self.classes)
        x = to_parents(faces)  # (B, 4, F, n / 2, n / 2)
        levels = []
        for k, step in enumerate(self.steps):
            convolution, up = step.children()
            x = F.leaky_relu(convolution(x), _SLOPE)
            levels.append(x)
            x = to_parents(x)  # four times the channels, half as many cells along a side
            if self.group > 1 and k == len(self.steps) - 1:
                x = self._with_group_std(x)
            x = F.leaky_relu(up(x), _SLOPE)
        levels.append(x)
        if self.head == "flat":
            features = x.flatten(1)
        else:
            features = torch.cat([_moments(level) for level in levels], 1)
        output = self.judge(features).squeeze(1)  # (B,)
        if self.label is None:
            return output
        # The projection discriminator: features along the direction of the class count as well.
        return output + (self.label(labels) * features).sum(1)

    def _with_group_std(self, x: Tensor) -> Tensor:
        """Add a channel, ``(B, C + 1, F, n, n)``: how much the maps of a group differ.

        It holds the standard deviation among them, averaged over channels and cells.
        """
        # A batch that the group does not divide is split into smaller groups.
        group = math.gcd(len(x), self.group)
        grouped = x.float().unflatten(0, (-1, group))  # (B / group, group, C, F, n, n)
        # The small number keeps the slope of the root finite where all maps are the same.
        std = (grouped.var(1, unbiased=False) + 1e-6).sqrt()  # (B / group, C, F, n, n)
        std = std.flatten(1).mean(1).repeat_interleave(group)  # (B,)
        channel = std.view(-1, 1, 1, 1, 1).expand(-1, 1, *x.shape[2:])  # (B, 1, F, n, n)
        return torch.cat([x, channel.to(x.dtype)], 1)
