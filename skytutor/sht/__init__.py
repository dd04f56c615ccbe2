"""Spherical-harmonic transforms of HEALPix maps, spin 0 and 2, exact and differentiable both ways."""

from skytutor.sht.functions import alm2map, map2alm
from skytutor.sht.inverse import Solution, least_squares
from skytutor.sht.packing import check_alms, check_lmax, count, degrees, position
from skytutor.sht.real import RealHarmonics, degree_of, real_degrees, to_complex, to_real
from skytutor.sht.rings import ring_weights
from skytutor.sht.transforms import BACKENDS, Harmonics

__all__ = [
    "BACKENDS",
    "Harmonics",
    "RealHarmonics",
    "Solution",
    "alm2map",
    "check_alms",
    "check_lmax",
    "count",
    "degree_of",
    "degrees",
    "least_squares",
    "map2alm",
    "position",
    "real_degrees",
    "ring_weights",
    "to_complex",
    "to_real",
]
