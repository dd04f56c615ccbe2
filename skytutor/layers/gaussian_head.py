"""A head that answers with a Gaussian: a mean, and the triangular factor of a covariance.

A network that is trained on the squared error learns the posterior mean, but not how uncertain it
is. This head adds a lower triangular matrix L, so that the posterior of the targets is taken for
``N(mean, L L^T)``. Trained by the likelihood alone, such a head learns the mean badly where it
takes itself to be uncertain [1]_. `gaussian_loss` therefore trains the mean by the squared error,
and the covariance by the likelihood of residuals that carry no gradient to the mean.

Shapes: B batch, F features, T targets, S samples of each row.

.. [1] M. Seitzer et al., 2022, ICLR (arXiv:2203.09168).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.arrays import as_floats
from skytutor.inputs import as_input
from skytutor.validate import as_length, check_generator, positive

__all__ = ["GaussianHead", "gaussian_loss", "gaussian_nll", "gaussian_sample", "whiten"]


def _check_gaussian(mean: Tensor, scale_tril: Tensor) -> None:
    """Refuse a mean that is not ``(B, T)``, and a factor that is not ``(B, T, T)``."""
    if mean.ndim != 2:
        raise ValueError(f"mean must be (B, T), got {tuple(mean.shape)}")
    if scale_tril.shape != (*mean.shape, mean.shape[1]):
        raise ValueError(
            f"scale_tril must be (B, T, T) of the mean, {tuple(mean.shape)}; "
            f"got {tuple(scale_tril.shape)}"
        )


def whiten(target: Tensor, mean: Tensor, scale_tril: Tensor) -> Tensor:
    """Return ``L^-1 (target - mean)``, standard normal if the target follows ``N(mean, L L^T)``.

    Arguments:
        target: ``(B, T)``, or ``(B, S, T)`` with S of them for each row.
        mean: ``(B, T)``.
        scale_tril: L, ``(B, T, T)``, lower triangular with a positive diagonal.

    Returns:
        The shape and the type of the target.

    Raises:
        ValueError: shapes that do not fit together.

    Example:
        >>> whiten(torch.tensor([[5.0]]), torch.tensor([[1.0]]), torch.tensor([[[2.0]]]))
        tensor([[2.]])
    """
    target, mean, scale_tril = as_floats(target=target, mean=mean, scale_tril=scale_tril)
    _check_gaussian(mean, scale_tril)
    batch, n_targets = mean.shape
    if target.ndim not in (2, 3) or (len(target), target.shape[-1]) != (batch, n_targets):
        raise ValueError(
            f"target must be (B, T) or (B, S, T) of the mean, {tuple(mean.shape)}; "
            f"got {tuple(target.shape)}"
        )
    rows = target.reshape(batch, -1, n_targets) - mean.to(target.dtype).unsqueeze(1)  # (B, S, T)
    # Triangular systems are solved, for an inverse would lose digits where L is nearly singular.
    columns = torch.linalg.solve_triangular(scale_tril.to(target.dtype), rows.mT, upper=False)
    return columns.mT.reshape(target.shape)


def gaussian_nll(target: Tensor, mean: Tensor, scale_tril: Tensor) -> Tensor:
    """Return minus the logarithm of the density of ``N(mean, L L^T)`` at the target.

    ``|L^-1 (target - mean)|**2 / 2 + sum log L_ii + T log(2 pi) / 2``

    Arguments:
        target: ``(B, T)``.
        mean: ``(B, T)``.
        scale_tril: L, ``(B, T, T)``, lower triangular with a positive diagonal.

    Returns:
        ``(B,)``, in nats.

    Raises:
        ValueError: shapes that do not fit together.

    Example:
        >>> gaussian_nll(torch.zeros(1, 2), torch.zeros(1, 2), torch.eye(2)[None])
        tensor([1.8379])
    """
    target, mean, scale_tril = as_floats(target=target, mean=mean, scale_tril=scale_tril)
    if target.ndim != 2:
        raise ValueError(f"target must be (B, T), got {tuple(target.shape)}")
    distance = whiten(target, mean, scale_tril).square().sum(1) / 2
    log_volume = scale_tril.diagonal(dim1=1, dim2=2).log().sum(1)
    return distance + log_volume + target.shape[1] * math.log(2 * math.pi) / 2


def gaussian_loss(
    target: Tensor,
    mean: Tensor,
    scale_tril: Tensor,
    *,
    target_scale_tril: Tensor | None = None,
    beta: float = 1.0,
) -> Tensor:
    """Return a loss whose mean is not distorted by its covariance.

    Half the squared error of the mean, plus `gaussian_nll` of a mean without gradient. The mean is
    the one that the squared error alone would give; the covariance is the one that fits its
    residuals.

    With a `beta` below 1 the square of each target's error is weighted by ``s**(2 (beta - 1))``,
    where s is the standard deviation that the covariance gives it, without gradient [1]_. The
    minimum stays at the posterior mean. A finite sample finds it with less noise, since targets
    that can hardly be predicted no longer drown the others. At 0 the mean is learned as by the
    likelihood, and again badly where s is large.

    A target may be a Gaussian in place of a number: what a teacher, who knows more, believes. The
    loss is then the expectation over targets drawn from it, up to half the teacher's own variance.
    Its minimum is the same as that over numbers, by the laws of total expectation and of total
    variance, and fewer samples find it: what even the teacher cannot know is no longer noise.

    Arguments:
        target: ``(B, T)``.
        mean: ``(B, T)``.
        scale_tril: L, ``(B, T, T)``, lower triangular with a positive diagonal.
        target_scale_tril: ``(B, T, T)``, Cholesky factor of the covariance of each target; None
            for targets that are numbers.
        beta: 1 for the plain squared error, 0 for the weights of the likelihood.

    Returns:
        ``(B,)``.

    Raises:
        TypeError: beta is no number.
        ValueError: shapes that do not fit together, or a beta outside 0..1.

    Example:
        >>> head = GaussianHead(8, 3)
        >>> loss = gaussian_loss(torch.zeros(4, 3), *head(torch.randn(4, 8))).mean()
        >>> loss.backward()
    """
    target, mean, scale_tril = as_floats(target=target, mean=mean, scale_tril=scale_tril)
    power = as_length("beta", beta, zero=True) - 1
    if power > 0:
        raise ValueError(f"beta must lie in 0..1, got {beta!r}")
    likelihood = gaussian_nll(target, mean.detach(), scale_tril)
    if target_scale_tril is not None:
        (target_scale_tril,) = as_floats(target_scale_tril=target_scale_tril)
        target_scale_tril = target_scale_tril.to(scale_tril)
        if target_scale_tril.shape != scale_tril.shape:
            raise ValueError(
                f"target_scale_tril must be (B, T, T), {tuple(scale_tril.shape)}; "
                f"got {tuple(target_scale_tril.shape)}"
            )
        # E |L^-1 e|^2 of e ~ N(0, K K^T) is the sum of the squares of L^-1 K.
        spread = torch.linalg.solve_triangular(scale_tril, target_scale_tril, upper=False)
        likelihood = likelihood + spread.square().sum((1, 2)) / 2
    # Weights carry no gradient: a large error must not be excused by a large s.
    weight = scale_tril.detach().square().sum(2) ** power
    return (weight * (target - mean).square()).sum(1) / 2 + likelihood


def gaussian_sample(
    mean: Tensor, scale_tril: Tensor, n: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw from ``N(mean, L L^T)``.

    Arguments:
        mean: ``(B, T)``.
        scale_tril: L, ``(B, T, T)``, lower triangular.
        n: how many samples of each row, S.
        generator: on whose device the numbers are drawn; default: torch's own on the CPU.

    Returns:
        ``(B, S, T)``, on the device of the mean. The same numbers are drawn for float32 and
        float64.

    Raises:
        TypeError, ValueError: shapes that do not fit together, or an `n` that is no positive
            integer.

    Example:
        >>> gaussian_sample(torch.zeros(4, 2), torch.eye(2).expand(4, 2, 2), 100).shape
        torch.Size([4, 100, 2])
    """
    mean, scale_tril = as_floats(mean=mean, scale_tril=scale_tril)
    _check_gaussian(mean, scale_tril)
    positive(n=n)
    noise = standard_normal((len(mean), n, mean.shape[1]), like=mean, generator=generator)
    return mean.unsqueeze(1) + noise @ scale_tril.to(mean).mT


def standard_normal(
    shape: tuple[int, ...], *, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Draw standard normal numbers that do not depend on the type or the device they end on.

    Arguments:
        shape: of the result.
        like: whose type and device the result has.
        generator: on whose device the numbers are drawn; default: torch's own on the CPU.

    Returns:
        The numbers, drawn in float64.

    Example:
        >>> standard_normal((2, 3), like=torch.zeros(1)).dtype
        torch.float32
    """
    device = torch.device("cpu") if generator is None else check_generator(generator).device
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=device).to(like)


class GaussianHead(nn.Module):
    """Predict a Gaussian: ``mean = W f + b`` and ``L = diag(s) (1 + U)`` with U below the diagonal.

    The standard deviations s and the entries of U are learned functions of the features. An error
    that grows on all targets alike changes s alone. At the beginning U is 0 and s is 1, the answer
    of standardised targets about which nothing is known.

    Arguments:
        in_features: F.
        n_targets: T.
        hidden: units of a hidden layer between the features and the covariance; 0 for none.
        detach: whether to stop the covariance's gradient at the features, so that these serve the
            mean alone.
        floor: the smallest s.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, or a floor outside ``(0, 1)``.

    Example:
        >>> mean, scale_tril = GaussianHead(64, 9)(torch.randn(4, 64))
        >>> mean.shape, scale_tril.shape
        (torch.Size([4, 9]), torch.Size([4, 9, 9]))
    """

    def __init__(
        self,
        in_features: int,
        n_targets: int,
        *,
        hidden: int = 0,
        detach: bool = False,
        floor: float = 1e-3,
    ):
        super().__init__()
        positive(in_features=in_features, n_targets=n_targets)
        if hidden != 0:
            positive(hidden=hidden)
        self.in_features = in_features
        self.n_targets = n_targets
        self.detach = detach
        self.floor = as_length("floor", floor)
        if self.floor >= 1:
            raise ValueError(f"floor must be below 1, got {floor!r}")
        self.mean = nn.Linear(in_features, n_targets)
        last = nn.Linear(hidden or in_features, n_targets * (n_targets + 1) // 2)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.covariance = last if hidden == 0 else _with_hidden(in_features, last)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the Gaussian of each row.

        Arguments:
            features: ``(B, F)``.

        Returns:
            The mean ``(B, T)`` and L ``(B, T, T)``, lower triangular with a positive diagonal.

        Raises:
            TypeError: no tensor of floating-point numbers, or another precision than the weights'.
            ValueError: features of another shape.
        """
        as_input("features", features, weight=self.mean.weight)
        if features.ndim != 2 or features.shape[1] != self.in_features:
            raise ValueError(
                f"features must be (B, {self.in_features}), got {tuple(features.shape)}"
            )
        mean = self.mean(features)
        raw = self.covariance(features.detach() if self.detach else features)
        log_s, below = raw.split([self.n_targets, raw.shape[1] - self.n_targets], dim=1)
        # softplus is linear where it is large, so that one outlier cannot make it overflow. The
        # constant makes s = 1 of a raw value of 0.
        zero_point = math.log(math.expm1(1 - self.floor))
        s = F.softplus(log_s + zero_point) + self.floor
        # Made from `raw`, so that under `torch.func.vmap` there is one matrix for each row.
        unit = raw.new_zeros(len(raw), self.n_targets, self.n_targets)
        unit = unit + torch.eye(self.n_targets, dtype=raw.dtype, device=raw.device)
        rows, columns = torch.tril_indices(self.n_targets, self.n_targets, offset=-1)
        unit[:, rows, columns] = below
        return mean, s.unsqueeze(2) * unit

    def extra_repr(self) -> str:
        """Return the arguments for `print`."""
        return f"{self.in_features}, {self.n_targets}, detach={self.detach}, floor={self.floor}"


def _with_hidden(in_features: int, last: nn.Linear) -> nn.Sequential:
    """Return a network of one hidden layer that ends in `last`."""
    return nn.Sequential(nn.Linear(in_features, last.in_features), nn.SiLU(), last)
