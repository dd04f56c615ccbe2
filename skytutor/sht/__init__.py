"""Spherical-harmonic transforms of HEALPix maps, spin 0 and 2, exact and differentiable both ways."""

from skytutor.sht.packing import check_alms, check_lmax, count, degrees, position
from skytutor.sht.rings import ring_weights
from skytutor.sht.transforms import BACKENDS, Harmonics, alm2map, map2alm

__all__ = [
    "BACKENDS",
    "Harmonics",
    "alm2map",
    "check_alms",
    "check_lmax",
    "count",
    "degrees",
    "map2alm",
    "position",
    "ring_weights",
]
