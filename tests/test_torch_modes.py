"""Every public module in every mode of torch: it works, is refused in a sentence, or is open."""

import pytest
from torch_modes import MODES, measure
from torch_modules import CASES, PARTS, public_modules

WITH_PENALTY = ("half()", "bfloat16()", "vmap", "func.grad", "func.jvp", "export", "compile")
REFUSED = {("AdversarialPair", mode) for mode in (*WITH_PENALTY, "inference first")} | {
    ("Sample", "built on meta"),
    ("PolarResample", "built on meta"),
    ("Harmonics", "double()"),
}
SUMS = ("Dense", "RingFourier", "CapFourier")
REFUSED |= {(name, mode) for name in SUMS for mode in ("half()", "bfloat16()")}
# An error of torch itself, not a sentence of ours; no number comes out. And what is not measured.
OPEN = {(name, mode) for name in ("Harmonics", "SymmetryBlocks") for mode in WITH_PENALTY[:2]} | {
    ("Rotate", "vmap"),
    ("Sample", "vmap"),
    ("PolarResample", "vmap"),
}
UNMEASURED = {"WienerFilter"}


def test_every_public_module_has_a_row():
    assert {kind.__name__ for kind in public_modules()} == {*CASES, *PARTS}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted(set(CASES) - UNMEASURED))
def test_a_module_works_or_says_why_not(name, mode):
    if (name, mode) in OPEN:
        # Any error but that of a wrong number.
        with pytest.raises((RuntimeError, TypeError, ValueError, NotImplementedError)):
            measure(name, mode)
        return
    wanted = "refused" if (name, mode) in REFUSED else "yes"
    assert measure(name, mode).partition(":")[0] == wanted
