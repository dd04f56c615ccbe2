"""benchmarks.busy: a notebook timed alone and beside processes that keep the cores busy."""

import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from benchmarks import busy
from skytutor.training import profile

# Says the numbers of its busy processes, then waits.
STARTER = """
import time
from benchmarks import busy
with busy.busy(2) as others:
    print(*(other.pid for other in others), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def notebook(tmp_path):
    cell = new_code_cell("import os\nopen('profile', 'w').write(os.environ['SKYTUTOR_PROFILE'])")
    path = tmp_path / "small.ipynb"
    nbformat.write(new_notebook(cells=[cell]), path)
    return path


def test_a_notebook_runs_in_the_profile_in_its_own_folder(notebook):
    assert busy.seconds(notebook, "smoke", timeout=60) > 0
    assert (notebook.parent / "profile").read_text() == "smoke"


def test_busy_processes_are_there_and_then_gone():
    with busy.busy(2) as others:
        assert [other.poll() for other in others] == [None, None]
    assert all(other.poll() is not None for other in others)


def lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_busy_processes_end_with_who_started_them(how):
    command = [sys.executable, "-c", STARTER]
    starter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    others = [psutil.Process(int(word)) for word in starter.stdout.readline().split()]
    assert len(others) == 2 and all(other.is_running() for other in others)
    starter.send_signal(how)
    starter.wait(timeout=30)
    starter.stdout.close()
    ends = time.monotonic() + 15
    while (left := [other for other in others if lives(other)]) and time.monotonic() < ends:
        time.sleep(0.05)
    for other in left:
        other.kill()
    assert left == [], "a busy process outlives who started it"


def test_a_process_whose_starter_is_gone_already_ends():
    command = [sys.executable, "-c", busy.BUSY, "0"]
    assert subprocess.run(command, timeout=30).returncode == 0


@pytest.mark.parametrize(("words", "processes"), [([], 5), (["--processes", "3"], 3)])
def test_the_ratio_is_held_to_the_limit(notebook, monkeypatch, capsys, words, processes):
    monkeypatch.setattr(profile, "cores", lambda: 5)
    monkeypatch.setattr(busy, "BUSY", "")
    for beside, status in ((24.0, 0), (26.0, 1)):
        times = [10.0, beside]
        monkeypatch.setattr(busy, "seconds", lambda *_, times=times, **__: times.pop(0))
        assert busy.main([str(notebook), "--profile", "smoke", *words]) == status
        said = capsys.readouterr().out
        assert "small.ipynb, profile smoke, 5 cores" in said and "alone: 10.0 s" in said
        times = (
            f"beside {processes} busy processes: {beside:.1f} s, {beside / 10:.2f} times as long"
        )
        assert times in said
    monkeypatch.setattr(busy, "seconds", lambda *_, **__: 1.0)
    assert busy.main([str(notebook), "--limit", "0.9"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.ipynb"], "notebook must be a file, got missing.ipynb"),
        (["{}", "--processes", "0"], "--processes must be at least 1, got 0"),
        (["{}", "--profile", "big"], "invalid choice: 'big'"),
    ],
)
def test_what_cannot_be_timed_is_refused(notebook, capsys, words, said):
    with pytest.raises(SystemExit):
        busy.main([word.format(notebook) for word in words])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b"{}", b'{"nbformat": 4, "cells": 3}', b'{"nbformat": 9}'],
)
def test_a_file_that_is_no_notebook_is_refused_in_one_line(tmp_path, capsys, content):
    path = tmp_path / "page.ipynb"
    path.write_bytes(content)
    with pytest.raises(SystemExit):
        busy.main([str(path)])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(f"error: notebook must be a Jupyter notebook, got {path}")
