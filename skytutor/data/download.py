"""One file from the network: checked before it takes its name, and no longer than it may be."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

if TYPE_CHECKING:  # see `skytutor.data.registry.folder`
    from pooch import Pooch

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


def _reason(error: Exception, *, host: str) -> str | None:
    """Return what stopped a download, in words; None if it was not the network."""
    import requests  # only here: the failed download has just imported it

    if isinstance(error, requests.HTTPError):
        response = error.response
        answer = "an error" if response is None else f"{response.status_code} {response.reason}"
        return f"{host} answered {answer}. Wait a while"
    if isinstance(error, _TooLong):
        return f"{host} sent more bytes than the published file has, and was cut off. Wait a while"
    # Before OSError is let through: RequestException is one too.
    if isinstance(error, requests.RequestException | RuntimeError):
        return f"no connection to {host}, or it broke off. Check the network"
    if isinstance(error, ValueError):
        return f"{host} sent other bytes than the published file (SHA-256 differs). Wait a while"
    return None
