"""The page: conversations, and what fine-tuned models say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nextword as nw

OpenPage = Callable[..., Any]


def settle(page: Any) -> None:
    page.wait_for_selector("main[aria-busy=false]")


def say(page: Any, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_selector(".actions-of")
    settle(page)


def test_a_conversation_goes_back_and_forth(open_page: OpenPage) -> None:
    page = open_page("chat", "chat")
    say(page, "What do bees make?")
    say(page, "<b>And</b> what is wax good for?")
    turns = page.locator(".turn")
    assert turns.count() == 4
    assert turns.nth(2).locator("p").inner_text() == "<b>And</b> what is wax good for?"
    assert page.locator(".turn b").count() == 0
    page.get_by_role("button", name="Undo").click()
    assert turns.count() == 2, "a question and its answer are undone together"
    page.get_by_role("button", name="Undo").click()
    assert turns.count() == 0


def test_an_answer_has_versions_and_alternatives(open_page: OpenPage) -> None:
    page = open_page("chat", "chat")
    say(page, "What do bees make?")
    answer = page.locator(".turn.answer .words-of")
    first = answer.inner_text()
    page.get_by_role("button", name="Another").click()
    page.get_by_text("2 / 2").wait_for()
    settle(page)
    page.get_by_role("button", name="The version before").click()
    assert answer.inner_text() == first
    settle(page)
    answer.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    settle(page)
    assert answer.locator(".selected").count() == 1
    page.locator(".odds .row:not(.active)").first.click()
    page.get_by_text("3 / 3").wait_for()
    settle(page)
    page.get_by_role("radio", name="Layers").click()
    page.wait_for_selector(".layers .row")


def test_a_system_message_comes_first(open_page: OpenPage) -> None:
    page = open_page("chat", "chat")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    page.get_by_role("button", name="Add a system message").click()
    page.get_by_label("System message").fill("Be brief.")
    say(page, "Hello")
    [question] = [body for body in asked if '"messages"' in body]
    assert '"messages":[{"role":"system","content":"Be brief."},{"role":"user"' in question


def test_probabilities_are_those_of_predict(open_page: OpenPage, runs: Path) -> None:
    page = open_page("reviews", "predict")
    text = "The evening concert is worth every coin."
    page.get_by_role("textbox").fill(text)
    page.wait_for_selector(".panel .row")
    settle(page)
    expected = predict(runs / "reviews", {"text": text})
    assert page.locator(".verdict").inner_text() == expected["label"]
    shown = {
        row.locator(".label").inner_text(): row.locator(".value").inner_text()
        for row in page.locator(".panel .rows").first.locator(".row").all()
    }
    assert set(shown) == set(expected["probabilities"])
    for label, probability in expected["probabilities"].items():
        assert abs(float(shown[label].rstrip(" %")) / 100 - probability) < 0.006


def predict(run: Path, row: dict[str, str]) -> dict[str, Any]:
    import json

    file = run.parent.parent / "row.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    [prediction] = nw.predict(run, file)
    return dict(prediction)


def test_words_that_made_the_difference_are_shaded_for_any_label(open_page: OpenPage) -> None:
    page = open_page("reviews", "predict")
    page.get_by_role("textbox").fill("The evening concert is worth every coin.")
    page.wait_for_selector(".mirror [class*=s1], .mirror [class*=s2]")
    settle(page)
    before = page.locator(".mirror").inner_html()
    other = page.locator(".panel .rows").first.locator(".row:not(.active)").first
    other.click()
    settle(page)
    page.wait_for_function(
        "before => document.querySelector('.mirror').innerHTML !== before", arg=before
    )
    assert page.locator(".panel .rows").count() == 2
    assert "percentage points" in page.locator(".panel section .quiet").inner_text()


def test_held_out_examples_are_a_click_away(open_page: OpenPage) -> None:
    page = open_page("qa", "predict")
    page.wait_for_selector(".heldout h2")
    page.get_by_label("only wrong ones").uncheck()
    page.locator(".example").first.click()
    settle(page)
    fields = page.get_by_role("textbox")
    assert fields.count() == 2 and all(field.input_value() for field in fields.all())
    answer = page.locator(".verdict").inner_text()
    assert answer
    if answer != "no answer":
        assert page.locator(".mirror .found").inner_text() == answer


def test_entities_are_underlined_where_they_stand(open_page: OpenPage) -> None:
    page = open_page("entities", "predict")
    text = "Nobody in Lower Quay has seen Mira Holt since Friday ."
    page.get_by_role("textbox").fill(text)
    page.wait_for_selector(".panel .row, .panel .verdict")
    settle(page)
    listed = [row.inner_text() for row in page.locator(".panel .entity").all()]
    assert [mark.inner_text() for mark in page.locator(".mirror .entity").all()] == listed
    assert all(name in text for name in listed)
