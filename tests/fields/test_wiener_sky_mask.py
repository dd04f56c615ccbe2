"""The Wiener filter under the mask of the sky: steps, time and memory beside the diagonal's."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from skytutor.data.sky_masks import mask_source, sky_mask
from skytutor.fields.best_fit import best_fit_spectra
from skytutor.fields.wiener import WienerFilter

NOISE = 5.0  # muK a pixel


def under_the_mask(mask, nside, **change):
    """Return a filter at lmax = 2 nside, what it is called with, and the truth."""
    lmax = 2 * nside
    sky = WienerFilter(nside, lmax, order="ring", dtype=torch.float64, **change)
    cl = best_fit_spectra(lmax)["TT"]
    rng = torch.Generator().manual_seed(0)
    white = torch.randn(len(sky.l), generator=rng, dtype=torch.float64)
    truth = sky.harmonics.synthesis(cl[sky.l].sqrt() * white)
    maps = truth + NOISE * torch.randn(len(truth), generator=rng, dtype=torch.float64)
    return sky, {"TT": cl}, {"variance": NOISE**2, "mask": mask}, maps, truth


def timed(sky, maps, spectra, given):
    """Return what the filter found, seconds of set-up and of the solution."""
    start = time.perf_counter()
    sky.prepare(spectra, **given)
    middle = time.perf_counter()
    found = sky(maps, spectra, **given)
    return found, middle - start, time.perf_counter() - middle


@pytest.mark.slow
def test_nside_64_against_the_diagonal():
    mask = sky_mask(64, order="ring")
    sky, spectra, given, maps, _ = under_the_mask(mask, 64, preconditioner="hole", tolerance=1e-8)
    found, setup, solve = timed(sky, maps, spectra, given)
    diagonal = under_the_mask(mask, 64, preconditioner="coarse", coarse=0, tolerance=1e-8)[0]
    other, _, slow = timed(diagonal, maps, spectra, given)
    print(f"{mask_source()}: {found.steps} steps, residual {found.residual:.1e}, ", end="")
    print(f"{solve:.3f} s after {setup:.2f} s; diagonal {other.steps} steps, {slow:.2f} s")
    assert found.residual <= 1e-8 and found.steps <= 10
    assert slow >= 4 * solve
    torch.testing.assert_close(found.coefs, other.coefs, rtol=0, atol=1e-5)


def nside_128(mask):
    """Print steps, the ratio to the RMSE of a finished solution, and the process's peak memory."""
    sky, spectra, given, maps, truth = under_the_mask(
        mask, 128, preconditioner="hole", tolerance=1e-2
    )
    found, setup, solve = timed(sky, maps, spectra, given)
    sky.tolerance = 1e-8
    best = sky(maps, spectra, **given)
    hidden = ~mask
    one, two = (sky.harmonics.synthesis(f.coefs)[hidden] for f in (found, best))
    # The error of the exact answer is independent of what an unfinished one misses of it.
    ratio = (1 + ((one - two).norm() / (two - truth[hidden]).norm()) ** 2) ** 0.5
    # The peak of this process alone: ru_maxrss keeps that of the process which started it.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**20
    print(found.steps, float(ratio), peak, setup, solve, best.steps)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_nside_128_in_its_memory(tmp_path):
    # The mask is degraded from nside 512, whose memory is not the filter's.
    file = tmp_path / "mask.pt"
    torch.save(sky_mask(128, order="ring"), file)
    out = subprocess.run(
        [sys.executable, __file__, file], capture_output=True, text=True, check=True
    ).stdout
    steps, ratio, peak, setup, solve, more = map(float, out.split())
    print(f"{steps:.0f} steps to {ratio:.6f}, {more:.0f} to 1e-8, {solve:.2f} s after ", end="")
    print(f"{setup:.1f} s, peak {peak:.2f} GiB")
    assert steps <= 20 and ratio <= 1.001 and peak <= 1.2


if __name__ == "__main__":
    nside_128(torch.load(sys.argv[1]))
