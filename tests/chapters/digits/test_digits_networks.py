"""Chapter 1's networks: the published one as it was, and one that sees across borders."""

import healpy as hp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from skytutor.chapters.digits.networks import HaloNet
from skytutor.chapters.digits.published import PublishedConv1d
from skytutor.layers.pixel import from_faces


def maps(nside=8, batch=3):
    return torch.randn(batch, 1, 12 * nside**2, generator=torch.Generator().manual_seed(0))


def turned(nside, quarters=1):
    """Where each NESTED pixel finds its value after a turn of 90 degrees about the poles."""
    theta, phi = hp.pix2ang(nside, np.arange(12 * nside**2), nest=True)
    return torch.from_numpy(hp.ang2pix(nside, theta, phi - quarters * np.pi / 2, nest=True))


def as_published(net, x):
    """Apply the same network made of torch's own layers.

    Convolutions 1-32-64 of kernel and stride 4, dense layers 3072-128-10.
    """
    x = F.relu(F.conv1d(x, net.conv1.weight, net.conv1.bias, stride=4))
    x = F.relu(F.conv1d(x, net.conv2.weight, net.conv2.bias, stride=4))
    x = F.relu(F.linear(x.flatten(1), net.fc1.weight, net.fc1.bias))
    return F.linear(x, net.fc2.weight, net.fc2.bias)


def test_the_published_network():
    net = PublishedConv1d().eval()
    assert sum(p.numel() for p in net.parameters()) == 403_050
    expected = as_published(net, maps())
    torch.testing.assert_close(net(maps()), expected.softmax(1))
    net.softmax = False
    torch.testing.assert_close(net(maps()), expected)


def test_the_published_fault_bounds_the_loss():
    """Cross-entropy of a softmax's output cannot fall below log(e + 9) - 1 = 1.46.

    The network may be as confident as it likes.
    """
    one_hot = torch.zeros(1, 10)
    one_hot[0, 3] = 1
    floor = F.cross_entropy(one_hot, torch.tensor([3]))
    assert floor == pytest.approx(np.log(np.e + 9) - 1, abs=1e-6) and floor > 1.46
    net = PublishedConv1d().eval()
    with torch.no_grad():
        out = net(maps() * 1e3)
    assert F.cross_entropy(out, out.argmax(1)) >= floor - 1e-6


def net_of(head, nside=8, **changes):
    torch.manual_seed(1)
    arguments = {"stem": 6, "widths": (6, 8), "depths": (1, 2), "head": head} | changes
    return HaloNet(nside, **arguments).eval()


def test_pool_head_does_not_see_a_quarter_turn_and_flat_does():
    with torch.no_grad():
        for head, alike in (("pool", True), ("flat", False)):
            net = net_of(head)
            difference = (net(maps()[..., turned(8)]) - net(maps())).abs().max()
            assert (difference < 1e-5) == alike, (head, difference)


def test_it_sees_across_the_borders_of_base_pixels():
    """A change in one pixel at a face's edge reaches the first level of the neighbouring face.

    It reaches no further than the pixel's neighbours.
    """
    net = net_of("flat")
    x = maps(batch=1)
    other = x.clone()
    # On the north-eastern edge of face 0: x = 7, y = 3.
    pixel = int(hp.xyf2pix(8, 7, 3, 0, nest=True))
    other[0, 0, pixel] += 1
    with torch.no_grad():
        change = (net.features(other)[0] - net.features(x)[0]).abs().sum(1, keepdim=True)
    touched = set(from_faces(change, order="nested")[0, 0].nonzero()[:, 0].tolist())
    around = {pixel, *hp.get_all_neighbours(8, pixel, nest=True).tolist()}
    assert touched <= around and len({p // 64 for p in touched}) == 2, "two faces"


def test_the_levels():
    """The stem at nside, each block at half the nside before."""
    net = net_of("flat", nside=16, widths=(6, 8, 10), depths=(1, 2, 1))
    assert [f.shape[1:] for f in net.features(maps(16))] == [
        (6, 12, 16, 16),
        (6, 12, 8, 8),
        (8, 12, 4, 4),
        (10, 12, 2, 2),
    ]
    assert net(maps(16)).shape == (3, 10)


def test_every_weight_learns():
    net = net_of("flat").train()
    F.cross_entropy(net(maps()), torch.tensor([1, 2, 3])).backward()
    silent = [
        name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0
    ]
    assert not silent


def test_a_digit_in_a_batch_is_classified_as_it_is_alone():
    net = net_of("pool")
    with torch.no_grad():
        torch.testing.assert_close(net(maps())[:1], net(maps()[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: PublishedConv1d(softmax=False), lambda: net_of("pool"), lambda: net_of("flat")]
)
def test_compiles_as_one_graph(make):
    net = make().eval()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(maps()), net(maps()), rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head": "max"}, ["head", "'max'", "'flat'", "'pool'"]),
        ({"widths": (4,) * 4, "depths": (1,) * 4}, ["widths", "3"]),
        ({"widths": (), "depths": ()}, ["widths"]),
        ({"depths": (1, 1)}, ["depths", "(1, 1)"]),
        ({"depths": (0,)}, ["depths", "0"]),
        ({"nside": 12}, ["nside", "12"]),
    ],
)
def test_bad_arguments(changes, words):
    arguments = {"nside": 8, "stem": 4, "widths": (4,), "depths": (1,)} | changes
    with pytest.raises(ValueError) as caught:
        HaloNet(arguments.pop("nside"), **arguments)
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


def test_a_map_of_another_nside():
    with pytest.raises(ValueError, match=r"maps.*768|768.*nside 8"):
        net_of("flat")(maps(16))
    with pytest.raises(ValueError, match=r"nside|pixel|3072"):
        PublishedConv1d()(maps(16))
