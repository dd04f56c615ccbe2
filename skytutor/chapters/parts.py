"""Large tables of what was simulated, drawn once, in parts that have seeds of their own."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from skytutor.chapters.seeds import Seeds
from skytutor.training.schedule import Task
from skytutor.validate import as_integer, positive

__all__ = ["PART", "TableTask", "draw_parts", "each_part"]

PART = 10_000  # rows drawn from one seed
_MOST = 1000  # parts of one table: from here on the seeds of the next begin


def draw_parts(
    make: Callable[[int, torch.Generator], dict[str, Tensor]],
    size: int,
    *,
    seeds: Seeds,
    seed: int,
    device: torch.device,
    part: int | None = None,
) -> dict[str, Tensor]:
    """Draw the columns of a training set, of which a smaller one is the beginning.

    Part k of the set comes from a generator of its own, so that parts may be drawn by several
    processes and kept.

    Arguments:
        make: returns the columns of n rows, drawn by a generator on the device.
        size: rows in all, at most a thousand parts.
        seeds: of the chapter.
        seed: number of the training set.
        device: of the generators.
        part: rows drawn from one seed; default: `PART`.

    Returns:
        the columns of `make`, each with `size` rows.

    Raises:
        TypeError, ValueError: a size or a part below 1, more than a thousand parts, a seed outside
            of those for training.
    """
    made = []
    for rows, rng in each_part(size, seeds=seeds, seed=seed, device=device, part=part):
        made.append(make(rows.stop - rows.start, rng))
    return {name: torch.cat([columns[name] for columns in made]) for name in made[0]}


def each_part(
    size: int,
    *,
    seeds: Seeds,
    seed: int,
    device: torch.device,
    part: int | None = None,
) -> Iterator[tuple[slice, torch.Generator]]:
    """Yield the rows of each part of a training set and the generator that draws them.

    For columns that are better written where they are to stay: joined by `draw_parts` a table takes
    twice its memory.

    Arguments:
        size: rows in all, at most a thousand parts.
        seeds: of the chapter.
        seed: number of the training set.
        device: of the generators.
        part: rows drawn from one seed; default: `PART`.

    Raises:
        TypeError, ValueError: as `draw_parts`.
    """
    part = PART if part is None else part
    positive(size=size, part=part)
    last = len(seeds.train) // _MOST - 1
    if not 0 <= as_integer("seed", seed) <= last:
        raise ValueError(f"seed must lie in 0..{last}, got {seed}")
    if size > part * _MOST:
        raise ValueError(f"size must be at most {part * _MOST}, got {size}")
    for number, start in enumerate(range(0, size, part)):
        rng = torch.Generator(device).manual_seed(seeds.train[_MOST * seed + number])
        yield slice(start, min(start + part, size)), rng


class TableTask(Task):
    """A task whose batches are rows of a table that was drawn once and is kept."""

    def draw(self, n: int, *, generator: torch.Generator) -> Sequence[Tensor]:
        """Draw nothing: the table is kept.

        Arguments:
            n: samples in the batch.
            generator: not used.
        """
        return []
