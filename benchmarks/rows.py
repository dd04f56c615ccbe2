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
from skytutor.train import keep_memory

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
    """Seconds of the first call, and the median of 3 to 15 more after a warm-up within `budget` seconds; of one if that takes 5 s.

    Raises:
        TooSlowError: if `calls` like it are too many.
    """
    first = _clock(step, device)
    warm = _clock(step, device)
    if warm * calls > LONGEST:
        raise TooSlowError(f"a call takes {warm:.0f} s, the row would take {warm * calls:.0f} s")
    if warm > 5:
        return first, warm
    return first, statistics.median(
        _clock(step, device) for _ in range(max(3, min(15, int(budget / max(warm, 1e-6)))))
    )


def _memory(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )


def _inputs(case: Case) -> tuple[Tensor, Tensor]:
    """Random coefficients, the same for each map, and maps of noise."""
    real = getattr(torch, case.dtype)
    parts = (2,) if case.spin else ()
    size = (case.lmax + 1) * (case.lmax + 2) // 2
    draw = torch.Generator().manual_seed(0)
    one = torch.complex(*torch.randn(2, *parts, size, dtype=real, generator=draw))
    one[..., : case.lmax + 1].imag = 0
    m = torch.arange(case.spin)
    for l in range(case.spin):  # spin 2 has no l < 2
        one[..., [int(k) * (2 * case.lmax + 1 - int(k)) // 2 + l for k in m[: l + 1]]] = 0
    maps = torch.randn(*parts, 12 * case.nside**2, dtype=real, generator=draw)
    return tuple(x.expand(case.batch, *x.shape).contiguous().to(case.device) for x in (one, maps))


def _first(found) -> Tensor:
    """The first of a batch of any library's arrays, one axis for each map."""
    one = found[0]
    return (one if isinstance(one, Tensor) else torch.from_numpy(np.array(one))).cpu().squeeze()


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float(
        (found - wanted).abs().square().mean().sqrt() / wanted.abs().square().mean().sqrt()
    )


def measure(case: Case, threads: int, budget: float, keep: bool) -> dict:
    """One row, in this process; with `keep`, freed memory is kept, as `skytutor.train` sets it."""
    warnings.simplefilter("ignore")  # a peer's are no news here
    torch.set_num_threads(threads)
    if keep:
        keep_memory()
    kind = PEERS[case.library]
    device = case.device
    for module in kind.needs:
        import_module(module)
    alms, maps = _inputs(case)
    torch.fft.rfft(
        maps[:1, ..., :64] @ maps[:1, ..., :64].mT
    )  # loads the code, which is nobody's peak
    before = _memory(device)
    made: list = []
    setup = _clock(lambda: made.append(kind(case)), device)
    peer = made[0]
    given = peer.take(alms)
    seen = peer.take(maps)
    calls = 10 if kind.tensors else 5  # like one inverse, in the rest of this function
    first, inverse = times(lambda: peer.alm2map(given), device, budget, calls=calls)
    _, forward = times(lambda: peer.map2alm(seen), device, budget)
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
    return case._asdict() | row | _errors(case, peer, given, alms)


def _errors(case: Case, peer, given, alms: Tensor) -> dict:
    wanted = alms[0].cpu().to(torch.complex128)
    oracle = PEERS["healpy"](case)
    sky = torch.as_tensor(np.array(oracle.alm2map(wanted[None].numpy())[0]))
    maps = (
        sky.to(case.device, getattr(torch, case.dtype)).expand(case.batch, *sky.shape).contiguous()
    )
    back = _first(peer.map2alm(peer.take(maps)))
    return {
        "map_error": _relative(_first(peer.alm2map(given)), sky),
        "alm_error": _relative(back, wanted),
    }
