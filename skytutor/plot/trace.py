"""Run a network once on an example, and see which steps follow from which.

Nothing is typed in: layers, their order, the shapes between them and the numbers of weights are
those of the module that runs.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from skytutor import validate
from skytutor.plot._network.calls import Caller, intercepted
from skytutor.plot._network.graph import INPUT, OUTPUT, Graph, Node, tensors_in
from skytutor.plot._network.modules import (
    class_name,
    constants_of,
    is_torch_layer,
    named_tensors,
)
from skytutor.plot._network.recorder import Recorder

__all__ = ["trace"]


def trace(
    module: nn.Module,
    example: Any,
    *,
    leaf: str | type | Collection[str | type] = (),
    depth: int | None = None,
) -> Graph:
    """Run a module on an example and return the graph of its steps.

    The module runs in evaluation mode, without gradients. Its mode, its buffers, the example and
    the generators of random numbers are as before when it is done.

    Arguments:
        module: any network of torch.
        example: what the network takes: a tensor, a tuple of positional arguments, or a dictionary
            of keyword arguments. One or two samples are enough.
        leaf: class of modules, or its name, or several, that stay one step each.
        depth: how many modules around a step are looked into, the network among them and mere lists
            such as ``nn.Sequential`` not: with 1, every module in the network is one step. None
            looks into all that have parts with weights.

    Returns:
        the graph, with a node for each input, step and output.

    Raises:
        TypeError: no module, an example without tensors, a leaf that is neither class nor name, a
            depth that is no integer.
        ValueError: an example that the module cannot take, with the module's own error as cause; a
            module whose weights have no shape yet; an output without tensors; a depth below 1.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> [node.name for node in trace(net, torch.zeros(1, 4)).nodes]
        ['input', 'Linear', 'ReLU', 'Linear', 'output']
    """
    module = _check_module(module)
    wanted = "None or an integer from 1 on"
    if depth is not None and validate.as_integer("depth", depth, wanted=wanted) < 1:
        raise ValueError(f"depth must be {wanted}, got {depth!r}")
    args, kwargs = _arguments(example)
    parameters = {id(p): (name, p.numel()) for name, p in module.named_parameters()}
    # A single layer of torch is no network to look into.
    root = nn.Sequential(module) if is_torch_layer(module) else module
    recorder = Recorder(parameters, constants_of(root))
    for name, tensor in [*module.named_buffers(), *module.named_parameters()]:
        words = [word for word in name.split(".") if not word.isdigit()]  # lists count theirs
        recorder.names[id(tensor)] = words[-1] if words else name
    caller = Caller(root, recorder, leaf=_classes(leaf), depth=depth)
    for name, tensor in named_tensors(module.forward, args, kwargs):
        recorder.hold(tensor, recorder.add(Node(INPUT, name)))
    given = tensors_in((args, kwargs))
    with _unchanged(module, given), intercepted(caller), torch.no_grad(), recorder:
        try:
            result = root(*args, **kwargs)
        except Exception as error:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in given)
            raise ValueError(
                f"example must be what {class_name(module)} takes: on shape {shapes} it raised "
                f"{type(error).__name__}: {error}"
            ) from error
    _add_outputs(recorder, result, class_name(module))
    n_weights = sum(p.numel() for p in module.parameters())
    nodes = recorder.nodes
    return Graph(class_name(module), nodes, parameters, n_weights, recorder.with_layers)


def _check_module(module: Any) -> nn.Module:
    module = getattr(module, "_orig_mod", module)  # what torch.compile was given
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(
                f"module must have weights of known shape, but {name} has none yet: "
                "run the module once"
            )
    return module


def _classes(leaf: Any) -> tuple[str | type, ...]:
    """Return classes or their names."""
    found = [leaf] if isinstance(leaf, str | type) else leaf
    if not isinstance(found, Iterable) or not all(isinstance(one, str | type) for one in found):
        raise TypeError(
            "leaf must be a class of modules, its name, or several of these, "
            f"got {leaf!r} ({type(leaf).__name__})"
        )
    return tuple(found)


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments."""
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, dict) and tensors_in(example):
        return (), dict(example)
    if isinstance(example, tuple | list) and tensors_in(example):
        return tuple(example), {}
    raise TypeError(
        "example must be a tensor, a tuple of arguments or a dictionary of keyword arguments with "
        f"at least one tensor, got {type(example).__name__}"
    )


def _add_outputs(recorder: Recorder, result: Any, name: str) -> None:
    outputs = tensors_in(result)
    if not outputs:
        raise ValueError(f"module must return tensors, but {name} returned {type(result).__name__}")
    names = list(result) if isinstance(result, dict) else []
    names = list(getattr(result, "_fields", names))
    for k, output in enumerate(outputs):
        label = str(names[k]) if len(names) == len(outputs) else "output"
        recorder.add(Node(OUTPUT, label, recorder.inputs_of([output])))


@contextmanager
def _unchanged(module: nn.Module, tensors: list[Tensor]) -> Iterator[None]:
    """Put a module into evaluation mode for a while, and then all back that it may change."""
    copies = [tensor.clone() for tensor in tensors]
    modes = [(part, part.training) for part in module.modules()]
    buffers = [
        (part, name, buffer, None if buffer is None else buffer.clone())
        for part in module.modules()
        for name, buffer in part._buffers.items()
    ]
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            module.eval()
            yield
        finally:
            for part, training in modes:
                part.training = training
            for part, name, buffer, copy in buffers:
                part._buffers[name] = buffer
                if buffer is not None and copy is not None:
                    with torch.no_grad():
                        buffer.copy_(copy)
            for tensor, copy in zip(tensors, copies, strict=True):
                if not torch.equal(tensor, copy):
                    with torch.no_grad():
                        tensor.copy_(copy)
