"""skytutor.models.cmb and its recipes: the published sizes, what each front knows, scores, calibration, bad input."""

import math
from dataclasses import replace

import healpy as hp
import pytest
import torch

from skytutor import limits, recipes
from skytutor.covariance import PixelCovariance
from skytutor.data.cmb import Skies, peaked_spectrum
from skytutor.models.cmb import BandPowers, Estimator, LikelihoodBank, Standardise
from skytutor.models.cmb_published import PublishedPixelNet, PublishedSpectralCNN, _product
from skytutor.recipes import cmb
from skytutor.sht import alm2map, map2alm
from skytutor.spectra import alm2cl
from skytutor.train import train

CMB = [recipe.name for recipe in cmb.CMB]
KINDS = {
    "cmb-t1-noise0": [Skies("T1")],
    "cmb-t2-sky100": [Skies("T2")],
    "cmb-t2-sky5": [Skies("T2", f_sky=0.05)],
    "cmb-t3": [Skies("T3")],
    "cmb-t4-nside16": [Skies("T4"), Skies("T4", noise=limits.noise_per_pixel(6.0, 16))],
}


def test_the_published_networks_have_their_sizes():
    spectral = PublishedSpectralCNN(16, channels=1, outputs=1)
    assert sum(p.numel() for p in spectral.parameters()) == 6_454_529
    assert len(spectral.nearest.unique()) == 1736, "of 3,072 pixels"
    pixel = PublishedPixelNet(16, channels=3, outputs=2)
    assert [conv.nside for conv in pixel.convs] == [16, 8, 4, 2] and pixel(
        torch.randn(2, 3, 3072)
    ).shape == (2, 2)


def test_the_batched_product_is_the_published_sum():
    alms = torch.randn(3, 4, 5, 6, dtype=torch.complex64)
    weights = torch.randn(7, 4, 5, 6, dtype=torch.complex64)
    wanted = torch.einsum("bilm,oilm->bolm", alms, weights)
    torch.testing.assert_close(_product(alms, weights), wanted)


@pytest.mark.parametrize("spin", [0, 2])
def test_band_powers_are_those_of_least_squares_and_do_not_see_a_rotation(spin):
    nside = 8
    lmax = 23
    sky = Skies("T2" if spin else "T1", nside=nside)
    maps = sky.sample(2, seed=0)[1]
    read = BandPowers(nside, lmax, spin=spin)
    alms = map2alm(maps.double(), nside=nside, lmax=lmax, spin=spin, method="lsq")
    wanted = alm2cl(alms, lmax=lmax)[..., spin:].log().flatten(1)
    torch.testing.assert_close(read(maps).double(), wanted, rtol=0, atol=1e-3)
    if not spin:
        turned = alms.numpy().copy()
        for row in turned:
            hp.rotate_alm(row, 0.4, 1.1, -2.3)
        again = alm2map(torch.from_numpy(turned), nside=nside, lmax=lmax).float()
        torch.testing.assert_close(read(again), read(maps), rtol=0, atol=1e-3)


def test_the_bank_holds_exact_likelihoods():
    sky = Skies("T2", nside=4, f_sky=0.5)
    cov = PixelCovariance(4, 11, spin=2, mask=sky.mask, variance=1e-4)
    peaks = peaked_spectrum(torch.tensor([6.0, 9.0]), lmax=11)
    powers = torch.stack([torch.stack([a, b]) for a in peaks for b in peaks])
    maps = sky.sample(3, seed=1)[1]
    found = 10 * torch.sinh(LikelihoodBank(cov, powers)(maps).double())
    logs = torch.stack([cov.log_likelihood(maps, {"EE": p[0], "BB": p[1]}) for p in powers], 1)
    torch.testing.assert_close(found, logs - logs.amax(1, keepdim=True), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("study", ["T1", "T3", "T4"])
def test_every_study_has_a_bank_for_part_of_its_sky(study):
    sky = Skies(study, nside=4, noise=0.1, f_sky=0.5)
    true, read = cmb.readings(sky, 20, seed=3)
    assert read.shape == (20, 6 ** len(sky.names)) and bool(torch.isfinite(read).all())


def test_standardise_learns_mean_and_spread_of_all_it_saw():
    layer = Standardise(3)
    x = torch.randn(4000, 3) * torch.tensor([1.0, 5.0, 0.1]) + 7
    for part in x.split(100):
        layer(part)
    out = layer.eval()(x)
    assert float(out.mean(0).abs().max()) < 0.05 and float((out.std(0) - 1).abs().max()) < 0.1


def test_calibration_makes_two_thirds_two_thirds():
    model = Estimator(6, outputs=1).eval()
    read = torch.randn(5000, 6)
    true = 3 * torch.randn(5000, 1)
    model.calibrate(model(read, ready=True), true)
    found = model(read, ready=True)
    inside = ((found[..., 0] - true).abs() <= found[..., 1].exp()).double().mean()
    assert float(inside) == pytest.approx(0.6827, abs=0.01)


def test_a_short_training_comes_near_the_limit(tmp_path):
    """Test 1, noise 5, four thousand skies: half of the way from the constant to the limit is far behind it."""
    recipe = recipes.get("cmb-t1-noise5")
    model = recipes.network(recipe)
    task = cmb.CmbTask([Skies("T1", noise=5.0)], size=4000, held=400)
    schedule = replace(recipe.schedules["cpu"], epochs=10)
    result = train(model, task, schedule=schedule, folder=tmp_path, progress=False)
    model.load_state_dict(result.best)
    scores = recipe.score(model.eval(), 3, 500)["scores"]
    assert 1.8 < scores["error_percent"] < 6 and 0.55 < scores["coverage68"] < 0.8


@pytest.mark.parametrize("name", KINDS)
def test_task_and_network_fit(name):
    """One step: a finite loss, and a gradient everywhere; in evaluation mode maps and readings give the same answer."""
    recipe = recipes.get(name)
    kinds = KINDS[name]
    task = cmb.CmbTask(kinds, size=40, held=20)
    model = recipes.network(recipe)
    loss = task.loss(
        model.train(), task.batch(torch.arange(20), task.draw(20, generator=torch.Generator()))
    )
    loss.backward()
    assert math.isfinite(loss.detach()) and all(
        p.grad is not None and p.grad.isfinite().all() for p in model.parameters()
    )
    maps = kinds[0].sample(3, seed=1)[1]
    model.eval()
    torch.testing.assert_close(model(maps), model(cmb.front(kinds[0])(maps), ready=True))


def test_fresh_skies_give_the_same_kind_of_batches():
    sky = Skies("T1", nside=4)
    task = cmb.CmbTask([sky], size=64, held=40, fresh=True)
    draws = task.draw(8, generator=torch.Generator().manual_seed(0))
    read, target = task.batch(torch.arange(8), draws)
    assert read.shape == (8, 12) and target.shape == (8, 1) and float(target.abs().max()) <= 1
    assert not torch.equal(
        read,
        task.batch(torch.arange(8), task.draw(8, generator=torch.Generator().manual_seed(1)))[0],
    )


@pytest.mark.parametrize("name", CMB)
def test_what_is_shipped_meets_the_bar(name):
    """On the card: scored once, on skies that training never saw. Errors near the limit, and none below it by 3 errors."""
    card = recipes.card(recipes.get(name))
    scores = card["test"]["scores"]
    assert 0.65 <= scores["coverage68"] <= 0.71
    if "t4" in name:
        assert abs(scores["slope_r"] - 1) <= 0.1
        assert (
            0.9 < scores["rmse_over_fisher_r"] <= 1.3
            and 0.9 < scores["rmse_over_fisher_tau"] <= 1.3
        )
        return
    bars = {
        "cmb-t1-noise0": 0.60,
        "cmb-t1-noise5": 2.55,
        "cmb-t1-noise10": 4.6,
        "cmb-t1-noise15": 7.4,
        "cmb-t2-sky100": 0.60,
        "cmb-t2-sky50": 0.95,
        "cmb-t2-sky20": 1.5,
        "cmb-t2-sky10": 2.1,
        "cmb-t2-sky5": 2.9,
        "cmb-t3": 3.45,
    }
    known = limits.known()[name]
    for k, key in enumerate(card["test"]["limit"]):
        assert scores[key] <= bars[name]
        error = math.hypot(scores["standard_error"][k], known["standard_error"][k])
        assert scores[key] > known["error_percent"][k] - 3 * error


def test_evaluating_again_gives_the_card_within_errors():
    recipe = recipes.get("cmb-t3")
    scores = recipes.evaluate(recipe, seed=21, size=400)["scores"]
    told = recipes.card(recipe)["test"]["scores"]
    error = math.hypot(scores["standard_error"][0], told["standard_error"][0])
    assert abs(scores["error_percent"] - told["error_percent"]) < 4 * error


def test_bad_sizes():
    with pytest.raises(ValueError, match=r"size.*20..100000.*3"):
        recipes.evaluate(recipes.get("cmb-t3"), size=3)
