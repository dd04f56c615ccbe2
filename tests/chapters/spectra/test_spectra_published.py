"""skytutor.chapters.spectra.published: five networks, and a spike in evaluation."""

import math

import pytest
import torch

from skytutor.chapters.spectra.deconvolution_faults import add_stars, evaluation_losses
from skytutor.chapters.spectra.published import NAMES, PUBLISHED, build_published
from skytutor.layers.deconvolution import NetworkDeconvolution2d


def discs(n, size=32, *, seed=0):
    """Return pictures ``(n, 5, size, size)`` of tilted discs and their colour and size."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(n, 3, generator=generator)
    angle, ratio = torch.rand(2, n, 1, 1, generator=generator)
    axis = torch.arange(size) - (size - 1) / 2
    radius = 3 * torch.exp(0.3 * drawn[:, 0, None, None])
    along = axis * torch.cos(math.pi * angle) + axis[:, None] * torch.sin(math.pi * angle)
    across = axis[:, None] * torch.cos(math.pi * angle) - axis * torch.sin(math.pi * angle)
    profile = torch.exp(-torch.hypot(along, across / (0.4 + 0.6 * ratio)) / radius)
    bands = torch.exp(0.5 * drawn[:, 2:] + 0.4 * drawn[:, 1:2] * torch.linspace(-1, 1, 5))
    noise = 0.02 * torch.randn(n, 5, size, size, generator=generator)
    return bands[:, :, None, None] * profile[:, None] + noise, drawn[:, :2]


def test_the_published_figures_are_ordered_as_the_paper_says():
    after_10 = {name: PUBLISHED[name, 10].rmse for name in NAMES}
    assert sorted(after_10, key=after_10.get) == [
        "hybrid",
        "xresnet",
        "alldeconv",
        "deconv",
        "simple",
    ]
    assert PUBLISHED["hybrid", 50].rmse < PUBLISHED["xresnet", 50].rmse < after_10["hybrid"]
    assert all(figure.rmse < 1 and "2009.12318" in figure.source for figure in PUBLISHED.values())
    assert all((f.network, f.epochs) == key for key, f in PUBLISHED.items())
    with pytest.raises(TypeError):
        PUBLISHED["hybrid", 10] = None


@pytest.mark.parametrize("name", NAMES)
def test_each_network_answers_and_keeps_its_kind(name):
    net = build_published(name, width=0.25, n_outputs=9, average="inverse_root")
    x, _ = discs(8, 64)
    assert net(x).shape == (8, 9)
    net.eval()
    assert torch.equal(net(x), net.head(net.features(x)))
    whitening = [m for m in net.modules() if isinstance(m, NetworkDeconvolution2d)]
    assert len(whitening) == {"deconv": 4, "alldeconv": 22, "hybrid": 3}.get(name, 0)
    assert all(layer.average == "inverse_root" for layer in whitening)
    assert all(layer.bias is not None for layer in whitening)


def test_the_published_average_spikes_in_evaluation_and_covariances_do_not():
    images, targets = discs(800)
    generator = torch.Generator().manual_seed(1)
    images = add_stars(images, fraction=0.03, flux=1400.0, generator=generator)
    images = images / images.std((0, 2, 3), keepdim=True)
    losses = evaluation_losses(images, targets, epochs=2, batch_size=32)
    fixed = losses["covariance"]
    published = losses["inverse_root"]
    # one training, twice: the averages are for evaluation alone
    assert torch.equal(fixed.training, published.training)
    assert fixed.training[1] < fixed.training[0] < 1.3
    assert (fixed.ratio <= 1.5).all()
    assert (published.ratio >= 3).all()


def test_stars_have_their_flux_and_their_number():
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(400, 2, 64, 64)
    starry = add_stars(images, fraction=0.25, flux=7.0, generator=generator)
    flux = starry.sum((2, 3))
    assert torch.equal(flux[:, 0], flux[:, 1])
    has_star = flux[:, 0] > 0
    assert abs(float(has_star.float().mean()) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)
    # most stand inside the frame, the rest is cut by its border
    assert float(flux[has_star, 0].median()) == pytest.approx(7.0, rel=1e-3)
    assert float(flux.max()) < 7.01
    assert not images.any()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="name must be one of 'simple', 'deconv', 'xresnet'"):
        build_published("resnet")
    with pytest.raises(ValueError, match="width must be finite and positive, got -1"):
        build_published("simple", width=-1)
    images, targets = discs(40)
    with pytest.raises(ValueError, match="got 40 and 39"):
        evaluation_losses(images, targets[1:], batch_size=8)
    with pytest.raises(ValueError, match=r"one batch of 64 .* 32 for training"):
        evaluation_losses(images, targets, batch_size=64)
    with pytest.raises(ValueError, match=r"fraction must lie in 0\.\.1, got 2"):
        add_stars(images, fraction=2, flux=1.0, generator=torch.Generator())
