"""`{spectra-limits}`: the limits of chapter 4 and the checks on them, from the package's cards."""

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
NAMES = {
    "colours": "total colours",
    "catalogue": "fair catalogue",
    "oracle": "oracle: image, shapes known",
    "noiseless": "the same without noise",
}


class SpectraLimits(SphinxDirective):
    """A row for each kind of knowledge, one for van Trees, and two sentences on the checks.

    One sentence where the card is not there yet.
    """

    def run(self) -> list[nodes.Node]:
        """Return the table, what was checked, and what made it."""
        file = FOLDER / "spectra-limits-check.json"
        self.env.note_dependency(str(file))
        if not file.exists():
            return [nodes.paragraph("", MISSING)]
        card = json.loads(file.read_text())
        half, whole = (f"{card['n_train'] // part:,}" for part in (2, 1))
        head = ["What is known", f"RMSE, {half} simulations", f"RMSE, {whole}", "Change (%)"]
        rows = [self.row(name, card["convergence"][name], card["n_train"]) for name in NAMES]
        bound = card["van_trees"]
        least = f"{bound['rmse']:.3f} ± {bound['standard_error']:.3f}"
        rows.append(["van Trees bound", "-", least, "-"])
        linear = card["linear_gaussian"]
        checked = (
            f"In the linear-Gaussian case the learned posterior mean has an RMSE of "
            f"{linear['rmse']:.4f}, the analytic one {linear['rmse_analytic']:.4f}: an excess of "
            f"{100 * linear['excess']:.2f} ± {100 * linear['excess_error']:.2f} %."
        )
        how = (
            f"Made by {card['command']} on {card['date'][:10]}, seed {card['seed']}, "
            f"torch {card['versions']['torch']}; {card['n_test']:,} test galaxies."
        )
        sentences = [nodes.paragraph("", text) for text in (checked, how)]
        return [Measured.table(head, rows), *sentences]

    @staticmethod
    def row(name: str, found: dict, size: int) -> list[str]:
        """Return the cells of one kind of knowledge."""
        cells = [NAMES[name]]
        for rows in (str(size // 2), str(size)):
            cells.append(f"{found['rmse'][rows]:.4f} ± {found['standard_error'][rows]:.4f}")
        change = 100 * found["change"]
        return [*cells, f"{change:.2f} ± {100 * found['change_error']:.2f}"]


def setup(app: Sphinx) -> dict:
    """Register the directive with Sphinx."""
    app.add_directive("spectra-limits", SpectraLimits)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
