r"""The grid of wavelengths that every spectrum is brought to, and how flux is brought to it.

The grid is that of Wu and Peek [1]_: 1000 bins, equal in the logarithm of the rest-frame vacuum
wavelength, 3388 to 8318 angstrom. A bin holds the mean of :math:`f_\lambda` over its width, so that
the flux under a spectrum is the same before and after.

The noise of neighbouring bins is taken to be independent: a pixel that two bins share gives its
variance to both in the ratio of its parts. The error of a mean over many bins is then right.

Shapes: B galaxies, L bins before, M bins after.

.. [1] Wu and Peek 2020, arXiv:2009.12318.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor, split_masked
from skytutor.data.spectral_templates import LOG_WAVELENGTH
from skytutor.validate import check_axes, check_broadcast, hard_mask

__all__ = [
    "NORMALISED_OVER",
    "OBSERVED_WINDOW",
    "Rebinned",
    "air_to_vacuum",
    "bin_edges",
    "normalise_spectra",
    "observed_bins",
    "rebin",
]

# Where the mean of a normalised spectrum is 1, angstrom, rest frame.
NORMALISED_OVER = (4500.0, 6500.0)
# What SDSS's first spectrographs see, angstrom, observed frame.
OBSERVED_WINDOW = (3800.0, 9200.0)
_TINY = 1e-30


class Rebinned(NamedTuple):
    """Spectra on other bins.

    Attributes:
        flux: ``(..., M)`` mean flux density of each bin; 0 where nothing of it was observed.
        ivar: ``(..., M)`` inverse variance, 0 where not observed; None if there was none before.
        mask: bool ``(..., M)``, True where observed.
    """

    flux: Tensor
    ivar: Tensor | None
    mask: Tensor


def bin_edges(log_wavelength: Tensor | None = None) -> Tensor:
    """Return the edges of bins, whose centres are equally spaced in the logarithm.

    Arguments:
        log_wavelength: ``(L,)`` centres, log10 of angstrom, rising; None for those of the grid.

    Returns:
        ``(L + 1,)`` float64, in angstrom.

    Raises:
        ValueError: fewer than two centres, or centres that do not rise in equal steps.

    Example:
        >>> edges = bin_edges()
        >>> print(f"{edges[0]:.1f} {edges[-1]:.1f}")
        3386.9 8321.4
    """
    centres = LOG_WAVELENGTH if log_wavelength is None else log_wavelength
    centres = as_tensor("log_wavelength", centres, dtype=torch.float64)
    if centres.ndim != 1 or len(centres) < 2:
        raise ValueError(
            f"log_wavelength must hold at least two centres in a row, got {tuple(centres.shape)}"
        )
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    # Tables are often in float32, whose last digit is 2e-7 here: a thousandth of a bin.
    number = torch.arange(len(centres) + 1, dtype=torch.float64, device=centres.device)
    ideal = centres[0] + step * number[:-1]
    if not bool(step > 0) or not bool(((centres - ideal).abs() < 0.02 * step + 1e-6).all()):
        raise ValueError("log_wavelength must rise in equal steps")
    return 10.0 ** (centres[0] + step * (number - 0.5))


def rebin(
    flux: Tensor,
    edges: Tensor,
    *,
    new_edges: Tensor,
    ivar: Tensor | None = None,
    mask: Tensor | None = None,
    min_fraction: float = 0.5,
) -> Rebinned:
    """Bring spectra to other bins, flux conserved; differentiable in flux and in the edges.

    Flux is taken as constant within a bin. What is masked, has no inverse variance or is not finite
    is left out, and the mean of a new bin is taken over the rest of it.

    Arguments:
        flux: ``(..., L)`` mean flux density of each bin; what a masked array hides was not
            observed.
        edges: ``(L + 1,)`` or ``(..., L + 1)`` in any unit, rising.
        new_edges: ``(M + 1,)`` or ``(..., M + 1)`` in the same unit, rising.
        ivar: ``(..., L)`` inverse variance, 0 where not observed.
        mask: bool ``(..., L)``, True where observed.
        min_fraction: how much of a new bin must have been observed for it to count.

    Returns:
        On the new bins, in the dtype of `flux`.

    Raises:
        ValueError: shapes that do not fit, edges that do not rise, a negative or NaN inverse
            variance.

    Example:
        >>> edges = torch.tensor([0.0, 1.0, 2.0, 4.0])
        >>> wider = torch.tensor([0.0, 2.0, 3.0])
        >>> rebin(torch.tensor([1.0, 3.0, 5.0]), edges, new_edges=wider).flux
        tensor([2., 5.])
    """
    flux, mask = split_masked("flux", flux, mask)
    (flux,) = as_floats(flux=flux)
    edges = as_tensor("edges", edges, dtype=torch.float64, like=flux)
    new_edges = as_tensor("new_edges", new_edges, dtype=torch.float64, like=flux)
    ivar = None if ivar is None else as_tensor("ivar", ivar, dtype=flux.dtype, like=flux)
    _check_bins(flux, edges, new_edges=new_edges, ivar=ivar)
    good = torch.isfinite(flux)
    if mask is not None:
        good = good & check_broadcast(mask=hard_mask(mask), flux=flux)[0]
    if ivar is not None:
        good = good & (ivar > 0)
    # Sums over thousands of bins are subtracted from each other: float64.
    before = edges
    after = new_edges
    width = before.diff(dim=-1)
    observed = width * good
    amount = width * torch.where(good, flux, torch.zeros_like(flux)).double()
    covered = _between(observed, before, new_edges=after)
    mean = _between(amount, before, new_edges=after) / covered.clamp_min(_TINY)
    # Rounding must not throw out a bin of which exactly that fraction was observed.
    kept = covered >= (min_fraction - 1e-9) * after.diff(dim=-1)
    kept = kept & (covered > 0)
    mean = torch.where(kept, mean, torch.zeros_like(mean)).to(flux.dtype)
    if ivar is None:
        return Rebinned(mean, None, kept)
    # A pixel of width d and variance v adds v d^2 to the variance of the integral, in proportion
    # to the part of it that lies in the bin.
    variance = width.square() * torch.where(good, 1 / ivar.double().clamp_min(_TINY), 0.0)
    summed = _between(variance, before, new_edges=after)
    weight = torch.where(kept, covered.square() / summed.clamp_min(_TINY), 0.0)
    return Rebinned(mean, weight.to(flux.dtype), kept)


def _check_bins(flux: Tensor, edges: Tensor, *, new_edges: Tensor, ivar: Tensor | None) -> None:
    """Refuse spectra that do not fit their bins."""
    for name, values in (("flux", flux), ("edges", edges), ("new_edges", new_edges)):
        if values.dim() == 0:
            raise ValueError(f"{name} must have an axis of bins, got one number")
    if flux.shape[-1:] != (edges.shape[-1] - 1,):
        raise ValueError(
            f"edges must be one more than the bins of flux, got {edges.shape[-1]} edges "
            f"for {tuple(flux.shape)}"
        )
    for name, values in (("edges", edges), ("new_edges", new_edges)):
        if values.shape[-1] < 2 or not bool((values.detach().diff(dim=-1) > 0).all()):
            raise ValueError(f"{name} must rise, and be at least two")
    # One bin of each is enough to see whether the spectra go together.
    check_broadcast(flux=flux[..., :1], edges=edges[..., :1], new_edges=new_edges[..., :1])
    if ivar is None:
        return
    if ivar.shape != flux.shape:
        raise ValueError(f"ivar must be {tuple(flux.shape)} as flux, got {tuple(ivar.shape)}")
    wrong = int((~(ivar >= 0)).sum())
    if wrong:
        raise ValueError(
            f"ivar must be 0 or more everywhere (0 where not observed), got {wrong} values "
            "that are negative or NaN"
        )


def _between(amount: Tensor, edges: Tensor, *, new_edges: Tensor) -> Tensor:
    """Return how much of what lies in bins falls between each two of the new edges.

    Arguments:
        amount: ``(..., L)`` in each bin, spread evenly over it.
        edges: ``(L + 1,)`` or ``(..., L + 1)``.
        new_edges: ``(M + 1,)`` or ``(..., M + 1)``.
    """
    batch = torch.broadcast_shapes(amount.shape[:-1], edges.shape[:-1], new_edges.shape[:-1])
    # The amount below each edge; between two edges it rises linearly.
    below = torch.nn.functional.pad(amount.cumsum(-1), (1, 0)).expand(*batch, -1)
    sorted_edges = edges if edges.ndim == 1 else edges.expand(*batch, -1).contiguous()
    wanted = new_edges.expand(*batch, -1)
    upper = torch.searchsorted(sorted_edges.detach(), wanted.detach().contiguous(), right=True)
    upper = upper.clamp(1, edges.shape[-1] - 1)
    across = edges.expand(*batch, -1)
    left = across.gather(-1, upper - 1)
    right = across.gather(-1, upper)
    # Beyond the first and the last edge there is nothing more.
    part = ((wanted - left) / (right - left)).clamp(0, 1)
    low = below.gather(-1, upper - 1)
    return torch.diff(low + part * (below.gather(-1, upper) - low), dim=-1)


def observed_bins(redshift: Tensor, *, window: tuple[float, float] = OBSERVED_WINDOW) -> Tensor:
    """Tell which bins of the grid a spectrograph sees of galaxies at these redshifts.

    Arguments:
        redshift: ``(B,)``.
        window: shortest and longest wavelength that it sees, angstrom.

    Returns:
        bool ``(B, 1000)``, True where the whole bin lies in the window.

    Raises:
        ValueError: redshifts of another shape.

    Example:
        >>> observed_bins(torch.tensor([0.01, 0.1, 0.2, 0.36])).sum(1)
        tensor([883, 978, 908, 769])
    """
    redshift = as_tensor("redshift", redshift, dtype=torch.float64)
    check_axes("B", redshift=redshift)
    edges = bin_edges().to(redshift.device)
    seen = edges * (1 + redshift[:, None])
    return (seen[:, :-1] >= window[0]) & (seen[:, 1:] <= window[1])


def normalise_spectra(flux: Tensor, ivar: Tensor, *, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Divide spectra by their mean over 4500 to 6500 angstrom.

    Arguments:
        flux: ``(..., 1000)`` on the grid; what a masked array hides was not observed.
        ivar: the same shape.
        mask: bool, True where observed: the mean is taken over these bins.

    Returns:
        flux, inverse variance and the mean ``(...)`` by which the flux was divided.

    Raises:
        ValueError: a spectrum none of whose bins there was observed, or whose mean is not positive.

    Example:
        >>> flux = torch.full((1000,), 5.0)
        >>> _, ivar, mean = normalise_spectra(flux, torch.ones(1000), mask=torch.ones(1000) > 0)
        >>> float(mean), float(ivar[0])
        (5.0, 25.0)
    """
    flux, mask = split_masked("flux", flux, mask)
    flux, ivar = as_floats(flux=flux, ivar=ivar)
    mask = hard_mask(mask)
    for name, values in (("flux", flux), ("ivar", ivar), ("mask", mask)):
        if values.shape[-1:] != LOG_WAVELENGTH.shape:
            raise ValueError(
                f"{name} must end in {len(LOG_WAVELENGTH)} bins, got {tuple(values.shape)}"
            )
    check_broadcast(flux=flux, ivar=ivar, mask=mask)
    wavelength = 10.0 ** LOG_WAVELENGTH.to(flux.device)
    low, high = NORMALISED_OVER
    inside = mask & (wavelength >= low) & (wavelength <= high)
    seen = inside.sum(-1)
    total = torch.where(inside, flux, torch.zeros_like(flux)).double().sum(-1)
    mean = total / seen.clamp_min(1)
    wrong = int((~(mean > 0)).sum())
    if wrong:
        raise ValueError(
            f"flux must have a positive mean over the observed bins from {low:g} to {high:g} "
            f"angstrom, which {wrong} spectra have not"
        )
    mean = mean.to(flux.dtype)
    return flux / mean[..., None], ivar * mean[..., None].square(), mean


def air_to_vacuum(wavelength: Tensor) -> Tensor:
    """Turn wavelengths in air into those in vacuum, with Ciddor's index of refraction [2]_.

    Arguments:
        wavelength: angstrom in air, 2000 or more, any shape.

    Returns:
        angstrom in vacuum, float64.

    Raises:
        ValueError: wavelengths below 2000 angstrom, where vacuum is the custom, or not finite.

    Example:
        >>> print(f"{air_to_vacuum(torch.tensor(6562.80)):.2f}")
        6564.61

    .. [2] Ciddor 1996, Applied Optics 35, 1566; inverted by N. Piskunov for the VALD database.
    """
    air = as_tensor("wavelength", wavelength, dtype=torch.float64)
    fits = (air >= 2000) & air.isfinite()
    if not bool(fits.all()):
        wrong = float(air[~fits][0])
        raise ValueError(f"wavelength must be finite and at least 2000 angstrom, got {wrong:g}")
    wavenumber = (1e4 / air).square()
    index = (
        1.00008336624212083
        + 0.02408926869968 / (130.1065924522 - wavenumber)
        + 0.0001599740894897 / (38.92568793293 - wavenumber)
    )
    return air * index
