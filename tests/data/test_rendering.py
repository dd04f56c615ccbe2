"""skytutor.data.rendering: images against oversampled profiles, and sums against pixels."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.modeling.models import Sersic2D
from complaints import complaint
from scipy import signal, special

from skytutor.data.rendering import GalaxyRenderer, Shapes

PIXEL = 0.25
PSF = (1.31, 1.19, 1.11, 1.07, 1.02)


def some_shapes(count=4, clumps=5, seed=0, dtype=torch.float64):
    """Draw shapes such as the simulator draws, whose clumps lie well inside the image."""
    rng = torch.Generator().manual_seed(seed)

    def between(low, high, *size):
        return low + (high - low) * torch.rand(*size, generator=rng, dtype=dtype)

    weight = between(0.2, 1, count, clumps)
    return Shapes(
        bulge_radius=between(0.4, 1.5, count),
        bulge_axis_ratio=between(0.4, 1, count),
        bulge_angle=between(-4, 4, count),
        disc_radius=between(0.6, 3, count),
        disc_axis_ratio=between(0.2, 1, count),
        disc_angle=between(-4, 4, count),
        clump_x=between(-3, 3, count, clumps),
        clump_y=between(-3, 3, count, clumps),
        clump_sigma=between(0, 0.6, count, clumps),
        clump_weight=weight / weight.sum(1, keepdim=True),
    )


def one_shape(radius=1.0, axis_ratio=1.0, angle=0.0):
    """Return a bulge and a disc of the same shape, and one clump on the centre."""
    both = [torch.tensor([value], dtype=torch.float64) for value in (radius, axis_ratio, angle)]
    spot = torch.zeros(1, 1, dtype=torch.float64)
    return Shapes(*both, *both, spot, spot, spot + 0.3, spot + 1)


def sersic_image(n, fwhm, radius, axis_ratio, angle, size=64, wide=160, fine=5):
    """Return an image of unit flux: astropy's profile, oversampled, times a Moffat, by hand.

    `wide` pixels along a side, of which the middle `size` are kept, are each cut into `fine` by
    `fine` cells; the cells at the cusp again into 40 by 40.
    """
    step = PIXEL / fine
    at = (np.arange(wide * fine) - (wide * fine - 1) / 2) * step
    x, y = np.meshgrid(at, at)
    model = Sersic2D(1, radius, n, 0, 0, 1 - axis_ratio, angle)
    galaxy = model(x, y)
    middle = slice(wide * fine // 2 - 12, wide * fine // 2 + 12)
    inner = ((np.arange(40) + 0.5) / 40 - 0.5) * step
    inner_x = x[middle, middle][:, :, None, None] + inner
    inner_y = y[middle, middle][:, :, None, None] + inner[:, None]
    galaxy[middle, middle] = model(inner_x, inner_y).mean((2, 3))
    b = special.gammaincinv(2 * n, 0.5)
    flux = 2 * np.pi * n * np.exp(b) * b ** (-2 * n) * special.gamma(2 * n) * axis_ratio * radius**2
    core = fwhm / 2 / np.sqrt(2**0.4 - 1)
    # An odd kernel, so that its peak lies on a cell
    away = (np.arange(wide * fine + 1) - wide * fine // 2) * step
    moffat = (1 + (away**2 + away[:, None] ** 2) / core**2) ** -2.5 * 1.5 / np.pi / core**2
    image = signal.fftconvolve(galaxy, moffat * step**2, mode="same") * step**2 / flux
    # The mean of cells is taken over a pixel, the values of the Moffat at their centres.
    pixels = image.reshape(wide, fine, wide, fine).sum((1, 3))
    cut = slice((wide - size) // 2, (wide + size) // 2)
    return pixels[cut, cut]


CASES = [
    (0, 4, 0.8, 1.0, 0.0),
    (0, 4, 2.5, 0.3, -1.9),
    (1, 1, 0.8, 1.0, 0.0),
    (1, 1, 1.5, 0.5, 0.6),
]


@pytest.mark.parametrize(("component", "n", "radius", "axis_ratio", "angle"), CASES)
def test_images_equal_astropys_profile_oversampled(component, n, radius, axis_ratio, angle):
    shapes = one_shape(radius, axis_ratio, angle)
    got = {}
    for padding in (1.5, 2.5):
        renderer = GalaxyRenderer(padding=padding, dtype=torch.float64)
        images = renderer.component_images(renderer.planes(shapes))[0, component]
        got[padding] = images.numpy()
    for band in (0, 4):
        expected = sersic_image(n, PSF[band], radius, axis_ratio, angle)
        worst = {k: np.abs(v[band] - expected).max() / expected.max() for k, v in got.items()}
        # Measured: 0.6 to 1.7e-4 of the peak, of which the waves beyond Nyquist are the most.
        assert worst[2.5] < 3e-4
        # The light that wraps around: up to 1.8e-3 of the peak, of the largest bulge.
        assert worst[1.5] < (3e-3 if n == 4 else 3e-4)


def test_light_that_leaves_the_frame_comes_back():
    """Padding makes the wrap-around small, and doubling it makes it smaller."""
    shapes = one_shape(radius=1.5, axis_ratio=0.8)
    images = {}
    for padding in (1.5, 3, 12):
        renderer = GalaxyRenderer(padding=padding)
        images[padding] = renderer.component_images(renderer.planes(shapes))[0, :, 4]
    peak = images[12].amax((1, 2))
    more = {k: (images[k] - images[12]).mean((1, 2)) / peak for k in (1.5, 3)}
    bulge, disc, clump = more[1.5].tolist()
    assert 0 < bulge < 5e-4 and more[3][0] < bulge / 5
    assert abs(disc) < 2e-5 and abs(clump) < 2e-5


def test_images_equal_galsim():
    galsim = pytest.importorskip("galsim")
    renderer = GalaxyRenderer(padding=3, dtype=torch.float64)
    radius, q, angle = 1.2, 0.6, 0.8
    got = renderer.component_images(renderer.planes(one_shape(radius, q, angle)))[0, :, 4]
    # galsim shears at constant area: its radius is the mean of the two axes.
    kinds = (galsim.DeVaucouleurs, galsim.Exponential)
    sheared = [
        kind(half_light_radius=radius * math.sqrt(q)).shear(q=q, beta=angle * galsim.radians)
        for kind in kinds
    ]
    for galaxy, ours in zip([*sheared, galsim.Gaussian(sigma=0.3)], got, strict=True):
        seen = galsim.Convolve(galaxy, galsim.Moffat(beta=2.5, fwhm=PSF[4]))
        theirs = seen.drawImage(nx=64, ny=64, scale=PIXEL).array
        assert np.abs(ours.numpy() - theirs).max() < 1e-3 * theirs.max()


@pytest.mark.parametrize("size", [1, 8, 31, 64])
def test_flux_is_kept_over_the_frame(size):
    renderer = GalaxyRenderer(size, padding=1, dtype=torch.float64)
    planes = renderer.planes(some_shapes())
    if size == renderer.frame:
        flux = renderer.component_images(planes).sum((-1, -2))
        assert float((flux - 1).abs().max()) < 1e-6  # of the table's first node
    assert float((planes[:, :, 0, 0] - 1).abs().max()) < 1e-6


def test_images_are_the_sum_of_their_components():
    renderer = GalaxyRenderer(dtype=torch.float64)
    planes = renderer.planes(some_shapes())
    fluxes = torch.randn(4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.einsum("bcfhw,bcf->bfhw", renderer.component_images(planes), fluxes)
    got = renderer.images(planes, fluxes)
    assert float((got - expected).abs().max()) < 1e-12 * float(expected.abs().max())
    # The two-dimensional inverse transform of numpy, of the whole frame
    whole = np.fft.irfft2(planes[:, :, None] * renderer.psf, s=(96, 96))[..., :64, :64]
    assert np.abs(renderer.component_images(planes).numpy() - whole).max() < 1e-15


def test_planes_are_the_transform_of_a_real_image():
    """Back and forth changes nothing: no wave disagrees with its mirror image."""
    for size in (31, 64):
        renderer = GalaxyRenderer(size, dtype=torch.float64)
        planes = renderer.planes(some_shapes())
        back = torch.fft.rfft2(torch.fft.irfft2(planes, s=(renderer.frame,) * 2))
        assert float((back - planes).abs().max()) < 1e-14


@pytest.mark.parametrize("size", [31, 64])
def test_a_rotated_galaxy_is_a_rotated_image(size):
    renderer = GalaxyRenderer(size, dtype=torch.float64)
    shapes = some_shapes()
    turned = replace(
        shapes,
        bulge_angle=shapes.bulge_angle + math.pi / 2,
        disc_angle=shapes.disc_angle + math.pi / 2,
        clump_x=-shapes.clump_y,
        clump_y=shapes.clump_x,
    )
    before = renderer.component_images(renderer.planes(shapes))
    after = renderer.component_images(renderer.planes(turned))
    # From +x (columns) to +y (rows) is clockwise where row 0 is at the top.
    difference = after - torch.rot90(before, -1, dims=(-2, -1))
    assert float(difference.abs().max()) < 1e-12 * float(before.max())


def test_angles_turn_from_x_to_y():
    renderer = GalaxyRenderer(dtype=torch.float64)
    at = torch.arange(64, dtype=torch.float64) - 31.5
    images = renderer.component_images(renderer.planes(one_shape(1.5, 0.3, 0.5)))[0, :2, 0]
    # A square would pull the angle towards its diagonals.
    images = images * (torch.hypot(at, at[:, None]) < 31)
    xy = torch.einsum("chw,h,w->c", images, at, at)
    xx = torch.einsum("chw,w,w->c", images, at, at)
    yy = torch.einsum("chw,h,h->c", images, at, at)
    # 2 Q_xy / (Q_xx - Q_yy) = tan(2 angle), also after a round PSF
    angle = torch.atan2(2 * xy, xx - yy) / 2
    assert float((angle - 0.5).abs().max()) < 3e-3


def test_clumps_lie_where_they_are_put():
    renderer = GalaxyRenderer(padding=1, dtype=torch.float64)
    shapes = some_shapes()
    moved = replace(shapes, clump_x=shapes.clump_x + 3 * PIXEL, clump_y=shapes.clump_y - 2 * PIXEL)
    before = renderer.component_images(renderer.planes(shapes))[:, 2]
    after = renderer.component_images(renderer.planes(moved))[:, 2]
    expected = before.roll((-2, 3), dims=(-2, -1))
    assert float((after - expected).abs().max()) < 1e-12 * float(before.max())
    # A clump's centre of light is its place; the PSF's wings are cut off at the image's edge.
    one = replace(one_shape(), clump_x=torch.tensor([[0.9]]), clump_y=torch.tensor([[-0.4]]))
    image = renderer.component_images(renderer.planes(one.to("cpu", torch.float64)))[0, 2, 4]
    at = (torch.arange(64, dtype=torch.float64) - 31.5) * PIXEL
    assert float(image.sum(0) @ at) == pytest.approx(0.9, abs=0.02)
    assert float(image.sum(1) @ at) == pytest.approx(-0.4, abs=0.02)


def test_images_are_hardly_negative():
    renderer = GalaxyRenderer()
    images = renderer.component_images(renderer.planes(some_shapes(40)))
    # What the cut at Nyquist rings: most for a clump of no width in the y band
    assert float((images.amin((-1, -2)) / images.amax((-1, -2))).min()) > -1e-3


def test_gram_is_the_sum_over_all_pixels():
    shapes = some_shapes()
    gram = GalaxyRenderer(dtype=torch.float64)
    # The same frame without padding shows all of its pixels.
    whole = GalaxyRenderer(96, padding=1, dtype=torch.float64)
    images = whole.component_images(whole.planes(shapes))
    expected = torch.einsum("bcfhw,bdfhw->bfcd", images, images)
    got = gram.gram(gram.planes(shapes))
    assert got.shape == (4, 5, 3, 3)
    assert float((got - expected).abs().max()) < 1e-12 * float(expected.max())
    assert float(torch.linalg.eigvalsh(got).min()) > 0


def circle(radius, size, pixel, fine=5):
    """Return the fraction of each pixel that lies within a circle about the centre."""
    at = (torch.arange(size * fine, dtype=torch.float64) - (size * fine - 1) / 2) * pixel / fine
    inside = (torch.hypot(at, at[:, None]) < radius).double()
    return inside.unflatten(0, (size, fine)).unflatten(2, (size, fine)).mean((1, 3))


@pytest.mark.parametrize("radius", [0.7, 1.5, 4.0])
def test_aperture_and_fibre_are_sums_over_pixels(radius):
    shapes = some_shapes(2)
    renderer = GalaxyRenderer(dtype=torch.float64)
    planes = renderer.planes(shapes)
    got = {"aperture": renderer.aperture(planes, radius)}
    got["fibre"] = renderer.fibre(planes, diameter=2 * radius, seeing=1.4)[:, :, None]
    expected = {}
    for name, psf_fwhm in (("aperture", PSF), ("fibre", (1.4,) * 5)):
        # The same frame of 24 arcsec in pixels of 0.1 arcsec
        fine = GalaxyRenderer(
            240, pixel_arcsec=0.1, psf_fwhm=psf_fwhm, padding=1, dtype=torch.float64
        )
        images = fine.component_images(fine.planes(shapes))
        expected[name] = (images * circle(radius, 240, pixel=0.1)).sum((-1, -2))
    assert float((got["aperture"] - expected["aperture"]).abs().max()) < 1e-3
    assert float((got["fibre"] - expected["fibre"][:, :, :1]).abs().max()) < 1e-3
    # A larger circle holds more; a blurred band less.
    assert (renderer.aperture(planes, radius + 0.2) > got["aperture"]).all()
    assert (got["aperture"].diff(dim=2)[:, :2] > 0).all()


def test_sums_are_those_over_pixels():
    renderer = GalaxyRenderer(64)
    planes = renderer.planes(some_shapes(dtype=torch.float32))
    sky = torch.randn(4, 5, 64, 64, generator=torch.Generator().manual_seed(0))
    found = renderer.sums(planes, sky, radius_arcsec=1.5)
    for component in range(3):
        fluxes = torch.zeros(4, 3, 5)
        fluxes[:, component] = 1
        wanted = (renderer.images(planes, fluxes) * sky).sum((2, 3))
        assert torch.allclose(found[..., component], wanted, atol=1e-4)
    # In the circle: the pixels whose middle it holds.
    ones = renderer.sums(planes, torch.ones_like(sky), radius_arcsec=1.5)[..., 3]
    assert torch.allclose(ones, torch.full_like(ones, math.pi * 36), rtol=0.02)
    with pytest.raises(ValueError, match="images must have shape"):
        renderer.sums(planes, sky[:, :4], radius_arcsec=1.5)


def test_half_of_the_light_lies_within_the_half_light_radius():
    fine = GalaxyRenderer(
        240, pixel_arcsec=0.05, psf_fwhm=(0.1,) * 5, padding=2, dtype=torch.float64
    )
    fraction = fine.aperture(fine.planes(one_shape(radius=1.0)), 1.0)
    assert float((fraction[0, :2] - 0.5).abs().max()) < 5e-3


def test_gradients():
    renderer = GalaxyRenderer(6, dtype=torch.float64)
    shapes = some_shapes(2, clumps=2)
    planes = renderer.planes(shapes)
    fluxes = torch.rand(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: renderer.images(planes, f), fluxes)

    def moments(radius, angle, x):
        # The table is linear between its nodes: the derivative is that of the chord.
        changed = replace(shapes, disc_radius=radius, disc_angle=angle, clump_x=x)
        return torch.view_as_real(renderer.planes(changed))[:, 1:, :2]

    inputs = [shapes.disc_radius, shapes.disc_angle, shapes.clump_x]
    assert torch.autograd.gradcheck(moments, [one.clone().requires_grad_() for one in inputs])


def test_float32_is_near_float64():
    shapes = some_shapes()
    fluxes = torch.rand(4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    single, double = GalaxyRenderer(), GalaxyRenderer(dtype=torch.float64)
    planes = single.planes(shapes), double.planes(shapes)
    for name, more in (("images", (fluxes,)), ("gram", ()), ("aperture", (1.5,)), ("fibre", ())):
        got = getattr(single, name)(planes[0], *more)
        expected = getattr(double, name)(planes[1], *more)
        assert got.dtype == torch.float32
        assert float((got - expected).abs().max()) < 1e-5 * float(expected.max())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_renders_the_same():
    shapes = some_shapes()
    results = []
    for device in ("cpu", "cuda"):
        renderer = GalaxyRenderer(device=device)
        planes = renderer.planes(shapes)
        assert planes.device.type == device
        images = renderer.images(planes, torch.ones(4, 3, 5, device=device))
        rest = [renderer.gram(planes), renderer.aperture(planes, 1.5), renderer.fibre(planes)]
        results.append([one.cpu() for one in (images, *rest)])
    for ours, theirs in zip(*results, strict=True):
        assert float((ours - theirs).abs().max()) < 1e-5 * float(ours.max())


BAD_RENDERERS = [
    (ValueError, {"size": 0}, ("size", "positive integer", 0)),
    (TypeError, {"size": 64.0}, ("size", "positive integer", 64.0)),
    (ValueError, {"pixel_arcsec": -0.25}, ("pixel_arcsec", "positive", -0.25)),
    (ValueError, {"padding": 0.5}, ("padding", "at least 1", 0.5)),
    (ValueError, {"psf_fwhm": ()}, ("psf_fwhm", "one band or more", "()")),
    (ValueError, {"psf_fwhm": 1.0}, ("psf_fwhm", "one band or more", "1.0")),
    (ValueError, {"psf_fwhm": (1.0,) * 4 + (math.nan,)}, ("psf_fwhm", "finite", "nan")),
    (TypeError, {"dtype": torch.float16}, ("dtype", "float32", "float16")),
]


@pytest.mark.parametrize(("error", "arguments", "words"), BAD_RENDERERS)
def test_bad_renderers_are_refused(error, arguments, words):
    complaint(error, GalaxyRenderer, *words, **arguments)


def test_bad_calls_are_refused():
    renderer = GalaxyRenderer(8)
    planes = renderer.planes(some_shapes())
    fluxes = torch.ones(4, 3, 5)
    images = renderer.images
    complaint(
        ValueError, images, "fluxes", "(4, 3, 5)", "(4, 5, 3)", planes=planes, fluxes=fluxes.mT
    )
    complaint(ValueError, images, "fluxes", "NaN", planes=planes, fluxes=fluxes * math.nan)
    complaint(TypeError, images, "fluxes", "list", planes=planes, fluxes=[1.0])
    complaint(ValueError, renderer.gram, "planes", "(B, 3", "(4, 2", planes=planes[:, :2])
    complaint(TypeError, renderer.gram, "planes", "complex64", "float32", planes=planes.real)
    aperture = renderer.aperture
    complaint(ValueError, aperture, "radius", "positive", planes=planes, radius_arcsec=-1.0)
    complaint(ValueError, aperture, "fit into", "1.6", planes=planes, radius_arcsec=1.6)
    complaint(ValueError, renderer.fibre, "seeing", "positive", planes=planes, seeing=0.0)
    complaint(ValueError, renderer.fibre, "diameter", "finite", planes=planes, diameter=math.inf)
