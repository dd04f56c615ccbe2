"""Chapter 2's networks: what crosses base pixels, symmetry, gradients, bad input."""

import pytest
import torch

from skytutor.chapters.gan.networks import (
    HaloDiscriminator,
    HaloGenerator,
    PlanarDiscriminator,
    PlanarGenerator,
)
from skytutor.chapters.gan.published import PublishedDiscriminator, PublishedGenerator
from skytutor.healpix import neighbours, nested_to_face
from skytutor.layers.hierarchy import to_children, to_parents
from skytutor.training.adversarial import NETWORKS, AdversarialPair


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def changed_pixels(network, width, cells):
    """Which pixels of the map change when the features of base pixel 5 change, ``(P,)`` bool."""
    torch.manual_seed(1)
    features = torch.randn(1, width, *cells, dtype=torch.float32)
    other = features.clone()
    other[:, :, 5] += 1
    with torch.no_grad():
        return (network(features) - network(other)).abs()[0, 0] > 1e-7


def test_base_pixels_never_meet_in_the_published_generator():
    net = PublishedGenerator(latent=8, width=16).eval()

    def from_base_pixels(x):
        for conv, norm in zip(net.convs, net.norms, strict=True):
            x = conv(torch.relu(norm(x)))
        return x

    changed = changed_pixels(from_base_pixels, 16, (12,))
    faces, *_ = nested_to_face(changed.nonzero()[:, 0], nside=16)
    assert (faces == 5).all() and changed.sum() > 50


def test_they_meet_in_ours():
    net = HaloGenerator(16, latent=8, widths=(8, 8, 8, 4)).eval()
    conditioning = torch.randn(1, 8)

    def from_base_pixels(x):
        for block in net.levels:
            x = block(x, conditioning, None)
        x = to_children(net.fine(torch.relu(net.norm(x, conditioning))))
        return net.last(torch.relu(x)).flatten(2)

    changed = changed_pixels(from_base_pixels, 8, (12, 2, 2)).view(12, 256).any(1)
    around = neighbours(torch.tensor([5]), nside=1, order="nested")[0]
    assert set(changed.nonzero()[:, 0].tolist()) >= {5, *around[around >= 0].tolist()}


def test_children_come_in_their_own_squares():
    """Four channels of a cell become its four children: their mean is that of the channels."""
    x = torch.randn(2, 8, 12, 4, 4)
    children = to_children(x)
    assert children.shape == (2, 2, 12, 8, 8) and torch.equal(to_parents(children), x)
    means = torch.nn.functional.avg_pool3d(children, (1, 2, 2))
    torch.testing.assert_close(means, x.unflatten(1, (2, 4)).mean(2))


SMALL = {"widths": (8, 8, 4), "latent": 8}


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("kind", ["hinge", "logistic"])
@pytest.mark.parametrize("place", ["sphere", "plane"])
def test_each_step_gives_gradients_to_one_network_alone(place, kind, classes):
    if place == "sphere":
        generator = HaloGenerator(8, classes=classes, **SMALL)
        discriminator = HaloDiscriminator(8, widths=(8, 8), classes=classes, group=4)
        maps = torch.rand(8, 1, 768)
    else:
        generator = PlanarGenerator(classes=classes, **SMALL)
        discriminator = PlanarDiscriminator(side=28, widths=(8, 8), classes=classes)
        maps = torch.rand(8, 1, 28, 28)
    pair = AdversarialPair(generator, discriminator, kind=kind, r1=0.1)
    labels = torch.arange(8) % 10 if classes else None
    for network in NETWORKS:
        pair.zero_grad()
        pair(network, maps, labels, torch.randn(8, 8), labels).backward()
        for name in NETWORKS:
            weights = [p for p in getattr(pair, name).parameters() if p.dim() > 1]
            has_gradient = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in weights]
            if name == network:
                assert all(has_gradient), (network, name)
            else:
                assert not any(has_gradient), (network, name)
    assert all(p.requires_grad for p in pair.parameters())


def n_weights(net):
    return sum(p.numel() for p in net.parameters())


def test_the_planar_networks_are_counterparts():
    """As many weights, but for the 49 cells of the first picture and 48 of the first map."""
    sphere = HaloGenerator(16, classes=10)
    plane = PlanarGenerator(classes=10)
    assert n_weights(plane) - n_weights(sphere) == 96 * (128 + 1)
    assert plane(torch.randn(2, 64), torch.tensor([1, 2])).shape == (2, 1, 56, 56)
    sphere = HaloDiscriminator(16, classes=10)
    plane = PlanarDiscriminator(classes=10)
    assert n_weights(plane) - n_weights(sphere) == 11 * 96 * (49 - 48)


def test_a_pooling_discriminator_is_invariant_under_a_quarter_turn():
    discriminator = HaloDiscriminator(8, widths=(4, 8), head="pool").eval()
    maps = torch.rand(2, 1, 768)
    # Each face takes its western neighbour's place: (B, 1, ring of faces, face, pixel).
    turned = maps.unflatten(2, (3, 4, 64)).roll(1, 3).flatten(2)
    flat = HaloDiscriminator(8, widths=(4, 8)).eval()
    published = PublishedDiscriminator(nside=8).eval()
    with torch.no_grad():
        output = discriminator(maps)
        torch.testing.assert_close(output, discriminator(turned), atol=1e-5, rtol=1e-5)
        for other in (flat, published):
            assert (other(maps) - other(turned)).abs().min() > 1e-5


def test_spectral_normalisation_bounds_every_weight_matrix():
    """No weight matrix stretches by more than about one."""
    discriminator = HaloDiscriminator(8, widths=(4, 8), spectral=True)
    for _ in range(30):
        discriminator(torch.rand(2, 1, 768))
    for layer in [*discriminator.steps[0], discriminator.judge]:
        norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(norm) == pytest.approx(1, abs=0.05)


def test_a_discriminator_of_groups_notices_copies():
    """The same map eight times gives another output than that map among seven others."""
    grouped = HaloDiscriminator(8, widths=(4, 8), group=8).eval()
    alone = HaloDiscriminator(8, widths=(4, 8)).eval()
    maps = torch.rand(8, 1, 768)
    copies = maps[:1].expand(8, -1, -1)
    with torch.no_grad():
        assert float((grouped(copies)[0] - grouped(maps)[0]).abs()) > 1e-4
        torch.testing.assert_close(alone(copies)[0], alone(maps)[0])


def test_noise_is_part_of_the_latent_and_acts_where_it_is_laid():
    net = HaloGenerator(8, noise=True, signed=True, **SMALL).eval()
    assert net.latent == 8 + 192 + 768
    z = torch.randn(1, net.latent)
    other = z.clone()
    other[0, -768] += 3  # the first pixel of face 0, at nside 8
    with torch.no_grad():
        moved = (net(z) - net(other)).abs()[0, 0] > 1e-7
    cells = moved.nonzero()[:, 0]
    assert 1 <= len(cells) <= 9 and float(net(z).detach().min()) < 0


def test_a_discriminator_with_batch_normalisation_never_sees_a_mixed_batch():
    """Its statistics would tell real from generated; the generator's step has no such batch."""
    generator = PublishedGenerator(latent=8, width=16)
    pair = AdversarialPair(generator, PublishedDiscriminator(), kind="logistic")
    real = torch.ones(4, 1, 3072)
    z = torch.randn(4, 8)
    inputs = []
    pair.discriminator.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    pair("discriminator", real, None, z, None)
    pair("generator", real, None, z, None)
    assert [len(maps) for maps in inputs] == [4, 4, 4]
    assert torch.equal(inputs[0], real)
    assert not torch.equal(inputs[1], real)
    assert torch.equal(inputs[1], inputs[2])
    halo = AdversarialPair(HaloGenerator(8, **SMALL), HaloDiscriminator(8, widths=(4, 8)))
    assert not halo.two_passes


BAD = {
    "latent": (
        lambda: PublishedGenerator(latent=4, width=16)(torch.zeros(2, 5)),
        r"z must be .*\(B, 4\).*\(2, 5\)",
    ),
    "latent of integers": (
        lambda: HaloGenerator(8, **SMALL)(torch.zeros(2, 8, dtype=torch.long)),
        "z must be a floating-point",
    ),
    "small nside": (lambda: HaloGenerator(2), "nside must be at least 4, got 2"),
    "nside": (lambda: HaloDiscriminator(12), "nside must be a power of two"),
    "generator's widths": (
        lambda: HaloGenerator(8, widths=(4, 4)),
        r"widths must be 3 for nside 8, got \(4, 4\)",
    ),
    "width of nothing": (
        lambda: HaloGenerator(8, widths=(4, 0, 4)),
        r"widths\[1\] must be a positive integer, got 0",
    ),
    "discriminator's widths": (
        lambda: HaloDiscriminator(8, widths=(4, 4, 4)),
        "widths must be two for each of 1 to 2 levels at nside 8",
    ),
    "head": (
        lambda: HaloDiscriminator(8, widths=(4, 8), head="mean"),
        "head must be one of 'flat', 'pool', got 'mean'",
    ),
    "published nside": (lambda: PublishedDiscriminator(nside=4), "nside must be at least 8"),
    "labels missing": (
        lambda: HaloGenerator(8, classes=3, **SMALL)(torch.zeros(1, 8)),
        "labels must be given",
    ),
    "labels too many": (
        lambda: HaloDiscriminator(8, widths=(4, 8))(torch.zeros(1, 1, 768), torch.zeros(1).long()),
        "labels must not be given",
    ),
    "unknown labels": (
        lambda: HaloGenerator(8, classes=3, **SMALL)(torch.zeros(1, 8), torch.tensor([3])),
        r"labels must be integers .* in 0..2, got .*\[3\]",
    ),
    "labels in floats": (
        lambda: HaloDiscriminator(8, widths=(4, 8), classes=3)(
            torch.zeros(1, 1, 768), torch.zeros(1)
        ),
        "labels must be integers",
    ),
    "latent of NaN": (
        lambda: HaloGenerator(8, **SMALL)(torch.full((1, 8), torch.nan)),
        "z must be finite, got 8 NaN",
    ),
    "no latent": (
        lambda: HaloGenerator(8, widths=(4, 4, 4), latent=0),
        "latent must be a positive integer, got 0",
    ),
    "group": (
        lambda: HaloDiscriminator(8, widths=(4, 8), group=-1),
        "group must be 0 or a number of maps, got -1",
    ),
    "side": (
        lambda: PlanarDiscriminator(side=50, widths=(8, 8)),
        "side must be divisible by 4 for 2 widths, got 50",
    ),
    "published width": (
        lambda: PublishedGenerator(width=12),
        "width must be divisible by 8, got 12",
    ),
    "pixels": (lambda: HaloDiscriminator(8, widths=(4, 8))(torch.zeros(1, 1, 192)), "nside 8"),
    "NaN": (lambda: HaloDiscriminator(8, widths=(4, 8))(torch.full((1, 1, 768), torch.nan)), "NaN"),
    "channels": (
        lambda: to_children(torch.zeros(1, 3, 12, 2, 2)),
        r"x must be \(B, 4 C, F, n, n\)",
    ),
    "odd widths on the plane": (
        lambda: PlanarDiscriminator(widths=(8, 8, 8)),
        "widths must be two for each level, got 3",
    ),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
