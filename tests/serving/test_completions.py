from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
import transformers
from support.servers import client, served

from nextword.inference.language_model import load_language_model


def texts(answer: Any) -> list[str]:
    return [choice.text for choice in answer.choices]


def refused(address: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{address}/v1/completions", json=body)
    assert answer.status_code in (400, 404), answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_the_likeliest_text_is_that_of_generate(address: str, writer: Path) -> None:
    model = load_language_model(writer)
    ask = client(address).completions.create
    prompts = ["The cat", "从前", "", "<|endoftext|>"]
    answer = ask(model="tiny", prompt=prompts, max_tokens=12, temperature=0)
    expected = [model.generate(prompt, temperature=0, max_new_tokens=12) for prompt in prompts]
    assert texts(answer) == expected
    ids = [model.encode_prompt(prompt) for prompt in prompts]
    assert texts(ask(model="tiny", prompt=ids, max_tokens=12, temperature=0)) == expected
    assert answer.usage is not None and answer.usage.prompt_tokens == sum(map(len, ids))
    assert ids[3] != [model.tokenizer.end_id], "what a person writes is no control token"


def test_all_options_are_taken_and_a_seed_gives_a_text_again(address: str) -> None:
    ask = client(address).completions.create
    options: Any = dict(  # noqa: C408
        model="tiny",
        prompt="The",
        max_tokens=20,
        temperature=1.3,
        top_p=0.9,
        n=3,
        seed=5,
        stop=["the", "\n"],
        logit_bias={"300": 5, "301": -100},
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logprobs=3,
        best_of=1,
        user="someone",
        extra_body={
            "top_k": 50,
            "min_p": 0.01,
            "min_tokens": 4,
            "ignore_eos": True,
            "stop_token_ids": [5],
            "repetition_penalty": 1.1,
            "return_token_ids": True,
        },
    )
    first, again = ask(**options), ask(**options)
    assert texts(first) == texts(again) and len(set(texts(first))) == 3
    for choice in first.choices:
        assert "the" not in choice.text and "\n" not in choice.text
        assert choice.logprobs is not None and choice.logprobs.tokens is not None
        assert "".join(choice.logprobs.tokens).startswith(choice.text[:1])
        assert all(len(top) in (3, 4) for top in choice.logprobs.top_logprobs or [])
        assert len(choice.model_extra["token_ids"]) == len(choice.logprobs.tokens)  # type: ignore[index]
    del options["seed"]
    assert texts(ask(**options)) != texts(ask(**options))


def test_a_stream_joins_to_the_whole_answer(address: str) -> None:
    fields: Any = dict(  # noqa: C408
        model="tiny", prompt=["The", "从"], max_tokens=30, temperature=1.5, seed=3, n=2, logprobs=1
    )
    whole = client(address).completions.create(**fields)
    # In a stream finish_reason is null until the end, which the client's own types do not foresee.
    chunks = list(
        client(address, strict=False).completions.create(
            **fields, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    for choice in whole.choices:
        own = [one for c in chunks for one in c.choices if one.index == choice.index]
        assert "".join(one.text for one in own) == choice.text
        assert [one.finish_reason for one in own[:-1]] == [None] * (len(own) - 1)
        assert own[-1].finish_reason == choice.finish_reason
        assert choice.logprobs is not None
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            parts = [getattr(one.logprobs, name) for one in own]
            assert [value for part in parts for value in part] == getattr(choice.logprobs, name)


def test_a_stream_never_splits_a_character_or_tells_a_part_of_a_stop_string(address: str) -> None:
    form = {"response_format": {"type": "regex", "pattern": "(🙂|石|鑫|é){5,12}<stop>(🙂){3}"}}
    for seed in range(8):
        parts = [
            chunk.choices[0].text
            for chunk in client(address, strict=False).completions.create(
                model="tiny", prompt="a", seed=seed, max_tokens=120, stream=True,
                stop=["p>🙂", "<stop>"], extra_body=form,
            )
        ]  # fmt: skip
        assert set("".join(parts)) <= set("🙂石鑫é") and len("".join(parts)) >= 5
        assert len(parts) > 4


def test_prompts_are_echoed_with_the_log_probabilities_that_transformers_gives(
    address: str, writer: Path
) -> None:
    prompt = "The cat sat on 石桥 and slept."
    fields: dict[str, Any] = {"model": "tiny", "prompt": prompt, "echo": True, "temperature": 0}
    assert texts(client(address).completions.create(**fields, max_tokens=1))[0].startswith(prompt)
    # The first token has no score: null, as in OpenAI's own answers, against its client's types.
    answer = client(address, strict=False).completions.create(**fields, max_tokens=0, logprobs=2)
    (choice,) = answer.choices
    assert choice.text == prompt and choice.logprobs is not None
    found = choice.logprobs
    assert found.tokens is not None and "".join(found.tokens) == prompt
    assert found.text_offset is not None and found.token_logprobs is not None
    for token, start in zip(found.tokens, found.text_offset, strict=True):
        assert prompt.startswith(token, start)
    ids = transformers.AutoTokenizer.from_pretrained(writer)(prompt)["input_ids"]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(writer).float().eval()
    with torch.no_grad():
        scores = theirs(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    own = scores.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    assert found.token_logprobs[0] is None
    torch.testing.assert_close(torch.tensor(found.token_logprobs[1:]), own, atol=1e-4, rtol=0)
    assert found.top_logprobs is not None
    best = [max(top.values()) for top in found.top_logprobs[1:]]
    torch.testing.assert_close(torch.tensor(best), scores.amax(-1), atol=1e-4, rtol=0)


def test_a_text_is_stopped_before_a_string_or_a_token_and_says_by_which(
    address: str, writer: Path
) -> None:
    ask = client(address).completions.create
    free = ask(model="tiny", prompt="The", max_tokens=30, temperature=1.5, seed=9, logprobs=0)
    text, (choice,) = free.choices[0].text, free.choices
    stop = text[4:7]
    cut = ask(model="tiny", prompt="The", max_tokens=30, temperature=1.5, seed=9, stop=stop)
    assert cut.choices[0].text == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].model_extra == {"stop_reason": stop}
    assert cut.usage is not None and cut.usage.completion_tokens < 30
    assert choice.logprobs is not None and choice.logprobs.tokens is not None
    ids = load_language_model(writer).tokenizer.encode(choice.logprobs.tokens[3])
    by_token = ask(
        model="tiny",
        prompt="The",
        max_tokens=30,
        temperature=1.5,
        seed=9,
        extra_body={"stop_token_ids": ids[:1]},
    )
    assert by_token.choices[0].model_extra == {"stop_reason": ids[0]}
    assert text.startswith(by_token.choices[0].text)


def test_what_is_not_supported_is_refused_by_name(address: str) -> None:
    for name, value in (("tools", []), ("best_of", 4), ("prompt_embeds", "x"), ("temprature", 1)):
        error = refused(address, prompt="a", **{name: value})
        assert error["param"] == name and name in error["message"]
    assert "temperature" in refused(address, prompt="a", temprature=1)["message"]
    fine = httpx.post(f"{address}/v1/completions", json={"prompt": "a", "best_of": None})
    assert fine.status_code == 200


@pytest.mark.parametrize("prompt", ["word " * 400, [5] * 256])
def test_a_context_is_never_cut_unsaid(address: str, prompt: Any) -> None:
    error = refused(address, prompt=prompt)
    assert error["code"] == "context_length_exceeded" and "256" in error["message"]
    error = refused(address, prompt="word", max_tokens=256)
    assert error["code"] == "context_length_exceeded" and error["param"] == "max_tokens"
    whole = httpx.post(f"{address}/v1/completions", json={"prompt": [5] * 250})
    assert whole.json()["usage"]["completion_tokens"] <= 6


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": "a", "n": 10**9}, "n"),
        ({"prompt": "a", "n": 0}, "n"),
        ({"prompt": ["a"] * 200, "n": 2}, "n"),
        ({"prompt": "a", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "a", "max_tokens": 1.5}, "max_tokens"),
        ({"prompt": "a", "max_tokens": "5"}, "max_tokens"),
        ({"prompt": "a", "temperature": -0.1}, "temperature"),
        ({"prompt": "a", "temperature": True}, "temperature"),
        ({"prompt": "a", "top_p": 2}, "top_p"),
        ({"prompt": "a", "logprobs": 10**6}, "logprobs"),
        ({"prompt": "a", "stop": ["x"] * 10**5}, "stop"),
        ({"prompt": "a", "stop": ""}, "stop"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"1": 1e9}}, "logit_bias"),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options"),
        ({"prompt": "a", "seed": 2**70}, "seed"),
        ({"prompt": "a", "model": "other"}, "model"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(
    address: str, body: dict[str, Any], param: str
) -> None:
    error = refused(address, **body)
    assert str(error["param"]).split(".")[0] == param and error["type"] == "invalid_request_error"


def test_errors_are_those_that_openai_raises(address: str) -> None:
    ask = client(address).completions.create
    with pytest.raises(openai.NotFoundError, match="no model is called 'tony'"):
        ask(model="tony", prompt="a")
    with pytest.raises(openai.BadRequestError) as caught:
        ask(model="tiny", prompt="a", extra_body={"foo": 1})
    assert caught.value.param == "foo"
    with pytest.raises(openai.BadRequestError, match="suffix"):
        ask(model="tiny", prompt="a", suffix="b")


def test_a_stream_is_server_sent_events(address: str) -> None:
    body = {"prompt": "a", "stream": True, "max_tokens": 3}
    with httpx.stream("POST", f"{address}/v1/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["object"] for line in lines[:-1])


def test_what_a_request_leaves_open_is_as_the_models_makers_have_it(
    writer: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(writer, own)
    file = own / "generation_config.json"
    values = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(values | {"temperature": 0.5, "top_k": 1}))
    with served(own) as address:
        [facts] = httpx.get(f"{address}/inspect").json()["models"]
        assert facts["sampling"] == {"temperature": 0.5, "top_k": 1}
        plain = {"top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
        assert facts["writing"] == facts["sampling"] | plain, "and the rest as the command has it"

        def text(**asked: Any) -> str:
            body = {"prompt": "The old ", "max_tokens": 12} | asked
            answer = httpx.post(f"{address}/v1/completions", json=body).json()
            return str(answer["choices"][0]["text"])

        greedy = text(temperature=0)
        assert text(seed=1) == text(seed=2) == greedy
        assert {text(seed=1, top_k=0), text(seed=2, top_k=0)} != {greedy}
