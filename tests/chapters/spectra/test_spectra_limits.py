"""The oracle: least-squares fluxes, tables of numbers, networks on them."""

import pytest
import torch

from skytutor.chapters.spectra.limits import (
    KNOWLEDGE,
    LimitNetworks,
    least_squares,
    tables,
)
from skytutor.chapters.spectra.sample import draw_sample
from skytutor.data.galaxies import SKY_NOISE, GalaxySimulator, Photometry


@pytest.fixture(scope="module")
def sample():
    return draw_sample(GalaxySimulator(), 60, generator=torch.Generator().manual_seed(0))


def photometry_of(gram, measured):
    return Photometry(flux=measured.mT, measured=measured, gram=gram, fibre=torch.ones(1, 3))


def test_least_squares_undo_the_overlap_of_known_templates():
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randn(5, 400, 3, generator=rng)
    gram = (pixels.mT @ pixels)[None]
    true = torch.rand(1, 5, 3, generator=rng)
    flux, lower = least_squares(photometry_of(gram, torch.einsum("bfij,bfj->bfi", gram, true)))
    assert torch.allclose(flux, true, atol=1e-5)
    # The covariance of a linear regression with noise sigma in each pixel.
    sigma = torch.tensor(SKY_NOISE)[:, None, None]
    wanted = sigma**2 * torch.linalg.inv(gram[0])
    assert torch.allclose(lower[0] @ lower[0].mT, wanted, rtol=1e-3, atol=1e-9)


def test_least_squares_of_an_image_are_those_of_its_sums():
    """Regression on the 4,096 pixels of an image, against sums of image times template."""
    simulator = GalaxySimulator()
    rng = torch.Generator().manual_seed(2)
    galaxies = simulator.draw(3, generator=rng)
    planes = simulator.renderer.planes(galaxies.shapes)
    images = simulator.images(galaxies, planes=planes, generator=rng)
    templates = simulator.renderer.component_images(planes).permute(0, 2, 3, 4, 1).flatten(2, 3)
    pixels = images.flatten(2)[..., None].double()
    wanted = torch.linalg.lstsq(templates.double(), pixels).solution[..., 0]
    gram = (templates.mT @ templates).double()
    measured = (templates.mT.double() @ pixels)[..., 0]
    flux, lower = least_squares(photometry_of(gram, measured))
    error = lower.square().sum(3).sqrt()
    assert ((flux - wanted).abs() / error).max() < 0.05


def test_estimates_scatter_about_the_truth_by_their_errors(sample):
    flux, lower = least_squares(sample.photometry)
    away = (flux - sample.photometry.flux.mT)[..., None]
    white = torch.linalg.solve_triangular(lower, away, upper=False)
    assert float(white.mean()) == pytest.approx(0, abs=0.12)
    assert float(white.square().mean()) == pytest.approx(1, abs=0.15)


def test_each_kind_of_knowledge_has_its_numbers(sample):
    found = tables(sample)
    assert {name: table.shape[1] for name, table in found.items()} == KNOWLEDGE
    assert all(bool(table.isfinite().all()) for table in found.values())
    # The oracle knows the catalogue, and the catalogue the colours.
    assert torch.equal(found["oracle"][:, :17], found["catalogue"])
    assert torch.equal(found["catalogue"][:, :5], found["colours"])


def test_only_the_noiseless_table_is_free_of_noise():
    simulator = GalaxySimulator()
    found = []
    for seed in (1, 2):
        galaxies = simulator.draw(10, generator=torch.Generator().manual_seed(0))
        rng = torch.Generator().manual_seed(seed)
        photometry = simulator.photometry(galaxies, generator=rng)
        sample = draw_sample(simulator, 10, generator=torch.Generator().manual_seed(0))
        object.__setattr__(sample, "photometry", photometry)
        found.append(tables(sample))
    first, second = found
    assert torch.equal(first["noiseless"], second["noiseless"])
    assert not torch.equal(first["oracle"], second["oracle"])


def test_each_network_sees_its_own_table_alone(sample):
    torch.manual_seed(0)
    networks = LimitNetworks()
    known = tables(sample)
    networks.standardise(known)
    before = networks(known)
    known["oracle"] = known["oracle"] + 1
    after = networks(known)
    changed = {name for name in KNOWLEDGE if not torch.equal(before[name][0], after[name][0])}
    assert changed == {"oracle"}
