"""skytutor.chapters.translation.flux_task: what the light of sources adds to the error."""

import pytest
import torch
from torch.nn import functional as F

from skytutor.chapters import weights
from skytutor.chapters.translation import flux_task
from skytutor.chapters.translation.flux_task import SCHEDULES, FluxTask, build_flux, peaks_of
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.stretch import stretched
from skytutor.chapters.translation.task import BandsTask
from skytutor.data.bands import SceneSimulator
from skytutor.files import CheckpointError
from skytutor.metrics.sources import point_source_flux

FAINT, BRIGHT = 4.0, 160.0  # nanomaggies


@pytest.fixture(scope="module")
def task():
    return FluxTask(SceneSimulator(size=32), size=4, n_validation=2)


def rows_of(task, *names):
    return [task.simulator.bands.index(name) for name in names]


def star(task, rows, flux):
    """Return a star in the middle of one scene, of the same flux in each band, (1, T, H, H)."""
    return flux * torch.stack([task.psf[row] for row in rows])[None]


def all_hidden(truth):
    return torch.ones(truth.shape[:2], dtype=torch.bool)


def error(task, found, truth, rows, *, hidden=None):
    hidden = all_hidden(truth) if hidden is None else hidden
    return float(task.error(stretched(found, task.softening[rows]), truth, hidden, rows=rows))


def pixel_error(task, found, truth, rows, *, hidden=None):
    hidden = all_hidden(truth) if hidden is None else hidden
    answer = stretched(found, task.softening[rows])
    return float(BandsTask.error(task, answer, truth, hidden, rows=rows))


def of_sources(task, found, truth, rows):
    return error(task, found, truth, rows) - pixel_error(task, found, truth, rows)


def test_the_truth_costs_nothing(task):
    rows = rows_of(task, "g", "r", "i")
    assert error(task, task.truth[:, rows], task.truth[:, rows], rows) == pytest.approx(0, abs=1e-5)


def test_a_star_that_is_too_wide_costs_light_and_few_pixels(task):
    rows = rows_of(task, "r")
    truth = star(task, rows, FAINT)
    wide = F.avg_pool2d(truth, 3, 1, 1)
    assert float(wide.sum()) == pytest.approx(float(truth.sum()), rel=1e-3), "all light is there"
    pixels = pixel_error(task, wide, truth, rows)
    assert of_sources(task, wide, truth, rows) > 5 * pixels > 0


def test_the_more_light_is_lost_the_more_it_costs(task):
    rows = rows_of(task, "r")
    for flux in (FAINT, BRIGHT):
        truth = star(task, rows, flux)
        costs = [error(task, part * truth, truth, rows) for part in (1.0, 0.9, 0.7, 0.0)]
        assert costs == sorted(costs) and len(set(costs)) == len(costs)
        # Of a factor too much as of a factor too little, far above the noise.
        much, little = (of_sources(task, part * truth, truth, rows) for part in (1.25, 0.8))
        assert much == pytest.approx(little, rel=0.01)


def test_bright_and_faint_stars_count_alike(task):
    rows = rows_of(task, "r")
    costs = [
        of_sources(task, 0.8 * truth, truth, rows)
        for truth in (star(task, rows, flux) for flux in (FAINT, BRIGHT))
    ]
    assert costs[0] == pytest.approx(costs[1], rel=0.05)


def test_without_a_source_only_pixels_count(task):
    rows = rows_of(task, "g", "r")
    truth = 1e-3 * star(task, rows, 1.0)
    found = truth + 0.5 * task.softening[rows][:, None, None]
    wanted = pixel_error(task, found, truth, rows)
    assert error(task, found, truth, rows) == pytest.approx(wanted, rel=1e-6) and wanted > 0


def test_what_is_invented_where_the_truth_is_empty_costs_pixels_alone(task):
    rows = rows_of(task, "r")
    found = star(task, rows, BRIGHT)
    empty = torch.zeros_like(found)
    assert of_sources(task, found, empty, rows) == 0
    assert pixel_error(task, found, empty, rows) > 0


def test_hidden_bands_count_and_no_given_band_does(task):
    rows = rows_of(task, "g", "r")
    truth = task.truth[:, rows]
    found = truth.clone()
    found[:, 1] *= 0.5  # only r is wrong
    given_r = torch.tensor([True, False]).expand(len(truth), 2)
    assert error(task, found, truth, rows, hidden=given_r) == pytest.approx(0, abs=1e-5)
    given_g = ~given_r
    alone = error(task, found[:, 1:], truth[:, 1:], rows[1:])
    assert error(task, found, truth, rows, hidden=given_g) == pytest.approx(alone, rel=1e-4)
    nothing = torch.zeros_like(given_r)
    assert error(task, found, truth, rows, hidden=nothing) == 0


def test_a_scene_in_which_the_band_is_given_does_not_count(task):
    rows = rows_of(task, "r")
    truth = task.truth[:2, rows]
    hidden = torch.tensor([[True], [False]])
    found = 0.6 * truth
    alone = error(task, found[:1], truth[:1], rows)
    assert error(task, found, truth, rows, hidden=hidden) == pytest.approx(alone, rel=1e-4)
    found[1] = 0
    assert error(task, found, truth, rows, hidden=hidden) == pytest.approx(alone, rel=1e-4)


def test_bands_may_come_in_any_order(task):
    rows = rows_of(task, "FUV", "r", "K")
    truth = task.truth[:, rows]
    found = 0.8 * truth
    there = error(task, found, truth, rows)
    back = error(task, found.flip(1), truth.flip(1), rows[::-1])
    assert back == pytest.approx(there, rel=1e-4)


@pytest.mark.parametrize("name", ["blue", "r", "K"])
def test_each_source_is_found_once_and_with_its_flux(task, name):
    (row,) = rows_of(task, name)
    renderer = task.simulator.renderer
    x = torch.tensor([-8.1, 0.3, 7.2])
    y = torch.tensor([5.1, -6.6, 6.9])
    stars = renderer.moved(renderer.points(3), x, y)
    image = renderer.templates(stars[None], band=row)[0].sum(0, keepdim=True)
    flux, deviation = point_source_flux(1e4 * image, task.psf[row])
    found = peaks_of(flux, least=5 * deviation)
    assert int(found.sum()) == 3
    assert flux[found].tolist() == pytest.approx([1e4] * 3, rel=0.25)
    assert int(peaks_of(flux, least=2e4).sum()) == 0


@pytest.mark.parametrize("start", ["the truth", "nothing", "too bright"])
def test_the_gradient_is_finite_and_points_to_the_truth(task, start):
    rows = rows_of(task, "g", "r")
    truth = task.truth[:, rows]
    found = {"the truth": truth, "nothing": torch.zeros_like(truth), "too bright": 3 * truth}
    answer = stretched(found[start], task.softening[rows]).requires_grad_()
    loss = task.error(answer, truth, all_hidden(truth), rows=rows)
    (gradient,) = torch.autograd.grad(loss, answer)
    assert torch.isfinite(gradient).all()
    if start != "the truth":
        # A step against the gradient is a step towards the truth, in a source's brightest pixel.
        peak = truth[0, 1].argmax()
        slope = float(gradient[0, 1].flatten()[peak])
        assert slope > 0 if start == "too bright" else slope < 0


def test_a_step_trains_the_network_with_both_errors():
    small = FluxTask(SceneSimulator(size=16), size=4, n_validation=2)
    network = BandTranslator(size=16)
    drawn = small.draw(4, generator=torch.Generator().manual_seed(0))
    batch = small.batch(torch.arange(4), drawn)
    loss = small.loss(network, batch)
    pixels = BandsTask.error(
        small,
        network(*batch[:2], batch[3], targets=batch[4].tolist()),
        batch[2][:, batch[4]],
        ~batch[3][:, batch[4]],
        rows=batch[4].tolist(),
    )
    assert float(loss.detach()) > float(pixels.detach()) > 0
    loss.backward()
    slopes = [p.grad for p in network.parameters() if p.grad is not None]
    assert slopes and all(torch.isfinite(slope).all() for slope in slopes)
    assert any(bool(slope.any()) for slope in slopes)


def test_validation_has_the_score_by_which_weights_are_chosen():
    small = FluxTask(SceneSimulator(size=16), size=4, n_validation=2)
    network = BandTranslator(size=16).eval()  # answers nothing before it is trained
    with torch.no_grad():
        found = small.validate(network)
        pixels = BandsTask.validate(small, network)
    assert found.items() > pixels.items() and small.score in found
    rows = rows_of(small, "g", "r", "i")
    truth = small.validation.truth[:, rows]
    wanted = -error(small, torch.zeros_like(truth), truth, rows)
    assert found[small.score] == pytest.approx(wanted, rel=1e-4) and wanted < 0


def test_training_goes_on_from_the_network_of_pixels_alone(monkeypatch, tmp_path):
    asked = []
    network = BandTranslator(size=16)

    def load(name, needed_for):
        asked.append((name, needed_for))
        return network

    monkeypatch.setattr(flux_task, "load_needed", load)
    assert build_flux() is network
    assert asked == [("bands", "the recipe bands-flux")]
    assert set(SCHEDULES) == {"smoke", "cpu", "gpu"}
    monkeypatch.undo()
    monkeypatch.setattr(weights, "pretrained_folder", lambda: tmp_path)
    with pytest.raises(CheckpointError, match=r"bands-flux needs the trained weights of bands,"):
        build_flux()
