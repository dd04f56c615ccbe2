"""Predictions that need no pixels: a constant, and the best of a table of numbers.

A network that reads images must be compared with the best that the same survey's tables allow. Two
methods that are good at tables are fitted, boosted trees and a small multilayer perceptron, and for
each target they are mixed as a validation part of the rows likes best.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from skytutor.chunks import in_chunks

__all__ = ["CatalogueBaseline", "ConstantBaseline"]

_VALIDATION = 0.1  # fraction of the rows
# The perceptron and its training.
_WIDTH = 128
_DROPOUT = (0.0, 0.0, 0.05, 0.1)  # after each hidden layer
_EPOCHS = 24
_BATCHES = 100  # in an epoch, as far as the sizes of a batch allow
_SMALLEST_BATCH = 32
_LARGEST_BATCH = 1024
_RATE = 1e-2
_DECAY = 1e-4
_ROWS = 20_000  # predicted at a time
_FARTHEST = 6.0  # standard deviations; features beyond are set to this


class ConstantBaseline:
    """Predict the mean of the training targets, whatever the galaxy."""

    def fit(self, features: Tensor, targets: Tensor, *, seed: int = 0) -> "ConstantBaseline":
        """Take the mean of the targets.

        Arguments:
            features: ``(N, F)``, not looked at.
            targets: ``(N, T)``.
            seed: not used.

        Raises:
            ValueError: no rows, different numbers of rows, NaN or infinite values.
        """
        _check_table(features, targets)
        self.mean = targets.mean(0)
        return self

    def predict(self, features: Tensor) -> Tensor:
        """Return the mean for each row, ``(N, T)``.

        Arguments:
            features: ``(N, F)``, not looked at.
        """
        return self.mean.expand(len(features), -1).clone()


class CatalogueBaseline:
    """Predict several numbers from a table: boosted trees and a perceptron, mixed.

    Attributes:
        tree_weight: ``(T,)``, 0 to 1, what the trees count for in the mixture.
        errors: root mean square errors ``(T,)`` on the validation part: "trees", "perceptron" and
            "mixture".

    Example:
        >>> x = torch.linspace(-1, 1, 300)[:, None]
        >>> baseline = CatalogueBaseline().fit(x, x.square(), seed=0)
        >>> bool((baseline.predict(x) - x.square()).abs().mean() < 0.05)
        True
    """

    def fit(self, features: Tensor, targets: Tensor, *, seed: int) -> "CatalogueBaseline":
        """Fit both methods on nine tenths of the rows, and mix them as the rest likes best.

        Arguments:
            features: ``(N, F)``, 50 rows or more.
            targets: ``(N, T)``.
            seed: of the rows that are kept for validation, of weights and of batches.

        Raises:
            ValueError: too few rows, different numbers of rows, NaN or infinite values.
        """
        _check_table(features, targets, min_rows=50)
        features = features.detach().cpu().float()
        targets = targets.detach().cpu().float()
        self.n_features = features.shape[1]
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(features), generator=generator)
        n_kept = round(_VALIDATION * len(order))
        kept = order[:n_kept]
        rows = order[n_kept:]
        self._trees = _Trees(features[rows], targets[rows], seed=seed)
        self._perceptron = _Perceptron(
            (features[rows], targets[rows]), (features[kept], targets[kept]), seed=seed
        )
        trees = self._trees.predict(features[kept])
        perceptron = self._perceptron.predict(features[kept])
        self.tree_weight = _best_weight(trees, perceptron, targets[kept])
        mixture = perceptron + self.tree_weight * (trees - perceptron)
        self.errors = {
            name: (found - targets[kept]).square().mean(0).sqrt()
            for name, found in (("trees", trees), ("perceptron", perceptron), ("mixture", mixture))
        }
        return self

    def predict(self, features: Tensor) -> Tensor:
        """Return predictions ``(N, T)`` float32, on the device of the features.

        Arguments:
            features: ``(N, F)``, the columns of `fit`.

        Raises:
            ValueError: another number of columns, NaN or infinite values.
        """
        if features.dim() != 2 or features.shape[1] != self.n_features:
            raise ValueError(
                f"features must be (N, {self.n_features}), as they were fitted, "
                f"got shape {tuple(features.shape)}"
            )
        if not bool(features.isfinite().all()):
            raise ValueError("features holds NaN or infinite values")
        table = features.detach().cpu().float()
        perceptron = self._perceptron.predict(table)
        trees = self._trees.predict(table)
        return (perceptron + self.tree_weight * (trees - perceptron)).to(features.device)


class _Trees:
    """Gradient-boosted trees, one set of them for each target, stopped early."""

    def __init__(self, features: Tensor, targets: Tensor, *, seed: int):
        from sklearn.ensemble import HistGradientBoostingRegressor

        self.models = []
        for column in targets.T:
            model = HistGradientBoostingRegressor(
                learning_rate=0.1,
                max_iter=500,
                early_stopping=True,
                validation_fraction=_VALIDATION,
                random_state=seed,
            )
            self.models.append(model.fit(features.numpy(), column.numpy()))

    def predict(self, features: Tensor) -> Tensor:
        columns = [torch.from_numpy(model.predict(features.numpy())) for model in self.models]
        return torch.stack(columns, 1).float()


class _Perceptron:
    """A multilayer perceptron of standardised features and targets; its best epoch is kept."""

    def __init__(
        self, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], *, seed: int
    ):
        features, targets = train
        self.mean, self.std = _moments(features)
        self.target_mean, self.target_std = _moments(targets)
        inputs = self._standardise(features)
        wanted = (targets - self.target_mean) / self.target_std
        best = float("inf")
        state = {}
        # Weights, batches and dropout draw from torch's own generator, which is put back after.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = _network(features.shape[1], targets.shape[1])
            for _ in _epochs(self.network, inputs, wanted):
                errors = (self.predict(validation[0]) - validation[1]) / self.target_std
                score = float(errors.square().mean())
                if score < best:
                    best = score
                    state = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.network.load_state_dict(state)

    def _standardise(self, features: Tensor) -> Tensor:
        # Beyond the training rows a network extrapolates without bounds: far values are cut.
        return ((features - self.mean) / self.std).clamp(-_FARTHEST, _FARTHEST)

    @torch.no_grad()
    def predict(self, features: Tensor) -> Tensor:
        self.network.eval()
        found = in_chunks(self.network, self._standardise(features), size=_ROWS)
        return self.target_mean + self.target_std * found


def _network(n_features: int, n_targets: int) -> nn.Sequential:
    """Return a perceptron with four hidden layers and dropout after the last ones."""
    layers: list[nn.Module] = []
    n_in = n_features
    for dropout in _DROPOUT:
        layers += [nn.Linear(n_in, _WIDTH), nn.GELU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        n_in = _WIDTH
    return nn.Sequential(*layers, nn.Linear(n_in, n_targets))


def _epochs(network: nn.Module, inputs: Tensor, wanted: Tensor) -> Iterator[int]:
    """Train on the squared error and yield the number of each epoch when it is over.

    The learning rate rises and falls once, so that the last epochs settle.
    """
    batch = min(_LARGEST_BATCH, max(_SMALLEST_BATCH, len(inputs) // _BATCHES))
    per_epoch = max(1, len(inputs) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=_RATE, total_steps=_EPOCHS * per_epoch, pct_start=0.1
    )
    for epoch in range(_EPOCHS):
        network.train()
        for rows in torch.randperm(len(inputs))[: per_epoch * batch].split(batch):
            loss = nn.functional.mse_loss(network(inputs[rows]), wanted[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        yield epoch


def _moments(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each column; 1 where a column is constant."""
    std = table.std(0, correction=0)
    return table.mean(0), torch.where(std > 0, std, 1.0)


def _best_weight(trees: Tensor, perceptron: Tensor, wanted: Tensor) -> Tensor:
    """Return the weight of the trees in the mixture with the smallest squared error, ``(T,)``.

    The error of ``p + w (t - p)`` is a parabola in w; its lowest point, kept between 0 and 1.
    """
    apart = trees - perceptron
    lowest = ((wanted - perceptron) * apart).sum(0) / apart.square().sum(0).clamp(min=1e-12)
    return lowest.clamp(0, 1)


def _check_table(features: Tensor, targets: Tensor, *, min_rows: int = 1) -> None:
    """Raise ``ValueError`` unless features and targets are finite tables with enough rows."""
    for name, table in (("features", features), ("targets", targets)):
        if table.dim() != 2 or len(table) < min_rows or not table.shape[1]:
            raise ValueError(
                f"{name} must be a table with {min_rows} rows or more, "
                f"got shape {tuple(table.shape)}"
            )
        if not bool(table.isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinite values")
    if len(features) != len(targets):
        raise ValueError(
            "features and targets must have equally many rows, "
            f"got {len(features)} and {len(targets)}"
        )
