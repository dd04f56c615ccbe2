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
    """The work in a new process, forked from one that has imported torch and has computed nothing."""
    context = get_context("forkserver")
    context.set_forkserver_preload(
        ["benchmarks.rows", "healpy", "ducc0", "torch_harmonics", "skytutor.sht"]
    )
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return pool.submit(work, *arguments).result()


def missing(library: str) -> bool:
    """Whether a library cannot be imported."""
    try:
        for module in PEERS[library].needs:
            import_module(module)
    except ImportError:
        return True
    return False


def cases(device: str, quick: bool) -> list[Case]:
    """All rows: spin 0, then a block of spin 2 at nside 64; float32 of ours, and of every library on a GPU."""
    nsides, batches = (NSIDES[:2], (8,)) if quick else (NSIDES, BATCHES[device])
    sizes = [(nside, batch, 0) for nside in nsides for batch in batches] + [
        (64, batch, 2) for batch in batches
    ]
    return [
        Case(name, nside, 2 * nside, batch, spin, dtype, device)
        for nside, batch, spin in sizes
        for name, kind in PEERS.items()
        for dtype in ("float64", "float32")
        if spin in kind.spins
        if (
            dtype == "float64" or name.startswith("ours")
            if device == "cpu"
            else kind.tensors and name != "ours/ducc0"
        )
    ]


def hopeless(case: Case, done: list[dict]) -> str:
    """Why a case is not tried: the memory it would take, or the time, judged by the nearest smaller one; "" if it is."""
    unit = case.batch * (2 if case.spin else 1) * case.nside * (8 if case.dtype == "float64" else 4)
    wide = PEERS[case.library].tensors and case.library != "ours/ducc0"
    room = PEERS[case.library].bytes(case) + 4 * unit * (
        12 * case.nside + (8 * case.lmax if wide else 0)
    )
    if room > LARGEST:
        return f"about {room / 2**30:.1f} GiB"
    key = ("library", "spin", "dtype", "device")
    near = [r for r in done if all(r[k] == getattr(case, k) for k in key)]
    if not near:
        return ""
    last = max(near, key=lambda r: (r["nside"], r["batch"]))
    seconds = (
        sum(last.get(k, 0) for k in ("inverse", "forward", "both"))
        / 1e3
        * case.batch
        * (case.nside / last["nside"]) ** 3
    )
    seconds *= 2.5  # a first call and a warm-up of each, and the errors
    return f"about {seconds:.0f} s" if seconds > LONGEST else ""


def speeds() -> dict[str, tuple[float, float]]:
    """Multiplications and additions a second in a product of two large matrices, and bytes read a second; by dtype."""
    found = {}
    for dtype in ("float32", "float64"):
        a, b = torch.randn(2, 4096, 4096, device="cuda", dtype=getattr(torch, dtype))
        product, reading = (
            times(step, "cuda", 0.5)[1] for step in (lambda a=a, b=b: a @ b, lambda a=a: a.sum())
        )
        found[dtype] = 2 * 4096**3 / product, a.nbytes / reading
    return found


def _floor(case: Case, speed: float, reading: float) -> float:
    """Seconds a map that no transform with tables can beat: 4 nside lmax**2 operations, the tables read once a batch."""
    work = case.nside * case.lmax**2 * (2 if case.spin else 1)
    return 4 * work / speed + work * (8 if case.dtype == "float64" else 4) / reading / case.batch


def bars(rows: list[dict]) -> list[str]:
    """What was aimed at, what came out, and whether that will do."""
    at = {tuple(r[k] for k in Case._fields): r for r in rows}

    def line(what: str, values: list[float | None], bar: float) -> str:
        worst = max((v for v in values if v is not None), default=None)
        if worst is None:
            return f"{what}: not run"
        return f"{what}: {worst:.2f} (at most {bar:g}): {'met' if worst <= bar else 'missed'}"

    def of(key: str, *case) -> float | None:
        return at.get(tuple(Case(*case)), {}).get(key)

    lines = []
    for nside in (64, 256):
        for name, bar in (("ours/ducc0", 0.5), ("ours/torch", 1.0)):
            for way in ("inverse", "forward"):
                mine, theirs = (
                    of(way, library, nside, 2 * nside, 8) for library in (name, "healpy")
                )
                lines.append(
                    line(
                        f"{name}, nside {nside}, batch 8, {way}, against healpy",
                        [mine and theirs and mine / theirs],
                        bar,
                    )
                )
    for name in ("ours/ducc0", "ours/torch"):
        ratios = [of("ratio", name, nside, 2 * nside, 8) for nside in (64, 256)]
        lines.append(
            line(
                f"{name}, forward and backward over forward, batch 8, the worse of nside 64 and 256",
                ratios,
                3,
            )
        )
        for nside, bar in (
            (256, 1),
            (512, 6),
        ):  # tables that are too large to keep are made at each call
            made, first = (of(key, name, nside, 2 * nside, 1) for key in ("setup", "inverse"))
            what = (
                f"{name}, from nothing to the first map at nside {nside}, lmax {2 * nside}, seconds"
            )
            lines.append(line(what, [made and made + first / 1e3], bar))
    if any(r["device"] == "cuda" for r in rows):
        whole = of("inverse", "ours/torch", 256, 512, 16, 0, "float32", "cuda")
        lines.append(
            line(
                "ours/torch on the GPU, nside 256, batch 16, float32, inverse, ms a batch",
                [whole and 16 * whole],
                1,
            )
        )
    return lines


def _cells(row: dict) -> list[str]:
    return [
        form.format(row[key]) if row.get(key) is not None else "-".rjust(len(form.format(0)))
        for _, key, form in COLUMNS
    ]


def machine(threads: int) -> dict:
    """Where, when and with what the numbers are taken."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    known = {x.metadata["Name"].lower().replace("_", "-") for x in metadata.distributions()}
    took_part = [
        n
        for n in (
            "torch",
            "healpy",
            "ducc0",
            "torch-harmonics",
            "jaxht",
            "s2fft",
            "healpix-analyse",
        )
        if n in known
    ]
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return {
        "machine": ", ".join([names[0] if names else platform.machine(), *gpu]),
        "cores": os.cpu_count(),
        "threads": threads,
        "date": date.today().isoformat(),
        "versions": {n: metadata.version(n) for n in took_part},
    }


def report(*, quick: bool = False, save: bool = False, keep: bool = False) -> None:
    """Print the table, row by row, and the bars; with `save`, keep them for the book."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count())
    os.environ["OMP_NUM_THREADS"] = str(threads)  # healpy's threads, in the processes to come
    allocator = "freed memory kept" if keep else "allocator as torch leaves it"
    where = machine(threads) | {"allocator": allocator}
    rows = []
    notes = []
    absent = [name for name in PEERS if _alone(missing, name)]
    fast = speeds() if torch.cuda.is_available() else {}
    print(
        f"Spherical-harmonic transforms, times a map. {where['machine']}, {threads} threads, {allocator}.\n"
    )
    print("  ".join(_pad(title, form) for title, _, form in COLUMNS))
    for case in (
        c
        for device in ("cpu", "cuda")[: 1 + bool(fast)]
        for c in cases(device, quick)
        if c.library not in absent
    ):
        why = hopeless(case, rows)
        row = {} if why else _try(case, threads, 0.3 if quick else 1.0, keep)
        if why := why or row.get("failed"):
            what = f"{case.library}, {case.dtype}, {case.device}, spin {case.spin}, nside {case.nside}, batch {case.batch}"
            notes.append(f"{what}: {why}")
            print(f"not run: {notes[-1]}", flush=True)
            continue
        if case.device == "cuda":
            row["floor"] = 1e5 * _floor(case, *fast[case.dtype]) / row["inverse"]
        rows.append(row)
        print("  ".join(_cells(row)), flush=True)
    tail = [f"Not installed: {', '.join(absent)}."] if absent else []
    print("", *(results := bars(rows)), *tail, sep="\n")
    if save:
        _keep(where | {"bars": results, "not_run": notes + tail, "rows": rows})


def _pad(title: str, form: str) -> str:
    wide = len(form.format(0))
    return title.ljust(wide) if "<" in form else title.rjust(wide)


def _try(case: Case, *how) -> dict:
    try:
        return _alone(measure, case, *how)
    except TooSlowError as error:
        return {"failed": str(error)}
    except Exception as error:  # a peer's: it shall not end the run
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:120]}


def _keep(found: dict) -> None:
    """Write one machine's results beside those of others."""
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    known[f"{found['machine']}, {found['cores']} cores"] = found
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    print(f"\n-> {RESULTS}")
