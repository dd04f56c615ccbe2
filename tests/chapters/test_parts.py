"""Tables in parts: each from its own seed, a smaller table the beginning of a larger."""

import pytest
import torch

from skytutor.chapters import parts
from skytutor.chapters.parts import draw_parts
from skytutor.chapters.seeds import SPECTRA

CPU = torch.device("cpu")


@pytest.fixture
def drawn(monkeypatch):
    """Return the sizes and seeds that were asked for, with parts of four."""
    monkeypatch.setattr(parts, "PART", 4)
    return []


def draw(drawn):
    def columns(n, generator):
        drawn.append((n, generator.initial_seed()))
        rows = torch.randn(n, 2, generator=generator)
        return {"a": rows, "b": rows.sum(1)}

    return columns


def test_a_smaller_table_is_the_beginning_of_a_larger(drawn):
    large = draw_parts(draw(drawn), 12, seeds=SPECTRA, seed=0, device=CPU)
    small = draw_parts(draw(drawn), 8, seeds=SPECTRA, seed=0, device=CPU)
    assert large["a"].shape == (12, 2) and torch.equal(small["a"], large["a"][:8])
    assert torch.equal(large["a"].sum(1), large["b"]), "columns are of the same rows"
    assert not torch.equal(large["a"][:4], large["a"][4:8])


def test_every_part_has_its_own_seed_among_those_for_training(drawn):
    draw_parts(draw(drawn), 10, seeds=SPECTRA, seed=0, device=CPU)
    draw_parts(draw(drawn), 10, seeds=SPECTRA, seed=1, device=CPU)
    assert [n for n, _ in drawn] == [4, 4, 2] * 2
    seeds = [seed for _, seed in drawn]
    assert len(set(seeds)) == 6 and all(seed in SPECTRA.train for seed in seeds)


def test_a_part_can_be_drawn_alone(drawn):
    whole = draw_parts(draw(drawn), 8, seeds=SPECTRA, seed=2, device=CPU)
    _, seed = drawn[1]
    alone = draw(drawn)(4, torch.Generator().manual_seed(seed))
    assert torch.equal(alone["a"], whole["a"][4:])


@pytest.mark.parametrize(("size", "message"), [(0, "size"), (4001, "size must be at most 4000")])
def test_sizes_that_have_no_seeds_are_refused(drawn, size, message):
    with pytest.raises(ValueError, match=message):
        draw_parts(draw(drawn), size, seeds=SPECTRA, seed=0, device=CPU)
    assert drawn == []


@pytest.mark.parametrize("seed", [-1, 1000])
def test_seeds_of_validation_and_test_are_refused(drawn, seed):
    with pytest.raises(ValueError, match=rf"seed must lie in 0..999, got {seed}"):
        draw_parts(draw(drawn), 4, seeds=SPECTRA, seed=seed, device=CPU)


def test_parts_may_be_smaller(drawn):
    draw_parts(draw(drawn), 5, seeds=SPECTRA, seed=0, device=CPU, part=2)
    assert [n for n, _ in drawn] == [2, 2, 1]
    with pytest.raises(ValueError, match="part must be"):
        draw_parts(draw(drawn), 5, seeds=SPECTRA, seed=0, device=CPU, part=0)
