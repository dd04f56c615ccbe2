"""Spherical-harmonic transforms against the libraries that people use, in one run on one machine.

Every row is measured in a process of its own, so that peak memory is that row's. Times are medians
after a warm-up and divided by the batch. Set-up is making the object and what its first call takes
longer than a usual one. Memory is what the resident set grows by (on a GPU: the most that was
allocated), inputs apart. The map error is rms, relative, against healpy's alm2map of the same
coefficients in float64; the a_lm error is what map2alm makes of that map against the coefficients
it was made of: quadrature without weights leaves a few thousandths, interpolation to another grid
much more.
"""

import json
import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib import import_module, metadata
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.peers import PEERS, Case
from benchmarks.rows import LONGEST, TooSlowError, measure, times

RESULTS = Path(__file__).parents[1] / "book" / "benchmarks.json"
PACKAGES = ("torch", "healpy", "ducc0", "torch-harmonics", "jaxht", "s2fft", "healpix-analyse")
LARGEST = 3 * 2**30  # bytes a row may take
NSIDES = (16, 64, 256, 512)
BATCHES = {"cpu": (1, 8, 32), "cuda": (1, 8, 16, 32)}
COLUMNS = (
    ("library", "library", "{:<15}"),
    ("type", "dtype", "{:<7}"),
    ("on", "device", "{:<4}"),
    ("spin", "spin", "{:>4}"),
    ("nside", "nside", "{:>5}"),
    ("lmax", "lmax", "{:>5}"),
    ("batch", "batch", "{:>5}"),
    ("inverse / ms", "inverse", "{:>12.3f}"),
    ("forward / ms", "forward", "{:>12.3f}"),
    ("with gradient / ms", "both", "{:>18.3f}"),
    ("to inverse", "ratio", "{:>10.2f}"),
    ("set-up / s", "setup", "{:>10.2f}"),
    ("memory / MiB", "memory", "{:>12.0f}"),
    ("map error", "map_error", "{:>9.1e}"),
    ("a_lm error", "alm_error", "{:>10.1e}"),
    ("floor: inverse, %", "floor", "{:>17.0f}"),
)


def _alone(work: Callable, *arguments):
    """Do the work in a new process, forked from one that has loaded torch and computed nothing."""
    context = get_context("forkserver")
    context.set_forkserver_preload(
        ["benchmarks.rows", "healpy", "ducc0", "torch_harmonics", "skytutor.sht"]
    )
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return pool.submit(work, *arguments).result()


def missing(library: str) -> bool:
    """Tell whether a library cannot be imported."""
    try:
        for module in PEERS[library].needs:
            import_module(module)
    except ImportError:
        return True
    return False


def cases(device: str, quick: bool) -> list[Case]:
    """List all rows: spin 0, then a block of spin 2 at nside 64.

    On the CPU the float32 rows are ours alone; on a GPU all libraries that compute on tensors have
    both types.
    """
    nsides, batches = (NSIDES[:2], (8,)) if quick else (NSIDES, BATCHES[device])
    sizes = [(nside, batch, 0) for nside in nsides for batch in batches]
    sizes += [(64, batch, 2) for batch in batches]
    out = []
    for nside, batch, spin in sizes:
        for name, kind in PEERS.items():
            for dtype in ("float64", "float32"):
                if device == "cpu":
                    measured = dtype == "float64" or name.startswith("ours")
                else:
                    measured = kind.tensors and name != "ours/ducc0"
                if spin in kind.spins and measured:
                    out.append(Case(name, nside, 2 * nside, batch, spin, dtype, device))
    return out


def _number_bytes(case: Case) -> int:
    """Return the bytes of one real number."""
    return 8 if case.dtype == "float64" else 4


def hopeless(case: Case, done: list[dict]) -> str:
    """Say why a case is not tried; "" if it is.

    It is not tried where it would take too much memory, or too much time by what the largest case
    so far took, times nside cubed.
    """
    kind = PEERS[case.library]
    unit = case.batch * (2 if case.spin else 1) * case.nside * _number_bytes(case)
    maps = 4 * unit * 12 * case.nside
    # Libraries on tensors keep the rings' Fourier coefficients too, also for the gradient.
    rings = 4 * unit * 8 * case.lmax if kind.tensors and case.library != "ours/ducc0" else 0
    memory = kind.bytes(case) + maps + rings
    if memory > LARGEST:
        return f"about {memory / 2**30:.1f} GiB"
    key = ("library", "spin", "dtype", "device")
    near = [r for r in done if all(r[k] == getattr(case, k) for k in key)]
    if not near:
        return ""
    last = max(near, key=lambda r: (r["nside"], r["batch"]))
    a_map = sum(last.get(k, 0) for k in ("inverse", "forward", "both")) / 1e3
    seconds = a_map * case.batch * (case.nside / last["nside"]) ** 3
    seconds *= 2.5  # a first call and a warm-up of each, and the errors
    return f"about {seconds:.0f} s" if seconds > LONGEST else ""


def speeds() -> dict[str, tuple[float, float]]:
    """Measure the GPU, by dtype.

    Returns:
        Multiplications and additions a second in a product of two large matrices, and bytes read a
        second.
    """
    out = {}
    for dtype in ("float32", "float64"):
        a, b = torch.randn(2, 4096, 4096, device="cuda", dtype=getattr(torch, dtype))
        _, product = times(lambda a=a, b=b: a @ b, "cuda", 0.5)
        _, reading = times(lambda a=a: a.sum(), "cuda", 0.5)
        out[dtype] = (2 * 4096**3 / product, a.nbytes / reading)
    return out


def _floor(case: Case, speed: float, reading: float) -> float:
    """Return seconds a map that no transform with tables can beat.

    That is 4 nside lmax**2 operations, and the tables read once a batch.
    """
    work = case.nside * case.lmax**2 * (2 if case.spin else 1)
    return 4 * work / speed + work * _number_bytes(case) / reading / case.batch


def _line(what: str, value: float | None, bar: float) -> str:
    """Say whether a value is at most `bar`; None stands for a case that was not run."""
    if value is None:
        return f"{what}: not run"
    return f"{what}: {value:.2f} (at most {bar:g}): {'met' if value <= bar else 'missed'}"


def bars(rows: list[dict]) -> list[str]:
    """Say what was aimed at, what came out, and whether that will do."""
    by_case = {tuple(row[k] for k in Case._fields): row for row in rows}

    def of(key: str, *case) -> float | None:
        return by_case.get(tuple(Case(*case)), {}).get(key)

    lines = []
    for nside in (64, 256):
        for name, bar in (("ours/ducc0", 0.5), ("ours/torch", 1.0)):
            for key in ("inverse", "forward"):
                ours = of(key, name, nside, 2 * nside, 8)
                theirs = of(key, "healpy", nside, 2 * nside, 8)
                what = f"{name}, nside {nside}, batch 8, {key}, against healpy"
                lines.append(_line(what, ours and theirs and ours / theirs, bar))
    for name in ("ours/ducc0", "ours/torch"):
        ratios = [of("ratio", name, nside, 2 * nside, 8) for nside in (64, 256)]
        worse = max((ratio for ratio in ratios if ratio is not None), default=None)
        what = f"{name}, forward and backward over forward, batch 8, the worse of nside 64 and 256"
        lines.append(_line(what, worse, 3))
        # At nside 512 the tables are too large to keep, and are made at each call.
        for nside, bar in ((256, 1), (512, 6)):
            setup = of("setup", name, nside, 2 * nside, 1)
            first = of("inverse", name, nside, 2 * nside, 1)
            what = f"{name}, from nothing to the first map at nside {nside}, lmax {2 * nside}"
            lines.append(_line(f"{what}, seconds", setup and setup + first / 1e3, bar))
    if any(row["device"] == "cuda" for row in rows):
        a_map = of("inverse", "ours/torch", 256, 512, 16, 0, "float32", "cuda")
        what = "ours/torch on the GPU, nside 256, batch 16, float32, inverse, ms a batch"
        lines.append(_line(what, a_map and 16 * a_map, 1))
    return lines


def _cells(row: dict) -> list[str]:
    """Return the cells of a row, each as wide as its column; "-" where there is no number."""
    return [
        form.format(row[key]) if row.get(key) is not None else "-".rjust(len(form.format(0)))
        for _, key, form in COLUMNS
    ]


def machine(threads: int) -> dict:
    """Say where, when and with what the numbers are taken."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    installed = {x.metadata["Name"].lower().replace("_", "-") for x in metadata.distributions()}
    took_part = [name for name in PACKAGES if name in installed]
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return {
        "machine": ", ".join([names[0] if names else platform.machine(), *gpu]),
        "cores": os.cpu_count(),
        "threads": threads,
        "date": date.today().isoformat(),
        "versions": {n: metadata.version(n) for n in took_part},
    }


def report(*, quick: bool = False, save: bool = False, keep: bool = False) -> None:
    """Print the table, row by row, and the bars.

    Arguments:
        quick: fewer and smaller cases.
        save: keep the results for the book.
        keep: time with freed memory kept, as `skytutor.training.loop` sets it.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count())
    os.environ["OMP_NUM_THREADS"] = str(threads)  # healpy's threads, in the processes to come
    allocator = "freed memory kept" if keep else "allocator as torch leaves it"
    where = machine(threads) | {"allocator": allocator}
    rows = []
    notes = []
    absent = [name for name in PEERS if _alone(missing, name)]
    fast = speeds() if torch.cuda.is_available() else {}
    print(
        f"Spherical-harmonic transforms, times a map. {where['machine']}, {threads} threads, "
        f"{allocator}.\n"
    )
    print("  ".join(_pad(title, form) for title, _, form in COLUMNS))
    every = cases("cpu", quick) + (cases("cuda", quick) if fast else [])
    for case in every:
        if case.library in absent:
            continue
        why = hopeless(case, rows)
        row = {} if why else _try(case, threads, 0.3 if quick else 1.0, keep)
        if why := why or row.get("failed"):
            what = (
                f"{case.library}, {case.dtype}, {case.device}, spin {case.spin}, "
                f"nside {case.nside}, batch {case.batch}"
            )
            notes.append(f"{what}: {why}")
            print(f"not run: {notes[-1]}", flush=True)
            continue
        if case.device == "cuda":
            row["floor"] = 1e5 * _floor(case, *fast[case.dtype]) / row["inverse"]
        rows.append(row)
        print("  ".join(_cells(row)), flush=True)
    tail = [f"Not installed: {', '.join(absent)}."] if absent else []
    results = bars(rows)
    print("", *results, *tail, sep="\n")
    if save:
        _keep(where | {"bars": results, "not_run": notes + tail, "rows": rows})


def _pad(title: str, form: str) -> str:
    """Return a title as wide as its column, on the side where the cells stand."""
    width = len(form.format(0))
    return title.ljust(width) if "<" in form else title.rjust(width)


def _try(case: Case, *options) -> dict:
    """Measure a row; return the reason under "failed" where it cannot be measured."""
    try:
        return _alone(measure, case, *options)
    except TooSlowError as error:
        return {"failed": str(error)}
    except Exception as error:  # a peer's: it shall not end the run
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:120]}


def _keep(results: dict) -> None:
    """Write one machine's results beside those of others."""
    machines = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    machines[f"{results['machine']}, {results['cores']} cores"] = results
    RESULTS.write_text(json.dumps(machines, indent=1) + "\n")
    print(f"\n-> {RESULTS}")
