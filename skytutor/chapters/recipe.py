"""What a recipe is: data, network, schedule and scores of one result; and what a score is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from skytutor.chapters.question import Question
from skytutor.chapters.seeds import Seeds
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["Recipe", "Scores"]


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
        build: makes the network, weights drawn from torch's global generator.
        task: makes data and loss for a profile.
        schedules: how long to train, by profile name.
        seeds: which seeds draw training, validation and test; `score` takes a number of a test.
        score: ``score(model, seed=..., size=..., source=...)`` scores a network in evaluation mode
            on test data. `seed` draws what is random about them. `size` is the number of samples,
            None for all. `source` names the data set: the one that the network was trained on, or
            None for that of the full study.
        published: figures of others, each with where it stands.
        limit: what no method can beat, or None where none is known; `score` may return its own.
        float16: save the weights rounded to float16; small networks that answer to better than a
            per cent keep float32.
        float32_below: beginnings of the names of weights that keep float32 all the same.
        has_weights: whether trained weights come with the package; without them it has to be
            trained first.
        adversarial: two networks are trained against each other, by one process.
        question: how the network is asked about other maps; None where `predict` does not ask it.
    """

    name: str
    build: Callable[[], nn.Module]
    task: Callable[[Profile], Task]
    schedules: Mapping[str, Schedule]
    seeds: Seeds
    score: Callable[..., Scores]
    published: Mapping[str, float]
    limit: float | None = None
    float16: bool = True
    float32_below: tuple[str, ...] = ()
    has_weights: bool = True
    adversarial: bool = False
    question: Question | None = None
