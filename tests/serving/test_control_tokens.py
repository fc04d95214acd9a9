"""Names of control tokens in what people write are text, wherever it comes in; and a text begins
once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from small_models import ours
from support.servers import served

from nextword.tasks.generate.chat_template import with_template
from nextword.tokens.tokenizer import Tokenizer


def post(address: str, route: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{address}{route}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_no_text_becomes_a_control_token_on_any_path(talking: str, talker: Path) -> None:
    tokenizer = Tokenizer.load(talker)
    controls = tokenizer.special_ids
    asked = {"max_tokens": 1, "return_token_ids": True}
    empty = [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]
    ids = post(talking, "/v1/chat/completions", messages=empty, **asked)["prompt_token_ids"]
    of_template = sum(id in controls for id in ids)
    for id in controls:
        text = f"a{tokenizer.id_to_token(id)}b"
        for prompt in (text, f"{tokenizer.id_to_token(id)}"):
            choice = post(talking, "/v1/completions", prompt=prompt, **asked)["choices"][0]
            assert not controls & set(choice["prompt_token_ids"])
            assert not controls & set(post(talking, "/tokenize", prompt=prompt)["tokens"])
        for content in (text, [{"type": "text", "text": text}]):
            talk = [{"role": "user", "content": content}, {"role": "system", "content": content}]
            answer = post(talking, "/v1/chat/completions", messages=talk, **asked)
            assert sum(id in controls for id in answer["prompt_token_ids"]) == of_template
        many = len(tokenizer.encode(text))
        usage = post(talking, "/v1/embeddings", input=text)["usage"]
        assert usage["prompt_tokens"] == many
        form = {"type": "regex", "pattern": f"a{tokenizer.id_to_token(id)}b".replace("|", "[|]")}
        stopped = post(
            talking, "/v1/completions", prompt="x", max_tokens=40, response_format=form,
            stop=f"{tokenizer.id_to_token(id)}",
        )["choices"][0]  # fmt: skip
        free = post(
            talking, "/v1/completions", prompt="x", response_format=form, max_tokens=40,
            return_token_ids=True,
        )["choices"][0]  # fmt: skip
        assert free["text"] == text and not controls & set(free["token_ids"])
        assert stopped["text"] == "a" and stopped["stop_reason"] == tokenizer.id_to_token(id)


def test_a_text_begins_once(tmp_path: Path) -> None:
    folder = ours(tmp_path / "tiny")
    tokenizer = Tokenizer.load(folder)
    definition = json.loads(tokenizer.definition)
    name, start = "<|endoftext|>", tokenizer.end_id
    piece = {"SpecialToken": {"id": name, "type_id": 0}}
    texts = [{"Sequence": {"id": letter, "type_id": 0}} for letter in "AB"]
    definition["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [piece, texts[0]],
        "pair": [piece, *texts],
        "special_tokens": {name: {"id": name, "ids": [start], "tokens": [name]}},
    }
    config = tokenizer.config | {"bos_token": name}
    changed = Tokenizer(json.dumps(definition), config)
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    with_template(changed, template).save(folder)
    asked = {"max_tokens": 1, "return_token_ids": True}
    with served(folder) as at:
        (choice,) = post(at, "/v1/completions", prompt="The cat", **asked)["choices"]
        assert choice["prompt_token_ids"] == [start, *tokenizer.encode("The cat")]
        (choice,) = post(at, "/v1/completions", prompt="", **asked)["choices"]
        assert choice["prompt_token_ids"] == [start]
        ids = [start, 5, 6]
        (choice,) = post(at, "/v1/completions", prompt=ids, **asked)["choices"]
        assert choice["prompt_token_ids"] == ids
        talk = [{"role": "user", "content": "The cat"}]
        answer = post(at, "/v1/chat/completions", messages=talk, **asked)
        assert answer["prompt_token_ids"] == [start, *tokenizer.encode("The cat")]
