"""Bins of multipoles: a spectrum in bands, the window of each band, and where it lies.

A band is a weighted mean of C_l over the multipoles of a bin, ``B_b = sum_l w_bl C_l`` with weights
that sum to 1 in each bin. Every multipole counts the same unless weights are given: those of
NaMaster's ``NmtBin`` [1]_.

.. [1] D. Alonso, J. Sanchez & A. Slosar, 2019, MNRAS 484, 4127.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.validate import as_integer, positive

__all__ = ["Binning"]


class Binning:
    """Bins of multipoles, ``edges[b] <= l < edges[b + 1]``.

    Arguments:
        edges: B + 1 whole numbers from 0 on, each larger than the one before; the last one is the
            first multipole that is in no bin.
        weights: ``(L,)``, L at least the last edge, of every multipole, none negative; they are
            scaled to the sum 1 in each bin. None for equal weights.

    Attributes:
        edges: a tuple of B + 1 ints.
        lmax: the last multipole in a bin.
        window: w, ``(B, lmax + 1)`` float64.

    Raises:
        TypeError: edges that are no integers.
        ValueError: too few edges, negative or not rising; weights that are too few, negative, NaN
            or infinite, or 0 in a whole bin.

    Example:
        >>> bins = Binning([2, 4, 7])
        >>> bins.bin(torch.arange(7.0))
        tensor([2.5000, 5.0000], dtype=torch.float64)
        >>> bins.effective
        tensor([2.5000, 5.0000], dtype=torch.float64)
    """

    def __init__(self, edges: Sequence[int], *, weights: Tensor | None = None):
        self.edges = tuple(as_integer("edges", edge) for edge in edges)
        if len(self.edges) < 2 or self.edges[0] < 0:
            raise ValueError(f"edges must be two or more numbers from 0 on, got {self.edges}")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"edges must rise, got {self.edges}")
        self.lmax = self.edges[-1] - 1
        weight = self._weights(weights)
        window = self._members().double() * weight  # (B, lmax + 1)
        total = window.sum(1, keepdim=True)
        if not bool((total > 0).all()):
            empty = self.edges[int((total[:, 0] == 0).nonzero()[0])]
            raise ValueError(
                f"weights must not be 0 in a whole bin, as in that from l = {empty} on"
            )
        self.window = window / total

    @classmethod
    def uniform(cls, width: int, *, lmax: int, first: int = 2) -> "Binning":
        """Return bins of one width; what is left over joins the last.

        Arguments:
            width: multipoles in a bin.
            lmax: the last multipole in a bin.
            first: the first one. 2 leaves out the monopole and the dipole, and what E and B lack.

        Raises:
            TypeError, ValueError: no whole numbers, or too few multipoles for one bin.

        Example:
            >>> Binning.uniform(10, lmax=34).edges
            (2, 12, 22, 35)
        """
        (width,) = positive(width=width)
        stop = as_integer("lmax", lmax) + 1
        start = as_integer("first", first)
        count = (stop - start) // width
        if count < 1:
            raise ValueError(
                f"lmax must leave room for a bin of {width} from l = {start} on, got {lmax}"
            )
        return cls([start + k * width for k in range(count)] + [stop])

    @property
    def effective(self) -> Tensor:
        """Return the mean multipole of each bin by its weights, ``(B,)`` float64."""
        return self.window @ torch.arange(self.lmax + 1, dtype=torch.float64)

    def bin(self, cl: Tensor) -> Tensor:
        """Return the bands of spectra; differentiable.

        Arguments:
            cl: ``(..., L)``, L at least ``lmax + 1``; what lies beyond is left out.

        Returns:
            ``(..., B)`` float64, in the unit of `cl`.

        Raises:
            ValueError: too few multipoles.
        """
        cl = as_tensor("cl", cl)
        if cl.dim() < 1 or cl.shape[-1] <= self.lmax:
            raise ValueError(
                f"cl must be (..., L), L at least {self.lmax + 1}, got shape {tuple(cl.shape)}"
            )
        return cl[..., : self.lmax + 1].double() @ self.window.T.to(cl.device)

    def unbin(self, bands: Tensor) -> Tensor:
        """Return spectra that are constant in each bin and 0 outside; differentiable.

        Arguments:
            bands: ``(..., B)``.

        Returns:
            ``(..., lmax + 1)`` float64.

        Raises:
            ValueError: another number of bands.

        Example:
            >>> Binning([1, 2, 4]).unbin(torch.tensor([5.0, 7.0]))
            tensor([0., 5., 7., 7.], dtype=torch.float64)
        """
        bands = as_tensor("bands", bands)
        if bands.shape[-1:] != (len(self.edges) - 1,):
            raise ValueError(
                f"bands must be (..., {len(self.edges) - 1}), got shape {tuple(bands.shape)}"
            )
        return bands.double() @ self._members().to(bands.device, torch.float64)

    def _members(self) -> Tensor:
        """Return which multipole is in which bin, bool ``(B, lmax + 1)``."""
        l = torch.arange(self.lmax + 1)
        edges = torch.tensor(self.edges)[:, None]
        return (l >= edges[:-1]) & (l < edges[1:])

    def _weights(self, weights: Tensor | None) -> Tensor:
        """Return the weight of every multipole before it is scaled, ``(lmax + 1,)``."""
        if weights is None:
            return torch.ones(self.lmax + 1, dtype=torch.float64)
        given = as_tensor("weights", weights, dtype=torch.float64)
        if given.dim() != 1 or len(given) <= self.lmax:
            raise ValueError(
                f"weights must be (L,), L at least {self.lmax + 1}, got {tuple(given.shape)}"
            )
        if not bool((given.isfinite() & (given >= 0)).all()):
            raise ValueError("weights must be finite, none negative")
        return given[: self.lmax + 1]

    def __repr__(self) -> str:
        """Return the edges for `print`."""
        return f"Binning({list(self.edges)})"
