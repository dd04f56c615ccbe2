"""`{limits}`: the limits of chapter 3 from the package's own table, beside the shipped networks' scores and published ones."""

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
    """One row for each recipe of tests 1 to 3, one for each Nside and noise of test 4, and what made them."""

    def run(self) -> list[nodes.Node]:
        from skytutor import recipes

        file = FOLDER / "cmb-limits.json"
        self.env.note_dependency(str(file))
        told = json.loads(file.read_text())
        rows = [
            self.row(recipes.get(name), found)
            for name, found in told["limits"].items()
            if "error_percent" in found
        ]
        four = [
            self.fisher(name, found)
            for name, found in told["limits"].items()
            if "sigma_percent" in found
        ]
        how = f"Made by {told['command']} on {told['date'][:10]}, seed {told['seed']}, torch {told['versions']['torch']}."
        return [
            Measured.table(HEAD, rows),
            nodes.paragraph("", "Test 4, Fisher at r = 0.003, tau = 0.054, both free:"),
            Measured.table(["Test", "sigma of r (%)", "sigma of tau (%)"], four),
            nodes.paragraph("", how),
        ]

    @staticmethod
    def row(recipe, found: dict) -> list[str]:
        from skytutor import recipes

        def pair(values, errors=None) -> str:
            texts = [
                f"{v:.2f}" + (f" ± {e:.2f}" if errors else "")
                for v, e in zip(values, errors or values, strict=True)
            ]
            return " / ".join(texts)

        scores = recipes.card(recipe)["test"]["scores"]
        ours = pair([scores[k] for k in scores if k.endswith("_percent")], scores["standard_error"])
        gauss = pair(found["fisher_percent"]) if "fisher_percent" in found else "-"
        published = ", ".join(f"{v:.2f}" for k, v in recipe.published.items() if "MCMC" not in k)
        return [
            recipe.name.removeprefix("cmb-"),
            pair(found["error_percent"], found["standard_error"]),
            gauss,
            ours,
            published,
        ]

    @staticmethod
    def fisher(name: str, found: dict) -> list[str]:
        return [name.removeprefix("cmb-"), *(f"{v:.1f}" for v in found["sigma_percent"])]


def setup(app: Sphinx) -> dict:
    app.add_directive("limits", Limits)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
