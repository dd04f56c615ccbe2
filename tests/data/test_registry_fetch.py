"""skytutor.data.registry.fetch, against a server on this machine: good bytes, bad bytes, none."""

import dataclasses
import functools
import gc
import http.server
import socket
import subprocess
import sys
import threading
import time

import pooch
import pytest
import pytest_socket

from skytutor.data import registry
from skytutor.data.registry import DataError

GOOD = bytes(range(256)) * 1200  # 300 kB: several chunks of a download
NAME = "digits/a.bin"
# pooch leaves the connection of a failed download to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve GOOD in the way that the first part of the path names, and count the requests."""

    def do_GET(self):
        self.server.requests.append(self.path)
        way = self.path.split("/")[1]
        if way == "missing" or (way == "flaky" and len(self.server.requests) == 1):
            return self.send_error(404 if way == "missing" else 503)
        body = {"bad": GOOD[::-1], "short": GOOD[:1000]}.get(way, GOOD)
        self.send_response(200)
        if way != "endless":  # then the connection's end is the file's
            self.send_header("Content-Length", str(len(body if way == "short" else GOOD)))
        self.end_headers()
        if way == "endless":
            for _ in range(200):  # 60 MB, were it read to the end
                self.server.sent += 1
                self.wfile.write(GOOD)
        if way in ("stall", "break"):
            self.wfile.write(body[:150_000])
            self.wfile.flush()
            return self.server.gate.wait(20) if way == "stall" else None
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        running.block_on_close = False
        running.requests = []
        running.gate = threading.Event()
        running.sent = 0
        thread = threading.Thread(
            target=functools.partial(running.serve_forever, poll_interval=0.02), daemon=True
        )
        thread.start()
        yield running
        running.gate.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def serve(server, one_file_registry, monkeypatch):
    """Make a registry of one file that is fetched in the given way, or from the given address."""
    server.requests.clear()
    server.gate.clear()
    monkeypatch.setattr(registry, "RETRIES", 0)
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)

    def make(way="good", url=None):
        return one_file_registry(GOOD, url or f"http://127.0.0.1:{server.server_port}/{way}/a.bin")

    yield make
    gc.collect()


def left(place):
    """Every file in the data folder."""
    return sorted(p.name for p in place.parent.glob("*")) if place.parent.exists() else []


def failure(**options):
    with pytest.raises(DataError) as caught:
        registry.fetch("digits", progress=False, **options)
    text = str(caught.value)
    assert "\n" not in text, "the command line prints one line"
    return text


@pytest.mark.parametrize("content", [GOOD[::-1], GOOD[:1000], b""])
def test_another_file_is_replaced_only_on_demand(serve, server, content):
    place = serve()
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    text = failure()
    assert str(place) in text and "`skytutor data fetch digits --overwrite`" in text
    assert place.read_bytes() == content and server.requests == [], "it may be a reader's own"
    assert registry.fetch(NAME, overwrite=True, progress=False) == [place]
    assert place.read_bytes() == GOOD and left(place) == ["a.bin"]


def test_fetch_downloads_once(serve, server, capfd):
    place = serve()
    assert registry.fetch("digits") == [place] and place.read_bytes() == GOOD
    assert "100%" in capfd.readouterr().err, "a progress bar"
    assert registry.fetch("digits") == [place] and server.requests == ["/good/a.bin"]
    assert place.stat().st_mode & 0o777 == 0o644 and left(place) == ["a.bin"]


def test_fetch_tries_again_after_a_bad_answer(serve, server, monkeypatch):
    place = serve("flaky")
    monkeypatch.setattr(registry, "RETRIES", 1)
    assert registry.fetch("digits", progress=False) == [place] and len(server.requests) == 2


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("bad", "sent other bytes than the published file"),
        ("short", "sent other bytes than the published file"),
        ("break", "broke off"),
        ("missing", "answered 404"),
        ("flaky", "answered 503"),
    ],
)
def test_failed_fetch_says_what_to_do_and_leaves_nothing(serve, way, words):
    place = serve(way)
    text = failure()
    assert words in text and str(place) in text and "`skytutor data fetch digits` again" in text
    assert left(place) == [] and not registry.have(NAME)


def test_a_download_stops_at_the_size_that_is_known(serve, server):
    place = serve("endless")
    assert "more bytes than the published file" in failure()
    assert left(place) == [] and server.sent < 100, "it was read to the end"


def test_failed_fetch_keeps_the_old_file(serve):
    place = serve("bad")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"old")
    failure(overwrite=True)
    assert place.read_bytes() == b"old" and left(place) == ["a.bin"]


def test_no_network(serve, monkeypatch):
    # The guard of conftest.py for child processes would answer first.
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name)
    # An address of documentation: pytest-socket blocks it before it is asked.
    place = serve(url="http://192.0.2.1/a.bin")
    with pytest.raises(DataError) as caught:
        registry.fetch("digits", progress=False)
    assert isinstance(caught.value.__cause__, pytest_socket.SocketConnectBlockedError)
    text = str(caught.value)
    for word in ("no connection to 192.0.2.1", str(place), "Check the network"):
        assert word in text
    assert left(place) == []


def test_nobody_listens(serve):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = serve(url=f"http://127.0.0.1:{free.getsockname()[1]}/a.bin")
        assert "no connection to 127.0.0.1" in failure()
    assert left(place) == []


def test_folder_that_cannot_be_made(serve, tmp_path):
    serve()
    (tmp_path / "data").write_text("a file where the folder should be")
    text = failure()
    assert "cannot write there" in text and "Set SKYTUTOR_DATA" in text


def test_full_or_read_only_disk(serve, monkeypatch):
    serve().parent.mkdir(parents=True)

    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    # chmod does not stop root
    monkeypatch.setattr(pooch.utils.tempfile, "NamedTemporaryFile", refuse)
    text = failure()
    assert "cannot write there (Read-only file system). Set SKYTUTOR_DATA" in text


def test_killed_download_leaves_no_half_file(serve, server):
    place = serve("stall")
    entry = dataclasses.asdict(registry.ENTRIES[NAME])
    code = (
        "from skytutor.data import registry as r; "
        f"r.ENTRIES = {{{NAME!r}: r.Entry(**{entry!r})}}; r.fetch('digits', progress=False)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if any(p.stat().st_size for p in place.parent.glob("*")):
                break
            server.gate.wait(0.02)
        assert left(place) and child.poll() is None, "the download is under way"
    finally:
        child.kill()
        child.wait()
    assert not place.exists() and not registry.have(NAME)
    serve()
    again = registry.fetch("digits", progress=False)
    assert again == [place], "the next attempt is not disturbed by what is left"
