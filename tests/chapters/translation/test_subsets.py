"""skytutor.chapters.translation.subsets: which bands are given."""

import pytest
import torch

from skytutor.chapters.translation.subsets import (
    PUBLISHED,
    TARGETS,
    check_request,
    draw_given,
    given_bands,
)
from skytutor.data.surveys import BANDS
from tests.complaints import complaint


def test_published_choices_hold_no_target():
    for names in PUBLISHED.values():
        check_request(names, TARGETS)


def test_a_training_meets_every_published_choice_and_every_number_of_bands():
    rng = torch.Generator().manual_seed(0)
    given = draw_given(torch.rand(4000, len(BANDS) + 2, generator=rng))
    assert given.dtype == torch.bool and given.shape == (4000, len(BANDS))
    counts = given.sum(1)
    assert set(counts.tolist()) == set(range(1, 9)), "one band to eight"
    for names in PUBLISHED.values():
        fraction = float((given == given_bands(names)).all(1).double().mean())
        assert fraction == pytest.approx(0.125, abs=0.02)
    assert bool((given.double().mean(0) > 0.15).all()), "no band is never given"


def test_draws_at_the_ends_of_the_interval_are_fine():
    for value in (0.0, 1.0 - 1e-7):
        given = draw_given(torch.full((2, len(BANDS) + 2), value))
        assert bool(given.any(1).all()) and not bool(given.all(1).any())


def test_bad_requests_are_named():
    complaint(ValueError, check_request, "targets", "r", inputs=["r", "K"], targets=["g", "r"])
    complaint(ValueError, check_request, "none", inputs=[], targets=["g"])
    complaint(ValueError, check_request, "bands", "Z", inputs=["Z"], targets=["g"])
    complaint(TypeError, check_request, "sequence", inputs="red", targets=["g"])
    complaint(ValueError, given_bands, "inputs", "K", inputs=["K"], bands=["g", "r"])
