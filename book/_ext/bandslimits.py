"""`{bands-limits}`: what half of its scenes would have cost chapter 5's oracle, from the card."""

import json
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))
from skybook import ROOT, Measured

FOLDER = ROOT / "skytutor" / "checkpoints"
MISSING = "The figures come with the trained weights, which this version does not hold yet."


class BandsLimits(SphinxDirective):
    """A row for each choice of bands; one sentence where the card is not there yet."""

    def run(self) -> list[nodes.Node]:
        """Return the table and what made it."""
        file = FOLDER / "bands-limits-check.json"
        self.env.note_dependency(str(file))
        if not file.exists():
            return [nodes.paragraph("", MISSING)]
        card = json.loads(file.read_text())
        half, whole = (f"{scenes:,}" for scenes in card["trained_on"])
        head = ["Bands given", f"PSNR (dB), {half} scenes", whole, "Gain (dB)", "95 % interval"]
        rows = [self.row(name, found) for name, found in card["choices"].items()]
        how = (
            f"Made by {card['command']} on {card['date'][:10]}, seed {card['seed']}, "
            f"torch {card['versions']['torch']}; {card['scenes']:,} test scenes."
        )
        return [Measured.table(head, rows), nodes.paragraph("", how)]

    @staticmethod
    def row(name: str, found: dict) -> list[str]:
        """Return the cells of one choice of bands."""
        gain, low, high = found["gain"]
        scores = [f"{found[which]:.2f}" for which in ("half", "whole")]
        return [name, *scores, f"{gain:.2f}", f"{low:.2f} to {high:.2f}"]


def setup(app: Sphinx) -> dict:
    """Register the directive with Sphinx."""
    app.add_directive("bands-limits", BandsLimits)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
