"""skytutor.data.galaxy_profiles: transforms against integrals, and what Shapes refuses."""

import numpy as np
import pytest
import torch
from complaints import complaint
from scipy import integrate, optimize, special

from skytutor.data import galaxy_profiles as gp

WAVENUMBERS = (0.01, 0.3, 1.0, 4.0, 25.0, 100.0)


def hankel(profile, k, last):
    """Integrate ``profile(r) J_0(k r) r`` on a dense grid in log r, over the flux."""
    log_r = np.linspace(-30, np.log(last), 2_000_001)
    r = np.exp(log_r)
    weighted = profile(r) * r**2
    flux = integrate.simpson(weighted, x=log_r)
    return integrate.simpson(weighted * special.j0(k * r), x=log_r) / flux


def test_bulge_is_the_hankel_transform_of_its_profile():
    def profile(r):
        return np.exp(-gp.DE_VAUCOULEURS_B * r**0.25)

    expected = [hankel(profile, k, last=1e4) for k in WAVENUMBERS]
    got = gp.de_vaucouleurs_transform(torch.tensor(WAVENUMBERS, dtype=torch.float64))
    # The grid on the real axis, cut off at 1e4 half-light radii, is good to 1e-8.
    assert np.abs(got.numpy() - expected).max() < 1e-7


def test_half_of_the_light_lies_within_the_half_light_radius():
    assert special.gammainc(8, gp.DE_VAUCOULEURS_B) == pytest.approx(0.5, abs=1e-12)
    scales = optimize.brentq(lambda x: (1 + x) * np.exp(-x) - 0.5, 1, 2, xtol=1e-14)
    assert pytest.approx(scales, abs=1e-12) == gp.HALF_LIGHT_SCALES


def test_bulge_begins_with_its_second_moment():
    # 1 - <r^2> k^2 / 4, where <r^2> = 15! / 7! / b^8 of exp(-b r^(1/4))
    moment = special.factorial(15) / special.factorial(7) / gp.DE_VAUCOULEURS_B**8
    k = torch.tensor([1e-4], dtype=torch.float64)
    assert float(1 - gp.de_vaucouleurs_transform(k)) == pytest.approx(moment / 4 * 1e-8, rel=1e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 5e-7)])
def test_table_is_near_the_transform(dtype, tolerance):
    rng = torch.Generator().manual_seed(0)
    k = 10 ** (-4 + 9 * torch.rand(3000, generator=rng, dtype=torch.float64))
    got = gp.BulgeTable(dtype=dtype)(k.square().to(dtype))
    assert got.dtype == dtype
    assert float((got - gp.de_vaucouleurs_transform(k)).abs().max()) < tolerance


def test_table_ends_flat_and_has_a_gradient_everywhere():
    k_squared = torch.tensor([0.0, 1e-12, 1.0, 1e12], requires_grad=True)
    values = gp.BulgeTable()(k_squared)
    values.sum().backward()
    first, _, _, last = values.tolist()
    assert first == pytest.approx(1, abs=1e-7)
    assert 0 < last < 1e-8
    assert torch.isfinite(k_squared.grad).all() and k_squared.grad[2] < 0


def test_disc_is_the_hankel_transform_of_an_exponential():
    k = torch.tensor(WAVENUMBERS, dtype=torch.float64)
    expected = [
        hankel(lambda r: np.exp(-gp.HALF_LIGHT_SCALES * r), one, last=40) for one in WAVENUMBERS
    ]
    assert np.abs(gp.exponential_transform(k.square()).numpy() - expected).max() < 1e-9


def test_psf_is_the_hankel_transform_of_a_moffat():
    k = torch.tensor([0.01, 0.3, 1.0, 4.0], dtype=torch.float64)
    core = 1.2 / 2 / np.sqrt(2**0.4 - 1)
    # At half of the full width the profile has half of its height.
    assert (1 + (0.6 / core) ** 2) ** -2.5 == pytest.approx(0.5, abs=1e-12)
    expected = [hankel(lambda r: (1 + (r / core) ** 2) ** -2.5, one, last=1e4) for one in k.numpy()]
    assert np.abs(gp.moffat_transform(k, 1.2).numpy() - expected).max() < 1e-7


def good():
    one = torch.ones(3)
    shapes = {f"{kind}_{what}": one for kind in ("bulge", "disc") for what in ("radius", "angle")}
    shapes |= {"bulge_axis_ratio": one, "disc_axis_ratio": one / 2}
    shapes |= {f"clump_{what}": torch.zeros(3, 2) for what in ("x", "y", "sigma")}
    return shapes | {"clump_weight": torch.full((3, 2), 0.5)}


def test_shapes_move_and_count():
    shapes = gp.Shapes(**good())
    moved = shapes.to("cpu", torch.float64)
    assert len(shapes) == len(moved) == 3
    assert moved.clump_x.dtype == moved.bulge_radius.dtype == torch.float64
    assert torch.equal(moved.disc_axis_ratio, shapes.disc_axis_ratio.double())


NAN = torch.tensor([1.0, float("nan"), 1.0])
BAD = [
    ("bulge_radius", torch.tensor([1.0, 0.0, 1.0]), "positive", 0),
    ("disc_radius", torch.tensor([1.0, -2.0, 1.0]), "positive", -2),
    ("bulge_axis_ratio", torch.tensor([1.0, 0.0, 1.0]), "(0, 1]", 0),
    ("disc_axis_ratio", torch.tensor([1.0, 1.25, 1.0]), "(0, 1]", 1.25),
    ("disc_angle", NAN, "finite", "nan"),
    ("bulge_radius", NAN, "finite", "nan"),
    ("disc_angle", torch.ones(4), "(B,)", "(4,)"),
    ("disc_angle", torch.ones(3, 1), "(B,)", "(3, 1)"),
    ("bulge_radius", torch.ones(()), "(B,)", "()"),
    ("clump_x", torch.zeros(3), "(B, J)", "(3,)"),
    ("clump_x", torch.zeros(4, 2), "(B, J)", "(4, 2)"),
    ("clump_y", torch.zeros(3, 3), "(B, J)", "(3, 3)"),
    ("clump_sigma", torch.full((3, 2), -0.5), "negative", -0.5),
    ("clump_weight", torch.tensor([[1.5, -0.5]] * 3), "negative", -0.5),
    ("clump_weight", torch.full((3, 2), 0.25), "sum to 1", 0.5),
]


@pytest.mark.parametrize(("name", "value", "allowed", "came"), BAD)
def test_bad_shapes_are_refused(name, value, allowed, came):
    complaint(ValueError, gp.Shapes, name, allowed, came, **(good() | {name: value}))


def test_other_types_are_refused():
    for value, came in (([1.0, 1.0, 1.0], "list"), (torch.ones(3).int(), "int32")):
        complaint(
            TypeError, gp.Shapes, "disc_angle", "floating", came, **(good() | {"disc_angle": value})
        )
    empty = {name: value[:0] for name, value in good().items()}
    complaint(ValueError, gp.Shapes, "bulge_radius", "(0,)", **empty)
