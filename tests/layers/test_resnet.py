"""skytutor.layers.resnet: what an xresnet18 is made of, and that each piece does its work."""

import copy

import pytest
import torch
from torch import nn

from skytutor.layers.deconvolution import NetworkDeconvolution2d
from skytutor.layers.resnet import (
    ConvUnit,
    ResidualBlock,
    SelfAttention2d,
    XResNet,
    scaled,
    xresnet18,
)

KINDS = [("batch", "batch"), ("deconvolution", "batch"), ("deconvolution", "deconvolution")]


def random_pictures(n=4, size=64, *, seed=0):
    return torch.randn(n, 5, size, size, generator=torch.Generator().manual_seed(seed))


def kinds_of(net, kind):
    return [name for name, module in net.named_modules() if isinstance(module, kind)]


@pytest.mark.parametrize(("stem", "norm"), KINDS)
def test_which_layers_whiten(stem, norm):
    net = xresnet18(5, 6, width=0.25, stem=stem, norm=norm)
    whitening = kinds_of(net, NetworkDeconvolution2d)
    normal = kinds_of(net, nn.BatchNorm2d)
    # three in the stem, two in each of eight blocks, and three shortcuts that change channels
    assert len(whitening) + len(normal) == 3 + 16 + 3
    assert sum(name.startswith("stem") for name in whitening) == 3 * (stem == "deconvolution")
    assert sum(name.startswith("stages") for name in whitening) == 19 * (norm == "deconvolution")
    assert len(kinds_of(net, SelfAttention2d)) == 1
    assert kinds_of(net, SelfAttention2d)[0].startswith("stages.0.1")


def test_the_weights_of_full_width_are_counted_by_hand():
    net = xresnet18(3, 1000, self_attention=False)
    stem = 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32 + 64)
    total = stem + 512 * 1000 + 1000
    channels = 64
    for width in (64, 128, 256, 512):
        total += 9 * (channels * width + 3 * width * width) + 8 * width
        if width != channels:
            total += channels * width + 2 * width
        channels = width
    assert sum(p.numel() for p in net.parameters()) == total


@pytest.mark.parametrize(("stem", "norm"), KINDS)
@pytest.mark.parametrize("size", [32, 64, 75])
def test_the_head_sees_the_features_and_all_weights_learn(stem, norm, size):
    net = xresnet18(5, 6, width=0.2, stem=stem, norm=norm)
    x = random_pictures(size=size)
    out = net(x)
    out.square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert silent == []
    assert net.head.weight.grad.abs().max() > 0
    net.eval()
    assert torch.equal(net(x), net.head(net.features(x)))
    assert net.features(x).shape == (4, net.n_features)


def test_a_block_begins_as_its_shortcut():
    block = ResidualBlock(8, 8, ConvUnit(), attention=True)
    x = torch.randn(4, 8, 6, 6)
    assert torch.equal(block(x), nn.Mish()(x))


def test_the_shortcut_sees_every_pixel():
    block = ResidualBlock(4, 8, ConvUnit(), stride=2).eval()
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    block(x).sum().backward()  # the convolutions begin with the factor 0: this is the shortcut
    assert (x.grad.abs().sum((0, 1)) > 0).all()
    assert block(torch.zeros(1, 4, 7, 7)).shape == (1, 8, 4, 4)


def test_attention_is_the_sum_over_pixels_written_out():
    layer = SelfAttention2d(3).double()
    torch.nn.init.constant_(layer.gamma, 0.7)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    value = torch.einsum("oc,bcyx->boyx", layer.value.weight[..., 0], x)
    # each pixel of the output: all pixels' values, weighted by the likeness of channels
    likeness = torch.einsum("bcyx,bdyx->bcd", x, x) / 20
    expected = x + 0.7 * torch.einsum("bcd,bdyx->bcyx", likeness, value)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    # and it takes no notice of where a pixel stands
    mixed = x.flatten(2)[..., torch.randperm(20)].view_as(x)
    torch.testing.assert_close(
        layer(mixed).flatten(2).sort(2)[0], layer(x).flatten(2).sort(2)[0], rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("stem", "norm"), KINDS)
def test_it_learns_what_shows_only_in_the_joint_colours(stem, norm):
    """The sign of a correlation of two noisy bands: no mean of any band tells it."""
    torch.manual_seed(0)
    net = XResNet(
        5,
        1,
        stem=ConvUnit(stem),
        unit=ConvUnit(norm),
        stem_channels=(8, 8, 8),
        stage_channels=(8, 16),
    )
    generator = torch.Generator().manual_seed(0)

    def draw(n):
        x = torch.randn(n, 5, 32, 32, generator=generator)
        sign = torch.randint(0, 2, (n,), generator=generator) * 2.0 - 1
        x[:, 1] = 0.3 * x[:, 1] + sign[:, None, None] * x[:, 0]
        return x, sign

    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(40):
        x, sign = draw(32)
        loss = (net(x)[:, 0] - sign).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, sign = draw(64)
    error = (net(x)[:, 0] - sign).detach().square().mean()  # the constant answer has 1
    assert float(error) < 0.3


def test_copies_states_and_bfloat16():
    net = xresnet18(5, 6, width=0.125, stem="deconvolution")
    x = random_pictures(16)
    net(x)
    other = xresnet18(5, 6, width=0.125, stem="deconvolution")
    other.load_state_dict(net.state_dict())
    expected = net.eval()(x).detach()
    assert torch.equal(copy.deepcopy(net)(x), expected)
    assert torch.equal(other.eval()(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = other(x).float()
    torch.testing.assert_close(rounded, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="norm must be one of 'batch', 'deconvolution', got 'gr"):
        xresnet18(5, 6, norm="group")
    with pytest.raises(ValueError, match="stem must be one of"):
        xresnet18(5, 6, stem="none")
    with pytest.raises(ValueError, match="width must be finite and positive, got 0"):
        xresnet18(5, 6, width=0.0)
    with pytest.raises(ValueError, match="n_outputs must be a positive integer, got 0"):
        xresnet18(5, 0)
    net = xresnet18(5, 6, width=0.125)
    with pytest.raises(ValueError, match=r"x must be \(B, 5, H, W\).*got \(2, 4, 64, 64\)"):
        net(torch.zeros(2, 4, 64, 64))
    with pytest.raises(ValueError, match="at least 32 pixels a side"):
        net(torch.zeros(2, 5, 16, 64))


def test_widths_are_multiples_of_eight():
    assert [scaled(64, w) for w in (0.01, 0.25, 0.3, 1.0, 1.9)] == [8, 16, 16, 64, 120]
    net = XResNet(
        2, 3, stem=ConvUnit(), unit=ConvUnit(), stem_channels=(8,), stage_channels=(8, 16)
    )
    assert net.n_features == 16
