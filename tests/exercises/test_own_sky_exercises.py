"""Exercises of "Your own sky": right answers pass; frauds and the likeliest mistakes do not."""

import math
import tempfile
from itertools import pairwise
from pathlib import Path

import frauds
import healpy
import numpy as np
import pytest
import torch

from skytutor.exercises import own_sky
from skytutor.exercises.own_sky import files
from skytutor.exercises.own_sky.files import EDGES
from skytutor.fields.master import ModeCoupling
from skytutor.healpix import UNSEEN
from skytutor.io import read_map

RIGHT_WORDS = dict(
    zip("abcdef", ("order", "unit", "unseen", "dipole", "noise", "beam"), strict=True)
)


# --- right answers, each by another road than the exercise's own ----------------------------------


def seen_mean(values):
    array = values.numpy()
    return float(np.mean([v for v in array if np.isfinite(v) and abs(v) < 1e10]))


def dipole(values, vectors, mask, *, constant=True):
    """By the normal equations, in numpy."""
    n = vectors[mask].numpy()
    columns = np.column_stack([np.ones(len(n)), n]) if constant else n
    found = np.linalg.solve(columns.T @ columns, columns.T @ values[mask].numpy())
    return found[-3:]


def fill_one(values, r, s, noise):
    """By conditioning the joint Gaussian of all five numbers through its precision matrix."""
    joint = np.full((5, 5), s)
    joint[0, 1:] = joint[1:, 0] = r
    np.fill_diagonal(joint, 1.0)
    # A little noise more than none: the joint matrix may be singular.
    joint[range(1, 5), range(1, 5)] += noise**2 + 1e-12
    precision = np.linalg.inv(joint)
    variance = 1 / precision[0, 0]
    return float(-variance * precision[0, 1:] @ values.numpy()), math.sqrt(variance)


def noise_level(variance, mask, pixel_area, *, power=2):
    weight = mask.numpy() ** power
    return float(pixel_area * np.sum(weight * variance.numpy()) / np.sum(weight))


def band_error(signal, noise, low, high, f_sky, *, cross=True):
    waves = high**2 - low**2  # the sum of 2 l + 1
    if not cross:
        return math.sqrt(2 / (waves * f_sky)) * (signal + noise)
    product = np.linalg.det([[signal + noise, 1j * signal], [1j * signal, signal + noise]])
    return math.sqrt(abs(product) / (waves * f_sky))


def strangeness(own, simulated, *, diagonal=False, chance=False):
    s = simulated.numpy()
    covariance = np.cov(s.T)
    if diagonal:
        covariance = np.diag(np.diag(covariance))
    white = np.linalg.inv(np.linalg.cholesky(covariance))
    chi2 = np.sum(((s - s.mean(0)) @ white.T) ** 2, axis=1)
    mine = np.sum((white @ (own.numpy() - s.mean(0))) ** 2)
    fraction = float(np.mean(chi2 >= mine * (1 - 1e-12)))
    return 1 - fraction if chance else fraction


def measure(path, *, unit=None, nest=False, dipole_off=True, decoupled=True):
    """By healpy, with the kernel of the mask inverted in numpy."""
    sky = read_map(path, order="ring")
    scale = {"K": 1e6, "mK": 1e3, "muK": 1.0}[unit or sky.unit]
    seen = sky.mask.numpy()
    values = np.where(seen, healpy.read_map(path, dtype=np.float64) * scale, healpy.UNSEEN)
    if dipole_off:
        values = healpy.remove_dipole(values)
    values = np.where(seen, values, 0)
    if nest:
        values = healpy.reorder(values, r2n=True)
    pseudo = healpy.anafast(values, lmax=24) / seen.mean()
    edges = [*EDGES, 25]
    rows = np.array([(np.arange(25) >= a) & (np.arange(25) < b) for a, b in pairwise(edges)])
    means = rows / rows.sum(1, keepdims=True)
    kernel = np.eye(25)
    if decoupled:
        mask = torch.from_numpy(seen)
        kernel = ModeCoupling(mask, nside=16, lmax=24, order="ring").kernels["TT"].numpy()
    return np.linalg.solve(means @ kernel @ rows.T, means @ pseudo)[:3]


EXERCISES = {
    own_sky.seen_mean: seen_mean,
    own_sky.dipole: dipole,
    own_sky.fill_one: fill_one,
    own_sky.noise_level: noise_level,
    own_sky.band_error: band_error,
    own_sky.strangeness: strangeness,
    own_sky.symptoms: RIGHT_WORDS,
    own_sky.measure: measure,
}
LIKELY = [
    (own_sky.seen_mean, lambda v: v[v != UNSEEN].mean(), "kelvin into microkelvin"),
    (own_sky.seen_mean, lambda v: v[v > -1e20].mean(), "sign of a map"),
    (own_sky.seen_mean, lambda v: v[(v > 0) & (v < 1e20)].mean(), "colder than the mean"),
    (own_sky.dipole, lambda v, n, m: 3 * (v[m, None] * n[m]).mean(0), "if the south is hidden"),
    (own_sky.dipole, lambda v, n, m: dipole(v, n, m, constant=False), "mean of the map"),
    (own_sky.dipole, lambda v, n, m: dipole(v, n, m | True), "behind the mask"),
    (own_sky.fill_one, lambda v, r, s, noise: (v.mean(), noise / 2), "r of 0"),
    (own_sky.fill_one, lambda v, r, s, noise: fill_one(v, r, s, 0), "What does noise add"),
    (own_sky.noise_level, lambda v, w, area: area * v.mean(), "noise of a hidden pixel"),
    (own_sky.noise_level, lambda v, w, area: noise_level(v, w, area, power=1), "one half"),
    (own_sky.noise_level, lambda v, w, area: noise_level(v, w, 1.0), "How large is a pixel"),
    (own_sky.band_error, lambda *case: band_error(*case, cross=False), "covariance of the"),
    (own_sky.band_error, lambda c, n, a, b, f: band_error(c, n, a, b, 1), "behind a mask"),
    (own_sky.band_error, lambda c, n, a, b, f: band_error(c, 0, a, b, f), "Does it add scatter"),
    (own_sky.strangeness, lambda own, s: strangeness(own, s, diagonal=True), "go apart"),
    (own_sky.strangeness, lambda own, s: strangeness(own, s, chance=True), "near 1 alarming"),
    (own_sky.symptoms, RIGHT_WORDS | {"a": "noise", "e": "order"}, "4 of 6 are right"),
    (own_sky.symptoms, dict.fromkeys("abcdef", ""), "choose one of 'beam'"),
    (own_sky.measure, lambda path: measure(path, unit="muK"), "In which unit"),
    (own_sky.measure, lambda path: measure(path, nest=True), "which is not right"),
    (own_sky.measure, lambda path: measure(path, dipole_off=False), "brightest thing"),
    (own_sky.measure, lambda path: measure(path, decoupled=False), "sky times its mask"),
]
QUICK = [exercise for exercise in EXERCISES if exercise is not own_sky.measure]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.__name__)
def test_a_right_answer_passes(exercise, capsys):
    assert exercise(EXERCISES[exercise]) is True
    assert capsys.readouterr().out.startswith("right: ")


@pytest.mark.parametrize("exercise", QUICK, ids=lambda e: e.__name__)
def test_no_fraud_passes(exercise):
    assert frauds.let_through(exercise) == []


def test_no_fraud_measures_a_file(monkeypatch):
    # Files and right answers are made once: only the frauds change.
    with tempfile.TemporaryDirectory() as folder:
        cases = files._write(Path(folder))
        right = {case: files._measured(*case) for case in cases}
        monkeypatch.setattr(files, "_write", lambda _: cases)
        monkeypatch.setattr(
            files, "_measured", lambda path, **wrong: right[(path,)] * (2 if wrong else 1)
        )
        assert frauds.let_through(own_sky.measure) == []


@pytest.mark.parametrize(("exercise", "mistake", "words"), LIKELY)
def test_a_likely_mistake_hears_where_to_look(exercise, mistake, words, capsys):
    assert exercise(mistake) is False
    said = capsys.readouterr().out
    assert said.startswith("not yet: ")
    assert said.count("\n") == 1
    assert words in said
