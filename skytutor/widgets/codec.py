"""Maps as few bytes: rounded to 16 bits, predicted from pixels already sent, the rest deflated.

A map is cut into its twelve faces and rounded to 32769 equally spaced codes. A pixel is predicted
as a weighted sum of twelve neighbours that come before it in its face, and of three pixels of the
frame before, if there is one. The weights are the least-squares fit, in whole 4096ths, so that
every machine predicts the same. What is left is small for a smooth map, and its high and low bytes
are deflated apart. `sphere.js` decodes the same bytes.
"""

import itertools
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 32768  # of the range; codes 0..STEPS
MISSING = 65535  # the code of a pixel without a value
_MIDDLE = STEPS // 2
_ONE = 4096  # a weight of one; weights are whole 4096ths
# (row, column) of the neighbours, in rows y and columns x of a face; all lie before (0, 0) in
# reading order.
_NEAR = ((0, -1), (0, -2), *((row, column) for row in (-1, -2) for column in (-2, -1, 0, 1, 2)))
_BEFORE = ((0, 0), (0, -1), (-1, 0))  # in the frame before
_SMALLEST_FITTED = 8  # faces of fewer rows are not worth a fit


@dataclass(frozen=True)
class Packed:
    """A map as bytes.

    Attributes:
        data: what prediction left, deflated.
        missing: a bit for each pixel, 1 where there is no value, deflated; empty if all have one.
        low: lowest value.
        high: highest value.
        error: largest rounding error, in the map's unit.
        weights: of the neighbours, in 4096ths, for the first frame and for later ones.
    """

    data: bytes
    missing: bytes
    low: float
    high: float
    error: float
    weights: list[list[int]]


def quantise(values: NDArray) -> tuple[NDArray[np.uint16], float, float, float]:
    """Round values to codes: ``code = rint((value - low) / (high - low) * STEPS)``.

    Arguments:
        values: of any shape; what is not finite becomes `MISSING`.

    Returns:
        The codes, in the shape of `values`; the lowest value; the highest; the largest rounding
        error.

    Raises:
        ValueError: if no value is finite.
    """
    good = np.isfinite(values)
    if not good.any():
        raise ValueError("no pixel has a value: all are NaN, infinite or UNSEEN")
    low = float(values[good].min())
    high = float(values[good].max())
    span = high - low or 1.0  # a constant map: code 0 everywhere
    codes = np.full(values.shape, MISSING, np.uint16)
    codes[good] = np.rint((values[good] - low) / span * STEPS)
    error = np.abs(restore(codes, low, high)[good] - values[good]).max()
    return codes, low, high, float(error)


def restore(codes: NDArray[np.uint16], low: float, high: float) -> NDArray[np.float64]:
    """Return the values of codes, in their shape: NaN where they are `MISSING`.

    Arguments:
        codes: of `quantise`.
        low: value of code 0.
        high: value of code `STEPS`.
    """
    values = low + codes.astype(np.float64) / STEPS * (high - low)
    return np.where(codes == MISSING, np.nan, values)


def _features(codes: NDArray[np.int64], frame: int, *, face: int) -> list[NDArray[np.int64]]:
    """Return the neighbours of inner pixels of a face, k views ``(n - 2, n - 4)`` of the codes."""
    n = codes.shape[-1]
    # Inner pixels have rows 2..n-1 and columns 2..n-3: all their neighbours lie in the same face.
    here = codes[frame, face]
    neighbours = [here[2 + row : n + row, 2 + column : n - 2 + column] for row, column in _NEAR]
    if frame:
        before = codes[frame - 1, face]
        neighbours += [
            before[2 + row : n + row, 2 + column : n - 2 + column] for row, column in _BEFORE
        ]
    return neighbours


def _fit(codes: NDArray[np.int64], frames: range) -> NDArray[np.int64]:
    """Return the least-squares weights over some frames ``(k,)``, one face at a time in memory."""
    count = len(_NEAR) + (len(_BEFORE) if frames[0] else 0)
    # Normal equations: (sum over pixels of f f^T) w = sum over pixels of f code, f the neighbours.
    matrix = np.zeros((count, count))
    vector = np.zeros(count)
    for frame, face in itertools.product(frames, range(12)):
        neighbours = _features(codes, frame, face=face)
        rows = np.stack([(one - _MIDDLE).ravel().astype(np.float64) for one in neighbours])
        matrix = matrix + rows @ rows.T
        vector = vector + rows @ (codes[frame, face, 2:, 2:-2].ravel() - float(_MIDDLE))
    weights = np.linalg.lstsq(matrix, vector, rcond=1e-9)[0]
    # Whole numbers, so that the page predicts exactly what is predicted here.
    return np.rint(np.clip(weights, -8, 8) * _ONE).astype(np.int64)


def _predict(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[list[int]]]:
    """Predict each pixel of ``(F, 12, n, n)`` codes as a reader does.

    Returns:
        What a reader expects, ``(F, 12, n, n)``; the weights of the first and of later frames.
    """
    n = codes.shape[-1]
    expected = np.full_like(codes, _MIDDLE)
    # At a face's rim: the pixel to the left, else the one above.
    expected[..., 1:] = codes[..., :-1]
    expected[..., 1:, 0] = codes[..., :-1, 0]
    # In a later frame: the same pixel of the frame before.
    expected[1:] = codes[:-1]
    if n < _SMALLEST_FITTED:
        return expected, [[0] * len(_NEAR), [0] * (len(_NEAR) + len(_BEFORE))]
    first = _fit(codes, range(1))
    later = _fit(codes, range(1, len(codes))) if len(codes) > 1 else np.zeros(0, np.int64)
    for frame, face in itertools.product(range(len(codes)), range(12)):
        total = np.zeros((n - 2, n - 4), np.int64)
        neighbours = _features(codes, frame, face=face)
        for weight, one in zip(later if frame else first, neighbours, strict=True):
            total += weight * (one - _MIDDLE)
        expected[frame, face, 2:, 2:-2] = np.clip(_rounded(total) + _MIDDLE, 0, STEPS)
    return expected, [first.tolist(), later.tolist()]


def _rounded(total: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a sum in 4096ths rounded to whole codes, by a shift that JavaScript has too."""
    return (total + _ONE // 2) >> 12


def pack(faces: NDArray) -> Packed:
    """Pack frames of a map.

    Arguments:
        faces: ``(F, 12, nside, nside)``, a map in faces for each of F frames; NaN or infinite where
            there is no value.

    Returns:
        The bytes, and what is needed to read them.

    Raises:
        ValueError: if no value is finite.
    """
    codes, low, high, error = quantise(np.asarray(faces, np.float64))
    missing = codes == MISSING
    filled = _fill(codes.astype(np.int64), missing)
    expected, weights = _predict(filled)
    # The remainder modulo STEPS + 1, taken around zero, tells the code; small ones are frequent.
    left = (filled - expected + _MIDDLE) % (STEPS + 1) - _MIDDLE
    # 0, -1, 1, -2, 2, ... become 0, 1, 2, 3, 4, ...: small remainders have a high byte of zero.
    zigzag = np.where(left < 0, -2 * left - 1, 2 * left).astype(">u2")
    # The high bytes of all pixels, then the low ones: alike bytes deflate best side by side.
    planes = zigzag.ravel().view(np.uint8).reshape(-1, 2).T
    return Packed(
        data=zlib.compress(planes.tobytes(), 9),
        missing=zlib.compress(np.packbits(missing).tobytes(), 9) if missing.any() else b"",
        low=low,
        high=high,
        error=error,
        weights=weights,
    )


def _fill(codes: NDArray[np.int64], missing: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Fill pixels without a value with the last value before them in reading order.

    That is cheap to send, and it disturbs the prediction of the neighbours little.
    """
    if not missing.any():
        return codes
    flat = codes.reshape(-1).copy()
    at = np.arange(codes.size)
    last = np.maximum.accumulate(np.where(missing.ravel(), -1, at))
    return np.where(last < 0, _MIDDLE, flat[last]).reshape(codes.shape)


def unpack(packed: Packed, shape: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """Decode what `pack` has made. Slow, and for tests: the page decodes for itself.

    Arguments:
        packed: the bytes.
        shape: ``(F, 12, nside, nside)``.

    Returns:
        The frames in that shape, NaN where there is no value.
    """
    planes = np.frombuffer(zlib.decompress(packed.data), np.uint8).reshape(2, -1).astype(np.int64)
    zigzag = (planes[0] * 256 + planes[1]).reshape(shape)
    left = np.where(zigzag & 1, -(zigzag + 1) // 2, zigzag // 2)
    codes = np.zeros(shape, np.int64)
    for frame, face, y, x in np.ndindex(*shape):
        expected = _expected(codes, packed.weights, at=(frame, face, y, x))
        codes[frame, face, y, x] = (expected + left[frame, face, y, x]) % (STEPS + 1)
    missing = np.zeros(codes.size, bool)
    if packed.missing:
        bits = np.unpackbits(np.frombuffer(zlib.decompress(packed.missing), np.uint8))
        missing = bits[: codes.size].astype(bool)
    codes = np.where(missing.reshape(shape), MISSING, codes)
    return restore(codes.astype(np.uint16), packed.low, packed.high)


def _expected(
    codes: NDArray[np.int64], weights: list[list[int]], *, at: tuple[int, int, int, int]
) -> int:
    """Return what a reader expects at one pixel, from the codes before it."""
    frame, face, y, x = at
    n = codes.shape[-1]
    here = codes[frame, face]
    if 2 <= x < n - 2 and y >= 2 and n >= _SMALLEST_FITTED:
        neighbours = [here[y + row, x + column] for row, column in _NEAR]
        if frame:
            before = codes[frame - 1, face]
            neighbours += [before[y + row, x + column] for row, column in _BEFORE]
        pairs = zip(weights[frame > 0], neighbours, strict=True)
        total = sum(weight * (int(code) - _MIDDLE) for weight, code in pairs)
        return min(max(((total + _ONE // 2) >> 12) + _MIDDLE, 0), STEPS)
    if frame:
        return int(codes[frame - 1, face, y, x])
    if x:
        return int(here[y, x - 1])
    return int(here[y - 1, 0]) if y else _MIDDLE
