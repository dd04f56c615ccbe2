"""Scores of images against images."""

import math

import torch
from torch import Tensor

from skytutor.arrays import as_floats
from skytutor.validate import as_length, positive
from skytutor.values import all_finite

__all__ = ["psnr", "residual_spectrum", "ssim"]

_WINDOW = 11  # pixels a side of the window of the structural similarity


def psnr(image: Tensor, truth: Tensor, *, data_range: float) -> Tensor:
    r"""Return the peak signal-to-noise ratio in decibels, over all pixels of all images.

    .. math:: 10 \log_{10} \frac{R^2}{\langle (x - y)^2 \rangle}.

    Arguments:
        image: of any shape.
        truth: of the same shape. Against a truth with noise the score measures that noise.
        data_range: R, in the unit of the images.

    Returns:
        a scalar; infinite where both are equal.

    Raises:
        ValueError: shapes that differ, no pixels, values that are not finite, a range that is not
            positive.

    Example:
        >>> psnr(torch.full((2, 2), 0.1), torch.zeros(2, 2), data_range=1.0)
        tensor(20.)
    """
    scale = as_length("data_range", data_range)
    image, truth = _check(image, truth)
    error = (image - truth).double().square().mean()
    return (20 * math.log10(scale) - 10 * torch.log10(error)).to(image.dtype)


def ssim(image: Tensor, truth: Tensor, *, data_range: float) -> Tensor:
    """Return the structural similarity of each image [1]_, by scikit-image; 1 where both are equal.

    Windows are Gaussian with a deviation of 1.5 pixels, as in the paper.

    Arguments:
        image: ``(..., H, W)``, 11 pixels a side or more.
        truth: of the same shape.
        data_range: largest difference of two pixels, in the unit of the images.

    Returns:
        ``(...)``.

    Raises:
        ValueError: shapes that differ or are too small, values that are not finite, a range that is
            not positive.

    Example:
        >>> truth = torch.linspace(0, 1, 256).reshape(16, 16)
        >>> ssim(truth, truth, data_range=1.0)
        tensor(1.)

    .. [1] Z. Wang et al., 2004, IEEE Transactions on Image Processing 13, 600.
    """
    from skimage.metrics import structural_similarity  # a second: only who scores needs it

    scale = as_length("data_range", data_range)
    image, truth = _check(image, truth)
    if image.ndim < 2 or min(image.shape[-2:]) < _WINDOW:
        raise ValueError(
            f"image must be (..., H, W) with {_WINDOW} pixels a side or more, "
            f"got {tuple(image.shape)}"
        )
    size = image.shape[-2:]
    pairs = [part.detach().cpu().double().reshape(-1, *size) for part in (image, truth)]
    found = []
    for one, other in zip(*pairs, strict=True):
        value = structural_similarity(
            one.numpy(),
            other.numpy(),
            data_range=scale,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        found.append(value)
    return torch.tensor(found, dtype=image.dtype).reshape(image.shape[:-2])


def residual_spectrum(image: Tensor, truth: Tensor, *, n_bins: int) -> tuple[Tensor, Tensor]:
    r"""Return the power of the error over that of the truth, by scale.

    .. math:: \rho(k) = \frac{\sum |\tilde x - \tilde y|^2}{\sum |\tilde y|^2},

    summed over all images and over the waves of a ring. A blurred image is right at large scales
    and has 1 at small ones, as an empty image has everywhere; made-up texture has more than 1.

    Arguments:
        image: ``(..., H, H)``.
        truth: of the same shape. Both are faded out towards the edges, so that these are no waves.
        n_bins: K, rings of equal width up to the shortest wave along a side, of two pixels.

    Returns:
        wave numbers at the middle of each ring, cycles a pixel, and ratios, ``(K,)`` each; NaN in a
        ring without a wave or without power of the truth.

    Raises:
        TypeError: K is no integer.
        ValueError: shapes that differ or are not square, values that are not finite, K below 1.

    Example:
        >>> truth = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> k, ratio = residual_spectrum(0 * truth, truth, n_bins=4)
        >>> ratio
        tensor([1., 1., 1., 1.])
    """
    positive(n_bins=n_bins)
    image, truth = _check(image, truth)
    if image.ndim < 2 or image.shape[-1] != image.shape[-2]:
        raise ValueError(f"image must be (..., H, H), got {tuple(image.shape)}")
    size = image.shape[-1]
    fade = torch.hann_window(size, periodic=False, dtype=torch.float64, device=image.device)
    window = fade[:, None] * fade
    power = []
    for part in (image - truth, truth):
        waves = torch.fft.fft2(part.double() * window)
        power.append(waves.abs().square().reshape(-1, size, size).sum(0).flatten())
    frequency = torch.fft.fftfreq(size, dtype=torch.float64, device=image.device)
    length = torch.hypot(frequency[:, None], frequency).flatten()
    # Corners of the plane hold waves that are shorter along the diagonal alone: left out.
    ring = (length * 2 * n_bins).floor().long()
    inside = ring < n_bins
    sums = [each.new_zeros(n_bins).index_add(0, ring[inside], each[inside]) for each in power]
    middle = (torch.arange(n_bins, dtype=torch.float64) + 0.5) / (2 * n_bins)
    return middle.to(image), (sums[0] / sums[1]).to(image)


def _check(image: Tensor, truth: Tensor) -> list[Tensor]:
    """Return floating images; refuse different shapes, and values that are not finite."""
    image, truth = as_floats(image=image, truth=truth)
    if image.shape != truth.shape or not image.numel():
        raise ValueError(
            f"image must have the shape of truth, with a pixel or more, "
            f"got {tuple(image.shape)} and {tuple(truth.shape)}"
        )
    for name, values in (("image", image), ("truth", truth)):
        if not all_finite(values):
            raise ValueError(f"{name} must be finite, got NaN or infinite values")
    return [image, truth]
