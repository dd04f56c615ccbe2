"""Two small tools for the live notebook, both made of spheres.

`SpectrumExplorer`: drag a spectrum and see the sky. `LayerInspector`: walk a map through the levels
of a network.

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

from skytutor.fields.spectra import gaussian_maps
from skytutor.healpix import check_maps, check_nside, check_order, npix_to_nside, reorder
from skytutor.layers.faces import from_faces
from skytutor.validate import as_seed
from skytutor.widgets.model import Sphere, is_static
from skytutor.widgets.sphere import view

BANDS = ((2, 3), (4, 6), (7, 11), (12, 19), (20, 33))


def _show(live: Callable[[], Any], static: Callable[[], Any]) -> None:
    """Display what `live` makes for a page with a kernel, what `static` makes for one without."""
    display(static() if is_static() else live())


class SpectrumExplorer:
    """A Gaussian sky whose spectrum is dragged.

    There is a slider for the power in each range of degrees, and a button to draw another sky of
    the same spectrum. Power is ``l (l + 1) C_l / (2 pi)``, the same at all degrees of a range. When
    a slider moves, the a_lm of its range are scaled and keep their pattern.

    Arguments:
        nside: of the map. Ranges that reach beyond 3 nside - 1 are left out.
        unit: of the map; powers are in its square.
        seed: of the first sky.

    Attributes:
        bands: (lowest, highest) degree of each range.
        components: ``(bands, P)`` RING, a map of unit power for each range.
        powers: the sliders.
        sphere: the sphere that shows the sky.

    Raises:
        ValueError: no nside, or one too small for a single range.

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
        self.seed = as_seed("seed", seed)
        self.bands = [band for band in BANDS if band[1] < 3 * check_nside(nside)]
        if not self.bands:
            raise ValueError(f"nside must be at least 2, got {nside}")
        self.components = self._draw()
        self.powers = [
            ipywidgets.FloatSlider(
                value=1000, min=0, max=5000, step=50, description=f"l {low} to {high}"
            )
            for low, high in self.bands
        ]
        for slider in self.powers:
            slider.observe(lambda change: self.sphere.show(self.sky()), "value")
        self.sphere: Sphere = view(
            self.sky(),
            nside=nside,
            order="ring",
            unit=unit,
            title="A sky of this spectrum",
            cmap="planck",
            value_range=(-150, 150),
            height=300,
        )

    def _draw(self) -> Tensor:
        """Draw a map of unit power for each range, ``(bands, P)``."""
        lmax = self.bands[-1][1]
        l = torch.arange(lmax + 1).double()
        unit = 2 * math.pi / (l * (l + 1)).clamp(min=1)  # the C_l of power one
        rng = torch.Generator().manual_seed(self.seed)
        maps = []
        for low, high in self.bands:
            cl = unit * ((l >= low) & (l <= high))
            drawn = gaussian_maps(
                {"TT": cl}, nside=self.nside, lmax=lmax, generator=rng, order="ring"
            )
            maps.append(drawn["T"])
        return torch.stack(maps)

    def sky(self) -> Tensor:
        """Return the map ``(P,)``, RING, that the sliders ask for."""
        sky = torch.zeros_like(self.components[0])
        for slider, component in zip(self.powers, self.components, strict=True):
            sky = sky + slider.value**0.5 * component
        return sky

    def _redraw(self, button: Any) -> None:
        """Draw another sky of the same spectrum, when `button` is pressed."""
        self.seed += 1
        self.components = self._draw()
        self.sphere.show(self.sky())

    def _live(self) -> Any:
        """Return the sphere with its sliders and its button."""
        button = ipywidgets.Button(
            description="Draw again", tooltip="Draw another sky of the same spectrum"
        )
        button.on_click(self._redraw)
        return ipywidgets.VBox([self.sphere, *self.powers, button])

    def _static(self) -> Any:
        """Return a sphere whose frames are the ranges of degrees, all of power 1000."""
        return view(
            1000**0.5 * self.components,
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
        _show(self._live, self._static)


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
        title: shown above the sphere.

    Attributes:
        levels: ``{name: (C, P)}`` NESTED, the input first.
        names: of the levels.
        channel: the slider for the channel.
        sphere: the sphere that shows the levels as frames.

    Raises:
        ValueError: another shape, or a network none of whose modules gives maps.

    Example:
        >>> from skytutor.layers.pixel import HaloConv
        >>> net = nn.Sequential(HaloConv(1, 3, nside=4, order="face"), nn.ReLU())
        >>> LayerInspector(net, torch.randn(1, 1, 12, 4, 4), order="face").names
        ['input', '0 HaloConv, nside 4', '1 ReLU, nside 4']
    """

    def __init__(
        self, network: nn.Module, maps: Tensor, *, order: str, title: str = "Level by level"
    ):
        self.levels = _levels(network, maps, check_order(order))
        self.names = list(self.levels)
        self.nside = npix_to_nside(next(iter(self.levels.values())).shape[-1])
        most = max(len(level) for level in self.levels.values())
        self.channel = ipywidgets.IntSlider(value=0, min=0, max=most - 1, description="channel")
        self.channel.observe(lambda change: self.sphere.show(self.frames()), "value")
        self.sphere: Sphere = view(
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
        """Return the chosen channel of each level, ``(levels, P)`` NESTED.

        Of a level that has fewer channels it is the last one.
        """
        chosen = self.channel.value
        return torch.stack([level[min(chosen, len(level) - 1)] for level in self.levels.values()])

    def _ipython_display_(self) -> None:
        _show(lambda: ipywidgets.VBox([self.channel, self.sphere]), lambda: self.sphere)


def _as_nested(x: Tensor, order: str) -> Tensor | None:
    """Return the maps of the first batch entry, ``(C, P)`` NESTED, or None if `x` holds none."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return None
    if x.dim() == 5 and x.shape[2] == 12 and x.shape[3] == x.shape[4]:
        return from_faces(x, order="nested")[0]
    try:
        npix_to_nside(x.shape[-1] if x.dim() == 3 else 0)
    except ValueError:
        return None
    return reorder(x[0], source="nested" if order == "face" else order, target="nested")


def _levels(network: nn.Module, maps: Tensor, order: str) -> dict[str, Tensor]:
    """Run a network and keep what its modules make of one map.

    Returns:
        ``{name: (C, P)}`` NESTED at the input's nside, each divided by its largest absolute value.
    """
    nside = maps.shape[-1] if order == "face" else npix_to_nside(maps.shape[-1])
    maps = check_maps(maps, nside=nside, order=order)
    first = _as_nested(maps.detach(), order)
    if first is None or len(maps) != 1:
        raise ValueError(
            "maps must be one batch entry (1, C, P) or (1, C, 12, n, n), "
            f"got shape {tuple(maps.shape)}"
        )
    levels = {"input": first}

    def keep(name: str, module: nn.Module, output: Any) -> None:
        level = _as_nested(output, order)
        if level is not None and npix_to_nside(level.shape[-1]) <= nside:
            title = f"{name} {type(module).__name__}, nside {npix_to_nside(level.shape[-1])}"
            levels[_unused(title, levels)] = level

    modes = [(module, module.training) for module in network.modules()]
    hooks = [
        module.register_forward_hook(lambda m, _, out, name=name: keep(name, m, out))
        for name, module in network.named_modules()
        if name and not [*module.children()]  # the modules that compute, not those that hold them
    ]
    try:
        with torch.no_grad():
            network.eval()(maps)
    finally:
        # Modules may be in several modes, so each gets its own back.
        for module, mode in modes:
            module.training = mode
        for hook in hooks:
            hook.remove()
    if len(levels) == 1:
        raise ValueError(
            "network has no module whose output is a batch of maps (1, C, P) or (1, C, 12, n, n)"
        )
    return {name: _at_nside(level, nside) for name, level in levels.items()}


def _unused(title: str, levels: dict[str, Tensor]) -> str:
    """Return `title`, with the number of the call where it is taken.

    A network may run one module several times: each output is a level.
    """
    if title not in levels:
        return title
    call = 2
    while f"{title}, call {call}" in levels:
        call += 1
    return f"{title}, call {call}"


def _at_nside(level: Tensor, nside: int) -> Tensor:
    """Return a level ``(C, p)`` at a finer nside, ``(C, P)``, its largest absolute value one."""
    # The children of a NESTED pixel follow each other, and each gets its parent's value.
    children = (nside // npix_to_nside(level.shape[-1])) ** 2
    return level.repeat_interleave(children, -1) / level.abs().max().clamp(min=1e-12)
