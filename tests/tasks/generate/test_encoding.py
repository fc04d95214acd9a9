from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.prompts import as_records, encode, read

from nextword.errors import UserError
from nextword.tasks.generate.encoding import EncodedPrompts, mark_targets, whole_characters
from nextword.tasks.opening import task_class
from nextword.tasks.records import Record, read_records
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer
from nextword.verbs.preview import shorten

DATA = Path(__file__).parents[3] / "examples" / "data"
CONTEXT = "One line. " * 30 + "The bridge was built in 1712 by Ada. " + "Another line. " * 30


def encoded_from(
    tokenizer: Tokenizer, task: str, records: list[Record], max_length: int = 256, **more: Any
) -> EncodedPrompts:
    columns = {name: value for name, value in more.items() if name in ("prompt", "target_column")}
    return encode(tokenizer, read(task, records, **columns), task, max_length, **more)


def learned(encoded: EncodedPrompts, tokenizer: Tokenizer) -> list[str]:
    return [
        tokenizer.decode(item.example.ids[item.example.scored], skip_special=False)
        for item in encoded.items
    ]


@pytest.mark.parametrize(
    ("task", "files", "first"),
    [
        ("qa", ["qa.json"], "Elden"),
        ("qa", ["qa.zh.jsonl"], "柳河"),
        ("summarize", ["summaries.jsonl"], None),
        ("summarize", ["summaries.zh.jsonl"], None),
        ("translate", ["translate.en", "translate.zh"], None),
        ("translate", ["translate.tsv"], None),
    ],
)
def test_only_the_answer_and_its_end_are_learned_in_every_example_of_the_data_sets(
    tokenizer: Tokenizer, task: str, files: list[str], first: str | None
) -> None:
    records = read_records([str(DATA / file) for file in files], task_class(task).text_files)
    dataset = read(task, records)
    encoded = encode(tokenizer, dataset, task)
    assert len(encoded.items) == len(records) >= 20
    assert encoded.notes == [], "nothing is cut, and nothing left out"
    answers = learned(encoded, tokenizer)
    for number, (item, answer) in enumerate(zip(encoded.items, answers, strict=True)):
        assert item.index == number
        assert answer == "".join(dataset.examples[number].references[:1]) + "<|endoftext|>"
        prompt = len(item.prompt)
        assert item.example.ids[:prompt].tolist() == item.prompt
        assert item.example.scored.tolist() == [False] * prompt + [True] * (
            len(item.example.ids) - prompt
        )
        assert item.prompt[0] == tokenizer.end_id
        assert dataset.places[number] == item.example.source == encoded.sources[number]
    assert first is None or answers[0] == first + "<|endoftext|>"
    assert len({tuple(item.prompt) for item in encoded.items}) == len(records)


def test_a_chinese_data_set_is_asked_in_chinese_and_scored_as_what_is_written(
    tokenizer: Tokenizer,
) -> None:
    qa = encoded_from(tokenizer, "qa", read_records([str(DATA / "qa.zh.jsonl")])).format
    assert qa.template.endswith("答案：\n") and qa.language == "zh"
    files = [str(DATA / "translate.en"), str(DATA / "translate.zh")]
    translation = encoded_from(
        tokenizer, "translate", read_records(files, task_class("translate").text_files)
    ).format
    assert translation.template.endswith("Translation:\n")
    assert translation.language == "zh"


def test_answers_of_the_hubs_shape_are_scored_in_their_language(tokenizer: Tokenizer) -> None:
    row = {"context": "村在柳河边。", "question": "村在哪里？"}
    records = as_records(row | {"answers": {"text": ["柳河"], "answer_start": [2]}})
    assert encoded_from(tokenizer, "qa", records).format.language == "zh"


def test_the_example_shown_before_training_marks_what_is_learned(tokenizer: Tokenizer) -> None:
    records = as_records({"en": "a cat", "de": "eine Katze"}, {"en": "a dog", "de": "ein Hund"})
    dataset = read("translate", records)
    assert dataset.columns.inputs == {"source": "en"} and dataset.columns.targets == ["de"]
    encoded = encode(tokenizer, dataset, "translate")
    assert mark_targets(encoded.items[0].example, tokenizer) == (
        "<|endoftext|>a cat\n\nTranslation:\n⟦eine Katze<|endoftext|>⟧"
    )


def test_an_example_that_is_long_is_shown_where_what_is_learned_begins(
    tokenizer: Tokenizer,
) -> None:
    row = {"context": CONTEXT * 3, "question": "Who built it?", "answers": ["Ada"]}
    encoded = encoded_from(tokenizer, "qa", as_records(row), 2048)
    shown = shorten(mark_targets(encoded.items[0].example, tokenizer))
    assert len(shown) < 500 and "One line." in shown and "⟦Ada" in shown
    assert "Who built it?" in shown
    assert shorten("short  ⟦one⟧") == "short ⟦one⟧"


def test_a_question_without_an_answer_is_learned_as_an_end_at_once(tokenizer: Tokenizer) -> None:
    squad2 = {"text": [], "answer_start": []}
    for answers in ([], squad2):
        row = {"context": "It rained.", "question": "Who won?", "answers": answers}
        encoded = encoded_from(tokenizer, "qa", as_records(row))
        assert learned(encoded, tokenizer) == ["<|endoftext|>"]


def test_the_first_of_several_references_is_learned(tokenizer: Tokenizer) -> None:
    row = {"dialogue": "#A#: Hi.", "summary1": "A greets.", "summary2": "A says hi.", "topic1": "x"}
    for more in ({}, {"target_column": "summary"}):
        encoded = encoded_from(tokenizer, "summarize", as_records(row), **more)
        assert learned(encoded, tokenizer) == ["A greets.<|endoftext|>"]
    answers = {"context": "x", "question": "y", "answers": ["1889", "in 1889", "1889"]}
    encoded = encoded_from(tokenizer, "qa", as_records(answers))
    assert learned(encoded, tokenizer) == ["1889<|endoftext|>"]


def squad(start: bool = True) -> list[Record]:
    at = CONTEXT.index("1712") if start else None
    values = {"context": CONTEXT, "question": "When was it built?", "answers": ["1712"]}
    return as_records(values | {"starts": [at]})


def test_a_long_context_is_cut_around_the_answer_to_learn_from_but_at_its_end_to_be_scored(
    tokenizer: Tokenizer,
) -> None:
    is_cut = ["1 of 1 examples are cut to 100 tokens (--max-length)"]
    trained = encoded_from(tokenizer, "qa", squad(), 100)
    text = tokenizer.decode(trained.items[0].prompt)
    assert trained.notes == is_cut and "1712" in text and "When was it built?" in text
    assert len(trained.items[0].example.ids) <= 100
    scored = encoded_from(tokenizer, "qa", squad(), 100, training=False, format=trained.format)
    text = tokenizer.decode(scored.items[0].prompt)
    assert scored.notes == is_cut and "1712" not in text and text.startswith("One line.")
    assert "When was it built?" in text
    assert learned(scored, tokenizer) == ["1712<|endoftext|>"]
    room = 100 - trained.format.answer_tokens
    assert len(scored.items[0].prompt) <= room
    unknown = encoded_from(tokenizer, "qa", squad(start=False), 100)
    assert "1712" not in tokenizer.decode(unknown.items[0].prompt)


def test_every_cut_passage_holds_its_answer_wherever_that_stands(
    tokenizer: Tokenizer, shared_data: Path
) -> None:
    records = read_records([str(shared_data / "cmrc2018" / "test.json")])
    for place in (0, len(CONTEXT) - 8):
        answer = CONTEXT[place : place + 5]
        row = {"context": CONTEXT, "question": "Which?", "answers": [answer], "starts": [place]}
        records.append(Record(row, f"at {place}"))
    encoded = encoded_from(tokenizer, "qa", records, 512)
    checked = 0
    for item in encoded.items:
        record = records[item.index]
        assert record.place == item.example.source
        answer = record["answers"][0].strip()
        if answer in record["context"]:
            checked += 1
            assert answer in tokenizer.decode(item.prompt), record.place
            assert len(item.example.ids) <= 512
    *left_out, cut = encoded.notes
    count = re.fullmatch(r"([\d,]+) of [\d,]+ examples are cut to 512 tokens \(--max-length\)", cut)
    assert count and int(count[1].replace(",", "")) > 900 and checked > 900
    assert "2 examples left out: with an empty question" in left_out
    starts = [
        tokenizer.decode(item.prompt[1:12])[:3] == records[item.index]["context"][:3]
        for item in encoded.items
    ]
    assert 0.1 < np.mean(starts) < 0.9  # not the beginning alone


def test_what_is_scored_does_not_depend_on_the_answer(tokenizer: Tokenizer) -> None:
    format = encoded_from(tokenizer, "qa", squad(), 100).format
    answer = "Another line. Another line."
    place = CONTEXT.index(answer)
    changed = dict(squad()[0].values) | {"answers": [answer], "starts": [place]}
    prompts = [
        encoded_from(tokenizer, "qa", records, 100, training=False, format=format).items[0].prompt
        for records in (squad(), [Record(changed, "x")], [Record(changed | {"answers": []}, "x")])
    ]
    assert prompts[0] == prompts[1] == prompts[2]
    hidden = {k: v for k, v in changed.items() if k in ("context", "question")}
    unlabelled = read("qa", as_records(hidden), labelled=False)
    (item,) = encode(tokenizer, unlabelled, "qa", 100, training=False, format=format).items
    assert item.prompt == prompts[0]
    assert not item.example.scored.any()


def test_what_leaves_nothing_to_learn_is_left_out_and_too_much_of_it_is_refused(
    tokenizer: Tokenizer,
) -> None:
    short = [{"en": f"word {n}", "de": f"Wort {n}"} for n in range(30)]
    long = {"en": "word " * 100, "de": "Wort"}
    encoded = encoded_from(tokenizer, "translate", as_records(*short, long), 40)
    assert len(encoded.items) == 30
    assert encoded.notes == ["1 example left out: without room for the answer"]
    assert all(item.example.scored.any() for item in encoded.items)
    with pytest.raises(UserError, match=r"3 of 33 examples cannot .* at most 40 .*--max-length"):
        encoded_from(tokenizer, "translate", as_records(*short, *[long] * 3), 40)
    scored = encoded_from(
        tokenizer,
        "translate",
        as_records(*short, *[long] * 3),
        40,
        training=False,
        format=encoded.format,
    )
    assert len(scored.items) == 33
    assert scored.notes == ["3 of 33 examples are cut to 40 tokens (--max-length)"]
    answer = {"en": "word", "de": "Wort " * 100}
    encoded = encoded_from(tokenizer, "translate", as_records(*short, answer), 40)
    assert encoded.notes == ["1 example left out: with an answer that is too long"]


@pytest.mark.parametrize("length", [50, 57, 100])
def test_no_example_is_longer_than_it_may_be(tokenizer: Tokenizer, length: int) -> None:
    records = [r for _ in range(40) for r in read_records([str(DATA / "qa.zh.jsonl")])][:40]
    for training in (True, False):
        encoded = encoded_from(tokenizer, "qa", records, length, training=training)
        room = length - encoded.format.answer_tokens
        for item in encoded.items:
            assert training or len(item.prompt) <= room
            assert len(item.example.ids) <= length
            assert "\ufffd" not in tokenizer.decode(item.prompt[1:])


def test_a_cut_never_leaves_half_a_character() -> None:
    tokenizer = byte_tokenizer()
    text = "山 é🙂水"
    ids = tokenizer.encode(text)
    for begin in range(len(ids)):
        for end in range(begin + 1, len(ids) + 1):
            assert "\ufffd" not in tokenizer.decode(whole_characters(ids[begin:end], tokenizer))
    assert whole_characters(ids, tokenizer) == ids


def test_an_empty_question_is_not_learned_from_but_is_scored(tokenizer: Tokenizer) -> None:
    """As one in CMRC 2018's trial data."""
    rows = [{"context": "Wet.", "question": f"What? {n}", "answers": ["Wet"]} for n in range(30)]
    records = as_records(*rows, {"context": "Wet.", "question": "", "answers": ["Wet"]})
    trained = encoded_from(tokenizer, "qa", records)
    assert trained.notes == ["1 example left out: with an empty question"]
    scored = encoded_from(tokenizer, "qa", records, training=False, format=trained.format)
    assert len(scored.items) == 31 and learned(scored, tokenizer)[-1] == "Wet<|endoftext|>"


def test_a_prompt_of_ones_own_names_any_columns(tokenizer: Tokenizer) -> None:
    row = {"title": "Rain", "text": "It rained.", "summary": "Wet."}
    own = encoded_from(tokenizer, "summarize", as_records(row), prompt="{title}: {text}\\nTL;DR:")
    assert mark_targets(own.items[0].example, tokenizer) == (
        "<|endoftext|>Rain: It rained.\nTL;DR:⟦Wet.<|endoftext|>⟧"
    )
    sums = as_records({"question": "2+2?", "answer": 4})
    closed = encoded_from(tokenizer, "qa", sums, prompt="{question}=")
    assert mark_targets(closed.items[0].example, tokenizer) == (
        "<|endoftext|>2+2?=⟦4<|endoftext|>⟧"
    )
    with pytest.raises(UserError, match="no column is clearly the context"):
        encoded_from(tokenizer, "qa", as_records({"question": "2+2?", "answer": "4"}))


def test_every_token_of_a_long_text_is_learned_once(tokenizer: Tokenizer) -> None:
    text = CONTEXT * 2
    encoded = encoded_from(tokenizer, "text", as_records({"text": text}), 64)
    assert max(len(item.example.ids) for item in encoded.items) == 64
    assert "".join(learned(encoded, tokenizer)) == text.strip() + "<|endoftext|>"


HOSTILE = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|pad|>", "<|im_", "end|>", "{context}"]
HOSTILE += ["{{", "{% raw %}", "\ufdd1", "0", "\ufdd10\ufdd1", "\n", " ", "user\n", "word", "山"]


def hostile_text(chance: random.Random) -> str:
    return "x" + "".join(chance.choices(HOSTILE, k=chance.randrange(1, 8)))


@pytest.mark.parametrize("cases", [300, pytest.param(10_000, marks=pytest.mark.slow(cases=10_000))])
def test_no_text_becomes_a_control_token(tokenizer: Tokenizer, cases: int) -> None:
    chance = random.Random(cases)
    control = np.array(sorted(tokenizer.special_ids))
    rows: dict[str, list[dict[str, Any]]] = {"qa": [], "translate": [], "summarize": [], "chat": []}
    for _ in range(cases):
        a, b, c = (hostile_text(chance) for _ in range(3))
        rows["qa"].append({"context": a, "question": b, "answers": [c]})
        rows["translate"].append({"source": a, "target": b})
        rows["summarize"].append({"document": a, "summary": b})
        turns = [("system", a), ("user", b), ("assistant", c)]
        rows["chat"].append({"messages": [{"role": r, "content": t} for r, t in turns]})
    for task, records in rows.items():
        encoded = encoded_from(tokenizer, task, as_records(*records), 4096)
        assert len(encoded.items) == cases
        expected = 6 if task == "chat" else 2  # around each of three turns; the start and the end
        for item in encoded.items:
            count = np.isin(item.example.ids, control).sum()
            assert count == expected, (task, item.example.source)
