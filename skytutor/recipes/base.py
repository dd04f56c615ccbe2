"""What a recipe is, and the two things done with it: train it, and score what was trained."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

import skytutor
from skytutor import checkpoint
from skytutor.data.registry import DataError
from skytutor.files import cannot_write, remove_parts
from skytutor.profile import Profile
from skytutor.run import STATE, Result
from skytutor.runfolder import hold, refuse_leftovers
from skytutor.schedule import Schedule, Task
from skytutor.train import check_devices, train


@dataclass(frozen=True)
class Recipe:
    """One thing to train.

    Attributes:
        build: makes the network, weights drawn from torch's global generator.
        task: makes data and loss for a profile.
        schedules: how long to train, by profile name.
        score: ``score(model, seed, size, source=None)`` draws or loads test data and returns
            ``scores``, ``constant``, ``size`` and ``data``; `source` is the task's, or None for the
            study's own.
        published: figures of others, each with where it stands.
        limit: what no method can beat, or None where none is known; `score` may return its own.
        half: ship the weights in float16; small networks that answer to better than a per cent keep
            float32.
        ships: whether a checkpoint comes with the package; one that does not has to be trained
            first.
        adversarial: two networks are trained against each other, by one process.
    """

    name: str
    chapter: int
    summary: str
    build: Callable[[], nn.Module]
    task: Callable[[Profile], Task]
    schedules: Mapping[str, Schedule]
    score: Callable[..., dict[str, Any]]
    published: Mapping[str, float]
    limit: float | None = None
    half: bool = True
    ships: bool = True
    adversarial: bool = False


def shipped_folder() -> Path:
    """Where the checkpoints lie that come with the package."""
    return Path(skytutor.__file__).parent / "checkpoints"


def network(recipe: Recipe, *, seed: int = 0) -> nn.Module:
    """The recipe's network, untrained; the same seed gives the same weights."""
    torch.manual_seed(seed)
    return recipe.build()


def shipped(recipe: Recipe) -> nn.Module:
    """The recipe's network with the weights that come with the package, in evaluation mode."""
    weights, _ = checkpoint.read_published(shipped_folder(), recipe.name)
    model = network(recipe)
    checkpoint.load_into(model, weights, path=shipped_folder() / recipe.name)
    return model.eval()


def card(recipe: Recipe) -> dict[str, Any]:
    """The card of the recipe's shipped checkpoint: how it was made, its history, and its one score on the test split."""
    return checkpoint.read_published(shipped_folder(), recipe.name)[1]


def check_run(
    recipe: Recipe,
    *,
    profile: Profile,
    folder: Path,
    devices: int = 1,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Refuse a training that could not begin, or would throw something away, before any work is done for it.

    Raises:
        ValueError: a number of devices that cannot share a batch, or both `resume` and `overwrite`.
        CheckpointError: `folder` holds an earlier training of the recipe, and neither is asked for.
    """
    if resume and overwrite:
        raise ValueError("--resume and --overwrite exclude each other, got both")
    check_devices(devices, recipe.schedules[profile.name], adversarial=recipe.adversarial)
    weights = Path(folder) / f"{recipe.name}.safetensors"
    state = Path(folder) / recipe.name / STATE
    try:
        if not (resume or overwrite):
            refuse_leftovers([state], what="the state of an earlier training")
        # A finished checkpoint whose state is gone: nothing can go on, so only --overwrite replaces
        # it.
        if not overwrite and not state.exists():
            refuse_leftovers([weights, weights.with_suffix(".json")], what="an earlier training")
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise cannot_write(Path(folder), error) from error


def run(
    recipe: Recipe,
    *,
    profile: Profile,
    folder: Path,
    command: str,
    fabric: Fabric | None = None,
    resume: bool = False,
    overwrite: bool = False,
    supervisor: int | None = None,
    progress: bool = True,
) -> tuple[Path, dict[str, Any], Result]:
    """Train a recipe and write its checkpoint and card into `folder`.

    The weights best by validation are rounded to float16, which is how most are shipped, and only
    then scored, once, on the test split. `resume`, `overwrite` and `supervisor` are those of
    `skytutor.train.train`.

    Returns:
        path of the weights, the card, and the training's result. On other ranks than 0 the card is
        empty.
    """
    fabric = fabric or Fabric(accelerator=profile.device.type, devices=1)
    path = Path(folder) / f"{recipe.name}.safetensors"
    # Held from the first look to the last write, so that two runs cannot both finish in one folder.
    with hold(Path(folder) / recipe.name, rank=fabric.global_rank):
        if fabric.global_rank == 0:
            devices = fabric.world_size
            check_run(
                recipe,
                profile=profile,
                folder=folder,
                devices=devices,
                resume=resume,
                overwrite=overwrite,
            )
            remove_parts(Path(folder), recipe.name)
        task = recipe.task(profile)
        source = getattr(task, "source", None)
        result = train(
            network(recipe, seed=profile.seed),
            task,
            schedule=recipe.schedules[profile.name],
            folder=Path(folder) / recipe.name,
            seed=profile.seed,
            recipe=recipe.name,
            profile=profile.name,
            fabric=fabric,
            resume=resume,
            overwrite=overwrite,
            supervisor=supervisor,
            progress=progress,
        )
        if fabric.global_rank:
            return path, {}, result
        told = _publish(
            recipe, profile, Path(folder), result, source=source, command=command, fabric=fabric
        )
    return path, told, result


def _publish(
    recipe: Recipe,
    profile: Profile,
    folder: Path,
    result: Result,
    *,
    source: str | None,
    command: str,
    fabric: Fabric,
) -> dict[str, Any]:
    """Round the best weights, score them, and write them with their card, which is returned."""
    weights = rounded(result.best) if recipe.half else result.best
    told = {
        **checkpoint.provenance(
            device=fabric.device, seed=profile.seed, profile=profile.name, command=command
        ),
        **_results(recipe, profile, weights, result, source),
        "processes": fabric.world_size,
    }
    checkpoint.publish(folder, recipe.name, weights, told)
    return told


def _results(
    recipe: Recipe, profile: Profile, weights: dict[str, Tensor], result: Result, source: str | None
) -> dict[str, Any]:
    """What a card says of a training's outcome; the weights are scored here, once, on the test split."""
    evaluated = network(recipe, seed=profile.seed)
    checkpoint.load_into(evaluated, weights)
    scored = recipe.score(evaluated.eval(), profile.seed, None, source)
    return {
        "source": source,
        "seconds": round(result.seconds, 1),
        "schedule": asdict(recipe.schedules[profile.name]),
        "parameters": sum(p.numel() for p in evaluated.parameters()),
        "best_epoch": result.best_epoch,
        "test": scored,
        "history": [{k: round(v, 6) for k, v in row.items()} for row in result.history],
    }


def rounded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors in float16; ``OverflowError`` if a weight does not fit."""
    out = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    lost = [k for k, v in out.items() if not torch.isfinite(v).all()]
    if lost:
        raise OverflowError(f"{lost[0]} does not fit into float16")
    return out


def evaluate(
    recipe: Recipe, *, seed: int = 0, size: int | None = None, folder: Path | None = None
) -> dict[str, Any]:
    """Load a checkpoint (the shipped one by default) and score it, on the data that its card names.

    Raises:
        CheckpointError: no checkpoint, or a damaged one. DataError: the test data are not here.
    """
    folder = shipped_folder() if folder is None else Path(folder)
    weights, card = checkpoint.read_published(folder, recipe.name)
    model = network(recipe)
    checkpoint.load_into(model, weights, path=folder / recipe.name)
    scored = recipe.score(model.eval(), seed, size, card.get("source"))
    about = {k: card[k] for k in ("command", "profile", "device", "date", "sha256")}
    return {
        "recipe": recipe.name,
        "checkpoint": {"file": f"{recipe.name}.safetensors", **about},
        "seed": seed,
        "size": scored.pop("size"),
        "limit": recipe.limit,
        **scored,
        "published": dict(recipe.published),
    }


def standing(recipe: Recipe, *, size: int | None = None) -> dict[str, Any]:
    """What the shipped checkpoint scores: evaluated now if its test data are here, else as its card says.

    Returns:
        the ``scores`` of `evaluate`, with ``how`` ("evaluated now on ..." or "from the card of
        DATE") and ``size``.
    """
    try:
        found = evaluate(recipe, seed=1, size=size)
        return {
            **found["scores"],
            "size": found["size"],
            "how": f"evaluated now on {found['data']}",
        }
    except DataError:
        told = card(recipe)
        return {
            **told["test"]["scores"],
            "size": told["test"]["size"],
            "how": f"from the card of {told['date'][:10]}",
        }
