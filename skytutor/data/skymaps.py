"""Temperature maps of the whole sky: Planck's where a file is, else a simulated one.

A file is read through a memory map: only the pixels that are asked for are ever copied, so that a
patch of a map of 2 GB costs as much as the patch. Files of Planck are in K; everything here is in
muK.

Shapes: P = 12 nside**2 pixels.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skytutor.data import registry
from skytutor.data.patches import best_fit_spectrum
from skytutor.data.sky_masks import SMICA_2013, sky_mask
from skytutor.fields.spectra import gaussian_maps
from skytutor.fields.windows import gaussian_beam
from skytutor.healpix import check_nside, is_unseen, npix_to_nside, reorder
from skytutor.healpix.interpolation import interpolation_weights
from skytutor.healpix.numbering import check_pixels
from skytutor.healpix.tangent import patch_vectors
from skytutor.io._fits import opened
from skytutor.io.units import microkelvin_of
from skytutor.validate import as_length, check_generator, one_of

__all__ = ["SOURCES", "FitsMap", "SkyMap", "simulated_sky", "sky_map"]

# Name of a source, group of its file in the registry, and column of the temperature.
SOURCES = {
    "smica-2013": ("planck-smica-2013", "T_RAW"),
    "smica-2018": ("planck-smica-2018", "I_STOKES"),
    "commander-2018": ("planck-commander-2018", "I_STOKES"),
    "simulated": (None, None),
}
_MASK_2018 = ("planck-mask-2018", "TMASK")
NSIDE = 512
# What the decoded map of 2013 is described by: about 8 arcmin, about 5 muK.
BEAM_ARCMIN = 8.3
NOISE = 5.0
# Numbers of the simulated sky; beyond those of the chapters' seeds.
_SEED = 2**62 + 512
_ROWS = 2**20  # pixels at a time when a whole map is read


class FitsMap:
    """A column of a HEALPix file, read by pixel.

    Arguments:
        path: of the file.
        column: its name, such as "I_STOKES"; capitals do not count.

    Attributes:
        nside: of the map.
        order: of its pixels, "ring" or "nested".
        unit: as the file has it; values are given in muK.

    Raises:
        ValueError: no such column (it names those there are), no HEALPix map, or a unit that is no
            temperature.
        OSError: no such file, no FITS file, or one that is cut short.
    """

    def __init__(self, path: str | Path, column: str):
        with opened(path, memmap=True) as file:
            table = next((part for part in file if hasattr(part, "columns")), None)
            if table is None:
                raise ValueError(f"{path} holds no table, and so no HEALPix map")
            names = [name.upper() for name in table.columns.names]
            if str(column).upper() not in names:
                raise ValueError(
                    f"column must be one of {', '.join(table.columns.names)} in {path}, "
                    f"got {column!r}"
                )
            index = names.index(str(column).upper())
            found = table.columns[index]
            # The rows as they lie in the file, big-endian and unscaled: a memory map, not a copy.
            # astropy's own columns are scaled whole.
            rows = np.asarray(table.data).view(np.ndarray)
            self._raw: Any = rows[rows.dtype.names[index]]
            header = table.header
        self._scale = float(found.bscale or 1.0)
        self._zero = float(found.bzero or 0.0)
        self._per_row = math.prod(self._raw.shape[1:])
        try:
            self.nside = npix_to_nside(len(self._raw) * self._per_row)
        except ValueError as error:
            raise ValueError(f"{path}: {column} is no HEALPix map: {error}") from error
        self.order = str(header.get("ORDERING", "")).strip().lower()
        if self.order not in ("ring", "nested"):
            raise ValueError(f"{path}: ORDERING must be RING or NESTED, got {self.order!r}")
        self.unit = str(found.unit or "").strip()
        factor = microkelvin_of(self.unit) if self.unit else 1.0
        if factor is None:
            raise ValueError(f"{path}: the unit of {column} must be a temperature, got {self.unit}")
        self._factor = factor

    def pixels(self, index: Tensor) -> Tensor:
        """Return the values at pixels, float32 in muK; NaN where the file has UNSEEN or infinity.

        Arguments:
            index: pixel numbers in the order of the file, int64, any shape.

        Raises:
            TypeError, ValueError: numbers that are no integers, or outside the map.
        """
        flat = check_pixels(index, nside=self.nside).reshape(-1).numpy()
        # Rows are read in their order: pages of the file follow one another.
        sort = flat.argsort(kind="stable")
        column = self._raw.reshape(len(self._raw), self._per_row)
        found = column[flat[sort] // self._per_row, flat[sort] % self._per_row]
        values = np.empty(len(flat), dtype=np.float64)
        values[sort] = found
        raw = torch.from_numpy(values)
        # Of no value is what is infinite too: a mean over larger pixels would be.
        raw = torch.where(is_unseen(raw) | raw.isinf(), torch.nan, raw)
        out = (raw * self._scale + self._zero) * self._factor
        return out.float().reshape(index.shape)

    def patch(
        self, *, lon_deg: float | Tensor, lat_deg: float | Tensor, size: int, pixel_arcmin: float
    ) -> Tensor:
        """Cut gnomonic patches, as `skytutor.data.sky_patches.gnomonic_patch`, from the file.

        Arguments:
            lon_deg: longitude of the centre in degrees, a number or ``(N,)``.
            lat_deg: latitude of the centre in degrees, likewise.
            size: H, pixels along a side.
            pixel_arcmin: side of the pixel at the centre.

        Returns:
            ``(H, H)`` or ``(N, H, H)``, float32, in muK.
        """
        vectors = patch_vectors(size, pixel_arcmin=pixel_arcmin, lon_deg=lon_deg, lat_deg=lat_deg)
        theta = torch.atan2(vectors[..., :2].norm(dim=-1), vectors[..., 2])
        phi = torch.atan2(vectors[..., 1], vectors[..., 0])
        index, weights = interpolation_weights(theta, phi, nside=self.nside, order=self.order)
        return (self.pixels(index) * weights.float()).sum(-1)

    def degraded(self, nside: int) -> Tensor:
        """Return the mean over larger pixels, ``(12 nside**2,)`` float32, NESTED.

        The file is read a piece at a time, so that the map is never whole in memory. UNSEEN
        pixels do not count; a larger pixel that has no others is NaN. Only with `nside` of the
        file are the values those of the file.

        Arguments:
            nside: at most that of the file.

        Raises:
            ValueError: a finer map than the file's, or a file in RING order and a coarser map.
        """
        if check_nside(nside) > self.nside:
            raise ValueError(f"nside must be at most {self.nside}, that of the file, got {nside}")
        if self.order == "ring":
            if nside != self.nside:
                raise ValueError(
                    f"nside must be {self.nside}: a file in RING order is not degraded, got {nside}"
                )
            return reorder(self._pieces(children=1), source="ring", target="nested")
        return self._pieces(children=(self.nside // nside) ** 2)

    def _pieces(self, *, children: int) -> Tensor:
        """Return means of that many pixels in a row, over the whole file."""
        npix = 12 * self.nside**2
        out = torch.empty(npix // children)
        step = max(_ROWS // children, 1)
        for start in range(0, len(out), step):
            stop = min(start + step, len(out))
            values = self.pixels(torch.arange(start * children, stop * children))
            out[start:stop] = values.view(-1, children).nanmean(1)
        return out


class SkyMap(NamedTuple):
    """A temperature map of the whole sky, RING order, nside 512.

    Attributes:
        maps: ``(P,)`` float32 in muK; finite everywhere.
        valid: bool ``(P,)``, True where it may be believed.
        source: what it is, in words.
    """

    maps: Tensor
    valid: Tensor
    source: str


def sky_map(source: str | None = None) -> SkyMap:
    """Return a temperature map of the whole sky at nside 512.

    Maps of 2018 are of nside 2048; what their common mask hides is left out before they are
    averaged over larger pixels.

    Arguments:
        source: one of `SOURCES`; None for the first whose files are here, and "simulated" if none
            are.

    Raises:
        ValueError: another source.
        skytutor.data.registry.DataError: files asked for and not there, or damaged; it says how to
            get them.
    """
    if source is None:
        source = next(name for name in SOURCES if _is_here(name))
    group, column = SOURCES[one_of("source", source, allowed=SOURCES)]
    if group is None or column is None:
        generator = torch.Generator().manual_seed(_SEED)
        words = (
            f"simulated sky, best-fit spectrum, {BEAM_ARCMIN} arcmin beam, {NOISE:g} muK noise, "
            "mask " + ("of Planck" if registry.have("planck-smica-2013") else "made like Planck's")
        )
        return SkyMap(simulated_sky(generator=generator), sky_mask(NSIDE, order="ring"), words)
    if source == "smica-2013":
        maps = FitsMap(registry.path(SMICA_2013), column).degraded(NSIDE)
        valid = sky_mask(NSIDE, order="ring")
    else:
        maps, valid = _of_2018(group, column)
    words = f"Planck's {source.replace('-', ' map of ').replace('smica', 'SMICA')}, nside {NSIDE}"
    ring = reorder(maps, source="nested", target="ring")
    return SkyMap(ring.nan_to_num(nan=0.0), valid & ~ring.isnan(), words)


def simulated_sky(
    *,
    generator: torch.Generator,
    beam_arcmin: float = BEAM_ARCMIN,
    noise: float = NOISE,
    amplitude: float = 1.0,
    nside: int = NSIDE,
) -> Tensor:
    """Draw a sky of the best-fit spectrum with a Gaussian beam and white noise, in muK.

    Degrees beyond 3 nside - 1, which the pixels cannot carry, are left out.

    Arguments:
        generator: of the random numbers.
        beam_arcmin: full width at half maximum; the pixels' own smoothing is meant to be in it.
        noise: standard deviation in a pixel.
        amplitude: what the spectrum is multiplied by.
        nside: of the map.

    Returns:
        ``(P,)`` float32, RING.
    """
    check_generator(generator)
    lmax = min(3 * check_nside(nside) - 1, 4500)
    beam = gaussian_beam(fwhm=math.radians(beam_arcmin / 60), lmax=lmax)
    cl = amplitude * best_fit_spectrum(lmax) * beam.square()
    noise = as_length("noise", noise, zero=True)
    drawn = gaussian_maps(
        {"TT": cl}, nside=nside, lmax=lmax, order="ring", generator=generator, dtype=torch.float32
    )["T"]
    return drawn + noise * torch.randn(drawn.shape, generator=generator)


def _is_here(source: str) -> bool:
    """Tell whether the files of a source are in the data folder."""
    group, _ = SOURCES[source]
    if group is None:
        return True
    others = () if source == "smica-2013" else (_MASK_2018[0],)
    return all(registry.have(name) for name in (group, *others))


def _of_2018(group: str, column: str) -> tuple[Tensor, Tensor]:
    """Return a map of 2018 at nside 512, NESTED, and its mask, RING; both in pieces of the file."""
    (entry,) = registry.groups()[group]
    (mask_entry,) = registry.groups()[_MASK_2018[0]]
    maps = FitsMap(registry.path(entry.name), column).degraded(NSIDE)
    # A larger pixel that holds a hidden one is left out: its mean would be part foreground.
    seen = FitsMap(registry.path(mask_entry.name), _MASK_2018[1]).degraded(NSIDE) > 1 - 1e-6
    return maps, reorder(seen, source="nested", target="ring")
