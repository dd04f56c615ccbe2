"""Chapter 1's network in rings: its own shifts, any rotation, gradients, bad input."""

import pytest
import torch

from skytutor.chapters.digits.networks import RingNet
from skytutor.data import digits, projection


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return RingNet(16, rings=8, columns=32, widths=(4, 8, 16), depths=(1, 1, 2), last=16).eval()


@pytest.mark.parametrize("shift", [4, 16, 20])
def test_the_network_is_exactly_invariant_under_its_own_shifts(net, shift):
    """Two levels: multiples of four columns; the frame's half turn, 16, is one of them."""
    pictures = torch.rand(5, 1, 8, 32)
    with torch.no_grad():
        scores = net.read_rings(pictures)
        shifted = net.read_rings(pictures.roll(shift, 3))
        other_rings = net.read_rings(pictures.roll(3, 2))
    torch.testing.assert_close(shifted, scores, rtol=0, atol=1e-5)
    assert float((other_rings - scores).abs().max()) > 1e-3


def test_the_network_gives_one_answer_at_every_rotation(net):
    images = digits.load("embedded").images[:20]
    generator = torch.Generator().manual_seed(4)
    projector = projection.Projector(16, size_deg=180, order="nested")
    rotations = [projection.random_rotations(20, generator=generator) for _ in range(3)]
    with torch.no_grad():
        scores = torch.stack([net(projector(images, rotations=r)) for r in rotations])
    assert scores.std(0).mean() < 0.25 * scores.mean(0).std(0).mean(), (
        "the rotation matters almost as much as the digit"
    )


def test_every_weight_gets_a_gradient():
    net = RingNet(8, rings=8, columns=16, widths=(4, 8), depths=(1, 1), last=8)
    net(torch.rand(4, 1, 768)).square().sum().backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0
        for p in net.parameters()
    )


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="columns of 8, got 8 and 20"):
        RingNet(16, rings=8, columns=20, widths=(4, 8, 16), depths=(1, 1, 1), last=16)
    with pytest.raises(
        ValueError, match=r"widths and depths must be as many.*got \(4, 8\), \(1,\)"
    ):
        RingNet(16, rings=8, columns=16, widths=(4, 8), depths=(1,), last=16)
    with pytest.raises(ValueError, match=r"pictures must be \(B, 1, 8, 16\), got \(2, 1, 6, 16\)"):
        RingNet(8, rings=8, columns=16, widths=(4, 8), depths=(1, 1), last=8).read_rings(
            torch.rand(2, 1, 6, 16)
        )
