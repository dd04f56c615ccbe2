"""Every public module in every mode of torch: it works or is refused in a sentence."""

import pytest
import torch_page
from torch_cells import REFUSED
from torch_modes import MODES, measure
from torch_modules import CASES, PARTS, public_modules


def test_every_public_module_has_a_row():
    assert {kind.__name__ for kind in public_modules()} == {*CASES, *PARTS}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted(CASES))
def test_a_module_works_or_says_why_not(name, mode):
    wanted = "refused" if (name, mode) in REFUSED else "yes"
    assert measure(name, mode).partition(":")[0] == wanted


def test_the_page_says_what_is_tested():
    assert torch_page.PAGE.read_text(encoding="utf-8") == torch_page.page()
    assert set(torch_page.MEANINGS) == set(MODES)
