"""Public functions with arrays of any shape, type, stride and value: neither right nor named?

    python tests/fuzz_api.py --minutes 10 --seed 0

goes on for so long, and prints every kind of fault that it met: an error that names no argument of
the function, or a result that is not that of the plain tensor of the same numbers.
"""

import argparse
import inspect
import random
import re
import sys
import time
import warnings
from collections import Counter

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_arrays_api import FUNCTIONS, ROWS, alike, outcome, places, plain, replaced

from skytutor.healpix import UNSEEN

TYPES = ["f4", ">f4", "f8", ">f8", "f2", "i1", ">i2", "i4", ">i8", "u1", "u8", "?", "c8", ">c16"]
SPECIAL = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, UNSEEN, -1e-3 * UNSEEN, 1e30, 1e-300]
# What these do with an array is the business of the function that they are given.
OTHERS_FUNCTIONS = {
    "chunks.in_chunks",
    "fields.whitened.solve_whitened",
    "sht.solvers.conjugate_gradients",
}
CALLS = 50  # examples of one search: few, so that all functions get their turn


def values(dtype):
    """Return a strategy of numbers that a type holds, special ones among them."""
    kind = np.dtype(dtype).kind
    if kind in "fc":
        some = [value for value in SPECIAL if np.isfinite(np.dtype(dtype).type(value)) or kind]
        return st.sampled_from(some) | st.floats(-10, 10, width=16)
    if kind == "?" or kind == "b":
        return st.booleans()
    ends = np.iinfo(np.dtype(dtype))
    return st.integers(0, 12) | st.sampled_from([int(ends.min), int(ends.max)])


@st.composite
def arrays(draw, shape):
    """Draw an array: of the shape that belongs here, or of any other; strided as it comes."""
    dtype = draw(st.sampled_from(TYPES))
    wanted = draw(st.just(shape) | hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = np.asarray(draw(hnp.arrays(np.dtype(dtype), wanted, elements=values(dtype))))
    turn = draw(st.sampled_from(["as it is", "reversed", "read-only", "Fortran"]))
    if turn == "reversed" and found.ndim:
        found = found[::-1]
    if turn == "read-only":
        found.flags.writeable = False
    return np.asfortranarray(found) if turn == "Fortran" else found


def fault(name, place, array):
    """Return what is wrong with one call, in words without numbers, or None."""
    function = FUNCTIONS[name]
    args, arguments = ROWS[name]
    key, inner = place
    base = args[key] if isinstance(key, int) else arguments[key]
    base = base if inner is None else base[inner]
    found, error = outcome(function, *replaced(args, arguments, key, inner, array))
    if error is not None:
        words = {*inspect.signature(function).parameters, str(inner)}
        words |= {word for word in args if isinstance(word, str)}
        named = any(re.search(rf"\b{re.escape(word)}", str(error)) for word in words)
        if named and isinstance(error, TypeError | ValueError | OverflowError | UserWarning):
            return None
        first = re.sub(r"-?\d[\d.e+-]*", "#", str(error).partition("\n")[0])[:110]
        return f"{type(error).__name__}: {first}"
    same = plain(base.numpy().dtype.kind, array)
    if same is None:
        return None
    wanted, why = outcome(function, *replaced(args, arguments, key, inner, same))
    if why is not None:
        return None  # the type itself carries a meaning that its numbers in float64 do not
    single = array.dtype.itemsize <= (8 if array.dtype.kind == "c" else 4)
    return None if alike(found, wanted, 1e-2 if single else 1e-9) else "another result"


def search(name, place, *, number, met):
    """Try one argument of one function."""
    args, arguments = ROWS[name]
    key, inner = place
    base = args[key] if isinstance(key, int) else arguments[key]
    base = base if inner is None else base[inner]

    @seed(number)
    @settings(
        max_examples=CALLS,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(arrays(tuple(base.shape)))
    def run(array):
        met["calls"] += 1
        wrong = fault(name, place, array)
        if wrong:
            met[f"{name}({key}{'' if inner is None else f'[{inner}]'}): {wrong}"] += 1

    run()


def main(words=None):
    """Search until the time is over; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(words)
    end = time.monotonic() + 60 * args.minutes
    every = [
        (name, place)
        for name in sorted(ROWS.keys() - OTHERS_FUNCTIONS)
        for place in places(*ROWS[name])
    ]
    met = Counter()
    number = args.seed
    while time.monotonic() < end:
        random.Random(number).shuffle(every)
        for name, place in every:
            if time.monotonic() >= end:
                break
            search(name, place, number=number, met=met)
        number += 1
    calls = met.pop("calls")
    print(f"{calls} calls of {len(ROWS)} functions, seed {args.seed}: {len(met)} kinds of fault")
    for wrong, count in met.most_common():
        print(f"{count:5} {wrong}")
    return int(bool(met))


if __name__ == "__main__":
    sys.exit(main())
