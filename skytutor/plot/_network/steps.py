"""What kinds of steps there are, and what they are called."""

from skytutor.plot._network import operations
from skytutor.plot._network.graph import FUNCTION, LAYER, Node
from skytutor.plot._network.modules import is_norm


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
    return [*operations.ACTIVATIONS, *operations.ACTIVATIONS.values(), "Softmax2d", "LogSoftmax"]


def is_join(node: Node) -> bool:
    """Return whether a step joins two values, or one with random numbers.

    Arguments:
        node: the step.
    """
    joins = node.name in operations.JOINS and not node.merged
    return node.kind == FUNCTION and joins and (len(node.inputs) > 1 or bool(node.noise))


def is_pointwise(node: Node) -> bool:
    """Return whether a function acts on each number by itself.

    Arguments:
        node: the step.
    """
    if node.kind != FUNCTION or is_join(node):
        return False
    names = node.merged or [node.name]
    known = (operations.merged_name(name) or name in operations.JOINS for name in names)
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
    if node.name in operations.SYMBOLS and len(node.inputs) == 1 and not node.noise:
        operand = node.operands[0] if node.operands else "constant"
        symbol = operations.SYMBOLS[node.name]
        return [f"{operand} {symbol}" if node.reverse else f"{symbol} {operand}"]
    return [operations.merged_name(node.name) or operations.JOINS.get(node.name, node.name)]
