"""Spherical-harmonic transforms of HEALPix maps: exact sums, exact adjoints, differentiable both ways.

    f(p) = sum_lm a_lm Y_lm(p),      a_lm = (4 pi / P) sum_p w_p f(p) conj(Y_lm(p))

Spin 2 relates Q and U to E and B as HEALPix does, ``Q +- i U = -sum_lm (E_lm +- i B_lm) +-2Y_lm``;
its U has the opposite sign of the IAU's.

Shapes: maps ``(..., P)`` with P = 12 nside**2 pixels, a_lm ``(..., A)`` with A = (lmax + 1) (lmax +
    2) / 2, complex, in
healpy's packing (`skytutor.sht.packing`). With spin 2 the axis before the last holds Q, U or E, B.
"""

import torch
from torch import Tensor, nn

from skytutor.healpix import check_maps, check_nside, check_order, order_table, pixel_area
from skytutor.healpix.checks import as_integer
from skytutor.sht.dense import CHUNKS, Dense
from skytutor.sht.ducc import Ducc, installed
from skytutor.sht.packing import check_alms, check_lmax, degrees
from skytutor.sht.rings import ring_weights, rings

BACKENDS = ("ducc0", "torch")
_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


class _Synthesis(torch.autograd.Function):
    """Maps of coefficients, each ring times its factor. Orders m > 0 stand for -m too, so their gradient counts twice."""

    @staticmethod
    def forward(ctx, alms: Tensor, sums, twice: Tensor, factor: Tensor | None) -> Tensor:
        ctx.how = sums, twice, factor
        return sums.synthesis(alms, factor)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Analysis.apply(gradient, *ctx.how, True), None, None, None


class _Analysis(torch.autograd.Function):
    """Sums of maps, each ring times its factor, with the conjugate harmonics; `both` counts -m too, the true adjoint."""

    @staticmethod
    def forward(
        ctx, maps: Tensor, sums, twice: Tensor, factor: Tensor | None, both: bool = False
    ) -> Tensor:
        ctx.how = (sums, twice, factor)
        ctx.both = both
        return sums.analysis(maps, factor, twice if both else None)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        gradient = gradient if ctx.both else gradient / ctx.how[1]
        return _Synthesis.apply(gradient, *ctx.how), None, None, None, None


class Harmonics(nn.Module):
    """Both transforms at one nside, lmax, spin, order and precision, with what they need made once.

    Arguments:
        nside, lmax: of the maps and the coefficients; lmax at most 3 nside - 1.
        spin: 0 or 2.
        order: "ring" or "nested".
        dtype: of the maps, torch.float32 or torch.float64.
        backend: "ducc0" (CPU), "torch", or None: ducc0 for tensors on the CPU if it is installed,
            else torch.
        room: bytes that tables of the "torch" backend may take; beyond, they are made anew, in
            chunks, at each call.

    Raises:
        TypeError, ValueError: bad arguments, named. ImportError: "ducc0" asked for and not
            installed.

    Example:
        >>> sky = Harmonics(4, 8)
        >>> sky.alm2map(torch.ones(3, 45, dtype=torch.complex64)).shape
        torch.Size([3, 192])
    """

    def __init__(
        self,
        nside: int,
        lmax: int,
        *,
        spin: int = 0,
        order: str = "ring",
        dtype: torch.dtype = torch.float32,
        backend: str | None = None,
        room: int = 2**30,
    ):
        super().__init__()
        self.nside = check_nside(nside)
        self.lmax = check_lmax(lmax, nside)
        self.spin = check_spin(spin)
        self.order = check_order(order, allowed=("ring", "nested"))
        self.dtype = dtype
        if dtype not in _COMPLEX:
            raise TypeError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        if backend not in (*BACKENDS, None):
            raise ValueError(f"backend must be 'ducc0', 'torch' or None, got {backend!r}")
        if backend == "ducc0" and not installed():
            raise ImportError(
                'backend="ducc0" needs ducc0: pip install "skytutor[fast] @ git+https://github.com/skytutor/skytutor"'
            )
        self.backend = backend
        self.room = room
        self.ducc = Ducc(nside, lmax, spin=spin) if backend != "torch" and installed() else None
        self.dense = None if self.ducc else self._make_dense()
        area = torch.full((4 * nside - 1,), pixel_area(nside), dtype=torch.float64)
        tables = {
            "twice": 2.0 - (degrees(lmax)[1] == 0).double(),
            "area": area,
            "quadrature": area * ring_weights(nside),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.to(dtype), persistent=False)

    def _make_dense(self, chunks: int = CHUNKS) -> Dense:
        return Dense(
            self.nside, self.lmax, spin=self.spin, dtype=self.dtype, room=self.room, chunks=chunks
        )

    def _sums(self, device: torch.device) -> Ducc | Dense:
        if device.type == "cpu" and self.ducc is not None:
            return self.ducc
        if self.backend == "ducc0":
            raise ValueError(f'backend="ducc0" works on the CPU alone, got a tensor on {device}')
        chunks = (
            CHUNKS if device.type == "cpu" else 1
        )  # a GPU waits for launches, not for what padding adds
        if self.dense is None or self.dense.chunks != chunks:
            self.dense = self._make_dense(chunks).to(device)
        return self.dense

    def _fold(self, function, tensor: Tensor, factor: Tensor | None = None) -> Tensor:
        """Fold the leading axes into one and unfold them again; the component axis is there for every spin."""
        parts = 2 if self.spin else 1
        lead = tensor.shape[: -2 if self.spin else -1]
        found = function.apply(
            tensor.reshape(-1, parts, tensor.shape[-1]),
            self._sums(tensor.device),
            self.twice,
            factor,
        )
        return found.reshape(*lead, *found.shape[-2 if self.spin else -1 :])

    def _turn_order(self, maps: Tensor, source: str, target: str) -> Tensor:
        if source == target:
            return maps
        return maps[..., order_table(self.nside, source=source, target=target).to(maps.device)]

    def pixel_weights(self) -> Tensor:
        """Ring weights ``(P,)`` of every pixel, in this order; their mean is 1."""
        weights = (self.quadrature / self.area).repeat_interleave(
            rings(self.nside).count.to(self.area.device)
        )
        return self._turn_order(weights, "ring", self.order)

    def alm2map(self, alms: Tensor) -> Tensor:
        """Maps ``(..., [2,] P)`` of coefficients ``(..., [2,] A)``; the imaginary parts of m = 0 do not count."""
        self._same("alms", alms, _COMPLEX[self.dtype])
        check_alms(alms, lmax=self.lmax, spin=self.spin, finite=not torch.compiler.is_compiling())
        return self._turn_order(self._fold(_Synthesis, alms), "ring", self.order)

    def map2alm(self, maps: Tensor, *, iterations: int = 0, weights: str | None = "ring") -> Tensor:
        """Coefficients ``(..., [2,] A)`` of maps ``(..., [2,] P)``.

        Arguments:
            iterations: how often to analyse what is still missing from the map and add it (Jacobi).
            weights: "ring", or None for equal weights.
        """
        self._same("maps", maps, self.dtype)
        check_maps(
            maps, nside=self.nside, order=self.order, finite=not torch.compiler.is_compiling()
        )
        if self.spin and (maps.dim() < 2 or maps.shape[-2] != 2):
            raise ValueError(
                f"maps must be (..., 2, P), Q and U, for spin 2; got shape {tuple(maps.shape)}"
            )
        if as_integer("iterations", iterations) < 0:
            raise ValueError(f"iterations must not be negative, got {iterations}")
        if weights not in ("ring", None):
            raise ValueError(f"weights must be 'ring' or None, got {weights!r}")
        maps = self._turn_order(maps, self.order, "ring")
        factor = self.quadrature if weights else self.area
        alms = self._fold(_Analysis, maps, factor)
        for _ in range(iterations):
            alms = alms + self._fold(_Analysis, maps - self._fold(_Synthesis, alms), factor)
        return alms

    def _same(self, name: str, tensor: Tensor, dtype: torch.dtype) -> None:
        """Refuse another device or precision than the tables'; what is no tensor of that kind is refused elsewhere."""
        if not isinstance(tensor, Tensor):
            return
        if tensor.device != self.twice.device:
            raise ValueError(
                f"{name} are on {tensor.device}, the tables on {self.twice.device}: move one with .to()"
            )
        if (
            tensor.dtype != dtype
            and tensor.dtype in (*_COMPLEX, *_COMPLEX.values())
            and tensor.is_complex() == dtype.is_complex
        ):
            raise TypeError(f"{name} must be {dtype}, as these tables are; got {tensor.dtype}")

    def extra_repr(self) -> str:
        return f"nside={self.nside}, lmax={self.lmax}, spin={self.spin}, order={self.order!r}, dtype={self.dtype}"


def check_spin(spin: int) -> int:
    """Return `spin` if it is 0 or 2."""
    if as_integer("spin", spin) not in (0, 2):
        raise ValueError(f"spin must be 0 or 2, got {spin}")
    return int(spin)
