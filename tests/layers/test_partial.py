"""skytutor.layers.partial: only what is seen counts, and it counts fully."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F

from skytutor.layers.partial import PartialConv2d, check_seen

PADDINGS = ["periodic", "zero"]


def random_case(channels=3, size=8, *, per_channel=False, seed=0):
    """Return maps and a mask that hides about half, float64."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, channels, size, size, generator=generator, dtype=torch.float64)
    shape = (2, channels if per_channel else 1, size, size)
    return maps, torch.rand(shape, generator=generator) > 0.5


def averaging(channels, kernel, **options):
    """Return the layer whose weights are all 1 / (k k C)."""
    conv = PartialConv2d(channels, 1, kernel, bias=False, **options).double()
    torch.nn.init.constant_(conv.weight, 1 / (channels * kernel**2))
    return conv


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("channels", [1, 3, 16])
def test_a_constant_comes_back_wherever_anything_is_seen(channels, padding, stride, per_channel):
    _, mask = random_case(channels, per_channel=per_channel)
    mask[:, :, :4, :4] = False  # windows that see nothing
    conv = averaging(channels, 3, padding=padding, stride=stride)
    out, seen = conv(torch.full((2, channels, 8, 8), 7.0, dtype=torch.float64), mask)
    torch.testing.assert_close(out[seen], torch.full_like(out[seen], 7.0), rtol=1e-14, atol=0)
    assert seen.any() and not seen.all()
    assert (out[~seen] == 0).all()


@pytest.mark.parametrize("channels", [1, 3, 16])
def test_the_published_scaling_loses_a_factor_of_the_channels(channels):
    maps = torch.full((2, channels, 8, 8), 7.0, dtype=torch.float64)
    out, _ = averaging(channels, 3, padding="periodic", scaling="published")(maps, maps == 7)
    torch.testing.assert_close(out, torch.full_like(out, 7.0 / channels), rtol=1e-14, atol=0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("padding", PADDINGS)
def test_a_full_mask_makes_it_a_plain_convolution(padding, kernel, stride):
    maps, _ = random_case()
    conv = PartialConv2d(3, 4, kernel, padding=padding, stride=stride).double()
    out, seen = conv(maps, torch.ones(2, 1, 8, 8))
    plain = torch.nn.Conv2d(
        3,
        4,
        kernel,
        stride=stride,
        padding=kernel // 2,
        padding_mode="circular" if padding == "periodic" else "zeros",
    ).double()
    plain.load_state_dict(conv.state_dict())
    expected = plain(maps)
    assert seen.all()
    if padding == "zero":  # beyond the border nothing is seen: only the inside is the same
        inside = slice(2, -2) if stride == 1 else slice(1, -1)
        assert kernel == 1 or not torch.allclose(out, expected)
        out, expected = out[..., inside, inside], expected[..., inside, inside]
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
def test_every_entry_is_the_sum_written_out(padding, per_channel):
    maps, mask = random_case(2, 5, per_channel=per_channel)
    conv = PartialConv2d(2, 1, 3, padding=padding).double().requires_grad_(False)
    out, seen = conv(maps, mask)
    for y in range(5):
        for x in range(5):
            total = 0.0
            n = 0
            for c in range(2):
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        row, column = y + dy, x + dx
                        if padding == "zero" and not (0 <= row < 5 and 0 <= column < 5):
                            continue
                        row, column = row % 5, column % 5
                        if mask[0, c if per_channel else 0, row, column]:
                            n += 1
                            total += float(
                                conv.weight[0, c, dy + 1, dx + 1] * maps[0, c, row, column]
                            )
            assert bool(seen[0, 0, y, x]) == (n > 0)
            expected = total * 18 / n + float(conv.bias) if n else 0.0
            assert float(out[0, 0, y, x]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("filling", [0.0, 1e30, float("inf"), float("nan")])
def test_what_stands_behind_the_mask_has_no_influence(filling):
    maps, mask = random_case()
    conv = PartialConv2d(3, 4, 3, padding="periodic").double()
    expected, _ = conv(maps, mask)
    filled = torch.where(mask, maps, filling).requires_grad_()
    out, _ = conv(filled, mask)
    assert torch.equal(out, expected)
    out.square().sum().backward()
    hidden = (~mask).expand_as(filled)
    assert (filled.grad[hidden] == 0).all()
    assert filled.grad.isfinite().all() and filled.grad.abs().max() > 0
    assert conv.weight.grad.isfinite().all()


def test_the_mask_grows_as_by_hand():
    """One pixel is seen of 4 x 4: a window of 3 x 3 around it comes to be seen."""
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[0, 0, 0, 1] = True
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    torch.manual_seed(0)
    flat = PartialConv2d(1, 1, 3, padding="zero").requires_grad_(False)
    out, seen = flat(maps, mask)
    assert seen[0, 0].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    # the window around (1, 0) sees the pixel in its corner, and that alone: 9 times its weight
    assert float(out[0, 0, 1, 0]) == pytest.approx(
        float(9 * flat.weight[0, 0, 0, 2] * maps[0, 0, 0, 1] + flat.bias), rel=1e-6
    )
    seen = PartialConv2d(1, 1, 3, padding="periodic")(maps, mask)[1]
    assert seen[0, 0].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]]
    seen = PartialConv2d(1, 1, 3, padding="zero", stride=2)(maps, mask)[1]
    assert seen[0, 0].int().tolist() == [[1, 1], [0, 0]]


def test_layers_in_a_row_close_every_hole():
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[0, 0, 4, 4] = True
    maps = torch.ones(1, 1, 9, 9)
    conv = PartialConv2d(1, 1, 3, padding="zero")
    sizes = []
    while not mask.all():
        maps, mask = conv(maps, mask)
        sizes.append(int(mask.sum()))
    assert sizes == [9, 25, 49, 81]


@pytest.mark.parametrize("shift", [(1, 0), (3, 5)])
def test_a_periodic_shift_of_sky_and_mask_shifts_the_output(shift):
    maps, mask = random_case()
    conv = PartialConv2d(3, 4, 5, padding="periodic").double()
    out, seen = conv(maps, mask)
    moved, moved_seen = conv(maps.roll(shift, (2, 3)), mask.roll(shift, (2, 3)))
    torch.testing.assert_close(moved, out.roll(shift, (2, 3)), rtol=1e-12, atol=1e-12)
    assert torch.equal(moved_seen, seen.roll(shift, (2, 3)))


@pytest.mark.parametrize("padding", PADDINGS)
def test_gradcheck(padding):
    maps, mask = random_case(2, 4)
    conv = PartialConv2d(2, 2, 3, padding=padding).double()

    def call(maps, weight, bias):
        found = torch.func.functional_call(conv, {"weight": weight, "bias": bias}, (maps, mask))
        return found[0]

    leaves = [t.detach().clone().requires_grad_() for t in (maps, conv.weight, conv.bias)]
    assert torch.autograd.gradcheck(call, leaves)


def test_copies_saved_states_bfloat16_and_numbers_as_masks():
    maps, mask = random_case()
    conv = PartialConv2d(3, 4, 3, padding="periodic").double()
    expected = conv(maps, mask)[0]
    assert torch.equal(copy.deepcopy(conv)(maps, mask)[0], expected)
    assert torch.equal(conv(maps, mask.double())[0], expected)
    assert torch.equal(conv(maps, mask.expand(2, 3, 8, 8))[0], expected)
    buffer = io.BytesIO()
    torch.save(conv.state_dict(), buffer)
    buffer.seek(0)
    other = PartialConv2d(3, 4, 3, padding="periodic").double()
    other.load_state_dict(torch.load(buffer))
    assert torch.equal(other(maps, mask)[0], expected)
    rounded = conv.bfloat16()(maps.bfloat16(), mask)[0]
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.double(), expected, rtol=0.05, atol=0.1)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="kernel_size must be odd, got 4"):
        PartialConv2d(1, 1, 4, padding="zero")
    with pytest.raises(ValueError, match="padding must be one of 'periodic', 'zero', got 'same'"):
        PartialConv2d(1, 1, 3, padding="same")
    with pytest.raises(ValueError, match="scaling must be one of"):
        PartialConv2d(1, 1, 3, padding="zero", scaling="1/C")
    with pytest.raises(ValueError, match="in_channels must be a positive integer, got 0"):
        PartialConv2d(0, 1, 3, padding="zero")
    with pytest.raises(TypeError, match="stride"):
        PartialConv2d(1, 1, 3, padding="zero", stride=1.5)


def test_bad_maps_and_masks_are_named():
    conv = PartialConv2d(3, 1, 7, padding="periodic")
    maps = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"maps must be \(B, 3, H, W\), got \(2, 1, 8, 8\)"):
        conv(maps[:, :1], maps[:, :1])
    with pytest.raises(ValueError, match="at least 3 pixels wide"):
        conv(maps[..., :2, :2], maps[..., :2, :2])
    with pytest.raises(ValueError, match=r"mask must be \(B, 1, H, W\).*got \(2, 8, 8\)"):
        conv(maps, maps[:, 0])
    with pytest.raises(ValueError, match=r"mask must be.*got \(2, 2, 8, 8\)"):
        conv(maps, maps[:, :2])
    with pytest.raises(ValueError, match="mask must be hard"):
        conv(maps, maps[:, :1] + 0.5)
    with pytest.raises(ValueError, match="mask must be hard"):
        conv(maps, maps[:, :1] * float("nan"))
    with pytest.raises(TypeError, match="mask must be numbers, a tensor or an array, got str"):
        conv(maps, "seen")


def test_check_seen_keeps_booleans_as_they_are():
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert check_seen(mask, torch.zeros(5, 3, 4, 4)) is mask


def test_the_layer_agrees_with_a_ratio_of_two_convolutions():
    """With equal weights it is the mean of what is seen, whatever the mask."""
    maps, mask = random_case(1)
    out, seen = averaging(1, 5, padding="zero")(maps, mask)
    ones = torch.ones(1, 1, 5, 5, dtype=torch.float64)
    total = F.conv2d(maps * mask, ones, padding=2)
    expected = total / F.conv2d(mask.double(), ones, padding=2)
    torch.testing.assert_close(out[seen], expected[seen], rtol=1e-12, atol=1e-12)
