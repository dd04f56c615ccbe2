"""The saved state of a training run: sealed by a SHA-256, and checked before a run goes on from it.

The seal finds what happened to the file after it was written: a flipped bit, an edited field, a
tensor taken out. The other checks find a state that is whole but belongs to another run.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.arrays import as_tensor
from skytutor.files import CheckpointError, strict_json
from skytutor.training.checkpoint import load_tensors, misfits, save_tensors
from skytutor.training.muon import is_matrix

__all__ = [
    "GROUPS",
    "check_key",
    "check_optimizers",
    "check_progress",
    "check_tensors",
    "fingerprint",
    "load_state",
    "save_state",
]

GROUPS = ("model", "best", "average", "optimizer")
# What each optimizer of torch keeps for a parameter.
_ADAM = ("step", "exp_avg", "exp_avg_sq")
SLOTS: dict[str, tuple[str, ...]] = {"adam": _ADAM, "adamw": _ADAM, "sgd": (), "muon": _ADAM}
_OF_MATRICES = {"muon": ("momentum_buffer",)}  # where a matrix has others
_MOST_THREADS = 4096  # that any machine computes with


def fingerprint(tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the tensors and of every field of the card, in hexadecimal.

    Arguments:
        tensors: their names, types, shapes and bytes count, their order does not.
        card: values that JSON can hold.

    Raises:
        ValueError: a number of the card is not finite.
    """
    seal = hashlib.sha256(strict_json(card, what="the card", sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = as_tensor(f"tensors[{name!r}]", tensors[name]).detach().cpu().contiguous()
        seal.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.reshape(-1)
        if flat.stride() != (1,):  # of a single number, which is contiguous with any stride
            flat = flat.clone(memory_format=torch.contiguous_format)
        seal.update(flat.view(torch.uint8).numpy().data)  # (bytes,)
    return seal.hexdigest()


def save_state(path: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write tensors and card into one file, atomically, with their fingerprint in the card."""
    save_tensors(path, dict(tensors), card={**card, "sha256": fingerprint(tensors, card)})


def load_state(path: Path, *, recipe: str) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what `save_state` wrote.

    Arguments:
        path: of the state.
        recipe: whose state it must be.

    Returns:
        the tensors by group (``model``, ``best``, ``average``, ``optimizer``), without the group in
        their names, and the card.

    Raises:
        CheckpointError: no such file, truncated, another recipe's, or altered since it was written.
    """
    tensors, card = load_tensors(path, recipe=recipe)
    sealed = card.pop("sha256", None)
    if sealed is None:
        raise _unfit(path, "it has no SHA-256")
    try:
        found = fingerprint(tensors, card)
    except ValueError as error:  # a number of the card that is not finite
        raise _unfit(path, f"its card cannot be read: {error}") from error
    if sealed != found:
        raise _unfit(path, "it was altered or damaged after it was written (its SHA-256 differs)")
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in GROUPS}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(".")
        if group not in groups:
            raise _unfit(path, f"it holds {name!r}, of no known group")
        groups[group][rest] = tensor
    return groups, card


def _unfit(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"cannot go on from {path}: {why}; start again with --overwrite, or choose another folder"
    )


def check_key(path: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    """Refuse a state that was not made by the run that is to go on.

    Arguments:
        path: of the state, for the message.
        found: the key in the state.
        wanted: the key of the run.

    Raises:
        CheckpointError: names the first difference.
    """
    if not isinstance(found, dict):
        raise _unfit(path, "it does not say which run made it")
    for name, here in wanted.items():
        there = found.get(name)
        if isinstance(here, dict) and isinstance(there, dict):
            changed = [field for field in here if there.get(field) != here[field]]
            if changed:
                first = changed[0]
                raise _unfit(
                    path,
                    f"another {name} ({first} is {there.get(first)!r} there, {here[first]!r} here)",
                )
        elif there != here:
            raise _unfit(path, f"another {name} ({there!r} there, {here!r} here)")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def check_progress(
    path: Path, card: Mapping[str, Any], *, epochs: int, per_epoch: int, score: str
) -> None:
    """Refuse a state whose step, history, best epoch and times do not belong together.

    Arguments:
        path: of the state, for the message.
        card: of the state.
        epochs: of the whole run.
        per_epoch: steps in each of them.
        score: the one that chooses the best epoch.

    Raises:
        CheckpointError: names what is wrong.
    """
    _check_counts(path, card, steps=epochs * per_epoch)
    step = card["step"]
    if step % per_epoch == 0 and card["loss_sum"] != 0:
        raise _unfit(path, f"loss_sum is {card['loss_sum']!r} at the end of an epoch, not 0")
    history = card.get("history")
    done = step // per_epoch
    if not isinstance(history, list) or len(history) != done:
        raise _unfit(path, f"its history does not have the {done} epochs of step {step}")
    for epoch, row in enumerate(history, start=1):
        whole = isinstance(row, dict) and row.get("epoch") == epoch and score in row
        if not whole or not all(map(_is_number, row.values())):
            raise _unfit(path, f"row {epoch} of its history is not that of an epoch")
    scores = [row[score] for row in history]
    best = scores.index(max(scores)) + 1 if scores else -1
    if card.get("best_epoch") != best:
        raise _unfit(
            path, f"best_epoch is {card.get('best_epoch')!r} where its history says {best}"
        )


def _check_counts(path: Path, card: Mapping[str, Any], *, steps: int) -> None:
    """Refuse a step, a loss or a time that is no such number."""
    step = card.get("step")
    if not _is_integer(step, 0, steps):
        raise _unfit(path, f"step is {step!r}, not a step of 0..{steps}")
    if not _is_integer(card.get("threads"), 1, _MOST_THREADS):
        raise _unfit(path, f"threads is {card.get('threads')!r}, not 1..{_MOST_THREADS}")
    if not _is_number(card.get("loss_sum")):
        raise _unfit(path, f"loss_sum is {card.get('loss_sum')!r}, not a finite number")
    for name in ("seconds", "epoch_seconds"):
        if not _is_number(card.get(name)) or card[name] < 0:
            raise _unfit(path, f"{name} is {card.get(name)!r}, not a time")


def check_tensors(
    path: Path,
    groups: Mapping[str, Mapping[str, Tensor]],
    *,
    model: nn.Module,
    average: nn.Module | None,
    has_best: bool,
) -> None:
    """Refuse a state whose weights do not have the names, shapes and types of the networks.

    Arguments:
        path: of the state, for the message.
        groups: the tensors of the state by group.
        model: the network in training.
        average: the network with the averaged weights, or None.
        has_best: whether an epoch has been validated.

    Raises:
        CheckpointError: names the first misfit.
    """
    weights = model.state_dict()
    expected = {
        "model": weights,
        "best": weights if has_best else {},
        "average": {} if average is None else average.state_dict(),
    }
    for group, own in expected.items():
        wrong = misfits(own, groups[group], same_dtype=True)
        if wrong:
            raise _unfit(path, f"{group}: {wrong[0]} ({len(wrong)} in all)")


def check_optimizers(
    path: Path,
    tensors: Mapping[str, Tensor],
    parameters: Sequence[Sequence[Tensor]],
    *,
    kind: str,
    step: int,
) -> list[dict[int, dict[str, Tensor]]]:
    """Sort what the optimizers keep by optimizer and parameter.

    Arguments:
        path: of the state, for the message.
        tensors: those of the group ``optimizer``, named ``OPTIMIZER.PARAMETER.SLOT``, such as
            ``0.3.exp_avg``.
        parameters: those of each optimizer.
        kind: the optimizer's name in the schedule.
        step: of the run.

    Returns:
        for each optimizer, the slots of each parameter by its number.

    Raises:
        CheckpointError: a name, a shape or a count of steps that the optimizer cannot have kept.
    """
    slots: list[dict[int, dict[str, Tensor]]] = [{} for _ in parameters]
    for name, tensor in tensors.items():
        place = _place_of(name, parameters, kind=kind)
        if place is None:
            raise _unfit(path, f"optimizer: {name!r} is not a tensor of {kind}")
        which, number, slot = place
        shape = torch.Size() if slot == "step" else parameters[which][number].shape
        if tensor.shape != shape:
            raise _unfit(
                path, f"optimizer: {name!r} has shape {tuple(tensor.shape)}, not {tuple(shape)}"
            )
        slots[which].setdefault(number, {})[slot] = tensor
    for which, kept in enumerate(slots):
        for number, found in kept.items():
            wanted = _slots(kind, parameters[which][number])
            if set(found) != set(wanted) or not 1 <= float(found.get("step", 1)) <= step:
                raise _unfit(
                    path, f"optimizer: what it keeps of parameter {which}.{number} is not whole"
                )
        if SLOTS[kind] and bool(kept) != (step > 0):
            raise _unfit(path, f"optimizer: it keeps {len(kept)} parameters at step {step}")
    return slots


def _slots(kind: str, parameter: Tensor) -> tuple[str, ...]:
    """Return what an optimizer of torch keeps for a parameter."""
    return _OF_MATRICES.get(kind, SLOTS[kind]) if is_matrix(parameter) else SLOTS[kind]


def _place_of(
    name: str, parameters: Sequence[Sequence[Tensor]], *, kind: str
) -> tuple[int, int, str] | None:
    """Return the optimizer, parameter and slot that a tensor's name says; None for other names."""
    which, _, rest = name.partition(".")
    number, _, slot = rest.partition(".")
    if not (which.isdecimal() and number.isdecimal()):
        return None
    if int(which) >= len(parameters) or int(number) >= len(parameters[int(which)]):
        return None
    if slot not in _slots(kind, parameters[int(which)][int(number)]):
        return None
    return int(which), int(number), slot
