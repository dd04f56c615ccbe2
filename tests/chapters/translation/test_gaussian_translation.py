"""skytutor.chapters.translation.gaussian: weights by subset, and the Wiener filter in its place."""

import pytest
import torch
from torch import nn

from skytutor.chapters.translation.gaussian import (
    GaussianTask,
    GaussianTranslator,
    gaussian_bands,
    subsets,
)


class Wiener(nn.Module):
    """The exact answer, asked as the network is."""

    def __init__(self, bands):
        super().__init__()
        self.bands = bands

    def forward(self, images, given):
        padded = torch.cat([images, torch.zeros_like(images[:, :1])], dim=1)
        made = []
        for image, row in zip(padded, given, strict=True):
            chosen = row.nonzero()[:, 0].tolist()
            made.append(self.bands.wiener(image[None], inputs=chosen, target=3)[0])
        return torch.stack(made)


@pytest.fixture(scope="module")
def task():
    return GaussianTask(gaussian_bands(), size=8, n_validation=6)


def test_there_are_seven_subsets():
    assert len(subsets()) == len(set(subsets())) == 7


def test_the_exact_answer_has_the_ratio_and_the_loss_of_one(task):
    exact = Wiener(task.bands)
    assert task.validate(exact)["worst_ratio"] == pytest.approx(1, abs=1e-5)
    batch = task.batch(torch.arange(60), task.draw(60, generator=torch.Generator().manual_seed(0)))
    assert float(task.loss(exact, batch)) == pytest.approx(1, abs=0.05)


def test_bands_that_are_not_given_do_not_count_and_edges_go_on():
    torch.manual_seed(0)
    network = GaussianTranslator(channels=(6, 8, 10)).eval()
    images = torch.randn(2, 3, 32, 32)
    given = torch.tensor([[True, False, True], [False, True, False]])
    wanted = network(images, given)
    junk = torch.where(given[..., None, None], images, torch.nan)
    assert torch.equal(network(junk, given), wanted)
    moved = network(images.roll((8, 12), (-2, -1)), given)
    # By multiples of the coarsest pixel; what is continued is nearly all that a pixel sees.
    assert torch.allclose(moved, wanted.roll((8, 12), (-2, -1)), atol=0.05)
