"""Exercises of chapter 3: right answers pass; frauds and the likeliest mistakes do not."""

import math

import frauds
import numpy as np
import pytest
import torch

from skytutor import exercises
from skytutor.chapters import load_pretrained
from skytutor.data.cmb import GaussianSkySimulator

L = np.arange(48)


def spectrum(peak, *, floor=1e-5):
    return np.exp(-((L - peak) ** 2) / 50) + floor


def clear(peak, sigma, *, area=4 * math.pi / 3072, power=2, floor=1e-5):
    above = np.nonzero(spectrum(peak, floor=floor) > area * sigma**power)[0]
    return int(above.max()) if len(above) else -1


def best(values, probabilities):
    errors = []
    for answer in values:
        errors.append(
            sum(p * abs(answer - t) / t for t, p in zip(values, probabilities, strict=True))
        )
    return values[int(np.argmin(errors))]


def fisher(peak, noise, *, half=0.5):
    """From the analytic derivative of the bell."""
    cl = spectrum(peak) + 4 * math.pi * noise**2 / 3072
    slope = (spectrum(peak) - 1e-5) * (L - peak) / 25 / cl
    return 1 / math.sqrt(float(np.sum(half * (2 * L + 1) * slope**2)))


def laplace(median, log_b, truth):
    density = torch.distributions.Laplace(median, log_b.exp())
    return -density.log_prob(truth).mean()


def careful(measured, asked, n):
    for field, cl in (("EE", asked["EE"]), ("BB", asked["BB"])):
        off = (measured[field] / cl - 1) / np.sqrt(2 / (n * (2 * L + 1)))
        if abs(off.sum()) > 4 * 48**0.5 or (off**2).sum() > 3 * 48:
            return True
    correlation = measured["EB"] / np.sqrt(asked["EE"] * asked["BB"]) * np.sqrt(n * (2 * L + 1))
    return abs(correlation.sum()) > 4 * 48**0.5 or (correlation**2).sum() > 3 * 48


def slope_and_inside(mean, s, truth):
    centred = truth - truth.mean()
    slope = (centred * mean).sum() / (centred**2).sum()
    return slope, sum(abs(mean - truth) < s) / len(s)


BELOW = {
    "a": "chance",
    "b": "impossible",
    "c": "another question",
    "d": "impossible",
    "e": "another question",
}
UNLIKE = {"a": "higher", "b": "lower", "c": "lower", "d": "higher", "e": "the same"}
RIGHT = {
    "last_clear": clear,
    "best_answer": best,
    "sigma_peak": fisher,
    "laplace_nll": laplace,
    "features": torch.log,
    "misread": careful,
    "coverage": slope_and_inside,
    "below_the_limit": BELOW,
    "unlike_its_own": UNLIKE,
}
LIKELY = {
    "last_clear": [
        (lambda p, s: clear(p, s, area=1.0), "How many pixels"),
        (lambda p, s: clear(p, s, power=1), "or its variance"),
        (lambda p, s: clear(p, s) + 1, "how many degrees there are"),
        (lambda p, s: clear(p, s, floor=0.0), "Which part of the spectrum is missing"),
        (lambda p, s: int((spectrum(p) > 4 * math.pi * s**2 / 3072).sum()), "how many degrees are"),
        (lambda p, s: clear(p, s) if s < 50 else None, "`return`"),
    ],
    "best_answer": [
        (lambda v, p: v[np.argmax(p)], "most probable"),
        (lambda v, p: v[np.argmin(np.abs(v[:, None] - v) @ p)], "absolute"),
        (lambda v, p: v[np.argmin((np.abs(v[:, None] - v) / v[:, None]) @ p)], "by the truth"),
        (lambda v, p: (v * p).sum(), "is not right"),
    ],
    "sigma_peak": [
        (lambda p, n: fisher(p, n) ** 2, "variance"),
        (lambda p, n: fisher(p, n) ** -2, "information"),
        (lambda p, n: fisher(p, n, half=1.0), "root of two"),
        (lambda p, n: fisher(p, n) / 2, "is half of it"),
        (lambda p, n: fisher(p, n) / p, "relative to the peak"),
        (lambda p, n: fisher(p, 0.0), "does not change with the noise"),
        (lambda p, n: p / 20 + n / 20, "is not right"),
    ],
    "laplace_nll": [
        (lambda m, b, t: (b + ((t - m) / b.exp()) ** 2).mean(), "A square"),
        (lambda m, b, t: (b + 0.5 * ((t - m) / b.exp()) ** 2).mean(), "the Gaussian's"),
        (lambda m, b, t: b + (t - m).abs() / b.exp(), "shape|number"),
        (lambda m, b, t: ((t - m).abs() / b.exp()).mean(), "huge b"),
        (lambda m, b, t: (b + (t - m).abs() / b).mean(), "logarithm of b"),
        (lambda m, b, t: -laplace(m, b, t), "small for good answers"),
        (lambda m, b, t: len(t) * laplace(m, b, t), "the mean over the skies"),
        (lambda m, b, t: laplace(m, b, t).item(), "no gradient leads"),
        (lambda m, b, t: laplace(m, b, t).detach(), "no gradient leads"),
        (lambda m, b, t: torch.tensor(0.0), "no gradient leads"),
        (lambda m, b, t: laplace(m, torch.from_numpy(b.numpy()), t), "numpy() on Tensor that req"),
        (lambda m, b, t: None, "it gives None; is there a `return`?"),
        (lambda m, b, t: "loss", "it gives 'loss'; a number is wanted"),
        (lambda m, b: laplace(m, b, m), "takes 3 arguments (median, log_b, truth)"),
    ],
    "features": [
        (lambda c: c, "gives back"),
        (lambda c: c.sqrt(), "mean error of"),
        (lambda c: c[:, :5].log(), "mean error of"),
        (lambda c: c.log().mean(0), "row for each sky"),
        (lambda c: torch.ones(len(c), 3), "the same in every case"),
    ],
    "misread": [
        (lambda m, a, n: careful(m | {"EB": 0 * m["EB"]}, a, n), "in common"),
        (lambda m, a, n: bool((m["EE"] != a["EE"]).any()), "exactly"),
        (lambda m, a, n: abs(m["EE"].sum() / a["EE"].sum() - 1) > 0.2, "is not right"),
        (lambda m, a, n: None, "it gives None; is there a `return`?"),
        (lambda m, a: False, "takes 3 arguments (measured, asked, n)"),
        (lambda m, a, n: m["EE"] > a["EE"], "truth value of an array"),
    ],
    "coverage": [
        (lambda m, s, t: slope_and_inside(t, s, m), "horizontal axis"),
        (lambda m, s, t: slope_and_inside(m, 2 * s, t), "two deviations"),
        (lambda m, s, t: slope_and_inside(m, s, t)[::-1], "In which order"),
        (
            lambda m, s, t: (slope_and_inside(m, s, t)[0], 100 * slope_and_inside(m, s, t)[1]),
            "per cent",
        ),
    ],
    "below_the_limit": [
        (BELOW | {"b": "chance"}, "4 of 5"),
        (BELOW | {"b": "bug"}, "choose one of"),
        ({"a": "chance"}, "letters a, b, c, d, e"),
    ],
    "unlike_its_own": [(UNLIKE | {"b": "higher", "e": "lower"}, "3 of 5")],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_passes(name, capsys):
    assert getattr(exercises.cmb, name)(RIGHT[name]) is True
    assert capsys.readouterr().out.startswith("right: ")


@pytest.mark.parametrize("name", LIKELY)
def test_the_likeliest_mistakes_hear_what_to_think_about(name, capsys):
    for mistake, words in LIKELY[name]:
        assert getattr(exercises.cmb, name)(mistake) is False
        out = capsys.readouterr().out
        assert out.startswith("not yet: ")
        assert any(word in out for word in words.split("|")), out


@pytest.mark.parametrize("name", RIGHT)
def test_no_fraud_passes(name):
    assert frauds.let_through(getattr(exercises.cmb, name)) == []


@pytest.mark.parametrize("word", ["chance", "impossible", "another question"])
def test_one_word_for_all_questions_does_not_pass(word):
    assert not exercises.cmb.below_the_limit(dict.fromkeys("abcde", word))


def test_the_words_about_other_skies_are_what_the_network_does():
    """The right answers are measured here, with the network of the exercise."""
    simulator = GaussianSkySimulator("T1")
    true, maps = simulator.sample(400, seed=3)
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))
    model = load_pretrained("cmb-t1-noise5")

    def bias(maps):
        with torch.no_grad():
            out = model(maps)[..., 0].double()
        return float((simulator.unnormalise(out) - true).mean())

    shifts = {"a": bias(maps + 10 * noise), "b": bias(maps + 2 * noise)}
    shifts["d"] = bias(2 * maps + 5 * noise)
    for letter, shift in shifts.items():
        assert abs(shift) > 0.5
        assert UNLIKE[letter] == ("higher" if shift > 0 else "lower")
    assert bias(-(maps + 5 * noise)) == pytest.approx(bias(maps + 5 * noise), abs=1e-3)


# --- a problem of the reader's own ----------------------------------------------------------------

TRUE = np.linspace(1, 3, 400)
ERRORS = 0.05 * np.random.default_rng(0).standard_normal(400)


class Moody:
    """Raises what no array does."""

    def __array__(self, *args, **options):
        raise KeyError("mine")


def test_an_error_of_fishers_size_passes():
    assert exercises.cmb.own_method(TRUE, TRUE + ERRORS, 0.05)
    assert exercises.cmb.own_method(torch.from_numpy(TRUE), TRUE + ERRORS, np.full(400, 0.05))


@pytest.mark.parametrize(
    ("found", "sigma", "words"),
    [
        (TRUE, 0.05, "below a bound"),
        (TRUE + 0.3 * ERRORS, 0.05, "below a bound"),
        (TRUE + 2 * ERRORS, 0.05, "left to gain"),
        (np.full(400, 2.0), 0.05, "slope"),
        (TRUE + ERRORS, 1.0, "wider prior"),
        (TRUE + ERRORS, -0.05, "must be positive"),
        (TRUE * np.nan, 0.05, "not finite"),
        (TRUE[:7], 0.05, "of one length"),
        ("answers", 0.05, "three arrays"),
        (Moody(), 0.05, "three arrays"),
        (1e300 * TRUE, 0.05, "slope|gain"),
        (None, 0.05, "wanted|not finite"),
    ],
)
def test_other_errors_do_not_pass_and_say_why(found, sigma, words, capsys):
    assert exercises.cmb.own_method(TRUE, found, sigma) is False
    out = capsys.readouterr().out
    assert out.startswith("not yet: own_method: ")
    assert any(word in out for word in words.split("|")), out


@pytest.mark.parametrize("place", range(3))
def test_no_fraud_is_a_method_of_ones_own(place):
    def own(fraud):
        given = [TRUE, TRUE + ERRORS, 0.05]
        given[place] = fraud
        # A number may well be Fisher's error; it fits no truth here.
        return exercises.cmb.own_method(*given)

    assert frauds.let_through(own) == []


def test_too_few_skies_do_not_pass(capsys):
    assert not exercises.cmb.own_method(TRUE[:50], TRUE[:50] + ERRORS[:50], 0.05)
    assert "50 skies are too few" in capsys.readouterr().out
