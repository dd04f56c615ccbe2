"""Tables that no checkpoint holds are right however a module was built."""

import copy
import pickle

import pytest
import torch
from torch import nn

from skytutor import sht
from skytutor.layers.hierarchy import HierarchicalConv
from skytutor.layers.pixel import GatherConv, HaloConv
from skytutor.layers.rotate import Rotate, Sample
from skytutor.layers.spectral import SpectralConv, SpinConv, ZonalConv
from skytutor.sht.fourier import RingFourier
from skytutor.sht.symmetry import SymmetryBlocks
from skytutor.tables import TableModule

MAPS = torch.randn(2, 3, 192, generator=torch.Generator().manual_seed(0))
COEFS = torch.randn(2, 3, 36, generator=torch.Generator().manual_seed(1))


def analysis(sky):
    return sky.map2alm(MAPS)


def turned(layer):
    return layer(MAPS, torch.eye(3).expand(2, 3, 3))


# How a module is made, and what it is asked.
CASES = {
    "HaloConv": (lambda: HaloConv(3, 2, nside=4, order="nested"), lambda m: m(MAPS)),
    "GatherConv": (lambda: GatherConv(3, 2, nside=4, order="nested"), lambda m: m(MAPS)),
    "HierarchicalConv": (lambda: HierarchicalConv(3, 2, order="nested"), lambda m: m(MAPS)),
    "Rotate": (lambda: Rotate(4, order="nested"), turned),
    "ZonalConv": (lambda: ZonalConv(3, 2, lmax=5, knots=2), lambda m: m(COEFS)),
    "SpinConv": (lambda: SpinConv(3, 2, lmax=5, source=0, knots=2), lambda m: m(COEFS)),
    "SpectralConv": (lambda: SpectralConv(3, 2, lmax=5), lambda m: m(COEFS)),
    "Harmonics": (lambda: sht.Harmonics(4, 8, order="ring", backend="torch"), analysis),
    "Harmonics spin 2": (
        lambda: sht.Harmonics(4, 8, spin=2, order="ring", backend="torch"),
        lambda m: m.map2alm(MAPS[:, :2]),
    ),
    "RealHarmonics": (
        lambda: sht.RealHarmonics(4, 8, order="ring"),
        lambda m: m.analysis(MAPS),
    ),
    "RealHarmonics by transform": (
        lambda: sht.RealHarmonics(4, 8, order="ring", max_bytes=10),
        lambda m: m.analysis(MAPS),
    ),
    "SymmetryBlocks": (
        lambda: SymmetryBlocks(4, 8),
        lambda m: m(torch.ones(2, 81, dtype=torch.float64)),
    ),
}
every = pytest.mark.parametrize("name", CASES)


def build(name, *, on_meta=False):
    make, _ = CASES[name]
    torch.manual_seed(0)
    if not on_meta:
        return make()
    with torch.device("meta"):
        return make()


@every
def test_a_module_that_leaves_the_meta_device_has_its_tables(name):
    _, ask = CASES[name]
    module = build(name)
    before = torch.get_rng_state()
    empty = build(name, on_meta=True)
    assert all(t.is_meta for t in [*empty.parameters(), *empty.buffers()])
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(module.state_dict())
    assert torch.equal(ask(filled), ask(module))
    torch.manual_seed(0)
    if not list(module.parameters()):
        assert torch.equal(torch.get_rng_state(), before), "tables take no random numbers"


@every
def test_weights_that_are_assigned_bring_the_tables(name):
    _, ask = CASES[name]
    module, empty = build(name), build(name, on_meta=True)
    empty.load_state_dict(module.state_dict(), assign=True)
    if list(module.parameters()):
        assert torch.equal(ask(empty), ask(module))
    else:  # nothing was loaded, and nothing says where the tables should be: no number comes out
        assert all(table.is_meta for table in empty.buffers())


@every
def test_the_tables_have_the_precision_that_the_module_has(name):
    module, empty = build(name).double(), build(name, on_meta=True).double()
    empty.to_empty(device="cpu")
    for key, table in module.named_buffers():
        assert empty.get_buffer(key).dtype == table.dtype
        difference = (empty.get_buffer(key) - table).abs().max() if table.is_floating_point() else 0
        assert difference == 0


@every
def test_copies_are_the_same(name):
    _, ask = CASES[name]
    module = build(name)
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(ask(copied), ask(module))


def test_a_table_inside_a_network_of_other_modules_is_found():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Identity(), nn.Sequential(HaloConv(3, 2, nside=4, order="nested")))
    with torch.device("meta"):
        empty = nn.Sequential(nn.Identity(), nn.Sequential(HaloConv(3, 2, nside=4, order="nested")))
    empty.to_empty(device="cpu").load_state_dict(network.state_dict())
    assert torch.equal(empty(MAPS), network(MAPS))


def test_a_table_from_a_tensor_without_numbers_is_refused():
    with torch.device("meta"):
        layer = Sample(torch.empty(5, 3), nside=4, order="nested")
    with pytest.raises(RuntimeError, match="Sample was built from a tensor on the meta device"):
        layer.to_empty(device="cpu")


def test_every_module_of_the_library_with_tables_is_one():
    """A buffer outside the state dict stands in a TableModule or in a part of one."""
    parts = {sht.dense.Parity, sht.symmetry.Block}
    for name, (make, _) in CASES.items():
        for module in make().modules():
            if module._non_persistent_buffers_set:
                assert isinstance(module, TableModule) or type(module) in parts, name


@pytest.mark.parametrize(
    "move",
    [
        nn.Module.half,
        nn.Module.bfloat16,
        nn.Module.double,
        lambda network: network.to(torch.float64),
        lambda network: network.half().float(),
        lambda network: network.to(torch.float64).to(torch.float32),
    ],
    ids=["half", "bfloat16", "double", "to float64", "half and back", "float64 and back"],
)
def test_the_precision_of_a_transform_is_its_own(move):
    """What is rounded away does not come back, so the tables are left alone."""
    sky = sht.Harmonics(4, 8, order="ring", backend="torch")
    wanted = sky.map2alm(MAPS, iterations=1)
    blocks = SymmetryBlocks(4, 5)
    solution = blocks(COEFS[:, 0])
    move(nn.Sequential(sky, blocks))
    assert torch.equal(sky.map2alm(MAPS, iterations=1), wanted)
    assert torch.equal(blocks(COEFS[:, 0]), solution)


def test_complex_tables_stay_complex():
    rings = RingFourier(4, 9, dtype=torch.float32)
    wanted = rings.to_orders(MAPS[:, 0])
    found = rings.to(torch.float64).to_orders(MAPS[:, 0].double())
    # The numbers are those of float32 tables; a phase that became real would be off by ones.
    assert float((found - wanted).abs().max()) < 1e-5
