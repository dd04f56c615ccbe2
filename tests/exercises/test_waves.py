"""Exercises of the page on waves: right answers pass; frauds and the likeliest mistakes do not."""

import math

import frauds
import numpy as np
import pytest
import torch

from skytutor import sht
from skytutor.exercises import waves
from skytutor.fields.spectra import alm2cl

L = torch.arange(33.0)
MINE = {
    "TT": 10 / (L + 2) ** 2,
    "EE": 4 / (L + 2) ** 2,
    "BB": 1 / (L + 2) ** 2,
    "TE": 3 / (L + 2) ** 2,
}
RIGHT = "EBBEME"


def turn(cosine, sine, m, *, degrees=90):
    """By complex numbers, where the package writes cosines and sines out."""
    turned = complex(cosine, -sine) * np.exp(-1j * m * np.radians(degrees))
    return turned.real, -turned.imag


def scatter(first, last, *, variance=2):
    return math.sqrt(variance / sum(2 * l + 1 for l in range(first, last + 1)))


def noise(sigma, nside, *, area=4 * math.pi):
    return area * sigma**2 / (12 * nside**2)


def beam(fwhm_deg, l, *, power=2, width=math.radians):
    sigma = width(fwhm_deg) / math.sqrt(8 * math.log(2))
    return math.exp(-power * l * (l + 1) * sigma**2 / 2)


def alias(m, n):
    """By trying."""
    pixels = 2 * np.pi * np.arange(n) / n
    orders = range(n + 1)
    return next(k for k in orders if np.allclose(np.cos(k * pixels), np.cos(m * pixels)))


def power_left(mask):
    return float((mask * mask).mean())


def audit(simulate, *, spectra=None, errors=5.0, names=("TT", "EE", "BB", "TE")):
    spectra = spectra or MINE
    alms = simulate(spectra)
    wrong = set()
    for name in names:
        skies = alm2cl(alms[name[0]], alms[name[1]], lmax=32)[:, 2:]
        error = skies.std(0) / len(skies) ** 0.5
        if ((skies.mean(0) - spectra[name][2:]) / error).abs().max() > errors:
            wrong.add(name)
    return wrong


EXERCISES = {
    waves.quarter_turn: turn,
    waves.relative_scatter: scatter,
    waves.noise_level: noise,
    waves.power_factor: beam,
    waves.alias: alias,
    waves.sticks: RIGHT,
    waves.divisor: power_left,
    waves.audit: audit,
}
LIKELY = [
    (waves.quarter_turn, lambda c, s, m: turn(c, s, m, degrees=-90), "to the west"),
    (waves.quarter_turn, lambda c, s, m: turn(c, s, 1), "right for m = 1"),
    (waves.quarter_turn, lambda c, s, m: (c, s), "is not right"),
    (waves.quarter_turn, lambda c, s, m: turn(c, s, m) if m else (s, c), "m = 0 it gives"),
    (waves.relative_scatter, lambda a, b: scatter(a, b) ** 2, "the variance"),
    (waves.relative_scatter, lambda a, b: scatter(a, a), "right for a single degree"),
    (waves.relative_scatter, lambda a, b: math.sqrt(2 / (a + b + 1)), "middle degree alone"),
    (waves.relative_scatter, lambda a, b: math.sqrt(2 / (b**2 - a**2)), "hold the last degree"),
    (waves.relative_scatter, lambda a, b: scatter(a, b, variance=1), "square of a Gaussian"),
    (waves.noise_level, lambda sigma, nside: 0.0, "same in every case"),
    (waves.noise_level, lambda sigma, nside: sigma**2, "variance of one pixel"),
    (waves.noise_level, lambda sigma, nside: noise(sigma, nside, area=1), "Which coefficient"),
    (waves.noise_level, lambda sigma, nside: noise(sigma, nside) / sigma, "unit of the map"),
    (waves.power_factor, lambda fwhm, l: beam(fwhm, l, power=1), "the factor of a coefficient"),
    (waves.power_factor, lambda fwhm, l: beam(fwhm, l, width=float), "In which unit"),
    (waves.alias, lambda m, n: m % n, "Compare cos"),
    (waves.alias, lambda m, n: abs(n - m), "a little too fine"),
    (waves.alias, lambda m, n: m, "gives back m"),
    (waves.sticks, "??????", "letter 1 is '?'; choose one of 'E', 'B', 'M'"),
    (waves.sticks, "EBM", "a text of 6 letters is wanted"),
    (waves.sticks, "EEBBMB", "3 of 6 are right. Turn the page"),
    (waves.divisor, lambda mask: mask.mean(), "half its amplitude"),
    (waves.divisor, lambda mask: (mask > 0).double().mean(), "count as seen in full"),
    (waves.divisor, lambda mask: mask.mean() ** 2, "mean of the squares"),
    (waves.audit, lambda simulate: set(), "misses a fault"),
    (waves.audit, lambda simulate: audit(simulate, errors=2), "false alarm"),
    (waves.audit, lambda simulate: audit(simulate, names=("TT", "EE", "BB")), "misses a fault"),
    (waves.audit, lambda simulate: simulate({"TT": L}), "EE', 'TE'] missing"),
]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.__name__)
def test_a_right_answer_passes(exercise, capsys):
    assert exercise(EXERCISES[exercise]) is True
    assert capsys.readouterr().out.startswith("right: ")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.__name__)
def test_no_fraud_passes(exercise):
    assert frauds.let_through(exercise) == []


@pytest.mark.parametrize(("exercise", "mistake", "words"), LIKELY)
def test_a_likely_mistake_hears_where_to_look(exercise, mistake, words, capsys):
    assert exercise(mistake) is False
    said = capsys.readouterr().out
    assert said.startswith("not yet: ")
    assert said.count("\n") == 1
    assert words in said


@pytest.mark.parametrize("kind", "EBM")
def test_one_letter_for_all_patterns_does_not_pass(kind):
    assert waves.sticks(6 * kind) is False


def test_taking_q_for_e_does_not_pass():
    """A pattern on these axes may have U alone and be E, or Q alone and be B."""
    kinds = ""
    for pattern in waves.stick_patterns():
        q_power = float(pattern.q.square().sum())
        u_power = float(pattern.u.square().sum())
        kinds += "E" if q_power > 1.01 * u_power else "B" if u_power > 1.01 * q_power else "M"
    assert sum(a != b for a, b in zip(kinds, RIGHT, strict=True)) >= 2


def curl_and_divergence(pattern):
    """B and E of a flat pattern, by its Fourier modes: north is y and west is x."""
    q, u = (values.reshape(7, 7) for values in (pattern.q, pattern.u))
    modes = torch.fft.fft2(torch.stack([q, u]))
    k = torch.fft.fftfreq(7, dtype=torch.float64)
    north, west = torch.meshgrid(k, k, indexing="ij")
    twice = 2 * torch.atan2(west, north)
    e = modes[0] * twice.cos() + modes[1] * twice.sin()
    b = modes[1] * twice.cos() - modes[0] * twice.sin()
    # The largest modes of seven points repeat: leave the mean and those on the rim out.
    inside = (north.abs() < 0.4) & (west.abs() < 0.4) & (north**2 + west**2 > 0)
    return e[inside].abs().square().sum(), b[inside].abs().square().sum()


@pytest.mark.parametrize("number", range(6))
def test_a_pattern_is_what_its_letter_says(number):
    e, b = curl_and_divergence(waves.stick_patterns()[number])
    fraction = float(b / (e + b))
    assert {"E": 0.0, "M": 0.5, "B": 1.0}[RIGHT[number]] == pytest.approx(fraction, abs=0.2)


def test_a_level_of_noise_is_that_of_noise():
    rng = torch.Generator().manual_seed(0)
    maps = 3.0 * torch.randn(200, 12 * 8**2, generator=rng).double()
    measured = alm2cl(sht.map2alm(maps, nside=8, lmax=8, order="ring"), lmax=8)[:, 2:].mean()
    assert noise(3.0, 8) == pytest.approx(float(measured), rel=0.03)


def test_equal_spectra_hide_an_exchange(capsys):
    equal = MINE | {"BB": MINE["EE"], "TE": 0 * L}
    assert waves.audit(lambda simulate: audit(simulate, spectra=equal)) is False
    assert "simulator 1 it misses a fault" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [(6, ValueError, "number must lie in 0..5, got 6"), ("1", TypeError, "number must be")],
)
def test_only_six_simulators(number, error, words):
    with pytest.raises(error, match=words):
        waves.SimulatedAlms(number)
