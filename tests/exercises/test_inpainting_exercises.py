"""Exercises of chapter 6: right answers pass; frauds and the likeliest mistakes do not."""

import math

import frauds
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from skytutor import exercises
from skytutor.data.patches import disc_mask
from skytutor.fields.flat import FlatSky, laplacian
from skytutor.fields.holes import DenseHole
from skytutor.layers.partial import PartialConv2d

inpainting = exercises.inpainting


# --- right answers, each by another road than the exercise's own ----------------------------------


def through_precision(mean, covariance, noise, seen, values):
    """Unseen points are seen with an infinite noise: all points at once, as a Wiener filter."""
    weight = seen.double() / noise**2
    left = torch.linalg.inv(torch.linalg.inv(covariance) + torch.diag(weight))
    found = mean + left @ (weight * (values - mean))
    return found[~seen], left[~seen][:, ~seen]


def in_numpy(mean, covariance, noise, seen, values, *, squared=2, off=1, back=1):
    m, c, s, v = (np.asarray(t) for t in (mean, covariance, seen, values))
    cross = c[np.ix_(~s, s)]
    total = c[np.ix_(s, s)] + noise**squared * np.eye(s.sum())
    weights = np.linalg.solve(total, cross.T).T
    found = back * m[~s] + weights @ (v - off * m)[s]
    return found, c[np.ix_(~s, ~s)] - weights @ cross.T


def power_of_mean(covariance, seen):
    """From the covariance of the mean itself."""
    cross = covariance[~seen][:, seen]
    of_mean = cross @ torch.linalg.inv(covariance[seen][:, seen]) @ cross.T
    return of_mean.trace() / covariance[~seen][:, ~seen].trace()


def lost(covariance, seen):
    return 1 - float(power_of_mean(covariance, seen))


def by_the_layer(values, mask, weight, bias):
    """Apply the library's layer to a window of zeros around the one that is asked for."""
    size = weight.shape[-1]
    if size % 2 == 0:
        # An even window is an odd one whose last row and column count for nothing.
        weight = F.pad(weight, (0, 1, 0, 1))
        values, mask = F.pad(values, (0, 1, 0, 1)), F.pad(mask, (0, 1, 0, 1))
    layer = PartialConv2d(len(weight), 1, weight.shape[-1], padding="zero").double()
    with torch.no_grad():
        layer.weight.copy_(weight[None])
        layer.bias.fill_(0)
    out, known = layer(values[None], mask[None, None])
    middle = weight.shape[-1] // 2
    if not known[0, 0, middle, middle]:
        return 0.0
    entries = weight.shape[-1] ** 2
    return out[0, 0, middle, middle].item() * size**2 / entries + bias


def window(values, mask, weight, bias, *, factor=1.0, hidden=0.0):
    n = mask.sum().item()
    if n == 0:
        return 0.0
    total = (weight * torch.where(mask, values, hidden)).sum()
    return factor * total * mask.numel() / n + bias


def divergence(mean, log_variance, prior_variance):
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(0.0, prior_variance.sqrt())
    return torch.distributions.kl_divergence(posterior, prior).sum(-1).mean()


def terms(mean, log_variance, d, *, log=1.0):
    return 0.5 * ((log_variance.exp() + mean**2) / d - 1 - log_variance + log * d.log())


def clean_sample(data, mask, fill, draw_sky):
    signal, drawn = draw_sky()
    return torch.where(mask, data, signal + fill(data - drawn))


def mirrored(data, mask, fill, draw_sky):
    """Minus a sky, and the second that comes."""
    draw_sky()
    signal, drawn = draw_sky()
    return torch.where(mask, data, fill(data) - signal + fill(drawn))


def as_in_the_lesson(data, mask, fill, draw_sky):
    drawn = draw_sky()[1]
    return drawn + fill(data - drawn)


def with_signal(data, mask, fill, draw_sky):
    signal, _ = draw_sky()
    return signal + fill(data - signal)


def seen_changed(data, mask, fill, draw_sky):
    signal, drawn = draw_sky()
    return signal + fill(data - drawn)


def with_two_skies(data, mask, fill, draw_sky):
    removed = draw_sky()[1]
    return torch.where(mask, data, fill(data - removed) + draw_sky()[0])


def pasted(data, mask, fill, draw_sky):
    return torch.where(mask, data, draw_sky()[0])


def never_added(data, mask, fill, draw_sky):
    return torch.where(mask, data, fill(data - draw_sky()[1]))


def unconditioned(data, mask, fill, draw_sky):
    return torch.where(mask, data, fill(data) + draw_sky()[0])


def percentiles(truth, samples):
    low, high = np.percentile(samples.numpy(), [16, 84], axis=0)
    return np.mean((truth.numpy() > low) & (truth.numpy() < high))


def deviations(truth, samples):
    """For a Gaussian the same interval."""
    return ((truth - samples.mean(0)).abs() < samples.std(0)).double().mean()


def ranks(truth, samples):
    below = (samples < truth).double().mean(0)
    return float(((below > 0.16) & (below < 0.84)).double().mean())


def pooled(truth, samples):
    low, high = np.percentile(samples.numpy(), [16, 84])
    return float(((truth > low) & (truth < high)).double().mean())


def about_truth(truth, samples):
    width = (samples - truth).square().mean(0).sqrt()
    return float(((truth - samples.mean(0)).abs() < width).double().mean())


def mask_first(sky_map, mask, smooth):
    return smooth(torch.where(mask, sky_map, 0))


def normalised(sky_map, mask, smooth):
    weight = smooth(mask.double()).clamp(min=1e-3)
    return torch.where(mask, mask_first(sky_map, mask, smooth) / weight, torch.nan)


def mean_of_seen(sky_map, mask, smooth):
    return smooth(torch.where(mask, sky_map, sky_map[mask].mean()))


def filled_first(sky_map, mask, smooth):
    return smooth(DenseHole(laplacian(len(mask)), mask).fill(sky_map))


def known(sky, radius):
    hole = DenseHole(sky.precision, disc_mask(sky.size, radius, pixel_arcmin=sky.pixel_arcmin))
    variance = hole.variance.mean() - sky.noise**2
    ky_half = torch.full((sky.size // 2 + 1,), 2.0).double()
    ky_half[0] = ky_half[-1] = 1
    return 1 - float(variance / ((sky.signal * ky_half).sum() / sky.size**2))


def with_noise_left(sky):
    """Walk outwards by the variance of the data, from the smallest disc on."""
    power = torch.fft.irfft2(sky.signal, s=(sky.size, sky.size))[0, 0]
    for step in range(2, sky.size):
        radius = step * sky.pixel_arcmin / 2
        disc = disc_mask(sky.size, radius, pixel_arcmin=sky.pixel_arcmin)
        if DenseHole(sky.precision, disc).variance.mean() >= power / 2:
            return radius


def half_radius(sky, *, wanted=0.5):
    """By bisection; the exercise compares on both sides."""
    low, high = 1.5 * sky.pixel_arcmin, 0.4 * sky.size * sky.pixel_arcmin
    while high - low > 2:
        middle = (low + high) / 2
        if known(sky, middle) > wanted:
            low = middle
        else:
            high = middle
    return middle


WHICH = {"a": "mean", "b": "samples", "c": "samples", "d": "mean", "e": "samples"}
USABLE = {
    "a": "usable",
    "b": "not symmetric",
    "c": "usable",
    "d": "not positive",
    "e": "not symmetric",
}
RIGHT = {
    "conditional": [through_precision, in_numpy],
    "kept": [power_of_mean],
    "partial_window": [window, by_the_layer],
    "kl": [divergence],
    "realisation": [clean_sample, mirrored],
    "coverage": [percentiles, deviations, ranks],
    "prepare": [normalised, filled_first, mean_of_seen],
    "half_known": [half_radius],
    "mean_or_sample": [WHICH],
    "preconditioners": [USABLE],
}


def block_of_inverse(m, c, noise, s, v):
    precision = torch.linalg.inv(c + noise**2 * torch.eye(len(c)).double())
    weights = c[~s][:, s] @ precision[s][:, s]
    return m[~s] + weights @ (v - m)[s], c[~s][:, ~s] - weights @ c[s][:, ~s]


def no_inverse(m, c, noise, s, v):
    return m[~s] + c[~s][:, s] @ (v - m)[s], c[~s][:, ~s] - c[~s][:, s] @ c[s][:, ~s]


def changed(mean=lambda found, prior: found, left=lambda found, prior: found):
    """Return a right answer changed afterwards."""

    def answer(m, c, noise, s, v):
        found, covariance = through_precision(m, c, noise, s, v)
        return mean(found, m[~s]), left(covariance, c[~s][:, ~s])

    return answer


LIKELY = {
    "conditional": [
        (lambda m, c, n, s, v: in_numpy(m, c, 0.0, s, v), "as if they had no noise"),
        (lambda m, c, n, s, v: in_numpy(m, c, n, s, v, squared=1), "deviation of the noise"),
        (lambda m, c, n, s, v: in_numpy(m, c, n, s, v, off=0), "every seen value is as expected"),
        (lambda m, c, n, s, v: in_numpy(m, c, n, s, v, back=0), "Without any data"),
        (lambda m, c, n, s, v: in_numpy(0 * m, c, n, s, v), "Without any data"),
        (block_of_inverse, "the inverse of the block"),
        (no_inverse, "count twice"),
        (changed(left=lambda found, prior: prior), "of which nothing is known"),
        (changed(left=lambda found, prior: 2 * prior - found), "Look at a sign"),
        (changed(left=lambda found, prior: found.diagonal()), "independent"),
        (changed(left=lambda found, prior: found + torch.eye(len(found))), "is not right"),
        (changed(mean=lambda found, prior: 2 * prior - found), "Look at a sign"),
        (lambda *case: through_precision(*case)[::-1], "In which order"),
        (lambda *case: through_precision(*case)[0], "is not right"),
        (lambda m, c, s, v: None, "takes 5 arguments (mean, covariance, noise, seen, values)"),
    ],
    "kept": [
        (lost, "the mean loses"),
        (lambda c, s: 1 - math.sqrt(lost(c, s)), "compares errors"),
        (lambda c, s: math.sqrt(lost(c, s)), "the error of the mean"),
        (lambda c, s: math.sqrt(1 - lost(c, s)), "ratio of amplitudes"),
        (
            lambda c, s: (1 - DenseBlocks(c, s).left / DenseBlocks(c, s).prior).mean(),
            "ratio of the sums",
        ),
        (
            lambda c, s: 1 - DenseBlocks(c, s).covariance.sum() / c[~s][:, ~s].sum(),
            "Which entries",
        ),
        (
            lambda c, s: 1 - (1 / c.inverse().diagonal()[~s]).sum() / c[~s][:, ~s].trace(),
            "the hidden ones too",
        ),
        (lambda c, s: None, "is there a `return`?"),
    ],
    "partial_window": [
        (lambda v, m, w, b: (w * torch.where(m, v, 0)).sum() + b, "takes hidden pixels for zeros"),
        (lambda v, m, w, b: window(v, m, w, b, factor=0.5), "channels counted"),
        (lambda v, m, w, b: window(v, m, w, b, factor=2.0), "channels counted"),
        (
            lambda v, m, w, b: (
                ((w * torch.where(m, v, 0)).sum() + b) * m.numel() / m.sum() if m.any() else 0.0
            ),
            "Should the bias",
        ),
        (lambda v, m, w, b: window(v, m, w, b) if m.any() else b, "shows nothing"),
        (lambda v, m, w, b: (w * m * v).sum() * m.numel() / m.sum() + b, "not finite"),
        (
            lambda v, m, w, b: (
                (w * m * v).sum() * m.numel() / m.sum() + b if m.any() else torch.tensor(0.0)
            ),
            "not finite",
        ),
        (
            lambda v, m, w, b: (
                (w * torch.where(m, v, 0)).sum() * m.sum() / m.numel() + b if m.any() else 0.0
            ),
            "up or down",
        ),
    ],
    "kl": [
        (lambda m, v, d: terms(m, v, d).sum(), "grows with the batch"),
        (lambda m, v, d: terms(m, v, d).mean(), "Over what is the mean"),
        (lambda m, v, d: terms(m, v, torch.ones_like(d)).sum(-1).mean(), "prior of variance 1"),
        (lambda m, v, d: terms(m, v, d, log=0.0).sum(-1).mean(), "Look at the logarithm"),
        (lambda m, v, d: terms(m, v, d**2).sum(-1).mean(), "not standard deviations"),
        (lambda m, v, d: terms(m, 2 * v, d).sum(-1).mean(), "not standard deviations"),
        (
            lambda m, v, d: 0.5 * (v.exp() + m**2 - 1 - v + d.log()).sum(-1).mean(),
            "not all are divided",
        ),
        (
            lambda m, v, d: 0.5 * (v.exp() / d + m**2 - 1 - v).sum(-1).mean(),
            "not all are divided",
        ),
        (
            lambda m, v, d: 0.5 * (v.exp() + m**2 / d - 1 - v).sum(-1).mean(),
            "not all are divided",
        ),
        (
            lambda m, v, d: 0.5 * (v.exp() + m**2 / d - 1 - v + d.log()).sum(-1).mean(),
            "not all are divided",
        ),
        (lambda m, v, d: (terms(m, v, d) + 0.5).sum(-1).mean(), "Is the cost zero"),
        (lambda m, v, d: 2 * terms(m, v, d).sum(-1).mean(), "twice as large"),
        (lambda m, v, d: -terms(m, v, d).sum(-1).mean(), "never negative"),
        (
            lambda m, v, d: 0.5 * (v.exp() / d + m**2 - 1 - v + d.log()).sum(-1).mean(),
            "the prior allows to be large",
        ),
        (
            lambda m, v, d: 0.5 * ((d + m**2) / v.exp() - 1 + v - d.log()).sum(-1).mean(),
            "the prior's from the latents'",
        ),
        (lambda m, v, d: terms(m, v, d).sum(-1), "single number"),
    ],
    "realisation": [
        (lambda data, mask, fill, draw_sky: fill(data), "gives the mean"),
        (lambda data, mask, fill, draw_sky: fill(data) + draw_sky()[1], "adds a whole sky"),
        (seen_changed, "changes pixels that are seen"),
        (with_signal, "takes away a sky without noise"),
        (as_in_the_lesson, "has noise in the hole"),
        (with_two_skies, "Must they be the same"),
        (pasted, "does not know its edge"),
        (never_added, "comes back"),
        (unconditioned, "What is its own mean there"),
        (lambda data, mask, fill, draw_sky: fill(data) * math.nan, "not finite"),
        (lambda data, mask, fill, draw_sky: draw_sky(), "shape of the data"),
        (lambda data, mask, fill, draw_sky: data, "gives back"),
    ],
    "coverage": [
        (pooled, "its own interval"),
        (about_truth, "error itself"),
        (
            lambda t, x: ((t - x.mean(0)).abs() < x.std(0) / len(x) ** 0.5).double().mean(),
            "more samples make smaller",
        ),
        (lambda t, x: float((t < x.quantile(0.68, 0)).double().mean()), "no lower end"),
        (lambda t, x: 100 * percentiles(t, x), "per cent"),
        (lambda t, x: 1 - percentiles(t, x), "outside"),
        (lambda t, x: ((t - x.mean(0)).abs() < 2 * x.std(0)).double().mean(), "central 95"),
        (lambda t, x: 0.68, "the same in every case"),
    ],
    "prepare": [
        (lambda sky_map, mask, smooth: smooth(sky_map), "when what is hidden changes"),
        (
            lambda sky_map, mask, smooth: torch.where(mask, smooth(sky_map), 0),
            "when what is hidden changes",
        ),
        (
            lambda sky_map, mask, smooth: smooth(sky_map.clamp(max=200.0)),
            "when what is hidden changes",
        ),
        (lambda sky_map, mask, smooth: torch.where(mask, sky_map, 0), "does not smooth"),
        (lambda sky_map, mask, smooth: 0 * smooth(sky_map), "the same in every case|far from"),
        (lambda sky_map, mask, smooth: smooth(smooth(sky_map * mask)), "far from the plane"),
        (
            lambda sky_map, mask, smooth: smooth(torch.where(mask, sky_map, torch.nan)),
            "not finite",
        ),
        (lambda sky_map, mask, smooth: sky_map[mask], "a map of the shape"),
        (mask_first, "beside the plane is full"),
        (
            lambda sky_map, mask, smooth: mask_first(sky_map, mask, smooth) / mask.double().mean(),
            "far from the plane",
        ),
    ],
    "half_known": [
        (lambda sky: half_radius(sky, wanted=0.75), "half of the sky's deviation"),
        (lambda sky: half_radius(sky, wanted=0.25), "half as strong"),
        (with_noise_left, "Is the noise of the hidden pixels"),
        (lambda sky: half_radius(sky) / 60, "no radius in arcmin"),
        (lambda sky: 0.8 * half_radius(sky), "of the power"),
        (lambda sky: 66.0, "the same in every case"),
        (lambda sky: "one degree" + str(sky), "a radius in arcmin is wanted"),
    ],
    "mean_or_sample": [
        (WHICH | {"d": "samples"}, "4 of 5"),
        (WHICH | {"b": "sample"}, "choose one of"),
    ],
    "preconditioners": [
        (USABLE | {"e": "usable"}, "4 of 5"),
        ({"a": "usable"}, "letters a, b, c, d, e"),
    ],
}


class DenseBlocks:
    """Variances of the hidden points before (`prior`) and after (`left`) the others are seen."""

    def __init__(self, covariance, seen):
        precision = torch.linalg.inv(covariance)
        self.covariance = torch.linalg.inv(precision[~seen][:, ~seen])
        self.left = self.covariance.diagonal()
        self.prior = covariance.diagonal()[~seen]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_passes(name, capsys):
    for answer in RIGHT[name]:
        assert getattr(inpainting, name)(answer) is True, capsys.readouterr().out
        assert capsys.readouterr().out.startswith("right: ")


@pytest.mark.parametrize("name", LIKELY)
def test_the_likeliest_mistakes_hear_what_to_think_about(name, capsys):
    for mistake, words in LIKELY[name]:
        assert getattr(inpainting, name)(mistake) is False
        out = capsys.readouterr().out
        assert out.startswith("not yet: ")
        assert any(word in out for word in words.split("|")), out


@pytest.mark.parametrize("name", RIGHT)
def test_no_fraud_passes(name):
    assert frauds.let_through(getattr(inpainting, name)) == []


@pytest.mark.parametrize("word", ["mean", "samples"])
def test_one_word_for_all_questions_does_not_pass(word):
    assert not inpainting.mean_or_sample(dict.fromkeys("abcde", word))


# --- the words about preconditioners are what matrices say ----------------------------------------


def test_the_words_about_preconditioners_are_those_of_their_matrices():
    cl = (1 + torch.arange(2000.0) / 100) ** -2
    sky = FlatSky(16, pixel_arcmin=20.0, cl=cl, noise=1.0)
    mask = torch.ones(16, 16)
    mask[3:6, 3:6] = 0
    mask[9:12, 8:13] = 0
    hole = DenseHole(sky.precision, mask)
    precision = torch.linalg.inv(hole.covariance())
    n = len(hole.index)

    def on_hidden(response):
        """Return the matrix that multiplies modes by a response, between hidden pixels."""
        impulses = torch.zeros(n, 256).double()
        impulses[torch.arange(n), hole.index] = 1
        modes = torch.fft.rfft2(impulses.reshape(n, 16, 16)) * response
        return torch.fft.irfft2(modes, s=(16, 16)).reshape(n, 256)[:, hole.index]

    gate = torch.linspace(1, 3, n).double()
    broad = torch.exp(-((sky.l / 300) ** 2))
    blocks = torch.zeros(n, n).double()
    first = hole.index < 8 * 16
    for part in (first, ~first):
        blocks[part[:, None] & part] = torch.linalg.inv(precision[part][:, part]).flatten()
    matrices = {
        "a": on_hidden(sky.total),
        "b": gate[:, None] * on_hidden(broad),
        "c": (1 + first.double())[:, None] * blocks,
        "d": gate[:, None] * on_hidden(2 * broad - torch.exp(-((sky.l / 600) ** 2))) * gate,
        "e": torch.linalg.inv(precision.tril()),
    }
    for letter, matrix in matrices.items():
        symmetric = torch.allclose(matrix, matrix.T, atol=1e-10)
        positive = bool((torch.linalg.eigvalsh((matrix + matrix.T) / 2) > -1e-12).all())
        word = "not symmetric" if not symmetric else "usable" if positive else "not positive"
        assert USABLE[letter] == word, letter


# --- a picture of the reader's own ----------------------------------------------------------------

SKY = FlatSky(32, pixel_arcmin=20.0, cl=(1 + torch.arange(2000.0).double()) ** -2, noise=1e-3)
TRUTH = SKY.draw(1, generator=torch.Generator().manual_seed(4))[1][0] + 3
MASK = disc_mask(32, 80.0, pixel_arcmin=20.0)
HARMONIC = DenseHole(laplacian(32), MASK).fill(TRUTH)
GAUSSIAN = DenseHole(SKY.precision, MASK).fill(TRUTH - 3) + 3
NOISE = torch.where(MASK, 0, torch.randn(MASK.shape, generator=torch.Generator().manual_seed(5)))


class Moody:
    """Raises what no array does."""

    def __array__(self, *args, **options):
        raise KeyError("mine")


def test_two_fills_of_a_map_pass_and_their_errors_are_printed(capsys):
    assert inpainting.own_fill(TRUTH, MASK, HARMONIC, GAUSSIAN)
    out = capsys.readouterr().out
    error = float((GAUSSIAN - TRUTH)[~MASK].square().mean().sqrt())
    assert f"{error:.4g} for the Gaussian" in out
    assert inpainting.own_fill(TRUTH.numpy(), MASK.int(), HARMONIC.float(), GAUSSIAN.tolist())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gaussian": TRUTH}, "is the truth"),
        ({"harmonic": TRUTH}, "is the truth"),
        ({"gaussian": HARMONIC}, "the same"),
        ({"gaussian": GAUSSIAN + 1}, "Was the mean added again?"),
        ({"harmonic": HARMONIC - 3}, "Was the mean added again?"),
        ({"harmonic": torch.where(MASK, TRUTH, 0.0)}, "no membrane"),
        ({"harmonic": torch.where(MASK, TRUTH, TRUTH[MASK].mean())}, "no membrane"),
        ({"harmonic": DenseHole(laplacian(32, 2), MASK).fill(TRUTH)}, "no membrane"),
        ({"gaussian": HARMONIC + 1e-3 * NOISE}, "looks like noise"),
        ({"gaussian": HARMONIC + 0.05 * NOISE}, "looks like noise"),
        ({"gaussian": HARMONIC + 0.2 * NOISE}, "looks like noise"),
        ({"gaussian": torch.lerp(GAUSSIAN, TRUTH, 0.7)}, "on the whole picture"),
        ({"mask": disc_mask(32, 40.0, pixel_arcmin=20.0)}, "40 to 4000"),
        ({"gaussian": torch.where(MASK, TRUTH, 9.0)}, "mean of the seen pixels"),
        ({"gaussian": torch.where(MASK, TRUTH, torch.nan)}, "not finite"),
        ({"mask": MASK * 0.5}, "1 where seen"),
        ({"mask": ~MASK}, "more seen ones"),
        ({"mask": torch.ones(32, 32)}, "0 hidden pixels"),
        ({"truth": torch.ones(32, 32)}, "nothing varies"),
        ({"truth": TRUTH * math.nan}, "not finite"),
        ({"truth": TRUTH[0]}, "of one shape"),
        ({"gaussian": GAUSSIAN[:9]}, "of one shape"),
        ({"gaussian": "fill"}, "of one shape"),
        ({"gaussian": Moody()}, "of one shape"),
        ({"harmonic": None}, "of one shape"),
    ],
)
def test_other_fills_do_not_pass_and_say_why(change, words, capsys):
    given = {"truth": TRUTH, "mask": MASK, "harmonic": HARMONIC, "gaussian": GAUSSIAN}
    assert inpainting.own_fill(**(given | change)) is False
    out = capsys.readouterr().out
    assert out.startswith("not yet: own_fill: ")
    assert words in out, out


@pytest.mark.parametrize("place", range(4))
def test_no_fraud_is_a_fill_of_ones_own(place):
    def own(fraud):
        given = [TRUTH, MASK, HARMONIC, GAUSSIAN]
        given[place] = fraud
        return inpainting.own_fill(*given)

    assert frauds.let_through(own) == []


@pytest.mark.parametrize("fraud", [0, 1.0, None, "", Moody(), TRUTH, MASK])
def test_one_and_the_same_thing_in_all_places_is_no_fill(fraud):
    assert not inpainting.own_fill(fraud, fraud, fraud, fraud)
