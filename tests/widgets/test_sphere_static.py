"""Who started the kernel.

Nbconvert gets HTML alone, everything that shows live widgets gets the widget.
"""

import os
import sys

import pytest

from skytutor.widgets import model

BIN = "/venv/bin/"
NBCONVERT = {
    "script": [
        "/usr/bin/python3",
        BIN + "jupyter-nbconvert",
        "--execute",
        "--to",
        "html",
        "a.ipynb",
    ],
    "module": ["python", "-m", "nbconvert", "--execute", "a.ipynb"],
    "options before": [
        "/usr/bin/python3.12",
        "-W",
        "error",
        "-Xdev",
        "-X",
        "utf8",
        "-I",
        "-m",
        "nbconvert",
    ],
    "program": ["jupyter-nbconvert", "--execute", "a.ipynb"],
    "Windows": [
        r"C:\Program Files\Python\python.exe",
        r"C:\venv\Scripts\jupyter-nbconvert.exe",
        "a.ipynb",
    ],
}
OTHERS = {
    "JupyterLab": ["python", BIN + "jupyter-lab", "nbconvert"],
    "JupyterLab in a folder of that name": [
        "python",
        BIN + "jupyter-lab",
        "--notebook-dir=/home/me/jupyter-nbconvert",
    ],
    "jupyter": ["python", BIN + "jupyter", "lab", "-m", "nbconvert"],
    "VS Code": ["/usr/share/code/code", "--type=utility", "-m", "nbconvert"],
    "Colab": ["python3", "/usr/local/bin/colab-fileshim.py", "nbconvert"],
    "Colab's server": ["/usr/bin/python3", "/usr/local/bin/jupyter-notebook", "--debug"],
    "nbval": ["python", "-m", "pytest", "--nbval", "nbconvert.ipynb", "-k", "nbconvert"],
    "a shell": ["bash", "-c", "jupyter nbconvert --execute a.ipynb"],
    "nbclient": ["python", BIN + "jupyter-execute", "nbconvert.ipynb"],
    "Python alone": ["python"],
    "code": ["python", "-c", "import nbconvert"],
    "nobody": [],
}


@pytest.mark.parametrize("command", NBCONVERT.values(), ids=NBCONVERT.keys())
def test_nbconvert_is_known_by_its_command_line(monkeypatch, command):
    monkeypatch.setattr(model, "_parent_command", lambda: command)
    assert model._run_by_nbconvert.__wrapped__()


@pytest.mark.parametrize("command", OTHERS.values(), ids=OTHERS.keys())
def test_nothing_else_is_taken_for_it(monkeypatch, command):
    monkeypatch.setattr(model, "_parent_command", lambda: command)
    assert not model._run_by_nbconvert.__wrapped__()


def test_the_parent_is_the_one_that_jupyter_names(monkeypatch):
    import psutil

    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert model._parent_command() == psutil.Process().parent().cmdline()
    if os.name == "posix":
        monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
        assert model._parent_command() == psutil.Process().cmdline()


def test_a_launcher_between_the_two_is_skipped(monkeypatch):
    """On Windows the python.exe of a virtual environment starts another one."""
    import psutil

    class Process:
        commands = (
            ["python", "-m", "ipykernel_launcher"],
            ["python.exe", "-m", "ipykernel_launcher", "-f", "a"],
            ["python", "-m", "nbconvert"],
        )

        def __init__(self, k=0):
            self.k = k

        def parent(self):
            return Process(self.k + 1) if self.k + 1 < len(self.commands) else None

        def cmdline(self):
            return self.commands[self.k]

    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setattr(psutil, "Process", Process)
    assert model._run_by_nbconvert.__wrapped__()
    monkeypatch.setattr(Process, "commands", Process.commands[:2])
    assert model._parent_command() == []


def test_a_parent_that_cannot_be_asked_is_no_nbconvert(monkeypatch):
    import psutil

    def refuse(error):
        def ask():
            raise error

        monkeypatch.setattr(model, "_parent_command", ask)
        assert not model._run_by_nbconvert.__wrapped__()

    for error in (
        psutil.AccessDenied(1),
        psutil.NoSuchProcess(1),
        psutil.ZombieProcess(1),
        PermissionError(),
    ):
        refuse(error)
    monkeypatch.undo()
    for odd in ("4194304000", "9" * 40, "-1", "x", "\u00b2", ""):
        monkeypatch.setenv("JPY_PARENT_PID", odd)
        assert model._run_by_nbconvert.__wrapped__() is False
    monkeypatch.setitem(sys.modules, "psutil", None)  # importing it raises
    assert not model._run_by_nbconvert.__wrapped__()
