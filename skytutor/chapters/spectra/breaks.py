"""Where the network breaks: galaxies and images of kinds that its training never showed.

Every kind is made on purpose, with its truth: too far away, too dusty, two in one frame, no galaxy
at all, a detector that saturates, a mistake in the bands, a universe of other rules. What to look
at is not the error, which must grow, but whether the error bars grow with it (`score_breaks`), and
whether a flag warns (`OutlierFlag`). No flag can warn of a universe whose pictures look alike.

Shapes: B galaxies, five bands grizy, H pixels along the side, nine targets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.targets import N_TARGETS, make_targets, natural
from skytutor.data.galaxies import GalaxySimulator
from skytutor.data.galaxy_lines import line_wavelengths
from skytutor.data.galaxy_population import Galaxies
from skytutor.data.rendering import Shapes
from skytutor.data.spectral_templates import attenuation
from skytutor.validate import one_of

__all__ = ["BREAKS", "Break", "beyond_training", "dusty_edge_on", "make_break", "stars"]

_FAR = (0.36, 0.40)  # training ends where the tables of the simulator still go on
_HUBBLE_RATIO = 0.315  # matter density of the simulator's universe, flat
_SATURATED = 0.3  # of a galaxy's peak in each band
_NEIGHBOUR = (2.0, 4.0)  # arcsec, distance of the second galaxy
_PIXEL = 0.25  # arcsec


@dataclass(frozen=True)
class Break:
    """Images of one kind, and what is true of them.

    Attributes:
        images: ``(B, 5, H, H)``, nanomaggies a pixel.
        targets: ``(B, 9)``, standardised; NaN where there is no truth, such as of a star's lines.
    """

    images: Tensor
    targets: Tensor


def _changed(galaxies: Galaxies, shapes: Mapping[str, Tensor], **rest: Tensor) -> Galaxies:
    """Return galaxies with some entries and some entries of their shapes replaced."""
    form = {field.name: getattr(galaxies.shapes, field.name) for field in fields(Shapes)}
    kept = {field.name: getattr(galaxies, field.name) for field in fields(Galaxies)}
    return Galaxies(**{**kept, **rest, "shapes": Shapes(**{**form, **shapes})})


def _comoving(redshift: Tensor) -> Tensor:
    """Return the comoving distance ``(B,)`` in units of c / H0, by Simpson's rule to 1e-6."""
    nodes = torch.linspace(0, 1, 21, dtype=torch.float64, device=redshift.device)
    weight = torch.ones_like(nodes)
    weight[1:-1:2] = 4
    weight[2:-1:2] = 2
    z = redshift.double()[:, None] * nodes
    rate = (_HUBBLE_RATIO * (1 + z) ** 3 + 1 - _HUBBLE_RATIO).sqrt()
    return (redshift.double() * (weight / rate).sum(1) / 60).to(redshift)


def beyond_training(galaxies: Galaxies, *, generator: torch.Generator) -> Galaxies:
    """Move galaxies to redshifts of 0.36 to 0.40: fainter, smaller, redder.

    Arguments:
        galaxies: of a simulator; the farthest of them are the most like what is there.
        generator: of the new redshifts.
    """
    white = torch.rand(len(galaxies), generator=generator, device=generator.device)
    redshift = _FAR[0] + (_FAR[1] - _FAR[0]) * white.to(galaxies.redshift)
    ratio = _comoving(redshift) / _comoving(galaxies.redshift)
    stretch = (1 + redshift) / (1 + galaxies.redshift)
    # Light goes with the square of the luminosity distance, size with the angular-diameter one.
    dimming = (ratio * stretch).square()[:, None, None]
    smaller = stretch / ratio
    shapes = {
        "bulge_radius": galaxies.shapes.bulge_radius * smaller,
        "disc_radius": galaxies.shapes.disc_radius * smaller,
        "clump_x": galaxies.shapes.clump_x * smaller[:, None],
        "clump_y": galaxies.shapes.clump_y * smaller[:, None],
        "clump_sigma": galaxies.shapes.clump_sigma * smaller[:, None],
    }
    return _changed(
        galaxies,
        shapes,
        redshift=redshift,
        coefficients=galaxies.coefficients / dimming,
        lines=galaxies.lines / dimming,
    )


def dusty_edge_on(galaxies: Galaxies, *, a_v: float = 1.5, axis_ratio: float = 0.15) -> Galaxies:
    """Turn discs on edge and put more dust in disc and clumps than any of the training had.

    Arguments:
        galaxies: of a simulator.
        a_v: attenuation of the disc's stars at 5500 angstrom, magnitudes, at most 1.8.
        axis_ratio: of the disc as seen.
    """
    shapes = galaxies.shapes
    cosine = shapes.disc_angle.cos()[:, None]
    sine = shapes.disc_angle.sin()[:, None]
    along = shapes.clump_x * cosine + shapes.clump_y * sine
    across = shapes.clump_y * cosine - shapes.clump_x * sine
    # Clumps lie in the disc: they come nearer to its long axis as it turns.
    across = across * (axis_ratio / shapes.disc_axis_ratio)[:, None]
    new = galaxies.a_v.clone()
    new[:, 1:] = a_v
    # Gas lies behind twice the attenuation of the stars.
    more = 2 * (new - galaxies.a_v)[..., None]
    dimmed = galaxies.lines * attenuation(line_wavelengths().to(new), more)
    return _changed(
        galaxies,
        {
            "disc_axis_ratio": torch.full_like(shapes.disc_axis_ratio, axis_ratio),
            "clump_x": along * cosine - across * sine,
            "clump_y": along * sine + across * cosine,
        },
        a_v=new,
        lines=dimmed,
    )


def stars(simulator: GalaxySimulator, n: int, *, generator: torch.Generator) -> Tensor:
    """Return images of single stars ``(n, 5, H, H)``, r magnitudes 16 to 19, colours of dwarfs.

    Colours follow a straight stellar locus with g - r from 0.3 to 1.1, about G to K dwarfs: r - i =
    0.37 (g - r), i - z = 0.15 (g - r), z - y = 0.08 (g - r), in magnitudes.

    Arguments:
        simulator: whose PSF and noise.
        n: stars.
        generator: of the random numbers, on the simulator's device.
    """
    one = torch.ones(n, device=simulator.device)
    spot = torch.zeros(n, 1, device=simulator.device)
    shapes = Shapes(one, one, one, one, one, one, spot, spot, spot, spot + 1)
    white = torch.rand(n, 2, generator=generator, device=simulator.device)
    colour = 0.3 + 0.8 * white[:, :1]
    red = 16 + 3 * white[:, 1:]
    # Magnitudes in grizy, from r by the colours on the way.
    steps = torch.tensor([1.0, 0.0, -0.37, -0.52, -0.60], device=simulator.device)
    fluxes = torch.zeros(n, 3, 5, device=simulator.device)
    fluxes[:, 2] = 10 ** (0.4 * (22.5 - red - colour * steps))
    images = simulator.renderer.images(simulator.renderer.planes(shapes), fluxes)
    sky = torch.randn(images.shape, generator=generator, device=simulator.device)
    return images + sky * simulator.noise[:, None, None]


def _blended(images: Tensor, other: Tensor, generator: torch.Generator) -> Tensor:
    """Add noiseless images, each 2 to 4 arcsec from the centre in a direction of its own."""
    white = torch.rand(len(images), 2, generator=generator, device=generator.device)
    distance = _NEIGHBOUR[0] + (_NEIGHBOUR[1] - _NEIGHBOUR[0]) * white[:, 0]
    azimuth = 2 * torch.pi * white[:, 1]
    # Whole pixels, so that nothing has to be interpolated.
    right = (distance * azimuth.cos() / _PIXEL).round().long().tolist()
    down = (distance * azimuth.sin() / _PIXEL).round().long().tolist()
    moved = [
        image.roll((y, x), dims=(1, 2)) for image, x, y in zip(other, right, down, strict=True)
    ]
    return images + torch.stack(moved)


def _saturated(images: Tensor) -> Tensor:
    """Cut each band of each galaxy off at a fraction of its peak."""
    peak = images.amax((2, 3), keepdim=True)
    return torch.minimum(images, _SATURATED * peak)


def _without(images: Tensor, band: int) -> Tensor:
    """Return images with one band of zeros."""
    empty = images.clone()
    empty[:, band] = 0
    return empty


# Mistakes that leave the galaxies alone, by name; each is a function of images with noise.
_MISTAKES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "as in training": lambda images: images,
    "saturated core": _saturated,
    "bands reversed": lambda images: images.flip(1),
    "g and r swapped": lambda images: images[:, [1, 0, 2, 3, 4]],
    "g missing": lambda images: _without(images, 0),
    "y missing": lambda images: _without(images, 4),
}
_OTHERS = ("redshift 0.36 to 0.40", "dusty edge-on disc", "blend", "star", "no colour gradients")
BREAKS = (*_MISTAKES, *_OTHERS)


def _far_galaxies(simulator: GalaxySimulator, n: int, *, generator: torch.Generator) -> Galaxies:
    """Return the farthest of 20 n galaxies, moved beyond the training's redshifts."""
    drawn = simulator.draw(20 * n, generator=generator)
    order = drawn.redshift.argsort(descending=True)[:n]
    form = {field.name: getattr(drawn.shapes, field.name)[order] for field in fields(Shapes)}
    names = [field.name for field in fields(Galaxies) if field.name != "shapes"]
    kept = {name: getattr(drawn, name)[order] for name in names}
    return beyond_training(Galaxies(**kept, shapes=Shapes(**form)), generator=generator)


def _seen(
    simulator: GalaxySimulator,
    galaxies: Galaxies,
    *,
    autoencoder: SpectrumAutoencoder,
    generator: torch.Generator,
) -> Break:
    """Observe galaxies."""
    planes = simulator.renderer.planes(galaxies.shapes)
    fibre = simulator.renderer.fibre(planes)
    spectra = simulator.spectra(galaxies, fibre, generator=generator)
    images = simulator.images(galaxies, planes=planes, generator=generator)
    return Break(images, make_targets(autoencoder, spectra, galaxies.redshift))


def make_break(
    name: str,
    n: int,
    *,
    simulator: GalaxySimulator,
    autoencoder: SpectrumAutoencoder,
    generator: torch.Generator,
) -> Break:
    """Make images of one kind.

    Arguments:
        name: one of `BREAKS`.
        n: how many.
        simulator: to draw from.
        autoencoder: whose latents are the targets.
        generator: of the random numbers, on the simulator's device.

    Returns:
        the images with their truth; of a blend that of the galaxy in the centre, of a star its
        redshift of 0 alone.

    Raises:
        ValueError: another name.
    """
    one_of("name", name, allowed=BREAKS)
    if name == "star":
        images = stars(simulator, n, generator=generator)
        return Break(images, _targets_of_stars(n).to(images))
    if name == "no colour gradients":
        size = simulator.renderer.size
        simulator = GalaxySimulator(gradient=0.0, size=size, device=simulator.device)
    if name == "redshift 0.36 to 0.40":
        galaxies = _far_galaxies(simulator, n, generator=generator)
    else:
        galaxies = simulator.draw(n, generator=generator)
    if name == "dusty edge-on disc":
        galaxies = dusty_edge_on(galaxies)
    found = _seen(simulator, galaxies, autoencoder=autoencoder, generator=generator)
    if name == "blend":
        other = simulator.images(simulator.draw(n, generator=generator))
        return Break(_blended(found.images, other, generator), found.targets)
    if name in _MISTAKES:
        return Break(_MISTAKES[name](found.images), found.targets)
    return found


def _targets_of_stars(n: int) -> Tensor:
    """Return ``(n, 9)``: a redshift of 0, standardised, and NaN."""
    targets = torch.full((n, N_TARGETS), torch.nan)
    unit = torch.zeros(2, N_TARGETS)
    unit[1] = 1
    # The map from standardised to natural is a straight line: two points give it.
    at_zero, at_one = natural(unit)[:, 2]
    targets[:, -1] = -at_zero / (at_one - at_zero)
    return targets
