"""One row of the transforms' table: time, memory and error of one library at one size."""

import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers import PEERS, Case
from skytutor.training.loop import tune_malloc

LONGEST = 60  # seconds a row may take


def _sync(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _clock(step: Callable[[], object], device: str) -> float:
    _sync(device)
    began = time.perf_counter()
    step()
    _sync(device)
    return time.perf_counter() - began


class TooSlowError(RuntimeError):
    """A row would take longer than `LONGEST` seconds."""


def times(
    step: Callable[[], object], device: str, budget: float, *, calls: int = 1
) -> tuple[float, float]:
    """Time a call: return seconds of the first one, and the median of those after a warm-up.

    The median is of 3 to 15 calls, as many as fit into `budget` seconds; of one if that takes 5 s.

    Arguments:
        step: the call.
        device: "cpu" or "cuda".
        budget: seconds for the median.
        calls: how many calls like it the whole row will make.

    Raises:
        TooSlowError: if that many would take longer than `LONGEST`.
    """
    first = _clock(step, device)
    warm = _clock(step, device)
    if warm * calls > LONGEST:
        raise TooSlowError(f"a call takes {warm:.0f} s, the row would take {warm * calls:.0f} s")
    if warm > 5:
        return first, warm
    repeats = max(3, min(15, int(budget / max(warm, 1e-6))))
    return first, statistics.median(_clock(step, device) for _ in range(repeats))


def _memory(device: str) -> float:
    """Return the largest memory of this process so far, MiB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _inputs(case: Case) -> tuple[Tensor, Tensor]:
    """Draw random coefficients ``(N, [2,] A)`` and maps of noise ``(N, [2,] P)``.

    All entries of a batch are the same.
    """
    real = getattr(torch, case.dtype)
    parts = (2,) if case.spin else ()
    size = (case.lmax + 1) * (case.lmax + 2) // 2
    rng = torch.Generator().manual_seed(0)
    alm = torch.complex(*torch.randn(2, *parts, size, dtype=real, generator=rng))
    alm[..., : case.lmax + 1].imag = 0  # m = 0: real, since the maps are
    for l in range(case.spin):  # spin 2 has no l < 2
        for m in range(l + 1):
            alm[..., m * (2 * case.lmax + 1 - m) // 2 + l] = 0
    maps = torch.randn(*parts, 12 * case.nside**2, dtype=real, generator=rng)
    return _repeated(alm, case), _repeated(maps, case)


def _repeated(one: Tensor, case: Case) -> Tensor:
    """Return a batch of the same map or coefficients on the case's device."""
    return one.expand(case.batch, *one.shape).contiguous().to(case.device)


def _first(batch) -> Tensor:
    """Return the first of a batch of any library's arrays, one axis for each map."""
    one = batch[0]
    tensor = one if isinstance(one, Tensor) else torch.from_numpy(np.array(one))
    return tensor.cpu().squeeze()


def _relative(got: Tensor, wanted: Tensor) -> float:
    """Return the rms of the difference over the rms of what is wanted."""
    difference = (got - wanted).abs().square().mean().sqrt()
    return float(difference / wanted.abs().square().mean().sqrt())


def measure(case: Case, threads: int, budget: float, keep: bool) -> dict:
    """Measure one row, in this process.

    Arguments:
        case: library and sizes.
        threads: that it may use.
        budget: seconds for each median.
        keep: keep freed memory, as `skytutor.training.loop` sets it.

    Returns:
        The row: seconds for the set-up, milliseconds a map for the rest, MiB, and errors.
    """
    warnings.simplefilter("ignore")  # a peer's are no news here
    torch.set_num_threads(threads)
    if keep:
        tune_malloc()
    kind = PEERS[case.library]
    device = case.device
    for module in kind.needs:
        import_module(module)
    alms, maps = _inputs(case)
    # Loads code that several libraries use, so that it counts in nobody's peak.
    torch.fft.rfft(maps[:1, ..., :64] @ maps[:1, ..., :64].mT)
    before = _memory(device)
    made: list = []
    setup = _clock(lambda: made.append(kind(case)), device)
    peer = made[0]
    alms_taken = peer.take(alms)
    maps_taken = peer.take(maps)
    calls = 10 if kind.tensors else 5  # like one inverse, in the rest of this function
    first, inverse = times(lambda: peer.alm2map(alms_taken), device, budget, calls=calls)
    _, forward = times(lambda: peer.map2alm(maps_taken), device, budget)
    row = {"setup": setup + max(0, first - inverse), "inverse": inverse, "forward": forward}
    if kind.tensors:
        leaf = alms.clone().requires_grad_()
        _, row["both"] = times(
            lambda: torch.autograd.grad(peer.alm2map(leaf).square().sum(), leaf), device, budget
        )
        row["ratio"] = row["both"] / inverse
    row["memory"] = _memory(device) - before
    for name in ("inverse", "forward", "both"):
        if name in row:
            row[name] *= 1e3 / case.batch
    return case._asdict() | row | _errors(case, peer, alms_taken, alms)


def _errors(case: Case, peer, alms_taken, alms: Tensor) -> dict:
    """Compare a library with healpy in float64, and its `map2alm` with the coefficients."""
    wanted = alms[0].cpu().to(torch.complex128)
    oracle = PEERS["healpy"](case)
    true_map = torch.as_tensor(np.array(oracle.alm2map(wanted[None].numpy())[0]))
    maps = _repeated(true_map.to(getattr(torch, case.dtype)), case)
    back = _first(peer.map2alm(peer.take(maps)))
    return {
        "map_error": _relative(_first(peer.alm2map(alms_taken)), true_map),
        "alm_error": _relative(back, wanted),
    }
