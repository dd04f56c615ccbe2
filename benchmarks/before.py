"""Time the transforms and `HaloConv` of this tree against those of an earlier commit, in pairs.

    python -m benchmarks.before COMMIT [--threads 1] [--pairs 15] [--only HaloConv]

Two processes, one with each version, take turns: each turn is the fastest of some calls, and the
two times of a round make one ratio. Whatever else the machine does in a round slows both. With one
thread the clock is the processor's time, else the wall's. The last rows hold this tree's `map2alm`
in float32 against healpy's, which knows float64 alone, without iterations on both sides.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
BATCH = 8
SLOWER = 1.03  # what counts as no slower, against the commit
AGAINST_HEALPY = {16: 1.5, 64: 1.0, 256: 0.8}
TURN = 0.05  # seconds that a turn takes, or one call if that takes longer
Steps = dict[str, Callable[[], object]]


def transforms(nside: int) -> Steps:
    """Return calls of both transforms, by name; only what both versions have in common."""
    import torch

    from skytutor import sht

    lmax = 2 * nside
    maps = torch.randn(BATCH, 12 * nside**2)
    out: Steps = {}
    for backend in ("torch", "ducc0"):
        sky = sht.Harmonics(nside, lmax, order="ring", backend=backend)
        alms = sky.map2alm(maps)
        out[f"map2alm, {backend}, nside {nside}"] = lambda sky=sky: sky.map2alm(maps, weights=None)
        out[f"alm2map, {backend}, nside {nside}"] = lambda sky=sky, alms=alms: sky.alm2map(alms)
    return out


def layers(nside: int) -> Steps:
    """Return a call of `HaloConv`, by name."""
    import torch

    from skytutor.layers.pixel import HaloConv

    layer = HaloConv(8, 8, nside=nside, order="nested")
    maps = torch.randn(4, 8, 12 * nside**2)
    return {f"HaloConv, nside {nside}": lambda: layer(maps)}


def healpy_calls(nside: int) -> Steps:
    """Return a call of healpy's `map2alm` for each map of a batch."""
    import healpy
    import torch

    maps = torch.randn(BATCH, 12 * nside**2, dtype=torch.float64).numpy()
    return {
        f"healpy, nside {nside}": lambda: [
            healpy.map2alm(one, 2 * nside, iter=0, use_weights=False) for one in maps
        ]
    }


def turn(step: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the least time of some calls, in seconds."""
    fastest = float("inf")
    calls = 0
    end = time.perf_counter() + TURN
    while calls < 1 or time.perf_counter() < end:
        began = clock()
        step()
        fastest = min(fastest, clock() - began)
        calls += 1
    return fastest


def answer(threads: int, only: str) -> None:
    """Time what is asked for on standard input, one name a line, until it ends.

    Arguments:
        threads: that torch may use.
        only: rows are made ready whose name holds this.
    """
    import torch

    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    steps: Steps = {}
    kinds = [(layers, "HaloConv", (16, 64)), (transforms, "map2alm alm2map", AGAINST_HEALPY)]
    for make, names, nsides in [*kinds, (healpy_calls, "map2alm", AGAINST_HEALPY)]:
        for nside in nsides:
            if only in f"{names}, nside {nside}" or only.split(",")[0] in names:
                steps |= make(nside)
    for step in steps.values():
        step()
    print(json.dumps(list(steps)), flush=True)
    for line in sys.stdin:
        print(turn(steps[line.strip()], clock), flush=True)


class Version:
    """A process that times one version of the package."""

    def __init__(self, tree: Path, threads: int, only: str):
        command = [sys.executable, str(Path(__file__).resolve())]
        command += ["--answer", str(threads), "--only", only]
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tree,
        )
        self.names = json.loads(self._line())

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the version in {self.process.args} ended early")
        return line

    def time(self, name: str) -> float:
        """Return seconds of one turn."""
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(self._line())

    def end(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def ratios(one: Version, other: Version, names: tuple[str, str], pairs: int) -> list[float]:
    """Return times of the first over times of the second, round after round."""
    out = []
    for number in range(pairs):
        # Who goes first alternates, so a machine that slows down favours neither.
        if number % 2:
            below = other.time(names[1])
            above = one.time(names[0])
        else:
            above = one.time(names[0])
            below = other.time(names[1])
        out.append(above / below)
    return out


def line(what: str, values: list[float], bar: float) -> str:
    """Say a ratio, how far the middle half of the rounds reaches, and whether it will do."""
    low, middle, high = statistics.quantiles(values, n=4)
    verdict = "met" if middle <= bar else "missed"
    return f"{what:<30} {middle:6.3f}  {low:6.3f} to {high:6.3f}  at most {bar:4.2f}: {verdict}"


def compare(commit: str, threads: int, pairs: int, only: str) -> None:
    """Print the ratios of this tree to a commit, and to healpy, of names that hold `only`."""
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(
            ["git", "archive", commit, "skytutor"], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
        now = Version(ROOT, threads, only)
        before = Version(Path(folder), threads, only)
        print(f"Time over that of {commit}, {threads} threads, median and middle half of {pairs}")
        for name in now.names:
            if not name.startswith("healpy") and only in name:
                values = ratios(now, before, (name, name), pairs)
                print(line(name, values, SLOWER), flush=True)
        print("Time over healpy's")
        for nside, bar in AGAINST_HEALPY.items():
            names = (f"map2alm, torch, nside {nside}", f"healpy, nside {nside}")
            if only in names[0] and names[0] in now.names:
                print(line(names[0], ratios(now, now, names, pairs), bar), flush=True)
        now.end()
        before.end()


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.before", description=__doc__.splitlines()[0]
    )
    parser.add_argument("commit", nargs="?", default="HEAD", help="what to compare with")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--answer", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer(options.answer, options.only)
    else:
        compare(options.commit, options.threads, options.pairs, options.only)


if __name__ == "__main__":
    main()
