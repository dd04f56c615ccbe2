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
            "theta": colatitudes(nside).numpy(), "phi0": longitudes(nside).numpy(), "lmax": lmax, "spin": spin,
            "nphi": geometry.count.numpy().astype("uint64"), "ringstart": geometry.start.numpy().astype("uint64"),
        }  # fmt: skip

    def synthesis(self, alms: Tensor) -> Tensor:
        """Maps ``(N, c, P)`` of ``(N, c, A)``."""
        from ducc0 import sht

        return torch.from_numpy(sht.synthesis(alm=alms.detach().numpy(), nthreads=torch.get_num_threads(), **self.how))

    def analysis(self, maps: Tensor) -> Tensor:
        """Sums ``(N, c, A)`` over the pixels of ``(N, c, P)`` with the conjugate harmonics: no weights, no pixel area."""
        from ducc0 import sht

        found = sht.adjoint_synthesis(map=maps.detach().contiguous().numpy(), nthreads=torch.get_num_threads(), **self.how)
        return torch.from_numpy(found)
