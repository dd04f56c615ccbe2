"""benchmarks.busy: a notebook timed alone and beside processes that keep the cores busy."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from benchmarks import busy


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


@pytest.mark.parametrize(("words", "processes"), [([], busy.cores()), (["--processes", "3"], 3)])
def test_the_ratio_is_held_to_the_limit(notebook, monkeypatch, capsys, words, processes):
    for beside, status in ((24.0, 0), (26.0, 1)):
        times = [10.0, beside]
        monkeypatch.setattr(busy, "seconds", lambda *_, times=times, **__: times.pop(0))
        assert busy.main([str(notebook), "--profile", "smoke", *words]) == status
        said = capsys.readouterr().out
        assert "small.ipynb, profile smoke" in said and "alone: 10.0 s" in said
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
