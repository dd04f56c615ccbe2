"""Chapter 2's skies: the game that draws the cosmic microwave background, judged by its spectrum and its histogram."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from skytutor.layers.faces import positive
from skytutor.models.game import Game
from skytutor.models.gan import HaloDiscriminator, HaloGenerator
from skytutor.profile import Profile
from skytutor.recipes.base import Recipe
from skytutor.recipes.gan import GAME, GameTask, schedules
from skytutor.recipes.gan_scores import NSIDE, draw
from skytutor.sht import Harmonics, RealHarmonics, real_degrees
from skytutor.smoothing import camb_spectra
from skytutor.spectra import alm2cl

LMAX = 3 * NSIDE - 1
BAND = 5
_VALIDATION_SEED = 2
_SETTLING_SEED = 4
_TEST_SEED = 1_000_000


@lru_cache(maxsize=1)
def sky_spectrum() -> Tensor:
    """CAMB's C_l of the temperature, l = 0 to 47, none below 2, in units of the variance of a map: ``(48,)`` float64."""
    found = camb_spectra(lmax=LMAX, tau=0.054)["TT"].clone()
    found[:2] = 0
    return found / (found * (2 * torch.arange(LMAX + 1) + 1)).sum() * (4 * torch.pi)


@lru_cache(maxsize=1)
def _synthesis() -> RealHarmonics:
    return RealHarmonics(NSIDE, LMAX, order="nested")


def sky_maps(white: Tensor) -> Tensor:
    """Maps ``(N, 1, P)``, NESTED, of unit variance, of white numbers ``(N, 2304)``."""
    if white.dim() != 2 or white.shape[1] != (LMAX + 1) ** 2 or not len(white):
        raise ValueError(
            f"white must be (N, {(LMAX + 1) ** 2}) with N at least 1, got shape {tuple(white.shape)}"
        )
    root = sky_spectrum().sqrt().float()[real_degrees(LMAX)[0]]
    return _synthesis().synthesis(white.cpu() * root).unsqueeze(1)


def true_skies(size: int, *, generator: torch.Generator) -> Tensor:
    """`size` skies of `sky_spectrum`, drawn: ``(size, 1, P)``, NESTED."""
    white = torch.randn(*positive(size=size), (LMAX + 1) ** 2, generator=generator)
    return torch.cat([sky_maps(part) for part in white.split(500)])


def band_powers(maps: Tensor, *, lmax: int = 2 * NSIDE) -> Tensor:
    """C_l ``(N, lmax + 1)`` of maps ``(N, 1, P)``, NESTED, from coefficients up to l = 3 nside - 1 with three iterations."""
    sky = Harmonics(NSIDE, 3 * NSIDE - 1, order="nested")
    cls = [
        alm2cl(sky.map2alm(part[:, 0].float(), iterations=3), lmax=sky.lmax)
        for part in maps.split(500)
    ]
    return torch.cat(cls)[:, : lmax + 1].double()


def band_ratios(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean found C_l over mean wanted C_l in bands of five multipoles from 2 on: both ``(N, lmax + 1)``; what is left over joins the last."""
    if found.shape[1] != wanted.shape[1] or found.shape[1] < 2 + BAND:
        raise ValueError(
            f"found and wanted must both reach one lmax of {1 + BAND} or more, got {found.shape[1] - 1} and {wanted.shape[1] - 1}"
        )
    return _bands(found).mean(0) / _bands(wanted).mean(0)


def _bands(cls: Tensor) -> Tensor:
    """Power in each band of five multipoles from 2 on, ``(N, lmax + 1)`` to ``(N, bands)``; what is left over joins the last."""
    power = ((2 * torch.arange(cls.shape[1]) + 1) * cls.double())[:, 2:]
    edges = [*range(0, power.shape[1] // BAND * BAND, BAND), power.shape[1]]
    return torch.stack([power[:, a:b].sum(1) for a, b in zip(edges, edges[1:], strict=False)], 1)


def ks_distance(a: Tensor, b: Tensor) -> float:
    """Kolmogorov-Smirnov distance of two sets of numbers: the largest gap between their cumulative distributions.

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
    at = torch.cat([a, b])
    below = [torch.searchsorted(x, at, right=True).double() / len(x) for x in (a, b)]
    return float((below[0] - below[1]).abs().max())


def compare_skies(game: nn.Module, size: int, *, seed: int) -> dict[str, Any]:
    """Drawn skies beside the spectrum and beside as many true skies.

    Returns:
        ``cl_ratios``, mean band powers over the spectrum's, and ``cl_deviation``, the largest
        distance of one from 1; ``cl_scatter``, how much band powers differ from sky to sky, over
        the same of true skies: 0 for a generator that draws one sky for ever; ``ks_distance`` of up
        to a million pixels' values from as many true ones. The keys that end in ``_true`` say the
        same of true skies.
    """
    drawn = draw(game.generator, torch.zeros(size), seed=seed)
    dice = torch.Generator().manual_seed(seed + 1)
    true = true_skies(size, generator=dice)
    wanted = sky_spectrum()[None, : 2 * NSIDE + 1]
    many = torch.randperm(drawn.numel(), generator=dice)[:1_000_000]
    (ratios, spread), (own, own_spread) = (
        (band_ratios(cl, wanted), _spread(cl)) for cl in map(band_powers, (drawn, true))
    )
    one, two, three = (
        maps.flatten()[many] for maps in (drawn, true, true_skies(size, generator=dice))
    )
    return {
        "cl_deviation": float((ratios - 1).abs().max()),
        "ks_distance": ks_distance(one, two),
        "cl_ratios": ratios.tolist(),
        "cl_scatter": (spread / own_spread).tolist(),
        "cl_ratios_true": own.tolist(),
        "ks_true": ks_distance(two, three),
    }


def _spread(cls: Tensor) -> Tensor:
    """Standard deviation between skies of their band powers, each over its mean: one for each band."""
    bands = _bands(cls)
    return bands.std(0) / bands.mean(0)


def score_skies(
    game: nn.Module, seed: int, size: int | None, source: str | None = None
) -> dict[str, Any]:
    """`compare_skies` of 10,000 drawn skies."""
    if size is not None and not 100 <= size <= 100_000:
        raise ValueError(f"size must lie in 100..100000 skies, got {size}")
    size = size or 10_000
    return {
        "size": size,
        "data": "CMB temperature, drawn",
        "scores": compare_skies(game, size, seed=_TEST_SEED + seed),
        "constant": {},
    }


class SkyGame(GameTask):
    """Skies of the cosmic microwave background, each drawn when it is needed, so that none is seen twice.

    Arguments:
        latent: numbers the generator takes.
        size: skies an epoch. held: samples to validate on.
    """

    def __init__(self, *, latent: int, size: int, held: int, paces: Sequence[float] = (2.0, 1.0)):
        super().__init__(paces)
        self.latent = latent
        self.size = size
        self.held = held

    def draw(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        return [
            torch.randn(n, (LMAX + 1) ** 2, generator=generator),
            torch.randn(n, self.latent, generator=generator),
        ]

    def batch(self, indices: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, ...]:
        white, z = draws
        return sky_maps(white), z

    def validate(self, game: nn.Module) -> dict[str, float]:
        self._settle(game)
        found = compare_skies(game, self.held, seed=_VALIDATION_SEED)
        return {
            "closeness": -found["cl_deviation"] - found["ks_distance"],
            **{k: found[k] for k in ("cl_deviation", "ks_distance")},
        }

    def _settle(self, game: nn.Module) -> None:
        """Measure anew, on the averaged weights, what both networks keep beside weights.

        Weights that jitter cancel in part when they are averaged. Activations are then weaker than
        those that batch normalisation has measured, and skies come out 2 % too faint; the singular
        vectors of spectral normalisation are no longer those of the matrices, and judgements come
        out as any number.
        """
        dice = torch.Generator().manual_seed(_SETTLING_SEED)
        device = next(game.parameters()).device
        latents = torch.randn(self.held, game.generator.latent, generator=dice)
        update_bn(latents.split(50), game.generator, device)
        game.discriminator.train()
        for maps in true_skies(60, generator=dice).split(2):
            game.discriminator(maps.to(device))  # each a power iteration
        game.discriminator.eval()


def sky_game() -> Game:
    """Ours with noise at every scale, maps without bounds, and a judge that does not see where on the sphere it looks.

    Hinge loss and spectral normalisation; without R1 the large waves come out too strong and too
    faint by turns.
    """
    generator = HaloGenerator(NSIDE, latent=64, widths=(64, 48, 32, 16), noise=True, signed=True)
    discriminator = HaloDiscriminator(
        NSIDE, widths=(32, 64, 64, 96, 96, 96), head="pool", group=32, spectral=True
    )
    return Game(generator, discriminator, r1=2.0)


def _sky_task(profile: Profile) -> SkyGame:
    size, held = profile.pick(smoke=(512, 200), cpu=(8192, 500), gpu=(32_000, 2000))
    return SkyGame(latent=sky_game().generator.latent, size=size, held=held)


SKIES = Recipe(
    name="sphere-gan-cmb",
    chapter=2,
    summary="Skies of the cosmic microwave background, drawn with noise at every scale",
    build=sky_game,
    task=_sky_task,
    score=score_skies,
    published={},
    adversarial=True,
    schedules=schedules(replace(GAME, epochs=6, average=0.998)),
)
