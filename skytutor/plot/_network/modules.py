"""Questions about modules: which are layers, which are lists, what they keep."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.plot._network.graph import tensors_in


def is_list(module: nn.Module) -> bool:
    """Return whether a module is a mere list of others, of which a drawing says nothing."""
    return type(module) in (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def is_torch_layer(module: nn.Module) -> bool:
    """Return whether a module is one of torch's own, and no mere list of others."""
    return type(module).__module__.startswith("torch.nn.") and not is_list(module)


def children_of(module: nn.Module) -> list[nn.Module]:
    """Return the modules directly below one, without those that only constrain its weights."""
    found = [child for name, child in module.named_children() if name != "parametrizations"]
    return [child for child in found if child is not module]


def class_name(module: nn.Module) -> str:
    """Return the class of a module as its author wrote it."""
    kind = type(module)
    if torch.nn.utils.parametrize.is_parametrized(module):
        kind = kind.__mro__[1]
    return kind.__name__


def is_norm(name: str) -> bool:
    """Return whether a class normalises, by its name.

    Arguments:
        name: of the class.
    """
    return name.rstrip("123d").lower().endswith("norm")


def functions_of(module: nn.Module) -> dict[str, Callable[..., Any]]:
    """Return the functions that a module keeps as attributes, torch's own left out.

    Arguments:
        module: that keeps them.
    """
    found = {}
    for name, thing in vars(module).items():
        if name.startswith("_") or isinstance(thing, type | nn.Module):
            continue
        inner = thing.func if isinstance(thing, functools.partial) else thing
        label = getattr(inner, "__name__", "")
        home = getattr(inner, "__module__", None) or "torch"
        if callable(inner) and label.isidentifier() and not home.startswith("torch"):
            found[name] = thing
    return found


def methods_of(module: nn.Module) -> Iterator[str]:
    """Yield the names of a module's own public methods."""
    for kind in type(module).__mro__:
        if kind is nn.Module or kind.__module__.startswith("torch."):
            return
        for name, thing in vars(kind).items():
            callable_here = callable(thing) and not isinstance(thing, type)
            if callable_here and (name == "forward" or name[0] != "_") and name != "extra_repr":
                yield name


def all_modules(root: nn.Module) -> list[nn.Module]:
    """Return all modules of a network, those among them that it keeps without registering."""
    found: list[nn.Module] = []
    waiting = [root]
    while waiting:
        module = waiting.pop()
        if any(module is other for other in found):
            continue
        found.append(module)
        waiting += module.children()
        for thing in functions_of(module).values():
            owner = getattr(thing, "__self__", None)
            if isinstance(owner, nn.Module):
                waiting.append(owner)
        waiting += [thing for thing in vars(module).values() if isinstance(thing, nn.Module)]
    return found


def constants_of(root: nn.Module) -> list[Tensor]:
    """Return buffers, parameters and tensors that the modules of a network keep.

    Arguments:
        root: the network.
    """
    found: list[Tensor] = []
    for module in all_modules(root):
        found += module.buffers(recurse=False)
        found += module.parameters(recurse=False)
        for thing in vars(module).values():
            if isinstance(thing, torch.Tensor | list | tuple | dict):
                found += tensors_in(thing)
    return found


def named_tensors(call: Callable[..., Any], args: Any, kwargs: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor among the arguments of a call, with the name of the argument.

    Arguments:
        call: a function or a method.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    try:
        given = inspect.signature(call).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):  # the call itself will say what does not fit
        given = {"input": (args, kwargs)}
    for name, thing in given.items():
        for tensor in tensors_in(thing):
            yield name, tensor
