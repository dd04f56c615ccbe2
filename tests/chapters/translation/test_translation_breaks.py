"""skytutor.chapters.translation.breaks: each change does what it says, and nothing else."""

import pytest
import torch

from skytutor.chapters.translation.breaks import KINDS, make_break
from skytutor.chapters.translation.scored_scenes import draw_batches
from skytutor.data.bands import SceneSimulator


@pytest.fixture(scope="module")
def simulator():
    return SceneSimulator(size=32)


@pytest.fixture(scope="module")
def batch(simulator):
    return next(draw_batches(simulator, 3, generator=torch.Generator().manual_seed(0)))


def broken(kind, simulator, batch):
    return make_break(kind, simulator, batch, generator=torch.Generator().manual_seed(1))


def test_nothing_changes_as_in_training(simulator, batch):
    assert torch.equal(broken("as in training", simulator, batch).truth, batch.seen.truth)


def test_worse_air_widens_the_plates_alone_and_keeps_their_light(simulator, batch):
    truth = broken("worse air", simulator, batch).truth
    plates = [simulator.bands.index(name) for name in ("blue", "red")]
    others = [band for band in range(len(simulator.bands)) if band not in plates]
    assert torch.equal(truth[:, others], batch.seen.truth[:, others])
    wide, sharp = truth[:, plates], batch.seen.truth[:, plates]
    assert (wide.amax((-2, -1)) < 0.8 * sharp.amax((-2, -1))).all()
    # A little goes over the edges.
    light = wide.sum((-2, -1)) / sharp.sum((-2, -1))
    assert (light < 1.001).all() and (light > 0.7).all()


def test_worse_air_makes_a_star_as_wide_as_it_says(simulator):
    from skytutor.chapters.translation.breaks import _widened

    band = simulator.bands.index("red")
    star = simulator.renderer.psf_image(band)[None]
    wide = _widened(star, fwhm=2.2, pixel_arcsec=0.8)
    # The sum of squares falls with the square of the width. A plate's star has wings, of which a
    # Gaussian widens the least: the whole is wider by a little less than its core.
    ratio = float((star.square().sum() / wide.square().sum()).sqrt())
    assert 1.3 < ratio < 1.5


def test_a_line_changes_stars_in_two_bands(simulator, batch):
    change = broken("a line in g", simulator, batch).truth / batch.seen.truth
    bands = simulator.bands
    assert change[:, bands.index("g")].max() == pytest.approx(3.0, rel=1e-3)
    assert change[:, bands.index("blue")].max() == pytest.approx(1.5, rel=1e-3)
    assert change[:, bands.index("r")].sub(1).abs().max() < 1e-4


def test_brighter_is_thirty_times_as_bright(simulator, batch):
    truth = broken("thirty times as bright", simulator, batch).truth
    assert torch.allclose(truth, 30 * batch.seen.truth)


def test_a_gap_is_said_or_not(simulator, batch):
    said, kept = (broken(f"a gap, ivar {how}", simulator, batch) for how in ("0", "kept"))
    red = simulator.bands.index("red")
    third = round(32 / 3)
    for seen in (said, kept):
        assert (seen.images[:, red, :, :third] == 0).all()
        assert (seen.images[:, red, :, third:] != 0).any()
    assert (said.ivar[:, red, :, :third] == 0).all()
    assert (kept.ivar[:, red, :, :third] > 0).all()


def test_a_kind_that_is_not_there_is_refused(simulator, batch):
    with pytest.raises(ValueError, match="kind must be one of"):
        broken("clouds", simulator, batch)
    assert len(set(KINDS)) == 6
