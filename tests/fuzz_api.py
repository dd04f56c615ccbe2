"""Public functions with arrays of any shape, type, stride and value: neither right nor named?

    python tests/fuzz_api.py --minutes 10 --seed 0

goes on for so long, and prints every kind of fault that it met: an error that names no argument of
the function, or a result that is not that of the plain tensor of the same numbers.
"""

import argparse
import inspect
import random
import re
import resource
import sys
import time
import traceback
import warnings
from collections import Counter

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_arrays_api import (
    FUNCTIONS,
    OTHER_MEANINGS,
    ROWS,
    alike,
    outcome,
    places,
    plain,
    read_only,
    replaced,
    reversed_twice,
)

from skytutor.files import CheckpointError
from skytutor.healpix import UNSEEN
from skytutor.sht.solvers import ConvergenceError

TYPES = ["f4", ">f4", "f8", ">f8", "f2", "i1", ">i2", "i4", ">i8", "u1", "u8", "?", "c8", ">c16"]
SPECIAL = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, UNSEEN, -1e-3 * UNSEEN, 1e30, 1e-300]
# What these do with an array is the business of the function that they are given.
OTHERS_FUNCTIONS = {
    "chunks.in_chunks",
    "fields.whitened.solve_whitened",
    "sht.solvers.conjugate_gradients",
}
KINDS = {"unsigned byte": "u", "bool": "b"}
TYPES_MATTER = {"training.checkpoint.to_float16"}  # integers are left as they are
MEMORY = 8 * 2**30  # bytes that a search may have
CALLS = 20  # examples of one search: few, so that all arguments get their turn


def column(values):
    """Return the numbers as a column of a table, neither aligned nor contiguous."""
    record = np.zeros(values.shape, dtype=[("flag", "u1"), ("value", values.dtype)])
    record["value"] = values
    return record["value"]


def first_everywhere(values):
    """Return the first of the numbers, in the same shape with strides of 0."""
    return np.broadcast_to(values.reshape(-1)[0], values.shape) if values.size else values


LAYOUTS = {
    "as it is": lambda found: found,
    "reversed": reversed_twice,
    "read-only": read_only,
    "Fortran": np.asfortranarray,
    "every second": lambda found: np.repeat(found[..., None], 2, axis=-1)[..., 0],
    "column of a table": column,
    "broadcast": first_everywhere,
}


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
def arrays(draw, base):
    """Draw an array: near that of a valid call, or of any shape and values; strided as it comes."""
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    origin = draw(st.sampled_from(["the table", "the table but one", "of the shape", "any"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if origin.startswith("the table"):
            found = np.array(base.numpy(), dtype=dtype)
        else:
            shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
            wanted = tuple(base.shape) if origin == "of the shape" else draw(shapes)
            found = np.asarray(draw(hnp.arrays(dtype, wanted, elements=values(dtype))))
        if origin == "the table but one":
            found.reshape(-1)[draw(st.integers(0, found.size - 1))] = draw(values(dtype))
    return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](found)


def fault(name, place, array):
    """Return what is wrong with one call, in words without numbers, or None."""
    function = FUNCTIONS[name]
    args, arguments = ROWS[name]
    key, inner = place
    base = at(name, place)
    before = array.copy()
    found, error = outcome(function, *replaced(args, arguments, key, inner, array))
    if array.tobytes() != before.tobytes():
        return "changed the array that it was given"
    if error is not None:
        return unnamed(name, inner, error)
    native = array.dtype.newbyteorder("=")
    same = torch.from_numpy(np.array(array, dtype=native, order="C"))
    wanted, why = outcome(function, *replaced(args, arguments, key, inner, same))
    if why is None and not alike(found, wanted, 1e-12 if is_double(array) else 1e-5):
        return "another result than of the tensor of its type"
    if KINDS.get(OTHER_MEANINGS.get(name)) == array.dtype.kind or name in TYPES_MATTER:
        return None
    double = plain(base.numpy().dtype.kind, array)
    if double is None or (not is_double(array) and is_extreme(array)):
        return None  # what overflows in a short type is another matter in a long one
    if array.dtype.kind == "f" and array.dtype.itemsize == 2 and np.isneginf(array).any():
        return (
            None  # UNSEEN does not fit into float16: a picture shows its minus infinity as a hole
        )
    wanted, why = outcome(function, *replaced(args, arguments, key, inner, double))
    if why is not None:
        return f"accepted, and the plain tensor is not: {in_words(why)}"
    return None if alike(found, wanted, 1e-9 if is_double(array) else 1e-2) else "another result"


def at(name, place):
    """Return the tensor of the table at a place."""
    args, arguments = ROWS[name]
    key, inner = place
    base = args[key] if isinstance(key, int) else arguments[key]
    return base if inner is None else base[inner]


def is_double(array):
    """Return whether the numbers have the precision of float64, integers too."""
    sizes = {"f": 4, "c": 8}
    return array.dtype.itemsize > sizes.get(array.dtype.kind, 0)


def is_extreme(array):
    """Return whether a square or a square root of a number leaves the range of float32."""
    with np.errstate(all="ignore"):
        size = np.abs(array.astype("c16"))
    return bool(((size > 1e6) & np.isfinite(size)).any() or ((size < 1e-6) & (size > 0)).any())


def unnamed(name, inner, error):
    """Return an error in words without numbers, or None if the library names an argument in it."""
    words = {*inspect.signature(FUNCTIONS[name]).parameters, str(inner)}
    words |= {word for word in ROWS[name][0] if isinstance(word, str)}
    named = any(re.search(rf"\b{re.escape(word)}\b", str(error)) for word in words)
    # What a solver reached is said with its bound; no argument alone is at fault.
    named = named or isinstance(error, ConvergenceError)
    ours = "skytutor" in traceback.extract_tb(error.__traceback__)[-1].filename
    allowed = (
        TypeError | ValueError | OverflowError | UserWarning | CheckpointError | ConvergenceError
    )
    if named and ours and isinstance(error, allowed):
        return None
    return in_words(error)


def in_words(error):
    first = re.sub(r"-?\d[\d.e+-]*", "#", str(error).partition("\n")[0])[:110]
    return f"{type(error).__name__}: {first}"


def search(name, place, *, number, calls, met):
    """Try one argument of one function."""
    key, inner = place
    where = f"{name}({key}{'' if inner is None else f'[{inner}]'})"

    @seed(number)
    @settings(
        max_examples=CALLS,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(arrays(at(name, place)))
    def run(array):
        calls[where] += 1
        wrong = fault(name, place, array)
        if wrong:
            if f"{where}: {wrong}" not in met:
                print(f"met: {where}: {wrong}", file=sys.stderr, flush=True)
            met.setdefault(f"{where}: {wrong}", []).append(array)

    run()


def report(number, every, calls, met):
    """Print what was searched, and an example of every kind of fault."""
    least = sum(calls[where] >= CALLS for where in calls)
    print(
        f"{calls.total()} calls of {len({name for name, _ in every})} functions, seed {number}; "
        f"{least} of {len(every)} arguments {CALLS} times or more: {len(met)} kinds of fault"
    )
    for wrong, examples in sorted(met.items(), key=lambda kind: -len(kind[1])):
        small = min(examples, key=lambda array: array.size)
        text = re.sub(r"\s+", " ", np.array2string(small, threshold=12))[:150]
        print(f"{len(examples):5} {wrong}\n      {small.dtype} {small.shape} {text}")


def main(words=None):
    """Search until the time is over; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(words)
    # A value that becomes the size of a result is met as an error, not as a machine without memory.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    end = time.monotonic() + 60 * args.minutes
    every = [
        (name, place)
        for name in sorted(ROWS.keys() - OTHERS_FUNCTIONS)
        for place in places(*ROWS[name])
    ]
    met = {}
    calls = Counter()
    number = args.seed
    while time.monotonic() < end:
        random.Random(number).shuffle(every)
        for name, place in every:
            if time.monotonic() >= end:
                break
            search(name, place, number=number, calls=calls, met=met)
        number += 1
    report(args.seed, every, calls, met)
    return int(bool(met))


if __name__ == "__main__":
    sys.exit(main())
