"""Pages that hold spheres and nothing else, for the browser tests.

The projections are here too, written a second time.
"""

import base64
import contextlib
import functools
import http.server
import os
import threading

import numpy as np
import torch
from bookserver import Quiet, Visit, serve

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Spheres</title>
<style>
  body {{ width: {width}px; margin: 8px; background: Canvas; color: CanvasText }}
  body {{ color-scheme: light dark }}
</style></head>
<body><main><h1>Spheres</h1>{body}</main></body></html>"""
# A browser whose canvases know no WebGL 2.
NO_WEBGL2 = """const get = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    return kind === 'webgl2' ? null : get.call(this, kind, ...rest);
};"""
SPHERE = "document.querySelector('.sky-sphere').sphere"
# In JavaScript: all dots of the canvas as text, its width and its height.
READ_CANVAS = f"""() => {{
    const s = {SPHERE};
    s.draw();
    const gl = s.painter.gl, c = s.canvas, out = new Uint8Array(4 * c.width * c.height);
    gl.readPixels(0, 0, c.width, c.height, gl.RGBA, gl.UNSIGNED_BYTE, out);
    let text = "";
    for (let i = 0; i < out.length; i += 8192)
        text += String.fromCharCode(...out.subarray(i, i + 8192));
    return [btoa(text), c.width, c.height];
}}"""


def sky(nside, *, seed=1, lmax=None):
    """Draw a smooth random map ``(P,)``, RING."""
    from skytutor.fields.spectra import gaussian_maps

    lmax = min(lmax or 2 * nside, 3 * nside - 1)
    l = torch.arange(lmax + 1).double()
    cl = torch.where(l > 1, torch.exp(-(l**2) / (2 * (lmax / 2.5) ** 2)), 0)
    return gaussian_maps(
        {"TT": cl},
        nside=nside,
        lmax=lmax,
        generator=torch.Generator().manual_seed(seed),
        order="ring",
    )["T"]


def static_view(*args, **kwargs):
    """Return a `view` as a book makes it: HTML alone."""
    from skytutor.widgets import view

    before = os.environ.get("SKYTUTOR_STATIC")
    os.environ["SKYTUTOR_STATIC"] = "1"
    try:
        return view(*args, **kwargs).html()
    finally:
        if before is None:
            del os.environ["SKYTUTOR_STATIC"]
        else:
            os.environ["SKYTUTOR_STATIC"] = before


def write(folder, *views, width=700):
    """Write a page of views, `width` pixels wide, into a folder; return the folder."""
    page = PAGE.format(body="\n".join(views), width=width)
    (folder / "index.html").write_text(page, encoding="utf-8")
    return folder


@contextlib.contextmanager
def served(folder, policy):
    """Serve the files below `folder` with that content security policy; yield the address."""

    class Strict(Quiet):
        def end_headers(self):
            self.send_header("Content-Security-Policy", policy)
            super().end_headers()

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Strict, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def ready(page, count=1):
    """Wait until that many spheres stand and the first has been drawn."""
    page.wait_for_function(
        "n => [...document.querySelectorAll('.sky-sphere')].filter(el => el.sphere).length >= n "
        "&& document.querySelector('.sky-sphere').sphere.loaded",
        arg=count,
        timeout=60_000,
    )
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@contextlib.contextmanager
def pages(browser, folder):
    """Yield a function that opens pages of some spheres; at the end none may have had a fault."""
    kept = []

    def do(*views, width=700, scheme="light", prepare=None, motion="reduce", count=None):
        server, address = serve(write(folder, *views, width=width))
        visit = Visit(browser, address, scheme=scheme)
        kept.append((server, visit))
        visit.page.emulate_media(reduced_motion=motion)
        if prepare:
            visit.page.add_init_script(prepare)
        visit.page.goto(address + "index.html")
        if count != 0:
            ready(visit.page, len(views) if count is None else count)
        return visit.page

    yield do
    for server, visit in kept:
        faults = (visit.foreign, visit.errors, visit.missing)
        visit.context.close()
        server.shutdown()
        server.server_close()
        assert faults == ([], [], [])


def state(page, key):
    return page.evaluate(f"{SPHERE}.get('{key}')")


def picture(page):
    """Return what the sphere's canvas shows now, ``(height, width, 4)`` uint8, from the bottom."""
    data, width, height = page.evaluate(READ_CANVAS)
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)


def middle_of(box):
    """Return x and y of the middle of a box on the page."""
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, place):
    """Drag the sphere by 40 pixels to the right and 20 down."""
    page.mouse.move(*place)
    page.mouse.down()
    page.mouse.move(place[0] + 40, place[1] + 20)
    page.mouse.up()


def open_controls(page, k=0):
    """Press the button that opens the controls of the sphere number `k` of a page."""
    page.get_by_role("button", name="Controls").nth(k).click()


def frame(lon, lat):
    """Return rows toward the reader, right and up, from longitude and latitude in degrees."""
    a = np.radians(lon)
    b = np.radians(lat)
    toward = [np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)]
    right = np.cross(toward, [-np.sin(b) * np.cos(a), -np.sin(b) * np.sin(a), np.cos(b)])
    return np.array([toward, right, np.cross(right, toward)])


def direction_at(projection, x, y, *, width, height, lon, lat, zoom):
    """Return the direction seen at x to the right and y up from the middle, CSS pixels.

    It is None outside the sphere. East is left.
    """
    r = 0.48 * min(width, height) * zoom
    if projection == "globe":
        x = x / r
        y = y / r
        if x * x + y * y > 1:
            return None
        w = np.array([np.sqrt(1 - x * x - y * y), x, y])
    elif projection == "gnomonic":
        w = np.array([3 * r, x, y]) / np.sqrt(9 * r * r + x * x + y * y)
    else:
        m = 0.48 * min(width / 2, height) * zoom
        x = x / m
        y = y / m
        if x * x / 4 + y * y > 1:
            return None
        t = np.arcsin(y)
        z = (2 * t + np.sin(2 * t)) / np.pi
        phi = np.pi * x / (2 * np.cos(t))
        w = np.array([np.sqrt(1 - z * z) * np.cos(phi), np.sqrt(1 - z * z) * np.sin(phi), z])
    return w @ frame(lon, lat)


def special_directions(count, seed=0):
    """Return `count` unit vectors, those where a mistake would show first.

    They are both poles and directions close to them, face corners and seams, the edges of the
    polar caps, and for the rest random ones.
    """
    import healpy

    rng = np.random.default_rng(seed)
    out = [[0, 0, 1], [0, 0, -1]]
    for k in (1, 3, 5):
        out += [list(healpy.ang2vec(10.0**-k, phi)) for phi in (0.1, 1.6, 3.2, 4.8)]
    # Corners and points of the seams: (12, 3, 32) to (384, 3).
    corners = healpy.boundaries(1, np.arange(12), step=8).transpose(0, 2, 1).reshape(-1, 3)
    out += (corners + 1e-5 * rng.normal(size=corners.shape)).tolist()
    for sign in (1, -1):
        for shift in (-1e-5, 1e-5):
            theta = np.arccos(sign * (2 / 3 + shift))
            out += [list(healpy.ang2vec(theta, phi)) for phi in np.arange(0.05, 6.2, 0.5)]
    rest = rng.normal(size=(count - len(out), 3))
    vectors = np.concatenate([np.array(out), rest])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near_border(vectors, nside, reach=1e-6):
    """Tell whether a step of `reach` radians in one of eight directions leads to another pixel."""
    import healpy

    home = healpy.vec2pix(nside, *vectors.T)
    side = np.cross(vectors, np.where(np.abs(vectors[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(vectors, side)
    out = np.zeros(len(vectors), bool)
    for angle in np.arange(8) * np.pi / 4:
        step = reach * (np.cos(angle) * side + np.sin(angle) * other)
        out |= healpy.vec2pix(nside, *(vectors + step).T) != home
    return out
