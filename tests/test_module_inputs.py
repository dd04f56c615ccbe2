"""Modules of the library with inputs of the wrong kind: refused by name, or as right as a tensor.

Torch would speak of operands, such as "mat1 and mat2 must have the same dtype", that the caller has
never seen.
"""

import inspect
import traceback
from functools import cache

import numpy as np
import pytest
import torch
from torch_modules import CASES, IMAGES, MAPS, MASS, zonal_image

from skytutor.inputs import as_input
from skytutor.layers.partial import PartialConv2d
from skytutor.layers.pixel import HaloConv

# Parts of a transform: `Harmonics` hands them what it has looked at.
PARTS = {"Dense", "RingFourier", "CapFourier", "SymmetryBlocks"}
# These are tried with their own arguments: the rows of the matrix of modes prepare them first.
CALLS = {
    "PolarResample": (torch.cat([MASS, MAPS], 1),),
    "PartialConv2d": (IMAGES, zonal_image()),
}
KINDS = {
    "array": lambda x: x.numpy(),
    "big-endian": lambda x: x.numpy().astype(">f4"),
    "list": lambda x: x.tolist(),
    "integers": lambda x: x.long(),
    "bool": lambda x: x > 0,
    "float64": lambda x: x.double(),
    "float16": lambda x: x.half(),
    "complex": lambda x: x.to(torch.complex64),
    "none": lambda x: None,
    "flat": lambda x: x.flatten(),
    "more axes": lambda x: x[None, None],
    "one less": lambda x: x[..., :-1],
}
# What the two networks of a pair take is for them to say: latents, and the precision of maps.
OWN = {
    ("AdversarialPair", 0): {"float64", "float16"},
    ("AdversarialPair", 1): set(KINDS),
}


def filtered(module, maps):
    return module(maps, {"TT": torch.ones(9)}, variance=0.1, mask=torch.ones(192)).coefs


def inputs_of(name):
    return CALLS.get(name, CASES[name].inputs)


CELLS = [
    (name, place, kind)
    for name in CASES.keys() - PARTS
    for place in range(len(inputs_of(name)))
    for kind in KINDS.keys() - OWN.get((name, place), set())
]


@cache
def made(name):
    torch.manual_seed(0)
    return CASES[name].make()


def outcome(name, inputs):
    module = made(name)
    if name == "WienerFilter":
        return filtered(module, *inputs)
    return module(*inputs) if name in CALLS else CASES[name].call(module, *inputs)


def parts(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize(("name", "place", "kind"), sorted(CELLS))
def test_an_input_is_refused_by_name_or_as_good_as_a_tensor(name, place, kind):
    inputs = list(inputs_of(name))
    inputs[place] = KINDS[kind](inputs[place])
    try:
        found = outcome(name, inputs)
    except (TypeError, ValueError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        assert "skytutor" in last, f"{last}: {error}"
        named = {*inspect.signature(made(name).forward).parameters, "maps", "levels"}
        assert named & set(str(error).replace(":", " ").split()), error
        return
    tolerance = {"array": 1e-5, "big-endian": 1e-5, "list": 1e-5, "float64": 1e-5, "float16": 2e-2}
    if kind in tolerance:
        wanted = outcome(name, inputs_of(name))
        pairs = zip(parts(found), parts(wanted), strict=True)
        for a, b in pairs:
            torch.testing.assert_close(
                a, b, rtol=tolerance[kind], atol=tolerance[kind], check_dtype=False
            )


def test_autocast_converts_precisions_itself():
    conv = HaloConv(1, 1, nside=1, order="nested")
    maps = torch.ones(1, 1, 12)
    with pytest.raises(TypeError, match=r"maps must be torch\.float32, as the weights are, got"):
        conv(maps.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(conv(maps.bfloat16()), conv(maps), atol=1e-2)


def test_the_refusal_says_how_to_convert():
    with pytest.raises(TypeError, match=r"convert with torch\.tensor"):
        as_input("maps", np.ones(3))
    with pytest.raises(
        TypeError, match=r"maps must be floating-point numbers, .*int64.*\.float\(\)"
    ):
        as_input("maps", torch.ones(3, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"maps must be floating-point numbers, .*\.real"):
        as_input("maps", torch.ones(3, dtype=torch.complex64))
    meta = torch.ones(3, device="meta", dtype=torch.float64)
    with pytest.raises(TypeError, match=r"maps must be torch\.float32, .*\.to\(torch\.float32\)"):
        as_input("maps", meta, weight=torch.ones(1))


@pytest.mark.parametrize("one_mask", [True, False])
def test_a_partial_convolution_takes_a_masked_array(one_mask):
    torch.manual_seed(0)
    conv = PartialConv2d(3, 2, 3, padding="periodic")
    mask = zonal_image() if one_mask else zonal_image().expand(-1, 3, -1, -1)
    hidden = np.zeros(IMAGES.shape, bool)
    hidden[0, 1, 0, 0] = True
    hidden[:, :, 2:5, 3:6] = True
    wrong = np.where(hidden, 77, IMAGES.numpy())
    found, seen = conv(np.ma.array(wrong, mask=hidden), mask)
    wanted, both = conv(IMAGES, torch.from_numpy(~hidden))
    assert torch.equal(found, wanted) and torch.equal(seen, both)
    assert not torch.equal(found, conv(IMAGES, mask)[0])
