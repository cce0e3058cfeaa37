"""Where the built book and the browser are, what Ctrl-C does, and how many threads calculate."""

import os
import signal
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
# On arrays as small as the course's a second thread only waits; and what is calculated does not depend on the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, here and in the processes that tests start
sys.path.append(str(ROOT / "book"))  # its commands


def pytest_configure():
    """Ctrl-C interrupts, also where a shell has started the tests in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def book_config() -> dict:
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def html() -> Path:
    """The built book: ``make pages`` says which one, otherwise the one that ``make book`` built."""
    folder = ROOT / os.environ.get("DPBOOK_HTML", "_build/html")
    if not (folder / "index.html").exists():
        pytest.fail(f"{folder} has no index.html: build the book first, with `make book`, or run `make pages`")
    return folder


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium: the system's, else one that Playwright has downloaded."""
    from chromium import REMEDY, launch
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            chromium = launch(playwright)
        except Error as error:
            pytest.fail(f"no browser could be started ({error.message.splitlines()[0]}). {REMEDY}")
        yield chromium
        chromium.close()
