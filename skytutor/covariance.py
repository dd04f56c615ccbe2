"""The exact covariance of a masked Gaussian sky, pixel by pixel, and what follows from it: likelihood, filter, limit.

Seen pixels d have the covariance ``C = sum_l C_l P_l + sigma**2``, P_l the sum of
``Y_lm(p) Y_lm(q)`` over m, one for E and one for B with spin 2. It is a large matrix: 3,072 rows
for Q and U on half a sky at nside 16. But HEALPix maps onto itself when it is turned by 90 degrees
about the poles. Where the mask does too (a cap about a pole, a band), the Fourier sums over the
four turns,

    d_k = (1 / 2) sum_r exp(-i pi k r / 2) d(turned r times),        k = 0, 1, 2 (3 is the conjugate
    of 1),

know nothing of each other: d_k holds the orders ``m = k`` modulo 4 alone. C falls into three blocks
of a quarter of its rows. Any other mask is one block.

Shapes: N maps, c = 1 component or 2 (Q, U), P pixels, D entries of a block, J coefficients that a
    block sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from skytutor.healpix import UNSEEN, check_maps
from skytutor.sht import check_lmax, real_degrees
from skytutor.sht.real import to_complex
from skytutor.sht.rings import rings
from skytutor.sht.transforms import Harmonics, check_spin
from skytutor.spectra import FIELDS, check_mask, check_spectra


@dataclass(frozen=True)
class Block:
    """A part of the covariance that the other parts do not touch.

    Attributes:
        waves: ``(J, D)``, of unit power.
        field: ``(J,)``, of each wave: 0; with spin 2, E is 0 and B is 1.
        degree: ``(J,)``, l of each wave.
        times: how many such blocks there are.
    """

    waves: Tensor
    field: Tensor
    degree: Tensor
    times: int


class PixelCovariance:
    """Covariance of maps of one nside, lmax, spin and mask, RING order; float64.

    Arguments:
        nside, lmax, spin: as in `skytutor.sht.Harmonics`.
        mask: ``(P,)``, seen where it is above 0: weights of a cut have no place in an exact
            covariance.
        variance: of white noise in a pixel.

    Raises:
        ValueError: a negative variance; masks as in `check_mask`.

    Example:
        >>> sky = PixelCovariance(2, 5, spin=2, mask=torch.arange(48) < 24, variance=0.1)
        >>> flat = {"EE": torch.ones(6), "BB": torch.ones(6)}
        >>> sky.log_likelihood(torch.zeros(3, 2, 48).double(), flat).shape
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
                f"variance must be one number, the same in every pixel; got {variance.numel()} values"
            )
        if not 0 <= float(variance) < float("inf"):
            raise ValueError(f"variance must be a finite number from 0 on, got {variance}")
        if lmax < spin:
            raise ValueError(f"lmax must be at least {spin} for spin {spin}, got {lmax}")
        self.variance = float(variance)
        self.places = _turns(nside, check_mask(mask, nside=nside) > 0)  # (T, quarter turns)
        self.blocks = self._blocks()

    def _harmonics(self) -> Tensor:
        """Real harmonics ``(K, [c,] T)`` of one field (E) at the first place of each row."""
        sky = Harmonics(self.nside, self.lmax, spin=self.spin, dtype=torch.float64)
        out = []
        for unit in torch.eye((self.lmax + 1) ** 2, dtype=torch.float64).split(256):
            alms = to_complex(unit)
            maps = sky.alm2map(
                torch.stack([alms, torch.zeros_like(alms)], 1) if self.spin else alms
            )
            out.append(maps[..., self.places[:, 0]])
        return torch.cat(out)

    def _blocks(self) -> list[Block]:
        rows = self._harmonics()
        (l, m) = real_degrees(self.lmax)
        kept = l >= self.spin
        if self.places.shape[1] == 1:
            return [self._block(rows[kept], l[kept], 1)]
        out = [
            self._block(2 * rows[some], l[some], 1)
            for some in (kept & (m % 4 == 0), kept & (m % 4 == 2))
        ]
        some = kept & (m > 0) & (m % 2 == 1)
        wave = (
            torch.complex(rows[some], rows[(l * (l + 1) - m)[some]]) * 2**0.5
        )  # cosine and sine: m and -m apart
        back = (m[some] % 4 == 3).view(-1, *[1] * (wave.dim() - 1))
        return [*out, self._block(torch.where(back, wave.conj(), wave), l[some], 2)]

    def _block(self, rows: Tensor, degree: Tensor, times: int) -> Block:
        """With spin 2, B is E with (Q, U) turned into (-U, Q)."""
        if not self.spin:
            return Block(rows, torch.zeros_like(degree), degree, times)
        both = torch.cat([rows, torch.stack([-rows[:, 1], rows[:, 0]], 1)])
        return Block(
            both.flatten(1), torch.arange(2).repeat_interleave(len(degree)), degree.repeat(2), times
        )

    def split(self, maps: Tensor) -> list[Tensor]:
        """Entries ``(N, D)`` of each block, from maps ``(N, [2,] P)``; pixels that are not seen may hold anything."""
        check_maps(maps, nside=self.nside, order="ring", finite=False)
        if maps.dim() != (3 if self.spin else 2) or (self.spin and maps.shape[1] != 2):
            raise ValueError(
                f"maps must be (N, {'2, ' if self.spin else ''}P) for spin {self.spin}, got shape {tuple(maps.shape)}"
            )
        seen = maps.double()[..., self.places]  # (N, [2,] T, turns)
        if not bool((torch.isfinite(seen) & (seen > 0.99 * UNSEEN)).all()):
            raise ValueError(
                "maps hold NaN, infinite or UNSEEN values in pixels that the mask shows"
            )
        if self.places.shape[1] == 1:
            return [seen[..., 0].flatten(1)]
        a, b, c, d = seen.unbind(-1)
        one = torch.complex(a - c, d - b) / 2
        return [part.flatten(1) for part in ((a + b + c + d) / 2, (a - b + c - d) / 2, one)]

    def powers(self, spectra: Mapping[str, Tensor]) -> Tensor:
        """C_l as ``(fields, lmax + 1)``; names and values as in `skytutor.spectra.check_spectra`."""
        if not isinstance(spectra, Mapping) or set(spectra) != set(FIELDS[self.spin]):
            came = (
                ", ".join(map(str, spectra))
                if isinstance(spectra, Mapping)
                else type(spectra).__name__
            )
            raise ValueError(
                f"spectra must be a dict of {', '.join(FIELDS[self.spin])} for spin {self.spin}, got {came}"
            )
        checked = check_spectra(spectra, lmax=self.lmax)
        return torch.stack([checked[name] for name in FIELDS[self.spin]])

    def matrices(self, powers: Tensor) -> list[Tensor]:
        """Covariance ``(D, D)`` of each block for powers ``(fields, lmax + 1)``, which may be those of a derivative: noise apart."""
        return [
            (b.waves.T * powers[b.field, b.degree].to(b.waves.dtype)) @ b.waves.conj()
            for b in self.blocks
        ]

    def factors(self, powers: Tensor) -> list[Tensor]:
        """Cholesky factors of the blocks, noise included.

        Raises:
            ValueError: the covariance is singular: too many pixels for the harmonics that have
                power, and no noise.
        """
        return self.factored(self.matrices(powers))

    def factored(self, matrices: list[Tensor]) -> list[Tensor]:
        """The same for matrices without noise, which are changed."""
        out = []
        for matrix in matrices:
            matrix.diagonal().add_(self.variance)
            factor, wrong = torch.linalg.cholesky_ex(matrix)
            if int(wrong):
                raise ValueError(
                    "the covariance is singular: give a variance, or power to more degrees"
                )
            out.append(factor)
        return out

    def log_likelihood(self, maps: Tensor, spectra: Mapping[str, Tensor]) -> Tensor:
        """Natural logarithm of the probability density of maps ``(N, [2,] P)``: ``(N,)``, the constant left out."""
        return self.likelihood_of(self.split(maps), self.factors(self.powers(spectra)))

    def likelihood_of(self, parts: list[Tensor], factors: list[Tensor]) -> Tensor:
        """The same for maps that are split, and blocks that are factored."""
        total = torch.zeros(len(parts[0]), dtype=torch.float64)
        for part, factor, block in zip(parts, factors, self.blocks, strict=True):
            white = torch.linalg.solve_triangular(factor, part.T, upper=False)
            logs = factor.diagonal().real.log().sum()
            total = total - block.times * (white.abs().square().sum(0) / 2 + logs)
        return total

    def band_powers(self, parts: list[Tensor], factors: list[Tensor]) -> Tensor:
        """``sum_m |Y_lm C^-1 d|**2`` of split maps: ``(N, fields, lmax + 1)``, twice the likelihood's slope in C_l but its mean."""
        fields = len(FIELDS[self.spin])
        out = torch.zeros(len(parts[0]), fields * (self.lmax + 1), dtype=torch.float64)
        for part, factor, block in zip(parts, factors, self.blocks, strict=True):
            solved = torch.cholesky_solve(part.T, factor)  # (D, N)
            seen = (block.waves.conj() @ solved).abs().square().T * block.times  # (N, J)
            out.index_add_(1, block.field * (self.lmax + 1) + block.degree, seen)
        return out.unflatten(1, (fields, self.lmax + 1))

    def fisher(self, spectra: Mapping[str, Tensor], slopes: Tensor) -> Tensor:
        """Fisher information ``(n, n)``, ``tr(C^-1 C_i C^-1 C_j) / 2``, of parameters with slopes ``(n, fields, lmax + 1)`` of C_l."""
        want = (len(FIELDS[self.spin]), self.lmax + 1)
        if slopes.dim() != 3 or tuple(slopes.shape[1:]) != want:
            raise ValueError(
                f"slopes must be (n, {want[0]}, {want[1]}), got shape {tuple(slopes.shape)}"
            )
        factors = self.factors(self.powers(spectra))
        out = torch.zeros(len(slopes), len(slopes), dtype=torch.float64)
        each = [self.matrices(slope) for slope in slopes]
        for k, (factor, block) in enumerate(zip(factors, self.blocks, strict=True)):
            solved = [torch.cholesky_solve(matrices[k], factor) for matrices in each]
            pairs = [[(a * b.T).sum().real for b in solved] for a in solved]
            out += block.times / 2 * torch.tensor(pairs, dtype=torch.float64)
        return out


def _turns(nside: int, seen: Tensor) -> Tensor:
    """Seen pixels ``(T, 4)``, each with its three quarter turns to the east, if the mask has that symmetry; else ``(T, 1)``."""
    geometry = rings(nside)
    ring = torch.repeat_interleave(geometry.count)
    along = torch.arange(len(seen)) - geometry.start[ring]
    quarter = geometry.count[ring] // 4
    turned = torch.stack(
        [geometry.start[ring] + (along + r * quarter) % geometry.count[ring] for r in range(4)], 1
    )
    if not torch.equal(seen[turned[:, 1]], seen):
        return seen.nonzero()
    return turned[seen & (along < quarter)]
