"""skytutor.layers.unet: sizes, reach, translations, and what is refused."""

import pytest
import torch

from skytutor.layers.resnet import ConvUnit
from skytutor.layers.unet import UNet


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def network(*, channels=(4, 6, 8), seed=0):
    torch.manual_seed(seed)
    return UNet(3, 2, channels=channels).eval()


@pytest.mark.parametrize("channels", [(4, 6), (4, 6, 8), (4, 4, 4, 4, 4)])
def test_every_pixel_gets_an_answer(channels):
    with torch.no_grad():
        found = network(channels=channels)(torch.randn(2, 3, 32, 48, generator=rng()))
    assert found.shape == (2, 2, 32, 48)
    assert found.dtype == torch.float32
    assert float(found.std()) > 0


def test_it_sees_as_far_as_its_coarsest_scale_and_no_farther():
    """Of three scales: five convolutions of the finest, four of the middle, two of the coarsest."""
    model = network()
    image = torch.randn(1, 3, 96, 96, generator=rng()).requires_grad_()
    model(image)[0, 0, 48, 48].backward()
    seen = image.grad.abs().sum((0, 1)) > 0
    rows = seen.any(1).nonzero()[:, 0]
    assert 12 <= 48 - int(rows[0]) <= 30
    assert 12 <= int(rows[-1]) - 48 <= 30


def test_an_image_moved_by_a_coarse_pixel_has_its_answer_moved():
    model = network()
    image = torch.randn(1, 3, 64, 64, generator=rng())
    with torch.no_grad():
        here, there = model(image), model(image.roll((4, 8), dims=(2, 3)))
    inner = slice(36, 44)
    moved = here.roll((4, 8), dims=(2, 3))
    assert torch.allclose(moved[..., inner, inner], there[..., inner, inner], atol=1e-5)


def test_every_weight_has_a_gradient():
    model = network().train()
    model(torch.randn(2, 3, 16, 16, generator=rng())).square().mean().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and bool(weight.grad.isfinite().all()), name


def test_it_learns_to_subtract_a_coarse_mean():
    """What single pixels cannot know: the mean of 16 by 16."""
    torch.manual_seed(1)
    model = UNet(1, 1, channels=(8, 8, 8, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    draws = rng(2)
    for _ in range(150):
        mean = torch.randn(16, 1, 1, 1, generator=draws)
        image = mean + torch.randn(16, 1, 16, 16, generator=draws)
        loss = (model(image) - mean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # A single pixel leaves a variance of 1/2, all 256 together 1/257.
    assert float(loss.detach()) < 0.15


def test_other_units_can_be_had():
    model = UNet(1, 1, channels=(4, 4), unit=ConvUnit("deconvolution"))
    assert any("Deconvolution" in type(layer).__name__ for layer in model.modules())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"in_channels": 0}, ValueError, "in_channels must"),
        ({"out_channels": 1.5}, TypeError, "out_channels must be a positive integer"),
        ({"channels": (8,)}, ValueError, r"channels must hold those of two scales or more, got"),
        ({"channels": (8, 0)}, ValueError, "channels must"),
    ],
)
def test_wrong_sizes_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        UNet(**({"in_channels": 3, "out_channels": 2} | arguments))


def test_wrong_images_are_named():
    model = network()
    with pytest.raises(ValueError, match=r"images must be \(B, 3, H, W\), got \(1, 2, 16, 16\)"):
        model(torch.zeros(1, 2, 16, 16))
    with pytest.raises(ValueError, match="sides that are multiples of 4, got 16 by 18"):
        model(torch.zeros(1, 3, 16, 18))
