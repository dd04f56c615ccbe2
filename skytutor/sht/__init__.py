"""Spherical-harmonic transforms of HEALPix maps, spin 0 and 2.

They are exact sums, with exact adjoints, and differentiable both ways.
"""

from skytutor.healpix.rings import ring_weights
from skytutor.sht.functions import alm2map, map2alm
from skytutor.sht.inverse import Solution, least_squares
from skytutor.sht.packing import (
    alm_index,
    alm_lm,
    alm_size,
    check_alms,
    check_lmax,
    check_mmax,
    resize_alms,
)
from skytutor.sht.real import RealHarmonics, lmax_of, real_degrees, to_complex, to_real
from skytutor.sht.rotation import rotate_alms
from skytutor.sht.solvers import CGResult, ConvergenceWarning, conjugate_gradients
from skytutor.sht.transforms import BACKENDS, Harmonics

__all__ = [
    "BACKENDS",
    "CGResult",
    "ConvergenceWarning",
    "Harmonics",
    "RealHarmonics",
    "Solution",
    "alm2map",
    "alm_index",
    "alm_lm",
    "alm_size",
    "check_alms",
    "check_lmax",
    "check_mmax",
    "conjugate_gradients",
    "least_squares",
    "lmax_of",
    "map2alm",
    "real_degrees",
    "resize_alms",
    "ring_weights",
    "rotate_alms",
    "to_complex",
    "to_real",
]
