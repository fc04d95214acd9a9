"""The page: writing with a model, and the odds of what comes next."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import nextword as nw
from nextword.inference.generate import generate
from nextword.inference.language_model import LanguageModel
from nextword.settings import GenerateSettings

OpenPage = Callable[..., Any]
PROMPT = "The old king sat on"


@pytest.fixture(scope="module")
def model(runs: Path) -> LanguageModel:
    loaded = nw.load(runs / "tales", precision="fp32")
    assert isinstance(loaded, LanguageModel)
    return loaded


def type_text(page: Any, text: str) -> Any:
    """Type a text, and wait until it has been cut into tokens and measured."""
    field = page.get_by_role("textbox", name="The text")
    field.fill(text)
    settle(page)
    return field


def settle(page: Any) -> None:
    """Wait until everything that was asked is answered."""
    page.wait_for_selector("main[aria-busy=false]")


def written(page: Any) -> str:
    value: str = page.get_by_role("textbox", name="The text").input_value()
    return value


def write(page: Any) -> str:
    """Press the button that writes; return the text once it is written."""
    page.locator(".actions .primary").click()
    settle(page)
    return written(page)


def probabilities(model: LanguageModel, text: str) -> tuple[list[int], torch.Tensor]:
    ids = [model.start_id, *model.tokenizer.encode(text)]
    with torch.inference_mode():
        hidden = model.transformer(torch.tensor([ids]))
        return ids, torch.softmax(model.transformer.logits(hidden)[0].float(), -1)


def shown_odds(page: Any) -> dict[str, str]:
    rows = page.locator(".odds .row")
    return {
        row.locator(".token").inner_text().replace("·", " "): row.locator(".value").inner_text()
        for row in rows.all()
        if row.locator(".token").count()
    }


def test_the_odds_are_those_of_the_model(open_page: OpenPage, model: LanguageModel) -> None:
    page = open_page("tales", "write")
    page.get_by_label("Temperature").fill("1")
    type_text(page, PROMPT)
    page.wait_for_selector(".odds .row")
    _, odds = probabilities(model, PROMPT)
    best = torch.topk(odds[-1], 3)
    shown = shown_odds(page)
    for probability, token in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        text = model.tokenizer.decode([token])
        assert text in shown, (text, shown)
        assert abs(float(shown[text].rstrip(" %")) / 100 - probability) < 0.006


def test_each_token_is_shaded_by_its_surprise(open_page: OpenPage, model: LanguageModel) -> None:
    page = open_page("tales", "write")
    type_text(page, PROMPT + " xylophones")
    ids, odds = probabilities(model, PROMPT + " xylophones")
    cells = page.locator(".mirror [data-token]")
    shades = [
        int(re.search(r"\bs(\d+)", name)[1])
        for name in cells.evaluate_all("cells => cells.map(c => c.className)")
    ]  # type: ignore[index]
    bits = [-math.log2(float(odds[place - 1, ids[place]])) for place in range(1, len(ids))]
    assert len(shades) == len(bits), "each token is a cell of its own"
    assert shades == [round(min((bit / 14) ** 1.5, 1) * 12) for bit in bits]


def test_the_sliders_move_the_odds_as_sampling_does(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    assert page.get_by_label("Temperature").input_value() == "0.8", "as `generate` begins"
    type_text(page, PROMPT)
    page.wait_for_selector(".odds .row")
    page.get_by_label("Temperature").fill("0.3")
    settle(page)
    assert page.locator(".odds .tick").count(), "what the model itself says stays as a mark"
    top_k = page.get_by_label("Top-k")
    top_k.fill(top_k.get_attribute("max"))  # the strictest: one token
    page.wait_for_function(
        "() => document.querySelector('.odds .row .value').textContent === '100 %'"
    )
    assert page.locator(".odds .row.dim").count() == page.locator(".odds .row").count() - 1
    top_k.fill("0")
    page.get_by_label("Temperature").fill("1")
    page.get_by_label("Min-p").fill("0.5")
    page.wait_for_function("() => document.querySelector('.odds .row.dim')")
    page.get_by_label("Min-p").fill("0")
    page.get_by_label("Top-p").fill("0.9")
    page.wait_for_function(
        "() => document.querySelector('.odds').textContent.includes('may be drawn')"
    )


def greedy(model: LanguageModel) -> str:
    """What the model writes after PROMPT, 20 tokens of it."""
    ids = [model.start_id, *model.tokenizer.encode(PROMPT)]
    settings = GenerateSettings(temperature=0, max_new_tokens=20)
    [expected] = generate(model.transformer, [ids], settings, model.end_ids)
    return model.tokenizer.decode(expected.ids)


def test_it_writes_what_the_model_writes(open_page: OpenPage, model: LanguageModel) -> None:
    page = open_page("tales", "write")
    type_text(page, PROMPT)
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("up to").select_option("20")
    text = write(page)
    assert text == PROMPT + greedy(model)
    assert page.locator(".mirror .mine").count() < page.locator(".mirror [data-token]").count()


def test_a_click_on_an_alternative_forks_and_branches_are_a_tree(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    field = type_text(page, PROMPT)
    page.get_by_label("up to").select_option("20")
    first = write(page)
    field.evaluate(
        "(field, place) => { field.focus(); field.setSelectionRange(place, place); }",
        len("The old"),
    )
    page.keyboard.press("Shift")  # any key: the caret is somewhere else now
    page.wait_for_selector(".odds .row.active")
    other = page.locator(".odds .row:not(.active)").first
    chosen = other.locator(".token").inner_text().replace("·", " ")
    other.click()
    settle(page)
    assert written(page) == "The old" + chosen
    second = write(page)
    assert second.startswith("The old" + chosen) and second != first
    branches = page.locator(".branches .row")
    assert branches.count() == 2
    branches.nth(0).click()
    assert written(page) == first
    branches.nth(1).click()
    assert written(page) == second
    page.get_by_role("button", name="Another").click()
    settle(page)
    assert branches.count() == 3
    depths = branches.locator("xpath=..").evaluate_all(
        "rows => rows.map(row => row.style.getPropertyValue('--depth'))"
    )
    assert depths == ["0", "1", "2"]


def place_caret(page: Any, before: str) -> None:
    page.get_by_role("textbox", name="The text").evaluate(
        "(field, place) => { field.focus(); field.setSelectionRange(place, place); }", len(before)
    )
    page.keyboard.press("Shift")  # any key: the caret is somewhere else now
    settle(page)


def depths(page: Any) -> list[str]:
    rows = page.locator(".branches .branch")
    found: list[str] = rows.evaluate_all(
        "rows => rows.map(row => row.style.getPropertyValue('--depth'))"
    )
    return found


def test_another_goes_on_from_the_alternative_that_was_chosen(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    type_text(page, PROMPT)
    page.get_by_label("up to").select_option("20")
    write(page)
    place_caret(page, PROMPT)
    page.locator(".odds .row:not(.active)").first.click()
    settle(page)
    chosen = written(page)
    assert chosen.startswith(PROMPT) and len(chosen) > len(PROMPT)
    first = write(page)
    for _ in range(2):
        page.get_by_role("button", name="Another").click()
        settle(page)
        assert written(page).startswith(chosen) and written(page) != first
    assert depths(page) == ["0", "1", "2", "2"], "both hang under the choice, side by side"


def test_a_text_typed_over_the_whole_of_another_is_a_tree_of_its_own(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    field = type_text(page, PROMPT)
    page.get_by_label("up to").select_option("20")
    first = write(page)
    field.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("The queen sang")
    settle(page)
    branches = page.locator(".branches .row")
    assert depths(page) == ["0", "0"] and written(page) == "The queen sang"
    write(page)
    branches.first.click()
    assert written(page) == first, "what was written before is whole"
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert written(page) == first and branches.count() == 0, "one step to undo"


def test_a_branch_whose_beginning_is_written_anew_is_no_child_any_more(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    field = type_text(page, PROMPT)
    page.get_by_label("up to").select_option("20")
    write(page)
    page.get_by_role("button", name="Another").click()
    settle(page)
    assert depths(page) == ["0", "1"]
    field.focus()
    page.keyboard.press("Control+Home")
    page.keyboard.type("Yes! ")
    settle(page)
    assert depths(page) == ["0", "0"]


def test_writing_goes_on_where_the_context_is_full(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    type_text(page, PROMPT)
    assert page.get_by_text("out of its sight").count() == 0
    page.get_by_label("up to").select_option("100")
    page.get_by_label("Temperature").fill("0.2")
    lengths = []
    for _ in range(3):
        write(page)
        lengths.append(page.locator(".mirror [data-token]").count())
    assert lengths[2] - lengths[1] > 60, "after more than the 128 tokens that it sees at once"
    assert page.get_by_text("The model sees 128 tokens at once").is_visible()
    pale, mark = (page.locator(f".mirror .{name}") for name in ("beyond", "sight"))
    assert pale.count() >= lengths[2] - 128 and mark.count() == 1
    before = pale.count()
    page.keyboard.press("Alt+Enter")
    settle(page)
    assert page.locator(".mirror [data-token]").count() == lengths[2] + 1
    assert pale.count() == before + 1, "the window moves on with the caret"
    place_caret(page, PROMPT)
    assert pale.count() == 0, "here it sees all that stands before"


def test_blanks_at_the_end_belong_to_the_word_that_follows(
    open_page: OpenPage, model: LanguageModel
) -> None:
    page = open_page("tales", "write")
    type_text(page, PROMPT + " ")
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("up to").select_option("20")
    text = write(page)
    assert text == PROMPT + greedy(model), "as without the blank"
    assert not text.startswith(PROMPT + "  ")
    page.get_by_role("button", name="Undo", exact=True).click()
    assert written(page) == PROMPT + " "
    page.keyboard.press("Alt+Enter")
    settle(page)
    assert text.startswith(written(page)) and written(page) != PROMPT + " ", "one token as well"


def test_the_openness_of_a_choice_is_said_in_plain_words(
    open_page: OpenPage, model: LanguageModel
) -> None:
    page = open_page("tales", "write")
    type_text(page, PROMPT)
    page.get_by_label("Temperature").fill("1")
    settle(page)
    _, odds = probabilities(model, PROMPT)
    found = re.search(r"among ([\d.,]+) equally likely", page.locator(".odds").inner_text())
    assert found is not None
    entropy = float(torch.special.entr(odds[-1]).sum())
    assert math.isclose(float(found[1]), math.exp(entropy), rel_tol=0.06)
    assert "bits" not in page.locator(".odds").inner_text()
    page.get_by_label("Temperature").fill("0")
    settle(page)
    assert re.search(r"\b1 of \d+ tokens may be drawn", page.locator(".odds").inner_text())


def test_an_empty_page_gives_words_to_try_in_the_language_of_the_text(
    open_page: OpenPage,
) -> None:
    page = open_page("tales", "write")
    settle(page)
    assert page.locator(".odds .row").count() == 0, "odds of an empty beginning mean little"
    page.get_by_role("button", name="Once upon a time").click()
    page.wait_for_selector(".odds .row")
    assert written(page) == "Once upon a time"
    page.keyboard.press("Control+Enter")
    settle(page)
    assert written(page).startswith("Once upon a time") and len(written(page)) > 20


def test_everything_can_be_undone_and_done_again(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    type_text(page, PROMPT)
    page.get_by_label("up to").select_option("20")
    first = write(page)
    page.locator(".odds .row").first.click()
    settle(page)
    longer = written(page)
    undo, redo = (page.get_by_role("button", name=name, exact=True) for name in ("Undo", "Redo"))
    undo.click()
    assert written(page) == first
    undo.click()
    assert written(page) == PROMPT
    undo.click()
    assert written(page) == "" and undo.is_disabled()
    for text in (PROMPT, first, longer):
        redo.click()
        assert written(page) == text
    assert redo.is_disabled()


def test_writing_is_done_with_the_keyboard_alone(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.tagName") != "TEXTAREA":
        page.keyboard.press("Tab")
    page.keyboard.type(PROMPT)
    settle(page)
    page.keyboard.press("Alt+Enter")
    settle(page)
    one = written(page)
    assert one.startswith(PROMPT) and len(one) > len(PROMPT)
    page.keyboard.press("Control+Enter")
    settle(page)
    assert len(written(page)) > len(one)
    page.keyboard.press("Alt+ArrowLeft")
    page.keyboard.press("Alt+ArrowLeft")
    page.wait_for_selector(".odds .row.active")
    page.keyboard.press("Alt+2")
    page.wait_for_selector(".branches")
    page.keyboard.press("Control+z")
    page.wait_for_selector(".branches", state="detached")
    page.keyboard.press("Alt+l")
    page.wait_for_selector(".layers")
    page.keyboard.press("Alt+s")
    page.wait_for_selector(".source")


def test_what_is_being_written_can_be_stopped(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    type_text(page, "A")
    page.get_by_label("up to").select_option("100")
    page.locator(".actions .primary").click()
    page.keyboard.press("Escape")
    settle(page)
    assert page.locator(".actions .primary").inner_text() == "Write"


def test_a_text_is_never_taken_for_html(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>&lt;'
    type_text(page, hostile)
    assert page.locator(".mirror").inner_text().rstrip("\u200b\n") == hostile
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "nextword"


def test_characters_of_several_tokens_are_shown_whole(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    text = "你好 👩‍👩‍👧 ŷ"
    type_text(page, text)
    assert page.locator(".mirror").inner_text().rstrip("\u200b") == text
    assert "\ufffd" not in page.locator("main").inner_text()


def test_the_first_token_is_drawn_within_100_ms_of_its_arrival(open_page: OpenPage) -> None:
    page = open_page("tales", "write")
    type_text(page, PROMPT)
    page.get_by_label("Temperature").fill("0")  # a drawn text may end before its first word
    page.get_by_label("up to").select_option("20")
    page.evaluate(
        """() => {
          const read = ReadableStreamDefaultReader.prototype.read;
          ReadableStreamDefaultReader.prototype.read = async function () {
            const piece = await read.call(this);
            if (String(piece.value).includes('token_ids')) window.arrived ??= performance.now();
            return piece;
          };
          new MutationObserver(() => {
            const drawn = () => { window.drawn ??= performance.now(); };
            if (window.arrived) requestAnimationFrame(drawn);
          }).observe(document.querySelector('.mirror'), { childList: true, subtree: true });
        }"""
    )
    waits = []
    for _ in range(3):  # a busy machine may be late once
        page.evaluate("() => { window.arrived = window.drawn = undefined; }")
        page.locator(".actions .primary").click()
        page.wait_for_function("() => window.drawn")
        waits.append(page.evaluate("window.drawn - window.arrived"))
        settle(page)
        page.get_by_role("button", name="Undo", exact=True).click()
        settle(page)
    assert min(waits) < 100
