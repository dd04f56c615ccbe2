"""Maps packed for a page: the error that is promised, the way back, and how many bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skytutor.healpix import order_table
from skytutor.widgets import codec, page


def faces(values, nside, order="ring"):
    """Cut frames of a map into faces ``(F, 12, nside, nside)``."""
    values = np.asarray(values, float).reshape(-1, 12 * nside**2)
    table = order_table(nside, source=order, target="face").numpy()
    return values[:, table].reshape(-1, 12, nside, nside)


def smooth(nside, frames=1, seed=0):
    """Draw plane waves in a cube and read them on the sphere: band-limited and cheap."""
    import healpy

    rng = np.random.default_rng(seed)
    vectors = np.stack(healpy.pix2vec(nside, np.arange(12 * nside**2)))
    out = np.zeros((frames, 12 * nside**2))
    for _ in range(12):
        wave = rng.normal(size=3) * nside / 4
        phase = rng.uniform(0, 6)
        out += np.cos(wave @ vectors + phase + 0.1 * np.arange(frames)[:, None])
    return out


@pytest.mark.parametrize("nside, frames", [(1, 1), (2, 3), (4, 1), (8, 1), (8, 3), (16, 2)])
@pytest.mark.parametrize("holes", [False, True])
def test_there_and_back(nside, frames, holes):
    values = faces(smooth(nside, frames), nside)
    if holes:
        values[:, 3] = np.nan
        values.flat[::7] = np.nan
    packed = codec.pack(values)
    back = codec.unpack(packed, values.shape)
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    span = np.nanmax(values) - np.nanmin(values)
    assert np.nanmax(np.abs(back - values)) == packed.error <= span / 65535


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e30, 1e30), min_size=12, max_size=12))
def test_any_numbers_keep_the_promise(values):
    array = np.array(values).reshape(1, 12, 1, 1)
    packed = codec.pack(array)
    assert packed.error <= (packed.high - packed.low) / 65535 * (1 + 1e-9)
    np.testing.assert_allclose(
        codec.unpack(packed, array.shape), array, atol=packed.error * 1.0001 + 1e-300
    )


def test_a_constant_map_comes_back_exactly():
    array = np.full((1, 12, 2, 2), 3.25)
    packed = codec.pack(array)
    assert packed.error == 0 and (codec.unpack(packed, array.shape) == 3.25).all()


def test_prediction_saves_what_a_smooth_map_repeats():
    """White noise needs nearly all bits, a map sampled as maps should be far fewer.

    A second frame that repeats the first needs next to none.
    """
    nside = 64
    size = 12 * nside**2

    def bits_a_pixel(values):
        return len(codec.pack(faces(values, nside)).data) * 8 / size

    white = bits_a_pixel(np.random.default_rng(1).normal(size=size))
    one = bits_a_pixel(smooth(nside))
    two = bits_a_pixel(np.repeat(smooth(nside), 2, 0))
    assert 13 < white < 14.6
    assert one < 11
    assert two < 1.1 * one


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_text_holds_the_bytes(data):
    text = page.as_text(data)
    letters = [chr(c) for c in range(33, 127) if chr(c) not in "&<>"]
    values = [
        letters.index(a) * 91 + letters.index(b) for a, b in zip(text[::2], text[1::2], strict=True)
    ]
    bits = "".join(f"{value:013b}" for value in values)
    assert bytes(int(bits[8 * k : 8 * k + 8], 2) for k in range(len(data))) == data
    assert len(text) <= 1.25 * len(data) + 2
