"""A hole in a picture of the reader's own."""

from typing import Any

import numpy as np
import torch

from skytutor.fields.flat import frequencies, laplacian
from skytutor.fields.holes import DenseHole

__all__ = ["own_fill"]

_FEWEST = 40  # hidden pixels; in fewer, noise and a fill look alike
_MOST = 4000  # the fills made here solve dense equations


def own_fill(truth: Any, mask: Any, harmonic: Any, gaussian: Any) -> bool:
    """Test two fills of a hole in a picture or map of your own, and print their errors.

    Arguments:
        truth: ``(H, H)``, before anything was hidden.
        mask: ``(H, H)``, 1 or True where seen.
        harmonic: ``(H, H)``, filled without knowing a spectrum, as a membrane.
        gaussian: ``(H, H)``, filled with a spectrum that was measured on the seen part.

    Returns:
        True if seen pixels are as they were, the harmonic fill is the membrane, and the Gaussian
        one errs less than the mean of the seen pixels, but not less than is believable.
    """
    label = "own_fill"
    try:
        given = [np.asarray(v, dtype=float) for v in (truth, mask, harmonic, gaussian)]
    except Exception as error:  # a class of the reader's own may raise what it likes
        print(f"not yet: {label}: four arrays of numbers of one shape are wanted ({error})")
        return False
    fault = _shape_fault(given) or _fill_fault(given) or _likeness_fault(given)
    if fault:
        print(f"not yet: {label}: {fault}")
        return False
    constant, membrane, filled = _errors(given)
    print(
        f"right: {label}: RMSE in the hole {filled:.4g} for the Gaussian fill, {membrane:.4g} for "
        f"the harmonic one, {constant:.4g} for the mean of what is seen"
    )
    return True


def _errors(given: list[np.ndarray]) -> tuple[float, float, float]:
    """Return the RMSE in the hole of the seen pixels' mean and of both fills."""
    truth, mask, harmonic, gaussian = given
    hidden = mask == 0
    constant = np.full(truth.shape, truth[~hidden].mean())
    errors = []
    for filled in (constant, harmonic, gaussian):
        errors.append(float(np.sqrt(np.mean((filled - truth)[hidden] ** 2))))
    return errors[0], errors[1], errors[2]


def _shape_fault(given: list[np.ndarray]) -> str | None:
    """Return what is wrong with shapes, mask and picture, or None."""
    truth, mask, _, _ = given
    square = truth.ndim == 2 and truth.shape[0] == truth.shape[1]
    if not square or any(array.shape != truth.shape for array in given):
        return f"four arrays (H, H) of one shape are wanted, not {[a.shape for a in given]}"
    if not np.isin(mask, (0, 1)).all():
        return "the mask must be 1 where seen and 0 where hidden"
    hidden = int((mask == 0).sum())
    if not _FEWEST <= hidden <= _MOST or mask.sum() < hidden:
        return (
            f"{hidden} hidden pixels; {_FEWEST} to {_MOST} are wanted, and more seen ones than "
            "hidden"
        )
    if not np.isfinite(truth).all():
        return "the picture holds what is not finite"
    if truth[mask == 0].std() < 1e-9 * max(np.abs(truth).max(), 1e-300):
        return "nothing varies behind the mask, so that there is nothing to fill"
    return None


def _fill_fault(given: list[np.ndarray]) -> str | None:
    """Return what is wrong with the fills, or None."""
    truth, mask, harmonic, gaussian = given
    seen = mask == 1
    # Single precision will do, but nothing else.
    near = 1e-4 * truth.std()
    for name, filled in (("harmonic", harmonic), ("gaussian", gaussian)):
        if not np.isfinite(filled).all():
            return f"{name} holds what is not finite"
        if np.abs(filled - truth)[seen].max() > near:
            return f"{name} changes pixels that are seen. Was the mean added again?"
        if np.abs(filled - truth)[~seen].max() <= near:
            return f"{name} is the truth, behind the mask too. From where does it know?"
    if np.abs(harmonic - gaussian).max() <= near:
        return "both fills are the same"
    constant, _, error = _errors(given)
    if error >= constant:
        return (
            f"the Gaussian fill errs by {error:.4g}, and the mean of the seen pixels by "
            f"{constant:.4g}. Was the mean taken off before, and is the spectrum of what is left? "
            "If so, try another hole."
        )
    return None


def _likeness_fault(given: list[np.ndarray]) -> str | None:
    """Return in what the fills differ from those that their names promise, or None."""
    truth, mask, harmonic, gaussian = given
    hidden = mask == 0
    membrane, believable = _fills(truth, mask)
    scale = truth[~hidden].std()
    if _rms((harmonic - membrane)[hidden]) > 0.05 * scale:
        return (
            "harmonic is no membrane. Is each hidden pixel the mean of its four neighbours, those "
            "across the edge of the picture included?"
        )
    apart = np.where(hidden, gaussian - membrane, 0)
    like_another = _correlation(apart[hidden], (believable - membrane)[hidden])
    if _likeness_of_neighbours(apart, hidden) < 0.2 and like_another < 0.3:
        return (
            "gaussian differs from the membrane by what looks like noise. A conditional mean has "
            "none. Is the spectrum an average over like modes?"
        )
    smallest = min(_rms((fill - truth)[hidden]) for fill in (membrane, believable))
    error = _rms((gaussian - truth)[hidden])
    if error < 0.5 * smallest:
        return (
            f"the Gaussian fill errs by {error:.4g}, too little to be believed. Was the spectrum "
            "measured on the whole picture?"
        )
    return None


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    size = _rms(one) * _rms(other)
    return float(np.mean(one * other)) / size if size > 0 else 1.0


def _likeness_of_neighbours(values: np.ndarray, hidden: np.ndarray) -> float:
    """Return the correlation of hidden pixels with the next ones; 1 if none has such a one."""
    products, squares = 0.0, 0.0
    for axis in (0, 1):
        shifted = np.roll(values, 1, axis)
        both = hidden & np.roll(hidden, 1, axis)
        products += float((values * shifted)[both].sum())
        squares += float((values**2 + shifted**2)[both].sum()) / 2
    return products / squares if squares > 0 else 1.0


def _fills(truth: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the membrane, and the Gaussian fill whose spectrum comes from what is seen."""
    picture = torch.from_numpy(truth)
    seen = torch.from_numpy(mask == 1)
    size = len(picture)
    level = picture[seen].mean()
    deviations = torch.where(seen, picture - level, 0)
    # Zeros in the hole lower the power by the part that is seen.
    power = torch.fft.rfft2(deviations).abs().square() / size**2 / seen.double().mean()
    ky, kx = frequencies(size)
    ring = ((ky.square() + kx.square()).sqrt() / kx[0, 1]).round().long()
    # One mode scatters by as much as its own size.
    mean = torch.bincount(ring.flatten(), power.flatten()) / torch.bincount(ring.flatten())
    mean[0] = mean[1]
    # A floor, as rounding would make the equations singular.
    total = mean[ring].clamp(min=1e-8 * float(power.mean()))
    membrane = DenseHole(laplacian(size), seen).fill(picture)
    gaussian = DenseHole(1 / total, seen).fill(deviations) + level
    return membrane.numpy(), gaussian.numpy()
