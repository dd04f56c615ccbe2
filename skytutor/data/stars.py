"""Fluxes of stars through filters, by effective temperature.

A star is nearly a black body. What its atmosphere takes away and adds is known here for two stars,
the Sun and Vega, whose model spectra come with the package `kcorrect` (Kurucz 1991, as collected by
Lejeune, Cuisinier & Buser 1997). Between their temperatures the ratio of spectrum to black body is
interpolated in the logarithm of temperature, and beyond them it stays as it is for the nearer one.
Cool stars thus have no bands of molecules.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.data._nodes import between
from skytutor.data.spectral_templates import photon_weights
from skytutor.files import package_file
from skytutor.memo import cached_table
from skytutor.validate import as_names
from skytutor.values import extremes

__all__ = ["TEMPERATURES", "StarTable", "planck", "star_spectrum"]

TEMPERATURES = (2800.0, 30000.0)  # kelvin, the coolest and the hottest
_MODELS = {"lcbsun.ori": 5777.0, "lcbvega.ori": 9550.0}
_N_POINTS = 1221  # wavelengths of the library
_N_PARAMETERS = 6  # of a model: number, temperature, gravity, metals and two of turbulence
_NODES = 160  # of the table, evenly spaced in the logarithm of temperature
_SECOND_CONSTANT = 1.438777e8  # h c / k, angstrom kelvin
_WORK = np.exp(np.arange(math.log(1200.0), math.log(25000.0), 5e-4))  # angstrom
_LIGHT = 2.99792458e18  # angstrom a second


def planck(wavelength: np.ndarray, temperature: float) -> np.ndarray:
    """Return Planck's law per wavelength, in units of its own value at 5500 angstrom.

    Arguments:
        wavelength: ``(W,)``, angstrom.
        temperature: kelvin, positive.

    Raises:
        ValueError: a temperature or a wavelength that is not positive.

    Example:
        >>> planck(np.array([5500.0, 11000.0]), 5777.0).round(3)
        array([1.   , 0.332])
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    (wave,) = as_floats(wavelength=wavelength)
    if not bool((torch.isfinite(wave) & (wave > 0)).all()):
        raise ValueError("wavelength must be finite and positive everywhere")
    wavelength = wave.double().numpy()
    # exp(-x) / (1 - exp(-x)) does not overflow where 1 / (exp(x) - 1) would.
    x = _SECOND_CONSTANT / (wavelength * temperature)
    x0 = _SECOND_CONSTANT / (5500.0 * temperature)
    fall = np.exp(x0 - x) * np.expm1(-x0) / np.expm1(-x)
    return (5500.0 / wavelength) ** 5 * fall


def _read_model(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelength in angstrom and flux per wavelength of a model of the library."""
    text = package_file("kcorrect", "data", "basel", name).read_text()
    numbers = np.array(text.split(), dtype=np.float64)
    wavelength = 10 * numbers[:_N_POINTS]  # of nanometres
    flux = numbers[_N_POINTS + _N_PARAMETERS : 2 * _N_POINTS + _N_PARAMETERS]
    # From a flux per frequency to one per wavelength.
    return wavelength, flux * _LIGHT / wavelength**2


@cached_table(maxsize=1)
def _log_ratios() -> np.ndarray:
    """Return ln of the ratio of each model to its black body on the working grid, ``(2, W)``."""
    rows = []
    for name, temperature in _MODELS.items():
        wavelength, flux = _read_model(name)
        ratio = np.interp(_WORK, wavelength, flux) / planck(_WORK, temperature)
        red = (_WORK > 5000) & (_WORK < 20000)
        rows.append(np.log(ratio / np.median(ratio[red])))
    return np.stack(rows)


def star_spectrum(temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelength in angstrom and flux per wavelength of a star, in arbitrary units.

    Arguments:
        temperature: effective, kelvin, in `TEMPERATURES`.

    Raises:
        ValueError: a temperature outside this range.
    """
    low, high = TEMPERATURES
    if not low <= temperature <= high:
        raise ValueError(f"temperature must lie in {low:g}..{high:g} K, got {temperature:g}")
    sun, vega = (math.log(value) for value in _MODELS.values())
    weight = min(max((math.log(temperature) - sun) / (vega - sun), 0.0), 1.0)
    ratios = _log_ratios()
    ratio = (1 - weight) * ratios[0] + weight * ratios[1]
    return _WORK, planck(_WORK, temperature) * np.exp(ratio)


class StarTable:
    """Fluxes of stars through filters, read off a table in temperature.

    Arguments:
        filters: names of `skytutor.data.spectral_templates.filter_curve`.
        device: of the table.

    Raises:
        TypeError: filters is one name instead of several.
        ValueError: no filter, or none of that name.

    Example:
        >>> table = StarTable(["sdss2010-g", "sdss2010-r"])
        >>> g, r = table.fluxes(torch.tensor([5777.0]))[0]
        >>> round(float(-2.5 * (g / r).log10()), 1)
        0.5
    """

    def __init__(self, filters: Sequence[str], *, device: torch.device | str = "cpu"):
        self.log_flux = (
            _star_fluxes(as_names("filters", filters)).log().float().to(device)
        )  # (T, F)
        self.log_temperature = torch.from_numpy(np.log(_nodes())).float().to(device)

    def fluxes(self, temperature: Tensor) -> Tensor:
        """Return fluxes ``(..., F)``, nanomaggies of a star that has one at 5500 angstrom.

        Arguments:
            temperature: ``(...)``, effective, kelvin, in `TEMPERATURES`.

        Raises:
            ValueError: temperatures outside this range.
        """
        low, high = TEMPERATURES
        coolest, hottest = extremes(temperature.detach())
        if not low <= coolest <= hottest <= high:
            raise ValueError(
                f"temperature must lie in {low:g}..{high:g} K, got {coolest:g} to {hottest:g}"
            )
        left, right, weight = between(self.log_temperature, temperature.log())
        # Logarithms: on the blue side of its peak the light of a star falls exponentially.
        return self.log_flux[left].lerp(self.log_flux[right], weight[..., None]).exp()

    def temperature(self, fluxes: Tensor) -> Tensor:
        """Return the colour temperature: that of the star whose colours are nearest, kelvin.

        Nearest in the sum of squared differences of the logarithms of its fluxes, whatever its
        distance; between the nodes of the table by a parabola.

        Arguments:
            fluxes: ``(N, F)``, positive, of two bands or more.

        Returns:
            ``(N,)``; at an end of `TEMPERATURES` where no star is as cool, or as hot.

        Raises:
            ValueError: of another shape, of one band, or not positive.

        Example:
            >>> table = StarTable(["sdss2010-g", "sdss2010-r"])
            >>> round(float(table.temperature(7 * table.fluxes(torch.tensor([6000.0])))))
            6000
        """
        n_bands = self.log_flux.shape[1]
        if fluxes.ndim != 2 or fluxes.shape[1] != n_bands or n_bands < 2:
            raise ValueError(
                f"fluxes must be (N, F) with the table's {n_bands} bands, two or more, "
                f"got {tuple(fluxes.shape)}"
            )
        # Written so that NaN fails too.
        if not bool((fluxes > 0).all()):
            raise ValueError("fluxes must be positive: of others there is no colour")
        colours = fluxes.log() - fluxes.log().mean(1, keepdim=True)
        known = self.log_flux - self.log_flux.mean(1, keepdim=True)  # (T, F)
        distance = (colours[:, None] - known).square().sum(-1)  # (N, T)
        best = distance.argmin(1).clamp(1, len(known) - 2)
        rows = torch.arange(len(best), device=best.device)
        left, here, right = (distance[rows, best + step] for step in (-1, 0, 1))
        bend = (left - 2 * here + right).clamp(min=1e-12)
        shift = ((left - right) / (2 * bend)).clamp(-1, 1)
        step = self.log_temperature[1] - self.log_temperature[0]
        return (self.log_temperature[best] + shift * step).exp()


@cached_table(maxsize=4)
def _star_fluxes(filters: tuple[str, ...]) -> Tensor:
    """Return AB fluxes at the nodes of temperature, ``(T, F)`` float64."""
    spectra = np.stack([star_spectrum(temperature)[1] for temperature in _nodes()])
    at_rest = np.zeros(1)
    weights = np.stack([photon_weights(name, at_rest, _WORK)[0] for name in filters], axis=1)
    # An AB magnitude of 0 at every wavelength, in the units of the spectra.
    reference = (5500.0 / _WORK) ** 2
    return torch.from_numpy((spectra @ weights) / (reference @ weights))


def _nodes() -> np.ndarray:
    """Return the temperatures of the table, evenly spaced in their logarithm."""
    return np.geomspace(*TEMPERATURES, _NODES)
