"""Chapter 2's networks: a generator and a discriminator on the sphere, and on the plane.

The convolutions on the sphere see across the borders of base pixels. The networks on the plane are
the same but for that, to show what the sphere costs.

Shapes: B batch, Z latent, P = 12 nside**2 pixels in NESTED order. Maps ``(B, 1, P)``, pictures
    ``(B, 1, H, H)``.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from skytutor.chapters.gan.blocks import Discriminator, Generator
from skytutor.healpix import check_nside
from skytutor.layers.faces import check_input, from_faces, to_faces
from skytutor.layers.pixel import HaloConv


def _halo_conv(in_channels: int, out_channels: int, n: int) -> nn.Module:
    return HaloConv(in_channels, out_channels, nside=n, order="face")


def _planar_conv(in_channels: int, out_channels: int, n: int) -> nn.Module:
    # A picture is one face, (B, C, 1, n, n): a kernel of depth 1 is a convolution of the picture.
    return nn.Conv3d(in_channels, out_channels, (1, 3, 3), padding=(0, 1, 1))


class HaloGenerator(Generator):
    """Latents to nside 2, then up to `nside` by blocks whose convolutions cross base pixels.

    At each level a linear map of a cell gives its four children, and a residual branch with a halo
    convolution is added, but for the level before the last. The finest pixels are made as channels
    of their parents, taken apart by a pixel shuffle, and joined by a last halo convolution: at
    `nside` itself only a few channels are needed.

    Arguments:
        nside: of the maps, a power of two of at least 4.
        latent: numbers in; with `noise` there are more, `self.latent` says how many.
        widths: channels at nside 2, 4, ... up to `nside`.
        classes: with labels, their number; 0 for none.
        noise: the latents hold one more number for each pixel of each level from nside 4 on, added
            there: for skies, which are random at every scale.
        signed: maps without bounds; else 0..1.

    Raises:
        ValueError: nside below 4, or a number of widths that does not fit it.

    Example:
        >>> import torch
        >>> generator = HaloGenerator(8, latent=16, widths=(16, 8, 4), classes=10)
        >>> generator(torch.randn(3, 16), torch.tensor([1, 2, 3])).shape
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
        n_levels = _count_levels(nside)
        if len(widths) != n_levels:
            raise ValueError(f"widths must be {n_levels} for nside {nside}, got {tuple(widths)}")
        super().__init__(
            faces=12,
            start=2,
            widths=widths,
            conv=_halo_conv,
            latent=latent,
            classes=classes,
            noise=noise,
            signed=signed,
        )
        self.nside = nside

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return generated maps ``(B, 1, P)``, NESTED, float32.

        Arguments:
            z: ``(B, Z)``, Z = `self.latent`.
            labels: classes ``(B,)``, ``torch.long``, or None where there are no classes.
        """
        return from_faces(super().forward(z, labels), order="nested")


class HaloDiscriminator(Discriminator):
    """Halo convolutions, from `nside` down the hierarchy, and one number for each map.

    Arguments:
        nside: of the maps, at least 4.
        widths: channels, two for each level below `nside`: of the halo convolution there, and of
            the step to the next. The last step ends at nside 1 or above.
        classes: with labels, their number: the projection of the features on the direction of the
            label is added to the output [2]_. 0 for none.
        head: "flat" reads each pixel of the last level in its place. "pool" reads mean and standard
            deviation of each channel over the sphere, after each halo convolution and at the last
            level. Fluctuations of every angular scale are then read at their own level, and the
            output does not change when a sky is rotated by 90 degrees about the poles.
        group: so many maps of a batch at a time get one more channel, the standard deviation among
            them [3]_: a generator whose maps are all the same is noticed. 0 for none.
        spectral: keep every weight matrix at a largest singular value of one [1]_.

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
        most_levels = _count_levels(nside) - 1
        if len(widths) % 2 or not 2 <= len(widths) <= 2 * most_levels:
            raise ValueError(
                f"widths must be two for each of 1 to {most_levels} levels at nside {nside}, "
                f"got {tuple(widths)}"
            )
        super().__init__(
            last_cells=12 * _last_side(nside, widths) ** 2,
            side=nside,
            widths=widths,
            conv=_halo_conv,
            classes=classes,
            head=head,
            group=group,
            spectral=spectral,
        )
        self.nside = nside

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the output ``(B,)``, large for maps that are taken for real.

        Arguments:
            maps: ``(B, 1, P)``, NESTED.
            labels: classes ``(B,)``, ``torch.long``, or None where there are no classes.
        """
        check_input(maps, nside=self.nside, order="nested", channels=1)
        return super().forward(to_faces(maps, nside=self.nside, order="nested"), labels)


def _count_levels(nside: int) -> int:
    """Levels from nside 2 to `nside`; ``ValueError`` unless it is a power of two of at least 4."""
    if check_nside(nside) < 4:
        raise ValueError(f"nside must be at least 4, got {nside}: the first level has nside 2")
    return nside.bit_length() - 1


def _last_side(side: int, widths: Sequence[int]) -> int:
    """Cells along a face's side at a discriminator's last level: half as many after each step.

    One step takes the children into channels, and there is one more for every two widths.
    """
    return side >> (len(widths) // 2 + 1)


class PlanarGenerator(Generator):
    """The network of `HaloGenerator` for one picture of 7, 14, 28, ... cells along a side.

    Arguments:
        latent: numbers in.
        widths: channels at 7, 14, ... cells along a side.
        classes: with labels, their number; 0 for none.

    Example:
        >>> import torch
        >>> PlanarGenerator(latent=16, widths=(16, 8, 4))(torch.randn(3, 16)).shape
        torch.Size([3, 1, 28, 28])
    """

    def __init__(
        self, *, latent: int = 64, widths: Sequence[int] = (96, 64, 24, 8), classes: int = 0
    ):
        super().__init__(
            faces=1,
            start=7,
            widths=widths,
            conv=_planar_conv,
            latent=latent,
            classes=classes,
            noise=False,
            signed=False,
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return generated pictures ``(B, 1, H, H)`` in 0..1, float32.

        Arguments:
            z: ``(B, Z)``, Z = `self.latent`.
            labels: classes ``(B,)``, ``torch.long``, or None where there are no classes.
        """
        return super().forward(z, labels).squeeze(2)


class PlanarDiscriminator(Discriminator):
    """The network of `HaloDiscriminator` for pictures.

    Arguments:
        side: H, pixels along a side.
        widths: channels, two for each level.
        classes: with labels, their number; 0 for none.
        group: maps of a batch that get a channel of their standard deviation; 0 for none.
    """

    def __init__(
        self,
        *,
        side: int = 56,
        widths: Sequence[int] = (32, 64, 64, 96),
        classes: int = 0,
        group: int = 0,
    ):
        super().__init__(
            last_cells=_last_side(side, widths) ** 2,
            side=side,
            widths=widths,
            conv=_planar_conv,
            classes=classes,
            head="flat",
            group=group,
            spectral=False,
        )

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the output ``(B,)``, large for pictures that are taken for real.

        Arguments:
            maps: pictures ``(B, 1, H, H)``.
            labels: classes ``(B,)``, ``torch.long``, or None where there are no classes.
        """
        return super().forward(maps.unsqueeze(2), labels)
