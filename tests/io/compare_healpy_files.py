"""Compare `skytutor.io.read_map` with `healpy.read_map` on every FITS file below a folder.

The test suite of healpy has such files, in its source distribution, which is not installed::

    pip download --no-deps --no-binary healpy healpy -d . && tar xzf healpy-*.tar.gz
    python tests/io/compare_healpy_files.py healpy-*/

All fields are read in the order of the file, RING and NESTED. It ends with status 1 if one of them
differs, or if one of the two refuses what the other reads.
"""

import logging
import sys
import warnings
from pathlib import Path

import healpy
import numpy as np

from skytutor.io import read_map

ORDERS = {None: None, "ring": False, "nested": True}


def attempt(read):
    """Return what a reader gives, or the error that it raises."""
    try:
        return read()
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        return error


def compare(path, order):
    """Return "equal", "refused" by both, or what the difference is."""
    nest = ORDERS[order]
    theirs = attempt(lambda: healpy.read_map(path, field=None, nest=nest, dtype=None))
    ours = attempt(lambda: read_map(path, field=None, order=order))
    if isinstance(theirs, Exception) and isinstance(ours, Exception):
        return "refused"
    if isinstance(ours, Exception):
        return f"DIFFERENT, refused here alone: {ours}"
    if isinstance(theirs, Exception):
        return f"DIFFERENT, refused by healpy alone: {theirs}"
    same = np.array_equal(ours.values.numpy(), np.atleast_2d(theirs))
    return "equal" if same else "DIFFERENT values"


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    found = {}
    for path in sorted(Path(sys.argv[1]).rglob("*.fits*")):
        for order in ORDERS:
            word = compare(path, order)
            found.setdefault(word.split(",")[0], set()).add(path)
            if word not in ("equal", "refused"):
                print(f"{path}, order {order}: {word}")
    for word, paths in found.items():
        print(f"{len(paths)} files: {word}")
    equal = ", ".join(path.name for path in sorted(found.get("equal", ())))
    print(f"equal: {equal}")
    return int(not found.get("equal") or set(found) - {"equal", "refused"} != set())


if __name__ == "__main__":
    sys.exit(main())
