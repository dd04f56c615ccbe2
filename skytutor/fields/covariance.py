"""Exact covariance of the seen pixels of a Gaussian sky: likelihood, estimates, Fisher information.

Seen pixels d have the covariance ``C = sum_l C_l P_l + sigma**2``, where ``P_l`` is the sum of
``Y_lm(p) Y_lm(q)`` over m; with spin 2 there is one sum for E and one for B. The matrix is large:
3,072 rows for Q and U on half a sky at nside 16. But HEALPix maps onto itself when it is turned by
90 degrees about the poles. Where the mask does too (a cap about a pole, a band), four pixels that
such turns carry into each other form an orbit, and the Fourier sums over an orbit,

    d_k = (1 / 2) sum_r exp(-i pi k r / 2) d(pixel turned r times),        k = 0, 1, 2,

are independent of each other, because d_k holds only the orders ``m = k`` modulo 4. (The sum of
k = 3 is the conjugate of that of k = 1.) C falls into three blocks of a quarter of its rows. Any
other mask gives one block.

Shapes: N maps, c = 1 component or 2 (Q, U), P = 12 nside**2 pixels in RING order, T orbits,
D entries of a block, J modes of a block, G blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.arrays import only_hidden
from skytutor.chunks import in_chunks
from skytutor.fields.spectra import FIELDS, check_mask, check_spectra
from skytutor.healpix import check_maps, nside_to_npix, seen_maps
from skytutor.healpix.rings import rings
from skytutor.sht import check_lmax, real_degrees
from skytutor.sht.real import to_complex
from skytutor.sht.transforms import Harmonics
from skytutor.validate import check_spin

__all__ = ["Block", "PixelCovariance"]


@dataclass(frozen=True)
class Block:
    """One block of the block-diagonal covariance, ``sum_j C_l(j) modes_j modes_j^H``.

    Attributes:
        modes: ``(J, D)``, the harmonics on the entries of the block, of unit power, float64 or
            complex128.
        field: ``(J,)``, of each mode: 0; with spin 2, E is 0 and B is 1.
        degree: ``(J,)``, l of each mode.
        multiplicity: how often the block occurs: 2 where its complex conjugate is another block.
    """

    modes: Tensor
    field: Tensor
    degree: Tensor
    multiplicity: int


class PixelCovariance:
    """Covariance of maps of one nside, lmax, spin and mask, RING order; float64.

    Arguments:
        nside: of the maps, a power of two.
        lmax: highest degree of the sky, at most 3 nside - 1.
        spin: 0 for T, 2 for Q and U.
        mask: ``(P,)``, seen where it is above 0: weights of a cut have no place in an exact
            covariance.
        variance: of white noise in a pixel, in the square of the map's unit.

    Raises:
        ValueError: a negative variance; masks as in `skytutor.fields.spectra.check_mask`.

    Example:
        >>> mask = torch.arange(48) < 24
        >>> covariance = PixelCovariance(2, 5, spin=2, mask=mask, variance=0.1)
        >>> flat = {"EE": torch.ones(6), "BB": torch.ones(6)}
        >>> covariance.log_likelihood(torch.zeros(3, 2, 48).double(), flat).shape
        torch.Size([3])
    """

    def __init__(
        self, nside: int, lmax: int, *, spin: int = 0, mask: Tensor, variance: float = 0.0
    ):
        self.nside = nside
        self.lmax = check_lmax(lmax, nside)
        self.spin = check_spin(spin)
        if isinstance(variance, Tensor) and variance.numel() > 1:
            raise ValueError(
                "variance must be one number, the same in every pixel; "
                f"got {variance.numel()} values"
            )
        if not 0 <= float(variance) < float("inf"):
            raise ValueError(f"variance must be a finite number from 0 on, got {variance}")
        if lmax < spin:
            raise ValueError(f"lmax must be at least {spin} for spin {spin}, got {lmax}")
        self.variance = float(variance)
        seen = check_mask(mask, nside=nside) > 0
        self.pixel_orbits = _pixel_orbits(nside, seen)  # (T, 4), or (T, 1) without symmetry
        self.blocks = self._blocks()

    def _harmonics(self) -> Tensor:
        """Return ``((lmax + 1)**2, [c,] T)`` real harmonics (of E) at the orbits' first pixels."""
        harmonics = Harmonics(
            self.nside, self.lmax, spin=self.spin, dtype=torch.float64, order="ring"
        )

        def at_orbits(coefs: Tensor) -> Tensor:
            alms = to_complex(coefs)
            if self.spin:
                alms = torch.stack([alms, torch.zeros_like(alms)], 1)  # E, and a B of zero
            return harmonics.alm2map(alms)[..., self.pixel_orbits[:, 0]]

        # Harmonics are the maps of unit coefficients; 256 at a time, for whole maps take memory.
        return in_chunks(at_orbits, torch.eye((self.lmax + 1) ** 2, dtype=torch.float64), size=256)

    def _blocks(self) -> list[Block]:
        """Return the blocks in the order of `split`: m = 0, then 2, then odd m, modulo 4."""
        rows = self._harmonics()
        l, m = real_degrees(self.lmax)
        kept = l >= self.spin
        if self.pixel_orbits.shape[1] == 1:
            return [self._block(rows[kept], l[kept], 1)]
        # Even m: a harmonic is the same at all four pixels of an orbit, or alternates in sign. The
        # Fourier sum, which has a factor of 1 / 2, is twice its value at the first pixel.
        out = []
        for residue in (0, 2):
            chosen = kept & (m % 4 == residue)
            out.append(self._block(2 * rows[chosen], l[chosen], 1))
        # Odd m: a quarter turn makes sines of cosines, so the two form one complex mode, and modes
        # of m and -m lie in different blocks, of k = 1 and k = 3. These are each other's conjugate.
        chosen = kept & (m > 0) & (m % 2 == 1)
        cosine = rows[chosen]
        sine = rows[(l * (l + 1) - m)[chosen]]
        mode = torch.complex(cosine, sine) * 2**0.5  # (J, [c,] T)
        # Of m = 3 modulo 4, it is the mode of -m that has k = 1.
        backward = (m[chosen] % 4 == 3).view(-1, *[1] * (mode.dim() - 1))  # (J, [1,] 1)
        mode = torch.where(backward, mode.conj(), mode)
        return [*out, self._block(mode, l[chosen], 2)]

    def _block(self, rows: Tensor, degree: Tensor, multiplicity: int) -> Block:
        """Return the block of modes ``(J, [c,] T)``; with spin 2, add those of B to those of E."""
        if not self.spin:
            return Block(rows, torch.zeros_like(degree), degree, multiplicity)
        # B is E with (Q, U) turned into (-U, Q).
        turned = torch.stack([-rows[:, 1], rows[:, 0]], 1)
        both = torch.cat([rows, turned])  # (2 J, 2, T)
        field = torch.arange(2).repeat_interleave(len(degree))
        return Block(both.flatten(1), field, degree.repeat(2), multiplicity)

    def split(self, maps: Tensor) -> list[Tensor]:
        """Return the entries of maps in each block, by Fourier sums over the pixel orbits.

        Arguments:
            maps: ``(N, [2,] P)``, RING; pixels that are not seen may hold anything, be it masked.

        Returns:
            G tensors ``(N, D)``, float64 or complex128.

        Raises:
            ValueError: another shape, or seen pixels that are masked or not finite.
        """
        looked_at = torch.zeros(nside_to_npix(self.nside), dtype=torch.bool)
        looked_at[self.pixel_orbits.flatten()] = True
        given = only_hidden("maps", maps, looked_at)
        maps = check_maps(given, nside=self.nside, order="ring", finite=False)
        if maps.dim() != (3 if self.spin else 2) or (self.spin and maps.shape[1] != 2):
            raise ValueError(
                f"maps must be (N, {'2, ' if self.spin else ''}P) for spin {self.spin}, "
                f"got shape {tuple(maps.shape)}"
            )
        kept = seen_maps(maps, looked_at, nside=self.nside, order="ring")
        seen = kept.double()[..., self.pixel_orbits]  # (N, [2,] T, 4 or 1)
        if self.pixel_orbits.shape[1] == 1:
            return [seen[..., 0].flatten(1)]
        # The Fourier sum over four values, for k = 0, 2 and 1.
        a, b, c, d = seen.unbind(-1)
        constant = (a + b + c + d) / 2
        alternating = (a - b + c - d) / 2
        turning = torch.complex(a - c, d - b) / 2
        return [constant.flatten(1), alternating.flatten(1), turning.flatten(1)]

    def powers(self, spectra: Mapping[str, Tensor]) -> Tensor:
        """Return C_l as ``(fields, lmax + 1)``, checked by `skytutor.fields.spectra.check_spectra`.

        Arguments:
            spectra: "TT" for spin 0, "EE" and "BB" for spin 2, each ``(lmax + 1,)``.

        Raises:
            ValueError: other names, lengths, or negative values.
        """
        if not isinstance(spectra, Mapping) or set(spectra) != set(FIELDS[self.spin]):
            kind = type(spectra).__name__
            came = ", ".join(map(str, spectra)) if isinstance(spectra, Mapping) else kind
            raise ValueError(
                f"spectra must be a dict of {', '.join(FIELDS[self.spin])} for spin {self.spin}, "
                f"got {came}"
            )
        checked = check_spectra(spectra, lmax=self.lmax)
        return torch.stack([checked[name] for name in FIELDS[self.spin]])

    def matrices(self, powers: Tensor) -> list[Tensor]:
        """Return the covariance of the sky in each block, ``sum_j C_l(j) modes_j modes_j^H``.

        Arguments:
            powers: ``(fields, lmax + 1)``, C_l or a derivative of C_l: noise is not added.

        Returns:
            G matrices ``(D, D)``.
        """
        out = []
        for block in self.blocks:
            weights = powers[block.field, block.degree].to(block.modes.dtype)  # (J,)
            out.append((block.modes.T * weights) @ block.modes.conj())
        return out

    def factors(self, powers: Tensor) -> list[Tensor]:
        """Return Cholesky factors ``(D, D)`` of the blocks, noise included.

        Arguments:
            powers: ``(fields, lmax + 1)``, C_l of the sky.

        Raises:
            ValueError: the covariance is singular: too many pixels for the harmonics that have
                power, and no noise.
        """
        return self.cholesky(self.matrices(powers))

    def cholesky(self, matrices: list[Tensor]) -> list[Tensor]:
        """Add the noise to matrices ``(D, D)``, in place, and return their Cholesky factors.

        Arguments:
            matrices: one for each block, as `matrices` gives them; they are changed.

        Raises:
            ValueError: the covariance is singular.
        """
        out = []
        for matrix in matrices:
            matrix.diagonal().add_(self.variance)
            factor, failed = torch.linalg.cholesky_ex(matrix)
            if int(failed):
                raise ValueError(
                    "the covariance is singular: give a variance, or power to more degrees"
                )
            out.append(factor)
        return out

    def log_likelihood(self, maps: Tensor, spectra: Mapping[str, Tensor]) -> Tensor:
        """Return ``-(d C^-1 d + ln det C) / 2`` of maps, ``(N,)``: the constant is left out.

        Arguments:
            maps: ``(N, [2,] P)``, RING.
            spectra: C_l as in `powers`.
        """
        return self.block_log_likelihood(self.split(maps), self.factors(self.powers(spectra)))

    def block_log_likelihood(self, data_blocks: list[Tensor], factors: list[Tensor]) -> Tensor:
        """Return the same as `log_likelihood`, ``(N,)``, from what `split` and `factors` gave.

        Arguments:
            data_blocks: G tensors ``(N, D)``.
            factors: G Cholesky factors ``(D, D)``.
        """
        total = torch.zeros(len(data_blocks[0]), dtype=torch.float64)
        for data, factor, block in zip(data_blocks, factors, self.blocks, strict=True):
            # With C = L L^H, d C^-1 d is the squared length of L^-1 d, and half of ln det C is the
            # sum of the logarithms on the diagonal of L.
            whitened = torch.linalg.solve_triangular(factor, data.T, upper=False)  # (D, N)
            half_log_det = factor.diagonal().real.log().sum()
            half_chi2 = whitened.abs().square().sum(0) / 2
            total = total - block.multiplicity * (half_chi2 + half_log_det)
        return total

    def quadratic_estimates(self, data_blocks: list[Tensor], factors: list[Tensor]) -> Tensor:
        """Return ``q_l = sum_m |Y_lm C^-1 d|**2`` of maps, one for each field and l.

        These are the quadratic estimates of optimal power-spectrum estimation, before their mean
        is subtracted and they are normalised: ``(q_l - <q_l>) / 2`` is the slope of the
        log-likelihood in C_l.

        Arguments:
            data_blocks: G tensors ``(N, D)``, as `split` gives them.
            factors: G Cholesky factors ``(D, D)``.

        Returns:
            ``(N, fields, lmax + 1)`` float64.
        """
        fields = len(FIELDS[self.spin])
        out = torch.zeros(len(data_blocks[0]), fields * (self.lmax + 1), dtype=torch.float64)
        for data, factor, block in zip(data_blocks, factors, self.blocks, strict=True):
            filtered = torch.cholesky_solve(data.T, factor)  # C^-1 d, (D, N)
            squares = (block.modes.conj() @ filtered).abs().square().T * block.multiplicity
            place = block.field * (self.lmax + 1) + block.degree
            out.index_add_(1, place, squares)  # squares: (N, J)
        return out.unflatten(1, (fields, self.lmax + 1))

    def fisher(self, spectra: Mapping[str, Tensor], slopes: Tensor) -> Tensor:
        """Return the Fisher information ``F_ij = tr(C^-1 C_i C^-1 C_j) / 2`` of n parameters.

        Arguments:
            spectra: C_l as in `powers`, where the information is taken.
            slopes: ``(n, fields, lmax + 1)``, derivatives of C_l by each parameter.

        Returns:
            ``(n, n)`` float64.

        Raises:
            ValueError: slopes of another shape; spectra as in `powers`.
        """
        want = (len(FIELDS[self.spin]), self.lmax + 1)
        if slopes.dim() != 3 or tuple(slopes.shape[1:]) != want:
            raise ValueError(
                f"slopes must be (n, {want[0]}, {want[1]}), got shape {tuple(slopes.shape)}"
            )
        factors = self.factors(self.powers(spectra))
        derivatives = [self.matrices(slope) for slope in slopes]
        out = torch.zeros(len(slopes), len(slopes), dtype=torch.float64)
        for k, (factor, block) in enumerate(zip(factors, self.blocks, strict=True)):
            # C^-1 C_i of each parameter, (D, D)
            filtered = [torch.cholesky_solve(matrices[k], factor) for matrices in derivatives]
            traces = torch.zeros_like(out)
            for i, a in enumerate(filtered):
                for j, b in enumerate(filtered):
                    traces[i, j] = (a * b.T).sum().real  # tr(a b), without the product
            out += block.multiplicity / 2 * traces
        return out


def _pixel_orbits(nside: int, seen: Tensor) -> Tensor:
    """Return the seen pixels, each with its three quarter turns to the east, or alone.

    Arguments:
        nside: of the map.
        seen: bool ``(P,)``, RING.

    Returns:
        RING numbers ``(T, 4)`` if the mask is the same after a quarter turn, else ``(T, 1)``.
    """
    geometry = rings(nside)
    ring = torch.repeat_interleave(geometry.pixels)
    along = torch.arange(len(seen)) - geometry.start[ring]
    # The pixels of a ring are a multiple of 4: a quarter turn is a shift along the ring.
    quarter = geometry.pixels[ring] // 4
    turned = []
    for turns in range(4):
        shifted = (along + turns * quarter) % geometry.pixels[ring]
        turned.append(geometry.start[ring] + shifted)
    orbits = torch.stack(turned, 1)  # (P, 4)
    if not torch.equal(seen[orbits[:, 1]], seen):
        return seen.nonzero()
    # One row an orbit: the pixel in the first quarter of its ring leads.
    return orbits[seen & (along < quarter)]
