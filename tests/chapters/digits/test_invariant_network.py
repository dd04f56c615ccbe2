"""Chapter 1's network in harmonics: what a rotation changes, compiling, bad input."""

import pytest
import torch

from skytutor.chapters.digits.invariant import InvariantNet
from skytutor.chapters.digits.recipes import ROTATED, UPRIGHT
from skytutor.data import digits, projection


def test_the_network_hardly_sees_a_rotation_and_compiles_whole():
    torch.manual_seed(0)
    net = InvariantNet(16, levels=((8, 16, 8, 2), (8, 16, 8, 2), (4, 8, 16, 4)), last=16).eval()
    images = digits.load("embedded").part("test")[0][:40]
    upright = UPRIGHT.project(images)
    turned = ROTATED.project(
        images, [projection.random_rotations(40, generator=torch.Generator().manual_seed(0))]
    )
    with torch.no_grad():
        # The maximum depends on where the pixels lie, the mean hardly.
        answer, again = (net.features(maps)[-1].mean(2) for maps in (upright, turned))
        spread = (answer - answer.mean(0)).square().mean().sqrt()
        change = (answer - again).square().mean().sqrt() / spread
        print(f"change under rotation over spread of the features: {change:.3f}")
        assert change < 0.1
        whole = torch.compile(net, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(whole(upright), net(upright), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: InvariantNet(4, levels=(), last=4), "levels"),
        (lambda: InvariantNet(4, levels=((8, 8, 1, 0),), last=4), "finer"),
    ],
)
def test_bad_input(make, says):
    with pytest.raises(ValueError, match=says):
        make()
