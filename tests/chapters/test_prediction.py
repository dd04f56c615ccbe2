"""A network asked about maps of one's own: answered as it was trained to, warned of, or refused."""

import warnings

import numpy as np
import pytest
import torch
from astropy.utils.masked import Masked

import skytutor
from skytutor import chapters
from skytutor.chapters.prediction import FALSE_ALARMS, InputRangeWarning, outside, predict
from skytutor.data.cmb import GaussianSkySimulator
from skytutor.healpix import UNSEEN, reorder
from skytutor.training import checkpoint

# Every recipe that says what it may be asked.
ASKED = [entry for entry in chapters.ENTRIES if entry.startswith("cmb-")]
by_name = pytest.mark.parametrize("name", ASKED)


def seed_of(name):
    """Return a seed that draws skies of the test."""
    return chapters.get(name).seeds.test_seed(3)


def question_of(name):
    return chapters.get(name).question


@by_name
def test_the_card_says_inputs_and_outputs(name):
    card = checkpoint.read_card(checkpoint.pretrained_folder() / f"{name}.json")
    inputs = {"nside", "order", "fields", "unit", "noise", "beam", "f_sky", "mask"}
    outputs = {"names", "lowest", "highest", "units", "scale", "errors"}
    assert set(card["inputs"]) == inputs
    assert set(card["outputs"]) == outputs
    n_parameters = len(card["outputs"]["names"])
    assert all(len(card["outputs"][key]) == n_parameters for key in ("lowest", "highest", "units"))
    described = question_of(name).for_card()
    assert {key: card[key] for key in described} == described, "run compute card-descriptions"


@pytest.mark.slow
@by_name
def test_it_answers_within_its_errors_and_seldom_warns(name):
    true, maps = question_of(name).sample(200, seed=seed_of(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputRangeWarning)
        unit = question_of(name).inputs.unit
        found = predict(name, maps, order="ring", unit=unit)
    assert found.names == question_of(name).outputs.names
    # 68.27 % of 200 with 4 standard errors, and the asymmetry of an interval of logarithms.
    inside = ((found.values - true).abs() <= found.errors).double().mean(0)
    assert bool(((inside > 0.54) & (inside < 0.83)).all()), inside
    # 0.2 % are expected, 0.4 of 200.
    assert int(found.outside.sum()) <= 4


def test_false_alarms_are_as_rare_as_it_says():
    _, maps = question_of("cmb-t1-noise5").sample(2000, seed=seed_of("cmb-t1-noise5"))
    rate = float(outside("cmb-t1-noise5", maps).double().mean())
    # The limit itself is drawn: second of a thousand distances, with its own scatter.
    assert rate < 0.01 and FALSE_ALARMS == 0.002


@pytest.mark.parametrize("noise", [2.0, 10.0])
def test_another_noise_is_warned_of(noise):
    other = GaussianSkySimulator("T1", noise=noise)
    _, maps = other.sample(100, seed=9)
    with pytest.warns(InputRangeWarning, match="100 of 100"):
        predict("cmb-t1-noise5", maps, order="ring", unit="1")
    # As in training: what is said of their noise is warned of alone.
    _, maps = question_of("cmb-t1-noise5").sample(1, seed=5)
    with pytest.warns(InputRangeWarning, match=f"noise is {noise:.3g}.*trained with 5"):
        predict("cmb-t1-noise5", maps[:1], order="ring", unit="1", noise=noise)


@pytest.mark.parametrize("name", ["cmb-t1-noise5", "cmb-t3", "cmb-t2-sky100", "cmb-t4-nside16"])
def test_nested_given_as_ring_is_warned_of(name):
    _, maps = question_of(name).sample(50, seed=9)
    nested = reorder(maps, source="ring", target="nested")
    assert outside(name, nested).all()


@pytest.mark.parametrize("name", ["cmb-t3", "cmb-t4-nside16", "cmb-t2-sky100"])
def test_another_convention_of_polarisation_is_warned_of(name):
    _, maps = question_of(name).sample(50, seed=9)
    assert outside(name, maps * torch.tensor([[1.0], [-1.0]])).all(), "the other sign of U"
    assert outside(name, maps.flip(1)).all(), "Q and U exchanged"


@by_name
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_another_unit_is_warned_of(name, factor):
    _, maps = question_of(name).sample(20, seed=9)
    assert outside(name, factor * maps).all()


def test_order_unit_shape_and_kind_are_converted():
    _, maps = question_of("cmb-t3").sample(3, seed=seed_of("cmb-t3"))
    plain = predict("cmb-t3", maps, order="ring", unit="muK")
    nested = reorder(maps, source="ring", target="nested")
    for found in (
        predict("cmb-t3", nested, order="nested", unit="µK"),
        predict("cmb-t3", maps.double() / 1e3, order="ring", unit="mK"),
        predict("cmb-t3", (maps.double() / 1e6).numpy(), order="ring", unit="K"),
        skytutor.predict("cmb-t3", maps, order="ring", unit="uK", mask=torch.ones(3072)),
    ):
        torch.testing.assert_close(found.values, plain.values, rtol=1e-4, atol=0)
        torch.testing.assert_close(found.errors, plain.errors, rtol=1e-3, atol=0)
    alone = predict("cmb-t3", maps[0], order="ring", unit="muK")
    torch.testing.assert_close(alone.values, plain.values[:1])


def test_what_the_mask_hides_does_not_count():
    question = question_of("cmb-t2-sky10")
    _, maps = question.sample(2, seed=seed_of("cmb-t2-sky10"))
    plain = predict("cmb-t2-sky10", maps, order="ring", unit="1")
    seen = (maps[0] != 0).all(0)
    dirty = torch.where(seen, maps, UNSEEN)
    dirty[0, 0, -1] = torch.nan
    found = predict("cmb-t2-sky10", dirty, order="ring", unit="1", mask=seen)
    assert torch.equal(found.values, plain.values)
    with pytest.raises(ValueError, match=r"mask must show all 3.. pixels.*hides 1 of them"):
        seen = seen.clone()
        seen[0] = False
        predict("cmb-t2-sky10", maps, order="ring", unit="1", mask=seen)


@pytest.mark.parametrize("masked", [np.ma.array, Masked], ids=["numpy", "astropy"])
def test_a_masked_array_says_itself_what_it_hides(masked):
    name = "cmb-t2-sky10"
    _, maps = question_of(name).sample(2, seed=seed_of(name))
    plain = predict(name, maps, order="ring", unit="1")
    hidden = np.broadcast_to((maps[0] == 0).all(0).numpy(), maps.shape)
    own = masked(np.where(hidden, 1e6, maps.numpy()), mask=hidden)
    assert torch.equal(predict(name, own, order="ring", unit="1").values, plain.values)
    more = hidden.copy()
    more[..., 0] = True
    with pytest.raises(ValueError, match=r"mask must show all 3.. pixels.*hides 1 of them"):
        predict(name, masked(maps.numpy(), mask=more), order="ring", unit="1")
    more[0, 0, 1] = True
    with pytest.raises(ValueError, match=r"maps must hide the same values in every map"):
        predict(name, masked(maps.numpy(), mask=more), order="ring", unit="1")


FULL = torch.randn(1, 2, 3072, generator=torch.Generator().manual_seed(0))


def holed(value):
    maps = FULL.clone()
    maps[0, 1, 7] = value
    return maps


@pytest.mark.parametrize(
    ("maps", "options", "words"),
    [
        (FULL, {"order": "face"}, "order must be .*ring.*nested.*face"),
        (FULL, {"unit": "1"}, "unit must be .*muK.*got '1'"),
        (FULL, {"unit": "MJy"}, "unit must be .*muK.*MJy"),
        (FULL[:, :1], {}, r"maps must be Q, U at nside 16, .*got shape \(1, 1, 3072\)"),
        (FULL[..., :768], {}, r"maps must be Q, U at nside 16.*\(1, 2, 768\)"),
        (FULL[:0], {}, r"got shape \(0, 2, 3072\)"),
        (holed(torch.nan), {}, "got 1 NaN, infinite or UNSEEN"),
        (holed(torch.inf), {}, "got 1 NaN, infinite or UNSEEN"),
        (holed(UNSEEN), {}, "got 1 NaN, infinite or UNSEEN"),
        (FULL, {"mask": torch.ones(768)}, r"mask must be \(3072,\).*\(768,\)"),
        (FULL, {"mask": torch.zeros(3072)}, "hides 3072"),
    ],
)
def test_what_can_be_checked_is_refused(maps, options, words):
    with pytest.raises(ValueError, match=words):
        predict("cmb-t3", maps, **{"order": "ring", "unit": "muK", **options})


@pytest.mark.parametrize("kind", [torch.bool, torch.complex64])
def test_maps_that_are_no_real_numbers_are_refused(kind):
    with pytest.raises(TypeError, match="maps must be real numbers"):
        predict("cmb-t3", FULL.to(kind), order="ring", unit="muK")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("spectra-limits", "spectra, which takes images"),
        ("bands-gaussian", "bands, which takes images"),
        ("sphere-gan", "generator, which makes maps of random numbers"),
    ],
)
def test_other_recipes_are_refused_with_what_to_use(name, words):
    with pytest.raises(ValueError, match=f"got '{name}'.*{words}"):
        predict(name, FULL, order="ring", unit="1")


def test_a_name_that_is_near_is_named():
    with pytest.raises(ValueError, match=r"got 'cmb-t1-noise-5'; near it are .*cmb-t1-noise5"):
        skytutor.load_pretrained("cmb-t1-noise-5")


def test_describing_a_card_changes_nothing_else(tmp_path):
    source = checkpoint.pretrained_folder()
    for ending in (".json", ".safetensors"):
        (tmp_path / f"cmb-t3{ending}").write_bytes((source / f"cmb-t3{ending}").read_bytes())
    path = tmp_path / "cmb-t3.json"
    before = checkpoint.read_card(path)
    bare = {key: value for key, value in before.items() if key not in ("inputs", "outputs")}
    checkpoint.write_card(path, bare)
    assert chapters.describe_cards(tmp_path) == [path]
    assert checkpoint.read_card(path) == before
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(checkpoint.CheckpointError, match="altered"):
        chapters.describe_cards(tmp_path)


@pytest.mark.parametrize(("study", "shape"), [("T1", (5, 1, 2)), ("T1", (5, 2)), ("T4", (5, 2, 2))])
def test_answers_of_another_shape_are_not_unnormalised(study, shape):
    simulator = GaussianSkySimulator(study)
    with pytest.raises(ValueError, match=r"scaled must be \(N, \d\): .*; got \(5, "):
        simulator.unnormalise(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"parameters must be \(N, \d\): .*; got \(5, "):
        simulator.normalise(torch.ones(shape))
