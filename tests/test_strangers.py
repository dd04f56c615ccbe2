"""The smallest inputs with which a stranger got a wrong number, or an error that names nothing.

Each stands as it was met. The kinds that they belong to are tested as wholes in `test_memo`
(what is kept), `test_arrays_api` (arrays) and `test_torch_modes` (modes of torch); graphs at nside
32 in `tests/sht/test_sht_modes`.
"""

import math

import numpy as np
import pytest
import torch
from astropy import units
from matplotlib.figure import Figure
from torch import nn
from torch_modes import forget

from skytutor import healpix, sht
from skytutor.fields.spectra import check_spectra, gaussian_maps
from skytutor.fields.wiener import WienerFilter
from skytutor.layers.spectral import ZonalConv
from skytutor.metrics.classification import accuracy
from skytutor.metrics.samples import frechet_distance
from skytutor.plot.sphere import mollweide
from skytutor.training.checkpoint import load_tensors, save_tensors

ONES = torch.ones(192)
SIZES = {"nside": 4, "lmax": 3, "order": "ring"}
MONOPOLE = math.sqrt(4 * math.pi)  # of a map of ones


@pytest.fixture
def nothing_kept():
    """Begin as a new process does, and leave nothing behind."""
    forget()
    yield
    forget()


class ToReal(nn.Module):
    def forward(self, alms):
        return sht.to_real(alms, lmax=1)


def test_an_export_leaves_no_empty_tables_behind(nothing_kept):
    torch.export.export(ToReal(), (torch.ones(3, dtype=torch.complex64),))
    found = sht.to_real(torch.ones(3, dtype=torch.complex64), lmax=1)
    assert torch.allclose(found, torch.tensor([1.0, 0.0, 1.0, 2**0.5]))
    back = sht.to_complex(torch.ones(4))
    assert type(back) is torch.Tensor
    assert torch.allclose(back, torch.tensor([1.0, 1.0, 0.5**0.5 * (1 - 1j)]))


def test_an_inference_leaves_tables_that_take_gradients(nothing_kept):
    with torch.inference_mode():
        healpix.reorder(torch.ones(12), source="ring", target="nested")
    maps = torch.arange(12.0, requires_grad=True)
    healpix.reorder(maps, source="ring", target="nested").square().sum().backward()
    assert torch.equal(maps.grad, 2 * maps.detach())


def test_weights_that_are_handed_out_may_be_changed():
    w = sht.ring_weights(4)
    w *= 2
    assert float(sht.map2alm(ONES, **SIZES)[0].real) == pytest.approx(MONOPOLE, abs=1e-5)


def test_a_spectrum_of_big_endian_numbers():
    found = check_spectra({"TT": np.ones(3, ">f8")}, lmax=2)
    assert torch.equal(found["TT"], torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("kind", [">i2", ">i4", ">i8"])
def test_pixel_numbers_of_a_fits_column(kind):
    table = np.zeros(3, dtype=[("PIXEL", kind), ("T", ">f4")])
    table["PIXEL"] = [0, 5, 11]
    found = healpix.pixel_to_angle(table["PIXEL"], nside=1, order="ring")
    wanted = healpix.pixel_to_angle(torch.tensor([0, 5, 11]), nside=1, order="ring")
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


NUMBERS = np.arange(192.0)[::-1].copy()
ARRAYS = {
    "big-endian": NUMBERS.astype(">f4"),
    "negative strides": NUMBERS[::-1].copy()[::-1],
    "float16": NUMBERS.astype(np.float16),
    "list": NUMBERS.tolist(),
    "NumPy scalars": list(NUMBERS),
    "dimensionless": NUMBERS * units.dimensionless_unscaled,
    "nothing masked": np.ma.array(NUMBERS),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_maps_as_they_come(kind):
    wanted = sht.map2alm(torch.from_numpy(NUMBERS), **SIZES)
    found = sht.map2alm(ARRAYS[kind], **SIZES)
    assert torch.allclose(found.to(wanted), wanted, rtol=1e-5, atol=1e-4)


def test_read_only_maps_are_not_warned_of(recwarn):
    NUMBERS.flags.writeable = False
    sht.map2alm(NUMBERS, **SIZES)
    assert not recwarn.list


def test_maps_with_a_unit_are_refused_by_name():
    with pytest.raises(ValueError, match=r"maps has the unit K; pass \.to_value\('K'\)"):
        sht.map2alm(NUMBERS * units.K, **SIZES)


def test_a_conjugate_view_is_saved_with_its_sign(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"a": torch.tensor([1 + 2j]).conj()}, card={})
    found, _ = load_tensors(tmp_path / "a.safetensors")
    assert torch.equal(found["a"], torch.tensor([1 - 2j]))


def test_the_filter_with_a_mask_of_numpy():
    sky = WienerFilter(1, 1, order="ring")
    call = {"spectra": {"TT": torch.ones(2)}, "variance": 1.0}
    found = sky(torch.ones(12), mask=np.ones(12), **call).coefs
    assert torch.equal(found, sky(torch.ones(12), mask=torch.ones(12), **call).coefs)


def test_scores_and_pictures_of_arrays():
    a, b = np.random.default_rng(0).normal(size=(2, 30, 3))
    assert frechet_distance(a, b) == frechet_distance(torch.from_numpy(a), torch.from_numpy(b))
    assert accuracy(np.array([0, 1, 2]), np.array([0, 1, 1])) == pytest.approx(2 / 3)
    axes = Figure().add_subplot()
    shown = mollweide(axes, np.arange(12.0), order="ring").get_array()
    wanted = mollweide(axes, torch.arange(12.0), order="ring").get_array()
    assert np.ma.allequal(shown, wanted)


@pytest.mark.parametrize("backend", ["torch", None])
@pytest.mark.parametrize("method", ["quadrature", "lsq"])
def test_transforms_under_autocast_are_exact(backend, method):
    maps = torch.randn(192, generator=torch.Generator().manual_seed(0))
    wanted = sht.map2alm(maps, backend=backend, method=method, **SIZES)
    with torch.autocast("cpu", torch.bfloat16):
        found = sht.map2alm(maps, backend=backend, method=method, **SIZES)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_a_layer_from_the_meta_device_has_its_tables():
    layer = ZonalConv(1, 1, lmax=3, knots=2)
    empty = ZonalConv(1, 1, lmax=3, knots=2).to("meta").to_empty(device="cpu")
    empty.load_state_dict(layer.state_dict())
    coefs = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(empty(coefs), layer(coefs))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("backend", ["torch", None])
def test_transforms_of_functions_of_maps(backend):
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 192, generator=rng, dtype=torch.float64)
    step = torch.randn(3, 192, generator=rng, dtype=torch.float64)

    def power(one):
        return sht.map2alm(one, backend=backend, **SIZES).abs().square().sum()

    slopes = torch.func.vmap(torch.func.grad(power))(maps)
    for one, direction, slope in zip(maps, step, slopes, strict=True):
        change = (power(one + 1e-4 * direction) - power(one - 1e-4 * direction)) / 2e-4
        assert float((slope * direction).sum()) == pytest.approx(float(change), rel=1e-7)
        _, forward = torch.func.jvp(power, (one,), (direction,))
        assert float(forward) == pytest.approx(float(change), rel=1e-7)


def test_the_second_derivative_of_the_filter():
    maps = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sky = WienerFilter(1, 2, order="ring", dtype=torch.float64, tolerance=1e-10)
    mask = torch.arange(12) > 2

    def slope(amplitude, **options):
        a = torch.tensor(amplitude, dtype=torch.float64, requires_grad=True)
        spectra = {"TT": a * torch.ones(3, dtype=torch.float64)}
        loss = sky(maps, spectra, variance=0.3, mask=mask).coefs.square().sum()
        return a, torch.autograd.grad(loss, a, **options)[0]

    a, first = slope(1.3, create_graph=True)
    (second,) = torch.autograd.grad(first, a)
    change = (slope(1.3 + 1e-4)[1] - slope(1.3 - 1e-4)[1]) / 2e-4
    assert float(second) == pytest.approx(float(change), rel=1e-5)
    assert abs(float(change)) > 1e-3


def test_gradients_reach_the_spectra_of_drawn_maps():
    spectrum = torch.ones(4, dtype=torch.float64, requires_grad=True)
    rng = torch.Generator().manual_seed(0)
    maps = gaussian_maps({"TT": spectrum}, generator=rng, **SIZES)["T"]
    maps.square().sum().backward()
    # Twice the amplitude is four times the power: sum C dL/dC = L.
    assert torch.allclose(spectrum.grad.sum(), maps.detach().square().sum(), rtol=1e-12)
