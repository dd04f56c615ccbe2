"""Tests of the real data: found by their mark, and skipped where the data are not.

Where `make test-data` asks for them, they fail instead.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEST = "tests/data/test_registry.py::test_real_mnist_is_accepted"


def run(*words, **env):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SKYTUTOR", "PYTEST"))
    }
    # nbval takes seconds to load, and has nothing to do here.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:nbval"]
    command += words
    return subprocess.run(command, cwd=ROOT, env=kept | env, capture_output=True, text=True)


def marked_tests(files, session):
    """Return the tests of files that have the mark: of this session if it holds all of them."""
    held = {item.path for item in session.items}
    if not held.issuperset(files):
        done = run("--collect-only", "-m", "data", *files)
        return {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    marked = [item for item in session.items if item.get_closest_marker("data")]
    return {item.nodeid.partition("[")[0] for item in marked if item.path in files}


def test_every_test_that_uses_the_real_digits_is_marked(request):
    files = set()
    wanted = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        names = re.findall(r"^def (test_\w+)\(.*\bmnist\b.*\)", text, re.MULTILINE)
        wanted |= {f"{path.relative_to(ROOT)}::{name}" for name in names}
        if "mnist" in text:
            files.add(path)
    assert TEST in wanted and marked_tests(files, request.session) == wanted


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [({}, 0, "1 skipped"), ({"SKYTUTOR_NEED_DATA": "1"}, 1, "1 error")],
)
def test_without_the_data_it_is_skipped_or_fails(tmp_path, asked, status, words):
    done = run(TEST, SKYTUTOR_DATA=str(tmp_path), **asked)
    assert done.returncode == status and words in done.stdout
    assert f"the real MNIST files are not in {tmp_path}" in done.stdout
