"""The architecture: who may import whom, how long files and functions may be, what imports cost."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "skytutor"
FILES = sorted(PACKAGE.rglob("*.py"))
# Ground floor first. A file imports from floors below its own only.
FLOORS = [
    ["__init__"],
    ["validate", "profile", "schedule", "interrupt", "files"],
    ["healpix.checks", "checkpoint", "runfolder", "launch"],
    ["state"],
    ["run"],
    ["healpix.numbering"],
    ["healpix.directions", "healpix.adjacency"],
    ["healpix"],
    ["sht.packing", "sht.rings", "sht.solvers"],
    ["sht.legendre", "sht.ducc", "sht.chirp"],
    ["sht.fourier"],
    ["sht.dense", "sht.symmetry"],
    ["sht.transforms"],
    ["sht.real"],
    ["sht.inverse"],
    ["sht.functions"],
    ["sht", "metrics", "check"],
    ["spectra", "smoothing"],
    ["covariance"],
    ["plot", "train", "layers.faces"],
    ["layers.hierarchy", "layers.rotate"],
    [
        "layers.pixel",
        "layers.polar",
        "layers.spectral",
        "layers.gates",
        "layers.wiener",
        "layers.deconvolution",
        "layers.partial",
    ],
    ["widgets.codec", "widgets.page", "data.download"],
    ["data.registry"],
    ["widgets.skies"],
    ["widgets.model"],
    ["widgets.sphere"],
    ["widgets", "widgets.explore"],
    ["data.emulator"],
    ["data.digits", "data.cmb", "data.galaxies", "data.bands", "data.patches"],
    ["limits"],
    ["models.digits", "models.cmb", "models.cmb_published", "models.game"],
    ["models.invariant", "models.gan_blocks", "models.gan_published"],
    ["models.gan"],
    ["recipes.base"],
    ["recipes.digits", "recipes.cmb"],
    ["recipes.gan_scores"],
    ["recipes.gan"],
    ["recipes.gan_suspects", "recipes.gan_skies"],
    ["recipes"],
    ["cli"],
    ["__main__"],
]
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}
# Symptoms, not goals: what is longer is probably two things. Nothing is packed to fit.
# Each of these holds several ideas, and is split when the rooms are made.
AWAITING_SPLIT = ("data.digits", "recipes.base", "recipes.cmb", "recipes.digits")
LONGEST_FILE = 350
LONGEST_FUNCTION = 40


def name_of(path):
    """Return the name of a module without the package's.

    It is "layers.pixel" of a file, "recipes" of a folder's ``__init__``, "__init__" of the
    package's own.
    """
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def is_empty_shelf(path):
    """Tell whether a file is a folder's ``__init__`` with nothing but a docstring.

    It belongs to no floor.
    """
    return (
        path.name == "__init__.py"
        and path.parent != PACKAGE
        and len(ast.parse(path.read_text()).body) <= 1
    )


HOUSED = [path for path in FILES if not is_empty_shelf(path)]
by_name = pytest.mark.parametrize("path", HOUSED, ids=name_of)


def imported(path):
    """Yield the files of this package that `path` imports, wherever in the file it does."""
    known = {name_of(p) for p in FILES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: say where it comes from: `from skytutor...`"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "skytutor":
                parts = name.split(".")[1:]
                while parts and ".".join(parts) not in known:
                    parts.pop()  # the last part was a function or a class
                yield ".".join(parts) or "__init__"


@by_name
def test_imports_point_downwards(path):
    here = name_of(path)
    assert here in FLOOR, f"{here} stands on no floor: give it one in FLOORS"
    for other in imported(path):
        below = FLOOR.get(other)
        if below is None:  # a folder: its files are named one by one
            continue
        assert below < FLOOR[here], f"{here} (floor {FLOOR[here]}) imports {other} (floor {below})"


@by_name
def test_the_file_is_short(path):
    if name_of(path) in AWAITING_SPLIT:
        return
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines: probably two things"


def code_lines(function):
    """Lines of a function without its docstring and its signature."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@by_name
def test_functions_are_short(path):
    functions = [
        n
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = {f.name: code_lines(f) for f in functions if code_lines(f) > LONGEST_FUNCTION}
    assert not long, f"longer than {LONGEST_FUNCTION} lines: {long}"


@by_name
def test_public_things_are_described_and_annotated(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "what is this file for?"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if isinstance(node, ast.ClassDef):
                assert ast.get_docstring(node), f"{node.name} says nothing of itself"
                continue
            arguments = [
                a
                for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                if a.annotation is None
            ]
            assert not arguments, f"{node.name}: {[a.arg for a in arguments]} without annotation"
            assert node.returns is not None, f"{node.name}: what does it return?"


@by_name
def test_keyword_only_after_the_second_argument(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.FunctionDef)
            and not node.name.startswith("_")
            and "healpix" in path.parts
        ):
            coordinates = [a.arg for a in node.args.args] == ["f", "y", "x"]
            assert len(node.args.args) <= 2 or coordinates, f"{node.name}: the rest keyword-only"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_host_of_a_registry_and_no_path_of_this_machine(path):
    text = path.read_text()
    for word in (
        "pypi",
        "pythonhosted",
        "download.pytorch",
        "npmjs",
        "/work/",
        "../shared",
        "/opt/",
        "/root/",
        "/home/",
    ):
        assert word not in text, f"{path.name} names {word}"


HEAVY = (
    "torch",
    "numpy",
    "matplotlib",
    "sklearn",
    "scipy",
    "pooch",
    "requests",
    "lightning_fabric",
    "healpy",
    "astropy",
    "tqdm",
)


def in_a_fresh_process(code):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")} | {
        "PYTHONPATH": str(PACKAGE.parent)
    }
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment
    )
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_importing_the_package_loads_nothing_heavy():
    out = in_a_fresh_process(f"""
import sys, skytutor
print([m for m in {HEAVY} if m in sys.modules], skytutor.__version__)
""")
    assert re.fullmatch(r"\[\] \d+\.\d+\.\d+\n", out), out


def test_imports_touch_no_network_and_leave_no_data(tmp_path):
    """Every file is imported with the sockets taken away; that catches circular imports too."""
    names = [
        f"skytutor.{name_of(p)}" for p in FILES if p.stem != "__main__" and name_of(p) != "__init__"
    ]
    in_a_fresh_process(f"""
import importlib, os, socket
os.environ["SKYTUTOR_DATA"] = {str(tmp_path / "data")!r}
def refuse(*a, **k):
    raise AssertionError(f"the network at import: {{a}}")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
for name in {names!r}:
    importlib.import_module(name)
assert not os.path.exists(os.environ["SKYTUTOR_DATA"])
""")


def test_the_core_needs_neither_healpy_nor_ducc():
    """Healpy and ducc0 are GPL: an oracle and an option, never a part of the core."""
    core = [
        f"skytutor.{n}"
        for n in (
            "healpix",
            "layers.pixel",
            "layers.hierarchy",
            "layers.faces",
            "models.digits",
            "checkpoint",
        )
    ]
    loaded = in_a_fresh_process(f"""
import importlib, sys
for name in ("healpy", "ducc0", "astropy", "matplotlib", "sklearn", "lightning_fabric", "pooch"):
    sys.modules[name] = None  # importing it raises
for name in {core!r}:
    importlib.import_module(name)
print("fine")
""")
    assert loaded == "fine\n"
