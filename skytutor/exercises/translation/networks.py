"""What a network sees: how many pixels reach one number behind a stack of convolutions."""

import math
from typing import Any

import numpy as np

from skytutor.exercises import grading
from skytutor.exercises.grading import Mistake

__all__ = ["receptive_field"]


def receptive_field(attempt: Any) -> bool:
    """Test your `receptive_field(kernels, strides)`: how wide a patch one number sees.

    Arguments:
        attempt: a function of two lists of integers, the sides of the kernels and the strides of
            convolutions one behind the other, the first of which sees the image. It returns the
            side of the square of pixels that reach one number behind the last, an integer.

    Returns:
        True if it is right.
    """
    return grading.function(
        "receptive_field",
        attempt,
        _receptive_field,
        cases=[
            ([3], [1]),
            ([3, 3], [2, 1]),
            ([4, 4, 4, 4, 4], [2, 2, 2, 1, 1]),
            ([1, 5, 1], [3, 1, 2]),
        ],
        draw=_draw_stack,
        mistakes=[*_mistakes_of_strides(), *_mistakes_of_kernels()],
    )


def _receptive_field(kernels: list[int], strides: list[int]) -> int:
    side, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        side += (kernel - 1) * step
        step *= stride
    return side


def _draw_stack(rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Return two to six layers."""
    n = int(rng.integers(2, 7))
    return rng.integers(1, 8, n).tolist(), rng.integers(1, 4, n).tolist()


def _steps(strides: list[int]) -> list[int]:
    """Return how many pixels apart two neighbours lie in front of each layer."""
    return [math.prod(strides[:k]) for k in range(len(strides))]


def _mistakes_of_strides() -> list[Mistake]:
    """Return the mistakes about how far apart the inputs of a layer are."""

    def early(kernels: list[int], strides: list[int]) -> int:
        layers = zip(kernels, _steps(strides), strides, strict=True)
        return 1 + sum((kernel - 1) * step * stride for kernel, step, stride in layers)

    def late(kernels: list[int], strides: list[int]) -> int:
        return _receptive_field(kernels, [1, *strides[:-1]])

    def backward(kernels: list[int], strides: list[int]) -> int:
        return _receptive_field(kernels[::-1], strides[::-1])

    return [
        Mistake(
            early, "A layer's stride is taken before its kernel. Which of its inputs are apart?"
        ),
        Mistake(late, "Each stride counts a layer late. Whose inputs does it put apart?"),
        Mistake(backward, "Which of the layers sees the image itself?"),
        Mistake(
            lambda k, s: _receptive_field(k, [1] * len(s)),
            "What does it make of the strides?",
        ),
        Mistake(lambda k, s: sum(k), "What does it make of the strides?"),
        Mistake(
            lambda k, s: (
                1 + sum((kernel - 1) * stride for kernel, stride in zip(k, s, strict=True))
            ),
            "Each stride counts for its own layer alone. How far apart are pixels after two of "
            "them?",
        ),
        Mistake(
            lambda k, s: math.prod(s),
            "That is how far apart two patches lie. How wide is one?",
        ),
    ]


def _mistakes_of_kernels() -> list[Mistake]:
    """Return the mistakes about how much a layer adds."""

    def whole(kernels: list[int], strides: list[int]) -> int:
        return sum(k * step for k, step in zip(kernels, _steps(strides), strict=True))

    return [
        Mistake(whole, "What does a kernel of 1 add to what is seen?"),
        Mistake(lambda k, s: 1 + whole(k, s), "What does a kernel of 1 add to what is seen?"),
        Mistake(
            lambda k, s: _receptive_field(k, s) - 1,
            "With kernels of 1 alone, how many pixels are seen?",
        ),
        Mistake(
            lambda k, s: math.prod(k),
            "Patches of neighbours overlap. How much is new in each?",
        ),
        Mistake(lambda k, s: _receptive_field(k, s) ** 2, "Is the side asked for, or the area?"),
    ]
