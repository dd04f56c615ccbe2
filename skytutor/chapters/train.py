"""Train a recipe: refuse what cannot begin, train, score once, write weights and card."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from skytutor.chapters.pretrained import network
from skytutor.chapters.recipe import Recipe
from skytutor.files import cannot_write, remove_parts
from skytutor.training import checkpoint
from skytutor.training.loop import check_options, train
from skytutor.training.profile import Profile
from skytutor.training.run import STATE, Result
from skytutor.training.runfolder import hold, refuse_leftovers
from skytutor.training.schedule import Task

__all__ = ["check_training", "train_recipe"]


def check_training(
    recipe: Recipe,
    *,
    profile: Profile,
    folder: Path,
    devices: int = 1,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Refuse a training that could not begin, or would throw something away.

    Arguments:
        recipe: to be trained.
        profile: its size.
        folder: where weights, card and state are to go.
        devices: processes that train together.
        resume: go on from the state in `folder`.
        overwrite: start again where an earlier training lies.

    Raises:
        ValueError: a number of devices that cannot share a batch, both `resume` and `overwrite`, or
            a seed that draws no test.
        CheckpointError: `folder` holds an earlier training of the recipe, and neither is asked for.
    """
    check_options(
        recipe.schedules[profile.name],
        devices=devices,
        adversarial=recipe.adversarial,
        resume=resume,
        overwrite=overwrite,
    )
    # The weights will be scored with this seed: better refused now than after hours of training.
    recipe.seeds.test_seed(profile.seed)
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


def train_recipe(
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

    The weights best by validation are rounded to float16, unless the recipe keeps float32, and only
    then scored, once, on the test split.

    Arguments:
        recipe: to be trained.
        profile: its size, device and seed.
        folder: where weights, card and state go.
        command: that repeats the training, for the card.
        fabric: devices and processes; default one of the profile's devices.
        resume: go on from the state in `folder` if there is one, else start.
        overwrite: start again where an earlier training lies.
        supervisor: number of the parent process; when that is gone, stop as if asked to.
        progress: draw a progress bar on standard error.

    Returns:
        path of the weights, the card, and the training's result. On other ranks than 0 the card is
        empty.

    Raises:
        OverflowError: a weight does not fit into float16.

    And whatever `check_training` and `skytutor.training.loop.train` raise.
    """
    fabric = fabric or Fabric(accelerator=profile.device.type, devices=1)
    options = {"resume": resume, "overwrite": overwrite}
    path = Path(folder) / f"{recipe.name}.safetensors"
    # Held from the first look to the last write, so that two runs cannot both finish in one folder.
    with hold(Path(folder) / recipe.name, rank=fabric.global_rank):
        if fabric.global_rank == 0:
            _clear(recipe, profile, folder, devices=fabric.world_size, **options)
        task = recipe.task(profile)
        result = train(
            network(recipe, seed=profile.seed),
            task,
            schedule=recipe.schedules[profile.name],
            folder=Path(folder) / recipe.name,
            seed=profile.seed,
            recipe=recipe.name,
            profile=profile.name,
            fabric=fabric,
            supervisor=supervisor,
            progress=progress,
            **options,
        )
        if fabric.global_rank:
            return path, {}, result
        card = _save(
            recipe, profile, result, task=task, fabric=fabric, folder=folder, command=command
        )
    return path, card, result


def _clear(
    recipe: Recipe, profile: Profile, folder: Path, *, devices: int, **options: bool
) -> None:
    """Refuse what `check_training` refuses, and delete what writers that were killed left there."""
    check_training(recipe, profile=profile, folder=folder, devices=devices, **options)
    remove_parts(Path(folder), recipe.name)


def _save(
    recipe: Recipe,
    profile: Profile,
    result: Result,
    *,
    task: Task,
    fabric: Fabric,
    folder: Path,
    command: str,
) -> dict[str, Any]:
    """Score the best weights, write them with their card, and return the card.

    Arguments:
        recipe: that was trained.
        profile: with which.
        result: of the training.
        task: on what.
        fabric: its devices and processes.
        folder: where both go.
        command: that repeats the training.
    """
    weights = result.best
    if recipe.float16:
        weights = checkpoint.to_float16(weights, except_below=recipe.float32_below)
    made = checkpoint.provenance(
        device=fabric.device, seed=profile.seed, profile=profile.name, command=command
    )
    outcome = _outcome(recipe, profile, weights, result, source=task.source)
    card = {**made, **outcome, "processes": fabric.world_size}
    if recipe.question is not None:
        card |= recipe.question.for_card()
    checkpoint.save_checkpoint(folder, recipe.name, weights, card)
    return card


def _outcome(
    recipe: Recipe,
    profile: Profile,
    weights: dict[str, Tensor],
    result: Result,
    *,
    source: str | None,
) -> dict[str, Any]:
    """Return what a card says of a training's outcome.

    The weights are scored here, once, on the test split.
    """
    evaluated = network(recipe, seed=profile.seed)
    checkpoint.load_into(evaluated, weights)
    found = recipe.score(evaluated.eval(), seed=profile.seed, size=None, source=source)
    return {
        "source": source,
        "seconds": round(result.seconds, 1),
        "schedule": asdict(recipe.schedules[profile.name]),
        "parameters": sum(p.numel() for p in evaluated.parameters()),
        "best_epoch": result.best_epoch,
        "test": found.for_card(),
        "history": [_rounded(row) for row in result.history],
    }


def _rounded(row: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in row.items()}
