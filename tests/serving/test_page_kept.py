"""The page: what was written and said is there again when it is opened again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from support.browser import visit

OpenPage = Callable[..., Any]
PROMPT = "The old king sat on"


def settle(page: Any) -> None:
    page.wait_for_selector("main[aria-busy=false]")


def field(page: Any) -> Any:
    return page.get_by_role("textbox").and_(page.locator(".editor textarea"))


def reload(page: Any) -> None:
    page.reload()
    page.wait_for_selector(".editor")
    settle(page)


def write(page: Any, text: str) -> str:
    """Type a text, and have the model go on with it."""
    field(page).fill(text)
    settle(page)
    page.locator(".length select").select_option("20")
    page.locator(".actions .primary").click()
    settle(page)
    value: str = field(page).input_value()
    return value


def test_text_branches_and_settings_outlive_the_page(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    write(page, PROMPT)
    page.get_by_label("Temperature").fill("0.3")
    page.get_by_role("button", name="Another").click()
    settle(page)
    text, shades = field(page).input_value(), page.locator(".mirror").inner_html()
    branches = page.locator(".branches").inner_text()
    reload(page)
    assert field(page).input_value() == text
    assert page.locator(".branches").inner_text() == branches
    assert page.locator(".mirror").inner_html() == shades, "and who wrote what"
    assert page.get_by_label("Temperature").input_value() == "0.3"
    assert page.locator(".length select").input_value() == "20"
    assert "kept in this browser alone" in page.locator(".actions").inner_text()
    page.locator(".branches .row").first.click()
    settle(page)
    assert field(page).input_value().startswith(PROMPT)
    assert page.get_by_text("kept in this browser alone").count() == 0, "it is at work again"


def test_one_can_begin_anew_and_go_back(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    text = write(page, PROMPT)
    reload(page)
    page.get_by_role("button", name="Begin anew").click()
    settle(page)
    assert field(page).input_value() == ""
    page.get_by_role("button", name="Undo", exact=True).click()
    settle(page)
    assert field(page).input_value() == text
    page.get_by_role("button", name="Begin anew").click()
    settle(page)
    reload(page)
    assert field(page).input_value() == "" and page.get_by_text("is back").count() == 0


def test_it_says_so_in_chinese(browser: Any, library: str) -> None:
    with visit(browser, f"{library}/?model=tales#write", locale="zh-CN") as page:
        page.wait_for_selector(".editor")
        text = write(page, PROMPT)
        reload(page)
        assert field(page).input_value() == text
        assert "只保存在这个浏览器里" in page.locator(".actions").inner_text()
        page.get_by_role("button", name="重新开始").click()
        assert field(page).input_value() == ""


def test_each_model_has_its_own_and_another_takes_the_text_along(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    text = write(page, PROMPT)
    page.get_by_label("Model", exact=True).select_option("tales-small")
    settle(page)
    assert field(page).input_value() == text
    other = write(page, "A dog ran to")
    page.get_by_label("Model", exact=True).select_option("tales")
    settle(page)
    rows = page.locator(".branches .row")
    assert field(page).input_value() == other and rows.count() == 2
    rows.first.click()
    settle(page)
    assert field(page).input_value() == text


def test_tokens_of_another_vocabulary_are_cut_anew(browser: Any, library: str) -> None:
    refused = ("400 (Bad Request)",)  # of a token that the model has not
    with visit(browser, f"{library}/?model=tales#write", expected=refused) as page:
        page.wait_for_selector(".editor")
        write(page, PROMPT)
        page.get_by_role("button", name="Another").click()
        settle(page)
        text = field(page).input_value()
        page.evaluate("location.hash = 'runs'")
        page.wait_for_selector(".runs")
        page.wait_for_timeout(600)
        name = "nextword.draft.tales"
        draft = json.loads(page.evaluate("name => localStorage.getItem(name)", name))
        for shift, branch in enumerate(draft["tree"]["branches"]):
            for token in branch["tokens"][1:]:
                token[0] = 10**6 if shift == 0 else token[0] + 7  # unknown ids; ids of other words
        page.add_init_script(
            f"localStorage.setItem({json.dumps(name)}, {json.dumps(json.dumps(draft))})"
        )
        page.goto(page.url.replace("#runs", "#write"))
        reload(page)
        assert field(page).input_value() == text
        for row in page.locator(".branches .row").all():
            row.click()
            settle(page)
            assert field(page).input_value().startswith(PROMPT)
            assert page.locator(".trouble").count() == 0


def say(page: Any, text: str) -> str:
    """Say something to the model; return what it answers."""
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_selector(".actions-of")
    settle(page)
    answer: str = page.locator(".turn.answer .words-of").last.inner_text()
    return answer


def test_a_conversation_outlives_the_page_and_goes_on(open_page: OpenPage) -> None:
    page = open_page("chat", "chat")
    page.get_by_role("button", name="Add a system message").click()
    page.get_by_label("System message").fill("Be brief.")
    answer = say(page, "What do bees make?")
    page.get_by_role("button", name="Another").click()
    page.get_by_text("2 / 2").wait_for()
    settle(page)
    other = page.locator(".turn.answer .words-of").inner_text()
    page.reload()
    page.wait_for_selector(".turn.answer")
    settle(page)
    assert page.locator(".turn.user p").inner_text() == "What do bees make?"
    assert page.locator(".turn.answer .words-of").inner_text() == other
    assert page.get_by_label("System message").input_value() == "Be brief."
    assert page.get_by_text("Your last conversation is back").count() == 1
    assert page.get_by_text("At the beginning").count() == 0, "the answer is looked into"
    page.get_by_role("button", name="The version before").click()
    settle(page)
    assert page.locator(".turn.answer .words-of").inner_text() == answer
    assert page.locator(".odds .row").count() > 3, "it can be looked into as before"
    say(page, "And what is wax good for?")
    assert page.locator(".turn").count() == 4
    assert page.get_by_text("Your last conversation is back").count() == 0


def test_another_conversation_can_be_begun_and_undone(open_page: OpenPage) -> None:
    page = open_page("chat", "chat")
    say(page, "What do bees make?")
    page.get_by_role("button", name="Begin anew").click()
    assert page.locator(".turn").count() == 0
    page.get_by_role("button", name="Undo").click()
    assert page.locator(".turn").count() == 2
    page.get_by_role("button", name="Begin anew").click()
    page.reload()
    page.wait_for_selector(".composer")
    settle(page)
    assert page.locator(".turn").count() == 0


def test_a_conversation_with_another_vocabulary_can_be_looked_into(
    browser: Any, library: str
) -> None:
    refused = ("400 (Bad Request)",)  # of a token that the model has not
    with visit(browser, f"{library}/?model=chat#chat", expected=refused) as page:
        page.wait_for_selector(".composer")
        answer = say(page, "What do bees make?")
        page.wait_for_timeout(600)
        name = "nextword.talk.chat"
        kept = json.loads(page.evaluate("name => localStorage.getItem(name)", name))
        for token in kept["talk"]["turns"][1]["versions"][0]["tokens"]:
            token[0] = 10**6
        page.add_init_script(
            f"localStorage.setItem({json.dumps(name)}, {json.dumps(json.dumps(kept))})"
        )
        page.reload()
        page.wait_for_selector(".turn.answer")
        settle(page)
        assert page.locator(".turn.answer .words-of").inner_text() == answer
        page.locator(".turn.answer .words-of").focus()
        page.keyboard.press("ArrowLeft")
        settle(page)
        assert page.locator(".trouble").count() == 0
        say(page, "And what is wax good for?")
        assert page.locator(".turn").count() == 4


def test_what_is_too_long_to_be_kept_is_said_to_be_so(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    page.evaluate(
        """() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }"""
    )
    field(page).fill(PROMPT)
    page.get_by_text("This text cannot be kept").wait_for()
    field(page).fill("")
    page.get_by_text("This text cannot be kept").wait_for(state="detached")
