"""What a flow is given: places, times, features and targets, refused by name where they do not fit.

Shapes: B batch, F features, T targets, S samples of each row.
"""

from collections.abc import Mapping

from torch import Tensor

from skytutor.inputs import as_input
from skytutor.validate import check_axes
from skytutor.values import all_finite

_SHAPES = {2: "(B, T)", 3: "(B, S, T)"}


def check_places(
    y: Tensor, time: Tensor, features: Tensor, *, weight: Tensor, n_targets: int
) -> None:
    """Refuse what a `VelocityNetwork` with weights ``(width, F)`` of the features cannot take."""
    for name, value in (("y", y), ("time", time), ("features", features)):
        as_input(name, value, weight=weight)
    check_axes(f"B S {n_targets}, B {weight.shape[1]}", y=y, features=features)
    if tuple(time.shape) not in ((*y.shape[:2], 1), (1, 1, 1)):
        raise ValueError(
            f"time must be ({len(y)}, {y.shape[1]}, 1) or (1, 1, 1), got {tuple(time.shape)}"
        )


def check_rows(
    features: Tensor,
    rows: Mapping[str, Tensor],
    *,
    weight: Tensor,
    n_targets: int,
    ndim: tuple[int, ...],
) -> None:
    """Refuse features or rows of targets of another shape, or with NaN or infinite values."""
    named = {"features": features, **rows}
    for name, x in named.items():
        as_input(name, x, weight=weight)
    n_features = weight.shape[1]
    if features.ndim != 2 or features.shape[1] != n_features:
        raise ValueError(f"features must be (B, {n_features}), got {tuple(features.shape)}")
    for name, x in rows.items():
        shape = tuple(x.shape)
        if x.ndim not in ndim or (shape[0], shape[-1]) != (len(features), n_targets):
            allowed = " or ".join(_SHAPES[k] for k in ndim)
            raise ValueError(
                f"{name} must be {allowed} with B {len(features)} and T {n_targets}, got {shape}"
            )
    for name, x in named.items():
        if not all_finite(x):
            raise ValueError(f"{name} holds NaN or infinite values")
