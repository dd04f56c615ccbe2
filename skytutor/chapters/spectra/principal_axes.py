"""Axes of latents: uncorrelated, of variance 1, in the order of what they change."""

import torch
from torch import Tensor

__all__ = ["principal_axes"]

_RIDGE = 1e-6  # of the mean variance


def principal_axes(latents: Tensor, spectra: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rotation that makes latents uncorrelated, of variance 1, and ordered.

    Latents of variance 1 may be rotated at will. The first axis is the one along which the spectra
    vary most, by their linear regression on the latents, and so on: the principal components of the
    linear response. Without spectra the axes are the principal components of the latents.

    Arguments:
        latents: ``(N, L)``.
        spectra: ``(N, P)``, decoded from them; None to look at the latents alone.

    Returns:
        centre ``(L,)``, rotation R and its inverse ``(L, L)``, float64: the new latents are
        ``R (z - centre)``.

    Example:
        >>> latents = torch.tensor([[0.0, 1.0], [0.0, -1.0], [3.0, 0.0], [-3.0, 0.0]])
        >>> _, rotation, _ = principal_axes(latents)
        >>> (latents.double() @ rotation.T).square().mean(0)
        tensor([1.0000, 1.0000], dtype=torch.float64)
    """
    latents = latents.double()
    centre = latents.mean(0)
    away = latents - centre
    covariance = away.T @ away / len(away)
    # A latent that nothing uses has no spread; the ridge keeps its inverse finite.
    ridge = _RIDGE * covariance.diagonal().mean()
    covariance = covariance + ridge * torch.eye(latents.shape[1]).to(covariance)
    lower = torch.linalg.cholesky(covariance)  # away = lower @ white
    response = lower
    if spectra is not None:
        white = torch.linalg.solve_triangular(lower, away.T, upper=False).T
        # White latents are uncorrelated: the regression on each is a mean product.
        response = spectra.double().T @ white / len(white)  # (P, L)
    _, _, axes = torch.linalg.svd(response, full_matrices=False)
    # The sign of an axis is free: its largest effect is to be an increase.
    effect = response @ axes.T
    largest = effect.gather(0, effect.abs().argmax(0, keepdim=True))[0]
    axes = torch.where(largest[:, None] < 0, -axes, axes)
    return centre, axes @ torch.linalg.inv(lower), lower @ axes.T
