"""Argument checks that every part of the package shares: integers, choices, finite values, spin.

Each check returns what it was given if it is fit for use, and raises a ``TypeError`` or a
``ValueError`` that names the argument, what came and what is allowed. Checks that know HEALPix
(nside, pixel order, maps) stand in `skytutor.healpix.checks`.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.values import on_values

__all__ = [
    "as_integer",
    "as_length",
    "as_names",
    "as_seed",
    "check_axes",
    "check_broadcast",
    "check_columns",
    "check_generator",
    "check_spin",
    "hard_mask",
    "one_of",
    "optional_generator",
    "positive",
]


def as_integer(name: str, value: Any, *, wanted: str = "an integer") -> int:
    """Return `value` as an int.

    Arguments:
        name: what the error message calls the value.
        value: an int, or anything that converts to one without loss, such as a NumPy integer.
        wanted: what the error message asks for.

    Returns:
        The value as a Python int.

    Raises:
        TypeError: bool, float, text, arrays and anything else that is no integer.

    Example:
        >>> as_integer("size", 3)
        3
    """
    if not isinstance(value, bool):
        # Arrays own an __index__ too, which fails with a message that does not name the argument.
        try:
            return value.__index__()
        except (AttributeError, TypeError):
            pass
    raise TypeError(f"{name} must be {wanted}, got {value!r} ({type(value).__name__})")


def positive(**sizes: int) -> list[int]:
    """Return the sizes, each of which must be a positive integer.

    Arguments:
        **sizes: the values by the names that an error message calls them.

    Returns:
        The values in the order given.

    Raises:
        TypeError: one of them is no integer; the message names the first such.
        ValueError: one of them is below 1.

    Example:
        >>> positive(rings=3, columns=8)
        [3, 8]
    """
    for name, size in sizes.items():
        if as_integer(name, size, wanted="a positive integer") < 1:
            raise ValueError(f"{name} must be a positive integer, got {size!r}")
    return list(sizes.values())


def as_length(name: str, value: Any, *, zero: bool = False) -> float:
    """Return `value` as a float that is finite and positive, such as the side of a pixel.

    Arguments:
        name: what the error message calls the value.
        value: a number, or a tensor or an array that holds one.
        zero: whether 0 is allowed too.

    Returns:
        The value as a Python float.

    Raises:
        TypeError: bool, text, and anything else that is no number.
        ValueError: NaN, infinite, negative; 0 where it is not allowed.

    Example:
        >>> as_length("pixel_arcmin", 7)
        7.0
    """
    allowed = "finite and not negative" if zero else "finite and positive"
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if math.isnan(number) and not isinstance(value, float):
        raise TypeError(f"{name} must be {allowed}, got {value!r} ({type(value).__name__})")
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return number


def as_names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """Return several names; one alone must stand in a sequence too.

    Arguments:
        name: what the error message calls the values.
        values: the names.

    Raises:
        TypeError: a name itself, whose letters would be taken for names.
        ValueError: none.

    Example:
        >>> as_names("filters", ["sdss2010-g"])
        ('sdss2010-g',)
    """
    if isinstance(values, str):
        raise TypeError(f"{name} must be a sequence of names, got {values!r}")
    if not values:
        raise ValueError(f"{name} must hold one name or more, got none")
    return tuple(values)


def as_seed(name: str, value: Any, *, bits: int = 64) -> int:
    """Return a seed, refused where a generator would cut it and so take another one's.

    Arguments:
        name: what the error message calls the value.
        value: an integer from 0 on.
        bits: that the generator takes: 64 of torch, 32 of scikit-learn.

    Raises:
        TypeError: no integer.
        ValueError: negative, or of more bits.

    Example:
        >>> as_seed("seed", 3)
        3
    """
    seed = as_integer(name, value)
    if not 0 <= seed < 2**bits:
        raise ValueError(f"{name} must lie in 0..2**{bits} - 1, got {seed}")
    return seed


def check_generator(
    generator: Any, device: torch.device | None = None, *, name: str = "generator"
) -> torch.Generator:
    """Return a generator of random numbers, which must be one: None would be a hidden state.

    Arguments:
        generator: to be checked.
        device: that it has to be on; None for any.
        name: what the error message calls it.

    Raises:
        TypeError: no torch.Generator, but a seed or NumPy's: the message says how to make one.
        ValueError: one on another kind of device.

    Example:
        >>> check_generator(torch.Generator(), torch.device("cpu")).device
        device(type='cpu')
    """
    if not isinstance(generator, torch.Generator):
        kind = f"{type(generator).__module__}.{type(generator).__qualname__}"
        raise TypeError(
            f"{name} must be a torch.Generator, got {kind.removeprefix('builtins.')}; make one "
            "with torch.Generator().manual_seed(seed)"
        )
    if device is not None and generator.device.type != device.type:
        raise ValueError(f"{name} must be on the device {device}, got one on {generator.device}")
    return generator


def optional_generator(generator: Any) -> torch.Generator | None:
    """Return a generator of random numbers, or None, which stands for torch's own on the CPU.

    Arguments:
        generator: to be checked.

    Raises:
        TypeError: as `check_generator`.

    Example:
        >>> optional_generator(None) is None
        True
    """
    return None if generator is None else check_generator(generator)


def hard_mask(mask: Tensor, *, name: str = "mask") -> Tensor:
    """Return a mask of zeros and ones as bool.

    Arguments:
        mask: of any shape, True or 1 where seen, False or 0 where hidden; a tensor, an array or a
            list.
        name: what the error message calls it.

    Returns:
        The same shape; the mask itself if it is a tensor and bool.

    Raises:
        TypeError: no numbers.
        ValueError: other values.

    Example:
        >>> hard_mask(torch.tensor([0, 1]))
        tensor([False,  True])
    """
    mask = as_tensor(name, mask)
    if mask.dtype == torch.bool:
        return mask
    if on_values(mask, lambda values: bool(((values == 0) | (values == 1)).all())) is False:
        raise ValueError(
            f"{name} must be hard, 1 where seen and 0 where hidden; it holds other values, "
            "such as the soft edge of an apodised mask"
        )
    return mask == 1


def one_of(name: str, value: str, *, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the allowed words.

    Arguments:
        name: what the error message calls the value.
        value: the word to check.
        allowed: the words to choose from.

    Returns:
        The value itself.

    Raises:
        ValueError: any other word, or no text at all.

    Example:
        >>> one_of("mode", "mean", allowed=("max", "mean"))
        'mean'
    """
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def check_spin(spin: int) -> int:
    """Return `spin` if it is 0 (a scalar field) or 2 (Stokes Q and U).

    Arguments:
        spin: the spin of a field on the sphere.

    Returns:
        The spin as a Python int.

    Raises:
        TypeError: not an integer.
        ValueError: an integer other than 0 and 2.
    """
    if as_integer("spin", spin) not in (0, 2):
        raise ValueError(f"spin must be 0 or 2, got {spin}")
    return int(spin)


def check_columns(
    name: str, values: Tensor, *, columns: Sequence[str], single: bool = True
) -> None:
    """Refuse values that are not a row, or rows, with a number for each column.

    Arguments:
        name: what the error message calls the values.
        values: ``(N, n)``, or ``(n,)`` where a single row is allowed.
        columns: names of the n columns.
        single: whether one row may come without its axis.

    Raises:
        ValueError: another shape, which would be broadcast in silence.

    Example:
        >>> check_columns("scaled", torch.zeros(5, 2), columns=("r", "tau"))
    """
    dimensions = (1, 2) if single else (2,)
    if values.dim() not in dimensions or values.shape[-1] != len(columns):
        raise ValueError(
            f"{name} must be (N, {len(columns)}): {', '.join(columns)}; got {tuple(values.shape)}"
        )


def check_broadcast(**tensors: Tensor) -> list[Tensor]:
    """Return tensors if their shapes go together; they are not expanded.

    Arguments:
        **tensors: by the names that an error message calls them.

    Raises:
        ValueError: shapes that do not broadcast.

    Example:
        >>> len(check_broadcast(theta=torch.zeros(3), phi=torch.zeros(2, 1)))
        2
    """
    try:
        torch.broadcast_shapes(*[tensor.shape for tensor in tensors.values()])
    except RuntimeError:
        shapes = " and ".join(f"{name} {tuple(t.shape)}" for name, t in tensors.items())
        raise ValueError(f"{shapes} must have shapes that broadcast") from None
    return list(tensors.values())


def check_axes(axes: str, **tensors: Tensor) -> list[Tensor]:
    """Return tensors if each has the axes that belong to it, and axes of one name one length.

    Arguments:
        axes: of each tensor, in their order: ``"B 3, B"`` stands for ``(B, 3)`` and ``(B,)``.
        **tensors: by the names that an error message calls them.

    Raises:
        ValueError: another number of axes, or another length.

    Example:
        >>> len(check_axes("B 3, B", colours=torch.zeros(5, 3), redshift=torch.zeros(5)))
        2
    """
    wanted = [tuple(part.split()) for part in axes.split(",")]
    lengths: dict[str, int] = {}
    fits = True
    for names, tensor in zip(wanted, tensors.values(), strict=True):
        fits = fits and len(names) == tensor.dim()
        for axis, length in zip(names, tensor.shape, strict=False):
            # A number is its own length; a letter has that which it was met with first.
            first = int(axis) if axis.isdigit() else lengths.setdefault(axis, length)
            fits = fits and length == first
    if not fits:
        shapes = [f"({', '.join(names)}{',' if len(names) == 1 else ''})" for names in wanted]
        rules = " and ".join(f"{n} {shape}" for n, shape in zip(tensors, shapes, strict=True))
        found = " and ".join(str(tuple(tensor.shape)) for tensor in tensors.values())
        raise ValueError(f"{rules}: these axes are wanted, got {found}")
    return list(tensors.values())
