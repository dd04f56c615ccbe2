"""RING, NESTED and face numbers of the same pixel, in integer arithmetic."""

import functools

import torch
from torch import Tensor

from skytutor.healpix.checks import check_nside, check_order, npix_to_nside, nside_to_npix


def check_pixels(pix: Tensor | int, nside: int) -> Tensor:
    pix = torch.as_tensor(pix)
    if pix.is_floating_point() or pix.is_complex() or pix.dtype == torch.bool:
        raise TypeError(f"pix must be integers, got {pix.dtype}")
    pix = pix.long()
    npix = nside_to_npix(nside)
    if (
        not torch.compiler.is_compiling()
        and pix.numel()
        and not (int(pix.min()) >= 0 and int(pix.max()) < npix)
    ):
        raise ValueError(
            f"pix must lie in 0..{npix - 1} for nside {nside}, got {int(pix.min())}..{int(pix.max())}"
        )
    return pix


def _spread(v: Tensor) -> Tensor:
    """Move bit k of v to bit 2k."""
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        v = (v | (v << shift)) & mask
    return v


def _gather_bits(v: Tensor) -> Tensor:
    """Move bit 2k of v to bit k; the inverse of `_spread`."""
    v = v & 0x5555555555555555
    for shift, mask in (
        (1, 0x3333333333333333),
        (2, 0x0F0F0F0F0F0F0F0F),
        (4, 0x00FF00FF00FF00FF),
        (8, 0x0000FFFF0000FFFF),
        (16, 0x00000000FFFFFFFF),
    ):
        v = (v | (v >> shift)) & mask
    return v


def nested_to_face(pix: Tensor, *, nside: int) -> tuple[Tensor, Tensor, Tensor]:
    """Face, row and column ``(f, y, x)`` of NESTED pixels, any shape."""
    pix = check_pixels(pix, nside)
    area = nside * nside
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
        if (
            not torch.compiler.is_compiling()
            and v.numel()
            and not (int(v.min()) >= 0 and int(v.max()) < top)
        ):
            raise ValueError(f"{name} must lie in 0..{top - 1}, got {int(v.min())}..{int(v.max())}")
        out.append(v.long())
    return out[0], out[1], out[2]


def face_to_ring(f: Tensor, y: Tensor, x: Tensor, *, nside: int) -> Tensor:
    """RING number of the pixels ``(f, y, x)``.

    Along a face's two axes the ring number i falls by one a step, so
    ``i = (2 + row) nside - x - y - 1``; twice the position inside the ring, in half pixels, is
    ``x - y`` away from the face's meridian.
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
    return torch.where(
        i < nside, cap, torch.where(south < nside, 12 * nside**2 - 2 * south * (south + 1), belt)
    )


def split_ring(pix: Tensor, nside: int) -> tuple[Tensor, Tensor]:
    """Ring i (1 .. 4 nside - 1) and position j in it (from 0) of RING pixels."""
    npix = 12 * nside**2
    cap = 2 * nside * (nside - 1)
    mirror = torch.where(
        pix < 6 * nside**2, pix, npix - 1 - pix
    )  # the sphere is symmetric in the equator
    i = ((1 + (1 + 2 * mirror.double()).sqrt()) / 2).long()
    i = i - (2 * i * (i - 1) > mirror).long()
    i = i + (2 * i * (i + 1) <= mirror).long()  # the square root may be off by one pixel
    i = torch.where(
        pix < cap,
        i,
        torch.where(pix >= npix - cap, 4 * nside - i, nside + (pix - cap) // (4 * nside)),
    )
    return i, pix - _ring_start(i, nside)


def ring_to_face(pix: Tensor, *, nside: int) -> tuple[Tensor, Tensor, Tensor]:
    """Face, row and column ``(f, y, x)`` of RING pixels, any shape."""
    i, j = split_ring(check_pixels(pix, nside), nside)
    belt = (i >= nside) & (i <= 3 * nside)
    # Belt: two families of straight lines cut it into faces; a and b count them from west to east.
    h = 2 * j + 1 - ((i - nside) & 1)
    u = h - i - 1 + nside
    v = 3 * nside - h - i - 1
    a = u.div(2 * nside, rounding_mode="floor")
    b = -v.div(2 * nside, rounding_mode="floor")
    f = torch.where(b == a, a % 4, torch.where(b == a + 1, 4 + b % 4, 8 + (a + 1) % 4))
    x = u // 2 - nside * a
    y = v.div(2, rounding_mode="floor") + nside * b
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


def face_table(nside: int, *, order: str) -> Tensor:
    """Pixel number in `order` of every face cell, ``(12 nside**2,)``: ``faces.flatten() == map[table]``."""
    check_order(order, allowed=("ring", "nested"))
    cell = torch.arange(nside_to_npix(nside))
    to = face_to_nested if order == "nested" else face_to_ring
    return to(cell // nside**2, cell % nside**2 // nside, cell % nside, nside=nside)


def order_table(nside: int, *, source: str, target: str) -> Tensor:
    """Pixel in `source` order of every pixel in `target` order, ``(P,)``; one of them may be "face"."""
    # Made once and kept, but not inside a graph that is being compiled: there it becomes a
    # constant.
    make = _order_table if torch.compiler.is_compiling() else _kept_table
    return make(nside, source, target)


def _order_table(nside: int, source: str, target: str) -> Tensor:
    if source == "face":
        return face_table(nside, order=target).argsort()
    if target == "face":
        return face_table(nside, order=source)
    return (ring_to_nested if target == "ring" else nested_to_ring)(
        torch.arange(nside_to_npix(nside)), nside=nside
    )


_kept_table = functools.cache(_order_table)


def reorder(maps: Tensor, *, source: str, target: str) -> Tensor:
    """Maps ``(..., P)`` of any dtype from one order to the other ("ring" or "nested").

    Example:
        >>> reorder(torch.arange(48), source="nested", target="ring")[:4]
        tensor([ 3,  7, 11, 15])
    """
    for name, order in (("source", source), ("target", target)):
        check_order(order, allowed=("ring", "nested"), name=name)
    if not isinstance(maps, Tensor) or maps.dim() == 0:
        raise TypeError(f"maps must be a torch tensor (..., P), got {type(maps).__name__}")
    try:
        nside = npix_to_nside(maps.shape[-1])
    except ValueError as error:
        raise ValueError(
            f"maps must have 12 * nside**2 pixels with nside a power of two, got {maps.shape[-1]}"
        ) from error
    if source == target:
        return maps
    return maps[..., order_table(nside, source=source, target=target).to(maps.device)]
