"""The door for arrays by itself, and what else a stranger passes: generators and seeds."""

import warnings

import numpy as np
import pytest
import torch
from api_calls import functions, rows
from astropy import units
from astropy.utils.masked import Masked
from complaints import complaint

from skytutor.arrays import as_floats, as_integers, as_tensor
from skytutor.training import checkpoint, state
from skytutor.training.run import seeded_generator
from skytutor.validate import as_seed, check_generator


def test_a_tensor_passes_as_it_is():
    tensor = torch.ones(3, requires_grad=True)
    assert as_tensor("maps", tensor) is tensor
    assert as_tensor("maps", tensor, dtype=torch.float32) is tensor
    compiled = torch.compile(lambda x: as_tensor("x", x) + 1, fullgraph=True, backend="eager")
    assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 2.0))
    mapped = torch.func.vmap(lambda x: as_floats(x=x)[0].sum())(torch.ones(2, 3))
    assert torch.equal(mapped, torch.full((2,), 3.0))


def test_pending_signs_and_conjugations_are_carried_out():
    conjugate = torch.tensor([1 + 2j]).conj()
    assert not as_tensor("alms", conjugate).is_conj()
    assert as_tensor("alms", conjugate).tolist() == [1 - 2j]
    imaginary = conjugate.imag
    assert imaginary.is_neg() and not as_tensor("maps", imaginary).is_neg()
    assert as_tensor("maps", imaginary).numpy().tolist() == [-2.0]


def test_memory_that_must_not_be_written_is_copied_without_a_warning():
    values = np.arange(3.0)
    values.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = as_tensor("maps", values)
    tensor += 1
    assert values.tolist() == [0, 1, 2]


def test_a_column_of_a_table_and_a_single_value_with_negative_stride():
    table = np.zeros(3, dtype=[("flag", "u1"), ("pixel", ">i4")])
    table["pixel"] = [3, 1, 2]
    assert as_tensor("pix", table["pixel"]).tolist() == [3, 1, 2]
    assert as_tensor("pix", np.arange(1)[::-1]).tolist() == [0]


def test_lists_keep_double_precision_gradients_and_masks():
    assert as_tensor("x", [0.1]).dtype == torch.float64
    leaf = torch.ones(2, requires_grad=True)
    as_tensor("x", [leaf, 2 * leaf]).sum().backward()
    assert leaf.grad.tolist() == [3, 3]
    hidden = np.ma.array([1.0, 2.0], mask=[True, False])
    complaint(ValueError, lambda: as_tensor("x", [hidden, hidden]), "x", "masked in 1 of 2")
    complaint(ValueError, lambda: as_tensor("x", [[1], [2, 3]]), "x", "inhomogeneous")
    complaint(ValueError, lambda: as_tensor("x", [leaf, leaf[:1]]), "x", "one shape", "(1,)")


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (np.ma.masked, ValueError, ["masked"]),
        (Masked(np.ones(2), mask=[True, False]), ValueError, ["masked in 1 of 2"]),
        (np.ones(2) * units.K, ValueError, ["unit K", ".to_value('K')"]),
        ([1 * units.K], ValueError, ["unit K"]),
        ("text", TypeError, ["str"]),
        (["a"], TypeError, ["numbers"]),
        (None, TypeError, ["NoneType"]),
        ({"a": 1}, TypeError, ["dict"]),
        (2**70, ValueError, ["64 bits"]),
        (np.array([2**63], "u8"), ValueError, ["2**63 - 1"]),
        (np.longdouble(1), TypeError, [".astype(float)"]),
        (torch.ones(2).to_sparse(), TypeError, [".to_dense()"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_clear_meaning_is_refused_by_name(value, error, words):
    complaint(error, lambda: as_tensor("flux", value), "flux", *words)


def test_a_quantity_without_a_unit_is_its_numbers():
    assert as_tensor("x", np.ones(1) * units.percent).tolist() == [0.01]


def test_kinds_of_numbers():
    assert as_tensor("x", np.array([1], "u2")).dtype == torch.int32
    assert as_integers(labels=np.array([200], "u1"))[0].dtype == torch.int64
    complaint(TypeError, lambda: as_integers(labels=[True]), "labels", "bool")
    complaint(TypeError, lambda: as_integers(labels=[1.0]), "labels", "float64")
    complaint(TypeError, lambda: as_floats(image=np.ones(2, "u1")), "image", "uint8", ".float()")
    complaint(TypeError, lambda: as_tensor("x", [1j], dtype=torch.float64), "x", "real")
    complaint(TypeError, lambda: as_tensor("x", [0.5], dtype=torch.int64), "x", "integers")


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([1 + 2j]).conj(),
        torch.tensor([1 + 2j]).conj().imag,
        np.arange(3, dtype=">f4")[::-1],
        torch.arange(4).reshape(2, 2).T,
    ],
    ids=["conjugate", "negative", "big-endian", "transposed"],
)
def test_what_is_saved_is_what_is_read_back(tmp_path, value):
    want = as_tensor("want", value).clone()
    checkpoint.save_tensors(tmp_path / "a.safetensors", {"a": value}, card={})
    found, _ = checkpoint.load_tensors(tmp_path / "a.safetensors")
    assert torch.equal(found["a"], want)
    assert state.fingerprint({"a": value}, {}) == state.fingerprint({"a": want}, {})


def test_a_type_that_no_file_holds_is_refused_by_name(tmp_path):
    save = checkpoint.save_tensors
    path = tmp_path / "a.safetensors"
    tensors = {"w": torch.ones(1, dtype=torch.complex128)}
    complaint(TypeError, lambda: save(path, tensors, card={}), "'w'", "complex128")
    complaint(TypeError, lambda: save(path, {"w": "text"}, card={}), "'w'", "str")
    assert not path.exists()


GENERATED = [name for name, (_, arguments) in rows().items() if "generator" in arguments]


@pytest.mark.parametrize("bad", [3, np.random.default_rng(0), "seed"], ids=["seed", "numpy", "str"])
@pytest.mark.parametrize("name", GENERATED)
def test_what_is_no_generator_is_refused_with_the_way_to_make_one(name, bad):
    args, arguments = rows()[name]
    complaint(
        TypeError,
        lambda: functions()[name](*args, **{**arguments, "generator": bad}),
        "generator",
        "torch.Generator().manual_seed(seed)",
    )


def test_generators_and_seeds():
    complaint(TypeError, lambda: check_generator(np.random.default_rng(0)), "numpy", "manual_seed")
    assert as_seed("seed", np.uint64(2**64 - 1)) == 2**64 - 1
    complaint(ValueError, lambda: as_seed("seed", 2**64), "seed", "2**64 - 1")
    complaint(ValueError, lambda: as_seed("seed", -1), "seed", "-1")
    complaint(TypeError, lambda: as_seed("seed", 1.0), "seed", "float")


def test_an_integer_of_numpy_is_the_same_seed():
    a = torch.rand(3, generator=seeded_generator(7, "order", 1))
    b = torch.rand(3, generator=seeded_generator(np.int64(7), "order", np.int32(1)))
    assert torch.equal(a, b)
    complaint(TypeError, lambda: seeded_generator(0.5), "parts", "float")


def test_bytes_do_not_wrap_around():
    """Labels in bytes: 5 times 100 classes is 500, not 244."""
    from skytutor.metrics.classification import confusion_matrix

    labels = np.full(3, 5, "u1")
    assert int(confusion_matrix(labels, labels, classes=100)[5, 5]) == 3


def test_a_complex_response_keeps_its_phase():
    """A shift by one pixel is a phase on the modes."""
    from skytutor.fields.flat import filter_maps

    maps = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    phase = torch.exp(-2j * torch.pi * torch.fft.rfftfreq(4)).expand(4, 3)
    assert torch.allclose(filter_maps(maps, phase), maps.roll(1, -1), atol=1e-6)
