"""Modules with tables that follow from their arguments: right after every way to build and move.

A layer on the sphere needs numbers that are no parameters: neighbours, Legendre functions, pixel
centres. They are buffers that no checkpoint holds (``persistent=False``), since the arguments of
the constructor give them. PyTorch knows no arguments, so what it does to a module on the meta
device leaves such a table empty: after ``to_empty`` and ``load_state_dict`` all keys have matched
and the table holds whatever was in memory. `TableModule` remembers its arguments and makes its
tables again.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from skytutor.memo import outside_modes

__all__ = ["TableModule"]


class _RemembersArguments(type):
    """Keeps the arguments that an object was made from, and makes it where there are numbers."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the object; on the meta device it is made on the CPU and then emptied."""
        make = super().__call__
        if torch.empty(0).is_meta:
            made = outside_modes(_made, make, args, kwargs).to("meta")
        else:
            made = make(*args, **kwargs)
        made._arguments = (args, kwargs)
        return made


def _made(make: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Make an object without using up random numbers: its weights are not wanted."""
    with torch.random.fork_rng(devices=[]):
        return make(*args, **kwargs)


class TableModule(nn.Module, metaclass=_RemembersArguments):
    """A module whose buffers outside the state dict follow from the constructor's arguments.

    They are made again when the module leaves the meta device, by ``to_empty`` or by
    ``load_state_dict(assign=True)``.

    Raises:
        RuntimeError: the tables cannot be made again, because an argument was itself a tensor on
            the meta device.

    Example:
        >>> class Scale(TableModule):
        ...     def __init__(self, n):
        ...         super().__init__()
        ...         self.register_buffer("table", torch.arange(n), persistent=False)
        >>> with torch.device("meta"):
        ...     layer = Scale(3)
        >>> layer.to_empty(device="cpu").table
        tensor([0, 1, 2])
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    # Whether ``.half()`` and ``.double()`` of a network around it leave its tables as they are.
    _fixed_precision = False

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        empty = self._empty_tables()
        super()._apply(_careful(fn, fixed=self._fixed_precision), recurse)
        self._fill([name for name in empty if not self.get_buffer(name).is_meta])
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # With assign=True the weights are real from here on.
        weights = list(self.parameters(recurse=False))
        if weights and not any(weight.is_meta for weight in weights):
            self._fill(self._empty_tables(), device=weights[0].device)

    def _empty_tables(self) -> list[str]:
        """Return the names of the tables on the meta device, here and in plain modules inside."""
        return [f"{prefix}{name}" for prefix, name in _empty_in("", self)]

    def _fill(self, names: list[str], device: torch.device | None = None) -> None:
        """Make tables again and put them in place, in the precision the module has now."""
        if not names:
            return
        args, kwargs = self._arguments
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor) and value.is_meta:
                raise RuntimeError(
                    f"{type(self).__name__} was built from a tensor on the meta device, which "
                    "holds no numbers: its tables cannot be made; build it from a real tensor"
                )
        fresh = outside_modes(_made, type(self), args, kwargs)
        for name in names:
            place = self.get_buffer(name)
            table = fresh.get_buffer(name).to(dtype=place.dtype)
            path, _, last = name.rpartition(".")
            owner = self.get_submodule(path)
            setattr(owner, last, table.to(place.device if device is None else device))


def _careful(fn: Callable[[Tensor], Tensor], *, fixed: bool) -> Callable[[Tensor], Tensor]:
    """Return what moves tensors as `fn` does, and keeps complex numbers complex.

    PyTorch drops the imaginary parts of what it converts to a real type. There are none of 16 bits
    that it computes with: those stay as they are, and with `fixed` all tensors do.
    """

    def move(tensor: Tensor) -> Tensor:
        parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        moved = fn(parts)
        short = tensor.is_complex() and moved.dtype not in (torch.float32, torch.float64)
        if short or (fixed and moved.dtype != parts.dtype):
            # The digits that `fn` has cut off are still here.
            return tensor.to(moved.device)
        return torch.view_as_complex(moved) if tensor.is_complex() else moved

    return move


def _empty_in(prefix: str, module: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield path and name of each table on the meta device, but for those of a TableModule inside.

    That one makes its own.
    """
    tables = [name for name, table in module.named_buffers(recurse=False) if table.is_meta]
    if tables:
        saved = module.state_dict()
        yield from ((prefix, name) for name in tables if name not in saved)
    for name, child in module.named_children():
        if not isinstance(child, TableModule):
            yield from _empty_in(f"{prefix}{name}.", child)
