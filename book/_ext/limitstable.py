"""`{limits}`: the limits of chapter 3 from the package's own table.

Beside them stand the scores of the pretrained networks and of published ones.
"""

import json
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))
from skybook import ROOT, Measured

FOLDER = ROOT / "skytutor" / "checkpoints"
HEAD = ["Test", "Limit (%)", "If Gaussian (%)", "Ours (%)", "Published networks (%)"]


class Limits(SphinxDirective):
    """A row for each recipe of tests 1 to 3, one for each Nside and noise of test 4.

    A last line says what made them.
    """

    def run(self) -> list[nodes.Node]:
        """Return the two tables and the last line."""
        from skytutor import chapters

        file = FOLDER / "cmb-limits.json"
        self.env.note_dependency(str(file))
        card = json.loads(file.read_text())
        rows = []
        fisher_rows = []
        for name, limit in card["limits"].items():
            if "error_percent" in limit:
                rows.append(self.row(chapters.get(name), limit))
            if "sigma_percent" in limit:
                fisher_rows.append(self.fisher(name, limit))
        how = (
            f"Made by {card['command']} on {card['date'][:10]}, seed {card['seed']}, "
            f"torch {card['versions']['torch']}."
        )
        return [
            Measured.table(HEAD, rows),
            nodes.paragraph("", "Test 4, Fisher at r = 0.003, tau = 0.054, both free:"),
            Measured.table(["Test", "sigma of r (%)", "sigma of tau (%)"], fisher_rows),
            nodes.paragraph("", how),
        ]

    @staticmethod
    def row(recipe, limit: dict) -> list[str]:
        """Return the cells of one recipe of tests 1 to 3 with what the card says of it."""
        from skytutor import chapters

        scores = chapters.card(recipe)["test"]["scores"]
        percents = [scores[k] for k in scores if k.endswith("_percent")]
        ours = _with_errors(percents, scores["standard_error"])
        gauss = "-"
        if "fisher_percent" in limit:
            gauss = " / ".join(f"{value:.2f}" for value in limit["fisher_percent"])
        published = ", ".join(f"{v:.2f}" for k, v in recipe.published.items() if "MCMC" not in k)
        return [
            recipe.name.removeprefix("cmb-"),
            _with_errors(limit["error_percent"], limit["standard_error"]),
            gauss,
            ours,
            published,
        ]

    @staticmethod
    def fisher(name: str, limit: dict) -> list[str]:
        """Return the cells of one Nside and noise of test 4."""
        return [name.removeprefix("cmb-"), *(f"{v:.1f}" for v in limit["sigma_percent"])]


def _with_errors(values: list[float], errors: list[float]) -> str:
    """Write values and their standard errors, one pair for each parameter."""
    pairs = zip(values, errors, strict=True)
    return " / ".join(f"{value:.2f} ± {error:.2f}" for value, error in pairs)


def setup(app: Sphinx) -> dict:
    """Register the directive with Sphinx."""
    app.add_directive("limits", Limits)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
