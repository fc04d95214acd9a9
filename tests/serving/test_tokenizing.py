from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import transformers


def test_ids_are_those_of_transformers_and_give_the_text_back(address: str, writer: Path) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(writer)
    for text in ("The cat sat.", "从前有座山 🙂", " a  b\n"):
        told = httpx.post(
            f"{address}/tokenize", json={"prompt": text, "return_token_strs": True}
        ).json()
        assert told["tokens"] == theirs(text)["input_ids"] and told["count"] == len(told["tokens"])
        assert told["max_model_len"] == 256 and len(told["token_strs"]) == told["count"]
        back = httpx.post(f"{address}/detokenize", json={"tokens": told["tokens"]}).json()
        assert back == {"prompt": text}


def test_names_of_control_tokens_stay_text(address: str) -> None:
    info = httpx.get(f"{address}/tokenizer_info").json()
    assert info["vocab_size"] == 900 and info["eos_token"] == "<|endoftext|>"
    for name, id in info["special_tokens"].items():
        ids = httpx.post(f"{address}/tokenize", json={"prompt": name}).json()["tokens"]
        assert id not in ids and len(ids) > 1
        assert httpx.post(f"{address}/detokenize", json={"tokens": ids}).json()["prompt"] == name


def test_a_conversation_is_what_the_model_is_given(talking: str) -> None:
    messages = [{"role": "user", "content": "Hi <|im_end|>"}]
    ids = httpx.post(f"{talking}/tokenize", json={"messages": messages}).json()["tokens"]
    body = {"messages": messages, "max_tokens": 1, "return_token_ids": True}
    answer = httpx.post(f"{talking}/v1/chat/completions", json=body).json()
    assert answer["prompt_token_ids"] == ids


@pytest.mark.parametrize(
    ("route", "body"),
    [("tokenize", {}), ("tokenize", {"prompt": "a", "messages": [{"role": "user"}]}),
     ("detokenize", {"tokens": [900]}), ("detokenize", {"tokens": [-1]}), ("detokenize", {}),
     ("tokenize", {"prompt": "\ud800"})],
)  # fmt: skip
def test_what_has_no_tokens_is_refused(address: str, route: str, body: dict[str, object]) -> None:
    import json

    data = json.dumps(body)
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{address}/{route}", content=data, headers=headers)
    assert answer.status_code == 400 and answer.json()["error"]["message"]
