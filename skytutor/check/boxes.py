"""A box with what the reader knows by now, and the numbers that were just measured."""

import html
import re

from skytutor.check.compare import brief
from skytutor.check.session import GREEN, measured, show

__all__ = ["so_far"]


def so_far(text: str) -> None:
    """Show a "So far" box whose numbers come from checks.

    A field of the text is the label of a check that passed in this session, followed by a colon
    and a format where one is wanted: ``{error of ours:.2f}``. A number in the box can then be
    nothing but what was measured. Braces that are no field are doubled.

    Arguments:
        text: one or two sentences with fields.

    Raises:
        TypeError: no text.
        ValueError: a field that is no label of a check that passed, or a format that does not fit.

    Example:
        >>> from skytutor import check
        >>> check.close("pi", 3.1416, 3.14159, tolerance=1e-4)
        ok: pi: 3.1416 (3.14159 within 0.0001)
        >>> check.so_far("The circumference is {pi:.2f} diameters.")
        So far: The circumference is 3.14 diameters.
    """
    if not isinstance(text, str):
        raise TypeError(f"so_far: a text with fields is wanted, got {brief(text)}")
    words = _fill(text)
    show(
        f'<div class="so-far" role="note" style="border:1px solid {GREEN};'
        f'border-left-width:0.3em;border-radius:0.3em;padding:0.5em 0.9em;margin:0.5em 0">'
        f"<strong>So far</strong><br>{html.escape(words)}</div>",
        f"So far: {words}",
    )


def _fill(text: str) -> str:
    """Return the text with a number in place of each field.

    Not `str.format`: a label may hold dots, colons and brackets.
    """
    numbers = measured()

    def number(match: re.Match[str]) -> str:
        field = match[1]
        if field is None:
            return match[0][0]  # a doubled brace
        label, colon, form = field, "", ""
        if label not in numbers:
            label, colon, form = field.rpartition(":")
        if label not in numbers:
            known = ", ".join(repr(name) for name in numbers) or "nothing"
            wanted = label if colon else field
            raise ValueError(f"so_far: no check has measured {wanted!r}; measured: {known}")
        try:
            return format(numbers[label], form)
        except ValueError as error:
            raise ValueError(f"so_far: the format of {match[0]!r} does not fit: {error}") from None

    return re.sub(r"\{\{|\}\}|\{([^{}]*)\}", number, text)
