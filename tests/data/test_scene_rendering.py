"""skytutor.data.scene_rendering: places, sums and shapes against direct integrals."""

import math

import pytest
import torch
from scipy import integrate

from skytutor.data.galaxy_profiles import MOFFAT_BETA
from skytutor.data.rendering import GalaxyRenderer, Shapes
from skytutor.data.scene_rendering import SceneRenderer

FWHM = (1.3, 2.9, 5.3)


def scene_of(renderer, x, y, flux=1.0):
    star = renderer.moved(renderer.points(1), torch.tensor([x]), torch.tensor([y]))
    return renderer.scenes(star[None], flux * torch.ones(1, 1, renderer.n_bands))[0]


def moffat(r, fwhm):
    core = fwhm / (2 * math.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    peak = (MOFFAT_BETA - 1) / (math.pi * core**2)
    return peak * (1 + (r / core) ** 2) ** -MOFFAT_BETA


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.37, -1.9), (9.1, 3.3)])
def test_pixels_hold_the_integral_of_a_star_over_their_area(x, y):
    renderer = SceneRenderer(64, psf_fwhm=FWHM)
    images = scene_of(renderer, x, y).double()
    for band, fwhm in enumerate(FWHM):
        for row, column in ((32, 32), (30, 34), (36, 43)):
            left, low = (column - 32) * 0.8, (row - 32) * 0.8
            wanted, _ = integrate.dblquad(
                lambda b, a, fwhm=fwhm: moffat(math.hypot(a - x, b - y), fwhm),
                left, left + 0.8, low, low + 0.8,
            )  # fmt: skip
            peak = moffat(0, fwhm) * 0.64
            assert float(images[band, row, column]) == pytest.approx(wanted, abs=4e-3 * peak)


def test_a_source_stands_where_it_is_put():
    renderer = SceneRenderer(32, psf_fwhm=[1.5])
    place = (torch.arange(32) - 15.5) * 0.8
    for x, y in ((0.0, 0.0), (3.3, -5.1), (-6.2, 0.7)):
        image = scene_of(renderer, x, y)[0]
        near = torch.hypot(place - x, (place - y)[:, None]) < 3
        image = image * near
        assert float((image.sum(0) * place).sum() / image.sum()) == pytest.approx(x, abs=0.05)
        assert float((image.sum(1) * place).sum() / image.sum()) == pytest.approx(y, abs=0.05)


def test_moving_by_whole_pixels_moves_the_image():
    renderer = SceneRenderer(64, psf_fwhm=[1.3, 2.9])
    here = scene_of(renderer, 0.4, 0.4)
    there = scene_of(renderer, 0.4 + 5 * 0.8, 0.4 - 3 * 0.8)
    moved = here.roll((-3, 5), dims=(1, 2))[:, 10:50, 10:50]
    assert torch.allclose(moved, there[:, 10:50, 10:50], atol=2e-5)


def test_fluxes_of_a_scene_add_up():
    renderer = SceneRenderer(32, psf_fwhm=FWHM)
    x, y = torch.tensor([-4.0, 3.0]), torch.tensor([1.0, -2.0])
    planes = renderer.moved(renderer.points(2), x, y)
    flux = torch.tensor([[[1.0, 2.0, 3.0], [5.0, 0.0, 1.0]]])
    together = renderer.scenes(planes[None], flux)[0]
    for band in range(3):
        parts = renderer.templates(planes[None], band=band)[0]
        wanted = torch.einsum("c,cyx->yx", flux[0, :, band], parts)
        assert torch.allclose(together[band], wanted, atol=1e-6)


def test_a_galaxy_is_that_of_the_renderer_of_single_galaxies():
    """In the same PSF, with pixels added up two by two."""
    one, spot = torch.ones(1), torch.zeros(1, 1)
    shapes = Shapes(
        0.8 * one, 0.7 * one, one, 2 * one, 0.5 * one, one, spot, spot, spot + 0.3, spot + 1
    )
    fine = GalaxyRenderer(128, pixel_arcsec=0.4, psf_fwhm=[1.3] * 5)
    flux = torch.tensor([[1.0, 2.0, 0.5]])
    wanted = fine.images(fine.planes(shapes), flux[:, :, None].expand(-1, -1, 5))[0, 0]
    wanted = wanted.reshape(64, 2, 64, 2).sum((1, 3))
    renderer = SceneRenderer(64, psf_fwhm=[1.3])
    found = renderer.scenes(renderer.planes(shapes), flux[:, :, None])[0, 0]
    assert torch.allclose(found, wanted, atol=1e-5)


def test_the_image_of_a_point_holds_its_flux_and_peaks_in_one_pixel():
    renderer = SceneRenderer(64, psf_fwhm=[1.3, 2.9])
    for band in range(2):
        psf = renderer.psf_image(band)
        assert float(psf.sum()) == pytest.approx(1, abs=0.03)
        row, column = divmod(int(psf.argmax()), 64)
        assert (row, column) == (32, 32)
        around = psf[29:36, 29:36]
        assert torch.allclose(around, around.flip(0), atol=1e-6)
        assert torch.allclose(around, around.T, atol=1e-6)


def test_wrong_arguments_are_named():
    renderer = SceneRenderer(16, psf_fwhm=[1.3])
    with pytest.raises(ValueError, match="psf_fwhm must hold the width of one band or more"):
        SceneRenderer(16, psf_fwhm=[])
    with pytest.raises(ValueError, match=r"psf_fwhm must be finite and positive, got 0\.0"):
        SceneRenderer(16, psf_fwhm=[0.0])
    with pytest.raises(TypeError, match=r"oversampling must be a positive integer, got 1\.5"):
        SceneRenderer(16, psf_fwhm=[1.3], oversampling=1.5)
    point = renderer.points(1)
    with pytest.raises(ValueError, match=r"y must be \(1,\), one for each source, got \(2,\)"):
        renderer.moved(point, torch.zeros(1), torch.zeros(2))
    for wrong in (6.5, float("nan")):
        with pytest.raises(ValueError, match=r"x must lie within 6\.4 arcsec of the middle"):
            renderer.moved(point, torch.tensor([wrong]), torch.zeros(1))
    with pytest.raises(ValueError, match=r"fluxes must be \(B, C, F\) = \(1, 1, 1\)"):
        renderer.scenes(point[None], torch.ones(1, 1, 2))
    with pytest.raises(ValueError, match=r"band must lie in 0..0, got 1"):
        renderer.templates(point[None], band=1)
