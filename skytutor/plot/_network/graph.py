"""The graph of a network: its steps in the order in which they ran, and the values between them."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

INPUT = "input"
LAYER = "layer"  # a call of a module
FUNCTION = "function"  # a call of a function of torch
VIEW = "view"  # the same data in another shape
RANDOM = "random"  # numbers drawn within the network
OUTPUT = "output"
REARRANGED = "rearrange"  # the name of a view that changes the resolution


@dataclass(eq=False)
class Frame:
    """A call whose inside is looked at: of a module, of one of its methods, or of a function.

    Attributes:
        module: the module; None for a function.
        name: of its class, its method or the function.
        start: number of nodes before the call.
        opaque: whether data came from where they could not be followed.
        depth: how many calls of modules that are no mere lists stand around it.
        named: whether a reader wants to know its name.
    """

    module: nn.Module | None
    name: str
    start: int
    depth: int = 0
    named: bool = False
    opaque: bool = False


@dataclass(eq=False)
class Value:
    """A tensor between two steps.

    Attributes:
        node: the step that made it.
        shape: the batch first.
        floating: whether it holds real or complex numbers, not integers.
        is_complex: whether it is complex.
        name: of the argument as which a part of the network takes it, if that says something.
    """

    node: "Node"
    shape: tuple[int, ...]
    floating: bool = True
    is_complex: bool = False
    name: str = ""


@dataclass(eq=False)
class Node:
    """A step of a network.

    Attributes:
        kind: one of the words above.
        name: of the class or the function.
        inputs: values that it takes, each once.
        outputs: values that it makes.
        frames: the calls it is in, the outermost first.
        sizes: "32 → 64", or nothing.
        details: more about it, in words.
        operands: numbers, buffers and parameters that a function takes beside data.
        reverse: whether the operand stands before the data, as in ``1 - x``.
        pair: "itself", "parts" or "views" where several arguments are of its one input.
        merged: names of functions that became one step with it.
        labels: what they are called, those that only join left out.
        title: of the Python function that does this step alone.
        noise: the function that draws the random numbers it takes, if it does.
        seen: in what shape it takes an input, by identity of the input, where that is a view.
        settings: what its author chose for it, and for what was merged into it.
        parameters: its parameters, identity to number of weights.
        copies: those of steps that are drawn as one with it.
        helpers: functions between the module's `forward` and the call, the outermost first.
        before: words of steps that were merged into it, done before it.
        after: likewise, done after it.
        new_weights: number of its weights that no earlier step uses.
        module: the module that ran, if one did.
        alive: whether it is part of the graph, not of a box that stands for it.
    """

    kind: str
    name: str
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    frames: tuple[Frame, ...] = ()
    sizes: str = ""
    details: list[str] = field(default_factory=list)
    operands: list[str] = field(default_factory=list)
    reverse: bool = False
    pair: str = ""
    merged: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    title: str = ""
    noise: str = ""
    seen: dict[int, Value] = field(default_factory=dict)
    settings: list[str] = field(default_factory=list)
    parameters: dict[int, int] = field(default_factory=dict)
    copies: dict[int, int] = field(default_factory=dict)
    helpers: tuple[tuple[int, str], ...] = ()
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    new_weights: int = 0
    module: nn.Module | None = None
    alive: bool = True

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(self.parameters.values())


@dataclass
class Graph:
    """A network that ran once.

    Attributes:
        name: class of the module.
        nodes: its steps, in the order in which they ran; inputs first, outputs last.
        parameters: all of the module: identity to name and number of weights.
        n_weights: ``sum(p.numel() for p in module.parameters())``.
        with_layers: Python functions that called layers; no step is named after them.
    """

    name: str
    nodes: list[Node]
    parameters: dict[int, tuple[str, int]]
    n_weights: int
    with_layers: set[int]

    def consumers(self) -> dict[int, list[Node]]:
        """Return which steps take a value, by the value's identity."""
        found: dict[int, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for value in node.inputs:
                found[id(value)].append(node)
        return found

    def unused(self) -> dict[str, int]:
        """Return names and sizes of the parameters that no step of the drawing uses."""
        used: set[int] = set()
        for node in self.nodes:
            used |= set(node.parameters) | set(node.copies)
        return {name: size for key, (name, size) in self.parameters.items() if key not in used}


def tensors_in(thing: Any) -> list[Any]:
    """Return the tensors in nested lists, tuples, dictionaries and dataclasses, in their order.

    Arguments:
        thing: arguments of a function, or what it returned.
    """
    if isinstance(thing, torch.Tensor):
        return [thing]
    if isinstance(thing, dict):
        parts = list(thing.values())
    elif isinstance(thing, (list, tuple)):
        parts = list(thing)
    elif hasattr(thing, "__dataclass_fields__"):
        parts = [getattr(thing, name) for name in thing.__dataclass_fields__]
    else:
        return []
    return [tensor for part in parts for tensor in tensors_in(part)]
