"""skytutor.layers.gaussian_head: the density, the draws, and a mean that is not distorted."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from skytutor.layers.gaussian_head import (
    GaussianHead,
    gaussian_loss,
    gaussian_nll,
    gaussian_sample,
    whiten,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def random_gaussians(batch=5, targets=4, *, dtype=torch.float64):
    """Return means, factors with a positive diagonal, and targets."""
    generator = rng()
    mean = torch.randn(batch, targets, generator=generator, dtype=dtype)
    factor = torch.randn(batch, targets, targets, generator=generator, dtype=dtype).tril(-1)
    diagonal = 0.2 + torch.rand(batch, targets, generator=generator, dtype=dtype)
    target = 3 * torch.randn(batch, targets, generator=generator, dtype=dtype)
    return mean, factor + torch.diag_embed(diagonal), target


def random_head(in_features=6, targets=4, **options):
    """Return a head in float64 all of whose weights are random."""
    head = GaussianHead(in_features, targets, **options).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=rng(parameter.numel()))
    return head


def test_the_likelihood_is_that_of_torch():
    mean, scale_tril, target = random_gaussians()
    theirs = -MultivariateNormal(mean, scale_tril=scale_tril).log_prob(target)
    torch.testing.assert_close(gaussian_nll(target, mean, scale_tril), theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize("samples", [None, 7])
def test_whitening_undoes_the_factor(samples):
    mean, scale_tril, _ = random_gaussians()
    y = torch.randn(5, samples or 1, 4, dtype=torch.float64, generator=rng(1))
    x = mean.unsqueeze(1) + y @ scale_tril.mT
    if samples is None:
        x, y = x.squeeze(1), y.squeeze(1)
    torch.testing.assert_close(whiten(x, mean, scale_tril), y, rtol=0, atol=1e-12)


def test_samples_have_the_mean_and_the_covariance():
    mean, scale_tril, _ = random_gaussians(batch=2)
    n = 100_000
    x = gaussian_sample(mean, scale_tril, n, generator=rng())
    covariance = scale_tril @ scale_tril.mT
    deviation = covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert ((x.mean(1) - mean).abs() < 4 * deviation / n**0.5).all()
    measured = torch.stack([rows.T.cov() for rows in x])
    # Variance of a sample covariance: (C_ii C_jj + C_ij**2) / n.
    scatter = ((deviation[:, :, None] * deviation[:, None]) ** 2 + covariance**2) / n
    assert ((measured - covariance).abs() < 4 * scatter.sqrt()).all()


def test_the_same_seed_draws_the_same_in_both_types():
    mean, scale_tril, _ = random_gaussians()
    double = gaussian_sample(mean, scale_tril, 10, generator=rng(3))
    single = gaussian_sample(mean.float(), scale_tril.float(), 10, generator=rng(3))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)
    assert not torch.equal(double, gaussian_sample(mean, scale_tril, 10, generator=rng(4)))


def test_a_new_head_knows_nothing():
    head = GaussianHead(6, 4, hidden=8)
    _, scale_tril = head(torch.randn(3, 6))
    torch.testing.assert_close(scale_tril, torch.eye(4).expand(3, 4, 4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("hidden", [0, 8])
def test_the_factor_is_lower_triangular_and_never_singular(hidden):
    head = random_head(hidden=hidden, floor=0.01)
    _, scale_tril = head(1000 * torch.randn(50, 6, dtype=torch.float64))
    assert torch.equal(scale_tril, scale_tril.tril())
    assert torch.isfinite(scale_tril).all()
    assert (scale_tril.diagonal(dim1=1, dim2=2) >= 0.01).all()


def test_all_entries_of_the_factor_are_free():
    head = random_head()
    features = torch.randn(1, 6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda bias: torch.func.functional_call(head, {"covariance.bias": bias}, (features,))[1],
        head.covariance.bias,
    )
    assert torch.linalg.matrix_rank(jacobian.reshape(16, 10)) == 10


def test_gradients_of_the_likelihood_through_the_head():
    head = random_head(targets=3)
    target = torch.randn(2, 3, dtype=torch.float64)
    features = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: gaussian_nll(target, *head(f)), features)


def test_the_loss_gives_the_mean_the_gradient_of_the_squared_error():
    mean, scale_tril, target = random_gaussians()
    mean.requires_grad_()
    scale_tril.requires_grad_()
    grads = torch.autograd.grad(gaussian_loss(target, mean, scale_tril).sum(), (mean, scale_tril))
    torch.testing.assert_close(grads[0], (mean - target).detach(), rtol=1e-12, atol=1e-12)
    (likelihood,) = torch.autograd.grad(gaussian_nll(target, mean, scale_tril).sum(), scale_tril)
    torch.testing.assert_close(grads[1], likelihood, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_beta_weights_the_gradient_of_the_mean_by_a_power_of_the_variance(beta):
    mean, scale_tril, target = random_gaussians()
    mean.requires_grad_()
    scale_tril.requires_grad_()
    loss = gaussian_loss(target, mean, scale_tril, beta=beta).sum()
    grads = torch.autograd.grad(loss, (mean, scale_tril))
    variance = scale_tril.detach().square().sum(2)
    wanted = (mean - target).detach() * variance ** (beta - 1)
    torch.testing.assert_close(grads[0], wanted, rtol=1e-12, atol=1e-12)
    # The weights are no way for the covariance to lower the loss.
    (likelihood,) = torch.autograd.grad(gaussian_nll(target, mean, scale_tril).sum(), scale_tril)
    torch.testing.assert_close(grads[1], likelihood, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("beta", "error", "words"),
    [(1.5, ValueError, r"0\.\.1, got 1\.5"), (-0.1, ValueError, "beta"), ("1", TypeError, "beta")],
)
def test_a_bad_beta_is_named(beta, error, words):
    one = torch.ones(2, 1)
    with pytest.raises(error, match=words):
        gaussian_loss(one, one, one[..., None], beta=beta)


def test_a_gaussian_target_gives_the_mean_loss_of_its_draws():
    """Up to half the trace of its covariance, which no weight can change."""
    mean, scale_tril, target = random_gaussians()
    _, spread, _ = random_gaussians()
    spread = 0.7 * spread
    draws = gaussian_sample(target, spread, 100_000, generator=rng(1))  # (B, S, T)
    one = [gaussian_loss(row, mean, scale_tril) for row in draws.unbind(1)[:20_000]]
    found = gaussian_loss(target, mean, scale_tril, target_scale_tril=spread)
    wanted = torch.stack(one).mean(0) - spread.square().sum((1, 2)) / 2
    torch.testing.assert_close(found, wanted, rtol=0.03, atol=0.03)


def test_a_gaussian_target_of_no_width_is_a_number():
    mean, scale_tril, target = random_gaussians()
    none = torch.zeros_like(scale_tril)
    found = gaussian_loss(target, mean, scale_tril, target_scale_tril=none)
    torch.testing.assert_close(found, gaussian_loss(target, mean, scale_tril))
    with pytest.raises(ValueError, match="target_scale_tril must be"):
        gaussian_loss(target, mean, scale_tril, target_scale_tril=none[:, :1])


def test_what_a_teacher_knows_more_is_added_to_the_covariance():
    """Pupils who see nothing: the mean of the teacher's means, and the total variance."""
    means = torch.randn(4000, 2, generator=rng(2), dtype=torch.float64) @ torch.tensor(
        [[1.0, 0.5], [0.0, 0.3]], dtype=torch.float64
    )
    own = torch.tensor([[0.4, 0.0], [0.1, 0.2]], dtype=torch.float64).expand(4000, 2, 2)
    mean = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    lower = torch.eye(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([mean, lower], lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        factor = lower.tril().expand(4000, 2, 2)
        loss = gaussian_loss(means, mean.expand(4000, 2), factor, target_scale_tril=own).mean()
        loss.backward()
        optimizer.step()
    found = (lower.tril() @ lower.tril().T).detach()
    wanted = torch.cov(means.T, correction=0) + own[0] @ own[0].T
    torch.testing.assert_close(mean.detach(), means.mean(0), rtol=0, atol=1e-3)
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("detach", [False, True])
def test_the_covariance_moves_the_features_unless_it_is_detached(detach):
    head = random_head(detach=detach, hidden=5)
    features = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    _, scale_tril = head(features)
    scale_tril.square().sum().backward()
    assert (features.grad is None) == detach
    assert head.covariance[0].weight.grad.abs().sum() > 0


def test_trained_on_noise_of_known_covariance_it_finds_mean_and_covariance():
    """Errors that grow with a feature and are correlated: both are learned to a few per cent."""
    generator = rng(5)

    def draw(n):
        f = torch.rand(n, 1, generator=generator) * 2 - 1
        noise = torch.randn(n, 2, generator=generator)
        noise[:, 1] = 0.8 * noise[:, 0] + 0.6 * noise[:, 1]
        return f, torch.cat([2 * f, -f], 1) + f.exp() * noise

    torch.manual_seed(0)
    head = GaussianHead(1, 2, hidden=16)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 800)
    for _ in range(800):
        features, target = draw(1024)
        optimizer.zero_grad()
        gaussian_loss(target, *head(features)).mean().backward()
        optimizer.step()
        schedule.step()
    features = torch.tensor([[-0.8], [0.0], [0.8]])
    mean, scale_tril = head(features)
    torch.testing.assert_close(mean, torch.cat([2 * features, -features], 1), rtol=0, atol=0.1)
    truth = features.exp().square()[:, :, None] * torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    torch.testing.assert_close(scale_tril @ scale_tril.mT, truth, rtol=0.15, atol=0)


def test_half_precision_features_still_give_a_likelihood():
    head = GaussianHead(6, 4).bfloat16()
    nll = gaussian_nll(torch.zeros(3, 4), *head(torch.randn(3, 6, dtype=torch.bfloat16)))
    assert torch.isfinite(nll).all()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((0, 4), {}, ValueError, "in_features"),
        ((6, 2.5), {}, TypeError, "n_targets"),
        ((6, 4), {"hidden": -1}, ValueError, "hidden"),
        ((6, 4), {"floor": 0}, ValueError, "floor"),
        ((6, 4), {"floor": 1.0}, ValueError, "floor must be below 1"),
    ],
)
def test_a_bad_size_of_the_head_is_named(arguments, options, error, words):
    with pytest.raises(error, match=words):
        GaussianHead(*arguments, **options)


def test_shapes_that_do_not_fit_are_named():
    mean, scale_tril, target = random_gaussians()
    with pytest.raises(ValueError, match="features must be"):
        GaussianHead(6, 4)(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="mean must be"):
        whiten(target, mean[0], scale_tril)
    with pytest.raises(ValueError, match="scale_tril must be"):
        gaussian_nll(target, mean, scale_tril[:, :3])
    with pytest.raises(ValueError, match="target must be"):
        gaussian_nll(target[:4], mean, scale_tril)
    with pytest.raises(ValueError, match="target must be"):
        gaussian_nll(target[None], mean, scale_tril)
    with pytest.raises(ValueError, match="n must be a positive"):
        gaussian_sample(mean, scale_tril, 0)
