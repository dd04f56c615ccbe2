"""Maps of the sky from FITS files and into them, on astropy, which the extra "maps" installs."""

from skytutor.io.maps import SkyMap, read_map
from skytutor.io.writing import write_map

__all__ = ["SkyMap", "read_map", "write_map"]
