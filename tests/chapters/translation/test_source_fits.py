"""skytutor.chapters.translation.source_fits: fluxes and places of sources that were found."""

import numpy as np
import pytest
import torch

from skytutor.chapters.translation.source_finding import find_sources
from skytutor.chapters.translation.source_fits import (
    band_data,
    fit_band,
    fitted,
    point_images,
    refined,
)
from skytutor.data.bands import SceneSimulator

BAND = "red"


@pytest.fixture(scope="module")
def renderer():
    return SceneSimulator([BAND]).renderer


def stars(renderer, places, fluxes):
    """Return the image of stars, (H, H); places in pixels."""
    middle = (renderer.scene_size - 1) / 2
    x, y = ((torch.tensor(places) - middle) * renderer.scene_pixel).T
    planes = renderer.moved(renderer.points(len(places)), x, y)
    return renderer.scenes(planes[None], torch.tensor(fluxes)[None, :, None])[0, 0]


def measured(renderer, image, *, ivar=None, rounds=4, translation=None):
    """Return the places and the fits of one image, whose translation has it as it is."""
    ivar = torch.full_like(image, 25.0) if ivar is None else ivar
    found = find_sources((image if translation is None else translation)[None], least=1.0)
    profile = point_images(renderer, found, 0)
    data = band_data(renderer, image[None], ivar[None], profile, band=0, name=BAND)
    found = refined(renderer, found, [data], rounds=rounds)
    return found, fit_band(renderer, found, data)


def test_least_squares_are_those_of_numpy():
    rng = torch.Generator().manual_seed(0)
    templates = torch.randn(1, 3, 50, generator=rng)
    image = torch.randn(1, 50, generator=rng)
    weight = torch.rand(1, 50, generator=rng) + 0.1
    flux, error = fitted(templates, image, weight)
    root = weight[0].sqrt()
    matrix = (templates[0] * root).T.double().numpy()
    wanted = np.linalg.lstsq(matrix, (image[0] * root).double().numpy(), rcond=None)[0]
    assert flux[0].tolist() == pytest.approx(wanted.tolist(), rel=1e-3, abs=1e-4)
    deviation = np.sqrt(np.diag(np.linalg.inv(matrix.T @ matrix)))
    assert error[0].tolist() == pytest.approx(deviation.tolist(), rel=1e-3)


def test_a_template_of_zeros_has_no_flux_and_harms_no_other():
    templates = torch.zeros(1, 2, 9)
    templates[0, 0] = 1.0
    flux, error = fitted(templates, torch.full((1, 9), 4.0), torch.ones(1, 9))
    assert flux[0].tolist() == pytest.approx([4.0, 0.0], rel=1e-4)
    assert float(error[0, 1]) == 0


def test_a_star_between_pixels_is_moved_to_its_place(renderer):
    image = stars(renderer, [[20.3, 40.6]], [200.0])
    found, fit = measured(renderer, image)
    assert float(found.column) == pytest.approx(20.3, abs=0.02)
    assert float(found.row) == pytest.approx(40.6, abs=0.02)
    assert float(fit.point) == pytest.approx(200.0, rel=2e-3)


def test_a_faint_star_beside_a_bright_one_keeps_its_flux(renderer):
    image = stars(renderer, [[20.2, 30.0], [27.4, 31.3]], [900.0, 40.0])
    _, fit = measured(renderer, image)
    assert fit.point[0].tolist() == pytest.approx([900.0, 40.0], rel=0.02)


def test_a_black_core_is_told_and_the_wings_say_the_flux(renderer):
    image = stars(renderer, [[30.0, 30.0]], [500.0])
    black = image > 20.0
    ivar = torch.where(black, 0.0, 25.0)
    burnt = torch.where(black, 3.0, image)
    _, fit = measured(renderer, burnt, ivar=ivar, rounds=0, translation=image)
    held = float(image[black].sum() / 500.0)
    assert float(fit.black) == pytest.approx(held, rel=1e-3) and held > 0.2
    assert float(fit.point) == pytest.approx(500.0, rel=5e-3)


def test_all_apertures_agree_on_a_star_and_grow_on_what_is_wide(renderer):
    image = stars(renderer, [[30.0, 30.0]], [300.0])
    _, fit = measured(renderer, image)
    assert fit.apertures.flatten().tolist() == pytest.approx([300.0] * 3, rel=0.01)
    wide = torch.nn.functional.avg_pool2d(image[None, None], 7, 1, 3)[0, 0]
    _, fit = measured(renderer, wide)
    small, middle, large = fit.apertures.flatten().tolist()
    assert small < middle < large
    assert float(fit.point_misfit) > 10


def test_where_nothing_was_measured_nothing_is_said(renderer):
    image = stars(renderer, [[30.0, 30.0]], [300.0])
    found, fit = measured(renderer, image, ivar=torch.zeros_like(image))
    assert float(found.column) == 30 and float(found.row) == 30
    assert float(fit.point) == 0 == float(fit.point_error)
    assert torch.isfinite(fit.apertures).all() and torch.isfinite(fit.point_misfit).all()
