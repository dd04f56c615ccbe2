"""SphereProjection: what it draws for an image, and where it lays it."""

import pytest
import torch

from skytutor.data import digits
from skytutor.data.projection import SphereProjection


def test_affine_maps_stay_near_the_identity():
    projection = SphereProjection(
        nside=8, affine_std=0.08, shift_std=0.04, in_plane_rotation_std_deg=7
    )
    affine = projection.draw_affine(5000, generator=torch.Generator().manual_seed(0))
    assert affine.shape == (5000, 2, 3)
    torch.testing.assert_close(affine.mean(0), torch.eye(2, 3), rtol=0, atol=0.02)
    angle = torch.atan2(affine[:, 1, 0] - affine[:, 0, 1], affine[:, 0, 0] + affine[:, 1, 1])
    assert 5 < float(angle.std().rad2deg()) < 9
    assert float(affine[:, :, 2].std()) == pytest.approx(0.04, rel=0.2)
    still = SphereProjection(nside=8).draw_affine(3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(still, torch.eye(2, 3).expand(3, 2, 3))


def test_a_centred_projection_does_not_care_where_in_its_image_a_digit_lies():
    images = digits.load("embedded").part("validation")[0][:10]
    moved = images.roll((2, -1), (1, 2))  # the margin is two wide
    centred = SphereProjection(nside=8, centred=True)
    maps = centred.project(images)
    torch.testing.assert_close(centred.project(moved), maps, rtol=0, atol=1e-5)
    as_it_comes = SphereProjection(nside=8)
    assert not torch.allclose(as_it_comes.project(moved), as_it_comes.project(images), atol=0.1)
    affine = centred.draw_affine(10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(centred.project(images, affine=affine), maps, rtol=0, atol=1e-6)


def test_elastic_shifts_are_drawn_only_where_a_projection_has_them():
    g = torch.Generator().manual_seed(0)
    assert SphereProjection(nside=8).draw_elastic(3, generator=g) == []
    (elastic,) = SphereProjection(nside=8, elastic_std=0.05).draw_elastic(4000, generator=g)
    assert elastic.shape == (4000, 2, 5, 5) and float(elastic.abs().max()) < 0.1001
    assert float(elastic.std()) == pytest.approx(0.05, rel=0.15)
    assert abs(float(elastic.mean())) < 0.001
