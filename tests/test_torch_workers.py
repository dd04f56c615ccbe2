"""Modules and functions in the workers of a DataLoader: what they give in the main process."""

import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torch_modes import forget, near, outputs, used
from torch_modules import CASES

from skytutor import healpix, sht
from skytutor.fields import spectra
from skytutor.layers import faces

NAMES = sorted(CASES)
SIZES = {"nside": 4, "order": "ring"}
CL = {"TT": torch.ones(9, dtype=torch.float64)}


def simulated():
    """Return what a data set of simulated skies makes: most of it from kept tables."""
    rng = torch.Generator().manual_seed(3)
    maps = spectra.gaussian_maps(CL, lmax=8, generator=rng, **SIZES)["T"]
    alms = sht.map2alm(maps, lmax=8, **SIZES)
    dense = sht.map2alm(maps, lmax=8, backend="torch", **SIZES)
    nested = healpix.reorder(maps, source="ring", target="nested")
    return [
        maps,
        torch.view_as_real(alms),
        torch.view_as_real(dense),
        sht.to_real(alms, lmax=8),
        nested,
        faces.to_faces(nested[None, None], nside=4, order="nested"),
        healpix.degrade(np.asarray(maps, ">f8"), 2, **SIZES),
    ]


class Answers(Dataset):
    """What each module answers, and last what the functions make; modules come as they are used."""

    def __init__(self):
        self.modules = {name: pickle.dumps(used(CASES[name])) for name in NAMES}

    def __len__(self):
        return len(NAMES) + 1

    def __getitem__(self, index):
        if index == len(NAMES):
            return simulated()
        case = CASES[NAMES[index]]
        module = pickle.loads(self.modules[NAMES[index]])
        return [t.detach() for t in outputs(case, module, case.inputs)]


@pytest.fixture
def threads():
    """Let torch have two threads, as it has on most machines: a fork in between is harder."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data():
    return Answers()


@pytest.fixture(scope="module")
def expected(data):
    return [data[index] for index in range(len(data))]


@pytest.mark.parametrize("start", ["fork", "fork, nothing kept", "spawn"])
def test_workers_give_what_the_main_process_gives(threads, data, expected, start):
    if "nothing kept" in start:
        forget()
    # A worker that waits for ever fails here, by name.
    loader = DataLoader(
        data,
        batch_size=None,
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context(start.partition(",")[0]),
        timeout=100,
    )
    for found, wanted in zip(loader, expected, strict=True):
        assert all(type(tensor) is torch.Tensor for tensor in found)
        near(found, wanted, 1e-6)
