"""Chapter 2: skies of the cosmic microwave background from a GAN, scored by spectrum and histogram.

Shapes: N skies, Z latent, P = 12 nside**2 pixels in NESTED order. Maps ``(N, 1, P)`` in units of
their standard deviation.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from skytutor.models.game import AdversarialPair, latent_size
from skytutor.models.gan import HaloDiscriminator, HaloGenerator
from skytutor.profile import Profile
from skytutor.recipes.base import Recipe
from skytutor.recipes.gan import GAN_SCHEDULE, AdversarialTask, schedules
from skytutor.recipes.gan_scores import NSIDE, draw
from skytutor.sht import Harmonics, RealHarmonics, real_degrees
from skytutor.smoothing import camb_spectra
from skytutor.spectra import alm2cl
from skytutor.validate import positive

LMAX = 3 * NSIDE - 1
BAND = 5
_VALIDATION_SEED = 2
_FINALISE_SEED = 4
_TEST_SEED = 1_000_000


@lru_cache(maxsize=1)
def sky_spectrum() -> Tensor:
    """Return the C_l of the true skies: CAMB's of the temperature, for maps of unit variance.

    Returns:
        ``(48,)``, float64, l = 0 to 47; monopole and dipole are 0.
    """
    cl = camb_spectra(lmax=LMAX, tau=0.054)["TT"].clone()
    cl[:2] = 0
    # The variance of a map is sum_l (2 l + 1) C_l / (4 pi).
    return cl / (cl * (2 * torch.arange(LMAX + 1) + 1)).sum() * (4 * torch.pi)


@lru_cache(maxsize=1)
def _synthesis() -> RealHarmonics:
    return RealHarmonics(NSIDE, LMAX, order="nested")


def sky_maps(white: Tensor) -> Tensor:
    """Turn white noise into Gaussian skies of `sky_spectrum`.

    Arguments:
        white: standard normal numbers ``(N, 2304)``, one for each real harmonic coefficient.

    Returns:
        maps ``(N, 1, P)``, NESTED.

    Raises:
        ValueError: another shape, or no rows.
    """
    if white.dim() != 2 or white.shape[1] != (LMAX + 1) ** 2 or not len(white):
        raise ValueError(
            f"white must be (N, {(LMAX + 1) ** 2}) with N at least 1, "
            f"got shape {tuple(white.shape)}"
        )
    # The standard deviation of each coefficient is the root of its C_l: (2304,).
    std = sky_spectrum().sqrt().float()[real_degrees(LMAX)[0]]
    return _synthesis().synthesis(white.cpu() * std).unsqueeze(1)


def true_skies(size: int, *, generator: torch.Generator) -> Tensor:
    """Draw Gaussian skies of `sky_spectrum`.

    Arguments:
        size: N.
        generator: the only source of random numbers here.

    Returns:
        maps ``(N, 1, P)``, NESTED.
    """
    white = torch.randn(*positive(size=size), (LMAX + 1) ** 2, generator=generator)
    return torch.cat([sky_maps(part) for part in white.split(500)])


def power_spectra(maps: Tensor, *, lmax: int = 2 * NSIDE) -> Tensor:
    """Return the C_l of each map, from coefficients up to l = 3 nside - 1 with three iterations.

    Arguments:
        maps: ``(N, 1, P)``, NESTED.
        lmax: last multipole returned.

    Returns:
        ``(N, lmax + 1)``, float64.
    """
    harmonics = Harmonics(NSIDE, 3 * NSIDE - 1, order="nested")
    spectra = []
    for part in maps.split(500):
        alms = harmonics.map2alm(part[:, 0].float(), iterations=3)
        spectra.append(alm2cl(alms, lmax=harmonics.lmax))
    return torch.cat(spectra)[:, : lmax + 1].double()


def band_ratios(found: Tensor, wanted: Tensor) -> Tensor:
    """Return mean band powers of one set of spectra over those of another.

    Bands are of five multipoles from l = 2 on; what is left over joins the last.

    Arguments:
        found: C_l ``(N, lmax + 1)``.
        wanted: C_l ``(M, lmax + 1)``.

    Returns:
        ``(bands,)``.

    Raises:
        ValueError: different lmax, or no whole band.
    """
    if found.shape[1] != wanted.shape[1] or found.shape[1] < 2 + BAND:
        raise ValueError(
            f"found and wanted must both reach one lmax of {1 + BAND} or more, "
            f"got {found.shape[1] - 1} and {wanted.shape[1] - 1}"
        )
    return _band_powers(found).mean(0) / _band_powers(wanted).mean(0)


def _band_powers(cl: Tensor) -> Tensor:
    """Return ``sum_l (2 l + 1) C_l`` over each band: ``(N, lmax + 1)`` to ``(N, bands)``."""
    power = (2 * torch.arange(cl.shape[1]) + 1) * cl.double()
    power = power[:, 2:]  # neither monopole nor dipole
    n_bands = power.shape[1] // BAND
    edges = [*range(0, n_bands * BAND, BAND), power.shape[1]]
    return torch.stack([power[:, start:stop].sum(1) for start, stop in pairwise(edges)], 1)


def _relative_scatter(cl: Tensor) -> Tensor:
    """Return the standard deviation of band powers between skies, over their mean: ``(bands,)``."""
    powers = _band_powers(cl)
    return powers.std(0) / powers.mean(0)


def ks_distance(a: Tensor, b: Tensor) -> float:
    """Return the Kolmogorov-Smirnov distance of two sets of numbers.

    It is the largest difference between their cumulative distributions.

    Arguments:
        a: numbers, of any shape.
        b: numbers, of any shape.

    Raises:
        ValueError: no numbers, NaN or infinite ones.

    Example:
        >>> ks_distance(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.5]))
        0.5
    """
    for name, numbers in (("a", a), ("b", b)):
        if not numbers.numel() or not numbers.isfinite().all():
            raise ValueError(
                f"{name} must hold finite numbers, at least one, got shape {tuple(numbers.shape)}"
            )
    a = a.flatten().sort().values
    b = b.flatten().sort().values
    # Both distributions are steps, so the largest difference lies at one of the numbers.
    at = torch.cat([a, b])
    below_a = torch.searchsorted(a, at, right=True).double() / len(a)
    below_b = torch.searchsorted(b, at, right=True).double() / len(b)
    return float((below_a - below_b).abs().max())


def compare_skies(pair: AdversarialPair, size: int, *, seed: int) -> dict[str, Any]:
    """Compare generated skies with the spectrum, and with as many true skies.

    Arguments:
        pair: the networks; only the generator is used.
        size: number of generated skies, and of true ones.
        seed: of the latents; the true skies are drawn with the next.

    Returns:
        ``cl_ratios``, mean band powers over the spectrum's, and ``cl_deviation``, the largest
        distance of one from 1; ``cl_scatter``, the relative scatter of band powers between skies,
        over that of true skies: 0 for a generator whose skies are all the same; ``ks_distance`` of
        up to a million pixels' values from as many true ones. The keys that end in ``_true`` say
        the same of true skies.
    """
    generated = draw(pair.generator, torch.zeros(size), seed=seed)
    rng = torch.Generator().manual_seed(seed + 1)
    true = true_skies(size, generator=rng)
    some = torch.randperm(generated.numel(), generator=rng)[:1_000_000]  # pixels of any sky
    others = true_skies(size, generator=rng)
    wanted = sky_spectrum()[None, : 2 * NSIDE + 1]
    cl = power_spectra(generated)
    cl_true = power_spectra(true)
    ratios = band_ratios(cl, wanted)
    values = generated.flatten()[some]
    values_true = true.flatten()[some]
    return {
        "cl_deviation": float((ratios - 1).abs().max()),
        "ks_distance": ks_distance(values, values_true),
        "cl_ratios": ratios.tolist(),
        "cl_scatter": (_relative_scatter(cl) / _relative_scatter(cl_true)).tolist(),
        "cl_ratios_true": band_ratios(cl_true, wanted).tolist(),
        "ks_true": ks_distance(values_true, others.flatten()[some]),
    }


def score_skies(
    pair: nn.Module, seed: int, size: int | None, source: str | None = None
) -> dict[str, Any]:
    """Score generated skies by `compare_skies`.

    Arguments:
        pair: an `AdversarialPair`.
        seed: of the latents.
        size: number of skies; None for 10,000.
        source: not used; true skies are drawn.

    Returns:
        ``size``, ``data``, ``scores`` and ``constant``, as `skytutor.recipes.base.Recipe` says.

    Raises:
        ValueError: a size outside 100 to 100,000.
    """
    if size is not None and not 100 <= size <= 100_000:
        raise ValueError(f"size must lie in 100..100000 skies, got {size}")
    assert isinstance(pair, AdversarialPair)
    size = size or 10_000
    return {
        "size": size,
        "data": "CMB temperature, drawn",
        "scores": compare_skies(pair, size, seed=_TEST_SEED + seed),
        "constant": {},
    }


class CmbGanTask(AdversarialTask):
    """Skies of the cosmic microwave background, drawn anew for each batch: none is seen twice.

    The score is minus the sum of ``cl_deviation`` and ``ks_distance`` of `compare_skies`.

    Arguments:
        latent: numbers the generator takes.
        size: skies an epoch.
        n_validation: samples to validate on.
        lr_factors: learning rates over the schedule's, of discriminator and generator.
    """

    def __init__(
        self,
        *,
        latent: int,
        size: int,
        n_validation: int,
        lr_factors: Sequence[float] = (2.0, 1.0),
    ):
        super().__init__(lr_factors)
        self.latent = latent
        self.size = size
        self.n_validation = n_validation

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw white noise of n true skies ``(n, 2304)``, and n latents ``(n, Z)``."""
        return [
            torch.randn(n, (LMAX + 1) ** 2, generator=generator),
            torch.randn(n, self.latent, generator=generator),
        ]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return true skies ``(B, 1, P)`` and latents ``(B, Z)``; `indices` do not matter."""
        white, z = draws
        return sky_maps(white), z

    def finalise(self, model: nn.Module) -> None:
        """Measure anew, on the averaged weights, what both networks keep beside weights.

        Fluctuations of the weights cancel in part when weights are averaged. The activations of the
        averaged generator are then weaker than those that batch normalisation has measured, and its
        skies come out 2 % too faint. The singular vectors of spectral normalisation are no longer
        those of the averaged matrices: the discriminator's output may have any scale.
        """
        assert isinstance(model, AdversarialPair)
        rng = torch.Generator().manual_seed(_FINALISE_SEED)
        device = next(model.parameters()).device
        latents = torch.randn(self.n_validation, latent_size(model.generator), generator=rng)
        update_bn(latents.split(50), model.generator, device)
        model.discriminator.train()
        for maps in true_skies(60, generator=rng).split(2):
            model.discriminator(maps.to(device))  # a power iteration of every weight matrix
        model.discriminator.eval()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return how far generated skies are from the true spectrum and histogram."""
        assert isinstance(model, AdversarialPair)
        scores = compare_skies(model, self.n_validation, seed=_VALIDATION_SEED)
        return {
            "closeness": -scores["cl_deviation"] - scores["ks_distance"],
            "cl_deviation": scores["cl_deviation"],
            "ks_distance": scores["ks_distance"],
        }


def cmb_gan() -> AdversarialPair:
    """Return our networks for skies: noise at every scale, maps without bounds, a pooling head.

    Hinge loss, spectral normalisation and R1. Without R1 the power at large scales oscillates
    during training, now above and now below the truth.
    """
    generator = HaloGenerator(NSIDE, latent=64, widths=(64, 48, 32, 16), noise=True, signed=True)
    discriminator = HaloDiscriminator(
        NSIDE, widths=(32, 64, 64, 96, 96, 96), head="pool", group=32, spectral=True
    )
    return AdversarialPair(generator, discriminator, r1=2.0)


def _cmb_task(profile: Profile) -> CmbGanTask:
    size, n_validation = profile.pick(smoke=(512, 200), cpu=(8192, 500), gpu=(32_000, 2000))
    latent = latent_size(cmb_gan().generator)
    return CmbGanTask(latent=latent, size=size, n_validation=n_validation)


SKIES = Recipe(
    name="sphere-gan-cmb",
    chapter=2,
    summary="Skies of the cosmic microwave background, drawn with noise at every scale",
    build=cmb_gan,
    task=_cmb_task,
    score=score_skies,
    published={},
    adversarial=True,
    schedules=schedules(replace(GAN_SCHEDULE, epochs=6, average=0.998)),
)
