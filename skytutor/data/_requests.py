"""Requests to a shared archive: one at a time, with a pause, and again where one failed."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from skytutor.data.download import TIMEOUT_S
from skytutor.data.registry import DataError

__all__ = ["Missing", "Polite"]

_MAX_BYTES = 50_000_000  # no file that is asked for is longer
_MAX_WAIT_S = 60.0
_BUSY = (429, 500, 502, 503, 504)


class Missing(Exception):
    """The archive has no such file; another attempt would not help."""


@dataclass
class Polite:
    """Fetch files one after the other.

    Arguments:
        pause_s: seconds between two requests.
        retries: further attempts after a broken connection, a busy server or a wrong answer.
    """

    pause_s: float
    retries: int
    _last: float = -1e9

    def get(self, url: str, *, check: Callable[[bytes], object]) -> bytes:
        """Return what lies at an address.

        Arguments:
            url: http or https.
            check: raises OSError or ValueError if these bytes are not what was asked for.

        Raises:
            Missing: the archive says that there is no such file, or what came would be refused
                again: a whole file with wrong values.
            DataError: no connection, a busy server, or an answer that is no file, after all
                attempts; a server that refuses.
        """
        reason = ""
        for attempt in range(self.retries + 1):
            self._wait()
            data, reason, delay = self._try(url, check)
            if data is not None:
                return data
            if attempt < self.retries:
                time.sleep(min(delay or 2.0**attempt * self.pause_s, _MAX_WAIT_S))
        raise DataError(
            f"cannot fetch {url}: {reason}. Wait a while and run the same command: it goes on"
        )

    def _wait(self) -> None:
        """Let the pause since the last request pass."""
        left = self._last + self.pause_s - time.monotonic()
        if left > 0:
            time.sleep(left)

    def _try(self, url: str, check: Callable[[bytes], object]) -> tuple[bytes | None, str, float]:
        """Return the bytes, or why there are none, and how long the server asks to wait."""
        import requests

        host = urlsplit(url).netloc
        try:
            with requests.get(url, stream=True, timeout=TIMEOUT_S) as response:
                if response.status_code in (404, 410):
                    raise Missing(f"{host} has no {urlsplit(url).path}")
                if response.status_code in _BUSY:
                    return None, f"{host} answered {response.status_code}", _asked(response)
                if not response.ok:
                    raise DataError(f"{host} answered {response.status_code} for {url}")
                data = _body(response)
        except requests.RequestException:
            return None, f"no connection to {host}, or it broke off", 0.0
        finally:
            self._last = time.monotonic()
        try:
            check(data)
        except OSError as error:  # half a file, or a page that says that something is amiss
            return None, f"{host} sent something else: {error}", 0.0
        except ValueError as error:
            raise Missing(str(error)) from error
        return data, "", 0.0


def _asked(response: Any) -> float:
    """Return how many seconds a busy server asks to wait; 0 if it does not say."""
    try:
        return max(float(response.headers.get("Retry-After", 0)), 0.0)
    except ValueError:  # a date
        return 0.0


def _body(response: Any) -> bytes:
    """Read an answer, no longer than any file that is asked for."""
    import requests

    data = bytearray()
    for chunk in response.iter_content(1 << 16):
        data += chunk
        if len(data) > _MAX_BYTES:
            raise requests.ConnectionError("more bytes than any file has")
    length = response.headers.get("Content-Length", "")
    packed = response.headers.get("Content-Encoding")
    if length.isdigit() and not packed and len(data) < int(length):
        raise requests.ConnectionError("the connection ended before the file did")
    return bytes(data)
