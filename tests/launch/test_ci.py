"""What .ci/run does, with a `make` that only writes down how it was called.

Two runs, one of them without data, and an honest status.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKE = r"""#!/bin/sh
files=$(ls "$XDG_CACHE_HOME" | wc -l | tr -d ' ')
echo "$1|${SKYTUTOR_DATA-unset}|$XDG_CACHE_HOME|$files|$PIP_CACHE_DIR" >> "$LOG"
[ "$1" = "$FAILS" ] && exit 2
echo "===== 7 passed, 1 skipped in 3.00s ====="
echo "== all tests ($1) passed in 3 s: 7 passed, 0 failed, 1 skipped (1: no luck)"
"""


@pytest.fixture
def ci(tmp_path):
    """Return a function that runs .ci/run in a checkout of its own.

    It returns the process and the calls of `make`.
    """
    (tmp_path / "checkout" / ".ci").mkdir(parents=True)
    script = tmp_path / "checkout" / ".ci" / "run"
    shutil.copy(ROOT / ".ci" / "run", script)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {"make": MAKE, "chromium": "#!/bin/sh\n"}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "skytutor").mkdir()

    def run(**more):
        log = tmp_path / "log"
        kept = {
            name: value
            for name, value in os.environ.items()
            if "SKYTUTOR" not in name and not name.startswith("PIP")
        }
        env = {
            **kept,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "LOG": str(log),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            **more,
        }
        done = subprocess.run([script], env=env, cwd=tmp_path, capture_output=True, text=True)
        return done, [line.split("|") for line in log.read_text().splitlines()]

    return run


def test_without_data_the_newcomer_s_run_is_all(ci, tmp_path):
    done, calls = ci()
    assert done.returncode == 0, done.stderr
    [(goal, data, cache, files, pip_cache)] = calls
    assert (goal, data, files, pip_cache) == ("test", "unset", "0", str(tmp_path / "cache" / "pip"))
    assert cache != str(tmp_path / "cache"), "an empty one"
    assert not Path(cache).exists(), "gone afterwards"


@pytest.mark.parametrize("found", ["named", "beside"])
def test_with_data_both_run_and_only_the_second_sees_them(ci, tmp_path, found):
    data = tmp_path / "shared" / "data"
    data.mkdir(parents=True)
    done, calls = ci(**{"SKYTUTOR_DATA": str(data)} if found == "named" else {})
    assert done.returncode == 0, done.stderr
    assert [call[:2] for call in calls] == [["test", "unset"], ["test-data", str(data)]]
    assert calls[1][2] == str(tmp_path / "cache")
    tail = done.stdout[done.stdout.index("make test ended") :]
    for words in (
        "make test ended with status 0",
        "make test-data ended with status 0",
        "== all tests (test) passed",
        "== all tests (test-data) passed",
    ):
        assert words in tail
    assert tail.count("7 passed, 1 skipped in 3.00s") == 2


@pytest.mark.parametrize("fails", ["test", "test-data"])
def test_a_run_that_fails_fails_all_and_does_not_hide_the_other(ci, tmp_path, fails):
    (tmp_path / "shared" / "data").mkdir(parents=True)
    done, calls = ci(FAILS=fails)
    assert done.returncode == 2 and [call[0] for call in calls] == ["test", "test-data"]
    assert f"make {fails} ended with status 2" in done.stdout
    assert f"none: make {fails} failed before the first test" in done.stdout
