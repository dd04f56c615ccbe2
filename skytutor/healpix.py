"""HEALPix pixel numbering and geometry as tensors.

HEALPix [1]_ cuts the sphere into 12 base pixels ("faces") of equal area and each of them into
``nside`` x ``nside`` pixels. A pixel has three names here:

* **ring**: counted along circles of equal latitude from the north pole, west to east;
* **nested**: face after face, inside a face along a quadtree, so the children of ``p`` at twice the
  nside are ``4p .. 4p + 3``;
* **face**: the triple ``(f, y, x)`` with ``0 <= f < 12`` and ``0 <= x, y < nside``. ``x`` grows to
  the north-east, ``y`` to the north-west; ``nested = f * nside**2 + interleave(x, y)`` with x on
  the even bits.

Everything is integer arithmetic on ``torch.int64``, on whatever device the input lives. Angles are in
radians: colatitude ``theta`` in [0, pi] from the north pole, longitude ``phi`` in [0, 2 pi).

.. [1] K. M. Gorski et al., 2005, ApJ 622, 759.
"""

import math

import torch
from torch import Tensor

UNSEEN = -1.6375e30
ORDERS = ("ring", "nested", "face")
NSIDE_MAX = 2**20

# What lies across each edge and corner of a face, by row of the face (north, equator, south) and by
# the step (x, y) that leaves it: (row of the new face, quarters to the east, quarter turns of x, y).
# Steps that are not here meet no pixel: three faces touch at eight corners of the sphere, not four.
_ACROSS = (
    {(1, 0): (0, 1, 1), (0, 1): (0, 3, 3), (1, 1): (0, 2, 2),
     (-1, 0): (1, 0, 0), (0, -1): (1, 1, 0), (-1, -1): (2, 0, 0)},
    {(1, 0): (0, 0, 0), (0, 1): (0, 3, 0), (1, -1): (1, 1, 0),
     (-1, 1): (1, 3, 0), (-1, 0): (2, 3, 0), (0, -1): (2, 0, 0)},
    {(1, 0): (1, 1, 0), (0, 1): (1, 0, 0), (1, 1): (0, 0, 0),
     (-1, 0): (2, 3, 1), (0, -1): (2, 1, 3), (-1, -1): (2, 2, 2)},
)  # fmt: skip
# SW, W, NW, N, NE, E, SE, S as steps in (x, y).
_STEPS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def check_nside(nside: int) -> int:
    """Return `nside` as an int if it is a power of two between 1 and 2**20.

    Raises:
        TypeError: if it is not an integer (bool and float are refused).
        ValueError: if it is no power of two or out of range.
    """
    if isinstance(nside, bool) or not hasattr(nside, "__index__"):
        raise TypeError(f"nside must be an integer power of two, got {nside!r} ({type(nside).__name__})")
    n = nside.__index__()
    if not 1 <= n <= NSIDE_MAX or n & (n - 1):
        raise ValueError(f"nside must be a power of two between 1 and {NSIDE_MAX}, got {n}")
    return n


def check_order(order: str, *, allowed: tuple[str, ...] = ORDERS) -> str:
    """Return `order` if it is one of `allowed`; else raise ``ValueError``."""
    if order not in allowed:
        raise ValueError(f"order must be one of {', '.join(map(repr, allowed))}, got {order!r}")
    return order


def check_maps(maps: Tensor, *, nside: int, order: str = "nested", name: str = "maps", finite: bool = True) -> Tensor:
    """Return `maps` if they can be worked on: floating, of the right size, every pixel a number.

    Arguments:
        maps: ``(..., P)`` with ``P = 12 nside**2``, or ``(..., 12, nside, nside)`` for order "face".
        name: what the error message calls them.
        finite: look at the values too. That waits for the device, so layers skip it when compiled.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: empty, wrong pixel count, or NaN, infinite or UNSEEN pixels (with their number).

    Example:
        >>> check_maps(torch.zeros(2, 1, 12), nside=1).shape
        torch.Size([2, 1, 12])
    """
    nside, order = check_nside(nside), check_order(order)
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        kind = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
        raise TypeError(f"{name} must be a floating-point torch tensor, got {kind}; convert with .float()")
    want = (12, nside, nside) if order == "face" else (12 * nside**2,)
    if tuple(maps.shape[-len(want):]) != want:
        raise ValueError(f"{name} must end in {want} for nside {nside}, order {order!r}; got shape {tuple(maps.shape)}")
    if maps.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(maps.shape)}; at least one map is needed")
    if finite:
        _check_values(maps, name)
    return maps


def _check_values(maps: Tensor, name: str) -> None:
    bad = int((~torch.isfinite(maps)).sum())
    if bad:
        raise ValueError(f"{name} holds {bad} NaN or infinite pixels; replace or mask them first")
    # Saved maps carry UNSEEN in float32, where it is rounded: compare with room for that.
    unseen = int((maps < 0.999 * UNSEEN).sum()) if maps.dtype != torch.float16 else 0
    if unseen:
        raise ValueError(f"{name} holds {unseen} UNSEEN pixels ({UNSEEN:g}); fill or mask them first")


def nside_to_npix(nside: int) -> int:
    """Number of pixels of a map, ``12 nside**2``."""
    return 12 * check_nside(nside) ** 2


def npix_to_nside(npix: int) -> int:
    """nside of a map with `npix` pixels; ``ValueError`` if no HEALPix map has that many."""
    nside = math.isqrt(int(npix) // 12) if npix >= 0 else 0
    if nside < 1 or nside & (nside - 1) or 12 * nside**2 != npix:
        raise ValueError(f"npix must be 12 * nside**2 with nside a power of two, got {npix}")
    return nside


def pixel_area(nside: int) -> float:
    """Area of every pixel in steradian, ``4 pi / (12 nside**2)``."""
    return 4 * math.pi / nside_to_npix(nside)


def resolution(nside: int) -> float:
    """Side of a square of the pixel's area, in radians."""
    return math.sqrt(pixel_area(nside))


def _check_pixels(pix: Tensor | int, nside: int) -> Tensor:
    pix = torch.as_tensor(pix)
    if pix.is_floating_point() or pix.is_complex() or pix.dtype == torch.bool:
        raise TypeError(f"pix must be integers, got {pix.dtype}")
    pix, npix = pix.long(), nside_to_npix(nside)
    if pix.numel() and not (0 <= int(pix.min()) and int(pix.max()) < npix):
        raise ValueError(f"pix must lie in 0..{npix - 1} for nside {nside}, got {int(pix.min())}..{int(pix.max())}")
    return pix


def _spread(v: Tensor) -> Tensor:
    """Move bit k of v to bit 2k."""
    for shift, mask in ((16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F),
                        (2, 0x3333333333333333), (1, 0x5555555555555555)):  # fmt: skip
        v = (v | (v << shift)) & mask
    return v


def _gather_bits(v: Tensor) -> Tensor:
    """Move bit 2k of v to bit k; the inverse of `_spread`."""
    v = v & 0x5555555555555555
    for shift, mask in ((1, 0x3333333333333333), (2, 0x0F0F0F0F0F0F0F0F), (4, 0x00FF00FF00FF00FF),
                        (8, 0x0000FFFF0000FFFF), (16, 0x00000000FFFFFFFF)):  # fmt: skip
        v = (v | (v >> shift)) & mask
    return v


def nested_to_face(pix: Tensor, *, nside: int) -> tuple[Tensor, Tensor, Tensor]:
    """Face, row and column ``(f, y, x)`` of NESTED pixels, any shape."""
    pix, area = _check_pixels(pix, nside), nside * nside
    inside = pix % area
    return pix // area, _gather_bits(inside >> 1), _gather_bits(inside)


def face_to_nested(f: Tensor, y: Tensor, x: Tensor, *, nside: int) -> Tensor:
    """NESTED number of the pixels ``(f, y, x)``."""
    f, y, x = _check_face(f, y, x, nside)
    return f * (nside * nside) + (_spread(y) << 1) + _spread(x)


def _check_face(f: Tensor, y: Tensor, x: Tensor, nside: int) -> tuple[Tensor, Tensor, Tensor]:
    check_nside(nside)
    out = []
    for name, v, top in (("f", f, 12), ("y", y, nside), ("x", x, nside)):
        v = torch.as_tensor(v)
        if v.is_floating_point() or v.dtype == torch.bool:
            raise TypeError(f"{name} must be integers, got {v.dtype}")
        if v.numel() and not (0 <= int(v.min()) and int(v.max()) < top):
            raise ValueError(f"{name} must lie in 0..{top - 1}, got {int(v.min())}..{int(v.max())}")
        out.append(v.long())
    return out[0], out[1], out[2]


def face_to_ring(f: Tensor, y: Tensor, x: Tensor, *, nside: int) -> Tensor:
    """RING number of the pixels ``(f, y, x)``.

    Along a face's two axes the ring number i falls by one a step, so ``i = (2 + row) nside - x - y - 1``;
    twice the position inside the ring, in half pixels, is ``x - y`` away from the face's meridian.
    """
    f, y, x = _check_face(f, y, x, nside)
    row = f // 4
    i = (2 + row) * nside - x - y - 1  # 1 .. 4 nside - 1
    quarter = torch.minimum(torch.minimum(i, 4 * nside - i), torch.full_like(i, nside))
    odd = torch.where(quarter == nside, (i - nside) & 1, 0)
    meridian = 2 * (f % 4) + (row != 1).long()
    j = (meridian * quarter + x - y - 1 + odd).div(2, rounding_mode="floor") % (4 * quarter)
    return _ring_start(i, nside) + j


def _ring_start(i: Tensor, nside: int) -> Tensor:
    """First RING pixel of ring i (1 .. 4 nside - 1)."""
    south = 4 * nside - i
    cap = 2 * i * (i - 1)
    belt = 2 * nside * (nside - 1) + (i - nside) * 4 * nside
    return torch.where(i < nside, cap, torch.where(south < nside, 12 * nside**2 - 2 * south * (south + 1), belt))


def _split_ring(pix: Tensor, nside: int) -> tuple[Tensor, Tensor]:
    """Ring i (1 .. 4 nside - 1) and position j in it (from 0) of RING pixels."""
    npix, cap = 12 * nside**2, 2 * nside * (nside - 1)
    mirror = torch.where(pix < 6 * nside**2, pix, npix - 1 - pix)  # the sphere is symmetric in the equator
    i = ((1 + (1 + 2 * mirror.double()).sqrt()) / 2).long()
    i = i - (2 * i * (i - 1) > mirror).long()
    i = i + (2 * i * (i + 1) <= mirror).long()  # the square root may be off by one pixel
    i = torch.where(pix < cap, i, torch.where(pix >= npix - cap, 4 * nside - i, nside + (pix - cap) // (4 * nside)))
    return i, pix - _ring_start(i, nside)


def ring_to_face(pix: Tensor, *, nside: int) -> tuple[Tensor, Tensor, Tensor]:
    """Face, row and column ``(f, y, x)`` of RING pixels, any shape."""
    i, j = _split_ring(_check_pixels(pix, nside), nside)
    belt = (i >= nside) & (i <= 3 * nside)
    # Belt: two families of straight lines cut it into faces; a and b count them from west to east.
    h = 2 * j + 1 - ((i - nside) & 1)
    u, v = h - i - 1 + nside, 3 * nside - h - i - 1
    a, b = u.div(2 * nside, rounding_mode="floor"), -v.div(2 * nside, rounding_mode="floor")
    f = torch.where(b == a, a % 4, torch.where(b == a + 1, 4 + b % 4, 8 + (a + 1) % 4))
    x, y = u // 2 - nside * a, v.div(2, rounding_mode="floor") + nside * b
    # Caps: each of the four faces takes a quarter of the ring.
    quarter = torch.minimum(i, 4 * nside - i).clamp(min=1)
    k = j // quarter
    total = torch.where(i < nside, 2 * nside - i - 1, quarter - 1)
    slope = 2 * (j - k * quarter) + 1 - quarter
    f = torch.where(belt, f, k + torch.where(i < nside, 0, 8))
    return f, torch.where(belt, y, (total - slope) // 2), torch.where(belt, x, (total + slope) // 2)


def ring_to_nested(pix: Tensor, *, nside: int) -> Tensor:
    """NESTED number of RING pixels, any shape.

    Example:
        >>> ring_to_nested(torch.arange(4), nside=2)
        tensor([ 3,  7, 11, 15])
    """
    return face_to_nested(*ring_to_face(pix, nside=nside), nside=nside)


def nested_to_ring(pix: Tensor, *, nside: int) -> Tensor:
    """RING number of NESTED pixels, any shape."""
    return face_to_ring(*nested_to_face(pix, nside=nside), nside=nside)


def _to_ring(pix: Tensor, nside: int, order: str) -> Tensor:
    check_order(order, allowed=("ring", "nested"))
    return nested_to_ring(pix, nside=nside) if order == "nested" else _check_pixels(pix, nside)


def _centres(pix: Tensor, nside: int, order: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, sin(theta), theta and phi of the pixel centres, float64; precise next to the poles."""
    i, j = _split_ring(_to_ring(pix, nside, order), nside)
    near = torch.minimum(i, 4 * nside - i)
    belt = near >= nside
    drop = near.double() ** 2 / (3 * nside**2)  # 1 - |z| in a cap
    sign = torch.where(i < 2 * nside, 1.0, -1.0).double()
    z = torch.where(belt, (2 * nside - i).double() * 2 / (3 * nside), sign * (1 - drop))
    sin = torch.where(belt, (1 - z * z).clamp(min=0).sqrt(), (drop * (2 - drop)).clamp(min=0).sqrt())
    theta = torch.atan2(sin, z)
    h = torch.where(belt, 2 * j + 1 - ((i - nside) & 1), 2 * j + 1)
    phi = h.double() * (math.pi / 4) / torch.where(belt, nside, near).double()
    return z, sin, theta, phi


def pixel_to_angle(pix: Tensor, *, nside: int, order: str) -> tuple[Tensor, Tensor]:
    """Colatitude theta and longitude phi of pixel centres, radians, float64, shape of `pix`.

    Example:
        >>> theta, phi = pixel_to_angle(torch.tensor([0]), nside=1, order="ring")
        >>> round(float(theta.rad2deg()), 3), round(float(phi.rad2deg()), 3)
        (48.19, 45.0)
    """
    return _centres(pix, nside, order)[2:]


def pixel_to_vector(pix: Tensor, *, nside: int, order: str) -> Tensor:
    """Unit vectors ``(..., 3)`` to the pixel centres, float64."""
    z, sin, _, phi = _centres(pix, nside, order)
    return torch.stack([sin * phi.cos(), sin * phi.sin(), z], -1)


def _locate(z: Tensor, sin: Tensor, phi: Tensor, nside: int, order: str) -> Tensor:
    t = (phi * (2 / math.pi)) % 4.0
    t = torch.where(t >= 4.0, 0.0, t)  # -1e-17 % 4 rounds up to 4
    up, down = nside * (0.5 + t) + nside * (z * 0.75), nside * (0.5 + t) - nside * (z * 0.75)
    up, down = up.floor().long(), down.floor().long()
    a, b = up // nside, down // nside
    f = torch.where(a == b, 4 + b % 4, torch.where(b < a, b % 4, 8 + a % 4))
    x, y = up % nside, nside - 1 - down % nside
    # Caps. sin / sqrt((1 + |z|) / 3) is sqrt(3 (1 - |z|)) without the cancellation at the pole.
    k = t.floor().clamp(max=3)
    reach = nside * sin / ((1 + z.abs()) / 3).sqrt()
    p = ((t - k) * reach).floor().long().clamp(max=nside - 1)
    m = ((1 - t + k) * reach).floor().long().clamp(max=nside - 1)
    belt, north = z.abs() <= 2 / 3, z > 0
    f = torch.where(belt, f, k.long() + torch.where(north, 0, 8))
    x = torch.where(belt, x, torch.where(north, nside - 1 - m, p))
    y = torch.where(belt, y, torch.where(north, nside - 1 - p, m))
    to = face_to_nested if order == "nested" else face_to_ring
    return to(f, y, x, nside=nside)


def angle_to_pixel(theta: Tensor, phi: Tensor, *, nside: int, order: str) -> Tensor:
    """Number of the pixel that holds the direction (theta, phi), radians; phi of any size.

    Raises:
        ValueError: theta outside [0, pi], or angles that are not finite.
    """
    check_nside(nside), check_order(order, allowed=("ring", "nested"))
    theta, phi = torch.broadcast_tensors(torch.as_tensor(theta).double(), torch.as_tensor(phi).double())
    if not (bool(torch.isfinite(theta).all()) and bool(torch.isfinite(phi).all())):
        raise ValueError("theta and phi must be finite, got NaN or infinity")
    if theta.numel() and not (float(theta.min()) >= 0 and float(theta.max()) <= math.pi):
        raise ValueError(f"theta must lie in [0, pi], got {float(theta.min())}..{float(theta.max())}")
    return _locate(theta.cos(), theta.sin(), phi, nside, order)


def vector_to_pixel(vectors: Tensor, *, nside: int, order: str) -> Tensor:
    """Number of the pixel in the direction of `vectors` ``(..., 3)``; any length but zero."""
    check_nside(nside), check_order(order, allowed=("ring", "nested"))
    v = torch.as_tensor(vectors).double()
    if v.dim() == 0 or v.shape[-1] != 3:
        raise ValueError(f"vectors must end in 3 components, got shape {tuple(v.shape)}")
    length = v.norm(dim=-1)
    if v.numel() and not (bool(torch.isfinite(length).all()) and float(length.min()) > 0):
        raise ValueError("vectors must be finite and not zero")
    flat = torch.hypot(v[..., 0], v[..., 1])
    return _locate(v[..., 2] / length, flat / length, torch.atan2(v[..., 1], v[..., 0]), nside, order)


def _cross(f: Tensor, y: Tensor, x: Tensor, nside: int) -> Tensor:
    """Flat face index ``f nside**2 + y nside + x`` of cells up to one step outside their face, -1 if none."""
    table = torch.full((3, 3, 3, 3), -1, dtype=torch.long)
    table[:, 1, 1] = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    for row, steps in enumerate(_ACROSS):
        for (sx, sy), target in steps.items():
            table[row, sx + 1, sy + 1] = torch.tensor(target)
    sx, sy = (x >= nside).long() - (x < 0).long(), (y >= nside).long() - (y < 0).long()
    row, east, turn = table.to(f.device)[f // 4, sx + 1, sy + 1].unbind(-1)
    x, y, last = x % nside, y % nside, nside - 1
    tx = torch.where(turn == 1, y, torch.where(turn == 2, last - x, torch.where(turn == 3, last - y, x)))
    ty = torch.where(turn == 1, last - x, torch.where(turn == 2, last - y, torch.where(turn == 3, x, y)))
    flat = (4 * row + (f + east) % 4) * nside**2 + ty * nside + tx
    return torch.where(row < 0, -1, flat)


def neighbours(pix: Tensor, *, nside: int, order: str) -> Tensor:
    """The eight neighbours ``(..., 8)`` of pixels: SW, W, NW, N, NE, E, SE, S; -1 where there is none.

    Eight corners of the sphere are shared by three faces instead of four: the three pixels at each
    (24 in all) have seven neighbours. At nside 1 every pixel misses two.
    """
    check_nside(nside), check_order(order, allowed=("ring", "nested"))
    pix = torch.as_tensor(pix)
    f, y, x = (nested_to_face if order == "nested" else ring_to_face)(pix, nside=nside)
    sx, sy = torch.tensor(_STEPS, device=f.device).unbind(-1)
    flat = _cross(f.unsqueeze(-1).expand(*f.shape, 8), y.unsqueeze(-1) + sy, x.unsqueeze(-1) + sx, nside)
    safe = flat.clamp(min=0)
    to = face_to_nested if order == "nested" else face_to_ring
    found = to(safe // nside**2, safe % nside**2 // nside, safe % nside, nside=nside)
    return torch.where(flat < 0, -1, found)


def halo_indices(nside: int) -> Tensor:
    """Where each cell of the twelve faces with a border of one comes from.

    Returns:
        ``(12, nside + 2, nside + 2)`` int64 into the flattened faces ``f nside**2 + y nside + x``;
        row 0 is y = -1, column 0 is x = -1. -1 at the corners that no fourth face fills
        (24 of them; at every nside, two for each face).
    """
    nside = check_nside(nside)
    line = torch.arange(-1, nside + 1)
    f, y, x = torch.meshgrid(torch.arange(12), line, line, indexing="ij")
    return _cross(f, y, x, nside)


def face_table(nside: int, *, order: str) -> Tensor:
    """Pixel number in `order` of every face cell, ``(12 nside**2,)``: ``faces.flatten() == map[table]``."""
    check_order(order, allowed=("ring", "nested"))
    cell = torch.arange(nside_to_npix(nside))
    to = face_to_nested if order == "nested" else face_to_ring
    return to(cell // nside**2, cell % nside**2 // nside, cell % nside, nside=nside)


def reorder(maps: Tensor, *, source: str, target: str) -> Tensor:
    """Maps ``(..., P)`` of any dtype from one order to the other ("ring" or "nested").

    Example:
        >>> reorder(torch.arange(48), source="nested", target="ring")[:4]
        tensor([ 3,  7, 11, 15])
    """
    check_order(source, allowed=("ring", "nested")), check_order(target, allowed=("ring", "nested"))
    nside = npix_to_nside(maps.shape[-1])
    if source == target:
        return maps
    pix = torch.arange(maps.shape[-1], device=maps.device)
    return maps[..., (ring_to_nested if target == "ring" else nested_to_ring)(pix, nside=nside)]
