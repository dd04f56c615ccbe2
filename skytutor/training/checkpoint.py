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
from skytutor.training._plain import cast_like, plain_tensors, storable

__all__ = [
    "load_checkpoint",
    "load_into",
    "load_tensors",
    "misfits",
    "pretrained_folder",
    "provenance",
    "read_card",
    "save_checkpoint",
    "save_tensors",
    "to_float16",
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


def pretrained_folder() -> Path:
    """Return the folder of the checkpoints and cards that come with the package."""
    return Path(skytutor.__file__).parent / "checkpoints"


def save_tensors(path: Path, tensors: dict[str, Tensor], *, card: dict[str, Any]) -> None:
    """Write named tensors and the card into one safetensors file, atomically.

    Arguments:
        path: of the file.
        tensors: on any device; arrays of numbers too.
        card: values that JSON can hold.

    Raises:
        CheckpointError: the file cannot be written.
        TypeError: what is no tensor of numbers, or complex128, which safetensors does not have.
        ValueError: a number of the card is not finite.
    """
    write_atomic(
        Path(path), save(storable(tensors), metadata={_KEY: strict_json(card, what="the card")})
    )


def load_tensors(
    path: Path, *, recipe: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Arguments:
        path: of the file.
        recipe: if given, the card must name this recipe.

    Returns:
        the tensors, on the CPU, and the card.

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
            names = stream.keys()  # the stream itself cannot be iterated over
            tensors = {name: stream.get_tensor(name) for name in names}
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
            f"checkpoint {path} is a pickle (torch.save); loading one can run any code, "
            "so it is refused. Save the state_dict with safetensors instead"
        )


def load_into(
    model: torch.nn.Module, tensors: dict[str, Tensor], *, path: Path | str = "checkpoint"
) -> None:
    """Copy weights into `model`, casting to its precision; every name and shape must fit.

    Arguments:
        model: left as it was if anything does not fit.
        tensors: for every name of its ``state_dict``, and no others.
        path: where they come from, for the message.

    Raises:
        CheckpointError: names the first tensors that are missing, unexpected or of another shape.
    """
    current = model.state_dict()
    wrong = misfits(current, tensors)
    if wrong:
        raise CheckpointError(
            f"{path} does not fit this network: {'; '.join(wrong[:3])} ({len(wrong)} in all)"
        )
    model.load_state_dict(cast_like(tensors, current))


def misfits(
    current: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, same_dtype: bool = False
) -> list[str]:
    """Say what keeps `tensors` from taking the place of `current`.

    Arguments:
        current: tensors by name, as they must be.
        tensors: those that are to take their place.
        same_dtype: whether types must be equal too, not names and shapes alone.

    Returns:
        a few words for each tensor that is missing, unexpected or of another kind.

    Example:
        >>> misfits({"a": torch.ones(2)}, {"a": torch.ones(3), "b": torch.ones(1)})
        ["'a' is (3,), not (2,)", "'b' is unexpected"]
    """
    wrong = []
    current = plain_tensors(current, name="current")
    tensors = plain_tensors(tensors)
    for name, tensor in current.items():
        if name not in tensors:
            wrong.append(f"{name!r} is missing")
        elif tensors[name].shape != tensor.shape:
            wrong.append(f"{name!r} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}")
        elif same_dtype and tensors[name].dtype != tensor.dtype:
            wrong.append(f"{name!r} is {tensors[name].dtype}, not {tensor.dtype}")
    # A name comes from the file: quoted, so that no escape code of it reaches the terminal.
    return wrong + [f"{name!r} is unexpected" for name in tensors if name not in current]


def to_float16(
    tensors: Mapping[str, Tensor], *, except_below: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Return floating tensors in float16, and all others as they are.

    Arguments:
        tensors: by name.
        except_below: beginnings of names, of tensors that are left as they are too.

    Raises:
        OverflowError: names a tensor that holds a number float16 cannot.
    """
    out = {}
    for name, tensor in plain_tensors(tensors).items():
        rounded = tensor.is_floating_point() and not name.startswith(except_below)
        out[name] = tensor.half() if rounded else tensor
        if not torch.isfinite(out[name]).all():
            raise OverflowError(f"{name} does not fit into float16")
    return out


def provenance(
    *, device: torch.device | str, seed: int, profile: str, command: str
) -> dict[str, Any]:
    """Return what a card says of how its weights were made.

    Arguments:
        device: on which they were trained.
        seed: of everything random in the training.
        profile: name of the profile.
        command: that repeats the training.

    Returns:
        the arguments, the number of threads, the date, and the versions of the packages.
    """
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
    """Write a card as JSON with the SHA-256 of its fields, atomically.

    Arguments:
        path: of the JSON file.
        card: values that JSON can hold; an earlier seal among them is replaced.

    Raises:
        CheckpointError: the file cannot be written.
        ValueError: a number of the card is not finite.
    """
    unsealed = {name: value for name, value in card.items() if name != _SEAL}
    sealed = {**unsealed, _SEAL: _card_digest(unsealed)}
    text = strict_json(sealed, what=f"the card {Path(path).name}", indent=1)
    write_atomic(Path(path), (text + "\n").encode())


def _card_digest(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(strict_json(card, what="the card", sort_keys=True).encode()).hexdigest()


def read_card(path: Path) -> dict[str, Any]:
    """Read what `write_card` wrote.

    Arguments:
        path: of the JSON file.

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


def save_checkpoint(
    folder: Path, recipe: str, tensors: dict[str, Tensor], card: dict[str, Any]
) -> Path:
    """Write the weights of a recipe, ``RECIPE.safetensors``, and their card, ``RECIPE.json``.

    Arguments:
        folder: made if it is not there.
        recipe: name of the recipe.
        tensors: the weights.
        card: what is said of them; the recipe, and size and SHA-256 of the file, are added.

    Returns:
        path of the weights.

    Raises:
        CheckpointError: a file cannot be written.
        ValueError: a number of the card is not finite; nothing was written.
    """
    path = Path(folder) / f"{recipe}.safetensors"
    # Before the weights of an earlier card are replaced: a card that JSON cannot hold is an error.
    strict_json(card, what=f"the card of {recipe}")
    save_tensors(path, tensors, card={"recipe": recipe})
    card = {"recipe": recipe, **card, "bytes": path.stat().st_size, "sha256": _digest(path)}
    write_card(path.with_suffix(".json"), card)
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_checkpoint(folder: Path, recipe: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and card; each must be as it was written, and they must belong together.

    Arguments:
        folder: where `save_checkpoint` wrote them.
        recipe: name of the recipe.

    Returns:
        the weights, on the CPU, and the card.

    Raises:
        CheckpointError: missing, damaged, altered, or weights and card that do not belong together.
    """
    path = Path(folder) / f"{recipe}.safetensors"
    place = path.with_suffix(".json")
    tensors, _ = load_tensors(path, recipe=recipe)
    card = read_card(place)
    for name, kind in _CARD.items():
        if not isinstance(card.get(name), kind):
            raise CheckpointError(f"the card {place} lacks {name}, or it is no {kind.__name__}")
    if card["recipe"] != recipe:
        raise CheckpointError(
            f"the card {place} belongs to recipe {card['recipe']!r}, not to {recipe!r}"
        )
    if card["sha256"] != _digest(path):
        raise CheckpointError(f"{path} was altered after its card was written: the SHA-256 differs")
    return tensors, card
