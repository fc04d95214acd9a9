"""The page: what is on the screen, kept as one HTML file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OpenPage = Callable[..., Any]
HOSTILE = "The old king <img src=x onerror=alert(1)> sat."


def settle(page: Any) -> None:
    page.wait_for_selector("main[aria-busy=false]")


def save(page: Any, to: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save").click()
    download.value.save_as(to)
    return to


@pytest.mark.parametrize(
    ("model", "view"), [("tales", "write"), ("tales", "runs"), ("chat", "chat")]
)
def test_the_saved_page_needs_nothing_else(
    open_page: OpenPage, browser: Any, tmp_path: Path, model: str, view: str
) -> None:
    page = open_page(model, view)
    if view == "write":
        page.get_by_role("textbox", name="The text").fill(HOSTILE)
        settle(page)
    if view == "runs":
        page.wait_for_selector(".chart canvas")
    settle(page)
    shown = page.locator("main h2, main th, .place, .odds .row .value").all_inner_texts()
    file = save(page, tmp_path / "saved.html")
    content = file.read_text(encoding="utf-8")
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|<link|<form|<iframe", content)
    context = browser.new_context(
        java_script_enabled=False, offline=True, viewport={"width": 1360, "height": 860}
    )
    saved = context.new_page()
    asked: list[str] = []
    saved.on("request", lambda request: asked.append(request.url))
    saved.goto(file.as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert saved.locator("main h2, main th, .place, .odds .row .value").all_inner_texts() == shown
    assert "repeat what it was trained on" in saved.locator("footer").inner_text()
    assert saved.locator("button, textarea, input, select, nav").count() == 0
    if view == "write":
        assert saved.locator(".mirror").inner_text().rstrip("\u200b\n") == HOSTILE
        assert saved.locator(".mirror [data-token]").count() > 5
    if view == "runs":
        assert saved.locator(".chart img").count() == 1
    context.close()


def test_the_saved_page_is_in_the_language_and_theme_that_was_shown(
    open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page("tales", "write", locale="zh-CN")
    page.locator(".theme").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="保存").click()
    content = Path(download.value.path()).read_text(encoding="utf-8")
    assert '<html lang="zh-CN" data-theme="light">' in content and "由 nextword 保存" in content
