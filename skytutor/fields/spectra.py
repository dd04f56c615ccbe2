"""Angular power spectra: measured on coefficients and masked maps, and drawn as Gaussian skies.

    C_l^XY = sum_m X_lm conj(Y_lm) / (2 l + 1)

Spectra are C_l, not D_l = l (l + 1) C_l / (2 pi), from l = 0 on, in the square of the map's unit.
They go by name, "TT" to "TB": in a plain list of six, programs mean different orders, and a wrong
one still draws a plausible sky.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from skytutor.arrays import as_floats, as_tensor, split_masked
from skytutor.fields._roots import covariance_root, refuse, root_of_power
from skytutor.healpix import check_order, nside_to_npix, seen_maps
from skytutor.sht import (
    RealHarmonics,
    alm2map,
    alm_lm,
    alm_size,
    check_alms,
    check_lmax,
    map2alm,
    real_degrees,
)
from skytutor.validate import as_integer, check_broadcast, check_generator, check_spin

NAMES = ("TT", "EE", "BB", "TE", "EB", "TB")
FIELDS = {0: ("TT",), 2: ("EE", "BB")}  # the auto-spectra of a field of each spin


def alm2cl(alms: Tensor, other: Tensor | None = None, *, lmax: int) -> Tensor:
    """Measure the spectrum of coefficients, or the cross-spectrum of two sets; differentiable.

    Arguments:
        alms: ``(..., A)`` complex, any number of axes before; the imaginary parts of m = 0 do not
            count.
        other: the second set, of the same lmax; its leading axes broadcast.
        lmax: of the coefficients.

    Returns:
        ``(..., lmax + 1)`` real, in the precision of `alms`.

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> alm2cl(torch.ones(6, dtype=torch.complex64), lmax=2)
        tensor([1., 1., 1.])
    """
    a = check_alms(alms, lmax=check_lmax(lmax))
    b = a if other is None else check_alms(other, lmax=lmax, name="other")
    l, m = (t.to(a.device) for t in alm_lm(lmax))
    # Real and imaginary parts: m > 0 stands for -m too, and m = 0 has no imaginary part.
    multiplicity = torch.stack([2.0 - (m == 0).double(), 2.0 * (m > 0)], -1)  # (A, 2)
    weight = multiplicity / (2 * l[:, None] + 1)
    power = (torch.view_as_real(a) * torch.view_as_real(b) * weight.to(a.real)).sum(-1)  # (..., A)
    return power.new_zeros(*power.shape[:-1], lmax + 1).index_add(-1, l, power)


def check_mask(mask: Tensor, *, nside: int, name: str = "mask") -> Tensor:
    """Return `mask` if it is one: 0 (hidden) to 1 (seen), bool or floating.

    Arguments:
        mask: ``(P,)``.
        nside: of the maps that it hides.
        name: what error messages call it.

    Raises:
        TypeError, ValueError: no such numbers, another size, NaN, outside 0..1, nothing seen.

    Example:
        >>> check_mask(torch.ones(12), nside=1).shape
        torch.Size([12])
    """
    npix = nside_to_npix(nside)
    mask = as_tensor(name, mask)
    if not (mask.is_floating_point() or mask.dtype == torch.bool):
        raise TypeError(f"{name} must be floating or bool numbers, got {mask.dtype}")
    if tuple(mask.shape) != (npix,):
        raise ValueError(f"{name} must be ({npix},) for nside {nside}, got {tuple(mask.shape)}")
    if not bool(torch.isfinite(mask).all()):
        raise ValueError(f"{name} holds NaN or infinite values; it must lie in 0..1")
    if float(mask.min()) < 0 or float(mask.max()) > 1:
        raise ValueError(f"{name} must lie in 0..1, got {float(mask.min())}..{float(mask.max())}")
    if not bool(mask.any()):
        raise ValueError(f"{name} is 0 everywhere: nothing is seen; one pixel must be above 0")
    return mask


def pseudo_cl(
    maps: Tensor, mask: Tensor, *, nside: int, lmax: int, spin: int = 0, order: str
) -> Tensor | dict[str, Tensor]:
    """Measure the spectra of masked maps, ``C_l(mask * map) / mean(mask**2)`` [1]_.

    With ring weights, and differentiable. The divisor (f_sky times w_2) makes up for the power that
    is hidden. The mixing of degrees, and of E and B, is left in.

    Arguments:
        maps: ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2; where the mask is 0 they may
            hold anything, and nowhere else. A masked array's own mask hides pixels too.
        mask: ``(P,)`` in 0..1, in the order of the maps.
        nside: of the maps.
        lmax: largest degree to measure, at most 3 nside - 1.
        spin: 0 or 2.
        order: of the pixels, "ring" or "nested".

    Returns:
        ``(..., lmax + 1)``; with spin 2 a dict of three of them: "EE", "BB", "EB".

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> pseudo_cl(torch.ones(12), torch.ones(12), nside=1, lmax=2, order="ring")
        tensor([1.2566e+01, ...])

    .. [1] E. Hivon et al., 2002, ApJ 567, 2.
    """
    maps, mask = split_masked("maps", maps, mask, axes=1)
    mask = check_mask(mask, nside=nside)
    (maps,) = as_floats(maps=seen_maps(maps, mask, nside=nside, order=order))
    seen = mask.to(maps)
    alms = map2alm(maps * seen, nside=nside, lmax=lmax, spin=check_spin(spin), order=order)
    norm = seen.double().square().mean().item()
    if not spin:
        return alm2cl(alms, lmax=lmax) / norm
    e, b = alms.unbind(-2)
    pairs = {"EE": (e, e), "BB": (b, b), "EB": (e, b)}
    return {name: alm2cl(*pair, lmax=lmax) / norm for name, pair in pairs.items()}


def check_spectra(spectra: Mapping[str, Tensor], *, lmax: int) -> dict[str, Tensor]:
    """Return spectra as float64 ``(lmax + 1,)`` by name, if a Gaussian sky can have them.

    They are cut at lmax. E and B start at l = 2: what their spectra hold below is set to 0.

    Arguments:
        spectra: some of TT, EE, BB, TE, EB, TB, each ``(L,)``, L at least lmax + 1: tensors, arrays
            or lists.
        lmax: largest degree to keep.

    Raises:
        TypeError: no dict.
        ValueError: an unknown name, no spectrum, too short, NaN or infinite, an auto-spectrum below
            0, a cross-spectrum without both auto-spectra or too large for them; it names the
            spectrum and the first such l.

    Example:
        >>> check_spectra({"TT": [1.0, 1.0], "EE": [0.0, 0.0], "TE": [0.0, 0.5]}, lmax=1)["TE"]
        tensor([0., 0.], dtype=torch.float64)
    """
    if not isinstance(spectra, Mapping):
        raise TypeError(
            f"spectra must be a dict such as {{'TT': ..., 'EE': ...}}, got "
            f"{type(spectra).__name__}: in a bare array the order can be mistaken (TT, EE, BB, TE "
            "or TT, TE, EE, BB), and the sky would look right and be wrong"
        )
    if not spectra or not set(spectra) <= set(NAMES):
        got = sorted(map(str, spectra)) or "none"
        raise ValueError(f"spectra must have names out of {', '.join(NAMES)}, got {got}")
    lmax = check_lmax(lmax)
    out = {name: _check_spectrum(name, spectra[name], lmax) for name in NAMES if name in spectra}
    for name in out.keys() - {"TT", "EE", "BB"}:
        missing = [2 * field for field in name if 2 * field not in out]
        if missing:
            raise ValueError(
                f"spectra: {name} needs the auto-spectra of both fields; "
                f"{' and '.join(missing)} missing"
            )
    covariance_root(out, _fields(out))
    return out


def _check_spectrum(name: str, values: Tensor, lmax: int) -> Tensor:
    cl = as_tensor(f"spectra: {name}", values, dtype=torch.float64).cpu()
    if cl.dim() != 1 or len(cl) <= lmax:
        raise ValueError(
            f"spectra: {name} must be (L,), L at least {lmax + 1} (lmax + 1), "
            f"got shape {tuple(cl.shape)}"
        )
    cl = cl[: lmax + 1].clone()
    refuse(name, ~torch.isfinite(cl), "is NaN or infinite", cl)
    if name[0] == name[1]:
        refuse(name, cl < 0, "is negative, and an auto-spectrum cannot be", cl)
    return cl if name == "TT" else torch.where(torch.arange(lmax + 1) < 2, 0.0, cl)


def _fields(spectra: Mapping[str, Tensor]) -> str:
    """Return the fields that have an auto-spectrum, such as "TE"."""
    return "".join(field for field in "TEB" if 2 * field in spectra)


def gaussian_alms(
    spectra: Mapping[str, Tensor],
    *,
    lmax: int,
    size: tuple[int, ...] = (),
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """Draw coefficients of Gaussian fields, ``a_lm = root(C_l) n_lm`` with n_lm of variance 1.

    They are differentiable in the spectra, for fixed n_lm. Where an auto-spectrum is 0, or a
    correlation complete, the root has no derivative in that direction, and it counts as 0.

    Arguments:
        spectra: as in `check_spectra`; a cross-spectrum that is not named is 0.
        lmax: of the coefficients.
        size: leading axes, one draw each.
        generator: of the random numbers, which are drawn on its device; None is torch's own, on the
            CPU.
        dtype: torch.float64 or torch.float32; the coefficients are complex128 or complex64.

    Returns:
        "T", "E", "B", those that the spectra name: ``(*size, A)``. E and B are 0 below l = 2, m = 0
        is real.

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> gaussian_alms({"EE": torch.ones(9), "BB": torch.zeros(9)}, lmax=8, size=(3,))["E"].shape
        torch.Size([3, 45])
    """
    checked = check_spectra(spectra, lmax=lmax)
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    if not isinstance(size, tuple) or any(as_integer("size", n) < 1 for n in size):
        raise ValueError(f"size must be a tuple of positive integers, got {size!r}")
    fields = _fields(checked)
    l, m = alm_lm(lmax)
    device = torch.device("cpu") if generator is None else check_generator(generator).device
    root = covariance_root(checked, fields)[l].to(device, dtype)  # (A, n, n)
    # Real and imaginary parts share the variance; with m = 0 the real part has all of it.
    real_sigma = 1.0 - (1 - 0.5**0.5) * (m > 0).double()
    imag_sigma = 0.5**0.5 * (m > 0)
    sigma = torch.stack([real_sigma, imag_sigma], -1).to(device, dtype)  # (A, 2)
    shape = (*size, len(fields), alm_size(lmax), 2)
    noise = torch.randn(shape, generator=generator, dtype=dtype, device=device) * sigma
    parts = torch.einsum("aij,...jac->...iac", root, noise)  # (*size, n, A, 2)
    alms = torch.view_as_complex(parts.contiguous())
    return dict(zip(fields, alms.unbind(-2), strict=True))


def gaussian_maps(
    spectra: Mapping[str, Tensor],
    *,
    nside: int,
    lmax: int,
    order: str,
    size: tuple[int, ...] = (),
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """Draw maps of correlated Gaussian fields, with no beam and no pixel window.

    They are differentiable in the spectra, as in `gaussian_alms`.

    Arguments:
        spectra: as in `check_spectra`; a cross-spectrum that is not named is 0.
        nside: of the maps.
        lmax: of the coefficients, at most 3 nside - 1.
        order: of the pixels, "ring" or "nested".
        size: leading axes, one draw each.
        generator: as in `gaussian_alms`.
        dtype: torch.float64 or torch.float32.

    Returns:
        "T": ``(*size, P)`` and "QU": ``(*size, 2, P)``, those that the spectra name, in the square
        root of their unit.

    Raises:
        TypeError, ValueError: bad arguments, named.

    Example:
        >>> spectra = {"TT": torch.ones(9), "EE": torch.ones(9)}
        >>> gaussian_maps(spectra, nside=4, lmax=8, order="ring")["QU"].shape
        torch.Size([2, 192])
    """
    lmax = check_lmax(lmax, nside)
    check_order(order, allowed=("ring", "nested"))
    alms = gaussian_alms(spectra, lmax=lmax, size=size, generator=generator, dtype=dtype)
    out = {}
    if "T" in alms:
        out["T"] = alm2map(alms["T"], nside=nside, lmax=lmax, order=order)
    if "E" in alms or "B" in alms:
        zero = torch.zeros_like(next(iter(alms.values())))
        pair = torch.stack([alms.get("E", zero), alms.get("B", zero)], -2)  # (*size, 2, A)
        out["QU"] = alm2map(pair, nside=nside, lmax=lmax, spin=2, order=order)
    return out


def maps_from_white_noise(white_noise: Tensor, cl: Tensor, *, harmonics: RealHarmonics) -> Tensor:
    """Return Gaussian maps of independent fields: ``b_lm = sqrt(C_l) w_lm``, synthesised.

    Arguments:
        white_noise: w, ``(..., K)``, or ``(..., 2, K)``, E and B, with spin 2, independent numbers
            of variance 1 in the real packing of `skytutor.sht.real`.
        cl: spectra ``(..., lmax + 1)``, or ``(..., 2, lmax + 1)``, EE and BB, with spin 2, none
            negative; leading axes broadcast with those of `white_noise`.
        harmonics: of the maps, with the lmax of both.

    Returns:
        ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2, in the order of `harmonics`, in the
        precision of `white_noise` and in the square root of the spectra's unit.

    Raises:
        ValueError: spectra or numbers of another length than lmax asks for.

    Example:
        >>> harmonics = RealHarmonics(4, 8, order="ring")
        >>> maps_from_white_noise(torch.randn(3, 81), torch.ones(9), harmonics=harmonics).shape
        torch.Size([3, 192])
    """
    white_noise, cl = as_floats(white_noise=white_noise, cl=cl)
    if cl.shape[-1:] != (harmonics.lmax + 1,):
        raise ValueError(f"cl must end in {harmonics.lmax + 1} values, got {tuple(cl.shape)}")
    if white_noise.shape[-1:] != ((harmonics.lmax + 1) ** 2,):
        raise ValueError(
            f"white_noise must end in {(harmonics.lmax + 1) ** 2} numbers, "
            f"got shape {tuple(white_noise.shape)}"
        )
    check_broadcast(white_noise=white_noise[..., 0], cl=cl[..., 0])
    l = real_degrees(harmonics.lmax)[0].to(cl.device)
    root = root_of_power(cl).to(white_noise)[..., l]  # (..., K)
    return harmonics.synthesis((white_noise * root).to(harmonics.dtype)).to(white_noise)
