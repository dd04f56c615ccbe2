"""Draw a network from the module itself: levels, layers, arcs, numbers of weights.

An example runs through the module; the drawing shows what happened. Nothing in it is typed in.
"""

from collections.abc import Collection, Sequence
from html import escape
from typing import Any

from torch import nn

from skytutor.plot._network.alt_text import describe_plan
from skytutor.plot._network.columns import groups_of, set_levels
from skytutor.plot._network.graph import Graph
from skytutor.plot._network.layout import WIDTH, Layout
from skytutor.plot._network.merge import Merger
from skytutor.plot._network.repeats import fold_repeats
from skytutor.plot._network.rows import Plan, Planner
from skytutor.plot._network.states import States
from skytutor.plot._network.svg import render
from skytutor.plot.trace import trace

__all__ = ["Drawing", "architecture"]

_FIGURE = "margin: 1rem 0; display: flex; flex-wrap: wrap; gap: 1.25rem; align-items: flex-start"
_PANEL = "flex: 1 1 20.75rem; max-width: 32rem; min-width: 0"


class Drawing:
    """One or more networks, drawn; a notebook shows it as a figure.

    Attributes:
        svg: one ``<svg>`` element; several networks stand in it below each other.
        alt: the same in words.
        panels: the ``<svg>`` element of each network.
    """

    def __init__(self, panels: Sequence[str], heights: Sequence[float], alts: Sequence[str]):
        self.panels = tuple(panels)
        self.alt = " ".join(alts)
        self.svg = panels[0] if len(panels) == 1 else _stacked(panels, heights, self.alt)

    def __repr__(self) -> str:
        return self.alt

    def _repr_html_(self) -> str:
        """Return the figure: networks side by side where the page is wide enough."""
        panels = "".join(f'<div style="{_PANEL}">{panel}</div>' for panel in self.panels)
        return f'<figure class="sky-network" style="{_FIGURE}">{panels}</figure>'


def _stacked(panels: Sequence[str], heights: Sequence[float], alt: str) -> str:
    """Return one ``<svg>`` element that holds others below each other."""
    parts = []
    y = 0.0
    for panel, height in zip(panels, heights, strict=True):
        place = f'<svg y="{y:.0f}" height="{height:.0f}" '
        parts.append(panel.replace("<svg ", place, 1).replace('role="img" ', ""))
        y += height + 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sky-network" width="100%" role="img" '
        f'viewBox="0 0 {WIDTH:.0f} {y:.0f}" aria-label="{escape(alt)}">' + "".join(parts) + "</svg>"
    )


def architecture(
    module: nn.Module | Sequence[nn.Module],
    example: Any,
    *,
    title: str | Sequence[str] | None = None,
    leaf: str | type | Collection[str | type] = (),
    depth: int | None = None,
    output: str | Sequence[str] | None = None,
    sphere: bool | None = None,
) -> Drawing:
    """Draw a network by running an example through it.

    Rows go from the input to the output; the coarser the resolution, the further right they stand.
    Round arrows pass by the rows between: residual and skip connections, side branches. Parts that
    repeat are drawn once, blocks are named at the side. A module that hands data to NumPy or reads
    numbers from them (``.item()``) to go on with is one box, for its inside cannot be followed.
    Numbers of weights are those of the module; weights that what comes out does not depend on, as
    those of a head for training alone, are listed.

    Arguments:
        module: the network, or several of them, as a generator and its discriminator.
        example: what the network takes: a tensor, a tuple of positional arguments, or a dictionary
            of keyword arguments; for several networks a tuple with one of these for each. One or
            two samples are enough.
        title: stands above; None for the class of the module. One for each of several networks.
        leaf: class of modules, or its name, or several, that are drawn as one box each.
        depth: how many modules around a layer are looked into, the network among them: with 1,
            each module within the network is one box.
        output: what the output means; one for each of several networks.
        sphere: whether ``(B, C, 12 nside**2)`` is a map of the sphere; None to conclude it from all
            shapes of the network.

    Returns:
        the drawing, with its text for blind readers.

    Raises:
        TypeError: no module, an example without tensors, a leaf that is neither class nor name, a
            depth that is no integer, a title or an output that is no text.
        ValueError: an example that the module cannot take (the module's own error is the cause), an
            output without tensors, a depth below 1, or not one title, output or example for each of
            several networks.

    Example:
        >>> import torch
        >>> architecture(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), torch.zeros(1, 3), title="Net")
        Net: network of 32 weights. Input: 3 numbers. Step 1: Linear 3 → 8, ReLU (32 weights).
        This gives 8 numbers, the output.
    """
    modules = [module] if isinstance(module, nn.Module) else _several(module)
    several = not isinstance(module, nn.Module)
    examples = list(example) if several and isinstance(example, tuple | list) else [example]
    if not modules or len(modules) != len(examples):
        raise ValueError(
            f"example must hold one example for each of {len(modules)} networks, "
            f"got {len(examples)}"
        )
    titles = _one_each("title", title, len(modules))
    outputs = _one_each("output", output, len(modules))
    panels = []
    heights = []
    alts = []
    for k, network in enumerate(modules):
        graph = trace(network, examples[k], leaf=leaf, depth=depth)
        plan = _plan(graph, title=titles[k], output=outputs[k], sphere=sphere)
        layout = Layout(plan)
        alt = describe_plan(plan)
        panels.append(render(layout, label=alt))
        heights.append(layout.height)
        alts.append(alt)
    return Drawing(panels, heights, alts)


def _several(modules: Any) -> list[nn.Module]:
    """Return several networks as a list; what is none, `trace` refuses."""
    return list(modules) if isinstance(modules, tuple | list) else [modules]


def _one_each(name: str, words: str | Sequence[str] | None, n: int) -> list[str | None]:
    """Return one text for each network."""
    if words is None:
        return [None] * n
    found = [words] if isinstance(words, str) else words
    if not isinstance(found, tuple | list) or not all(isinstance(w, str | None) for w in found):
        raise TypeError(
            f"{name} must be a text, or one for each of several networks, got {words!r}"
        )
    if len(found) != n:
        raise ValueError(f"{name} must be {n}, one for each network, got {len(found)}")
    return list(found)


def _plan(graph: Graph, *, title: str | None, output: str | None, sphere: bool | None) -> Plan:
    """Return what is drawn of a graph, which is changed."""
    state = States(graph, sphere=sphere)
    Merger(graph, state).run()
    repeats = fold_repeats(graph, state)
    plan = Planner(graph, state, repeats=repeats, output=output).plan(title or graph.name)
    set_levels(plan.rows)
    plan.groups = groups_of(plan.rows, graph, repeats)
    return plan
