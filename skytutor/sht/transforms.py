"""Spherical-harmonic transforms of HEALPix maps.

    f(p) = sum_lm a_lm Y_lm(p),      a_lm = (4 pi / P) sum_p w_p f(p) conj(Y_lm(p))

They are exact sums, with exact adjoints, and differentiable both ways. Spin 2 relates Q and U to E
and B as HEALPix does, ``Q +- i U = -sum_lm (E_lm +- i B_lm) +-2Y_lm``; its U has the opposite sign
of the IAU's.

Shapes: maps ``(..., P)`` with P = 12 nside**2 pixels, a_lm ``(..., A)`` with
A = (lmax + 1) (lmax + 2) / 2, complex, in healpy's packing (`skytutor.sht.packing`). With spin 2
the axis before the last holds Q, U or E, B.
"""

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.healpix import check_maps, check_nside, check_order, pixel_area
from skytutor.healpix.numbering import shared_order_table
from skytutor.healpix.rings import ring_weights as quadrature_weights
from skytutor.healpix.rings import rings
from skytutor.sht._linear import Operator, apply_linear
from skytutor.sht.dense import CHUNKS, Dense
from skytutor.sht.ducc import Ducc, installed
from skytutor.sht.packing import HALF, alm_lm, check_alms, check_lmax
from skytutor.tables import TableModule
from skytutor.validate import as_integer, check_spin, positive

BACKENDS = ("ducc0", "torch")
_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


class Harmonics(TableModule):
    """Both transforms at one nside, lmax, spin, order and precision, with what they need made once.

    Both are linear, and have derivatives of every order, forward and backward; `torch.func` may map
    over them and differentiate them. The sums are made in the precision of the tables under
    `torch.autocast` too, and numbers of 16 bits are widened to it. It is that of `dtype` for good:
    ``.half()`` and ``.double()`` of a network around leave the tables as they are. In a graph that
    is being compiled or exported values are not looked at.

    Arguments:
        nside: of the maps.
        lmax: of the coefficients, at most 3 nside - 1.
        spin: 0 or 2.
        order: "ring" or "nested".
        dtype: of the maps, torch.float32 or torch.float64.
        backend: "ducc0" (CPU), "torch", or None: ducc0 for tensors on the CPU if it is installed,
            else torch.
        max_bytes: what the tables of the "torch" backend may take, at least 1; beyond, they are
            made anew, in chunks, at each call.

    Raises:
        TypeError: bad arguments, named.
        ValueError: bad arguments, named.
        ImportError: "ducc0" asked for and not installed.

    Example:
        >>> sky = Harmonics(4, 8, order="ring")
        >>> sky.alm2map(torch.ones(3, 45, dtype=torch.complex64)).shape
        torch.Size([3, 192])
    """

    _fixed_precision = True
    m_multiplicity: Tensor  # (A,), 1 for m = 0 and 2 for m > 0, which stands for -m too
    area: Tensor  # (R,), a pixel's area in steradians, the same for every ring
    quadrature: Tensor  # (R,), the area times the ring weights

    def __init__(
        self,
        nside: int,
        lmax: int,
        *,
        spin: int = 0,
        order: str,
        dtype: torch.dtype = torch.float32,
        backend: str | None = None,
        max_bytes: int = 2**30,
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
                'backend="ducc0" needs ducc0: pip install '
                '"skytutor[fast] @ git+https://github.com/skytutor/skytutor"'
            )
        self.backend = backend
        (self.max_bytes,) = positive(max_bytes=max_bytes)
        self.ducc = Ducc(nside, lmax, spin=spin) if backend != "torch" and installed() else None
        self.dense = None if self.ducc else self._make_dense()
        area = torch.full((4 * nside - 1,), pixel_area(nside), dtype=torch.float64)
        tables = {
            "m_multiplicity": 2.0 - (alm_lm(lmax)[1] == 0).double(),
            "area": area,
            "quadrature": area * quadrature_weights(nside),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.to(dtype), persistent=False)

    def _make_dense(self, chunks: int = CHUNKS) -> Dense:
        return Dense(
            self.nside,
            self.lmax,
            spin=self.spin,
            dtype=self.dtype,
            max_bytes=self.max_bytes,
            chunks=chunks,
        )

    def _backend_on(self, device: torch.device) -> Ducc | Dense:
        """Return what does the sums for tensors on this device."""
        if device.type == "cpu" and self.ducc is not None:
            return self.ducc
        if self.backend == "ducc0":
            raise ValueError(f'backend="ducc0" works on the CPU alone, got a tensor on {device}')
        # A GPU waits for launches, not for the arithmetic that padding adds.
        chunks = CHUNKS if device.type == "cpu" else 1
        if self.dense is None or self.dense.chunks != chunks:
            self.dense = self._make_dense(chunks).to(device)
        return self.dense

    def _synthesise(self, alms: Tensor) -> Tensor:
        """Return maps in RING order of coefficients ``(..., [2,] A)``."""
        sums = self._backend_on(alms.device)
        return self._on_flat(
            alms,
            sums.synthesis,
            # An order m > 0 stands for -m too, so its gradient counts twice.
            adjoint=lambda maps: sums.analysis(maps, None, self.m_multiplicity),
        )

    def _analyse(self, maps: Tensor, ring_weights: Tensor) -> Tensor:
        """Return coefficients of maps ``(..., [2,] P)`` in RING order, each ring times a weight."""
        sums = self._backend_on(maps.device)
        return self._on_flat(
            maps,
            lambda flat: sums.analysis(flat, ring_weights),
            adjoint=lambda alms: sums.synthesis(alms / self.m_multiplicity, ring_weights),
        )

    def _on_flat(self, tensor: Tensor, operator: Operator, *, adjoint: Operator) -> Tensor:
        """Apply an operator to the leading axes as one axis and give them back.

        The operator sees ``(N, c, ...)``, with an axis of one component for spin 0.
        """
        components = 2 if self.spin else 1
        vector_dims = 2 if self.spin else 1
        lead = tensor.shape[:-vector_dims]
        flat = tensor.reshape(-1, components, tensor.shape[-1])
        out = apply_linear(flat, operator, adjoint=adjoint)
        return out.reshape(*lead, *out.shape[-vector_dims:])

    def _reorder(self, maps: Tensor, source: str, target: str) -> Tensor:
        if source == target:
            return maps
        table = shared_order_table(self.nside, source=source, target=target)
        return maps[..., table.to(maps.device)]

    def pixel_weights(self) -> Tensor:
        """Return the ring weight of every pixel, ``(P,)`` in this order; their mean is 1."""
        pixels = rings(self.nside).pixels.to(self.area.device)
        weights = (self.quadrature / self.area).repeat_interleave(pixels)
        return self._reorder(weights, "ring", self.order)

    def alm2map(self, alms: Tensor) -> Tensor:
        """Return the maps of coefficients, ``f(p) = sum_lm a_lm Y_lm(p)``.

        Arguments:
            alms: ``(..., A)``, or ``(..., 2, A)``, E and B, with spin 2. The imaginary parts of
                m = 0 do not count.

        Returns:
            ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2.

        Raises:
            TypeError: not complex, or another precision than the tables'.
            ValueError: another size or device, NaN or infinite values.
        """
        alms = self._as_tables("alms", as_tensor("alms", alms), _COMPLEX[self.dtype])
        alms = check_alms(alms, lmax=self.lmax, spin=self.spin)
        return self._reorder(self._synthesise(alms), "ring", self.order)

    def map2alm(self, maps: Tensor, *, iterations: int = 0, weights: str | None = "ring") -> Tensor:
        """Return the coefficients of maps, ``a_lm = (4 pi / P) sum_p w_p f(p) conj(Y_lm(p))``.

        Arguments:
            maps: ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2.
            iterations: how often to analyse what is still missing from the map and add it (Jacobi).
            weights: "ring", or None for equal weights.

        Returns:
            ``(..., A)``, or ``(..., 2, A)``, E and B, with spin 2.

        Raises:
            TypeError: not floating, or another precision than the tables'.
            ValueError: another size or device, values that are no numbers, negative iterations,
                other weights.
        """
        maps = self.check_maps(maps)
        if as_integer("iterations", iterations) < 0:
            raise ValueError(f"iterations must not be negative, got {iterations}")
        if weights not in ("ring", None):
            raise ValueError(f"weights must be 'ring' or None, got {weights!r}")
        maps = self._reorder(maps, self.order, "ring")
        ring_weights = self.quadrature if weights else self.area
        alms = self._analyse(maps, ring_weights)
        for _ in range(iterations):
            missing = maps - self._synthesise(alms)
            alms = alms + self._analyse(missing, ring_weights)
        return alms

    def check_maps(self, maps: Tensor) -> Tensor:
        """Return maps if they can be analysed, in the precision of the tables.

        Arguments:
            maps: ``(..., P)``, or ``(..., 2, P)``, Q and U, with spin 2.

        Raises:
            TypeError: not floating, or another precision than the tables'.
            ValueError: another size or device, values that are no numbers.
        """
        maps = self._as_tables("maps", as_tensor("maps", maps), self.dtype)
        maps = check_maps(maps, nside=self.nside, order=self.order)
        if self.spin and (maps.dim() < 2 or maps.shape[-2] != 2):
            raise ValueError(
                f"maps must be (..., 2, P), Q and U, for spin 2; got shape {tuple(maps.shape)}"
            )
        return maps

    def _as_tables(self, name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """Return a tensor of the tables' device and precision: 16 bits are widened to them.

        What is no tensor of that kind at all is refused elsewhere.
        """
        if tensor.device != self.m_multiplicity.device:
            raise ValueError(
                f"{name} are on {tensor.device}, the tables on {self.m_multiplicity.device}: "
                "move one with .to()"
            )
        numbers = tensor.is_floating_point() or tensor.is_complex()
        if tensor.dtype == dtype or not numbers or tensor.is_complex() != dtype.is_complex:
            return tensor
        if tensor.dtype in HALF:
            return tensor.to(dtype)
        raise TypeError(f"{name} must be {dtype}, as these tables are; got {tensor.dtype}")

    def extra_repr(self) -> str:
        """Return the sizes for ``print``."""
        return (
            f"nside={self.nside}, lmax={self.lmax}, spin={self.spin}, order={self.order!r}, "
            f"dtype={self.dtype}"
        )
