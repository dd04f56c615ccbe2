"""One file from the network: checked before it takes its name, and no longer than it may be.

A small file comes in one go. A large one is kept as far as it came, beside its place under a name
that ends in ``.part``, and the next attempt asks the server for the rest.
"""

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

if TYPE_CHECKING:  # see `skytutor.data.registry.folder`
    from pooch import Pooch

__all__ = ["DownloadError", "resume", "to_file"]

TIMEOUT_S = 30  # longest silence of a server
_CHUNK = 1 << 16  # bytes at a time of a large file: as many are lost when a connection breaks


class DownloadError(RuntimeError):
    """Say what stopped a download; the sentence goes on with what to do."""


class _TooLong(RuntimeError):
    """A server sends more than the file is long."""


class _NoLength(RuntimeError):
    """A server does not say how long a file is, so that nobody could tell when it is whole."""


class _Bounded:
    """A file that takes no more bytes than are expected, so that no server can fill the disk."""

    def __init__(self, stream: BinaryIO, size: int):
        self.stream = stream
        self.left = size

    def write(self, data: bytes) -> int:
        """Write `data`, or raise `_TooLong` if they go beyond the size."""
        self.left -= len(data)
        if self.left < 0:
            raise _TooLong
        return self.stream.write(data)

    def flush(self) -> None:
        """Hand on what the file's own buffer holds."""
        self.stream.flush()


def to_file(place: Path, url: str, *, sha256: str, size: int, retries: int, progress: bool) -> None:
    """Download a file; it takes the name `place` only when its SHA-256 is right.

    Until then it is a temporary file beside it.

    Arguments:
        place: path of the file; its folder is made if it is not there.
        url: http or https.
        sha256: of the whole file, in hexadecimal.
        size: bytes; a download that grows longer is stopped there.
        retries: further attempts after a broken connection or wrong bytes.
        progress: draw a progress bar on standard error.

    Raises:
        DownloadError: no connection, an answer that is no file, or other bytes than expected.
        OSError: the folder cannot be written to.
    """
    import pooch

    source = pooch.create(
        path=place.parent,
        base_url="",
        registry={place.name: f"sha256:{sha256}"},
        urls={place.name: url},
        retry_if_failed=retries,
    )
    http = pooch.HTTPDownloader(progressbar=progress, chunk_size=1 << 16, timeout=TIMEOUT_S)

    def download(address: str, output_file: str, sender: "Pooch") -> None:
        with open(output_file, "w+b") as stream:
            http(address, _Bounded(stream, size), sender)

    try:
        source.fetch(place.name, downloader=download)
        place.chmod(0o644)  # pooch leaves it private; others may share the folder
    except (OSError, ValueError, RuntimeError) as error:
        reason = _reason(error, host=urlsplit(url).netloc)
        if reason is None:
            raise
        raise DownloadError(reason) from error


def resume(
    place: Path, url: str, *, sha256: str | None, retries: int, progress: bool
) -> tuple[str, int]:
    """Download a large file, from where the last attempt stopped; return its SHA-256 and its size.

    What came so far is ``NAME.part``, and ``NAME.part.json`` says which version of the file it is
    part of. Only if the server still has that version is it asked for the rest. The file takes the
    name `place` when it is as long as the server said and, where the hash is known, has that hash.

    Arguments:
        place: path of the file; its folder is made if it is not there.
        url: http or https.
        sha256: of the whole file, in hexadecimal; None if nobody knows it.
        retries: further attempts after a broken connection, each from where the last one stopped.
        progress: draw a progress bar on standard error.

    Raises:
        DownloadError: no connection, an answer that is no file, no length, or other bytes than
            expected. What came stays for the next call, unless it is wrong.
        OSError: the folder cannot be written to.
    """
    import filelock

    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(place.name + ".part")
    # Two processes that write one part would spoil it, and without a hash nobody would notice.
    lock = filelock.FileLock(place.with_name(part.name + ".lock"))
    try:
        with lock.acquire(timeout=0):
            found = _whole(part, url, sha256=sha256, retries=retries, progress=progress)
            part.replace(place)
            place.chmod(0o644)
            _note(part).unlink(missing_ok=True)
    except filelock.Timeout as error:
        raise DownloadError("another process is downloading it. Wait for that one") from error
    return found, place.stat().st_size


def _whole(part: Path, url: str, *, sha256: str | None, retries: int, progress: bool) -> str:
    """Make a part whole, in several attempts if need be, and return its SHA-256."""
    import requests

    for attempt in range(retries + 1):
        try:
            _append(part, url, progress=progress)
            found = hash_of(part)
            if sha256 is not None and found != sha256:
                part.unlink()
                raise ValueError("SHA-256 differs")
            return found
        except (requests.RequestException, ValueError, RuntimeError) as error:
            if attempt == retries or isinstance(error, _NoLength):
                reason = _reason(error, host=urlsplit(url).netloc)
                raise DownloadError(reason or str(error)) from error
        time.sleep(attempt + 1)
    raise AssertionError("unreachable: the last attempt returns or raises")


def hash_of(place: Path) -> str:
    """Return the SHA-256 of a file, read a piece at a time.

    Arguments:
        place: path of the file.
    """
    with open(place, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _note(part: Path) -> Path:
    """Return the path of what is noted about a part."""
    return part.with_name(part.name + ".json")


def _append(part: Path, url: str, *, progress: bool) -> None:
    """Ask for what is missing of a file and write it behind what is there."""
    import requests

    version = _version(_note(part))
    have = part.stat().st_size if version and part.exists() else 0
    if version and have == version["size"]:
        return
    if version and have > version["size"]:
        have = 0
    headers = {"Accept-Encoding": "identity"}  # else the bytes that come are not those of the file
    if have:
        # If the file has changed since, the server sends it whole and not the rest of another.
        headers |= {"Range": f"bytes={have}-", "If-Range": version["tag"]}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        continued = response.status_code == 206
        have = have if continued else 0
        size = _full_size(response.headers, have=have)
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        # A weak tag does not promise the same bytes, and no server takes it for a range.
        strong = "" if tag.startswith("W/") else tag
        _note(part).write_text(json.dumps({"size": size, "tag": strong}))
        with open(part, "ab" if continued else "wb") as stream:
            bounded = _Bounded(stream, size - have)
            _copy(response, bounded, have=have, size=size, progress=progress)
        if part.stat().st_size < size:
            raise requests.ConnectionError("the connection ended before the file did")


def _copy(response: Any, stream: _Bounded, *, have: int, size: int, progress: bool) -> None:
    """Write what the server sends, with a bar."""
    from tqdm import tqdm

    with tqdm(total=size, initial=have, unit="B", unit_scale=True, disable=not progress) as bar:
        for chunk in response.iter_content(_CHUNK):
            stream.write(chunk)
            bar.update(len(chunk))


def _full_size(headers: Any, *, have: int) -> int:
    """Return how long the whole file is, from the headers of an answer that starts at `have`."""
    _, _, total = headers.get("Content-Range", "").partition("/")
    if total.isdigit():
        return int(total)
    length = headers.get("Content-Length", "")
    if not length.isdigit():
        raise _NoLength
    return have + int(length)


def _version(note: Path) -> dict[str, Any]:
    """Return which version of a file a part belongs to; nothing if that is not known."""
    with suppress(OSError, ValueError):
        found = json.loads(note.read_text())
        if found.get("tag") and isinstance(found.get("size"), int):
            return found
    return {}


def _reason(error: Exception, *, host: str) -> str | None:
    """Return what stopped a download, in words; None if it was not the network."""
    import requests  # only here: the failed download has just imported it

    if isinstance(error, requests.HTTPError):
        response = error.response
        answer = "an error" if response is None else f"{response.status_code} {response.reason}"
        return f"{host} answered {answer}. Wait a while"
    if isinstance(error, _TooLong):
        return f"{host} sent more bytes than the published file has, and was cut off. Wait a while"
    if isinstance(error, _NoLength):
        return f"{host} does not say how long the file is, so no one can tell when it is whole"
    # Before OSError is let through: RequestException is one too.
    if isinstance(error, requests.RequestException | RuntimeError):
        return f"no connection to {host}, or it broke off. Check the network"
    if isinstance(error, ValueError):
        return f"{host} sent other bytes than the published file (SHA-256 differs). Wait a while"
    return None
