"""Nonlinearities for spin-2 fields that a rotation commutes with: they look at lengths and at relative angles only.

A component of a spin-2 field depends on the axes at its point, so a nonlinearity must not act on Q
or U by itself. A rotation of the sky, or of the axes, turns all of a point's spin-2 vectors by one
angle: lengths, angles between vectors and scalars stay as they are.

Shapes: fields ``(B, C, 2, P)`` hold Q and U; maps ``(B, C, P)`` are scalars.
"""

import torch
from torch import Tensor, nn

_TINY = 1e-12  # keeps the length's gradient finite where a field vanishes


def _fields(name: str, field: Tensor, channels: int | None = None) -> Tensor:
    if (
        field.dim() != 4
        or field.shape[2] != 2
        or (channels is not None and field.shape[1] != channels)
    ):
        raise ValueError(
            f"{name} must be (B, {channels or 'C'}, 2, P), Q and U; got {tuple(field.shape)}"
        )
    return field


def length(field: Tensor) -> Tensor:
    """``sqrt(Q**2 + U**2)``, ``(B, C, P)``, of a field ``(B, C, 2, P)``."""
    return (_fields("field", field).square().sum(2) + _TINY).sqrt()


class NormGate(nn.Module):
    """Scale each vector by a sigmoid of its own length: ``q -> q sigmoid(a |q| + c)``, a and c learned for each channel.

    Example:
        >>> NormGate(4)(torch.randn(2, 4, 2, 12)).shape
        torch.Size([2, 4, 2, 12])
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.slope = nn.Parameter(torch.ones(channels, 1))
        self.offset = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, field: Tensor) -> Tensor:
        size = length(_fields("field", field, self.channels))
        return field * torch.sigmoid(self.slope * size + self.offset).unsqueeze(2)

    def extra_repr(self) -> str:
        return f"{self.channels}"


class ScalarGate(nn.Module):
    """Scale each vector by a sigmoid of a scalar: ``q -> q sigmoid(g)``.

    Example:
        >>> ScalarGate()(torch.randn(2, 4, 2, 12), torch.randn(2, 4, 12)).shape
        torch.Size([2, 4, 2, 12])
    """

    def forward(self, field: Tensor, gate: Tensor) -> Tensor:
        if gate.shape != (*_fields("field", field).shape[:2], field.shape[3]):
            raise ValueError(
                f"gate must be (B, C, P) of the field, {tuple(field.shape)}; got {tuple(gate.shape)}"
            )
        return field * torch.sigmoid(gate).unsqueeze(2)


class SpinProduct(nn.Module):
    """Scalars of two fields: real and imaginary part of ``u conj(v)``, in that order along the channels.

    The real part is their lengths times the cosine of the angle between them. The imaginary part,
    its sine, changes sign in a mirror: a network with these knows left from right.

    Example:
        >>> SpinProduct()(torch.randn(2, 4, 2, 12), torch.randn(2, 4, 2, 12)).shape
        torch.Size([2, 8, 12])
    """

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        if _fields("u", u).shape != _fields("v", v).shape:
            raise ValueError(
                f"u and v must have one shape, got {tuple(u.shape)} and {tuple(v.shape)}"
            )
        return torch.cat([(u * v).sum(2), u[:, :, 1] * v[:, :, 0] - u[:, :, 0] * v[:, :, 1]], 1)
