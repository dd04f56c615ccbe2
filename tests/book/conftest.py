"""One browser and one server for all tests of a process."""

import pytest
from bookserver import CHROMIUM, HTML, NO_BOOK, NO_BROWSER, NO_HOSTS, Lasting, Visit, serve


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip(NO_BROWSER)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader", NO_HOSTS]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def site():
    if not (HTML / "index.html").is_file():
        pytest.skip(NO_BOOK)
    server, address = serve(HTML, Lasting)
    yield address
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def readers(browser, site):
    """Hold the one reader of all tests that take `reader`."""
    kept = [Visit(browser, site)]
    yield kept
    kept[0].context.close()


@pytest.fixture
def reader(readers, browser, site):
    """Return a reader of the book who has not been here; a new page in a new window costs seconds.

    After a page that crashed it is another one.
    """
    from playwright.sync_api import Error

    try:
        readers[0].again()
    except Error:
        readers[0].context.close()
        readers[0] = Visit(browser, site)
    return readers[0]
