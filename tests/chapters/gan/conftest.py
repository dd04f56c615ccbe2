"""Chapter 2's tests run in one thread."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread(request, monkeypatch, tmp_path_factory):
    """Use one thread, and the embedded digits, but for tests that ask for MNIST."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if "mnist" not in request.fixturenames:
        monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path_factory.mktemp("empty")))
    yield
    torch.set_num_threads(before)
