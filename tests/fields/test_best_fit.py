"""The table of the best fit: CAMB's, read without CAMB."""

import subprocess
import sys

import pytest
import torch

from skytutor.fields.best_fit import BEST_FIT, LMAX, best_fit_spectra
from skytutor.fields.camb import camb_spectra


def test_the_table_is_cambs():
    found = best_fit_spectra()
    wanted = camb_spectra(lmax=LMAX, **BEST_FIT)
    for name in ("TT", "EE", "BB"):
        assert torch.allclose(found[name], wanted[name], rtol=1e-6, atol=0)
        assert bool((found[name][:2] == 0).all())


def test_it_takes_no_camb():
    script = (
        "import sys; sys.modules['camb'] = None\n"
        "from skytutor.data.patches import flat_sky\n"
        "from skytutor.chapters.inpainting.polarisation import polarisation_spectra\n"
        "print(float(flat_sky('B', 16).signal.sum()), float(polarisation_spectra()['EE'].sum()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(float(value) > 0 for value in done.stdout.split())


def test_a_caller_may_change_what_it_gets():
    best_fit_spectra(10)["TT"][:] = 7
    assert float(best_fit_spectra(10)["TT"][5]) != 7


def test_too_large_lmax():
    with pytest.raises(ValueError, match="lmax must be at most 4500, got 5000"):
        best_fit_spectra(5000)
