"""Random maps, and the way from NESTED to each pixel order and back, done by healpy."""

import healpy as hp
import numpy as np
import torch

ORDERS = ["ring", "nested", "face"]
CLOSE = {torch.float32: {"rtol": 0.0, "atol": 1e-6}, torch.float64: {"rtol": 0.0, "atol": 1e-12}}


def random_maps(nside, batch=2, channels=3, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, 12 * nside**2, generator=rng, dtype=dtype)


def as_order(nested, order, nside):
    """NESTED maps (B, C, P) as the input that a layer of this order takes. healpy does the work."""
    if order == "nested":
        return nested
    if order == "ring":
        return nested[..., torch.from_numpy(hp.ring2nest(nside, np.arange(12 * nside**2)))]
    y, x = np.mgrid[:nside, :nside]
    pix = hp.xyf2pix(nside, x[None], y[None], np.arange(12)[:, None, None], nest=True)
    return nested[..., torch.from_numpy(pix)]


def as_nested(out, order, nside):
    if order == "nested":
        return out
    if order == "ring":
        return out[..., torch.from_numpy(hp.nest2ring(nside, np.arange(12 * nside**2)))]
    x, y, f = (torch.from_numpy(a) for a in hp.pix2xyf(nside, np.arange(12 * nside**2), nest=True))
    return out[..., f, y, x]
