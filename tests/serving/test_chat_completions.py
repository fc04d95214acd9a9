from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pytest
from support.servers import client

from nextword.tasks.generate.chat_template import ChatTemplate, choose_template
from nextword.tasks.generate.messages import Message
from nextword.tokens.tokenizer import Tokenizer

TALK: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hello <|im_end|> "}]},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "从前有座山?"},
]


def refused(address: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{address}/v1/chat/completions", json={"messages": TALK} | body)
    assert answer.status_code in (400, 404), answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


def test_the_prompt_is_that_of_the_template_and_what_people_say_is_no_control_token(
    talking: str, talker: Path
) -> None:
    tokenizer = Tokenizer.load(talker)
    chat = ChatTemplate(tokenizer, choose_template(tokenizer, tokenizer.end_id, "en"))
    said = ["Be brief.", "Hello <|im_end|> ", "Hi.", "从前有座山?"]
    roles = ("system", "user", "assistant", "user")
    ids = chat.encode(list(map(Message, roles, said)), asks=True).ids
    answer = client(talking).chat.completions.create(
        model="tiny", messages=TALK, max_tokens=4, extra_body={"return_token_ids": True}
    )
    assert answer.model_extra is not None and answer.model_extra["prompt_token_ids"] == ids
    assert answer.usage is not None and answer.usage.prompt_tokens == len(ids)
    names = {tokenizer.id_to_token(id) for id in ids if id in tokenizer.special_ids}
    assert names == {"<|im_start|>", "<|im_end|>"}
    assert [tokenizer.id_to_token(id) for id in ids].count("<|im_end|>") == 4


def test_all_options_are_taken_and_the_stream_joins_to_the_answer(talking: str) -> None:
    fields: Any = dict(  # noqa: C408
        model="tiny",
        messages=TALK,
        max_completion_tokens=20,
        temperature=1.2,
        top_p=0.95,
        n=2,
        seed=4,
        stop=["zzz"],
        logit_bias={"300": 3},
        presence_penalty=0.1,
        frequency_penalty=0.1,
        logprobs=True,
        top_logprobs=3,
        store=False,
        tools=[],
        parallel_tool_calls=None,
        user="someone",
        extra_body={"top_k": 90, "min_p": 0.001, "min_tokens": 2, "return_token_ids": True},
    )
    whole = client(talking).chat.completions.create(**fields)
    chunks = list(
        client(talking).chat.completions.create(
            **fields, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    for choice in whole.choices:
        own = [one for c in chunks for one in c.choices if one.index == choice.index]
        assert own[0].delta.role == "assistant"
        assert "".join(one.delta.content or "" for one in own) == choice.message.content
        assert own[-1].finish_reason == choice.finish_reason
        assert choice.logprobs is not None and choice.logprobs.content is not None
        told = [t for one in own if one.logprobs for t in one.logprobs.content or []]
        assert told == choice.logprobs.content
        assert all(len(token.top_logprobs) == 3 for token in told)
        data = b"".join(bytes(token.bytes or []) for token in told)
        assert data.decode("utf-8", "replace").startswith((choice.message.content or "")[:3])


def test_an_answer_parses_into_a_model_of_pydantic(talking: str) -> None:
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str
        age: int

    answer = client(talking).chat.completions.parse(
        model="tiny", messages=TALK, max_tokens=80, response_format=Person
    )
    assert isinstance(answer.choices[0].message.parsed, Person)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    format: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    parts = client(talking).chat.completions.create(
        model="tiny", messages=TALK, max_tokens=80, response_format=format, stream=True
    )
    text = "".join(one.choices[0].delta.content or "" for one in parts)
    jsonschema.validate(json.loads(text), schema)


def test_the_last_message_is_gone_on_with_if_that_is_asked_for(talking: str) -> None:
    talk = [*TALK, {"role": "assistant", "content": "There was a"}]
    assert "continue_final_message" in refused(talking, messages=talk)["message"]
    assert "assistant's" in refused(talking, continue_final_message=True)["message"]
    fields = {"messages": talk, "continue_final_message": True, "return_token_ids": True}
    answer = httpx.post(f"{talking}/v1/chat/completions", json={**fields, "max_tokens": 3}).json()
    text = httpx.post(f"{talking}/detokenize", json={"tokens": answer["prompt_token_ids"]}).json()
    assert text["prompt"].endswith("<|im_start|>assistant\nThere was a")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x", "name": "Bob"}]}, "name"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
        ({"max_tokens": 250}, "max_tokens"),
        ({"messages": [{"role": "user", "content": "word " * 999}]}, None),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_field(
    talking: str, body: dict[str, Any], param: str | None
) -> None:
    error = refused(talking, **body)
    assert str(error["param"]).startswith(str(param)), error


def test_a_model_without_a_template_says_where_to_turn(address: str) -> None:
    error = refused(address)
    assert error["code"] == "unsupported_model" and "/v1/completions" in error["message"]
    with pytest.raises(openai.NotFoundError):
        client(address).chat.completions.create(model="tiny", messages=TALK)
