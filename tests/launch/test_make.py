"""The Makefile with a Python that only writes down what it is asked.

What makes an environment, what is refused, how tests end.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from skytutor.training import profile

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
GOALS = [
    "book",
    "lint",
    "test",
    "test-data",
    "test-lint",
    "test-unit",
    "test-chapters",
    "test-notebooks",
    "test-build",
    "test-browser",
    "data",
    "lab",
    "bench",
    "measure",
]
# Stands for every Python: `-m venv` makes an environment of itself, pytest leaves one passed and
# one skipped test, and the step whose words are in $FAILS fails. The closing line is made by the
# real Python.
PYTHON = r"""#!/bin/sh
printf '%s\n' "$0 $*" >> "$LOG"
case "$*" in
  "-m venv --clear "*)
    rm -rf .venv/* .venv/.ready; mkdir -p .venv/bin; cp "$HELPERS/python3" .venv/bin/python ;;
  tests/summary.py*) shift; exec "$REAL" "$SUMMARY" "$@" ;;
  *--junitxml=*)
    place=${*##*--junitxml=}; place=${place%% *}; mkdir -p "${place%/*}"
    echo '<testsuites><testsuite><testcase name="a"/><testcase name="b">' > "$place"
    echo '<skipped type="pytest.skip" message="no luck"/></testcase>' >> "$place"
    echo '</testsuite></testsuites>' >> "$place" ;;
esac
case "$*" in *"${FAILS:-nothing fails}"*) exit 3 ;; esac
"""


class Checkout:
    """A folder with our Makefile and nothing else of ours, and what `make` did in it."""

    def __init__(self, folder: Path, helpers: Path):
        self.folder = folder
        self.helpers = helpers
        (folder / "book" / "chapters").mkdir(parents=True)
        (folder / "book" / "chapters" / "one.ipynb").touch()
        shutil.copy(ROOT / "Makefile", folder)
        for name in ("requirements.txt", "pyproject.toml"):
            (folder / name).touch()

    @property
    def ready(self) -> Path:
        return self.folder / ".venv" / ".ready"

    def make(self, *words: str, **more) -> subprocess.CompletedProcess:
        """Run `make`; `self.ran` are the calls of a Python that it made, each as one text."""
        log = self.helpers / "log"
        log.write_text("")
        kept = {
            name: value
            for name, value in os.environ.items()
            if "MAKE" not in name and not name.startswith("SKYTUTOR")
        }
        env = {
            **kept,
            "PATH": f"{self.helpers}:{os.environ['PATH']}",
            "LOG": str(log),
            "HELPERS": str(self.helpers),
            "REAL": sys.executable,
            "SUMMARY": str(ROOT / "tests" / "summary.py"),
            **more.pop("env", {}),
        }
        done = subprocess.run(
            ["make", *words], cwd=self.folder, env=env, capture_output=True, text=True, **more
        )
        self.ran = [
            line.partition(" ")[2]
            for line in log.read_text().splitlines()
            if ".venv/bin/python -c import" not in line
        ]
        return done

    def made(self) -> bool:
        return any("-m venv" in call for call in self.ran)


@pytest.fixture
def helpers(tmp_path):
    folder = tmp_path / "helpers"
    folder.mkdir()
    for name in ("python3.13", "python3.12", "python3.11", "python3", "python"):
        (folder / name).write_text(PYTHON)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def checkout(tmp_path, helpers):
    return Checkout(tmp_path / "a", helpers)


INSTALLED = [
    "install torch==",
    "install -r requirements.txt",
    "install --no-deps --no-build-isolation -e .",
]


def installs(calls):
    found = [call for call in calls if " install " in call]
    assert all(call.startswith("-m pip ") for call in found)
    return [words for words in INSTALLED if any(words in call for call in found)]


# The environment


def test_a_fresh_folder_gets_an_environment_once(checkout):
    assert checkout.make(".venv/.ready").returncode == 0
    assert checkout.made() and installs(checkout.ran) == INSTALLED
    assert checkout.ready.read_text() == f"{checkout.folder}\n"
    assert checkout.make(".venv/.ready").returncode == 0 and checkout.ran == []


@pytest.mark.parametrize("carry", [shutil.copytree, shutil.move])
def test_an_environment_of_another_folder_is_made_anew(checkout, carry):
    checkout.make(".venv/.ready")
    old = checkout.folder
    new = checkout.folder.with_name("b")
    before = checkout.ready.read_text()
    carry(old, new)
    os.utime(new / ".venv" / ".ready")  # newer than what it depends on: its age is not what tells
    checkout.folder = new
    done = checkout.make("data")
    assert done.returncode == 0 and f"made in another folder: {old}" in done.stdout
    assert checkout.made() and installs(checkout.ran) == INSTALLED
    assert checkout.ready.read_text() == f"{new}\n"
    assert not old.exists() or (old / ".venv" / ".ready").read_text() == before
    checkout.make(".venv/.ready")
    assert checkout.ran == []


def test_another_folder_s_environment_behind_a_link_is_left_alone(checkout, helpers):
    checkout.make(".venv/.ready")
    other = Checkout(checkout.folder.with_name("b"), helpers)
    (other.folder / ".venv").symlink_to(checkout.folder / ".venv")
    assert other.make(".venv/.ready").returncode == 0 and other.made()
    assert not (other.folder / ".venv").is_symlink()
    assert other.ready.read_text() == f"{other.folder}\n"
    checkout.make(".venv/.ready")
    assert checkout.ran == []


def test_a_stamp_that_names_no_folder_counts_as_another(checkout):
    checkout.make(".venv/.ready")
    checkout.ready.write_text("")
    assert checkout.make(".venv/.ready").returncode == 0 and checkout.made()


def test_an_environment_that_lost_its_python_is_made_anew(checkout):
    checkout.make(".venv/.ready")
    (checkout.folder / ".venv" / "bin" / "python").unlink()
    assert checkout.make(".venv/.ready").returncode == 0 and checkout.made()


def test_an_environment_made_beforehand_is_used(checkout):
    place = checkout.folder / ".venv" / "bin"
    place.mkdir(parents=True)
    shutil.copy(checkout.helpers / "python3", place / "python")
    assert checkout.make(".venv/.ready").returncode == 0
    assert not checkout.made() and installs(checkout.ran) == INSTALLED and checkout.ready.exists()


@pytest.mark.parametrize("step", range(3))
def test_an_interrupted_installation_is_done_again(checkout, step):
    assert checkout.make(".venv/.ready", env={"FAILS": INSTALLED[step]}).returncode != 0
    assert installs(checkout.ran) == INSTALLED[: step + 1] and not checkout.ready.exists()
    assert checkout.make(".venv/.ready").returncode == 0
    assert not checkout.made() and installs(checkout.ran) == INSTALLED and checkout.ready.exists()


def test_a_remaking_that_is_interrupted_is_done_again(checkout):
    checkout.make(".venv/.ready")
    checkout.ready.write_text("/another/folder\n")
    assert checkout.make(".venv/.ready", env={"FAILS": "-m venv"}).returncode != 0
    (checkout.folder / ".venv" / "bin" / "python").unlink()
    assert checkout.make(".venv/.ready").returncode == 0 and checkout.made()


def test_tools_are_called_through_the_environment_s_python_alone(checkout):
    assert set(re.findall(r"\$\(VENV\)/bin/(\S+)", MAKEFILE)) == {"python"}
    assert "$(BIN)" not in MAKEFILE
    checkout.make(".venv/.ready")
    for goal in GOALS:
        done = checkout.make("-n", goal, env={"SKYTUTOR_DATA": str(checkout.folder)})
        assert done.returncode == 0, done.stderr
        assert set(re.findall(r"\.venv/bin/([\w.-]+)", done.stdout)) == {"python"}, goal


@pytest.mark.parametrize("goal", ["test", "test-data"])
def test_asking_what_would_be_done_does_nothing(checkout, goal):
    checkout.make(".venv/.ready")
    before = sorted(checkout.folder.rglob("*"))
    done = checkout.make("-n", goal, env={"SKYTUTOR_DATA": str(checkout.folder)})
    assert done.returncode == 0 and "--nbval" in done.stdout and "tests/summary.py" in done.stdout
    assert checkout.ran == [] and sorted(checkout.folder.rglob("*")) == before


# Folders


@pytest.mark.parametrize(
    "name", ["a space", "it's", 'a "b"', "#1 %20", "b\\c", "~x;&`)", "ü", "-n"]
)
def test_a_folder_may_have_an_odd_name(tmp_path, helpers, name):
    checkout = Checkout(tmp_path / name, helpers)
    for goal in ("book", "test"):
        assert checkout.make(goal).returncode == 0
        contents = [
            call.split(" --toc ")[1].split(" -W ")[0]
            for call in checkout.ran
            if "build book" in call
        ]
        assert contents == [f"{checkout.folder}/_toc.yml"]
    assert checkout.ready.read_text() == f"{checkout.folder}\n"


def refused(done, *words):
    """One line on standard error says why, and nothing was done."""
    assert done.returncode != 0 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and all(word in lines[0] for word in words), done.stderr


@pytest.mark.parametrize("name", ["a:b", "a$b", "[a]", "a\nb"])
@pytest.mark.parametrize("goal", ["book", "test", "data", "lab"])
def test_a_name_that_the_tools_cannot_bear_is_refused_in_one_line(tmp_path, helpers, name, goal):
    checkout = Checkout(tmp_path / name, helpers)
    refused(checkout.make(goal), "cannot work in a folder with", name.replace("\n", "?"))
    assert checkout.ran == [] and checkout.make("help").returncode == 0


@pytest.mark.parametrize(
    "goal", ["book", "test", "test-data", "data", "lab", "bench", "measure", "clean"]
)
def test_a_folder_that_cannot_be_written_to_is_refused_in_one_line(helpers, goal):
    # pytest's own folders are closed to other users, and only another user finds a closed door
    # where the tests run as root.
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        checkout = Checkout(Path(place) / "a", helpers)
        checkout.folder.chmod(0o555)
        user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        try:
            done = checkout.make(goal, **user)
            helped = checkout.make("help", **user)
        finally:
            checkout.folder.chmod(0o755)
        refused(done, "Nothing can be written to", str(checkout.folder), "Copy the folder")
        assert helped.returncode == 0


# Threads


@pytest.mark.parametrize(
    ("named", "openmp", "blas", "threads"),
    [
        ({}, "1", "1", "asked of the machine"),
        ({"OMP_NUM_THREADS": ""}, "1", "1", "asked of the machine"),
        ({"OMP_NUM_THREADS": "6"}, "6", "1", 6),
        ({"OMP_NUM_THREADS": "5,2"}, "5,2", "1", 5),
        ({"OMP_NUM_THREADS": "many"}, "many", "1", "asked of the machine"),
        ({"SKYTUTOR_THREADS": "3", "OPENBLAS_NUM_THREADS": "2"}, "1", "2", 3),
        ({"SKYTUTOR_THREADS": "3", "OMP_NUM_THREADS": "5,2"}, "5,2", "1", 3),
    ],
)
def test_the_lab_takes_one_thread_unless_a_number_is_named(
    checkout, monkeypatch, named, openmp, blas, threads
):
    checkout.make(".venv/.ready")
    recipe = checkout.make("-n", "lab").stdout
    program = ".venv/bin/python -m jupyterlab --notebook-dir=book"
    assert program in recipe
    kept = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    command = ["sh", "-c", recipe.replace(program, "env")]
    done = subprocess.run(command, env=kept | named, capture_output=True, text=True, check=True)
    given = dict(line.split("=", 1) for line in done.stdout.splitlines() if "_THREADS=" in line)
    assert (given["OMP_NUM_THREADS"], given["OPENBLAS_NUM_THREADS"]) == (openmp, blas)
    # The package makes of it what was meant.
    for name in ("SKYTUTOR_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(profile, "cores", lambda: 64)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    asked = 4  # of 64 idle cores
    assert profile.threads() == (asked if threads == "asked of the machine" else threads)


@pytest.mark.parametrize("goal", ["test-unit", "test-notebooks", "test-build", "book"])
def test_what_runs_side_by_side_has_one_thread(checkout, goal):
    checkout.make(".venv/.ready")
    lines = checkout.make("-n", goal).stdout.splitlines()
    commands = [line for line in lines if "-m pytest" in line or "jupyter_book" in line]
    assert commands or goal == "test-notebooks"
    recipe = "\n".join(lines)
    for name in ("OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"):
        assert recipe.count(name) == 1


# How tests end


def closing(done):
    return [line for line in done.stdout.splitlines() if line.startswith("== all")]


def test_the_last_line_adds_up_the_stages(checkout):
    done = checkout.make("test")
    assert done.returncode == 0 and done.stderr == ""
    assert re.fullmatch(
        r"== all tests passed in \d+ s: 3 passed, 0 failed, 3 skipped \(3: no luck\)",
        done.stdout.splitlines()[-1],
    )
    assert [line for line in done.stdout.splitlines() if re.match(r"== \d of 4: ", line)]


@pytest.mark.parametrize(
    ("number", "stage", "words", "passed", "calls"),
    [
        (1, "lint", "ruff format --check", 0, 0),
        (1, "lint", "ruff check", 0, 0),
        (1, "lint", "mypy", 0, 0),
        (2, "unit", "unit.xml", 1, 1),
        # Both run to their end.
        (3, "chapters", "--nbval", 2, 3),
        (3, "chapters", "build book", 2, 3),
        (4, "browser", "browser.xml", 3, 4),
    ],
)
def test_a_stage_that_fails_is_named_and_ends_it(checkout, number, stage, words, passed, calls):
    done = checkout.make("test", env={"FAILS": words})
    assert done.returncode == 2
    [line] = closing(done)
    said = (
        rf"== all tests: stage {number} of 4 \({stage}\) failed after \d+ s: "
        rf"{passed} passed, 0 failed, {passed} skipped( \(.*\))?"
    )
    assert re.fullmatch(said, line) and done.stdout.splitlines()[-1] == line
    stages = [call for call in checkout.ran if "pytest" in call or "build book" in call]
    assert len(stages) == calls, "nothing runs after it"


@pytest.mark.parametrize(("goal", "changes"), [("lint", True), ("test-lint", False)])
def test_the_layout_is_mended_on_demand_and_only_looked_at_by_the_tests(checkout, goal, changes):
    assert checkout.make(goal).returncode == 0
    [layout] = [call for call in checkout.ran if "ruff format" in call]
    assert ("--check" in layout.split()) != changes
    assert any("ruff check" in call for call in checkout.ran)
    assert any("-m mypy" in call for call in checkout.ran)


@pytest.mark.parametrize("goal", ["book", "test-build"])
def test_no_page_of_an_earlier_build_is_kept(checkout, goal):
    """Pages come from notebooks, package and data; Sphinx would look at the notebooks alone."""
    checkout.make(goal)
    [build] = [call for call in checkout.ran if "build book" in call]
    assert "--all" in build.split()


def test_results_of_an_earlier_run_do_not_count(checkout):
    checkout.make("test")
    done = checkout.make("test", env={"FAILS": "unit.xml"})
    assert "1 passed" in closing(done)[0]


def test_what_looks_at_data_is_tested_again(checkout):
    checkout.make(".venv/.ready")
    data = checkout.folder.with_name("the data's")
    data.mkdir()
    done = checkout.make("test-data", env={"SKYTUTOR_DATA": str(data)})
    assert done.returncode == 0, done.stderr
    said = (
        r"== all tests on the real data passed in \d+ s: "
        r"2 passed, 0 failed, 2 skipped \(2: no luck\)"
    )
    assert re.fullmatch(said, done.stdout.splitlines()[-1])
    marked, notebooks, build, _ = checkout.ran
    assert "-m data and not built" in marked and "--nbval --keep-executed" in notebooks
    assert "--path-output _build/data" in build and "-W" in build
    results = checkout.folder / "_build" / "results"
    assert not results.exists(), "the results of `make test` stay as they are"
    by_hand = checkout.make("test-data", f"SKYTUTOR_DATA={data}")
    assert by_hand.returncode == 0


@pytest.mark.parametrize("value", [None, "", "data", "/nowhere/it's", "~/data"])
def test_tests_of_data_want_the_folder(checkout, value):
    checkout.make(".venv/.ready")
    done = checkout.make("test-data", env={} if value is None else {"SKYTUTOR_DATA": value})
    refused(
        done,
        "make test-data needs SKYTUTOR_DATA, the absolute path of the folder",
        f"got '{value or ''}'",
        "`make data`",
    )
