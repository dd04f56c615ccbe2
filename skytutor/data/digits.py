"""Handwritten digits on the sphere: real images, a three-way split, and a projection without holes.

Two sources. "mnist" is the original set of 70,000 images [1]_, found through
`skytutor.data.registry`. "embedded" is the 1,797 real digits of 8 x 8 pixels that scikit-learn
carries [2]_: no network, no file. Both are split into train, validation and test once and for all,
so that what chooses a model never scores it.

A digit is laid on the sky with a Lambert azimuthal equal-area projection: every pixel centre is
carried to the tangent plane of the digit's centre and the image is interpolated there. No pixel
inside the image can stay empty, at any nside. The digit reads right as seen from inside the sphere,
as on maps of the sky: east is left.

.. [1] Y. LeCun, L. Bottou, Y. Bengio & P. Haffner, 1998, Proc. IEEE 86, 2278.
.. [2] E. Alpaydin & C. Kaynak, 1998, UCI Machine Learning Repository, doi:10.24432/C50P49.
"""

import gzip
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skytutor.data import registry
from skytutor.healpix import (
    angle_to_pixel,
    check_nside,
    check_order,
    nside_to_npix,
    pixel_to_vector,
)
from skytutor.healpix.checks import as_integer

SOURCES = ("auto", "mnist", "embedded")
_SPLIT_SEED = 1998


@dataclass(frozen=True)
class Digits:
    """Images ``(N, H, H)`` uint8, labels ``(N,)`` int64, and the index tensors of the three splits."""

    images: Tensor
    labels: Tensor
    split: dict[str, Tensor]
    source: str
    credit: str

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """Images and labels of "train", "validation" or "test"."""
        if name not in self.split:
            raise ValueError(
                f"name must be one of {', '.join(map(repr, self.split))}, got {name!r}"
            )
        return self.images[self.split[name]], self.labels[self.split[name]]

    def __str__(self) -> str:
        sizes = ", ".join(f"{k} {len(v):,}" for k, v in self.split.items())
        return f"{self.source}: {len(self.labels):,} digits of {self.images.shape[1]} x {self.images.shape[2]} ({sizes})"


def load(source: str = "auto") -> Digits:
    """Load the digits.

    Arguments:
        source: "mnist", "embedded", or "auto": MNIST if it is on this machine, else the embedded
            digits. Nothing is ever downloaded here; `skytutor data fetch mnist` does that.

    Raises:
        ValueError: unknown source.
        skytutor.data.registry.DataError: "mnist" asked for and not there, or damaged; says what to
        do.

    Example:
        >>> print(load("embedded"))
        embedded: 1,797 digits of 12 x 12 (train 1,197, validation 200, test 400)
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(map(repr, SOURCES))}, got {source!r}")
    if source == "auto":
        source = "mnist" if registry.have("mnist") else "embedded"
    return _mnist() if source == "mnist" else _embedded()


def _shuffled(count: int, sizes: tuple[int, ...]) -> list[Tensor]:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(_SPLIT_SEED))
    return [part.sort().values for part in order.split(sizes)]


def _mnist() -> Digits:
    def read(name: str, header: int) -> np.ndarray:
        with gzip.open(registry.path(f"mnist/{name}-ubyte.gz")) as stream:
            return np.frombuffer(stream.read(), np.uint8, offset=header).copy()

    images = np.concatenate([read(f"{part}-images-idx3", 16) for part in ("train", "t10k")])
    labels = np.concatenate([read(f"{part}-labels-idx1", 8) for part in ("train", "t10k")])
    train, validation = _shuffled(60_000, (55_000, 5_000))
    split = {"train": train, "validation": validation, "test": torch.arange(60_000, 70_000)}
    credit = registry.ENTRIES["mnist/train-images-idx3-ubyte.gz"].credit
    return Digits(
        torch.from_numpy(images).view(-1, 28, 28),
        torch.from_numpy(labels).long(),
        split,
        "mnist",
        credit,
    )


def _embedded() -> Digits:
    from sklearn.datasets import (
        load_digits,
    )  # half a second of import that MNIST's readers need not wait for

    raw = load_digits()
    images = torch.from_numpy(raw.images).mul(255 / 16).round().to(torch.uint8)
    images = F.pad(
        images, (2, 2, 2, 2)
    )  # a margin like MNIST's, where the digit takes 20 of 28 pixels
    train, validation, test = _shuffled(len(images), (1197, 200, 400))
    split = {"train": train, "validation": validation, "test": test}
    credit = "E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits (UCI), through scikit-learn"
    return Digits(images, torch.from_numpy(raw.target).long(), split, "embedded", credit)


def check_images(images: Tensor) -> Tensor:
    """Return `images` as float ``(B, H, H)`` in 0..1; uint8 is scaled by 1/255.

    Raises:
        TypeError: neither uint8 nor floating. ValueError: empty, not square, or not finite.
    """
    if not isinstance(images, Tensor) or not (
        images.dtype == torch.uint8 or images.is_floating_point()
    ):
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images must be a uint8 or floating torch tensor, got {kind}")
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
    """Where the ink of images ``(B, H, H)`` lies: ``(B, 2)`` as (column, row), -1..1 from edge to edge, 0 without ink."""
    images = check_images(images).float()
    along = (2 * torch.arange(images.shape[1], device=images.device) + 1) / images.shape[1] - 1
    return (
        torch.stack([images.sum(1) @ along, images.sum(2) @ along], 1)
        / images.sum((1, 2)).clamp(min=1e-12)[:, None]
    )


def _frame(lon: float, lat: float) -> Tensor:
    """Rows: west, south and outward at the digit's centre; columns and rows of an image grow that way."""
    a = math.radians(lon)
    b = math.radians(lat)
    west = [math.sin(a), -math.cos(a), 0.0]
    south = [math.sin(b) * math.cos(a), math.sin(b) * math.sin(a), -math.cos(b)]
    outward = [math.cos(b) * math.cos(a), math.cos(b) * math.sin(a), math.sin(b)]
    return torch.tensor([west, south, outward], dtype=torch.float64)


class Projector:
    """Puts square images on a HEALPix map; holds the pixel centres so that a training loop can call it often.

    The centre of the image lies at `centre_deg` and its sides reach ``size_deg / 2`` from there.
    With c the angle from the centre, the plane's radius is ``2 sin(c / 2)``; image coordinates are
    scaled by ``2 sin(size / 4)``, bilinear, zero outside.

    Arguments:
        nside: resolution. order: "ring" or "nested" of the maps it makes.
        size_deg: angle across the image, in (0, 360). At 180 the image's corners meet at the
            antipode.
        centre_deg: longitude and latitude of the centre.

    Raises:
        ValueError: bad nside, order or size; images as in `check_images`.

    Example:
        >>> paint = Projector(8, size_deg=180)
        >>> paint(torch.ones(2, 28, 28)).shape
        torch.Size([2, 1, 768])
    """

    def __init__(
        self,
        nside: int,
        *,
        size_deg: float,
        centre_deg: tuple[float, float] = (0.0, 0.0),
        order: str = "nested",
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
        self.half = 2 * math.sin(math.radians(size_deg) / 4)
        self.frame = _frame(*centre_deg)
        self.centres = pixel_to_vector(
            torch.arange(nside_to_npix(nside)), nside=nside, order=order
        )  # (P, 3)

    def plane(self, rotations: Tensor | None = None) -> Tensor:
        """Image coordinates of the pixel centres in -1..1, ``(B, P, 2)`` as (column, row); B = 1 without rotations."""
        frames = (
            self.frame.unsqueeze(0) if rotations is None else self.frame @ rotations.double().mT
        )  # (B, 3, 3)
        local = (
            self.centres.float() @ frames.mT.float()
        )  # (B, P, 3): along columns, along rows, outward
        stretch = (2 / (1 + local[..., 2:]).clamp(min=1e-6)).sqrt()
        # The antipode lies at radius 2 in every direction at once; any of them will do.
        return torch.where(local[..., 2:] < 1e-6 - 1, 2.0, local[..., :2] * stretch) / self.half

    def __call__(
        self,
        images: Tensor,
        *,
        rotations: Tensor | None = None,
        warp: Tensor | None = None,
        ripple: Tensor | None = None,
    ) -> Tensor:
        """Project ``(B, H, H)`` images to maps ``(B, 1, P)``, float32, 0..1.

        Arguments:
            rotations: ``(B, 3, 3)``, each moves its digit over the sphere after it was laid down.
            warp: ``(B, 2, 3)`` affine maps of the image plane (units: half the image), for
                augmentation.
            ripple: ``(B, 2, K, K)`` shifts of K x K nodes over the image (same units), linear
                between them, likewise.
        """
        images = check_images(images).float()
        if rotations is not None and tuple(rotations.shape) != (len(images), 3, 3):
            raise ValueError(
                f"rotations must be ({len(images)}, 3, 3), got {tuple(rotations.shape)}"
            )
        grid = self.plane(rotations).to(images.device)
        if warp is not None:
            grid = grid @ warp[:, :, :2].mT + warp[:, None, :, 2]  # (B, P, 2)
        grid = grid.expand(len(images), -1, -1).unsqueeze(1)  # (B, 1, P, 2)
        if ripple is not None:
            grid = grid + F.grid_sample(
                ripple, grid, padding_mode="border", align_corners=True
            ).movedim(1, 3)
        return F.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(2)  # (B, 1, P)


def project(
    images: Tensor,
    *,
    nside: int,
    size_deg: float,
    order: str = "nested",
    centre_deg: tuple[float, float] = (0.0, 0.0),
    rotations: Tensor | None = None,
) -> Tensor:
    """Put images ``(B, H, H)`` on the sphere: maps ``(B, 1, P)``. One call of `Projector`, which see."""
    return Projector(nside, size_deg=size_deg, centre_deg=centre_deg, order=order)(
        images, rotations=rotations
    )


def random_rotations(n: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw n rotations from Haar measure on SO(3), ``(n, 3, 3)`` float64.

    A quaternion with four normal components, scaled to length one, is uniform on the 3-sphere, and
    that is Haar measure on the rotations (Shoemake 1992, Graphics Gems III).
    """
    if as_integer("n", n, wanted="a positive integer") < 1:
        raise ValueError(f"n must be a positive integer, got {n!r}")
    q = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
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
    return torch.stack(rows, 1).view(n, 3, 3)


def project_scatter(images: Tensor, *, nside: int) -> Tensor:
    """Project as the published code did: each image pixel is written into the HEALPix pixel it falls in.

    The image stands in the middle of a canvas twice as wide as high that spans the whole sphere in
    longitude and colatitude. Where two image pixels meet, the last one wins; HEALPix pixels that
    none meets stay 0. Kept for chapter 1, which counts those holes and measures what they cost.
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
    last = torch.full((maps.shape[1],), -1).scatter_reduce(
        0, pixel, torch.arange(len(pixel)), "amax"
    )
    met = last >= 0
    maps[:, met] = canvas.flatten(1)[:, last[met]]
    return maps.unsqueeze(1)
