from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nextword.tasks.generate.examples import Completions, read_examples

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.generate.data import answer_start
from nextword.tasks.generate.encoding import mark_targets, whole_characters
from nextword.tasks.planning import shorten
from nextword.tasks.records import Record, read_records
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer, train_bpe

DATA = Path(__file__).parents[2] / "examples" / "data"
CONTEXT = "One line. " * 30 + "The bridge was built in 1712 by Ada. " + "Another line. " * 30


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [path.read_text(encoding="utf-8") for path in sorted(DATA.iterdir())]
    return train_bpe(texts, 1200, 10**6)


def records(*rows: dict[str, Any]) -> list[Record]:
    return [Record(row, f"rows.jsonl:{number}") for number, row in enumerate(rows, start=1)]


def made(
    tokenizer: Tokenizer, task: str, found: list[Record], length: int = 256, **more: Any
) -> Completions:
    wanted = {"training", "format", "answered"}
    given = {name: more.pop(name) for name in list(more) if name in wanted}
    settings = TaskSettings(task=task, **more)  # type: ignore[arg-type]
    given.setdefault("training", True)
    return read_examples(found, settings, tokenizer, tokenizer.end_id, length, **given)


def learnt(completions: Completions, tokenizer: Tokenizer) -> list[str]:
    return [
        tokenizer.decode(e.example.ids[e.example.scored], skip_special=False)
        for e in completions.examples
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
def test_only_the_answer_and_its_end_are_learnt_in_every_example_of_the_data_sets(
    tokenizer: Tokenizer, task: str, files: list[str], first: str | None
) -> None:
    found = read_records([str(DATA / file) for file in files], task)
    completions = made(tokenizer, task, found)
    assert len(completions.examples) == len(found) >= 20
    assert (completions.cut, completions.dropped.total()) == (0, 0)
    answers = learnt(completions, tokenizer)
    for example, answer in zip(completions.examples, answers, strict=True):
        assert answer == "".join(example.references[:1]) + "<|endoftext|>"
        prompt = len(example.prompt)
        assert example.example.ids[:prompt].tolist() == example.prompt
        assert example.example.scored.tolist() == [False] * prompt + [True] * (
            len(example.example.ids) - prompt
        )
        assert example.prompt[0] == tokenizer.end_id
        assert example.place == example.example.source
    assert first is None or answers[0] == first + "<|endoftext|>"
    assert len({tuple(example.prompt) for example in completions.examples}) == len(found)


def test_a_chinese_data_set_is_asked_in_chinese_and_judged_as_what_is_written(
    tokenizer: Tokenizer,
) -> None:
    qa = made(tokenizer, "qa", read_records([str(DATA / "qa.zh.jsonl")]))
    assert qa.format.template.endswith("答案：\n") and qa.format.language == "zh"
    files = [str(DATA / "translate.en"), str(DATA / "translate.zh")]
    translation = made(tokenizer, "translate", read_records(files, "translate"))
    assert translation.format.template.endswith("Translation:\n")
    assert translation.format.language == "zh"


def test_answers_of_the_hubs_shape_are_judged_in_their_language(tokenizer: Tokenizer) -> None:
    row = {"context": "村在柳河边。", "question": "村在哪里？"}
    (one,) = records(row | {"answers": {"text": ["柳河"], "answer_start": [2]}})
    assert made(tokenizer, "qa", [one]).format.language == "zh"


def test_a_flat_column_says_where_an_answer_begins() -> None:
    for start in (21, "21"):
        (row,) = records({"context": CONTEXT, "answer": "Ada", "answer_start": start})
        assert answer_start(row, ["answer"]) == 21


def test_the_example_shown_before_training_marks_what_is_learnt(tokenizer: Tokenizer) -> None:
    found = records({"en": "a cat", "de": "eine Katze"}, {"en": "a dog", "de": "ein Hund"})
    completions = made(tokenizer, "translate", found)
    assert completions.columns.inputs == {"source": "en"} and completions.columns.targets == ["de"]
    assert mark_targets(completions.examples[0].example, tokenizer) == (
        "<|endoftext|>a cat\n\nTranslation:\n⟦eine Katze<|endoftext|>⟧"
    )


def test_an_example_that_is_long_is_shown_where_what_is_learnt_begins(
    tokenizer: Tokenizer,
) -> None:
    row = {"context": CONTEXT * 3, "question": "Who built it?", "answers": ["Ada"]}
    shown = shorten(
        mark_targets(made(tokenizer, "qa", records(row), 2048).examples[0].example, tokenizer)
    )
    assert len(shown) < 500 and "One line." in shown and "⟦Ada" in shown
    assert "Who built it?" in shown
    assert shorten("short  ⟦one⟧") == "short ⟦one⟧"


def test_a_question_without_an_answer_is_learnt_as_an_end_at_once(tokenizer: Tokenizer) -> None:
    squad2 = {"text": [], "answer_start": []}
    for answers in ([], squad2):
        row = {"context": "It rained.", "question": "Who won?", "answers": answers}
        completions = made(tokenizer, "qa", records(row))
        assert learnt(completions, tokenizer) == ["<|endoftext|>"]
        assert completions.examples[0].references == ()
    blank = {"context": "It rained.", "question": "Who won?", "answer": ""}
    with pytest.raises(UserError, match=r"rows.jsonl:1: column 'answer' is empty; .*answers \[\]"):
        made(tokenizer, "qa", records(blank))


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("summarize", {"text": "Long.", "summary": " "}, "rows.jsonl:2: column 'summary' is empty"),
        ("translate", {"en": "a", "de": None}, "rows.jsonl:2: column 'de' is empty"),
        ("translate", {"en": "", "de": "b"}, "rows.jsonl:2: column 'en' is empty"),
        ("translate", {"en": "a", "de": {"x": 1}}, "rows.jsonl:2: column 'de' is empty"),
        ("translate", {"en": ["a"], "de": "b"}, "rows.jsonl:2: column 'en' is not text"),
    ],
)
def test_what_is_empty_or_not_text_is_refused_with_its_place(
    tokenizer: Tokenizer, task: str, row: dict[str, Any], message: str
) -> None:
    good = dict.fromkeys(row, "some text here")
    with pytest.raises(UserError) as raised:
        made(tokenizer, task, records(good, row))
    assert message in str(raised.value)


def test_several_references_are_kept_and_the_first_is_learnt(tokenizer: Tokenizer) -> None:
    row = {"dialogue": "#A#: Hi.", "summary1": "A greets.", "summary2": "A says hi.", "topic1": "x"}
    (example,) = made(tokenizer, "summarize", records(row)).examples
    assert example.references == ("A greets.", "A says hi.")
    named = made(tokenizer, "summarize", records(row), target_column="summary")
    assert named.examples[0].references == example.references
    answers = {"context": "x", "question": "y", "answers": ["1889", "in 1889", "1889"]}
    (example,) = made(tokenizer, "qa", records(answers)).examples
    assert example.references == ("1889", "in 1889")


def squad(start: bool = True) -> list[Record]:
    at = CONTEXT.index("1712") if start else None
    values = {"context": CONTEXT, "question": "When was it built?", "answers": ["1712"]}
    return records(values | {"starts": [at]})


def test_a_long_context_is_cut_around_the_answer_to_learn_from_but_at_its_end_to_be_judged(
    tokenizer: Tokenizer,
) -> None:
    trained = made(tokenizer, "qa", squad(), 100)
    text = tokenizer.decode(trained.examples[0].prompt)
    assert trained.cut == 1 and "1712" in text and "When was it built?" in text
    assert len(trained.examples[0].example.ids) <= 100
    judged = made(tokenizer, "qa", squad(), 100, training=False, format=trained.format)
    text = tokenizer.decode(judged.examples[0].prompt)
    assert judged.cut == 1 and "1712" not in text and text.startswith("One line.")
    assert "When was it built?" in text and judged.examples[0].references == ("1712",)
    room = 100 - trained.format.answer_tokens
    assert len(judged.examples[0].prompt) <= room
    unknown = made(tokenizer, "qa", squad(start=False), 100)
    assert "1712" not in tokenizer.decode(unknown.examples[0].prompt)


def test_every_cut_passage_holds_its_answer_wherever_that_stands(
    tokenizer: Tokenizer, shared_data: Path
) -> None:
    found = read_records([str(shared_data / "cmrc2018" / "test.json")])
    for place in (0, len(CONTEXT) - 8):
        answer = CONTEXT[place : place + 5]
        row = {"context": CONTEXT, "question": "Which?", "answers": [answer], "starts": [place]}
        found.append(Record(row, f"at {place}"))
    completions = made(tokenizer, "qa", found, 512)
    places = {record.place: record for record in found}
    checked = 0
    for example in completions.examples:
        record = places[example.place]
        answer = record["answers"][0].strip()
        if answer in record["context"]:
            checked += 1
            assert answer in tokenizer.decode(example.prompt), example.place
            assert len(example.example.ids) <= 512
    assert completions.cut > 900 and checked > 900
    assert completions.dropped["with an empty question"] == 2
    starts = [
        tokenizer.decode(e.prompt[1:12])[:3] == places[e.place]["context"][:3]
        for e in completions.examples
    ]
    assert 0.1 < np.mean(starts) < 0.9  # not the beginning alone


def test_what_is_judged_does_not_depend_on_the_answer(tokenizer: Tokenizer) -> None:
    format = made(tokenizer, "qa", squad(), 100).format
    other = squad()
    changed = dict(other[0].values) | {"answers": ["Another line. Another line."], "starts": [5]}
    both = [
        made(tokenizer, "qa", found, 100, training=False, format=format).examples[0].prompt
        for found in (squad(), [Record(changed, "x")], [Record(changed | {"answers": []}, "x")])
    ]
    assert both[0] == both[1] == both[2]
    hidden = {k: v for k, v in changed.items() if k in ("context", "question")}
    asked = made(
        tokenizer, "qa", records(hidden), 100, training=False, format=format, answered=False
    )
    assert asked.examples[0].prompt == both[0]
    assert not asked.examples[0].example.scored.any()


def test_what_leaves_nothing_to_learn_is_left_out_and_too_much_of_it_is_refused(
    tokenizer: Tokenizer,
) -> None:
    short = [{"en": f"word {n}", "de": f"Wort {n}"} for n in range(30)]
    long = {"en": "word " * 100, "de": "Wort"}
    completions = made(tokenizer, "translate", records(*short, long), 40)
    assert len(completions.examples) == 30
    assert completions.dropped == {"without room for the answer": 1}
    assert all(e.example.scored.any() for e in completions.examples)
    with pytest.raises(UserError, match=r"3 of 33 examples cannot .* at most 40 .*--max-length"):
        made(tokenizer, "translate", records(*short, *[long] * 3), 40)
    judged = made(
        tokenizer,
        "translate",
        records(*short, *[long] * 3),
        40,
        training=False,
        format=completions.format,
    )
    assert len(judged.examples) == 33 and judged.cut == 3
    answer = {"en": "word", "de": "Wort " * 100}
    completions = made(tokenizer, "translate", records(*short, answer), 40)
    assert completions.dropped == {"with an answer that is too long": 1}


@pytest.mark.parametrize("length", [50, 57, 100])
def test_no_example_is_longer_than_it_may_be(tokenizer: Tokenizer, length: int) -> None:
    found = [r for _ in range(40) for r in read_records([str(DATA / "qa.zh.jsonl")])][:40]
    for training in (True, False):
        completions = made(tokenizer, "qa", found, length, training=training)
        room = length - completions.format.answer_tokens
        for example in completions.examples:
            assert training or len(example.prompt) <= room
            assert len(example.example.ids) <= length
            assert "\ufffd" not in tokenizer.decode(example.prompt[1:])


def test_a_cut_never_leaves_half_a_character() -> None:
    tokenizer = byte_tokenizer()
    text = "山 é🙂水"
    ids = tokenizer.encode(text)
    for begin in range(len(ids)):
        for end in range(begin + 1, len(ids) + 1):
            assert "\ufffd" not in tokenizer.decode(whole_characters(ids[begin:end], tokenizer))
    assert whole_characters(ids, tokenizer) == ids


def test_an_empty_question_is_not_learnt_from_but_is_judged(tokenizer: Tokenizer) -> None:
    """As one in CMRC 2018's trial data."""
    asked = [{"context": "Wet.", "question": f"What? {n}", "answers": ["Wet"]} for n in range(30)]
    found = records(*asked, {"context": "Wet.", "question": "", "answers": ["Wet"]})
    completions = made(tokenizer, "qa", found)
    assert completions.dropped == {"with an empty question": 1}
    judged = made(tokenizer, "qa", found, training=False, format=completions.format)
    assert len(judged.examples) == 31 and judged.examples[-1].references == ("Wet",)


def test_a_prompt_of_ones_own_names_any_columns(tokenizer: Tokenizer) -> None:
    row = {"title": "Rain", "text": "It rained.", "summary": "Wet."}
    completions = made(tokenizer, "summarize", records(row), prompt="{title}: {text}\\nTL;DR:")
    assert mark_targets(completions.examples[0].example, tokenizer) == (
        "<|endoftext|>Rain: It rained.\nTL;DR:⟦Wet.<|endoftext|>⟧"
    )
    closed = made(tokenizer, "qa", records({"question": "2+2?", "answer": 4}), prompt="{question}=")
    assert (
        mark_targets(closed.examples[0].example, tokenizer) == "<|endoftext|>2+2?=⟦4<|endoftext|>⟧"
    )
    with pytest.raises(UserError, match="no column is clearly the context"):
        made(tokenizer, "qa", records({"question": "2+2?", "answer": "4"}))


def test_two_unnamed_languages_need_no_names_but_three_columns_do(tokenizer: Tokenizer) -> None:
    nested = records({"id": 3, "translation": {"en": "a cat", "de": "eine Katze"}})
    assert made(tokenizer, "translate", nested).columns.targets == ["translation.de"]
    back = made(tokenizer, "translate", records({"en": "a", "de": "b"}), target_column="en")
    assert back.columns.inputs == {"source": "de"}
    with pytest.raises(UserError, match=r"no column is clearly the source .*--text-column"):
        made(tokenizer, "translate", records({"en": "a", "de": "b", "fr": "c"}))


def test_every_token_of_a_long_text_is_learnt_once(tokenizer: Tokenizer) -> None:
    text = CONTEXT * 2
    completions = made(tokenizer, "text", records({"text": text}), 64)
    assert max(len(e.example.ids) for e in completions.examples) == 64
    assert "".join(learnt(completions, tokenizer)) == text.strip() + "<|endoftext|>"


HOSTILE = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|pad|>", "<|im_", "end|>", "{context}"]
HOSTILE += ["{{", "{% raw %}", "\ufdd1", "0", "\ufdd10\ufdd1", "\n", " ", "user\n", "word", "山"]


def hostile_text(chances: random.Random) -> str:
    return "x" + "".join(chances.choices(HOSTILE, k=chances.randrange(1, 8)))


@pytest.mark.parametrize("cases", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_text_becomes_a_control_token(tokenizer: Tokenizer, cases: int) -> None:
    chances = random.Random(cases)
    control = np.array(sorted(tokenizer.special_ids))
    rows: dict[str, list[dict[str, Any]]] = {"qa": [], "translate": [], "summarize": [], "chat": []}
    for _ in range(cases):
        a, b, c = (hostile_text(chances) for _ in range(3))
        rows["qa"].append({"context": a, "question": b, "answers": [c]})
        rows["translate"].append({"source": a, "target": b})
        rows["summarize"].append({"document": a, "summary": b})
        said = [("system", a), ("user", b), ("assistant", c)]
        rows["chat"].append({"messages": [{"role": r, "content": t} for r, t in said]})
    for task, found in rows.items():
        completions = made(tokenizer, task, records(*found), 4096)
        expected = 6 if task == "chat" else 2  # around each of three turns; the start and the end
        for example in completions.examples:
            assert np.isin(example.example.ids, control).sum() == expected, (task, example.place)
