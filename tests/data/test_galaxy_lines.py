"""skytutor.data.galaxy_lines: ratios that physics fixes, and what the strengths follow."""

import pytest
import torch

from skytutor.data.galaxy_lines import line_fluxes, line_wavelengths
from skytutor.data.spectral_templates import LINES

NAMES = list(LINES)


def lines_of(**changed):
    """Return the lines of three galaxies with equal components, by name: (3, 3)."""
    inputs = {
        "coefficients": torch.ones(3, 3, 5),
        "a_v": torch.zeros(3, 3),
        "brightness": torch.zeros(3),
        "dusty": torch.zeros(3),
        "activity": torch.zeros(3),
        "scatter": torch.zeros(3, 8),
    }
    found = line_fluxes(**{**inputs, **changed})
    return {name: found[..., k] for k, name in enumerate(NAMES)}


def young():
    """Return coefficients of the star-forming template alone."""
    coefficients = torch.zeros(3, 3, 5)
    coefficients[..., 2] = 1
    return coefficients


def test_wavelengths_are_those_of_the_table():
    assert line_wavelengths().tolist() == pytest.approx(list(LINES.values()))


def test_ratios_that_physics_fixes():
    # No dust beyond that of the clouds, the same for both lines of a doublet up to 1e-2.
    found = lines_of(scatter=torch.randn(3, 8, generator=torch.Generator().manual_seed(0)))
    for faint, bright in (("[OIII] 4959", "[OIII] 5007"), ("[NII] 6548", "[NII] 6584")):
        assert (found[faint] / found[bright]).flatten().tolist() == pytest.approx(
            [0.335] * 9, rel=0.01
        )


@pytest.mark.parametrize("dusty", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("a_v", [-0.1, 0.0, 0.5])
def test_the_balmer_decrement_follows_dust(dusty, a_v):
    found = lines_of(a_v=torch.full((3, 3), a_v), dusty=torch.full((3,), dusty))
    decrement = found["H-alpha"] / found["H-beta"]
    # The gas lies behind twice the dust of the stars.
    gas = 0.3 + 1.5 * dusty + 2 * a_v
    red, blue = [(LINES[name] / 5500) ** -0.7 for name in ("H-alpha", "H-beta")]
    expected = 2.86 * 10 ** (0.4 * gas * (blue - red))
    assert decrement.flatten().tolist() == pytest.approx([expected] * 9, rel=1e-4)
    assert expected > 2.86


def test_dust_dims_blue_lines_more():
    clear = lines_of(dusty=torch.zeros(3))
    dusty = lines_of(dusty=torch.ones(3))
    left = [float((dusty[name] / clear[name]).mean()) for name in NAMES]
    assert left == sorted(left), "in the order of wavelengths"
    assert left[-1] < 0.5


def test_lines_grow_with_the_star_forming_light_and_its_activity():
    once = lines_of(coefficients=young())
    twice = lines_of(coefficients=2 * young())
    active = lines_of(coefficients=young(), activity=torch.ones(3))
    for name in NAMES:
        assert torch.allclose(twice[name], 2 * once[name])
        assert torch.allclose(active[name], once[name] * torch.exp(torch.tensor(0.4)))


def test_old_stars_light_a_little_gas_with_the_ratios_of_liners():
    coefficients = torch.zeros(3, 3, 5)
    coefficients[..., 3] = 1
    old = lines_of(coefficients=coefficients)
    spiral = lines_of(coefficients=young())
    assert (old["H-alpha"] > 0).all()
    assert (old["H-alpha"] < 0.1 * spiral["H-alpha"]).all()
    # LINERs have as much [NII] as H-alpha, HII regions less than 0.6 (Kewley et al. 2006).
    assert (old["[NII] 6584"] > 0.9 * old["H-alpha"]).all()
    assert (spiral["[NII] 6584"] < 0.6 * spiral["H-alpha"]).all()


def test_metallicity_grows_with_brightness():
    faint = lines_of(coefficients=young(), brightness=torch.full((3,), -2.0))
    bright = lines_of(coefficients=young(), brightness=torch.full((3,), 2.0))
    assert (bright["[NII] 6584"] > 1.5 * faint["[NII] 6584"]).all()
    assert (bright["[OIII] 5007"] < 0.4 * faint["[OIII] 5007"]).all()
    assert torch.allclose(bright["H-alpha"], faint["H-alpha"])


def test_clumps_have_a_factor_of_their_own():
    scatter = torch.zeros(3, 8)
    scatter[:, 1] = 1
    found = lines_of(coefficients=young(), scatter=scatter)["H-alpha"]
    assert torch.allclose(found[:, 0], found[:, 1])
    assert torch.allclose(found[:, 2], found[:, 1] * torch.exp(torch.tensor(0.3)))
