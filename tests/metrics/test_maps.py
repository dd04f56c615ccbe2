"""skytutor.metrics.maps: the seam ratio by hand, for noise and for steps at every seam."""

import pytest
import torch

from skytutor.healpix import nested_to_ring
from skytutor.metrics.maps import seam_ratio


@pytest.mark.parametrize("nside", [2, 8])
def test_seams(nside):
    maps = torch.randn(400, 12 * nside**2, generator=torch.Generator().manual_seed(1))
    assert seam_ratio(maps, order="nested") == pytest.approx(1, abs=0.05)
    ring = torch.empty_like(maps)
    ring[:, nested_to_ring(torch.arange(maps.shape[1]), nside=nside)] = maps
    assert seam_ratio(ring, order="ring") == pytest.approx(
        seam_ratio(maps, order="nested"), rel=1e-6
    )
    steps = torch.arange(12.0).repeat_interleave(nside**2)  # a step at every seam
    assert seam_ratio(0.1 * maps + steps, order="nested") > 5


def test_seams_by_hand():
    """At nside 2 each face has four pixels and four inner edges.

    One bright pixel has two inner edges and two at seams.
    """
    maps = torch.zeros(1, 48)
    # The southern pixel of face 4, on the equator: two edges inside, two to other faces.
    maps[0, 4 * 4] = 1
    # Edges of each kind: every face has four sides of two edges, each shared.
    inside = 12 * 4
    across = 12 * 4
    assert seam_ratio(maps, order="nested") == pytest.approx((2 / across) / (2 / inside))


BAD = {
    "one pixel a face": (
        lambda: seam_ratio(torch.zeros(3, 12), order="ring"),
        "nside of at least 2",
    ),
    "no map": (lambda: seam_ratio(torch.zeros(3, 50), order="ring"), "the pixels of maps must be"),
    "constant": (lambda: seam_ratio(torch.ones(3, 48), order="ring"), "constant inside"),
    "order": (lambda: seam_ratio(torch.rand(3, 48), order="face"), "'ring', 'nested'"),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
