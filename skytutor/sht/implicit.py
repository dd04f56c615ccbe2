"""Derivatives of the solution of ``A x = b``, from the equations and not from the steps.

Of ``A x = b`` follows ``A dx = db - dA x``. So with g the gradient of a loss in x, that in b is
``y = A^-H g``, and that in what A is made of is ``-y^H dA x``: one more system, with no step of the
first kept in memory. Both y and x depend on b and A in turn. The functions here keep that
dependence, so a second derivative is right too, and a third.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["implicit_gradient"]

Operator = Callable[..., Tensor]


def implicit_gradient(
    x: Tensor,
    rhs: Tensor,
    *,
    operator: Operator,
    solve_adjoint: Operator,
    parameters: Sequence[Tensor] = (),
) -> Tensor:
    """Give a solution of ``A x = b``, however it was found, the derivatives of the equations.

    They are of every order in b and in the tensors that A is given, ``A = A(parameters)``. In those
    that `operator` uses besides, the first derivative alone is right, and a second is refused.

    Arguments:
        x: the solution, without a gradient.
        rhs: b, of the same shape.
        operator: A, of a vector and the parameters.
        solve_adjoint: the solution of ``A^H y = g``, of g and the parameters, and differentiable in
            them itself.
        parameters: tensors that A is made of.

    Returns:
        x with a gradient, if one is recorded.

    Example:
        >>> a = torch.tensor(2.0, requires_grad=True)
        >>> x = implicit_gradient(
        ...     torch.tensor(0.5),
        ...     torch.tensor(1.0),
        ...     operator=lambda x, a: a * x,
        ...     solve_adjoint=lambda g, a: g / a,
        ...     parameters=[a],
        ... )
        >>> torch.autograd.grad(x, a)  # of 1 / a
        (tensor(-0.2500),)
    """
    if not torch.is_grad_enabled():
        return x
    # What has a gradient with the parameters held is something else.
    others = operator(x, *[parameter.detach() for parameter in parameters]).requires_grad
    if others:
        # The values are those of the solution; the gradient is that of the equations.
        residual = rhs - operator(x, *parameters)
        return x + _Once.apply(residual, solve_adjoint, *parameters)
    return _Implicit.apply(rhs, x, operator, solve_adjoint, *parameters)


class _Implicit(torch.autograd.Function):
    """The solution forward; backward a solve with the adjoint matrix, differentiable in turn."""

    @staticmethod
    def forward(
        ctx: Any,
        rhs: Tensor,
        x: Tensor,
        operator: Operator,
        solve_adjoint: Operator,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.operator = operator
        ctx.solve_adjoint = solve_adjoint
        solution = x.clone()
        # An output that is kept brings its own derivative along into the next order.
        ctx.save_for_backward(solution, *parameters)
        return solution

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        solved = ctx.solve_adjoint(gradient, *parameters)
        changes = _parameter_gradients(
            ctx.operator, x, parameters, -solved, wanted=ctx.needs_input_grad[4:]
        )
        return solved, None, None, None, *changes


def _parameter_gradients(
    operator: Operator,
    x: Tensor,
    parameters: Sequence[Tensor],
    gradient: Tensor,
    *,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradient of ``A(parameters) x`` in the parameters alone, x held."""
    if not any(wanted):
        return [None] * len(parameters)
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # x depends on the parameters too. Not on these views of them: so x is held here, and still
        # has its graph for the next order.
        views = [parameter.view_as(parameter) for parameter in parameters]
        applied = operator(x, *views)
    asked = [view for view, needed in zip(views, wanted, strict=True) if needed]
    found = iter(
        torch.autograd.grad(applied, asked, gradient, create_graph=create_graph, allow_unused=True)
    )
    return [next(found) if needed else None for needed in wanted]


class _Once(torch.autograd.Function):
    """Nothing forward, where the equations already hold; a solve with the adjoint backward."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, solve_adjoint: Operator, *parameters: Tensor) -> Tensor:
        ctx.solve_adjoint = solve_adjoint
        ctx.save_for_backward(*parameters)
        return torch.zeros_like(residual)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            solved = ctx.solve_adjoint(gradient, *ctx.saved_tensors)
        if torch.is_grad_enabled():
            solved = _Refusal.apply(solved.requires_grad_())
        return solved, None, *[None] * len(ctx.saved_tensors)


class _Refusal(torch.autograd.Function):
    """The same values forward, an error backward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise RuntimeError(
            "a second derivative of this solution would be wrong: operator uses tensors with a "
            "gradient that are not among its parameters; pass them as parameters=[...]"
        )
