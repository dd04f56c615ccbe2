"""The bridge from the nearest band: where it begins and ends, its samples and their coverage."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from skytutor.chapters.translation import bridge_task
from skytutor.chapters.translation.bridge import BandBridge
from skytutor.chapters.translation.bridge_task import (
    BridgeTask,
    central_interval,
    make_flow_recipe,
    score_coverage,
)
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.scores import decibels
from skytutor.chapters.translation.stretch import softenings, stretched, unstretched
from skytutor.chapters.translation.subsets import TARGETS
from skytutor.data.bands import EMPTY, SceneSimulator

PLATES = ["blue", "red"]
SIZE = 16

# Empty plates stand for sky of which nothing is seen.
pytestmark = pytest.mark.filterwarnings("ignore:.*exactly 0 with an ivar above 0")


@pytest.fixture(scope="module")
def task():
    return BridgeTask(SceneSimulator(size=SIZE), size=6, n_validation=2)


def translator(seed=0):
    """Return a translator that answers anything but nothing."""
    torch.manual_seed(seed)
    network = BandTranslator(size=SIZE, channels=(4, 6, 8, 8))
    torch.nn.init.normal_(network.answers, std=0.1)
    return network.eval()


@pytest.fixture
def bridge():
    network = BandBridge(PLATES, TARGETS, translator=translator(), channels=(6, 8, 10))
    torch.nn.init.normal_(network.unet.last.weight, std=0.3)
    return network.eval()


def blank(channels=(8, 8)):
    """Return a bridge as it is before training, whose translator answers with an empty sky."""
    torch.manual_seed(0)
    empty = BandTranslator(size=SIZE, channels=(4, 6, 8, 8))
    return BandBridge(PLATES, TARGETS, translator=empty, channels=channels).eval()


def set_open(network, monkeypatch, value):
    """Let a bridge believe that its translator errs by `value` everywhere."""
    monkeypatch.setattr(
        network, "deviation", lambda condition: torch.full_like(condition[:, :3], value)
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(task, *, seed=0, n=4):
    drawn = task.draw(n, generator=generator(seed))
    return task.batch(torch.arange(n), drawn)


def test_the_way_begins_at_the_nearest_plate_in_the_stretch_of_each_target(task, bridge):
    images, ivar, *_ = batch_of(task)
    condition = bridge.condition(images, ivar)
    noise = torch.randn(4, 3, SIZE, SIZE, generator=generator())
    assert condition.shape == (4, 3 + 3 + 2, SIZE, SIZE)
    blue, red = (images[:, task.simulator.bands.index(name)] for name in PLATES)
    nearest = stretched(torch.stack([blue, red, red], 1), softenings(TARGETS))
    assert torch.allclose(bridge.start(condition, torch.zeros_like(noise)), nearest)
    assert torch.allclose(bridge.start(condition, noise) - nearest, 0.5 * noise, atol=1e-5)


def test_at_its_end_the_way_leads_to_itself_whatever_the_weights(task, bridge):
    images, ivar, truth, _, _ = batch_of(task)
    condition = bridge.condition(images, ivar)
    sky = stretched(truth[:, bridge.rows], softenings(TARGETS))
    with torch.no_grad():
        end = bridge(sky, torch.ones(4), condition)
        beginning = bridge(
            bridge.start(condition, torch.randn_like(sky)), torch.zeros(4), condition
        )
    assert torch.allclose(end, sky, atol=1e-4)
    assert not torch.allclose(beginning, sky, atol=0.1)


def test_before_training_it_leads_to_what_the_translator_answers(task):
    network = BandBridge(PLATES, TARGETS, translator=translator(), channels=(6, 8)).eval()
    images, ivar, *_ = batch_of(task)
    condition = network.condition(images, ivar)
    way = network.start(condition, torch.randn(4, 3, SIZE, SIZE, generator=generator()))
    given = torch.tensor([name in PLATES for name in task.simulator.bands]).expand(4, -1)
    answer = network.translator(images, ivar, given, targets=network.rows)
    with torch.no_grad():
        assert torch.allclose(network(way, torch.zeros(4), condition), answer, atol=1e-5)


def test_who_knows_the_truth_walks_to_it(task, bridge, monkeypatch):
    images, ivar, truth, _, _ = batch_of(task)
    sky = stretched(truth[:, bridge.rows], softenings(TARGETS))
    monkeypatch.setattr(bridge, "forward", lambda way, time, condition: sky)
    samples = bridge.sample(images, ivar, 2, generator=generator())
    # It begins 0.5 away, and believes that 0.1 is left open.
    assert float((samples - sky).square().mean().sqrt()) < 0.02
    set_open(bridge, monkeypatch, 0.002)
    samples = bridge.sample(images, ivar, 2, generator=generator())
    assert float((samples - sky).square().mean().sqrt()) < 0.005
    flux = bridge.predict(images, ivar, n_samples=2)
    assert torch.allclose(flux, truth[:, bridge.rows], rtol=1e-3, atol=1e-3)


def test_every_step_goes_on_from_where_the_last_one_ended(bridge, monkeypatch):
    times = []

    def watched(way, time, condition):
        times.append(float(time[0]))
        return torch.zeros_like(way)

    monkeypatch.setattr(bridge, "forward", watched)
    images = torch.zeros(1, 10, SIZE, SIZE)
    bridge.sample(images, torch.ones_like(images), 1, generator=generator())
    steps = [after - before for before, after in zip(times, [*times[1:], 1.0], strict=True)]
    assert times[0] == 0 and len(times) == 8
    assert all(before > after > 0 for before, after in pairwise(steps))


@pytest.mark.parametrize("is_open", [0.005, 0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize(("believed", "tolerance"), [(1.0, 0.02), (0.5, 0.35), (2.0, 0.5)])
def test_samples_of_a_gaussian_lie_as_far_apart_as_they_should(
    monkeypatch, is_open, believed, tolerance
):
    network = blank()
    set_open(network, monkeypatch, believed * is_open)

    def exact(way, time, condition):
        # The mean of skies of deviation `is_open` about an empty one.
        t = time[:, None, None, None]
        return t * is_open**2 / ((t * is_open) ** 2 + ((1 - t) * 0.5) ** 2) * way

    monkeypatch.setattr(network, "forward", exact)
    images = torch.zeros(4, 10, SIZE, SIZE)
    samples = network.sample(images, torch.ones_like(images), 8, generator=generator())
    # Steps towards where each begins, eight of equal length, would give 0.5 to 0.85 of it.
    assert float(samples.std()) == pytest.approx(is_open, rel=tolerance)


def test_deviations_are_learned_from_the_errors_of_the_translator(task):
    network = blank()
    before = network.deviation(torch.zeros(1, 8, SIZE, SIZE))
    assert torch.allclose(before, torch.full_like(before, 0.1))
    images = torch.zeros(16, 10, SIZE, SIZE)
    rng = generator(9)
    batches = []
    for _ in range(60):
        truth = torch.zeros_like(images)
        error = torch.randn(16, 3, SIZE, SIZE, generator=rng)
        # One band is known to a hundredth, another to a half.
        error = error * torch.tensor([0.01, 0.1, 0.5])[:, None, None]
        truth[:, 2:5] = unstretched(error, softenings(TARGETS))
        noise = torch.randn(error.shape, generator=rng)
        batches.append((images, torch.ones_like(images), truth, noise, torch.rand(16)))
    fitted(network, task, batches, lr=2e-2)
    condition = network.condition(images, torch.ones_like(images))
    found = network.deviation(condition).mean((0, 2, 3))
    assert found.tolist() == pytest.approx([0.01, 0.1, 0.5], rel=0.25)


def test_one_seed_gives_the_same_samples_and_another_noise_another_sky(task, bridge):
    images, ivar, *_ = batch_of(task)
    samples, again, other = (
        bridge.sample(images, ivar, 3, generator=generator(seed)) for seed in (1, 1, 2)
    )
    assert samples.shape == (3, 4, 3, SIZE, SIZE) and torch.equal(samples, again)
    assert not torch.equal(samples, other)
    assert float(samples.std(0).min()) > 0, "no two samples agree anywhere"
    flux, same = (bridge.predict(images, ivar, n_samples=2) for _ in range(2))
    assert torch.equal(flux, same)


def test_the_prediction_is_the_mean_of_stretched_samples(task, bridge):
    images, ivar, *_ = batch_of(task)
    mean = bridge.sample(images, ivar, 3, generator=generator(), pairs=True).mean(0)
    wanted = unstretched(mean, softenings(TARGETS))
    assert torch.allclose(bridge.predict(images, ivar, n_samples=3), wanted)


def test_pairs_lie_opposite_each_other_where_nothing_bends_the_way():
    network = blank()  # linear in the noise, about an empty sky
    images = torch.zeros(2, 10, SIZE, SIZE)
    ivar = torch.ones_like(images)
    pairs = network.sample(images, ivar, 4, generator=generator(1), pairs=True)
    assert torch.allclose(pairs[0], -pairs[1]) and torch.allclose(pairs[2], -pairs[3])
    assert not torch.allclose(pairs[0], pairs[2], atol=0.01)
    alone = network.sample(images, ivar, 2, generator=generator(1))
    assert torch.equal(alone[0], pairs[0]) and torch.equal(alone[1], pairs[2])
    assert float(network.predict(images, ivar, n_samples=2).abs().max()) < 1e-6


def test_a_step_trains_the_bridge_and_leaves_the_translator_as_it_is(task, bridge):
    before = {name: value.clone() for name, value in bridge.translator.state_dict().items()}
    bridge.train()
    assert bridge.unet.training and not bridge.translator.training
    task.loss(bridge, batch_of(task)).backward()
    assert all(p.grad is None for p in bridge.translator.parameters())
    assert all(p.grad is not None for p in bridge.unet.parameters())
    after = bridge.translator.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_scene_has_its_own_noise_and_time_in_whichever_batch_it_stands(task):
    drawn = task.draw(4, generator=generator(3))
    rows = torch.tensor([3, 1, 4, 0])
    together, alone = task.batch(rows, drawn), task.batch(rows[2:], [drawn[0][2:]])
    for whole, part in zip(together, alone, strict=True):
        assert torch.equal(whole[2:], part)
    *_, noise, time = together
    assert noise.shape == (4, 3, SIZE, SIZE) and float(noise.std()) == pytest.approx(1, abs=0.1)
    assert len(time.unique()) == 4 and not torch.equal(noise[0], noise[1])


def test_a_perfect_end_costs_nothing_and_late_errors_cost_more(task, bridge, monkeypatch):
    images, ivar, truth, noise, _ = batch_of(task)
    sky = stretched(truth[:, bridge.rows], softenings(TARGETS))

    def loss(error, time):
        monkeypatch.setattr(bridge, "forward", lambda way, t, condition: sky + error)
        return float(task.loss(bridge, (images, ivar, truth, noise, torch.full((4,), time))))

    def cost(error, time):
        return loss(error, time) - loss(0.0, time)

    set_open(bridge, monkeypatch, 0.5)
    # What is left is how unlikely the translator's errors are.
    wrong = bridge.condition(images, ivar)[:, 3:6] - sky
    unlikely = float((wrong / 0.5).square().mean()) / 2 + math.log(0.5)
    assert loss(0.0, 0.5) == pytest.approx(unlikely, rel=1e-4)
    assert cost(0.2, 0.0) == pytest.approx(0.04 / 1.1, rel=1e-3)
    assert cost(0.2, 0.9) == pytest.approx(0.04 / 0.2, rel=1e-3)
    # Where much is known an error counts more: in the first band, known to a hundredth.
    first = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    rest = 1 - first
    known = torch.tensor([0.01, 0.5, 0.5])[:, None, None]
    monkeypatch.setattr(bridge, "deviation", lambda c: known.expand_as(c[:, :3]))
    ratio = cost(0.2 * first, 0.0) / (cost(0.2 * rest, 0.0) / 2)
    assert ratio == pytest.approx((0.5**2 + 0.05**2) / (0.01**2 + 0.05**2), rel=1e-2)


def fitted(network, task, batches, *, lr=3e-3):
    """Train on batches one after the other; return the losses."""
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=lr)
    network.train()
    losses = []
    for k, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = lr * (1 - k / len(batches))
        loss = task.loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    network.eval()
    return losses


def test_the_loss_falls(task):
    batches = [batch_of(task, seed=seed) for seed in range(4)]
    losses = fitted(blank(channels=(8, 12, 16)), task, batches * 12, lr=1e-2)
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])


def two_skies(rng, images):
    """Return a batch whose pixels are bright or dark, and nothing says which."""
    truth = torch.zeros_like(images)
    shape = (len(images), 3, *images.shape[-2:])
    sign = torch.randint(2, shape, generator=rng) * 2 - 1
    truth[:, 2:5] = unstretched(sign.float(), softenings(TARGETS))
    noise = torch.randn(shape, generator=rng)
    return images, torch.ones_like(images), truth, noise, torch.rand(len(images), generator=rng)


def test_where_two_answers_are_possible_samples_give_both(task, monkeypatch):
    network = blank(channels=(16, 16))
    # It begins with the right deviation, 1: the noise of 200 steps is for the two answers.
    torch.nn.init.constant_(network.log_open[-1].bias, 3.5 * math.atanh(math.log(10) / 3.5))
    images = torch.zeros(32, 10, 8, 8)
    condition = torch.zeros(32, 8, 8, 8)  # that of an empty plate, at every step
    monkeypatch.setattr(network, "condition", lambda images, ivar: condition)
    monkeypatch.setattr(network.translator, "check", lambda *_: None)  # it would want larger ones
    rng = generator(4)
    fitted(network, task, [two_skies(rng, images) for _ in range(200)], lr=2e-2)
    one, other = network.sample(images, torch.ones_like(images), 2, generator=generator(5))
    for bright in (one > 0, other > 0):
        assert float(bright.float().mean()) == pytest.approx(0.5, abs=0.1)
    assert float(((one > 0) == (other > 0)).float().mean()) == pytest.approx(0.5, abs=0.05)
    assert float((one.abs() < 0.3).float().mean()) < 0.12, "a mean would be grey everywhere"
    assert float((one.abs() - 1).abs().median()) < 0.3


def test_the_steps_end_on_either_answer_if_the_network_is_exact(monkeypatch):
    network = blank()

    def exact(way, time, condition):
        # The mean of +1 and -1, of equal probability, given the way.
        t = time[:, None, None, None]
        return (t * way / ((1 - t) * 0.5).square()).tanh()

    monkeypatch.setattr(network, "forward", exact)
    images = torch.zeros(4, 10, SIZE, SIZE)
    samples = network.sample(images, torch.ones_like(images), 2, generator=generator(5))
    assert float((samples.abs() - 1).abs().quantile(0.98)) < 0.1
    assert float((samples > 0).float().mean()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("n_samples", [0, -1])
def test_no_samples_and_no_generator_are_refused(bridge, n_samples):
    images = torch.zeros(1, 10, SIZE, SIZE)
    with pytest.raises(ValueError, match="n_samples must be a positive integer"):
        bridge.sample(images, images, n_samples, generator=generator())
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        bridge.sample(images, images, 1, generator=None)


@pytest.mark.parametrize(
    ("images", "ivar", "name"),
    [
        ((10, SIZE, SIZE), (10, SIZE, SIZE), "images"),
        ((1, 4, SIZE, SIZE), (1, 4, SIZE, SIZE), "images"),
        ((1, 10, SIZE, 2 * SIZE), (1, 10, SIZE, 2 * SIZE), "images"),
        ((2, 10, SIZE, SIZE), (1, 10, SIZE, SIZE), "ivar"),
    ],
)
def test_shapes_that_do_not_fit_are_named(bridge, images, ivar, name):
    seen = torch.zeros(images), torch.zeros(ivar)
    with pytest.raises(ValueError, match=f"^{name} must"):
        bridge.sample(*seen, 1, generator=generator())
    with pytest.raises(ValueError, match=f"^{name} must"):
        bridge.predict(*seen)


def test_a_way_and_a_time_that_do_not_fit_are_named(bridge):
    condition = torch.zeros(2, 8, SIZE, SIZE)
    with pytest.raises(ValueError, match=r"^way must be .*\(2, 3, 16, 16\).*got \(2, 2, 16, 16\)"):
        bridge(torch.zeros(2, 2, SIZE, SIZE), torch.zeros(2), condition)
    with pytest.raises(ValueError, match=r"^time must be \(B,\) = \(2,\), got \(1,\)"):
        bridge(torch.zeros(2, 3, SIZE, SIZE), torch.zeros(1), condition)


def test_a_band_is_not_translated_into_itself():
    with pytest.raises(ValueError, match="targets must not be among the inputs, got red in both"):
        BandBridge(PLATES, ["red"], translator=translator())


def test_one_more_sample_lies_within_the_interval_as_often_as_it_says():
    rng = generator(6)
    values = torch.randn(17, 20_000, generator=rng)
    low, high = central_interval(values[:16], level=0.68)
    held = ((values[16] > low) & (values[16] < high)).float().mean()
    assert float(held) == pytest.approx(0.68, abs=0.015)


@pytest.mark.parametrize(
    ("n", "level", "message"),
    [
        (16, 0.0, "level must be between 0 and 1, got 0.0"),
        (16, 68, "level must be between 0 and 1, got 68"),
        (4, 0.9, "samples must be more than 4"),
        (1, 0.1, "samples must be more than 1"),
    ],
)
def test_an_interval_needs_a_probability_and_samples_enough(n, level, message):
    with pytest.raises(ValueError, match=message):
        central_interval(torch.randn(n, 2), level=level)


@pytest.mark.parametrize(("narrower", "wanted"), [(1.0, 0.68), (10.0, 0.08)])
def test_coverage_finds_samples_that_are_honest_and_those_that_are_not(
    monkeypatch, narrower, wanted
):
    """Fluxes about a wrong centre: truth and samples scatter alike, or the samples less."""
    rng = generator(7)
    centres: dict[int, torch.Tensor] = {}

    def measured(simulator, batch, images, bands):
        truth = batch.scenes.source_flux()[batch.scenes.kind != EMPTY][:, bands]
        if id(batch) not in centres:
            centres[id(batch)] = truth * (1 + 0.05 * torch.randn(truth.shape, generator=rng))
        scatter = 0.05 / narrower * torch.randn(truth.shape, generator=rng)
        return centres[id(batch)] + truth * scatter

    monkeypatch.setattr(bridge_task, "measured_flux", measured)
    network = SimpleNamespace(
        rows=[2, 3, 4],
        given=torch.zeros(10, dtype=torch.bool),
        translator=SimpleNamespace(softening=softenings()),
        sample=lambda images, ivar, n, *, generator: images.new_zeros(n, len(images), 3, 64, 64),
    )
    found = score_coverage(network, seed=8, size=25)
    assert list(found) == list(TARGETS)
    for value in found.values():
        assert value == pytest.approx(wanted, abs=0.12)


def test_validation_scores_the_mean_of_four_samples(task, bridge):
    with torch.no_grad():
        found = task.validate(bridge)
        flux = bridge.predict(task.validation.images, task.validation.ivar, n_samples=4)
    softening = softenings(TARGETS)
    truth = task.validation.truth[:, bridge.rows]
    error = stretched(flux, softening) - stretched(truth, softening)
    assert found == {"psnr": pytest.approx(decibels(error.square()))}


def test_the_recipe_refuses_a_seed_before_anything_else():
    recipe = make_flow_recipe()
    assert recipe.name == "bands-flow" and set(recipe.schedules) == {"smoke", "cpu", "gpu"}
    with pytest.raises(ValueError, match="seed must lie in"):
        recipe.score(object(), seed=-1)
