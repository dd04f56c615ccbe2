"""`{bands-limits}`: a sentence where the card is missing, else what the card says."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))
import bandslimits
from bandslimits import BandsLimits

CARD = {
    "trained_on": [120_000, 240_000],
    "scenes": 1000,
    "choices": {
        "plates": {"whole": 53.234, "half": 53.2, "gain": [0.034, -0.01, 0.08], "next_gain": 0.017}
    },
    "command": "a command",
    "date": "2026-11-26T10:00:00",
    "seed": 0,
    "versions": {"torch": "2.0"},
}


def test_the_table_waits_for_its_card_and_says_what_it_says(monkeypatch, tmp_path):
    monkeypatch.setattr(bandslimits, "FOLDER", tmp_path)
    noted = []
    env = SimpleNamespace(note_dependency=noted.append)
    page = SimpleNamespace(env=env, row=BandsLimits.row)
    (sentence,) = BandsLimits.run(page)
    file = tmp_path / "bands-limits-check.json"
    assert sentence.astext() == bandslimits.MISSING and noted == [str(file)]
    file.write_text(json.dumps(CARD))
    table, how = (node.astext() for node in BandsLimits.run(page))
    for text in ("120,000 scenes", "240,000", "plates", "53.20", "53.23", "0.03", "-0.01 to 0.08"):
        assert text in table
    assert "a command" in how and "2026-11-26," in how and "1,000 test scenes" in how
