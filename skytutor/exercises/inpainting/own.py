"""A hole in a picture of the reader's own."""

from typing import Any

import numpy as np

__all__ = ["own_fill"]


def own_fill(truth: Any, mask: Any, harmonic: Any, gaussian: Any) -> bool:
    """Test two fills of a hole in a picture or map of your own, and print their errors.

    Arguments:
        truth: ``(H, W)``, before anything was hidden.
        mask: ``(H, W)``, 1 or True where seen.
        harmonic: ``(H, W)``, filled without knowing a spectrum.
        gaussian: ``(H, W)``, filled with a spectrum that was measured on the seen part.

    Returns:
        True if seen pixels are as they were, and the Gaussian fill errs less than the mean of the
        seen pixels.
    """
    label = "own_fill"
    try:
        given = [np.asarray(v, dtype=float) for v in (truth, mask, harmonic, gaussian)]
    except Exception as error:  # a class of the reader's own may raise what it likes
        print(f"not yet: {label}: four arrays of numbers of one shape are wanted ({error})")
        return False
    fault = _shape_fault(given) or _fill_fault(given)
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
    if truth.ndim != 2 or any(array.shape != truth.shape for array in given):
        return f"four arrays (H, W) of one shape are wanted, not {[a.shape for a in given]}"
    if not np.isin(mask, (0, 1)).all():
        return "the mask must be 1 where seen and 0 where hidden"
    hidden = int((mask == 0).sum())
    if hidden < 9 or mask.sum() < hidden:
        return f"{hidden} hidden pixels; at least 9 are wanted, and more seen ones than hidden"
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
            return f"{name} changes pixels that are seen"
        if np.abs(filled - truth)[~seen].max() <= near:
            return f"{name} is the truth, behind the mask too. From where does it know?"
    if np.abs(harmonic - gaussian).max() <= near:
        return "both fills are the same"
    constant, _, error = _errors(given)
    if error >= constant:
        return (
            f"the Gaussian fill errs by {error:.4g}, and the mean of the seen pixels by "
            f"{constant:.4g}. Was the mean taken off before, and is the spectrum of what is left?"
        )
    return None
