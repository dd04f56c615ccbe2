"""What a network may be asked, and what its answers mean: what stands in a card beside the scores.

Shapes: N maps or images, K things that are answered, F features of a map.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Answer", "Inputs", "Outputs", "Question"]


@dataclass(frozen=True)
class Inputs:
    """What the maps were that a network was trained on.

    Attributes:
        nside: resolution of the maps.
        order: of their pixels.
        fields: of a map, in the order of the channels.
        unit: of the values; "1" where they have none.
        noise: standard deviations of white noise in a pixel, one for each level in training.
        beam: what blurs the maps.
        f_sky: fraction of the sky that is seen.
        mask: where it is seen, in words.
    """

    nside: int
    order: str
    fields: tuple[str, ...]
    unit: str
    noise: tuple[float, ...]
    beam: str
    f_sky: float
    mask: str


@dataclass(frozen=True)
class Outputs:
    """What the numbers of an answer are.

    Attributes:
        names: of the K parameters.
        lowest: of each, in training.
        highest: of each, in training.
        units: of each; "1" where it has none.
        scale: of the network's own numbers, from which `predict` goes back to the parameters.
        errors: what the errors of an answer are.
    """

    names: tuple[str, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    units: tuple[str, ...]
    scale: str
    errors: str


class Answer(NamedTuple):
    """What a network says of N maps or images.

    Attributes:
        names: of the K things that are answered.
        values: ``(N, K)``, or ``(N, K, ...)`` where each is a map, float64.
        errors: of the shape of `values`; None where the network gives none.
        units: of each of the K.
    """

    names: tuple[str, ...]
    values: Tensor
    errors: Tensor | None
    units: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """How a network is asked about data that are not the book's.

    What it is given is a tuple: N maps or images, and after them what all of them have in common,
    such as a mask or the names of bands, as something that is hashable.

    Attributes:
        inputs: what it takes, a dataclass of strings, numbers, and tuples of them.
        outputs: what it gives, likewise.
        needs: options of `predict` that have to be said.
        takes: options of `predict` that may be said.
        prepare: ``prepare(data, **options)`` checks, converts, and gives the tuple.
        sample: ``sample(n, seed=...)`` draws n truths, and the tuple for them, as in training.
        features: ``features(*given)`` makes numbers ``(N, F)`` that show noise, unit and order.
        answer: ``answer(model, *given)``.
        compared: what may be wrong with data whose features are unlike, in words.
        skies: how many, as in training, data are compared with.
        margin: by which the distance that is allowed is wider, where few are compared with.
        mask_axes: how many axes the option "mask" has, the last ones of the maps; None for any that
            broadcast with them.
        strange: ``strange(*given)`` says which data are unlike, bool ``(N,)``, where those of the
            training do not come with the package; None where they can be drawn.
    """

    inputs: Any
    outputs: Any
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    prepare: Callable[..., tuple[Any, ...]]
    sample: Callable[..., tuple[Any, ...]]
    features: Callable[..., Tensor]
    answer: Callable[..., Answer]
    compared: str
    skies: int = 1000
    margin: float = 1.0
    mask_axes: int | None = 1
    strange: Callable[..., Tensor] | None = None

    def for_card(self) -> dict[str, Any]:
        """Return what a card says of inputs and outputs: dicts that JSON can hold."""
        described = {"inputs": asdict(self.inputs), "outputs": asdict(self.outputs)}
        # JSON has lists alone: a card that was read must equal the one that was written.
        return {
            part: {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in fields.items()
            }
            for part, fields in described.items()
        }
