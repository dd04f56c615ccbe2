"""Where the built book is, how to serve it to this machine only, and how to visit a page of it."""

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / os.environ.get("SKYTUTOR_HTML", "_build/test/_build/html")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
NO_BOOK = f"no built book in {HTML}: run `make test-build` first"
NO_BROWSER = (
    "no Chromium on this machine (chromium, chromium-browser or google-chrome): "
    "the browser tests did not run"
)


# What a browser is started with: it finds no host but this machine.
NO_HOSTS = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files over connections that stay open, and logs nothing.

    A browser asks for `/favicon.ico` by itself where a page names no icon: there is none, which is
    no fault of the page.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Send a file, or say of the icon that nobody named that it is empty."""
        if self.path == "/favicon.ico":
            self.send_response(204)
            return self.end_headers()
        return super().do_GET()

    def log_message(self, *args):
        pass


class Lasting(Quiet):
    """Says that files stay as they are, so that a browser asks once for what all pages load."""

    def end_headers(self):
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()


def serve(folder: Path, handler=Quiet):
    """Serve the files below `folder`; return the server and its address."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


class Visit:
    """A page as a reader opens it; what went wrong is noted.

    The browser finds no other host, but it is noted which it asks for: see `NO_HOSTS`.
    """

    def __init__(self, browser, base: str, *, scheme: str = "light", width: int = 1280):
        self.base = base
        self.foreign = []
        self.errors = []
        self.missing = []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page = self.context.new_page()
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("response", lambda r: self.missing.append(r.url) if r.status >= 400 else None)
        self.page.on("request", lambda r: self.note(r.url))

    def note(self, url: str) -> None:
        """Note an address that is not of the served folder."""
        if not url.startswith((self.base, "data:", "blob:", "about:")):
            self.foreign.append(url)

    def again(self) -> None:
        """Become a reader who comes for the first time, but has the files of the book already."""
        if self.page.url.startswith(self.base):
            self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        self.page.goto("about:blank")
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size({"width": 1280, "height": 900})
        for noted in (self.foreign, self.errors, self.missing):
            noted.clear()

    def open(self, path: str):
        """Load `path` and wait until equations are set and widgets stand."""
        self.page.goto(self.base + path, wait_until="load", timeout=120_000)
        self.page.evaluate(
            "window.MathJax && MathJax.startup && MathJax.startup.promise.then(() => true)"
        )
        views = self.page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
        self.page.wait_for_function(
            "n => document.querySelectorAll('.widget-subarea > *').length >= n",
            arg=views,
            timeout=60_000,
        )
        self.page.evaluate(
            "new Promise(done => requestAnimationFrame("
            "() => requestAnimationFrame(() => setTimeout(done, 200))))"
        )
        return self.page

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()
