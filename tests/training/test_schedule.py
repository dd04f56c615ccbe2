"""skytutor.training.schedule: learning rates over a training."""

import math

import pytest

from skytutor.training.schedule import Schedule


def test_one_cycle_rises_and_falls_to_nothing():
    plan = Schedule(epochs=10, batch_size=1, lr=0.5, warmup=0.2)
    rate = [plan.rate_at(s, 10) for s in range(100)]
    assert rate[0] == pytest.approx(0.5 / 20) and max(rate) == 0.5
    peak = rate.index(0.5)
    assert 18 <= peak <= 20
    assert rate[:peak] == sorted(rate[:peak])
    assert rate[peak:] == sorted(rate[peak:], reverse=True)
    assert 0 <= rate[-1] < 0.001
    assert rate[60] == pytest.approx(0.25 * (1 + math.cos(math.pi * 40 / 80)))


def test_other_rates():
    steps = Schedule(epochs=4, batch_size=1, lr=1.0, rate="steps", step_epochs=2, step_factor=0.1)
    assert [steps.rate_at(s, 3) for s in (0, 5, 6, 11)] == pytest.approx([1, 1, 0.1, 0.1])
    constant = Schedule(epochs=4, batch_size=1, lr=1.0, rate="constant")
    assert {constant.rate_at(s, 3) for s in range(12)} == {1.0}
