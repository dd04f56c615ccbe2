"""Networks of chapter 1 asked about maps of one's own: answered, warned of, or refused."""

import warnings

import pytest
import torch

from skytutor import chapters
from skytutor.chapters.digits.question import SPANS, map_features, measure_spans
from skytutor.chapters.digits.recipes import NO_HOLES
from skytutor.chapters.prediction import InputRangeWarning, outside, predict
from skytutor.data import digits, registry
from skytutor.healpix import reorder
from skytutor.training import checkpoint

ASKED = [name for name in chapters.ENTRIES if name.startswith("digits-")]
needs_mnist = pytest.mark.skipif(not registry.have("mnist"), reason="needs MNIST")


@pytest.fixture(scope="module")
def upright():
    """Return labels and maps ``(N, 1, 768)`` of those digits of scikit-learn that are like MNIST's.

    Theirs are bolder: every second one is warned of, and read less well.
    """
    images, labels = digits.load("embedded").part("test")
    maps = NO_HOLES.project(images[:200])
    like = ~outside("digits-fixed", maps)
    return labels[:200][like], maps[like]


@pytest.mark.parametrize("name", ASKED)
def test_the_card_says_inputs_and_outputs(name):
    card = checkpoint.read_card(checkpoint.pretrained_folder() / f"{name}.json")
    described = chapters.get(name).question.for_card()
    assert {key: card.get(key) for key in described} == described, "run compute card-descriptions"
    inputs = described["inputs"]
    assert len(inputs["statistics"]) == len(inputs["lowest"]) == len(inputs["highest"])


@pytest.mark.parametrize(
    ("name", "warned", "others"), [("digits-fixed", 0.92, 0.97), ("digits-mended", 0.75, 0.94)]
)
def test_what_is_warned_of_is_read_less_well(name, warned, others):
    images, labels = digits.load("embedded").part("test")
    maps = NO_HOLES.project(images[:400])
    strange = outside(name, maps)
    assert 0.5 < float(strange.double().mean()) < 0.6
    question = chapters.get(name).question
    values = question.answer(chapters.load_pretrained(name), maps).values
    right = (values.argmax(1) == labels[:400]).double()
    # Two standard errors of 200; the figures stand in the documentation of the question.
    assert abs(float(right[strange].mean()) - warned) < 0.06
    assert abs(float(right[~strange].mean()) - others) < 0.04
    assert right[strange].mean() < right[~strange].mean()


@pytest.mark.parametrize("name", ["digits-mended", "digits-fixed"])
def test_digits_of_another_hand_are_read(name, upright):
    labels, maps = upright
    found = predict(name, maps[:, 0], order="nested")
    assert found.names == tuple("0123456789") and found.errors is None
    assert float((found.values.argmax(1) == labels).double().mean()) > 0.75
    torch.testing.assert_close(found.values.sum(1), torch.ones(len(maps), dtype=torch.float64))
    ring = reorder(maps[:, 0], source="nested", target="ring")
    torch.testing.assert_close(predict(name, ring.numpy(), order="ring").values, found.values)


def test_the_published_network_gives_its_own_probabilities(upright):
    _, maps = upright
    model = chapters.load_pretrained("digits-published")
    with torch.no_grad():
        wanted = model(maps[:5]).double()
    with warnings.catch_warnings():
        # Its digits have holes, and these do not.
        warnings.simplefilter("ignore", InputRangeWarning)
        found = predict("digits-published", maps[:5, 0], order="nested")
    torch.testing.assert_close(found.values, wanted)


def test_what_is_unlike_the_training_is_warned_of(upright):
    _, maps = upright
    noise = torch.rand(maps.shape, generator=torch.Generator().manual_seed(9))
    name = "digits-fixed"
    assert 60 < len(maps) < 200, "some are like MNIST's, and not all"
    for other in (
        reorder(maps, source="nested", target="ring"),
        reorder(maps, source="ring", target="nested"),
        1 - maps,
        maps / 255,
        noise,
        0 * maps,
    ):
        assert outside(name, other).all()
    with pytest.warns(InputRangeWarning, match="2 of 2 .*pixel order, range"):
        predict(name, maps[:2, 0] / 4, order="nested")


def test_a_digit_elsewhere_on_the_sphere_is_warned_of(upright):
    _, maps = upright
    # NESTED: base pixels 4..7 lie about the equator; a turn of 90 degrees moves each to the next.
    turned = maps.unflatten(-1, (12, 64))[:, :, [3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10]].flatten(2)
    assert outside("digits-fixed", turned).all()
    assert torch.allclose(map_features(turned)[:, :6], map_features(maps)[:, :6])


FULL = torch.zeros(1, 768)


@pytest.mark.parametrize(
    ("maps", "options", "words"),
    [
        (torch.zeros(1, 3072), {}, r"maps must be light at nside 8, \(N, 768\), .*\(1, 3072\)"),
        (FULL, {"order": "face"}, "order must be .*got 'face'"),
        (FULL + 255, {}, r"maps must lie in 0\.\.1, .*got 255\.\.255; divide bytes by 255"),
        (FULL - 1, {}, r"maps must lie in 0\.\.1"),
        (FULL + torch.nan, {}, "got 768 NaN, infinite or UNSEEN"),
    ],
)
def test_what_can_be_checked_is_refused(maps, options, words):
    with pytest.raises(ValueError, match=words):
        predict("digits-fixed", maps, **{"order": "nested", **options})


@needs_mnist
@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits-published", "digits-fixed", "digits-rotated"])
def test_spans_are_those_of_the_digits_and_test_digits_lie_within(name):
    question = chapters.get(name).question
    key = {"digits-published": "holes", "digits-fixed": "upright", "digits-rotated": "turned"}[name]
    projection = question.sample.args[0]
    assert measure_spans(projection) == SPANS[key]
    _, maps = question.sample(1000, seed=3, part="test")
    assert int(outside(name, maps).sum()) <= 10
    assert outside(name, reorder(maps, source="ring", target="nested")).all()
    assert outside(name, 1 - maps).all() and outside(name, maps / 255).all()
