"""skytutor.data.galaxy_catalogue: against the pixels of images without noise."""

from dataclasses import replace

import pytest
import torch
from complaints import complaint
from scipy import stats

from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator
from skytutor.data.galaxy_catalogue import catalogue


@pytest.fixture(scope="module")
def measured():
    """Return simulator, 400 galaxies, photometry, catalogue."""
    simulator = GalaxySimulator()
    generator = torch.Generator().manual_seed(1)
    galaxies = simulator.draw(400, generator=generator)
    planes = simulator.renderer.planes(galaxies.shapes)
    photometry = simulator.photometry(galaxies, planes=planes, generator=generator)
    return simulator, galaxies, photometry, catalogue(simulator, galaxies, planes, photometry)


def one_component(component, count=6, **shapes):
    """Return a catalogue of galaxies whose light is all in one component, without noise."""
    simulator = GalaxySimulator()
    generator = torch.Generator().manual_seed(2)
    galaxies = simulator.draw(count, generator=generator)
    keep = torch.zeros(3)
    keep[component] = 1
    galaxies = replace(
        galaxies,
        coefficients=galaxies.coefficients * keep[:, None] + 1e-9,
        lines=galaxies.lines * keep[:, None],
        shapes=replace(galaxies.shapes, **shapes),
    )
    planes = simulator.renderer.planes(galaxies.shapes)
    photometry = simulator.photometry(galaxies, planes=planes, generator=generator)
    return catalogue(simulator, galaxies, planes, photometry)


def test_the_total_of_the_r_band_is_its_flux(measured):
    _, _, photometry, table = measured
    whole = photometry.flux.sum(1)
    # The profile is that of r, so that r alone is exact; other bands have other profiles.
    assert (table.total[:, 1] / whole[:, 1]).log().abs().max() < 0.05
    ratio = (table.total / whole).log()
    assert ratio.abs().median() < 0.02
    assert (ratio[:, 0].abs() < 0.5).all()


def test_the_total_scatters_as_the_profile_allows(measured):
    _, _, photometry, table = measured
    red = photometry.flux[:, :, 1]
    weight = red / red.sum(1, keepdim=True)
    norm = torch.einsum("bc,bcd,bd->b", weight, photometry.gram[:, 1, :3, :3], weight)
    pull = (table.total[:, 1] - red.sum(1)) * norm.sqrt() / SKY_NOISE[1]
    assert float(pull.std()) == pytest.approx(1, abs=0.12)
    assert abs(float(pull.mean())) < 4 / 20


def test_the_aperture_is_that_of_the_photometry(measured):
    _, _, photometry, table = measured
    assert torch.equal(table.aperture, photometry.measured[..., 3])
    assert (table.aperture[:, 1] < 1.02 * table.total[:, 1]).all()


def test_the_radius_holds_half_of_the_pixels_light(measured):
    simulator, galaxies, photometry, table = measured
    images = simulator.images(galaxies)[:, 1]
    at = (torch.arange(64) - 31.5) * 0.25
    distance = torch.hypot(at, at[:, None])
    for k in range(0, 400, 20):
        half = images[k][distance < table.radius[k]].sum() / photometry.flux[k, :, 1].sum()
        # Pixels cut the circle roughly: a fifth of a pixel's ring.
        assert float(half) == pytest.approx(0.5, abs=0.09)


def test_a_large_disc_has_the_radius_ratio_and_concentration_of_an_exponential():
    ones = torch.ones(6)
    table = one_component(1, disc_radius=4 * ones, disc_axis_ratio=ones)
    # 1.678 and 3.890 scale lengths; the PSF adds a little to the first.
    assert table.radius.tolist() == pytest.approx([4.1] * 6, abs=0.15)
    assert table.axis_ratio.tolist() == pytest.approx([1] * 6, abs=1e-3)
    small = one_component(1, disc_radius=2 * ones, disc_axis_ratio=ones)
    assert small.concentration.tolist() == pytest.approx([3.890 / 1.678] * 6, abs=0.12)


@pytest.mark.parametrize(("component", "name"), [(0, "bulge"), (1, "disc")])
def test_the_axis_ratio_of_one_component_is_its_own(component, name):
    ratio = torch.tensor([0.2, 0.3, 0.5, 0.7, 0.9, 1.0])
    table = one_component(component, **{f"{name}_axis_ratio": ratio})
    assert table.axis_ratio.tolist() == pytest.approx(ratio.tolist(), abs=1e-3)


def test_clumps_have_the_second_moments_of_their_places():
    x = torch.tensor([[-2.0, 2.0]]).expand(6, 2)
    table = one_component(
        2,
        clump_x=x,
        clump_y=torch.zeros(6, 2),
        clump_sigma=torch.full((6, 2), 0.5),
        clump_weight=torch.full((6, 2), 0.5),
    )
    expected = (0.25 / 4.25) ** 0.5
    assert table.axis_ratio.tolist() == pytest.approx([expected] * 6, abs=1e-3)


def test_bulges_are_more_concentrated_than_discs(measured):
    _, _, photometry, table = measured
    light = photometry.flux[:, :, 1]
    bulge = light[:, 0] / light.sum(1)
    large = table.radius > 1.5
    assert stats.spearmanr(bulge[large], table.concentration[large]).statistic > 0.4
    assert table.radius.min() > 0.5, "the seeing alone makes a star this large"
    assert (table.axis_ratio > 0).all()
    assert (table.axis_ratio <= 1).all()


def test_tables_of_other_galaxies_are_refused(measured):
    simulator, galaxies, photometry, _ = measured
    planes = simulator.renderer.planes(galaxies.shapes)
    inputs = {"simulator": simulator, "galaxies": galaxies, "photometry": photometry}
    complaint(ValueError, catalogue, "planes", 400, 3, planes=planes[:3], **inputs)
    few = simulator.draw(3, generator=torch.Generator().manual_seed(0))
    inputs["galaxies"] = few
    complaint(ValueError, catalogue, "photometry", 3, 400, planes=planes[:3], **inputs)
