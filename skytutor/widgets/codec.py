"""Maps as few bytes: 16-bit steps of the range, predicted from pixels already sent, the rest deflated; and back.

A map is cut into its twelve faces. A pixel is predicted as a weighted sum of twelve neighbours that
come before it in its face, and of three pixels of the frame before, if there is one. The weights
are the least-squares fit, in whole 4096ths, so that every machine predicts the same. What is left
is small for a smooth map, and its high and low bytes are deflated apart. `sphere.js` decodes the
same bytes.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 32768  # of the range; codes 0..STEPS
HIDDEN = 65535  # the code of a pixel without a value
_MIDDLE = STEPS // 2
_ONE = 4096
# (row, column) of the neighbours, in rows y and columns x of a face; all lie before (0, 0) in
# reading order.
_NEAR = ((0, -1), (0, -2), *((row, column) for row in (-1, -2) for column in (-2, -1, 0, 1, 2)))
_BEFORE = ((0, 0), (0, -1), (-1, 0))  # in the frame before


@dataclass(frozen=True)
class Packed:
    """A map as bytes.

    Attributes:
        data: what prediction left, deflated.
        hidden: a bit for each pixel, 1 where there is no value, deflated; empty if all have one.
        low: lowest value.
        high: highest value.
        error: largest rounding error, in the map's unit.
        weights: of the neighbours, in 4096ths, for the first frame and for later ones.
    """

    data: bytes
    hidden: bytes
    low: float
    high: float
    error: float
    weights: list[list[int]]


def quantise(values: NDArray) -> tuple[NDArray[np.uint16], float, float, float]:
    """Codes, lowest and highest value, and the largest error of finite `values`; what is not finite becomes `HIDDEN`.

    Raises:
        ValueError: if no value is finite.
    """
    good = np.isfinite(values)
    if not good.any():
        raise ValueError("no pixel has a value: all are NaN, infinite or UNSEEN")
    low = float(values[good].min())
    high = float(values[good].max())
    span = high - low or 1.0  # a constant map: code 0 everywhere
    codes = np.full(values.shape, HIDDEN, np.uint16)
    codes[good] = np.rint((values[good] - low) / span * STEPS)
    return codes, low, high, float(np.abs(restore(codes, low, high)[good] - values[good]).max())


def restore(codes: NDArray[np.uint16], low: float, high: float) -> NDArray[np.float64]:
    """Values of codes, NaN where they are `HIDDEN`."""
    return np.where(codes == HIDDEN, np.nan, low + codes.astype(np.float64) / STEPS * (high - low))


def _features(codes: NDArray[np.int64], frame: int) -> NDArray[np.int64]:
    """Neighbours of a frame's inner pixels, ``(k, 12, n - 2, n - 4)``, the middle taken off."""
    n = codes.shape[-1]
    places = [(frame, *at) for at in _NEAR] + [(frame - 1, *at) for at in _BEFORE if frame]
    return (
        np.stack(
            [
                codes[f, :, 2 + row : n + row, 2 + column : n - 2 + column]
                for f, row, column in places
            ]
        )
        - _MIDDLE
    )


def _fit(codes: NDArray[np.int64], frames: range) -> NDArray[np.int64]:
    """Least squares over some frames, one at a time in memory."""
    square = 0.0
    right = 0.0
    for frame in frames:
        rows = _features(codes, frame).astype(np.float64)
        rows = rows.reshape(len(rows), -1)
        square = square + rows @ rows.T
        right = right + rows @ (codes[frame, :, 2:, 2:-2].ravel() - float(_MIDDLE))
    found = np.linalg.lstsq(square, right, rcond=1e-9)[0]
    return np.rint(np.clip(found, -8, 8) * _ONE).astype(np.int64)


def _predict(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[list[int]]]:
    """What a reader expects at each pixel of ``(F, 12, n, n)`` codes, and the weights of the first and of later frames."""
    n = codes.shape[-1]
    expected = np.full_like(codes, _MIDDLE)
    expected[..., 1:] = codes[
        ..., :-1
    ]  # at a face's rim: the pixel to the left, else the one above
    expected[..., 1:, 0] = codes[..., :-1, 0]
    expected[1:] = codes[:-1]  # of a later frame: the same pixel of the frame before
    if n < 8:
        return expected, [[0] * len(_NEAR), [0] * (len(_NEAR) + len(_BEFORE))]
    first = _fit(codes, range(1))
    later = _fit(codes, range(1, len(codes))) if len(codes) > 1 else np.zeros(0, np.int64)
    for frame in range(len(codes)):
        total = np.tensordot(later if frame else first, _features(codes, frame), 1)
        expected[frame, :, 2:, 2:-2] = np.clip(((total + _ONE // 2) >> 12) + _MIDDLE, 0, STEPS)
    return expected, [first.tolist(), later.tolist()]


def pack(faces: NDArray) -> Packed:
    """Pack frames of a map.

    Arguments:
        faces: ``(F, 12, nside, nside)``, a map in faces for each of F frames; NaN or infinite where
            there is no value.
    """
    codes, low, high, error = quantise(np.asarray(faces, np.float64))
    gone = codes == HIDDEN
    filled = _fill(codes.astype(np.int64), gone)
    expected, weights = _predict(filled)
    left = (filled - expected + _MIDDLE) % (STEPS + 1) - _MIDDLE
    zigzag = np.where(left < 0, -2 * left - 1, 2 * left).astype(">u2")
    planes = zigzag.ravel().view(np.uint8).reshape(-1, 2).T
    hidden = zlib.compress(np.packbits(gone).tobytes(), 9) if gone.any() else b""
    return Packed(zlib.compress(planes.tobytes(), 9), hidden, low, high, error, weights)


def _fill(codes: NDArray[np.int64], gone: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where there is no value, the last one before it in reading order: cheap to send, and it disturbs its neighbours little."""
    if not gone.any():
        return codes
    flat = codes.reshape(-1).copy()
    at = np.arange(codes.size)
    last = np.maximum.accumulate(np.where(gone.ravel(), -1, at))
    return np.where(last < 0, _MIDDLE, flat[last]).reshape(codes.shape)


def unpack(packed: Packed, shape: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """The frames of `pack`, ``(F, 12, nside, nside)``, NaN where there is no value. Slow: the page decodes for itself."""
    planes = np.frombuffer(zlib.decompress(packed.data), np.uint8).reshape(2, -1).astype(np.int64)
    zigzag = (planes[0] * 256 + planes[1]).reshape(shape)
    left = np.where(zigzag & 1, -(zigzag + 1) // 2, zigzag // 2)
    codes = np.zeros(shape, np.int64)
    n = shape[-1]
    for frame, face, y, x in np.ndindex(*shape):
        here = codes[frame, face]
        expected = (
            codes[frame - 1, face, y, x]
            if frame
            else here[y, x - 1]
            if x
            else here[y - 1, 0]
            if y
            else _MIDDLE
        )
        if 2 <= x < n - 2 and y >= 2 and n >= 8:
            known = [here[y + a, x + b] for a, b in _NEAR]
            known += [codes[frame - 1, face, y + a, x + b] for a, b in _BEFORE if frame]
            total = sum(
                w * (int(v) - _MIDDLE)
                for w, v in zip(packed.weights[frame > 0], known, strict=True)
            )
            expected = min(max(((total + _ONE // 2) >> 12) + _MIDDLE, 0), STEPS)
        here[y, x] = (expected + left[frame, face, y, x]) % (STEPS + 1)
    gone = np.zeros(codes.size, bool)
    if packed.hidden:
        gone = np.unpackbits(np.frombuffer(zlib.decompress(packed.hidden), np.uint8))[
            : codes.size
        ].astype(bool)
    return restore(
        np.where(gone.reshape(shape), HIDDEN, codes).astype(np.uint16), packed.low, packed.high
    )
