"""An option for nbval on the book's notebooks: what they show is kept for the build."""

import sys
from pathlib import Path


def pytest_addoption(parser):
    """Add the option."""
    parser.addoption(
        "--keep-executed",
        action="store_true",
        help="run the notebooks as the build runs them, and keep their outputs for it",
    )


def pytest_configure(config):
    """Let nbval keep outputs, if it is asked for."""
    if config.option.keep_executed:
        sys.path.insert(0, str(Path(__file__).parent / "_ext"))
        import nbkeep

        config.pluginmanager.register(nbkeep)
