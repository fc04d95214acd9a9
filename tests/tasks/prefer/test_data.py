from __future__ import annotations

from typing import Any

import pytest
from support.prompts import as_records, read

from nextword.errors import UserError
from nextword.tasks.generate.messages import Message
from nextword.tasks.prefer.data import Preference

QUESTION = Message("user", "What does a cow say?")


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def conversation(answer: str) -> list[dict[str, str]]:
    return [turn("user", QUESTION.content), turn("assistant", answer)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"prompt": "A cow says", "chosen": "moo", "rejected": "baa"},
            Preference("A cow says", "moo", "baa"),
        ),
        (  # without a prompt both answers begin with it, as in hh-rlhf
            {"chosen": "Human: Hi\n\nAssistant: Hello!", "rejected": "Human: Hi\n\nAssistant: No."},
            Preference("Human: Hi\n\nAssistant: ", "Hello!", "No."),
        ),
        (  # the same as messages
            {"chosen": conversation("Moo."), "rejected": conversation("Baa.")},
            Preference([QUESTION], "Moo.", "Baa."),
        ),
        (  # the prompt beside whole conversations, as in ultrafeedback
            {
                "prompt": QUESTION.content,
                "chosen": conversation("Moo."),
                "rejected": conversation("Baa."),
            },
            Preference([QUESTION], "Moo.", "Baa."),
        ),
        (  # the prompt as messages, the answers alone
            {
                "prompt": [turn("user", QUESTION.content)],
                "chosen": [turn("assistant", "Moo.")],
                "rejected": [turn("assistant", "Baa.")],
            },
            Preference([QUESTION], "Moo.", "Baa."),
        ),
        (  # messages as the text of a list
            {
                "prompt": QUESTION.content,
                "chosen": str([turn("assistant", "Moo.")]),
                "rejected": str([turn("assistant", "Baa.")]),
            },
            Preference([QUESTION], "Moo.", "Baa."),
        ),
        (  # in LLaMA-Factory's format
            {
                "conversations": [{"from": "human", "value": QUESTION.content}],
                "chosen": {"from": "gpt", "value": "Moo."},
                "rejected": {"from": "gpt", "value": "Baa."},
            },
            Preference([QUESTION], "Moo.", "Baa."),
        ),
        (  # answers that are lists are not messages
            {"prompt": "Sort it.", "chosen": "[1, 2]", "rejected": "['a']"},
            Preference("Sort it.", "[1, 2]", "['a']"),
        ),
        (  # with all that may stand beside a prompt
            {
                "system": "Be brief.",
                "history": [["Hi", "Hello"]],
                "instruction": "Double it.",
                "input": 7,
                "chosen": "14",
                "rejected": "15",
            },
            Preference(
                [
                    Message("system", "Be brief."),
                    Message("user", "Hi"),
                    Message("assistant", "Hello"),
                    Message("user", "Double it.\n\n7"),
                ],
                "14",
                "15",
            ),
        ),
        (  # a system message beside whole conversations
            {
                "system": "Be brief.",
                "prompt": QUESTION.content,
                "chosen": conversation("Moo."),
                "rejected": conversation("Baa."),
            },
            Preference([Message("system", "Be brief."), QUESTION], "Moo.", "Baa."),
        ),
    ],
)
def test_the_formats_of_trl_and_the_hub_are_read(row: dict[str, Any], expected: Preference) -> None:
    (example,) = read("prefer", as_records(row)).examples
    assert example == expected


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "are the same"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "column 'rejected' is empty"),
        ({"chosen": "Moo", "rejected": "Baa"}, "do not begin alike"),
        ({"prompt": "a", "chosen": "b", "rejected": float("nan")}, "column 'rejected' is empty"),
        ({"prompt": "a", "chosen": [turn("assistant", "b")], "rejected": "c"}, "other as text"),
        ({"system": "S", "chosen": "a b", "rejected": "a c"}, "a system message beside answers"),
        (
            {
                "system": "S",
                "prompt": [turn("system", "T"), turn("user", "a")],
                "chosen": "b",
                "rejected": "c",
            },
            "two system messages: 'S' in column 'system' and 'T' in its messages",
        ),
        ({"prompt": "a", "chosen": "b"}, "no column is clearly the rejected answer"),
        (
            {"chosen": conversation("Moo."), "rejected": [turn("assistant", "Baa.")]},
            "differ before their last message",
        ),
        (
            {"prompt": "Hi", "chosen": conversation("Moo."), "rejected": conversation("Baa.")},
            "the prompt is not what the conversations begin with",
        ),
        (
            {"chosen": [turn("user", "a")], "rejected": [turn("user", "b")]},
            "do not end in an answer of the assistant",
        ),
    ],
)
def test_what_says_nothing_is_refused_with_its_place(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        read("prefer", as_records(row))
    assert str(caught.value.where).startswith("rows.jsonl")


def test_new_prompts_need_no_answers() -> None:
    (example,) = read("prefer", as_records({"prompt": "Hi"}), labelled=False).examples
    assert example == Preference("Hi", "", "")


def test_scores_and_what_else_is_not_read_are_named() -> None:
    row = {"prompt": "Hi", "chosen": [turn("assistant", "a") | {"weight": 0, "id": 3}]}
    row |= {"rejected": [turn("assistant", "b")], "score_chosen": 4.5, "input": "x"}
    unused = read("prefer", as_records(row)).report.unused
    assert set(unused) == {"chosen.weight", "chosen.id", "score_chosen", "input"}
