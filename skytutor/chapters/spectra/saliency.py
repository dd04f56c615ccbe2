"""Where in the image an answer comes from: gradients, occluded rings, and whether to believe them.

A gradient tells how an answer would change with a pixel, not where it comes from; it is noisy, for
a network is not linear on the scale of the noise. SmoothGrad [1]_ averages it over noise. Occlusion
replaces a ring and looks at the answer. A map that stays the same when the weights are replaced by
random ones shows the image and the architecture, not what was learned [2]_: `cascade` looks.

Shapes: B images, five bands grizy, H pixels along the side, R rings, nine targets.

.. [1] D. Smilkov et al., 2017, arXiv:1706.03825.
.. [2] J. Adebayo et al., 2018, NeurIPS, arXiv:1810.03292.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from skytutor.chapters.spectra.ablations import pixel_radius, sky
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.targets import N_TARGETS
from skytutor.data.galaxies import SKY_NOISE
from skytutor.validate import as_integer, as_length, positive

__all__ = [
    "PARTS",
    "cascade",
    "input_gradient",
    "occlusion",
    "ring_sums",
    "shuffle_weights",
    "smooth_gradient",
]

# Parts of a `SpectrumNetwork` from the answer down to the image.
PARTS = (
    "inference.head",
    "inference.body",
    "measurement.separation.last",
    "measurement.separation.up",
    "measurement.separation.down",
)


def input_gradient(model: nn.Module, images: Tensor, *, target: int) -> Tensor:
    """Return the gradient of a target with respect to each pixel, a sky's sigma at a time.

    Arguments:
        model: a `SpectrumNetwork` in evaluation mode.
        images: ``(B, 5, H, H)``, nanomaggies a pixel.
        target: 0..8, one of `skytutor.chapters.spectra.targets.TARGETS`.

    Returns:
        ``(B, 5, H, H)``: change of the standardised target for one standard deviation of the
        band's sky more in the pixel, so that bands can be compared.

    Raises:
        TypeError, ValueError: a target that is no integer from 0 to 8.
    """
    if not 0 <= as_integer("target", target) < N_TARGETS:
        raise ValueError(f"target must lie in 0..{N_TARGETS - 1}, got {target}")
    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        # Rows do not mix in evaluation mode: the gradient of the sum holds each row's own.
        answer = model(leaf)[0][:, target].sum()
        (gradient,) = torch.autograd.grad(answer, leaf)
    return gradient * torch.tensor(SKY_NOISE).to(gradient)[:, None, None]


def smooth_gradient(
    model: nn.Module,
    images: Tensor,
    *,
    target: int,
    generator: torch.Generator,
    n: int = 16,
    noise: float = 1.0,
) -> Tensor:
    """Return the mean of `input_gradient` over images with noise added: SmoothGrad.

    Arguments:
        model: a `SpectrumNetwork` in evaluation mode.
        images: ``(B, 5, H, H)``, nanomaggies a pixel.
        target: 0..8.
        generator: of the noise.
        n: images with noise for each image.
        noise: standard deviation of what is added, over that of the sky.

    Returns:
        ``(B, 5, H, H)``, as `input_gradient`.
    """
    positive(n=n)
    scale = as_length("noise", noise, zero=True)
    total = torch.zeros_like(images)
    for _ in range(n):
        noisy = images + scale * sky(images, generator)
        total += input_gradient(model, noisy, target=target)
    return total / n


def _rings(images: Tensor, edges: Sequence[float]) -> Tensor:
    """Return which pixels lie in each ring, ``(R, H, H)`` bool."""
    limits = [as_length("edges", edge, zero=True) for edge in edges]
    if len(limits) < 2 or any(a >= b for a, b in pairwise(limits)):
        raise ValueError(f"edges must be two or more increasing radii, got {list(edges)}")
    radius = pixel_radius(images)
    inside = [radius < limit for limit in limits]
    return torch.stack([b & ~a for a, b in pairwise(inside)])


def ring_sums(maps: Tensor, edges: Sequence[float]) -> Tensor:
    """Return the root of the summed squares of a map within rings, ``(B, 5, R)``.

    Of a gradient a sigma of sky this is the standard deviation that the sky of the ring gives to
    the answer, to first order.

    Arguments:
        maps: ``(B, 5, H, H)``, of `input_gradient` or `smooth_gradient`.
        edges: R + 1 increasing radii, arcsec.

    Raises:
        TypeError, ValueError: edges that are no increasing radii.
    """
    rings = _rings(maps, edges).to(maps)
    return torch.einsum("bfyx,ryx->bfr", maps.square(), rings).sqrt()


def occlusion(
    model: nn.Module, images: Tensor, *, replacement: Tensor, edges: Sequence[float]
) -> Tensor:
    """Return how an answer changes when one ring of the image is replaced.

    With sky for a replacement the question is what light there is for; with the image of
    `monochrome`, what the colours there are for; with that of `permute_in_annuli`, the structure.

    Arguments:
        model: a `SpectrumNetwork` in evaluation mode.
        images: ``(B, 5, H, H)``, nanomaggies a pixel.
        replacement: of the same shape, from which the ring is taken.
        edges: R + 1 increasing radii, arcsec.

    Returns:
        ``(B, R, 9)``: answer with the ring replaced minus answer without, in the standard
        deviations that the network gives to the answer without.

    Raises:
        TypeError, ValueError: a replacement of another shape, or edges that are no increasing
            radii.
    """
    if replacement.shape != images.shape:
        raise ValueError(
            f"replacement must have the shape of images, {tuple(images.shape)}; "
            f"got {tuple(replacement.shape)}"
        )
    changes = []
    with torch.no_grad():
        whole, factor = model(images)
        deviation = factor.square().sum(2).sqrt()
        for ring in _rings(images, edges):
            answer, _ = model(torch.where(ring, replacement, images))
            changes.append((answer - whole) / deviation)
    return torch.stack(changes, dim=1)


def shuffle_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Shuffle the entries of every parameter of a module in place: weights that know nothing.

    Their distribution stays, so that a network built of them answers in the same range.

    Arguments:
        module: any; its buffers stay as they are.
        generator: of the permutations, on the CPU.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            flat = parameter.flatten()[order.to(parameter.device)]
            parameter.copy_(flat.view_as(parameter))


def _similarity(one: Tensor, other: Tensor) -> float:
    """Return the correlation of ranks of the sizes of two maps, the mean over B images."""
    ranks = [maps.abs().flatten(1).argsort(1).argsort(1).double() for maps in (one, other)]
    away = [rank - rank.mean(1, keepdim=True) for rank in ranks]
    norms = away[0].norm(dim=1) * away[1].norm(dim=1)
    return float(((away[0] * away[1]).sum(1) / norms).mean())


def cascade(
    model: SpectrumNetwork,
    images: Tensor,
    *,
    target: int,
    generator: torch.Generator,
    n: int = 8,
) -> dict[str, dict[str, float]]:
    """Replace the weights by random ones, from the answer down, and compare the maps.

    Arguments:
        model: in evaluation mode; it stays as it is.
        images: ``(B, 5, H, H)``, nanomaggies a pixel.
        target: 0..8.
        generator: of noise and permutations, on the CPU.
        n: images with noise for each image.

    Returns:
        for "none" (the same weights, other noise) and each of `PARTS` that is shuffled with all
        before it: ``signed``, the correlation of the maps with the map of the model, and ``size``,
        the correlation of the ranks of their absolute values; means over the images.
    """
    shuffled = copy.deepcopy(model)
    reference = smooth_gradient(model, images, target=target, generator=generator, n=n)
    found = {}
    for name in ("none", *PARTS):
        if name != "none":
            shuffle_weights(shuffled.get_submodule(name), generator)
        maps = smooth_gradient(shuffled, images, target=target, generator=generator, n=n)
        cosine = torch.cosine_similarity(maps.flatten(1), reference.flatten(1), dim=1)
        found[name] = {"signed": float(cosine.mean()), "size": _similarity(maps, reference)}
    return found
