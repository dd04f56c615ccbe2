"""Chapter 2's networks: what sees across base pixels and what does not, symmetry, losses in closed form, bad input."""

import math

import pytest
import torch

from skytutor.healpix import nested_to_face, neighbours
from skytutor.models.gan import (
    HaloDiscriminator,
    HaloGenerator,
    PublishedDiscriminator,
    PublishedGenerator,
    discriminator_loss,
    generator_loss,
    r1_penalty,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)



def sensitivity(draw, width, cells):
    """Which pixels of the map change when the features of base pixel 5 change, ``(P,)`` bool."""
    torch.manual_seed(1)
    features = torch.randn(1, width, *cells, dtype=torch.float32)
    other = features.clone()
    other[:, :, 5] += 1
    with torch.no_grad():
        return (draw(features) - draw(other)).abs()[0, 0] > 1e-7


def test_base_pixels_never_meet_in_the_published_generator():
    net = PublishedGenerator(latent=8, width=16).eval()

    def draw(x):
        for conv, norm in zip(net.convs, net.norms, strict=True):
            x = conv(torch.relu(norm(x)))
        return x

    changed = sensitivity(draw, 16, (12,))
    assert (nested_to_face(changed.nonzero()[:, 0], nside=16)[0] == 5).all() and changed.sum() > 50


def test_they_meet_in_ours():
    net = HaloGenerator(8, latent=8, width=4).eval()

    def draw(x):
        for up in net.ups:
            x = up(x)
        return net.last(torch.relu(net.norm(x))).flatten(2)

    changed = sensitivity(draw, net.start, (12, 2, 2)).view(12, 64).any(1)
    around = neighbours(torch.tensor([5]), nside=1, order="nested")[0]
    assert set(changed.nonzero()[:, 0].tolist()) >= {5, *around[around >= 0].tolist()}


@pytest.mark.parametrize("nside, classes", [(4, 0), (8, 10), (16, 0)])
def test_shapes_ranges_and_gradients(nside, classes):
    generator, judge = HaloGenerator(nside, latent=8, width=4, classes=classes), HaloDiscriminator(nside, width=4, classes=classes)
    labels = (torch.arange(3) % classes,) if classes else ()
    maps = generator(torch.randn(3, 8), *labels)
    assert maps.shape == (3, 1, 12 * nside**2) and 0 <= float(maps.detach().min()) and float(maps.detach().max()) <= 1
    judged = judge(maps, *labels)
    judged.sum().backward()
    assert judged.shape == (3,)
    for net in (generator, judge):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in net.parameters())


def test_our_judge_does_not_see_a_quarter_turn():
    judge = HaloDiscriminator(8, width=4).eval()
    maps = torch.rand(2, 1, 768)
    turned = maps.unflatten(2, (3, 4, 64)).roll(1, 3).flatten(2)  # each face takes its western neighbour's place
    with torch.no_grad():
        torch.testing.assert_close(judge(maps), judge(turned), atol=1e-5, rtol=1e-5)
        published = PublishedDiscriminator(nside=8).eval()
        assert (published(maps) - published(turned)).abs().min() > 1e-5


def test_the_judges_slope_is_bounded():
    """Spectral normalisation: no weight matrix stretches by more than about one."""
    judge = HaloDiscriminator(8, width=4)
    for _ in range(30):
        judge(torch.rand(2, 1, 768))
    for layer in [*judge.convs, judge.judge]:
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.05)


def test_losses_in_closed_form():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 1.0])
    assert float(discriminator_loss(real, fake)) == pytest.approx((0 + 1) / 2 + (0 + 2) / 2)
    assert float(generator_loss(fake)) == pytest.approx(1.0)
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    want = -(math.log(sigmoid(2)) + math.log(sigmoid(0))) / 2 - (math.log(1 - sigmoid(-3)) + math.log(1 - sigmoid(1))) / 2
    assert float(discriminator_loss(real, fake, kind="logistic")) == pytest.approx(want, rel=1e-6)
    assert float(generator_loss(fake, kind="logistic")) == pytest.approx(-(math.log(sigmoid(-3)) + math.log(sigmoid(1))) / 2, rel=1e-6)


def test_r1_is_the_slope():
    weight = torch.randn(48)
    maps = torch.rand(5, 1, 48).requires_grad_()
    found = r1_penalty((maps[:, 0] * weight).sum(1), maps)
    assert float(found) == pytest.approx(float(weight.square().sum() / 2), rel=1e-5)
    judge = HaloDiscriminator(4, width=4)
    maps = torch.rand(2, 1, 192).requires_grad_()
    r1_penalty(judge(maps), maps).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in judge.parameters())


BAD = {
    "latent": (lambda: PublishedGenerator(latent=4, width=16)(torch.zeros(2, 5)), r"z must be .*\(B, 4\).*\(2, 5\)"),
    "small nside": (lambda: HaloGenerator(2), "nside must be at least 4, got 2"),
    "nside": (lambda: HaloDiscriminator(12), "nside must be a power of two"),
    "published nside": (lambda: PublishedDiscriminator(nside=4), "nside must be at least 8"),
    "labels missing": (lambda: HaloGenerator(4, latent=4, width=4, classes=3)(torch.zeros(1, 4)), "labels must be given"),
    "labels too many": (lambda: HaloDiscriminator(4, width=4)(torch.zeros(1, 1, 192), torch.zeros(1).long()), "labels must not be given"),
    "pixels": (lambda: HaloDiscriminator(8, width=4)(torch.zeros(1, 1, 192)), "nside 8"),
    "NaN": (lambda: HaloDiscriminator(4, width=4)(torch.full((1, 1, 192), torch.nan)), "NaN"),
    "loss": (lambda: discriminator_loss(torch.zeros(1), torch.zeros(1), kind="mse"), "'hinge' or 'logistic', got 'mse'"),
    "gradient": (lambda: r1_penalty(torch.zeros(1), torch.zeros(1)), "maps must ask for a gradient"),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
