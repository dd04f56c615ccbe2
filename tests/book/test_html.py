"""The built pages without a browser: links, addresses, pictures."""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from bookserver import HTML, NO_BOOK
from bs4 import BeautifulSoup

PAGES = sorted(p for p in HTML.rglob("*.html") if "_static" not in p.parts) if HTML.is_dir() else []

pytestmark = [pytest.mark.built, pytest.mark.skipif(not PAGES, reason=NO_BOOK)]


@pytest.fixture(scope="module", params=PAGES, ids=lambda p: p.relative_to(HTML).as_posix())
def path(request):
    """Return each page in turn: all tests of a page, then those of the next."""
    return request.param


@pytest.fixture(scope="module")
def soup(path):
    """Return the page as a tree, which takes a fifth of a second to make."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


class Ids(HTMLParser):
    """Collects the places of a page that a link may lead to, without a tree of it."""

    def __init__(self):
        super().__init__()
        self.found = {"", "top"}

    def handle_starttag(self, tag, attrs):
        self.found.update(value for key, value in attrs if key == "id")


@cache
def anchors(path: Path) -> set[str]:
    ids = Ids()
    ids.feed(path.read_text(encoding="utf-8"))
    return ids.found


def well_formed(url: str) -> bool:
    """Tell whether an address of another host can be one.

    It has a scheme, a host with a dot, and nothing that a typing slip leaves behind.
    """
    parts = urlsplit(url)
    return bool(
        parts.scheme in ("http", "https")
        and re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.hostname or "")
        and not re.search(r"[\s<>\"{}]", url)
        and not re.search(r"[.,;]$|//", parts.path)
    )


def test_links(path, soup):
    faults = []
    for link in soup.find_all("a", href=True):
        href = link["href"]
        if urlsplit(href).scheme in ("http", "https"):
            faults += [f"misshapen address {href}"] * (not well_formed(href))
        elif not href.startswith(("mailto:", "javascript:")):
            target, anchor = urldefrag(href)
            there = (path.parent / unquote(target)).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file():
                faults.append(f"{href} leads nowhere")
            elif there.suffix == ".html" and unquote(anchor) not in anchors(there):
                faults.append(f"{href}: no such place on that page")
    assert not faults, "\n".join(faults)


def test_a_cell_shows_one_picture_at_most(soup):
    for output in soup.select(".cell_output"):
        # The copy for the dark theme is the same picture with the same words.
        # Both images of `ImageSwipe` have words of their own.
        assert len(output.select("img:not(.only-dark):not(.sky-swipe img)")) <= 1, (
            "a cell made several pictures; alt text belongs to one"
        )


def test_no_warning_and_no_path_of_the_builder_in_an_output(soup):
    for output in soup.select(".cell_output"):
        text = output.get_text()
        assert "Warning:" not in text and "Traceback" not in text, text[:300]
        assert str(Path(__file__).parents[2]) not in text, text[:300]


def test_every_script_and_style_comes_with_the_book(soup):
    for tag in soup.find_all(["script", "link", "img", "iframe", "source"]):
        address = tag.get("src") or ""
        if not address and tag.name == "link" and tag.get("rel") != ["canonical"]:
            address = tag.get("href") or ""
        assert not urlsplit(address).netloc, f"the page loads {address}"


@pytest.mark.parametrize(
    "url, sound",
    [
        ("https://arxiv.org/abs/2010.11661", True),
        ("https://mybinder.org/v2/gh/a/b/main?urlpath=lab/tree/c.ipynb", True),
        ("https://github.com/a/b/issues/new?body=Write%20here.", True),
        ("https://arxiv.org/abs/2010.11661.", False),
        ("https://localhost/a", False),
        ("http://a.org//b", False),
        ("https://a.org/{{ name }}", False),
    ],
)
def test_well_formed(url, sound):
    assert well_formed(url) is sound
