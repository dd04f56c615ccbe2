"""What the tests of chapter 4 share."""

import pytest
import torch

from skytutor.chapters.spectra import targets
from skytutor.chapters.spectra.autoencoder import SpectrumAutoencoder


@pytest.fixture(scope="module")
def untrained_autoencoder():
    """Put an untrained autoencoder in the place of the package's own for the rest of a module."""
    torch.manual_seed(0)
    model = SpectrumAutoencoder().eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "_autoencoder", lambda: model)
        yield model
