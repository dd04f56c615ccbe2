"""Calls of modules while a network runs: which stay one box, which are looked into."""

import functools
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from skytutor.plot._network.graph import LAYER, VIEW, Frame, Node, Value, tensors_in
from skytutor.plot._network.modules import (
    all_modules,
    children_of,
    class_name,
    details_of,
    functions_of,
    is_list,
    is_norm,
    is_torch_layer,
    methods_of,
    named_tensors,
    settings_of,
    sizes_of,
)
from skytutor.plot._network.operations import is_merged, words
from skytutor.plot._network.recorder import Recorder
from skytutor.plot._network.views import one_source

# Names of arguments that would tell a reader nothing.
_SAY_NOTHING = words(
    "x y h t input inputs tensor tensors out hidden features maps faces image images data src"
)


class Caller:
    """Stands between a network and its modules, and records their calls.

    Arguments:
        root: the network.
        recorder: of functions and values.
        leaf: classes, or their names, that are drawn as one box.
        depth: how many modules around a step are looked into; None for all.
    """

    def __init__(
        self,
        root: nn.Module,
        recorder: Recorder,
        *,
        leaf: Collection[str | type],
        depth: int | None,
    ):
        self.root = root
        self.recorder = recorder
        self.leaf = leaf
        self.depth = depth
        # Asked before anything is wrapped: wrappers would look like functions, too.
        self.keeps_functions = {id(m) for m in all_modules(root) if functions_of(m)}
        self.thread = threading.get_ident()

    # --- what is one box ---

    def is_leaf(self, module: nn.Module) -> bool:
        """Return whether a module is drawn as one box."""
        if module is self.root:
            return False
        name = class_name(module)
        for one in self.leaf:
            if name == one or (isinstance(one, type) and isinstance(module, one)):
                return True
        if is_list(module):
            return False
        if self.depth is not None and self.recorder.frames[-1].depth + 1 >= self.depth:
            return True
        if is_torch_layer(module):
            return True
        # A function that the module was given may be a network of its own.
        has_parts = bool(children_of(module)) or id(module) in self.keeps_functions
        weightless = next(module.parameters(), None) is None
        return not has_parts or weightless or is_norm(name)

    def _must_fold(self, frame: Frame, inputs: list[Value], outputs: list[Tensor]) -> bool:
        """Return whether the inside of a call says nothing of how its output came about."""
        recorder = self.recorder
        if frame.opaque or any(recorder.is_unknown(output) for output in outputs):
            return True
        if inputs and not recorder.inputs_of(outputs):
            return bool(outputs)
        if frame.module is None:
            return all(node.kind != LAYER for node in recorder.nodes[frame.start :])
        return False

    # --- calls ---

    def call_module(
        self, module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any, method: str = ""
    ) -> Any:
        """Call a module, or one of its methods, and record what happens."""
        recorder = self.recorder
        elsewhere = threading.get_ident() != self.thread
        outside = not recorder.frames and module is not self.root
        if recorder.quiet or elsewhere or outside:
            return call(*args, **kwargs)
        if method and any(frame.module is module for frame in recorder.frames):
            return call(*args, **kwargs)  # from within the module itself
        if recorder.frames:
            recorder.note_layer_call()
        name = class_name(module)
        if method not in ("", "forward"):
            name = f"{name}.{method}"
        if not self.is_leaf(module):
            return self._open(module, name, call, args, kwargs)
        recorder.quiet += 1
        try:
            result = call(*args, **kwargs)
        finally:
            recorder.quiet -= 1
        tensors = tensors_in((args, kwargs))
        return self._box(module, name, tensors, recorder.inputs_of(tensors), result)

    def call_function(self, name: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a function that a module keeps, and record what happens."""
        if self.recorder.quiet or not self.recorder.frames:
            return call(*args, **kwargs)
        return self._open(None, name, call, args, kwargs)

    def _open(
        self, module: nn.Module | None, name: str, call: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """Call what is looked into; it becomes one box if that leads nowhere."""
        recorder = self.recorder
        depth = recorder.frames[-1].depth if recorder.frames else 0
        named = module is not None and module is not self.root and not is_list(module)
        frame = Frame(module, name, start=len(recorder.nodes), depth=depth + named, named=named)
        tensors = tensors_in((args, kwargs))
        inputs = recorder.inputs_of(tensors)
        if named and module is not None:
            self._note_names(call if "." in name else module.forward, args, kwargs)
        recorder.frames.append(frame)
        try:
            result = call(*args, **kwargs)
        finally:
            recorder.frames.pop()
        if self._must_fold(frame, inputs, tensors_in(result)) or self._is_wrapper(frame):
            for node in recorder.nodes[frame.start :]:
                node.alive = False
            del recorder.nodes[frame.start :]
            return self._box(module, name, tensors, inputs, result)
        return result

    def _note_names(self, call: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """Keep the names of the arguments as which a part of the network takes values."""
        for name, tensor in named_tensors(call, args, kwargs):
            value = self.recorder.value_of(tensor)
            if value is not None and not value.name and name not in _SAY_NOTHING:
                value.name = name

    def _box(
        self,
        module: nn.Module | None,
        name: str,
        tensors: list[Tensor],
        inputs: list[Value],
        result: Any,
    ) -> Any:
        """Record a call as one step; return its result."""
        recorder = self.recorder
        node = Node(LAYER, name, inputs, module=module)
        for tensor in tensors:
            if recorder.was_changed(tensor):  # by what is in the box
                recorder.overwrite(tensor, node)
            elif recorder.frames and recorder.is_unknown(tensor):
                recorder.frames[-1].opaque = True
        outputs = tensors_in(result)
        if module is not None:
            node.parameters = {id(p): p.numel() for p in module.parameters()}
            node.sizes = sizes_of(module, tensors, outputs)
            node.details = details_of(module)
            node.settings = settings_of(module)
        if isinstance(module, nn.Identity | nn.Flatten | nn.Unflatten):
            node.kind = VIEW
        same = isinstance(result, Tensor) and any(result is tensor for tensor in tensors)
        if same and isinstance(module, nn.Identity | nn.Dropout):
            recorder.quiet += 1
            result = result.view_as(result)  # what came in keeps its own place
            recorder.quiet -= 1
            outputs = [result]
        elif same:
            recorder.overwrite(result, node)
        recorder.add(node)
        for output in outputs:
            recorder.hold(output, node)
        return result

    def _is_wrapper(self, frame: Frame) -> bool:
        """Return whether a module only prepares the input of its one layer, as a padding does."""
        module = frame.module
        nodes = self.recorder.nodes[frame.start :]
        layers = [node for node in nodes if node.kind == LAYER]
        if module is None or module is self.root or is_list(module):
            return False
        if len(layers) != 1 or is_merged(layers[0]):
            return False
        roots: dict[int, Value] = {}
        for node in nodes:
            source = one_source(node, roots)
            if source is None and node.kind != LAYER:
                return False
            for value in node.outputs:
                roots[id(value)] = source or value
        return set(layers[0].parameters) == {id(p) for p in module.parameters()}


# --- between Python's calls and the caller ---


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
