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
def readers(browser):
    """Hold the reader whom the tests that take `reader` hand on, as long as there is a browser."""
    kept = []
    yield kept
    for reader in kept:
        reader.context.close()


@pytest.fixture
def reader(request, readers, browser, site):
    """Return a reader of the book who has not been here; a new page in a new window costs seconds.

    A test that fails leaves its page in any state: nobody reads on in it.
    """
    failed = request.session.testsfailed
    one = readers.pop() if readers else Visit(browser, site)
    one.again()
    yield one
    if request.session.testsfailed > failed:
        one.context.close()
    else:
        readers.append(one)
