"""Images laid on the sphere, without holes: projection, drawn rotations, and drawn deformations.

An image is laid on the sky with a Lambert azimuthal equal-area projection: every pixel centre is
carried to the tangent plane of the image's centre and the image is interpolated there. No pixel
inside the image can stay empty, at any nside. It reads right as seen from inside the sphere, as on
maps of the sky: east is left.

Shapes: B images, H pixels along the side of one, P = 12 nside**2 pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from skytutor.healpix import (
    angle_to_pixel,
    check_nside,
    check_order,
    nside_to_npix,
    pixel_to_vector,
)
from skytutor.memo import cached_value
from skytutor.validate import as_integer


def check_images(images: Tensor) -> Tensor:
    """Return `images` as float ``(B, H, H)`` in 0..1; uint8 is scaled by 1/255.

    Raises:
        TypeError: neither uint8 nor floating.
        ValueError: empty, not square, or not finite.
    """
    wanted = "images must be a uint8 or floating torch tensor"
    if not isinstance(images, Tensor):
        raise TypeError(f"{wanted}, got {type(images).__name__}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"{wanted}, got {images.dtype}")
    if images.dim() != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images must be square, (B, H, H), got shape {tuple(images.shape)}")
    if images.numel() == 0:
        raise ValueError(f"images is empty: shape {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not bool(torch.isfinite(images).all()):
        raise ValueError("images holds NaN or infinite pixels")
    return images


def centre_of_mass(images: Tensor) -> Tensor:
    """Return the centre of mass of images ``(B, H, H)`` as (column, row), ``(B, 2)``.

    Coordinates run from -1 to 1 from edge to edge of the image. An image without ink has its centre
    at 0.
    """
    images = check_images(images).float()
    h = images.shape[1]
    coordinate = (2 * torch.arange(h, device=images.device) + 1) / h - 1  # (H,), of pixel centres
    # Summed over rows the image is a function of its column, and the other way round.
    first_moment = torch.stack([images.sum(1) @ coordinate, images.sum(2) @ coordinate], 1)
    return first_moment / images.sum((1, 2)).clamp(min=1e-12)[:, None]


def _frame(lon: float, lat: float) -> Tensor:
    """Return unit vectors west, south and outward at a place in degrees: the rows of ``(3, 3)``.

    The columns of an image grow to the west and its rows to the south.
    """
    a = math.radians(lon)
    b = math.radians(lat)
    west = [math.sin(a), -math.cos(a), 0.0]
    south = [math.sin(b) * math.cos(a), math.sin(b) * math.sin(a), -math.cos(b)]
    outward = [math.cos(b) * math.cos(a), math.cos(b) * math.sin(a), math.sin(b)]
    return torch.tensor([west, south, outward], dtype=torch.float64)


class Projector:
    """Lambert azimuthal equal-area projection of square images onto a HEALPix map.

    The centre of the image lies at `centre_deg` and its sides reach ``size_deg / 2`` from there.
    With c the angle from the centre, the plane's radius is ``2 sin(c / 2)``; image coordinates are
    scaled by ``2 sin(size / 4)``, bilinear, zero outside. The object holds the pixel centres, so
    that a training loop can call it often.

    Arguments:
        nside: resolution of the maps.
        size_deg: angle across the image, in (0, 360). At 180 the image's corners meet at the
            antipode.
        centre_deg: longitude and latitude of the centre.
        order: "ring" or "nested", the pixel order of the maps.

    Raises:
        ValueError: bad nside, order or size; images as in `check_images`.

    Example:
        >>> projector = Projector(8, size_deg=180, order="nested")
        >>> projector(torch.ones(2, 28, 28)).shape
        torch.Size([2, 1, 768])
    """

    def __init__(
        self,
        nside: int,
        *,
        size_deg: float,
        centre_deg: tuple[float, float] = (0.0, 0.0),
        order: str,
    ):
        self.nside = check_nside(nside)
        self.order = check_order(order, allowed=("ring", "nested"))
        if not 0 < float(size_deg) < 360:
            raise ValueError(f"size_deg must lie between 0 and 360, got {size_deg}")
        if not -90 <= centre_deg[1] <= 90 or not math.isfinite(centre_deg[0]):
            raise ValueError(
                f"centre_deg must be (longitude, latitude) with |latitude| <= 90, got {centre_deg}"
            )
        self.size_deg = float(size_deg)
        self.half_width = 2 * math.sin(math.radians(size_deg) / 4)  # of the image in the plane
        self.frame = _frame(*centre_deg)  # (3, 3)
        pixel = torch.arange(nside_to_npix(nside))
        self.centres = pixel_to_vector(pixel, nside=nside, order=order)  # (P, 3)

    def plane(self, rotations: Tensor | None = None) -> Tensor:
        """Return the image coordinates of the pixel centres as (column, row), ``(B, P, 2)``.

        They lie in -1..1 inside the image.

        Arguments:
            rotations: as in `__call__`; without them B is 1.
        """
        # The digit moves by R, so a pixel at v shows what lay at R^-1 v: the frame turns instead.
        frames = self.frame.unsqueeze(0)  # (1, 3, 3)
        if rotations is not None:
            frames = self.frame @ rotations.double().mT  # (B, 3, 3)
        # Components of each pixel centre along columns, along rows and outward.
        local = self.centres.float() @ frames.mT.float()  # (B, P, 3)
        outward = local[..., 2:]  # cosine of the angle c from the centre
        # From radius sin(c) on the sphere to 2 sin(c / 2) in the plane.
        scale = (2 / (1 + outward).clamp(min=1e-6)).sqrt()
        # The antipode lies at radius 2 in every direction at once; any of them will do.
        return torch.where(outward < 1e-6 - 1, 2.0, local[..., :2] * scale) / self.half_width

    def __call__(
        self,
        images: Tensor,
        *,
        rotations: Tensor | None = None,
        affine: Tensor | None = None,
        elastic: Tensor | None = None,
    ) -> Tensor:
        """Project ``(B, H, H)`` images to maps ``(B, 1, P)``, float32, 0..1.

        Arguments:
            images: as in `check_images`.
            rotations: ``(B, 3, 3)``, each moves its digit over the sphere after it was laid down.
            affine: ``(B, 2, 3)`` affine maps of the image plane (units: half the image), for
                augmentation.
            elastic: ``(B, 2, K, K)`` shifts of K x K nodes over the image (same units), linear
                between them, likewise.
        """
        images = check_images(images).float()
        if rotations is not None and tuple(rotations.shape) != (len(images), 3, 3):
            raise ValueError(
                f"rotations must be ({len(images)}, 3, 3), got {tuple(rotations.shape)}"
            )
        grid = self.plane(rotations).to(images.device)  # (1 or B, P, 2)
        if affine is not None:
            grid = grid @ affine[:, :, :2].mT + affine[:, None, :, 2]  # (B, P, 2)
        grid = grid.expand(len(images), -1, -1).unsqueeze(1)  # (B, 1, P, 2)
        if elastic is not None:
            # The outermost nodes lie on the image's edges, hence align_corners.
            shift = F.grid_sample(elastic, grid, padding_mode="border", align_corners=True)
            grid = grid + shift.movedim(1, 3)  # shift: (B, 2, 1, P) to (B, 1, P, 2)
        return F.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(2)  # (B, 1, P)


def project(
    images: Tensor,
    *,
    nside: int,
    size_deg: float,
    order: str,
    centre_deg: tuple[float, float] = (0.0, 0.0),
    rotations: Tensor | None = None,
) -> Tensor:
    """Project images ``(B, H, H)`` to maps ``(B, 1, P)`` by one call of a `Projector`.

    Arguments:
        images: as in `check_images`.
        nside: as in `Projector`; so are size_deg, order and centre_deg.
        size_deg: angle across the image.
        order: "ring" or "nested".
        centre_deg: longitude and latitude of the image's centre.
        rotations: ``(B, 3, 3)``, as in `Projector.__call__`.
    """
    projector = Projector(nside, size_deg=size_deg, centre_deg=centre_deg, order=order)
    return projector(images, rotations=rotations)


def random_rotations(n: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw n rotations from Haar measure on SO(3), ``(n, 3, 3)`` float64.

    A quaternion with four normal components, scaled to length one, is uniform on the 3-sphere, and
    that is Haar measure on the rotations (Shoemake 1992, Graphics Gems III).

    Raises:
        TypeError, ValueError: n not a positive integer.
    """
    if as_integer("n", n, wanted="a positive integer") < 1:
        raise ValueError(f"n must be a positive integer, got {n!r}")
    q = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(1)  # (n,) each
    entries = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(entries, 1).view(n, 3, 3)  # row after row


def project_scatter(images: Tensor, *, nside: int) -> Tensor:
    """Project as the published code did: write each image pixel into the map pixel it falls in.

    The image stands in the middle of a canvas twice as wide as high that spans the whole sphere in
    longitude and colatitude. Where two image pixels meet, the last one wins; HEALPix pixels that
    none meets stay 0. Kept for chapter 1, which counts those holes and measures what they cost.

    Arguments:
        images: as in `check_images`.
        nside: resolution of the maps.

    Returns:
        Maps ``(B, 1, P)``, NESTED.
    """
    images = check_images(images)
    n, h, _ = images.shape
    canvas = torch.zeros(n, h, 2 * h)
    left = h - h // 2
    canvas[:, :, left : left + h] = images
    theta = torch.linspace(0, math.pi, h, dtype=torch.float64)[:, None]
    phi = torch.linspace(-math.pi, math.pi, 2 * h, dtype=torch.float64)
    canvas = canvas.flip(2)  # east is left
    pixel = angle_to_pixel(theta, phi, nside=nside, order="nested").flatten()
    maps = torch.zeros(n, nside_to_npix(nside))
    # "Last writer wins", made explicit: indexed assignment leaves the winner undefined.
    nobody = torch.full((maps.shape[1],), -1)
    last = nobody.scatter_reduce(0, pixel, torch.arange(len(pixel)), "amax")  # (P,)
    met = last >= 0
    maps[:, met] = canvas.flatten(1)[:, last[met]]
    return maps.unsqueeze(1)


SIZE_DEG = 180.0


@dataclass(frozen=True)
class SphereProjection:
    """How images become maps: resolution, rotation, projection and augmentation.

    Attributes:
        nside: of the maps, NESTED.
        rotated: draw each digit's rotation from Haar measure; else it stands upright at longitude
            and latitude 0.
        scatter: use the published projection, holes and all.
        size_deg: angle across the image.
        affine_std: standard deviation of the random linear map of a training image (scale and
            shear), relative.
        shift_std: standard deviation of its random shift, in half images.
        in_plane_rotation_std_deg: standard deviation of its small rotation in its own plane.
        elastic_std: standard deviation of the random shifts of the nodes of an elastic sheet that
            deforms a training image smoothly, in half images.
        centred: lay each digit down with its centre of mass, not its image's centre, in the middle.
            MNIST has them 0.7 pixels apart, always the same way, which tells a network that sees
            both which way is up.
    """

    nside: int
    rotated: bool = False
    scatter: bool = False
    size_deg: float = SIZE_DEG
    affine_std: float = 0.0
    shift_std: float = 0.0
    in_plane_rotation_std_deg: float = 0.0
    elastic_std: float = 0.0
    centred: bool = False

    def draw_rotations(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw rotations: a list of one tensor ``(n, 3, 3)`` if `rotated`, else an empty list."""
        return [random_rotations(n, generator=generator)] if self.rotated else []

    def draw_affine(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Draw affine maps ``(n, 2, 3)`` near the identity: scale, shear, rotation and shift."""
        # Cut off at two standard deviations: no digit is deformed beyond recognition.
        noise = torch.randn(n, 7, generator=generator).clamp(-2, 2)
        linear = torch.eye(2) + self.affine_std * noise[:, :4].view(n, 2, 2)
        angle = math.radians(self.in_plane_rotation_std_deg) * noise[:, 4]  # (n,)
        rows = [angle.cos(), -angle.sin(), angle.sin(), angle.cos()]
        rotation = torch.stack(rows, 1).view(n, 2, 2)
        shift = self.shift_std * noise[:, 5:].unsqueeze(2)  # (n, 2, 1)
        return torch.cat([rotation @ linear, shift], 2)

    def draw_elastic(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw node shifts: a list of one ``(n, 2, 5, 5)`` if `elastic_std`, else an empty list."""
        if not self.elastic_std:
            return []
        noise = torch.randn(n, 2, 5, 5, generator=generator).clamp(-2, 2)
        return [self.elastic_std * noise]

    @cached_value
    def projector(self) -> Projector:
        """Return the projector of these settings, made once; it holds the pixel centres."""
        return Projector(self.nside, size_deg=self.size_deg, order="nested")

    def project(
        self,
        images: Tensor,
        rotations: Sequence[Tensor] = (),
        affine: Tensor | None = None,
        elastic: Tensor | None = None,
    ) -> Tensor:
        """Project images ``(B, H, H)`` to maps ``(B, 1, P)``, NESTED.

        Arguments:
            images: as in `check_images`.
            rotations: as `draw_rotations` gives them: empty, or one tensor ``(B, 3, 3)``.
            affine: ``(B, 2, 3)``, as `draw_affine` gives them.
            elastic: ``(B, 2, K, K)``, shifts of K x K nodes.
        """
        if self.scatter:
            return project_scatter(images, nside=self.nside)
        if self.centred:
            if affine is None:
                affine = torch.eye(2, 3).expand(len(images), 2, 3)
            # The plane's origin is read at the centre of mass, which so comes to lie in the middle.
            shift = affine[:, :, 2:] + centre_of_mass(images).unsqueeze(2)  # (B, 2, 1)
            affine = torch.cat([affine[:, :, :2], shift], 2)
        rotation = rotations[0] if rotations else None
        return self.projector(images, rotations=rotation, affine=affine, elastic=elastic)
