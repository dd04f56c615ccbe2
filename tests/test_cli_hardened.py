"""The `skytutor` command when its surroundings fail it: one line, a status, no traceback."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skytutor import chapters, cli
from skytutor.data import digits, registry
from skytutor.training import checkpoint

ROOT = Path(__file__).parents[1]


def skytutor(*argv, data="", stdout=subprocess.PIPE, **more):
    """Run the command in a process of its own; return its status and what it said."""
    environment = os.environ | {
        "SKYTUTOR_PROFILE": "smoke",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    environment |= {"SKYTUTOR_DATA": data or "/nonexistent/data"}
    environment.pop("PYTHONUNBUFFERED", None)
    done = subprocess.run(
        [sys.executable, "-m", "skytutor", *map(str, argv)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        timeout=120,
        check=False,
        **more,
    )
    return done.returncode, done.stdout, done.stderr


def assert_one_line(result, *words):
    status, _, error = result
    assert status == 2 and error.startswith("skytutor: error: ") and error.count("\n") == 1, result
    for word in words:
        assert word in error, f"{word!r} is not in: {error}"


@pytest.mark.parametrize("argv", [["data", "list"], ["recipes"], ["info"], ["--help"]])
def test_a_full_disk_under_standard_output(argv):
    with open("/dev/full", "w") as full:
        assert_one_line(skytutor(*argv, stdout=full), "standard output: No space left on device")


def test_a_full_disk_without_a_buffer(monkeypatch):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-u", "-m", "skytutor", "data", "list"]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
        )
    assert_one_line((done.returncode, "", done.stderr), "standard output: No space left on device")


@pytest.mark.parametrize("argv", [["data", "list"], ["recipes"], ["--help"]])
def test_a_reader_that_has_gone(argv):
    """What `| head -1` does once it has its line."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert_one_line(skytutor(*argv, stdout=writing), "standard output: Broken pipe")
    finally:
        os.close(writing)


def test_no_standard_output_at_all():
    code = (
        "import os, sys; os.close(1); sys.stdout = None; "
        "from skytutor.cli import main; sys.exit(main(['recipes']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0 and done.stderr == ""


def test_an_unknown_user_in_a_path():
    for argv in (["data", "list"], ["info"], ["data", "fetch"]):
        assert_one_line(
            skytutor(*argv, data="~nobody-of-that-name/data"),
            "SKYTUTOR_DATA",
            "~nobody-of-that-name/data",
        )


def test_a_folder_name_that_is_too_long():
    long = "x" * 300
    for command in ("train", "evaluate"):
        assert_one_line(skytutor(command, "digits-mended", "--folder", long), "File name too long")


def refused(capsys, *argv, words=()):
    assert cli.main([str(a) for a in argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith("skytutor: error: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error, f"{word!r} is not in: {error}"
    return error


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`digits-mended` on the embedded digits."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKYTUTOR_DATA", str(folder / "none"))
        patch.setenv("SKYTUTOR_PROFILE", "smoke")
        assert cli.main(["train", "digits-mended", "--folder", str(folder)]) == 0
    return folder


@pytest.fixture
def copied(trained, tmp_path, monkeypatch):
    """Copy its checkpoint, to be spoiled, on a machine without data."""
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path / "none"))
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"digits-mended{suffix}").write_bytes(
            (trained / f"digits-mended{suffix}").read_bytes()
        )
    return tmp_path


def test_a_checkpoint_is_scored_on_the_data_its_card_names(copied, capsys, monkeypatch):
    """Trained on the embedded digits, scored on them: without MNIST, and with it."""
    asked = []
    load = digits.load

    def watched(source="auto"):
        asked.append(source)
        return load("embedded")

    monkeypatch.setattr(digits, "load", watched)
    assert cli.main(["evaluate", "digits-mended", "--folder", str(copied), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    card = checkpoint.read_card(copied / "digits-mended.json")
    assert set(asked) == {"embedded"} and found["data"] == "embedded test"
    assert found["scores"] == card["test"]["scores"]


def test_what_comes_with_the_package_is_scored_on_mnist(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path / "none"))
    refused(capsys, "evaluate", "digits-mended", words=["mnist", "skytutor data fetch mnist"])


@pytest.mark.parametrize("name", ["digits-mended.json", "digits-mended.safetensors"])
def test_an_unreadable_file(copied, capsys, monkeypatch, name):
    """Root may read everything, so the refusal is put into `open`."""
    real = open
    path_read = Path.read_text

    def deny(path, *args, **kwargs):
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", deny)
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, **k: deny(self) if self.name == name else path_read(self, **k),
    )
    refused(
        capsys, "evaluate", "digits-mended", "--folder", copied, words=["Permission denied", name]
    )


def test_a_card_nested_a_hundred_thousand_deep(copied, capsys):
    (copied / "digits-mended.json").write_text("[" * 100_000)
    refused(capsys, "evaluate", "digits-mended", "--folder", copied, words=["digits-mended.json"])


def test_a_tensor_whose_name_holds_escape_codes(copied, capsys):
    card = checkpoint.read_card(copied / "digits-mended.json")
    checkpoint.save_checkpoint(copied, "digits-mended", {"\x1b]0;owned\x07": torch.zeros(1)}, card)
    error = refused(capsys, "evaluate", "digits-mended", "--folder", copied)
    assert error.strip().isprintable()


def test_no_message_carries_escape_codes(capsys):
    error = refused(capsys, "evaluate", "\x1b[2Jx\u202e")
    assert error.strip().isprintable()


def test_json_is_strict_or_refused(copied, capsys, monkeypatch):
    recipe = chapters.get("digits-mended")
    scored = {"size": 1, "data": "none", "scores": {"frechet": [1.0, float("nan")]}, "constant": {}}
    scores = chapters.Scores(**scored)
    spoiled = dataclasses.replace(recipe, score=lambda model, **options: scores)
    monkeypatch.setattr("skytutor.chapters.registry.get", lambda name: spoiled)
    refused(
        capsys,
        "evaluate",
        "digits-mended",
        "--folder",
        copied,
        "--json",
        words=["scores.frechet.1", "nan"],
    )


def test_a_finished_training_is_not_replaced_unasked(copied, capsys, monkeypatch):
    """Its state is gone, so nothing can go on: --resume would replace it by another."""
    monkeypatch.setenv("SKYTUTOR_PROFILE", "smoke")
    before = (copied / "digits-mended.safetensors").read_bytes()
    for more in ([], ["--resume"]):
        refused(
            capsys,
            "train",
            "digits-mended",
            "--folder",
            copied,
            "--seed",
            "5",
            *more,
            words=["--overwrite"],
        )
    assert (copied / "digits-mended.safetensors").read_bytes() == before
    refused(
        capsys,
        "train",
        "digits-mended",
        "--folder",
        copied,
        "--resume",
        "--overwrite",
        words=["exclude each other"],
    )
    argv = ["train", "digits-mended", "--folder", str(copied), "--seed", "5", "--overwrite"]
    assert cli.main(argv) == 0
    assert checkpoint.read_card(copied / "digits-mended.json")["seed"] == 5


def test_data_that_appear_in_mid_training_are_not_mixed_in(tmp_path, capsys, monkeypatch):
    """Begun on the embedded digits; then MNIST is there. The run is refused, its state stays."""
    monkeypatch.setenv("SKYTUTOR_PROFILE", "smoke")
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path / "none"))
    assert cli.main(["train", "digits-mended", "--folder", str(tmp_path)]) == 0
    capsys.readouterr()
    before = (tmp_path / "digits-mended.json").read_bytes()
    load = digits.load

    def with_mnist(source="auto"):
        found = load("embedded")
        return type(found)(found.images, found.labels, found.split, "mnist", found.credit)

    monkeypatch.setattr(digits, "load", with_mnist)
    argv = ["train", "digits-mended", "--folder", tmp_path, "--resume"]
    refused(capsys, *argv, words=["another data ('embedded' there, 'mnist' here)"])
    assert (tmp_path / "digits-mended.json").read_bytes() == before


def test_data_list_says_damaged(capsys, one_file_registry):
    path = one_file_registry(b"digits")
    path.parent.mkdir(parents=True)
    for content, words in (
        (b"digit", "damaged (is cut short: 5 of 6 bytes)"),
        (b"stigid", "damaged (is altered"),
    ):
        path.write_bytes(content)
        assert cli.main(["data", "list"]) == 0
        assert words in capsys.readouterr().out
    refused(capsys, "data", "fetch", words=["--overwrite", str(path)])
    assert path.read_bytes() == b"stigid"
    assert registry.state(registry.groups()["digits"][0].name).startswith("damaged")


@pytest.mark.parametrize("command", ["train", "evaluate"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seed", "-1"),
        ("--seed", "9" * 30),
        ("--seed", "1.5"),
        ("--seed", "²"),
        ("--folder", ""),
        ("--folder", " "),
    ],
)
def test_options_that_would_be_taken_for_something_else(capsys, command, option, value):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "digits-mended", f"{option}={value}"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert caught.value.code == 2 and option in error and repr(value) in error


HELP = """
import sys
from skytutor import cli
try:
    cli.main(["--help"])
except SystemExit as end:
    heavy = [name for name in ("torch", "numpy", "pooch", "matplotlib") if name in sys.modules]
    sys.exit(f"status {end.code}, imported {heavy}")
"""


def test_help_imports_nothing_heavy():
    """`skytutor --help` answers at once: torch alone would take a second."""
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "status 0, imported []", done.stderr
    assert "usage: skytutor" in done.stdout
