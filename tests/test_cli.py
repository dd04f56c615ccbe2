"""The `skytutor` command: what it prints, where, and with which exit status."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import skytutor
from skytutor import chapters, cli
from skytutor.data import digits, registry

ROOT = Path(__file__).parents[1]
real_load = digits.load


@pytest.fixture(autouse=True)
def _no_data(monkeypatch, tmp_path):
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("SKYTUTOR_PROFILE", "smoke")


def out_of(capsys, *argv):
    assert cli.main(argv) == 0
    captured = capsys.readouterr()
    return captured.out


def refused(capsys, *argv, words=()):
    """Exit status 2 and one line on standard error, nothing on standard output."""
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("skytutor: error: ") and captured.err.count("\n") == 1, (
        captured.err
    )
    for word in words:
        assert str(word) in captured.err, f"{word!r} is not in: {captured.err}"
    return captured


def test_info(capsys, tmp_path):
    out = out_of(capsys, "info")
    for word in (
        skytutor.__version__,
        "torch",
        "profile smoke",
        "device cpu",
        str(tmp_path / "no-data"),
        "mnist: not here",
    ):
        assert word in out


def test_data_list(capsys):
    out = out_of(capsys, "data", "list")
    for entry in registry.ENTRIES.values():
        line = next(line for line in out.splitlines() if entry.name in line)
        assert entry.licence in line and "not here" in line and f"{entry.size / 1e6:.1f} MB" in line


def test_data_fetch_of_something_unknown(capsys):
    refused(capsys, "data", "fetch", "minst", words=["'minst'", "mnist"])


def test_data_fetch_of_what_is_here(capsys, one_file_registry):
    path = one_file_registry(b"digits")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"digits")
    assert out_of(capsys, "data", "fetch") == f"{path}\n"
    assert out_of(capsys, "data", "fetch", "digits") == f"{path}\n"


def test_data_fetch_without_a_network(capsys, one_file_registry, monkeypatch):
    path = one_file_registry(b"digits")
    monkeypatch.setattr(registry, "RETRIES", 0)
    refused(capsys, "data", "fetch", words=[path])
    assert not path.exists()


def test_recipes(capsys):
    out = out_of(capsys, "recipes")
    for name, entry in chapters.ENTRIES.items():
        line = rf"^{name} .*chapter {entry.chapter}.*{re.escape(entry.summary)}$"
        assert re.search(line, out, re.M)


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_an_unknown_recipe_lists_the_known(capsys, command):
    refused(capsys, command, "digits-fxed", words=["recipe", "'digits-fxed'", *chapters.RECIPES])


def test_an_unknown_profile_lists_the_known(capsys, tmp_path, monkeypatch):
    words = ["profile", "'fast'", "'smoke'", "'cpu'", "'gpu'"]
    train = ["train", "digits-mended", "--folder", str(tmp_path / "runs")]
    refused(capsys, *train, "--profile", "fast", words=words)
    monkeypatch.setenv("SKYTUTOR_PROFILE", "fast")
    refused(capsys, *train, words=["SKYTUTOR_PROFILE", *words[1:]])
    refused(capsys, "info", words=["SKYTUTOR_PROFILE", *words[1:]])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "argv",
    [[], ["tain"], ["train"], ["evaluate", "digits-mended", "--size", "many"], ["data", "get"]],
)
def test_words_it_does_not_know(capsys, argv):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2 and re.search(r"skytutor.*: error: ", capsys.readouterr().err)


def test_evaluate_without_a_checkpoint(capsys, tmp_path):
    words = ["digits-mended.safetensors", "does not exist", "skytutor train digits-mended"]
    refused(capsys, "evaluate", "digits-mended", "--folder", str(tmp_path), words=words)


def test_evaluate_of_a_broken_checkpoint(capsys, tmp_path):
    (tmp_path / "digits-mended.safetensors").write_bytes(b"\x80\x04]q\x00.")
    refused(capsys, "evaluate", "digits-mended", "--folder", str(tmp_path), words=["pickle"])
    (tmp_path / "digits-mended.safetensors").write_bytes(b"\x08")
    refused(capsys, "evaluate", "digits-mended", "--folder", str(tmp_path), words=["truncated"])


@pytest.mark.parametrize("devices", ["0", "-1"])
def test_a_wrong_number_of_devices(capsys, tmp_path, devices):
    train = ["train", "digits-mended", "--folder", str(tmp_path / "runs")]
    refused(capsys, *train, "--devices", devices, words=["devices", devices])


def test_resume_and_overwrite_are_refused_together(capsys, tmp_path):
    train = ["train", "digits-mended", "--folder", str(tmp_path / "runs")]
    words = ["resume and overwrite exclude each other, got both"]
    refused(capsys, *train, "--resume", "--overwrite", words=words)
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_is_told_at_once(capsys, tmp_path):
    (tmp_path / "runs").write_text("a file")
    train = ["train", "digits-mended", "--folder", str(tmp_path / "runs")]
    refused(capsys, *train, words=["runs", "cannot write"])


KEYS = {"recipe", "checkpoint", "seed", "size", "scores", "constant", "published", "limit"}


def test_train_and_evaluate(capsys, tmp_path, monkeypatch):
    """The whole way at the smoke profile, the embedded digits in MNIST's place."""
    monkeypatch.setattr(digits, "load", lambda source="auto": real_load("embedded"))
    here = ["digits-mended", "--folder", str(tmp_path)]
    out = out_of(capsys, "train", *here)
    assert "profile smoke" in out and "digits-mended.safetensors" in out and "accuracy" in out
    out = out_of(capsys, "evaluate", *here, "--json", "--seed", "3", "--size", "40")
    assert out.count("\n") == 1
    found = json.loads(out)
    assert set(found) >= KEYS
    assert (found["recipe"], found["seed"], found["size"]) == ("digits-mended", 3, 40)
    assert 0 <= found["scores"]["accuracy"] <= 1
    plain = out_of(capsys, "evaluate", *here)
    assert "accuracy" in plain and "constant" in plain and "published" in plain
    refused(capsys, "evaluate", *here, "--size", "0", words=["size", "0"])
    other = ["evaluate", "digits-fixed", "--folder", str(tmp_path)]
    refused(capsys, *other, words=["digits-fixed", "does not exist"])
    out_of(capsys, "train", *here, "--resume")
    refused(capsys, "train", *here, "--resume", "--seed", "9", words=["another seed"])


def start(*argv):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "skytutor.cli", *argv]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_ctrl_c_in_training(tmp_path):
    """Status 130, one clean line that says how to go on, and going on works."""
    argv = ["train", "digits-mended", "--profile", "cpu", "--folder", str(tmp_path)]
    process = start(*argv)
    state = tmp_path / "digits-mended" / "state.safetensors"
    limit = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    last = err.strip().splitlines()[-1]
    assert process.returncode == 130, err
    assert last.startswith("skytutor: stopped") and "--resume" in last and "Traceback" not in err
    process = start(*argv, "--resume")
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert len(json.loads((tmp_path / "digits-mended.json").read_text())["history"]) == 10
