"""A masked array as maps: what it hides is hidden, in every function that takes a mask beside them.

``numpy.ma`` marks hidden values with True, the package seen ones. Each call is compared with one
that says the same with a mask of its own.
"""

import functools
import inspect

import numpy as np
import pytest
import torch
from api_calls import HIDDEN_BY, rand, randn, rng, seen
from astropy.utils.masked import Masked
from test_arrays_api import FUNCTIONS, ROWS, alike, invoke

from skytutor import io, sht
from skytutor.arrays import split_masked
from skytutor.fields.covariance import PixelCovariance
from skytutor.fields.flat import laplacian
from skytutor.fields.gnomonic import PatchCovariance
from skytutor.fields.holes import DenseHole, seen_only
from skytutor.fields.wiener import WienerFilter

MASKS = ("mask", "weights", "other_mask")
RING = {"nside": 1, "order": "ring"}
# Functions with a mask and no values that it would hide.
MASK_ALONE = {
    "arrays.split_masked": "tried below",
    "data.masks.check_hidden": "the mask is what is checked",
    "fields.fills.block_preconditioner": "a precision",
    "fields.fills.covariance_preconditioner": "a covariance",
    "fields.fills.hole_labels": "the mask alone",
    "fields.holes.check_hard_mask": "the mask alone",
    "fields.pseudo.mean_product": "two masks",
    "fields.spectra.check_mask": "the mask alone",
    "healpix.checks.check_weights": "weights, for maps whose shape alone counts",
    "layers.partial.check_seen": "a mask, for maps whose shape alone counts",
    "validate.hard_mask": "the mask alone",
    "widgets.sphere.view": "masked values are holes of the picture",
}


def written(path="", **arguments):
    """Write a map and return what stands in the file."""
    io.write_map(path, **arguments)
    return io.read_map(path, field=None).values


@pytest.fixture
def call(request, tmp_path):
    """Return the function of a test and the arguments of a call of it, by name."""
    name = request.node.callspec.params["name"]
    if name == "io.writing.write_map":
        path = str(tmp_path / "map.fits")
        maps = {"path": path, "maps": randn(2, 12), "mask": seen(), "overwrite": True}
        return written, {**maps, **RING}
    function = FUNCTIONS[name]
    args, arguments = ROWS[name]
    bound = inspect.signature(function).bind(*args, **arguments).arguments
    if name == "sht.functions.map2alm":
        bound |= {"method": "lsq", "lmax": 1, "mask": seen(48)}
    if name == "sht.inverse.least_squares":
        sky = sht.Harmonics(2, 1, order="ring", dtype=torch.float64, backend="torch")
        bound |= {"sky": sky, "mask": seen(48), "tolerance": 1e-10}
    if name == "data.spectral_grid.rebin":
        bound["mask"] = torch.arange(bound["flux"].shape[-1]) != 0
    return function, bound


def hidden_in(values, mask):
    """Return what a masked array hides: one more pixel that the mask shows, in every map."""
    axes = min(mask.ndim, values.ndim)
    shown = np.argwhere(np.broadcast_to(mask, values.shape).astype(bool).reshape(values.shape))
    hidden = np.zeros(values.shape, bool)
    hidden[(..., *shown[len(shown) // 2][-axes:])] = True
    return hidden


def as_given(mask):
    return mask.numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)


CASES = [(name, *pair) for name, pairs in HIDDEN_BY.items() for pair in pairs]


@pytest.mark.filterwarnings("ignore:maps have")
@pytest.mark.parametrize("masked", [np.ma.array, Masked], ids=["numpy", "astropy"])
@pytest.mark.parametrize(("name", "values", "mask"), CASES)
def test_what_a_masked_array_hides_is_hidden(call, name, values, mask, masked):
    function, arguments = call
    numbers = arguments[values].numpy()
    given = as_given(arguments[mask])
    hidden = hidden_in(numbers, given)
    # What stands behind the mask of an array is anything.
    wrong = np.where(hidden, 77.0, numbers)
    both = torch.from_numpy(given * ~hidden[(0,) * (hidden.ndim - given.ndim)])
    alone = torch.from_numpy(~hidden[(0,) * (hidden.ndim - given.ndim)])
    empty = np.where(hidden, np.nan, numbers)

    def result(values_given, mask_given):
        return invoke(function, (), {**arguments, values: values_given, mask: mask_given})

    found = result(masked(wrong, mask=hidden), arguments[mask])
    assert alike(found, result(empty, both), 1e-12)
    assert not alike(found, result(numbers, arguments[mask]), 1e-12), "the call sees no mask"
    if inspect.signature(FUNCTIONS[name]).parameters[mask].default is None:
        assert alike(result(masked(wrong, mask=hidden), None), result(empty, alone), 1e-12)


@pytest.mark.parametrize("masked", [np.ma.array, Masked], ids=["numpy", "astropy"])
def test_the_filter_takes_a_masked_array(masked):
    numbers = randn(2, 12).numpy()
    hidden = np.zeros((2, 12), bool)
    hidden[:, 7] = True
    sky = WienerFilter(1, 2, order="ring", dtype=torch.float64)
    more = {"spectra": {"TT": rand(3)}, "variance": 0.5}
    found = sky(masked(np.where(hidden, 1e6, numbers), mask=hidden), mask=seen(), **more).coefs
    both = seen()
    both[7] = 0
    assert torch.equal(found, sky(torch.from_numpy(numbers), mask=both, **more).coefs)


def holes():
    """Yield what is made for one mask, as data shape, mask, and a function of the data."""
    mask = torch.ones(8, 8)
    mask[2:5, 3:6] = 0
    dense = DenseHole(laplacian(8) + 0.1, mask)
    sky = PatchCovariance(8, pixel_arcmin=7.0, cl=torch.ones(2000), noise=0.1)
    fills = {
        "DenseHole.fill": dense.fill,
        "DenseHole.realisation": lambda data: dense.realisation(data, generator=rng()),
        "GnomonicHole.fill": sky.hole(mask).fill,
        "seen_only": lambda data: seen_only(data, mask),
    }
    for name, function in fills.items():
        yield pytest.param(randn(2, 8, 8).numpy(), mask.numpy(), function, id=name)
    cut = torch.arange(12) < 9
    flat = {"TT": torch.ones(2)}
    covariance = PixelCovariance(1, 1, mask=cut, variance=0.1)
    likely = functools.partial(covariance.log_likelihood, spectra=flat)
    yield pytest.param(randn(2, 12).numpy(), cut.numpy(), likely, id="PixelCovariance")


@pytest.mark.parametrize("masked", [np.ma.array, Masked], ids=["numpy", "astropy"])
@pytest.mark.parametrize(("data", "mask", "function"), list(holes()))
def test_what_was_made_for_a_mask_takes_what_it_hides_and_no_more(data, mask, function, masked):
    hidden = np.broadcast_to(mask == 0, data.shape)
    wanted = function(torch.from_numpy(np.where(hidden, np.nan, data)))
    found = function(masked(np.where(hidden, 1e6, data), mask=hidden))
    assert torch.equal(found, wanted) and bool(found.isfinite().all())
    # One more would count as seen, whatever stands there.
    more = hidden.copy()
    more[1].flat[0] = True
    with pytest.raises(ValueError, match=r"is masked in 1 values that mask shows; hide them in"):
        function(masked(data, mask=more))


def test_every_function_with_a_mask_is_tried():
    taking = {
        name
        for name, function in FUNCTIONS.items()
        if set(MASKS) & set(inspect.signature(function).parameters)
    }
    assert taking == HIDDEN_BY.keys() | MASK_ALONE.keys()


def test_maps_that_hide_different_pixels_have_no_one_mask():
    maps = np.ma.array(np.zeros((2, 12)), mask=np.eye(2, 12, dtype=bool))
    with pytest.raises(ValueError, match=r"maps must hide the same values in every map, for one"):
        split_masked("maps", maps, torch.ones(12), axes=1)
    assert torch.equal(split_masked("maps", maps, None)[1], torch.from_numpy(~maps.mask))


def test_elsewhere_the_refusal_says_what_to_pass():
    maps = np.ma.array(np.ones(12), mask=np.arange(12) == 3)
    with pytest.raises(ValueError, match=r"maps is masked in 1 of 12 values; pass \.filled\(nan\)"):
        sht.map2alm(maps, lmax=1, **RING)
    with pytest.raises(ValueError, match=r"mask is masked in 1 of 12 values; .*~numpy\.ma\."):
        sht.map2alm(maps, lmax=1, method="lsq", mask=maps > 0, **RING)


def test_a_unit_is_not_lost_on_the_way():
    from astropy import units

    maps = Masked(np.ones(12), mask=np.arange(12) == 3) * units.K
    with pytest.raises(ValueError, match="maps has the unit K"):
        split_masked("maps", maps, None)
