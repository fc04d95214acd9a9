"""Chromium, as a person uses it: pages that may ask nothing but the server under test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def open_browser() -> Iterator[Any]:
    """Chromium; a test that needs it is skipped where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    os.environ.pop("DISPLAY", None)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def visit(
    browser: Any, address: str, expected: tuple[str, ...] = (), **options: Any
) -> Iterator[Any]:
    """A new page at an address. It fails where the page asks anything from elsewhere, or writes an
    error to its console that holds none of the `expected` words."""
    context = browser.new_context(
        **{"locale": "en", "viewport": {"width": 1360, "height": 860}, **options}
    )
    page = context.new_page()
    page.set_default_timeout(20_000)
    faults: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    context.close()
    own = urlsplit(address).netloc
    elsewhere = [url for url in asked if urlsplit(url).netloc not in (own, "")]
    assert not elsewhere, f"the page asked {elsewhere}"
    faults = [fault for fault in faults if not any(word in fault for word in expected)]
    assert not faults, faults
