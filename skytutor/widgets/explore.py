"""Two small tools for the live notebook: drag a spectrum and see the sky, and walk a map through a network's levels.

In a page without a kernel they are spheres with frames: one range of degrees after the other, one
level after the other.
"""

import math
from collections.abc import Callable
from typing import Any

import ipywidgets
import torch
from IPython.display import display
from torch import Tensor, nn

from skytutor.healpix import check_maps, check_nside, check_order, npix_to_nside, reorder
from skytutor.layers.faces import from_faces
from skytutor.spectra import gaussian_maps
from skytutor.widgets.model import is_static
from skytutor.widgets.sphere import view

BANDS = ((2, 3), (4, 6), (7, 11), (12, 19), (20, 33))


def _show(live: Callable[[], Any], still: Callable[[], Any]) -> None:
    display(still() if is_static() else live())


class SpectrumExplorer:
    """A Gaussian sky whose spectrum is dragged: a slider for the power in each range of degrees, and a button to throw the dice again.

    Power is ``l (l + 1) C_l / (2 pi)``, the same at all degrees of a range. When a slider moves,
    the waves stay what they are and only their heights change.

    Arguments:
        nside: of the map. Ranges that reach beyond 3 nside - 1 are left out.
        unit: of the map; powers are in its square.
        seed: of the first throw.

    Example:
        >>> tool = SpectrumExplorer(nside=8)
        >>> before = tool.sky().std()
        >>> tool.powers[0].value = 4000
        >>> bool(tool.sky().std() > before)
        True
    """

    def __init__(self, *, nside: int = 16, unit: str = "µK", seed: int = 1):
        self.nside = nside
        self.unit = unit
        self.seed = seed
        self.bands = [band for band in BANDS if band[1] < 3 * check_nside(nside)]
        if not self.bands:
            raise ValueError(f"nside must be at least 2, got {nside}")
        self.waves = self._throw()
        self.powers = [
            ipywidgets.FloatSlider(
                value=1000, min=0, max=5000, step=50, description=f"l {low} to {high}"
            )
            for low, high in self.bands
        ]
        for slider in self.powers:
            slider.observe(lambda change: self.sphere.show(self.sky()), "value")
        self.sphere = view(
            self.sky(),
            nside=nside,
            order="ring",
            unit=unit,
            title="A sky of this spectrum",
            cmap="planck",
            value_range=(-150, 150),
            height=300,
        )

    def _throw(self) -> Tensor:
        """A map for each range, ``(bands, P)``, of unit power."""
        top = self.bands[-1][1]
        l = torch.arange(top + 1).double()
        unit = 2 * math.pi / (l * (l + 1)).clamp(min=1)
        draw = torch.Generator().manual_seed(self.seed)
        return torch.stack(
            [
                gaussian_maps(
                    {"TT": unit * ((l >= low) & (l <= high))},
                    nside=self.nside,
                    lmax=top,
                    generator=draw,
                )["T"]
                for low, high in self.bands
            ]
        )

    def sky(self) -> Tensor:
        """The map ``(P,)``, RING, that the sliders ask for."""
        return sum(
            slider.value**0.5 * wave for slider, wave in zip(self.powers, self.waves, strict=True)
        )

    def _again(self, button: Any) -> None:
        self.seed += 1
        self.waves = self._throw()
        self.sphere.show(self.sky())

    def _live(self) -> Any:
        again = ipywidgets.Button(
            description="Throw again", tooltip="Draw other waves of the same spectrum"
        )
        again.on_click(self._again)
        return ipywidgets.VBox([self.sphere, *self.powers, again])

    def _still(self) -> Any:
        return view(
            1000**0.5 * self.waves,
            nside=self.nside,
            order="ring",
            unit=self.unit,
            cmap="planck",
            value_range=(-150, 150),
            title="One range of degrees alone",
            frame_labels=[f"l {low} to {high}" for low, high in self.bands],
            fps=1,
        )

    def _ipython_display_(self) -> None:
        _show(self._live, self._still)


class LayerInspector:
    """What a network makes of a map, level by level: a slider for the level, one for the channel.

    Every output of a module that is a batch of maps is a level, whatever its nside; a module that
    is run twice gives two. The frames are of the input's nside, each pixel of a coarser level shown
    as the pixels it covers. A level is divided by its largest absolute value, so colours compare
    within it alone.

    Arguments:
        network: run once, in evaluation mode, on `maps`; its mode is put back.
        maps: ``(1, C, P)``, one batch entry.
        order: of the input and of outputs ``(1, C, P)``, "ring" or "nested". Faces
            ``(1, C, 12, n, n)`` have their own.

    Raises:
        ValueError: another shape, or a network none of whose modules gives maps.

    Example:
        >>> from skytutor.layers.pixel import HaloConv
        >>> net = nn.Sequential(HaloConv(1, 3, nside=4), nn.ReLU())
        >>> LayerInspector(net, torch.randn(1, 1, 12, 4, 4), order="face").names
        ['input', '0 HaloConv, nside 4', '1 ReLU, nside 4']
    """

    def __init__(
        self, network: nn.Module, maps: Tensor, *, order: str, title: str = "Level by level"
    ):
        self.levels = _levels(network, maps, check_order(order))
        self.names = list(self.levels)
        self.nside = npix_to_nside(next(iter(self.levels.values())).shape[-1])
        self.channel = ipywidgets.IntSlider(
            value=0,
            min=0,
            max=max(len(level) for level in self.levels.values()) - 1,
            description="channel",
        )
        self.channel.observe(lambda change: self.sphere.show(self.frames()), "value")
        self.sphere = view(
            self.frames(),
            nside=self.nside,
            order="nested",
            title=title,
            cmap="blue-red",
            value_range=(-1, 1),
            frame_labels=self.names,
            fps=1,
        )

    def frames(self) -> Tensor:
        """``(levels, P)`` NESTED: of each level the channel chosen, its last one if it has fewer."""
        return torch.stack(
            [level[min(self.channel.value, len(level) - 1)] for level in self.levels.values()]
        )

    def _ipython_display_(self) -> None:
        _show(lambda: ipywidgets.VBox([self.channel, self.sphere]), lambda: self.sphere)


def _as_nested(x: Tensor, order: str) -> Tensor | None:
    """Maps ``(C, P)`` NESTED of one batch entry, or None if `x` holds none."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return None
    if x.dim() == 5 and x.shape[2] == 12 and x.shape[3] == x.shape[4]:
        return from_faces(x)[0]
    try:
        npix_to_nside(x.shape[-1] if x.dim() == 3 else 0)
    except ValueError:
        return None
    return reorder(x[0], source="nested" if order == "face" else order, target="nested")


def _levels(network: nn.Module, maps: Tensor, order: str) -> dict[str, Tensor]:
    """``{name: (C, P)}`` NESTED at the input's nside, each divided by its largest absolute value."""
    nside = maps.shape[-1] if order == "face" else npix_to_nside(maps.shape[-1])
    check_maps(maps, nside=nside, order=order)
    found = {"input": _as_nested(maps.detach(), order)}
    modes = [(module, module.training) for module in network.modules()]
    if found["input"] is None or len(maps) != 1:
        raise ValueError(
            f"maps must be one batch entry (1, C, P) or (1, C, 12, n, n), got shape {tuple(maps.shape)}"
        )

    def keep(name: str, module: nn.Module, output: Any) -> None:
        level = _as_nested(output, order)
        if level is not None and npix_to_nside(level.shape[-1]) <= nside:
            title = f"{name} {type(module).__name__}, nside {npix_to_nside(level.shape[-1])}"
            found[_unused(title, found)] = level

    leaves = [
        (name, module)
        for name, module in network.named_modules()
        if name and not [*module.children()]
    ]
    hooks = [
        module.register_forward_hook(lambda m, _, out, name=name: keep(name, m, out))
        for name, module in leaves
    ]
    try:
        with torch.no_grad():
            network.eval()(maps)
    finally:
        for module, mode in modes:
            module.training = mode
        for hook in hooks:
            hook.remove()
    if len(found) == 1:
        raise ValueError(
            "network has no module whose output is a batch of maps (1, C, P) or (1, C, 12, n, n)"
        )
    return {name: _wide(level, nside) for name, level in found.items()}


def _unused(title: str, found: dict[str, Tensor]) -> str:
    """`title`, with the number of the call where a network runs one module several times: each output is a level."""
    if title not in found:
        return title
    call = 2
    while f"{title}, call {call}" in found:
        call += 1
    return f"{title}, call {call}"


def _wide(level: Tensor, nside: int) -> Tensor:
    times = (
        nside // npix_to_nside(level.shape[-1])
    ) ** 2  # children of a NESTED pixel follow each other
    return level.repeat_interleave(times, -1) / level.abs().max().clamp(min=1e-12)
