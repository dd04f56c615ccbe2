"""Cases that break a network: made as they say; error bars and a flag against known answers."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from skytutor.chapters.spectra.ablations import pixel_radius
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.breaks import (
    BREAKS,
    beyond_training,
    dusty_edge_on,
    make_break,
    stars,
)
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.outliers import OutlierFlag, error_bars, score_breaks
from skytutor.chapters.spectra.targets import natural
from skytutor.data.galaxies import GalaxySimulator
from skytutor.data.spectral_templates import LINES


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def simulator():
    return GalaxySimulator()


@pytest.fixture(scope="module")
def galaxies(simulator):
    return simulator.draw(30, generator=rng())


@pytest.fixture(scope="module")
def cases(simulator):
    """Return ten images of each kind; mistakes are made on the same galaxies."""
    autoencoder = SpectrumAutoencoder()
    found = {}
    for name in BREAKS:
        found[name] = make_break(
            name, 10, simulator=simulator, autoencoder=autoencoder, generator=rng(4)
        )
    return found


def test_galaxies_beyond_training_are_the_same_farther_away(galaxies):
    from astropy.cosmology import FlatLambdaCDM

    far = beyond_training(galaxies, generator=rng(1))
    assert (far.redshift >= 0.36).all() and (far.redshift <= 0.40).all()
    cosmology = FlatLambdaCDM(H0=67.4, Om0=0.315)

    def distance(sample):
        found = cosmology.angular_diameter_distance(sample.redshift.double().numpy())
        return torch.from_numpy(found.value).float()

    # Lengths in kpc and luminosities stay.
    for name in ("disc_radius", "bulge_radius"):
        kpc = getattr(galaxies.shapes, name) * distance(galaxies)
        assert torch.allclose(getattr(far.shapes, name) * distance(far), kpc, rtol=1e-3)
    for sample in (galaxies, far):
        light = sample.lines.sum((1, 2)) * (distance(sample) * (1 + sample.redshift) ** 2) ** 2
        if sample is galaxies:
            before = light
    assert torch.allclose(light, before, rtol=2e-3)


def test_dust_dims_the_disc_and_reddens_it_and_raises_the_balmer_decrement(simulator, galaxies):
    dusty = dusty_edge_on(galaxies)
    before = simulator.fluxes(galaxies)
    after = simulator.fluxes(dusty)
    assert (after[:, 1] < before[:, 1]).all()
    assert torch.equal(after[:, 0].isfinite(), before[:, 0].isfinite())
    colour = (before[:, 1, 0] / before[:, 1, 1]).log()
    assert ((after[:, 1, 0] / after[:, 1, 1]).log() < colour).all()
    names = list(LINES)
    alpha, beta = names.index("H-alpha"), names.index("H-beta")
    decrement = galaxies.lines[:, 1, alpha] / galaxies.lines[:, 1, beta]
    assert (dusty.lines[:, 1, alpha] / dusty.lines[:, 1, beta] > decrement).all()


def test_clumps_of_a_disc_on_edge_lie_along_its_axis(galaxies):
    dusty = dusty_edge_on(galaxies, axis_ratio=0.15)
    shapes = dusty.shapes
    cosine = shapes.disc_angle.cos()[:, None]
    sine = shapes.disc_angle.sin()[:, None]
    along = shapes.clump_x * cosine + shapes.clump_y * sine
    across = shapes.clump_y * cosine - shapes.clump_x * sine
    assert across.square().mean() / along.square().mean() == pytest.approx(0.15**2, rel=0.5)
    old = galaxies.shapes
    assert torch.allclose(along, old.clump_x * cosine + old.clump_y * sine, atol=1e-5)


def test_a_star_is_as_wide_as_the_psf_and_its_redshift_is_zero(simulator, cases):
    images = stars(simulator, 50, generator=rng())
    inside = images[:, 1, 28:36, 28:36]
    assert (inside.amax((1, 2)) == images[:, 1].amax((1, 2))).all()
    flux = images[:, 1].sum((1, 2))
    magnitude = 22.5 - 2.5 * flux.log10()
    assert float(magnitude.min()) > 15.9 and float(magnitude.max()) < 19.1
    # Half of a Moffat profile of beta 2.5 lies within 0.678 FWHM, which is 1.19 arcsec in r.
    half = images[:, 1, pixel_radius(images) < 0.678 * 1.19].sum(1) / flux
    assert (half - 0.5).abs().max() < 0.05
    targets = cases["star"].targets
    assert natural(targets)[:, 2].abs().max() < 1e-6
    assert targets[:, :8].isnan().all()


def test_mistakes_are_made_on_the_same_galaxies(cases):
    normal = cases["as in training"].images
    for name in ("bands reversed", "g and r swapped", "g missing", "y missing", "saturated core"):
        assert torch.equal(cases[name].targets, cases["as in training"].targets)
    assert torch.equal(cases["bands reversed"].images[:, 0], normal[:, 4])
    assert torch.equal(cases["g and r swapped"].images[:, 0], normal[:, 1])
    assert torch.equal(cases["g and r swapped"].images[:, 2:], normal[:, 2:])
    assert cases["g missing"].images[:, 0].abs().max() == 0
    assert torch.equal(cases["y missing"].images[:, :4], normal[:, :4])
    cut = cases["saturated core"].images
    assert torch.allclose(cut.amax((2, 3)), 0.3 * normal.amax((2, 3)))
    bright = normal > 0.31 * normal.amax((2, 3), keepdim=True)
    assert torch.equal(cut[~bright], torch.minimum(normal, cut)[~bright])


def test_a_blend_holds_more_light_and_the_truth_of_the_galaxy_in_the_centre(cases):
    normal = cases["as in training"]
    blend = cases["blend"]
    assert torch.equal(blend.targets, normal.targets)
    more = (blend.images - normal.images).double()
    assert (more[:, 1].sum((1, 2)) > 5).all()
    # The added galaxy peaks 2 to 4 arcsec from the centre.
    peak = more[:, 1].flatten(1).argmax(1)
    place = torch.stack([peak // 64, peak % 64], dim=1) - 31.5
    distance = 0.25 * place.double().norm(dim=1)
    assert (distance > 1.5).all() and (distance < 4.5).all()


def test_far_galaxies_of_a_break_are_far(cases):
    redshift = natural(cases["redshift 0.36 to 0.40"].targets)[:, 2]
    assert (redshift > 0.3599).all() and (redshift < 0.4001).all()


def test_an_unknown_kind_is_refused(simulator):
    with pytest.raises(ValueError, match="name must be one of 'as in training'"):
        make_break(
            "quasar", 2, simulator=simulator, autoencoder=SpectrumAutoencoder(), generator=rng()
        )


def test_error_bars_that_are_honest_and_error_bars_that_are_not():
    factor = torch.tril(torch.randn(2000, 9, 9, generator=rng())) + 3 * torch.eye(9)
    mean = torch.randn(2000, 9, generator=rng(1))
    white = torch.randn(2000, 9, generator=rng(2))
    targets = mean + (factor @ white[..., None])[..., 0]
    honest = error_bars(mean, factor, targets)
    assert set(honest) == {"latents", "ln EW H-alpha", "ln EW [OIII]", "redshift"}
    for row in honest.values():
        assert row["z"] == pytest.approx(1, abs=0.05)
        assert row["coverage"] == pytest.approx(0.68, abs=0.03)
        assert abs(row["bias"]) < 0.06
    narrow = error_bars(mean, factor / 2, targets)
    assert narrow["redshift"]["z"] == pytest.approx(2 * honest["redshift"]["z"], rel=1e-4)
    assert narrow["latents"]["coverage"] == pytest.approx(0.38, abs=0.03)
    shifted = error_bars(mean + factor.square().sum(2).sqrt(), factor, targets)
    assert shifted["redshift"]["bias"] == pytest.approx(1, abs=0.06)
    targets[:, :8] = math.nan
    assert list(error_bars(mean, factor, targets)) == ["redshift"]


def test_the_flag_passes_what_it_should_and_does_not_depend_on_units():
    normal = MultivariateNormal(torch.zeros(3), torch.tensor([[4, 1, 0], [1, 1, 0], [0, 0, 2.0]]))
    torch.manual_seed(0)
    reference, new = normal.sample((20_000,)), normal.sample((20_000,))
    flag = OutlierFlag(reference)
    assert float(flag(new).double().mean()) == pytest.approx(0.01, abs=0.004)
    # The distance of a normal's 99 % in three dimensions: the root of chi-squared, 11.34.
    assert flag.threshold == pytest.approx(11.34**0.5, rel=0.03)
    # Off the long axis less distance is needed than along it.
    assert bool(flag(torch.tensor([[-4.0, 3.0, 0.0]]))) and not bool(
        flag(torch.tensor([[4.0, 1, 0]]))
    )
    assert torch.equal(OutlierFlag(10 * reference)(10 * new), flag(new))


def test_bad_references_are_named():
    with pytest.raises(ValueError, match=r"reference must be \(N, F\) with N at least 2 F"):
        OutlierFlag(torch.zeros(9, 5))
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 1"):
        OutlierFlag(torch.zeros(20, 5), level=1)
    with pytest.raises(ValueError, match="reference must be finite"):
        OutlierFlag(torch.full((20, 5), math.nan))


def test_every_kind_is_scored_and_stars_and_missing_bands_stand_out(simulator):
    network = SpectrumNetwork(channels=(4, 4, 4, 4), width=8).eval()
    found = score_breaks(
        network, size=10, n_reference=300, simulator=simulator, autoencoder=SpectrumAutoencoder()
    )
    assert list(found) == list(BREAKS)
    assert found["as in training"]["flagged"] <= 0.15
    assert found["g missing"]["flagged"] > found["as in training"]["flagged"]
    assert set(found["star"]) == {"redshift", "flagged"}
