"""skytutor.chapters.translation.source_finding: where sources are, and whose light is whose."""

import pytest
import torch

from skytutor.chapters.translation.source_finding import find_sources, segments

SIZE = 48


def blob(column, row, *, peak, width=1.5):
    """Return a round source, (H, H)."""
    place = torch.arange(SIZE, dtype=torch.float32)
    squared = (place - column) ** 2 + (place[:, None] - row) ** 2
    return peak * torch.exp(-squared / (2 * width**2))


def found_in(*blobs, least=1.0):
    return find_sources(torch.stack(blobs).sum(0)[None], least=least)


def test_the_brightest_comes_first_and_stands_where_it_is():
    found = found_in(blob(10, 20, peak=5.0), blob(30, 12, peak=50.0))
    assert found.there.tolist() == [[True, True]]
    assert found.column.tolist() == [[30.0, 10.0]] and found.row.tolist() == [[12.0, 20.0]]
    assert found.peak[0].tolist() == pytest.approx([50.0, 5.0], rel=1e-4)


def test_what_is_fainter_than_the_least_is_no_source():
    assert not found_in(blob(10, 20, peak=0.9)).there.any()
    assert found_in(blob(10, 20, peak=1.1)).there.sum() == 1


@pytest.mark.parametrize(("gap", "count"), [(5, 2), (12, 2)])
def test_two_stars_with_a_valley_between_them_are_two(gap, count):
    found = found_in(blob(20, 20, peak=9.0), blob(20 + gap, 20, peak=8.0))
    assert int(found.there.sum()) == count


def test_clumps_on_a_bright_disc_are_parts_of_one_source():
    disc = blob(24, 24, peak=20.0, width=6.0)
    clumps = [blob(20, 26, peak=4.0), blob(28, 23, peak=5.0)]
    assert int(found_in(disc, *clumps).there.sum()) == 1
    # The same two without the disc.
    assert int(found_in(*clumps).there.sum()) == 2


def test_images_of_a_batch_do_not_meet():
    images = torch.stack([blob(10, 20, peak=5.0), torch.zeros(SIZE, SIZE)])
    found = find_sources(images, least=1.0)
    assert found.there.tolist() == [[True], [False]]


def test_light_is_parted_without_a_rest():
    blobs = [blob(10, 20, peak=100.0), blob(24, 20, peak=10.0)]
    image = torch.stack(blobs).sum(0)[None]
    parts, _ = segments(image, find_sources(image, least=1.0))
    assert parts.sum(1).flatten().tolist() == pytest.approx([1.0] * SIZE**2, abs=1e-5)
    light = (parts * image[:, None]).sum((-2, -1))[0]
    for own, one in zip(light.tolist(), blobs, strict=True):
        assert own == pytest.approx(float(one.sum()), rel=0.02)


def test_a_wide_source_is_told_from_a_narrow_one():
    image = (blob(10, 20, peak=9.0) + blob(34, 20, peak=9.0, width=4.0))[None]
    found = find_sources(image, least=1.0)
    _, width = segments(image, found)
    narrow, wide = width[0, found.column[0].argsort()].tolist()
    assert wide > 1.8 * narrow


def test_nothing_is_parted_where_nothing_was_found():
    image = torch.zeros(1, SIZE, SIZE)
    parts, _ = segments(image, find_sources(image, least=1.0))
    assert not parts.any()
