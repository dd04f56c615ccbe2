"""Large files, files of unknown hash, and a file at no address: skytutor.data.registry.fetch."""

import functools
import gc
import hashlib
import http.server
import re
import threading
import time

import filelock
import pytest

from skytutor.data import download, registry
from skytutor.data.registry import DataError, Entry

GOOD = bytes(range(256)) * 8000  # 2 MB: two chunks of a large download
OTHER = GOOD[::-1]
NAME = "planck/large.fits"
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve the server's content, with ranges; break off after some bytes if told to."""

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.requests.append((asked, self.headers.get("If-Range")))
        start = 0
        if asked and self.headers.get("If-Range") == server.tag:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        if start:
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        stop = server.stops.pop(0) if server.stops else len(body)
        self.wfile.write(body[:stop])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        running.block_on_close = False
        running.requests = []
        running.stops = []
        running.content = GOOD
        running.tag = '"one"'
        running.length = True
        thread = threading.Thread(
            target=functools.partial(running.serve_forever, poll_interval=0.02), daemon=True
        )
        thread.start()
        yield running
        running.shutdown()
        thread.join()
    gc.collect()


@pytest.fixture
def place(server, tmp_path, monkeypatch):
    """Make a registry of one large file of unknown hash; return where it goes."""
    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(registry, "RETRIES", 0)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    entry = entry_of(f"http://127.0.0.1:{server.server_port}/large.fits")
    monkeypatch.setattr(registry, "ENTRIES", {NAME: entry})
    return tmp_path / "data" / NAME


def entry_of(url, sha256=None, size=2_000_000, instead=""):
    return Entry(NAME, url, sha256, size, "none", "us", "large", small=False, instead=instead)


def fetch(**options):
    return registry.fetch("large", progress=False, **options)


def failure(**options):
    with pytest.raises(DataError) as caught:
        fetch(**options)
    assert "\n" not in str(caught.value), "the command line prints one line"
    return str(caught.value)


def left(place):
    return sorted(p.name for p in place.parent.glob("*") if not p.name.endswith(".lock"))


def test_first_download_records_the_hash_and_later_ones_are_checked(place, server):
    assert not registry.have("large")
    assert fetch() == [place] and place.read_bytes() == GOOD
    record = place.with_name(place.name + ".sha256").read_text().split()
    assert record == [hashlib.sha256(GOOD).hexdigest(), str(len(GOOD))]
    assert registry.have("large") and left(place) == ["large.fits", "large.fits.sha256"]
    assert fetch() == [place] and len(server.requests) == 1, "it is there: no second download"
    place.write_bytes(GOOD[:-1] + b"x")
    assert "its SHA-256 is not that of the file that was downloaded first" in failure()
    place.write_bytes(GOOD[:-1])
    assert f"is cut short: {len(GOOD) - 1} of {len(GOOD)} bytes" in failure()
    assert fetch(overwrite=True) == [place] and place.read_bytes() == GOOD


def test_an_interrupted_download_goes_on_where_it_stopped(place, server):
    server.stops = [1_500_000]
    text = failure()
    assert "broke off" in text and "`skytutor data fetch large` again" in text
    assert not place.exists() and not registry.have("large")
    part = place.with_name("large.fits.part")
    came = part.stat().st_size
    assert 0 < came <= 1_500_000 and part.read_bytes() == GOOD[:came]
    assert fetch() == [place] and place.read_bytes() == GOOD
    assert server.requests[1] == (f"bytes={came}-", '"one"')
    assert left(place) == ["large.fits", "large.fits.sha256"]


def test_retries_of_one_call_go_on_too(place, server, monkeypatch):
    monkeypatch.setattr(registry, "RETRIES", 2)
    server.stops = [1_100_000, 500_000]
    assert fetch() == [place] and place.read_bytes() == GOOD
    starts = [asked for asked, _ in server.requests]
    assert starts[0] is None and len(set(starts)) == 3


def test_a_file_that_changed_meanwhile_is_fetched_anew(place, server):
    server.stops = [1_500_000]
    failure()
    server.content = OTHER
    server.tag = '"two"'
    assert fetch() == [place] and place.read_bytes() == OTHER, "not half of one and half of another"


def test_without_a_tag_nothing_is_appended(place, server):
    server.tag = ""
    server.stops = [1_500_000]
    failure()
    server.content = OTHER
    assert fetch() == [place] and place.read_bytes() == OTHER
    assert server.requests[1] == (None, None)


def test_a_server_that_names_no_length_is_refused(place, server):
    server.length = False
    assert "does not say how long the file is" in failure()
    assert not place.exists()


def test_a_known_hash_is_checked_and_a_wrong_part_removed(place, server, monkeypatch):
    url = registry.ENTRIES[NAME].url
    known = entry_of(url, hashlib.sha256(OTHER).hexdigest(), len(OTHER))
    monkeypatch.setattr(registry, "ENTRIES", {NAME: known})
    assert "SHA-256 differs" in failure()
    assert not place.exists() and not place.with_name("large.fits.part").exists()
    server.content = OTHER
    server.tag = '"two"'
    assert fetch() == [place] and left(place) == ["large.fits"], "no record where the hash is known"


def test_a_file_put_there_by_hand_is_recorded_when_asked_for(place, server):
    place.parent.mkdir(parents=True)
    place.write_bytes(OTHER)
    assert not registry.have("large")
    with pytest.raises(
        DataError, match=r"has no record of its SHA-256.*`skytutor data fetch large`"
    ):
        registry.path(NAME)
    assert fetch() == [place] and server.requests == [] and place.read_bytes() == OTHER
    assert registry.have("large")


def test_two_downloads_of_one_file_do_not_mix(place, server):
    place.parent.mkdir(parents=True)
    with filelock.FileLock(place.with_name("large.fits.part.lock")):
        assert "another process is downloading it" in failure()
    assert server.requests == [] and fetch() == [place]


def test_a_file_at_no_address_says_so_and_names_another(place, server, monkeypatch):
    entry = entry_of(None, hashlib.sha256(GOOD).hexdigest(), len(GOOD), instead="take `another`")
    monkeypatch.setattr(registry, "ENTRIES", {NAME: entry})
    text = failure()
    assert "It cannot be downloaded: take `another`, or set SKYTUTOR_DATA" in text
    place.parent.mkdir(parents=True)
    place.write_bytes(GOOD)
    assert registry.have("large") and fetch() == [place] and server.requests == []
    place.write_bytes(OTHER)
    for options in ({}, {"overwrite": True}):
        text = failure(**options)
        assert "is altered" in text and "cannot be downloaded" in text
    assert place.read_bytes() == OTHER, "what cannot be fetched is not removed"


def test_the_decoded_map_of_2013_is_at_no_address():
    (entry,) = registry.groups()["planck-smica-2013"]
    assert entry.url is None and "planck-smica-2018" in entry.instead


def test_the_hash_is_of_the_whole_file(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(GOOD)
    assert download.hash_of(file) == hashlib.sha256(GOOD).hexdigest()
