"""Figures of the book for both themes: their colours, and their numbers on pages of Sphinx."""

import base64
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from skytutor import plot

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import darken  # noqa: E402
import figures  # noqa: E402

G = darken.SVG + "g"
SURFACE = "#29313d"  # the theme's boxes in the dark: a figure may stand in one


def svg_of(figure):
    """Return a figure as a notebook keeps it."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", dpi=100, metadata={"Date": None})
    plt.close(figure)
    return file.getvalue()


@pytest.fixture
def style():
    with plt.rc_context():
        plot.style()
        yield


@pytest.fixture
def lines(style):
    """Return a figure of lines, areas, marks and words in many colours."""
    figure, ax = plt.subplots()
    x = np.arange(5)
    ax.fill_between(x, x - 1, x + 1, color="0.85")
    ax.plot(x, x, "k-", label="model")
    for k in range(5):
        ax.errorbar(x, x + k, 0.3, fmt="o", label=f"run {k}")
    ax.plot(x, x[::-1], "rx")
    ax.axvline(2, color="grey", linestyle=":")
    ax.bar(x, x, color="tab:blue", edgecolor="navy")
    ax.text(1, 3, "words", color="C1")
    ax.legend()
    return svg_of(figure)


def colours(svg):
    """Yield every colour of a figure but those of its pictures."""
    for element in ET.fromstring(svg).iter():
        style = darken.style_of(element)
        yield from (style[name] for name in ("fill", "stroke") if style.get(name, "none") != "none")


# --- colours ---


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000000", "#ffffff", 21), ("#777777", "#ffffff", 4.48), ("#ff0000", "#ffffff", 4.0)],
)
def test_contrast_is_that_of_wcag(one, other, ratio):
    assert darken.contrast(one, other) == pytest.approx(ratio, abs=0.01)
    assert darken.contrast(other, one) == darken.contrast(one, other)


@pytest.mark.parametrize(("colour", "dark"), plot.LINE_COLOURS.items())
def test_lines_are_seen_on_both_pages(colour, dark):
    assert darken.contrast(colour, "#ffffff") >= 4.5
    assert darken.contrast(dark, darken.PAPER) >= 4.5
    assert darken.contrast(dark, SURFACE) >= 3


def test_lines_of_the_dark_page_differ_from_each_other_as_those_of_the_light_one():
    def nearest(palette):
        points = np.array([darken.rgb(colour) for colour in palette])
        apart = np.linalg.norm(points[:, None] - points, axis=-1)
        return apart[apart > 0].min()

    assert nearest(plot.LINE_COLOURS.values()) > 0.7 * nearest(plot.LINE_COLOURS)


@pytest.mark.parametrize(
    "colour", ["#000000", "#ff0000", "#0000ff", "#000080", "#808080", "#1f77b4"]
)
def test_what_is_seen_on_white_is_seen_on_black(colour):
    assert darken.contrast(darken.partner(colour), darken.PAPER) >= 3


def test_ink_and_paper_change_places():
    assert darken.partner("#000000") == darken.INK
    assert darken.partner("#ffffff") == darken.PAPER
    # A band that is faint on paper stays faint, and is not lost.
    assert 1.3 < darken.contrast(darken.partner("#d9d9d9"), darken.PAPER) < 2


# --- figures ---


def test_no_colour_of_the_light_figure_is_lost_or_left(lines):
    before = set(colours(darken.light(lines)))
    after = set(colours(darken.dark(lines)))
    assert after == {darken.partner(colour) for colour in before - {"#ffffff"}} | {darken.INK}
    strong = {c for c in before if darken.contrast(c, "#ffffff") >= 3}
    assert len(strong) > 6
    assert all(darken.contrast(darken.partner(c), darken.PAPER) >= 3 for c in strong)


def test_paper_is_transparent(lines):
    root = ET.fromstring(darken.dark(lines))
    for name in ("patch_1", "patch_2"):  # of the figure, of its axes
        (path,) = root.find(f".//{G}[@id='{name}']")
        assert darken.style_of(path)["fill"] == "none"
    (path,) = ET.fromstring(darken.light(lines)).find(f".//{G}[@id='patch_1']")
    assert darken.style_of(path)["fill"] == "none"


def test_letters_take_the_colour_of_ink(lines):
    root = ET.fromstring(darken.dark(lines))
    assert darken.style_of(root)["fill"] == darken.INK
    letters = [g for g in root.iter(G) if g.get("id", "").startswith("text_")]
    assert len(letters) > 10


def pictures(svg):
    return [darken.picture_of(image) for image in ET.fromstring(svg).iter(darken.SVG + "image")]


def test_maps_keep_their_dots_and_take_fewer_bytes(style):
    figure, ax = plt.subplots()
    rng = torch.Generator().manual_seed(1)
    image = plot.globe(ax, torch.randn(192, generator=rng), order="ring", signed=True)
    plot.colour_bar(figure, image, ax, label="K")
    svg = svg_of(figure)
    for version in (darken.light(svg), darken.dark(svg)):
        assert len(pictures(version)) == 2
        for before, after in zip(pictures(svg), pictures(version), strict=True):
            assert (before == after).all()
        assert len(version) < 0.8 * len(svg)


def test_what_lies_on_an_image_keeps_its_colours(style):
    figure, ax = plt.subplots()
    plot.globe(ax, torch.arange(12.0), order="ring", borders="base", line="#123456")
    ax.text(0, 0, "here", color="black")
    ax.text(0.2, 0.2, "there", color="white")
    ax.plot([-0.5, 0.5], [0, 0], color="#0b5394")
    ax.set_title("a title")
    root = ET.fromstring(darken.dark(svg_of(figure)))
    kept = {c for c in colours(ET.tostring(root))}
    assert {"#123456", "#0b5394", "#ffffff"} <= kept
    texts = [g for g in root.iter(G) if g.get("id", "").startswith("text_")]
    assert [darken.style_of(text).get("fill") for text in texts] == ["#000000", "#000000", None]


def test_words_beside_an_image_are_ink(style):
    figure, ax = plt.subplots()
    ax.imshow([[0, 1], [2, 3]])
    for k in (0, 1):
        ax.text(k, k, "on it")
    ax.set(xlabel="beside")
    root = ET.fromstring(darken.dark(svg_of(figure)))
    own = [g for axes in root.iter(G) if axes.get("id") == "axes_1" for g in axes]
    on_it = [g for g in own if g.get("id", "").startswith("text_")]
    assert len(on_it) == 2 and all("#000000" in g.get("style", "") for g in on_it)
    (axis,) = [g for g in own if g.get("id") == "matplotlib.axis_1"]
    assert "#000000" not in ET.tostring(axis).decode()


def test_a_colour_map_of_dots_stays_and_gets_an_outline(style):
    figure, ax = plt.subplots()
    ax.scatter(range(20), range(20), c=range(20), cmap=plot.CMAP)
    ax.scatter([3, 4], [5, 5], color="C0")
    svg = svg_of(figure)

    def marks(version, name):
        group = ET.fromstring(version).find(f".//{G}[@id='{name}']")
        return [darken.style_of(use) for use in group.iter(darken.SVG + "use")]

    before, after = marks(svg, "PathCollection_1"), marks(darken.dark(svg), "PathCollection_1")
    assert [one["fill"] for one in before] == [one["fill"] for one in after]
    assert all(darken.contrast(one["stroke"], darken.PAPER) >= 3 for one in after)
    blue = plot.LINE_COLOURS["#0b5394"]
    assert {one["fill"] for one in marks(darken.dark(svg), "PathCollection_2")} == {blue}


def test_a_cloud_drawn_as_a_picture_changes_colour(style):
    figure, ax = plt.subplots()
    ax.plot(np.random.default_rng(1).random((300, 1)), ".", rasterized=True)
    (dots,) = pictures(darken.dark(svg_of(figure)))
    solid = dots[dots[..., 3] == 255][:, :3] / 255
    assert len(solid) and np.allclose(solid, darken.rgb(plot.LINE_COLOURS["#0b5394"]), atol=0.01)


@pytest.mark.parametrize(
    ("head", "size"),
    [
        ('width="72pt" height="36pt"', (96, 48)),
        ('width="72" height="36px"', (72, 36)),
        ('width="100%" height="36px"', None),
        ('viewBox="0 0 3 4"', None),
    ],
)
def test_the_size_on_the_page(head, size):
    assert darken.size_of(f'<svg xmlns="{darken.SVG[1:-1]}" {head}/>'.encode()) == size


def test_a_picture_of_many_colours_is_stored_whole():
    dots = np.random.default_rng(2).integers(0, 256, (40, 40, 4), dtype=np.uint8)
    image = ET.Element("image")
    darken.set_picture(image, dots)
    assert (darken.picture_of(image) == dots).all()
    few = np.repeat(dots[:1], 40, axis=0)
    darken.set_picture(image, few)
    assert (darken.picture_of(image) == few).all()
    data = base64.b64decode(image.get(darken.HREF).partition(",")[2])
    assert Image.open(io.BytesIO(data)).mode == "P"


# --- pages ---


def display(data, **metadata):
    """Return a cell that shows something."""
    output = nbformat.v4.new_output("display_data", data)
    return nbformat.v4.new_code_cell("show()", outputs=[output], metadata=metadata)


def numbered(name, caption=None, alt="Words."):
    figure = {"name": name} if caption is None else {"name": name, "caption": caption}
    return {"mystnb": {"figure": figure, "image": {"alt": alt}}}


TABLE = plot.results_table({"a <b>": {"x": 1.0, "y": 2.0}}, caption="Scores of <us>.", best="min")
DRAWN = "<svg role='img' aria-label='A network.'></svg>"


def build(folder, cells, *, fails=False):
    """Make a book of a chapter and an appendix; return its pages, or what Sphinx complains of."""
    svg = folder.joinpath("drawn.svg").read_text()
    chapter = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Chapter\n\nSee {numref}`fig-b` and {numref}`tab-a`."),
            *cells(svg),
        ]
    )
    appendix = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Appendix\n\nSee {numref}`fig-a`."),
            display({"image/svg+xml": svg}, **numbered("fig-c", "Third.")),
        ]
    )
    for name, book in (("chapters/07-seven", chapter), ("appendices/more", appendix)):
        path = folder / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        book.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
        nbformat.write(book, path)
    extensions = ["myst_nb", "figures"]
    folder.joinpath("conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        f"extensions = {extensions}\nnb_execution_mode = 'off'\nnumfig = True\n"
    )
    folder.joinpath("index.md").write_text(
        "# Front\n\n```{figure} drawn.svg\n:alt: Front words.\n:name: fig-front\n\nFront.\n```\n\n"
        "{numref}`fig-front`\n\n```{image} drawn.svg\n:class: only-light\n:alt: One.\n```\n\n"
        "```{toctree}\nchapters/07-seven\nappendices/more\n```\n"
    )
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "-n"]
    done = subprocess.run(
        [*command, str(folder), str(folder / "html")], capture_output=True, text=True
    )
    if fails:
        assert done.returncode, "built without a complaint"
        return done.stderr
    assert done.returncode == 0, done.stderr
    names = ("index", "chapters/07-seven", "appendices/more")
    return [(folder / "html" / f"{name}.html").read_text() for name in names]


@pytest.fixture
def folder(tmp_path, lines):
    tmp_path.joinpath("drawn.svg").write_bytes(lines)
    return tmp_path


def test_figures_and_tables_are_numbered_on_each_page_and_shown_in_both_themes(folder):
    def cells(svg):
        return [
            display({"image/svg+xml": svg}, **numbered("fig-a", "First, $x$.")),
            display({"text/html": DRAWN, "text/plain": "drawn"}, **numbered("fig-b", "Second.")),
            display({"text/html": TABLE._repr_html_()}, **numbered("tab-a")),
            display({"image/svg+xml": svg}, mystnb={"image": {"alt": "No number."}}),
        ]

    front, chapter, appendix = build(folder, cells)
    for page, caption in ((chapter, "Fig. 7.1"), (chapter, "Fig. 7.2"), (appendix, "Fig. A.1")):
        assert f'<span class="caption-number">{caption} </span>' in page
    assert '<span class="caption-number">Fig. 1 </span>' in front
    links = [
        re.findall(r'<span class="std std-numref">(.*?)</span>', p) for p in (chapter, appendix)
    ]
    assert links == [["Fig. 7.2", "Table 7.1"], ["Fig. 7.1"]]
    # The table's own caption bears its number, and stands once.
    caption = re.search(r"<caption.*?</caption>", chapter, re.DOTALL)[0]
    assert unescape(re.sub("<[^>]*>", "", caption)).startswith("Table 7.1 Scores of <us>.")
    assert chapter.count("Scores of &lt;us&gt;.") == 1 and 'id="tab-a"' in chapter
    assert front.count('alt="One."') == 1, "the author chose a theme"
    front = re.sub('<img [^>]*alt="One."[^>]*>', "", front)
    for page, alts in ((front, ["Front words."]), (chapter, ["Words.", "No number."])):
        images = [
            dict(re.findall(r'(\S+)="(.*?)"', tag)) for tag in re.findall("<img [^>]*>", page)
        ]
        assert [image["class"] for image in images] == ["only-light", "only-dark"] * len(alts)
        assert [image["alt"] for image in images] == [alt for alt in alts for _ in "12"]
        assert all(image["loading"] == "lazy" and int(image["width"]) > 300 for image in images)
        light, dark = (folder / "html" / images[k]["src"].replace("../", "") for k in (0, 1))
        assert light.read_bytes() == darken.light(folder.joinpath("drawn.svg").read_bytes())
        assert dark.read_bytes() == darken.dark(folder.joinpath("drawn.svg").read_bytes())


def test_a_table_with_two_captions_is_refused(folder):
    def cells(svg):
        return [
            display({"image/svg+xml": svg}, **numbered("fig-a", "First.")),
            display({"image/svg+xml": svg}, **numbered("fig-b", "Second.")),
            display({"text/html": TABLE._repr_html_()}, **numbered("tab-a", "Again.")),
        ]

    assert "brings its own caption" in build(folder, cells, fails=True)


@pytest.mark.parametrize(
    ("page", "prefix"),
    [
        ("chapters/03-cmb-parameters", ("3",)),
        ("chapters/12-more", ("12",)),
        ("appendices/second", ("B",)),
        ("intro", ()),
    ],
)
def test_what_stands_before_a_number(page, prefix):
    assert figures.prefix_of(page, ["appendices/first", "appendices/second"]) == prefix
