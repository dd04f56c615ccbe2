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
from skytutor.train import check_options, train

__all__ = [
    "Recipe",
    "Scores",
    "card",
    "check_run",
    "evaluate",
    "load_pretrained",
    "network",
    "pretrained_folder",
    "pretrained_scores",
    "run",
]


@dataclass(frozen=True)
class Scores:
    """What a network reaches on test data, and beside what it is to be read.

    Attributes:
        scores: of the network, by name; numbers, or lists and dicts of numbers.
        constant: scores of the best answer that does not look at its input.
        size: test samples.
        data: what they are.
        limit: what no method can beat, by name of the score; None where `Recipe.limit` says it, or
            where nothing is known.
    """

    scores: dict[str, Any]
    constant: dict[str, float]
    size: int
    data: str
    limit: dict[str, float] | float | None = None

    @classmethod
    def of(cls, found: "Scores | Mapping[str, Any]") -> "Scores":
        """Return `found`, made from a dict of the fields if it is one."""
        return found if isinstance(found, Scores) else cls(**found)

    def for_card(self) -> dict[str, Any]:
        """Return what a card says of a test: the fields, without a limit that is not known."""
        names = ["size", "data", "scores", "constant"]
        if self.limit is not None:
            names.append("limit")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Recipe:
    """One thing to train.

    Attributes:
        name: under which it is trained, evaluated and saved.
        chapter: of the book.
        summary: one line.
        build: makes the network, weights drawn from torch's global generator.
        task: makes data and loss for a profile.
        schedules: how long to train, by profile name.
        score: ``score(model, seed=..., size=..., source=...)`` scores a network in evaluation mode
            on test data. `seed` draws what is random about them. `size` is the number of samples,
            None for all. `source` names the data set: the one that the network was trained on, or
            None for that of the full study.
        published: figures of others, each with where it stands.
        limit: what no method can beat, or None where none is known; `score` may return its own.
        float16: save the weights rounded to float16; small networks that answer to better than a
            per cent keep float32.
        has_weights: whether trained weights come with the package; without them it has to be
            trained first.
        adversarial: two networks are trained against each other, by one process.
    """

    name: str
    chapter: int
    summary: str
    build: Callable[[], nn.Module]
    task: Callable[[Profile], Task]
    schedules: Mapping[str, Schedule]
    score: Callable[..., Scores | dict[str, Any]]
    published: Mapping[str, float]
    limit: float | None = None
    float16: bool = True
    has_weights: bool = True
    adversarial: bool = False


def network(recipe: Recipe, *, seed: int = 0) -> nn.Module:
    """Return the recipe's network, untrained; the same seed gives the same weights."""
    torch.manual_seed(seed)
    return recipe.build()


def pretrained_folder() -> Path:
    """Return the folder of the checkpoints that come with the package."""
    return Path(skytutor.__file__).parent / "checkpoints"


def load_pretrained(recipe: Recipe, folder: Path | None = None) -> nn.Module:
    """Return the recipe's network with trained weights, in evaluation mode.

    Arguments:
        recipe: whose network.
        folder: where its checkpoint lies; None for the one that comes with the package.

    Raises:
        CheckpointError: no checkpoint, or a damaged one.
    """
    folder = pretrained_folder() if folder is None else Path(folder)
    weights, _ = checkpoint.load_checkpoint(folder, recipe.name)
    model = network(recipe)
    checkpoint.load_into(model, weights, path=folder / recipe.name)
    return model.eval()


def card(recipe: Recipe, folder: Path | None = None) -> dict[str, Any]:
    """Return what a checkpoint's card says: how it was made, its history, its test scores.

    Arguments:
        recipe: whose card.
        folder: where its checkpoint lies; None for the one that comes with the package.

    Raises:
        CheckpointError: no checkpoint, or a damaged one.
    """
    folder = pretrained_folder() if folder is None else Path(folder)
    return checkpoint.load_checkpoint(folder, recipe.name)[1]


def check_run(
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
        ValueError: a number of devices that cannot share a batch, or both `resume` and `overwrite`.
        CheckpointError: `folder` holds an earlier training of the recipe, and neither is asked for.
    """
    check_options(
        recipe.schedules[profile.name],
        devices=devices,
        adversarial=recipe.adversarial,
        resume=resume,
        overwrite=overwrite,
    )
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

    And whatever `check_run` and `skytutor.train.train` raise.
    """
    fabric = fabric or Fabric(accelerator=profile.device.type, devices=1)
    options = {"resume": resume, "overwrite": overwrite}
    path = Path(folder) / f"{recipe.name}.safetensors"
    # Held from the first look to the last write, so that two runs cannot both finish in one folder.
    with hold(Path(folder) / recipe.name, rank=fabric.global_rank):
        if fabric.global_rank == 0:
            devices = fabric.world_size
            check_run(recipe, profile=profile, folder=folder, devices=devices, **options)
            remove_parts(Path(folder), recipe.name)
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
        weights = checkpoint.to_float16(result.best) if recipe.float16 else result.best
        made = checkpoint.provenance(
            device=fabric.device, seed=profile.seed, profile=profile.name, command=command
        )
        outcome = _outcome(recipe, profile, weights, result, source=task.source)
        full_card = {**made, **outcome, "processes": fabric.world_size}
        checkpoint.save_checkpoint(folder, recipe.name, weights, full_card)
    return path, full_card, result


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
    found = Scores.of(recipe.score(evaluated.eval(), seed=profile.seed, size=None, source=source))
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


def evaluate(
    recipe: Recipe, *, seed: int = 0, size: int | None = None, folder: Path | None = None
) -> dict[str, Any]:
    """Load a checkpoint and score it, on the data that its card names.

    Arguments:
        recipe: to be scored.
        seed: of what is drawn for the test.
        size: test samples; None for all.
        folder: where the checkpoint lies; None for the one that comes with the package.

    Returns:
        what JSON can hold: ``recipe``, ``checkpoint``, ``seed``, ``size``, ``limit``, ``data``,
        ``scores``, ``constant`` and ``published``.

    Raises:
        CheckpointError: no checkpoint, or a damaged one.
        DataError: the test data are not here.
    """
    model = load_pretrained(recipe, folder)
    metadata = card(recipe, folder)
    found = Scores.of(recipe.score(model, seed=seed, size=size, source=metadata.get("source")))
    about = {key: metadata[key] for key in ("command", "profile", "device", "date", "sha256")}
    return {
        "recipe": recipe.name,
        "checkpoint": {"file": f"{recipe.name}.safetensors", **about},
        "seed": seed,
        "size": found.size,
        "limit": recipe.limit if found.limit is None else found.limit,
        "data": found.data,
        "scores": found.scores,
        "constant": found.constant,
        "published": dict(recipe.published),
    }


def pretrained_scores(recipe: Recipe, *, size: int | None = None) -> dict[str, Any]:
    """Return the scores of the checkpoint that comes with the package.

    It is evaluated now if its test data are here; else the scores are those of its card.

    Arguments:
        recipe: whose checkpoint.
        size: test samples where it is evaluated now; None for all.

    Returns:
        the ``scores`` of `evaluate`, with ``how`` ("evaluated now on ..." or "from the card of
        DATE") and ``size``.
    """
    try:
        found = evaluate(recipe, seed=1, size=size)
        how = f"evaluated now on {found['data']}"
    except DataError:
        metadata = card(recipe)
        found = metadata["test"]
        how = f"from the card of {metadata['date'][:10]}"
    return {**found["scores"], "size": found["size"], "how": how}
