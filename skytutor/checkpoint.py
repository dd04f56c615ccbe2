"""Checkpoints: weights in safetensors, with a JSON card that says what made them.

A write is atomic: the bytes go to a temporary file beside the target, reach the disk, and only then take the
target's name. Whatever fails on the way, the old file is whole.
"""

import contextlib
import errno
import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import skytutor

_KEY = "skytutor"
_CARD = ("recipe", "command", "profile", "seed", "device", "date", "sha256")


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read or written; the message says which file, why, and what to do."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` in full or not at all.

    Raises:
        CheckpointError: disk full, no permission, a folder in the way. What was at `path` is untouched.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        kept = "; the earlier file is whole" if path.is_file() else ""
        raise CheckpointError(f"cannot write {path} ({len(data):,} bytes): {why}{kept}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: dict[str, Tensor], *, card: dict[str, Any]) -> None:
    """Write named tensors and the card into one safetensors file, atomically."""
    flat = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_atomic(Path(path), save(flat, metadata={_KEY: json.dumps(card)}))


def load_tensors(path: Path, *, recipe: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Arguments:
        recipe: if given, the card must name this recipe.

    Raises:
        CheckpointError: no such file, a folder, truncated, a pickle, not ours, or of another recipe.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"checkpoint {path} {what}; train one with `skytutor train {recipe or 'RECIPE'}`")
    _refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as stream:
            card = json.loads((stream.metadata() or {}).get(_KEY, "null"))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        size = path.stat().st_size
        raise CheckpointError(f"checkpoint {path} ({size:,} bytes) is truncated or damaged: {error}") from error
    if not isinstance(card, dict):
        raise CheckpointError(f"checkpoint {path} is a safetensors file, but not one that skytutor wrote")
    if recipe is not None and card.get("recipe") != recipe:
        raise CheckpointError(f"checkpoint {path} belongs to recipe {card.get('recipe')!r}, not to {recipe!r}")
    return tensors, card


def _refuse_pickle(path: Path) -> None:
    with open(path, "rb") as stream:
        head = stream.read(9)
    # A safetensors file starts with the length of its header, whose low byte may look like a pickle's; then comes a brace.
    if head[8:] != b"{" and (head[:1] == b"\x80" or head[:4] == b"PK\x03\x04"):
        raise CheckpointError(
            f"checkpoint {path} is a pickle (torch.save); loading one can run any code, so it is refused. "
            "Save the state_dict with safetensors instead"
        )


def load_into(model: torch.nn.Module, tensors: dict[str, Tensor], *, path: Path | str = "checkpoint") -> None:
    """Copy weights into `model`, casting to its precision; every name and shape must fit.

    Raises:
        CheckpointError: names the first tensors that are missing, unexpected or of another shape.
    """
    have = model.state_dict()
    wrong = [
        f"{k} is {tuple(tensors[k].shape)}, not {tuple(have[k].shape)}"
        for k in have
        if k in tensors and tensors[k].shape != have[k].shape
    ]
    wrong += [f"{k} is missing" for k in have if k not in tensors] + [f"{k} is unexpected" for k in tensors if k not in have]
    if wrong:
        raise CheckpointError(f"{path} does not fit this network: {'; '.join(wrong[:3])} ({len(wrong)} in all)")
    model.load_state_dict({k: v.to(have[k].dtype) for k, v in tensors.items()})


def provenance(*, device: torch.device | str, seed: int, profile: str, command: str) -> dict[str, Any]:
    """What a card says of how its weights were made: command, seed, profile, device, date, versions."""
    import numpy

    device = torch.device(device)
    cuda = device.type == "cuda"
    return {
        "command": command,
        "profile": profile,
        "seed": seed,
        "device": torch.cuda.get_device_name(device) if cuda else f"{platform.machine()} CPU",
        "threads": None if cuda else torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "skytutor": skytutor.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
    }


def publish(folder: Path, recipe: str, tensors: dict[str, Tensor], card: dict[str, Any]) -> Path:
    """Write ``recipe.safetensors`` and its card ``recipe.json``, which holds the weights' SHA-256."""
    path = Path(folder) / f"{recipe}.safetensors"
    save_tensors(path, tensors, card={"recipe": recipe})
    card = {"recipe": recipe, **card, "bytes": path.stat().st_size, "sha256": _digest(path)}
    write_atomic(path.with_suffix(".json"), (json.dumps(card, indent=1, sort_keys=False) + "\n").encode())
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_published(folder: Path, recipe: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and card; the card's SHA-256 must be that of the weights.

    Raises:
        CheckpointError: missing, damaged, or weights and card that do not belong together.
    """
    path = Path(folder) / f"{recipe}.safetensors"
    tensors, _ = load_tensors(path, recipe=recipe)
    try:
        card = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the card {path.with_suffix('.json')} cannot be read: {error}") from error
    missing = [k for k in _CARD if not isinstance(card, dict) or k not in card]
    if missing:
        raise CheckpointError(f"the card {path.with_suffix('.json')} lacks {', '.join(missing)}")
    if card["sha256"] != _digest(path):
        raise CheckpointError(f"{path} was altered after its card was written: the SHA-256 differs")
    return tensors, card
