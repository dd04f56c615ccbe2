"""The learned preconditioner: what holds whatever its weights are, and what training adds."""

import pytest
import torch

from skytutor.chapters.inpainting.networks import LearnedFill, conjugate_steps, edge_distance
from skytutor.chapters.inpainting.task import FillTask, excess
from skytutor.fields.flat import FlatSky, filter_maps
from skytutor.fields.holes import DenseHole

SIZE = 16


@pytest.fixture(scope="module")
def sky():
    l = torch.arange(3000, dtype=torch.float64)
    cl = 6000 / (l + 10).square() * torch.exp(-((l / 900).square()))
    return FlatSky(SIZE, pixel_arcmin=7.0, cl=cl, beam_arcmin=8.0, noise=5.0)


def net(sky, *, seed=0, scale=1.0):
    """Return a network in float64, its weights far from where training begins."""
    torch.manual_seed(seed)
    model = LearnedFill(sky, channels=3).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(scale * torch.randn_like(weight) * 0.2)
    return model


def two_holes(size=SIZE):
    mask = torch.ones(size, size, dtype=torch.bool)
    mask[3:8, 2:6] = False
    mask[12, 14] = False
    return mask


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# --- whatever the weights -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_preconditioner_is_symmetric_and_positive(sky, seed):
    mask = two_holes()
    index = (~mask).flatten().nonzero()[:, 0]
    unit = torch.zeros(len(index), SIZE * SIZE, dtype=torch.float64)
    unit[torch.arange(len(index)), index] = 1
    with torch.no_grad():
        columns = net(sky, seed=seed).preconditioner(mask)(unit.reshape(-1, SIZE, SIZE))
    assert float(columns[:, mask].abs().max()) == 0, "nothing happens in seen pixels"
    matrix = columns.flatten(-2)[:, index]
    assert float((matrix - matrix.T).abs().max()) < 1e-12 * float(matrix.abs().max())
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_more_steps_lead_to_the_exact_fill_whatever_the_weights(sky, seed):
    mask = two_holes()
    _, data = sky.draw(3, generator=rng())
    exact = DenseHole(sky.precision, mask).fill(data)
    found = net(sky, seed=seed).fill(data, mask, tolerance=1e-11)
    assert float((found.maps - exact).abs().max()) < 1e-8 * float(exact.abs().max())


def test_single_precision_weights_lead_there_too(sky):
    mask = two_holes()
    _, data = sky.draw(3, generator=rng())
    exact = DenseHole(sky.precision, mask).fill(data)
    found = net(sky).float().fill(data, mask, tolerance=1e-10)
    assert float((found.maps - exact).abs().max()) < 1e-7 * float(exact.abs().max())


def test_the_error_in_the_energy_norm_never_grows(sky):
    """What conjugate gradients lower at every step is ``e^T Q e``."""
    mask = two_holes()
    _, data = sky.draw(2, generator=rng())
    hole = DenseHole(sky.precision, mask)
    with torch.no_grad():
        steps = net(sky)(data, mask, steps=8, every=True)
    away = (steps - hole.fill(data)).flatten(-2)[..., hole.index]
    energy = hole.chi_square(away)
    assert bool((energy.diff(dim=0) <= 1e-9 * energy[0]).all())
    assert bool((energy[-1] < 0.1 * energy[0]).all())


def test_twice_the_contrast_is_filled_with_twice_the_contrast(sky):
    mask = two_holes()
    _, data = sky.draw(2, generator=rng())
    with torch.no_grad():
        once = net(sky)(data, mask)
        torch.testing.assert_close(net(sky)(-2 * data, mask), -2 * once, rtol=1e-11, atol=1e-9)


def test_run_on_it_is_linear_in_the_data(sky):
    mask = two_holes()
    _, data = sky.draw(2, generator=rng())
    model = net(sky)
    parts = [model.fill(maps, mask, tolerance=1e-11).maps for maps in data]
    whole = model.fill(data.sum(0), mask, tolerance=1e-11).maps
    torch.testing.assert_close(whole, parts[0] + parts[1], rtol=0, atol=1e-7)


def test_a_shift_of_data_and_mask_shifts_the_fill(sky):
    mask = two_holes()
    _, data = sky.draw(2, generator=rng())
    model = net(sky)
    with torch.no_grad():
        filled = model(data, mask)
        shifted = model(data.roll((5, 9), (-2, -1)), mask.roll((5, 9), (-2, -1)))
    torch.testing.assert_close(shifted, filled.roll((5, 9), (-2, -1)), rtol=0, atol=1e-8)


def test_hidden_pixels_of_the_data_do_not_count_and_seen_ones_stay(sky):
    mask = two_holes()
    _, data = sky.draw(2, generator=rng())
    model = net(sky)
    with torch.no_grad():
        filled = model(data, mask)
        spoiled = model(torch.where(mask, data, torch.nan), mask)
    assert torch.equal(filled, spoiled)
    assert torch.equal(filled[:, mask], data[:, mask])


def test_a_batch_of_masks_is_filled_as_each_alone(sky):
    masks = torch.stack([two_holes(), two_holes().T, two_holes().roll(3, 0)])
    _, data = sky.draw(6, generator=rng())
    data = data.reshape(3, 2, SIZE, SIZE)
    model = net(sky)
    with torch.no_grad():
        together = model(data, masks[:, None])
        for k, mask in enumerate(masks):
            torch.testing.assert_close(together[k], model(data[k], mask), rtol=0, atol=1e-9)


def test_another_size_of_patch_needs_no_other_network(sky):
    model = net(sky)
    mask = two_holes(32)
    other = model.sky(32)
    assert other.pixel_arcmin == sky.pixel_arcmin
    _, data = other.draw(1, generator=rng())
    exact = DenseHole(other.precision, mask).fill(data)
    found = model.fill(data, mask, tolerance=1e-10).maps
    assert float((found - exact).abs().max()) < 1e-6 * float(exact.abs().max())


def test_the_gradient_goes_through_all_steps(sky):
    mask = two_holes()
    _, data = sky.draw(1, generator=rng())
    model = net(sky)
    weight = model.filters.log

    def loss():
        return model(data, mask, steps=3).square().sum() / 1e4

    (gradient,) = torch.autograd.grad(loss(), weight)
    where = int(gradient.abs().argmax())
    step = 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.view(-1)[where] += sign * step
            values.append(float(loss()))
            weight.view(-1)[where] -= sign * step
    numeric = (values[0] - values[1]) / (2 * step)
    assert abs(numeric) > 0
    assert abs(float(gradient.view(-1)[where]) - numeric) < 1e-5 * abs(numeric)


def test_the_steps_are_those_of_the_textbook(sky):
    """Without a preconditioner two steps span the residual and Q times it, and nothing else."""
    mask = two_holes()
    rhs = torch.where(mask, 0, torch.randn(SIZE, SIZE, generator=rng(), dtype=torch.float64))
    walk = conjugate_steps(rhs, mask, sky.precision, preconditioner=lambda r: r)
    next(walk)
    x = next(walk)
    Q_rhs = torch.where(mask, 0, filter_maps(rhs, sky.precision))
    basis = torch.stack([rhs, Q_rhs]).flatten(1).T
    fitted = basis @ torch.linalg.lstsq(basis, x.flatten()[:, None]).solution
    torch.testing.assert_close(fitted[:, 0], x.flatten(), rtol=1e-8, atol=1e-8)
    # The error is orthogonal, by Q, to both.
    rest = rhs - torch.where(mask, 0, filter_maps(x, sky.precision))
    assert float((basis.T @ rest.flatten()).abs().max()) < 1e-9 * float(rhs.square().sum())


# --- pieces ---------------------------------------------------------------------------------------


def test_the_distance_to_the_edge_is_the_nearest_pixel_of_the_other_side():
    generator = rng(3)
    mask = torch.rand(2, 12, 12, generator=generator) > 0.3
    found = edge_distance(mask)
    for k in range(2):
        for y, x in [(0, 0), (5, 7), (11, 3), (11, 11)]:
            other = (mask[k] != mask[k, y, x]).nonzero()
            shift = (other - torch.tensor([y, x])).abs()
            nearest = torch.minimum(shift, 12 - shift).square().sum(-1).min().sqrt()
            sign = -1 if bool(mask[k, y, x]) else 1
            assert float(found[k, y, x]) == pytest.approx(sign * float(nearest))


def test_excess_is_the_square_of_the_ratio_less_one():
    """An error added to the exact fill, independent of the truth's, adds its square."""
    exact = torch.zeros(2, 5, 4, 4)
    lost = excess(exact + 0.5, exact, variance=torch.tensor([4.0, 16.0]))
    torch.testing.assert_close(lost, torch.tensor([1.0, 0.25]))


def test_a_few_steps_of_training_lower_the_error(sky):
    task = FillTask(sky, size=8, n_validation=6, skies=2)
    torch.manual_seed(0)
    model = LearnedFill(sky, channels=4)
    with torch.no_grad():
        before = task.validate(model)["ratio"]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = rng(1)
    for _ in range(25):
        draws = task.draw(4, generator=generator)
        loss = task.loss(model, task.batch(torch.arange(4), draws))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        after = task.validate(model)["ratio"]
    assert after - 1 < 0.5 * (before - 1), (before, after)
    assert after > 1, "nothing is better than the exact fill"


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda mask: torch.ones_like(mask), "hides no pixel"),
        (lambda mask: torch.zeros_like(mask), "hides every pixel"),
        (lambda mask: mask.double() * 0.5, "must be hard"),
        (lambda mask: mask[:-1], r"mask must be \(\.\.\., 16, 16\)"),
    ],
)
def test_a_mask_that_is_none_is_refused(sky, spoil, message):
    _, data = sky.draw(1, generator=rng())
    with pytest.raises(ValueError, match=message):
        net(sky)(data, spoil(two_holes()))


def test_numbers_that_are_none_are_refused(sky):
    _, data = sky.draw(1, generator=rng())
    data[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        net(sky)(data, two_holes())
    with pytest.raises(ValueError, match="steps must be a positive integer"):
        net(sky)(data.nan_to_num(), two_holes(), steps=0)
    with pytest.raises(ValueError, match="channels must be a positive integer"):
        LearnedFill(sky, channels=0)
