r"""A translation corrected source by source: find, measure in the given bands, put the light right.

A network on pixels is right about where light is, and wrong by some per cent about how much. A
photometrist is not: a star of known place is one number in each band, and hundreds of pixels say
which. So the sources of a translation are found, measured in the bands that are given
(`skytutor.chapters.translation.source_fits`), and a perceptron answers for each how likely it is a
star, which flux a star would have in each band that is asked for, and by which factor the light
that the translation gave it is to be multiplied,

.. math:: \hat y_t = \sum_s \bigl[ q_s\, f_{st}\, P_{st}
   + (1 - q_s)\, e^{c_{st}}\, w_s\, y_t \bigr] + \Bigl( 1 - \sum_s w_s \Bigr)\, y_t .

Here :math:`w_s` parts the light of the translation y between its sources, and P is the image of a
point source. No source is added: all stand where the translation has one.

Shapes: B scenes, S places for sources, F bands, I that may be given, T = 3 that are asked for, H
pixels along a side, D numbers a source.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.requests import checked_images
from skytutor.chapters.translation.source_finding import (
    FoundSources,
    find_sources,
    in_gaps,
    segments,
)
from skytutor.chapters.translation.source_fits import (
    BandFit,
    band_data,
    band_variance,
    fit_band,
    point_images,
    refined,
)
from skytutor.chapters.translation.source_numbers import (
    N_ABOUT,
    N_PER_BAND,
    N_PER_TARGET,
    about_sources,
    band_numbers,
    reference_flux,
    target_numbers,
)
from skytutor.chapters.translation.stretch import unstretched
from skytutor.chapters.translation.subsets import TARGETS
from skytutor.data.exposures import noise_pixels, pixel_noise
from skytutor.data.scene_rendering import SceneRenderer
from skytutor.data.surveys import BANDS
from skytutor.memo import cached_object
from skytutor.validate import positive

__all__ = ["MeasuredScenes", "SourceAnswer", "SourceTranslator"]

_SIGNIFICANT = 5.0  # standard deviations of a source in the survey's own image
_SHOWN = TARGETS.index("r")  # the target in which sources are looked for
_FARTHEST = 8.0  # standard deviations; numbers beyond are set to this
_MOST = 6.0  # logarithm of a ratio of fluxes
_SMALL = 0.1  # of the last layer's weights at first: all begins near the translation


@cached_object(maxsize=4)
def _renderer(bands: tuple[str, ...], size: int, device: str) -> SceneRenderer:
    widths = [BANDS[name].fwhm for name in bands]
    return SceneRenderer(size, psf_fwhm=widths, device=device)


@dataclass(frozen=True)
class MeasuredScenes:
    """Sources of a translation, measured in the given bands.

    Attributes:
        found: where they are.
        parts: ``(B, S, H, H)``, which part of the translation's light is whose.
        numbers: ``(B, S, D)``, what the perceptron sees.
        reference: ``(B, S)``, flux in the band that shows the source best, nanomaggies.
    """

    found: FoundSources
    parts: Tensor
    numbers: Tensor
    reference: Tensor


class SourceAnswer(NamedTuple):
    """What the perceptron makes of sources: a tuple, which Fabric hands through.

    Attributes:
        logit: ``(...)``, above 0 where a source is more likely a star.
        star: ``(..., T)``, logarithm of a star's flux over the reference.
        factor: ``(..., T)``, logarithm of the factor on the translation's light.
    """

    logit: Tensor
    star: Tensor
    factor: Tensor

    def amounts(self, reference: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return fluxes of points, and factors on the translation's light, ``(..., T)`` each.

        Arguments:
            reference: ``(...)``, nanomaggies.
            there: bool ``(...)``; both are 0 where no source is.
        """
        chance = torch.where(there, self.logit.sigmoid(), 0)[..., None]
        flux = chance * reference[..., None] * self.star.exp()
        factor = torch.where(there[..., None], (1 - chance) * self.factor.exp(), 0)
        return flux, factor


class SourceTranslator(nn.Module):
    """Put the light of a translation's sources right.

    Arguments:
        translator: whose answer is corrected; it is not trained further.
        width: units of each hidden layer.

    Example:
        >>> network = SourceTranslator(BandTranslator(size=32)).eval()
        >>> images, ivar = torch.zeros(2, 10, 32, 32), torch.ones(2, 10, 32, 32)
        >>> given = torch.tensor([name in ("blue", "red") for name in network.bands])
        >>> base = torch.ones(2, 3, 32, 32)
        >>> measured = network.measure(images, ivar, given.expand(2, -1), base)
        >>> network.corrected(base, measured).shape
        torch.Size([2, 3, 32, 32])
    """

    centre: Tensor
    scale: Tensor
    started: Tensor

    def __init__(self, translator: BandTranslator, *, width: int = 256):
        super().__init__()
        positive(width=width)
        self.translator = translator.requires_grad_(False).eval()
        self.bands = translator.bands
        self.rows = [self.bands.index(name) for name in TARGETS]
        self.columns = [k for k in range(len(self.bands)) if k not in self.rows]
        n_bands = len(self.columns)
        self.n_numbers = n_bands * N_PER_BAND + len(TARGETS) * N_PER_TARGET + N_ABOUT
        self.register_buffer("centre", torch.zeros(self.n_numbers))
        self.register_buffer("scale", torch.ones(self.n_numbers))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        layers: list[nn.Module] = []
        # The numbers, which bands are given, and which of them shows the source best.
        size = self.n_numbers + 2 * n_bands
        for _ in range(3):
            layers += [nn.Linear(size, width), nn.SiLU()]
            size = width
        self.body = nn.Sequential(*layers)
        self.answers = nn.Linear(size, 1 + 2 * len(TARGETS))
        with torch.no_grad():
            self.answers.weight.mul_(_SMALL)

    @property
    def softening(self) -> Tensor:
        """Return the softening of all F bands, ``(F,)``."""
        return self.translator.softening

    def train(self, mode: bool = True) -> "SourceTranslator":
        """Return itself, ready for training; the translator's averages stay as they are.

        Arguments:
            mode: False for evaluation.
        """
        super().train(mode)
        self.translator.eval()
        return self

    def renderer(self) -> SceneRenderer:
        """Return what renders point sources in all bands, on the device of the weights."""
        return _renderer(self.bands, self.translator.optics.size, str(self.softening.device))

    def survey_ivar(self, images: Tensor) -> Tensor:
        """Return the inverse variance of images as their surveys would state it, as `images`.

        For who has images without one: the photometry weights each pixel by it.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
        """
        renderer = self.renderer()
        variance = [
            band_variance(renderer, images[:, f], band=f, name=name)
            for f, name in enumerate(self.bands)
        ]
        return 1 / torch.stack(variance, 1)

    @torch.no_grad()
    def translated(self, images: Tensor, ivar: Tensor, given: Tensor) -> Tensor:
        """Return what the translator makes of the given bands, ``(B, T, H, H)``, nanomaggies.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
            ivar: ``(B, F, H, H)``, inverse variance; 0 where nothing was measured.
            given: bool ``(B, F)``.
        """
        values = self.translator(images, ivar, given, targets=self.rows)
        return unstretched(values, self.softening[self.rows])

    @torch.no_grad()
    def measure(self, images: Tensor, ivar: Tensor, given: Tensor, base: Tensor) -> MeasuredScenes:
        """Find the sources of a translation, and measure them in the bands that are given.

        Arguments:
            images: as `translated` takes them.
            ivar: likewise.
            given: likewise.
            base: ``(B, T, H, H)``, a translation, nanomaggies a pixel.
        """
        renderer = self.renderer()
        shown = base[:, _SHOWN]
        found = find_sources(shown, least=self._least(renderer))
        parts, width = segments(shown, found)
        weights = torch.where(given[..., None, None], ivar, 0)
        light = torch.where(weights > 0, images, 0)
        # Light of each source in each target: T of (B, S, H, H).
        profiles = (parts[:, None] * base.clamp(min=0)[:, :, None]).unbind(1)
        found, fits = self._fits(found, light, weights, profiles)
        # What no given band has measured is left as the translation has it.
        measured = torch.stack([fit.point_error > 0 for fit in fits.values()]).any(0)
        measured &= ~in_gaps(found, images, ivar, given)
        found = replace(found, there=found.there & measured)
        parts = parts * found.there[..., None, None]
        reference, best = reference_flux(fits, given, columns=self.columns)
        numbers, flags = band_numbers(fits, given, reference, best, columns=self.columns)
        own = target_numbers(renderer, found, base, profiles, reference, rows=self.rows)
        about = about_sources(found, parts, width, shown, reference)
        together = torch.cat([numbers, own, about, flags], -1) * found.there[..., None]
        return MeasuredScenes(found, parts, together, reference)

    def _least(self, renderer: SceneRenderer) -> float:
        """Return the height of the faintest source that counts."""
        psf = renderer.psf_image(self.rows[_SHOWN])
        error = pixel_noise(BANDS[TARGETS[_SHOWN]], psf) * noise_pixels(psf) ** 0.5
        return _SIGNIFICANT * error * float(psf.max())

    def _fits(
        self, found: FoundSources, light: Tensor, weights: Tensor, profiles: Sequence[Tensor]
    ) -> tuple[FoundSources, dict[int, BandFit]]:
        """Return better places, and what each given band says of the sources there."""
        renderer = self.renderer()
        seen = []
        there = (weights[:, self.columns] > 0).flatten(2).any(2).any(0).tolist()
        # One band at least, that says nothing where nothing was measured.
        columns = [column for column, one in zip(self.columns, there, strict=True) if one]
        for column in columns or self.columns[:1]:
            t = self._nearest(column)
            profile = self.translator.optics.carried(profiles[t], source=self.rows[t], band=column)
            # Of flux 1, so that what is fitted is a flux.
            profile = profile / profiles[t].sum((-2, -1), keepdim=True).clamp(min=1e-9)
            seen.append(
                band_data(
                    renderer,
                    light[:, column],
                    weights[:, column],
                    profile,
                    band=column,
                    name=self.bands[column],
                )
            )
        found = refined(renderer, found, seen)
        return found, {data.band: fit_band(renderer, found, data) for data in seen}

    def _nearest(self, column: int) -> int:
        """Return which target is nearest to a band in wavelength."""
        own = BANDS[self.bands[column]].wavelength
        gaps = [abs(BANDS[name].wavelength / own - 1) for name in TARGETS]
        return gaps.index(min(gaps))

    def standardise(self, numbers: Tensor) -> None:
        """Take the unit of each number from sources; 0 stands for what was not measured.

        Arguments:
            numbers: ``(N, D)``.
        """
        shown = numbers[:, : self.n_numbers]
        there = shown != 0
        count = there.sum(0).clamp(min=1)
        mean = shown.sum(0) / count
        spread = (((shown - mean) * there).square().sum(0) / count).sqrt()
        self.centre.copy_(mean)
        self.scale.copy_(spread.clamp(min=1e-3))
        self.started.fill_(True)

    def forward(self, numbers: Tensor) -> SourceAnswer:
        """Return what the perceptron makes of sources.

        Arguments:
            numbers: ``(..., D)``, of `measure`.
        """
        shown, flags = numbers[..., : self.n_numbers], numbers[..., self.n_numbers :]
        units = ((shown - self.centre) / self.scale).clamp(-_FARTHEST, _FARTHEST)
        units = torch.where(shown == 0, 0, units)
        answer = self.answers(self.body(torch.cat([units, flags], -1)))
        star, factor = answer[..., 1:].clamp(-_MOST, _MOST).chunk(2, dim=-1)
        return SourceAnswer(answer[..., 0], star, factor)

    @torch.no_grad()
    def corrected(self, base: Tensor, measured: MeasuredScenes) -> Tensor:
        """Return a translation with the light of its sources put right, ``(B, T, H, H)``.

        Arguments:
            base: ``(B, T, H, H)``, nanomaggies a pixel.
            measured: of `measure`, of the same translation.
        """
        renderer = self.renderer()
        flux, factor = self(measured.numbers).amounts(measured.reference, measured.found.there)
        left = 1 - measured.parts.sum(1)
        made = []
        for t, row in enumerate(self.rows):
            points = point_images(renderer, measured.found, row)
            stars = torch.einsum("bs,bshw->bhw", flux[..., t], points)
            kept = torch.einsum("bs,bshw->bhw", factor[..., t], measured.parts) + left
            made.append(kept * base[:, t] + stars)
        return torch.stack(made, 1)

    def predict(
        self, images: Tensor, ivar: Tensor, given: Tensor, *, targets: Sequence[int] | None = None
    ) -> Tensor:
        """Return the targets in nanomaggies a pixel, ``(B, T, H, H)``.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel; what stands in bands that are not given
                does not count, and pixels of which nothing was measured may be NaN.
            ivar: ``(B, F, H, H)``, inverse variance; 0 where nothing was measured.
            given: bool ``(B, F)``, True for the bands that are given, none of g, r and i.
            targets: numbers of the bands that are asked for, among g, r and i; default: all three.

        Raises:
            ValueError: shapes that do not fit together, another target, one of g, r and i given, or
                what `skytutor.chapters.translation.requests.checked_images` refuses.
        """
        self.translator.check(images, ivar, given)
        wanted = self.rows if targets is None else list(targets)
        if not wanted or any(row not in self.rows for row in wanted):
            raise ValueError(f"targets must be among {self.rows} for g, r and i, got {wanted}")
        if bool(given[:, self.rows].any()):
            raise ValueError("given must not hold g, r or i, which are asked for")
        shown = checked_images(images, ivar, given, bands=self.bands, softening=self.softening)
        base = self.translated(shown, ivar, given)
        answer = self.corrected(base, self.measure(shown, ivar, given, base))
        return answer[:, [self.rows.index(row) for row in wanted]]
