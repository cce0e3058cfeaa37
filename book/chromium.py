"""The browser that prints the book and in which its pages are tested: the system's, else one from Playwright."""

import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REMEDY = ("Install Chromium (Debian: apt-get install chromium) or Google Chrome, or let Playwright fetch one: "
          ".venv/bin/playwright install chromium")


def launch(playwright):
    """A headless browser. Raises Playwright's Error if there is none."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    # A root user (containers, CI) has no sandbox; the pages are our own.
    return playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
