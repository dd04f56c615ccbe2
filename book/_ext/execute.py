"""Run the book's notebooks before Sphinx reads them: side by side, one thread each.

A notebook whose code cells, package, data, profile and packages are as they were is not run again:
`executed.py` keeps its results below `_build/executed`. When Sphinx asks for the source of a
notebook it gets the one with the outputs, so myst-nb's own execution is off.

As many notebooks run at a time as there are cores, or as the variable SKYTUTOR_JOBS says; those
that took longest begin. After a cell has failed no other notebook is started; those that run are
waited for, and their results are kept.
"""

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parent))
import costs
import executed
from executed import Result
from runs import CellFailed, Run, Stopped

# Threads that only wait for kernels, which are processes: the name of the setting is the reader's.
JOBS = "SKYTUTOR_JOBS"
UNKNOWN_S = float("inf")  # a notebook that never ran begins first
PROFILE = "the profile"  # among what a result depends on

say = logging.getLogger(__name__).info
warn = logging.getLogger(__name__).warning


def jobs() -> int:
    """Return how many notebooks may run at a time."""
    named = os.environ.get(JOBS, "")
    if not named:
        from skytutor.training import profile  # torch is loaded where it is needed

        return profile.cores()
    if not named.isdecimal() or int(named) < 1:
        raise ExtensionError(f"{JOBS} must be a whole number of at least 1, got {named!r}")
    return int(named)


def differing(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return the names of what a result depends on and is not as before."""
    return [name for name in now if before.get(name) != now[name]]


class Page:
    """A notebook of the book, its key, and its result once there is one."""

    def __init__(self, name: str, path: Path, others: dict[str, str]):
        self.name = name
        self.path = path
        self.notebook = nbformat.read(path, as_version=4)
        self.hashes = executed.made_from(self.notebook, others)
        self.key = executed.key(self.hashes)
        self.result: Result | None = None
        self.cached = False

    def changed(self, kept: list[Result]) -> str:
        """Say what is not as it was when the notebook ran last."""
        if not kept:
            return "not run yet"
        before = kept[0].made_from
        return f"changed: {', '.join(differing(before, self.hashes))}"


class Executor:
    """Runs what must be run, and hands Sphinx the notebooks with their outputs."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.running: set[Run] = set()
        self.lock = threading.Lock()
        self.stop = False
        self.profile = ""

    def prepare(self, app: Sphinx, env, names: list[str]) -> None:
        """Run the notebooks among the documents that are about to be read."""
        paths = {name: Path(env.doc2path(name)) for name in names}
        notebooks = {name: path for name, path in paths.items() if path.suffix == ".ipynb"}
        if not notebooks:
            return
        self.cache = executed.Cache(Path(app.srcdir, app.config.executed_folder).resolve())
        self.timeout = app.config.nb_execution_timeout
        try:
            others = executed.ingredients()
        except ValueError as error:  # a profile that is none
            raise ExtensionError(str(error)) from error
        self.profile = others.get(PROFILE, "").partition(" ")[0]
        for name, path in notebooks.items():
            self.pages[name] = Page(name, path, others)
        missing = []
        for page in self.pages.values():
            page.result = self.cache.read(page.name, page.key)
            page.cached = page.result is not None
            if not page.cached:
                missing.append(page)
        self.announce(len(missing))
        if missing:
            self.run_all(sorted(missing, key=self.expected, reverse=True))

    def announce(self, missing: int) -> None:
        """Say how many notebooks there are and which need not run."""
        say(f"notebooks: {len(self.pages)}, to run: {missing}, at a time: {jobs()}")
        for page in self.pages.values():
            if page.result:
                say(f"  {page.name}: cached, took {page.result.seconds:.0f} s when it ran")

    def expected(self, page: Page) -> float:
        """Return how long a page will take, in seconds, as far as is known.

        What it took in this profile counts first, then what was measured in it, then the longest
        time there is.
        """
        profile = page.hashes.get(PROFILE)
        for result in self.cache.results(page.name):
            if result.made_from.get(PROFILE) == profile:
                return result.seconds
        everything = json.loads(costs.RESULTS.read_text()) if costs.RESULTS.is_file() else {}
        measured = {name: run["seconds"] for name, run in everything.get(page.name, {}).items()}
        longest = max(measured.values(), default=UNKNOWN_S)
        return measured.get(self.profile, longest)

    def run_all(self, pages: list[Page]) -> None:
        """Run `pages` side by side; leave with a report if a cell fails."""
        # Else each kernel of a new machine would look for the fonts, and say so in its page.
        import matplotlib.font_manager  # noqa: F401

        reports = []
        with ThreadPoolExecutor(jobs()) as pool:
            futures = [pool.submit(self.run_one, page) for page in pages]
            try:
                for future in as_completed(futures):
                    try:
                        future.result()
                    except CellFailed as failure:
                        reports.append(str(failure))
                    except Stopped:
                        pass
            except BaseException:  # Ctrl-C, or a fault of ours: no kernel outlives the build
                self.stop = True
                with self.lock:
                    for run in self.running:
                        run.kill()
                raise
        if reports:
            # Not a SphinxError: Jupyter Book would print its own calls after the report.
            rule = "\n" + "=" * 80 + "\n"
            raise SystemExit(rule + rule.join(reports) + rule + "The book was not built.")

    def run_one(self, page: Page) -> None:
        """Run one page, or wait until another build has run it."""
        if self.stop:
            raise Stopped

        def waiting() -> None:
            say(f"  {page.name}: another build runs it, waiting")

        with self.cache.alone(page.name, page.key, stopped=lambda: self.stop, waiting=waiting):
            page.result = self.cache.read(page.name, page.key)
            if page.result:
                say(f"  {page.name}: done by another build")
                return
            say(f"  {page.name}: started ({page.changed(self.cache.results(page.name))})")
            run = Run(
                page.name,
                nbformat.from_dict(page.notebook),
                folder=page.path.parent,
                timeout=self.timeout,
            )
            with self.lock:
                if self.stop:
                    raise Stopped
                self.running.add(run)
            try:
                notebook, seconds = run.execute()
                page.result = Result(notebook, seconds, time.time(), page.hashes)
            except CellFailed:
                self.stop = True  # here, since this thread takes the next notebook
                say(f"  {page.name}: FAILED; the report comes when the others are done")
                raise
            finally:
                with self.lock:
                    self.running.discard(run)
            self.keep(page)

    def keep(self, page: Page) -> None:
        """Keep the result of a page, if what it was made from is still what it was.

        Else the page is shown all the same, and a warning says that nobody knows what made it.
        """
        say(f"  {page.name}: done in {page.result.seconds:.0f} s")
        now = executed.made_from(page.notebook, executed.ingredients())
        if now != page.hashes:
            names = ", ".join(differing(page.hashes, now))
            warn(
                f"{page.name}: changed while it ran: {names}. Its outputs are not kept and may be "
                "those of before, of after or of both; build again"
            )
            return
        self.cache.write(page.name, page.key, page.result)

    def replace(self, app: Sphinx, name: str, source: list[str]) -> None:
        """Give Sphinx the notebook with its outputs, and the status page's table its row."""
        page = self.pages.get(name)
        if page is None or page.result is None:
            return
        source[0] = executed.text(executed.put_into(page.notebook, page.result))
        row = {
            "mtime": page.result.date,
            "runtime": page.result.seconds,
            "method": "cached" if page.cached else "executed",
            "succeeded": True,
            "error": None,
            "traceback": None,
        }
        NbMetadataCollector.set_exec_data(app.env, name, row)


def check_settings(app: Sphinx, config) -> None:
    """Refuse to run notebooks twice."""
    if config.nb_execution_mode != "off":
        raise ExtensionError(
            "execute: execute_notebooks must be 'off' in _config.yml, where this extension runs "
            f"the notebooks; got {config.nb_execution_mode!r}"
        )


def setup(app: Sphinx) -> dict:
    """Connect the executor to Sphinx's events."""
    executor = Executor()
    app.add_config_value("executed_folder", "../_build/executed", "")
    app.connect("config-inited", check_settings)
    app.connect("env-before-read-docs", executor.prepare)
    # Before others that look at a notebook's source.
    app.connect("source-read", executor.replace, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
