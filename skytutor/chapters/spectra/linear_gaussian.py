"""A case whose posterior is known exactly, to test the learned limits against.

Redshift known, no dust, no lines, a Gaussian prior on the amounts of the templates: fluxes and
targets are then linear in what is unknown, and the posterior is a linear regression. The network
and the least-squares fluxes are those of `skytutor.chapters.spectra.limits`.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skytutor.chapters.seeds import SPECTRA as SEEDS
from skytutor.chapters.spectra.limits import least_squares
from skytutor.chapters.spectra.posterior_network import BETA, PosteriorNetwork
from skytutor.chapters.spectra.targets import N_LATENTS, N_TARGETS
from skytutor.data.galaxies import GalaxySimulator, Photometry
from skytutor.data.galaxy_population import Galaxies
from skytutor.layers.gaussian_head import gaussian_loss
from skytutor.training.muon import MuonAdamW
from skytutor.validate import positive

__all__ = ["LinearCase", "LinearCheck", "linear_gaussian_check"]

_REDSHIFT = 0.1
# The galaxies are a tenth as bright as the mean and their coefficients scatter by a tenth, so that
# image and prior tell about as much: elsewhere the check would be easy, or of no use.
_BRIGHTNESS = 0.1
_SPREAD = 0.1
_RATE = 5e-3  # of learning, at its peak
_CHUNK = 10_000  # galaxies that give the network its units


class LinearCase:
    """Galaxies whose posterior is known: redshift 0.1, no dust, no lines, a Gaussian prior.

    The 15 coefficients c of bulge, disc and clumps are ``N(mu, diag(s^2))``. Fluxes are ``A c``,
    sums of image times template are ``y = G A c + n`` with n of covariance ``sigma^2 G``, and the
    targets are projections of the noiseless fibre spectrum on fixed vectors, ``B c``. So

    ``P = diag(s^-2) + A^T G A / sigma^2`` and ``E[c | y] = mu + P^-1 A^T (y - G A mu) / sigma^2``.

    Shapes are those of `n_shapes` galaxies of the simulator, known to the estimator.

    Arguments:
        n_shapes: how many shapes there are.
        seed: of the shapes.
        device: of all tensors.
    """

    def __init__(self, n_shapes: int, *, seed: int = 0, device: torch.device | str = "cpu"):
        simulator = GalaxySimulator(device=device)
        rng = torch.Generator(device).manual_seed(seed)
        real = simulator.draw(n_shapes, generator=rng)
        zero = torch.zeros(n_shapes, device=device)
        mean = _BRIGHTNESS * real.coefficients.mean(0)
        coefficients = mean.expand(n_shapes, 3, 5)
        galaxies = replace(
            real,
            redshift=zero + _REDSHIFT,
            coefficients=coefficients,
            lines=torch.zeros_like(real.lines),
            a_v=torch.zeros_like(real.a_v),
            residual=torch.zeros_like(real.residual),
        )
        self.noise = simulator.noise.double()
        self.mean = coefficients[0].flatten().double()
        self.spread = _SPREAD * self.mean
        photometry = simulator.photometry(galaxies, generator=rng)
        self.gram = photometry.gram[..., :3, :3].double()
        self.fibre = photometry.fibre.double()
        self.design = self._design(simulator, galaxies)
        self.projection = self._projection(simulator, galaxies)

    @staticmethod
    def _unit(galaxies: Galaxies, number: int) -> Galaxies:
        """Return one galaxy with coefficient `number` of each component 1 and the rest 0."""
        one = torch.zeros_like(galaxies.coefficients[:1])
        one[..., number] = 1
        rest = {"redshift", "lines", "a_v", "residual", "dispersion"}
        return replace(
            galaxies, coefficients=one, **{name: getattr(galaxies, name)[:1] for name in rest}
        )

    def _design(self, simulator: GalaxySimulator, galaxies: Galaxies) -> Tensor:
        """Return A ``(5, 3, 15)``: band and component by coefficient."""
        design = torch.zeros(5, 3, 3, 5, dtype=torch.float64, device=simulator.device)
        for number in range(5):
            flux = simulator.fluxes(self._unit(galaxies, number))[0]  # (3, 5)
            for component in range(3):
                design[:, component, component, number] = flux[component]
        return design.flatten(2)

    def _projection(self, simulator: GalaxySimulator, galaxies: Galaxies) -> Tensor:
        """Return B ``(S, 9, 15)``, so that the targets have mean 0 and, on average, variance 1."""
        rows = []
        for number in range(5):
            alone = torch.eye(3, device=simulator.device)[:1]
            rng = torch.Generator(simulator.device).manual_seed(0)
            # Of the bulge alone, in units of its own mean: the shape of a template.
            spectra = simulator.spectra(self._unit(galaxies, number), alone, generator=rng)
            rows.append(spectra.truth[0].double())
        templates = torch.stack(rows)  # (5, 1000)
        place = torch.arange(1000, device=simulator.device).double() / 1000
        waves = [torch.cos(math.pi * k * place) for k in range(N_TARGETS)]
        onto = templates @ torch.stack(waves, dim=1) / 1000  # (5, 9)
        projection = torch.einsum("sc,kt->stck", self.fibre, onto).flatten(2)
        scale = (projection * self.spread).square().sum(2).mean(0).sqrt()
        return projection / scale[:, None]

    def draw(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw galaxies.

        Arguments:
            n: how many.
            generator: of the random numbers, on the device of the case.

        Returns:
            number of the shape ``(n,)``, sums of image times template ``(n, 5, 3)``, and targets
            ``(n, 9)``.
        """
        device = self.mean.device
        shape = torch.randint(len(self.gram), (n,), generator=generator, device=device)
        unit = torch.randn(n, 30, generator=generator, device=device, dtype=torch.float64)
        away = self.spread * unit[:, :15]
        flux = torch.einsum("bcp,np->nbc", self.design, self.mean + away)
        lower = torch.linalg.cholesky(self.gram)[shape] * self.noise[:, None, None]
        sky = torch.einsum("nbij,nbj->nbi", lower, unit[:, 15:].unflatten(1, (5, 3)))
        measured = torch.einsum("nbij,nbj->nbi", self.gram[shape], flux) + sky
        return shape, measured, torch.einsum("ntp,np->nt", self.projection[shape], away)

    def posterior(self, shape: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """Return the analytic posterior of the targets.

        Arguments:
            shape: ``(n,)``, number of the shape.
            measured: ``(n, 5, 3)``.

        Returns:
            mean ``(n, 9)`` and covariance ``(n, 9, 9)``.
        """
        weight = self.noise[:, None] ** -2
        heard = torch.einsum("bcp,sbcd,bdq->sbpq", self.design, self.gram, self.design)
        total = torch.diag(self.spread**-2) + (heard * weight[..., None]).sum(1)
        covariance = torch.linalg.inv(total)
        expected = torch.einsum("sbcd,bdp,p->sbc", self.gram, self.design, self.mean)
        away = (measured - expected[shape]) * weight
        pulled = torch.einsum("bcp,nbc->np", self.design, away)
        gain = self.projection @ covariance  # (S, 9, 15)
        mean = torch.einsum("ntp,np->nt", gain[shape], pulled)
        return mean, (gain @ self.projection.mT)[shape]

    def features(self, shape: Tensor, measured: Tensor) -> Tensor:
        """Return what a network is given ``(n, 53)``, as `limits.tables` makes it of galaxies.

        Fractions of the light of each component, all light, errors, fractions in the fibre.

        Arguments:
            shape: ``(n,)``, number of the shape.
            measured: ``(n, 5, 3)``.
        """
        seen = Photometry(
            flux=measured.mT, measured=measured, gram=self.gram[shape], fibre=self.fibre[shape]
        )
        flux, lower = least_squares(seen)
        total = flux.sum(2, keepdim=True)
        fraction = torch.asinh(flux / total / 0.02)
        rows, columns = torch.tril_indices(3, 3)
        error = lower[..., rows, columns] / total
        error = error.sign() * torch.log1p(error.abs() / 1e-4)
        parts = [fraction.flatten(1), total[..., 0], error.flatten(1), self.fibre[shape].float()]
        return torch.cat(parts, dim=1)


@dataclass(frozen=True)
class LinearCheck:
    """A learned posterior beside the analytic one.

    Attributes:
        rmse: of the network's mean over the first six targets.
        rmse_analytic: of the analytic mean on the same galaxies.
        rmse_expected: root of the mean analytic variance: what `rmse_analytic` must be.
        excess: ``rmse / rmse_analytic - 1``.
        excess_error: standard error of `excess`, over test galaxies.
        size: test galaxies.
    """

    rmse: float
    rmse_analytic: float
    rmse_expected: float
    excess: float
    excess_error: float
    size: int


def linear_gaussian_check(
    *,
    steps: int,
    batch: int = 1000,
    n_shapes: int = 5,
    width: int = 128,
    size: int = 40_000,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> LinearCheck:
    """Train a `PosteriorNetwork` where the posterior is analytic, and compare.

    Arguments:
        steps: of training, each on new galaxies.
        batch: galaxies a step.
        n_shapes: shapes of `LinearCase`.
        width: of the network.
        size: test galaxies.
        seed: of weights and galaxies.
        device: where to compute.

    Raises:
        ValueError: a size that is not positive.
    """
    positive(steps=steps, batch=batch, n_shapes=n_shapes, width=width, size=size)
    case = LinearCase(n_shapes, seed=seed, device=device)
    rng = torch.Generator(device).manual_seed(SEEDS.train[seed])
    network = _fit(case, steps, batch=batch, width=width, seed=seed, generator=rng)
    rng = torch.Generator(device).manual_seed(SEEDS.test_seed(seed))
    shape, measured, targets = case.draw(size, generator=rng)
    with torch.no_grad():
        own, _ = network(case.features(shape, measured))
    mean, covariance = case.posterior(shape, measured)
    learned = (own.double() - targets)[:, :N_LATENTS].square().mean(1)
    analytic = (mean - targets)[:, :N_LATENTS].square().mean(1)
    variance = covariance.diagonal(dim1=1, dim2=2)[:, :N_LATENTS]
    best = float(analytic.mean().sqrt())
    reached = float(learned.mean().sqrt())
    # Both answer for the same galaxies: the error of a ratio is that of the paired difference.
    spread = float((learned - analytic).std()) / size**0.5
    return LinearCheck(
        rmse=reached,
        rmse_analytic=best,
        rmse_expected=float(variance.mean().sqrt()),
        excess=reached / best - 1,
        excess_error=spread / (2 * best**2),
        size=size,
    )


def _fit(
    case: LinearCase,
    steps: int,
    *,
    batch: int,
    width: int,
    seed: int,
    generator: torch.Generator,
) -> PosteriorNetwork:
    """Train on galaxies of which none is seen twice."""
    torch.manual_seed(seed)
    shape, measured, _ = case.draw(_CHUNK, generator=generator)
    features = case.features(shape, measured)
    network = PosteriorNetwork(features.shape[1], width).to(features.device)
    network.standardise(features)
    optimizer = MuonAdamW(network.parameters(), lr=_RATE)
    plan = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=steps, cycle_momentum=False
    )
    for _ in range(steps):
        shape, measured, targets = case.draw(batch, generator=generator)
        posterior = network(case.features(shape, measured))
        loss = gaussian_loss(targets.float(), *posterior, beta=BETA).mean()
        optimizer.zero_grad()
        loss.backward()
        # The likelihood of a covariance has steep walls: one bad batch would throw the mean off.
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        plan.step()
    return network.eval()
