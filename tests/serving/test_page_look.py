"""The page: what each layer would say, where heads look, where a text comes from, and reading."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.runs_to_serve import tales

import nextword as nw

OpenPage = Callable[..., Any]
TEXT = "The old king sat on the river. A dog ran to a tree."


def settle(page: Any) -> None:
    page.wait_for_selector("main[aria-busy=false]")


def fill(page: Any, text: str) -> Any:
    field = page.get_by_role("textbox", name="The text")
    field.fill(text)
    settle(page)
    return field


def open_panel(page: Any, name: str) -> None:
    page.get_by_role("radio", name=name).click()
    settle(page)


def test_the_last_layer_says_what_the_model_says(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    page.get_by_label("Temperature").fill("1")
    fill(page, TEXT)
    best = page.locator(".odds .row .token").first.inner_text()
    value = page.locator(".odds .row .value").first.inner_text()
    open_panel(page, "Layers")
    rows = page.locator(".layers section").first.locator(".row")
    assert rows.count() == 3, "two layers, and the embedding before them"
    assert rows.first.locator(".token").inner_text() == best
    assert rows.first.locator(".value").inner_text() == value
    assert rows.first.locator(".note").inner_text() == "no. 1"


def test_the_text_is_shaded_by_the_attention_of_the_chosen_head(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    fill(page, TEXT)
    by_surprise = page.locator(".mirror").inner_html()
    open_panel(page, "Layers")
    heads = page.locator(".layers section").nth(1)
    assert heads.locator(".row").count() == 5, "the mean, and four heads"
    shades = []
    for row in heads.locator(".row").all():
        row.click()
        assert row.get_attribute("aria-pressed") == "true"
        looked_at = row.locator(".token").inner_text().replace("·", " ")
        dark = page.locator(".mirror .s12")
        assert dark.count() >= 1 and looked_at in [cell.inner_text() for cell in dark.all()]
        shades.append(page.locator(".mirror").inner_html())
    assert len({*shades, by_surprise}) > 3
    first_layer = page.locator(".layers section").first.locator("button.row").last
    first_layer.click()
    settle(page)
    assert "layer 1" in heads.locator("h2").inner_text()


def test_an_encoder_is_asked_about_the_gap(open_page: OpenPage) -> None:
    page = open_page("gaps", "fill")
    field = fill(page, "The old [MASK] sat on the river.")
    field.evaluate("field => { field.focus(); field.setSelectionRange(10, 10); }")
    page.keyboard.press("Shift")
    settle(page)
    assert page.locator(".place mark").inner_text().endswith("[MASK]")
    page.locator(".odds .row").first.click()
    settle(page)
    filled = field.input_value()
    assert "[MASK]" not in filled and filled.startswith("The old") and filled.endswith("river.")
    open_panel(page, "Layers")
    assert page.locator(".layers .row").count() >= 3 + 5


def test_a_passage_is_found_in_the_training_text_with_file_and_place(
    open_page: OpenPage, runs: Path
) -> None:
    page = open_page("tales", "write")
    trained_on = next(tale for tale in reversed(tales()) if is_train(page, tale[:300]))
    page.get_by_role("radio", name="Odds").click()
    fill(page, trained_on[:200])
    open_panel(page, "Source")
    assert "word for word" in page.locator(".headline").inner_text()
    assert re.search(r"tale-\d\d\.txt", page.locator(".passages figcaption").first.inner_text())
    assert page.locator(".mirror .found").count() > 10
    shown = page.locator(".passages mark").first.inner_text()
    assert shown.split("\n")[0] in trained_on
    page.locator(".passages .link").first.click()
    assert page.locator(".passage.active").count() >= 1


def is_train(page: Any, text: str) -> bool:
    fill(page, text)
    open_panel(page, "Source")
    found: int = page.locator(".passages .passage").count()
    return found > 0


def test_what_is_not_in_the_training_text_is_said_to_be_not_in_it(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    fill(page, "Quartz xylophones vex jumpy wizards who blog, quickly; 12345 zebras & more.")
    open_panel(page, "Source")
    assert page.locator(".headline").inner_text() == "Not in your text."
    assert page.locator(".mirror .found").count() == 0


def test_a_pasted_text_is_read_in_bits_per_byte_and_tokens(open_page: OpenPage, runs: Path) -> None:
    page = open_page("tales", "read")
    text = "The miller sang for the hill. " * 3
    fill(page, text)
    figures = {
        entry.locator("dt").inner_text(): entry.locator("dd").inner_text()
        for entry in page.locator(".figures div").all()
    }
    tokenizer = nw.load(runs / "tales").tokenizer
    assert figures["tokens"] == str(len(tokenizer.encode(text)))
    assert figures["bytes per token"] == f"{len(text.encode()) / len(tokenizer.encode(text)):.2f}"
    bits, perplexity = float(figures["bits per byte"]), float(figures["perplexity"])
    per_token = bits * len(text.encode()) / len(tokenizer.encode(text))
    assert math.isclose(2**per_token, perplexity, rel_tol=0.02)
    page.get_by_label("Show tokens").check()
    assert page.locator(".boundaries [data-token]").count() == len(tokenizer.encode(text))


def test_two_models_read_the_same_text_side_by_side(open_page: OpenPage) -> None:
    page = open_page("tales", "read")
    fill(page, TEXT)
    page.get_by_label("beside").select_option("tales-small")
    other = page.get_by_role("region", name="tales-small")
    other.locator("[data-token]").first.wait_for()
    texts = [
        page.locator(".mirror").nth(number).inner_text().rstrip("\u200b\n") for number in (0, 1)
    ]
    assert texts == [TEXT, TEXT]
    bits = [page.locator(".figures dd").nth(place).inner_text() for place in (0, 4)]
    assert float(bits[0]) != float(bits[1])
    other.locator("[data-token]").nth(3).click()
    settle(page)
    assert page.locator(".mirror .selected").count() == 2, "the same place in both"
    page.get_by_role("radio", name="where it is more surprised than the other").click()
    assert page.locator(".mirror").first.inner_html() != ""
