"""The sums of `skytutor.sht.dense` by ducc0 [1]_, on the CPU: no tables, any nside.

.. [1] M. Reinecke, https://gitlab.mpcdf.mpg.de/mtr/ducc
"""

import importlib.util
from typing import Any

import torch
from torch import Tensor

from skytutor.healpix.rings import colatitudes, longitudes, rings


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
        from ducc0 import sht

        maps = sht.synthesis(alm=alms.detach().numpy(), **self._arguments(ring_weights))
        return torch.from_numpy(maps)

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
        from ducc0 import sht

        pixels = maps.detach().contiguous().numpy()
        alms = sht.adjoint_synthesis(map=pixels, **self._arguments(ring_weights))
        if m_multiplicity is not None:
            alms *= m_multiplicity.numpy()
        return torch.from_numpy(alms)

    def _arguments(self, ring_weights: Tensor | None) -> dict[str, Any]:
        """Return what ducc0 is called with.

        It applies the weights too: threads of a torch operation go on spinning, where ducc0's
        should work.
        """
        weights = None if ring_weights is None else ring_weights.detach().double().numpy()
        return self.geometry | {"nthreads": torch.get_num_threads(), "ringfactor": weights}
