"""Checkpoints: weights in safetensors, with a JSON card that says what made them.

A card holds the SHA-256 of the weights' file and one of its own fields, so that what was altered
after it was written is not taken for what was written.
"""

import hashlib
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import skytutor
from skytutor.files import CheckpointError, parse_json, strict_json, write_atomic

__all__ = [
    "load_into",
    "load_tensors",
    "misfits",
    "provenance",
    "publish",
    "read_card",
    "read_published",
    "save_tensors",
    "write_card",
]

_KEY = "skytutor"
_SEAL = "card_sha256"
# What a card must say, and as what.
_CARD = {
    "recipe": str,
    "command": str,
    "profile": str,
    "seed": int,
    "device": str,
    "date": str,
    "sha256": str,
}


def save_tensors(path: Path, tensors: dict[str, Tensor], *, card: dict[str, Any]) -> None:
    """Write named tensors and the card into one safetensors file, atomically."""
    flat = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_atomic(Path(path), save(flat, metadata={_KEY: strict_json(card, what="the card")}))


def load_tensors(
    path: Path, *, recipe: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Arguments:
        recipe: if given, the card must name this recipe.

    Raises:
        CheckpointError: no such file, a folder, truncated, a pickle, not ours, or of another
            recipe.
    """
    path = Path(path)
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise CheckpointError(
                f"checkpoint {path} {what}; train one with `skytutor train {recipe or 'RECIPE'}`"
            )
        _refuse_pickle(path)
        size = path.stat().st_size
        with safe_open(path, framework="pt") as stream:
            card = parse_json((stream.metadata() or {}).get(_KEY, "null"))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {error.strerror or error}"
        ) from error
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {path} ({size:,} bytes) is truncated or damaged: {error}"
        ) from error
    if not isinstance(card, dict):
        raise CheckpointError(
            f"checkpoint {path} is a safetensors file, but not one that skytutor wrote"
        )
    if recipe is not None and card.get("recipe") != recipe:
        raise CheckpointError(
            f"checkpoint {path} belongs to recipe {card.get('recipe')!r}, not to {recipe!r}"
        )
    return tensors, card


def _refuse_pickle(path: Path) -> None:
    with open(path, "rb") as stream:
        head = stream.read(9)
    # A safetensors file starts with the length of its header, whose low byte may look like a
    # pickle's; then comes a brace.
    if head[8:] != b"{" and (head[:1] == b"\x80" or head[:4] == b"PK\x03\x04"):
        raise CheckpointError(
            f"checkpoint {path} is a pickle (torch.save); loading one can run any code, so it is refused. "
            "Save the state_dict with safetensors instead"
        )


def load_into(
    model: torch.nn.Module, tensors: dict[str, Tensor], *, path: Path | str = "checkpoint"
) -> None:
    """Copy weights into `model`, casting to its precision; every name and shape must fit.

    Raises:
        CheckpointError: names the first tensors that are missing, unexpected or of another shape.
    """
    have = model.state_dict()
    wrong = misfits(have, tensors)
    if wrong:
        raise CheckpointError(
            f"{path} does not fit this network: {'; '.join(wrong[:3])} ({len(wrong)} in all)"
        )
    model.load_state_dict({k: v.to(have[k].dtype) for k, v in tensors.items()})


def misfits(
    have: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, same_dtype: bool = False
) -> list[str]:
    """Say what keeps `tensors` from taking the place of `have`: names, shapes and, if asked for, types."""
    wrong = []
    for name, tensor in have.items():
        if name not in tensors:
            wrong.append(f"{name!r} is missing")
        elif tensors[name].shape != tensor.shape:
            wrong.append(f"{name!r} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}")
        elif same_dtype and tensors[name].dtype != tensor.dtype:
            wrong.append(f"{name!r} is {tensors[name].dtype}, not {tensor.dtype}")
    # A name comes from the file: quoted, so that no escape code of it reaches the terminal.
    return wrong + [f"{name!r} is unexpected" for name in tensors if name not in have]


def provenance(
    *, device: torch.device | str, seed: int, profile: str, command: str
) -> dict[str, Any]:
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


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write a card as JSON with the SHA-256 of its fields, atomically."""
    unsealed = {name: value for name, value in card.items() if name != _SEAL}
    sealed = {**unsealed, _SEAL: _card_digest(unsealed)}
    text = strict_json(sealed, what=f"the card {Path(path).name}", indent=1)
    write_atomic(Path(path), (text + "\n").encode())


def _card_digest(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(strict_json(card, what="the card", sort_keys=True).encode()).hexdigest()


def read_card(path: Path) -> dict[str, Any]:
    """Read what `write_card` wrote.

    Raises:
        CheckpointError: it cannot be read, is no JSON object, or was altered after it was written.
    """
    path = Path(path)
    try:
        card = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the card {path} cannot be read: {error}") from error
    if not isinstance(card, dict):
        raise CheckpointError(f"the card {path} is no JSON object")
    sealed = card.pop(_SEAL, None)
    if sealed is None:
        raise CheckpointError(f"the card {path} lacks {_SEAL}")
    try:
        found = _card_digest(card)
    except ValueError as error:
        raise CheckpointError(f"the card {path} cannot be read: {error}") from error
    if sealed != found:
        raise CheckpointError(
            f"the card {path} was altered after it was written: its SHA-256 differs"
        )
    return card


def publish(folder: Path, recipe: str, tensors: dict[str, Tensor], card: dict[str, Any]) -> Path:
    """Write ``recipe.safetensors`` and its card ``recipe.json``, which holds the weights' SHA-256."""
    path = Path(folder) / f"{recipe}.safetensors"
    strict_json(
        card, what=f"the card of {recipe}"
    )  # before the weights of an earlier card are replaced
    save_tensors(path, tensors, card={"recipe": recipe})
    card = {"recipe": recipe, **card, "bytes": path.stat().st_size, "sha256": _digest(path)}
    write_card(path.with_suffix(".json"), card)
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_published(folder: Path, recipe: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and card; each must be as it was written, and they must belong together.

    Raises:
        CheckpointError: missing, damaged, altered, or weights and card that do not belong together.
    """
    path = Path(folder) / f"{recipe}.safetensors"
    tensors, _ = load_tensors(path, recipe=recipe)
    card = read_card(path.with_suffix(".json"))
    for name, kind in _CARD.items():
        if not isinstance(card.get(name), kind):
            raise CheckpointError(
                f"the card {path.with_suffix('.json')} lacks {name}, or it is no {kind.__name__}"
            )
    if card["recipe"] != recipe:
        raise CheckpointError(
            f"the card {path.with_suffix('.json')} belongs to recipe {card['recipe']!r}, not to {recipe!r}"
        )
    if card["sha256"] != _digest(path):
        raise CheckpointError(f"{path} was altered after its card was written: the SHA-256 differs")
    return tensors, card
