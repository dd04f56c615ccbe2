"""Let the calls of modules, and of functions that modules keep, go through a `Caller`."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from skytutor.plot._network.calls import Caller
from skytutor.plot._network.modules import all_modules, functions_of, methods_of


@contextmanager
def intercepted(caller: Caller) -> Iterator[None]:
    """Let all calls of modules go through a `Caller`, as torch.fx does it, for a while.

    Arguments:
        caller: that records them.
    """
    original = nn.Module.__call__

    @functools.wraps(original)
    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return caller.call_module(module, functools.partial(original, module), args, kwargs)

    changed: list[tuple[nn.Module, str, Any]] = []
    try:
        for module in all_modules(caller.root):
            _wrap_functions(module, caller, changed)
            _wrap_methods(module, caller, changed)
        nn.Module.__call__ = call  # type: ignore[method-assign]
        yield
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]
        for module, name, thing in reversed(changed):
            if thing is None:
                vars(module).pop(name, None)
            else:
                vars(module)[name] = thing


def _wrap_functions(
    module: nn.Module, caller: Caller, changed: list[tuple[nn.Module, str, Any]]
) -> None:
    """Let the functions that a module keeps go through the caller."""
    for name, thing in functions_of(module).items():
        owner = getattr(thing, "__self__", None)
        changed.append((module, name, thing))
        if isinstance(owner, nn.Module):
            wrapped = _wrapped_method(owner, thing, caller)
        else:
            wrapped = _wrapped_function(thing, caller)
        vars(module)[name] = wrapped


def _wrap_methods(
    module: nn.Module, caller: Caller, changed: list[tuple[nn.Module, str, Any]]
) -> None:
    """Let the methods of a module that others call go through the caller."""
    for name in set(methods_of(module)):
        if name not in vars(module):
            changed.append((module, name, None))
            vars(module)[name] = _wrapped_method(module, getattr(module, name), caller)


def _wrapped_method(
    owner: nn.Module, method: Callable[..., Any], caller: Caller
) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return caller.call_module(owner, method, args, kwargs, method.__name__)

    return call


def _wrapped_function(function: Callable[..., Any], caller: Caller) -> Callable[..., Any]:
    inner = function.func if isinstance(function, functools.partial) else function

    @functools.wraps(inner)
    def call(*args: Any, **kwargs: Any) -> Any:
        return caller.call_function(inner.__name__, function, args, kwargs)

    return call
