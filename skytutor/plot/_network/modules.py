"""Questions about modules: which are layers, what they keep, what is worth telling of them."""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from skytutor.plot._network.graph import tensors_in
from skytutor.plot._network.states import number, times

# Attributes that hold what goes into a layer and what comes out.
_PAIRS = (
    ("in_channels", "out_channels"),
    ("in_features", "out_features"),
    ("num_embeddings", "embedding_dim"),
    ("input_size", "hidden_size"),
)
# Attribute, and the word for it.
_DETAILS = (("num_heads", "heads"), ("num_layers", "layers"))


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


# --- what the box of a layer says beside its name ---


def sizes_of(module: nn.Module, inputs: list[Tensor], outputs: list[Tensor]) -> str:
    """Return ``"32 → 64"``: channels or numbers that go into a layer and come out.

    Arguments:
        module: the layer; its attributes say so, or those of the one layer within it.
        inputs: its tensors, looked at where there is no such attribute.
        outputs: likewise.
    """
    if next(module.parameters(), None) is None:
        return ""  # pools and functions: the states before and after them say all
    inner: nn.Module | None = module
    while inner is not None:
        for one, other in _PAIRS:
            before = getattr(inner, one, None)
            after = getattr(inner, other, None)
            if isinstance(before, int) and isinstance(after, int):
                return f"{number(before)} → {number(after)}"
        below = children_of(inner)
        inner = below[0] if len(below) == 1 else None
    if (
        is_torch_layer(module)
        or not inputs
        or not outputs
        or inputs[0].dim() < 2
        or outputs[0].dim() < 2
    ):
        return ""
    return f"{number(inputs[0].shape[1])} → {number(outputs[0].shape[1])}"


def details_of(module: nn.Module) -> list[str]:
    """Return kernel, stride and the like of a layer, in words.

    Arguments:
        module: the layer.
    """
    below = children_of(module)
    if not hasattr(module, "kernel_size") and len(below) == 1 and not is_torch_layer(module):
        return details_of(below[0])
    found = []
    kernel = times(getattr(module, "kernel_size", None))
    if kernel:
        found.append(f"kernel {kernel}")
        for word in ("stride", "dilation"):
            value = getattr(module, word, 1)
            steps = value if isinstance(value, tuple) else (value,)
            if set(steps) != {1} and times(steps):
                found.append(f"{word} {times(steps[:1] if len(set(steps)) == 1 else steps)}")
    if isinstance(getattr(module, "groups", None), int) and module.groups != 1:
        found.append(f"{module.groups} groups")
    for name, word in _DETAILS:
        value = getattr(module, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value != 1:
            found.append(f"{number(value)} {word}")
    return found + _constraints(module)


def settings_of(module: nn.Module) -> list[str]:
    """Return all that tells a layer from others of its class, but the values of its weights.

    Arguments:
        module: the layer.
    """
    own = [f"{k}={v}" for k, v in vars(module).items() if isinstance(v, int | float | str)]
    return [repr(module), *own]


def _constraints(module: nn.Module) -> list[str]:
    """Return what keeps the weights of a layer within bounds: ``["spectral norm"]``."""
    if not parametrize.is_parametrized(module):
        return []
    found = []
    parametrizations = module.get_submodule("parametrizations")
    for constraints in parametrizations.children():
        for constraint in constraints.children():
            # CamelCase to words: _SpectralNorm, _WeightNorm.
            words = re.findall("[A-Z][a-z]*", type(constraint).__name__)
            found.append(" ".join(words).lower())
    return list(dict.fromkeys(found))
