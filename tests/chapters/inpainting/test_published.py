"""The published network of chapter 6: what it depends on, its loss by hand, and its training."""

import pytest
import torch

from skytutor import plot
from skytutor.chapters.inpainting import published_task
from skytutor.chapters.inpainting.pictures import to_picture
from skytutor.chapters.inpainting.published import (
    Inpainted,
    PartialBlock,
    PublishedVAE,
    latent_prior,
)
from skytutor.chapters.inpainting.published_loss import (
    WEIGHTS,
    PublishedLoss,
    gaussian_kl,
    total_variation,
)
from skytutor.chapters.inpainting.published_task import (
    PublishedTask,
    fill,
    make_recipe,
    published_network,
    score,
    shift_and_flip,
)
from skytutor.data.patches import disc_mask, flat_sky
from skytutor.fields.holes import DenseHole


def small(**options):
    torch.manual_seed(0)
    prior = torch.linspace(2.0, 0.5, 8)
    return PublishedVAE(prior, size=32, widths=(8, 8, 16, 16), **options)


def case(n=2, channels=1, size=32, seed=0):
    """Return maps of rms 100 and a mask with a hole of 8 x 8."""
    generator = torch.Generator().manual_seed(seed)
    maps = 100 * torch.randn(n, channels, size, size, generator=generator)
    mask = torch.ones(n, 1, size, size, dtype=torch.bool)
    mask[..., 8:16, 12:20] = False
    return maps, mask


@pytest.mark.parametrize("filling", [1e20, float("nan")])
def test_nothing_behind_the_mask_reaches_the_answer(filling):
    net = small().eval()
    maps, mask = case()
    expected = net(maps, mask)
    found = net(torch.where(mask, maps, filling), mask)
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))
    assert not torch.equal(net(maps, mask.roll(3, 2)).maps, expected.maps)


def test_a_constant_added_to_the_sky_is_added_to_the_answer():
    net = small().eval()
    maps, mask = case()
    found = net(maps + 250.0, mask)
    expected = net(maps, mask)
    torch.testing.assert_close(found.maps, expected.maps + 250.0, rtol=0, atol=1e-2)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-3, atol=1e-4)


def test_training_draws_the_latents_and_evaluation_takes_their_mean():
    net = small()
    maps, mask = case()
    assert not torch.equal(net(maps, mask).maps, net(maps, mask).maps)
    net.eval()
    first = net(maps, mask)
    assert torch.equal(first.maps, net(maps, mask).maps)
    assert torch.equal(first.maps, net(maps, mask, first.mean).maps)
    assert not torch.equal(first.maps, net(maps, mask, first.mean + 1).maps)


def test_every_weight_has_a_gradient_and_the_skip_connections_go_round_the_latents():
    net = small()
    maps, mask = case()
    found = net(maps.requires_grad_(), mask)
    found.maps.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
    assert (maps.grad[(~mask).expand_as(maps)] == 0).all()
    # with all latents held, the seen pixels still reach the answer
    other = maps.detach().clone().requires_grad_()
    net(other, mask, torch.zeros(2, 8)).maps.square().mean().backward()
    assert other.grad.abs().max() > 0


def test_latents_drawn_from_the_prior_have_its_variances():
    z = small().draw_latents(20000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(z.var(0), torch.linspace(2.0, 0.5, 8), rtol=4 * 0.01, atol=0)


def test_the_prior_follows_the_spectrum():
    cl = torch.zeros(1001, dtype=torch.float64)
    l = torch.arange(2, 1001, dtype=torch.float64)
    cl[2:] = 1 / (l * (l + 1))
    multipoles, variance = latent_prior(cl, 10, lmax=1000)
    torch.testing.assert_close(variance, torch.ones(10), rtol=0.01, atol=0)
    assert multipoles[0] == 2 and multipoles[-1] == 1000
    with pytest.raises(ValueError, match=r"lmax at most 1000.*got 10 and 1001"):
        latent_prior(cl, 10, lmax=1001)


def test_colour_stays_between_0_and_1_and_has_three_channels():
    net = small(units="colour").eval()
    maps, mask = case(channels=3)
    found = net(maps.sigmoid(), mask).maps.detach()
    assert found.shape == (2, 3, 32, 32) and 0 <= float(found.min()) < float(found.max()) <= 1


def test_batch_normalisation_hides_the_published_scaling():
    """A sum that is too small by a constant factor is scaled back, but for the added constant."""
    maps, mask = case(channels=4)
    found = []
    for scaling in ("exact", "published"):
        torch.manual_seed(1)
        block = PartialBlock(4, 3, 3, scaling=scaling)
        torch.nn.init.zeros_(block.conv.bias)
        found.append(block(maps, mask.expand_as(maps))[0].detach())
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)


def test_divergence_against_torchs():
    mean, log_variance = torch.randn(2, 5, 8)
    prior = torch.linspace(0.5, 3.0, 8)
    one = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(
        one, torch.distributions.Normal(torch.zeros(8), prior.sqrt())
    )
    torch.testing.assert_close(gaussian_kl(mean, log_variance, prior), expected)
    assert gaussian_kl(torch.zeros(1, 8), prior.log()[None], prior).abs().max() < 1e-6


def test_total_variation_by_hand():
    maps = torch.tensor([[0.0, 1.0, 4.0], [2.0, 3.0, 9.0], [5.0, 5.0, 5.0]])[None, None]
    mask = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    assert float(total_variation(maps, mask)) == 0
    mask[0, 0, 1, 1] = False
    # four steps touch the centre: from 1, 2, 9 and 5 to 3
    assert float(total_variation(maps, mask)) == pytest.approx((2 + 1 + 6 + 2) / 9)


def test_the_terms_of_the_loss_by_hand():
    maps, mask = case()
    prior = torch.ones(8)
    wrong = torch.where(mask, maps + 50.0, maps - 200.0)
    found = Inpainted(wrong, torch.zeros(2, 8), torch.zeros(2, 8))
    loss = PublishedLoss(32)
    terms = loss.terms(found, maps, mask, prior)
    hidden = 64 / 1024
    assert float(terms["valid"]) == pytest.approx(0.5 * (1 - hidden), rel=1e-5)
    assert float(terms["hole"]) == pytest.approx(2.0 * hidden, rel=1e-5)
    assert float(terms["kl"]) == pytest.approx(0.0, abs=1e-5)
    assert float(terms["perceptual"]) > 0.01
    total = sum(WEIGHTS[name] * float(term) for name, term in terms.items())
    assert float(loss(found, maps, mask, prior)) == pytest.approx(total, rel=1e-5)
    perfect = Inpainted(maps, torch.zeros(2, 8), torch.zeros(2, 8))
    terms = loss.terms(perfect, maps, mask, prior)
    assert all(float(terms[name]) == 0 for name in ("valid", "hole", "perceptual"))


def test_how_the_divergence_is_summed():
    maps, mask = case(n=4)
    found = Inpainted(maps, torch.ones(4, 8), torch.zeros(4, 8))
    sums = {}
    for kl in ("batch", "sample", "pixel"):
        loss = PublishedLoss(32, kl=kl)
        sums[kl] = float(loss.terms(found, maps, mask, torch.ones(8))["kl"])
    # each of 8 latents has mean 1: half a nat
    assert sums == pytest.approx({"batch": 16.0, "sample": 4.0, "pixel": 4.0 / 1024})


def test_sky_and_mask_move_together_or_not():
    generator = torch.Generator().manual_seed(0)
    for augment, apart in (("none", 0), ("both", 0), ("image", 1)):
        task = PublishedTask(augment=augment, filling="white", samples=8, n_validation=2)
        given, truth, mask = task.batch(torch.arange(8), task.draw(8, generator=generator))
        white = given == 600.0
        assert torch.equal(given[~white], truth[~white])
        assert bool((white & mask).any()) == bool(apart), augment
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    still = torch.zeros(1, 2, dtype=torch.long)
    flipped = shift_and_flip(maps, shifts=still, flips=torch.tensor([True]))
    assert torch.equal(flipped, maps.flip(3))
    moved = shift_and_flip(maps, shifts=torch.tensor([[1, 0]]), flips=torch.tensor([False]))
    assert torch.equal(moved, maps.roll(1, 2))


def test_the_task_in_colour_gives_pictures():
    task = PublishedTask(units="colour", samples=4, n_validation=2)
    drawn = task.draw(4, generator=torch.Generator().manual_seed(0))
    given, truth, mask = task.batch(torch.arange(4), drawn)
    assert torch.equal(truth, to_picture(drawn[0]).float() / 255)
    assert (given[(~mask).expand_as(given)] == 1).all(), "white"
    net = published_network(units="colour").eval()
    assert -1 < task.validate(net)["minus_error"] < 0


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    net = published_network()
    assert sum(p.numel() for p in net.parameters()) == 1_507_201
    task = PublishedTask(samples=8, n_validation=8)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    before = task.validate(net.eval())["minus_error"]
    generator = torch.Generator().manual_seed(0)
    net.train()
    for _ in range(12):
        batch = task.batch(torch.arange(4), task.draw(4, generator=generator))
        optimizer.zero_grad()
        task.loss(net, batch).backward()
        optimizer.step()
    fixed = task.validate(net.eval())
    assert fixed == task.validate(net), "validation changes nothing"
    assert fixed["minus_error"] > before + 1


def test_a_fill_leaves_what_is_seen():
    net = published_network().eval()
    _, data = flat_sky("B", 64).draw(3, generator=torch.Generator().manual_seed(0))
    mask = disc_mask(64, 60.0, pixel_arcmin=6.871)
    filled = fill(net, torch.where(mask, data, float("nan")), mask)
    assert filled.dtype == torch.float64 and filled.isfinite().all()
    assert torch.equal(filled[:, mask], data[:, mask])
    assert torch.equal(fill(net, data, mask.expand(3, 64, 64)), filled)
    with pytest.raises(ValueError, match="mask hides every pixel"):
        fill(net, data, torch.zeros(64, 64))
    with pytest.raises(ValueError, match="mask must be hard"):
        fill(net, data, 0.5 * torch.ones(64, 64))


def test_the_exact_fill_scores_1_and_no_fill_less(monkeypatch):
    sky = flat_sky("B", 64)

    def exact(model, data, mask, z=None):
        return DenseHole(sky.precision, mask).fill(data)

    net = published_network().eval()
    monkeypatch.setattr(published_task, "fill", exact)
    radii = (15, 60)  # the widest takes seconds
    monkeypatch.setattr(published_task, "RADII", radii)
    found = score(net, seed=3, size=8)
    assert set(found.scores["by_radius"]) == {"15", "60"}
    for radius in radii:
        row = found.scores["by_radius"][str(radius)]
        assert row["ratio"] == pytest.approx(1.0, abs=1e-9)
        assert row["rmse"] == pytest.approx(row["wiener_rmse"])
        assert 1 < row["biharmonic_ratio"] < 2 and row["harmonic_ratio"] > 1
        assert found.constant[f"ratio_{radius}"] > 1.1
    assert found.limit["rmse_60"] == pytest.approx(64.0, rel=0.01)
    with pytest.raises(ValueError, match="size must be a positive integer, got 0"):
        score(net, size=0)


def test_the_recipe_knows_its_sizes():
    recipe = make_recipe()
    assert recipe.name == "inpaint-published"
    full = recipe.schedules["gpu"]
    assert (full.batch_size, full.lr, full.optimizer, full.rate) == (4, 2e-4, "adam", "constant")


def test_it_is_drawn_with_its_latents():
    maps, mask = case()
    drawing = plot.architecture(small(), (maps, mask), leaf=(PartialBlock,))
    assert "PartialBlock" in drawing.alt and "network of" in drawing.alt


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="size must be a multiple of 16, got 40"):
        PublishedVAE(torch.ones(8), size=40)
    with pytest.raises(ValueError, match="widths must be 4"):
        PublishedVAE(torch.ones(8), widths=(8, 8))
    with pytest.raises(ValueError, match="units must be one of 'muK', 'colour', got 'K'"):
        PublishedVAE(torch.ones(8), units="K")
    with pytest.raises(ValueError, match="kl must be one of"):
        PublishedLoss(32, kl="mean")
    with pytest.raises(ValueError, match="augment must be one of"):
        PublishedTask(augment="mask")
