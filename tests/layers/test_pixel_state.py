"""skytutor.layers.pixel as modules: compiled, in bfloat16, saved, copied, fed with nonsense."""

import copy
import pickle
import re

import pytest
import torch
from complaints import complaint
from orders import ORDERS
from safetensors.torch import load_file, save_file

from skytutor import healpix
from skytutor.layers import pixel

NSIDE = 4
LAYERS = {
    "HaloConv": lambda order: pixel.HaloConv(2, 3, nside=NSIDE, order=order),
    "GatherConv": lambda order: pixel.GatherConv(2, 3, nside=NSIDE, order=order),
    "HierarchicalConv": lambda order: pixel.HierarchicalConv(2, 3, order=order),
    "HierarchicalConvTranspose": lambda order: pixel.HierarchicalConvTranspose(
        2, 3, levels=2, order=order
    ),
    "HierarchicalPool": lambda order: pixel.HierarchicalPool("max", order=order),
    "HierarchicalUnpool": lambda order: pixel.HierarchicalUnpool(order=order),
}
WEIGHTED = list(LAYERS)[:4]


def maps(order, dtype=torch.float32, batch=2, channels=2, nside=NSIDE):
    shape = (12, nside, nside) if order == "face" else (12 * nside**2,)
    return torch.randn(batch, channels, *shape, generator=torch.Generator().manual_seed(3)).to(
        dtype
    )


@pytest.fixture(params=[f"{k}-{o}" for k in LAYERS for o in ORDERS])
def layer_and_maps(request):
    kind, order = request.param.split("-")
    torch.manual_seed(1)
    return LAYERS[kind](order), maps(order)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    yield
    torch._dynamo.reset()


def test_compiles_as_one_graph(layer_and_maps):
    """Values and gradients are those of the plain layer; another batch size works too."""
    layer, x = layer_and_maps
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for sample in (x, torch.cat([x, x + 1, x])):
        plain = sample.clone().requires_grad_()
        fast = sample.clone().requires_grad_()
        expected = layer(plain)
        got = compiled(fast)
        torch.testing.assert_close(got, expected)
        (slope,) = torch.autograd.grad(got.square().sum(), fast)
        (expected_slope,) = torch.autograd.grad(expected.square().sum(), plain)
        torch.testing.assert_close(slope, expected_slope)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_inductor():
    """The default compiler, on a small network that holds every layer."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        pixel.HaloConv(2, 4, nside=4, order="nested"),
        torch.nn.ReLU(),
        pixel.HierarchicalPool("mean", order="nested"),
        pixel.HierarchicalConv(4, 4, order="nested"),
        pixel.HierarchicalConvTranspose(4, 2, levels=2, order="nested"),
        pixel.GatherConv(2, 2, nside=4, order="nested"),
        pixel.HierarchicalUnpool(order="nested"),
    )
    x = maps("nested")
    expected = net(x)
    got = torch.compile(net, fullgraph=True)(x)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_autocast_to_bfloat16(layer_and_maps):
    """Results move by under 2 % of their scale (three digits are kept); gradients stay float32."""
    layer, x = layer_and_maps
    leaf = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(leaf)
    exact = layer(x)
    assert out.dtype == (torch.bfloat16 if list(layer.parameters()) else torch.float32)
    assert (out.float() - exact).abs().max() <= 0.02 * exact.abs().max()
    out.float().square().sum().backward()
    for tensor in (leaf, *layer.parameters()):
        assert tensor.grad.dtype == torch.float32
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_moves_to_another_precision_and_back(layer_and_maps, dtype):
    layer, x = layer_and_maps
    before = layer(x)
    layer.to(dtype)
    assert layer(x.to(dtype)).dtype == dtype
    if dtype == torch.float64:
        torch.testing.assert_close(layer(x.double()).float(), before, rtol=1e-5, atol=1e-6)
        assert torch.equal(layer.float()(x), before)


def test_state_survives_safetensors(layer_and_maps, tmp_path):
    layer, x = layer_and_maps
    state = layer.state_dict()
    assert set(state) == {name for name, _ in layer.named_parameters()}, (
        "tables do not belong into a checkpoint"
    )
    if not state:
        return
    assert set(state) == {"weight", "bias"}
    save_file(state, tmp_path / "w.safetensors")
    other = copy.deepcopy(layer)
    torch.nn.init.zeros_(other.weight)
    assert not torch.equal(other(x), layer(x))
    other.load_state_dict(load_file(tmp_path / "w.safetensors"))
    assert torch.equal(other(x), layer(x))


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies(layer_and_maps, clone):
    layer, x = layer_and_maps
    copied = clone(layer)
    before = layer(x)
    assert torch.equal(copied(x), before)
    for parameter in copied.parameters():
        parameter.data.zero_()
    assert torch.equal(layer(x), before), "the copy shares memory with the original"


def test_halo_and_gather_exchange_their_weights():
    torch.manual_seed(0)
    one = LAYERS["HaloConv"]("ring")
    two = LAYERS["GatherConv"]("face")
    shapes = [{k: tuple(v.shape) for k, v in m.state_dict().items()} for m in (one, two)]
    assert shapes[0] == shapes[1] == {"weight": (3, 2, 3, 3), "bias": (3,)}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", LAYERS)
def test_the_layer_says_what_it_is(kind, order):
    text = repr(LAYERS[kind](order))
    assert text.startswith(kind) and re.search(rf"order=['\"]?{order}", text), text
    words = {
        "HaloConv": ["nside=4", "2", "3"],
        "GatherConv": ["nside=4"],
        "HierarchicalPool": ["max", "levels=1"],
        "HierarchicalConvTranspose": ["levels=2"],
    }
    for word in words.get(kind, ["levels=1"]):
        assert word in text, text
    if kind in WEIGHTED:
        assert "2, 3" in text, text


def test_first_weights_are_scaled_to_the_inputs():
    """A unit-variance map gives an output of order one: neither silent nor loud."""
    torch.manual_seed(0)
    for layer in (
        pixel.HaloConv(16, 16, nside=8, order="face"),
        pixel.GatherConv(16, 16, nside=8, order="face"),
        pixel.HierarchicalConv(16, 16, order="face"),
    ):
        out = layer(torch.randn(2, 16, 12, 8, 8))
        assert 0.2 < float(out.detach().std()) < 2.0, type(layer)


@pytest.mark.parametrize("kind", ["HaloConv", "GatherConv"])
@pytest.mark.parametrize(
    ("nside", "error"),
    [(0, ValueError), (3, ValueError), (-2, ValueError), (4.0, TypeError), (True, TypeError)],
)
def test_a_wrong_nside(kind, nside, error):
    complaint(
        error,
        lambda: getattr(pixel, kind)(1, 1, nside=nside, order="face"),
        "nside",
        nside,
        "power of two",
    )


@pytest.mark.parametrize("kind", LAYERS)
def test_order_misspelt(kind):
    complaint(
        ValueError, lambda: LAYERS[kind]("nest"), "order", "'nest'", "'nested'", "'ring'", "'face'"
    )


def test_order_misspelt_in_the_functions():
    complaint(
        ValueError,
        lambda: pixel.to_faces(maps("ring"), nside=4, order="nest"),
        "order",
        "'nest'",
        "'nested'",
    )
    complaint(
        ValueError,
        lambda: pixel.from_faces(maps("face"), order="nest"),
        "order",
        "'nest'",
        "'nested'",
    )


@pytest.mark.parametrize("kind", ["HierarchicalConv", "HierarchicalConvTranspose"])
@pytest.mark.parametrize(
    ("levels", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_a_wrong_number_of_levels(kind, levels, error):
    complaint(
        error, lambda: getattr(pixel, kind)(1, 1, levels=levels, order="nested"), "levels", levels
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "make",
    [
        lambda o: pixel.HierarchicalConv(2, 1, levels=3, order=o),
        lambda o: pixel.HierarchicalPool(levels=3, order=o),
    ],
)
def test_more_levels_than_the_map_has(make, order):
    complaint(ValueError, lambda: make(order)(maps(order)), "levels", 3, "nside", 4)


def test_an_unknown_mode():
    complaint(
        ValueError,
        lambda: pixel.HierarchicalPool("median", order="nested"),
        "mode",
        "'median'",
        "'max'",
        "'mean'",
    )


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize(
    ("channels", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError)]
)
def test_a_wrong_number_of_channels(kind, channels, error):
    nine = kind in ("HaloConv", "GatherConv")
    where = {"nside": 4, "order": "face"} if nine else {"order": "nested"}
    complaint(error, lambda: getattr(pixel, kind)(channels, 1, **where), "in_channels", channels)
    complaint(error, lambda: getattr(pixel, kind)(1, channels, **where), "out_channels", channels)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", LAYERS)
class TestMapsThatDoNotFit:
    def test_pixel_count(self, kind, order):
        x = maps(order)[..., :-1]
        complaint(ValueError, lambda: LAYERS[kind](order)(x), "maps", x.shape[-1])

    def test_dimensions(self, kind, order):
        complaint(ValueError, lambda: LAYERS[kind](order)(maps(order)[0]), "maps", "shape")

    def test_integers(self, kind, order):
        complaint(
            TypeError, lambda: LAYERS[kind](order)(maps(order).long()), "maps", "int64", "float"
        )

    def test_empty_batch(self, kind, order):
        complaint(ValueError, lambda: LAYERS[kind](order)(maps(order)[:0]), "maps", "empty")

    def test_channels(self, kind, order):
        if kind in WEIGHTED:
            complaint(
                ValueError, lambda: LAYERS[kind](order)(maps(order, channels=5)), "channels", 5, 2
            )

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), healpix.UNSEEN])
    def test_missing_pixels(self, kind, order, bad):
        """Looked for where maps enter. Faces live between layers; `to_faces` looked at them."""
        x = maps(order)
        x.view(-1)[5] = bad
        if order == "face":
            complaint(
                ValueError,
                lambda: pixel.to_faces(x.flatten(2), nside=NSIDE, order="nested"),
                "maps",
            )
            return
        complaint(
            ValueError,
            lambda: LAYERS[kind](order)(x),
            "maps",
            "UNSEEN" if bad == healpix.UNSEEN else "NaN",
        )


def test_another_nside_than_the_layers():
    for kind in ("HaloConv", "GatherConv"):
        for order in ORDERS:
            x = maps(order, nside=8)
            complaint(ValueError, lambda k=kind, o=order, m=x: LAYERS[k](o)(m), "maps", "nside 4")


def test_faces_that_are_not_square():
    complaint(ValueError, lambda: pixel.pad_halo(torch.zeros(1, 1, 12, 4, 8)), "faces", "4, 8")
    complaint(ValueError, lambda: pixel.pad_halo(torch.zeros(1, 1, 11, 4, 4)), "faces", "12", "11")
    complaint(
        ValueError,
        lambda: pixel.from_faces(torch.zeros(1, 1, 12, 3, 3), order="nested"),
        "nside",
        "3",
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_same_numbers_on_the_gpu(layer_and_maps):
    layer, x = layer_and_maps
    expected = layer(x)
    with torch.backends.cudnn.flags(allow_tf32=False):
        got = layer.cuda()(x.cuda())
        compiled = torch.compile(layer, fullgraph=True)(x.cuda())
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(compiled.cpu(), expected, rtol=1e-5, atol=1e-5)
