"""The closing line of `make test`: what pytest wrote is added up, with every reason to skip."""

import subprocess
import sys
from pathlib import Path

import pytest
from summary import line, main, outcomes

STAGES = ["unit", "build", "browser"]
OUTCOMES = """
import pytest

def test_right(): pass

@pytest.mark.parametrize("number", range(3))
def test_elsewhere(number): pytest.skip("no CUDA  device:\\nnone here")

@pytest.mark.skipif(True, reason="no Chromium")
def test_marked(): pass

@pytest.fixture
def missing(): pytest.skip("no data in /a/b.py:3: run make data")

def test_through_a_fixture(missing): pass

@pytest.mark.skip
def test_without_a_reason(): pass

@pytest.mark.xfail(reason="known")
def test_known(): assert False

def test_wrong(): assert False

@pytest.fixture
def broken(): raise ValueError

def test_error(broken): pass

@pytest.fixture
def untidy():
    yield
    raise ValueError

def test_right_but_untidy(untidy): pass

class TestClass:
    def test_right(self): pass
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Let pytest itself write a file with every outcome there is."""
    folder = tmp_path_factory.mktemp("results")
    tests = folder / "test_outcomes.py"
    tests.write_text(OUTCOMES)
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(folder), f"--junitxml={folder / 'unit.xml'}", str(tests)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    return folder


def test_every_outcome_is_counted(results):
    counts, reasons = outcomes(results / "unit.xml")
    # The untidy test passed, and then its fixture made an error: pytest counts both, its file names
    # the test once.
    assert counts == {"passed": 2, "failed": 1, "errors": 2, "skipped": 6, "failed as expected": 1}
    assert reasons == {
        "no CUDA device: none here": 3,
        "no Chromium": 1,
        "no data in /a/b.py:3: run make data": 1,
        "unconditional skip": 1,
    }


def test_line_tells_everything(results):
    assert line(results, "all tests", STAGES, STAGES, 0, 671) == (
        "== all tests passed in 671 s: 2 passed, 1 failed, 2 errors, 1 failed as expected, "
        "6 skipped (3: no CUDA device: none here; 1: no Chromium; "
        "1: no data in /a/b.py:3: run make data; 1: unconditional skip)"
    )


def write(folder: Path, stage: str, *, passed: int = 0, skipped: tuple[str, ...] = ()) -> None:
    cases = "<testcase/>" * passed + "".join(
        f'<testcase><skipped type="pytest.skip" message="{why}"/></testcase>' for why in skipped
    )
    (folder / f"{stage}.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")


def test_stages_are_added_up(tmp_path):
    write(tmp_path, "unit", passed=7, skipped=("no CUDA device",))
    write(tmp_path, "browser", passed=2, skipped=("no Chromium", "no Chromium"))
    write(tmp_path, "data", passed=100)
    assert line(tmp_path, "all tests", STAGES, STAGES, 0, 60) == (
        "== all tests passed in 60 s: 9 passed, 0 failed, "
        "3 skipped (2: no Chromium; 1: no CUDA device)"
    )


def test_nothing_skipped_needs_no_reason(tmp_path):
    write(tmp_path, "unit", passed=7)
    assert (
        line(tmp_path, "all tests", STAGES, STAGES, 0, 60)
        == "== all tests passed in 60 s: 7 passed, 0 failed, 0 skipped"
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_stage_that_failed_is_named(tmp_path, count):
    write(tmp_path, "unit", passed=7)
    write(tmp_path, "browser", passed=2)  # of an earlier run, unless this stage was begun
    said = line(tmp_path, "all tests", STAGES, STAGES[:count], 2, 60)
    passed = 9 if count == 3 else 7
    stage = f"stage {count} of 3 ({STAGES[count - 1]})"
    assert said.startswith(f"== all tests: {stage} failed after 60 s: {passed} passed")


@pytest.mark.parametrize("text", ["", "<testsuites><testsuite><testcase/>"])
def test_results_cut_short_are_said(tmp_path, text):
    write(tmp_path, "unit", passed=7)
    (tmp_path / "browser.xml").write_text(text)
    assert line(tmp_path, "all tests", STAGES, STAGES, 1, 60).endswith(
        "7 passed, 0 failed, 0 skipped; not read: browser.xml"
    )


def test_command_prints_one_line(tmp_path, capsys):
    write(tmp_path, "unit", passed=7)
    stages = ["--stages", *STAGES, "--ran", *STAGES]
    main([str(tmp_path), "--what", "all tests", *stages, "--status", "0", "--seconds", "9"])
    assert capsys.readouterr().out == "== all tests passed in 9 s: 7 passed, 0 failed, 0 skipped\n"
