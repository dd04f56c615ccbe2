"""Pixel order is said by the caller, never guessed: no `order` of the library has a default."""

import importlib
import inspect
import pkgutil

import pytest
import torch

import skytutor
from skytutor.fields.spectra import gaussian_maps
from skytutor.layers.pixel import HierarchicalPool

# The chapters' own experiments: their networks fix the order they work in.
CHAPTERS = "chapters"

# A file says its order: where none is asked for, that of the file is kept, and the map says which.
FROM_A_FILE = {"skytutor.io.maps.read_map(order: str | None = None)"}


def library_modules():
    """Import every module of the package that is not a chapter's."""
    for found in pkgutil.walk_packages(skytutor.__path__, "skytutor."):
        parts = found.name.split(".")
        if parts[1] != CHAPTERS and parts[-1] != "__main__":
            yield importlib.import_module(found.name)


def public_callables(module):
    """Yield the name and the function of everything public that `module` defines."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(thing):
            yield f"{module.__name__}.{name}.__init__", thing.__init__
            for attribute, member in public_methods(thing):
                yield f"{module.__name__}.{name}.{attribute}", member
        elif callable(thing):
            yield f"{module.__name__}.{name}", thing


def public_methods(cls):
    """Yield the name and the function of the methods that the package itself wrote."""
    for base in cls.__mro__:
        if not base.__module__.startswith("skytutor"):
            continue
        for attribute, member in vars(base).items():
            function = getattr(member, "__func__", member)  # of a static or class method
            if not attribute.startswith("_") and inspect.isfunction(function):
                yield attribute, function


def signature_of(function):
    """Return the signature, or None for what is built in and has none."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def is_an_order(name):
    return name == "order" or name.endswith("_order") or name.startswith("order_")


def orders_with_a_default(module):
    """Yield the places where a parameter that names a pixel order may be left out."""
    for name, function in public_callables(module):
        signature = signature_of(function)
        if signature is None:
            continue
        for parameter in signature.parameters.values():
            if is_an_order(parameter.name) and parameter.default is not parameter.empty:
                yield f"{name}({parameter})"


def test_no_order_of_the_library_has_a_default():
    offenders = {place for module in library_modules() for place in orders_with_a_default(module)}
    offenders -= FROM_A_FILE
    assert not offenders, "say the order at every call:\n" + "\n".join(sorted(offenders))


def test_the_search_finds_a_default():
    """The test above would be worth nothing if it looked at nothing."""
    searched = {name for module in library_modules() for name, _ in public_callables(module)}
    assert {
        "skytutor.healpix.checks.check_maps",
        "skytutor.layers.pixel.HaloConv.__init__",
        "skytutor.layers.hierarchy.HierarchicalPool.__init__",
        "skytutor.sht.transforms.Harmonics.__init__",
    } <= searched
    module = type(inspect)("made_up")

    def guessing(maps, *, nside, order="ring"):
        """Work on maps in an order that the caller did not say."""

    guessing.__module__ = "made_up"
    module.guessing = guessing
    assert list(orders_with_a_default(module)) == ["made_up.guessing(order='ring')"]


def test_gaussian_maps_in_ring_order_cannot_be_pooled_without_saying_so():
    maps = gaussian_maps(
        {"TT": torch.ones(9)},
        nside=4,
        lmax=8,
        order="ring",
        generator=torch.Generator().manual_seed(0),
    )["T"]
    maps = maps.float().view(1, 1, -1)
    with pytest.raises(TypeError, match="order"):
        HierarchicalPool("mean")(maps)
    with pytest.raises(TypeError, match="order"):
        gaussian_maps({"TT": torch.ones(9)}, nside=4, lmax=8)
    assert HierarchicalPool("mean", order="ring")(maps).shape == (1, 1, 48)
