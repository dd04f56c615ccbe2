r"""How well any method could translate between bands: the oracle that knows the scene.

Where places, shapes, PSFs and noise are known, an image is linear in the fluxes of what is in it.
Their weighted least-squares estimates in each input band, with their covariance,

.. math:: \hat f = (A^T N^{-1} A)^{-1} A^T N^{-1} d, \qquad
   \operatorname{Cov} \hat f = (A^T N^{-1} A)^{-1},

hold all that the images tell of the fluxes, blends included: A is the image of each component of
flux 1, N the variance of the noise. What they tell of another band is learned from simulated
sources: `SourceOracle` returns the posterior mean of each source's flux there. Rendered at its
known place, it makes the image that no network on pixels can beat.

Shapes: B scenes, S places for sources, three components (bulge, disc, clumps; a star is in the
first), F bands, N sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.data.bands import EMPTY, GALAXY, Observation, Scenes, SceneSimulator
from skytutor.data.galaxies import stable_cholesky

__all__ = [
    "COMPONENTS",
    "MeasuredSources",
    "components_there",
    "flux_in_images",
    "inverse_from_factor",
    "measure_sources",
]

COMPONENTS = 3


@dataclass(frozen=True)
class MeasuredSources:
    """Fluxes of sources whose places and shapes are known, nanomaggies.

    Attributes:
        flux: ``(B, S, F, 3)``, of each component; 0 where there is none.
        covariance: ``(B, S, F, 3, 3)``, of one source's components, the blends with all others
            reckoned in; 0 where there is none.
    """

    flux: Tensor
    covariance: Tensor

    def total(self) -> tuple[Tensor, Tensor]:
        """Return the flux of each source in each band, and its error, ``(B, S, F)`` each."""
        return self.flux.sum(-1), self.covariance.sum((-1, -2)).clamp(min=0).sqrt()


def components_there(scenes: Scenes) -> Tensor:
    """Return which components are there, bool ``(B, S, 3)``: a star has only the first.

    Arguments:
        scenes: of `SceneSimulator.draw`.
    """
    there = (scenes.kind == GALAXY)[..., None].expand(-1, -1, COMPONENTS).clone()
    there[..., 0] |= scenes.kind != EMPTY
    return there


def measure_sources(
    simulator: SceneSimulator,
    scenes: Scenes,
    seen: Observation,
    *,
    planes: Tensor,
    bands: Sequence[int] | None = None,
) -> MeasuredSources:
    """Measure all sources of each scene at once, in each band.

    Arguments:
        simulator: that drew the scenes.
        scenes: of its `draw`.
        seen: of its `observe` or `expose`.
        planes: of its `planes`.
        bands: numbers of the bands to measure, F of them; default: all.
    """
    chosen = range(len(simulator.bands)) if bands is None else bands
    n, places = scenes.kind.shape
    there = components_there(scenes)
    columns = there.flatten(1)  # (B, 3 S)
    variance = simulator.variance(seen.truth)
    # Nothing is read off where a plate is black.
    weights = torch.where(seen.ivar > 0, 1 / variance, 0)
    fluxes, covariances = [], []
    for f in chosen:
        templates = _templates(simulator, planes, columns, band=f)
        flux, covariance = _least_squares(
            templates, seen.images[:, f].flatten(1)[..., None], weights[:, f].flatten(1), columns
        )
        fluxes.append(flux.reshape(n, places, COMPONENTS))
        # Of each source's own components: the blocks on the diagonal.
        blocks = covariance.reshape(n, places, COMPONENTS, places, COMPONENTS)
        covariances.append(torch.einsum("bsisj->bsij", blocks))
    return MeasuredSources(torch.stack(fluxes, 2), torch.stack(covariances, 2))


def flux_in_images(
    simulator: SceneSimulator,
    scenes: Scenes,
    images: Tensor,
    *,
    truth: Tensor,
    planes: Tensor,
    band: int,
) -> Tensor:
    """Return the flux that each source has in each of K images of its scene, ``(B, S, K)``.

    As `measure_sources` measures it. It is linear in the images: those of a sum are the sum of
    those of its parts.

    Arguments:
        simulator: that drew the scenes.
        scenes: of its `draw`.
        images: ``(B, K, H, H)``, of one band.
        truth: ``(B, F, H, H)``, without noise, of all bands.
        planes: of `SceneSimulator.planes`.
        band: number of the band.
    """
    there = components_there(scenes).flatten(1)
    templates = _templates(simulator, planes, there, band=band)
    weight = 1 / simulator.variance(truth)[:, band].flatten(1)
    flux, _ = _least_squares(templates, images.flatten(2).mT, weight, there)
    return flux.unflatten(1, (-1, COMPONENTS)).sum(2)


def _templates(simulator: SceneSimulator, planes: Tensor, there: Tensor, *, band: int) -> Tensor:
    """Return the image of each component of flux 1, ``(B, C, P)``; 0 for those not there."""
    # What is not there is left out of the transforms, which cost most of the time.
    row, column = there.nonzero(as_tuple=True)
    made = simulator.renderer.templates(planes[row, column][:, None], band=band)[:, 0]
    templates = made.new_zeros(*there.shape, made[0].numel())
    templates[row, column] = made.flatten(1)
    return templates


def _least_squares(
    templates: Tensor, images: Tensor, weight: Tensor, there: Tensor
) -> tuple[Tensor, Tensor]:
    """Return fluxes in images ``(B, P, K)``, ``(B, C, K)``, and their covariance ``(B, C, C)``.

    0 for components that are not there.
    """
    weighted = templates * weight[:, None]
    gram = (weighted @ templates.mT).double()
    sums = (weighted @ images).double()
    # Columns of unit length, for those of a faint band and of a bright one differ by 1e6; and ones
    # on the diagonal for what is not there, so that the matrix has an inverse.
    length = torch.diagonal(gram, dim1=-2, dim2=-1).sqrt().clamp(min=1e-30)
    scaled = gram / (length[:, :, None] * length[:, None])
    scaled = scaled + torch.diag_embed((~there).double())
    lower = stable_cholesky(scaled)
    inverse = inverse_from_factor(lower) / (length[:, :, None] * length[:, None])
    both = there[:, :, None] & there[:, None]
    inverse = torch.where(both, inverse, 0)
    return (inverse @ sums).float(), inverse.float()


def inverse_from_factor(lower: Tensor) -> Tensor:
    """Return the inverses of matrices of which the lower Cholesky factors are given.

    Arguments:
        lower: ``(..., C, C)``.
    """
    if lower.device.type == "cpu":
        return torch.cholesky_inverse(lower)
    # On a GPU that goes through them one by one; this is one call for all.
    one = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    half = torch.linalg.solve_triangular(lower, one.expand_as(lower), upper=False)
    return half.mT @ half
