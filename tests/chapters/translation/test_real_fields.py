"""skytutor.chapters.translation.real_fields: one galaxy by two surveys, and peaks side by side."""

import pytest
import torch

from skytutor.chapters import load_pretrained
from skytutor.chapters.translation.real_fields import RealField, load_field, peaks_beside
from skytutor.data.bands import SceneSimulator
from skytutor.data.registry import folder
from skytutor.data.scene_rendering import SceneRenderer


@pytest.fixture(scope="module")
def simulated():
    simulator = SceneSimulator()
    rng = torch.Generator().manual_seed(1)
    seen = simulator.observe(simulator.draw(1, generator=rng), generator=rng)
    return RealField(seen.images[0], seen.ivar[0], seen.truth[0, 3], 0.01)


def test_files_that_are_not_there_are_no_field(tmp_path):
    assert load_field(tmp_path) is None


def test_a_translation_of_a_simulated_field_is_near_its_truth(simulated):
    made = simulated.translate(load_pretrained("bands"), ["g", "i"], "r")
    assert float(made.sum() / simulated.deeper.sum()) == pytest.approx(1, abs=0.1)
    found, invented = peaks_beside(made, simulated.deeper, noise=0.05, fwhm=1.32)
    assert found > 0 and invented == 0


def test_a_band_that_was_not_observed_and_a_target_among_inputs_are_refused(simulated):
    network = load_pretrained("bands")
    blind = RealField(simulated.images, torch.zeros_like(simulated.ivar), simulated.deeper, 0.01)
    with pytest.raises(ValueError, match="inputs must be bands that were observed, got g"):
        blind.translate(network, ["g"], "r")
    with pytest.raises(ValueError, match="targets must not be among the inputs"):
        simulated.translate(network, ["r"], "r")


def test_a_star_that_the_other_image_lacks_is_counted():
    star = 10 * SceneRenderer(64, pixel_arcsec=0.8, psf_fwhm=[1.3]).psf_image(0)
    both = star + star.roll((15, 15), (0, 1))
    assert peaks_beside(both, star, noise=0.01, fwhm=1.3) == (2, 1)
    assert peaks_beside(star, both, noise=0.01, fwhm=1.3) == (1, 0)


@pytest.mark.data
def test_a_real_galaxy_keeps_its_light_and_nothing_is_invented():
    field = load_field(folder())
    if field is None:
        pytest.skip("the field of SN 2006bh is not here")
    made = field.translate(load_pretrained("bands"), ["g", "i"], "r")
    # SDSS and DES themselves differ by six per cent here.
    assert float(made.sum() / field.images[3].sum()) == pytest.approx(1, abs=0.06)
    assert float(made.sum() / field.deeper.sum()) == pytest.approx(1, abs=0.06)
    found, invented = peaks_beside(made, field.deeper, noise=field.deeper_noise, fwhm=1.32)
    assert found >= 5 and invented == 0
