"""HEALPix pixel numbering and geometry as tensors.

HEALPix [1]_ cuts the sphere into 12 base pixels ("faces") of equal area and each of them into
``nside`` x ``nside`` pixels. A pixel has three names here:

* **ring**: counted along circles of equal latitude from the north pole, west to east;
* **nested**: face after face, inside a face along a quadtree, so the children of ``p`` at twice the
  nside are ``4p .. 4p + 3``;
* **face**: the triple ``(f, y, x)`` with ``0 <= f < 12`` and ``0 <= x, y < nside``. ``x`` grows to
  the north-east, ``y`` to the north-west; ``nested = f * nside**2 + interleave(x, y)`` with x on
  the even bits.

Everything is integer arithmetic on ``torch.int64``, on whatever device the input lives. Angles are
in radians: colatitude ``theta`` in [0, pi] from the north pole, longitude ``phi`` in [0, 2 pi).

.. [1] K. M. Gorski et al., 2005, ApJ 622, 759.
"""

from skytutor.healpix.adjacency import halo_indices, neighbours
from skytutor.healpix.checks import (
    NSIDE_MAX,
    ORDERS,
    UNSEEN,
    check_maps,
    check_nside,
    check_order,
    check_values,
    check_weights,
    is_unseen,
    npix_to_nside,
    nside_to_npix,
    pixel_area,
    resolution,
    seen_maps,
)
from skytutor.healpix.directions import (
    angle_to_pixel,
    pixel_to_angle,
    pixel_to_vector,
    vector_to_pixel,
)
from skytutor.healpix.grades import degrade, upgrade
from skytutor.healpix.interpolation import interpolate, interpolation_weights
from skytutor.healpix.numbering import (
    face_table,
    face_to_nested,
    face_to_ring,
    nested_to_face,
    nested_to_ring,
    order_table,
    reorder,
    ring_to_face,
    ring_to_nested,
)
from skytutor.healpix.queries import pixel_radius, query_disc, query_strip

__all__ = [
    "NSIDE_MAX",
    "ORDERS",
    "UNSEEN",
    "angle_to_pixel",
    "check_maps",
    "check_nside",
    "check_order",
    "check_values",
    "check_weights",
    "degrade",
    "face_table",
    "face_to_nested",
    "face_to_ring",
    "halo_indices",
    "interpolate",
    "interpolation_weights",
    "is_unseen",
    "neighbours",
    "nested_to_face",
    "nested_to_ring",
    "npix_to_nside",
    "nside_to_npix",
    "order_table",
    "pixel_area",
    "pixel_radius",
    "pixel_to_angle",
    "pixel_to_vector",
    "query_disc",
    "query_strip",
    "reorder",
    "resolution",
    "ring_to_face",
    "ring_to_nested",
    "seen_maps",
    "upgrade",
    "vector_to_pixel",
]
