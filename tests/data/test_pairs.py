"""skytutor.data.pairs: fetched from a server on this machine, which sometimes misbehaves."""

import dataclasses
import functools
import gc
import hashlib
import http.server
import itertools
import json
import sys
import threading
import time
import types
from urllib.parse import parse_qs, urlsplit

import filelock
import pytest
import torch
from survey_files import HTML, POSITION, SCALES, noisy, star, write_image, write_spectrum

from skytutor import cli
from skytutor.data import _requests, pairs
from skytutor.data.pairs import fetch_pairs, load_pairs
from skytutor.data.registry import DataError
from skytutor.data.sdss_catalogue import Galaxy, read_catalogue, sdss_catalogue, write_catalogue

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
BANDS = "grizy"
GALAXIES = [Galaxy(266, 51630, k, "26", *POSITION, 0.1) for k in (1, 2, 3, 4)]
LISTING = (
    "projcell subcell ra dec filter mjd type filename shortname badflag\n"
    + "".join(f"1 2 150 2 {b} 0 stack /rings/{b}.fits {b}.fits 0\n" for b in BANDS)
).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve spectra, the listing and cutouts; a request whose turn is in `faults` goes wrong."""

    def do_GET(self):
        server = self.server
        with server.lock:
            server.open += 1
            server.most_open = max(server.most_open, server.open)
            turn = len(server.requests)
            server.requests.append((self.path, time.monotonic()))
        self.answer(server.faults.get(turn), server.body_of(self.path))
        with server.lock:
            server.open -= 1

    def answer(self, fault, body):
        if fault == "html":
            body = HTML
        if body is None or isinstance(fault, int):
            self.send_response(fault or 404)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        if fault != "half":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault in ("half", "broken") else body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    """Return what the archives hold, by the end of the address."""
    folder = tmp_path_factory.mktemp("archive")
    found = {}
    for galaxy in GALAXIES:
        path = write_spectrum(folder / f"spec-{galaxy.name}.fits", redshift=0.1)
        found[path.name] = path.read_bytes()
    for k, band in enumerate(BANDS):
        image = noisy(star(96, scale=SCALES["PS1"], magnitude=17 + k), seed=k)
        found[band] = write_image(folder / f"{band}.fits", image, band=band).read_bytes()
    return found


@pytest.fixture
def server(bodies, monkeypatch):
    monkeypatch.setattr(_requests, "_MAX_WAIT_S", 0.01)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        running.block_on_close = False
        running.lock = threading.Lock()
        running.open = running.most_open = 0
        running.requests = []
        running.faults = {}
        running.bodies = dict(bodies)

        def body_of(path):
            parts = urlsplit(path)
            if parts.path.endswith("ps1filenames.py"):
                return running.bodies.get("listing", LISTING)
            if parts.path.endswith("fitscut.cgi"):
                return running.bodies.get(parse_qs(parts.query)["red"][0][len("/rings/")])
            return running.bodies.get(parts.path.split("/")[-1])

        running.body_of = body_of
        thread = threading.Thread(
            target=functools.partial(running.serve_forever, poll_interval=0.02), daemon=True
        )
        thread.start()
        yield running
        running.shutdown()
        thread.join()
    gc.collect()


def fetch(server, folder, n=2, **options):
    address = f"http://127.0.0.1:{server.server_port}"
    options = {"pause_s": 0.0, "retries": 1, "catalogue": lambda n, query: GALAXIES} | options
    archives = {"sdss": f"{address}/sas", "ps1": address}
    return fetch_pairs(n, folder=folder, archives=archives, **options)


def failure(server, folder, **options):
    with pytest.raises(DataError) as caught:
        fetch(server, folder, **options)
    assert "\n" not in str(caught.value), "the command line prints one line"
    return str(caught.value)


def test_pairs_are_fetched_recorded_and_read(server, tmp_path):
    lines = []
    names = fetch(server, tmp_path / "new", progress=lines.append)
    assert names == ["0266-51630-0001", "0266-51630-0002"]
    assert lines == [f"{name} here" for name in names]
    paths = [path for path, _ in server.requests]
    assert paths[0] == "/sas/26/spectra/lite/0266/spec-0266-51630-0001.fits"
    assert "size=96" in paths[2] and "red=%2Frings%2Fg.fits" in paths[2] and len(paths) == 14
    manifest = json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert len(manifest["files"]) == 12 and manifest["left_out"] == {}
    for name, record in manifest["files"].items():
        data = (tmp_path / "new" / name).read_bytes()
        assert record["size"] == len(data)
        assert record["sha256"] == hashlib.sha256(data).hexdigest()
        assert record["url"].startswith("http://127.0.0.1")
    found = load_pairs(tmp_path / "new")
    assert found.images.shape == (2, 5, 64, 64) and found.names[1].endswith("0002.fits")
    # Bands in their order: the star was drawn a magnitude fainter in each.
    peaks = found.images[0].amax((1, 2))
    assert torch.allclose(peaks[:-1] / peaks[1:], torch.tensor(10**0.4), rtol=0.2)
    assert float(found.flux[found.mask].mean()) == pytest.approx(1, abs=1e-3)
    assert found.redshift.tolist() == pytest.approx([0.1, 0.1])


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    fetch(server, tmp_path)
    before = len(server.requests)
    asked = []
    fetch(server, tmp_path, catalogue=lambda n, query: asked.append(n))
    assert len(server.requests) == before and asked == []
    fetch(server, tmp_path, n=3)
    assert len(server.requests) == before + 7, "the third galaxy alone"


def test_a_broken_run_goes_on_where_it_stopped(server, tmp_path):
    server.faults = {4: 503, 5: 503}
    said = failure(server, tmp_path)
    assert "127.0.0.1" in said and "answered 503" in said and "it goes on" in said
    kept = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert len(kept) == 3, "the spectrum and two bands"
    with pytest.raises(DataError, match="holds no pair"):
        load_pairs(tmp_path)
    server.requests.clear()
    server.faults = {}
    fetch(server, tmp_path, n=1)
    paths = [path for path, _ in server.requests]
    assert len(paths) == 4 and all("ps1filenames" in p or "fitscut" in p for p in paths)
    assert len(load_pairs(tmp_path).names) == 1


@pytest.mark.parametrize("fault", ["html", "half", "broken", 503, 429])
def test_an_answer_that_goes_wrong_once_is_asked_for_again(server, tmp_path, fault):
    for turn in (0, 2, 5):
        server.faults[turn] = fault
    assert len(fetch(server, tmp_path, n=1)) == 1
    assert len(server.requests) == 10 and len(load_pairs(tmp_path).names) == 1


def test_a_page_of_html_instead_of_files_is_named(server, tmp_path):
    server.faults = dict.fromkeys(range(20), "html")
    said = failure(server, tmp_path)
    assert "sent something else" in said and "is a page of HTML and no FITS file" in said
    assert not list(tmp_path.glob("*/*.fits"))
    server.faults = dict.fromkeys(range(3, 20), "html")
    assert "no table of file names; it begins with '<!DOCTYPE html>'" in failure(server, tmp_path)


def test_a_server_that_refuses_is_not_asked_again(server, tmp_path):
    server.faults = {0: 403}
    assert "answered 403" in failure(server, tmp_path)
    assert len(server.requests) == 1


def test_no_network(server, tmp_path):
    nowhere = {"sdss": "http://127.0.0.1:9/sas", "ps1": "http://127.0.0.1:9"}
    with pytest.raises(DataError, match=r"no connection to 127.0.0.1:9"):
        fetch_pairs(
            1,
            folder=tmp_path,
            archives=nowhere,
            pause_s=0.0,
            retries=0,
            catalogue=lambda n, query: GALAXIES,
        )


def test_galaxies_that_cannot_be_used_are_left_out_with_the_reason(server, tmp_path):
    del server.bodies["spec-0266-51630-0001.fits"]
    path = write_spectrum(tmp_path / "bad.fits", ivar=-torch.ones(3900).numpy())
    server.bodies["spec-0266-51630-0002.fits"] = path.read_bytes()
    names = fetch(server, tmp_path / "a")
    assert names == ["0266-51630-0003", "0266-51630-0004"]
    why = json.loads((tmp_path / "a" / "manifest.json").read_text())["left_out"]
    assert "has no /sas/26/spectra" in why["0266-51630-0001"]
    assert "ivar must be 0 or more" in why["0266-51630-0002"]
    server.requests.clear()
    assert fetch(server, tmp_path / "a") == names and server.requests == []
    said = failure(server, tmp_path / "a", n=3)
    assert "the catalogue of 4 galaxies has 2 with all files, 3 are wanted" in said


def test_a_galaxy_without_all_bands_or_with_a_wrong_one_is_left_out(server, tmp_path, bodies):
    server.bodies["listing"] = b"\n".join(LISTING.splitlines()[:4])
    said = failure(server, tmp_path / "a", n=1)
    assert "has 0 with all files" in said
    why = json.loads((tmp_path / "a" / "manifest.json").read_text())["left_out"]
    assert why["0266-51630-0001"] == "Pan-STARRS has no image in z, y there"
    server.bodies = bodies | {"i": bodies["z"]}
    failure(server, tmp_path / "b", n=1)
    why = json.loads((tmp_path / "b" / "manifest.json").read_text())["left_out"]
    assert "band z came where i was asked for" in why["0266-51630-0001"]


def test_an_altered_file_is_noticed_and_fetched_again(server, tmp_path):
    fetch(server, tmp_path, n=1)
    path = tmp_path / "0266-51630-0001" / "ps1-i.fits"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    with pytest.raises(DataError, match=r"ps1-i.fits is missing or altered"):
        load_pairs(tmp_path)
    server.requests.clear()
    fetch(server, tmp_path, n=1)
    assert path.read_bytes() == whole and len(server.requests) == 2


def test_one_request_at_a_time_with_a_pause(server, tmp_path):
    fetch(server, tmp_path, n=1, pause_s=0.05)
    times = [moment for _, moment in server.requests]
    assert server.most_open == 1 and len(times) == 7
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.045


def test_two_processes_do_not_share_a_folder(server, tmp_path):
    with filelock.FileLock(tmp_path / ".lock"):
        assert "another process fetches pairs into it" in failure(server, tmp_path)
    assert server.requests == []


def test_bad_arguments_and_damaged_records(server, tmp_path):
    for options, said in (
        ({"n": 0}, "n must be a positive integer"),
        ({"retries": -1}, "retries must be 0 or more"),
        ({"pause_s": -1.0}, "pause_s must be"),
        ({"size": 0}, "size must be"),
    ):
        with pytest.raises(ValueError, match=said):
            fetch(server, tmp_path, **options)
    assert "the catalogue is empty" in failure(server, tmp_path, catalogue=lambda n, query: [])
    (tmp_path / "catalogue.json").write_text("[{]")
    assert "is no catalogue" in failure(server, tmp_path)
    (tmp_path / "catalogue.json").write_text("[]")
    assert "is empty. Remove it" in failure(server, tmp_path)
    (tmp_path / "catalogue.json").unlink()
    (tmp_path / "manifest.json").write_text("{}")
    assert "manifest.json is damaged" in failure(server, tmp_path)
    with pytest.raises(DataError, match="is not there"):
        load_pairs(tmp_path / "none")


# --- the catalogue --------------------------------------------------------------------------------


class Table(list):
    colnames = ("plate", "mjd", "fiberID", "run2d", "ra", "dec", "z")


@pytest.fixture
def astroquery(monkeypatch):
    """Put a stand-in for astroquery in its place; return the queries it was asked."""
    asked = []
    module = types.ModuleType("astroquery.sdss")

    class SDSS:
        answer = Table([(266, 51630, 7, "26 ", 146.2, -0.3, 0.07)])

        @classmethod
        def query_sql(cls, text, data_release):
            asked.append((text, data_release))
            if isinstance(cls.answer, Exception):
                raise cls.answer
            return cls.answer

    module.SDSS = SDSS
    monkeypatch.setitem(sys.modules, "astroquery", types.ModuleType("astroquery"))
    monkeypatch.setitem(sys.modules, "astroquery.sdss", module)
    module.asked = asked
    return module


def test_the_catalogue_is_asked_for_and_kept(astroquery, tmp_path):
    (galaxy,) = sdss_catalogue(12)
    assert galaxy == Galaxy(266, 51630, 7, "26", 146.2, -0.3, 0.07)
    assert galaxy.name == "0266-51630-0007"
    ((text, release),) = astroquery.asked
    assert "TOP 12 " in text and "zWarning = 0" in text and release == 17
    write_catalogue(tmp_path / "a.json", [galaxy])
    assert read_catalogue(tmp_path / "a.json") == [galaxy]
    with pytest.raises(ValueError, match="dec of the catalogue is nan"):
        write_catalogue(tmp_path / "b.json", [dataclasses.replace(galaxy, dec=float("nan"))])


def test_a_catalogue_that_does_not_come(astroquery, monkeypatch):
    with pytest.raises(ValueError, match=r"query must hold \{n\}"):
        sdss_catalogue(2, "SELECT TOP 2 * FROM SpecObj")
    for answer, said in (
        (None, "empty catalogue"),
        (Table(), "empty catalogue"),
        (OSError("<html>503</html>"), "cannot ask SDSS for galaxies: <html>503</html>"),
    ):
        monkeypatch.setattr(astroquery.SDSS, "answer", answer)
        with pytest.raises(DataError, match=said):
            sdss_catalogue(2)
    short = Table([(1, 2)])
    short.colnames = ("plate", "mjd")
    monkeypatch.setattr(astroquery.SDSS, "answer", short)
    with pytest.raises(ValueError, match=r"must return the columns .* missing \['fiberid'"):
        sdss_catalogue(2)


def test_without_astroquery_it_is_said_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "astroquery.sdss", None)
    monkeypatch.setitem(sys.modules, "astroquery", None)
    with pytest.raises(DataError, match=r"run `pip install astroquery`, .* extra `surveys`"):
        fetch_pairs(2, folder=tmp_path)


# --- the command ----------------------------------------------------------------------------------


def test_the_command(server, tmp_path, monkeypatch, capsys):
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(pairs, "ARCHIVES", {"sdss": f"{address}/sas", "ps1": address})
    monkeypatch.setattr(_requests.Polite, "_wait", lambda self: None)
    write_catalogue(tmp_path / "catalogue.json", GALAXIES)
    assert cli.main(["data", "pairs", "1", "--folder", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"0266-51630-0001 here\n1 pairs in {tmp_path}\n" and shown.err == ""
    for words in (["two"], [], ["0"]):
        assert cli.main(["data", "pairs", *words, "--folder", str(tmp_path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
