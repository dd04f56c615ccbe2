"""Handwritten digits: real images, split three ways once and for all.

Two sources. "mnist" is the original set of 70,000 images [1]_, found through
`skytutor.data.registry`. "embedded" is the 1,797 real digits of 8 x 8 pixels that scikit-learn
carries [2]_: no network, no file. Both are split into train, validation and test, so that what
chooses a model never scores it. `skytutor.data.projection` lays them on the sphere.

.. [1] Y. LeCun, L. Bottou, Y. Bengio & P. Haffner, 1998, Proc. IEEE 86, 2278.
.. [2] E. Alpaydin & C. Kaynak, 1998, UCI Machine Learning Repository, doi:10.24432/C50P49.
"""

import gzip
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skytutor.data import registry

CLASSES = 10
SOURCES = ("auto", "mnist", "embedded")
_SPLIT_SEED = 1998


@dataclass(frozen=True)
class Digits:
    """Images, labels, and the indices of the three splits.

    Attributes:
        images: ``(N, H, H)`` uint8.
        labels: ``(N,)`` int64, 0 to 9.
        split: int64 indices into the images for "train", "validation" and "test".
        source: "mnist" or "embedded".
        credit: whose data they are.
    """

    images: Tensor
    labels: Tensor
    split: dict[str, Tensor]
    source: str
    credit: str

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """Return images and labels of one split.

        Arguments:
            name: "train", "validation" or "test".

        Raises:
            ValueError: unknown name.
        """
        if name not in self.split:
            raise ValueError(
                f"name must be one of {', '.join(map(repr, self.split))}, got {name!r}"
            )
        return self.images[self.split[name]], self.labels[self.split[name]]

    def __str__(self) -> str:
        sizes = ", ".join(f"{k} {len(v):,}" for k, v in self.split.items())
        height, width = self.images.shape[1:]
        return f"{self.source}: {len(self.labels):,} digits of {height} x {width} ({sizes})"


def load(source: str = "auto") -> Digits:
    """Load the digits.

    Arguments:
        source: "mnist", "embedded", or "auto": MNIST if it is on this machine, else the embedded
            digits. Nothing is ever downloaded here; `skytutor data fetch mnist` does that.

    Raises:
        ValueError: unknown source.
        skytutor.data.registry.DataError: "mnist" asked for and not there, or damaged; says what to
            do.

    Example:
        >>> print(load("embedded"))
        embedded: 1,797 digits of 12 x 12 (train 1,197, validation 200, test 400)
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(map(repr, SOURCES))}, got {source!r}")
    if source == "auto":
        source = "mnist" if registry.have("mnist") else "embedded"
    return _mnist() if source == "mnist" else _embedded()


def _shuffled(n: int, sizes: tuple[int, ...]) -> list[Tensor]:
    """Divide 0 to n - 1 at random into parts of the given sizes, each sorted; always the same."""
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(_SPLIT_SEED))
    return [part.sort().values for part in shuffled.split(sizes)]


def _mnist() -> Digits:
    def read(name: str, header: int) -> np.ndarray:
        # An IDX file: a header, then one byte a value, the last index fastest.
        with gzip.open(registry.path(f"mnist/{name}-ubyte.gz")) as stream:
            return np.frombuffer(stream.read(), np.uint8, offset=header).copy()

    images = np.concatenate([read(f"{part}-images-idx3", 16) for part in ("train", "t10k")])
    labels = np.concatenate([read(f"{part}-labels-idx1", 8) for part in ("train", "t10k")])
    train, validation = _shuffled(60_000, (55_000, 5_000))
    split = {"train": train, "validation": validation, "test": torch.arange(60_000, 70_000)}
    credit = registry.ENTRIES["mnist/train-images-idx3-ubyte.gz"].credit
    return Digits(
        torch.from_numpy(images).view(-1, 28, 28),
        torch.from_numpy(labels).long(),
        split,
        "mnist",
        credit,
    )


def _embedded() -> Digits:
    # Half a second of import that MNIST's readers need not wait for.
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy(raw.images).mul(255 / 16).round().to(torch.uint8)  # (N, 8, 8)
    # A margin like MNIST's, where the digit takes 20 of 28 pixels.
    images = F.pad(images, (2, 2, 2, 2))  # (N, 12, 12)
    train, validation, test = _shuffled(len(images), (1197, 200, 400))
    split = {"train": train, "validation": validation, "test": test}
    credit = (
        "E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits (UCI), "
        "through scikit-learn"
    )
    return Digits(images, torch.from_numpy(raw.target).long(), split, "embedded", credit)
