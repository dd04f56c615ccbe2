"""skytutor.training.checkpoint: written whole or not at all, and nothing foreign is loaded."""

import errno
import json
import os
import pickle
import resource
import struct

import pytest
import torch
from complaints import complaint
from safetensors.torch import save_file

from skytutor.files import CheckpointError
from skytutor.training import checkpoint

TENSORS = {
    "a.weight": torch.arange(6.0).view(2, 3),
    "n": torch.tensor(7),
    "half": torch.ones(3, dtype=torch.float16),
}


def saved(folder, **card):
    checkpoint.save_tensors(folder / "w.safetensors", TENSORS, card={"recipe": "mine", **card})
    return folder / "w.safetensors"


def leftovers(folder):
    return [p.name for p in folder.rglob("*") if p.name not in ("w.safetensors",)]


def test_what_is_saved_comes_back(tmp_path):
    tensors, card = checkpoint.load_tensors(
        saved(tmp_path, history=[{"loss": 0.1 + 0.2}]), recipe="mine"
    )
    assert card == {"recipe": "mine", "history": [{"loss": 0.1 + 0.2}]}  # floats to the last bit
    assert set(tensors) == set(TENSORS)
    assert all(
        torch.equal(tensors[k], t) and tensors[k].dtype == t.dtype for k, t in TENSORS.items()
    )
    assert leftovers(tmp_path) == []


def test_a_view_and_a_transpose_are_saved_as_seen(tmp_path):
    wide = torch.arange(12.0).view(3, 4)
    checkpoint.save_tensors(tmp_path / "w.safetensors", {"t": wide.T, "row": wide[1]}, card={})
    tensors, _ = checkpoint.load_tensors(tmp_path / "w.safetensors")
    assert torch.equal(tensors["t"], wide.T) and torch.equal(tensors["row"], wide[1])


def test_cards_of_every_length_can_be_read(tmp_path):
    """The file starts with its header's length, of which 65 are tried: 0x80 is no pickle there."""
    low_bytes = set()
    for n in range(0, 520, 8):
        path = saved(tmp_path, padding="x" * n)
        low_bytes.add(path.read_bytes()[0])
        assert checkpoint.load_tensors(path)[1]["padding"] == "x" * n
    assert 0x80 in low_bytes


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, where):
    path = saved(tmp_path, version=1)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, where, full)
    complaint(CheckpointError, lambda: saved(tmp_path, version=2), path, "disk is full")
    monkeypatch.undo()
    assert path.read_bytes() == before and leftovers(tmp_path) == []
    saved(tmp_path, version=3)
    assert checkpoint.load_tensors(path)[1]["version"] == 3


def test_a_real_write_that_breaks_off(tmp_path):
    """The kernel lets 4 kB through and refuses the rest, as a full disk does."""
    path = saved(tmp_path)
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
        complaint(
            CheckpointError,
            lambda: checkpoint.save_tensors(path, {"big": torch.zeros(10_000)}, card={}),
            path,
            "cannot write",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == before and leftovers(tmp_path) == []


def test_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "w.safetensors"
    complaint(
        CheckpointError,
        lambda: checkpoint.save_tensors(path, TENSORS, card={}),
        path,
        "cannot write",
    )


def test_the_target_is_a_folder(tmp_path):
    (tmp_path / "w.safetensors").mkdir()
    complaint(CheckpointError, lambda: saved(tmp_path), tmp_path / "w.safetensors", "cannot write")
    complaint(
        CheckpointError, lambda: checkpoint.load_tensors(tmp_path / "w.safetensors"), "is a folder"
    )
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file(tmp_path, fraction):
    path = saved(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    complaint(CheckpointError, lambda: checkpoint.load_tensors(path), path, "truncated", "bytes")


@pytest.mark.parametrize(
    "content",
    [b"not a checkpoint at all, only words\n" * 9, struct.pack("<Q", 2**62) + b"{}", b"\0" * 64],
)
def test_a_file_of_something_else(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    complaint(
        CheckpointError,
        lambda: checkpoint.load_tensors(tmp_path / "w.safetensors"),
        tmp_path / "w.safetensors",
    )


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5, "torch", "torch-legacy"])
def test_a_pickle_is_refused_unopened(tmp_path, monkeypatch, protocol):
    """Loading a pickle runs what it holds: this one would make a folder."""
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    path = tmp_path / "w.safetensors"
    if isinstance(protocol, int):
        path.write_bytes(pickle.dumps(Bomb(), protocol=protocol))
    else:
        torch.save({"a": Bomb()}, path, _use_new_zipfile_serialization=protocol == "torch")
    # Protocol 0 is plain text: any clear refusal will do.
    words = [] if protocol == 0 else ["pickle"]
    complaint(CheckpointError, lambda: checkpoint.load_tensors(path), path, *words)
    assert not (tmp_path / "exploded").exists()


def test_another_recipe(tmp_path):
    complaint(
        CheckpointError,
        lambda: checkpoint.load_tensors(saved(tmp_path), recipe="yours"),
        "'mine'",
        "'yours'",
    )


def test_a_missing_file_says_how_to_make_one(tmp_path):
    complaint(
        CheckpointError,
        lambda: checkpoint.load_tensors(tmp_path / "no.safetensors", recipe="r"),
        "does not exist",
        "skytutor train r",
    )


def test_safetensors_of_someone_else(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors")
    complaint(
        CheckpointError, lambda: checkpoint.load_tensors(tmp_path / "w.safetensors"), "skytutor"
    )


def test_weights_go_into_a_fitting_network_only():
    net = torch.nn.Linear(2, 3)
    good = {
        "weight": torch.ones(3, 2, dtype=torch.float16),
        "bias": torch.zeros(3, dtype=torch.float16),
    }
    checkpoint.load_into(net, good)
    assert net.weight.dtype == torch.float32 and torch.equal(net.weight, torch.ones(3, 2))
    before = [p.clone() for p in net.parameters()]
    complaint(
        CheckpointError,
        lambda: checkpoint.load_into(net, {"weight": torch.ones(2, 2), "bias": torch.ones(3)}),
        "weight",
        "(2, 2)",
        "(3, 2)",
    )
    complaint(
        CheckpointError,
        lambda: checkpoint.load_into(net, {"weight": torch.zeros(3, 2)}),
        "bias",
        "missing",
    )
    complaint(
        CheckpointError,
        lambda: checkpoint.load_into(net, good | {"extra": torch.ones(1)}),
        "extra",
        "unexpected",
    )
    unchanged = [torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True)]
    assert all(unchanged), "a part of it was copied"


def checkpoint_of_mine(folder):
    card = checkpoint.provenance(
        device="cpu", seed=4, profile="smoke", command="skytutor train mine"
    )
    return checkpoint.save_checkpoint(folder, "mine", TENSORS, card | {"scores": {"accuracy": 0.5}})


def test_a_checkpoint_has_a_card(tmp_path):
    path = checkpoint_of_mine(tmp_path)
    tensors, card = checkpoint.load_checkpoint(tmp_path, "mine")
    assert torch.equal(tensors["a.weight"], TENSORS["a.weight"])
    assert card["bytes"] == path.stat().st_size
    assert card["recipe"] == "mine" and card["scores"] == {"accuracy": 0.5}
    assert card["command"] == "skytutor train mine"
    assert card["seed"] == 4 and card["profile"] == "smoke"
    assert card["versions"]["torch"] == torch.__version__
    assert card["device"] and card["date"].startswith("20")


def test_a_card_that_belongs_to_other_weights(tmp_path):
    path = checkpoint_of_mine(tmp_path)
    checkpoint.save_tensors(path, {"a.weight": torch.zeros(2, 3)}, card={"recipe": "mine"})
    complaint(
        CheckpointError, lambda: checkpoint.load_checkpoint(tmp_path, "mine"), path, "sha-256"
    )


@pytest.mark.parametrize("damage", ["missing", "not json", "a list"])
def test_a_damaged_card(tmp_path, damage):
    card = checkpoint_of_mine(tmp_path).with_suffix(".json")
    if damage == "missing":
        card.unlink()
    else:
        card.write_text("{" if damage == "not json" else json.dumps([1]))
    complaint(CheckpointError, lambda: checkpoint.load_checkpoint(tmp_path, "mine"), card)


def test_rounding_to_float16_leaves_out_what_it_is_told_to():
    tensors = {
        "cut.weight": torch.full((2,), 1 / 3),
        "head.weight": torch.full((2,), 1 / 3),
        "head.count": torch.tensor(3),
    }
    rounded = checkpoint.to_float16(tensors, except_below=("head.",))
    assert rounded["cut.weight"].dtype == torch.float16
    assert torch.equal(rounded["head.weight"], tensors["head.weight"])
    assert torch.equal(rounded["head.count"], tensors["head.count"])
    everything = checkpoint.to_float16(tensors)
    assert everything["head.weight"].dtype == torch.float16
    with pytest.raises(OverflowError, match=r"head.weight does not fit into float16"):
        checkpoint.to_float16({"head.weight": torch.tensor([1e6])})
