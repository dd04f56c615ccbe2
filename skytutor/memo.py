"""Results that are made once and kept, right in every mode of torch and safe from their users.

What a function computes the first time it is called depends on where that is: under
``torch.inference_mode`` tensors take no part in gradients ever after, under ``torch.export`` and
other fake modes they hold no numbers, autocast rounds them, a default device puts them elsewhere.
A table that is kept would carry this into every later call. So it is made outside every mode: all
of them belong to a thread, and a new thread begins with none. And who is handed the table itself
may change it for everybody else. So each caller gets a copy.

The default dtype belongs to the process, not to a thread: results are kept for each of them.
"""

import copy
import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cached_property, lru_cache, wraps
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Memoised", "cached_object", "cached_table", "cached_value", "outside_modes"]

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
# Values that nobody can change.
_FIXED = (str, bytes, bool, int, float, complex, type(None), torch.dtype, torch.device)


class Memoised(Protocol[Result_co]):
    """A function whose results are kept."""

    def __call__(self, *args: Any, **kwargs: Any) -> Result_co:
        """Return what is kept for these arguments, or make it."""

    def cache_clear(self) -> None:
        """Forget all results."""


def outside_modes(function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Return ``function(*args, **kwargs)``, computed outside of every mode of torch.

    Inference mode, disabled gradients, autocast, a default device, fake tensors, the recording of
    a graph and the transforms of ``torch.func`` all belong to the thread that entered them.

    Arguments:
        function: to be called.
        *args: its arguments.
        **kwargs: its arguments by name.

    Returns:
        What it returns.

    Raises:
        Exception: what it raises.

    Example:
        >>> with torch.inference_mode():
        ...     outside_modes(torch.ones, 2).is_inference()
        False
    """
    answer: Future[Result] = Future()

    def work() -> None:
        try:
            answer.set_result(function(*args, **kwargs))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True, name=f"outside-modes-{function.__name__}").start()
    return answer.result()


def cached_table(maxsize: int) -> Callable[[Callable[..., Result]], Memoised[Result]]:
    """Keep the tables that a function makes; each caller gets a copy.

    Arguments:
        maxsize: how many results are kept; the one that was not asked for longest goes first.

    Returns:
        The decorator. The function may return tensors, arrays, modules, and tuples, dictionaries
        and dataclasses of them; its arguments must be hashable.

    Raises:
        TypeError: when called, if the function returns anything else.

    Example:
        >>> @cached_table(maxsize=4)
        ... def squares(n):
        ...     return torch.arange(n, dtype=torch.float64).square()
        >>> _ = squares(3).mul_(2)
        >>> squares(3)
        tensor([0., 1., 4.], dtype=torch.float64)
    """
    return _decorator(maxsize, _copied)


def cached_object(maxsize: int) -> Callable[[Callable[..., Result]], Memoised[Result]]:
    """Keep what a function makes, and hand out the thing itself, not a copy.

    This is for internal functions alone, whose results do not leave the module that asks for them:
    transforms with large tables, splines.

    Arguments:
        maxsize: how many results are kept; the one that was not asked for longest goes first.

    Returns:
        The decorator.

    Example:
        >>> @cached_object(maxsize=1)
        ... def _pool():
        ...     return nn.AvgPool1d(4)
        >>> _pool() is _pool()
        True
    """
    return _decorator(maxsize, _itself)


def cached_value(method: Callable[[Any], Result]) -> cached_property[Result]:
    """Keep what a method returns as an attribute of its object.

    Arguments:
        method: takes the object alone.

    Returns:
        The descriptor, as `functools.cached_property`, but made outside of every mode.

    Example:
        >>> class Line:
        ...     @cached_value
        ...     def table(self):
        ...         return torch.ones(2, dtype=torch.float64)
        >>> with torch.inference_mode():
        ...     Line().table.is_inference()
        False
    """

    @wraps(method)
    def make(self: Any) -> Result:
        return outside_modes(method, self)

    return cached_property(make)


def _decorator(
    maxsize: int, hand_out: Callable[[Any], Any]
) -> Callable[[Callable[..., Result]], Memoised[Result]]:
    def decorate(function: Callable[..., Result]) -> Memoised[Result]:
        @lru_cache(maxsize)
        def keep(_: torch.dtype, *args: Any, **kwargs: Any) -> Result:
            return outside_modes(function, *args, **kwargs)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Result:
            # A graph that is being recorded holds the steps, which end as constants of it: nothing
            # that is made here is kept.
            if torch.compiler.is_dynamo_compiling():
                return function(*args, **kwargs)
            # The default dtype belongs to the process, not to a thread, so it is a part of the key.
            return cast(Result, hand_out(keep(torch.get_default_dtype(), *args, **kwargs)))

        found = cast(Any, call)
        found.cache_clear = keep.cache_clear
        return cast(Memoised[Result], found)

    return decorate


def _copied(result: Any) -> Any:
    """Return a copy of a table, made in the modes of the caller."""
    if isinstance(result, Tensor):
        return _in_fake_mode(result).clone()
    if isinstance(result, np.ndarray):
        return result.copy()
    if isinstance(result, nn.Module):
        return outside_modes(copy.deepcopy, result)
    if isinstance(result, tuple):
        parts = [_copied(part) for part in result]
        # A named tuple takes its fields one by one.
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    if isinstance(result, dict):
        return {key: _copied(part) for key, part in result.items()}
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        names = [field.name for field in dataclasses.fields(result)]
        return dataclasses.replace(
            result, **{name: _copied(getattr(result, name)) for name in names}
        )
    if isinstance(result, _FIXED):
        return result
    raise TypeError(
        f"result must be tensors, arrays, modules, or tuples, dictionaries and dataclasses of "
        f"them, got {type(result).__name__}"
    )


def _itself(result: Any) -> Any:
    return _in_fake_mode(result) if isinstance(result, Tensor) else result


def _in_fake_mode(table: Tensor) -> Tensor:
    """Return the table as the tensor without numbers that a fake mode asks for, if it does."""
    # What an ordinary constructor makes here says in which mode the caller is.
    mode = getattr(torch.empty(0), "fake_mode", None)
    if mode is None or mode.allow_non_fake_inputs:
        return table
    return cast(Tensor, mode.from_tensor(table))
