"""skytutor.chapters.spectra.realism: the bars that the simulator is held to."""

import pytest
import torch
from complaints import complaint

from skytutor.chapters.spectra import realism
from skytutor.chapters.spectra.realism import compare_with_real

BARS = {"g-r": 0.015, "r-i": 0.006, "i-z": 0.006, "auc": 0.55}


@pytest.mark.slow
def test_simulated_galaxies_have_the_colours_of_galaxies_never_seen():
    found = compare_with_real(seed=0)
    for name, bar in BARS.items():
        assert found[name] <= bar, f"{name}: {found[name]:.4f}"
    # Pinned: a change of the simulator shows here.
    assert found["auc"] == pytest.approx(PINNED["auc"], abs=0.004)
    for name in ("g-r", "r-i", "i-z"):
        assert found[name] == pytest.approx(PINNED[name], abs=5e-4)
        assert found[f"halves {name}"] < BARS[name]
    assert found["halves auc"] == pytest.approx(0.5, abs=0.015)


PINNED = {"g-r": 0.0092, "r-i": 0.0038, "i-z": 0.0028, "auc": 0.5327}


def test_galaxies_of_other_colours_are_told_apart(monkeypatch):
    true = realism.sdss_magnitudes

    def redder(galaxies):
        return true(galaxies) + torch.tensor([0.1, 0.0, 0.0, 0.0])

    monkeypatch.setattr(realism, "sdss_magnitudes", redder)
    found = compare_with_real(500, seed=1, repeats=1)
    assert found["g-r"] == pytest.approx(0.1, abs=0.03)
    assert found["auc"] > 0.6
    assert found["halves g-r"] < 0.015


def test_the_seed_decides():
    first, second, other = (compare_with_real(60, seed=s, repeats=1) for s in (1, 1, 2))
    assert first == second
    assert first["g-r"] != other["g-r"]


@pytest.mark.parametrize(
    ("error", "arguments", "words"),
    [
        (ValueError, {"n": 5}, ("n must", 10, 5)),
        (TypeError, {"n": 50.0}, ("n must", 50.0)),
        (ValueError, {"repeats": 0}, ("repeats", 0)),
        (TypeError, {"repeats": "3"}, ("repeats", "3")),
    ],
)
def test_unfit_arguments_are_refused(error, arguments, words):
    complaint(error, compare_with_real, *words, seed=0, **arguments)
