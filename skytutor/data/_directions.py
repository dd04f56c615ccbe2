"""Positions on the sky as directions, and which of them lie near one another."""

import math

import numpy as np
from torch import Tensor

__all__ = ["near", "unit_vectors"]


def unit_vectors(ra: Tensor, dec: Tensor) -> np.ndarray:
    """Return directions (N, 3) of positions in degrees, checked."""
    if ra.ndim != 1 or ra.shape != dec.shape or len(ra) == 0:
        raise ValueError(f"ra and dec must be (N,) alike, got {(*ra.shape,)} and {(*dec.shape,)}")
    if not bool((ra.isfinite() & (dec.abs() <= 90)).all()):
        raise ValueError("ra must be finite and dec from -90 to 90 degrees, got others")
    lon, lat = np.radians(ra.double().numpy()), np.radians(dec.double().numpy())
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def near(places: np.ndarray, others: np.ndarray, *, arcsec: float) -> np.ndarray:
    """Tell which directions have one of the others within some distance."""
    from scipy.spatial import cKDTree

    if len(others) == 0:
        return np.zeros(len(places), dtype=bool)
    # The straight line between two points of the sphere, for the angle between them.
    chord = 2 * math.sin(math.radians(arcsec / 3600) / 2)
    distance, _ = cKDTree(others).query(places, distance_upper_bound=chord)
    return np.isfinite(distance)
