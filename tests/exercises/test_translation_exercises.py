"""Exercises of chapter 5: right answers pass; frauds and the likeliest mistakes do not."""

import functools
import math

import frauds
import numpy as np
import pytest
import torch
from scipy import constants, ndimage, optimize, stats

from skytutor import exercises
from skytutor.chapters.translation.patch_gan import PatchDiscriminator
from skytutor.chapters.translation.scores import decibels
from skytutor.chapters.translation.stretch import stretched
from skytutor.data.bands import SceneSimulator
from skytutor.metrics.sources import find_peaks, unmatched

translation = exercises.translation


# --- right answers, each by another road than the exercise's own ----------------------------------


def by_root(ratio, first, second, *, power=3):
    """Solve Planck's law in SI units for the temperature."""
    metres = np.array([first, second]) * 1e-6

    def off(temperature):
        x = constants.h * constants.c / (metres * constants.k * temperature)
        flux = metres**-power / np.expm1(x)
        return math.log(flux[0] / flux[1] / ratio)

    try:
        return optimize.brentq(off, 1000, 1e5)
    except ValueError:  # no black body has this colour
        return 1000.0 if abs(off(1000)) < abs(off(1e5)) else 1e5


def wien(ratio, first, second):
    slope = 1e6 * constants.h * constants.c / constants.k * (1 / first - 1 / second)
    return slope / (3 * math.log(second / first) - math.log(ratio))


def spread_over(image, native, pixel):
    """Divide by the area of a native pixel, and multiply by that of a new one."""
    return image.numpy() / native**2 * pixel**2


def by_the_library(answer, truth, softening):
    return decibels((stretched(answer, softening) - stretched(truth, softening)).square())


def squares(answer, truth, softening):
    s = softening.numpy()[:, None, None]
    return (np.arcsinh(answer.numpy() / s) - np.arcsinh(truth.numpy() / s)) ** 2


def with_peak(peak):
    return lambda *case: 10 * np.log10(peak(*case) ** 2 / squares(*case).mean())


PEAK = math.asinh(1000)


def backwards(kernels, strides):
    """Widen from the last layer to the image."""
    side = 1
    for kernel, stride in zip(kernels[::-1], strides[::-1], strict=True):
        side = side * stride + kernel - stride
    return side


def steps_before(kernels, strides):
    return 1 + sum((k - 1) * math.prod(strides[:n]) for n, k in enumerate(kernels))


def by_variance(flux, sky, counts, white, *, variance=lambda f, s, c: s**2 + np.maximum(f, 0) / c):
    return flux.numpy() + np.sqrt(variance(flux.numpy(), sky, counts)) * white.numpy()


def noisy(variance):
    return lambda *case: by_variance(*case, variance=variance)


def by_photutils(found, truth, least):
    peaks = find_peaks(found[None], least=least)
    return int(unmatched(peaks, truth[None]).sum())


def around(image):
    """Take the largest of nine shifted copies; nothing lies at the border."""
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return torch.stack([image.roll(shift, (0, 1)) for shift in shifts]).amax(0)


def by_shifts(found, truth, least):
    there = (found == around(found)) & (found > least)
    return (there & (around(truth) < found / 2)).sum()


def filtered(image):
    """Take the largest of the neighbours; nothing lies beyond the border."""
    return torch.from_numpy(ndimage.maximum_filter(image, 3, mode="constant", cval=-math.inf))


def peaks(image, least):
    return (image == around(image)) & (image > least)


def by_scipy(first, second):
    return stats.sem((first - second).numpy())


def by_precision(seen, covariance, noise):
    """Take the joint covariance of what was seen and the target, and read off its inverse."""
    joint = covariance.numpy().copy()
    joint[:-1, :-1] += np.diag(noise.numpy() ** 2)
    precision = np.linalg.inv(joint)
    mean = -precision[-1, :-1] @ seen.numpy() / precision[-1, -1]
    return mean, precision[-1, -1] ** -0.5


def guess_with(second):
    return lambda *case: (by_precision(*case)[0], second(*case))


def alone(seen, covariance, noise):
    weights = covariance[:-1, -1] / (covariance.diagonal()[:-1] + noise**2)
    left = covariance[-1, -1] - weights @ covariance[:-1, -1]
    return float(weights @ seen), float(left.clamp(min=0).sqrt())


TWO = {"a": 2.2, "b": 1.0, "c": 3.36, "d": 2.0, "e": 1.04}
NOT = "does not follow"
CLAIMS = {"a": NOT, "b": "follows", "c": NOT, "d": "follows", "e": NOT}
RIGHT = {
    "planck_temperature": [by_root],
    "brightness": [spread_over],
    "two_answers": [TWO, TWO | {"a": torch.tensor(2.2), "b": 1, "d": 2}],
    "psnr": [by_the_library, with_peak(lambda *case: PEAK)],
    "receptive_field": [backwards, steps_before],
    "noise_matched": [by_variance],
    "invented": [by_photutils, by_shifts],
    "paired": [by_scipy],
    "best_guess": [by_precision],
    "claims": [CLAIMS],
}
LIKELY = {
    "planck_temperature": [
        (functools.partial(by_root, power=5), "per wavelength"),
        (functools.partial(by_root, power=2), "numbers of photons"),
        (functools.partial(by_root, power=0), "Only the exponentials"),
        (wien, "left out because it is small"),
        (lambda r, a, b: by_root(1 / r, a, b), "above the fraction line"),
        (lambda r, a, b: by_root(r, a, b) / 1000, "is not right"),
        (lambda r, a, b: math.log(by_root(r, a, b)), "the logarithm"),
        # Rayleigh and Jeans: the ratio says nothing of the temperature.
        (lambda r, a, b: 5800.0, "the same in every case"),
        (lambda r, a, b: r, "gives back"),
    ],
    "brightness": [
        (lambda i, native, new: i * new / native, "If sides double"),
        (lambda i, native, new: i * native / new, "If sides double"),
        (lambda i, native, new: i * (native / new) ** 2, "lose light as they grow"),
        (lambda i, native, new: i / native**2, "a square arcsec"),
        (lambda i, native, new: i * new**2, "holds no flux of a square arcsec"),
        (lambda i, native, new: i / i.sum(), "how bright the field is"),
        (lambda i, native, new: i, "gives back"),
    ],
    "two_answers": [
        (TWO | {"a": 1.0}, "4 of 5 are right. Is the likeliest"),
        (TWO | {"a": 3.0}, "How often"),
        (TWO | {"b": 2.2}, "Move an answer"),
        (TWO | {"c": 3.36**0.5}, "mean *square*"),
        (TWO | {"d": 1.0}, "drawn separately"),
        (TWO | {"d": 4.0}, "or variances"),
        (TWO | {"e": 0.04}, "even if the answer does not"),
        (TWO | {"e": 1.0}, "Write down both fluxes"),
        (TWO | {"e": "1.04"}, "a number is wanted"),
        (TWO | {"e": True}, "a number is wanted"),
        ({"a": 2.2}, "letters a, b, c, d, e"),
    ],
    "psnr": [
        (
            lambda a, t, s: 10 * math.log10(PEAK**2 / float((a - t).square().mean())),
            "What do the two images go through",
        ),
        (
            lambda a, t, s: decibels(stretched(a - t, s).square()),
            "A stretch of the difference",
        ),
        (lambda a, t, s: by_the_library(a, t, torch.ones_like(s)), "In which unit is a flux"),
        (
            lambda *case: np.mean(10 * np.log10(PEAK**2 / squares(*case).mean((1, 2)))),
            "decibels of bands",
        ),
        (with_peak(lambda *case: 1000), "Of which is the peak"),
        (with_peak(lambda a, t, s: float(stretched(t, s).max())), "Which one is given"),
        (with_peak(lambda *case: 1), "Where is the peak"),
        (with_peak(lambda *case: PEAK**0.5), "of one unit"),
        (lambda *case: 2 * by_the_library(*case), "a ratio of squares"),
        (lambda *case: by_the_library(*case) / 2, "a ratio of roots"),
        (lambda *case: by_the_library(*case) / 10, "bels"),
        (lambda *case: by_the_library(*case) * math.log(10), "Which logarithm"),
        (lambda *case: -by_the_library(*case), "fewer decibels"),
        (
            lambda *case: 20 * np.log10(PEAK / np.sqrt(squares(*case)).mean()),
            "or of their squares",
        ),
        (lambda *case: 10 * np.log10(PEAK**2 / squares(*case).sum()), "a sum or a mean"),
    ],
    "receptive_field": [
        (lambda k, s: steps_before(k, [1, *s[:-1]]), "a layer late"),
        (
            lambda k, s: 1 + sum((n - 1) * math.prod(s[: j + 1]) for j, n in enumerate(k)),
            "before its kernel",
        ),
        (lambda k, s: backwards(k[::-1], s[::-1]), "sees the image itself"),
        (lambda k, s: sum(n * math.prod(s[:j]) for j, n in enumerate(k)), "a kernel of 1 add"),
        (lambda k, s: backwards(k, s) - 1, "kernels of 1 alone"),
        (lambda k, s: 1 + sum(k) - len(k), "the strides"),
        (lambda k, s: sum(k), "the strides"),
        (lambda k, s: 1 + sum((n - 1) * m for n, m in zip(k, s, strict=True)), "after two of them"),
        (lambda k, s: math.prod(k), "overlap"),
        (lambda k, s: backwards(k, s) ** 2, "or the area"),
        (lambda k, s: math.prod(s), "two patches lie"),
        (lambda k, s: 70, "the same in every case"),
    ],
    "noise_matched": [
        (noisy(lambda f, s, c: s**2), "as quiet as empty sky"),
        (noisy(lambda f, s, c: np.maximum(f, 0) / c), "Empty sky is without noise"),
        (noisy(lambda f, s, c: s + np.maximum(f, 0) / c), "Which of the two is `sky`"),
        (noisy(lambda f, s, c: (s + np.sqrt(np.maximum(f, 0) / c)) ** 2), "Deviations are added"),
        (noisy(lambda f, s, c: (s**2 + np.maximum(f, 0) / c) ** 2), "multiplied with a variance"),
        (noisy(lambda f, s, c: s**2 + np.maximum(f, 0) * c), "In which unit"),
        (noisy(lambda f, s, c: s**2 + np.maximum(f, 0)), "How many photons"),
        (noisy(lambda f, s, c: s**2 + np.maximum(f, 0) / c**2), "as photons get more"),
        (noisy(lambda f, s, c: s**2 + np.abs(f) / c), "the darker they are"),
        (noisy(lambda f, s, c: np.maximum(s**2 + f / c, np.nan)), "not finite"),
        (lambda f, *rest: by_variance(f.clamp(min=0), *rest), "may be cut"),
        (lambda f, *rest: by_variance(f, *rest) - f.numpy(), "the noise alone"),
        (lambda f, s, c, w: f, "gives back"),
    ],
    "invented": [
        (lambda f, t, least: (peaks(f, least) & (t < f / 2)).sum(), "Should it?"),
        (lambda f, t, least: (peaks(f, least) & ~peaks(t, least)).sum(), "Should it?"),
        (lambda f, t, least: (peaks(f, least) & (around(t) < least)).sum(), "A faint source"),
        (lambda f, t, least: (peaks(f, least) & (around(t) < f)).sum(), "a little too bright"),
        (lambda f, t, least: by_shifts(t, f, least), "Whose peaks"),
        (lambda f, t, least: ((f > least) & (around(t) < f / 2)).sum(), "Every bright pixel"),
        (
            lambda f, t, least: ((f == filtered(f)) & (filtered(t) < f / 2)).sum(),
            "Peaks of noise",
        ),
        (lambda f, t, least: peaks(f, least).sum(), "All peaks count"),
        (lambda f, t, least: peaks(f - t, least).sum(), "peaks of a difference"),
        (lambda f, t, least: peaks(f, least).sum() - peaks(t, least).sum(), "were lost"),
        (lambda f, t, least: by_shifts(f, t, least) / peaks(f, least).sum(), "a fraction"),
    ],
    "paired": [
        (lambda a, b: np.hypot(stats.sem(a), stats.sem(b)), "Where does that go in"),
        (lambda a, b: stats.sem(a) + stats.sem(b), "Where does that go in"),
        (lambda a, b: stats.sem(torch.cat([a, b])), "Where does that go in"),
        (lambda a, b: abs(stats.sem(a) - stats.sem(b)), "Two scatters"),
        (lambda a, b: (a - b).std(), "the scatter of one scene"),
        (lambda a, b: (a - b).std() / len(a), "With which power"),
        (lambda a, b: by_scipy(a, b) / 2**0.5, "How many differences"),
        (lambda a, b: by_scipy(a, b) ** 2, "That is a variance"),
        (lambda a, b: stats.sem(a - b, ddof=0), "a little too small"),
        (lambda a, b: ((a - b) ** 2).mean().sqrt() / len(a) ** 0.5, "the same in all scenes"),
        (lambda a, b: (a - b).mean(), "How certain is it"),
        (lambda a, b: stats.sem((a - b).abs()), "that is negative"),
    ],
    "best_guess": [
        (lambda s, c, n: by_precision(s, c, 0 * n), "Where does the noise go in"),
        (lambda s, c, n: by_precision(s, c, n.sqrt()), "a variance or a deviation"),
        (alone, "the same thing twice"),
        (lambda s, c, n: (c[-1, :-1] @ s, by_precision(s, c, n)[1]), "what undoes it"),
        (guess_with(lambda s, c, n: c[-1, -1].sqrt()), "before anything was seen"),
        (guess_with(lambda *case: by_precision(*case)[1] ** 2), "In which unit"),
        (guess_with(lambda s, c, n: by_precision(s, c, 0 * n)[1]), "less certain"),
        (
            guess_with(lambda s, c, n: (c[-1, -1] - by_precision(s, c, n)[1] ** 2).sqrt()),
            "What is left of the target",
        ),
        (lambda *case: by_precision(*case)[::-1], "In which order"),
        (lambda *case: by_precision(*case)[0], "is not right"),
    ],
    "claims": [
        (CLAIMS | {"b": NOT}, "4 of 5"),
        (CLAIMS | {"b": "true"}, "choose one of"),
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_passes(name, capsys):
    for answer in RIGHT[name]:
        assert getattr(translation, name)(answer) is True, capsys.readouterr().out
        assert capsys.readouterr().out.startswith("right: ")


@pytest.mark.parametrize("name", LIKELY)
def test_the_likeliest_mistakes_hear_what_to_think_about(name, capsys):
    for mistake, words in LIKELY[name]:
        assert getattr(translation, name)(mistake) is False
        out = capsys.readouterr().out
        assert out.startswith("not yet: ")
        assert words in out, (words, out)


@pytest.mark.parametrize("name", RIGHT)
def test_no_fraud_passes(name):
    assert frauds.let_through(getattr(translation, name)) == []


@pytest.mark.parametrize("word", ["follows", NOT])
def test_one_word_for_all_claims_does_not_pass(word):
    assert not translation.claims(dict.fromkeys("abcde", word))


def test_no_line_gives_a_right_number_of_the_two_answers_away(capsys):
    for letter in TWO:
        for wrong in (0.0, 0.5, 9.0, *(set(TWO.values()) - {TWO[letter]})):
            assert not translation.two_answers(TWO | {letter: wrong})
            out = capsys.readouterr().out
            assert not any(f"{number:g}" in out for number in (2.2, 3.36, 1.04)), out


def test_the_two_answers_are_what_chance_gives():
    rng = np.random.default_rng(0)
    truth, *samples = np.where(rng.uniform(size=(26, 400_000)) < 0.7, 1.0, 5.0)
    square = ((truth - 2.2) ** 2).mean()
    trials = np.linspace(0, 6, 61)
    few = truth[:4000, None]
    assert trials[((few - trials) ** 2).mean(0).argmin()] == pytest.approx(TWO["a"], abs=0.11)
    assert trials[np.abs(few - trials).mean(0).argmin()] == pytest.approx(TWO["b"])
    assert square == pytest.approx(TWO["c"], rel=0.01)
    assert ((truth - samples[0]) ** 2).mean() / square == pytest.approx(TWO["d"], rel=0.01)
    average = np.mean(samples, axis=0)
    assert ((truth - average) ** 2).mean() / square == pytest.approx(TWO["e"], rel=0.01)


def test_the_exercise_has_the_patch_of_the_published_discriminator():
    layers = [m for m in PatchDiscriminator(3, width=8).modules() if hasattr(m, "kernel_size")]
    kernels, strides = ([getattr(m, what)[0] for m in layers] for what in ("kernel_size", "stride"))
    assert (kernels, strides) == ([4] * 5, [2, 2, 2, 1, 1])
    assert backwards(kernels, strides) == 70


# --- a field of the reader's own ------------------------------------------------------------------


@functools.cache
def observed(bands=("NUV", "g", "r", "K", "blue"), n=6):
    """Return simulated scenes, and their bands."""
    simulator = SceneSimulator(bands, size=64)
    rng = torch.Generator().manual_seed(3)
    scenes = simulator.draw(n, generator=rng)
    return simulator.bands, simulator.observe(scenes, generator=rng)


def field(k=0):
    names, seen = observed()
    return {name: (seen.images[k, j], seen.ivar[k, j]) for j, name in enumerate(names)}


@pytest.mark.parametrize("k", range(6))
def test_simulated_fields_pass_and_their_scatter_is_printed(k, capsys):
    assert translation.own_image(field(k)), capsys.readouterr().out
    assert "NUV " in capsys.readouterr().out


def test_arrays_lists_and_gaps_pass_as_well():
    images = {name: (i.numpy().copy(), v.numpy().copy()) for name, (i, v) in field().items()}
    for image, ivar in images.values():
        image[:, :9] = 0
        ivar[:, :9] = 0
    assert translation.own_image(images)
    assert translation.own_image({k: [i.tolist(), v.tolist()] for k, (i, v) in images.items()})


def test_noise_of_resampled_pixels_passes():
    """An image sampled at places between its pixels is smoother than its ivar says."""
    mixed = {}
    for name, (image, ivar) in field().items():
        near = (image + image.roll(1, 0) + image.roll(1, 1) + image.roll((1, 1), (0, 1))) / 4
        mixed[name] = (near if name != "NUV" else image, ivar)
    assert translation.own_image(mixed)


def gappy(image, value):
    """Return an image whose first columns hold a value, as files write what was not seen."""
    image = image.clone()
    image[:, :9] = value
    return image


def quiet(image, ivar):
    rng = torch.Generator().manual_seed(0)
    return torch.randn(image.shape, generator=rng) / ivar.sqrt(), ivar


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i, v: (200 * i, v), "in counts"),
        (lambda i, v: (i / 200, v), "in counts"),
        (lambda i, v: (200 * i, v / 200**2), "times that of the survey"),
        (lambda i, v: (1e-9 * i, v * 1e18), "times that of the survey"),
        (lambda i, v: (i, 1 / v), "Is it a variance"),
        (lambda i, v: (i, v**-0.5), "Is it a deviation"),
        (lambda i, v: (i, v.sqrt()), "Is it one over a deviation"),
        (lambda i, v: (i + 1, v), "Is the sky taken off"),
        (lambda i, v: (0 * i + 1, v), "Is the sky taken off"),
        (lambda i, v: (i.square() * 1e-6, v), "scatter by"),
        (lambda i, v: (gappy(i, math.nan), v), "was observed"),
        (lambda i, v: (gappy(i, math.nan), gappy(v, 0.0)), "write 0 there"),
        (lambda i, v: (gappy(i, 0.0), v), "Were they observed"),
        (lambda i, v: (i, gappy(v, math.nan)), "How certain"),
        (lambda i, v: (i, gappy(v, -1.0)), "How certain"),
        (lambda i, v: (i, gappy(v, math.inf)), "How certain"),
        (lambda i, v: (i, 0 * v), "less than half"),
        (lambda i, v: (i[::2], v[::2]), "must have one shape"),
        (lambda i, v: (i, v[:60]), "must have one shape"),
        (lambda i, v: (i, 1.0), "must have one shape"),
        (lambda i, v: i, "must be a pair"),
        (lambda i, v: (i, v, v), "must be a pair"),
        (lambda i, v: ("g.fits", v), "pairs of arrays"),
    ],
)
def test_one_band_with_a_fault_is_refused_and_says_why(change, words, capsys):
    images = field()
    assert translation.own_image(images | {"r": change(*images["r"])}) is False
    out = capsys.readouterr().out
    assert out.startswith("not yet: own_image: ")
    assert words in out, out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda images: images | {"SDSS r": images["r"]}, "is no band"),
        (lambda images: images | {7: images["r"]}, "is no band"),
        (lambda images: {"r": images["r"]}, "two bands or more"),
        (lambda images: list(images.values()), "two bands or more"),
        (lambda images: images | {"i": images["r"]}, "r and i are one image"),
        (lambda images: {k: (i[:9, :9], v[:9, :9]) for k, (i, v) in images.items()}, "sides from"),
        (lambda images: {k: (i[None], v[None]) for k, (i, v) in images.items()}, "sides from"),
        (lambda images: {k: quiet(*images[k]) for k in "rK"}, "rises above the noise"),
    ],
)
def test_other_fields_do_not_pass_and_say_why(change, words, capsys):
    assert translation.own_image(change(field())) is False
    assert words in (out := capsys.readouterr().out), out


def test_images_without_noise_are_refused(capsys):
    names, seen = observed()
    images = {name: (seen.truth[0, j], seen.ivar[0, j]) for j, name in enumerate(names)}
    assert not translation.own_image(images)
    assert "times what ivar promises" in capsys.readouterr().out


def test_no_fraud_is_a_field_of_ones_own():
    assert frauds.let_through(translation.own_image) == []
    for fraud in (*frauds.NONSENSE, *frauds.FUNCTIONS):
        assert not translation.own_image({"g": fraud, "r": fraud})
        assert not translation.own_image(field() | {"r": (fraud, fraud)})
