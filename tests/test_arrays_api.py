"""Every public function of the library against every kind of array that a researcher may hold.

Each cell is one function, one of its arguments and one kind of array. It is right if the result is
that of a plain tensor of the same numbers, or if a TypeError or a ValueError names the argument.
"""

import inspect
import re
import warnings
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch
from api_calls import HIDDEN_BY, NO_ARRAYS, Fixed, functions, rows
from astropy import units
from astropy.table import Column

FUNCTIONS = functions()
ROWS = rows()
MASKED_IS_A_HOLE = {
    "plot.sphere.globe",
    "plot.sphere.mollweide",
    "widgets.sphere.figure",
    "widgets.sphere.view",
    "widgets.skies.as_frames",
}
PAGES = "skytutor.widgets"  # what a page shows is tested by as_frames
# Other meanings, as the docstrings say: bytes of an image are 0 to 255, of a mask no mean is taken.
OTHER_MEANINGS = {
    "data.projection.centre_of_mass": "unsigned byte",
    "data.projection.check_images": "unsigned byte",
    "data.projection.project": "unsigned byte",
    "data.projection.project_scatter": "unsigned byte",
    "data.sky_patches.gnomonic_patch": "bool",
    "widgets.sphere.figure": "dict",
    "widgets.sphere.view": "dict",
}
ARRAYS = re.compile(r"Tensor|ndarray|NDArray|\bAny\b")


def reversed_twice(values):
    """Return the same numbers with negative strides."""
    turned = values[(slice(None, None, -1),) * values.ndim].copy()
    return turned[(slice(None, None, -1),) * values.ndim]


def read_only(values):
    out = values.copy()
    out.flags.writeable = False
    return out


def column(values):
    """Return the numbers as a column of a record array, neither aligned nor contiguous."""
    record = np.zeros(
        values.shape, dtype=[("flag", "u1"), ("value", values.dtype.newbyteorder(">"))]
    )
    record["value"] = values
    return record["value"]


def masked(values, *, any_hidden):
    out = np.ma.array(values)
    if any_hidden:
        mask = np.zeros(values.shape, dtype=bool)
        mask.reshape(-1)[-1] = True
        out = np.ma.array(values, mask=mask)
    return out


# What each makes of a NumPy array of float64, int64, bool or complex128.
ALWAYS = {
    "big-endian": lambda v: v.astype(v.dtype.newbyteorder(">")),
    "negative strides": reversed_twice,
    "read-only": read_only,
    "broadcast": lambda v: np.broadcast_to(v, v.shape),
    "Fortran order": np.asfortranarray,
    "column of a table": column,
    "nothing masked": lambda v: masked(v, any_hidden=False),
    "list": lambda v: v.tolist(),
    "tuple": lambda v: tuple(v),
    "list of tensors": lambda v: [torch.as_tensor(row) for row in v],
    "dimensionless": lambda v: v * units.dimensionless_unscaled if v.dtype != bool else v,
    "column without unit": lambda v: Column(v),
    "array": lambda v: v,
}
REFUSED = {
    "masked": lambda v: masked(v, any_hidden=True),
    "list of masked": lambda v: [masked(np.asarray(row), any_hidden=True) for row in v],
    "with a unit": lambda v: v * 1.0 * units.K,
    "column with a unit": lambda v: Column(v, unit="K"),
    "objects": lambda v: v.astype(object),
    "text": lambda v: v.astype(str),
    "dict": lambda v: {"values": v},
    "none in a list": lambda v: [None] * len(v),
    "dates": lambda v: np.zeros(v.shape, "M8[D]"),
    "sparse": lambda v: torch.from_numpy(v).to_sparse(),
}
# Other types: right with the numbers that they hold, or refused.
OTHERS = {
    "f": {
        "big-endian single": lambda v: v.astype(">f4"),
        "half": lambda v: v.astype("f2"),
        "bfloat16": lambda v: torch.from_numpy(v).bfloat16(),
        "half tensor": lambda v: torch.from_numpy(v).half(),
        "long double": lambda v: v.astype("g"),
        "big-endian short": lambda v: v.astype(">i2"),
        "unsigned byte": lambda v: np.abs(v).astype("u1"),
        "bool": lambda v: v > 0.5,
        "negative view": lambda v: torch._neg_view(-torch.from_numpy(v)),
    },
    "i": {
        f"{order}{kind}": lambda v, t=f"{order}{kind}": v.astype(t)
        for order, kind in [
            ("", "i1"),
            (">", "i2"),
            (">", "i4"),
            ("", "u1"),
            (">", "u2"),
            ("", "u4"),
            ("", "u8"),
            (">", "f4"),
            ("", "f8"),
            ("", "?"),
        ]
    }
    | {
        "torch uint16": lambda v: torch.from_numpy(v).to(torch.uint16),
        "torch int8": lambda v: torch.from_numpy(v).to(torch.int8),
    },
    "c": {
        "big-endian single": lambda v: v.astype(">c8"),
        "long double": lambda v: v.astype("G"),
        "conjugate view": lambda v: torch.from_numpy(v.conj()).conj(),
    },
    "b": {
        "byte": lambda v: v.astype("u1"),
        "big-endian": lambda v: v.astype(">i4"),
        "double": lambda v: v.astype(float),
    },
}


def places(args, arguments):
    """Yield where the tensors of a call stand: the key of the argument, and that inside a dict."""
    for key, value in [*enumerate(args), *arguments.items()]:
        if isinstance(value, torch.Tensor):
            yield key, None
        elif isinstance(value, dict):
            for inner, part in value.items():
                if isinstance(part, torch.Tensor):
                    yield key, inner


def invoke(function, args, arguments):
    """Call, with what must be new each time made anew; return the result in comparable form."""
    made = {}

    def fresh(value):
        if isinstance(value, Fixed):
            return value.value
        if (
            inspect.isfunction(value)
            and value.__module__ == "api_calls"
            and not inspect.signature(value).parameters.keys() - {"seed"}
        ):
            made[value] = value()
            return made[value]
        return value

    result = function(
        *[fresh(value) for value in args], **{key: fresh(v) for key, v in arguments.items()}
    )
    models = [value for value in made.values() if isinstance(value, torch.nn.Module)]
    if result is None and models:
        result = list(models[0].state_dict().values())
    if callable(result) and not isinstance(result, torch.Tensor):
        result = result(torch.ones(8, 8, dtype=torch.float64))
    return list(numbers(result))


def numbers(result):
    """Yield the arrays of a result, whatever holds them."""
    if isinstance(result, torch.Tensor):
        yield result.detach().cpu().resolve_conj().to(torch.complex128)
    elif isinstance(result, np.ndarray | float | int | complex):
        yield torch.as_tensor(np.ma.filled(np.asarray(result), np.nan)).to(torch.complex128)
    elif hasattr(result, "get_array"):  # an image of matplotlib
        yield from numbers(result.get_array().astype(float))
    elif result is None or isinstance(result, str) or type(result).__module__.startswith(PAGES):
        yield str(result)
    else:
        for part in parts(result):
            yield from numbers(part)


def parts(result):
    """Return what a dict, a tuple or a dataclass holds."""
    if isinstance(result, dict):
        return list(result.values())
    if is_dataclass(result):
        return [getattr(result, field.name) for field in fields(result)]
    return list(result)


def alike(found, wanted, tolerance):
    """Return whether two results hold the same."""
    if len(found) != len(wanted):
        return False
    for a, b in zip(found, wanted, strict=True):
        if not isinstance(a, torch.Tensor):
            # Pages have names of their own; what they show is tested where they are made.
            if type(a) is not type(b) or (a != b and not isinstance(a, str)):
                return False
        # Part by part: beside an infinite one the other may be rounded.
        elif a.shape != b.shape or not torch.allclose(
            torch.view_as_real(a),
            torch.view_as_real(b),
            rtol=tolerance,
            atol=tolerance * max(1.0, largest(b)),
            equal_nan=True,
        ):
            return False
    return True


def largest(tensor):
    finite = tensor.abs()[tensor.abs().isfinite()]
    return float(finite.max()) if len(finite) else 0.0


def replaced(args, arguments, key, inner, value):
    """Return a call with another value at a place."""
    if inner is not None:
        old = args[key] if isinstance(key, int) else arguments[key]
        value = {**old, inner: value}
    if isinstance(key, int):
        return (*args[:key], value, *args[key + 1 :]), arguments
    return args, {**arguments, key: value}


def argument_name(function, key, inner):
    """Return the words of which an error must have one."""
    names = list(inspect.signature(function).parameters)
    if isinstance(key, int):
        kinds_of = [p.kind for p in inspect.signature(function).parameters.values()]
        stars = inspect.Parameter.VAR_POSITIONAL
        last = kinds_of.index(stars) if stars in kinds_of else len(names)
        key = names[min(key, last)]
    return {key} | ({str(inner)} if inner is not None else set())


def plain(kind, value):
    """Return the tensor of the numbers that a kind of array holds, in the kind of the base."""
    if isinstance(value, torch.Tensor):
        held = value.to_dense() if value.layout is not torch.strided else value
        held = held.resolve_conj().resolve_neg()
    else:
        array = np.asarray(value)
        if array.dtype.kind not in "biufc":
            return None
        held = torch.from_numpy(
            array.astype(
                {"f": "f8", "i": "i8", "u": "i8", "c": "c16", "b": "?"}[array.dtype.kind]
            ).copy()
        )
    target = {"f": torch.float64, "i": torch.int64, "c": torch.complex128, "b": torch.bool}[kind]
    if held.is_complex() and target != torch.complex128:
        return None
    return held.to(target)


def first_line(error):
    return str(error).partition("\n")[0][:200]


def outcome(function, args, arguments):
    """Return the result of a call, or its error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return invoke(function, args, arguments), None
    except Exception as error:
        return None, error


def fault(function, call, place, kind, *, name):
    """Return what is wrong in one cell, or nothing."""
    args, arguments = call
    label, make, refused = kind
    key, inner = place
    base = args[key] if isinstance(key, int) else arguments[key]
    base = base if inner is None else base[inner]
    values = base.numpy().copy()
    letter = values.dtype.kind
    value = make(values.copy())
    before = [np.array(v, copy=True) for v in [value] if isinstance(value, np.ndarray)]
    found, error = outcome(function, *replaced(args, arguments, key, inner, value))
    given = {word for word in args if isinstance(word, str)}  # a name that is passed along
    if before and not np.array_equal(before[0].astype(str), np.asarray(value).astype(str)):
        return f"{label}: changed the array that it was given"
    if error is not None:
        words = argument_name(function, key, inner) | given
        fits = isinstance(error, TypeError | ValueError | UserWarning)
        if fits and any(re.search(rf"\b{re.escape(word)}", str(error)) for word in words):
            return None
        return f"{label}: {type(error).__name__} names no argument of {words}: {first_line(error)}"
    if refused:
        hole = name in MASKED_IS_A_HOLE and "mask" in label
        # What comes out of these is compared in test_masked_arrays.
        names = argument_name(function, key, inner)
        hole |= label == "masked" and any(one in names for one, _ in HIDDEN_BY.get(name, ()))
        return None if hole else f"{label}: accepted without a word"
    same = plain(letter, value)
    wanted, why = outcome(function, *replaced(args, arguments, key, inner, same))
    if why is not None:
        return f"{label}: accepted, and the plain tensor is not: {first_line(why)}"
    tolerance = {"half": 2e-3, "bfloat16": 2e-2, "half tensor": 2e-3}.get(label, 1e-9)
    if getattr(
        np.asarray(value) if not isinstance(value, torch.Tensor) else value, "dtype", None
    ) in (np.dtype(">f4"), np.dtype(">c8")):
        tolerance = 1e-4
    if not alike(found, wanted, tolerance):
        return f"{label}: another result than of the plain tensor"
    return None


def kinds(letter):
    """Yield every kind of array for a base of one letter: label, maker, whether it is refused."""
    for table, refused in ((ALWAYS, False), (OTHERS[letter], False), (REFUSED, True)):
        for label, make in table.items():
            yield label, make, refused


def cells(name):
    """Yield the place and the kind of every cell of a function."""
    args, arguments = ROWS[name]
    for key, inner in places(args, arguments):
        base = args[key] if isinstance(key, int) else arguments[key]
        base = base if inner is None else base[inner]
        for kind in kinds(base.numpy().dtype.kind):
            if OTHER_MEANINGS.get(name) != kind[0]:
                yield (key, inner), kind


@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_kind_of_array(name):
    function = FUNCTIONS[name]
    _, error = outcome(function, *ROWS[name])
    assert error is None, f"the call of the table fails: {error!r}"
    faults = []
    count = 0
    for place, kind in cells(name):
        count += 1
        wrong = fault(function, ROWS[name], place, kind, name=name)
        if wrong:
            faults.append(f"{place[0]} {place[1] or ''} as {wrong}")
    assert count
    assert not faults, f"{len(faults)} of {count} cells\n" + "\n".join(faults)


def test_every_public_function_is_in_one_of_the_tables():
    taking = set()
    for name, function in FUNCTIONS.items():
        parameters = inspect.signature(function).parameters.values()
        if any(ARRAYS.search(str(parameter.annotation)) for parameter in parameters):
            taking.add(name)
    assert not taking - ROWS.keys() - NO_ARRAYS.keys(), "give each a row in tests/api_calls.py"
    assert not ROWS.keys() & NO_ARRAYS.keys()
    assert not (ROWS.keys() | NO_ARRAYS.keys()) - FUNCTIONS.keys(), "gone from the package"


def test_the_number_of_cells(capsys):
    count = sum(1 for name in ROWS for _ in cells(name))
    with capsys.disabled():
        print(f"\n{len(ROWS)} functions of {len(FUNCTIONS)}, {count} cells of kinds of array")
    assert count > 5000
