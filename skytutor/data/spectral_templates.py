"""Spectral templates of galaxies, and what filters see of them at any redshift and attenuation.

The five templates come with the package `kcorrect` (Blanton & Roweis 2007), the filter curves with
`speclite`; only data files are read. Emission lines are cut out: the simulator adds its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor
from skytutor.files import package_file
from skytutor.memo import cached_table, outside_modes
from skytutor.validate import as_names, check_axes, check_broadcast
from skytutor.values import extremes

__all__ = [
    "BANDS",
    "LINES",
    "LOG_WAVELENGTH",
    "BandTable",
    "Templates",
    "attenuation",
    "filter_curve",
    "load_templates",
    "photon_weights",
]

BANDS = ("g", "r", "i", "z", "y")
# log10 of the rest-frame wavelength in vacuum, in angstrom: the grid of every spectrum.
LOG_WAVELENGTH = outside_modes(torch.linspace, 3.53, 3.92, 1000, dtype=torch.float64)
# Rest-frame wavelengths in vacuum, in angstrom (NIST).
LINES = {
    "[OII] 3728": 3728.5,
    "[NeIII] 3869": 3869.9,
    "H-gamma": 4341.7,
    "H-beta": 4862.7,
    "[OIII] 4959": 4960.3,
    "[OIII] 5007": 5008.2,
    "HeI 5876": 5877.2,
    "[OI] 6300": 6302.0,
    "[NII] 6548": 6549.9,
    "H-alpha": 6564.6,
    "[NII] 6584": 6585.3,
    "[SII] 6717": 6718.3,
    "[SII] 6731": 6732.7,
}
# Where a plate begins to see, sees fully, and ends to: IIIa-J behind GG 385, IIIa-F behind RG 610
# (Reid et al. 1991, PASP 103, 661); angstrom.
_PLATES = {
    "plate-blue": (3800.0, 4000.0, 5200.0, 5400.0),
    "plate-red": (5950.0, 6150.0, 6800.0, 6980.0),
}
# 1e-9 of the f_nu of magnitude zero, times c in angstrom/s, over 1e-17 erg/s/cm^2/angstrom.
_NANOMAGGIE = 3.631e-12 * 2.99792458e18
_CUT = 0.0045  # half width, relative, of what is cut out round a line: four pixels of a template
_SIDE = 0.0095  # as far out the continuum is read
_FARTHEST = 0.4  # redshift of the tables
_LARGEST_REDSHIFT = 1e4  # beyond the last scattering of light, and
_LONGEST = 1e13  # longer than a kilometre: neither product of the two overflows
_LINE_OVER_BLEND = 0.7  # H-alpha over H-alpha + [NII] in the templates, which do not resolve them


@dataclass(frozen=True)
class Templates:
    """Spectra of stellar populations, without emission lines.

    Attributes:
        wavelength: ``(W,)``, angstrom in vacuum, rest frame, numpy float64.
        continuum: ``(5, W)``, 1e-17 erg/s/cm^2/angstrom, scaled so that each gives one nanomaggie
            in SDSS r at redshift 0.1.
        flux: ``(5, W)``, with the lines, in the same units.
        h_alpha: ``(5,)``, flux of the H-alpha line that was cut out, 1e-17 erg/s/cm^2; 0 where the
            template absorbs.
    """

    wavelength: np.ndarray
    continuum: np.ndarray
    flux: np.ndarray
    h_alpha: np.ndarray


@cached_table(maxsize=1)
def load_templates() -> Templates:
    """Read the five templates, cut their lines out and scale them.

    Example:
        >>> load_templates().continuum.shape
        (5, 10000)
    """
    from astropy.io import fits

    path = package_file("kcorrect", "data", "templates", "kcorrect-default-v4.fits")
    with fits.open(path) as file:
        wavelength = np.array(file["FLUX"].data["wave"][0], dtype=np.float64)
        flux = np.array(file["FLUX"].data["flux"][0], dtype=np.float64).reshape(5, -1)
    continuum = flux.copy()
    # Three times: the continuum beside a line is read where a neighbour may have stood.
    for line in [*LINES.values()] * 3:
        _cut(wavelength, continuum, line)
    near = np.abs(wavelength / LINES["H-alpha"] - 1) < _CUT
    blend = trapezoid((flux - continuum)[:, near], wavelength[near], axis=1)
    h_alpha = _LINE_OVER_BLEND * np.maximum(blend, 0)
    # One nanomaggie each, so that coefficients are of order of a galaxy's flux.
    weights = photon_weights("sdss2010-r", np.array([0.1]))[0]
    scale = (_refined(_FINE, wavelength, continuum) @ weights)[:, None]
    return Templates(wavelength, continuum / scale, flux / scale, h_alpha / scale[:, 0])


def _cut(wavelength: np.ndarray, flux: np.ndarray, line: float) -> None:
    """Replace a line by the straight line between the continua on both sides of it."""
    offset = wavelength / line - 1
    inside = np.abs(offset) < _CUT
    left = (offset <= -_CUT) & (offset > -_SIDE)
    right = (offset >= _CUT) & (offset < _SIDE)
    for row in flux:
        ends = [row[left].mean(), row[right].mean()]
        at = [wavelength[left].mean(), wavelength[right].mean()]
        straight = np.interp(wavelength[inside], at, ends)
        # Stellar absorption belongs to the continuum: only what stands above it is a line.
        row[inside] = np.minimum(row[inside], straight)


@cached_table(maxsize=32)
def filter_curve(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelength in angstrom and response of a filter of speclite.

    Arguments:
        name: such as "panstarrs-g" or "sdss2010-r", or "plate-blue" and "plate-red" for emulsion
            and filter of the second Palomar survey, straight lines between their edges.

    Raises:
        ImportError: speclite is not installed.
        ValueError: speclite has no such filter.
    """
    if name in _PLATES:
        curve = np.array(_PLATES[name], dtype=float)
        return curve, np.array([0.0, 1.0, 1.0, 0.0])
    package_file("speclite", "data")  # says how to install it where it is missing
    from speclite.filters import load_filter

    try:
        curve = load_filter(name)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"name must be a filter of speclite, got {name!r}") from error
    return np.asarray(curve.wavelength, dtype=float), np.asarray(curve.response, dtype=float)


# Rest-frame wavelengths that integrals run over, in angstrom: steps of 2e-4, finer than templates
# and filters, from below u at redshift 0.4 to beyond y at redshift 0.
_STEP = 2e-4
_FINE = np.exp(np.arange(np.log(2000.0), np.log(11500.0), _STEP))


def _fine_grid(filters: Sequence[str]) -> np.ndarray:
    """Return `_FINE`, with as many more of its steps as filters beyond its ends need."""
    curves = [filter_curve(name)[0] for name in filters]
    bluest = min(float(curve[0]) for curve in curves) / (1 + _FARTHEST)
    reddest = max(float(curve[-1]) for curve in curves)
    before = max(0, math.ceil(math.log(_FINE[0] / bluest) / _STEP))
    after = max(0, math.ceil(math.log(reddest / _FINE[-1]) / _STEP))
    if not before and not after:
        return _FINE
    steps = np.arange(-before, len(_FINE) + after)
    return np.exp(math.log(_FINE[0]) + _STEP * steps)


def photon_weights(name: str, redshifts: np.ndarray, grid: np.ndarray = _FINE) -> np.ndarray:
    """Return weights ``(Z, W)`` on a grid, whose sum over a spectrum is its flux.

    The flux is in nanomaggies, through a filter, of a spectrum that is seen at a redshift.

    Arguments:
        name: of `filter_curve`.
        redshifts: ``(Z,)``.
        grid: ``(W,)``, angstrom, rest frame, rising; the spectrum is in 1e-17 erg/s/cm^2/angstrom.

    Raises:
        TypeError: complex numbers.
        ValueError: other shapes; a grid that does not rise, is not finite or has one point alone; a
            redshift of -1 or less, or not finite.
    """
    redshifts = as_tensor("redshifts", redshifts, dtype=torch.float64).numpy()
    grid = as_tensor("grid", grid, dtype=torch.float64).numpy()
    _check_grid(redshifts, grid)
    curve, response = filter_curve(name)
    norm = _NANOMAGGIE * trapezoid(response / curve, curve)
    steps = np.gradient(grid)  # of the trapezoid rule
    weights = np.empty((len(redshifts), len(grid)))
    for row, redshift in zip(weights, redshifts, strict=True):
        observed = grid * (1 + redshift)
        # Detectors count photons: the flux per wavelength is weighted by the wavelength. The flux
        # falls by 1 + z and the step grows by it.
        row[:] = np.interp(observed, curve, response, left=0, right=0) * observed * steps / norm
    return weights


def _check_grid(redshifts: np.ndarray, grid: np.ndarray) -> None:
    check_axes("Z, W", redshifts=torch.from_numpy(redshifts), grid=torch.from_numpy(grid))
    if not ((redshifts > -1) & (redshifts <= _LARGEST_REDSHIFT)).all():
        raise ValueError(
            f"redshifts must be greater than -1 and at most {_LARGEST_REDSHIFT:g}, "
            f"got {redshifts.min():g} to {redshifts.max():g}"
        )
    within = bool(((grid > 0) & (grid < _LONGEST)).all())
    if len(grid) < 2 or not within or not bool((np.diff(grid) > 0).all()):
        raise ValueError(f"grid must hold two or more rising wavelengths in 0..{_LONGEST:g}")


def _refined(grid: np.ndarray, wavelength: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Return spectra ``(5, W)`` on another grid, ``(5, F)``."""
    return np.stack([np.interp(grid, wavelength, row) for row in spectra])


def attenuation(wavelength: Tensor, a_v: Tensor) -> Tensor:
    """Return the factor on a flux behind dust: ``10**(-0.4 A_V (wavelength / 5500)**-0.7)``.

    The power law is that of Charlot & Fall (2000).

    Arguments:
        wavelength: ``(...)``, angstrom, rest frame.
        a_v: magnitudes at 5500 angstrom, of a shape that broadcasts.

    Example:
        >>> attenuation(torch.tensor(5500.0), torch.tensor(2.5))
        tensor(0.1000)
    """
    wavelength, a_v = as_floats(wavelength=wavelength, a_v=a_v)
    check_broadcast(wavelength=wavelength, a_v=a_v)
    return torch.pow(10.0, -0.4 * a_v * (wavelength / 5500) ** -0.7)


class BandTable:
    """Fluxes of templates and lines through filters, read off tables in redshift and attenuation.

    Arguments:
        filters: names of filters of speclite.
        lines: leave the templates' own lines in.
        device: of the tables.

    Raises:
        TypeError: filters is one name instead of several.
        ValueError: no filter, or none of that name.

    Attributes:
        redshifts: ``(Z,)``, the nodes, evenly spaced from 0.
        attenuations: ``(A,)``, the nodes in magnitudes at 5500 angstrom, evenly spaced.
        table: ``(Z, A, 5, B)``, natural logarithms of the continua's nanomaggies.
    """

    def __init__(
        self,
        filters: Sequence[str],
        *,
        lines: bool = False,
        device: torch.device | str = "cpu",
    ):
        names = as_names("filters", filters)
        self.redshifts = torch.linspace(0, _FARTHEST, 201, device=device, dtype=torch.float32)
        self.attenuations = torch.linspace(-0.6, 1.8, 17, device=device, dtype=torch.float32)
        self.table = _continuum_table(names, lines).to(device)
        self.responses = _response_table(names).to(device)

    def continuum(self, redshift: Tensor, a_v: Tensor) -> Tensor:
        """Return fluxes of the continua ``(..., 5, B)`` in nanomaggies.

        Arguments:
            redshift: ``(...)``, 0 to 0.4.
            a_v: ``(...)``, magnitudes at 5500 angstrom in the rest frame, -0.6 to 1.8.

        Raises:
            ValueError: values outside these ranges.
        """
        _check_inside("redshift", redshift, nodes=self.redshifts)
        _check_inside("a_v", a_v, nodes=self.attenuations)
        z, z_weight = _node(redshift, self.redshifts)
        a, a_weight = _node(a_v, self.attenuations)
        z_weight = z_weight[..., None, None]
        a_weight = a_weight[..., None, None]
        # Logarithms, for behind dust a flux falls exponentially.
        low = self.table[z, a].lerp(self.table[z + 1, a], z_weight)
        high = self.table[z, a + 1].lerp(self.table[z + 1, a + 1], z_weight)
        return low.lerp(high, a_weight).exp()

    def lines(self, redshift: Tensor) -> Tensor:
        """Return what a line of unit flux adds ``(..., L, B)``, in nanomaggies.

        Arguments:
            redshift: ``(...)``, 0 to 0.4.

        Raises:
            ValueError: redshifts outside this range.
        """
        _check_inside("redshift", redshift, nodes=self.redshifts)
        z, weight = _node(redshift, self.redshifts)
        return self.responses[z].lerp(self.responses[z + 1], weight[..., None, None])


def _check_inside(name: str, value: Tensor, *, nodes: Tensor) -> None:
    """Raise ``ValueError`` unless every value lies between the first and the last node."""
    lowest, highest = extremes(nodes)
    low, high = extremes(value)
    # Written so that NaN fails too; a rounding error is forgiven.
    if not (low >= lowest - 1e-6 and high <= highest + 1e-6):
        allowed = f"{lowest:.3g}..{highest:.3g}"
        raise ValueError(f"{name} must lie in {allowed}, got {low:.6g} to {high:.6g}")


def _node(value: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the node below each value, and how far the value lies towards the next one."""
    step = nodes[1] - nodes[0]
    place = ((value - nodes[0]) / step).clamp(0, len(nodes) - 1.0001)
    index = place.floor()
    return index.long(), place - index


@cached_table(maxsize=4)
def _continuum_table(filters: tuple[str, ...], lines: bool) -> Tensor:
    templates = load_templates()
    grid = _fine_grid(filters)
    spectra = templates.flux if lines else templates.continuum
    fine = _refined(grid, templates.wavelength, spectra)  # (5, F)
    factors = attenuation(torch.from_numpy(grid), torch.linspace(-0.6, 1.8, 17)[:, None]).numpy()
    dimmed = fine * factors[:, None]  # (A, 5, F)
    found = np.empty((201, 17, 5, len(filters)))
    for b, name in enumerate(filters):
        weights = photon_weights(name, np.linspace(0, _FARTHEST, 201), grid)
        found[..., b] = np.einsum("akf,zf->zak", dimmed, weights, optimize=True)
    return torch.from_numpy(np.log(found)).float()


@cached_table(maxsize=4)
def _response_table(filters: tuple[str, ...]) -> Tensor:
    rest = np.array(list(LINES.values()))
    found = np.empty((201, len(rest), len(filters)))
    for b, name in enumerate(filters):
        observed, response = filter_curve(name)
        norm = _NANOMAGGIE * trapezoid(response / observed, observed)
        for z, redshift in enumerate(np.linspace(0, _FARTHEST, 201)):
            # A line's flux is conserved; photons are redder by 1 + z.
            at = rest * (1 + redshift)
            found[z, :, b] = np.interp(at, observed, response, left=0, right=0) * at / norm
    return torch.from_numpy(found).float()
