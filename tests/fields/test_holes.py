"""The exact fill: against the conditional Gaussian of a full covariance, and against draws."""

import pytest
import torch

from skytutor.fields.fills import (
    block_preconditioner,
    covariance_preconditioner,
    fill_by_cg,
    fill_by_harmonics,
    hole_labels,
)
from skytutor.fields.flat import FlatSky, filter_maps, laplacian
from skytutor.fields.holes import DenseHole, check_hard_mask
from skytutor.healpix import UNSEEN
from skytutor.sht.solvers import ConvergenceError, ConvergenceWarning

SIZE = 16
CL = 1e4 / torch.arange(1, 4001).double() ** 2
SKY = FlatSky(SIZE, pixel_arcmin=20.0, cl=CL, beam_arcmin=30.0, noise=0.3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def two_holes():
    mask = torch.ones(SIZE, SIZE, dtype=torch.bool)
    mask[2:6, 3:7] = False
    mask[0, 15] = False
    mask[15, 0] = False  # a corner of the same hole, across the edges
    return mask


def full_covariance(total):
    """Return the covariance of all pixels, column by column."""
    unit = torch.eye(SIZE * SIZE, dtype=torch.float64).reshape(-1, SIZE, SIZE)
    return filter_maps(unit, total).reshape(SIZE * SIZE, -1)


MASK = two_holes()
HOLE = DenseHole(SKY.precision, MASK)
DATA = SKY.draw(5, generator=generator(1))[1]


def textbook(data, mask):
    """Return mean and covariance of hidden pixels by the blocks of the covariance."""
    covariance = full_covariance(SKY.total)
    hidden = ~mask.flatten()
    across = covariance[hidden][:, ~hidden]
    weights = torch.linalg.solve(covariance[~hidden][:, ~hidden], across.T).T
    mean = data.flatten(-2)[:, ~hidden] @ weights.T
    return mean, covariance[hidden][:, hidden] - weights @ across.T


def test_mean_and_covariance_are_those_of_the_textbook():
    mean, covariance = textbook(DATA, MASK)
    assert torch.allclose(HOLE.fill(DATA).flatten(-2)[:, HOLE.index], mean, atol=1e-10)
    assert torch.allclose(HOLE.covariance(), covariance, atol=1e-10)
    assert torch.allclose(HOLE.variance, covariance.diagonal(), atol=1e-10)
    assert torch.logdet(covariance) == pytest.approx(-HOLE.log_det)


def test_log_determinant_gives_that_of_the_seen_pixels():
    # log det T_oo = log det T + log det Q_hh: what the evidence of a spectrum needs.
    covariance = full_covariance(SKY.total)
    seen = MASK.flatten()
    expected = torch.logdet(covariance[seen][:, seen])
    assert torch.logdet(covariance) + HOLE.log_det == pytest.approx(float(expected))


def test_seen_pixels_stay_and_hidden_ones_do_not_count():
    spoilt = torch.where(MASK, DATA, torch.nan)
    assert torch.equal(HOLE.fill(DATA)[:, MASK], DATA[:, MASK])
    assert torch.equal(HOLE.fill(spoilt), HOLE.fill(DATA))


def test_realisations_have_the_mean_and_the_covariance():
    draws = HOLE.realisation(DATA[:1].expand(20_000, -1, -1), generator=generator(2))
    hidden = draws.flatten(-2)[:, HOLE.index]
    mean = HOLE.fill(DATA[:1]).flatten(-2)[:, HOLE.index]
    error = HOLE.variance.sqrt() / 20_000**0.5
    assert float(((hidden.mean(0) - mean) / error).abs().max()) < 5
    scale = (HOLE.variance[:, None] * HOLE.variance[None]).sqrt()
    assert float(((hidden.T.cov() - HOLE.covariance()) / scale).abs().max()) < 0.05
    assert float(HOLE.chi_square(hidden - mean).mean()) == pytest.approx(len(HOLE.index), rel=0.01)


def test_errors_over_skies_are_as_predicted():
    signal, data = SKY.draw(8000, generator=generator(3))
    error = (HOLE.fill(data) - signal)[:, ~MASK]
    predicted = (HOLE.variance - SKY.noise**2).mean()
    assert float(error.square().mean()) == pytest.approx(float(predicted), rel=0.03)


def test_draw_filled_and_added_is_a_realisation():
    # The conditional autoencoder of a Gaussian sky: f + fill(d - f) for f of the prior.
    data = DATA[:1].expand(20_000, -1, -1)
    prior = SKY.draw(20_000, generator=generator(4))[1]
    drawn = (prior + HOLE.fill(data - prior)).flatten(-2)[:, HOLE.index]
    scale = (HOLE.variance[:, None] * HOLE.variance[None]).sqrt()
    assert float(((drawn.T.cov() - HOLE.covariance()) / scale).abs().max()) < 0.05


@pytest.mark.parametrize("power", [1, 2])
def test_laplacian_fill_solves_its_equation(power):
    # Inside the hole the Laplacian, or its square, of the fill is 0.
    filled = DenseHole(laplacian(SIZE, power), MASK).fill(DATA)
    inside = filter_maps(filled, laplacian(SIZE, power))[:, ~MASK]
    assert float(inside.abs().max()) < 1e-9


def solvers():
    return {
        "none": None,
        "covariance": covariance_preconditioner(SKY.total, MASK),
        "blocks": block_preconditioner(SKY.precision, MASK),
    }


@pytest.mark.parametrize("name", ["none", "covariance", "blocks"])
def test_every_preconditioner_ends_at_the_dense_answer(name):
    found = fill_by_cg(DATA, MASK, SKY.precision, preconditioner=solvers()[name], tolerance=1e-11)
    assert torch.allclose(found.maps, HOLE.fill(DATA), atol=1e-6)
    assert found.residual <= 1e-11


def test_preconditioners_save_steps():
    steps = {}
    for name, preconditioner in solvers().items():
        filled = fill_by_cg(DATA, MASK, SKY.precision, preconditioner=preconditioner)
        steps[name] = filled.steps
    assert steps["blocks"] < steps["covariance"] < steps["none"]


def test_a_mask_for_each_map():
    other = MASK.roll((5, 4), (0, 1))
    masks = torch.stack([MASK, other])
    found = fill_by_cg(DATA[:2], masks, SKY.precision, tolerance=1e-11).maps
    assert torch.allclose(found[1], DenseHole(SKY.precision, other).fill(DATA[1]), atol=1e-6)


def test_harmonic_filter_ends_at_the_dense_answer():
    found = fill_by_harmonics(DATA, MASK, SKY, tolerance=1e-12, max_iter=5000)
    assert torch.allclose(found.maps, HOLE.fill(DATA), atol=1e-5)


def test_not_converged_raises_unless_told():
    with pytest.raises(ConvergenceError, match=r"after 2 steps, tolerance 1\.0e-08"):
        fill_by_cg(DATA, MASK, SKY.precision, max_iter=2)
    with pytest.warns(ConvergenceWarning, match="has not converged"):
        fill_by_cg(DATA, MASK, SKY.precision, max_iter=2, on_failure="warn")
    with pytest.raises(ConvergenceError, match="has not converged"):
        fill_by_harmonics(DATA, MASK, SKY, max_iter=2)


def test_labels_go_across_the_edges():
    labels = hole_labels(MASK)
    assert labels.max() == 2
    assert labels[0, 15] == labels[15, 0] != labels[2, 3]
    assert bool((labels > 0).eq(~MASK).all())


def bad_cases():
    soft = torch.ones(SIZE, SIZE)
    soft[3, 3] = 0.5
    holed = DATA.clone()
    holed[0, 9, 9] = torch.nan
    unseen = torch.where(MASK, torch.tensor(UNSEEN).double(), DATA)
    quiet = FlatSky(SIZE, pixel_arcmin=20.0, cl=CL, beam_arcmin=30.0)
    fill = DenseHole(SKY.precision, MASK).fill
    return {
        "all seen": (lambda: check_hard_mask(torch.ones(4, 4)), "hides no pixel"),
        "nothing seen": (lambda: check_hard_mask(torch.zeros(4, 4)), "hides every pixel"),
        "no square": (
            lambda: check_hard_mask(torch.ones(4, 5)),
            r"mask must be .*got shape \(4, 5",
        ),
        "soft": (lambda: DenseHole(SKY.precision, soft), "mask must be hard"),
        "text": (lambda: check_hard_mask("seen"), "mask must be numbers, .*got str"),
        "mask of another size": (
            lambda: DenseHole(SKY.precision, torch.eye(8)),
            r"mask must be \(..., 16, 16\)",
        ),
        "negative precision": (lambda: DenseHole(-SKY.precision, MASK), "none negative"),
        "data of another size": (lambda: fill(torch.zeros(8, 8)), r"data must end in \(16, 16\)"),
        "NaN seen": (lambda: fill(holed), r"data, where seen, holds 1 NaN.*pixel \(9, 9\)"),
        "UNSEEN seen": (lambda: fill(unseen), "data, where seen, holds .*UNSEEN"),
        "no noise": (lambda: fill_by_harmonics(DATA, MASK, quiet), "sky.noise must be positive"),
        "word": (
            lambda: fill_by_cg(DATA, MASK, SKY.precision, on_failure="pass"),
            "on_failure must be",
        ),
    }


@pytest.mark.parametrize("case", bad_cases())
def test_bad_input_to_fills(case):
    attempt, message = bad_cases()[case]
    with pytest.raises((TypeError, ValueError), match=message):
        attempt()


def test_whole_numbers_are_refused_as_a_fill_would_be_rounded():
    hole = DenseHole(laplacian(8), one_hidden())
    with pytest.raises(TypeError, match=r"data must be real .* numbers, got torch\.int64"):
        hole.fill(torch.ones(8, 8, dtype=torch.int64))


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        (laplacian(8) * torch.nan, "finite, none negative"),
        (1 / laplacian(8), "finite, none negative"),
        (-laplacian(8), "finite, none negative"),
        (torch.ones(8, 8), r"must be \(H, H // 2 \+ 1\)"),
        (torch.zeros(8, 5), "precision must be positive on the hidden pixels"),
        (torch.ones(2, 8, 5), r"must be \(8, 5\)"),
    ],
)
def test_a_precision_that_none_can_have(precision, words):
    with pytest.raises(ValueError, match=words):
        DenseHole(precision, one_hidden())


def test_vectors_of_another_length():
    hole = DenseHole(laplacian(8), one_hidden())
    for call in (hole.solve, hole.chi_square):
        with pytest.raises(ValueError, match=r"must be \(..., 1\), one for each hidden pixel"):
            call(torch.ones(3, dtype=torch.float64))


def one_hidden():
    mask = torch.ones(8, 8, dtype=torch.bool)
    mask[3, 4] = False
    return mask
