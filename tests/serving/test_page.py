"""`/` and its files: their policy, and the form that asks for the key."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.servers import served


@pytest.fixture(scope="module")
def locked(writer: Path) -> Iterator[str]:
    with served(writer, key="open sesame") as at:
        yield at


def test_the_page_and_its_files_let_in_nothing_from_elsewhere(address: str) -> None:
    for path in ("/", "/page/main.js", "/page/page.css", "/page/vendor/source-serif.woff2"):
        answer = httpx.get(address + path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert "unsafe" not in policy and "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_file_is_sent_again_only_when_it_has_changed(address: str) -> None:
    first = httpx.get(f"{address}/page/main.js")
    known = {"If-None-Match": first.headers["etag"]}
    assert httpx.get(f"{address}/page/main.js", headers=known).status_code == 304


@pytest.mark.parametrize(
    "path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page/vendor/", "/page/"]
)
def test_nothing_beside_the_page_is_sent(address: str, path: str) -> None:
    assert httpx.get(address + path).status_code == 404


def test_a_model_alone_has_no_runs(address: str) -> None:
    answer = httpx.get(f"{address}/runs")
    assert answer.status_code == 200 and answer.json()["runs"] == [] and not answer.json()["root"]
    missing = httpx.get(f"{address}/runs/tiny")
    assert missing.status_code == 404 and "no runs" in missing.json()["error"]["message"]


def test_without_the_key_a_person_gets_a_form_and_a_program_json(locked: str) -> None:
    form = httpx.get(locked, headers={"Accept": "text/html"})
    assert form.status_code == 401 and "<form" in form.text
    style = re.search(r"<style>(.*?)</style>", form.text, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in form.headers["content-security-policy"]
    assert httpx.get(locked).json()["error"]["code"] == "invalid_api_key"
    for path in ("/page/main.js", "/runs", "/inspect"):
        assert httpx.get(locked + path, headers={"Accept": "text/html"}).status_code == 401


def test_the_key_goes_into_a_cookie_and_out_of_the_address(locked: str) -> None:
    answer = httpx.get(f"{locked}/?key=open+sesame")
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    opened = httpx.get(locked, cookies=answer.cookies)
    assert opened.status_code == 200 and "main.js" in opened.text
