"""The transforms in real arithmetic, for layers: coefficients sorted by degree, and one matrix product where it is fastest.

A real map is ``f(p) = sum_l sum_(m=-l)^(l) b_lm R_lm(p)`` with orthonormal real harmonics,
``R_l0 = Y_l0``, ``R_lm = sqrt(2) Re Y_lm`` and ``R_(l,-m) = sqrt(2) Im Y_lm`` for m > 0. So
``b_lm = sqrt(2) Re a_lm`` and ``b_(l,-m) = -sqrt(2) Im a_lm``. Every coefficient counts once:
powers are sums of squares, adjoints are transposes, a rotation is an orthogonal matrix for each l,
and the first (L + 1)**2 coefficients are those up to L.

Shapes: ``K = (lmax + 1)**2`` coefficients at place ``l (l + 1) + m``, P = 12 nside**2 pixels.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from skytutor.healpix import pixel_area
from skytutor.sht.packing import check_lmax, degrees
from skytutor.sht.transforms import Harmonics

ROOM = (
    2**24
)  # bytes; a matrix larger than this is slower on a CPU than the transform that it stands for


@lru_cache(maxsize=32)
def _places(lmax: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where (l, m) and (l, -m) lie in the real packing, in the order of the complex one, and whether m > 0."""
    l, m = degrees(lmax)
    return l * (l + 1) + m, l * (l + 1) - m, m > 0


def real_degrees(lmax: int) -> tuple[Tensor, Tensor]:
    """L and m of every place in the real packing, int64."""
    l = torch.repeat_interleave(torch.arange(lmax + 1), 2 * torch.arange(lmax + 1) + 1)
    return l, torch.arange(len(l)) - l * (l + 1)


def degree_of(coefs: Tensor, name: str = "coefs") -> int:
    """The lmax of coefficients ``(..., K)``; ``ValueError`` unless K is a square."""
    lmax = math.isqrt(coefs.shape[-1]) - 1
    if lmax < 0 or (lmax + 1) ** 2 != coefs.shape[-1]:
        raise ValueError(
            f"{name} must end in (lmax + 1)**2 real coefficients, got shape {tuple(coefs.shape)}"
        )
    return lmax


def to_real(alms: Tensor, *, lmax: int) -> Tensor:
    """Real coefficients ``(..., K)`` of complex ones ``(..., A)`` in healpy's packing; the imaginary parts of m = 0 are dropped.

    Example:
        >>> to_real(torch.tensor([1.0, 2.0, 3.0 + 4.0j]), lmax=1)
        tensor([ 1.0000, -5.6569,  2.0000,  4.2426])
    """
    plus, minus, twice = (t.to(alms.device) for t in _places(lmax))
    out = alms.real.new_empty(*alms.shape[:-1], (lmax + 1) ** 2)
    out[..., minus[twice]] = -math.sqrt(2) * alms[..., twice].imag
    out[..., plus] = torch.where(twice, math.sqrt(2) * alms.real, alms.real)
    return out


def to_complex(coefs: Tensor) -> Tensor:
    """The inverse of `to_real`."""
    plus, minus, twice = (t.to(coefs.device) for t in _places(degree_of(coefs)))
    real = coefs[..., plus]
    imag = -math.sqrt(0.5) * coefs[..., minus]
    return torch.complex(
        torch.where(twice, math.sqrt(0.5) * real, real), torch.where(twice, imag, 0.0)
    )


class RealHarmonics(nn.Module):
    """Synthesis and quadrature between maps and real coefficients at one nside, lmax, spin and order.

    Where the matrix of all harmonics fits into `room` bytes, each is one product with it: the
    fastest way up to nside 16 or so, and nothing but real arithmetic for `torch.compile`. Beyond,
    they are `Harmonics`'.

    Arguments:
        nside, lmax, spin, order, dtype: as in `Harmonics`.
        room: bytes that the matrix may take.

    Example:
        >>> sky = RealHarmonics(4, 8)
        >>> sky.synthesis(torch.ones(3, 5, 81)).shape
        torch.Size([3, 5, 192])
    """

    def __init__(
        self,
        nside: int,
        lmax: int,
        *,
        spin: int = 0,
        order: str = "ring",
        dtype: torch.dtype = torch.float32,
        room: int = ROOM,
    ):
        super().__init__()
        self.nside = nside
        self.lmax = check_lmax(lmax, nside)
        self.spin = spin
        self.order = order
        size = (lmax + 1) ** 2 * 12 * nside**2 * (2 if spin else 1) * dtype.itemsize
        self.sums = (
            None if size <= room else Harmonics(nside, lmax, spin=spin, order=order, dtype=dtype)
        )
        if self.sums is None:
            for name, table in zip(("harmonics", "weighted"), self._tables(dtype), strict=True):
                self.register_buffer(name, table, persistent=False)

    def _tables(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Harmonics ``(K, [2,] P)``, those of E with spin 2, and the same times pixel area and ring weights, transposed."""
        sky = Harmonics(
            self.nside, self.lmax, spin=self.spin, order=self.order, dtype=torch.float64
        )
        unit = to_complex(torch.eye((self.lmax + 1) ** 2, dtype=torch.float64))  # (K, A)
        rows = sky.alm2map(torch.stack([unit, torch.zeros_like(unit)], 1) if self.spin else unit)
        # A column for each pixel of one map: what the quadrature makes of it is the weighted
        # transpose.
        weight = sky.pixel_weights() * pixel_area(self.nside)
        return rows.flatten(1).to(dtype), (rows * weight).flatten(1).T.contiguous().to(dtype)

    def synthesis(self, coefs: Tensor) -> Tensor:
        """Maps ``(..., [2,] P)`` of coefficients ``(..., [2,] K)``; fewer of them, up to a lower lmax, will do."""
        self._check(
            "coefs", coefs, coefs.shape[-1] <= (self.lmax + 1) ** 2 and degree_of(coefs) >= 0
        )
        missing = (self.lmax + 1) ** 2 - coefs.shape[-1]
        if self.sums is not None:
            return self.sums.alm2map(to_complex(nn.functional.pad(coefs, (0, missing))))
        table = self.harmonics[: coefs.shape[-1]]
        if not self.spin:
            return coefs @ table
        (qe, ue), (qb, ub) = (
            (c @ table).unflatten(-1, (2, -1)).unbind(-2) for c in coefs.unbind(-2)
        )
        return torch.stack([qe - ub, ue + qb], -2)  # B is E turned by 45 degrees

    def analysis(self, maps: Tensor) -> Tensor:
        """Coefficients ``(..., [2,] K)`` of maps ``(..., [2,] P)`` by quadrature with ring weights."""
        self._check("maps", maps, maps.shape[-1] == 12 * self.nside**2)
        if self.sums is not None:
            return to_real(self.sums.map2alm(maps), lmax=self.lmax)
        if not self.spin:
            return maps @ self.weighted
        q, u = maps.unbind(-2)
        turned = torch.stack([q, u, u, -q], -2).unflatten(-2, (2, 2))  # (..., E and B, 2, P)
        return turned.flatten(-2) @ self.weighted

    def adjoint(self, maps: Tensor) -> Tensor:
        """Scalar products ``(..., [2,] K)`` of maps with the harmonics: the transpose of `synthesis`, no weights, no area."""
        self._check("maps", maps, maps.shape[-1] == 12 * self.nside**2)
        if self.sums is not None:
            return to_real(self.sums.map2alm(maps, weights=None), lmax=self.lmax) / pixel_area(
                self.nside
            )
        if not self.spin:
            return maps @ self.harmonics.T
        q, u = maps.unbind(-2)
        return torch.stack([q, u, u, -q], -2).unflatten(-2, (2, 2)).flatten(-2) @ self.harmonics.T

    def _check(self, name: str, tensor: Tensor, fits: bool) -> None:
        parts = tensor.dim() > 1 and tensor.shape[-2] == 2
        if not fits or (self.spin and not parts):
            what = (
                f"at most {(self.lmax + 1) ** 2} coefficients"
                if name == "coefs"
                else f"{12 * self.nside**2} pixels"
            )
            two = "two components of " if self.spin else ""
            raise ValueError(
                f"{name} must end in {two}{what} at nside {self.nside}, got shape {tuple(tensor.shape)}"
            )

    def extra_repr(self) -> str:
        way = "matrix" if self.sums is None else "transform"
        return (
            f"nside={self.nside}, lmax={self.lmax}, spin={self.spin}, order={self.order!r}, {way}"
        )
