"""What the functions of torch do to a drawing: which kinds there are, what they are called."""

import re
from typing import Any

from skytutor.plot._network.graph import FUNCTION, LAYER, Node
from skytutor.plot._network.modules import is_norm
from skytutor.plot._network.states import DIVIDED, MINUS, TIMES


def words(text: str) -> frozenset[str]:
    """Return the words of a text.

    Arguments:
        text: words with spaces between.
    """
    return frozenset(text.split())


# The same data in another shape, type or order; a part of them; what only pads or repeats them.
VIEWS = words(
    """
    view reshape flatten unflatten permute transpose swapaxes swapdims movedim moveaxis squeeze
    unsqueeze expand expand_as view_as reshape_as contiguous to type type_as float double half
    bfloat16 cpu cuda detach clone alias getitem select narrow index_select take gather unbind split
    split_with_sizes tensor_split chunk hsplit vsplit dsplit t T mT H mH real imag data view_as_real
    view_as_complex ravel roll flip fliplr flipud rot90 tile repeat repeat_interleave pad
    broadcast_to atleast_1d atleast_2d atleast_3d requires_grad take_along_dim diagonal unfold
    as_strided resolve_conj conj_physical long int bool positive setitem copy pin_memory rename
    masked_select nan_to_num
    """
)
# Functions of one number, by the name that the drawing gives them.
ACTIVATIONS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky_relu": "LeakyReLU",
    "prelu": "PReLU",
    "rrelu": "RReLU",
    "elu": "ELU",
    "selu": "SELU",
    "celu": "CELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "glu": "GLU",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "hardtanh": "Hardtanh",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanhshrink": "Tanhshrink",
    "hardshrink": "Hardshrink",
    "softshrink": "Softshrink",
    "logsigmoid": "LogSigmoid",
    "threshold": "Threshold",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softmax": "softmax",
    "softmin": "softmin",
    "log_softmax": "log softmax",
    "gumbel_softmax": "Gumbel softmax",
}
DROPOUTS = {
    "dropout": "Dropout",
    "dropout1d": "Dropout1d",
    "dropout2d": "Dropout2d",
    "dropout3d": "Dropout3d",
    "alpha_dropout": "AlphaDropout",
    "feature_alpha_dropout": "FeatureAlphaDropout",
    "feature_dropout": "FeatureDropout",
}
NORMS = {
    "batch_norm": "batch norm",
    "layer_norm": "layer norm",
    "group_norm": "group norm",
    "instance_norm": "instance norm",
    "rms_norm": "rms norm",
    "local_response_norm": "local response norm",
    "normalize": "normalize",
}
POINTWISE = words(
    """
    exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square pow abs neg sign sin cos tan asin acos
    atan sinh cosh asinh acosh atanh arcsinh arctanh clamp clip clamp_min clamp_max reciprocal erf
    erfc erfinv round floor ceil frac trunc angle conj sgn sinc logit masked_fill
    """
)
# Two values, or more, become one.
JOINS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "cat": "concat",
    "stack": "stack",
    "hstack": "concat",
    "vstack": "concat",
    "maximum": "maximum",
    "minimum": "minimum",
    "where": "where",
    "lerp": "lerp",
    "addcmul": "addcmul",
    "complex": "complex",
    "pow": "pow",
    "atan2": "atan2",
    "gt": "greater",
    "ge": "greater or equal",
    "lt": "less",
    "le": "less or equal",
    "eq": "equal",
    "ne": "not equal",
}
SYMBOLS = {
    "add": "+",
    "sub": MINUS,
    "mul": TIMES,
    "div": DIVIDED,
    "pow": "power",
    "gt": ">",
    "lt": "<",
    "cat": "concat with",
    "stack": "stack with",
}
VERBS = ("add", "subtract", "multiply", "divide")
REDUCTIONS = words(
    """
    mean sum amax amin max min var std prod norm vector_norm logsumexp median quantile argmax argmin
    any all count_nonzero var_mean std_mean nanmean nansum topk sort cumsum aminmax
    """
)
RANDOM = words(
    """
    rand randn randint randperm rand_like randn_like randint_like bernoulli normal multinomial
    poisson normal_ uniform_ exponential_ bernoulli_ random_
    """
)
# These look at the shape of their argument alone.
CONSTANTS = words(
    """
    zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full new_tensor zero_
    fill_
    """
)
# They make numbers of Python or arrays of NumPy, which cannot be followed, of data.
READS = words("item tolist numpy float complex")
_SAME = {
    "truediv": "div",
    "true_divide": "div",
    "divide": "div",
    "subtract": "sub",
    "multiply": "mul",
    "concat": "cat",
    "concatenate": "cat",
    "column_stack": "cat",
    "power": "pow",
    "absolute": "abs",
    "adjoint": "mH",
    "rsub": "sub",
}
_OPERATORS = words(
    """
    add sub mul div truediv pow matmul and or xor mod floordiv
    """
)


def name_of(function: Any) -> str:
    """Return the name of a function of torch: that of ``x + y``, ``x.add_(y)`` and so on is "add".

    Arguments:
        function: as ``__torch_function__`` gets it.
    """
    name = getattr(function, "__name__", "") or type(function).__name__
    if name in ("__get__", "__set__"):  # an attribute, such as `x.T`
        name = getattr(function.__self__, "__name__", name)
    if name in RANDOM or name in CONSTANTS:
        return name
    if name.startswith("__") and name[3:-2] in _OPERATORS and name[2] in "ri":
        name = name[3:]  # `y + x` that x answers, and `x += y`
    name = name.strip("_")
    for family in ("fft_", "linalg_", "special_"):
        name = name.removeprefix(family)
    return _SAME.get(name, name)


def is_reverse(function: Any) -> bool:
    """Return whether a function of torch is an operator that its second operand answers: ``1 - x``.

    Arguments:
        function: as ``__torch_function__`` gets it.
    """
    return getattr(function, "__name__", "").strip("_") in ("rsub", "rdiv", "rtruediv", "rpow")


def is_in_place(function: Any, options: dict[str, Any]) -> bool:
    """Return whether a function of torch changes its first argument: ``x.add_(y)``, ``x += y``.

    Arguments:
        function: as ``__torch_function__`` gets it.
        options: its keyword arguments.
    """
    if options.get("inplace"):
        return True
    name = getattr(function, "__name__", "")
    if name.startswith("__i") and name[3:-2] in _OPERATORS:
        return True
    return name == "__setitem__" or bool(re.fullmatch(r"[a-z]\w*[^_]_", name))


def merged_name(name: str) -> str | None:
    """Return how a function is called within the label of another step; None if it never is.

    Arguments:
        name: as `name_of` returns it.
    """
    for table in (ACTIVATIONS, DROPOUTS, NORMS):
        if name in table:
            return table[name]
    return name if name in POINTWISE else None


# --- steps of a graph ---


def is_merged(node: Node) -> bool:
    """Return whether a layer is named in the label of another: activations, norms, dropout.

    Arguments:
        node: the step.
    """
    name = node.name
    if is_norm(name) or "dropout" in name.lower():
        return True
    return name.lower() in {word.lower().replace(" ", "") for word in _activations()}


def _activations() -> list[str]:
    return [*ACTIVATIONS, *ACTIVATIONS.values(), "Softmax2d", "LogSoftmax"]


def is_join(node: Node) -> bool:
    """Return whether a step joins two values, or one with random numbers.

    Arguments:
        node: the step.
    """
    joins = node.name in JOINS and not node.merged
    return node.kind == FUNCTION and joins and (len(node.inputs) > 1 or bool(node.noise))


def is_pointwise(node: Node) -> bool:
    """Return whether a function acts on each number by itself.

    Arguments:
        node: the step.
    """
    if node.kind != FUNCTION or is_join(node):
        return False
    names = node.merged or [node.name]
    known = (merged_name(name) or name in JOINS for name in names)
    return all(known) and len(node.inputs) == 1


def is_merging(node: Node) -> bool:
    """Return whether a step is named in the label of another.

    Arguments:
        node: the step.
    """
    return (node.kind == LAYER and is_merged(node)) or is_pointwise(node)


def label_of(node: Node) -> str:
    """Return the words for a step within the label of another.

    Arguments:
        node: the step.
    """
    if node.kind == LAYER:
        return " ".join([node.name, *node.details])
    return node.title or ", ".join(names_of(node))


def names_of(node: Node) -> list[str]:
    """Return the words for the functions of torch in a step.

    Arguments:
        node: a function, or several that became one step.
    """
    if node.labels:
        return node.labels
    if node.pair and len(node.inputs) == 1 and node.name in JOINS:
        return [_label_of_pair(node)]
    if node.name in SYMBOLS and len(node.inputs) == 1 and not node.noise:
        operand = node.operands[0] if node.operands else "constant"
        symbol = SYMBOLS[node.name]
        return [f"{operand} {symbol}" if node.reverse else f"{symbol} {operand}"]
    return [merged_name(node.name) or JOINS.get(node.name, node.name)]


def _label_of_pair(node: Node) -> str:
    """Return the words for a step whose arguments all come from one value."""
    word = JOINS[node.name]
    if node.pair == "itself":
        return f"{SYMBOLS.get(node.name, f'{word} with')} itself"
    return f"{word} its {node.pair}" if word in VERBS else f"{word} of its {node.pair}"
