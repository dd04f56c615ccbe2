"""Which numbers a sphere takes for values, and which for holes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skytutor.healpix import UNSEEN, nested_to_ring
from skytutor.widgets import view
from skytutor.widgets.skies import LARGEST, as_frames, is_unseen
from skytutor.widgets.words import number

MAP = torch.arange(48.0)


@pytest.mark.parametrize(
    "value",
    [
        MAP,
        MAP.double(),
        MAP.half(),
        MAP.numpy(),
        MAP.int().numpy(),
        np.ma.masked_array(MAP.numpy(), MAP.numpy() < 3),
        MAP.tolist(),
        MAP.requires_grad_(True),
        torch.ones(48, dtype=torch.bool),
        np.arange(48)[::-1],
    ],
)
def test_kinds_of_numbers(value):
    assert as_frames("maps", value, nside=2, order="ring").shape == (1, 12, 2, 2)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_unseen_masked_and_nan_have_no_value(kind):
    values = MAP.detach().clone().to(kind)
    values[0] = UNSEEN
    values[1] = torch.nan
    got = as_frames("maps", values, nside=2, order="ring")
    assert np.isnan(got).sum() == 2 and np.nanmax(np.abs(got)) == 47
    masked = np.ma.masked_array(np.arange(48.0), np.arange(48) < 5)
    assert np.isnan(as_frames("maps", masked, nside=2, order="ring")).sum() == 5


# Numbers like UNSEEN that are values.
LOW = [-1.6e30, -1.63e30, -1.6374e30, -1.6376e30, -1.645e30, -1.7e30, -1e31, -1e38]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("low", LOW)
def test_a_low_number_is_a_value_unless_it_is_unseen(low, kind):
    values = MAP.detach().clone().to(kind)
    values[3] = low
    if is_unseen(values.double().numpy()).any():
        only = "only bfloat16 rounds as coarsely as that"
        assert kind == torch.bfloat16 and abs(low / UNSEEN - 1) < 0.005, only
        return
    globe = view(values, nside=2, order="ring")
    assert globe.low == float(values[3]) and globe.high == 47
    summary = globe._spec["summary"]
    assert f"from {number(float(values[3]))} to 47" in summary and "no value" not in summary


@given(st.floats(-LARGEST, LARGEST))
def test_any_number_of_double_precision_is_shown(low):
    values = np.arange(48.0)
    values[3] = low
    holes = np.isnan(as_frames("maps", values, nside=2, order="ring")).sum()
    near = any(abs(abs(low) / 10.0**k + UNSEEN) <= 7e-3 * abs(UNSEEN) for k in (-6, -3, 0, 3, 6))
    assert holes == 0 or near


@pytest.mark.parametrize("factor", [-1, 1e-3, 1e3, -1e6])
def test_unseen_in_another_unit_is_a_hole(factor):
    values = np.arange(48.0)
    values[[3, 8]] = factor * UNSEEN
    globe = view(values, nside=2, order="ring")
    assert globe.low == 0 and globe.high == 47
    assert np.isnan(as_frames("maps", values, nside=2, order="ring")).sum() == 2


def test_both_orders_are_the_same_sky():
    numbers = nested_to_ring(torch.arange(192), nside=4).double()
    nested = as_frames("maps", numbers, nside=4, order="nested")
    ring = as_frames("maps", np.arange(192.0), nside=4, order="ring")
    np.testing.assert_array_equal(nested, ring)
