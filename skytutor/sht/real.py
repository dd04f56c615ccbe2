"""The transforms in real arithmetic, for layers: coefficients sorted by degree.

A real map is ``f(p) = sum_l sum_(m=-l)^(l) b_lm R_lm(p)`` with orthonormal real harmonics,
``R_l0 = Y_l0``, ``R_lm = sqrt(2) Re Y_lm`` and ``R_(l,-m) = sqrt(2) Im Y_lm`` for m > 0. So
``b_lm = sqrt(2) Re a_lm`` and ``b_(l,-m) = -sqrt(2) Im a_lm``. Every coefficient counts once:
powers are sums of squares, adjoints are transposes, a rotation is an orthogonal matrix for each l,
and the first (L + 1)**2 coefficients are those up to L.

Shapes: ``K = (lmax + 1)**2`` coefficients, (l, m) at index ``l (l + 1) + m``; P = 12 nside**2
pixels.
"""

import math

import torch
from torch import Tensor, nn

from skytutor.arrays import as_floats, as_tensor
from skytutor.healpix import pixel_area
from skytutor.memo import cached_table
from skytutor.sht._linear import in_full_precision
from skytutor.sht.packing import HALF, alm_lm, alm_size, check_lmax
from skytutor.sht.transforms import Harmonics
from skytutor.tables import TableModule

# Bytes. A matrix larger than this is slower on a CPU than the transform that it stands for.
MAX_BYTES = 2**24


@cached_table(maxsize=32)
def _real_indices(lmax: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return where (l, m) and (l, -m) lie in the real packing, and whether m > 0.

    Each is ``(A,)``, in the order of the complex packing.
    """
    l, m = alm_lm(lmax)
    return l * (l + 1) + m, l * (l + 1) - m, m > 0


def real_degrees(lmax: int) -> tuple[Tensor, Tensor]:
    """Return the degree l and the order m of every coefficient in the real packing.

    Arguments:
        lmax: largest degree of the packing.

    Returns:
        l and m, ``(K,)`` int64 each, m from -l to l.

    Example:
        >>> real_degrees(1)
        (tensor([0, 1, 1, 1]), tensor([ 0, -1,  0,  1]))
    """
    l = torch.repeat_interleave(torch.arange(lmax + 1), 2 * torch.arange(lmax + 1) + 1)
    return l, torch.arange(len(l)) - l * (l + 1)


def lmax_of(coefs: Tensor, name: str = "coefs") -> int:
    """Return the largest degree of real coefficients, from their number.

    Arguments:
        coefs: ``(..., K)``.
        name: what the error message calls them.

    Returns:
        ``sqrt(K) - 1``.

    Raises:
        ValueError: K is no square of a positive integer.

    Example:
        >>> lmax_of(torch.zeros(5, 81))
        8
    """
    coefs = as_tensor(name, coefs)
    if coefs.dim() == 0:
        raise ValueError(f"{name} must end in (lmax + 1)**2 real coefficients, got one number")
    lmax = math.isqrt(coefs.shape[-1]) - 1
    if lmax < 0 or (lmax + 1) ** 2 != coefs.shape[-1]:
        raise ValueError(
            f"{name} must end in (lmax + 1)**2 real coefficients, got shape {tuple(coefs.shape)}"
        )
    return lmax


def to_real(alms: Tensor, *, lmax: int) -> Tensor:
    """Return the real coefficients of complex ones; the imaginary parts of m = 0 are dropped.

    Arguments:
        alms: ``(..., A)`` complex, in healpy's packing.
        lmax: largest degree of the packing.

    Returns:
        ``(..., K)`` real.

    Example:
        >>> to_real(torch.tensor([1.0, 2.0, 3.0 + 4.0j]), lmax=1)
        tensor([ 1.0000, -5.6569,  2.0000,  4.2426])
    """
    alms = as_tensor("alms", alms)
    if not alms.is_complex():
        raise TypeError(f"alms must be complex numbers, got {alms.dtype}")
    if alms.shape[-1:] != (alm_size(lmax),):
        raise ValueError(
            f"alms must end in {alm_size(lmax)} for lmax {lmax}, got shape {tuple(alms.shape)}"
        )
    alms = alms.to(HALF.get(alms.dtype, alms.dtype)).resolve_conj()
    plus, minus, m_positive = (t.to(alms.device) for t in _real_indices(lmax))
    real = torch.where(m_positive, math.sqrt(2) * alms.real, alms.real)
    imag = -math.sqrt(2) * alms.imag
    # Where m = 0 both go to the same place: the real parts come last.
    out = real.new_zeros(*alms.shape[:-1], (lmax + 1) ** 2)
    return out.index_copy(-1, minus, imag).index_copy(-1, plus, real)


def to_complex(coefs: Tensor) -> Tensor:
    """Return the complex coefficients of real ones: the inverse of `to_real`.

    Arguments:
        coefs: ``(..., K)`` real.

    Returns:
        ``(..., A)`` complex, in healpy's packing.

    Raises:
        ValueError: K is no square.
    """
    (coefs,) = as_floats(coefs=coefs)
    plus, minus, m_positive = (t.to(coefs.device) for t in _real_indices(lmax_of(coefs)))
    real = coefs[..., plus]
    imag = -math.sqrt(0.5) * coefs[..., minus]
    return torch.complex(
        torch.where(m_positive, math.sqrt(0.5) * real, real), torch.where(m_positive, imag, 0.0)
    )


class RealHarmonics(TableModule):
    """Synthesis and quadrature between maps and real coefficients.

    Where the matrix of all harmonics fits into `max_bytes`, each is one product with it: the
    fastest way up to nside 16 or so, and nothing but real arithmetic for `torch.compile`. Beyond,
    they are `Harmonics`'. Either way they keep the precision of the tables under `torch.autocast`,
    and widen numbers of 16 bits to it.

    Arguments:
        nside: of the maps.
        lmax: of the coefficients, at most 3 nside - 1.
        spin: 0 or 2.
        order: "ring" or "nested".
        dtype: of the maps, torch.float32 or torch.float64.
        max_bytes: what the matrix may take; 0 for none.

    Example:
        >>> sky = RealHarmonics(4, 8, order="ring")
        >>> sky.synthesis(torch.ones(3, 5, 81)).shape
        torch.Size([3, 5, 192])
    """

    harmonics: Tensor  # (K, P), or (K, 2 P), Q and U of E, with spin 2
    weighted: Tensor  # the transpose of the same times pixel area and ring weights

    def __init__(
        self,
        nside: int,
        lmax: int,
        *,
        spin: int = 0,
        order: str,
        dtype: torch.dtype = torch.float32,
        max_bytes: int = MAX_BYTES,
    ):
        super().__init__()
        self.nside = nside
        self.lmax = check_lmax(lmax, nside)
        self.spin = spin
        self.order = order
        components = 2 if spin else 1
        matrix_bytes = (lmax + 1) ** 2 * 12 * nside**2 * components * dtype.itemsize
        self.transform = (
            None
            if matrix_bytes <= max_bytes
            else Harmonics(nside, lmax, spin=spin, order=order, dtype=dtype)
        )
        if self.transform is None:
            harmonics, weighted = self._matrices(dtype)
            self.register_buffer("harmonics", harmonics, persistent=False)
            self.register_buffer("weighted", weighted, persistent=False)

    def _matrices(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        sky = Harmonics(
            self.nside, self.lmax, spin=self.spin, order=self.order, dtype=torch.float64
        )
        unit = to_complex(torch.eye((self.lmax + 1) ** 2, dtype=torch.float64))  # (K, A)
        # With spin 2 those of E alone: B is E turned by 45 degrees.
        alms = torch.stack([unit, torch.zeros_like(unit)], 1) if self.spin else unit
        rows = sky.alm2map(alms)  # (K, [2,] P)
        # Quadrature takes a scalar product with each harmonic, so its matrix is the transpose.
        weights = sky.pixel_weights() * pixel_area(self.nside)
        weighted = (rows * weights).flatten(1).T.contiguous()
        return rows.flatten(1).to(dtype), weighted.to(dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the maps."""
        return self.harmonics.dtype if self.transform is None else self.transform.dtype

    def synthesis(self, coefs: Tensor) -> Tensor:
        """Return the maps of coefficients.

        Arguments:
            coefs: ``(..., K)``, or ``(..., 2, K)``, E and B, with spin 2; fewer of them, up to a
                lower lmax, will do.

        Returns:
            ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2.

        Raises:
            TypeError: another precision than the tables'.
            ValueError: too many coefficients, a number that is no square, or not E and B.
        """
        coefs = as_tensor("coefs", coefs)
        fits = lmax_of(coefs) <= self.lmax
        coefs = self._checked("coefs", coefs, fits)
        missing = (self.lmax + 1) ** 2 - coefs.shape[-1]
        if self.transform is not None:
            return self.transform.alm2map(to_complex(nn.functional.pad(coefs, (0, missing))))
        return in_full_precision(coefs, self._product)

    def _product(self, coefs: Tensor) -> Tensor:
        """Return the maps of coefficients by the matrix."""
        matrix = self.harmonics[: coefs.shape[-1]]
        if not self.spin:
            return coefs @ matrix
        e, b = coefs.unbind(-2)  # (..., K)
        qe, ue = (e @ matrix).unflatten(-1, (2, -1)).unbind(-2)  # (..., P)
        qb, ub = (b @ matrix).unflatten(-1, (2, -1)).unbind(-2)
        return torch.stack([qe - ub, ue + qb], -2)  # B is E turned by 45 degrees

    def analysis(self, maps: Tensor) -> Tensor:
        """Return the coefficients of maps by quadrature with ring weights.

        Arguments:
            maps: ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2.

        Returns:
            ``(..., K)``, or ``(..., 2, K)``, E and B, with spin 2.

        Raises:
            TypeError: another precision than the tables'.
            ValueError: another number of pixels, or not Q and U.
        """
        maps = as_tensor("maps", maps)
        maps = self._checked("maps", maps, maps.shape[-1:] == (12 * self.nside**2,))
        if self.transform is not None:
            return to_real(self.transform.map2alm(maps), lmax=self.lmax)
        return in_full_precision(maps, lambda pixels: self._rows(pixels) @ self.weighted)

    def adjoint(self, maps: Tensor) -> Tensor:
        """Return scalar products of maps with the harmonics: the transpose of `synthesis`.

        There are no ring weights in it and no pixel area.

        Arguments:
            maps: ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2.

        Returns:
            ``(..., K)``, or ``(..., 2, K)``, E and B, with spin 2.

        Raises:
            TypeError: another precision than the tables'.
            ValueError: another number of pixels, or not Q and U.
        """
        maps = as_tensor("maps", maps)
        maps = self._checked("maps", maps, maps.shape[-1:] == (12 * self.nside**2,))
        if self.transform is not None:
            alms = self.transform.map2alm(maps, weights=None)
            return to_real(alms, lmax=self.lmax) / pixel_area(self.nside)
        return in_full_precision(maps, lambda pixels: self._rows(pixels) @ self.harmonics.T)

    def _rows(self, maps: Tensor) -> Tensor:
        """Return maps for a product with the harmonics: with spin 2 those of E, ``(..., 2, 2 P)``.

        The second row is turned by 45 degrees, so that the product gives B.
        """
        if not self.spin:
            return maps
        q, u = maps.unbind(-2)
        return torch.stack([q, u, u, -q], -2).unflatten(-2, (2, 2)).flatten(-2)

    def _checked(self, name: str, tensor: Tensor, fits: bool) -> Tensor:
        """Return a tensor in the precision of the tables, if it has the shape for them."""
        has_components = tensor.dim() > 1 and tensor.shape[-2] == 2
        if not fits or (self.spin and not has_components):
            what = (
                f"at most {(self.lmax + 1) ** 2} coefficients"
                if name == "coefs"
                else f"{12 * self.nside**2} pixels"
            )
            two = "two components of " if self.spin else ""
            raise ValueError(
                f"{name} must end in {two}{what} at nside {self.nside}, "
                f"got shape {tuple(tensor.shape)}"
            )
        tables = self.harmonics.dtype if self.transform is None else self.transform.dtype
        if tensor.dtype not in (tables, *HALF):
            raise TypeError(f"{name} must be {tables}, as these tables are; got {tensor.dtype}")
        return tensor.to(tables)

    def extra_repr(self) -> str:
        """Return the sizes for ``print``."""
        method = "matrix" if self.transform is None else "transform"
        return (
            f"nside={self.nside}, lmax={self.lmax}, spin={self.spin}, order={self.order!r}, "
            f"{method}"
        )
