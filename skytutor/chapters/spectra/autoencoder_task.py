"""Training of `SpectrumAutoencoder` on noisy spectra, its scores, and its recipe."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skytutor.chapters.recipe import Recipe, Scores
from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.components import SpectralComponents, fit_components
from skytutor.data.galaxies import LOG_WAVELENGTH, FibreSpectra, GalaxySimulator
from skytutor.training.profile import Profile
from skytutor.training.schedule import Schedule, Task

__all__ = ["AutoencoderTask", "draw_spectra", "make_recipe", "mmd", "reconstruction_errors"]

_FLOOR = 0.05  # error that no bin is trusted beyond: bright galaxies do not rule alone
_FIT_ROWS = 8000  # spectra that the components at the start are fitted to
# Widths of the kernel in squared distance over the number of latents: between two draws of the
# prior that is 2 on average.
_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_OBSERVED = (3800.0, 9200.0)  # angstrom: what the spectrograph sees
_MAX_REDSHIFT = 0.36


def mmd(latents: Tensor, prior: Tensor) -> Tensor:
    r"""Return the squared maximum mean discrepancy between two samples.

    .. math:: \mathrm{MMD} = \langle k(z, z') \rangle + \langle k(p, p') \rangle
        - 2 \langle k(z, p) \rangle

    with the mean of inverse multiquadrics ``k = s / (s + |z - p|^2 / L)`` over scales s. Pairs of a
    point with itself are left out, so that the mean over samples is 0 for equal distributions.

    Arguments:
        latents: ``(B, L)``, B at least 2.
        prior: ``(M, L)``, M at least 2.

    Example:
        >>> same = torch.zeros(2, 1)
        >>> float(mmd(same, same))
        0.0
    """
    found = []
    for left, right in ((latents, latents), (prior, prior), (latents, prior)):
        squared = torch.cdist(left, right).square() / left.shape[1]
        kernel = torch.stack([scale / (scale + squared) for scale in _SCALES]).mean(0)
        if left is right:
            pairs = len(left) * (len(left) - 1)
            found.append((kernel.sum() - kernel.diagonal().sum()) / pairs)
        else:
            found.append(kernel.mean())
    return found[0] + found[1] - 2 * found[2]


def draw_spectra(simulator: GalaxySimulator, n: int, *, generator: torch.Generator) -> FibreSpectra:
    """Return n spectra, without images.

    Arguments:
        simulator: to draw from.
        n: how many.
        generator: of the random numbers, on the simulator's device.
    """
    parts = []
    for start in range(0, n, 500):
        galaxies = simulator.draw(min(500, n - start), generator=generator)
        fibre = simulator.renderer.fibre(simulator.renderer.planes(galaxies.shapes))
        parts.append(simulator.spectra(galaxies, fibre, generator=generator))
    return FibreSpectra(
        truth=torch.cat([part.truth for part in parts]),
        flux=torch.cat([part.flux for part in parts]),
        inverse_variance=torch.cat([part.inverse_variance for part in parts]),
        mask=torch.cat([part.mask for part in parts]),
        log_widths=torch.cat([part.log_widths for part in parts]),
    )


class AutoencoderTask(Task):
    """Spectra that are drawn once; the loss is masked and weighted by the inverse variance.

    Arguments:
        simulator: to draw from, on the device of the training.
        size: spectra in the training set.
        n_validation: spectra to validate on.
        alpha: of the InfoVAE loss: 0 as published; at 1 latents are not drawn, and their
            variances not asked for.
        weight: lambda of the InfoVAE loss.
        windows: fraction of the spectra that the encoder sees through the spectrograph's window at
            another redshift, so that it learns what the decoder has to say of bins it did not see.

    Raises:
        ValueError: alpha or windows outside 0..1, or alpha + weight below 1.
    """

    score = "minus_error"

    def __init__(
        self,
        simulator: GalaxySimulator,
        *,
        size: int,
        n_validation: int,
        alpha: float = 0.0,
        weight: float = 1000.0,
        windows: float = 0.0,
    ):
        for name, value in (("alpha", alpha), ("windows", windows)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {value}")
        if alpha + weight < 1:
            raise ValueError(f"alpha + weight must be at least 1, got {alpha + weight}")
        self.size = size
        self.alpha = alpha
        self.weight = weight
        self.windows = windows
        sets = []
        for number, n in ((SEEDS.train[3], size), (SEEDS.validation[0], n_validation)):
            rng = torch.Generator(simulator.device).manual_seed(number)
            sets.append(draw_spectra(simulator, n, generator=rng))
        self.spectra = sets[0]
        self.validation = sets[1]
        # Weights of the loss: where a spectrum is better than the floor, the floor counts.
        variance = 1 / self.spectra.inverse_variance.clamp(min=1e-12)
        self.weights = self.spectra.mask / (variance + _FLOOR**2)
        self.wavelength = (10**LOG_WAVELENGTH).to(self.weights)
        self.components: SpectralComponents | None = None

    def draw(self, n: int, *, generator: torch.Generator) -> Sequence[Tensor]:
        """Draw noise of latents, their prior, how many to keep, and redshifts of windows.

        Arguments:
            n: spectra in the batch.
            generator: of the random numbers.
        """
        few = torch.randint(1, 11, (n, 1), generator=generator)
        half = torch.rand(n, 1, generator=generator) < 0.5
        # Half of the spectra keep the six latents that are used later, the rest any number.
        kept = torch.where(half, 6, few)
        noise = torch.randn(n, 10, generator=generator)
        prior = torch.randn(n, 10, generator=generator)
        redshift = _MAX_REDSHIFT * torch.rand(n, 1, generator=generator)
        own = torch.rand(n, 1, generator=generator) >= self.windows
        # NaN stands for the spectrum's own window alone.
        return [noise, prior, kept, torch.where(own, torch.nan, redshift)]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return flux, the encoder's inverse variance, the loss's weights, and latents' draws.

        Arguments:
            indices: of the spectra.
            draws: of `draw`.

        Returns:
            three of ``(B, 1000)``, and the first three of `draw`.
        """
        rows = indices.to(self.weights.device)
        noise, prior, kept, redshift = draws
        observed = self.wavelength * (1 + redshift.to(self.wavelength))
        outside = (observed <= _OBSERVED[0]) | (observed >= _OBSERVED[1])
        ivar = self.spectra.inverse_variance[rows].masked_fill(outside, 0)
        return self.spectra.flux[rows], ivar, self.weights[rows], noise, prior, kept

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, ...], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the InfoVAE loss of a batch, a scalar.

        Arguments:
            model: a `SpectrumAutoencoder`.
            batch: of `batch`.
            args: none.
            kwargs: none.
        """
        own = getattr(model, "module", model)  # as Fabric wraps it
        assert isinstance(own, SpectrumAutoencoder)
        if not bool(own.started):
            self.begin(own)
        flux, ivar, weights, noise, prior, kept = batch
        if self.alpha == 1:
            noise = torch.zeros_like(noise)
        # Of the rotated latents the first few alone, so that few say as much as few can.
        found, latents, mean, log_variance = model(flux, ivar, noise, kept)
        misfit = 0.5 * (weights * (found - flux).square()).sum(1).mean()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        distance = latents.shape[1] * mmd(latents, prior)
        return misfit + (1 - self.alpha) * divergence + (self.alpha + self.weight - 1) * distance

    def begin(self, model: SpectrumAutoencoder) -> None:
        """Start a model from weighted principal components of the training spectra.

        Arguments:
            model: untrained.
        """
        if self.components is None:
            flux = self.spectra.flux[:_FIT_ROWS]
            ivar = self.spectra.inverse_variance[:_FIT_ROWS]
            self.components = fit_components(flux, ivar, n_components=model.n_latents)
        model.start_from(self.components)

    def finalise(self, model: nn.Module) -> None:
        """Set rotation and standardisation from the training spectra.

        Arguments:
            model: a `SpectrumAutoencoder`, in evaluation mode.
        """
        assert isinstance(model, SpectrumAutoencoder)
        # All of them: a few spectra with strong lines have a say in every variance.
        model.fit_rotation(self.spectra.flux, self.spectra.inverse_variance)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the error of six latents against the spectra without noise.

        Arguments:
            model: in evaluation mode.
        """
        found = model(self.validation.flux, self.validation.inverse_variance)
        error = _rms(found - self.validation.truth)
        return {"error": error, "minus_error": -error}


def _rms(error: Tensor, mask: Tensor | None = None) -> float:
    square = error.square()
    return float((square.mean() if mask is None else square[mask].mean()).sqrt())


@torch.no_grad()
def reconstruction_errors(
    model: nn.Module, train: FibreSpectra, test: FibreSpectra
) -> dict[str, float]:
    """Return errors against spectra without noise: autoencoder, weighted PCA, and the floor.

    Arguments:
        model: a trained `SpectrumAutoencoder`.
        train: spectra that the components are fitted to.
        test: other spectra.

    Returns:
        root of the mean squared error over all bins, in units of the mean flux: ``error`` of six
        latents from noisy spectra; ``error_pca`` of six weighted components fitted to noisy
        spectra, from noisy spectra; ``error_floor`` of six components fitted to spectra without
        noise, from spectra without noise; ``error_constant`` of the mean spectrum; and the ratios
        ``over_pca`` and ``over_floor``. The same over observed bins, with ``_observed`` behind.
    """
    noisy = fit_components(train.flux, train.inverse_variance, n_components=6)
    clean = fit_components(train.truth, n_components=6)
    spectra = {
        "error": model(test.flux, test.inverse_variance),
        "error_pca": noisy.reconstruct(noisy.project(test.flux, test.inverse_variance)),
        "error_floor": clean.reconstruct(clean.project(test.truth)),
        "error_constant": train.truth.mean(0).expand_as(test.truth),
    }
    found: dict[str, float] = {}
    for ending, mask in (("", None), ("_observed", test.mask)):
        errors = {name: _rms(flux - test.truth, mask) for name, flux in spectra.items()}
        found |= {name + ending: error for name, error in errors.items()}
        for name in ("pca", "floor"):
            found[f"over_{name}{ending}"] = errors["error"] / errors[f"error_{name}"]
    return found


def _task(profile: Profile) -> AutoencoderTask:
    return AutoencoderTask(
        GalaxySimulator(device=profile.device),
        size=profile.pick(smoke=400, cpu=8000, gpu=40_000),
        n_validation=profile.pick(smoke=200, cpu=1000, gpu=4000),
        alpha=1.0,
        weight=100.0,
        windows=0.5,
    )


def _score(
    model: nn.Module, *, seed: int, size: int | None = None, source: str | None = None
) -> Scores:
    # Spectra are drawn: there is no source to choose.
    n = 4000 if size is None else size
    rng = torch.Generator().manual_seed(SEEDS.test_seed(seed))
    test = draw_spectra(GalaxySimulator(), n, generator=rng)
    rng = torch.Generator().manual_seed(SEEDS.train[4])
    train = draw_spectra(GalaxySimulator(), max(n, 1000), generator=rng)
    found = reconstruction_errors(model, train, test)
    constant = {"error": found.pop("error_constant")}
    constant["error_observed"] = found.pop("error_constant_observed")
    return Scores(scores=found, constant=constant, size=n, data="simulated spectra")


def make_recipe() -> Recipe:
    """Return the recipe of the autoencoder whose latents are the targets of the chapter."""
    return Recipe(
        name="spectrum-autoencoder",
        build=SpectrumAutoencoder,
        task=_task,
        schedules={
            "smoke": Schedule(epochs=2, batch_size=50, lr=2e-3, weight_decay=1e-4, warmup=0.1),
            "cpu": Schedule(epochs=10, batch_size=128, lr=2e-3, weight_decay=1e-4, warmup=0.1),
            "gpu": Schedule(epochs=15, batch_size=128, lr=2e-3, weight_decay=1e-4, warmup=0.1),
        },
        seeds=SEEDS,
        score=_score,
        published={},
    )
