"""Numbers of a catalogue as a regression likes them: magnitudes, colours, logarithms of sizes."""

import torch
from torch import Tensor

from skytutor.data.galaxy_catalogue import Catalogue

__all__ = ["SOFTENING", "asinh_magnitudes", "catalogue_features", "colour_features"]

# Nanomaggies in each of grizy: the noise of a point source in the Pan-STARRS stack, from its
# 5 sigma depths 23.3, 23.2, 23.1, 22.3, 21.3.
SOFTENING = (0.096, 0.105, 0.115, 0.240, 0.603)
_RED = 1  # the band whose magnitude stands beside the colours


def asinh_magnitudes(flux: Tensor, softening: Tensor) -> Tensor:
    """Return magnitudes that are defined for fluxes of zero and below [1]_.

    ``22.5 - 2.5 / ln 10 (asinh(f / 2 b) + ln b)``: the usual magnitude where the flux f is much
    larger than the softening b, and linear in f where it is smaller.

    Arguments:
        flux: nanomaggies, of any shape.
        softening: b in nanomaggies, positive, broadcast to the flux.

    Returns:
        AB magnitudes, shaped as the flux.

    Example:
        >>> asinh_magnitudes(torch.tensor([100.0, 0.0]), torch.tensor(0.1))
        tensor([17.5000, 25.0000])

    .. [1] R. H. Lupton, J. E. Gunn & A. S. Szalay, 1999, AJ 118, 1406.
    """
    per_magnitude = 2.5 / torch.tensor(10.0, dtype=flux.dtype).log()
    return 22.5 - per_magnitude * (torch.asinh(flux / (2 * softening)) + softening.log())


def colour_features(table: Catalogue) -> Tensor:
    """Return what total fluxes say: the r magnitude and the colours g-r, r-i, i-z, z-y.

    Arguments:
        table: of N galaxies.

    Returns:
        ``(N, 5)``, magnitudes.

    Raises:
        ValueError: no galaxies, fluxes that are not ``(N, 5)``, NaN or infinite values.
    """
    total = _magnitudes("total", table.total)
    return torch.cat([total[:, _RED, None], _colours(total)], 1)


def catalogue_features(table: Catalogue) -> Tensor:
    """Return all that a catalogue says.

    Arguments:
        table: of N galaxies.

    Returns:
        ``(N, 17)``: those of `colour_features`; the colours within 3 arcsec; the difference of
        magnitudes within 3 arcsec and of all light in each band; the logarithm of the half-light
        radius; axis ratio; concentration.

    Raises:
        ValueError: no galaxies, columns of another length, NaN or infinite values, a radius that
            is not positive.
    """
    colours = colour_features(table)
    total = _magnitudes("total", table.total)
    aperture = _magnitudes("aperture", table.aperture)
    shapes = []
    for name in ("radius", "axis_ratio", "concentration"):
        column = getattr(table, name)
        if column.shape != total.shape[:1] or not bool(column.isfinite().all()):
            raise ValueError(
                f"{name} must be finite, one for each of {len(total)} galaxies, "
                f"got shape {tuple(column.shape)}"
            )
        shapes.append(column)
    if not bool((table.radius > 0).all()):
        raise ValueError(f"radius must be positive, got {float(table.radius.min())}")
    shapes[0] = table.radius.log()
    # Trees split one column at a time, so differences that mean something have their own.
    return torch.cat([colours, _colours(aperture), aperture - total, torch.stack(shapes, 1)], 1)


def _magnitudes(name: str, flux: Tensor) -> Tensor:
    """Return asinh magnitudes ``(N, 5)`` of a catalogue's fluxes; ``ValueError`` names them."""
    if flux.dim() != 2 or flux.shape[1] != len(SOFTENING) or not len(flux):
        raise ValueError(
            f"{name} must be (N, {len(SOFTENING)}), fluxes in grizy of one galaxy or more, "
            f"got shape {tuple(flux.shape)}"
        )
    if not bool(flux.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite fluxes")
    return asinh_magnitudes(flux, torch.tensor(SOFTENING).to(flux))


def _colours(magnitudes: Tensor) -> Tensor:
    """Return the difference of each band and the next redder one, ``(N, 4)``."""
    return magnitudes[:, :-1] - magnitudes[:, 1:]
