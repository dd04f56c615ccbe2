"""Shortcut tests against networks whose shortcut is known."""

import pytest
import torch
from torch import nn

from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder
from skytutor.chapters.spectra.limits import LimitNetworks
from skytutor.chapters.spectra.shortcuts import (
    resized,
    shortcut_tests,
    size_response,
    sky_response,
)
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator


class Cheat(nn.Module):
    """A network that answers with the sky: its level and its noise in a corner of r."""

    def forward(self, images):
        corner = images[:, 1, :8, :8].flatten(1) / SKY_NOISE[1]
        columns = [corner.mean(1), corner.std(1), *[0 * corner[:, 0]] * 7]
        factor = 0.5 * torch.eye(9).repeat(len(images), 1, 1)
        return torch.stack(columns, dim=1), factor


@pytest.fixture(scope="module")
def simulator():
    return GalaxySimulator()


def test_resized_galaxies_have_the_same_light_over_a_larger_area(simulator):
    galaxies = simulator.draw(10, generator=torch.Generator().manual_seed(0))
    large = resized(galaxies, 1.5)
    assert torch.equal(simulator.fluxes(large), simulator.fluxes(galaxies))
    before = simulator.images(galaxies)
    after = simulator.images(large)
    assert torch.allclose(after.sum((2, 3)), before.sum((2, 3)), rtol=0.1)
    assert (after.amax((2, 3)) < before.amax((2, 3))).all()
    back = resized(large, 1 / 1.5)
    assert torch.allclose(back.shapes.clump_x, galaxies.shapes.clump_x, rtol=1e-5, atol=1e-6)


def test_a_network_that_answers_from_the_sky_is_found(simulator):
    found = sky_response(Cheat(), level=0.1, size=50, simulator=simulator)
    # A level of 0.1 sigma over an error bar of 0.5; the noise has not changed.
    assert found["mean"][0] == pytest.approx(0.2, rel=1e-3)
    assert abs(found["mean"][1]) < 1e-3
    found = sky_response(Cheat(), noise=1.5, size=50, simulator=simulator)
    assert found["mean"][1] == pytest.approx(1.0, rel=0.3) and found["rms"][8] == 0
    assert found["width"] == pytest.approx([1.0] * 9)


def test_nothing_changes_nothing(simulator):
    found = sky_response(Cheat(), size=20, simulator=simulator)
    assert max(found["rms"]) == 0


def test_the_truth_keeps_its_redshift_when_a_galaxy_grows(simulator):
    found = size_response(
        Cheat(),
        size=40,
        simulator=simulator,
        autoencoder=SpectrumAutoencoder(),
        limits=LimitNetworks(),
    )
    assert found["truth"]["mean"][8] == 0
    # The fibre sees less of the outskirts of a larger galaxy: its spectrum must change.
    assert max(abs(value) for value in found["truth"]["mean"][6:8]) > 1e-3
    # Same sky in both images: a network that looks at it alone hardly changes its answer.
    assert abs(found["network"]["mean"][0]) < 1
    assert any(abs(value) > 1e-4 for value in found["oracle"]["mean"])


def test_all_shortcuts_are_tested_on_the_same_galaxies(simulator):
    found = shortcut_tests(
        Cheat(),
        size=20,
        simulator=simulator,
        autoencoder=SpectrumAutoencoder(),
        limits=LimitNetworks(),
    )
    assert found["level"]["mean"][0] == pytest.approx(0.1, rel=1e-3)
    assert abs(found["noise"]["mean"][2]) == 0
    with pytest.raises(ValueError, match="factor must be above 1"):
        size_response(Cheat(), factor=1.0)
