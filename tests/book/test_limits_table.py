"""`{spectra-limits}`: a sentence where the card is missing, else what the card says."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))
import spectralimits
from spectralimits import NAMES, SpectraLimits

ROW = {
    "rmse": {"2000": 0.5, "4000": 0.495},
    "standard_error": {"2000": 0.002, "4000": 0.001},
    "change": -0.01,
    "change_error": 0.002,
}
CARD = {
    "convergence": dict.fromkeys(NAMES, ROW),
    "n_train": 4000,
    "n_test": 1234,
    "van_trees": {"rmse": 0.3214, "standard_error": 0.001},
    "linear_gaussian": {
        "rmse": 0.4012,
        "rmse_analytic": 0.4,
        "excess": 0.003,
        "excess_error": 0.0007,
    },
    "command": "a command",
    "date": "2026-11-26T10:00:00",
    "seed": 0,
    "versions": {"torch": "2.0"},
}


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Return a function that runs the directive, and the files that it noted."""
    monkeypatch.setattr(spectralimits, "FOLDER", tmp_path)
    noted = []
    env = SimpleNamespace(note_dependency=noted.append)

    def run():
        return SpectraLimits.run(SimpleNamespace(env=env, row=SpectraLimits.row))

    return run, noted, tmp_path / "spectra-limits-check.json"


def test_a_missing_card_is_a_sentence_and_is_waited_for(made):
    run, noted, file = made
    (sentence,) = run()
    assert sentence.astext() == spectralimits.MISSING
    assert noted == [str(file)], "the page is made anew when the card comes"


def test_the_table_says_what_the_card_says(made):
    run, _, file = made
    file.write_text(json.dumps(CARD))
    table, checked, how = (node.astext() for node in run())
    assert "RMSE, 2,000 simulations" in table and "RMSE, 4,000" in table
    for name in NAMES.values():
        assert name in table
    assert "0.5000 ± 0.0020" in table and "0.4950 ± 0.0010" in table
    assert "-1.00 ± 0.20" in table and "0.321 ± 0.001" in table
    assert "0.4012" in checked and "0.30 ± 0.07 %" in checked
    assert "a command" in how and "2026-11-26," in how and "1,234 test galaxies" in how
