"""The rooms of the package: what each may import, how large it may grow, what an import costs."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "skytutor"
FILES = sorted(PACKAGE.rglob("*.py"))
# Room, what it imports besides itself, those of EVERYWHERE. A room stands below those
# that import it. `book/architecture.md` is drawn from this table.
ROOMS = (
    ("lazy", "", "packages whose modules load when they are first asked for"),
    ("arrays", "", "arrays as they come: to tensors, or refused by name"),
    ("values", "", "the values of a tensor, looked at in every mode in which it has any"),
    ("inputs", "", "what modules are given: tensors in the precision of their weights"),
    ("validate", "", "checks of arguments: integers, positive numbers, one of a list"),
    ("memo", "", "results that are made once and kept, in every mode of torch"),
    ("tables", "", "modules whose tables follow from their arguments, on the meta device too"),
    ("files", "", "files written whole or not at all, and strict JSON"),
    ("check", "", "checks for the numbers in the text and for a reader's answers"),
    ("chunks", "validate", "a function applied to a few rows at a time"),
    ("healpix", "validate chunks", "pixel numbers, directions, neighbours, rings, checks of maps"),
    (
        "sht",
        "validate healpix",
        "spherical-harmonic transforms and the solver of linear systems",
    ),
    ("training", "validate files", "profile, task, schedule, loop, interruption, checkpoint"),
    (
        "fields",
        "validate files chunks healpix sht training",
        "Gaussian fields: spectra, windows, CAMB, covariances",
    ),
    (
        "metrics",
        "validate chunks healpix sht fields",
        "scores of answers, images, samples, maps and spectra",
    ),
    (
        "layers",
        "validate healpix sht",
        "layers of networks: faces, hierarchy, harmonics, rings",
    ),
    ("io", "validate files healpix", "maps from FITS files and into them"),
    ("data", "validate files healpix sht fields io", "the registry, and one file for each source"),
    (
        "plot",
        "validate healpix",
        "pictures of the sphere, tables, networks drawn from their modules",
    ),
    (
        "widgets",
        "validate files healpix fields layers plot",
        "the sphere to turn, curves with sliders",
    ),
    (
        "chapters",
        "validate files chunks healpix sht training fields metrics layers data",
        "the book's experiments, one folder each",
    ),
    (
        "exercises",
        "validate check healpix fields io data chapters",
        "what tests a reader's answers, one module a page",
    ),
    ("commands", "files training fields data chapters", "what each command does"),
    (
        "map_commands",
        "files sht fields io widgets",
        "the commands that take files of maps",
    ),
    (
        "cli",
        "files training data commands map_commands",
        "the command `skytutor`: words, signals, errors",
    ),
)
EVERYWHERE = {"lazy", "memo", "arrays", "values", "inputs", "tables"}
# Symptoms, not goals: what is longer is probably two things. Nothing is packed to fit.
LONGEST_FILE = 350
LONGEST_FUNCTION = 40


def name_of(path):
    """Return the name of a module without the package's.

    It is "layers.pixel" of a file, "layers" of a folder's ``__init__``, "__init__" of the package's
    own.
    """
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


KNOWN = {name_of(path) for path in FILES}
# The folders of the chapters; what lies beside them is shared by all.
CHAPTERS = {
    name.split(".")[1] for name in KNOWN if name.startswith("chapters.") and name.count(".") > 1
}
by_name = pytest.mark.parametrize("path", FILES, ids=name_of)


@cache
def text_of(path):
    return path.read_text()


@cache
def tree_of(path):
    return ast.parse(text_of(path))


@cache
def nodes_of(path):
    """Return all nodes of a file: it is parsed and walked through once for all tests."""
    return list(ast.walk(tree_of(path)))


def imported(path):
    """Yield the modules of this package that a file imports, wherever in the file it does."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: say where it comes from: `from skytutor...`"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "skytutor":
                continue
            parts = parts[1:]
            while parts and ".".join(parts) not in KNOWN:
                parts.pop()  # the last part was a function or a class
            yield ".".join(parts) or "__init__"


def room(module):
    return module.split(".")[0]


def chapter(module):
    """Return the chapter that a module belongs to; None of a module that no chapter owns."""
    parts = module.split(".")
    return parts[1] if parts[0] == "chapters" and parts[1:] and parts[1] in CHAPTERS else None


def faults(module, others, rooms=ROOMS):
    """Yield a line for each import of `module` that the table does not allow."""
    allowed = {name: set(uses.split()) for name, uses, _ in rooms}
    here = room(module)
    if here in ("__init__", "__main__"):
        return
    if here not in allowed:
        yield f"{module} is in no room of the table"
        return
    for other in others:
        there = room(other)
        if there not in {here, "__init__", *EVERYWHERE} and there not in allowed[here]:
            yield f"{module} imports {other}: {here} may import {sorted(allowed[here])}"
        if here == "chapters" and chapter(other) not in (None, chapter(module)):
            yield f"{module} imports {other}, the code of another chapter"


@by_name
def test_rooms_import_what_the_table_allows(path):
    assert not list(faults(name_of(path), imported(path)))


def test_the_table_has_no_room_that_imports_upwards_and_none_that_does_not_exist():
    names = [name for name, _, _ in ROOMS]
    for k, (name, uses, _) in enumerate(ROOMS):
        assert set(uses.split()) <= set(names[:k]), f"{name} may import from rooms above it"
    assert set(names) | {"__init__", "__main__"} == {room(name_of(path)) for path in FILES}


def test_no_room_may_import_what_it_does_not():
    used = {name: set() for name, _, _ in ROOMS}
    for path in FILES:
        here = room(name_of(path))
        used.setdefault(here, set()).update(map(room, imported(path)))
    for name, uses, _ in ROOMS:
        assert set(uses.split()) == used[name] - {name, "__init__", *EVERYWHERE}, name


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("layers", "lazy"),
        ("layers.pixel", "__init__"),
        ("chapters.gan.task", "chapters.gan.networks"),
        ("chapters.gan.task", "chapters.seeds"),
        ("chapters.train", "chapters.recipe"),
        ("cli", "commands"),
        ("commands", "chapters.gan.ablations"),
    ],
)
def test_what_the_table_allows_is_no_fault(module, other):
    assert not list(faults(module, [other]))


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("healpix.rings", "layers.pixel"),
        ("metrics.samples", "chapters.gan.scores"),
        ("layers.pixel", "training.loop"),
        ("chapters.gan.task", "chapters.digits.task"),
        ("chapters.recipe", "chapters.gan.recipes"),
        ("chapters.train", "chapters.gan.task"),
        ("chapters.digits.task", "chapters.gan"),
        ("data.cmb", "chapters.cmb.limits"),
        ("lazy", "healpix"),
        ("attic.thing", "healpix"),
    ],
)
def test_what_the_table_forbids_is_found(module, other):
    assert list(faults(module, [other]))


def test_no_circles():
    """Depth first through all imports: a module met again on the way down closes a circle."""
    graph = {name_of(path): sorted(set(imported(path)) - {name_of(path)}) for path in FILES}
    done = set()

    def visit(module, above):
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, [*above, module])
            done.add(module)

    for module in graph:
        visit(module, [])


@by_name
def test_the_file_is_short(path):
    lines = len(text_of(path).splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines: probably two things"


def code_lines(function):
    """Return how many lines a function has, its signature among them, its docstring not."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function):
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


@by_name
def test_functions_are_short(path):
    functions = [
        node for node in nodes_of(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = {f.name: code_lines(f) for f in functions if code_lines(f) > LONGEST_FUNCTION}
    assert not long, f"longer than {LONGEST_FUNCTION} lines: {long}"


@by_name
def test_public_things_are_described_and_annotated(path):
    tree = tree_of(path)
    assert ast.get_docstring(tree), "what is this file for?"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if isinstance(node, ast.ClassDef):
                assert ast.get_docstring(node), f"{node.name} says nothing of itself"
                continue
            everything = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            arguments = [a.arg for a in everything if a.annotation is None]
            assert not arguments, f"{node.name}: {arguments} without annotation"
            assert node.returns is not None, f"{node.name}: what does it return?"


@by_name
def test_keyword_only_after_the_second_argument(path):
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            if "healpix" not in path.parts:
                continue
            coordinates = [a.arg for a in node.args.args] == ["f", "y", "x"]
            few = len(node.args.args) <= 2
            assert few or coordinates, f"{node.name}: the rest keyword-only"


@by_name
def test_no_host_of_a_registry_and_no_path_of_this_machine(path):
    text = text_of(path)
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
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    environment["PYTHONPATH"] = str(PACKAGE.parent)
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_importing_the_package_loads_nothing_heavy():
    out = in_a_fresh_process(
        "import sys, skytutor\n"
        f"print([m for m in {HEAVY} if m in sys.modules], skytutor.__version__)"
    )
    assert re.fullmatch(r"\[\] \d+\.\d+\.\d+\n", out), out


def test_help_loads_nothing_heavy():
    out = in_a_fresh_process(f"""
import sys
from skytutor.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
print([m for m in {HEAVY} if m in sys.modules])
""")
    assert out.endswith("[]\n"), out


def test_modules_are_found_from_the_package():
    out = in_a_fresh_process("import skytutor; print(skytutor.fields.spectra.__name__)")
    assert out == "skytutor.fields.spectra\n"
    out = in_a_fresh_process("""
import skytutor
try:
    skytutor.nothing
except AttributeError as error:
    print(error)
print("fields" in dir(skytutor), "spectra" in dir(skytutor.fields))
""")
    assert out == "module 'skytutor' has no attribute 'nothing'\nTrue True\n"


def chapters_after(code):
    """Return the chapters whose modules a fresh process has loaded when it has run some code."""
    out = in_a_fresh_process(f"""
import sys
{code}
loaded = {{m.split(".")[2] for m in sys.modules if m.startswith("skytutor.chapters.")}}
print(*sorted(loaded & {CHAPTERS}))
""")
    return out.splitlines()[-1].split()


@pytest.mark.parametrize(("name", "mine"), [("digits-fixed", "digits"), ("sphere-gan-cmb", "gan")])
def test_a_recipe_and_its_network_import_no_other_chapter(name, mine):
    code = f"from skytutor import chapters; chapters.get({name!r}).build()"
    assert chapters_after(code) == [mine]


def test_evaluating_a_recipe_imports_no_other_chapter():
    """The whole command: recipe, pretrained weights, test skies, scores."""
    code = """
from skytutor.cli import main
assert main(["evaluate", "cmb-t3", "--size", "20"]) == 0
"""
    assert chapters_after(code) == ["cmb"]


def test_listing_the_recipes_imports_no_chapter():
    out = in_a_fresh_process("""
import contextlib, io, sys
from skytutor.cli import main
with contextlib.redirect_stdout(io.StringIO()) as shown:
    main(["recipes"])
loaded = [m for m in sys.modules if m.startswith("skytutor.chapters.") and m.count(".") > 2]
print(len(shown.getvalue().splitlines()) > 10, loaded)
""")
    assert out == "True []\n"


def test_imports_touch_no_network_and_leave_no_data(tmp_path):
    """Every file of the package is imported with the sockets taken away."""
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
    """Both healpy and ducc0 are GPL: an oracle and an option, never a part of the core."""
    core = [
        f"skytutor.{name}"
        for name in (
            "healpix",
            "layers.pixel",
            "layers.hierarchy",
            "layers.faces",
            "chapters.digits.networks",
            "training.checkpoint",
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
