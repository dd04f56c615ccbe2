"""Packages whose modules are imported when they are first asked for."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["attach"]


def attach(
    package: str, path: Iterable[str], names: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package whose modules load on first use.

    Importing the package then costs nothing, and none of its modules needs to be listed.

    Arguments:
        package: its ``__name__``.
        path: its ``__path__``.
        names: functions and classes that the package offers itself, each with the module it is in.

    Returns:
        the two functions that Python asks for names the package does not have yet [1]_.

    Example:
        >>> import skytutor
        >>> skytutor.fields.spectra.__name__
        'skytutor.fields.spectra'

    .. [1] PEP 562, Module ``__getattr__`` and ``__dir__``.
    """
    modules = {m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")}
    offered = dict(names or {})

    def get(name: str) -> Any:
        if name in offered:
            return getattr(importlib.import_module(f"{package}.{offered[name]}"), name)
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted(modules | set(offered))
