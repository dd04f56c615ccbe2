"""What a layer's box says beside its name: sizes, kernel, stride."""

import re

from torch import Tensor, nn
from torch.nn.utils import parametrize

from skytutor.plot._network.modules import children_of, is_torch_layer
from skytutor.plot._network.recorder import times
from skytutor.plot._network.states import number

_PAIRS = (
    ("in_channels", "out_channels"),
    ("in_features", "out_features"),
    ("num_embeddings", "embedding_dim"),
    ("input_size", "hidden_size"),
)
# Attribute, and the word for it.
_DETAILS = (("num_heads", "heads"), ("num_layers", "layers"))


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
        stride = getattr(module, "stride", 1)
        steps = stride if isinstance(stride, tuple) else (stride,)
        if set(steps) != {1} and times(stride):
            found.append(f"stride {times(steps[:1] if len(set(steps)) == 1 else steps)}")
    if isinstance(getattr(module, "groups", None), int) and module.groups != 1:
        found.append(f"{module.groups} groups")
    for name, word in _DETAILS:
        value = getattr(module, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value != 1:
            found.append(f"{number(value)} {word}")
    return found + _constraints(module)


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
