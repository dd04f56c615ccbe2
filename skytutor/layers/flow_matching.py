"""A head that answers with samples of any posterior: conditional flow matching.

A flow carries noise into samples of the posterior along a velocity v [1]_: ``dx/dt = v(x, t, f)``
from t = 0, where x is noise, to t = 1, where it is a sample; f are the features of one image. On
the straight path ``x_t = (1 - t) x_0 + t x_1`` from a noise x_0 to a target x_1 the velocity is
``x_1 - x_0``. A network that is trained by squared error to predict it at ``(x_t, t, f)`` learns
its mean over all straight paths through that point, and this mean is the velocity of the flow.

The noise may be the Gaussian posterior of a `GaussianHead` in place of the standard normal. The
flow then mends only what is not Gaussian. Straight paths stay straight under a shift and a matrix,
so all is done in the coordinates ``y = L^-1 (x - mean)`` in which that Gaussian is standard normal.

Shapes: B batch, F features, T targets, S samples of each row.

.. [1] Y. Lipman et al., 2023, ICLR (arXiv:2210.02747); X. Liu et al., 2023, ICLR
   (arXiv:2209.03003).
"""

import math

import torch
from torch import Tensor, nn

from skytutor.layers._flow_input import check_places, check_rows
from skytutor.layers.gaussian_head import (
    GaussianHead,
    standard_normal,
    whiten,
)
from skytutor.tables import TableModule
from skytutor.validate import one_of, positive

__all__ = ["FlowMatching", "VelocityNetwork"]

BASES = ("gaussian", "standard")
_PLACES_CPU = 2**12  # that `sample` moves at once
_PLACES_GPU = 2**20


class VelocityNetwork(TableModule):
    """Predict the velocity at a place and a time: an MLP whose time is given as waves.

    It begins with a velocity of zero, which leaves the noise as it is.

    Arguments:
        in_features: F.
        n_targets: T.
        width: units of each hidden layer.
        depth: number of hidden layers.
        frequencies: K waves ``cos(pi k t)`` and ``sin(pi k t)`` with k from 1 to K.

    Raises:
        TypeError, ValueError: sizes that are no positive integers.

    Example:
        >>> net = VelocityNetwork(64, 9)
        >>> net(torch.randn(4, 100, 9), torch.rand(4, 100, 1), torch.randn(4, 64)).shape
        torch.Size([4, 100, 9])
    """

    waves: Tensor

    def __init__(
        self,
        in_features: int,
        n_targets: int,
        *,
        width: int = 128,
        depth: int = 3,
        frequencies: int = 4,
    ):
        super().__init__()
        positive(in_features=in_features, n_targets=n_targets)
        positive(width=width, depth=depth, frequencies=frequencies)
        self.from_features = nn.Linear(in_features, width)
        self.from_place = nn.Linear(n_targets, width, bias=False)
        self.from_time = nn.Linear(2 * frequencies, width, bias=False)
        layers: list[nn.Module] = [nn.SiLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.SiLU()]
        last = nn.Linear(width, n_targets)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)
        waves = math.pi * torch.arange(1, frequencies + 1)
        self.register_buffer("waves", waves, persistent=False)

    def forward(self, y: Tensor, time: Tensor, features: Tensor) -> Tensor:
        """Predict the velocity.

        Arguments:
            y: places, ``(B, S, T)``.
            time: from 0 to 1, ``(B, S, 1)`` or ``(1, 1, 1)``, one for all.
            features: ``(B, F)``.

        Returns:
            ``(B, S, T)``.

        Raises:
            TypeError: no tensors of floating-point numbers, or another precision than the weights'.
            ValueError: shapes that do not fit.
        """
        check_places(
            y,
            time,
            features,
            weight=self.from_features.weight,
            n_targets=self.from_place.in_features,
        )
        angles = time * self.waves  # (B, S, K)
        waves = torch.cat([angles.cos(), angles.sin()], dim=2)
        # What all samples of a row share, its features and often the time, is taken once.
        shared = self.from_features(features).unsqueeze(1) + self.from_time(waves)
        return self.layers(self.from_place(y) + shared)


class FlowMatching(nn.Module):
    """Sample the posterior of several numbers given features: a Gaussian, mended by a flow.

    Arguments:
        in_features: F.
        n_targets: T.
        base: the noise that the flow starts from: "gaussian" for the posterior of a `GaussianHead`
            of its own; "standard" for a standard normal; or a module that returns mean and L of the
            features, such as the head of a trained network. The flow's loss does not train the
            base: that is for `gaussian_loss`.
        width: units of each hidden layer of the velocity network.
        depth: number of its hidden layers.
        frequencies: number of waves of the time.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, or an unknown base.

    Example:
        >>> from skytutor.layers.gaussian_head import gaussian_loss
        >>> flow = FlowMatching(64, 9)
        >>> features = torch.randn(4, 64)
        >>> targets = torch.randn(4, 9)
        >>> loss = flow.loss(targets, features) + gaussian_loss(targets, *flow.base(features))
        >>> loss.mean().backward()
        >>> flow.sample(features, 100).shape
        torch.Size([4, 100, 9])
    """

    base: nn.Module | None

    def __init__(
        self,
        in_features: int,
        n_targets: int,
        *,
        base: str | nn.Module = "gaussian",
        width: int = 128,
        depth: int = 3,
        frequencies: int = 4,
    ):
        super().__init__()
        self.in_features = in_features
        self.n_targets = n_targets
        self.velocity = VelocityNetwork(
            in_features, n_targets, width=width, depth=depth, frequencies=frequencies
        )
        if isinstance(base, nn.Module):
            self.base = base
        elif one_of("base", base, allowed=BASES) == "gaussian":
            self.base = GaussianHead(in_features, n_targets)
        else:
            self.base = None

    def forward(self, y: Tensor, time: Tensor, features: Tensor) -> Tensor:
        """Return the velocity ``(B, S, T)`` in the coordinates y, as in `VelocityNetwork`."""
        return self.velocity(y, time, features)

    def loss(
        self,
        target: Tensor,
        features: Tensor,
        *,
        draws: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the squared error of the velocity on straight paths from noise to the target.

        Arguments:
            target: ``(B, T)``.
            features: ``(B, F)``.
            draws: how many times and noises are drawn for each row, S.
            generator: on whose device they are drawn; default: torch's own on the CPU.

        Returns:
            ``(B,)``, the mean over the draws of the sum over the targets. It does not reach zero:
            paths cross, and at a crossing the mean of their velocities is none of them.

        Raises:
            TypeError, ValueError: shapes that do not fit, or `draws` that is no positive integer.
        """
        self._check(features, (2,), target=target)
        positive(draws=draws)
        y1 = whiten(target, *self._gaussian(features)).unsqueeze(1)  # (B, 1, T)
        shape = (len(target), draws, self.n_targets)
        y0 = standard_normal(shape, like=target, generator=generator)
        # Times are spread evenly over the draws of all rows, for less scatter of the loss.
        time = self._even_times(y0, generator=generator)  # (B, S, 1)
        velocity = self.velocity((1 - time) * y0 + time * y1, time, features)
        return (velocity - (y1 - y0)).square().sum(2).mean(1)

    def transport(self, noise: Tensor, features: Tensor, *, steps: int = 16) -> Tensor:
        """Carry given noise along the flow, by midpoint steps.

        Arguments:
            noise: standard normal numbers ``(B, S, T)``.
            features: ``(B, F)``.
            steps: number of steps from t = 0 to 1; two evaluations of the network each.

        Returns:
            Samples ``(B, S, T)``, in the unit of the targets.

        Raises:
            TypeError, ValueError: shapes that do not fit, NaN or infinite features, or `steps` that
                is no positive integer.
        """
        self._check(features, (3,), noise=noise)
        positive(steps=steps)
        mean, scale_tril = self._gaussian(features)
        y = noise
        step = 1 / steps
        for k in range(steps):
            # The velocity halfway through the step makes the error of second order in its length.
            halfway = y + step / 2 * self._velocity_at(y, k * step, features)
            y = y + step * self._velocity_at(halfway, (k + 0.5) * step, features)
        return mean.unsqueeze(1) + y @ scale_tril.mT

    def sample(
        self,
        features: Tensor,
        n: int,
        *,
        steps: int = 16,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw from the posterior of each row.

        Arguments:
            features: ``(B, F)``.
            n: how many samples of each row, S.
            steps: as in `transport`.
            generator: on whose device the noise is drawn; default: torch's own on the CPU.

        Returns:
            ``(B, S, T)``, without gradient.

        Raises:
            TypeError, ValueError: as in `transport`.
        """
        positive(n=n)
        self._check(features, ())
        noise = standard_normal(
            (len(features), n, self.n_targets), like=features, generator=generator
        )
        # A few rows at a time: on a CPU, what stays in its cache is several times faster.
        rows = max(1, (_PLACES_CPU if noise.device.type == "cpu" else _PLACES_GPU) // n)
        pieces = zip(noise.split(rows), features.split(rows), strict=True)
        with torch.no_grad():
            return torch.cat([self.transport(*piece, steps=steps) for piece in pieces])

    def log_prob(self, target: Tensor, features: Tensor, *, steps: int = 16) -> Tensor:
        """Return the logarithm of the posterior density, from the divergence of the velocity.

        Along the flow ``d log p / dt = -div v``. The targets are carried back to the noise, whose
        density is known. The divergence is exact, one derivative for each target, so this is for
        few targets.

        Arguments:
            target: ``(B, T)``, or ``(B, S, T)`` with S for each row.
            features: ``(B, F)``.
            steps: as in `transport`.

        Returns:
            ``(B,)`` or ``(B, S)``, in nats, without gradient.

        Raises:
            TypeError, ValueError: as in `transport`.
        """
        self._check(features, (2, 3), target=target)
        positive(steps=steps)
        mean, scale_tril = self._gaussian(features)
        with torch.no_grad():
            y = whiten(target, mean, scale_tril).reshape(len(target), -1, self.n_targets)
            log_volume = scale_tril.diagonal(dim1=1, dim2=2).log().sum(1, keepdim=True)  # (B, 1)
            step = 1 / steps
            for k in reversed(range(steps)):
                # The midpoint rule of `transport` from the other end of the step.
                velocity = self._velocity_at(y, (k + 1) * step, features)
                halfway = y - step / 2 * velocity
                velocity, divergence = self._divergence_at(halfway, (k + 0.5) * step, features)
                y = y - step * velocity
                log_volume = log_volume + step * divergence  # (B, S)
            distance = y.square().sum(2) / 2 + self.n_targets * math.log(2 * math.pi) / 2
            return -(distance + log_volume).reshape(target.shape[:-1])

    def _gaussian(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean ``(B, T)`` and L ``(B, T, T)`` of the base, without gradient."""
        if self.base is not None:
            with torch.no_grad():
                return self.base(features)
        mean = features.new_zeros(len(features), self.n_targets)
        unit = torch.eye(self.n_targets, dtype=features.dtype, device=features.device)
        return mean, unit.expand(len(features), -1, -1)

    def _velocity_at(self, y: Tensor, time: float, features: Tensor) -> Tensor:
        """Return the velocity ``(B, S, T)`` at one time."""
        return self.velocity(y, y.new_full((1, 1, 1), time), features)

    def _divergence_at(self, y: Tensor, time: float, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the velocity ``(B, S, T)`` and its divergence ``(B, S)`` at one time."""
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            velocity = self._velocity_at(y, time, features.detach())
            divergence = y.new_zeros(y.shape[:2])
            for k in range(self.n_targets):
                # No place's velocity depends on another place: the gradient of their sum is that
                # of each.
                (slope,) = torch.autograd.grad(velocity[..., k].sum(), y, retain_graph=True)
                divergence = divergence + slope[..., k]
        return velocity.detach(), divergence

    @staticmethod
    def _even_times(like: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Draw times ``(B, S, 1)`` in ``[0, 1)``, one in each of B S equal intervals, shuffled."""
        count = like.shape[0] * like.shape[1]
        device = "cpu" if generator is None else generator.device
        order = torch.randperm(count, generator=generator, device=device)
        within = torch.rand(count, generator=generator, dtype=torch.float64, device=device)
        return ((order + within) / count).reshape(*like.shape[:2], 1).to(like)

    def _check(self, features: Tensor, ndim: tuple[int, ...], **rows: Tensor) -> None:
        weight = self.velocity.from_features.weight
        check_rows(features, rows, weight=weight, n_targets=self.n_targets, ndim=ndim)

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return f"{self.in_features}, {self.n_targets}"
