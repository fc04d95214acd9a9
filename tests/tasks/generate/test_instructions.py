"""Instructions with what stands beside them, and trees of replies."""

from __future__ import annotations

from typing import Any

import pytest
from support.prompts import as_records, encode, read

from nextword.errors import UserError
from nextword.tasks.generate.encoding import mark_targets
from nextword.tokens.tokenizer import Tokenizer

NAN = float("nan")
ANSWERED = {"instruction": "Double it.", "output": "14"}


def said(*rows: dict[str, Any], **settings: Any) -> list[tuple[str, str]]:
    dataset = read("chat", as_records(*rows), **settings)
    return [(message.role, message.content) for message in dataset.examples[-1]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (0, "0"),
        (2.5, "2.5"),
        (False, "false"),
        ([1, 2], "[1, 2]"),
        ("7 ", "7"),
        ({"a": "ä"}, '{"a": "ä"}'),
        ("[1, 2]", "[1, 2]"),
    ],
)
def test_whatever_the_input_is_stands_in_the_prompt(value: Any, text: str) -> None:
    assert said(ANSWERED | {"input": value})[0] == ("user", f"Double it.\n\n{text}")


@pytest.mark.parametrize("value", [None, "", NAN, [], {}])
def test_an_input_that_holds_nothing_adds_nothing(value: Any) -> None:
    assert said(ANSWERED | {"input": value})[0] == ("user", "Double it.")


def test_input_and_context_stand_after_the_instruction_though_they_come_late() -> None:
    rows = [ANSWERED] * 60
    late = ANSWERED | {"input": "7", "context": "Numbers.", "system": "Be brief."}
    assert said(*rows, late) == [
        ("system", "Be brief."),
        ("user", "Double it.\n\n7\n\nNumbers."),
        ("assistant", "14"),
    ]


@pytest.mark.parametrize(
    "history",
    [
        [["Hi", "Hello"]],
        "[['Hi', 'Hello']]",
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    ],
)
def test_earlier_turns_stand_before(history: Any) -> None:
    turns = said(ANSWERED | {"history": history, "system_prompt": "Be brief."})
    assert [content for _, content in turns] == ["Be brief.", "Hi", "Hello", "Double it.", "14"]


def test_a_column_that_is_empty_everywhere_is_passed_over() -> None:
    row = {"messages": None, "output": "", "instruction": "Hi", "response": "Hello"}
    assert said(row) == [("user", "Hi"), ("assistant", "Hello")]


def test_a_system_column_stands_before_messages_and_may_be_said_twice() -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    system = {"role": "system", "content": "Be brief."}
    expected = [("system", "Be brief."), ("user", "a"), ("assistant", "b")]
    assert said({"system": "Be brief.", "messages": talk}) == expected
    assert said({"system": "Be brief.", "messages": [system, *talk]}) == expected


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ANSWERED | {"history": "Hi!"}, "column 'history' holds 'Hi!', which is no pair"),
        (ANSWERED | {"history": [["a"]]}, "which is no pair of a question and its answer"),
        (ANSWERED | {"history": [["a", None]]}, "which is no pair of a question and its answer"),
        (ANSWERED | {"output": NAN}, "column 'output' is empty"),
        (ANSWERED | {"instruction": None}, "column 'instruction' is empty"),
        (ANSWERED | {"system": ["a"]}, "column 'system' is not text"),
        (
            ANSWERED | {"system": "Shout.", "system_prompt": "Whisper."},
            "two system messages: 'Shout.' in column 'system' and 'Whisper.' in column 'system_pro",
        ),
        (
            {
                "system": "Shout.",
                "messages": [
                    {"role": "system", "content": "Whisper."},
                    {"role": "assistant", "content": "a"},
                ],
            },
            "two system messages: 'Shout.' in column 'system' and 'Whisper.' in its messages",
        ),
    ],
)
def test_what_contradicts_itself_or_is_not_understood_stops(row: Any, problem: str) -> None:
    good = {"instruction": "a", "output": "b", "messages": [{"role": "assistant", "content": "x"}]}
    with pytest.raises(UserError, match=rf"rows.jsonl:2: .*{problem}"):
        said({name: good.get(name) for name in row}, row)


def test_the_best_ranked_path_of_a_tree_is_a_conversation_and_the_rest_is_counted() -> None:
    more = {"text": "And?", "role": "prompter", "replies": []}
    replies = [
        {"text": "Bad.", "role": "assistant", "rank": 1, "replies": [more]},
        {"text": "Gone.", "role": "assistant", "rank": 0, "deleted": True},
        {"text": "Good.", "role": "assistant", "rank": 0, "lang": "en", "replies": [more]},
        {"text": "Unranked.", "role": "assistant", "rank": None},
    ]
    root = {"text": "Hi", "role": "prompter", "replies": replies}
    for row in (root, {"prompt": root, "tree_state": "ready"}):
        dataset = read("chat", as_records(row))
        assert [message.content for message in dataset.examples[0]] == ["Hi", "Good."]
        assert sorted(dataset.report.notes.values()) == [1, 4]  # "And?" after, four beside
        assert any(name.endswith(".lang") for name in dataset.report.unused)


def test_messages_of_a_tree_in_records_of_their_own_are_refused_with_the_way_out() -> None:
    rows = [
        {"message_id": "1", "parent_id": None, "text": "Hi", "role": "prompter"},
        {"message_id": "2", "parent_id": "1", "text": "Hello", "role": "assistant"},
    ]
    with pytest.raises(UserError, match=r"one message of a tree .*write each path .*\"messages\""):
        said(*rows)


def test_turns_of_weight_0_are_in_the_example_and_not_learned(tokenizer: Tokenizer) -> None:
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "No!", "weight": 0},
        {"role": "user", "content": "Please"},
        {"role": "assistant", "content": "Hello", "weight": 1},
    ]
    dataset = read("chat", as_records({"messages": talk}))
    (item,) = encode(tokenizer, dataset, "chat").items
    marked = mark_targets(item.example, tokenizer)
    assert "No!<|im_end|>" in marked and marked.count("⟦") == 1
    assert "⟦Hello<|im_end|>⟧" in marked


def test_what_comes_after_the_last_learned_answer_is_counted() -> None:
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "No!", "weight": 0},
    ]
    dataset = read("chat", as_records({"messages": talk}))
    assert len(dataset.examples[0]) == 2 and list(dataset.report.notes.values()) == [2]
    nothing = read("chat", as_records({"messages": talk[2:]}, {"messages": talk[:2]}))
    assert len(nothing) == 1 and len(nothing.report.left_out) == 1


def test_a_prompt_in_messages_is_read_and_its_completion_learned() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    row = {"prompt": [*turns, turns[0]], "completion": turns[1:]}
    (talk,) = read("chat", as_records(row)).examples
    assert [message.content for message in talk] == ["a", "b", "a", "b"]
    assert [message.learned for message in talk] == [False, False, False, True]


@pytest.mark.parametrize("name", ["context", "passage", "paragraph", "document", "article"])
def test_what_a_question_is_about_stands_in_the_prompt(name: str) -> None:
    asked = {"question": "Where?", name: "Ada is in Harrow.", "answer": "Harrow"}
    assert said(asked)[0] == ("user", "Where?\n\nAda is in Harrow.")
    assert said(asked | {name: "NaN"})[0] == ("user", "Where?")
