"""The learned preconditioner on the sphere: what holds whatever its weights are."""

import math
import signal

import pytest
import torch

from skytutor.chapters.inpainting.polarisation import exact_fill, leakage, pure_e_skies
from skytutor.chapters.inpainting.sphere import SphereFill, ZonalFilters, hole_depth
from skytutor.chapters.inpainting.sphere_masks import draw_mask, excess, masked_skies
from skytutor.chapters.inpainting.sphere_polarisation import PolarisedFill
from skytutor.chapters.inpainting.sphere_scores import score_nside
from skytutor.chapters.inpainting.sphere_sky import SphereSky
from skytutor.chapters.inpainting.sphere_task import SphereTask
from skytutor.healpix import neighbours, pixel_to_vector, vector_to_pixel
from skytutor.sht.solvers import ConvergenceError
from skytutor.training.interrupt import Interrupted
from skytutor.training.loop import train
from skytutor.training.schedule import Schedule

NSIDE = 8


@pytest.fixture(scope="module")
def mask():
    return draw_mask(NSIDE, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    model = SphereFill(NSIDE, channels=2).eval()
    # Weights as no training leaves them: nothing below may depend on good ones.
    for weights in model.parameters():
        weights.data.add_(0.1 * torch.randn_like(weights))
    return model.requires_grad_(False)


def _matrix(function, size):
    return torch.stack([function(row) for row in torch.eye(size, dtype=torch.float64)], 1)


def test_preconditioner_is_symmetric_and_positive(model, mask):
    size = (model.sky.lmax + 1) ** 2
    P = _matrix(model.preconditioner(mask), size)
    torch.testing.assert_close(P, P.T, rtol=1e-10, atol=1e-12 * float(P.abs().max()))
    assert torch.linalg.eigvalsh((P + P.T) / 2)[0] > 0


def test_more_steps_lead_to_the_dense_answer(model, mask):
    sky = model.sky
    _, data = sky.draw(2, generator=torch.Generator().manual_seed(0))
    A = _matrix(sky.operator(mask), (sky.lmax + 1) ** 2)
    exact = torch.linalg.solve(A, sky.right_side(data, mask).T).T
    found = model.solve(data, mask, tolerance=1e-7)
    assert found.residual < 1e-7
    torch.testing.assert_close(found.x, exact, rtol=0, atol=1e-5)


def test_exact_fills_of_training_are_exact(mask):
    sky = SphereSky(NSIDE)
    rng = torch.Generator().manual_seed(0)
    drawn = masked_skies(sky, mask[None], skies=2, generator=rng)
    A = _matrix(sky.operator(mask), (sky.lmax + 1) ** 2)
    x = torch.linalg.solve(A, sky.right_side(drawn.data[0], mask).T).T
    fill = torch.where(mask, drawn.data[0], sky.synthesis(x))
    torch.testing.assert_close(drawn.exact[0], fill, rtol=0, atol=1e-3)
    # Posterior variance of the signal: the diagonal of S A^-1 S^T over the hidden pixels.
    columns = sky.adjoint(torch.eye(12 * NSIDE**2, dtype=torch.float64)[~mask])
    variance = (columns.T * torch.linalg.solve(A, columns.T)).sum()
    assert float(drawn.variance[0]) == pytest.approx(float(variance), rel=0.05)


def test_fill_is_linear_and_keeps_what_is_seen(model, mask):
    # The step lengths of conjugate gradients depend on the data; a factor goes through them.
    _, data = model.sky.draw(1, generator=torch.Generator().manual_seed(0))
    filled = model(data, mask, steps=3)
    torch.testing.assert_close(model(-2.5 * data, mask, steps=3), -2.5 * filled)
    assert torch.equal(filled[:, mask], data[:, mask])
    first = model(torch.cat([data, 2 * data]), mask, steps=1)
    torch.testing.assert_close(model(3 * data, mask, steps=1), first.sum(0, keepdim=True))


def test_hidden_data_do_not_count(model, mask):
    _, data = model.sky.draw(1, generator=torch.Generator().manual_seed(0))
    spoiled = torch.where(mask, data, torch.nan)
    torch.testing.assert_close(model(spoiled, mask), model(data, mask))


def test_quarter_turn_turns_the_fill(model, mask):
    # A quarter turn about the poles takes pixels to pixels.
    x, y, z = pixel_to_vector(torch.arange(len(mask)), nside=NSIDE, order="ring").unbind(1)
    turn = vector_to_pixel(torch.stack([-y, x, z], 1), nside=NSIDE, order="ring")
    _, data = model.sky.draw(1, generator=torch.Generator().manual_seed(0))
    turned = model(data[:, turn], mask[turn], steps=3)
    torch.testing.assert_close(turned, model(data, mask, steps=3)[:, turn], rtol=1e-5, atol=1e-3)


def test_batch_of_masks_is_each_by_itself(model, mask):
    other = draw_mask(NSIDE, generator=torch.Generator().manual_seed(5))
    _, data = model.sky.draw(2, generator=torch.Generator().manual_seed(0))
    both = model(data, torch.stack([mask, other]), steps=3)
    torch.testing.assert_close(both[1], model(data[1], other, steps=3), rtol=1e-5, atol=1e-3)


def test_depth_counts_pixels_to_the_edge():
    vectors = pixel_to_vector(torch.arange(12 * 32**2), nside=32, order="ring")
    angle = (vectors @ vectors[5000]).clamp(-1, 1).acos()
    mask = angle > 0.12  # a disc of nearly four pixels' radius
    depth = hole_depth(mask, nside=32)
    assert torch.equal(depth == 0, mask)
    assert depth[5000] == depth.max() > 2
    # The other way round: what is seen grows by one pixel on every side, and again.
    around = neighbours(torch.arange(len(mask)), nside=32, order="ring")
    grown = mask
    for step in range(1, 4):
        more = grown | (grown[around.clamp(min=0)] & (around >= 0)).any(1)
        assert torch.equal(depth == step, more & ~grown)
        grown = more


def test_weights_serve_another_nside(model):
    other = model.at(16)
    assert other.sky.nside == 16
    for name, value in other.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    # In units of nside the filters over the covariance are the same.
    coarse = ZonalFilters(2)(torch.ones(21), nside=8)
    torch.testing.assert_close(ZonalFilters(2)(torch.ones(41), nside=16)[:, ::2], coarse)


def test_gradient_and_a_step_of_training_lower_the_loss():
    torch.manual_seed(0)
    task = SphereTask(size=4, n_validation=2, nside=NSIDE)
    model = SphereFill(NSIDE, channels=2, steps=3)
    batch = task.batch(torch.arange(4), task.draw(4, generator=torch.Generator().manual_seed(0)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5
    with torch.no_grad():
        found = task.validate(model.eval())
    assert found["digits"] == pytest.approx(-math.log10(found["ratio"] - 1))


def test_mixed_skies_have_their_exact_fills():
    task = SphereTask(size=2, n_validation=2, nside=NSIDE)
    drawn = task.draw(2, generator=torch.Generator().manual_seed(0))
    data, mask, exact, variance = task.batch(torch.arange(2), drawn)
    found = SphereFill(NSIDE).solve(data, mask, tolerance=1e-7)
    fill = torch.where(mask, data, task.sky.synthesis(found.x))
    assert bool((excess(fill, exact, variance=variance) < 1e-8).all())


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (torch.ones(768), TypeError, "mask must be bool"),
        (torch.ones(768, dtype=torch.bool), ValueError, "hide some pixels"),
        (torch.zeros(768, dtype=torch.bool), ValueError, "not all of them"),
        (torch.ones(192, dtype=torch.bool), ValueError, "mask must end in 768 pixels"),
    ],
)
def test_bad_masks_are_named(model, mask, error, words):
    with pytest.raises(error, match=words):
        model(torch.zeros(768, dtype=torch.float64), mask)


class Stopped(SphereTask):
    """Training that is interrupted at its third step."""

    seen = 0

    def loss(self, model, batch):
        self.seen += 1
        if self.seen == 3:
            signal.raise_signal(signal.SIGINT)
        return super().loss(model, batch)


def test_training_goes_on_where_it_was_stopped(tmp_path):
    schedule = Schedule(epochs=2, batch_size=2, lr=0.02)

    def run(task, folder, **options):
        torch.manual_seed(0)
        model = SphereFill(NSIDE, channels=1, steps=2)
        options |= {"schedule": schedule, "seed": 0, "progress": False}
        return train(model, task, folder=folder, **options)

    sizes = {"size": 4, "n_validation": 1, "nside": NSIDE}
    whole = run(SphereTask(**sizes), tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(Stopped(**sizes), tmp_path / "parts")
    parts = run(SphereTask(**sizes), tmp_path / "parts", resume=True)
    assert all(torch.equal(whole.best[k], parts.best[k]) for k in whole.best)


def test_scores_at_another_nside_count_steps_and_time(model):
    found = score_nside(model, nside=16, skies=2, seed=0)
    ratio = list(found["ratio"].values())
    assert ratio[0] > ratio[2] > 1, "every step comes nearer, none is below the least error"
    assert found["hole"]["steps_to_residual"] < found["coarse"]["steps_to_residual"]
    for name in ("ours", "coarse", "hole"):
        assert found[name]["residual"] < 1e-8 and found[name]["seconds_to_ratio"] > 0


def test_polarised_fill_leaks_as_much_as_the_exact_one():
    torch.manual_seed(0)
    ours = PolarisedFill(SphereFill(NSIDE))
    rng = torch.Generator().manual_seed(0)
    found = leakage({"exact": exact_fill(), "ours": ours}, size=2, generator=rng)
    assert found["ours"].power == pytest.approx(found["exact"].power, rel=0.01)
    assert ours.last.residual < 1e-6


def test_polarised_preconditioner_is_symmetric():
    torch.manual_seed(0)
    ours = PolarisedFill(SphereFill(NSIDE))
    mask = torch.arange(12 * 32**2) > 300
    apply = ours.preconditioner(mask)
    one, two = torch.randn(2, 2, 65**2, dtype=torch.float64)
    assert float((one * apply(two)).sum()) == pytest.approx(float((two * apply(one)).sum()))
    assert float((one * apply(one)).sum()) > 0
    maps = pure_e_skies(1, generator=torch.Generator().manual_seed(0))
    assert bool((ours(maps, mask.double()) == maps)[..., mask].all())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.6375e30])
def test_what_is_seen_must_be_finite(bad):
    data = torch.randn(2, 192, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(192) > 10
    fill = SphereFill(4)
    with pytest.raises(ValueError, match=r"data, where seen, holds 2 .*first at pixel 100;"):
        fill(torch.where(torch.arange(192) == 100, bad, data), mask)
    hidden = torch.where(torch.arange(192) == 5, bad, data)
    assert torch.equal(fill(hidden, mask), fill(data, mask))
    with pytest.raises(TypeError, match="data must be float64, got"):
        fill(data.float(), mask)


def test_a_polarised_fill_that_has_not_converged_is_no_answer():
    fill = PolarisedFill(SphereFill(4), tolerance=1e-15)
    maps = torch.randn(1, 2, 12288, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ConvergenceError, match="the fill has not converged: residual"):
        fill(maps, (torch.arange(12288) > 9).double())
