"""Emission lines of galaxies: gas lit by young stars, and the faint glow of old ones.

H-alpha follows the star-forming templates with scatter; the other lines follow it through ratios
that depend on metallicity, which grows with luminosity. Old stars light a little gas with the
ratios of LINERs (Kewley et al. 2006), so that the line of no galaxy vanishes.
"""

import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.data.spectral_templates import LINES, attenuation, load_templates
from skytutor.memo import cached_table
from skytutor.validate import check_axes

__all__ = ["line_fluxes", "line_wavelengths"]

_BALMER = 2.86  # H-alpha over H-beta of gas at 10,000 K (Osterbrock & Ferland 2006)
_GAMMA = 0.468  # H-gamma over H-beta
_DOUBLET = 0.335  # the fainter line of [OIII] and of [NII] over the brighter
# Equivalent width of H-alpha round old stars, angstrom (Cid Fernandes et al. 2011), and the
# continuum of one nanomaggie there.
_OLD_WIDTH = 0.9
_CONTINUUM = 0.27
_OLD_RATIOS = {
    "[OII] 3728": 1.5,
    "[NeIII] 3869": 0.1,
    "H-gamma": _GAMMA / _BALMER,
    "H-beta": 1 / _BALMER,
    "[OIII] 4959": 0.7 * _DOUBLET,
    "[OIII] 5007": 0.7,
    "HeI 5876": 0.03,
    "[OI] 6300": 0.2,
    "[NII] 6548": 1.2 * _DOUBLET,
    "H-alpha": 1.0,
    "[NII] 6584": 1.2,
    "[SII] 6717": 0.5,
    "[SII] 6731": 0.4,
}


@cached_table(maxsize=1)
def line_wavelengths() -> Tensor:
    """Return rest-frame wavelengths ``(L,)`` in angstrom, in the order of `LINES`."""
    return torch.tensor(list(LINES.values()), dtype=torch.float32)


def _young_ratios(metallicity: Tensor, scatter: Tensor) -> dict[str, Tensor]:
    """Return fluxes over that of H-alpha, without dust, each ``(B,)``.

    Arguments:
        metallicity: ``(B,)``, in standard deviations of galaxies.
        scatter: ``(B, 4)``, standard normal.
    """
    nitrogen = torch.exp(-1.20 + 0.45 * metallicity + 0.10 * scatter[:, 0])
    oxygen3 = torch.exp(-0.75 - 0.90 * metallicity + 0.20 * scatter[:, 1]) / _BALMER * 1.6
    oxygen2 = torch.exp(-0.50 - 0.25 * metallicity + 0.12 * scatter[:, 2])
    sulphur = torch.exp(-1.70 - 0.10 * metallicity + 0.10 * scatter[:, 3])
    one = torch.ones_like(nitrogen)
    return {
        "[OII] 3728": oxygen2,
        "[NeIII] 3869": 0.08 * oxygen3,
        "H-gamma": one * (_GAMMA / _BALMER),
        "H-beta": one / _BALMER,
        "[OIII] 4959": oxygen3 * _DOUBLET,
        "[OIII] 5007": oxygen3,
        "HeI 5876": one * 0.035,
        "[OI] 6300": 0.15 * sulphur,
        "[NII] 6548": nitrogen * _DOUBLET,
        "H-alpha": one,
        "[NII] 6584": nitrogen,
        "[SII] 6717": sulphur,
        "[SII] 6731": 0.75 * sulphur,
    }


def line_fluxes(
    coefficients: Tensor,
    a_v: Tensor,
    *,
    brightness: Tensor,
    dusty: Tensor,
    activity: Tensor,
    scatter: Tensor,
) -> Tensor:
    """Return the lines of each component ``(B, 3, L)`` behind dust, 1e-17 erg/s/cm^2.

    Arguments:
        coefficients: ``(B, 3, 5)``, of the templates.
        a_v: ``(B, 3)``, attenuation of the stars, magnitudes.
        brightness: ``(B,)``, magnitudes above a galaxy like ours.
        dusty: ``(B,)``, fraction of the light in the dusty template.
        activity: ``(B,)``, standard normal: star formation of late, beyond what the stars tell.
        scatter: ``(B, 8)``, standard normal: what no relation says.

    Raises:
        TypeError: no floating-point numbers.
        ValueError: other shapes.
    """
    given = {
        "coefficients": coefficients,
        "a_v": a_v,
        "brightness": brightness,
        "dusty": dusty,
        "activity": activity,
        "scatter": scatter,
    }
    floats = as_floats(**given)
    check_axes("B 3 5, B 3, B, B, B, B 8", **dict(zip(given, floats, strict=True)))
    coefficients, a_v, brightness, dusty, activity, scatter = floats
    h_alpha = torch.from_numpy(load_templates().h_alpha).to(coefficients)
    young = coefficients @ h_alpha
    # One factor for the whole galaxy, of mean near 1, and one for its clumps alone.
    whole = torch.exp(0.40 * activity.clamp(-2.2, 2.2) + 0.20 * scatter[:, 0] - 0.15)
    strength = whole[:, None] * torch.ones_like(young)
    strength[:, 2] = strength[:, 2] * torch.exp(0.30 * scatter[:, 1])
    young = young * strength
    old = coefficients[..., 3] * _CONTINUUM * _OLD_WIDTH * torch.exp(0.5 * scatter[:, 2:3])
    metallicity = (0.5 * brightness + 0.4 * scatter[:, 3]).clamp(-1.8, 2.5)
    ratios = torch.stack(list(_young_ratios(metallicity, scatter[:, 4:]).values()), dim=-1)
    old_ratios = torch.tensor([_OLD_RATIOS[name] for name in LINES]).to(coefficients)
    bare = young[..., None] * ratios[:, None] + old[..., None] * old_ratios
    # Gas sits in the clouds that dim it: twice the attenuation of the stars (Calzetti 2001).
    gas = (0.3 + 1.5 * dusty[:, None] + 2 * a_v).clamp(min=0)
    wavelengths = line_wavelengths().to(coefficients)
    dimmed = bare * attenuation(wavelengths, gas[..., None])
    # The cut-out lines of the templates lie behind dust of about half a magnitude already.
    return dimmed / attenuation(wavelengths[9], gas.new_tensor(0.5))
