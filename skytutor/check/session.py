"""What the checks of this session measured, and how a notebook's cell shows those that passed."""

import html
import sys
import threading
import weakref
from typing import Any

__all__ = ["forget", "measured", "passed", "show"]

# One green that stands out from white and from a notebook's dark theme; the words keep the page's
# own colour, which is readable on either.
GREEN = "#2e9e5b"


class _Session:
    """Numbers by label, lines not yet shown, and the shells that will show them."""

    def __init__(self) -> None:
        self.numbers: dict[str, int | float] = {}
        self.lines: list[str] = []
        self.shells: weakref.WeakSet[Any] = weakref.WeakSet()
        # Checks may be called from several threads of a cell.
        self.lock = threading.Lock()


_SESSION = _Session()


def passed(label: str, line: str, *, value: int | float | None = None) -> None:
    """Record a check that holds: shown with its cell in a notebook, printed elsewhere.

    Arguments:
        label: says what was measured.
        line: what the check says of it.
        value: the number, if it is one. It takes the place of the label's last one, and so does
            None: what an earlier check measured is out of date.
    """
    shell = _shell()
    forget(label)
    with _SESSION.lock:
        if value is not None:
            _SESSION.numbers[label] = value
        if shell is not None:
            _SESSION.lines.append(line)
            if shell not in _SESSION.shells:
                shell.events.register("post_run_cell", _show_lines)
                _SESSION.shells.add(shell)
    if shell is None:
        print(f"ok: {line}")


def forget(label: str) -> None:
    """Drop the number of a label, as every check does before it begins.

    A check that fails then leaves no number behind, whatever an earlier one measured.

    Arguments:
        label: of the check.
    """
    with _SESSION.lock:
        _SESSION.numbers.pop(label, None)


def measured() -> dict[str, int | float]:
    """Return the last number of each label whose check passed in this session.

    Returns:
        a copy: label to number.
    """
    with _SESSION.lock:
        return dict(_SESSION.numbers)


def show(page: str, plain: str) -> None:
    """Show HTML where a notebook can, and plain text elsewhere.

    Arguments:
        page: HTML.
        plain: the same in plain text.
    """
    if _shell() is None:
        print(plain)
        return
    from IPython.display import display

    display({"text/html": page, "text/plain": plain}, raw=True)


def _shell() -> Any | None:
    """Return the running IPython shell, from any thread; None where there is none."""
    ipython = sys.modules.get("IPython")
    find = getattr(ipython, "get_ipython", None)
    return find() if find else None


def _show_lines(result: Any = None) -> None:
    """Show the checks that passed since the last cell as one line that opens."""
    with _SESSION.lock:
        lines = list(_SESSION.lines)
        _SESSION.lines.clear()
    if not lines:
        return
    title = f"{len(lines)} check{'s' if len(lines) > 1 else ''} passed"
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    show(
        f'<details class="checks" style="border-left:0.25em solid {GREEN};padding:0 0.6em">'
        f'<summary style="cursor:pointer">{title}</summary><ul>{items}</ul></details>',
        "\n".join([title, *(f"  {line}" for line in lines)]),
    )
