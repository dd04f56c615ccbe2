"""One browser and one server for all tests of a process."""

import pytest
from bookserver import CHROMIUM, HTML, NO_BOOK, NO_BROWSER, serve


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip(NO_BROWSER)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def site():
    if not (HTML / "index.html").is_file():
        pytest.skip(NO_BOOK)
    server, address = serve(HTML)
    yield address
    server.shutdown()
    server.server_close()
