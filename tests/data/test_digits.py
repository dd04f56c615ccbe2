"""skytutor.data.digits: what is read, how it is split, what is missing."""

import gzip
import itertools

import numpy as np
import pytest
import torch
from complaints import complaint
from sklearn.datasets import load_digits

from skytutor.data import digits, registry


def test_embedded_digits_are_scikit_learns():
    data = digits.load("embedded")
    raw = load_digits()
    assert data.source == "embedded" and data.credit
    assert data.images.dtype == torch.uint8 and len(data.images) == 1797
    np.testing.assert_array_equal(
        data.images[:, 2:10, 2:10].numpy(), np.round(raw.images * 255 / 16)
    )
    assert data.images.sum() == data.images[:, 2:10, 2:10].long().sum()  # the margin is black
    np.testing.assert_array_equal(data.labels.numpy(), raw.target)


def check_split(data):
    parts = [data.split[k].tolist() for k in ("train", "validation", "test")]
    assert set(data.split) == {"train", "validation", "test"}
    together = list(itertools.chain.from_iterable(parts))
    assert sorted(together) == list(range(len(data.labels))), "every image in exactly one part"
    for name in data.split:
        images, labels = data.part(name)
        assert torch.equal(images, data.images[data.split[name]])
        assert torch.equal(labels, data.labels[data.split[name]])
        assert len(labels.unique()) == 10
        assert labels.bincount().min() >= 0.05 * len(labels), "a class is all but absent"


def test_the_split_is_a_split_and_always_the_same():
    data = digits.load("embedded")
    check_split(data)
    torch.manual_seed(99)
    torch.rand(7)
    again = digits.load("embedded")
    assert all(torch.equal(again.split[k], data.split[k]) for k in data.split)
    assert sorted(data.split["test"].tolist()) != list(range(1397, 1797)), (
        "not the tail: its writers come in blocks"
    )


def test_mnist_files_are_read_as_they_are(monkeypatch, tmp_path):
    """Stand-in files of MNIST's size: image i carries i in its first bytes, label i is i mod 10."""
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((count, 784), np.uint8)
        images[:, :3] = np.arange(count)[:, None] // [65536, 256, 1] % 256
        for kind, header, body in (
            ("images-idx3", 16, images),
            ("labels-idx1", 8, np.arange(count) % 10),
        ):
            place = tmp_path / f"{part}-{kind}-ubyte.gz"
            place.write_bytes(gzip.compress(b"\7" * header + body.astype(np.uint8).tobytes(), 1))
    monkeypatch.setattr(registry, "path", lambda name: tmp_path / name.split("/")[1])
    data = digits.load("mnist")
    number = (data.images[:, 0, :3].long() * torch.tensor([65536, 256, 1])).sum(1)
    assert torch.equal(number, torch.cat([torch.arange(60_000), torch.arange(10_000)]))
    assert torch.equal(data.labels, number % 10) and data.images.shape == (70_000, 28, 28)
    check_split(data)
    # The published test set, untouched.
    assert data.split["test"].min() == 60_000 and len(data.split["test"]) == 10_000


@pytest.mark.parametrize(("there", "expected"), [(True, "mnist"), (False, "embedded")])
def test_auto_takes_what_is_there(monkeypatch, there, expected):
    monkeypatch.setattr(registry, "have", lambda name: there)
    monkeypatch.setattr(digits, "_mnist", lambda: "mnist")
    monkeypatch.setattr(digits, "_embedded", lambda: "embedded")
    assert digits.load() == expected


def test_mnist_that_is_not_there_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path))
    assert digits.load("auto").source == "embedded"
    with pytest.raises(registry.DataError, match="skytutor data fetch mnist"):
        digits.load("mnist")


BAD = [
    (
        lambda: digits.load("minst"),
        ValueError,
        ["source", "'minst'", "'mnist'", "'embedded'", "'auto'"],
    ),
    (lambda: digits.load("embedded").part("tests"), ValueError, ["'tests'", "'test'", "'train'"]),
]


@pytest.mark.parametrize(
    ("call", "error", "words"), BAD, ids=[f"{i}-{b[2][0]}" for i, b in enumerate(BAD)]
)
def test_bad_input(call, error, words):
    complaint(error, call, *words)
