"""One file from the network: checked before it takes its name, and no longer than it may be."""

from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pooch

__all__ = ["DownloadError", "to_file"]

TIMEOUT_S = 30  # longest silence of a server


class DownloadError(RuntimeError):
    """Say what stopped a download; the sentence goes on with what to do."""


class _TooLong(RuntimeError):
    """A server sends more than the file is long."""


class _Bounded:
    """A file that takes no more bytes than are expected, so that no server can fill the disk."""

    def __init__(self, stream: BinaryIO, size: int):
        self.stream = stream
        self.left = size

    def write(self, data: bytes) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise _TooLong
        return self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()


def to_file(place: Path, url: str, *, sha256: str, size: int, retries: int, progress: bool) -> None:
    """Download `url` to a temporary file beside `place`, which it becomes when its SHA-256 is right.

    Arguments:
        size: bytes; a download that grows longer is stopped there.
        retries: further attempts after a broken connection or wrong bytes.
        progress: draw a progress bar on standard error.

    Raises:
        DownloadError: no connection, an answer that is no file, or other bytes than expected.
        OSError: the folder cannot be written to.
    """
    source = pooch.create(
        path=place.parent,
        base_url="",
        registry={place.name: f"sha256:{sha256}"},
        urls={place.name: url},
        retry_if_failed=retries,
    )
    http = pooch.HTTPDownloader(progressbar=progress, chunk_size=1 << 16, timeout=TIMEOUT_S)

    def download(address: str, output_file: str, sender: pooch.Pooch) -> None:
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


def _reason(error: Exception, *, host: str) -> str | None:
    """Name what stopped a download; None if it was not the network."""
    import requests  # only here: the failed download has just imported it

    if isinstance(error, requests.HTTPError):
        answer = f"{error.response.status_code} {error.response.reason}"
        return f"{host} answered {answer}. Wait a while"
    if isinstance(error, _TooLong):
        return f"{host} sent more bytes than the published file has, and was cut off. Wait a while"
    if isinstance(
        error, requests.RequestException | RuntimeError
    ):  # RequestException is an OSError too
        return f"no connection to {host}, or it broke off. Check the network"
    if isinstance(error, ValueError):
        return f"{host} sent other bytes than the published file (SHA-256 differs). Wait a while"
    return None
