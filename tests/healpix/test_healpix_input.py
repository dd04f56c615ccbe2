"""Bad input to skytutor.healpix: messages name the argument, what came and what is allowed."""

import math

import healpy as hp
import numpy as np
import pytest
import torch
from complaints import complaint

from skytutor import healpix

NAN = float("nan")
INF = float("inf")


PIX = torch.tensor([0])
FINE = int(hp.ang2pix(2**18, 1.2345678, 5.4321987))  # pixels of 4e-6 rad
TAKES_NSIDE = {
    "check_nside": lambda n: healpix.check_nside(n),
    "nside_to_npix": lambda n: healpix.nside_to_npix(n),
    "ring_to_nested": lambda n: healpix.ring_to_nested(PIX, nside=n),
    "nested_to_ring": lambda n: healpix.nested_to_ring(PIX, nside=n),
    "nested_to_face": lambda n: healpix.nested_to_face(PIX, nside=n),
    "ring_to_face": lambda n: healpix.ring_to_face(PIX, nside=n),
    "face_to_nested": lambda n: healpix.face_to_nested(PIX, PIX, PIX, nside=n),
    "face_to_ring": lambda n: healpix.face_to_ring(PIX, PIX, PIX, nside=n),
    "pixel_to_angle": lambda n: healpix.pixel_to_angle(PIX, nside=n, order="ring"),
    "pixel_to_vector": lambda n: healpix.pixel_to_vector(PIX, nside=n, order="ring"),
    "angle_to_pixel": lambda n: healpix.angle_to_pixel(
        PIX.double(), PIX.double(), nside=n, order="ring"
    ),
    "vector_to_pixel": lambda n: healpix.vector_to_pixel(
        torch.eye(3).double(), nside=n, order="ring"
    ),
    "neighbours": lambda n: healpix.neighbours(PIX, nside=n, order="ring"),
    "pixel_area": lambda n: healpix.pixel_area(n),
    "resolution": lambda n: healpix.resolution(n),
    "halo_indices": lambda n: healpix.halo_indices(n),
    "check_maps": lambda n: healpix.check_maps(torch.zeros(1, 1, 12), nside=n, order="nested"),
}


@pytest.mark.parametrize("name", TAKES_NSIDE)
@pytest.mark.parametrize("nside", [0, 3, -4, 12, 2**30], ids=str)
def test_nside_that_is_no_power_of_two(name, nside):
    complaint(ValueError, lambda: TAKES_NSIDE[name](nside), "nside", nside, "power of two")


@pytest.mark.parametrize("name", TAKES_NSIDE)
@pytest.mark.parametrize("nside", [4.0, True, "4", None, np.float64(4)], ids=repr)
def test_nside_of_the_wrong_type(name, nside):
    complaint(TypeError, lambda: TAKES_NSIDE[name](nside), "nside", "int")


@pytest.mark.parametrize(
    "nside", [torch.tensor([4.0]), torch.tensor([4, 8]), np.array([4, 8])], ids=repr
)
def test_nside_that_is_an_array(nside):
    """They own an __index__ that fails with a message of its own."""
    complaint(TypeError, lambda: healpix.check_nside(nside), "nside", "int")


@pytest.mark.parametrize(
    "nside", [np.int32(4), np.int64(4), np.uint8(4)], ids=lambda n: n.dtype.name
)
def test_numpy_integers_are_welcome(nside):
    assert healpix.check_nside(nside) == 4 and type(healpix.check_nside(nside)) is int
    assert healpix.nside_to_npix(nside) == 192
    assert healpix.halo_indices(nside).shape == (12, 6, 6)
    assert healpix.ring_to_nested(PIX, nside=nside).item() == 15


TAKES_ORDER = {
    "check_order": lambda o: healpix.check_order(o),
    "pixel_to_angle": lambda o: healpix.pixel_to_angle(PIX, nside=2, order=o),
    "pixel_to_vector": lambda o: healpix.pixel_to_vector(PIX, nside=2, order=o),
    "angle_to_pixel": lambda o: healpix.angle_to_pixel(
        PIX.double(), PIX.double(), nside=2, order=o
    ),
    "vector_to_pixel": lambda o: healpix.vector_to_pixel(torch.eye(3).double(), nside=2, order=o),
    "neighbours": lambda o: healpix.neighbours(PIX, nside=2, order=o),
    "check_maps": lambda o: healpix.check_maps(torch.zeros(1, 1, 48), nside=2, order=o),
}


@pytest.mark.parametrize("name", TAKES_ORDER)
@pytest.mark.parametrize("order", ["nest", "NESTED", "", "rings"])
def test_order_misspelt(name, order):
    complaint(ValueError, lambda: TAKES_ORDER[name](order), "order", repr(order), "ring", "nested")


@pytest.mark.parametrize("order", [True, None, 1])
def test_order_that_is_no_text(order):
    with pytest.raises((TypeError, ValueError), match="order"):
        healpix.check_order(order)


@pytest.mark.parametrize("side", ["source", "target"])
def test_reorder_names_the_side_that_is_wrong(side):
    orders = {"source": "ring", "target": "nested"} | {side: "nest"}
    complaint(
        ValueError,
        lambda: healpix.reorder(torch.zeros(1, 48), **orders),
        side,
        "'nest'",
        "ring",
        "nested",
    )


TAKES_PIXELS = {
    "ring_to_nested": lambda p: healpix.ring_to_nested(p, nside=2),
    "nested_to_ring": lambda p: healpix.nested_to_ring(p, nside=2),
    "nested_to_face": lambda p: healpix.nested_to_face(p, nside=2),
    "ring_to_face": lambda p: healpix.ring_to_face(p, nside=2),
    "pixel_to_angle": lambda p: healpix.pixel_to_angle(p, nside=2, order="nested"),
    "pixel_to_vector": lambda p: healpix.pixel_to_vector(p, nside=2, order="ring"),
    "neighbours": lambda p: healpix.neighbours(p, nside=2, order="ring"),
}


@pytest.mark.parametrize("name", TAKES_PIXELS)
@pytest.mark.parametrize("bad", [48, -1, 10**12])
def test_pixel_out_of_range(name, bad):
    complaint(ValueError, lambda: TAKES_PIXELS[name](torch.tensor([3, bad])), "pix", bad, 47)


@pytest.mark.parametrize("name", TAKES_PIXELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex64], ids=str)
def test_pixels_that_are_no_integers(name, dtype):
    complaint(TypeError, lambda: TAKES_PIXELS[name](torch.ones(2).to(dtype)), "pix", "int")


@pytest.mark.parametrize("name", TAKES_PIXELS)
def test_no_pixels_at_all(name):
    """An empty list of pixels is no mistake: the answer is empty too."""
    out = TAKES_PIXELS[name](torch.zeros(0, dtype=torch.int64))
    for part in out if isinstance(out, tuple) else (out,):
        assert part.shape[0] == 0 and part.numel() == 0


@pytest.mark.parametrize("call", [healpix.face_to_nested, healpix.face_to_ring])
@pytest.mark.parametrize(
    ("f", "y", "x"), [(12, 0, 0), (-1, 0, 0), (0, 2, 0), (0, -1, 0), (0, 0, 2), (0, 0, -1)]
)
def test_face_coordinates_out_of_range(call, f, y, x):
    with pytest.raises(ValueError, match=r"\b[fyx]\b") as caught:
        call(torch.tensor([f]), torch.tensor([y]), torch.tensor([x]), nside=2)
    bad = next(str(v) for v, top in ((f, 11), (y, 1), (x, 1)) if not 0 <= v <= top)
    assert bad in str(caught.value)


@pytest.mark.parametrize("bad", [NAN, INF, -0.1, 3.2])
def test_colatitude_outside_0_to_pi(bad):
    theta = torch.tensor([1.0, bad], dtype=torch.float64)
    complaint(
        ValueError,
        lambda: healpix.angle_to_pixel(theta, torch.ones(2), nside=4, order="ring"),
        "theta",
    )


@pytest.mark.parametrize("south", [math.pi, torch.tensor(math.pi)], ids=["python", "float32"])
def test_the_south_pole_in_any_precision(south):
    """Pi in float32 is a little more than pi; a Python float must not be rounded on its way in."""
    assert healpix.angle_to_pixel(south, 0.1, nside=2, order="ring").item() == 44
    assert healpix.angle_to_pixel(1.2345678, 5.4321987, nside=2**18, order="ring").item() == FINE


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_longitude_that_is_no_number(bad):
    phi = torch.tensor([1.0, bad], dtype=torch.float64)
    complaint(
        ValueError,
        lambda: healpix.angle_to_pixel(torch.ones_like(phi), phi, nside=4, order="ring"),
        "phi",
    )


@pytest.mark.parametrize("bad", [[0.0, 0.0, 0.0], [NAN, 0.0, 1.0], [INF, 0.0, 0.0]])
def test_vector_without_a_direction(bad):
    vec = torch.tensor([[0.0, 0.0, 1.0], bad], dtype=torch.float64)
    complaint(ValueError, lambda: healpix.vector_to_pixel(vec, nside=4, order="ring"), "vec")


def test_vector_without_three_components():
    complaint(
        ValueError,
        lambda: healpix.vector_to_pixel(torch.ones(5, 2), nside=4, order="ring"),
        "vec",
        "3",
        "2",
    )


@pytest.mark.parametrize("npix", [0, -12, 13, 24, 108, 47])
def test_pixel_count_of_no_sphere(npix):
    complaint(ValueError, lambda: healpix.npix_to_nside(npix), "npix", npix, "12")


def test_pixel_count_that_is_no_integer():
    complaint(TypeError, lambda: healpix.npix_to_nside(48.0), "npix", "48.0")


@pytest.mark.parametrize("bad", [NAN, INF, -INF, healpix.UNSEEN], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_maps_with_missing_pixels(bad, dtype):
    maps = torch.zeros(2, 1, 48, dtype=dtype)
    maps[1, 0, 7] = bad  # bfloat16 keeps three digits of UNSEEN: -1.634e30
    word = "UNSEEN" if bad == healpix.UNSEEN else str(bad).strip("-")[:3]
    message = complaint(
        ValueError,
        lambda: healpix.check_maps(maps, nside=2, name="sky", order="nested"),
        "sky",
        word,
    )
    assert "1" in message, "how many pixels are bad, or which"


@pytest.mark.parametrize("shape", [(2, 1, 47), (2, 1, 192), (2, 1, 0)])
def test_maps_with_the_wrong_pixel_count(shape):
    complaint(
        ValueError,
        lambda: healpix.check_maps(torch.zeros(shape), nside=2, name="sky", order="nested"),
        "sky",
        shape[-1],
        48,
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64], ids=str)
def test_maps_that_are_not_real_floats(dtype):
    maps = torch.zeros(1, 1, 48, dtype=dtype)
    complaint(
        TypeError,
        lambda: healpix.check_maps(maps, nside=2, order="nested"),
        "maps",
        str(dtype).split(".")[1],
        "float",
    )


def test_maps_that_are_no_tensor_become_one():
    maps = np.arange(48, dtype=">f4").reshape(1, 1, 48)
    found = healpix.check_maps(maps, nside=2, order="nested")
    assert torch.equal(found, torch.arange(48.0).reshape(1, 1, 48))
    complaint(
        TypeError,
        lambda: healpix.check_maps("maps", nside=2, order="nested"),
        "maps",
        "str",
    )


def test_an_empty_batch():
    complaint(
        ValueError,
        lambda: healpix.check_maps(torch.zeros(0, 1, 48), nside=2, order="nested"),
        "maps",
        "empty",
    )


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
def test_good_maps_come_back_untouched(dtype):
    maps = torch.randn(2, 3, 48).to(dtype)
    assert healpix.check_maps(maps, nside=2, order="nested") is maps


def test_reorder_refuses_a_wrong_pixel_count():
    complaint(
        ValueError,
        lambda: healpix.reorder(torch.zeros(2, 50), source="ring", target="nested"),
        "maps",
        "50",
    )


@pytest.mark.parametrize("order", ["ring", "nested", "face"])
def test_a_table_from_an_order_to_itself_changes_nothing(order):
    assert healpix.order_table(4, source=order, target=order).tolist() == list(range(192))
    with pytest.raises(ValueError, match=r"source must be one of .*'nest'"):
        healpix.order_table(4, source="nest", target=order)


WHOLE = [
    getattr(torch, sign + "int" + bits) for sign in ("u", "") for bits in ("8", "16", "32", "64")
]


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("nside", [1, 2])
def test_pixel_numbers_of_any_integer_type_and_none_at_all(dtype, nside):
    pix = torch.arange(12 * nside**2)
    arguments = {"nside": nside, "order": "nested"}
    f, y, x = healpix.nested_to_face(pix, nside=nside)
    for function in (
        lambda p: healpix.neighbours(p, **arguments),
        lambda p: healpix.pixel_to_vector(p, **arguments),
        lambda p: healpix.ring_to_nested(p, nside=nside),
        lambda p: healpix.nested_to_ring(p, nside=nside),
        lambda p: torch.stack(healpix.ring_to_face(p, nside=nside)),
    ):
        assert torch.equal(function(pix.to(dtype)), function(pix))
        assert function(pix[:0].to(dtype)).numel() == 0
    for function, wanted in (
        (healpix.face_to_nested, pix),
        (healpix.face_to_ring, healpix.nested_to_ring(pix, nside=nside)),
    ):
        found = function(f.to(dtype), y.to(dtype), x.to(dtype), nside=nside)
        assert torch.equal(found, wanted)
    with pytest.raises(ValueError, match=rf"pix must lie in 0\.\.{12 * nside**2 - 1}.*100"):
        healpix.nested_to_ring(torch.tensor([100]).to(dtype), nside=nside)
    with pytest.raises(ValueError, match=rf"y must lie in 0\.\.{nside - 1}.*100"):
        healpix.face_to_ring(f.to(dtype), (y + 100).to(dtype), x.to(dtype), nside=nside)
