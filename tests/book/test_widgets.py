"""Widgets of an executed notebook show on the static page.

The page is made with the book's own settings, and asks no other host.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from bookserver import CHROMIUM, NO_BROWSER, ROOT, Visit, serve
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytestmark = [pytest.mark.built, pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)]

SLIDER = "import ipywidgets\nipywidgets.IntSlider(value=7, description='nside $2^k$')"
ANY = '''import anywidget, traitlets
class Counter(anywidget.AnyWidget):
    _esm = """export default {render({model, el}) {
        const button = document.createElement("button");
        button.textContent = "count " + model.get("value");
        button.onclick = () => {
            model.set("value", model.get("value") + 1);
            button.textContent = "count " + model.get("value");
        };
        el.append(button); }}"""
    value = traitlets.Int(41).tag(sync=True)
Counter()'''
ICON = "ipywidgets.Button(description='go', icon='check')"


def build(folder: Path) -> Path:
    """Build a book of one page that has three widgets, with the settings of ours.

    Returns its HTML folder.
    """
    book = folder / "book"
    shutil.copytree(ROOT / "book/_static", book / "_static")
    shutil.copy(ROOT / "book/references.bib", book)
    notebook = new_notebook(
        cells=[new_markdown_cell("# Widgets\n\n$x^2$"), *map(new_code_cell, (SLIDER, ANY, ICON))]
    )
    nbformat.write(notebook, book / "intro.ipynb")
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())
    extensions = str(ROOT / "book/_ext")
    settings["sphinx"]["local_extensions"] = {"execute": extensions, "skybook": extensions}
    # Scripts load in the order of the settings.
    (folder / "_config.yml").write_text(yaml.safe_dump(settings, sort_keys=False))
    (folder / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(book),
        "--config",
        str(folder / "_config.yml"),
        "--toc",
        str(folder / "_toc.yml"),
        "--path-output",
        str(folder),
        "-W",
        "-n",
        "--keep-going",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "_build/html"


def test_slider_and_anywidget_work_without_a_kernel(browser, tmp_path):
    server, address = serve(build(tmp_path))
    try:
        with Visit(browser, address) as visit:
            page = visit.open("intro.html")
            handle = page.locator(".noUi-handle")
            assert handle.count() == 1 and "nside" in handle.get_attribute("aria-label")
            assert page.locator(".widget-readout").inner_text() == "7"
            button = page.get_by_text("count 41")
            button.click()
            assert page.get_by_text("count 42").is_visible(), "the widget's own script does not run"
            assert page.locator(".jupyter-button .fa-check").count() == 1
            assert not visit.foreign and not visit.missing and not visit.errors, (
                visit.foreign,
                visit.missing,
                visit.errors,
            )
    finally:
        server.shutdown()
        server.server_close()
