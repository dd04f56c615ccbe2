"""The sphere in JupyterLab itself.

What the hand does reaches Python, and what Python sets reaches the page.
"""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import TimeoutError

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]

CELLS = [
    """import numpy as np
from skytutor.widgets import view
w = view(np.arange(768.0), nside=8, order='ring', unit='K')
seen = []
w.observe(lambda change: seen.append(change['new']), 'pixel')
w""",
    "print(f'READ lon {w.lon:.1f} lat {w.lat:.1f} zoom {w.zoom:.2f} pixel {w.pixel} seen {seen}')",
    """w.lon, w.lat, w.projection, w.pixel = 100.0, 30.0, 'mollweide', 77
w.cmap = 'inferno'
w.show(2 * np.arange(768.0))
print('SET')""",
    """from skytutor.widgets.explore import SpectrumExplorer
tool = SpectrumExplorer(nside=8)
tool""",
    "w.auto_turn = True",
    "print(f'READ auto_turn {w.auto_turn} lon {w.lon:.3f}')",
]
OUTPUT = "[...document.querySelectorAll('.jp-OutputArea-output *')]"


def free_port():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


def lab_command(folder, port):
    """Return the command that starts JupyterLab in a folder."""
    return [
        str(Path(sys.executable).with_name("jupyter")),
        "lab",
        "--no-browser",
        f"--port={port}",
        "--ip=127.0.0.1",
        "--allow-root",
        f"--ServerApp.root_dir={folder}",
        "--IdentityProvider.token=",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]


def wait_for(address, process, log):
    """Wait until the server answers; fail with its log when it has ended."""
    for _ in range(240):
        try:
            urllib.request.urlopen(address + "api/status", timeout=1)
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.25)


@pytest.fixture
def lab(tmp_path):
    """Start a JupyterLab of its own, with settings and folders of its own; yield its address."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(
        new_notebook(cells=[new_code_cell(cell) for cell in CELLS], metadata=kernel),
        tmp_path / "sphere.ipynb",
    )
    port = free_port()
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "spaces"),
        "OMP_NUM_THREADS": "1",
    }
    log = (tmp_path / "lab.log").open("w")
    env = {k: v for k, v in os.environ.items() if k != "SKYTUTOR_STATIC"} | own
    process = subprocess.Popen(
        lab_command(tmp_path, port), stdout=log, stderr=subprocess.STDOUT, env=env, cwd=tmp_path
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_for(address, process, tmp_path / "lab.log")
        yield address
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def run_cell(page, k):
    """Run a cell and wait for its end.

    Until the kernel is connected JupyterLab forgets the wish, so it is said again.
    """
    cell = page.locator(".jp-CodeCell").nth(k)
    prompt = """([k, mark]) => document.querySelectorAll('.jp-CodeCell')[k]
        .querySelector('.jp-InputPrompt').textContent.match(mark)"""
    for _ in range(20):
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        try:
            page.wait_for_function(prompt, arg=[k, r"\[[\d*]+\]"], timeout=2000)
            break
        except TimeoutError:
            continue
    page.wait_for_function(prompt, arg=[k, r"\[\d+\]"], timeout=60_000)
    return cell


def assert_it_turns_until_touched(page, cell, view):
    """Check that a sphere begins to turn when Python says so, and that a press ends it for both."""
    page.emulate_media(reduced_motion="no-preference")
    run_cell(page, 4)
    stage = cell.locator(".sky-stage")
    stage.scroll_into_view_if_needed()
    page.wait_for_function(f"{view}.get('lon') > 102", timeout=30_000)
    assert page.evaluate(f"{view}.model.get('lon')") == 100, "each frame went to the kernel"
    stage.dispatch_event("pointerdown", {"pointerType": "touch"})
    stage.dispatch_event("pointercancel", {"pointerType": "touch"})
    page.wait_for_timeout(1500)
    at = page.evaluate(f"{view}.get('lon')")
    printed = run_cell(page, 5).locator(".jp-OutputArea-output").inner_text()
    assert f"auto_turn False lon {at:.3f}" in printed and at > 102


def test_kernel_and_page_tell_each_other(browser, lab):
    with Visit(browser, lab) as visit:
        page = visit.page
        page.goto(lab + "lab/tree/sphere.ipynb", wait_until="load", timeout=120_000)
        page.wait_for_selector(".jp-CodeCell .cm-content", timeout=120_000)
        page.wait_for_selector("text=/ipykernel. . Idle/", timeout=120_000)
        first = run_cell(page, 0)
        stage = first.locator(".sky-stage")
        stage.wait_for(timeout=60_000)
        page.wait_for_function(
            f"{OUTPUT}.some(el => el.sphere && el.sphere.painter)", timeout=60_000
        )
        box = stage.bounding_box()
        x = box["x"] + box["width"] / 2
        y = box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 50, y + 20)
        page.mouse.up()
        page.mouse.click(x + 30, y)
        read = first.locator(".sky-read").inner_text()
        page.wait_for_timeout(1500)
        printed = run_cell(page, 1).locator(".jp-OutputArea-output").inner_text()
        pattern = r"lon (\S+) lat (\S+) zoom (\S+) pixel (\S+) seen (.*)"
        lon, lat, zoom, pixel, seen = re.search(pattern, printed).groups()
        assert float(lon) > 5 and float(lat) > 2 and zoom == "1.00"
        assert int(pixel) >= 0 and seen == f"[{pixel}]"
        assert f"pixel {pixel} (RING)" in read and f"{float(pixel):g} K" in read
        run_cell(page, 2)
        first.get_by_role("button", name="Controls").click()
        first.locator(".sky-summary", has_text="from 0 to 1,530").wait_for(timeout=30_000)
        view = f"{OUTPUT}.find(el => el.sphere).sphere"
        got = page.evaluate(f"['lon', 'lat', 'projection', 'nested'].map(k => {view}.get(k))")
        import healpy

        assert got == [100, 30, "mollweide", healpy.ring2nest(8, 77)]
        assert first.locator("select").first.input_value() == "mollweide"
        assert first.locator(".sky-summary").is_visible()
        tool = run_cell(page, 3)
        tool.locator(".sky-stage").wait_for(timeout=60_000)
        text = tool.locator(".sky-summary").inner_text()
        handle = tool.locator(".noUi-handle").first
        handle.focus()
        for _ in range(8):
            page.keyboard.press("ArrowRight")
        changed = """text => document.querySelectorAll('.jp-CodeCell')[3]
            .querySelector('.sky-summary').textContent !== text"""
        page.wait_for_function(changed, arg=text, timeout=20_000)
        assert_it_turns_until_touched(page, first, view)
        assert not visit.foreign
        assert not [error for error in visit.errors if "sky" in error.lower()]
