"""A population of galaxies: components, their spectra and their shapes, drawn at random.

Redshift and stellar populations are those of real galaxies, moved a little so that no two are
the same. How their light is shared between bulge, disc and clumps, how large and how inclined they
are, and how strong their lines are, follows from relations with scatter; each stands in a function
below.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from skytutor.data.galaxy_lines import line_fluxes
from skytutor.data.galaxy_table import real_galaxies
from skytutor.data.rendering import Shapes
from skytutor.memo import cached_table
from skytutor.validate import as_length, check_generator, positive

__all__ = ["Galaxies", "Population"]

_CLUMPS = 6
# Fractions of each template's light that the bulge takes, and that the clumps take of the rest:
# the dusty old one, the extreme starburst, the star-forming one, the old one, the A stars.
_TO_BULGE = (0.60, 0.02, 0.05, 1.00, 0.10)
_TO_CLUMPS = (0.20, 1.00, 0.90, 0.04, 0.60)
_THINNEST = 0.15  # axis ratio of a disc seen from its edge
_LARGEST = 4.5  # arcsec; radii are compressed so that no galaxy outgrows the frame


@dataclass(frozen=True)
class Galaxies:
    """Galaxies as the simulator knows them.

    Attributes:
        redshift: ``(B,)``.
        coefficients: ``(B, 3, 5)``, of the five templates in bulge, disc and clumps; about the flux
            in nanomaggies.
        lines: ``(B, 3, L)``, fluxes of the lines in each component, 1e-17 erg/s/cm^2, behind dust.
        a_v: ``(B, 3)``, magnitudes of attenuation of the stars at 5500 angstrom, relative to a
            galaxy of mean inclination.
        residual: ``(B, 4)``, magnitudes by which the real galaxy is fainter than its templates in
            SDSS griz.
        dispersion: ``(B,)``, width of the lines, km/s, instrument included.
        shapes: `Shapes` of bulge, disc and clumps, arcsec.
    """

    redshift: Tensor
    coefficients: Tensor
    lines: Tensor
    a_v: Tensor
    residual: Tensor
    dispersion: Tensor
    shapes: Shapes

    def __len__(self) -> int:
        return len(self.redshift)

    def to(self, device: torch.device | str) -> "Galaxies":
        """Return the same galaxies with every tensor on `device`."""
        moved = {entry.name: getattr(self, entry.name).to(device) for entry in fields(self)}
        return Galaxies(**moved)


@cached_table(maxsize=1)
def _real() -> tuple[Tensor, Tensor, Tensor]:
    drawn = real_galaxies().split("drawn")
    residual = torch.from_numpy(drawn.residual[:, 1:]).float().clamp(-0.15, 0.15)
    redshift = torch.from_numpy(drawn.redshift).float()
    return redshift, torch.from_numpy(drawn.coefficients).float(), residual


@cached_table(maxsize=1)
def _distances() -> tuple[Tensor, Tensor]:
    """Return angular-diameter distance (Mpc) at redshifts 0 to 0.4 in steps of 0.001, flat LCDM."""
    redshift = torch.linspace(0, 0.4, 401, dtype=torch.float64)
    rate = 67.4 * (0.315 * (1 + redshift) ** 3 + 0.685).sqrt()
    comoving = torch.cumulative_trapezoid(299792.458 / rate, redshift)
    return torch.cat([torch.zeros(1, dtype=torch.float64), comoving]).float(), redshift.float()


class Population:
    """Draw galaxies.

    Arguments:
        gradient: 0 to 1, how far the components differ in their spectra: at 0 all three share one
            stellar population, dust and lines, at 1 the bulge is old, the clumps are young, and a
            clumpy disc shines in lines. Shapes and the components' red light do not change.
        null: one spectrum for all components, and shapes that belong to another galaxy: an image
            then tells no more than total colours.

    Raises:
        TypeError: gradient is no number, or null is no bool.
        ValueError: gradient outside 0..1.
    """

    def __init__(self, *, gradient: float = 1.0, null: bool = False):
        self.gradient = as_length("gradient", gradient, zero=True)
        if self.gradient > 1:
            raise ValueError(f"gradient must lie in 0..1, got {gradient!r}")
        if not isinstance(null, bool):
            raise TypeError(f"null must be True or False, got {null!r}")
        self.null = null

    def draw(self, n: int, *, generator: torch.Generator) -> Galaxies:
        """Draw `n` galaxies, on the device of the generator.

        Arguments:
            n: how many.
            generator: of the random numbers.

        Raises:
            TypeError: n is no integer.
            ValueError: n below 1.
        """
        positive(n=n)
        rng = _Normal(generator, n)
        stars = _draw_stars(rng)
        if self.null:
            other = _draw_stars(rng)
            structure = _draw_structure(other, rng)
            # Every component holds the same mixture, in amounts that say nothing about it.
            parts = structure.light.sum(2) / structure.light.sum((1, 2)).unsqueeze(-1)
            coefficients = parts[..., None] * stars.coefficients[:, None]
            a_v = torch.zeros_like(parts)
        else:
            structure = _draw_structure(stars, rng)
            coefficients = self._mixed(structure.light)
            mean = _mean_dust(structure)
            a_v = torch.lerp(mean, structure.a_v, self.gradient)
        lines = self._lines(stars, structure, coefficients, a_v, rng)
        return Galaxies(
            redshift=stars.redshift,
            coefficients=coefficients,
            lines=lines,
            a_v=a_v,
            residual=stars.residual,
            dispersion=130 * torch.exp(0.10 * stars.brightness + 0.2 * rng.normal()),
            shapes=structure.shapes,
        )

    def _lines(
        self,
        stars: "_Stars",
        structure: "_Structure",
        coefficients: Tensor,
        a_v: Tensor,
        rng: "_Normal",
    ) -> Tensor:
        """Draw the lines of each component, ``(B, 3, L)``."""
        scatter = rng.normal(8)
        # What a galaxy's lines have in common follows its clumps as far as the knob says.
        bond = 0.0 if self.null else self.gradient
        activity = bond * structure.clumpiness + (1 - bond**2) ** 0.5 * rng.normal()
        if self.null or self.gradient == 0:
            # The clumps' own factor would set them apart.
            scatter[:, 1] = 0
        return line_fluxes(
            coefficients,
            a_v,
            brightness=stars.brightness,
            dusty=stars.coefficients[:, 0] / stars.coefficients.sum(1),
            activity=activity,
            scatter=scatter,
        )

    def _mixed(self, light: Tensor) -> Tensor:
        """Return coefficients between one mixture for all and each component's own."""
        parts = light.sum(2, keepdim=True) / light.sum((1, 2), keepdim=True)
        shared = parts * light.sum(1, keepdim=True)
        return torch.lerp(shared, light, self.gradient)


class _Normal:
    """Random numbers for n galaxies, float32 as the tables that they are combined with."""

    def __init__(self, generator: torch.Generator, n: int):
        self.generator = check_generator(generator)
        self.device = generator.device
        self.n = n
        self._options: dict[str, Any] = {
            "generator": generator,
            "device": generator.device,
            "dtype": torch.float32,
        }

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.n, *shape, **self._options)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.n, *shape, **self._options)

    def constant(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)

    def choice(self, size: int) -> Tensor:
        return torch.randint(size, (self.n,), generator=self.generator, device=self.device)


@dataclass(frozen=True)
class _Stars:
    """What a galaxy is made of, before it has a shape."""

    redshift: Tensor
    coefficients: Tensor  # (B, 5)
    residual: Tensor
    distance: Tensor  # angular-diameter distance, Mpc
    brightness: Tensor  # absolute r magnitude above that of a galaxy like ours, in magnitudes


def _draw_stars(rng: _Normal) -> _Stars:
    redshifts, coefficients, residual = (part.to(rng.device) for part in _real())
    row = rng.choice(len(redshifts))
    # One per cent in redshift, six in each template and ten in the sum: enough that a network
    # cannot learn the galaxies by heart, too little to blur their colours.
    redshift = (redshifts[row] * (1 + 0.01 * rng.normal())).clamp(0.01, 0.36)
    mixture = coefficients[row] * (0.06 * rng.normal(5)).exp() * (0.1 * rng.normal(1)).exp()
    comoving, nodes = (part.to(rng.device) for part in _distances())
    place = (redshift / (nodes[1] - nodes[0])).clamp(0, len(nodes) - 1.0001)
    below = place.long()
    distance = comoving[below].lerp(comoving[below + 1], place - below) / (1 + redshift)
    luminosity_distance = distance * (1 + redshift) ** 2
    magnitude = 22.5 - 2.5 * mixture.sum(1).log10()
    absolute = magnitude - 5 * luminosity_distance.log10() - 25
    return _Stars(redshift, mixture, residual[row], distance, -21.2 - absolute)


@dataclass(frozen=True)
class _Structure:
    """How a galaxy's light is shared out."""

    light: Tensor  # (B, 3, 5), coefficients of each component
    shapes: Shapes
    a_v: Tensor  # (B, 3), attenuation of the stars
    clumpiness: Tensor  # (B,), standard normal


def _draw_structure(stars: _Stars, rng: _Normal) -> _Structure:
    """Share the light between components, and draw shapes and dust."""
    total = stars.coefficients.sum(1)
    old = stars.coefficients[:, 3] / total
    young = (stars.coefficients[:, 1] + stars.coefficients[:, 2]) / total
    # Red and luminous galaxies have large bulges.
    bulge = torch.sigmoid(-0.6 + 3.5 * (old - 0.7) + 0.4 * stars.brightness + 0.8 * rng.normal())
    clumpiness = rng.normal()
    clumps = torch.sigmoid(-0.2 + 1.1 * clumpiness)
    to_bulge = bulge[:, None] * rng.constant(_TO_BULGE)
    to_clumps = clumps[:, None] * rng.constant(_TO_CLUMPS) * (1 - to_bulge)
    fractions = torch.stack([to_bulge, 1 - to_bulge - to_clumps, to_clumps], dim=1)
    light = fractions * stars.coefficients[:, None]
    # Inclinations at random: the cosine is uniform.
    disc_ratio = (_THINNEST**2 + (1 - _THINNEST**2) * rng.uniform() ** 2).sqrt()
    strength = 0.10 + 0.6 * young.clamp(max=0.5)
    # 0.78 is the mean of -ln q: dust changes a colour with inclination, not on average.
    dust = (strength * (-disc_ratio.log() - 0.78)).clamp(-0.5, 1.2)
    a_v = torch.stack([0.3 * dust, dust, dust], dim=1)
    shapes = _draw_shapes(stars, light, disc_ratio=disc_ratio, rng=rng)
    return _Structure(light, shapes, a_v, clumpiness)


def _draw_shapes(stars: _Stars, light: Tensor, *, disc_ratio: Tensor, rng: _Normal) -> Shapes:
    parts = light.sum(2) / light.sum((1, 2)).unsqueeze(-1)
    # Size grows with luminosity (kpc), with a quarter of scatter; distance turns it into arcsec.
    magnitudes = stars.brightness + 2.5 * parts.clamp(min=1e-3).log10().T
    bulge_kpc = 2.2 * torch.exp(0.50 * magnitudes[0] + 0.25 * rng.normal())
    disc_kpc = 5.0 * torch.exp(0.28 * magnitudes[1] + 0.25 * rng.normal())
    arcsec = 648 / math.pi / stars.distance  # of one kpc
    bulge_radius = _compressed(bulge_kpc * arcsec)
    disc_radius = _compressed(disc_kpc * arcsec)
    disc_angle = math.pi * rng.uniform()
    bulge_ratio = 1 - (1 - disc_ratio) * 0.6 * rng.uniform()
    # Clumps lie in the disc, flattened and turned with it.
    # Between 0.4 and 1.6 half-light radii, where arms are, not on top of the bulge.
    distance = disc_radius[:, None] * (0.4 + 1.2 * rng.uniform(_CLUMPS))
    azimuth = 2 * math.pi * rng.uniform(_CLUMPS)
    along = distance * azimuth.cos()
    across = distance * azimuth.sin() * disc_ratio[:, None]
    cosine = disc_angle.cos()[:, None]
    sine = disc_angle.sin()[:, None]
    size = 0.4 * arcsec[:, None] * (0.3 * rng.normal(_CLUMPS)).exp()
    weight = (0.5 * rng.normal(_CLUMPS)).exp()
    return Shapes(
        bulge_radius=bulge_radius,
        bulge_axis_ratio=bulge_ratio,
        bulge_angle=disc_angle,
        disc_radius=disc_radius,
        disc_axis_ratio=disc_ratio,
        disc_angle=disc_angle,
        clump_x=along * cosine - across * sine,
        clump_y=along * sine + across * cosine,
        clump_sigma=size.clamp(0.05, 0.8),
        clump_weight=weight / weight.sum(1, keepdim=True),
    )


def _compressed(radius: Tensor) -> Tensor:
    """Return radii that grow as they were drawn up to about 2 arcsec, and never beyond 4.5."""
    return _LARGEST * torch.tanh(radius / _LARGEST)


def _mean_dust(structure: _Structure) -> Tensor:
    """Return the attenuation ``(B, 3)`` that all components share where they are all alike."""
    weight = structure.light.sum(2) / structure.light.sum((1, 2)).unsqueeze(-1)
    return (weight * structure.a_v).sum(1, keepdim=True).expand_as(structure.a_v)
