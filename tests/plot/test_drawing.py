"""Drawings of networks: the book's, and some that are hard to draw."""

import re
import time
import xml.etree.ElementTree as ElementTree
from functools import cache
from itertools import combinations, pairwise

import networks_to_draw as nets
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from skytutor import chapters
from skytutor.chapters.cmb.networks import Estimator
from skytutor.chapters.cmb.published import PublishedPixelNet, PublishedSpectralCNN
from skytutor.chapters.cmb.summaries import LikelihoodGrid, LogPowerSpectrum
from skytutor.fields.covariance import PixelCovariance
from skytutor.plot import Drawing, architecture
from skytutor.plot._network.layout import SMALL, WIDTH, Layout
from skytutor.plot._network.line_breaks import width_of, wrap
from skytutor.plot._network.rows import BOX, JOIN, STATE
from skytutor.plot.drawing import _plan
from skytutor.plot.trace import trace

SVG = "{http://www.w3.org/2000/svg}"


def digits(name, nside):
    return chapters.network(chapters.get(name)), torch.rand(2, 1, 12 * nside**2)


def gan(name, which):
    pair = chapters.network(chapters.get(name))
    z = torch.randn(2, pair.generator.latent)
    labels = [torch.tensor([1, 2])] if pair.generator.classes else []
    if which == "generator":
        return pair.generator, (z, *labels)
    with torch.no_grad():
        maps = pair.generator.eval()(z, *labels)
    return pair.discriminator, (maps, *labels)


def estimator(summary):
    return Estimator(summary.size, outputs=1, summary=summary.forward)


def likelihoods():
    mask = torch.arange(192) < 72
    covariance = PixelCovariance(4, 11, spin=2, mask=mask, variance=0.1)
    return LikelihoodGrid(covariance, torch.rand(5, 2, 12).double())


BOOK = {
    "digits-published": lambda: digits("digits-published", 8),
    "digits-fixed": lambda: digits("digits-fixed", 8),
    "digits-rotated": lambda: digits("digits-rotated", 16),
    "digits-invariant": lambda: digits("digits-invariant", 16),
    "cmb-full-sky": lambda: (
        estimator(LogPowerSpectrum(16, 47, spin=0)),
        torch.randn(2, 3072),
    ),
    "cmb-summary": lambda: (LogPowerSpectrum(16, 47, spin=2), torch.randn(2, 2, 3072)),
    "cmb-part": lambda: (estimator(likelihoods()), torch.randn(2, 2, 192)),
    "cmb-recipe": lambda: (chapters.get("cmb-t2-sky100").build(), torch.randn(2, 2, 3072)),
    "cmb-pixel": lambda: (PublishedPixelNet(16, channels=2, outputs=2), torch.randn(2, 2, 3072)),
    "cmb-spectral": lambda: (
        PublishedSpectralCNN(16, channels=2, outputs=2),
        torch.randn(2, 2, 3072),
    ),
}
for _recipe in ("sphere-gan-published", "sphere-gan", "sphere-gan-planar", "sphere-gan-cmb"):
    for _which in ("generator", "discriminator"):
        BOOK[f"{_recipe}-{_which}"] = lambda r=_recipe, w=_which: gan(r, w)
HARD = {
    "unet": lambda: (nets.UNet(), torch.rand(1, 1, 16, 16)),
    "vae": lambda: (nets.VAE(), torch.rand(1, 1, 28, 28)),
    "resnet": lambda: (nets.ResNet(), torch.rand(1, 3, 8, 8)),
    "gated": lambda: (nets.Gated(), torch.rand(1, 1, 8, 8)),
    "looped": lambda: (nets.Looped(), torch.rand(1, 3)),
    "products": lambda: (nets.Products().double(), torch.rand(1, 4).double()),
    "partly": lambda: (nets.PartlyUsed(), torch.rand(1, 4)),
    "numpy": lambda: (nets.ThroughNumpy(), torch.rand(1, 4)),
    "two": lambda: (
        nets.TwoInputs(),
        {"image": torch.rand(1, 1, 8, 8), "label": torch.tensor([1])},
    ),
    "attention": lambda: (nets.Attention(), torch.rand(1, 5, 8)),
    "lstm": lambda: (nn.LSTM(3, 5, batch_first=True), torch.rand(2, 7, 3)),
    "one": lambda: (nn.Linear(3, 4), torch.rand(1, 3)),
    "nothing": lambda: (nn.Identity(), torch.rand(1, 3)),
    "nested": lambda: (nets.nested(), torch.rand(1, 3)),
    "blocks": lambda: (nets.blocks_in_a_block(), torch.rand(1, 3)),
    "out-of-step": lambda: (nets.blocks_that_look_alike_out_of_step(), torch.rand(1, 3)),
    "shared-at-the-start": lambda: (nets.shared("aab"), torch.rand(1, 4)),
    "shared": lambda: (nn.Sequential(nn.Linear(3, 4), nets.shared("aab")), torch.rand(1, 3)),
    "shared-later": lambda: (
        nn.Sequential(nn.Linear(3, 4), *nets.shared("abca")),
        torch.rand(1, 3),
    ),
    "shared-pairs": lambda: (
        nn.Sequential(nn.Linear(3, 4), *nets.shared("aabc")),
        torch.rand(1, 3),
    ),
    "tied": lambda: (nets.Tied(), torch.rand(1, 4)),
    "in-place": lambda: (nets.ScaledPart(), torch.rand(1, 4)),
    "auxiliary": lambda: (nets.Auxiliary(), torch.rand(1, 4)),
}
ALL = {**BOOK, **HARD}
SAME = "\u00d7 {} with the same weights"
every = pytest.mark.parametrize("name", ALL)
of_the_book = pytest.mark.parametrize("name", BOOK)


@cache
def made(name):
    """Return network and example. They are made once: neither a trace nor a drawing changes them.

    (tests/plot/test_trace.py looks at that.)
    """
    torch.manual_seed(0)
    return ALL[name]()


@cache
def traced(name):
    """Return the graph, and what is drawn of it."""
    graph = trace(*made(name))
    return graph, _plan(graph, title=None, output=None, sphere=None)


def plan(name):
    return traced(name)[1]


@cache
def drawing(name):
    return architecture(*made(name))


def steps(name):
    return [row for row in plan(name).rows if row.kind != STATE]


def titles(name):
    return [row.title for row in steps(name)]


def states(name):
    return [row.text for row in plan(name).rows if row.kind == STATE]


def arcs(name):
    """Return source and target of each arc, by their titles or states."""
    found = []
    rows = plan(name).rows
    for above, row in zip([None, *rows], rows, strict=False):
        found += [(source, row) for source in row.sources(above)]
    return found


# --- numbers of weights ---


@every
def test_the_weights_add_up_to_those_of_the_module(name):
    module, _ = made(name)
    graph, _ = traced(name)
    used = {}
    for node in graph.nodes:
        used.update(node.parameters)
        used.update(node.copies)
    total = sum(p.numel() for p in module.parameters())
    assert sum(used.values()) + sum(graph.unused().values()) == total
    assert f"{total:,} weight" in plan(name).notes[0]


@of_the_book
def test_every_weight_of_the_book_is_used(name):
    assert traced(name)[0].unused() == {}


@every
def test_the_weights_that_are_written_add_up(name):
    """Each box says its own, so a reader can add them: "same weights" stand in another box."""
    times = {id(row): 1 for row in steps(name)}
    for group in plan(name).groups:
        repeat = re.search(r"\u00d7 (\d+)$", group.label)  # not "with the same weights"
        for row in plan(name).rows[group.first : group.last + 1]:
            if repeat and id(row) in times:
                times[id(row)] = int(repeat[1])
    total = 0
    for row in steps(name):
        number = re.match(r"[\d,]+", row.weights)
        total += times[id(row)] * int(number[0].replace(",", "")) if number else 0
    graph, _ = traced(name)
    assert total == graph.n_weights - sum(graph.unused().values())


def test_weights_without_effect_on_the_output_are_listed():
    assert plan("partly").notes == [
        "70 weights in all",
        "without effect on this output: 50 weights (lost, other)",
    ]
    assert "Without effect on this output: 50 weights (lost, other)." in drawing("partly").alt
    assert "Without effect on this output: 15 weights (auxiliary)." in drawing("auxiliary").alt


def test_of_a_tied_layer_only_what_is_new_is_counted():
    assert [row.weights for row in steps("tied")] == ["16 weights", "4 weights more"]


# --- the networks of the book ---


def test_the_published_network_of_chapter_1_in_words():
    assert drawing("digits-published").alt == (
        "PublishedConv1d: network of 403,050 weights. Input maps: Nside 8, 1 channel. "
        "Step 1: HierarchicalConv 1 → 32, ReLU (160 weights). This gives Nside 4, 32 channels. "
        "Step 2: HierarchicalConv 32 → 64, ReLU (8,256 weights). This gives Nside 2, 64 channels. "
        "Read as 3,072 numbers. "
        "Step 3: Linear 3,072 → 128, ReLU, Dropout (393,344 weights). This gives 128 numbers. "
        "Step 4: Linear 128 → 10, softmax (1,290 weights). This gives 10 numbers, the output."
    )


def test_the_estimator_of_chapter_3():
    assert titles("cmb-full-sky") == ["LogPowerSpectrum", "Linear", "Linear", "Linear"]
    assert titles("cmb-part")[0] == "LikelihoodGrid"
    assert titles("cmb-recipe")[0] == "LogPowerSpectrum"  # behind a function of the recipe's own
    assert steps("cmb-full-sky")[1].first == ["RunningNorm"]
    assert states("cmb-full-sky")[0] == "Nside 16 · 1 channel"


def test_a_sphere_that_becomes_a_grid_and_harmonics():
    kinds = [row.state.kind for row in plan("cmb-spectral").rows if row.kind == STATE]
    assert kinds[:3] == ["sphere", "picture", "harmonics"]
    assert titles("cmb-spectral")[:3] == ["index by nearest", "RealSHT", "_product"]
    assert [group.label for group in plan("cmb-spectral").groups] == ["\u00d7 2"]


def test_real_harmonics_are_told_from_maps():
    text = states("digits-invariant")
    assert text[1] == "harmonics to l = 16 · 1 channel"
    assert "Nside 8 · 16 channels of 2" in text


def test_degrees_are_not_taken_for_pixels():
    """A spectrum to l = 47 has 48 numbers, as many as a map of nside 2 has pixels."""
    text = states("cmb-summary")
    assert "2 \u00d7 48 numbers" in text and not any("Nside 2" in one for one in text)


def test_residual_blocks_of_chapter_1():
    labels = [group.label for group in plan("digits-fixed").groups]
    assert labels == ["Residual", "Residual"]
    joins = [target for _, target in arcs("digits-fixed")]
    assert [row.symbol for row in joins] == ["+", "+"]


def test_a_pixel_shuffle_has_the_name_of_its_function():
    assert titles("sphere-gan-generator").count("to_children") == 3
    assert titles("sphere-gan-discriminator").count("to_parents") == 3
    assert titles("sphere-gan-cmb-discriminator").count("_moments") == 4


def test_the_noise_of_the_generator_of_skies_comes_from_the_latents():
    noise = [row for row in steps("sphere-gan-cmb-generator") if row.title.endswith("noise")]
    assert len(noise) == 3
    sources = [source.title for source, row in arcs("sphere-gan-cmb-generator") if row in noise]
    assert sources == ["z"] * 3


@of_the_book
def test_a_drawing_takes_less_than_a_second(name):
    module, example = made(name)
    drawing(name)  # tables are made in the first call
    start = time.process_time()
    architecture(module, example)
    assert time.process_time() - start < 1


# --- structure ---


def test_the_skip_arcs_of_a_unet_join_equal_levels():
    found = arcs("unet")
    assert len(found) == 2
    assert [target.title for _, target in found] == ["concat", "concat"]
    for source, target in found:
        assert source.level == target.level
        assert source.state.cells == target.state.cells
    assert sorted({row.level for row in plan("unet").rows}) == [0, 1, 2]


def test_the_columns_of_a_unet_go_down_and_up():
    levels = [row.level for row in plan("unet").rows]
    changes = [b - a for a, b in pairwise(levels) if a != b]
    assert changes == [1, 1, -1, -1]


def test_the_latent_of_a_vae():
    words = drawing("vae").alt
    assert "8 numbers, mean" in words and "8 numbers, log_variance" in words
    assert "multiply, with random numbers (randn_like)" in words
    assert "gives 8 numbers, z." in words
    assert {group.label for group in plan("vae").groups} == {"Encoder", "Decoder"}


def test_a_gate():
    (source, target), *rest = arcs("gated")
    assert not rest and target.symbol == "\u00d7" and source.text == "8 \u00d7 8 · 16 channels"


def test_equal_blocks_are_drawn_once():
    labels = [group.label for group in plan("resnet").groups]
    assert labels == ["Residual \u00d7 3", "Residual"]
    assert [row.weights for row in steps("resnet")[1:3]] == ["2,352 weights each"] * 2
    assert len(steps("resnet")) == 10


def test_a_layer_in_a_loop_has_its_weights_once():
    assert [group.label for group in plan("looped").groups] == ["\u00d7 3 with the same weights"]
    assert [row.weights for row in steps("looped")] == ["24 weights", "42 weights"]


@pytest.mark.parametrize(
    ("name", "labels", "weights"),
    [
        ("shared-at-the-start", [], ["20 weights", "same weights", "20 weights"]),
        ("shared", [SAME.format(2)], ["16 weights", "20 weights", "20 weights"]),
        ("shared-later", ["\u00d7 3"], ["16 weights", "20 weights each", "same weights"]),
        (
            "shared-pairs",
            [SAME.format(2), "\u00d7 2"],
            ["16 weights", "20 weights", "20 weights each"],
        ),
    ],
)
def test_copies_either_share_their_weights_or_have_new_ones(name, labels, weights):
    assert [group.label for group in plan(name).groups] == labels
    assert [row.weights for row in steps(name)] == weights


def test_a_repeat_keeps_its_bracket_within_any_number_of_blocks():
    assert [group.label for group in plan("nested").groups] == ["Outer", "Middle", "\u00d7 4"]
    assert [group.nest for group in plan("nested").groups] == [0, 1, 2]
    assert "\u00d7 4, step 4: Step 4: Linear 8 → 8 (72 weights each)." in drawing("nested").alt
    assert ">\u00d7 4<" in drawing("nested").svg


def test_the_block_that_is_repeated_is_told_from_the_one_around_it():
    assert [group.label for group in plan("blocks").groups] == ["Outer: Inner \u00d7 3"]


def test_a_repeat_cuts_no_block():
    assert [group.label for group in plan("out-of-step").groups] == ["Inner", "Inner \u00d7 2"]


@every
def test_brackets_stand_within_each_other_or_apart(name):
    for one, other in combinations(plan(name).groups, 2):
        apart = one.last < other.first or other.last < one.first
        within = one.first <= other.first and other.last <= one.last
        assert apart or within, (one.label, other.label)


def test_of_brackets_that_begin_together_the_words_name_each():
    assert "Step 1: Linear" in drawing("nested").alt
    twice = nn.Sequential(nn.Linear(3, 4), nets.Outer(nets.Middle(*nets.layers(1), nn.Tanh())))
    twice[1].parts.append(nn.Linear(4, 3))
    twice[1].parts[0].parts.append(nn.Linear(4, 4))
    words = architecture(twice, torch.rand(1, 3)).alt
    assert "Outer, steps 2 to 4: Middle, steps 2 to 3: Step 2" in words


PADDINGS = ("zeros", "circular", "reflect")


class Dilated(nn.Module):
    """A layer that says nothing of its dilation."""

    def __init__(self, dilation):
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter(torch.rand(4, 4, 3))

    def forward(self, x):
        return F.conv1d(x, self.weight, padding=self.dilation, dilation=self.dilation)


@pytest.mark.parametrize(
    "layer",
    [
        lambda k: nn.Conv1d(4, 4, 3, padding=k, dilation=k),
        lambda k: nn.Conv1d(
            4, 4, 3, padding=1, padding_mode=("zeros", "circular", "reflect")[k - 1]
        ),
        lambda k: nn.Sequential(nn.Conv1d(4, 4, 1), nn.LeakyReLU(k / 10)),
        lambda k: nn.Sequential(nn.Conv1d(4, 4, 1), nets.Chain(nn.Dropout(k / 10))),
        Dilated,
        lambda k: Shifted(k),
        lambda k: Powers(k),
    ],
)
def test_layers_that_differ_are_not_folded(layer):
    example = torch.rand(1, 2, 16)
    for orders, labels in (((1, 2, 3), []), ((2, 2, 2), ["\u00d7 3"])):
        module = nn.Sequential(nn.Conv1d(2, 4, 1), *map(layer, orders))
        found = _plan(trace(module, example), title=None, output=None, sphere=None)
        assert [group.label for group in found.groups] == labels


class Shifted(nn.Module):
    """A layer on data in another order."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift
        self.layer = nn.Conv1d(4, 4, 1)

    def forward(self, x):
        return self.layer(x.roll(self.shift, 2)).relu()


class Powers(Shifted):
    """A function with a number."""

    def forward(self, x):
        return self.layer(x).abs().pow(self.shift)


def test_dilation_is_written():
    layer = nn.Conv2d(1, 2, 3, dilation=2, padding=2)
    assert "kernel 3 \u00d7 3, dilation 2 (20 weights)" in repr(
        architecture(layer, torch.rand(1, 1, 8, 8))
    )


def test_blocks_whose_inside_is_taken_elsewhere_are_not_folded():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))

        def forward(self, x):
            kept = []
            for layer in self.layers:
                x = torch.relu(layer(x))
                kept.append(x)
            return torch.cat(kept, 1)

    found = _plan(trace(Dense(), torch.rand(1, 3)), title=None, output=None, sphere=None)
    assert [row.title for row in found.rows if row.kind == BOX] == ["Linear"] * 4
    (join,) = [row for row in found.rows if row.kind == JOIN]
    assert len(join.origins) == 4


def test_a_class_token_keeps_its_weights():
    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 1, 4))
            self.read = nn.Linear(4, 4)

        def forward(self, x):
            return self.read(torch.cat([self.token.expand(len(x), -1, -1), x], 1))

    assert "concat with token, then Linear 4 → 4 (24 weights)" in repr(
        architecture(Token(), torch.rand(2, 5, 4))
    )


def test_the_name_of_the_output_and_the_title_are_the_authors():
    found = architecture(nn.Linear(2, 1), torch.rand(1, 2), title="Mine", output="tau")
    assert found.alt.startswith("Mine: network of 3 weights.")
    assert found.alt.endswith("This gives 1 number, tau.")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda h: h * h, "Linear 4 → 4, \u00d7 itself (20 weights)."),
        (lambda h: h[:, :2] * h[:, 2:], "Step 2: multiply its parts. This gives 2 numbers"),
        (lambda h: torch.maximum(*h.chunk(2, 1)), "Step 2: maximum of its parts."),
        (lambda h: h + h.flip(1), "Linear 4 → 4, add its views (20 weights)."),
        (lambda h: h * 2, "Linear 4 → 4, \u00d7 2 (20 weights)."),
    ],
)
def test_a_step_of_several_parts_of_the_data_has_no_constant(function, words):
    found = architecture(nets.Does(function), torch.rand(1, 4)).alt
    assert words in found and "constant" not in found


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda h: torch.cat([h, h], 1), "4 numbers. Read as 8 numbers, the output."),
        (lambda h: h.repeat(1, 3), "4 numbers. Read as 12 numbers, the output."),
        (lambda h: nn.functional.pad(h, (0, 3)), "4 numbers. Read as 7 numbers, the output."),
        (lambda h: h.tile(2), "4 numbers. Read as 8 numbers, the output."),
        (lambda h: h[:, 1:], "4 numbers. Read as 3 of 4 numbers, the output."),
        (
            lambda h: {"mean": h[:, :3], "spread": h[:, 3:]},
            "4 numbers. Read as 3 of 4 numbers, mean and 1 of 4 numbers, spread.",
        ),
        (
            lambda h: {"part": h[:, :3], "whole": h, "again": h},
            "4 numbers, whole, again. Read as 3 of 4 numbers, part.",
        ),
    ],
)
def test_the_output_has_the_shape_that_comes_out(function, words):
    found = architecture(nets.Does(function), torch.rand(1, 4)).alt
    assert found.endswith(f"This gives {words}")


def test_a_crop_at_the_output():
    assert architecture(Crop(), torch.rand(1, 1, 8, 8)).alt.endswith(
        "This gives 8 \u00d7 8, 2 channels. Read as 6 \u00d7 6, 2 channels, the output."
    )


class Crop(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        return self.layer(x)[..., 1:-1, 1:-1]


def test_signals_are_not_taken_for_maps():
    module = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 192, 2))
    example = torch.rand(1, 1, 192)
    assert "Nside 4" in architecture(module, example).alt
    assert "192 samples, 4 channels" in architecture(module, example, sphere=False).alt


# --- words ---


@every
def test_the_words_name_every_layer(name):
    graph, _ = traced(name)
    alt = drawing(name).alt
    missing = [node.name for node in graph.nodes if node.module and node.name not in alt]
    assert not missing


@every
def test_the_words_say_where_data_come_from(name):
    """A step whose data do not all come from the row above names them."""
    sentences = re.findall(r"Step (\d+): ", drawing(name).alt)
    assert sentences == [str(k + 1) for k in range(len(steps(name)))]
    for source, target in arcs(name):
        number = steps(name).index(target) + 1
        sentence = re.search(rf"Step {number}: (.*?)(?= Step {number + 1}:|$)", drawing(name).alt)
        assert re.search(r" (from|of) ", sentence[1]), (source.title, sentence[1])


# --- the picture ---


@every
def test_no_text_meets_another_and_all_stay_inside(name):
    layout = Layout(plan(name))
    texts = layout.texts + [text for place in layout.places for text in place.texts]
    boxes = [(text.content, text.box()) for text in texts]
    for content, (left, top, right, bottom) in boxes:
        assert left >= 0 and top >= 0 and bottom <= layout.height, content
        assert right <= WIDTH, content
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (one, other)


@every
def test_no_arc_goes_through_a_row(name):
    layout = Layout(plan(name))
    for arc in layout.arcs:
        assert arc.x > 0
        for place in layout.places:
            if arc.top < place.bottom and place.top < arc.bottom:
                assert arc.x < place.left, (place.row.title, place.row.text)


@every
def test_arcs_do_not_lie_on_each_other(name):
    for one, other in combinations(Layout(plan(name)).arcs, 2):
        beside = abs(one.x - other.x) > 3
        assert beside or one.bottom <= other.top or other.bottom <= one.top


@every
def test_it_is_valid_and_stands_alone(name):
    root = ElementTree.fromstring(drawing(name).svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == drawing(name).alt
    text = drawing(name).svg + drawing(name)._repr_html_()
    assert not re.search(r"<script|<style|href=|url\(|@import|\bid=", text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@every
def test_colours_are_those_of_the_text_or_translucent(name):
    """Black, white and opaque colours would vanish on a page of the same colour."""
    text = drawing(name).svg
    assert not re.search(r"#[0-9a-f]{3}|black|white|rgb\(", text, re.IGNORECASE)
    for opacity in re.findall(r"rgba\([\d, ]+, ([\d.]+)\)", text):
        assert float(opacity) < 0.5


# Of boxes: no text stands on the icons.
_FILLS = r"network-(?:weights|plain), rgba\((\d+), (\d+), (\d+), ([\d.]+)\)"


def luminance(colour):
    linear = []
    for channel in colour:
        c = channel / 255
        linear.append(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("page", "ink"), [((255, 255, 255), (32, 32, 32)), ((17, 17, 17), (215, 215, 215))]
)
def test_text_on_fills_has_contrast(page, ink):
    """Without the book's own colours, as in JupyterLab and Colab."""

    def over(top, below, opacity):
        return [opacity * a + (1 - opacity) * b for a, b in zip(top, below, strict=True)]

    fills = re.findall(_FILLS, drawing("digits-invariant").svg)
    assert len(set(fills)) == 2
    for *channels, opacity in fills:
        ground = over([int(c) for c in channels], page, float(opacity))
        muted = over(ink, ground, 0.8)
        a, b = sorted([luminance(ground), luminance(muted)])
        assert (b + 0.05) / (a + 0.05) >= 4.5


@every
def test_text_is_legible_on_a_telephone(name):
    """On a screen of 390 pixels a drawing is some 350 wide: 12 of 360 are more than 11 there."""
    sizes = re.findall(r'font-size="([\d.]+)"', drawing(name).svg)
    assert min(map(float, sizes)) >= SMALL
    assert 350 / WIDTH * SMALL > 11


def test_several_networks_stand_in_one_figure():
    pair = (nets.Generator(), nets.Discriminator())
    found = architecture(
        pair, (torch.rand(1, 4), torch.rand(1, 1, 8, 8)), title=("Draws", "Tells"), leaf=("Tanh",)
    )
    assert found._repr_html_().count("<svg") == len(found.panels) == 2
    root = ElementTree.fromstring(found.svg)
    inner = root.findall(f"{SVG}svg")
    assert len(inner) == 2 and root.get("aria-label") == found.alt
    (first, second) = (float(one.get("y")) for one in inner)
    assert second >= first + float(inner[0].get("height"))
    assert "Draws: network" in found.alt and "Tells: network" in found.alt


def test_a_figure_in_a_notebook():
    found = drawing("one")
    assert isinstance(found, Drawing)
    assert repr(found) == found.alt
    assert found._repr_html_().startswith("<figure") and found.svg in found._repr_html_()


def test_names_cannot_break_the_picture():
    kind = type("Less", (nn.Module,), {"forward": lambda self, x: x * 2})
    found = architecture(kind(), torch.rand(1, 2), title='<b>"1 & 2"</b>', output="<i>")
    root = ElementTree.fromstring(found.svg)
    assert root.get("aria-label").startswith('<b>"1 & 2"</b>')
    assert "<b>" not in found.svg


@pytest.mark.parametrize(
    ("module", "example", "options", "error", "words"),
    [
        ("net", torch.rand(1), {}, TypeError, "module must be a torch.nn.Module, got str"),
        ((nn.ReLU(), "net"), (torch.rand(1), torch.rand(1)), {}, TypeError, "got str"),
        ((nn.ReLU(), nn.ReLU()), torch.rand(1), {}, ValueError, "each of 2 networks, got 1"),
        ((), (), {}, ValueError, "each of 0 networks"),
        (nn.ReLU(), "map", {}, TypeError, "example must be a tensor"),
        (nn.ReLU(), torch.rand(1), {"depth": 0}, ValueError, "depth must be None or an integer"),
        (nn.ReLU(), torch.rand(1), {"depth": True}, TypeError, "depth must be None or an integer"),
        (nn.ReLU(), torch.rand(1), {"depth": 1.0}, TypeError, "depth must be None or an integer"),
        (nn.ReLU(), torch.rand(1), {"leaf": 3}, TypeError, "leaf must be a class .* got 3"),
        (nn.ReLU(), torch.rand(1), {"leaf": ["a", 3]}, TypeError, "leaf must be a class"),
        (nn.ReLU(), torch.rand(1), {"title": ["a", "b"]}, ValueError, "title must be 1"),
        (nn.ReLU(), torch.rand(1), {"title": 3}, TypeError, "title must be a text.* got 3"),
        (nn.ReLU(), torch.rand(1), {"output": [3]}, TypeError, "output must be a text"),
    ],
)
def test_bad_arguments_are_named(module, example, options, error, words):
    with pytest.raises(error, match=words):
        architecture(module, example, **options)


def test_lines_break_between_words():
    lines = wrap("one two three four", 10, width=width_of("one two", 10))
    assert lines == ["one two", "three", "four"]
    assert wrap("mmmm", 10, width=width_of("mm", 10)) == ["mm", "mm"]
