from __future__ import annotations

import json
import random
from pathlib import Path

import httpx
import jsonschema
import pytest
from support.schemas import schema
from support.servers import client, served

FIELDS = {"model": "tiny", "prompt": "Answer:", "temperature": 1.5}


def check_schemas(address: str, count: int, max_tokens: int) -> None:
    rng = random.Random(11)
    asked, hurried = 0, 0
    with httpx.Client(timeout=600) as http:
        while asked < count:
            wanted = schema(rng)
            format = {"type": "json_schema", "json_schema": {"name": "x", "schema": wanted}}
            body = {**FIELDS, "seed": asked, "max_tokens": max_tokens, "response_format": format}
            answer = http.post(f"{address}/v1/completions", json=body).json()
            (choice,) = answer["choices"]
            jsonschema.validate(json.loads(choice["text"]), wanted)
            assert choice["finish_reason"] == "stop", wanted
            assert answer["usage"]["completion_tokens"] <= max_tokens
            hurried += choice["stop_reason"] == "max_tokens"
            asked += 1
    assert 0 < hurried < count


def test_every_answer_fits_its_schema(address: str) -> None:
    check_schemas(address, 12, 150)


@pytest.mark.slow(cases=200)
def test_answers_fit_two_hundred_schemas(tmp_path: Path) -> None:
    from small_models import ours

    with served(ours(tmp_path / "tiny", width=128, layers=4)) as at:
        check_schemas(at, 200, 200)


def test_an_answer_matches_a_regular_expression_or_a_grammar(address: str) -> None:
    ask = client(address).completions.create
    pattern = {"response_format": {"type": "regex", "pattern": "(ab){2,5}-[0-9]{3}"}}
    text = ask(**FIELDS, max_tokens=60, extra_body=pattern).choices[0].text
    assert text.count("ab") >= 2 and text[-4] == "-" and text[-3:].isdigit()
    lark = 'start: "yes" | "no" | word\nword: /[x-z]{3}/'
    form = {"response_format": {"type": "grammar", "grammar": lark}}
    texts = {ask(**FIELDS, max_tokens=9, seed=n, extra_body=form).choices[0].text for n in range(9)}
    assert all(text in ("yes", "no") or set(text) <= set("xyz") for text in texts)
    assert len(texts) > 2


def test_any_object_is_json(address: str) -> None:
    form = {"response_format": {"type": "json_object"}}
    (choice,) = client(address).completions.create(**FIELDS, max_tokens=50, extra_body=form).choices
    assert isinstance(json.loads(choice.text), dict)


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ({"type": "regex", "pattern": "(a"}, "cannot be used"),
        ({"type": "grammar", "grammar": "start: nothing"}, "cannot be used"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 3}}}, "cannot"),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"uniqueItems": True}}},
            "uniqueItems",
        ),
        ({"type": "xml"}, "response_format"),
        ({"type": "json_schema"}, "response_format.json_schema is missing"),
    ],
)
def test_a_form_that_cannot_be_kept_is_refused(
    address: str, format: dict[str, object], message: str
) -> None:
    body = {**FIELDS, "response_format": format}
    answer = httpx.post(f"{address}/v1/completions", json=body)
    assert answer.status_code == 400 and message in answer.json()["error"]["message"]


def test_a_form_that_takes_too_long_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {**FIELDS, "response_format": {"type": "json_object"}}
    for name in ("asking.COMPILING", "constraint.SECONDS"):
        with monkeypatch.context() as patched:
            patched.setattr(f"nextword.serving.{name}", 0.0)
            answer = httpx.post(f"{address}/v1/completions", json=body)
        assert answer.status_code == 400 and "more than 0 seconds" in answer.text
    assert httpx.post(f"{address}/v1/completions", json=body).status_code == 200
