"""skytutor.chapters.translation.limits: a known scene by least squares, against numpy."""

import numpy as np
import pytest
import torch

from skytutor.chapters.translation.limits import components_there, measure_sources
from skytutor.chapters.translation.scored_scenes import sources_of
from skytutor.data.bands import EMPTY, GALAXY, STAR, SceneSimulator


@pytest.fixture(scope="module")
def simulator():
    return SceneSimulator(["NUV", "r", "red"], size=32)


def observed(simulator, n, seed=0):
    rng = torch.Generator().manual_seed(seed)
    scenes = simulator.draw(n, generator=rng)
    planes = simulator.planes(scenes)
    return scenes, planes, simulator.expose(simulator.truth(scenes, planes=planes), generator=rng)


def test_fluxes_and_covariance_are_those_of_weighted_least_squares(simulator):
    scenes, planes, seen = observed(simulator, 3)
    found = measure_sources(simulator, scenes, seen, planes=planes)
    there = components_there(scenes)
    variance = simulator.variance(seen.truth)
    for b in range(3):
        keep = there[b].flatten()
        for f in range(3):
            templates = simulator.renderer.templates(planes[b : b + 1, keep], band=f)[0]
            weight = torch.where(seen.ivar[b, f] > 0, variance[b, f] ** -0.5, 0).flatten()
            matrix = (templates.flatten(1) * weight).T.double().numpy()
            data = (seen.images[b, f].flatten() * weight).double().numpy()
            scale = np.linalg.norm(matrix, axis=0)
            inverse = np.linalg.inv(
                (matrix / scale).T @ (matrix / scale) + 1e-7 * np.eye(len(scale))
            )
            flux = inverse @ ((matrix / scale).T @ data) / scale
            error = np.sqrt(np.diag(inverse)) / scale
            mine = found.flux[b, :, f].flatten()[keep].numpy()
            assert bool((np.abs(mine - flux) < 0.02 * error).all())
            mine = torch.diagonal(found.covariance[b, :, f], dim1=-2, dim2=-1).flatten()[keep]
            assert np.allclose(mine.sqrt().numpy(), error, rtol=5e-3)


def test_errors_are_as_large_as_they_claim():
    simulator = SceneSimulator(["r", "J"], size=32)
    scenes, planes, seen = observed(simulator, 150, seed=1)
    total, error = measure_sources(simulator, scenes, seen, planes=planes).total()
    there = scenes.kind != EMPTY
    pull = ((total - scenes.source_flux()) / error)[there]
    assert bool((pull.mean(0).abs() < 4 / len(pull) ** 0.5).all())
    assert bool(((pull.std(0) > 0.9) & (pull.std(0) < 1.1)).all())


def test_what_is_not_there_has_no_flux_and_no_error(simulator):
    scenes, planes, seen = observed(simulator, 4)
    found = measure_sources(simulator, scenes, seen, planes=planes)
    there = components_there(scenes)
    assert bool((there[scenes.kind == STAR] == torch.tensor([True, False, False])).all())
    assert bool(there[scenes.kind == GALAXY].all()) and not bool(there[scenes.kind == EMPTY].any())
    absent = ~there[:, :, None].expand_as(found.flux)
    assert float(found.flux[absent].abs().max()) == 0
    variance = torch.diagonal(found.covariance, dim1=-2, dim2=-1)
    assert float(variance[absent].abs().max()) == 0 and float(variance[~absent].min()) > 0


def test_some_bands_alone_are_measured_as_among_all(simulator):
    scenes, planes, seen = observed(simulator, 2)
    every = measure_sources(simulator, scenes, seen, planes=planes)
    one = measure_sources(simulator, scenes, seen, planes=planes, bands=[2])
    assert torch.equal(one.flux[:, :, 0], every.flux[:, :, 2])


def test_a_table_has_a_row_for_each_source(simulator):
    scenes, planes, seen = observed(simulator, 5)
    table = sources_of(simulator, scenes, seen, planes=planes)
    there = scenes.kind != EMPTY
    assert len(table) == int(there.sum())
    assert torch.equal(table.truth.sum(-1), scenes.flux.mT[there].sum(-1))
    assert bool(torch.isfinite(table.shape).all())
