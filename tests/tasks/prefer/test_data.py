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
