"""The sums of `skytutor.sht.dense` by ducc0 [1]_, on the CPU: no tables, any nside.

``torch.compile``, ``torch.export`` and ``torch.jit.trace`` record one operator of torch for each
sum, `skytutor::synthesis` and `skytutor::analysis`, with its shapes, its derivatives of every order
and its rule for `torch.func.vmap`. Elsewhere ducc0 is called without them, which takes less time.

.. [1] M. Reinecke, https://gitlab.mpcdf.mpg.de/mtr/ducc
"""

import importlib.util
from typing import Any

import torch
from torch import Tensor

from skytutor.healpix.rings import colatitudes, longitudes, rings
from skytutor.memo import cached_object
from skytutor.sht.packing import alm_size
from skytutor.values import is_intercepted

_SIZES = "int nside, int lmax, int spin) -> Tensor"


def installed() -> bool:
    """Return whether ducc0 can be imported."""
    return importlib.util.find_spec("ducc0") is not None


class Ducc:
    """Sums at one nside, lmax and spin for tensors on the CPU; there is nothing to keep.

    Arguments:
        nside: of the maps.
        lmax: of the coefficients.
        spin: 0 or 2.
    """

    def __init__(self, nside: int, lmax: int, *, spin: int):
        geometry = rings(nside)
        self.sizes = (nside, lmax, spin)
        self.geometry: dict[str, Any] = {
            "theta": colatitudes(nside).numpy(),
            "phi0": longitudes(nside).numpy(),
            "lmax": lmax,
            "spin": spin,
            "nphi": geometry.pixels.numpy().astype("uint64"),
            "ringstart": geometry.start.numpy().astype("uint64"),
        }

    def synthesis(self, alms: Tensor, ring_weights: Tensor | None = None) -> Tensor:
        """Return the maps of coefficients, each ring times its weight.

        Arguments:
            alms: ``(N, c, A)`` complex.
            ring_weights: ``(R,)``; None for 1.

        Returns:
            ``(N, c, P)`` real, RING order.
        """
        if is_intercepted():
            recorded: Tensor = torch.ops.skytutor.synthesis(alms, ring_weights, *self.sizes)
            return recorded
        return self.synthesis_now(alms, ring_weights)

    def analysis(
        self,
        maps: Tensor,
        ring_weights: Tensor | None = None,
        m_multiplicity: Tensor | None = None,
    ) -> Tensor:
        """Return sums over the pixels, times ring weights, with the conjugate harmonics.

        Arguments:
            maps: ``(N, c, P)`` real, RING order.
            ring_weights: ``(R,)``; None for 1.
            m_multiplicity: ``(A,)``, by which the sums are multiplied; None for 1.

        Returns:
            ``(N, c, A)`` complex.
        """
        if is_intercepted():
            recorded: Tensor = torch.ops.skytutor.analysis(
                maps, ring_weights, m_multiplicity, *self.sizes
            )
            return recorded
        return self.analysis_now(maps, ring_weights, m_multiplicity)

    def synthesis_now(self, alms: Tensor, ring_weights: Tensor | None) -> Tensor:
        """Return what `synthesis` does, not recorded."""
        if self.has_no_degrees:
            return torch.zeros_like(_maps_like(alms, ring_weights, *self.sizes))
        from ducc0 import sht

        coefficients = alms.detach().resolve_conj().numpy()
        maps = sht.synthesis(alm=coefficients, **self._arguments(ring_weights))
        return torch.from_numpy(maps)

    def analysis_now(
        self, maps: Tensor, ring_weights: Tensor | None, m_multiplicity: Tensor | None
    ) -> Tensor:
        """Return what `analysis` does, not recorded."""
        if self.has_no_degrees:
            return torch.zeros_like(_alms_like(maps, ring_weights, m_multiplicity, *self.sizes))
        from ducc0 import sht

        pixels = maps.detach().resolve_neg().contiguous().numpy()
        alms = sht.adjoint_synthesis(map=pixels, **self._arguments(ring_weights))
        if m_multiplicity is not None:
            alms *= m_multiplicity.numpy()
        return torch.from_numpy(alms)

    @property
    def has_no_degrees(self) -> bool:
        """Return whether all degrees lie below the spin, so that there is nothing to sum."""
        _, lmax, spin = self.sizes
        return lmax < spin

    def _arguments(self, ring_weights: Tensor | None) -> dict[str, Any]:
        """Return what ducc0 is called with.

        It applies the weights too: threads of a torch operation go on spinning, where ducc0's
        should work.
        """
        weights = None if ring_weights is None else ring_weights.detach().double().numpy()
        return self.geometry | {"nthreads": torch.get_num_threads(), "ringfactor": weights}


@cached_object(maxsize=8)
def _ducc(*sizes: int) -> Ducc:
    nside, lmax, spin = sizes
    return Ducc(nside, lmax, spin=spin)


def _maps_like(alms: Tensor, ring_weights: Tensor | None, *sizes: int) -> Tensor:
    """Return maps of the shape and the kind that `_synthesis` makes, not filled."""
    real = torch.float64 if alms.dtype == torch.complex128 else torch.float32
    return alms.new_empty(*alms.shape[:-1], 12 * sizes[0] ** 2, dtype=real)


def _alms_like(
    maps: Tensor, ring_weights: Tensor | None, m_multiplicity: Tensor | None, *sizes: int
) -> Tensor:
    """Return coefficients of the shape and the kind that `_analysis` makes, not filled."""
    complex_ = torch.complex128 if maps.dtype == torch.float64 else torch.complex64
    return maps.new_empty(*maps.shape[:-1], alm_size(sizes[1]), dtype=complex_)


@torch.library.custom_op(
    "skytutor::synthesis",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor alms, Tensor? ring_weights, {_SIZES}",
)
def _synthesis(alms: Tensor, ring_weights: Tensor | None, *sizes: int) -> Tensor:
    return _ducc(*sizes).synthesis_now(alms, ring_weights)


@torch.library.custom_op(
    "skytutor::analysis",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor maps, Tensor? ring_weights, Tensor? m_multiplicity, {_SIZES}",
)
def _analysis(
    maps: Tensor, ring_weights: Tensor | None, m_multiplicity: Tensor | None, *sizes: int
) -> Tensor:
    return _ducc(*sizes).analysis_now(maps, ring_weights, m_multiplicity)


def _multiplicity(like: Tensor, lmax: int) -> Tensor:
    """Return how often each coefficient counts in a sum over all m: m > 0 stands for -m too."""
    counts = torch.full((alm_size(lmax),), 2, dtype=like.real.dtype, device=like.device)
    counts[: lmax + 1] = 1
    return counts


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    # Between the first argument and the sizes: ring weights, and of `_analysis` the counts.
    ctx.save_for_backward(*inputs[1:-3])
    ctx.sizes = inputs[-3:]


def _synthesis_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (ring_weights,) = ctx.saved_tensors
    counts = _multiplicity(gradient, ctx.sizes[1])
    alms = torch.ops.skytutor.analysis(gradient, ring_weights, counts, *ctx.sizes)
    return alms, *[None] * 4


def _analysis_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    ring_weights, counted = ctx.saved_tensors
    counts = _multiplicity(gradient, ctx.sizes[1])
    alms = gradient / counts if counted is None else gradient * (counted / counts)
    return torch.ops.skytutor.synthesis(alms, ring_weights, *ctx.sizes), *[None] * 5


def _mapped(operator: Any) -> Any:
    """Return the rule for `torch.func.vmap`: what is mapped over is one more axis of the batch."""

    def rule(info: Any, in_dims: tuple[Any, ...], tensor: Tensor, *rest: Any) -> tuple[Tensor, int]:
        return operator(tensor.movedim(in_dims[0], 0), *rest), 0

    return rule


for _operator, _like, _backward in (
    (_synthesis, _maps_like, _synthesis_backward),
    (_analysis, _alms_like, _analysis_backward),
):
    _operator.register_fake(_like)
    _operator.register_autograd(_backward, setup_context=_keep)
    if hasattr(_operator, "register_vmap"):  # from torch 2.5 on
        _operator.register_vmap(_mapped(_operator))
