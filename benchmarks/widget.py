"""The sphere in headless Chromium: time of a frame, and bytes of script and page.

Frames are timed at each nside on the same canvas.
"""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

NSIDES = (16, 64, 256, 512)
WIDTH = 640
HEIGHT = 400
FRAMES = 30
# A frame ends when a dot of it has been read back.
CLOCK = """frames => {
    const s = document.querySelector('.sky-sphere').sphere, gl = s.painter.gl;
    const dot = new Uint8Array(4), times = [];
    for (let k = 0; k < frames; k++) {
        const t = performance.now();
        s.model.state.lon = 7 * k;
        s.draw();
        gl.readPixels(1, 1, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, dot);
        times.push(performance.now() - t);
    }
    return times.sort((a, b) => a - b)[frames >> 1];
}"""


def sky(nside: int, beam: float) -> np.ndarray:
    """Draw a map ``(P,)``, RING: a scale-free sky behind a beam, or white noise.

    Arguments:
        nside: of the map; also the seed.
        beam: full width at half maximum, in pixels; 0 for white noise.
    """
    import healpy

    np.random.seed(nside)
    if not beam:
        return np.random.standard_normal(12 * nside**2)
    l = np.arange(3 * nside)
    cl = np.where(l > 1, 1 / np.maximum(l * (l + 1.0), 1), 0)
    alm = healpy.synalm(cl, lmax=3 * nside - 1)
    fwhm = beam * (4 * np.pi / 12) ** 0.5 / nside  # radians: a pixel is (4 pi / 12)**0.5 / nside
    return healpy.alm2map(healpy.smoothalm(alm, fwhm=fwhm), nside)


def html(values: np.ndarray, nside: int) -> str:
    """Return the HTML of a sphere with that map."""
    from skytutor.widgets import view

    return view(values, nside=nside, order="ring", height=HEIGHT).html()


def frame_times(folder: Path) -> dict[int, float]:
    """Measure the median milliseconds of a frame, by nside; pages are written to `folder`."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    out = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        for nside in NSIDES:
            file = folder / "index.html"
            file.write_text(
                f"<body style='width:{WIDTH}px'>{html(sky(nside, 3), nside)}", encoding="utf-8"
            )
            page = browser.new_page(reduced_motion="reduce")
            page.goto(file.as_uri())
            page.wait_for_function(
                "document.querySelector('.sky-sphere').sphere?.loaded", timeout=60_000
            )
            page.evaluate(CLOCK, FRAMES)  # warms up
            out[nside] = page.evaluate(CLOCK, FRAMES)
            page.close()
        browser.close()
    return out


def report() -> None:
    """Print the bytes of script and page, and the time of a frame at each nside."""
    os.environ["SKYTUTOR_STATIC"] = "1"
    from skytutor.widgets import page

    script = len(page.script().encode())
    core = len(page.script(controls=False).encode())
    print(f"script {script / 1000:.1f} kB, its core alone {core / 1000:.1f} kB")
    print("page without the script, kB:   beam of 3 pixels   of 2   white noise")
    for nside in (64, 256):
        sizes = [
            (len(html(sky(nside, beam), nside).encode()) - script) / 1000 for beam in (3, 2, 0)
        ]
        print(f"  nside {nside:3}" + "".join(f"{size:14.0f}" for size in sizes))
    with tempfile.TemporaryDirectory() as folder:
        times = frame_times(Path(folder))
    print(
        f"a frame of {WIDTH} x {HEIGHT} in software GL, median of {FRAMES}: "
        + ", ".join(f"nside {n} {t:.1f} ms" for n, t in times.items())
    )
    print(f"nside 512 over nside 16: {times[512] / times[16]:.2f}")
