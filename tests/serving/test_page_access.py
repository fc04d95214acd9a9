"""The page for everyone: screen readers, keyboards, phones, both languages, no network, a key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import visit
from support.runs_to_serve import served_runs

import nextword

OpenPage = Callable[..., Any]
FILES = Path(nextword.__file__).parent / "serving" / "page"
AXE = (Path(__file__).parents[1] / "support" / "axe" / "axe.min.js").read_text(encoding="utf-8")
VIEWS = [
    ("tales", "write"),
    ("tales", "read"),
    ("gaps", "fill"),
    ("chat", "chat"),
    ("reviews", "predict"),
    ("qa", "predict"),
    ("tales", "runs"),
]
PHONE = {"viewport": {"width": 375, "height": 740}}


def settle(page: Any) -> None:
    page.wait_for_selector("main[aria-busy=false]")


def faults(page: Any, *rules: str) -> list[str]:
    """What axe-core finds wrong with a page, by all its rules or by some."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found = page.evaluate("rules => axe.run(rules.length ? { runOnly: rules } : {})", list(rules))
    return [
        f"{fault['id']}: {fault['help']}: {[node['html'][:120] for node in fault['nodes'][:3]]}"
        for fault in found["violations"]
    ]


def use(page: Any, view: str) -> None:
    """Do in a view what brings its parts to light."""
    if view in ("write", "read", "fill"):
        page.get_by_role("textbox", name="The text").fill("The old king sat on the river.")
        settle(page)
        if view == "write":
            page.keyboard.press("Alt+ArrowLeft")
            settle(page)
            page.locator(".odds .row:not(.active)").first.click()
            page.wait_for_selector(".branches")
    elif view == "chat":
        page.get_by_label("Your message").fill("What do bees make?")
        page.keyboard.press("Enter")
        page.wait_for_selector(".actions-of")
    elif view == "predict":
        for field in page.get_by_role("textbox").all():
            field.fill("The room was cold.")
        page.wait_for_selector(".panel .verdict")
    settle(page)


@pytest.mark.parametrize(("model", "view"), VIEWS)
def test_axe_finds_nothing_wrong(open_page: OpenPage, model: str, view: str) -> None:
    page = open_page(model, view)
    use(page, view)
    assert not faults(page)
    page.emulate_media(color_scheme="dark")
    assert not faults(page, "color-contrast")
    if view in ("write", "fill"):
        for panel in ("Layers", "Source"):
            page.get_by_role("radio", name=panel).click()
            settle(page)
            assert not faults(page)


def test_axe_finds_nothing_wrong_with_an_empty_page_or_a_long_text_that_was_kept(
    open_page: OpenPage,
) -> None:
    page = open_page("tales", "write", **PHONE)
    settle(page)
    assert page.locator(".try").is_visible() and not faults(page)
    page.get_by_role("textbox", name="The text").fill("The old king sat on the river. " * 30)
    settle(page)
    page.wait_for_timeout(600)
    page.reload()
    page.get_by_role("button", name="Begin anew").wait_for()
    settle(page)
    assert page.get_by_text("out of its sight").is_visible() and not faults(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.get_by_role("button", name="Begin anew").bounding_box()["height"] >= 24
    page.emulate_media(color_scheme="dark")
    assert not faults(page, "color-contrast")


@pytest.mark.parametrize(("model", "view"), [VIEWS[0], VIEWS[1], *VIEWS[3:5], VIEWS[6]])
def test_a_phone_shows_it_without_scrolling_sideways(
    open_page: OpenPage, model: str, view: str
) -> None:
    page = open_page(model, view, **PHONE)
    use(page, view)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, select, nav a')]
          .filter(e => e.offsetParent && getComputedStyle(e).opacity !== '0')
          .filter(e => e.getBoundingClientRect().height < 24).map(e => e.outerHTML.slice(0, 90))"""
    )
    assert not small, "too small for a finger"


def test_the_page_speaks_chinese(browser: Any, library: str) -> None:
    with visit(browser, f"{library}/?model=tales#write", locale="zh-CN") as page:
        page.get_by_role("textbox", name="文本").fill("The old king")
        settle(page)
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        assert page.locator("nav a").first.inner_text() == "续写"
        page.get_by_role("button", name="English").click()
        assert page.locator("nav a").first.inner_text() == "Write"
        assert page.get_by_role("textbox", name="The text").input_value() == "The old king"
        page.reload()
        assert page.locator("nav a").first.inner_text() == "Write", "what was chosen is remembered"


def test_every_message_is_there_in_both_languages() -> None:
    source = (FILES / "messages.js").read_text(encoding="utf-8")
    table = source[source.index("const MESSAGES") : source.index("/** Return a message")]
    known = dict(re.findall(r'^  "?([\w.]+)"?: \[(.*?)\],$', table, re.M | re.S))
    used: set[str] = set()
    for file in FILES.glob("*.js"):
        text = file.read_text(encoding="utf-8")
        used |= set(re.findall(r'\bt\("([\w.]+)"', text)) | set(re.findall(r'"(keys\.\w+)"', text))
    assert len(used) > 80 and used <= set(known), used - set(known)
    for name, both in known.items():
        english, chinese = json.loads(f"[{both.strip().rstrip(',')}]")
        assert (english and re.search(r"[\u4e00-\u9fff]", chinese)) or name == "language", name
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), name


def test_all_can_be_reached_with_the_tab_key_in_the_order_it_is_seen(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    use(page, "write")
    page.locator(".skip").focus()
    reached = [page.locator(".skip").inner_text()]
    for _ in range(40):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => {
              const { id, ariaLabel, textContent } = document.activeElement;
              return id || ariaLabel || textContent.trim().slice(0, 20);
            }"""
        )
        if name == reached[0]:
            break
        reached.append(name)
    order = ["Skip to the text", "Save", "The text", "Odds", "temperature", "min-p"]
    places = [reached.index(name) for name in order]
    assert places == sorted(places), reached
    rows = page.locator(".odds .row")
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    assert rows.nth(1).evaluate("row => row === document.activeElement")


def test_dark_and_light_follow_the_system_or_the_person(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(paper)
    assert light != dark
    theme = page.locator(".theme")
    theme.click()
    assert page.evaluate(paper) == light and theme.get_attribute("aria-label") == "Theme: light"
    page.emulate_media(color_scheme="light")
    theme.click()
    assert page.evaluate(paper) == dark


def test_nothing_of_the_page_is_from_elsewhere_or_inline() -> None:
    index = (FILES / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|style=", index)
    for file in [*FILES.glob("*.js"), *FILES.glob("*.css"), *FILES.glob("*.html")]:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org)|innerHTML|dangerously|\beval\(", text), (
            file
        )


def test_vendored_files_have_their_licences_beside_them() -> None:
    vendor = FILES / "vendor"
    licences = {path.stem for path in vendor.glob("*.LICENSE")}
    assert licences == {"preact", "htm", "uplot", "source-serif", "source-sans"}
    told = (vendor / "README.md").read_text(encoding="utf-8")
    for path in vendor.iterdir():
        if path.suffix not in (".LICENSE", ".md"):
            assert path.name.startswith(tuple(licences)) and f"`{path.name}`" in told, path


@pytest.fixture(scope="module")
def locked(runs: Path) -> Iterator[str]:
    with served_runs(runs / "tales", key="open sesame") as address:
        yield address


def test_the_page_asks_for_the_servers_key_and_works_with_it(browser: Any, locked: str) -> None:
    with visit(browser, locked, expected=("401",)) as page:
        page.get_by_label("Key 密钥").fill("wrong key")
        page.get_by_role("button", name="Open").click()
        page.get_by_label("Key 密钥").fill("open sesame")
        page.get_by_role("button", name="Open").click()
        page.get_by_role("textbox", name="The text").fill("The old king")
        settle(page)
        assert page.locator(".odds .row").count() > 5
        assert "sesame" not in page.url


def test_what_goes_wrong_is_said_in_words(open_page: OpenPage) -> None:
    page = open_page("tales", "write", expected=("Failed to load", "ERR_"))
    page.route("**/inspect", lambda route: route.abort())
    page.get_by_role("textbox", name="The text").fill("The old king")
    settle(page)
    assert "cannot be reached" in page.get_by_role("alert").inner_text()
    page.unroute("**/inspect")
    page.get_by_role("textbox", name="The text").fill("The old king.")
    settle(page)
    assert page.get_by_role("alert").count() == 0


def test_a_long_text_is_scrolled_without_any_work(open_page: OpenPage) -> None:
    page = open_page("tales", "read")
    page.get_by_role("textbox", name="The text").fill("The old king sat on the river. " * 250)
    settle(page)
    assert page.locator(".mirror [data-token]").count() > 2000
    work = page.evaluate(
        """async () => {
          let changes = 0;
          const watch = new MutationObserver((all) => { changes += all.length; });
          watch.observe(document, { subtree: true, childList: true, attributes: true });
          for (let y = 0; y < 2000; y += 100) {
            scrollTo(0, y);
            await new Promise(requestAnimationFrame);
          }
          return [changes, scrollY];
        }"""
    )
    assert work[0] == 0 and work[1] > 500


@pytest.mark.slow
def test_a_text_of_2000_tokens_scrolls_at_60_frames_a_second(open_page: OpenPage) -> None:
    page = open_page("tales", "read")
    page.get_by_role("textbox", name="The text").fill("The old king sat on the river. " * 250)
    settle(page)
    frames = page.evaluate(
        """async () => {
          const times = [];
          for (let y = 0; y < 3000; y += 25) {
            scrollTo(0, y);
            times.push(await new Promise(requestAnimationFrame));
          }
          return times.slice(1).map((time, n) => time - times[n]);
        }"""
    )
    assert sorted(frames)[len(frames) // 2] < 17.5


def test_typing_in_a_long_text_redraws_only_what_changed(open_page: OpenPage) -> None:
    page = open_page("tales", "read")
    field = page.get_by_role("textbox", name="The text")
    field.fill("The old king sat on the river. " * 250)
    settle(page)
    page.evaluate(
        """() => {
          window.redrawn = 0;
          new MutationObserver((all) => { window.redrawn += all.length; })
            .observe(document.querySelector('.mirror'), {
              subtree: true, childList: true, attributes: true, characterData: true,
            });
        }"""
    )
    field.press("End")
    page.keyboard.press("Control+End")
    page.keyboard.type("x")
    assert page.evaluate("window.redrawn") < 40
