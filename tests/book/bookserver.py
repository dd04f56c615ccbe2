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


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *args):
        pass


def serve(folder: Path):
    """Serve the files below `folder`; return the server and its address."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


class Visit:
    """A page as a reader opens it, with every other host blocked; what went wrong is noted."""

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
        self.page.route("**/*", self.route)

    def route(self, route):
        if route.request.url.startswith((self.base, "data:", "blob:")):
            return route.continue_()
        self.foreign.append(route.request.url)
        return route.abort()

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
