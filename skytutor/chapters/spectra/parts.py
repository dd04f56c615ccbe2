"""Large tables of simulated galaxies, drawn once, in parts that have seeds of their own."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.training.schedule import Task
from skytutor.validate import as_integer, positive

__all__ = ["PART", "TableTask", "draw_parts"]

PART = 10_000  # galaxies drawn from one seed
_MOST = 1000  # parts of one table: from here on the seeds of the next begin


def draw_parts(
    make: Callable[[int, torch.Generator], dict[str, Tensor]],
    size: int,
    *,
    seed: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Draw the columns of a training set, of which a smaller one is the beginning.

    Part k of the set comes from a generator of its own, so that parts may be drawn by several
    processes and kept.

    Arguments:
        make: returns the columns of n galaxies, drawn by a generator on the device.
        size: galaxies in all, at most ten million.
        seed: number of the training set.
        device: of the generators.

    Returns:
        the columns of `make`, each with `size` rows.

    Raises:
        TypeError, ValueError: a size below 1 or above ten million, a seed outside 0..999.
    """
    positive(size=size)
    last = len(SEEDS.train) // _MOST - 1
    if not 0 <= as_integer("seed", seed) <= last:
        raise ValueError(f"seed must lie in 0..{last}, got {seed}")
    if size > PART * _MOST:
        raise ValueError(f"size must be at most {PART * _MOST}, got {size}")
    parts = []
    for number, start in enumerate(range(0, size, PART)):
        rng = torch.Generator(device).manual_seed(SEEDS.train[_MOST * seed + number])
        parts.append(make(min(PART, size - start), rng))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class TableTask(Task):
    """A task whose batches are rows of a table that was drawn once and is kept."""

    def draw(self, n: int, *, generator: torch.Generator) -> Sequence[Tensor]:
        """Draw nothing: the table is kept.

        Arguments:
            n: galaxies in the batch.
            generator: not used.
        """
        return []
