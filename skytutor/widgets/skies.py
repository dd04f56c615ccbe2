"""What a sphere shows: maps of one nside, checked, encoded as bytes, and described in words.

`EncodedMaps` checks the maps of one view, cuts them into faces and packs them for the page.
"""

import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skytutor import healpix
from skytutor.arrays import as_tensor
from skytutor.healpix import check_nside, check_order, face_table, nside_to_npix, resolution
from skytutor.validate import one_of
from skytutor.widgets import codec
from skytutor.widgets.words import plain_text, sentence

NSIDE_MAX = 512
HEAVIEST = 32 * 2**20  # bytes of codes in one view, before they are packed
# Of a value that is shown: the range of two such values, and the sum of a map of them, are finite
# in float64.
LARGEST = 1e300
SIGN_OF_U = {"COSMO": 1.0, "IAU": -1.0}  # that makes it HEALPix' own


def is_unseen(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell where a map holds UNSEEN, by the rule of `skytutor.healpix.is_unseen`.

    Any other number is a value, however low. In float16 UNSEEN becomes minus infinity: `as_frames`
    knows it by the type.

    Arguments:
        values: of any shape.

    Returns:
        True where a value is UNSEEN, in that shape.
    """
    return healpix.is_unseen(torch.from_numpy(values)).numpy()


def as_frames(name: str, value: Any, *, nside: int, order: str) -> NDArray[np.float64]:
    """Cut a map, or frames of one, into faces.

    Arguments:
        name: what error messages call it.
        value: ``(P,)`` or ``(F, P)``, a tensor, array, masked array or numbers. Masked, NaN and
            UNSEEN pixels have no value.
        nside: of the map.
        order: of its pixels, "ring" or "nested".

    Returns:
        ``(F, 12, nside, nside)``, NaN where there is no value.

    Raises:
        TypeError: complex numbers, or no numbers at all.
        ValueError: empty, wrong pixel count or shape, infinite values, values beyond `LARGEST`, or
            no pixel with a value.
    """
    array = _numbers(name, value)
    npix = nside_to_npix(nside)
    if array.size == 0:
        raise ValueError(
            f"{name} is empty: shape {array.shape}; at least one map of {npix} pixels is needed"
        )
    if array.ndim not in (1, 2) or array.shape[-1] != npix:
        raise ValueError(
            f"{name} must be a map ({npix},) or frames (F, {npix}) for nside {nside}, "
            f"got shape {array.shape}"
        )
    frames = array.reshape(-1, npix)
    frames = np.where(is_unseen(frames), np.nan, frames)
    infinite = int(np.isinf(frames).sum())
    if infinite:
        raise ValueError(
            f"{name} holds {infinite} infinite pixels; set them to NaN to show them as holes"
        )
    beyond = int(((frames > LARGEST) | (frames < -LARGEST)).sum())
    if beyond:
        raise ValueError(
            f"{name} holds {beyond} pixels beyond {LARGEST:g} in size, the most that can be shown; "
            "rescale them"
        )
    if not np.isfinite(frames).any():
        raise ValueError(f"{name} has no pixel with a value: all are NaN, masked or UNSEEN")
    faces = frames[:, face_table(nside, order=order).numpy()]  # (F, 12 nside**2), face by face
    return faces.reshape(-1, 12, nside, nside)


def _numbers(name: str, value: Any) -> NDArray[np.float64]:
    """Return `value` as an array of float64 of its shape, NaN where it is masked."""
    shape_of(name, value)
    hidden = np.ma.getmaskarray(value) if isinstance(value, np.ma.MaskedArray) else None
    tensor = as_tensor(name, value if hidden is None else np.ma.getdata(value, subok=True))
    if tensor.is_complex():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise TypeError(f"{name} must be real, got {kind}; show its absolute value or its parts")
    plain = tensor.detach().cpu().double().numpy()
    if tensor.dtype == torch.float16:  # UNSEEN does not fit into it, and became minus infinity
        plain = np.where(np.isneginf(plain), np.nan, plain)
    return plain if hidden is None else np.where(hidden, np.nan, plain)


def shape_of(name: str, value: Any) -> tuple[int, ...]:
    """Return the shape of a tensor, an array or nested lists of numbers; errors call it `name`.

    Raises:
        ValueError: lists that are no array, such as rows of several lengths.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # masked values in a list: these have a shape too
            return np.shape(value)
    except (ValueError, TypeError, RuntimeError):  # NumPy's, or that of a tensor within a list
        raise ValueError(
            f"{name} must be numbers, in rows of one length, "
            f"got a {type(value).__name__} that is no array"
        ) from None


def by_title(maps: Any, title: str) -> dict[str, Any]:
    """Return maps side by side as ``{title: map}``.

    Arguments:
        maps: one map, a dict by title, or a list of maps.
        title: of the one map; those of a list are numbered after it, those of a dict have their
            own.

    Raises:
        ValueError: an empty dict, titles that read the same, or a list whose items are neither
            numbers nor maps.
    """
    if isinstance(maps, Mapping):
        if not maps:
            raise ValueError("maps is empty: at least one map is needed")
        return _by_own_title(maps)
    title = plain_text("title", title)
    # A list of numbers is one map, a list of lists of them are several.
    if not (isinstance(maps, (list, tuple)) and maps and shape_of("maps[0]", maps[0])):
        return {title: maps}
    if len(maps) == 1:
        return {title: maps[0]}
    return {f"{title or 'map'} {k + 1}": one for k, one in enumerate(maps)}


def title_of_all(maps: Any, title: str) -> str:
    """Return the title above maps that have their own, those of a dict; "" for all others.

    Arguments:
        maps: as those of `by_title`.
        title: of all of them.
    """
    return plain_text("title", title) if isinstance(maps, Mapping) else ""


def _by_own_title(maps: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a dict with its keys as text, which must read differently.

    1 and "1" read the same, and so do titles that differ in blanks or in how an accent is written.
    """
    out = {}
    keys: dict[str, Any] = {}  # by what a reader sees of them
    for key, one in maps.items():
        title = plain_text("a title of maps", key)
        seen = " ".join(unicodedata.normalize("NFC", title).split())
        if seen in keys:
            raise ValueError(
                f"maps must have titles that read differently, got {keys[seen]!r} and {key!r}, "
                f"both shown as {seen!r}"
            )
        keys[seen] = key
        out[title] = one
    return out


class EncodedMaps:
    """Checked and packed maps of one view.

    Arguments:
        maps: by title, each ``(P,)`` or frames ``(F, P)``, as many frames in all.
        nside: of all maps, at most 512.
        order: of their pixels, "ring" or "nested".
        mask: ``(P,)``, true where the sky is seen.
        polarisation: the pair (Q, U), each ``(P,)`` or ``(F, P)``.
        convention: of U's sign, "COSMO" (HEALPix, healpy) or "IAU".

    Attributes:
        data: one string of bytes that holds all maps.
        entries: for each map, mask, Q and U: where in `data` it lies, and how to read it. The
            script of the page reads them.
        shown: the maps by title, in faces ``(F, 12, nside, nside)``.
        frames: how many frames each map has.
        sentences: for each map what is said of it, with a place for the unit.

    Raises:
        TypeError, ValueError: as `as_frames`; maps too large or too many for one page.
    """

    def __init__(
        self,
        maps: Mapping[str, Any],
        *,
        nside: int,
        order: str,
        mask: Any = None,
        polarisation: Sequence[Any] | None = None,
        convention: str = "COSMO",
    ):
        self.nside = check_nside(nside)
        self.order = check_order(order, allowed=("ring", "nested"))
        if nside > NSIDE_MAX:
            raise ValueError(
                f"nside must be at most {NSIDE_MAX} here, got {nside}: "
                "average over children first, or show a part"
            )
        names = {title: "maps" if len(maps) == 1 else f"maps[{title!r}]" for title in maps}
        _check_weight([shape_of(names[title], one) for title, one in maps.items()], nside)
        faces = {title: self._frames(names[title], one) for title, one in maps.items()}
        counts = {len(one) for one in faces.values()}
        if len(counts) > 1:
            raise ValueError(f"maps must have equally many frames, got {sorted(counts)}")
        self.frames = counts.pop()
        self.shown = faces
        self.data = b""
        self.entries: list[dict[str, Any]] = []
        self.sentences: list[str] = []
        for title, one in faces.items():
            packed = self._add(one, title=title)
            self.sentences.append(sentence(title, one, packed))
        if mask is not None:
            self._add(_inverted_mask(mask, nside=nside, order=order), title="mask", role="mask")
        if polarisation is not None:
            self._polarise(polarisation, convention)

    def _polarise(self, pair: Sequence[Any], convention: str) -> None:
        """Add Q and U, U with the sign that HEALPix gives it."""
        if len(pair) != 2:
            raise ValueError(f"polarisation must be the pair (Q, U), got {len(pair)} maps")
        signs = (1.0, SIGN_OF_U[one_of("convention", convention, allowed=SIGN_OF_U)])
        for role, one, sign in zip("QU", pair, signs, strict=True):
            faces = self._frames(f"polarisation {role}", one)
            if len(faces) not in (1, self.frames):
                raise ValueError(
                    f"polarisation {role} must be one map or have {self.frames} frames, "
                    f"got {len(faces)}"
                )
            self._add(sign * faces, title=role, role=role)

    def _frames(self, name: str, one: Any) -> NDArray[np.float64]:
        return as_frames(name, one, nside=self.nside, order=self.order)

    def _add(self, faces: NDArray[np.float64], **more: str) -> codec.Packed:
        """Append one map to `data` and `entries`; `more` is what its entry says beside that."""
        packed = codec.pack(faces)
        parts = []  # start and length of the map's bytes and of those of its missing pixels
        for part in (packed.data, packed.missing):
            parts.append([len(self.data), len(part)])
            self.data += part
        self.entries.append(
            {
                "frames": len(faces),
                "low": packed.low,
                "high": packed.high,
                "error": packed.error,
                "weights": packed.weights,
                "parts": parts,
                **more,
            }
        )
        return packed

    def adopt(self, entry: dict[str, Any], data: bytes) -> None:
        """Take over a mask or a polarisation from the `data` of other maps, by their `entry`."""
        parts = []
        for start, length in entry["parts"]:
            parts.append([len(self.data), length])
            self.data += data[start : start + length]
        self.entries.append(entry | {"parts": parts})

    def ends(self) -> tuple[float, float]:
        """Return the lowest and the highest value of all maps shown."""
        shown = [entry for entry in self.entries if "role" not in entry]
        return min(entry["low"] for entry in shown), max(entry["high"] for entry in shown)

    def summary(self, unit: str) -> str:
        """Say what is shown and in what `unit`, for readers who do not see the sphere."""
        size = nside_to_npix(self.nside)
        arcmin = np.degrees(resolution(self.nside)) * 60
        width = f"{arcmin:.0f} arcminutes" if arcmin < 120 else f"{arcmin / 60:.0f} degrees"
        start = f"HEALPix, Nside {self.nside}, {size:,} pixels of {width}. "
        after_a_number = f" {unit}" if unit else ""
        return start + " ".join(text.format(unit=after_a_number) for text in self.sentences)


def _inverted_mask(mask: Any, *, nside: int, order: str) -> NDArray[np.float64]:
    """Return faces ``(1, 12, nside, nside)``: 1 where a mask hides the sky, 0 where it is seen."""
    seen = as_frames("mask", mask, nside=nside, order=order)
    if len(seen) > 1 or not np.isin(seen, (0, 1)).all():
        raise ValueError("mask must be one map of True (seen) and False (hidden), or of 1 and 0")
    if not seen.any():
        raise ValueError("mask hides every pixel")
    return 1 - seen


def _check_weight(shapes: Sequence[tuple[int, ...]], nside: int) -> None:
    """Refuse more than a page can carry: from the shapes alone, before anything is copied."""
    maps = len(shapes)
    frames = max(shape[0] if len(shape) == 2 else 1 for shape in shapes)
    one = maps * nside_to_npix(nside) * 2  # bytes of a frame: two a pixel
    if frames * one <= HEAVIEST:
        return
    fits = 1
    while frames * maps * nside_to_npix(2 * fits) * 2 <= HEAVIEST:
        fits = 2 * fits
    fewer = f"at most {HEAVIEST // one} frames" if one <= HEAVIEST else "fewer maps"
    raise ValueError(
        f"{'frames' if frames > 1 else 'maps'}: {max(frames, maps)} at nside {nside} "
        f"would weigh about {frames * one / 2**20:.0f} MiB, more than {HEAVIEST / 2**20:.0f} MiB; "
        f"show {fewer}, or go down to nside {fits}"
    )
