"""What the Wiener filter is called with: checked, and brought into the form of its equations."""

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from skytutor.arrays import as_tensor
from skytutor.fields.spectra import FIELDS
from skytutor.values import has_memory

_FAR = 1e3  # a variance off by that much is in another unit


def refuse_transforms(**given: object) -> None:
    """Refuse tensors inside a graph, a transform of torch.func or forward-mode differentiation.

    The steps depend on values, and what is made for a spectrum and a mask is kept.
    """
    # Asked here, because torch.compile makes a graph of its own of a function that is only called.
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        raise RuntimeError(
            "the filter takes as many steps as the values ask for, which torch.compile and "
            "torch.export do not record: record what stands before and after it"
        )
    for name, value in given.items():
        if not isinstance(value, Tensor):
            continue
        if not has_memory(value) or unpack_dual(value).tangent is not None:
            raise TypeError(
                f"{name} must not be inside torch.func or forward-mode differentiation: the filter "
                "takes batches as they are, and torch.autograd gives derivatives of every order"
            )


def spectra_root(spectra: Mapping[str, Tensor], l: Tensor, *, spin: int) -> Tensor:
    """Return the roots of the spectra at coefficients of degrees l, ``(K,)`` or ``(2, K)``."""
    names = FIELDS[spin]
    if not isinstance(spectra, Mapping):
        raise TypeError(
            f"spectra must be named, such as {{'TT': C_l}}; got {type(spectra).__name__}"
        )
    if set(spectra) != set(names):
        raise ValueError(f"spectra must be {names} for spin {spin}, got {tuple(spectra)}")
    size = int(l[-1]) + 1
    found = {
        name: as_tensor(f"spectra[{name!r}]", spectra[name], dtype=torch.float64, like=l)
        for name in names
    }
    for name, cl in found.items():
        fits = cl.shape == (size,)
        if not fits or not bool(torch.isfinite(cl).all()) or bool((cl < 0).any()):
            raise ValueError(
                f"spectra[{name!r}] must be {size} finite values, none negative; "
                f"got {tuple(cl.shape)}"
            )
    cl = torch.stack(list(found.values()))[:, l]  # (1 or 2, K)
    cl = torch.where((l < spin) | (cl == 0), 0, cl)
    # The gradient of a root is infinite at 0, so the root is taken of 1 there.
    root = torch.where(cl > 0, cl, 1).sqrt() * (cl > 0)
    return root if spin else root[0]


def pixel_weight(variance: Tensor | float, mask: Tensor, *, nside: int) -> Tensor:
    """Return the inverse variance of every pixel, ``(P,)``, 0 behind the mask.

    What the variance is there is not looked at.
    """
    pixels = 12 * nside**2
    mask = as_tensor("mask", mask)
    if mask.is_complex():
        raise TypeError(f"mask must be bool, integers or floats, got {mask.dtype}")
    if mask.shape != (pixels,) or not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueError(
            f"mask must be ({pixels},) values in 0..1 at nside {nside}, "
            f"got shape {tuple(mask.shape)}"
        )
    seen = mask > 0
    if not bool(seen.any()):
        raise ValueError("mask is 0 everywhere: nothing is seen")
    variance = as_tensor("variance", variance, dtype=torch.float64).to(mask.device)
    if variance.shape not in ((), (pixels,)):
        raise ValueError(
            f"variance must be a number or ({pixels},), got shape {tuple(variance.shape)}"
        )
    # The gradient of what is not looked at is 0 and not NaN, so it goes before the division.
    variance = torch.where(seen, variance, 1)
    positive = torch.isfinite(variance) & (variance > 0)
    if not bool(positive.all()):
        raise ValueError(
            f"variance must be positive and finite where the mask is above 0, got "
            f"{int((~positive).sum())} pixels where it is not"
        )
    return mask.double() / variance


def check_hole(mask: Tensor) -> None:
    """Refuse masks with values between 0 and 1."""
    mask = as_tensor("mask", mask)
    hard = (mask == 0) | (mask == 1)
    if not bool(hard.all()):
        raise ValueError(
            'mask must be 0 or 1 everywhere with preconditioner="hole", got '
            f"{int((~hard).sum())} values between; threshold it, or take "
            'preconditioner="coarse"'
        )


def warn_of_units(seen: Tensor, root: Tensor, weight: Tensor) -> None:
    """Warn where the seen pixels (..., n) vary as no sky with these spectra does."""
    if torch.compiler.is_compiling():
        return
    fields = root.detach().reshape(-1, root.shape[-1])
    # The power of a pixel: a sum over all coefficients, spread over the sphere; no monopole.
    power = fields[:, 1:].square().sum() / (4 * math.pi)
    expected = float(power / len(fields) + (1 / weight.detach()).mean())
    found = float(seen.detach().var(dim=-1, correction=0).mean())
    # A map of zeros is a fair question; another unit of length gives another number.
    if found > 0 and not 1 / _FAR <= found / expected <= _FAR:
        warnings.warn(
            f"maps vary by {found:.2g} in the square of their unit, the spectra and the "
            f"variance say {expected:.2g}: are they in the same unit, such as muK and not K, "
            "and the spectra C_l and not D_l?",
            UserWarning,
            stacklevel=5,
        )
