"""Follow data through a module: which tensor came out of which layer or function."""

import gc
import sys
from collections import defaultdict
from collections.abc import Iterable
from itertools import compress
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from skytutor.plot._network import operations
from skytutor.plot._network.graph import (
    FUNCTION,
    RANDOM,
    VIEW,
    Frame,
    Node,
    Value,
    tensors_in,
)
from skytutor.plot._network.states import TIMES, times

_HERE = __name__.rpartition(".")[0]  # the frames of this package are none of the network's
_SILENT = "torch."
_NO_HELPERS = ("forward", "__call__", "<lambda>", "<listcomp>", "<genexpr>", "<dictcomp>")
_FROM_ARRAYS = ("tensor", "as_tensor", "from_numpy", "asarray", "frombuffer")


def _all_tensors() -> Iterable[Tensor]:
    """Return every tensor that there is."""
    kinds: set[type] = set()
    found: list[type] = [Tensor]
    while found:
        kind = found.pop()
        kinds.add(kind)
        found += kind.__subclasses__()
    # A notebook holds a million objects: a set of classes, asked without a line of Python for each
    # object, answers in a fifth of the time of issubclass.
    things = gc.get_objects()
    return compress(things, map(kinds.__contains__, map(type, things)))


class Recorder(TorchFunctionMode):
    """A record of functions of torch, by which values of tensors follow from each other.

    While `quiet` is above 0 nothing is recorded: the inside of a layer is nobody's business.
    """

    def __init__(self, parameters: dict[int, tuple[str, int]], constants: Iterable[Tensor]):
        super().__init__()
        self.nodes: list[Node] = []
        self.frames: list[Frame] = []
        self.quiet = 0
        self.parameters = parameters
        self.values: dict[int, Value] = {}
        self.derived: dict[int, dict[int, int]] = {}  # tensors computed from parameters alone
        self.constants: set[int] = set()
        self.names: dict[int, str] = {}  # of buffers and parameters
        self.at: dict[int, set[int]] = defaultdict(set)  # storage -> tensors that hold values
        self.written: dict[int, Node] = {}  # storage -> the step that changed it last
        self.kept: list[Any] = []  # alive, so that no identity is used twice
        self.read: set[float] = set()  # numbers that were read from data
        self.with_layers: set[int] = set()  # Python frames from which a layer was called
        for tensor in constants:
            self.keep_constant(tensor)
        # What is there before the network runs cannot be made from its input.
        for tensor in _all_tensors():
            self.keep_constant(tensor)

    def keep_constant(self, tensor: Tensor) -> None:
        """Remember that a tensor does not depend on the input."""
        self.kept.append(tensor)
        self.constants.add(id(tensor))

    # --- tensors and values ---

    def value_of(self, tensor: Tensor) -> Value | None:
        """Return the value that a tensor holds; None if it does not follow from the input."""
        value = self.values.get(id(tensor))
        writer = self.written.get(_storage(tensor)) if value is None else None
        if writer is not None and writer.alive:
            value = self.hold(tensor, writer)
        return value if value is not None and value.node.alive else None

    def is_unknown(self, tensor: Tensor) -> bool:
        """Return whether a tensor came from where it could not be followed."""
        if self.value_of(tensor) is not None:
            return False
        known = id(tensor) in self.constants or id(tensor) in self.derived
        known = known or id(tensor) in self.parameters
        # Tables of pixels and masks are made by all sorts of code; data are floating-point.
        return not known and (tensor.is_floating_point() or tensor.is_complex())

    def was_changed(self, tensor: Tensor) -> bool:
        """Return whether a step that is no longer part of the graph changed a tensor in place."""
        value = self.values.get(id(tensor))
        node = value.node if value is not None else self.written.get(_storage(tensor))
        return node is not None and not node.alive

    def parameters_of(self, tensor: Tensor) -> dict[int, int]:
        """Return the parameters that a tensor is computed from, without any data."""
        if id(tensor) in self.parameters:
            return {id(tensor): self.parameters[id(tensor)][1]}
        return self.derived.get(id(tensor), {})

    def hold(self, tensor: Tensor, node: Node) -> Value:
        """Let a tensor be an output of a node."""
        value = Value(node, tuple(tensor.shape), is_complex=tensor.is_complex())
        value.floating = tensor.is_floating_point() or tensor.is_complex()
        node.outputs.append(value)
        self.values[id(tensor)] = value
        self.at[_storage(tensor)].add(id(tensor))
        self.kept.append(tensor)
        return value

    def overwrite(self, tensor: Tensor, node: Node) -> None:
        """Let all tensors in the memory of one that a node changed in place be outputs of the node.

        Each becomes one when it is next asked for.
        """
        storage = _storage(tensor)
        if storage:
            for key in self.at.pop(storage, ()):
                self.values.pop(key, None)
            self.written[storage] = node

    def inputs_of(self, tensors: Iterable[Tensor]) -> list[Value]:
        """Return the values of tensors, each once, in their order."""
        found: list[Value] = []
        for tensor in tensors:
            value = self.value_of(tensor)
            if value is not None and not any(value is other for other in found):
                found.append(value)
        return found

    def add(self, node: Node) -> Node:
        """Append a node that ran just now."""
        node.frames = tuple(self.frames)
        self.nodes.append(node)
        return node

    # --- functions of torch ---

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and record it."""
        result = func(*args, **(kwargs or {}))
        if not self.quiet and self.frames:
            result = self._record(func, (args, kwargs or {}), result)
        return result

    def _record(self, func: Any, arguments: Any, result: Any) -> Any:
        name = operations.name_of(func)
        tensors = tensors_in(arguments)
        in_place = bool(tensors) and operations.is_in_place(func, arguments[1])
        outputs = tensors[:1] if in_place else tensors_in(result)
        inputs = self.inputs_of(tensors)
        if not outputs or name in operations.CONSTANTS:
            if inputs and not outputs and name in operations.READS:
                self._note_read(result)
            for output in outputs:
                self.keep_constant(output)
            return result
        if name in _FROM_ARRAYS and not inputs and _holds_array(arguments):
            return result  # where these numbers come from is not known
        if name in operations.RANDOM and (not inputs or name.endswith("_like")):
            node = self.add(Node(RANDOM, name, helpers=self._helpers()))
        elif inputs:
            node = self._function(name, arguments, inputs)
            node.reverse = operations.is_reverse(func)
        else:
            self._note_constant(tensors, outputs)
            return result
        if in_place:
            self.overwrite(outputs[0], node)
        if name in operations.DROPOUTS:  # it may return its argument itself
            result = result.view_as(result)
            outputs = [result]
        for output in outputs:
            self.hold(output, node)
        return result

    def _function(self, name: str, arguments: Any, inputs: list[Value]) -> Node:
        """Append the node of a function that takes data."""
        tensors = tensors_in(arguments)
        numbers = _numbers_in(arguments)
        if any(self.is_unknown(tensor) for tensor in tensors) or self.read & set(numbers):
            self.frames[-1].opaque = True
        node = Node(FUNCTION, name, inputs, helpers=self._helpers())
        if name in operations.VIEWS:
            node.kind = VIEW
        n_data = 0
        for tensor in tensors:
            node.parameters.update(self.parameters_of(tensor))
            word = self.names.get(id(tensor))
            if self.value_of(tensor) is not None:
                n_data += 1
            elif word:
                node.operands.append(word)
        if n_data > len(inputs) == 1:
            node.pair = "itself"
        node.operands += [f"{n:.3g}" for n in numbers]
        node.details += _options(name, *arguments)
        node.settings = [name, *node.operands, *_plain(*arguments)]
        return self.add(node)

    def _note_read(self, result: Any) -> None:
        """Note that numbers were read from data.

        A check of arguments reads some, too, and then drops them: it is a function of its own.
        """
        if self._helpers():
            self.read |= _fractions_in(result)
        else:
            self.frames[-1].opaque = True

    def _note_constant(self, tensors: list[Tensor], outputs: list[Tensor]) -> None:
        """Note what follows from parameters, or from no data at all."""
        if any(self.is_unknown(tensor) for tensor in tensors):
            return
        parameters: dict[int, int] = {}
        words: list[str] = []
        for tensor in tensors:
            parameters.update(self.parameters_of(tensor))
            if id(tensor) in self.names:
                words.append(self.names[id(tensor)])
        for output in outputs:
            self.keep_constant(output)
            if words and id(output) not in self.parameters:
                self.names[id(output)] = words[0]
            if parameters:
                self.derived[id(output)] = parameters

    # --- the Python functions around a call ---

    def _stack(self) -> list[FrameType]:
        """Return the Python frames of the module that runs, the innermost first."""
        frames: list[FrameType] = []
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            module = frame.f_globals.get("__name__", "")
            if module.startswith(_HERE):
                if frame.f_code.co_name in ("call_module", "call_function"):
                    break
            elif not module.startswith(_SILENT) and frame.f_code.co_name not in _NO_HELPERS:
                frames.append(frame)
            frame = frame.f_back
        return frames

    def _helpers(self) -> tuple[tuple[int, str], ...]:
        """Return the functions between the module's own method and a call, the outermost first."""
        frames = self._stack()
        self.kept.extend(frames)
        return tuple((id(frame), frame.f_code.co_name) for frame in reversed(frames))

    def note_layer_call(self) -> None:
        """Note that the Python functions that run now have called a layer."""
        frames = self._stack()
        self.kept.extend(frames)
        self.with_layers |= {id(frame) for frame in frames}


def _numbers_in(arguments: Any) -> list[float]:
    """Return the numbers among the positional arguments of a function."""
    args = arguments[0]
    return [n for n in args if isinstance(n, int | float) and not isinstance(n, bool)]


def _fractions_in(thing: Any) -> set[float]:
    """Return the numbers in nested lists, without the integers: they may be of any origin."""
    if isinstance(thing, list):
        return set().union(*(_fractions_in(one) for one in thing))
    return {thing} if isinstance(thing, float) and not thing.is_integer() else set()


def _options(name: str, args: Any, kwargs: Any) -> list[str]:
    """Return kernel or scale of a pool and the like, in words."""
    if "pool" in name and "adaptive" not in name:
        kernel = args[1] if len(args) > 1 else kwargs.get("kernel_size")
        return [f"kernel {times(kernel)}"] if times(kernel) else []
    scale = kwargs.get("scale_factor")
    if name == "interpolate" and isinstance(scale, int | float):
        return [f"{TIMES} {scale:g}", str(kwargs.get("mode", "nearest"))]
    return []


def _plain(args: Any, kwargs: Any) -> list[str]:
    """Return the arguments of a function that hold no tensors, in words."""
    return [repr(one) for one in (*args, *kwargs.items()) if not tensors_in(one)]


def _holds_array(arguments: Any) -> bool:
    """Return whether an argument is something else than numbers, lists of them, and options."""
    plain = (int, float, complex, list, tuple, str, type(None), torch.dtype, torch.device)
    args, _ = arguments
    return any(not isinstance(one, plain) for one in args)


def _storage(tensor: Tensor) -> int:
    """Return where the numbers of a tensor begin in memory; 0 where that has no meaning."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0
