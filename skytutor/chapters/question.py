"""What a network may be asked, and what its answers mean: what stands in a card beside the scores.

Shapes: N maps, K parameters, P = 12 nside**2 pixels, F features of a map.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["Inputs", "Outputs", "Question"]


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


@dataclass(frozen=True)
class Question:
    """How a network is asked about maps that are not the book's.

    Attributes:
        inputs: what it takes.
        outputs: what it gives.
        mask: bool ``(P,)``, RING, where the sky is seen; made when called.
        sample: ``sample(n, seed=...)`` draws n parameters ``(n, K)`` and maps, as in training.
        features: maps to numbers ``(N, F)`` that show noise, unit and pixel order.
        answer: ``answer(model, maps)`` gives values and errors ``(N, K)``, in their units.
    """

    inputs: Inputs
    outputs: Outputs
    mask: Callable[[], Tensor]
    sample: Callable[..., tuple[Tensor, Tensor]]
    features: Callable[[Tensor], Tensor]
    answer: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]

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
