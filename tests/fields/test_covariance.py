"""skytutor.fields.covariance: against a dense matrix of harmonics one by one, and chance."""

import math

import pytest
import torch

from skytutor.data.cmb import cap_mask
from skytutor.fields.covariance import PixelCovariance
from skytutor.fields.spectra import gaussian_maps
from skytutor.healpix import reorder
from skytutor.sht import RealHarmonics, real_degrees

each_spin = pytest.mark.parametrize("spin", [0, 2])
NSIDE = 4
LMAX = 11
VARIANCE = 0.03
# the second is not the same after a quarter turn
CAP = torch.arange(192) < 72
RAGGED = torch.arange(192) < 80


def model(spin):
    l = torch.arange(LMAX + 1).double()
    return {"EE": 1 / (l + 1), "BB": 0.3 / (l + 2)} if spin else {"TT": 1 / (l + 1)}


def dense(spin, mask):
    """Rows of every coefficient on the seen pixels, and their powers."""
    harmonics = RealHarmonics(
        NSIDE, LMAX, spin=spin, dtype=torch.float64, max_bytes=2**30, order="ring"
    )
    eye = torch.eye((LMAX + 1) ** 2).double()
    l = real_degrees(LMAX)[0]
    if not spin:
        return harmonics.synthesis(eye)[..., mask], model(0)["TT"][l]
    none = torch.zeros_like(eye)
    pairs = (torch.stack([eye, none], 1), torch.stack([none, eye], 1))
    rows = torch.cat([harmonics.synthesis(pair)[..., mask].flatten(1) for pair in pairs])
    return rows, torch.cat([model(2)[f][l] * (l >= 2) for f in ("EE", "BB")])


@each_spin
@pytest.mark.parametrize(
    ("mask", "n_blocks"), [(CAP, 3), (RAGGED, 1)], ids=["quarter turns", "no symmetry"]
)
def test_likelihood_filter_and_fisher_are_those_of_the_dense_matrix(spin, mask, n_blocks):
    covariance = PixelCovariance(NSIDE, LMAX, spin=spin, mask=mask, variance=VARIANCE)
    assert len(covariance.blocks) == n_blocks
    rows, power = dense(spin, mask)
    matrix = (rows.T * power) @ rows + VARIANCE * torch.eye(rows.shape[1]).double()
    maps = torch.randn(5, *((2,) if spin else ()), 192, dtype=torch.float64)
    seen = maps[..., mask].flatten(1)
    solved = torch.linalg.solve(matrix, seen.T).T
    wanted = -((seen * solved).sum(1) + torch.logdet(matrix)) / 2
    found = covariance.log_likelihood(maps, model(spin))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-9)
    factors = covariance.factors(covariance.powers(model(spin)))
    found = covariance.quadratic_estimates(covariance.split(maps), factors)
    l = real_degrees(LMAX)[0]
    squares = (solved @ rows.T).square().unflatten(1, (-1, (LMAX + 1) ** 2))
    squares = squares * (l >= spin)
    estimates = torch.zeros_like(found).index_add_(2, l, squares)
    torch.testing.assert_close(found, estimates, rtol=1e-9, atol=1e-9 * float(estimates.max()))
    slopes = torch.rand(2, len(found[0]), LMAX + 1, dtype=torch.float64)
    each = []
    for slope in slopes:
        weight = (slope[:, l] * (l >= spin)).flatten()
        each.append(torch.linalg.solve(matrix, (rows.T * weight) @ rows))
    fisher = torch.zeros(2, 2, dtype=torch.float64)
    for i in range(2):
        for j in range(2):
            fisher[i, j] = (each[i] @ each[j]).diagonal().sum() / 2
    torch.testing.assert_close(covariance.fisher(model(spin), slopes), fisher, rtol=1e-9, atol=0)


def test_chi_square_of_drawn_maps_is_the_number_of_pixels():
    """Of draws of its own covariance, 2 (log L(0) - log L) is chi-square.

    It has one degree of freedom for each value in a pixel.
    """
    mask = cap_mask(8, 0.3)
    l = torch.arange(24).double()
    spectra = {"EE": 1 / (l + 1) ** 2, "BB": 0.2 / (l + 1)}
    maps = gaussian_maps(
        spectra,
        nside=8,
        lmax=23,
        size=(400,),
        generator=torch.Generator().manual_seed(0),
        order="ring",
    )["QU"]
    covariance = PixelCovariance(8, 23, spin=2, mask=mask)
    factors = covariance.factors(covariance.powers(spectra))
    data_blocks = covariance.split(maps)
    zero = covariance.block_log_likelihood([0 * data for data in data_blocks], factors)
    chi2 = 2 * (zero - covariance.block_log_likelihood(data_blocks, factors))
    n = 2 * int(mask.sum())
    assert abs(float(chi2.mean()) - n) < 4 * math.sqrt(2 * n / 400)
    assert float(chi2.var()) == pytest.approx(2 * n, rel=0.3)


def test_pixels_behind_the_mask_do_not_count():
    covariance = PixelCovariance(NSIDE, LMAX, mask=CAP, variance=1.0)
    maps = torch.randn(2, 192, dtype=torch.float64)
    other = torch.where(CAP, maps, torch.nan)
    found = covariance.log_likelihood(maps, model(0))
    assert torch.equal(found, covariance.log_likelihood(other, model(0)))


def test_bad_input():
    good = {"spin": 2, "mask": CAP, "variance": 0.1}
    for change, says in (
        ({"variance": -1.0}, "variance"),
        ({"variance": math.nan}, "variance"),
        ({"spin": 1}, "spin"),
        ({"mask": ~CAP & CAP}, "mask"),
        ({"mask": CAP[:10]}, "mask"),
    ):
        with pytest.raises(ValueError, match=says):
            PixelCovariance(NSIDE, LMAX, **{**good, **change})
    covariance = PixelCovariance(NSIDE, LMAX, **good)
    with pytest.raises(ValueError, match="EE, BB"):
        covariance.log_likelihood(torch.zeros(1, 2, 192), {"EE": torch.ones(12)})
    with pytest.raises(ValueError, match="maps, where seen, holds 144 NaN"):
        covariance.log_likelihood(torch.full((1, 2, 192), torch.nan), model(2))
    with pytest.raises(ValueError, match="negative"):
        covariance.log_likelihood(
            torch.zeros(1, 2, 192), {"EE": -torch.ones(12), "BB": torch.ones(12)}
        )
    with pytest.raises(ValueError, match="singular"):
        mask = reorder(CAP.float(), source="ring", target="ring") > 0
        few = PixelCovariance(NSIDE, 2, mask=mask)
        few.log_likelihood(torch.zeros(1, 192), {"TT": torch.ones(3)})
