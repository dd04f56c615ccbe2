"""What a notebook shows, saved as a page of its own that can be sent and opened anywhere."""

import html
import os
import re
from pathlib import Path
from typing import Any

from skytutor.files import write_atomic
from skytutor.widgets.words import plain_text

__all__ = ["PLAIN", "SavedPage", "as_ascii", "document"]

# MathJax, of whatever version, sets no equation in an element of these classes: a title is text,
# dollar signs and all.
PLAIN = ("tex2jax_ignore", "mathjax_ignore")
# Room at the sides, and the reader's own choice of a light or a dark page.
_STYLE = (
    "html{color-scheme:light dark}"
    "body{max-width:70rem;margin:1rem auto;padding:0 1rem;font-family:system-ui,sans-serif}"
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


def as_ascii(text: str) -> str:
    """Write letters beyond ASCII as HTML's numbers for them.

    Text then reads right in whatever encoding a server or a mail program takes a page to be.
    Scripts and styles must hold none: there the numbers mean nothing.

    Arguments:
        text: HTML.

    Example:
        >>> as_ascii("5 \N{MICRO SIGN}K")
        '5 &#181;K'
    """
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def document(body: str, *, title: str, lang: str = "en") -> str:
    """Return a whole page that asks for nothing else, not even for an icon.

    Arguments:
        body: HTML of what the page shows.
        title: of the page, plain text; it stands in the browser's tab.
        lang: language of its words, such as "en" or "pt-BR".

    Raises:
        ValueError: a blank title, or a language that is none.

    Example:
        >>> document("<p>Sky.</p>", title="Sky").splitlines()[:2]
        ['<!doctype html>', '<html lang="en">']
    """
    title = " ".join(plain_text("title", title).split())
    if not title:
        raise ValueError("title must be text that is not blank")
    if not isinstance(lang, str) or not _LANGUAGE.fullmatch(lang):
        raise ValueError(f"lang must be the code of a language, such as 'en', got {lang!r}")
    return (
        f'<!doctype html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{as_ascii(html.escape(title))}</title>\n"
        f'<link rel="icon" href="data:,">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


class SavedPage:
    """Something that a notebook shows as HTML and that can be saved as a page."""

    alt: Any

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows."""
        raise NotImplementedError

    def _page_title(self) -> str:
        """Return the title of the page where none is given: the first sentence of the words."""
        return re.split(r"(?<=\.)\s", str(self.alt).strip())[0][:120]

    def save(self, path: str | os.PathLike, *, title: str = "", lang: str = "en") -> None:
        """Save what is shown as a page that needs no kernel, no network and no other file.

        It is written whole or not at all; a file that is there is replaced.

        Arguments:
            path: of the page, such as "sky.html".
            title: of the page, in the browser's tab; "" for what the picture says of itself.
            lang: language of its words, such as "en".

        Raises:
            TypeError: a path that is none.
            ValueError: a language that is none, or text that UTF-8 cannot write.
            skytutor.files.CheckpointError: the page cannot be written; what was there is untouched.
        """
        if not isinstance(path, (str, os.PathLike)) or not str(path).strip():
            raise TypeError(f"path must be the name of a file, got {path!r}")
        page = document(
            self._repr_html_(), title=title or self._page_title() or "Sky Tutor", lang=lang
        )
        write_atomic(Path(path), page.encode("utf-8"))
