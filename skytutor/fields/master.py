"""Spectra of masked maps with the mask's coupling undone: the MASTER method [1]_, spin 0 and 2.

A pseudo-spectrum mixes multipoles, and E with B. Its mean over skies is a known matrix times the
spectrum of the sky, `ModeCoupling`, and `ModeCoupling.decouple` solves for that spectrum, at every
multipole or in bands. E-to-B leakage is taken out on the mean; its scatter stays.

Noise is left to you: an auto-spectrum holds the noise's own. Subtract its pseudo-spectrum before
decoupling, from simulations, or for white noise of variance s**2 in every pixel, ``4 pi s**2 / P``
in TT, EE and BB at every l. Or take the cross-spectrum of two maps whose noise is independent.

Conventions are those of NaMaster [2]_ but for one: pseudo-spectra here are divided by the mean of
the product of the masks, as `skytutor.fields.spectra.pseudo_cl` divides them, and so is the matrix.
What comes out of decoupling is the same. Q and U have HEALPix' signs. The names of spectra are
letters: the first map's field, then the second's.

.. [1] E. Hivon et al., 2002, ApJ 567, 2; with polarisation, M. L. Brown, P. G. Castro & A. N.
   Taylor, 2005, MNRAS 360, 1262.
.. [2] D. Alonso, J. Sanchez & A. Slosar, 2019, MNRAS 484, 4127.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.fields.binning import Binning
from skytutor.fields.coupling import coupling_kernels
from skytutor.fields.pseudo import mean_product
from skytutor.fields.spectra import alm2cl, check_mask
from skytutor.healpix import check_order
from skytutor.sht import check_lmax, map2alm

__all__ = ["ModeCoupling"]

_PLAIN = {"TT": "TT", "TE": "TE", "TB": "TE", "ET": "TE", "BT": "TE"}  # name to kernel
_NAMES = (*_PLAIN, "EE", "BB", "EB", "BE")
_WORST = 1e8  # condition number from which on a matrix cannot be undone


class ModeCoupling:
    """The coupling of multipoles, and of E and B, by a mask or by the masks of two maps.

    ``mean of the pseudo-spectrum over skies = M C``, with M of
    `skytutor.fields.coupling.coupling_kernels`. What the sky has above `lmax` is left out: choose
    it above the multipoles that you want. Up to ``(3 nside - 1) / 2`` M is exact to rounding for
    the pixel sums of `skytutor.fields.spectra.pseudo_cl`. Above, power of the mask beyond the
    degrees that its pixels carry is missing: rows near 3 nside - 1, the most that is allowed, are
    wrong by a tenth, those below two thirds of it by less than a hundredth.

    Arguments:
        mask: ``(P,)`` in 0..1, of the maps, or of the first of two.
        other_mask: of the second map; None for the same.
        nside: of the masks.
        lmax: of the spectra.
        order: of the masks' pixels, "ring" or "nested".

    Attributes:
        kernels: M as ``(lmax + 1, lmax + 1)`` float64, divided by the mean product of the masks:
            "TT", "TE", "+" and "-".

    Raises:
        TypeError, ValueError: bad arguments, named, or masks without a pixel in common.

    Example:
        >>> mask = torch.arange(192) > 60
        >>> coupling = ModeCoupling(mask, nside=4, lmax=8, order="ring")
        >>> sky = {"EE": torch.ones(9), "BB": torch.zeros(9)}
        >>> pseudo = coupling.couple(sky)  # as the mean of `pseudo_cl` over skies
        >>> bool(pseudo["BB"][2:].min() > 0.01)
        True
        >>> bool(coupling.decouple(pseudo)["BB"].abs().max() < 1e-9)
        True
    """

    def __init__(
        self,
        mask: Tensor,
        other_mask: Tensor | None = None,
        *,
        nside: int,
        lmax: int,
        order: str,
    ):
        self.nside = nside
        self.lmax = check_lmax(lmax, nside)
        self.order = check_order(order, allowed=("ring", "nested"))
        first = check_mask(mask, nside=nside)
        second = first
        if other_mask is not None:
            second = check_mask(other_mask, nside=nside, name="other_mask")
        # Degrees beyond 2 lmax couple nothing. The sums over pixels are those of pseudo-spectra,
        # ring weights and no iteration: then products of harmonics are summed alike in both.
        top = min(2 * self.lmax, 3 * nside - 1)
        alms = [
            map2alm(one.double(), nside=nside, lmax=top, order=order) for one in (first, second)
        ]
        norm = mean_product(first, second)
        found = coupling_kernels(alm2cl(*alms, lmax=top).cpu(), lmax=self.lmax)
        self.kernels = {name: kernel / norm for name, kernel in found.items()}

    def couple(
        self,
        spectra: Mapping[str, Tensor],
        *,
        transfer: Tensor | Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the pseudo-spectra that these spectra of the sky have on the mean.

        Arguments:
            spectra: C_l by name, ``(..., lmax + 1)`` each: TT, TE, TB, ET, BT, EE and BB together,
                EB with or without BE. Without BE, EB is that of a map with itself.
            transfer: what the maps keep of C_l: the product of both maps' beams and pixel windows,
                ``(L,)`` with L at least lmax + 1, or by the names of spectra. None for 1.

        Returns:
            By name, ``(..., lmax + 1)`` float64.

        Raises:
            TypeError, ValueError: bad arguments, named.
        """
        out: dict[str, Tensor] = {}
        for group, stacked in self._groups("spectra", spectra):
            matrix = self.windows(group, transfer=transfer)
            coupled = torch.einsum("iajl,...jl->...ia", matrix.to(stacked.device), stacked)
            out.update(zip(group, coupled.unbind(-2), strict=True))
        return out

    def decouple(
        self,
        pseudo: Mapping[str, Tensor],
        *,
        binning: Binning | None = None,
        transfer: Tensor | Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the spectra of the sky from pseudo-spectra: unbiased if the noise's are taken off.

        With bins, the sky's spectrum is taken as constant in each, and as 0 outside of all; what a
        spectrum that is not does to the bands, `band_windows` says. Differentiable.

        Arguments:
            pseudo: as `couple` returns them, and as `skytutor.fields.spectra.pseudo_cl` and
                `skytutor.fields.pseudo.cross_pseudo_cl` measure them with these masks.
            binning: bands to return; None for every multipole.
            transfer: as in `couple`; beams and pixel windows are divided out.

        Returns:
            By name, ``(..., lmax + 1)`` or ``(..., B)`` float64. Without bins, spectra of E and B
            are 0 below l = 2.

        Raises:
            TypeError, ValueError: bad arguments, named, or a mask that hides too much for these
                bins.

        Example:
            >>> mask = torch.arange(3072) > 1000
            >>> coupling = ModeCoupling(mask, nside=16, lmax=23, order="ring")
            >>> pseudo = coupling.couple({"TT": torch.ones(24)})
            >>> bands = coupling.decouple(pseudo, binning=Binning([0, 8, 16, 24]))["TT"]
            >>> torch.allclose(bands, torch.ones(3).double())
            True
        """
        out: dict[str, Tensor] = {}
        for group, stacked in self._groups("pseudo", pseudo):
            rows, columns = self._bands(group, binning)
            matrix = self._reduced(group, rows, columns, transfer)
            bands = stacked @ rows.T.to(stacked.device)  # (..., k, B)
            flat = bands.flatten(-2)
            every = flat.reshape(-1, flat.shape[-1]).T  # one matrix for all skies
            solved = torch.linalg.solve(matrix.to(flat.device), every).T.reshape(bands.shape)
            if binning is None:
                # What was left out at the bottom comes back as zeros.
                solved = solved @ rows.to(solved.device)
            out.update(zip(group, solved.unbind(-2), strict=True))
        return out

    def windows(
        self,
        names: tuple[str, ...],
        *,
        transfer: Tensor | Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return the coupling of some spectra as one matrix.

        Arguments:
            names: one of TT, TE, TB, ET, BT, EB, or ("EE", "BB"), or ("EB", "BE").
            transfer: as in `couple`.

        Returns:
            ``(k, lmax + 1, k, lmax + 1)`` float64 for k names: rows are of the pseudo-spectra.

        Raises:
            TypeError, ValueError: bad arguments, named.
        """
        names = tuple(names)
        plus = self.kernels["+"]
        minus = self.kernels["-"]
        if len(names) == 1 and names[0] in _PLAIN:
            blocks = [[self.kernels[_PLAIN[names[0]]]]]
        elif names == ("EE", "BB"):
            blocks = [[plus, minus], [minus, plus]]
        elif names == ("EB", "BE"):
            blocks = [[plus, -minus], [-minus, plus]]
        elif names == ("EB",):  # of a map with itself, BE is EB
            blocks = [[plus - minus]]
        else:
            raise ValueError(
                f"names must be one of {', '.join(_PLAIN)}, EB, or (EE, BB), or (EB, BE); "
                f"got {names}"
            )
        matrix = torch.stack([torch.stack(row, 1) for row in blocks])  # (k, L, k, L)
        return matrix * self._transfer(names, transfer)

    def band_windows(
        self,
        names: tuple[str, ...],
        binning: Binning,
        *,
        transfer: Tensor | Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return how bands follow from the sky's spectrum at every multipole, on the mean.

        ``band[i, b] = sum_jl window[i, b, j, l] C[j, l]``: what a theory is compared through.

        Arguments:
            names: as in `windows`.
            binning: of the bands.
            transfer: as in `couple`; it is divided out of the bands.

        Returns:
            ``(k, B, k, lmax + 1)`` float64.

        Raises:
            TypeError, ValueError: as `decouple`.
        """
        rows, columns = self._bands(tuple(names), binning)
        matrix = self._reduced(tuple(names), rows, columns, transfer)
        binned = torch.einsum("bl,iljm->ibjm", rows, self.windows(names, transfer=transfer))
        return torch.linalg.solve(matrix, binned.flatten(2).flatten(0, 1)).reshape(binned.shape)

    def _bands(self, names: tuple[str, ...], binning: Binning | None) -> tuple[Tensor, Tensor]:
        """Return what makes bands of a spectrum and a spectrum of bands, ``(B, L)`` each."""
        first = 0 if names == ("TT",) else 2  # E and B begin at l = 2
        if self.lmax < first:
            raise ValueError(
                f"lmax must be at least {first} to decouple {' and '.join(names)}, got {self.lmax}"
            )
        if binning is None:
            every = torch.eye(self.lmax + 1, dtype=torch.float64)[first:]
            return every, every
        if not isinstance(binning, Binning):
            raise TypeError(f"binning must be a Binning or None, got {type(binning).__name__}")
        if binning.edges[0] < first or binning.lmax > self.lmax:
            raise ValueError(
                f"binning must lie in l = {first}..{self.lmax} for {' and '.join(names)}, "
                f"got {binning.edges[0]}..{binning.lmax}"
            )
        beyond = (0, self.lmax - binning.lmax)
        members = binning.unbin(torch.eye(len(binning.window)))  # 1 in each bin
        pad = torch.nn.functional.pad
        return pad(binning.window, beyond), pad(members, beyond)

    def _reduced(
        self,
        names: tuple[str, ...],
        rows: Tensor,
        columns: Tensor,
        transfer: Tensor | Mapping[str, Tensor] | None,
    ) -> Tensor:
        """Return the coupling of bands ``(k B, k B)``, if it can be undone."""
        matrix = torch.einsum(
            "bl,iljm,cm->ibjc", rows, self.windows(names, transfer=transfer), columns
        )
        flat = matrix.flatten(2).flatten(0, 1)
        condition = float(
            torch.linalg.cond(flat, p=1)
        )  # by the inverse: cheaper than singular values
        if not condition < _WORST:
            raise ValueError(
                f"mask hides too much to tell these multipoles apart: the condition number of "
                f"the coupling of {' and '.join(names)} is {condition:.1e}, at most {_WORST:g} is "
                "allowed; give a binning of wider bins, or a transfer that is not so near 0"
            )
        return flat

    def _groups(
        self, name: str, spectra: Mapping[str, Tensor]
    ) -> list[tuple[tuple[str, ...], Tensor]]:
        """Return the spectra that mix with one another, names and ``(..., k, lmax + 1)``."""
        if not isinstance(spectra, Mapping):
            raise TypeError(
                f"{name} must be a dict such as {{'TT': C_l}}, got {type(spectra).__name__}"
            )
        if not spectra or not set(spectra) <= set(_NAMES):
            got = sorted(map(str, spectra)) or "none"
            raise ValueError(f"{name} must have names out of {', '.join(_NAMES)}, got {got}")
        for one, partner in (("EE", "BB"), ("BB", "EE"), ("BE", "EB")):
            if one in spectra and partner not in spectra:
                raise ValueError(f"{name}: {one} mixes with {partner}, which is missing")
        checked = {key: self._check_spectrum(name, key, cl) for key, cl in spectra.items()}
        groups: list[tuple[str, ...]] = [(key,) for key in _PLAIN if key in spectra]
        if "EE" in spectra:
            groups.append(("EE", "BB"))
        if "EB" in spectra:
            groups.append(("EB", "BE") if "BE" in spectra else ("EB",))
        return [(group, torch.stack([checked[key] for key in group], -2)) for group in groups]

    def _check_spectrum(self, name: str, key: str, cl: Tensor) -> Tensor:
        cl = as_tensor(f"{name}: {key}", cl, dtype=torch.float64)
        if cl.dim() < 1 or cl.shape[-1] != self.lmax + 1:
            raise ValueError(
                f"{name}: {key} must be (..., {self.lmax + 1}), got shape {tuple(cl.shape)}"
            )
        return cl

    def _transfer(
        self, names: tuple[str, ...], transfer: Tensor | Mapping[str, Tensor] | None
    ) -> Tensor:
        """Return the transfer function of each spectrum, ``(k, L)``, or 1."""
        if transfer is None:
            return torch.ones(len(names), self.lmax + 1, dtype=torch.float64)
        by_name = transfer if isinstance(transfer, Mapping) else dict.fromkeys(names, transfer)
        rows = []
        for key in names:
            if key not in by_name:
                raise ValueError(
                    f"transfer has none for {key}, only {', '.join(map(str, by_name))}"
                )
            row = as_tensor(f"transfer of {key}", by_name[key], dtype=torch.float64)
            fits = row.dim() == 1 and len(row) > self.lmax
            if not fits or not bool((row.isfinite() & (row >= 0)).all()):
                raise ValueError(
                    f"transfer of {key} must be (L,), L at least {self.lmax + 1}, finite and not "
                    f"negative; got shape {tuple(row.shape)}"
                )
            rows.append(row[: self.lmax + 1].detach().cpu())
        return torch.stack(rows)
