"""Bins of multipoles against plain sums."""

import pytest
import torch
from complaints import complaint

from skytutor.fields.binning import Binning

CL = torch.randn(2, 3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_bands_are_weighted_means():
    weights = torch.arange(1.0, 20.0)
    bins = Binning([2, 5, 12], weights=weights)
    wanted = [
        (CL[..., a:b] * weights[a:b]).sum(-1) / weights[a:b].sum() for a, b in ((2, 5), (5, 12))
    ]
    torch.testing.assert_close(bins.bin(CL), torch.stack(wanted, -1), rtol=1e-12, atol=1e-14)
    l = torch.arange(20.0)
    centres = [
        float((l[a:b] * weights[a:b]).sum() / weights[a:b].sum()) for a, b in ((2, 5), (5, 12))
    ]
    assert bins.effective.tolist() == pytest.approx(centres, rel=1e-6)
    assert bins.lmax == 11 and bins.window.shape == (2, 12)
    assert torch.equal(bins.window > 0, Binning([2, 5, 12]).window > 0)


def test_plain_bands_and_back():
    bins = Binning([0, 1, 4, 6])
    torch.testing.assert_close(bins.bin(CL)[..., 1], CL[..., 1:4].mean(-1))
    back = bins.unbin(torch.tensor([3.0, 5.0, 7.0]))
    assert back.tolist() == [3, 5, 5, 5, 7, 7]
    assert bins.bin(back).tolist() == pytest.approx([3, 5, 7])
    cl = CL.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: bins.unbin(bins.bin(x)), (cl,))


def test_bins_of_one_width_take_what_is_left_over():
    assert Binning.uniform(5, lmax=11).edges == (2, 7, 12)
    assert Binning.uniform(5, lmax=15, first=0).edges == (0, 5, 10, 16)


@pytest.mark.parametrize(
    ("error", "call", "words"),
    [
        (ValueError, lambda: Binning([3]), ("edges", "two or more", "(3,)")),
        (ValueError, lambda: Binning([-1, 3]), ("edges", "from 0 on")),
        (ValueError, lambda: Binning([1, 3, 3]), ("edges must rise", "(1, 3, 3)")),
        (TypeError, lambda: Binning([1.5, 3]), ("edges", "integer")),
        (ValueError, lambda: Binning([1, 9], weights=torch.ones(8)), ("weights", "9", "(8,)")),
        (ValueError, lambda: Binning([0, 2], weights=-torch.ones(2)), ("weights", "negative")),
        (ValueError, lambda: Binning([0, 2, 4], weights=torch.tensor([1.0, 0, 0, 0])), ("l = 2",)),
        (ValueError, lambda: Binning([0, 9]).bin(torch.ones(8)), ("cl", "9", "(8,)")),
        (ValueError, lambda: Binning([0, 9]).unbin(torch.ones(2)), ("bands", "1", "(2,)")),
        (ValueError, lambda: Binning.uniform(9, lmax=9), ("lmax", "9")),
        (ValueError, lambda: Binning.uniform(0, lmax=9), ("width", "0")),
    ],
)
def test_bad_input(error, call, words):
    complaint(error, call, *words)
