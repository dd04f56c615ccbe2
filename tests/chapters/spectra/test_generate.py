"""skytutor.chapters.spectra.generate, band_scores: bands of a decoder that is known exactly."""

import math

import pytest
import torch

from skytutor.chapters.spectra.band_scores import score_bands, spectrum_parts
from skytutor.chapters.spectra.generate import (
    ResidualBank,
    SpectrumBands,
    posterior_spectra,
    predict_bands,
    spectrum_bands,
)
from skytutor.data.spectral_templates import LINES, LOG_WAVELENGTH


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def linear_decoder(latents=6, bins=1000):
    """Return a decoder whose spectra are linear in the latents, with a mean of 1."""
    directions = 0.03 * torch.randn(latents, bins, generator=rng(1))
    return lambda z: 1 + z @ directions


def gaussian_posterior(galaxies=400, samples=99, latents=6):
    """Return true latents ``(B, D)`` and samples ``(B, S, D)`` of which they are one more draw."""
    generator = rng(2)
    centre = torch.randn(galaxies, 1, latents, generator=generator)
    drawn = centre + 0.5 * torch.randn(galaxies, samples + 1, latents, generator=generator)
    return drawn[:, 0], drawn[:, 1:]


def test_spectra_are_decoded_sample_by_sample():
    _, samples = gaussian_posterior(3, 4)
    decoder = linear_decoder()
    spectra = posterior_spectra(decoder, samples)
    torch.testing.assert_close(spectra[2, 1], decoder(samples[2, 1]), rtol=0, atol=1e-6)


def test_no_gradient_is_kept():
    decoder = torch.nn.Linear(6, 1000)
    assert not posterior_spectra(decoder, torch.zeros(1, 2, 6)).requires_grad


def test_exact_posteriors_are_covered_in_every_part():
    latents, samples = gaussian_posterior()
    decoder = linear_decoder()
    for level in (0.5, 0.68, 0.95):
        bands = predict_bands(decoder, samples, level=level)
        for name, score in score_bands(bands, decoder(latents)).items():
            assert abs(score.coverage - level) < 4 * score.coverage_error, (level, name)


@pytest.mark.parametrize("samples", [2, 5, 19])
def test_few_samples_cover_as_well_as_many(samples):
    """The k-th of S samples is the quantile k / (S + 1); 2 samples can bound a third at most."""
    latents, drawn = gaussian_posterior(4000, samples, 1)
    decoder = linear_decoder(1, 3)
    level = 1 / 3 if samples == 2 else 0.6
    bands = predict_bands(decoder, drawn, level=level)
    truth = decoder(latents)
    covered = float(((truth >= bands.low) & (truth <= bands.high)).double()[:, 0].mean())
    # Between neighbouring samples the quantile is interpolated, which is near but not exact.
    assert abs(covered - level) < 4 * (level * (1 - level) / 4000) ** 0.5 + 0.005


def test_the_error_of_the_mean_is_what_the_posterior_says():
    latents, samples = gaussian_posterior(600, 200)
    decoder = linear_decoder()
    truth = decoder(latents)
    score = score_bands(predict_bands(decoder, samples), truth)["continuum"]
    directions = decoder(torch.eye(6)) - 1
    part = spectrum_parts()["continuum"]
    # Posterior standard deviation 0.5 of each latent; the mean of 200 samples adds 1/200.
    variance = 0.25 * directions[:, part].square().sum(0).mean() * (1 + 1 / 200)
    expected = float((variance / truth[:, part].mean(1).square()).mean().sqrt())
    assert abs(score.rms - expected) < 4 * score.rms_error


def test_chunks_change_nothing():
    _, samples = gaussian_posterior(10, 20)
    whole, few = (predict_bands(linear_decoder(), samples, rows=n) for n in (10, 3))
    torch.testing.assert_close(whole.low, few.low, rtol=0, atol=1e-6)
    torch.testing.assert_close(whole.mean, few.mean, rtol=0, atol=1e-6)


def with_lines(decoder, latents, *, seed):
    """Return spectra whose H-alpha scatters more than the decoder knows, more so for z_0 > 0."""
    spectra = decoder(latents)
    strength = torch.randn(len(latents), generator=rng(seed)) * (0.2 + (latents[:, 0] > 0).float())
    window = spectrum_parts()["H-alpha + [NII]"]
    return spectra + 0.1 * strength[:, None] * window


def test_residuals_widen_the_bands_where_the_decoder_is_wrong_and_only_there():
    latents, samples = gaussian_posterior(1000, 99)
    decoder = linear_decoder()
    truth = with_lines(decoder, latents, seed=3)
    training = 1.1 * torch.randn(4000, 6, generator=rng(4))
    bank = ResidualBank(training, with_lines(decoder, training, seed=5) - decoder(training))
    without = score_bands(predict_bands(decoder, samples), truth)
    bands = predict_bands(decoder, samples, residuals=bank, generator=rng(6))
    scores = score_bands(bands, truth)
    line = "H-alpha + [NII]"
    assert without[line].coverage < 0.63
    # 4,000 galaxies in six dimensions: neighbours are not near, hence two per cent.
    assert abs(scores[line].coverage - 0.68) < 4 * scores[line].coverage_error + 0.02
    assert scores["continuum"] == without["continuum"]
    assert scores[line].half_width > 1.2 * without[line].half_width


def test_a_bank_gives_the_residuals_of_neighbours_and_repeats_by_seed():
    latents = torch.arange(10.0)[:, None]
    bank = ResidualBank(latents, 100 * latents, neighbours=3)
    wanted = torch.full((200, 1), 5.1)
    drawn = bank.draw(wanted, generator=rng(1))
    assert set(drawn[:, 0].tolist()) == {400.0, 500.0, 600.0}
    assert torch.equal(drawn, bank.draw(wanted, generator=rng(1)))


def test_parts_hold_each_bin_once_and_the_peaks_of_their_lines():
    parts = spectrum_parts()
    total = sum(parts[name].int() for name in ("lines", "other lines", "continuum"))
    assert torch.equal(total, torch.ones(1000, dtype=torch.int32))
    windows = ("H-alpha + [NII]", "[OIII]", "H-beta", "[OII]")
    assert torch.equal(sum(parts[name].int() for name in windows), parts["lines"].int())
    for line, part in (("H-alpha", windows[0]), ("[NII] 6584", windows[0]), ("H-beta", "H-beta")):
        peak = (LOG_WAVELENGTH - math.log10(LINES[line])).abs().argmin()
        assert parts[part][peak]
    assert parts["continuum"].sum() > 900


def test_a_part_is_blind_to_the_others():
    truth = torch.ones(5, 1000)
    parts = spectrum_parts()
    wrong = truth + 2 * parts["[OIII]"]
    scores = score_bands(SpectrumBands(wrong, wrong - 1, wrong + 1, 0.68), truth)
    assert scores["[OIII]"].rms == pytest.approx(2)
    assert scores["[OIII]"].coverage == 0
    assert scores["continuum"].rms == scores["H-beta"].rms == 0
    assert scores["continuum"].coverage == 1
    assert 0 < scores["lines"].coverage < 1


def test_scores_do_not_depend_on_the_unit_of_flux():
    latents, samples = gaussian_posterior(50, 20)
    decoder = linear_decoder()
    bands = predict_bands(decoder, samples)
    scaled = SpectrumBands(7 * bands.mean, 7 * bands.low, 7 * bands.high, bands.level)
    ours = score_bands(scaled, 7 * decoder(latents))["lines"]
    plain = score_bands(bands, decoder(latents))["lines"]
    assert ours.rms == pytest.approx(plain.rms, rel=1e-4)
    assert ours.half_width == pytest.approx(plain.half_width, rel=1e-4)


def test_one_row_may_answer_for_all():
    latents, _ = gaussian_posterior(500, 2)
    truth = linear_decoder()(latents)
    constant = spectrum_bands(truth[None])
    score = score_bands(constant, truth)["continuum"]
    assert abs(score.coverage - 0.68) < 0.01
    part = spectrum_parts()["continuum"]
    assert score.rms == pytest.approx(float(truth[:, part].var(0).mean().sqrt()), rel=0.02)


GOOD = torch.zeros(2, 5, 6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: posterior_spectra(linear_decoder(), GOOD[0]), "latent_samples must be"),
        (lambda: posterior_spectra(linear_decoder(), GOOD + math.nan), "latent_samples holds NaN"),
        (lambda: posterior_spectra(lambda z: z[:3], GOOD), "decoder must return"),
        (lambda: spectrum_bands(torch.zeros(2, 1, 10)), "spectra must be"),
        (lambda: spectrum_bands(torch.zeros(2, 4, 10), level=1.0), "level must be"),
        (lambda: predict_bands(linear_decoder(), GOOD, rows=0), "size must be"),
        (lambda: ResidualBank(torch.zeros(4, 6), torch.zeros(3, 9)), "residuals"),
        (lambda: ResidualBank(torch.zeros(4, 6), torch.zeros(4, 9)), "neighbours must be at most"),
        (
            lambda: ResidualBank(torch.zeros(4, 6), torch.zeros(4, 9), neighbours=2).draw(
                GOOD[0, :, :3]
            ),
            "latents must be",
        ),
    ],
)
def test_bad_samples_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_bad_truth_is_named():
    ones = torch.ones(3, 1000)
    bands = SpectrumBands(ones, ones, ones, 0.68)
    with pytest.raises(ValueError, match="truth must be"):
        score_bands(bands, ones[:1])
    with pytest.raises(ValueError, match="bands must be"):
        score_bands(bands, ones[:, :5])
    with pytest.raises(ValueError, match="truth holds NaN"):
        score_bands(bands, ones * math.nan)
    with pytest.raises(ValueError, match="positive mean flux"):
        score_bands(bands, -ones)
    with pytest.raises(ValueError, match="part 'none'"):
        score_bands(bands, ones, parts={"none": torch.zeros(1000, dtype=torch.bool)})
