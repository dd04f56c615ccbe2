"""What every test shares: no network, repeatable examples, a fair share of the cores, data."""

import gc
import hashlib
import os
import signal
import sys
import threading
from pathlib import Path

import hypothesis
import pytest

LOOPBACK = "127.0.0.1,::1,localhost"
CI = bool(os.environ.get("CI"))

# One thread for each worker: two of them on a busy machine wait for each other most of the time.
# Torch reads this when it is imported, child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# pytest-socket guards this process alone. Kernels, `skytutor` commands and training processes that
# a test starts are sent to a proxy that nobody serves instead, so a download fails there as it does
# here.
for _name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
    os.environ[_name] = "http://127.0.0.1:9"
os.environ["no_proxy"] = os.environ["NO_PROXY"] = LOOPBACK

# A shell lets commands in the background ignore Ctrl-C, and `nohup` has SIGHUP ignored; child
# processes would inherit it. The tests that send these signals mean a process as it usually is.
if threading.current_thread() is threading.main_thread():
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for _signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(_signum) is signal.SIG_IGN:
            signal.signal(_signum, signal.SIG_DFL)

# A time limit on a machine with two busy cores fails tests at random. CI draws the same examples
# every time.
hypothesis.settings.register_profile("skytutor", deadline=None, derandomize=CI, print_blob=not CI)
hypothesis.settings.load_profile("skytutor")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Block every host but this machine: gloo, kernels and the browser tests talk to themselves."""
    if not config.getoption("--allow-hosts") and not config.getoption("--force-enable-socket"):
        config.option.allow_hosts = LOOPBACK
    # asyncio and torch.multiprocessing wake their own threads through these.
    config.option.allow_unix_socket = True
    # Warnings are errors here, and pytest-socket warns before it raises. Let its error through.
    config.addinivalue_line("filterwarnings", "ignore:A test tried to use socket")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for real data, before pytest chooses by marks.

    `make test-data` runs these again.
    """
    for item in items:
        if "mnist" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what the collection made: it lives to the end.

    These are a million objects, which every full collection (some tests ask for one) and everything
    that looks through all objects would go over.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _repeatable_weights() -> None:
    """Start torch's global generator anew for each test.

    Networks draw their weights from it: else they would depend on the tests that ran before on the
    same worker, and a test could fail by chance.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def mnist() -> dict[str, Path]:
    """Return the four MNIST files by the last part of their name.

    Where they are not, the test is skipped, and says what is missing; under `make test-data` it
    fails.
    """
    from skytutor.data import registry

    if not registry.have("mnist"):
        missing = pytest.fail if os.environ.get("SKYTUTOR_NEED_DATA") else pytest.skip
        missing(
            f"the real MNIST files are not in {registry.folder()}: "
            "run `make data` or set SKYTUTOR_DATA"
        )
    entries = registry.groups()["mnist"]
    return {entry.name.split("/")[-1]: registry.path(entry.name) for entry in entries}


@pytest.fixture
def one_file_registry(tmp_path, monkeypatch):
    """Return a function that makes `content` the one file of the registry.

    The data folder does not exist yet.
    """
    import pooch

    from skytutor.data import registry

    monkeypatch.setenv("SKYTUTOR_DATA", str(tmp_path / "data"))
    pooch.get_logger().setLevel("WARNING")

    def make(content: bytes, url: str = "http://127.0.0.1:9/a.bin") -> Path:
        name = "digits/a.bin"
        sha256 = hashlib.sha256(content).hexdigest()
        entry = registry.Entry(name, url, sha256, len(content), "CC0", "us", "digits", small=True)
        monkeypatch.setattr(registry, "ENTRIES", {name: entry})
        return tmp_path / "data" / name

    return make


@pytest.fixture
def one_thread():
    """Let one thread compute what is compared bit by bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
