from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.prompts import THINKING, as_records, encode, read

from nextword.errors import UserError
from nextword.tasks.generate.chat_template import with_template
from nextword.tasks.generate.encoding import EncodedPrompts, mark_targets
from nextword.tasks.records import Record, read_records
from nextword.tokens.tokenizer import Tokenizer

DATA = Path(__file__).parents[3] / "examples" / "data"


def encoded_from(
    tokenizer: Tokenizer, records: list[Record], max_length: int = 512, **more: Any
) -> EncodedPrompts:
    return encode(tokenizer, read("chat", records), "chat", max_length, **more)


def talk(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    return ([{"role": "system", "content": system}] if system else []) + turns


def test_all_that_the_assistant_says_is_learned_with_the_end_of_each_turn(
    tokenizer: Tokenizer,
) -> None:
    dataset = read(
        "chat", as_records({"messages": talk("Hi", "Hello.", "And?", "Bye.", system="Be brief.")})
    )
    (item,) = encode(tokenizer, dataset, "chat").items
    assert mark_targets(item.example, tokenizer) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n⟦Hello.<|im_end|>⟧\n<|im_start|>user\nAnd?<|im_end|>\n"
        "<|im_start|>assistant\n⟦Bye.<|im_end|>⟧\n"
    )
    assert dataset.examples[0][-1].content == "Bye."
    assert tokenizer.decode(item.prompt, skip_special=False).endswith(
        "And?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_model_is_taught_to_go_on_from_exactly_the_prompt_it_will_be_given(
    tokenizer: Tokenizer,
) -> None:
    ours = with_template(tokenizer, THINKING)
    records = as_records({"messages": talk("Hi", "Hello.", "And?", "Bye.")})
    (item,) = encoded_from(ours, records).items
    assert item.example.ids[: len(item.prompt)].tolist() == item.prompt
    assert mark_targets(item.example, ours).endswith("</think>\n\n⟦Bye.<|im_end|>⟧\n")


def test_instructions_are_read_without_their_answers(tokenizer: Tokenizer) -> None:
    rows = as_records({"instruction": "Write backwards.", "input": "abc"})
    dataset = read("chat", rows, labelled=False, text_column="instruction")
    (item,) = encode(tokenizer, dataset, "chat", training=False).items
    assert "Write backwards.\n\nabc" in tokenizer.decode(item.prompt)
    assert [message.role for message in dataset.examples[0]] == ["user"]
    assert item.example.ids.tolist() == item.prompt and not item.example.scored.any()


def test_instructions_and_prompts_are_conversations_too(tokenizer: Tokenizer) -> None:
    records = read_records([str(DATA / "instructions.jsonl")])
    assert len(encoded_from(tokenizer, records).items) == len(records)
    row = {"instruction": "Write it in capitals.", "input": "tulip", "output": "TULIP"}
    (item,) = encoded_from(tokenizer, as_records(row)).items
    assert mark_targets(item.example, tokenizer) == (
        "<|im_start|>user\nWrite it in capitals.\n\ntulip<|im_end|>\n"
        "<|im_start|>assistant\n⟦TULIP<|im_end|>⟧\n"
    )
    for names in (("prompt", "response"), ("prompt", "completion"), ("ask", "reply")):
        columns = {}
        if names[0] == "ask":
            columns = {"text_column": "ask", "target_column": "reply"}
        row = dict(zip(names, ("Hi", "Hello"), strict=True))
        dataset = read("chat", as_records(row), **columns)
        assert dataset.examples[0][-1].content == "Hello"
        (item,) = encode(tokenizer, dataset, "chat").items
        assert mark_targets(item.example, tokenizer).endswith("⟦Hello<|im_end|>⟧\n")


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "x:1: messages are not a list"),
        ([{"role": "user"}], "x:1: message 1 has no text"),
        (talk("Hi"), "x:1: holds nothing that the assistant says"),
        (talk("Hi", ""), "x:1: message 2 is empty"),
        ([{"role": "asistant", "content": "x"}], "message 1 has the role 'asistant'; did you mean"),
        ([{"content": "x"}], "x:1: message 1 has no role"),
    ],
)
def test_a_conversation_that_cannot_be_learned_is_refused_with_its_place(
    messages: Any, message: str
) -> None:
    with pytest.raises(UserError) as raised:
        read("chat", [Record({"messages": messages}, "x:1")])
    assert message in str(raised.value)


def test_a_conversation_that_is_too_long_loses_its_oldest_exchanges(tokenizer: Tokenizer) -> None:
    turns = [f"{word} {n}" for n in range(12) for word in ("question", "answer")]
    records = as_records(*[{"messages": talk(*turns, system="Be brief.")}] * 3)
    encoded = encoded_from(tokenizer, records, 100)
    text = mark_targets(encoded.items[0].example, tokenizer)
    assert encoded.notes == ["3 of 3 examples are cut to 100 tokens (--max-length)"]
    assert len(encoded.items[0].example.ids) <= 100
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nquestion")
    assert text.endswith("⟦answer 11<|im_end|>⟧\n") and "question 0" not in text
    scored = encoded_from(tokenizer, records, 100, training=False, format=encoded.format)
    assert len(scored.items[0].prompt) <= 100 - encoded.format.answer_tokens
    long = {"messages": talk("word " * 200, "answer")}
    short = [{"messages": talk(f"q {n}", f"a {n}")} for n in range(30)]
    encoded = encoded_from(tokenizer, as_records(*short, long), 100)
    assert encoded.notes == ["1 example left out: with a last exchange that is too long"]
    assert len(encoded.items) == 30
    with pytest.raises(UserError, match=r"1 of 1 examples cannot be learned from .* 100 tokens"):
        encoded_from(tokenizer, as_records(long), 100)
