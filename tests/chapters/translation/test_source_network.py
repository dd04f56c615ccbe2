"""skytutor.chapters.translation.source_network and source_task: the light of sources put right."""

import math

import pytest
import torch

from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.scored_scenes import draw_batches
from skytutor.chapters.translation.source_network import SourceTranslator
from skytutor.chapters.translation.source_scores import measured_flux
from skytutor.chapters.translation.source_task import SourcesTask, build_sources, fluxes
from skytutor.chapters.translation.subsets import PUBLISHED, TARGETS, given_bands
from skytutor.data.bands import EMPTY, STAR, SceneSimulator

PLATES = given_bands(PUBLISHED["plates"])
GRI = [SceneSimulator().bands.index(name) for name in TARGETS]


@pytest.fixture(scope="module")
def simulator():
    return SceneSimulator()


@pytest.fixture(scope="module")
def batch(simulator):
    return next(draw_batches(simulator, 4, generator=torch.Generator().manual_seed(5)))


@pytest.fixture(scope="module")
def base(batch):
    """Return the translation of an ideal network, (B, 3, H, H)."""
    return batch.seen.truth[:, GRI]


def network_that_says(*, logit, star=0.0, factor=0.0):
    """Return a network that answers the same of each source."""
    network = SourceTranslator(BandTranslator()).eval()
    with torch.no_grad():
        network.answers.weight.zero_()
        network.answers.bias.copy_(torch.tensor([logit] + [star] * 3 + [factor] * 3))
    return network


def corrected(network, batch, base, *, given=PLATES):
    seen = batch.seen
    each = given.expand(len(base), -1)
    return network.corrected(base, network.measure(seen.images, seen.ivar, each, base))


def test_light_that_is_right_stays_as_it_is(batch, base):
    assert torch.allclose(corrected(network_that_says(logit=-30.0), batch, base), base, rtol=1e-5)


def test_a_factor_counts_for_the_light_of_sources(simulator, batch, base):
    found = corrected(network_that_says(logit=-30.0, factor=math.log(1.5)), batch, base)
    ratio = measured_flux(simulator, batch, found, GRI) / measured_flux(simulator, batch, base, GRI)
    assert ratio.flatten().tolist() == pytest.approx([1.5] * ratio.numel(), rel=1e-3)


def test_a_star_gets_the_flux_that_was_measured_in_the_given_bands(simulator, batch, base):
    network = network_that_says(logit=30.0)
    found = corrected(network, batch, base)
    flux = measured_flux(simulator, batch, found, GRI)
    filled = batch.scenes.kind != EMPTY
    columns = [simulator.bands.index(name) for name in PUBLISHED["plates"]]
    plates = batch.scenes.source_flux()[filled][:, columns]
    bright = (batch.scenes.kind[filled] == STAR) & (plates.amin(1) > 30)
    assert int(bright.sum()) > 1
    # All targets get the flux of the plate that shows the star best.
    nearest = (flux[bright, :1] / plates[bright] - 1).abs().amin(1)
    assert float(nearest.median()) < 0.05


def test_no_source_is_added_where_the_translation_has_none(batch, base):
    empty = torch.zeros_like(base)
    assert not corrected(network_that_says(logit=30.0), batch, empty).any()


def test_without_a_measurement_the_translation_stays(batch, base):
    network = network_that_says(logit=30.0, star=3.0)
    seen = batch.seen
    given = PLATES.expand(len(base), -1)
    # One band must hold something for any source to be measured at all.
    ivar = torch.zeros_like(seen.ivar)
    measured = network.measure(seen.images, ivar, given, base)
    assert torch.equal(network.corrected(base, measured), base)


def test_a_source_of_which_a_band_holds_nothing_stays_and_a_black_pixel_is_no_such_gap(batch, base):
    network = network_that_says(logit=30.0)
    seen = batch.seen
    given = PLATES.expand(len(base), -1)
    whole = network.measure(seen.images, seen.ivar, given, base)
    row, column = (int(place[0, 0].round()) for place in (whole.found.row, whole.found.column))
    assert bool(whole.found.there[0, 0])
    images, ivar = seen.images.clone(), seen.ivar.clone()
    blue = seen.images.shape[1] - 2
    ivar[0, blue, row, column] = 0
    assert bool(network.measure(images, ivar, given, base).found.there[0, 0]), "black"
    images[0, blue, row, column] = 0
    spoiled = network.measure(images, ivar, given, base)
    assert not bool(spoiled.found.there[0, 0])
    made = network.corrected(base, spoiled)
    assert torch.allclose(made[0, :, row, column], base[0, :, row, column])
    assert bool(spoiled.found.there[1:].equal(whole.found.there[1:]))


def test_bands_that_are_not_given_do_not_count(batch, base):
    network = network_that_says(logit=0.0)
    seen = batch.seen
    given = PLATES.expand(len(base), -1)
    wild = torch.where(given[..., None, None], seen.images, 1e6)
    there = network.measure(seen.images, seen.ivar, given, base)
    again = network.measure(wild, seen.ivar, given, base)
    assert torch.equal(there.numbers, again.numbers)
    more = PLATES | given_bands(["J"])
    assert not torch.equal(
        there.numbers,
        network.measure(seen.images, seen.ivar, more.expand(len(base), -1), base).numbers,
    )


def test_what_is_asked_for_cannot_be_given(batch):
    network = network_that_says(logit=0.0)
    seen = batch.seen
    given = given_bands(["g", "red"]).expand(len(seen.images), -1)
    with pytest.raises(ValueError, match="given must not hold g, r or i"):
        network.predict(seen.images, seen.ivar, given)
    plates = PLATES.expand(len(seen.images), -1)
    with pytest.raises(ValueError, match="targets must be among"):
        network.predict(seen.images, seen.ivar, plates, targets=[7])


@pytest.fixture(scope="module")
def task(simulator):
    return SourcesTask(simulator, build_sources(), size=4, n_validation=3)


def test_fluxes_of_the_table_are_those_measured_in_corrected_images(simulator, task, batch):
    network = build_sources().eval()
    with torch.no_grad():
        network.answers.bias.copy_(torch.linspace(-0.4, 0.3, 7))
    network.standardise(task.table["numbers"][task.table["there"]])
    seen = batch.seen
    rows = task._rows(network, batch.scenes, batch.planes, seen, PLATES)
    with torch.no_grad():
        found = fluxes(network(rows["numbers"]), rows)[rows["true"]]
    images = network.predict(seen.images, seen.ivar, PLATES.expand(len(batch), -1))
    wanted = measured_flux(simulator, batch, images, GRI)
    assert found.flatten().tolist() == pytest.approx(wanted.flatten().tolist(), rel=2e-3, abs=1e-2)


def test_a_training_brings_the_error_down(task):
    torch.manual_seed(0)
    network = build_sources()
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(30):
        loss = task.loss(network, task.batch(torch.arange(4), []))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    assert bool(network.started)
    assert all(p.grad is None for p in network.translator.parameters())


def test_half_of_the_scenes_are_given_plates_and_none_what_is_asked_for(task):
    rng = torch.Generator().manual_seed(0)
    given = torch.stack([task._given(rng) for _ in range(200)])
    assert not given[:, GRI].any() and given.any(1).all()
    plates = (given == PLATES).all(1).double().mean()
    assert 0.45 < float(plates) < 0.75
    assert given.sum(1).unique().numel() > 4


def test_kinds_are_those_of_the_sources_that_were_found(task):
    kinds = task.table["kind"][task.table["there"]]
    assert set(kinds.tolist()) <= {0, 1, 2} and (kinds > 0).double().mean() > 0.7
    assert not task.table["kind"][~task.table["there"]].any()
