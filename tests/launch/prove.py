"""Prove that a chapter runs where its launch buttons lead.

    python tests/launch/prove.py binder|colab NOTEBOOK

binder: a fresh environment from `binder/` alone, `postBuild` run in a copy of the checkout, the
    kernel started through `start`, one core as on Binder.
colab: a fresh environment that resembles Colab's image, then the notebook's own first cell, with
    the wheel built from the checkout in place of the repository's URL (`--published` keeps the
    URL). What the image brought must stay as it was.

Then the chapter runs, and time, peak memory and disk are written to `book/measurements.json`, for
the status page.

Needs nbclient, nbformat, psutil and a package index, set as for any other pip; the package itself
only to write the numbers down. `make` installs them.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbclient
import nbformat
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import costs  # noqa: E402

LIMIT_MIB = {"binder": 2048, "colab": 12 * 1024}  # memory of a session
KEPT = (
    "torch",
    "ipywidgets",
    "numpy",
    "anywidget",
    "matplotlib",
    "scikit-learn",
    "scipy",
    "astropy",
)
INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
PACKAGE_URL = re.compile(r"@ git\+[^\s\"']+")


def run(*command: object, **options: object) -> str:
    """Run a command, show it, return what it printed; stop at the first failure with its output."""
    shown = " ".join(str(part) for part in command)
    print(f"$ {shown}", flush=True)
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        sys.exit(
            f"failed ({done.returncode}): {shown}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return done.stdout


def copy_checkout(target: Path) -> Path:
    """Copy what git would clone, uncommitted changes included: nothing ignored, nothing built."""
    names = run(
        "git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"
    ).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def reachable(url: str) -> bool:
    """Tell whether anything answers at `url`."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10).close()
    except urllib.error.HTTPError:
        return True  # it answered
    except OSError:
        return False
    return True


def set_index(requirements: Path, index: str) -> str:
    """Replace or drop the CPU index of Binder's requirements, and say what was done.

    "auto" drops it where it does not answer.
    """
    text = requirements.read_text()
    line = re.search(r"^--extra-index-url (\S+)$", text, re.MULTILINE)
    if index == "auto":
        index = line.group(1) if reachable(line.group(1)) else "none"
    new = "" if index == "none" else f"--extra-index-url {index}"
    requirements.write_text(text.replace(line.group(0), new))
    return "dropped: torch came from the configured index" if index == "none" else "used"


def environment(folder: Path) -> dict[str, str]:
    """Make a fresh virtual environment and return the variables under which its programs run."""
    run(sys.executable, "-m", "venv", folder / "env")
    kept = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    }
    return {
        **kept,
        "PATH": f"{folder / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
    }


def versions(python: Path) -> dict[str, str]:
    """Ask an environment which of the packages that matter it has."""
    code = (
        "import importlib.metadata as m, json\n"
        "have = {d.name.lower(): d.version for d in m.distributions() if d.name}\n"
        f"print(json.dumps({{n: have[n] for n in {[*KEPT, 'healpy', 'skytutor']!r} if n in have}}))"
    )
    return json.loads(run(python, "-c", code).splitlines()[-1])


def cores_of(python: Path, env: dict[str, str]) -> int:
    """Ask the package of an environment how many cores there are for it."""
    code = "from skytutor.training import profile\nprint(profile.cores())"
    return int(run(python, "-c", code, env=env))


def prepare_binder(folder: Path, options: argparse.Namespace) -> tuple[dict, dict]:
    """Do what Binder does: the pinned requirements, then postBuild in the repository."""
    checkout = copy_checkout(folder / "checkout")
    env = environment(folder)
    index = set_index(checkout / "binder" / "requirements.txt", options.index)
    pip = [folder / "env" / "bin" / "python", *INSTALL]
    run(*pip, "-r", "binder/requirements.txt", cwd=checkout, env=env)
    print(run("bash", "binder/postBuild", cwd=checkout, env=env).strip()[-500:])
    return env, {"torch_index": index, "cores": 1}


def prepare_colab(folder: Path, options: argparse.Namespace) -> tuple[dict, dict]:
    """Make an environment that resembles Colab's image.

    In its kernel google.colab is already imported.
    """
    env = environment(folder)
    python = folder / "env" / "bin" / "python"
    image = Path(__file__).with_name("colab_image.txt")
    run(python, *INSTALL, "-r", image, env=env)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").touch()
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-colab.py").write_text("import google.colab\n")
    return env, {"image": versions(python)}


def use_wheel(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Let the first code cell install the wheel of the checkout, not the repository's URL."""
    checkout = copy_checkout(folder / "source")
    wheel = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "dist"]
    run(sys.executable, *wheel, checkout)
    (built,) = (folder / "dist").glob("skytutor-*.whl")
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.source, changed = PACKAGE_URL.subn(f"@ {built.as_uri()}", cell.source)
    if changed != 1:
        sys.exit(
            f"the first code cell does not install the package from one git+ URL:\n{cell.source}"
        )


@contextlib.contextmanager
def cores(count: int | None):
    """Let this process, and a kernel it starts, use the first `count` cores; None: all."""
    if count is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def execute(
    notebook: nbformat.NotebookNode,
    python: list[str],
    *,
    env: dict[str, str],
    folder: Path,
    count: int | None,
) -> dict:
    """Run every cell in a kernel of the fresh environment and return what it cost.

    The first code cell may install: its time is counted by itself. `python` is the command that
    starts the interpreter, word by word.
    """
    manager = AsyncKernelManager()
    manager.kernel_spec.argv = [*python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    client = nbclient.NotebookClient(
        notebook, km=manager, timeout=3600, resources={"metadata": {"path": str(folder)}}
    )
    first = next(number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    started = launched = time.perf_counter()
    with cores(count), client.setup_kernel(env=env):
        memory = costs.Memory(manager.provisioner.pid)
        memory.start()
        try:
            for number, cell in enumerate(notebook.cells):
                print(f"\rcell {number + 1} of {len(notebook.cells)}", end="", flush=True)
                client.execute_cell(cell, number)
                launched = time.perf_counter() if number <= first else launched
        finally:
            peak = memory.stop()
            # nbclient stops only the managers that it made
            run_sync(manager.shutdown_kernel)(now=True)
    ended = time.perf_counter()
    return {
        "launch_s": round(launched - started, 1),
        "seconds": round(ended - launched, 1),
        "peak_mib": peak,
    }


def disk_mib(folder: Path) -> int:
    """Return the size of all files in a folder, in MiB."""
    return round(sum(p.lstat().st_size for p in folder.rglob("*") if not p.is_dir()) / costs.MIB)


def prove(options: argparse.Namespace, folder: Path) -> dict:
    """Make the environment, run the notebook in it, check what must hold."""
    notebook = nbformat.read(options.notebook, as_version=4)
    python = folder / "env" / "bin" / "python"
    started = time.perf_counter()
    prepare = prepare_binder if options.kind == "binder" else prepare_colab
    env, facts = prepare(folder, options)
    facts["install_s"] = round(time.perf_counter() - started)
    if options.kind == "colab" and not options.published:
        use_wheel(notebook, folder)
    env["SKYTUTOR_PROFILE"] = options.profile
    where = folder / "checkout" / "book" / "chapters" if options.kind == "binder" else folder
    where.mkdir(parents=True, exist_ok=True)
    command = [str(python)]
    if options.kind == "binder":
        command = ["bash", str(folder / "checkout" / "binder" / "start"), *command]
    facts |= execute(notebook, command, env=env, folder=where, count=facts.get("cores"))
    if "cores" not in facts:
        facts["cores"] = cores_of(python, env)
    facts["data"] = costs.data_found(python, env)
    facts |= {"packages": versions(python), "env_mib": disk_mib(folder / "env")}
    changed = {n: v for n, v in facts.get("image", {}).items() if facts["packages"].get(n) != v}
    if changed:
        sys.exit(
            f"the first cell changed what the image brought: {changed} became {facts['packages']}"
        )
    if facts["peak_mib"] > LIMIT_MIB[options.kind]:
        sys.exit(
            f"peak memory {facts['peak_mib']} MiB is above "
            f"the session's {LIMIT_MIB[options.kind]} MiB"
        )
    return facts


def main() -> None:
    """Read the command line, prove the chapter, and write down what it cost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["binder", "colab"])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--profile", default="cpu", choices=["smoke", "cpu", "gpu"])
    parser.add_argument(
        "--index",
        default=os.environ.get("SKYTUTOR_TORCH_INDEX", "auto"),
        help="auto, none or a URL",
    )
    parser.add_argument("--published", action="store_true", help="colab: keep the repository's URL")
    parser.add_argument(
        "--no-record", action="store_true", help="leave book/measurements.json alone"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="skytutor-launch-") as folder:
        result = prove(options, Path(folder))
    device = f"CPU, set up as on {options.kind.title()}"
    where = {"cores": result["cores"], "torch": result["packages"]["torch"], "data": result["data"]}
    result |= costs.place(device=device, **where) | {"profile": options.profile}
    print("\n" + json.dumps(result, indent=2))
    if not options.no_record:
        costs.record(costs.RESULTS, costs.page_of(options.notebook), options.kind, result)


if __name__ == "__main__":
    main()
