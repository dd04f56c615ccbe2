"""RING, NESTED and face numbers of the same pixel, in integer arithmetic."""

import torch
from torch import Tensor

from skytutor.arrays import as_integers, as_tensor
from skytutor.chunks import in_chunks
from skytutor.healpix.checks import check_nside, check_order, npix_to_nside, nside_to_npix
from skytutor.memo import cached_object
from skytutor.validate import check_broadcast
from skytutor.values import on_values

_CHUNK = 2**16  # pixels of a table made at a time: whole ones need 30 times its memory on the way


def check_pixels(pix: Tensor | int, nside: int) -> Tensor:
    """Return pixel numbers as int64 if they lie on a map of this nside.

    Arguments:
        pix: integers of any shape.
        nside: resolution.

    Returns:
        The numbers as an int64 tensor of the same shape.

    Raises:
        TypeError: floats, complex numbers or bools.
        ValueError: a number outside ``0 .. 12 nside**2 - 1``; not looked for in a compiled graph.
    """
    (pix,) = as_integers(pix=pix)
    ends = _ends_outside(pix, stop=nside_to_npix(nside))
    if ends:
        raise ValueError(
            f"pix must lie in 0..{nside_to_npix(nside) - 1} for nside {nside}, got {ends}"
        )
    return pix


def _ends_outside(numbers: Tensor, *, stop: int) -> str:
    """Return "lowest..highest" if one of the numbers lies outside 0 .. stop - 1, else nothing."""
    if not numbers.numel():
        return ""
    low, high = on_values(numbers, lambda v: (int(v.min()), int(v.max()))) or (0, stop - 1)
    return "" if low >= 0 and high < stop else f"{low}..{high}"


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
    """Return face, row and column of NESTED pixels.

    Arguments:
        pix: NESTED pixel numbers, integers of any shape.
        nside: resolution.

    Returns:
        ``(f, y, x)``, int64, each of the shape of `pix`.

    Raises:
        TypeError, ValueError: as `check_pixels`.
    """
    pix = check_pixels(pix, nside)
    area = nside * nside
    inside = pix % area
    # Inside a face the even bits of the number are x, the odd ones y.
    return pix // area, _gather_bits(inside >> 1), _gather_bits(inside)


def face_to_nested(f: Tensor, y: Tensor, x: Tensor, *, nside: int) -> Tensor:
    """Return the NESTED number of the pixels ``(f, y, x)``.

    Arguments:
        f: face, 0 to 11, integers of any shape.
        y: row, 0 to nside - 1, likewise.
        x: column, 0 to nside - 1, likewise.
        nside: resolution.

    Returns:
        NESTED pixel numbers, int64.

    Raises:
        TypeError: coordinates that are no integers.
        ValueError: coordinates out of range.
    """
    f, y, x = _check_face(f, y, x, nside=nside)
    return f * (nside * nside) + (_spread(y) << 1) + _spread(x)


def _check_face(f: Tensor, y: Tensor, x: Tensor, *, nside: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the coordinates as int64 if they are integers in range."""
    check_nside(nside)
    f, y, x = check_broadcast(**dict(zip("fyx", as_integers(f=f, y=y, x=x), strict=True)))
    for name, values, stop in (("f", f, 12), ("y", y, nside), ("x", x, nside)):
        ends = _ends_outside(values, stop=stop)
        if ends:
            raise ValueError(f"{name} must lie in 0..{stop - 1}, got {ends}")
    return f, y, x


def face_to_ring(f: Tensor, y: Tensor, x: Tensor, *, nside: int) -> Tensor:
    """Return the RING number of the pixels ``(f, y, x)``.

    Along a face's two axes the ring number i falls by one a step, so
    ``i = (2 + row) nside - x - y - 1``; twice the place in the ring, in half pixels, is ``x - y``
    away from the face's meridian.

    Arguments:
        f: face, 0 to 11, integers of any shape.
        y: row, 0 to nside - 1, likewise.
        x: column, 0 to nside - 1, likewise.
        nside: resolution.

    Returns:
        RING pixel numbers, int64.

    Raises:
        TypeError, ValueError: as `face_to_nested`.
    """
    f, y, x = _check_face(f, y, x, nside=nside)
    row = f // 4  # north, equator, south
    i = (2 + row) * nside - x - y - 1  # 1 .. 4 nside - 1
    # Pixels in a quarter of the ring: i in the northern cap, nside in the belt.
    quarter = torch.minimum(torch.minimum(i, 4 * nside - i), torch.full_like(i, nside))
    odd = torch.where(quarter == nside, (i - nside) & 1, 0)
    meridian = 2 * (f % 4) + (row != 1).long()  # in eighths of a turn
    j = (meridian * quarter + x - y - 1 + odd).div(2, rounding_mode="floor") % (4 * quarter)
    return _ring_start(i, nside=nside) + j


def _ring_start(i: Tensor, *, nside: int) -> Tensor:
    """Return the first RING pixel of ring i (1 .. 4 nside - 1)."""
    # Ring i of a cap has 4 i pixels, a ring of the belt 4 nside.
    south = 4 * nside - i
    north_cap = 2 * i * (i - 1)
    belt = 2 * nside * (nside - 1) + (i - nside) * 4 * nside
    south_cap = 12 * nside**2 - 2 * south * (south + 1)
    return torch.where(i < nside, north_cap, torch.where(south < nside, south_cap, belt))


def split_ring(pix: Tensor, nside: int) -> tuple[Tensor, Tensor]:
    """Return the ring of RING pixels and their place in it.

    Arguments:
        pix: RING pixel numbers, integers of any shape, whose range is not checked.
        nside: resolution.

    Returns:
        Ring i (1 .. 4 nside - 1, from the north) and place j in it (from 0, eastwards), each of the
        shape of `pix`.
    """
    (pix,) = as_integers(pix=pix)
    npix = 12 * nside**2
    cap = 2 * nside * (nside - 1)  # pixels of a cap
    # The sphere is symmetric in the equator: number the southern pixels from the south pole.
    mirror = torch.where(pix < 6 * nside**2, pix, npix - 1 - pix)
    # In a cap, 2 i (i - 1) <= pix. The square root may be off by one, so it is corrected.
    i = ((1 + (1 + 2 * mirror.double()).sqrt()) / 2).long()
    i = i - (2 * i * (i - 1) > mirror).long()
    i = i + (2 * i * (i + 1) <= mirror).long()
    belt = nside + (pix - cap) // (4 * nside)
    i = torch.where(pix < cap, i, torch.where(pix >= npix - cap, 4 * nside - i, belt))
    return i, pix - _ring_start(i, nside=nside)


def ring_to_face(pix: Tensor, *, nside: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return face, row and column of RING pixels.

    Arguments:
        pix: RING pixel numbers, integers of any shape.
        nside: resolution.

    Returns:
        ``(f, y, x)``, int64, each of the shape of `pix`.

    Raises:
        TypeError, ValueError: as `check_pixels`.
    """
    i, j = split_ring(check_pixels(pix, nside), nside)
    belt = (i >= nside) & (i <= 3 * nside)
    # Belt: two families of straight lines cut it into faces; a and b count them from west to east.
    h = 2 * j + 1 - ((i - nside) & 1)
    u = h - i - 1 + nside
    v = 3 * nside - h - i - 1
    a = u.div(2 * nside, rounding_mode="floor")
    b = -v.div(2 * nside, rounding_mode="floor")
    f_belt = torch.where(b == a, a % 4, torch.where(b == a + 1, 4 + b % 4, 8 + (a + 1) % 4))
    x_belt = u // 2 - nside * a
    y_belt = v.div(2, rounding_mode="floor") + nside * b
    # Caps: each of the four faces takes a quarter of the ring.
    quarter = torch.minimum(i, 4 * nside - i).clamp(min=1)
    k = j // quarter
    total = torch.where(i < nside, 2 * nside - i - 1, quarter - 1)  # x + y
    slope = 2 * (j - k * quarter) + 1 - quarter  # x - y
    f_cap = k + torch.where(i < nside, 0, 8)
    x_cap = (total + slope) // 2
    y_cap = (total - slope) // 2
    f = torch.where(belt, f_belt, f_cap)
    y = torch.where(belt, y_belt, y_cap)
    x = torch.where(belt, x_belt, x_cap)
    return f, y, x


def ring_to_nested(pix: Tensor, *, nside: int) -> Tensor:
    """Return the NESTED number of RING pixels.

    Arguments:
        pix: RING pixel numbers, integers of any shape.
        nside: resolution.

    Returns:
        NESTED pixel numbers, int64, of the shape of `pix`.

    Raises:
        TypeError, ValueError: as `check_pixels`.

    Example:
        >>> ring_to_nested(torch.arange(4), nside=2)
        tensor([ 3,  7, 11, 15])
    """
    return face_to_nested(*ring_to_face(pix, nside=nside), nside=nside)


def nested_to_ring(pix: Tensor, *, nside: int) -> Tensor:
    """Return the RING number of NESTED pixels.

    Arguments:
        pix: NESTED pixel numbers, integers of any shape.
        nside: resolution.

    Returns:
        RING pixel numbers, int64, of the shape of `pix`.

    Raises:
        TypeError, ValueError: as `check_pixels`.
    """
    return face_to_ring(*nested_to_face(pix, nside=nside), nside=nside)


def face_table(nside: int, *, order: str) -> Tensor:
    """Return the pixel number of every face cell: ``faces.flatten() == map[table]``.

    Arguments:
        nside: resolution.
        order: pixel order of the numbers, "ring" or "nested".

    Returns:
        ``(12 nside**2,)`` int64.

    Raises:
        TypeError, ValueError: as `check_nside`, or another order.
    """
    check_order(order, allowed=("ring", "nested"))
    cells = torch.arange(nside_to_npix(nside))
    shape = (12, nside, nside)
    to = face_to_nested if order == "nested" else face_to_ring
    return in_chunks(lambda c: to(*torch.unravel_index(c, shape), nside=nside), cells, size=_CHUNK)


def order_table(nside: int, *, source: str, target: str) -> Tensor:
    """Return the pixel in `source` order of every pixel in `target` order: ``new = old[table]``.

    Arguments:
        nside: resolution.
        source: pixel order of the map at hand.
        target: pixel order wanted. Either may be "face", the flattened faces.

    Returns:
        ``(12 nside**2,)`` int64.

    Raises:
        TypeError, ValueError: as `check_nside`, or unknown orders.
    """
    check_order(source, name="source")
    check_order(target, name="target")
    return shared_order_table(nside, source=source, target=target).clone()


@cached_object(maxsize=32)
def shared_order_table(nside: int, *, source: str, target: str) -> Tensor:
    """Return the table of `order_table` itself, to index with: whoever changed it would for all."""
    pixels = torch.arange(nside_to_npix(nside))
    if source == target:
        return pixels
    if source == "face":
        return face_table(nside, order=target).argsort()
    if target == "face":
        return face_table(nside, order=source)
    renumber = ring_to_nested if target == "ring" else nested_to_ring
    return in_chunks(lambda p: renumber(p, nside=nside), pixels, size=_CHUNK)


def reorder(maps: Tensor, *, source: str, target: str) -> Tensor:
    """Return maps in the other pixel order.

    Arguments:
        maps: ``(..., P)`` of any dtype.
        source: pixel order of the maps, "ring" or "nested".
        target: pixel order wanted, likewise.

    Returns:
        Maps ``(..., P)``; the same tensor if the orders are equal.

    Raises:
        TypeError: no numbers, or one number alone.
        ValueError: a number of pixels that no map has, or another order.

    Example:
        >>> reorder(torch.arange(48), source="nested", target="ring")[:4]
        tensor([ 3,  7, 11, 15])
    """
    for name, order in (("source", source), ("target", target)):
        check_order(order, allowed=("ring", "nested"), name=name)
    maps = as_tensor("maps", maps)
    if maps.dim() == 0:
        raise TypeError("maps must be (..., P), got a single number")
    npix = maps.shape[-1]
    try:
        nside = npix_to_nside(npix)
    except ValueError as error:
        raise ValueError(
            f"maps must have 12 * nside**2 pixels with nside a power of two, got {npix}"
        ) from error
    if source == target:
        return maps
    return maps[..., shared_order_table(nside, source=source, target=target).to(maps.device)]
