"""What stands around the book: the two commands, pins, addresses, pictures, vendored scripts."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXT = ROOT / "book/_ext"
sys.path.insert(0, str(EXT))

import draw  # noqa: E402
import measure  # noqa: E402
import rooms  # noqa: E402
import vendor  # noqa: E402

MAKEFILE = (ROOT / "Makefile").read_text()
PINS = (ROOT / "requirements.txt").read_text().splitlines()
OURS = [
    "Makefile",
    "README.md",
    "_config.yml",
    "_toc.yml",
    "pyproject.toml",
    "requirements.txt",
    "CITATION.cff",
]


def address() -> str:
    return yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]


def test_first_installation_names_the_pinned_torch():
    pinned = [line for line in PINS if line.startswith("torch==")]
    assert re.search(r"^TORCH := (.*)$", MAKEFILE, re.MULTILINE)[1] == pinned[0]
    assert MAKEFILE.index("install $(TORCH)") < MAKEFILE.index("install -r requirements.txt")


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
    pins = {}
    for line in PINS:
        name, _, version = line.partition("==")
        pins[re.sub(r"[-_.]+", "-", name).lower()] = version
    needs = [*project["dependencies"]]
    for name, extra in project["optional-dependencies"].items():
        # It asks the network: neither book nor tests import it, so no environment here holds it.
        needs += [text for text in extra if name != "surveys" or "astroquery" not in text]
    for text in needs:
        need = Requirement(text)
        if need.name == "skytutor":
            continue
        assert need.specifier.contains(Version(pins[need.name])), text
        bounds = {spec.operator for spec in need.specifier}
        assert bounds == {">="} or need.name == "jupyter-book", (
            f"{text}: only Jupyter Book has a reason for an upper bound"
        )


def test_readme_names_goals_that_exist():
    goals = set(re.findall(r"^([a-z][\w-]*):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"make ([a-z][\w-]*)", (ROOT / "README.md").read_text()))
    assert {"book", "test", "test-data", "data", "lab", "lint", "bench"} <= named <= goals


@pytest.mark.parametrize("goal", ["book", "test", "lint", "data", "lab", "bench", "clean", "help"])
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
    done = subprocess.run(
        [str(tools / "make"), ".venv/.ready"],
        cwd=tmp_path,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
    )
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
    pattern = re.compile(
        r"pypi\.(org|python)|registry\.npmjs|files\.pythonhosted|(?<![\w.])/(work|opt|home|root)/"
    )
    kinds = (".py", ".md", ".rst", ".json", ".js", ".css", ".ipynb")
    own = [ROOT / name for name in OURS]
    for folder in ("book", "tests/book"):
        own += [p for p in (ROOT / folder).rglob("*") if p.suffix in kinds]
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
    right = ((x + 0.5) / nside).tolist()
    up = ((y + 0.5) / nside).tolist()
    centres = zip(f.tolist(), right, up, strict=True)
    drawn = torch.tensor([draw.position(*centre) for centre in centres], dtype=torch.float64)
    wanted = healpix.pixel_to_vector(pix, nside=nside, order="nested").double()
    torch.testing.assert_close(drawn, wanted, rtol=0, atol=1e-12)


def room_faults(table):
    """Yield what makes the picture of the rooms hard to read.

    Two rooms in one place, or a line that runs through a room it does not belong to.
    """
    place = rooms.places(table)
    width, height = rooms.BOX
    if len(set(place.values())) < len(place):
        yield "two rooms stand in one place"
    for upper, lower in rooms.direct(table):
        x1, y1 = place[upper][0], place[upper][1] + height
        x2, y2 = place[lower]
        for name, (x, y) in place.items():
            # How far to the right the line is at the upper and at the lower edge of the box.
            inside = [x1 + (x2 - x1) * (level - y1) / (y2 - y1) for level in (y, y + height)]
            near = min(inside) < x + width / 2 and max(inside) > x - width / 2
            if name not in (upper, lower) and y1 < y + height and y < y2 and near:
                yield f"the line from {upper} to {lower} runs through {name}"


def test_picture_of_the_rooms_shows_all_and_no_line_runs_through_a_room():
    table = rooms.rooms()
    assert list(room_faults(table)) == []
    drawn = re.findall(r"<text[^>]*>(\w+)</text>", rooms.picture(table))
    assert sorted(drawn) == sorted(room.name for room in table)


def test_a_line_through_a_room_is_found(monkeypatch):
    table = [
        rooms.Room("low", frozenset(), ""),
        rooms.Room("middle", frozenset({"low"}), ""),
        rooms.Room("side", frozenset({"low"}), ""),
        rooms.Room("high", frozenset({"side"}), ""),
        rooms.Room("top", frozenset({"middle", "high"}), ""),
    ]
    assert rooms.direct(table)[-2:] == [("top", "high"), ("top", "middle")]
    monkeypatch.setattr(rooms, "COLUMNS", ("low middle top", "side high"))
    assert list(room_faults(table)) == []
    monkeypatch.setattr(rooms, "COLUMNS", ("low middle high top", "side"))
    assert list(room_faults(table)) == ["the line from top to middle runs through high"]


def test_a_room_that_the_picture_does_not_know_yet_gets_a_place_of_its_own(monkeypatch):
    monkeypatch.setattr(rooms, "COLUMNS", ())
    table = rooms.rooms()
    assert len(set(rooms.places(table).values())) == len(table)


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


def test_every_vendored_package_brings_its_licence():
    for name, package in vendor.manifest().items():
        assert "LICENSE" in package["take"] or package["notice"], name


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Put two small packages in the place of npm's.

    Returns the folder to unpack into, and the list of what was fetched.
    """
    contents = {
        "with": {"LICENSE": "do what you like", "a.js": "1", "other.js": "not taken"},
        "without": {
            "package.json": '{"version": "1.2.3", "license": "MIT", "author": "A. Author"}',
            "es5/b.js": "2",
        },
    }
    manifest = {
        "with": {"version": "1.0.0", "take": ["LICENSE", "a.js"], "into": "static/vendor/with"},
        "without": {
            "version": "1.2.3",
            "take": ["es5/*"],
            "notice": True,
            "into": "static/vendor/without",
        },
    }
    fetched = []

    def fetch(name, package, folder):
        fetched.append(name)
        source = tmp_path / "source" / name / "package"
        for file, text in contents[name].items():
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            (source / file).write_text(text)
        return Path(shutil.make_archive(str(folder / name), "gztar", source.parent, "package"))

    monkeypatch.setattr(vendor, "manifest", lambda: manifest)
    monkeypatch.setattr(vendor, "fetch", fetch)
    return tmp_path / "_build" / "vendor", fetched


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_vendored_files_are_unpacked_once(packages):
    folder, fetched = packages
    assert vendor.vendor(folder) == folder and fetched == ["with", "without"]
    before = tree(folder)
    assert {name for name in before if name.startswith("static/vendor/with")} == {
        "static/vendor/with/LICENSE",
        "static/vendor/with/a.js",
        "static/vendor/without/LICENSE",
        "static/vendor/without/b.js",
    }
    vendor.vendor(folder)
    assert fetched == ["with", "without"] and tree(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["vendor"], (
        "nothing is left beside it"
    )


def change(folder):
    (folder / "static/vendor/with/a.js").write_text("1;")


def delete(folder):
    (folder / "static/vendor/without/b.js").unlink()


def delete_a_licence(folder):
    (folder / "static/vendor/without/LICENSE").unlink()


def add(folder):
    (folder / "static/vendor/with/c.js").write_text("3")


def link(folder):
    path = folder / "static/vendor/with/a.js"
    path.rename(folder.parent / "elsewhere.js")
    path.symlink_to(folder.parent / "elsewhere.js")


def cut_the_stamp(folder):
    stamp = folder / vendor.STAMP
    stamp.write_text(stamp.read_text()[:40])


def lose_the_stamp(folder):
    (folder / vendor.STAMP).unlink()


def another_manifest(folder):
    stamp = json.loads((folder / vendor.STAMP).read_text())
    (folder / vendor.STAMP).write_text(json.dumps({**stamp, "made from": "another"}))


def replace_all(folder):
    shutil.rmtree(folder)
    folder.write_text("a file where the folder was")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (change, "static/vendor/with/a.js was changed"),
        (delete, "static/vendor/without/b.js is missing"),
        (delete_a_licence, "static/vendor/without/LICENSE is missing"),
        (add, "static/vendor/with/c.js does not belong there"),
        (link, "static/vendor/with/a.js was changed"),
        (cut_the_stamp, "it has no unpacked.json that can be read"),
        (lose_the_stamp, "it has no unpacked.json that can be read"),
        (another_manifest, "made from another vendor.json"),
        (replace_all, "it has no unpacked.json that can be read"),
    ],
)
def test_vendored_files_that_are_not_as_unpacked_are_made_anew(packages, capsys, harm, said):
    folder, fetched = packages
    vendor.vendor(folder)
    right = tree(folder)
    harm(folder)
    capsys.readouterr()
    vendor.vendor(folder)
    assert tree(folder) == right and fetched == ["with", "without"] * 2
    assert said in capsys.readouterr().out
    vendor.vendor(folder)
    assert len(fetched) == 4, "and then they are right"


@pytest.mark.parametrize("there_before", [True, False])
def test_an_interrupted_unpacking_leaves_no_half(packages, monkeypatch, there_before):
    folder, _ = packages
    if there_before:
        vendor.vendor(folder)
        change(folder)
    old = tree(folder) if there_before else None
    unpack = vendor.unpack

    def stop(archive, name, package, target):
        unpack(archive, name, package, target)
        if name == "without":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(vendor, "unpack", stop)
        with pytest.raises(KeyboardInterrupt):
            vendor.vendor(folder)
    assert (tree(folder) if folder.exists() else None) == old
    vendor.vendor(folder)
    assert vendor.fault(folder) is None


def test_a_removal_cut_short_is_noticed(packages, monkeypatch):
    folder, _ = packages
    vendor.vendor(folder)
    change(folder)

    def stop(folder):
        (folder / "static/vendor/with/LICENSE").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(vendor, "shutil", SimpleNamespace(rmtree=stop))
        with pytest.raises(KeyboardInterrupt):
            vendor.vendor(folder)
    vendor.vendor(folder)
    assert vendor.fault(folder) is None


def test_licence_notice_says_what_the_package_says():
    about = {
        "version": "1.2.3",
        "license": "MIT",
        "author": {"name": "A. Author"},
        "repository": {"url": "https://a.b/c.git"},
    }
    text = vendor.licence_notice("a", about, True)
    for words in ("a 1.2.3", "Licence: MIT", "Author: A. Author", "Source: https://a.b/c.git"):
        assert words in text.splitlines()
    text = vendor.licence_notice("a", about, "ipywidgets")
    assert "Redistribution and use in source and binary forms" in text
    with pytest.raises(vendor.VendorError, match=r"a: its package\.json names no licence"):
        vendor.licence_notice("a", {"version": "1.2.3"}, True)


def test_a_package_without_a_licence_is_refused(packages):
    folder, _ = packages
    vendor.manifest()["with"]["take"] = ["a.js"]
    with pytest.raises(vendor.VendorError, match="with: no licence is taken"):
        vendor.vendor(folder)
    assert not folder.exists()


def test_measuring_writes_time_and_memory_of_one_thread(tmp_path, monkeypatch):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    notebook = tmp_path / "page.ipynb"
    results = tmp_path / "measured.json"
    cell = new_code_cell(
        "import os\n"
        "assert os.environ['SKYTUTOR_PROFILE'] == 'smoke'\n"
        "assert os.environ['OMP_NUM_THREADS'] == '1'\n"
        "block = bytearray(200 * 2**20)"
    )
    nbformat.write(new_notebook(cells=[cell]), notebook)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    measure.main([str(notebook), "--profile", "smoke", "--results", str(results)])
    found = json.loads(results.read_text())["page"]["smoke"]
    assert found["peak_mib"] > 200 and found["seconds"] > 0 and found["device"]
