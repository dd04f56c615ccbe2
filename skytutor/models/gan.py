"""Chapter 2's networks: generators and discriminators whose layers see across base pixels, and their twins on the plane.

Shapes: B batch, Z latent, P = 12 nside**2 pixels in NESTED order. Maps ``(B, 1, P)``, pictures
    ``(B, 1, H, H)``.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from skytutor.healpix import check_nside
from skytutor.layers.faces import entry, from_faces, to_faces
from skytutor.layers.pixel import HaloConv
from skytutor.models.gan_blocks import Discriminator, Generator


def _halo(inside: int, outside: int, n: int) -> nn.Module:
    return HaloConv(inside, outside, nside=n)


def _flat(inside: int, outside: int, n: int) -> nn.Module:
    return nn.Conv3d(inside, outside, (1, 3, 3), padding=(0, 1, 1))


class HaloGenerator(Generator):
    """Latents to nside 2, then up to `nside`; convolutions have a halo, so base pixels are drawn in sight of each other.

    At each level a cell spreads over its children and, but for the level before the last, a halo
    convolution is added. The finest cells are drawn as channels of their parents, spread by a pixel
    shuffle and joined by a last halo convolution: at `nside` itself only a few channels are needed.

    Arguments:
        nside: of the maps, a power of two of at least 4.
        latent: numbers in; with `noise` there are more, `self.latent` says how many.
        widths: channels at nside 2, 4, ... up to `nside`.
        classes: with labels, their number; 0 for none.
        noise: the latents hold one more number for each pixel of each level from nside 4 on, added
            there: what a sky needs that is random at every scale.
        signed: maps without bounds; else 0..1.

    Raises:
        ValueError: nside below 4, or a number of widths that does not fit it.

    Example:
        >>> import torch
        >>> draw = HaloGenerator(8, latent=16, widths=(16, 8, 4), classes=10)
        >>> draw(torch.randn(3, 16), torch.tensor([1, 2, 3])).shape
        torch.Size([3, 1, 768])
    """

    def __init__(
        self,
        nside: int,
        *,
        latent: int = 64,
        widths: Sequence[int] = (96, 64, 24, 8),
        classes: int = 0,
        noise: bool = False,
        signed: bool = False,
    ):
        deep = _levels(nside)
        if len(widths) != deep:
            raise ValueError(f"widths must be {deep} for nside {nside}, got {tuple(widths)}")
        super().__init__(12, 2, widths, _halo, latent, classes, noise, signed)
        self.nside = nside

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return from_faces(super().forward(z, labels))


class HaloDiscriminator(Discriminator):
    """Halo convolutions, from `nside` down the tree.

    Arguments:
        nside: of the maps, at least 4.
        widths: channels, two for each level below `nside`: of the halo convolution there, and of
            the step to the next. The last step ends at nside 1 or above.
        classes: with labels, their number: the label's direction is added to the judgement [2]_. 0
            for none.
        head: "flat" reads each pixel of the last level in its place. "pool" reads mean and standard
            deviation over the sphere, after each halo convolution and at the last level: waves of
            each length are seen where they are strong, and the judgement of a sky turned by 90
            degrees about the poles is the same.
        group: maps of a batch, this many at a time, are told how much they differ [3]_: a generator
            that draws the same again and again is found out. 0 for none.
        spectral: hold every weight matrix at a largest singular value of one [1]_.

    Raises:
        ValueError: nside or widths that do not fit, an unknown head.

    Example:
        >>> import torch
        >>> HaloDiscriminator(8, widths=(8, 16))(torch.rand(3, 1, 768)).shape
        torch.Size([3])

    .. [1] T. Miyato, T. Kataoka, M. Koyama & Y. Yoshida, 2018, ICLR (arXiv:1802.05957).
    .. [2] T. Miyato & M. Koyama, 2018, ICLR (arXiv:1802.05637).
    .. [3] T. Karras, T. Aila, S. Laine & J. Lehtinen, 2018, ICLR (arXiv:1710.10196).
    """

    def __init__(
        self,
        nside: int,
        *,
        widths: Sequence[int] = (32, 64, 64, 96),
        classes: int = 0,
        head: str = "flat",
        group: int = 0,
        spectral: bool = False,
    ):
        deep = _levels(nside) - 1
        if len(widths) % 2 or not 2 <= len(widths) <= 2 * deep:
            raise ValueError(
                f"widths must be two for each of 1 to {deep} levels at nside {nside}, got {tuple(widths)}"
            )
        last = nside >> (len(widths) // 2 + 1)
        super().__init__(12 * last**2, nside, widths, _halo, classes, head, group, spectral)
        self.nside = nside

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        entry(maps, self.nside, "nested", 1)
        return super().forward(to_faces(maps, nside=self.nside), labels)


def _levels(nside: int) -> int:
    """Levels from nside 2 to `nside`; ``ValueError`` unless it is a power of two of at least 4."""
    if check_nside(nside) < 4:
        raise ValueError(f"nside must be at least 4, got {nside}: the first level has nside 2")
    return nside.bit_length() - 1


class PlanarGenerator(Generator):
    """The same network on one picture of ``7 * 2**k`` cells a side, k one less than there are `widths`: ``(B, 1, H, H)``."""

    def __init__(
        self, *, latent: int = 64, widths: Sequence[int] = (96, 64, 24, 8), classes: int = 0
    ):
        super().__init__(1, 7, widths, _flat, latent, classes, False, False)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(z, labels).squeeze(2)


class PlanarDiscriminator(Discriminator):
    """The same network on pictures ``(B, 1, side, side)``."""

    def __init__(
        self,
        *,
        side: int = 56,
        widths: Sequence[int] = (32, 64, 64, 96),
        classes: int = 0,
        group: int = 0,
    ):
        super().__init__(
            (side >> (len(widths) // 2 + 1)) ** 2,
            side,
            widths,
            _flat,
            classes,
            "flat",
            group,
            False,
        )

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(maps.unsqueeze(2), labels)
