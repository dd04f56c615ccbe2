"""Pictures of the sphere against stored ones.

After a wanted change they are stored anew by

    SKYTUTOR_REDRAW=1 python -m pytest -m built tests/book/test_sphere_pictures.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit, serve
from PIL import Image
from spheres import picture, ready, static_view, write

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]
STORED = Path(__file__).parent / "pictures"


def hills(nside):
    """Compute a map from a formula, so that the pictures depend on no generator."""
    import healpy

    x, y, z = healpy.pix2vec(nside, np.arange(12 * nside**2))
    return np.sin(4 * x + 1) * np.cos(5 * y) + 0.5 * np.sin(9 * z + 2 * x) + 0.8 * y


SKY = hills(16)
HOLED = np.where(np.arange(3072) % 400 < 30, np.nan, SKY)
VIEWS = {
    "globe": {"maps": SKY, "borders": True, "lon_deg": 40, "lat_deg": 25},
    "mollweide": {
        "maps": HOLED,
        "projection": "mollweide",
        "cmap": "planck",
        "graticule": True,
        "value_range": "symmetric",
    },
    "gnomonic": {"maps": SKY, "projection": "gnomonic", "cmap": "magma", "lat_deg": 89},
    "mask": {
        "maps": SKY,
        "mask": np.abs(np.arange(3072) - 1536) > 400,
        "cmap": "grey",
        "scaling": "histogram",
    },
    "symlog": {
        "maps": SKY**5,
        "cmap": "blue-red",
        "scaling": "symlog",
        "zoom": 2.5,
        "lat_deg": -42,
    },
    "two": {"maps": {"a": SKY, "b": -SKY}, "cmap": "viridis", "swipe": True},
}


@pytest.mark.parametrize("name", VIEWS)
def test_it_looks_as_it_did(browser, tmp_path, name):
    """The mean difference is below 1 %, and 98 % of the dots are within 5 %.

    Other graphics cards round other dots at borders of pixels.
    """
    shown = static_view(**VIEWS[name], nside=16, order="ring", height=220)
    server, address = serve(write(tmp_path, shown, width=320))
    with Visit(browser, address) as visit:
        visit.page.goto(address + "index.html")
        ready(visit.page)
        now = picture(visit.page)[::-1]
        assert not visit.errors and not visit.foreign
    server.shutdown()
    server.server_close()
    file = STORED / f"{name}.png"
    if os.environ.get("SKYTUTOR_REDRAW"):
        STORED.mkdir(exist_ok=True)
        Image.fromarray(now).save(file, optimize=True)
        return
    then = np.asarray(Image.open(file).convert("RGBA")).astype(int)
    assert now.shape == then.shape
    apart = np.abs(now - then) / 255
    alike = (apart.max(-1) < 0.05).mean()
    found = f"{name}: mean {apart.mean():.3f}, {alike:.3f} alike"
    assert apart.mean() < 0.01 and alike > 0.98, found
