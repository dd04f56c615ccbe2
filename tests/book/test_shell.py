"""What stands around the book: the two commands, pins, addresses, pictures, vendored scripts."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXT = ROOT / "book/_ext"
sys.path.insert(0, str(EXT))

import draw  # noqa: E402
import measure  # noqa: E402
import vendor  # noqa: E402

MAKEFILE = (ROOT / "Makefile").read_text()
PINS = (ROOT / "requirements.txt").read_text().splitlines()
OURS = ["Makefile", "README.md", "_config.yml", "_toc.yml", "pyproject.toml", "requirements.txt", "CITATION.cff"]


def address() -> str:
    return yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]


def test_first_installation_names_the_pinned_torch():
    pinned = [line for line in PINS if line.startswith("torch==")]
    assert re.search(r"^TORCH := (.*)$", MAKEFILE, re.MULTILINE)[1] == pinned[0]
    assert MAKEFILE.index("install --disable-pip-version-check $(TORCH)") < MAKEFILE.index("-r requirements.txt")


def test_every_requirement_is_one_exact_pin():
    lines = [line for line in PINS if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[\w.!]+", line) for line in lines)
    names = [re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines]
    assert len(names) == len(set(names)) and "skytutor" not in names


def test_package_has_lower_bounds_only_and_each_is_pinned_above_it():
    import tomllib

    from packaging.requirements import Requirement
    from packaging.version import Version

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {re.sub(r"[-_.]+", "-", n).lower(): v for n, _, v in (line.partition("==") for line in PINS)}
    for text in project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]:
        need = Requirement(text)
        if need.name == "skytutor":
            continue
        assert need.specifier.contains(Version(pins[need.name])), text
        bounds = {spec.operator for spec in need.specifier}
        assert bounds == {">="} or need.name == "jupyter-book", f"{text}: only Jupyter Book has a reason for an upper bound"


def test_readme_names_goals_that_exist():
    goals = set(re.findall(r"^([a-z][\w-]*):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"make ([a-z][\w-]*)", (ROOT / "README.md").read_text()))
    assert {"book", "test", "data", "lab", "bench"} <= named <= goals


@pytest.mark.parametrize("goal", ["book", "test", "data", "lab", "bench", "clean", "help"])
def test_every_goal_can_be_read_by_make(goal):
    done = subprocess.run(["make", "-n", goal], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_python_is_said_in_plain_words(tmp_path):
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_text("")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("make", "sh", "getconf"):
        (tools / tool).symlink_to(shutil.which(tool))
    done = subprocess.run([str(tools / "make"), ".venv/.ready"], cwd=tmp_path, env={"PATH": str(tools)}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "No Python 3.11 or newer" in done.stderr


def test_address_of_the_repository_is_the_same_everywhere():
    found = {}
    for name in [*OURS, *(str(p.relative_to(ROOT)) for p in ROOT.glob("book/*.md"))]:
        for url in re.findall(r"https://github\.com/[\w.-]+/[\w.-]+", (ROOT / name).read_text()):
            if "skytutor" in url.lower():
                found.setdefault(url.removesuffix(".git"), []).append(name)
    assert set(found) == {address()}, found


def test_no_file_names_a_registry_or_a_path_of_some_machine():
    pattern = re.compile(r"pypi\.(org|python)|registry\.npmjs|files\.pythonhosted|(?<![\w.])/(work|opt|home|root)/")
    kinds = (".py", ".md", ".rst", ".json", ".js", ".css", ".ipynb")
    own = [ROOT / n for n in OURS] + [p for f in ("book", "tests/book") for p in (ROOT / f).rglob("*") if p.suffix in kinds]
    bad = [p for p in own if p != Path(__file__) and pattern.search(p.read_text(encoding="utf-8"))]
    assert not bad


@pytest.mark.parametrize("name", draw.PICTURES)
def test_pictures_are_what_the_script_draws(name):
    assert (ROOT / "book/_static" / name).read_text() == draw.PICTURES[name]()


def test_base_pixels_of_the_pictures_are_healpix():
    import torch

    from skytutor import healpix

    nside = 4
    pix = torch.arange(12 * nside**2)
    f, y, x = healpix.nested_to_face(pix, nside=nside)
    centres = zip(f.tolist(), ((x + 0.5) / nside).tolist(), ((y + 0.5) / nside).tolist(), strict=True)
    drawn = torch.tensor([draw.position(*centre) for centre in centres], dtype=torch.float64)
    torch.testing.assert_close(drawn, healpix.pixel_to_vector(pix, nside=nside, order="nested").double(), rtol=0, atol=1e-12)


def test_vendored_packages_are_pinned_by_version_and_hash():
    for name, package in vendor.manifest().items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"]), name
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package["integrity"]), name


def test_an_altered_archive_is_refused(tmp_path):
    archive = tmp_path / "a.tgz"
    archive.write_bytes(b"right")
    integrity = vendor.digest(archive)
    vendor.check(archive, "a", integrity)
    archive.write_bytes(b"wrong")
    with pytest.raises(vendor.VendorError, match="a: the archive's SHA-512 differs"):
        vendor.check(archive, "a", integrity)


def test_measuring_writes_time_and_memory(tmp_path):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    notebook, results = tmp_path / "page.ipynb", tmp_path / "measured.json"
    cells = [new_code_cell("import os\nassert os.environ['SKYTUTOR_PROFILE'] == 'smoke'\nblock = bytearray(200 * 2**20)")]
    nbformat.write(new_notebook(cells=cells), notebook)
    measure.main([str(notebook), "--profile", "smoke", "--results", str(results)])
    found = json.loads(results.read_text())["page"]["smoke"]
    assert found["peak_mib"] > 200 and found["seconds"] > 0 and found["device"]
