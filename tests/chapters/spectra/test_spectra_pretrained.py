"""Chapter 4's trained networks: what their cards say, and that they do it again."""

import math

import pytest
import torch

from skytutor import chapters
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra import study
from skytutor.chapters.spectra.limit_checks import CHECK_CARD
from skytutor.chapters.spectra.scores import draw_test, gaussian, scores_of
from skytutor.chapters.spectra.targets import N_LATENTS
from skytutor.training import checkpoint

SIZE = 300
H_ALPHA = N_LATENTS
# How far below the catalogue, and how much of the gap closed, at least. The flow's mean is that of
# its samples, on fewer galaxies.
FLOORS = {"spectra": (0.08, 0.65), "spectra-flow": (0.05, 0.5)}


@pytest.fixture(scope="module")
def drawn():
    """Return galaxies that no training, validation or card has seen."""
    network = chapters.load_pretrained("spectra")
    return draw_test(gaussian(network), seed=SEEDS.test_seed(21), size=SIZE)


@pytest.fixture(scope="module")
def found(drawn):
    return scores_of(drawn)


def on_card(name):
    return chapters.card(chapters.get(name))["test"]["scores"]


def squares(drawn, mean, columns=slice(0, N_LATENTS)):
    return (mean - drawn.targets)[:, columns].square().mean(1)


def paired(one, other):
    """Return the mean of a difference and its error."""
    difference = one - other
    return float(difference.mean()), float(difference.std()) / len(difference) ** 0.5


def error_of_rmse(square):
    return float(square.std()) / len(square) ** 0.5 / (2 * float(square.mean().sqrt()))


@pytest.mark.parametrize("name", FLOORS)
def test_the_cards_meet_the_bar(name):
    """Better than a catalogue by several per cent, calibrated, and not better than the oracle."""
    scores = on_card(name)
    below, closed = FLOORS[name]
    assert scores["below_catalogue"] >= below and scores["gap_closed"] >= closed
    assert scores["gap_closed_h_alpha"] >= 0.75 and scores["gap_closed_oiii"] >= 0.75
    assert 0.65 <= scores["coverage_68"] <= 0.71 and scores["tarp"] <= 0.03
    for thirds in (scores["coverage_by_magnitude"], scores["coverage_by_redshift"]):
        assert all(0.65 <= third <= 0.71 for third in thirds)
    assert scores["sigma_nmad"] < scores["sigma_nmad_catalogue"]
    assert scores["above_oracle"] > -3 * scores["above_oracle_error"]
    assert scores["rmse_oracle"] < scores["rmse"] < scores["rmse_catalogue"]
    assert 1 <= scores["crps_over_oracle"] <= 1.1


def test_more_knowledge_is_worth_more_on_the_card():
    limits = on_card("spectra-limits")
    order = ("noiseless", "oracle", "catalogue", "colours")
    reached = [limits[f"rmse_{name}"] for name in order]
    assert reached == sorted(reached)
    assert reached[-1] < chapters.card(chapters.get("spectra-limits"))["test"]["constant"]["rmse"]


def test_the_limits_hardly_move_with_twice_as_many_simulations():
    """Of the package's own weights, against the same training on half of their table."""
    card = checkpoint.read_card(checkpoint.pretrained_folder() / f"{CHECK_CARD}.json")
    moved = {name: entry["change"] for name, entry in card["convergence"].items()}
    assert abs(moved.pop("oracle")) < 0.015
    assert all(abs(change) < 0.005 for change in moved.values())
    assert card["linear_gaussian"]["excess"] < 0.01
    whole = card["convergence"]["oracle"]["rmse"][str(card["n_train"])]
    assert card["van_trees"]["rmse"] < whole
    assert on_card("spectra-limits")["rmse_oracle"] == pytest.approx(whole, rel=0.03)


def test_the_cut_is_far_better_than_what_does_not_look():
    card = chapters.card(chapters.get("spectra-separation"))["test"]
    assert card["constant"]["light"] == pytest.approx(1, abs=0.01)
    for name, value in card["scores"].items():
        assert value < 0.05 * card["constant"][name]


def test_the_limits_stand_in_the_same_order_on_fresh_galaxies(drawn):
    reached = {name: squares(drawn, mean) for name, (mean, _) in drawn.limits.items()}
    for less, more in (("colours", "catalogue"), ("catalogue", "oracle"), ("oracle", "noiseless")):
        gain, error = paired(reached[less], reached[more])
        assert gain > -error, f"{more} knows what {less} knows"
    gain, error = paired(reached["colours"], reached["oracle"])
    assert gain > 2 * error


def test_ours_beats_the_catalogue_on_fresh_galaxies(drawn, found):
    """Paired, for both answer for the same galaxies."""
    catalogue, _ = drawn.limits["catalogue"]
    gain, error = paired(squares(drawn, catalogue), squares(drawn, drawn.mean))
    assert gain > 2 * error and found["rmse"] < found["rmse_catalogue"]
    # Of single galaxies most: a coin would say so of half, give or take 0.029.
    better = squares(drawn, drawn.mean) < squares(drawn, catalogue)
    assert better.float().mean() > 0.5 + 3 * 0.5 / SIZE**0.5
    # H-alpha gains most from where the clumps are.
    column = slice(H_ALPHA, H_ALPHA + 1)
    line = paired(squares(drawn, catalogue, column), squares(drawn, drawn.mean, column))
    assert line[0] > 3 * line[1]


def test_ours_is_not_better_than_the_oracle(drawn, found):
    oracle, _ = drawn.limits["oracle"]
    for columns in (slice(0, N_LATENTS), slice(H_ALPHA, H_ALPHA + 1)):
        own = squares(drawn, drawn.mean, columns)
        gain, error = paired(squares(drawn, oracle, columns), own)
        assert gain < 3 * error
    assert found["above_oracle"] > -3 * found["above_oracle_error"]
    assert found["crps_over_oracle"] > 0.98


def test_its_error_bars_hold_on_fresh_galaxies(found):
    # 9 correlated numbers of 300 galaxies
    assert found["coverage_68"] == pytest.approx(0.68, abs=0.04)
    assert found["tarp"] < 0.08


def test_evaluating_again_gives_the_card_within_errors(drawn, found):
    card = on_card("spectra")
    answers = {"rmse": drawn.mean, "rmse_constant": torch.zeros_like(drawn.mean)}
    answers |= {f"rmse_{name}": mean for name, (mean, _) in drawn.limits.items()}
    for name, mean in answers.items():
        error = error_of_rmse(squares(drawn, mean))
        # The card's own, of 5,000 galaxies, is smaller as the root of the ratio.
        both = error * math.sqrt(1 + SIZE / 5000)
        assert abs(found[name] - card[name]) < 4 * both
    error = math.hypot(found["above_oracle_error"], card["above_oracle_error"])
    assert abs(found["above_oracle"] - card["above_oracle"]) < 4 * error
    assert found["coverage_68"] == pytest.approx(card["coverage_68"], abs=0.04)
    assert found["sigma_nmad"] == pytest.approx(card["sigma_nmad"], rel=0.3)


def test_the_limits_evaluated_again_give_their_card_within_errors():
    card = on_card("spectra-limits")
    again = chapters.evaluate(chapters.get("spectra-limits"), seed=21, size=1000)["scores"]
    for name, value in again.items():
        assert value == pytest.approx(card[name], rel=0.15)


def test_the_flow_evaluated_again_gives_its_card_within_errors():
    card = on_card("spectra-flow")
    again = chapters.evaluate(chapters.get("spectra-flow"), seed=22, size=100)["scores"]
    difference = again["above_oracle"] - card["above_oracle"]
    error = math.hypot(again["above_oracle_error"], card["above_oracle_error"])
    assert abs(difference) < 4 * error
    assert again["coverage_68"] == pytest.approx(card["coverage_68"], abs=0.06)
    assert again["rmse"] == pytest.approx(card["rmse"], rel=0.3)


def test_other_seeds_reach_the_same():
    card = checkpoint.read_card(checkpoint.pretrained_folder() / f"{study.SEEDS_CARD}.json")
    rows = list(card["seeds"].values())
    assert card["profile"] == "gpu" and len(rows) == 3
    # The same galaxies and limits, and other weights.
    assert len({row["rmse_oracle"] for row in rows}) == 1
    assert len({row["rmse"] for row in rows}) == len(rows)
    reached = [row["rmse"] for row in rows]
    assert max(reached) - min(reached) < 0.2 * (rows[0]["rmse_catalogue"] - min(reached))
    for row in rows:
        assert row["rmse_oracle"] - 3 * row["above_oracle_error"] < row["rmse"]
        assert row["gap_closed"] > 0.65
    # Of the first seed, the card of the weights tells the same within its own galaxies' scatter.
    both = math.hypot(rows[0]["above_oracle_error"], on_card("spectra")["above_oracle_error"])
    assert abs(rows[0]["above_oracle"] - on_card("spectra")["above_oracle"]) < 4 * both


def test_where_nothing_hides_nothing_is_gained_and_elsewhere_as_much_as_there_is():
    card = checkpoint.read_card(checkpoint.pretrained_folder() / f"{study.UNIVERSES_CARD}.json")
    universes = card["universes"]
    assert card["profile"] == "gpu" and set(universes) == set(study.UNIVERSES)
    for name, row in universes.items():
        assert row["rmse_oracle"] - 3 * row["above_oracle_error"] < row["rmse"], name
    null = universes.pop("null")
    assert abs(null["below_catalogue"]) < 0.01
    assert abs(null["oracle_below_catalogue"]) < 0.01
    # The more the knob sets components apart, the more there is to gain, and is gained.
    for key in ("oracle_below_catalogue", "below_catalogue"):
        reached = [universes[name][key] for name in universes]
        assert reached == sorted(reached) and reached[-1] > 0.05
