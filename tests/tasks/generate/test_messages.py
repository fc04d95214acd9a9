"""Messages in all the ways that data sets write them."""

from __future__ import annotations

from typing import Any

import pytest

from nextword.errors import UserError
from nextword.tasks.generate.messages import Message, messages_in, read_messages

TALK = [Message("user", "Say 1."), Message("assistant", "1")]


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content} | more


@pytest.mark.parametrize(
    "value",
    [
        [turn("user", "Say 1."), turn("assistant", "1")],
        [turn("USER", "Say 1."), turn("Assistant", 1)],
        [{"from": "human", "value": "Say 1."}, {"from": "gpt", "value": "1"}],
        [{"role": "prompter", "text": "Say 1."}, {"role": "assistant", "text": "1"}],
        [{"human": "Say 1.", "assistant": "1"}],
        [turn("user", [{"type": "text", "text": "Say "}, "1."]), turn("assistant", "1")],
        [turn("user", "Say 1."), turn("assistant", "1", tool_calls=[], function_call=None)],
        {"role": ["user", "assistant"], "content": ["Say 1.", "1"]},
        "[{'role': 'user', 'content': 'Say 1.'}, {'role': 'assistant', 'content': '1'}]",
        '[{"from": "human", "value": "Say 1."}, {"from": "gpt", "value": "1"}]',
    ],
)
def test_a_conversation_is_the_same_in_whatever_format(value: Any) -> None:
    unused = set[str]()
    assert read_messages(value, "x:1", unused=unused) == TALK and unused == set()


@pytest.mark.parametrize(
    ("more", "learned"),
    [
        ({}, True),
        ({"weight": 1}, True),
        ({"weight": 0}, False),
        ({"weight": 0.0}, False),
        ({"train": False}, False),
        ({"loss": True}, True),
        ({"weight": None}, True),
    ],
)
def test_an_answer_of_weight_0_is_read_and_not_learned(more: Any, learned: bool) -> None:
    (answer,) = read_messages([turn("assistant", "No!", **more)], "x:1")
    assert answer == Message("assistant", "No!", learned)


def test_keys_that_are_not_read_are_named() -> None:
    parts = [{"type": "text", "text": "a", "cache": {"type": "x"}}]
    unused = set[str]()
    asked = turn("user", parts, name="Bo", weight=1)
    read_messages([asked, turn("assistant", "b", thought="hm", loss=0.4)], "x:1", "talk", unused)
    keys = {"content.cache", "name", "weight", "thought", "loss"}
    assert unused == {f"talk.{key}" for key in keys}


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (
            turn("tool", "21°"),
            "role 'tool': calls of tools are not learned; remove these turns",
        ),
        ({"from": "observation", "value": "x"}, "the role 'observation': calls of tools"),
        (turn("assistant", None, tool_calls=[{"id": 1}]), "message 1 calls a tool"),
        (turn("user", [{"type": "image_url", "image_url": "x"}]), "a part of the type 'image_url'"),
        (turn("assistant", "x", weight=0.5), "the weight 0.5; give 1 .* 0"),
        (turn("assistant", "x", weight=1, train=False), "weight 1 and train False"),
        (turn("user", "x", **{"from": "gpt"}), "contradicts itself: it has role 'user' and from"),
        (turn("user", float("nan")), "message 1 has no text"),
        (turn("user", True), "message 1 has no text"),
        (turn("narrator", "x"), "the role 'narrator'"),
    ],
)
def test_what_cannot_be_learned_is_refused_by_name(item: Any, problem: str) -> None:
    with pytest.raises(UserError, match=rf"^x:1: .*{problem}"):
        read_messages([item], "x:1")


def test_messages_held_as_text_are_told_from_other_text() -> None:
    for text in ("[1, 2]", "['a', 'b']", "[laughs] Yes.", "{x | x > 0}"):
        assert messages_in(text, "x:1") is None
    assert messages_in("{'role': 'user', 'content': 'a'}", "x:1") == [turn("user", "a")]
    with pytest.raises(UserError, match="x:1: holds messages as text that is cut off"):
        messages_in("[{'role': 'user', 'content': 'a", "x:1")


def test_a_mask_that_may_mean_learned_or_not_is_asked_about() -> None:
    with pytest.raises(UserError, match="message 2 has the mask True, which may mean that"):
        read_messages([turn("user", "Say 1."), turn("assistant", "1", mask=True)], "x:1")
    unused = set[str]()
    read_messages([turn("user", "Hi", mask=True), turn("assistant", "1")], "x:1", unused=unused)
    assert unused == {"messages.mask"}
