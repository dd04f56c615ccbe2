"""The same sums by ducc0 [1]_, on the CPU: no tables, any nside.

.. [1] M. Reinecke, https://gitlab.mpcdf.mpg.de/mtr/ducc
"""

import importlib.util

import torch
from torch import Tensor

from skytutor.sht.rings import colatitudes, longitudes, rings


def installed() -> bool:
    """Whether ducc0 can be imported."""
    return importlib.util.find_spec("ducc0") is not None


class Ducc:
    """As `skytutor.sht.dense.Dense`, for tensors on the CPU; it has nothing to keep."""

    def __init__(self, nside: int, lmax: int, *, spin: int):
        geometry = rings(nside)
        self.how = {
            "theta": colatitudes(nside).numpy(),
            "phi0": longitudes(nside).numpy(),
            "lmax": lmax,
            "spin": spin,
            "nphi": geometry.count.numpy().astype("uint64"),
            "ringstart": geometry.start.numpy().astype("uint64"),
        }

    def synthesis(self, alms: Tensor, factor: Tensor | None = None) -> Tensor:
        """Maps ``(N, c, P)`` of ``(N, c, A)``, each ring times its factor ``(R,)``."""
        from ducc0 import sht

        return torch.from_numpy(sht.synthesis(alm=alms.detach().numpy(), **self._call(factor)))

    def analysis(
        self, maps: Tensor, factor: Tensor | None = None, times: Tensor | None = None
    ) -> Tensor:
        """Sums ``(N, c, A)`` over pixels ``(N, c, P)``, times a factor for each ring, with the conjugate harmonics, times `times`."""
        from ducc0 import sht

        found = sht.adjoint_synthesis(map=maps.detach().contiguous().numpy(), **self._call(factor))
        if times is not None:
            found *= times.numpy()
        return torch.from_numpy(found)

    def _call(self, factor: Tensor | None) -> dict:
        """All factors are applied here: threads of a torch operation go on spinning, where ducc0's should work."""
        rings = None if factor is None else factor.detach().double().numpy()
        return self.how | {"nthreads": torch.get_num_threads(), "ringfactor": rings}
