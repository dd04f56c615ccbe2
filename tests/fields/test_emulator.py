"""skytutor.fields.emulator: against CAMB itself, and parameters outside the table."""

import pytest
import torch

from skytutor.fields.camb import camb_spectra
from skytutor.fields.emulator import FIELDS, RS, TAUS, cmb_spectra


def test_the_emulator_goes_through_its_nodes_and_between_them():
    """One node and one point between, against CAMB itself."""
    for tau, r in ((TAUS[5], RS[1]), (0.0533, 0.0031)):
        wanted = camb_spectra(lmax=95, tau=tau, r=r)
        found = cmb_spectra(torch.tensor([tau]).double(), torch.tensor([r]).double(), lmax=95)
        for field in FIELDS:
            torch.testing.assert_close(found[field][0, 2:], wanted[field][2:], rtol=1e-4, atol=0)


def test_parameters_and_degrees_outside_the_table():
    for tau, r, says in ((0.2, 0.0, "tau"), (0.05, 0.5, "r must")):
        with pytest.raises(ValueError, match=says):
            cmb_spectra(torch.tensor([tau]), torch.tensor([r]), lmax=10)
    with pytest.raises(ValueError, match="lmax"):
        cmb_spectra(torch.tensor([0.05]), torch.tensor([0.0]), lmax=500)
