"""Nonlinearities for spin-2 fields that a rotation commutes with.

They look at lengths and at relative angles only. A component of a spin-2 field depends on the axes
at its point, so a nonlinearity must not act on Q or U by itself. A rotation of the sky, or of the
axes, turns all of a point's spin-2 vectors by one angle: lengths, angles between vectors and
scalars stay as they are.

Shapes: fields ``(B, C, 2, P)`` hold Q and U; maps ``(B, C, P)`` are scalars. Both take any pixel
order, as long as it is one and the same.
"""

import torch
from torch import Tensor, nn

from skytutor.arrays import as_floats
from skytutor.inputs import as_input

_TINY = 1e-12  # keeps the length's gradient finite where a field vanishes


def _check_field(name: str, field: Tensor, *, channels: int | None = None) -> Tensor:
    """Return `field` if it is a tensor ``(B, C, 2, P)``."""
    shape = tuple(as_input(name, field).shape)
    fits = len(shape) == 4 and shape[2] == 2
    if not fits or (channels is not None and shape[1] != channels):
        raise ValueError(f"{name} must be (B, {channels or 'C'}, 2, P), Q and U; got {shape}")
    return field


def length(field: Tensor) -> Tensor:
    """Return the length of each vector, ``sqrt(Q**2 + U**2)``.

    Arguments:
        field: ``(B, C, 2, P)``.

    Returns:
        ``(B, C, P)``, in the unit of the field; 1e-6 where the field vanishes, so that its gradient
        is finite there.

    Raises:
        ValueError: a field of another shape.
    """
    (field,) = as_floats(field=field)
    return (_check_field("field", field).square().sum(2) + _TINY).sqrt()


class NormGate(nn.Module):
    """Scale each vector by a sigmoid of its own length.

    ``q -> q sigmoid(a |q| + c)`` with a and c learned for each channel.

    Arguments:
        channels: number of channels of the field, C.

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
        """Scale the field.

        Arguments:
            field: ``(B, C, 2, P)``.

        Returns:
            ``(B, C, 2, P)``.

        Raises:
            TypeError: no tensor of floating-point numbers.
            ValueError: a field of another shape.
        """
        size = length(_check_field("field", field, channels=self.channels))  # (B, C, P)
        return field * torch.sigmoid(self.slope * size + self.offset).unsqueeze(2)

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return f"{self.channels}"


class ScalarGate(nn.Module):
    """Scale each vector by a sigmoid of a scalar: ``q -> q sigmoid(g)``.

    Example:
        >>> ScalarGate()(torch.randn(2, 4, 2, 12), torch.randn(2, 4, 12)).shape
        torch.Size([2, 4, 2, 12])
    """

    def forward(self, field: Tensor, gate: Tensor) -> Tensor:
        """Scale the field.

        Arguments:
            field: ``(B, C, 2, P)``.
            gate: ``(B, C, P)``, scalars.

        Returns:
            ``(B, C, 2, P)``.

        Raises:
            TypeError: no tensors of floating-point numbers.
            ValueError: shapes that are others or do not fit together.
        """
        batch, channels, _, pixels = _check_field("field", field).shape
        as_input("gate", gate)
        if gate.shape != (batch, channels, pixels):
            raise ValueError(
                f"gate must be (B, C, P) of the field, {tuple(field.shape)}; "
                f"got {tuple(gate.shape)}"
            )
        return field * torch.sigmoid(gate).unsqueeze(2)


class SpinProduct(nn.Module):
    """Scalars of two fields: real and imaginary part of ``u conj(v)``, along the channels.

    The real part is their lengths times the cosine of the angle between them. The imaginary part,
    its sine, changes sign in a mirror: a network with these knows left from right.

    Example:
        >>> SpinProduct()(torch.randn(2, 4, 2, 12), torch.randn(2, 4, 2, 12)).shape
        torch.Size([2, 8, 12])
    """

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        """Multiply the fields.

        Arguments:
            u: ``(B, C, 2, P)``.
            v: likewise, of the same shape.

        Returns:
            ``(B, 2 C, P)``: the C real parts, then the C imaginary parts.

        Raises:
            TypeError: no tensors of floating-point numbers.
            ValueError: shapes that are others or differ.
        """
        if _check_field("u", u).shape != _check_field("v", v).shape:
            raise ValueError(
                f"u and v must have one shape, got {tuple(u.shape)} and {tuple(v.shape)}"
            )
        real = (u * v).sum(2)  # (B, C, P)
        imaginary = u[:, :, 1] * v[:, :, 0] - u[:, :, 0] * v[:, :, 1]  # (B, C, P)
        return torch.cat([real, imaginary], 1)
