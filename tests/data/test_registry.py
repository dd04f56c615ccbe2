"""skytutor.data.registry: which file is the right one, what an error says; nothing downloads."""

import dataclasses
import os
import subprocess
import sys

import pooch
import pytest

from skytutor.data import registry
from skytutor.data.registry import DataError

GOOD = bytes(range(256)) * 1200  # 300 kB
NAME = "digits/a.bin"


def put(place, content=GOOD):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def message(call, *args):
    with pytest.raises(DataError) as caught:
        call(*args)
    text = str(caught.value)
    assert "\n" not in text, "the command line prints one line"
    return text


# The table itself


def test_entries_are_complete_and_well_formed():
    for name, entry in registry.ENTRIES.items():
        assert entry.name == name and not name.startswith("/") and ".." not in name
        if entry.url is None:
            assert entry.instead and entry.sha256, "by hand only, and then the right one"
        else:
            file = "/" + name.split("/")[-1]
            assert entry.url.startswith("https://") and entry.url.endswith(file)
        if entry.sha256 is None:
            assert not entry.small, "what `make data` fetches is known to the byte"
        else:
            assert len(entry.sha256) == 64 and set(entry.sha256) <= set("0123456789abcdef")
        assert entry.size > 0 and entry.licence and entry.credit
        assert entry.small == (entry.size < 12_000_000)
    assert [len(entries) for entries in registry.groups().values()] == [4, 1, 1, 1, 1, 1, 1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        next(iter(registry.ENTRIES.values())).size = 1


def test_import_does_no_work():
    code = (
        "import sys, skytutor.data.registry; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'requests')))"
    )
    environment = {**os.environ, "SKYTUTOR_DATA": "/nowhere/at/all"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0


def test_real_mnist_is_accepted(mnist):
    assert len(mnist) == 4 and registry.have("mnist")
    assert registry.fetch("mnist", progress=False) == list(mnist.values())


# Where the folder is


def test_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path))
    assert registry.folder() == tmp_path
    monkeypatch.setenv("SKYTUTOR_DATA", "~/sky")
    assert registry.folder().name == "sky" and "~" not in str(registry.folder())
    monkeypatch.setenv("SKYTUTOR_DATA", "")
    assert registry.folder() == pooch.os_cache("skytutor")
    monkeypatch.delenv("SKYTUTOR_DATA")
    assert registry.folder() == pooch.os_cache("skytutor")


# Files that are there


def test_right_file(one_file_registry):
    place = put(one_file_registry(GOOD))
    assert registry.have(NAME) and registry.have("digits") and registry.have("small")
    assert registry.path(NAME) == place
    assert registry.fetch("digits") == [place]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD[:-1] + b"x", "is altered"),
        (GOOD[:1000], f"is cut short: 1000 of {len(GOOD)} bytes"),
        (b"", f"is cut short: 0 of {len(GOOD)} bytes"),
        (GOOD + b"x", f"is too long: {len(GOOD) + 1} of {len(GOOD)} bytes"),
    ],
)
def test_wrong_file_is_named(one_file_registry, content, words):
    place = put(one_file_registry(GOOD), content)
    assert not registry.have(NAME)
    text = message(registry.path, NAME)
    for word in (words, str(place), "skytutor data fetch digits", "SKYTUTOR_DATA"):
        assert word in text
    assert place.read_bytes() == content, "path must not download"


def test_missing_file(one_file_registry):
    place = one_file_registry(GOOD)
    text = message(registry.path, NAME)
    assert f"{place} is not there. Run `skytutor data fetch digits`" in text
    assert not registry.have(NAME) and not place.parent.exists()


def test_folder_in_its_place_is_never_removed(one_file_registry):
    place = one_file_registry(GOOD)
    (place / "keep").mkdir(parents=True)
    for call in (registry.path, registry.fetch):
        text = message(call, NAME)
        assert f"{place} is a folder where a file is expected. Move it away" in text
    assert (place / "keep").is_dir() and not registry.have(NAME)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_in_its_place_does_not_hang(one_file_registry):
    place = one_file_registry(GOOD)
    place.parent.mkdir(parents=True)
    os.mkfifo(place)
    assert "is not a plain file" in message(registry.path, NAME)


def test_unreadable_file(one_file_registry, monkeypatch):
    put(one_file_registry(GOOD), GOOD[::-1])  # a hash that no other test has asked for

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pooch, "file_hash", refuse)  # chmod does not stop root
    assert "cannot be read (Permission denied)" in message(registry.path, NAME)


def test_hash_is_computed_once_until_the_file_changes(one_file_registry, monkeypatch):
    place = put(one_file_registry(GOOD))
    calls = []
    real = pooch.file_hash
    monkeypatch.setattr(pooch, "file_hash", lambda *a, **k: calls.append(a) or real(*a, **k))
    assert registry.have(NAME) and registry.have(NAME) and len(calls) == 1
    put(place, GOOD[::-1])
    os.utime(place, ns=(1, 1))
    assert not registry.have(NAME) and len(calls) == 2


def test_read_only_folder_with_the_right_files_is_not_written_to(one_file_registry):
    place = put(one_file_registry(GOOD))
    folders = [place.parent, place.parent.parent]
    for folder in folders:
        folder.chmod(0o555)
    before = [(p, p.stat().st_mtime_ns) for p in [place, *folders]]
    try:
        assert registry.have("digits") and registry.fetch("digits") == [place]
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert before == [(p, p.stat().st_mtime_ns) for p in [place, *folders]]


def test_unknown_names_list_what_is_allowed(one_file_registry):
    one_file_registry(GOOD)
    assert NAME in message(registry.path, "digits/b.bin")
    assert NAME in message(registry.path, "digits"), "path takes one file, not a group"
    for call in (registry.have, registry.fetch):
        text = message(call, "digit")
        assert "'digit'" in text and f"allowed: small, digits, {NAME}" in text
