"""A notebook made into HTML by nbconvert shows its spheres without a network.

It was run by nbconvert, or saved by JupyterLab.
"""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bookserver import CHROMIUM, NO_BROWSER, Visit, serve
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from spheres import picture, ready

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]
BIN = Path(sys.executable).parent
COMMANDS = {
    "module": [sys.executable, "-m", "nbconvert"],
    "jupyter": [str(BIN / "jupyter"), "nbconvert"],
    "program": [str(BIN / "jupyter-nbconvert")],
}
WIDGET = "application/vnd.jupyter.widget-view+json"
VIEW = """import numpy as np
from skytutor.widgets import view
view(np.arange(768.0), nside=8, order='ring', unit='K', title='Numbers')"""
EXPLORER = "from skytutor.widgets.explore import SpectrumExplorer\nSpectrumExplorer(nside=8)"


def notebook(folder, *cells):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    out = new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=kernel)
    nbformat.write(out, folder / "sphere.ipynb")
    return out


def convert(folder, command, *options):
    """Return the HTML of the notebook, made by a process of its own with settings of its own."""
    env = {k: v for k, v in os.environ.items() if k != "SKYTUTOR_STATIC"} | {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "OMP_NUM_THREADS": "1",
    }
    whole = [*command, *options, "--to", "html", "--output", "index.html", "sphere.ipynb"]
    done = subprocess.run(whole, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return (folder / "index.html").read_text(encoding="utf-8")


def assert_drawn(browser, folder, count):
    """Check that spheres are drawn in a browser that reaches no other host.

    The page of nbconvert asks some for scripts of its own.
    """
    server, address = serve(folder)
    with Visit(browser, address) as visit:
        visit.page.goto(address + "index.html", wait_until="load", timeout=120_000)
        ready(visit.page, count)
        assert picture(visit.page)[..., 3].max() == 255, "the canvas is empty"
        assert visit.page.locator(".sky-why").count() == 0
        assert not any("html-manager" in url for url in visit.foreign) or count > 1
        assert not [error for error in visit.errors if "sky" in error.lower()]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_notebook_that_nbconvert_runs(browser, tmp_path, command):
    notebook(tmp_path, VIEW)
    page = convert(tmp_path, command, "--execute")
    assert WIDGET not in page
    assert_drawn(browser, tmp_path, 1)


def test_the_tools_of_a_live_notebook_are_spheres_there(browser, tmp_path):
    notebook(tmp_path, VIEW, EXPLORER)
    page = convert(tmp_path, COMMANDS["module"], "--execute")
    assert f'<script type="{WIDGET}">' not in page and "One range of degrees alone" in page
    assert_drawn(browser, tmp_path, 2)


def test_a_notebook_saved_with_a_live_kernel(browser, tmp_path):
    """As JupyterLab saves it: the widget is named, and what it holds is not in the file.

    It also shows that nothing but nbconvert is taken for it.
    """
    client = NotebookClient(
        notebook(tmp_path, VIEW),
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    before = os.environ.pop("SKYTUTOR_STATIC", None)
    try:
        ran = client.execute()
    finally:
        if before is not None:
            os.environ["SKYTUTOR_STATIC"] = before
    assert {WIDGET, "text/html", "text/plain"} <= set(ran.cells[0].outputs[0].data)
    assert "widgets" not in ran.metadata
    nbformat.write(ran, tmp_path / "sphere.ipynb")
    convert(tmp_path, COMMANDS["module"])
    assert_drawn(browser, tmp_path, 1)
