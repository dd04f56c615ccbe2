"""skytutor.layers.flow_matching: samples and density of a posterior with two curved branches."""

import math

import pytest
import torch
from torch.distributions import Normal

from skytutor.layers.flow_matching import FlowMatching, VelocityNetwork
from skytutor.layers.gaussian_head import (
    GaussianHead,
    gaussian_loss,
    gaussian_nll,
    gaussian_sample,
)

BASES = ("gaussian", "standard")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class TwoBranches:
    """A posterior of two numbers: two branches, bent, that move and widen with two features.

    ``x = (a + e**b u, -a + e**b v)`` with u from a mixture of two Gaussians at -1 and 1, and v from
    one around ``0.6 (u**2 - 1)``; all three have standard deviation 0.3.
    """

    @staticmethod
    def features(n, generator):
        return torch.rand(n, 2, generator=generator) * torch.tensor([2.0, 1.4]) - torch.tensor(
            [1.0, 0.7]
        )

    @staticmethod
    def draw(features, n, generator):
        """Return exact samples ``(B, n, 2)``."""
        a, b = features[:, None].unbind(2)
        sign = torch.randint(0, 2, (len(features), n), generator=generator) * 2 - 1
        noise = 0.3 * torch.randn(len(features), n, 2, generator=generator)
        u = sign + noise[..., 0]
        v = 0.6 * (u**2 - 1) + noise[..., 1]
        return torch.stack([a + b.exp() * u, -a + b.exp() * v], 2)

    @staticmethod
    def standardise(x, features):
        """Return u and v of x, in one unit for all features."""
        a, b = features[:, None].unbind(2)
        return (x - torch.stack([a, -a], 2)) / b.exp().unsqueeze(2)

    @classmethod
    def log_prob(cls, x, features):
        """Return the exact log density ``(B, n)``."""
        u, v = cls.standardise(x, features).unbind(2)
        normal = Normal(0.0, 0.3)
        mixture = torch.logaddexp(normal.log_prob(u - 1), normal.log_prob(u + 1)) - math.log(2)
        return mixture + normal.log_prob(v - 0.6 * (u**2 - 1)) - 2 * features[:, 1:]


def train(base, *, steps=1000):
    """Return a flow trained for a few seconds on draws of `TwoBranches`."""
    torch.manual_seed(0)
    generator = rng(1)
    flow = FlowMatching(2, 2, base=base, width=64)
    optimizer = torch.optim.Adam(flow.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(steps):
        features = TwoBranches.features(256, generator)
        target = TwoBranches.draw(features, 1, generator)[:, 0]
        loss = flow.loss(target, features, draws=4, generator=generator)
        if flow.base is not None:
            loss = loss + gaussian_loss(target, *flow.base(features))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        schedule.step()
    return flow.requires_grad_(False)


@pytest.fixture(scope="module", params=BASES)
def trained(request):
    return train(request.param)


def random_flow(features=3, targets=2, **options):
    """Return a flow in float64 that no training has seen but that moves its noise."""
    torch.manual_seed(2)
    flow = FlowMatching(features, targets, width=16, **options).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return flow.requires_grad_(False)


def energy_distance(a, b):
    """Return the mean over the rows of the energy distance of ``(B, n, T)``; 0 if a is b."""

    def mean_distance(x, y):
        return torch.cdist(x, y).mean()

    return 2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)


@pytest.mark.slow
def test_trained_samples_are_those_of_the_posterior_and_a_gaussian_is_not(trained):
    generator = rng(7)
    features = TwoBranches.features(200, generator)
    exact, others = (TwoBranches.draw(features, 500, generator) for _ in range(2))
    samples = trained.sample(features, 500, generator=generator)

    def to_exact(x):
        a, b = (TwoBranches.standardise(z, features) for z in (x, exact))
        return float(energy_distance(a, b))

    chance = to_exact(others)  # of two exact sets as large as these
    # The best Gaussian that could be: the posterior's own mean and covariance.
    mean = others.mean(1)
    scale_tril = torch.linalg.cholesky(torch.stack([rows.T.cov() for rows in others]))
    gaussian = to_exact(gaussian_sample(mean, scale_tril, 500, generator=generator))
    assert to_exact(samples) - chance < 0.05 * (gaussian - chance)


@pytest.mark.slow
def test_trained_intervals_cover_what_they_say(trained):
    generator = rng(8)
    features = TwoBranches.features(1500, generator)
    truth = TwoBranches.draw(features, 1, generator)
    samples = trained.sample(features, 100, generator=generator)
    rank = (samples < truth).double().mean(1)  # (B, T), uniform if calibrated
    for level in (0.3, 0.68, 0.9):
        covered = ((rank - 0.5).abs() < level / 2).double().mean(0)
        scatter = (level * (1 - level) / len(features)) ** 0.5
        # Four standard errors, and two per cent for a network that trained for seconds.
        assert ((covered - level).abs() < 4 * scatter + 0.02).all(), (level, covered)


@pytest.mark.slow
def test_trained_density_is_near_the_exact_one_and_not_above_it(trained):
    generator = rng(9)
    features = TwoBranches.features(300, generator)
    x = TwoBranches.draw(features, 30, generator)
    difference = TwoBranches.log_prob(x, features) - trained.log_prob(x, features, steps=32)
    divergence = float(difference.mean())  # Kullback-Leibler, in nats
    scatter = float(difference.mean(1).std() / len(features) ** 0.5)
    assert -4 * scatter < divergence < 0.1
    if trained.base is not None:
        gaussian = -gaussian_nll(x[:, 0], *trained.base(features))
        assert float((TwoBranches.log_prob(x, features)[:, 0] - gaussian).mean()) > 0.5


@pytest.mark.slow
def test_more_steps_move_the_trained_samples_by_a_quarter_each_time(trained):
    features = TwoBranches.features(100, rng(10))
    noise = torch.randn(100, 20, 2, generator=rng(11))

    def samples(steps):
        x = trained.transport(noise, features, steps=steps)
        return TwoBranches.standardise(x, features)

    reference = samples(256)
    errors = [float((samples(n) - reference).square().mean().sqrt()) for n in (16, 32, 64)]
    assert errors[0] < 0.01, "the default number of steps"
    assert errors[1] < errors[0] / 2.5 and errors[2] < errors[1] / 2.5


@pytest.mark.parametrize("base", BASES)
def test_an_untrained_flow_answers_with_its_base(base):
    flow = FlowMatching(3, 4, base=base).double()
    features = torch.randn(5, 3, dtype=torch.float64, generator=rng())
    target = torch.randn(5, 4, dtype=torch.float64, generator=rng(1))
    if base == "gaussian":
        torch.nn.init.normal_(flow.base.covariance.weight)
        mean, scale_tril = flow.base(features)
    else:
        mean = torch.zeros(5, 4, dtype=torch.float64)
        scale_tril = torch.eye(4, dtype=torch.float64).expand(5, 4, 4)
    theirs = gaussian_sample(mean, scale_tril, 6, generator=rng(2))
    ours = flow.sample(features, 6, generator=rng(2))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    density = flow.log_prob(target, features)
    torch.testing.assert_close(density, -gaussian_nll(target, mean, scale_tril), rtol=0, atol=1e-12)


@pytest.mark.parametrize("base", BASES)
def test_the_density_is_normalised(base):
    flow = random_flow(base=base)
    features = torch.randn(2, 3, dtype=torch.float64, generator=rng())
    x = flow.sample(features, 500, generator=rng(1))
    # A grid of 100 x 100 points that holds all samples with room around them.
    low, high = x.amin(1), x.amax(1)
    low, high = low - (high - low), high + (high - low)
    steps = torch.linspace(0, 1, 100, dtype=torch.float64)
    unit = torch.cartesian_prod(steps, steps)
    grid = low.unsqueeze(1) + unit * (high - low).unsqueeze(1)
    cell = (high - low).prod(1) / 99**2
    total = flow.log_prob(grid, features, steps=32).exp().sum(1) * cell
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-3)


def test_the_density_is_that_of_the_jacobian():
    """Another way: log p(x) = log p(noise) - log |dx/dnoise| at the sample of that noise."""
    flow = random_flow(targets=3)
    features = torch.randn(1, 3, dtype=torch.float64, generator=rng())
    noise = torch.randn(1, 1, 3, dtype=torch.float64, generator=rng(1))

    def sample(z):
        return flow.transport(z, features, steps=200)

    jacobian = torch.autograd.functional.jacobian(sample, noise).reshape(3, 3)
    expected = Normal(0.0, 1.0).log_prob(noise).sum() - torch.linalg.slogdet(jacobian).logabsdet
    density = flow.log_prob(sample(noise)[:, 0], features, steps=200)
    torch.testing.assert_close(density[0], expected, rtol=0, atol=1e-4)


def test_the_gaussian_base_is_an_affine_frame_of_the_standard_one():
    """Shift and scale the targets and the base alike: loss, samples and density follow."""

    class Fixed(torch.nn.Module):
        def forward(self, features):
            shift = torch.tensor([3.0, -1.0], dtype=torch.float64)
            factor = torch.tensor([[2.0, 0.0], [0.5, 0.1]], dtype=torch.float64)
            return shift.expand(len(features), 2), factor.expand(len(features), 2, 2)

    standard = random_flow(base="standard")
    moved = random_flow(base=Fixed())
    moved.velocity.load_state_dict(standard.velocity.state_dict())
    features = torch.randn(4, 3, dtype=torch.float64, generator=rng())
    y = standard.sample(features, 5, generator=rng(1))
    mean, factor = Fixed()(features)
    x = moved.sample(features, 5, generator=rng(1))
    torch.testing.assert_close(x, mean.unsqueeze(1) + y @ factor.mT, rtol=0, atol=1e-12)
    losses = (
        flow.loss(z[:, 0], features, generator=rng(2)) for flow, z in ((moved, x), (standard, y))
    )
    torch.testing.assert_close(*losses, rtol=1e-11, atol=0)
    shift = moved.log_prob(x, features) - standard.log_prob(y, features)
    expected = torch.full_like(shift, -math.log(2.0 * 0.1))
    torch.testing.assert_close(shift, expected, rtol=0, atol=1e-11)


def test_a_shared_head_is_not_trained_by_the_flow():
    head = GaussianHead(3, 2)
    flow = FlowMatching(3, 2, base=head)
    torch.nn.init.normal_(flow.velocity.layers[-1].weight)
    features = torch.randn(8, 3, requires_grad=True)
    flow.loss(torch.randn(8, 2), features).mean().backward()
    assert all(parameter.grad is None for parameter in head.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in flow.velocity.parameters())
    assert features.grad.abs().sum() > 0, "the flow may train the features"


def test_gradients_through_samples_and_loss():
    flow = random_flow(base="standard")
    features = torch.randn(2, 3, dtype=torch.float64, generator=rng(), requires_grad=True)
    noise = torch.randn(2, 2, 2, dtype=torch.float64, generator=rng(1), requires_grad=True)
    target = torch.randn(2, 2, dtype=torch.float64, generator=rng(2))

    def carried(z, f):
        return flow.transport(z, f, steps=3)

    def loss(f):
        return flow.loss(target, f, draws=2, generator=rng(3))

    assert torch.autograd.gradcheck(carried, (noise, features))
    assert torch.autograd.gradcheck(loss, features)


def test_the_loss_is_an_average_over_draws():
    flow = random_flow()
    features = torch.randn(1, 3, dtype=torch.float64, generator=rng())
    target = torch.randn(1, 2, dtype=torch.float64, generator=rng(1))
    singles = torch.stack([flow.loss(target, features, generator=rng(k)) for k in range(2000)])
    many = flow.loss(target, features, draws=200_000, generator=rng(3000))
    scatter = float(singles.std() / 2000**0.5)
    assert abs(float(singles.mean() - many)) < 4 * scatter


@pytest.mark.parametrize("base", BASES)
def test_float32_agrees_with_float64_and_seeds_repeat(base):
    flow = random_flow(base=base)
    features = torch.randn(4, 3, dtype=torch.float64, generator=rng())
    double = flow.sample(features, 10, generator=rng(1))
    assert torch.equal(flow.sample(features, 10, generator=rng(1)), double)
    assert not torch.equal(flow.sample(features, 10, generator=rng(2)), double)
    density = flow.log_prob(double, features)
    single = flow.float().sample(features.float(), 10, generator=rng(1))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)
    ours = flow.log_prob(double.float(), features.float())
    torch.testing.assert_close(ours.double(), density, rtol=1e-4, atol=1e-4)


def test_rows_do_not_see_each_other(monkeypatch):
    flow = random_flow()
    features = torch.randn(6, 3, dtype=torch.float64, generator=rng())
    noise = torch.randn(6, 10, 2, dtype=torch.float64, generator=rng(1))
    whole = flow.transport(noise, features)
    one = flow.transport(noise[2:3], features[2:3])
    torch.testing.assert_close(one, whole[2:3], rtol=0, atol=1e-12)
    samples = flow.sample(features, 10, generator=rng(2))
    monkeypatch.setattr("skytutor.layers.flow_matching._PLACES_CPU", 25)
    pieces = flow.sample(features, 10, generator=rng(2))
    torch.testing.assert_close(pieces, samples, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"base": "uniform"}, ValueError, "base must be one of 'gaussian', 'standard'"),
        ({"width": 0}, ValueError, "width"),
        ({"depth": 1.5}, TypeError, "depth"),
        ({"frequencies": -1}, ValueError, "frequencies"),
    ],
)
def test_a_bad_option_is_named(options, error, words):
    with pytest.raises(error, match=words):
        FlowMatching(3, 2, **options)
    with pytest.raises(ValueError, match="n_targets"):
        VelocityNetwork(3, 0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda flow, f: flow.sample(f[:, :2], 4), "features must be"),
        (lambda flow, f: flow.sample(f, 0), "n must be a positive"),
        (lambda flow, f: flow.sample(f, 4, steps=0), "steps"),
        (lambda flow, f: flow.sample(f * math.nan, 4), "features holds NaN"),
        (lambda flow, f: flow.loss(torch.zeros(3, 2), f), "target must"),
        (lambda flow, f: flow.loss(torch.zeros(4, 3), f), "target must"),
        (lambda flow, f: flow.loss(torch.zeros(4, 1, 2), f), "target must"),
        (lambda flow, f: flow.loss(torch.full((4, 2), math.inf), f), "target holds NaN"),
        (lambda flow, f: flow.loss(torch.zeros(4, 2), f, draws=0), "draws"),
        (lambda flow, f: flow.transport(torch.zeros(4, 2), f), "noise must"),
        (lambda flow, f: flow.log_prob(torch.zeros(3, 5, 2), f), "target must"),
        (lambda flow, f: flow.log_prob(torch.zeros(4, 2), f, steps=-1), "steps"),
    ],
)
def test_a_bad_call_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(FlowMatching(3, 2), torch.randn(4, 3))
