"""Arrays that no function can take, met by the search of fuzz_api.py: refused in its own words."""

import traceback
import warnings

import numpy as np
import pytest
import torch
from api_calls import functions, rows
from test_arrays_api import outcome, replaced

from skytutor.validate import check_axes
from skytutor.values import all_finite, extremes

FUNCTIONS = functions()
ROWS = rows()
FAR = torch.full((48,), -32768)

# The argument of the call in api_calls.py, what takes its place, and the words of the refusal.
REFUSED = {
    # shapes
    "data.galaxy_lines.line_fluxes": [
        (0, torch.ones(2, 5), "coefficients"),
        (1, torch.ones(2), "a_v"),
        ("scatter", torch.ones(2, 5), "scatter"),
    ],
    "data.galaxy_photometry.residual_factor": [
        (0, torch.ones(()), "residual"),
        (0, torch.ones(3, 0, 4), "residual"),
        (1, torch.ones(3, 5), "wavelength"),
    ],
    "data.patches.check_units": [("mask", torch.ones(3, 3), "mask")],
    "data.sdss_spectra.resample_to_observed": [
        ("edges", torch.ones(4, 0, 5), "edges"),
        ("rest_edges", torch.arange(1.0, 5.0), "rest_edges"),
    ],
    "data.spectral_grid.observed_bins": [(0, torch.ones(1, 5), "redshift")],
    "data.spectral_grid.rebin": [
        ("mask", torch.ones(3, 3), "mask"),
        ("new_edges", torch.arange(4.0).repeat(3, 1), "new_edges"),
    ],
    "data.spectrograph.spectrograph_noise": [(1, torch.ones(0), "wavelength")],
    "layers.faces.from_faces": [(0, torch.ones(2, 3, 12, 3, 3), "faces")],
    "layers.faces.pad_halo": [(0, torch.ones(5, 2, 0), "faces")],
    "layers.partial.check_seen": [(1, torch.ones(1), "maps")],
    "metrics.calibration.sharpness": [(0, torch.ones(2, 2), "posterior")],
    "metrics.maps.seam_ratio": [(0, torch.ones(2, 50), "maps")],
    "metrics.spectra.power_spectra": [(0, torch.ones(2, 1, 4), "maps")],
    "metrics.spectra.relative_scatter": [(0, torch.ones(2, 5), "cl"), (0, torch.ones(1, 9), "cl")],
    "sht.packing.alm_index": [(1, torch.ones(5, dtype=torch.int64), "m")],
    # places that there are not
    "layers.faces.faces_from": [(1, FAR, "table"), (1, FAR + 32768 + 48, "table")],
    "layers.faces.maps_from": [
        (0, torch.ones(2, 1, 4), "faces"),
        (1, FAR, "table"),
        (1, torch.ones(5, 1, dtype=torch.int64), "table"),
    ],
    "layers.faces.pad_rows": [
        (0, torch.ones(5, 2, 1), "faces"),
        (1, torch.full((144,), 2**40), "source"),
        (2, torch.full((12, 12, 1), 12), "present"),
    ],
    "sht.fourier.ring_phases": [
        (2, torch.tensor([7]), "ring"),
        (2, torch.tensor([-1]), "ring"),
        (1, torch.ones(2, 2, dtype=torch.int64), "orders"),
    ],
    # values that leave nothing to compute with
    "data.cutouts.clipped_scatter": [(0, torch.full((3,), torch.nan), "values")],
    "data.cutouts.linear_counts": [(0, torch.tensor([1e30]), "values")],
    "data.exposures.noise_pixels": [(0, torch.zeros(3, 3), "psf")],
    "data.exposures.pixel_noise": [(1, torch.full((3, 3), torch.inf), "psf")],
    "data.spectral_grid.air_to_vacuum": [(0, torch.tensor([5000.0, torch.inf]), "wavelength")],
    "data.spectral_templates.photon_weights": [
        (1, torch.tensor(0.1), "redshifts"),
        (1, torch.tensor([torch.inf]), "redshifts"),
        (1, torch.tensor([-1.0]), "redshifts"),
        (2, torch.ones(1), "grid"),
        (2, torch.tensor([5000.0, 4000.0, 6000.0]), "grid"),
        (2, torch.tensor([5000.0, 1e30]), "grid"),
        (2, torch.full((3,), -torch.inf), "grid"),
    ],
    # complex numbers where there is an order, and where torch drops a part with a warning
    "data.galaxy_table.fit_templates": [(0, torch.ones(2) * 1j, "redshift")],
    "fields.realisations.constrained_realisation": [((1, "TT"), torch.ones(3) * 1j, "TT")],
    "fields.flat.band_powers": [("window", torch.ones(8, 8) * 1j, "window")],
    "training.checkpoint.load_into": [
        ((1, "weight"), torch.ones(2, 3) * 1j, "weight"),
    ],
    "values.extremes": [(0, torch.ones(2) * 1j, "tensor"), (0, torch.ones(2, 0), "tensor")],
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_by_name_in_words_of_the_library(name):
    for key, value, word in REFUSED[name]:
        key, inner = key if isinstance(key, tuple) else (key, None)
        result, error = outcome(FUNCTIONS[name], *replaced(*ROWS[name], key, inner, value))
        assert result is None, (word, value)
        assert isinstance(error, TypeError | ValueError), repr(error)
        assert word in str(error)
        assert "skytutor" in traceback.extract_tb(error.__traceback__)[-1].filename


def test_axes_of_one_name_have_one_length():
    pair = check_axes("B 3, B", colours=torch.zeros(5, 3), redshift=torch.zeros(5))
    assert [tensor.dim() for tensor in pair] == [2, 1]
    words = r"colours \(B, 3\) and redshift \(B,\).* got \(5, 3\) and \(4,\)"
    with pytest.raises(ValueError, match=words):
        check_axes("B 3, B", colours=torch.zeros(5, 3), redshift=torch.zeros(4))
    for bad in (torch.zeros(5, 4), torch.zeros(3), torch.zeros(5, 3, 1)):
        with pytest.raises(ValueError, match="colours"):
            check_axes("B 3", colours=bad)
    with pytest.raises(ValueError, match="faces"):
        check_axes("n n", faces=torch.zeros(2, 3))


def test_nothing_is_finite_and_has_no_ends():
    assert all_finite(torch.ones(0, 3))
    assert extremes(torch.tensor([2.0, -1.0])) == (-1.0, 2.0)


def test_no_peak_in_no_image_and_in_a_constant_one():
    peaks = FUNCTIONS["metrics.sources.find_peaks"](torch.ones(0, 4, 4), least=0.5)
    assert not len(peaks.flux)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        peaks = FUNCTIONS["metrics.sources.find_peaks"](torch.ones(2, 7, 7), least=0.5)
    assert not len(peaks.flux)


def test_a_large_number_of_a_class_takes_no_memory():
    labels = torch.tensor([2**62, 3, 2**62, 0])
    assert FUNCTIONS["metrics.classification.constant_accuracy"](labels) == 0.5


def test_counts_of_float32_are_those_of_float64():
    header = {"BSOFTEN": 10.0, "BOFFSET": 1.0}
    counts = FUNCTIONS["data.cutouts.linear_counts"](np.array([200.0, np.nan], "f4"), header)
    # 1 + 10 exp(200 ln 10 / 2.5): beyond float32.
    assert counts[0] == pytest.approx(1e81, rel=1e-9)
    assert np.isnan(counts[1])


def test_a_quantity_without_scatter_has_the_same_calibration_in_both_precisions():
    posterior = torch.randn(6, 40, 2, generator=torch.Generator().manual_seed(0))
    references = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(1))
    curves = [
        FUNCTIONS["metrics.calibration.tarp"](
            posterior.to(dtype),
            torch.zeros(6, 2, dtype=dtype),
            references=references.to(dtype),
            generator=torch.Generator().manual_seed(2),
        ).coverage
        for dtype in (torch.float32, torch.float64)
    ]
    assert torch.equal(*curves)
    # Without a unit of scatter, distances are as they come.
    away = (posterior - references[:, :, None]).norm(dim=-1)
    ranks = (away < references.norm(dim=-1)[..., None]).sum(-1)
    below = 1 - ((ranks + 0.5) / 41).mean()
    assert float(torch.trapezoid(curves[0], dx=0.01)) == pytest.approx(float(below), abs=1e-3)
