"""Why the published GAN fails: one change from row to row, and the card of the full study."""

import math
from dataclasses import replace

import pytest
import torch

from skytutor.chapters.gan import ablations
from skytutor.training.profile import Profile

SMOKE = Profile("smoke", torch.device("cpu"), 0)


def test_each_ablation_is_one_change(tmp_path):
    """From row to row one thing differs; the rows with "..." differ from that with R1."""
    first, unregularised, with_r1, *rest = ablations.ABLATIONS
    both, both_unregularised = rest[2:4]
    description = both_unregularised.description
    assert replace(both, description=description, regularised=False) == both_unregularised
    rest.remove(both_unregularised)
    filled = replace(first, description="", project=unregularised.project)
    assert filled == replace(unregularised, description="")
    assert first.project is not unregularised.project
    changed = replace(unregularised, description="", regularised=True)
    assert changed == replace(with_r1, description="")
    assert all(ablation.regularised for ablation in rest)
    assert all(ablation.project is with_r1.project for ablation in rest)
    row = ablations.run(with_r1, SMOKE, folder=tmp_path, steps=2, size=100, progress=False)
    assert math.isfinite(row["frechet"]) and row["description"] == with_r1.description
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        ablations.run(with_r1, SMOKE, folder=tmp_path, steps=0)


def test_the_ablation_study_is_complete():
    """The card has a row for every ablation, and the networks and R1 together matter most."""
    frechet = {row["description"]: row["frechet"] for row in ablations.load_ablations()["rows"]}
    assert list(frechet) == [ablation.description for ablation in ablations.ABLATIONS]
    published = min(frechet["as published, holes and all"], frechet["no holes"])
    assert published > 10 * frechet["both, with R1 and classes: ours"]
