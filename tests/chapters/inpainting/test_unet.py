"""The feed-forward U-Net: linear in the data, blind to hidden pixels, and what it is trained on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skytutor import plot
from skytutor.chapters.inpainting.scores import score_fill
from skytutor.chapters.inpainting.skies import disc_test
from skytutor.chapters.inpainting.unet import (
    ExpectedError,
    GatedConv,
    UNetFill,
    Views,
    biharmonic_fill,
    expected_error,
)
from skytutor.chapters.inpainting.unet_task import (
    UNetTask,
    hole_weights,
    make_recipe,
    move,
    training_mask,
)
from skytutor.chapters.pretrained import load_pretrained
from skytutor.data.patches import disc_mask, flat_sky
from skytutor.fields.holes import DenseHole
from skytutor.training.loop import train

SIZE = 32


@pytest.fixture(scope="module")
def sky():
    return flat_sky("B", SIZE)


@pytest.fixture(scope="module")
def task(sky):
    return UNetTask(sky, masks=8, skies=4, size=64, n_validation=8)


@pytest.fixture
def mask(sky):
    seen = disc_mask(SIZE, 30.0, pixel_arcmin=sky.pixel_arcmin)
    seen[2, 3] = False
    return seen


@pytest.fixture
def network():
    """Return a small network with a last layer that is not 0, as if trained."""
    torch.manual_seed(1)
    model = UNetFill(widths=(4, 8, 8)).double()
    torch.nn.init.normal_(model.last.weight, std=0.3)
    return model.eval()


@torch.no_grad()
def test_the_fill_is_linear_in_the_data(network, sky, mask):
    _, data = sky.draw(2, generator=torch.Generator().manual_seed(0))
    both = network.fill(0.3 * data[:1] - 2 * data[1:], mask)
    apart = 0.3 * network.fill(data[:1], mask) - 2 * network.fill(data[1:], mask)
    assert (both - apart).abs().max() < 1e-8
    assert (network.fill(data + 40, mask) - network.fill(data, mask) - 40).abs().max() < 1e-8


@torch.no_grad()
def test_hidden_pixels_do_not_count_and_seen_ones_stay(network, sky, mask):
    _, data = sky.draw(3, generator=torch.Generator().manual_seed(0))
    filled = network.fill(data, mask)
    other = torch.where(mask, data, torch.nan)
    assert torch.equal(network.fill(other, mask), filled)
    assert torch.equal(filled[:, mask], data[:, mask])
    assert (filled - biharmonic_fill(data, mask))[:, ~mask].abs().min() > 0


@torch.no_grad()
def test_what_is_not_trained_is_the_biharmonic_fill(sky, mask):
    _, data = sky.draw(3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(UNetFill().fill(data, mask), biharmonic_fill(data, mask))


@torch.no_grad()
def test_each_map_may_have_its_own_mask(network, sky, mask):
    _, data = sky.draw(2, generator=torch.Generator().manual_seed(0))
    masks = torch.stack([mask, mask.roll((5, 9), (0, 1))])
    together = network.fill(data, masks)
    for one, its_mask, filled in zip(data, masks, together, strict=True):
        assert (network.fill(one[None], its_mask)[0] - filled).abs().max() < 1e-8


@torch.no_grad()
def test_a_shift_by_coarse_pixels_shifts_the_answer(network, sky, mask):
    _, data = sky.draw(1, generator=torch.Generator().manual_seed(0))
    shift = {"shifts": (4, -8), "dims": (-2, -1)}
    moved = network.fill(data.roll(**shift), mask.roll(**shift))
    assert (moved - network.fill(data, mask).roll(**shift)).abs().max() < 1e-8


def test_a_size_that_cannot_be_halved(network):
    mask = torch.ones(30, 30, dtype=torch.bool)
    mask[3, 4] = False
    with pytest.raises(ValueError, match="multiple of 4 pixels along a side, got 30"):
        network.fill(torch.randn(1, 30, 30), mask)


def test_the_expected_error_follows_the_least_one(sky):
    for radius in (5.0, 15.0, 30.0, 60.0):
        mask = disc_mask(SIZE, radius, pixel_arcmin=sky.pixel_arcmin)
        variance = DenseHole(sky.precision, mask).variance - sky.noise**2
        pixels = torch.tensor(radius / sky.pixel_arcmin)
        expected = 100 * float(expected_error(pixels))
        assert float(variance.mean().sqrt()) == pytest.approx(expected, rel=0.35)
    scale = ExpectedError()(mask[None])[0]
    assert not scale[mask].any() and scale[~mask].min() > 5


def test_views_have_about_unit_variance(sky):
    signal, data = flat_sky("B", 64).draw(200, generator=torch.Generator().manual_seed(0))
    shown = Views()(data, torch.ones(1, 64, 64, dtype=torch.bool))
    assert shown.shape == (200, 3, 64, 64) and len(signal) == 200
    assert (shown.std((0, 2, 3)) - 1).abs().max() < 0.1


def test_weights_count_every_hole_in_units_of_its_least_error(sky, mask):
    hole = DenseHole(sky.precision, mask)
    variance = hole.variance - sky.noise**2
    weights = hole_weights(mask, variance)
    assert float((weights[~mask] * variance).sum()) == pytest.approx(1)
    assert not weights[mask].any()
    # The single pixel, with its small error, weighs more than one of the disc.
    assert weights[2, 3] > 3 * weights[SIZE // 2, SIZE // 2] > 0


def test_masks_of_training_have_holes_of_all_sizes():
    rng = torch.Generator().manual_seed(0)
    sky = flat_sky("B", 64)
    widest = []
    for number in range(16):
        mask = training_mask(number, sky, generator=rng)
        hidden = float((~mask).double().mean())
        assert 0 < hidden < 0.8
        widest.append(hidden)
    assert max(widest) > 0.2


def test_a_mixed_and_moved_sample_is_still_a_biharmonic_fill(task, sky):
    rng = torch.Generator().manual_seed(3)
    mask, weight, signal, start = task.batch(torch.arange(8), task.draw(8, generator=rng))
    assert mask.dtype == torch.bool and not weight[mask].any()
    again = biharmonic_fill(start.double(), mask)
    assert (again - start).abs().max() < 0.05
    # In seen pixels signal and data differ by the noise alone.
    noise = (start - signal)[mask]
    assert float(noise.std()) == pytest.approx(sky.noise, rel=0.05)


def test_moves_are_the_symmetries_of_a_periodic_square():
    maps = torch.arange(16.0).reshape(4, 4)
    seen = {tuple(move(maps, (0.0, 0.0, k / 8)).flatten().tolist()) for k in range(8)}
    assert len(seen) == 8
    assert torch.equal(move(maps, (0.25, 0.5, 0.0)), maps.roll((1, 2), (0, 1)))


@torch.no_grad()
def test_the_exact_fill_has_a_loss_of_one(sky):
    class Exact(torch.nn.Module):
        """Answer with the exact fill."""

        def forward(self, start, mask):
            return torch.stack(
                [DenseHole(sky.precision, m).fill(d) for d, m in zip(start, mask, strict=True)]
            )

    task = UNetTask(sky, masks=16, skies=4, size=64, n_validation=8)
    batch = task.batch(
        torch.arange(256), task.draw(256, generator=torch.Generator().manual_seed(0))
    )
    exact = float(task.loss(Exact(), batch))
    # The mean of a root lies a little below the root of the mean.
    assert 0.85 < exact < 1.05
    assert float(task.loss(UNetFill(), batch)) > exact + 0.05, "the biharmonic fill"


def test_a_short_training_lowers_the_error(task, tmp_path):
    torch.manual_seed(0)
    model = UNetFill(widths=(8, 16))
    with torch.no_grad():
        before = task.validate(model)["minus_error"]
    schedule = replace(make_recipe().schedules["cpu"], epochs=6, average=0.8)
    result = train(model, task, schedule=schedule, folder=Path(tmp_path), progress=False)
    assert max(row["minus_error"] for row in result.history) > before + 0.02


@torch.no_grad()
def test_the_pretrained_network_is_under_biharmonic_at_every_radius():
    model = load_pretrained("inpaint-unet")
    rng = torch.Generator().manual_seed(8)
    for radius, largest in ((5, 1.08), (15, 1.08), (30, 1.06), (60, 1.04), (180, 1.04)):
        test = disc_test(radius, skies=60 if radius < 180 else 20, generator=rng)
        found = score_fill(model.fill, [test])["ratio"]
        assert found < min(largest, score_fill(biharmonic_fill, [test])["ratio"])


def test_the_network_can_be_drawn(mask):
    drawing = plot.architecture(UNetFill(), (torch.randn(1, SIZE, SIZE), mask), leaf=(GatedConv,))
    assert "215,408 weights" in drawing.alt and "GatedConv" in drawing.alt
