"""What is asked of a translation, looked at before a network answers it.

Shapes: B scenes, F bands, H pixels along a side.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from skytutor.data.surveys import BANDS

__all__ = ["checked_images", "checked_targets"]

_ODD = 30.0  # times more or less noise than the survey has: another unit
_EMPTY = 0.02  # of the pixels that may be exactly 0 though they are said to be measured


def checked_images(
    images: Tensor, ivar: Tensor, given: Tensor, *, bands: Sequence[str], softening: Tensor
) -> Tensor:
    """Return images that a network may look at, with 0 where nothing was measured.

    Arguments:
        images: ``(B, F, H, H)``, nanomaggies a pixel; what stands in bands that are not given does
            not count.
        ivar: ``(B, F, H, H)``, inverse variance; 0 where nothing was measured.
        given: bool ``(B, F)``.
        bands: names of the F bands.
        softening: ``(F,)``, twice the noise of an empty pixel of each survey.

    Returns:
        ``(B, F, H, H)``, as `softening` in type.

    Raises:
        ValueError: a scene without a band, an inverse variance that is negative or not finite, or
            images that are not finite where they were measured.

    Warns:
        UserWarning: a band whose noise is far from its survey's, as that of counts is, or with many
            pixels of exactly 0 that are said to be measured.
    """
    if not bool(given.any(1).all()):
        raise ValueError("given must hold a band for each scene, got a scene without any")
    there = given[..., None, None]
    if not bool((torch.isfinite(ivar) & (ivar >= 0) | ~there).all()):
        raise ValueError("ivar must be 0 or more and finite, got negative, NaN or infinite values")
    measured = there & (ivar > 0)
    if not bool((torch.isfinite(images) | ~measured).all()):
        raise ValueError(
            "images must be finite where ivar is above 0, got NaN or infinite values; give such "
            "pixels an ivar of 0"
        )
    shown = torch.where(there & torch.isfinite(images), images, 0).to(softening)
    for band in given.any(0).nonzero()[:, 0].tolist():
        rows = given[:, band]
        _warn(bands[band], shown[rows, band], measured[rows, band], float(softening[band]) / 2)
    return shown


def _warn(name: str, images: Tensor, measured: Tensor, noise: float) -> None:
    """Warn of images (B, H, H) of one band that are not what they are said to be."""
    # GALEX counts single photons: its pixels have few values, and 0 is often one of them.
    if BANDS[name].kind == "photons" or not bool(measured.any()):
        return
    empty = float(((images == 0) & measured).sum() / measured.sum())
    if empty > _EMPTY:
        warnings.warn(
            f"{name}: {100 * empty:.0f} % of the pixels are exactly 0 with an ivar above 0; pixels "
            "that were not observed must have an ivar of 0",
            stacklevel=4,
        )
    # Neighbours differ by noise alone, in most pixels of a sky.
    both = measured[..., 1:] & measured[..., :-1]
    if not bool(both.any()):
        return
    scatter = 1.4826 * float(images.diff(dim=-1)[both].abs().median()) / 2**0.5
    if scatter > 0 and not 1 / _ODD < scatter / noise < _ODD:
        warnings.warn(
            f"{name}: the noise of a pixel is {scatter:.3g} where {BANDS[name].survey} has "
            f"{noise:.3g} nanomaggies; are these counts?",
            stacklevel=4,
        )


def checked_targets(targets: Sequence[int] | None, *, n_bands: int) -> list[int]:
    """Return numbers of the bands that are asked for; None asks for all.

    Arguments:
        targets: numbers from 0 to F - 1.
        n_bands: F.

    Raises:
        ValueError: none, or a number that is no band's.

    Example:
        >>> checked_targets(None, n_bands=3), checked_targets([2], n_bands=3)
        ([0, 1, 2], [2])
    """
    rows = list(range(n_bands)) if targets is None else list(targets)
    wrong = [row for row in rows if not 0 <= row < n_bands]
    if wrong or not rows:
        raise ValueError(
            f"targets must be numbers of bands, 0 to {n_bands - 1}, got {wrong or 'none'}"
        )
    return rows
