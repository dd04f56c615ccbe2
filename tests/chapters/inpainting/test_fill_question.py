"""Networks of chapter 6 asked about maps of one's own: filled, warned of, or refused."""

import numpy as np
import pytest
import torch

import skytutor
from skytutor import chapters
from skytutor.chapters.inpainting.sphere_sky import SphereSky
from skytutor.chapters.prediction import InputRangeWarning, outside, predict
from skytutor.data.patches import flat_sky
from skytutor.fields.flat import FlatSky
from skytutor.fields.holes import DenseHole
from skytutor.healpix import UNSEEN, reorder
from skytutor.training import checkpoint

PATCHES = [
    "inpaint",
    "inpaint-unet",
    "inpaint-published",
    "inpaint-decoder",
    "inpaint-mixture",
]
by_name = pytest.mark.parametrize("name", PATCHES)
SPHERE = "inpaint-sphere"


def skies(name, n, number=3):
    """Return signals, data and the mask of skies of a test, as the recipe's own training drew."""
    recipe = chapters.get(name)
    signal, data, hidden, *_ = recipe.question.sample(n, seed=recipe.seeds.test_seed(number))
    seen = torch.ones(data[0].numel(), dtype=torch.bool)
    seen[list(hidden)] = False
    return signal, data, seen.view(data[0].shape), hidden


def other_skies(n, **changes):
    """Return data of set-up B but for some changes."""
    sky = flat_sky("B", 64)
    like = {"pixel_arcmin": sky.pixel_arcmin, "cl": sky.cl, "beam_arcmin": sky.beam_arcmin}
    other = FlatSky(64, **{**like, "noise": sky.noise, **changes})
    return other.draw(n, generator=torch.Generator().manual_seed(9))[1]


@pytest.mark.parametrize("name", [*PATCHES, SPHERE])
def test_the_card_says_inputs_and_outputs(name):
    card = checkpoint.read_card(checkpoint.pretrained_folder() / f"{name}.json")
    described = chapters.get(name).question.for_card()
    assert {key: card.get(key) for key in described} == described, "run compute card-descriptions"
    assert described["inputs"]["unit"] == "muK" and described["inputs"]["noise"] == [5.0]


@by_name
def test_own_skies_are_filled_without_a_warning_and_others_are_warned_of(name):
    _, data, mask, hidden = skies(name, 100)
    assert int(outside(name, data, hidden).sum()) <= 1
    assert outside(name, other_skies(40, noise=2.0), hidden).all()
    found = predict(name, data[:2], unit="muK", mask=mask)
    assert found.names == ("T",) and found.units == ("muK",)
    # What is seen stays; what is hidden is nearer to the best fill of an isotropic sky than 0 is.
    assert torch.equal(found.values[:, 0, mask], data[:2, mask])
    best = DenseHole(flat_sky("B", 64).precision, mask).fill(data[:2])[:, ~mask]
    away = (found.values[:, 0, ~mask] - best).square().mean()
    assert away < 0.5 * best.square().mean()


@pytest.mark.parametrize("name", ["inpaint", "inpaint-decoder"])
def test_errors_of_pixels_are_those_of_the_signal(name):
    signal, data, mask, _ = skies(name, 60, number=5)
    found = predict(name, data, unit="muK", mask=mask)
    assert found.errors.shape == found.values.shape
    square = ((found.values[:, 0] - signal) / found.errors[:, 0]).square()
    assert 0.9 < float(square[:, ~mask].mean()) < 1.1
    # Where the sky is seen the data are given back, and err by their noise.
    assert 0.98 < float(square[:, mask].mean()) < 1.02


@pytest.mark.parametrize("changes", [{"noise": 12.0}, {"pixel_arcmin": 3.4}, {"beam_arcmin": 5.0}])
def test_another_noise_pixel_or_beam_is_warned_of(changes):
    mask, hidden = skies("inpaint", 1)[2:]
    data = other_skies(20, **changes)
    assert outside("inpaint", data, hidden).all()
    with pytest.warns(InputRangeWarning, match="1 of 1 .*noise.*unit.*beam.*pixel size"):
        predict("inpaint", data[0], unit="muK", mask=mask)


@by_name
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_another_unit_is_warned_of(name, factor):
    _, data, _, hidden = skies(name, 20)
    assert outside(name, factor * data, hidden).all()


def test_a_noise_that_is_said_is_compared_with_that_of_the_training():
    _, data, mask, _ = skies("inpaint", 1)
    with pytest.warns(InputRangeWarning, match=r"noise is 2 .*trained with 5"):
        predict("inpaint", data / 1e3, unit="mK", mask=mask, noise=2e-3)


def test_unit_kind_and_what_is_hidden_are_converted():
    _, data, mask, _ = skies("inpaint", 2)
    plain = predict("inpaint", data, unit="muK", mask=mask)
    dirty = torch.where(mask, data, UNSEEN)
    dirty[0].view(-1)[(~mask).flatten().nonzero()[0]] = torch.nan
    for found in (
        predict("inpaint", dirty, unit="muK", mask=mask.float()),
        skytutor.predict("inpaint", (data / 1e6).numpy(), unit="K", mask=mask.numpy()),
    ):
        torch.testing.assert_close(found.values, plain.values, rtol=1e-5, atol=1e-3)
    alone = predict("inpaint", data[1], unit="muK", mask=mask)
    torch.testing.assert_close(alone.values, plain.values[1:], rtol=1e-5, atol=1e-3)


def test_the_mask_of_a_masked_array_may_stand_alone():
    _, data, mask, _ = skies("inpaint", 2)
    plain = predict("inpaint", data, unit="muK", mask=mask)
    hidden = np.broadcast_to(~mask.numpy(), data.shape)
    own = np.ma.array(np.where(hidden, 1e6, data.numpy()), mask=hidden)
    part = mask.clone()
    part[:, 20:] = True
    for also in (None, part, mask):
        assert torch.equal(predict("inpaint", own, unit="muK", mask=also).values, plain.values)
    with pytest.raises(TypeError, match="must be given mask for inpaint"):
        predict("inpaint", data.numpy(), unit="muK")


FULL = torch.zeros(2, 64, 64)
HOLE = torch.ones(64, 64, dtype=torch.bool)
HOLE[20:30, 20:30] = False
WIDE = torch.arange(64).expand(64, 64) < 20


def spoilt(value):
    maps = FULL.clone()
    maps[0, 5, 7] = value
    return maps


@pytest.mark.parametrize(
    ("maps", "options", "words"),
    [
        (FULL[..., :32, :32], {}, r"patches of 64 x 64 pixels, \(N, 64, 64\), got .*\(2, 32, 32\)"),
        (FULL[:0], {}, r"got shape \(0, 64, 64\)"),
        (FULL, {"unit": "1"}, "unit must be .*muK.*got '1'"),
        (FULL, {"mask": WIDE}, "mask must hide at most 55%.*hides 69%"),
        (FULL, {"mask": torch.ones(64, 64)}, "hides no pixel"),
        (FULL, {"mask": torch.zeros(64, 64)}, "hides every pixel"),
        (FULL, {"mask": HOLE.expand(2, 64, 64)}, r"mask must be \(64, 64\), one for all"),
        (FULL, {"mask": HOLE[:32, :32]}, r"mask must be .*64, 64"),
        (FULL, {"mask": 0.5 * HOLE}, "mask must"),
        (spoilt(torch.nan), {}, "got 1 NaN, infinite or UNSEEN"),
        (spoilt(UNSEEN), {}, "got 1 NaN, infinite or UNSEEN"),
    ],
)
def test_what_can_be_checked_is_refused(maps, options, words):
    with pytest.raises(ValueError, match=words):
        predict("inpaint", maps, **{"unit": "muK", "mask": HOLE, **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unit": "muK"}, "must be given mask for inpaint, got none"),
        ({}, "must be given unit, mask for inpaint"),
        (
            {"unit": "muK", "mask": HOLE, "order": "ring"},
            "only unit, mask, noise for inpaint, got order",
        ),
    ],
)
def test_options_that_are_missing_or_mean_nothing_are_refused(options, words):
    with pytest.raises(TypeError, match=words):
        predict("inpaint", FULL, **options)


def test_maps_of_the_sphere_are_filled_in_either_order():
    signal, data, mask, hidden = skies(SPHERE, 20)
    assert int(outside(SPHERE, data, hidden, "ring").sum()) <= 1
    plain = predict(SPHERE, data, order="ring", unit="muK", mask=mask)
    assert torch.equal(plain.values[:, 0, mask], data[:, mask])
    square = ((plain.values[:, 0] - signal) / plain.errors[:, 0]).square()
    assert 0.9 < float(square[:, ~mask].mean()) < 1.1
    move = {"source": "ring", "target": "nested"}
    nested = predict(
        SPHERE,
        reorder(data[:2], **move) / 1e3,
        order="nested",
        unit="mK",
        mask=reorder(mask, **move),
    )
    torch.testing.assert_close(
        nested.values, reorder(plain.values[:2], **move), rtol=1e-6, atol=1e-4
    )
    torch.testing.assert_close(nested.errors, reorder(plain.errors[:2].contiguous(), **move))


def test_maps_of_the_sphere_that_are_unlike_are_warned_of():
    _, data, mask, hidden = skies(SPHERE, 20)
    for maps in (
        SphereSky(32, noise=2.0).draw(20, generator=torch.Generator().manual_seed(9))[1],
        SphereSky(32, noise=12.0).draw(20, generator=torch.Generator().manual_seed(9))[1],
        torch.where(mask, reorder(data, source="ring", target="nested"), 0),
        data / 1e3,
    ):
        assert outside(SPHERE, maps, hidden, "ring").all()


@pytest.mark.parametrize(
    ("pixels", "options", "words"),
    [
        (768, {}, r"maps must be T at nside 32, \(N, 12288\), got shape \(1, 768\)"),
        (12288, {"order": "face"}, "order must be .*got 'face'"),
        (12288, {"mask": torch.ones(12288)}, "mask must hide some pixels .*hides 0%"),
        (12288, {"mask": torch.arange(12288) < 6000}, "at most 30% of the sky.*hides 51%"),
        (12288, {"mask": torch.ones(768)}, r"mask must be \(12288,\), one for all"),
    ],
)
def test_what_can_be_checked_on_the_sphere_is_refused(pixels, options, words):
    given = {"order": "ring", "unit": "muK", "mask": torch.arange(12288) > 100, **options}
    with pytest.raises(ValueError, match=words):
        predict(SPHERE, torch.zeros(1, pixels), **given)
