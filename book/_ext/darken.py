"""Figures of matplotlib for a dark page: an SVG in, the same with other colours out.

Ink becomes light and paper transparent; a line's colour becomes its partner in
`skytutor.plot.style.LINE_COLOURS`, or a lighter one of the same hue. As much contrast as a colour
has with white paper, up to 3:1, its partner has with the dark page. Maps and images keep their
colours, with the lines, dots and words on top of them. Pictures inside are stored with a palette
where that loses nothing: half the bytes.
"""

import base64
import colorsys
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from skytutor.plot.style import LINE_COLOURS

PAPER = "#121212"  # the theme's dark page
INK = "#ced6dd"  # the theme's text on it
NEEDED = 3.0  # contrast of lines and areas that say something, WCAG 1.4.11
# A collection of more colours than this shows a quantity by a colour map.
MAPPED = 8

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
ET.register_namespace("", SVG[1:-1])
ET.register_namespace("xlink", HREF[1:-5])


class Box(NamedTuple):
    """Where an image lies in the figure, in its units, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, x: float, y: float) -> bool:
        """Tell whether a point lies on the image."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom


# --- colours ---


def rgb(colour: str) -> tuple[float, float, float]:
    """Return red, green and blue, 0 to 1, of ``#rrggbb``."""
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue


def hexadecimal(red: float, green: float, blue: float) -> str:
    """Return ``#rrggbb``, the inverse of `rgb`."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def partner(colour: str) -> str:
    """Return what a colour becomes on the dark page."""
    if colour in LINE_COLOURS:
        return LINE_COLOURS[colour]
    red, green, blue = rgb(colour)
    wanted = min(NEEDED, contrast(colour, "#ffffff"))
    if max(red, green, blue) - min(red, green, blue) < 0.02:
        # From black to white on paper is from ink to paper here.
        mixed = [i + red * (p - i) for i, p in zip(rgb(INK), rgb(PAPER), strict=True)]
        return _lighter(mixed, wanted)
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    return _lighter(colorsys.hls_to_rgb(hue, 1 - lightness, saturation), wanted)


def _lighter(colour: list[float] | tuple[float, ...], wanted: float) -> str:
    """Return a colour, lighter by as little as gives it the contrast wanted with the page."""
    for white in np.linspace(0, 1, 101):
        mixed = hexadecimal(*(part + white * (1 - part) for part in colour))
        if contrast(mixed, PAPER) >= wanted:
            break
    return mixed


# --- styles ---


def style_of(element: ET.Element) -> dict[str, str]:
    """Return what the attribute `style` says."""
    pairs = (part.partition(":") for part in element.get("style", "").split(";") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def set_style(element: ET.Element, style: dict[str, str]) -> None:
    """Write the attribute `style`."""
    element.set("style", "; ".join(f"{name}: {value}" for name, value in style.items()))


def is_colour(value: str | None) -> bool:
    """Tell whether a style's value is a colour, not "none", nothing, or a pattern's name."""
    return bool(value and re.fullmatch("#[0-9a-f]{6}", value))


# --- pictures inside ---


def picture_of(image: ET.Element) -> np.ndarray:
    """Return the dots of a picture inside, ``(height, width, 4)`` bytes."""
    data = base64.b64decode(image.get(HREF, "").partition(",")[2])
    return np.array(Image.open(io.BytesIO(data)).convert("RGBA"))


def set_picture(image: ET.Element, dots: np.ndarray) -> None:
    """Store a picture, with a palette if it has at most 256 colours and there is something to win.

    Arguments:
        image: the element that holds it.
        dots: ``(height, width, 4)`` bytes.
    """
    # Four bytes are one whole number: much faster to sort than rows.
    words, number = np.unique(np.ascontiguousarray(dots).view(np.uint32), return_inverse=True)
    colours = words.view(np.uint8).reshape(-1, 4)
    file = io.BytesIO()
    if len(colours) > 256:
        Image.fromarray(dots, "RGBA").save(file, "PNG", optimize=True)
    else:
        small = Image.fromarray(number.reshape(dots.shape[:2]).astype(np.uint8), "P")
        small.putpalette(colours[:, :3].tobytes())
        small.save(file, "PNG", optimize=True, transparency=colours[:, 3].tobytes())
    image.set(HREF, "data:image/png;base64," + base64.b64encode(file.getvalue()).decode())


def darken_cloud(dots: np.ndarray) -> np.ndarray:
    """Return a cloud of dots drawn as a picture with its few colours changed.

    What is opaque, and what has many colours, is an image and stays.
    """
    if (dots[..., 3] == 0).mean() < 0.3:
        return dots
    colours = np.unique(dots[dots[..., 3] == 255][:, :3], axis=0)
    if len(colours) > MAPPED:
        return dots
    dark = dots.copy()
    for colour in np.unique(dots[dots[..., 3] > 0][:, :3], axis=0):
        new = rgb(partner(hexadecimal(*(colour / 255))))
        dark[(dots[..., :3] == colour).all(-1), :3] = np.round(255 * np.array(new))
    return dark


def box_of(image: ET.Element) -> Box:
    """Return where an image lies: matplotlib writes its place and a list of shifts and scales."""
    x, y, width, height = (float(image.get(name, 0)) for name in ("x", "y", "width", "height"))
    corners = np.array([[x, y], [x + width, y + height]])
    # The last in the list comes first.
    steps = re.findall(r"(\w+)\(([^)]*)\)", image.get("transform", ""))
    for name, numbers in reversed(steps):
        values = [float(number) for number in re.split(r"[ ,]+", numbers.strip())]
        if name == "translate":
            corners = corners + values
        elif name == "scale":
            corners = corners * values
        elif name == "matrix":
            a, b, c, d, e, f = values
            corners = corners @ np.array([[a, b], [c, d]]) + [e, f]
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    return Box(left, top, right, bottom)


# --- the figure ---


def place_of(text: ET.Element) -> tuple[float, float] | None:
    """Return where a group of letters begins."""
    for group in text.iter(SVG + "g"):
        found = re.match(r"translate\(([-\d.e]+)[ ,]([-\d.e]+)\)", group.get("transform", ""))
        if found:
            return float(found[1]), float(found[2])
    return None


def clipped(group: ET.Element) -> bool:
    """Tell whether all that a group draws is cut off where its axes end."""
    if group.get("clip-path"):
        return True
    drawn = [child for child in group if child.tag != SVG + "defs"]
    return bool(drawn) and all(child.get("clip-path") for child in drawn)


def on_image(axes: ET.Element) -> Iterator[ET.Element]:
    """Yield what lies on an image of these axes: it keeps its colours."""
    holders = [child for child in axes if child.get("clip-path")]
    boxes = [box_of(image) for child in holders for image in child.iter(SVG + "image")]
    if not boxes:
        return
    for child in axes:
        if child.get("id", "").startswith("text_"):
            place = place_of(child)
            if place and any(box.holds(*place) for box in boxes):
                yield child
        elif clipped(child):
            yield child


def is_mapped(group: ET.Element) -> bool:
    """Tell whether a collection shows a quantity by its colours."""
    if "Collection" not in group.get("id", "") and "QuadMesh" not in group.get("id", ""):
        return False
    return len({style_of(part).get("fill") for part in group.iter()}) > MAPPED


def recolour(element: ET.Element, *, paper: bool) -> None:
    """Change the colours of one element.

    Arguments:
        element: a path or a mark.
        paper: whether white is paper, which becomes transparent; else it becomes the page's colour.
    """
    style = style_of(element)
    for name in ("fill", "stroke"):
        if name == "fill" and paper and style.get(name) == "#ffffff":
            style[name] = "none"
        elif is_colour(style.get(name)):
            style[name] = partner(style[name])
    if style:
        set_style(element, style)


def outline(element: ET.Element) -> None:
    """Give a mark of a colour map a thin edge, so that its darkest colours are seen."""
    style = style_of(element)
    if is_colour(style.get("fill")) and style.get("stroke", style["fill"]) == style["fill"]:
        set_style(element, style | {"stroke": partner("#7f7f7f"), "stroke-width": "0.5"})


def walk(element: ET.Element, kept: set[ET.Element], *, paper: bool = False) -> None:
    """Change the colours of an element and of all inside it but what is kept."""
    if element in kept:
        # Black is what matplotlib leaves out, and here it would be ink.
        element.set("style", f"fill: #000000; {element.get('style', '')}")
        return
    if is_mapped(element):
        for part in element.iter(SVG + "use"):
            outline(part)
        return
    if element.tag == SVG + "image":
        set_picture(element, darken_cloud(picture_of(element)))
        return
    paper = paper or element.get("id", "").startswith("patch_")
    recolour(element, paper=paper and not element.get("clip-path"))
    for child in element:
        walk(child, kept, paper=paper)


def parse(svg: bytes) -> ET.Element:
    """Return the figure without its metadata, its pictures stored small."""
    root = ET.fromstring(svg)
    for data in root.findall(SVG + "metadata"):
        root.remove(data)
    for image in root.iter(SVG + "image"):
        set_picture(image, picture_of(image))
    return root


def light(svg: bytes) -> bytes:
    """Return the figure for a light page: all as it is, in fewer bytes, on no paper."""
    root = parse(svg)
    for figure in root.iter(SVG + "g"):
        if figure.get("id") == "figure_1":
            _remove_paper(figure)
    return ET.tostring(root, encoding="utf-8")


def _remove_paper(figure: ET.Element) -> None:
    """Make the white rectangle behind a figure transparent."""
    for path in figure.findall(f"{SVG}g[@id='patch_1']/{SVG}path"):
        set_style(path, style_of(path) | {"fill": "none"})


def dark(svg: bytes) -> bytes:
    """Return the figure for a dark page."""
    root = parse(svg)
    kept = set()
    for group in root.iter(SVG + "g"):
        if group.get("id", "").startswith("axes_"):
            kept |= set(on_image(group))
    walk(root, kept)
    # Letters have no colour of their own: they take the figure's.
    set_style(root, {"fill": INK} | style_of(root))
    return ET.tostring(root, encoding="utf-8")


def size_of(svg: bytes) -> tuple[float, float] | None:
    """Return width and height as a page shows them, in its pixels; None if the file says none."""
    root = ET.fromstring(svg)
    sizes = []
    for name in ("width", "height"):
        found = re.fullmatch(r"([\d.]+)(pt|px|)", root.get(name, ""))
        if not found:
            return None
        sizes.append(float(found[1]) * (4 / 3 if found[2] == "pt" else 1))
    return sizes[0], sizes[1]
