"""Exercises of chapter 4: right answers pass; frauds and the likeliest mistakes do not."""

import math

import frauds
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import sqrtm

from skytutor import exercises
from skytutor.chapters.spectra import ablations
from skytutor.chapters.spectra.components import SpectralComponents
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator
from skytutor.layers.deconvolution import inverse_square_root

spectra = exercises.spectra


# --- right answers, each by another road than the exercise's own ----------------------------------


def on_a_grid(observed, rest):
    """Try every redshift, and count lines by their absolute distances."""
    grid = torch.arange(0, 0.5, 1e-4, dtype=torch.float64)
    shifted = rest * (1 + grid)[:, None]
    miss = (observed[:, None] - shifted[:, None]).abs().amin(-1)
    return grid[miss.sum(-1).argmin()]


def in_order(observed, rest):
    return float((observed.sort().values / rest.sort().values[: len(observed)] - 1).mean())


def nearest_at_rest(observed, rest):
    return float((observed / rest[(observed[:, None] - rest).abs().argmin(1)]).mean() - 1)


def by_bins(wavelength, flux, continuum, line, half_width):
    """Sum bins, whose widths NumPy finds."""
    w, f, c = (t.numpy() for t in (wavelength, flux, continuum))
    near = np.abs(w - line) < half_width
    return np.sum((f / c - 1)[near] * np.gradient(w)[near])


def area(w, f, c, line, half):
    near = (w - line).abs() <= half
    return float(torch.trapezoid((f - c)[near], w[near]))


def by_the_library(flux, ivar, mean, components):
    found = SpectralComponents(mean, components, torch.ones(len(components)))
    return found.project(flux[None], ivar[None])[0]


def weighted(flux, ivar, mean, components, *, power=0.5):
    """Divide by the errors, and leave the rest to LAPACK."""
    seen = ivar.numpy() > 0
    root = ivar.numpy()[seen] ** power
    design = components.numpy()[:, seen].T * root[:, None]
    return np.linalg.lstsq(design, (flux - mean).numpy()[seen] * root, rcond=None)[0]


def from_errors(image, templates, noise):
    """Invert the Fisher matrix."""
    design = templates.flatten(1).T.numpy() / noise
    covariance = np.linalg.inv(design.T @ design)
    return covariance @ design.T @ (image.flatten().numpy() / noise), covariance


def alone(image, templates, noise):
    flat = templates.flatten(1)
    squares = flat.square().sum(1)
    return flat @ image.flatten() / squares, torch.diag(noise**2 / squares)


def with_covariance(change):
    def answer(image, templates, noise):
        fluxes, covariance = from_errors(image, templates, noise)
        return fluxes, change(torch.from_numpy(covariance), noise)

    return answer


def by_the_layer(covariance, steps):
    return inverse_square_root(covariance, iterations=steps)


def uncoupled(covariance, steps, *, norm=None, back=0.5):
    """Take the same steps on the inverse root alone."""
    scale = float(covariance.trace()) if norm is None else norm
    matrix = covariance / scale
    z = torch.eye(len(matrix), dtype=matrix.dtype)
    for _ in range(steps):
        z = 1.5 * z - 0.5 * z @ z @ z @ matrix
    return z / scale**back


def root(covariance, steps):
    return covariance @ uncoupled(covariance, steps)


def exact(covariance, steps):
    return np.linalg.inv(sqrtm(covariance.numpy()))


def rings_of(image, width):
    size = image.shape[-1]
    y, x = np.indices((size, size)) - (size - 1) / 2
    return (np.hypot(y, x) // width).astype(int)


def shuffled(image, width, rng, *, order=None):
    rings = rings_of(image, width)
    out = image.clone()
    for ring in np.unique(rings):
        rows, columns = np.nonzero(rings == ring)
        chosen = rng.permutation(len(rows)) if order is None else order(len(rows))
        out[:, rows, columns] = image[:, rows[chosen], columns[chosen]]
    return out


def of_the_chapter(image, width, rng):
    generator = torch.Generator().manual_seed(int(rng.integers(99)))
    return ablations.permute_in_annuli(image[None], width_arcsec=width / 4, generator=generator)[0]


def band_by_band(image, width, rng):
    return torch.cat([shuffled(band[None], width, rng) for band in image])


def everywhere(image, width, rng):
    return image.flatten(1)[:, rng.permutation(image[0].numel())].reshape(image.shape)


def about_a_pixel(image, width, rng):
    size = image.shape[-1]
    y, x = np.indices((size, size)) - size // 2 + 1
    rings = (np.hypot(y, x) // width).astype(int)
    out = image.clone()
    for ring in np.unique(rings):
        rows, columns = np.nonzero(rings == ring)
        chosen = rng.permutation(len(rows))
        out[:, rows, columns] = image[:, rows[chosen], columns[chosen]]
    return out


def sorted_rings(image, width, rng):
    rings = rings_of(image, width)
    out = image.clone()
    for ring in np.unique(rings):
        rows, columns = np.nonzero(rings == ring)
        chosen = image[0, rows, columns].argsort().numpy()
        out[:, rows, columns] = image[:, rows[chosen], columns[chosen]]
    return out


def by_percentile(mean, factor, truth, level):
    deviation = torch.diagonal(factor @ factor.mT, dim1=1, dim2=2).sqrt()
    rank = stats.norm.cdf(truth, loc=mean, scale=deviation)
    return float(np.mean(np.abs(rank - 0.5) < level / 2))


def within(width, at=None):
    """Return a coverage with another deviation, or at another multiple of it."""

    def answer(mean, factor, truth, level):
        times = stats.norm.ppf((1 + level) / 2) if at is None else at(level)
        return float(((truth - mean).abs() < times * width(factor)).double().mean())

    return answer


def sigma(factor):
    return factor.square().sum(-1).sqrt()


def ellipsoid(mean, factor, truth, level):
    away = torch.linalg.solve(factor, (truth - mean)[..., None]).square().sum((1, 2))
    return float(np.mean(away.numpy() < stats.chi2.ppf(level, mean.shape[1])))


AVERAGES = {"a": 50.5, "b": 0.1407, "c": 0.55, "d": 5.5, "e": "covariance"}
FAIR = {"a": "unfair", "b": "unfair", "c": "fair", "d": "unfair", "e": "fair"}
NULL = {"a": "false", "b": "true", "c": "true", "d": "false", "e": "true"}
RIGHT = {
    "redshift": [on_a_grid],
    "width": [by_bins],
    "project": [by_the_library, weighted],
    "fluxes": [from_errors],
    "inverse_root": [by_the_layer, uncoupled],
    "averages": [AVERAGES, AVERAGES | {"a": torch.tensor(50.5)}],
    "fair": [FAIR],
    "annuli": [shuffled, of_the_chapter],
    "coverage": [by_percentile],
    "null_universe": [NULL],
}
LIKELY = {
    "redshift": [
        (in_order, "Are all seen?"),
        (lambda o, r: float((o / r[: len(o)]).mean() - 1), "come in order"),
        (nearest_at_rest, "before any shift"),
        (lambda o, r: o.min() / r.min() - 1, "the bluest line is seen"),
        (lambda o, r: o.max() / r.max() - 1, "the reddest line is seen"),
        (lambda o, r: o.mean() / r.mean() - 1, "over the same lines"),
        (lambda o, r: 1 + on_a_grid(o, r), "factor on wavelengths"),
        (lambda o, r: 1 - 1 / (1 + on_a_grid(o, r)), "Over which of the two"),
        (lambda o, r: math.log1p(on_a_grid(o, r)), "logarithm"),
        (lambda o, r: None, "is there a `return`?"),
        (lambda o, r: 0.1, "the same in every case"),
    ],
    "width": [
        (area, "That is the flux of the line"),
        (lambda w, f, c, line, half: by_bins(w, f + c, c, line, half), "should give 0"),
        (lambda w, f, c, line, half: area(w, f, c, line, half) / c.mean(), "continuum slopes"),
        (
            lambda w, f, c, line, half: area(w, 2 - c / f, c / c, line, half),
            "below the fraction line",
        ),
        (lambda *case: -by_bins(*case), "Which sign"),
        (
            lambda w, f, c, line, half: float((f / c - 1)[(w - line).abs() < half].sum()),
            "one angstrom wide",
        ),
        (lambda w, f, c, line, half: torch.trapezoid(f / c - 1, w), "Other lines"),
        (lambda w, f, c, line, half: area(w, f / c, c / c, line, half / 2), "half of it"),
        (lambda w, f, c, line, half: by_bins(w, f, c, line, half) / (2 * half), "mean over"),
    ],
    "project": [
        (lambda f, w, m, v: v @ (f - m), "for a measurement"),
        (lambda f, w, m, v: v @ torch.where(w > 0, f - m, 0.0), "with the mean spectrum"),
        (lambda f, w, m, v: v @ (w * (f - m)), "derivative"),
        (lambda f, w, m, v: v @ (w * (f - m)) / (w * v**2).sum(1), "each component by itself"),
        (lambda *case: weighted(*case, power=0), "say equally much"),
        (lambda *case: weighted(*case, power=0.25), "one over the deviation"),
        (lambda *case: weighted(*case, power=1), "comes in twice"),
        (lambda *case: weighted(*case, power=-0.5), "noisy bins most"),
        (lambda f, w, m, v: weighted(f, w, 0 * m, v), "should have coefficients 0"),
        (lambda f, w, m, v: weighted(f, w, m, v)[:, None], "the shape should be"),
    ],
    "fluxes": [
        (alone, "each template by itself"),
        (lambda i, t, n: (alone(i, t, n)[0], from_errors(i, t, n)[1]), "each template by itself"),
        (
            lambda i, t, n: ((i * t).sum((1, 2)), from_errors(i, t, n)[1]),
            "give with itself",
        ),
        (with_covariance(lambda c, n: c / n), "how many times the variance"),
        (with_covariance(lambda c, n: c / n**2), "how noisy the pixels"),
        (with_covariance(lambda c, n: c.inverse()), "Fisher matrix"),
        (with_covariance(lambda c, n: n**4 * c.inverse()), "sharper template"),
        (with_covariance(lambda c, n: c.diagonal()), "are the others independent"),
        (lambda i, t, n: (from_errors(i, t, n)[0], alone(i, t, n)[1]), "if the other fluxes"),
        (lambda *case: from_errors(*case)[::-1], "In which order"),
        (lambda *case: from_errors(*case)[0], "is not right"),
    ],
    "inverse_root": [
        (lambda c, steps: uncoupled(c, steps, norm=1.0), "runs away"),
        (lambda c, steps: uncoupled(c, steps, back=0.0), "divided out before"),
        (lambda c, steps: uncoupled(c, steps, back=1.0), "which power"),
        (lambda c, steps: uncoupled(c, steps, back=-0.5), "which power"),
        (root, "goes to the root"),
        (lambda c, steps: uncoupled(c, steps - 1), "a step off"),
        (lambda c, steps: uncoupled(c, steps + 1), "a step off"),
        (exact, "the exact root"),
        (lambda c, steps: torch.linalg.inv(c), "is the inverse"),
        (lambda c, steps: c * math.nan, "not finite"),
        (lambda c, steps: c.diagonal(), "shape of the covariance"),
        (lambda c, steps: c / 2, "is not what so many steps"),
        (lambda c, steps: c, "gives back"),
    ],
    "averages": [
        (AVERAGES | {"e": "inverse root"}, "4 of 5 are right. Compare both factors"),
        (AVERAGES | {"a": 5.5}, "one over a deviation"),
        (AVERAGES | {"b": 1 / 50.5}, "Which power"),
        (AVERAGES | {"c": 0.505}, "root of each variance before"),
        (AVERAGES | {"d": 55.0}, "how large is the deviation"),
        (AVERAGES | {"e": "mean"}, "choose one of"),
        (AVERAGES | {"a": "50.5"}, "a number is wanted"),
        ({"a": 50.5}, "letters a, b, c, d, e"),
    ],
    "fair": [
        (FAIR | {"b": "fair"}, "4 of 5"),
        (FAIR | {"b": "no"}, "choose one of"),
    ],
    "annuli": [
        (everywhere, "far away"),
        (band_by_band, "each band by itself"),
        (about_a_pixel, "a ring beside theirs"),
        (lambda i, w, r: shuffled(i, 0.7 * w, r, order=lambda n: np.arange(n)), "gives back"),
        (lambda i, w, r: shuffled(i, 1.3 * w, r), "a ring beside theirs"),
        (lambda i, w, r: torch.rot90(i, 1, (1, 2)), "turns or mirrors"),
        (lambda i, w, r: i.flip(-1), "turns or mirrors"),
        (sorted_rings, "sorts the pixels"),
        (
            lambda i, w, r: shuffled(i, w, r, order=lambda n: r.integers(n, size=n)),
            "some pixels twice",
        ),
        (lambda i, w, r: shuffled(i, w, r)[0], "shape of the given one"),
        (lambda i, w, r: i, "gives back"),
    ],
    "coverage": [
        (within(lambda L: L.diagonal(dim1=1, dim2=2)), "once those before it are known"),
        (within(lambda L: L.square().sum(-2).sqrt()), "axis of the sum"),
        (within(lambda L: L.square().sum(-1)), "Those are variances"),
        (within(lambda L: L.abs().sum(-1)), "or do their squares"),
        (within(sigma, at=lambda level: 1.0), "one deviation"),
        (within(sigma, at=stats.norm.ppf), "below the upper end"),
        (within(sigma, at=lambda level: level), "no number of deviations"),
        (ellipsoid, "one ellipsoid"),
        (lambda *case: 100 * by_percentile(*case), "per cent"),
        (lambda *case: 1 - by_percentile(*case), "outside"),
        (lambda mean, factor, truth, level: level, "gives back"),
    ],
    "null_universe": [
        (NULL | {"c": "false"}, "4 of 5"),
        (NULL | {"c": True}, "choose one of"),
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_passes(name, capsys):
    for answer in RIGHT[name]:
        assert getattr(spectra, name)(answer) is True, capsys.readouterr().out
        assert capsys.readouterr().out.startswith("right: ")


@pytest.mark.parametrize("name", LIKELY)
def test_the_likeliest_mistakes_hear_what_to_think_about(name, capsys):
    for mistake, words in LIKELY[name]:
        assert getattr(spectra, name)(mistake) is False
        out = capsys.readouterr().out
        assert out.startswith("not yet: ")
        assert words in out, (words, out)


@pytest.mark.parametrize("name", RIGHT)
def test_no_fraud_passes(name):
    assert frauds.let_through(getattr(spectra, name)) == []


@pytest.mark.parametrize("name", ["fair", "null_universe"])
@pytest.mark.parametrize("word", ["fair", "unfair", "true", "false"])
def test_one_word_for_all_questions_does_not_pass(name, word):
    assert not getattr(spectra, name)(dict.fromkeys("abcde", word))


def test_the_numbers_of_averages_are_what_the_formulas_give():
    variances = torch.tensor([1.0, 100.0]).double()
    roots = variances**-0.5
    numbers = (variances.mean(), variances.mean() ** -0.5, roots.mean(), 10 * roots.mean())
    assert [AVERAGES[letter] for letter in "abcd"] == pytest.approx(
        list(map(float, numbers)), rel=1e-3
    )


# --- a galaxy of the reader's own -----------------------------------------------------------------


def galaxy(seed, *, noise=True):
    """Return an image of the simulator's, bright enough to be seen."""
    simulator = GalaxySimulator()
    rng = torch.Generator().manual_seed(seed)
    galaxies = simulator.draw(1, generator=rng)
    return simulator.images(galaxies, generator=rng if noise else None)[0].double().numpy()


def stated(images):
    """Measure by hand; the radii are those of the question."""
    y, x = np.indices(images.shape[1:]) - (images.shape[-1] - 1) / 2
    radius = np.hypot(y, x) / 4
    inside = images[:, radius < 1.5].sum(1)
    ring = images[:, (radius > 1.5) & (radius < 4)].sum(1)
    colour = -2.5 * np.log10(inside[0] / inside[1])
    return {
        "r": 22.5 - 2.5 * np.log10(inside[1]),
        "g-r": colour,
        "gradient": colour + 2.5 * np.log10(ring[0] / ring[1]),
    }


IMAGES = galaxy(5)
STATED = stated(IMAGES)


class Moody:
    """Raises what no array does."""

    def __array__(self, *args, **options):
        raise KeyError("mine")


@pytest.mark.parametrize("noise", [True, False])
def test_galaxies_of_the_simulator_pass_and_their_numbers_are_printed(noise, capsys):
    passed = 0
    for seed in range(12):
        images = galaxy(seed, noise=noise)
        statement = stated(images)
        if spectra.own_galaxy(images, "grizy", 0.25, statement):
            passed += 1
            assert f"r = {statement['r']:.2f}" in capsys.readouterr().out
        else:
            # Faint ones drown in the noise, large ones fill the frame; nothing else may be said.
            out = capsys.readouterr().out
            assert any(word in out for word in ("above the noise", "fit into the frame")), out
    assert passed >= 9


def test_tensors_and_lists_pass_as_well():
    images = torch.from_numpy(IMAGES).float()
    assert spectra.own_galaxy(images, ["g", "r", "i", "z", "y"], torch.tensor(0.25), STATED)
    assert spectra.own_galaxy(IMAGES.tolist(), tuple("grizy"), 0.25, STATED)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": IMAGES[::-1]}, "In which order are the images"),
        ({"images": IMAGES[[2, 1, 0, 3, 4]]}, "in their order"),
        ({"images": IMAGES[[0, 2, 1, 3, 4]]}, "in their order"),
        ({"images": IMAGES[[0, 1, 2, 4, 3]]}, "Are two bands exchanged"),
        ({"images": 22.5 - 2.5 * np.log10(np.abs(IMAGES) + 1e-3)}, "Are these magnitudes"),
        ({"images": IMAGES * 1e-9}, "In which unit"),
        ({"images": IMAGES * 1e3}, "In which unit"),
        ({"images": IMAGES * np.array([1, 1, 3.6, 1, 1])[:, None, None]}, "Are all bands in one"),
        ({"images": IMAGES + 1.0}, "Is the sky taken off"),
        ({"images": np.roll(IMAGES, 20, 2)}, "at the centre|Is the sky taken off"),
        ({"images": np.stack([IMAGES[1] * k for k in (0.5, 1, 1.4, 1.7, 1.9)])}, "one picture"),
        ({"images": IMAGES[:, ::4, ::4]}, "with H from 32"),
        ({"images": IMAGES[:4]}, "images (5, H, H)"),
        ({"images": IMAGES * math.nan}, "not finite"),
        ({"images": np.ones((5, 64, 64))}, "Is the sky taken off"),
        ({"images": "my galaxy"}, "images, letters"),
        ({"images": Moody()}, "images, letters"),
        ({"bands": "yzirg"}, "in another order"),
        ({"bands": "ugriz"}, "must be the letters"),
        ({"bands": None}, "must be the letters"),
        ({"pixel_arcsec": 0.396}, "stack_bands"),
        ({"pixel_arcsec": 0.25 / 3600}, "stack_bands"),
        ({"pixel_arcsec": "0.25 arcsec"}, "images, letters"),
        ({"statement": STATED | {"r": STATED["r"] - 22.5}}, "r = "),
        ({"statement": STATED | {"g-r": STATED["g-r"] + 0.2}}, "g-r = "),
        ({"statement": STATED | {"gradient": 0.3 - STATED["gradient"]}}, "gradient = "),
        ({"statement": STATED | {"gradient": math.nan}}, "gradient = "),
        ({"statement": {"r": STATED["r"]}}, "a dict with r, g-r, gradient"),
        ({"statement": STATED["r"]}, "a dict with r, g-r, gradient"),
    ],
)
def test_other_galaxies_do_not_pass_and_say_why(change, words, capsys):
    given = {"images": IMAGES, "bands": "grizy", "pixel_arcsec": 0.25, "statement": STATED}
    assert spectra.own_galaxy(**(given | change)) is False
    out = capsys.readouterr().out
    assert out.startswith("not yet: own_galaxy: ")
    assert any(word in out for word in words.split("|")), out


def test_no_line_gives_a_right_number_away(capsys):
    wrong = dict.fromkeys(STATED, 9.876)
    for name in STATED:
        spectra.own_galaxy(IMAGES, "grizy", 0.25, STATED | {name: wrong[name]})
        out = capsys.readouterr().out
        assert "9.88" in out
        assert f"{STATED[name]:.2f}" not in out


def test_a_picture_sharper_than_the_air_is_refused(capsys):
    """As if pixels of an arcsec were called pixels of 0.25."""
    coarse = galaxy(5, noise=False).reshape(5, 16, 4, 16, 4).sum((2, 4))
    images = np.zeros((5, 64, 64))
    images[:, 24:40, 24:40] = coarse
    assert not spectra.own_galaxy(images, "grizy", 0.25, stated(images))
    assert "sharper than a star" in capsys.readouterr().out


def test_noise_alone_is_no_galaxy(capsys):
    rng = np.random.default_rng(0)
    sky = rng.normal(size=(5, 64, 64)) * np.array(SKY_NOISE)[:, None, None]
    assert not spectra.own_galaxy(sky, "grizy", 0.25, STATED)


@pytest.mark.parametrize("place", range(4))
def test_no_fraud_is_a_galaxy_of_ones_own(place):
    def own(fraud):
        given = [IMAGES, "grizy", 0.25, STATED]
        given[place] = fraud
        return spectra.own_galaxy(*given)

    assert frauds.let_through(own) == []


@pytest.mark.parametrize("fraud", [0, 1.0, None, "", Moody(), IMAGES, STATED])
def test_one_and_the_same_thing_in_all_places_is_no_galaxy(fraud):
    assert not spectra.own_galaxy(fraud, fraud, fraud, fraud)
