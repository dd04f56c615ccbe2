"""Chapter 3's networks: sizes, the running norm, calibration."""

import pytest
import torch

from skytutor.chapters.cmb.networks import Estimator, RunningNorm
from skytutor.chapters.cmb.published import PublishedPixelNet, PublishedSpectralCNN, _product


def test_the_published_networks_have_their_sizes():
    spectral = PublishedSpectralCNN(16, channels=1, outputs=1)
    assert sum(p.numel() for p in spectral.parameters()) == 6_454_529
    assert len(spectral.nearest.unique()) == 1736, "of 3,072 pixels"
    pixel = PublishedPixelNet(16, channels=3, outputs=2)
    assert [conv.nside for conv in pixel.convs] == [16, 8, 4, 2]
    assert pixel(torch.randn(2, 3, 3072)).shape == (2, 2)


def test_the_batched_product_is_the_published_sum():
    alms = torch.randn(3, 4, 5, 6, dtype=torch.complex64)
    weights = torch.randn(7, 4, 5, 6, dtype=torch.complex64)
    wanted = torch.einsum("bilm,oilm->bolm", alms, weights)
    torch.testing.assert_close(_product(alms, weights), wanted)


def test_running_norm_learns_mean_and_deviation_of_all_it_saw():
    layer = RunningNorm(3)
    x = torch.randn(4000, 3) * torch.tensor([1.0, 5.0, 0.1]) + 7
    for batch in x.split(100):
        layer(batch)
    out = layer.eval()(x)
    assert float(out.mean(0).abs().max()) < 0.05
    assert float((out.std(0) - 1).abs().max()) < 0.1


def test_calibration_makes_two_thirds_two_thirds():
    model = Estimator(6, outputs=1).eval()
    summaries = torch.randn(5000, 6)
    true = 3 * torch.randn(5000, 1)
    model.calibrate(model(summaries, precomputed=True), true)
    found = model(summaries, precomputed=True)
    inside = ((found[..., 0] - true).abs() <= found[..., 1].exp()).double().mean()
    assert float(inside) == pytest.approx(0.6827, abs=0.01)
