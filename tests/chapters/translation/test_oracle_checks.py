"""skytutor.chapters.translation.oracle_checks: what half of the scenes cost, and cards."""

import copy
import shutil

import pytest
import torch

from skytutor.chapters.pretrained import card as read_recipe_card
from skytutor.chapters.registry import get
from skytutor.chapters.translation import oracle_checks
from skytutor.chapters.translation.oracle_checks import beside_oracle, compare_oracles, make_beside
from skytutor.chapters.translation.study import ADVERSARIES_CARD, CHOICES
from skytutor.chapters.weights import load_needed
from skytutor.training import checkpoint
from skytutor.training.profile import Profile


def test_an_oracle_gains_nothing_over_itself_and_much_over_one_that_answers_too_faintly():
    oracle = load_needed("bands-limits", needed_for="a test")
    wrong = copy.deepcopy(oracle)
    with torch.no_grad():
        # Every flux a fifth too low.
        wrong.answers.bias[::4] += torch.tensor(0.8).log()
    found = compare_oracles(oracle, oracle, n=2, seed=1, device=torch.device("cpu"))
    assert set(found) == set(CHOICES)
    assert all(row["gain"] == (0, 0, 0) and row["whole"] == row["half"] for row in found.values())
    found = compare_oracles(oracle, wrong, n=2, seed=1, device=torch.device("cpu"))
    for row in found.values():
        assert row["gain"][0] == pytest.approx(row["whole"] - row["half"], abs=1e-3)
        assert row["gain"][0] > 1 and row["next_gain"] == row["gain"][0] / 2


def test_the_check_trains_on_half_of_the_scenes_and_writes_a_card(tmp_path, monkeypatch):
    monkeypatch.setitem(oracle_checks._SCENES, "smoke", 2)
    profile = Profile("smoke", torch.device("cpu"), 0)
    path = oracle_checks.make_limits_check(tmp_path, command="a command", profile=profile)
    card = checkpoint.read_card(path)
    assert path.stem == card["command"].replace("a command", oracle_checks.CHECK_CARD)
    assert card["trained_on"] == [5, 10] and card["scenes"] == 2
    # Ten scenes make no oracle.
    assert all(row["gain"][0] > 0 for row in card["choices"].values())


@pytest.fixture
def folder(tmp_path):
    for path in checkpoint.pretrained_folder().glob("bands*"):
        if not path.name.startswith("bands-flow"):
            shutil.copy(path, tmp_path)
    return tmp_path


def test_beside_the_same_oracle_nothing_changes(folder):
    oracle = read_recipe_card(get("bands-limits"), folder)["test"]
    for name in ("bands", "bands-flux", "bands-pix2pix"):
        test = read_recipe_card(get(name), folder)["test"]
        assert beside_oracle(test, oracle) == test


def test_a_better_oracle_leaves_a_larger_gap_in_every_card(folder):
    recipe = get("bands-limits")
    before = {path.name: checkpoint.read_card(path) for path in folder.glob("*.json")}
    card = read_recipe_card(recipe, folder)
    card["test"]["scores"]["psnr"] = {
        name: value + 1 for name, value in card["test"]["scores"]["psnr"].items()
    }
    card["test"]["scores"]["photo_z"] = 0.01
    checkpoint.write_card(folder / "bands-limits.json", card)
    written = {path.name for path in make_beside(folder)}
    scored = ("bands", "bands-flux", "bands-sources", "bands-pix2pix", ADVERSARIES_CARD)
    names = {f"{name}.json" for name in scored}
    assert written == names
    for name in names - {f"{ADVERSARIES_CARD}.json"}:
        now = checkpoint.read_card(folder / name)
        old, new = before[name]["test"]["scores"], now["test"]["scores"]
        assert new["psnr_oracle"] == pytest.approx(old["psnr_oracle"] + 1)
        assert new["psnr"] == old["psnr"] and new["oracle"]["photo_z"] == 0.01
        for subset, row in new["subsets"].items():
            gap = row["psnr_oracle"] - new["psnr_pixelwise"]
            assert row["gap_closed"] == pytest.approx((row["psnr"] - new["psnr_pixelwise"]) / gap)
            assert row["psnr"] == old["subsets"][subset]["psnr"]
        assert now["test"]["limit"] == {"psnr": new["psnr_oracle"]}
        assert now["sha256"] == before[name]["sha256"] and now["date"] == before[name]["date"]
    pairs = checkpoint.read_card(folder / f"{ADVERSARIES_CARD}.json")
    for training in (*pairs["noise-matched"].values(), *pairs["published"].values()):
        assert training["test"]["limit"] == {"psnr": card["test"]["scores"]["psnr"]["plates"]}


def test_an_oracle_of_other_scenes_is_refused(folder):
    oracle = read_recipe_card(get("bands-limits"), folder)["test"]
    test = read_recipe_card(get("bands"), folder)["test"]
    other = {**oracle, "constant": {"psnr": oracle["constant"]["psnr"] + 0.1}}
    for wrong in (other, {**oracle, "size": 400}):
        with pytest.raises(ValueError, match="test must be of the oracle's"):
            beside_oracle(test, wrong)
