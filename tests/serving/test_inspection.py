"""What looks inside a model, asked of a server."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from small_models import our_encoder_decoder, their_encoder
from support.servers import served

import nextword as nw
from nextword.inference.inspection.inspector import Inspector, Question
from nextword.inference.language_model import load_language_model
from nextword.settings import GenerateSettings

TEXT = "The cat sat on the mat, 床前明月光 and slept."
SENTENCE = "The old lamp number 17 burned low while nobody came home to see it.\n"


def ask(address: str, path: str = "/inspect", **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{address}{path}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(address: str, path: str = "/inspect", **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{address}{path}", json=body, timeout=60)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned from texts, and a classifier fine-tuned from it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    (folder / "texts").mkdir()
    for number in range(30):
        lines = [SENTENCE.replace("17", str(number * 20 + line)) for line in range(20)]
        (folder / "texts" / f"{number}.txt").write_text("".join(lines))
    small: dict[str, Any] = {
        **{"layers": 1, "width": 16, "heads": 2, "context_length": 32, "precision": "fp32"},
        **{"batch_size": 4, "steps": 2, "eval_every": 2, "sample_every": 0, "workers": 1},
        **{"vocab_size": 400, "deduplicate": "none"},
    }
    nw.pretrain(folder / "texts", folder / "base", **small)
    rows = [{"text": f"lamp {n} burned", "label": "low" if n % 2 else "high"} for n in range(40)]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    more = {"task": "classify", "steps": 4, "precision": "fp32"}
    nw.finetune(folder / "base", folder / "rows.jsonl", folder / "tuned", **more)
    return folder


@pytest.fixture(scope="module")
def base(runs: Path) -> Iterator[str]:
    with served(runs / "base") as at:
        yield at


@pytest.fixture(scope="module")
def tuned(runs: Path) -> Iterator[str]:
    with served(runs / "tuned") as at:
        yield at


def test_an_answer_is_that_of_the_inspector(address: str, writer: Path) -> None:
    want = ["tokens", "surprise", "odds", "lens", "attention"]
    sampling = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.2}
    given = ask(
        address, text=TEXT, want=want, position=3, top=5, sampling=sampling, layer=0, follow=40
    )
    inspector = Inspector(load_language_model(writer, precision="fp32"))
    question = Question(
        text=TEXT,
        want=want,
        position=3,
        top=5,
        sampling=GenerateSettings(**sampling),
        layer=0,
        follow=40,
    )
    expected = inspector.inspect(question)
    assert given["model"].pop("name") and expected["model"].pop("name")
    assert set(given) == set(expected)
    assert "".join(token["text"] for token in given["tokens"]) == TEXT
    assert _numbers(given) == pytest.approx(_numbers(expected), abs=2e-3)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for name in sorted(value) for number in _numbers(value[name])]
    if isinstance(value, list):
        return [number for one in value for number in _numbers(one)]
    return [float(value)] if isinstance(value, int | float) else []


def test_ids_of_a_completion_are_looked_at_as_they_are(address: str) -> None:
    body = {"prompt": "The cat", "max_tokens": 6, "return_token_ids": True, "temperature": 0}
    (choice,) = ask(address, "/v1/completions", **body)["choices"]
    ids = choice["prompt_token_ids"] + choice["token_ids"]
    answer = ask(address, tokens=ids, prompt_tokens=len(choice["prompt_token_ids"]))
    assert [token["id"] for token in answer["tokens"]] == ids
    # Greedy: each was the likeliest.
    assert answer["surprise"]["ranks"][-len(choice["token_ids"]) :] == [1] * 6
    nothing = ask(address, text="x", want=[])
    assert set(nothing) == {"model", "position", "count"}


def test_a_conversation_is_looked_at_as_the_model_reads_it(talking: str, address: str) -> None:
    messages = [{"role": "user", "content": "Hi <|im_end|>"}]
    ids = ask(talking, "/tokenize", messages=messages)["tokens"]
    answer = ask(talking, messages=messages, want=["tokens", "odds"])
    assert [token["id"] for token in answer["tokens"]] == ids
    names = [token["name"] for token in answer["tokens"] if token["special"]]
    assert names.count("<|im_end|>") == 1  # what people write is no control token
    more = [*messages, {"role": "assistant", "content": "Well"}]
    texts = [token["text"] for token in ask(talking, messages=more, want=["tokens"])["tokens"]]
    assert "".join(texts).endswith("Well")
    error = httpx.post(f"{address}/inspect", json={"messages": messages}).json()["error"]
    assert error["param"] == "model"


def test_an_encoders_gap_and_an_encoder_decoders_three_stacks_are_looked_at(
    tmp_path: Path,
) -> None:
    their_encoder(tmp_path / "encoder", "modernbert")
    with served(tmp_path / "encoder") as at:
        want = ["tokens", "surprise", "odds", "lens", "attention", "fill"]
        answer = ask(at, text="The [MASK] sat on it.", want=want, position=2)
        assert answer["model"]["kind"] == "encoder" and answer["surprise"]["pseudo"]
        (gap,) = answer["fill"]["gaps"]
        assert answer["tokens"][gap["position"]]["name"] == answer["model"]["mask"] == "[MASK]"
        assert sum(answer["attention"]["mean"]) == pytest.approx(1, abs=1e-4)
    our_encoder_decoder(tmp_path / "pair")
    with served(tmp_path / "pair") as at:
        keys = {"decoder": "tokens", "cross": "source_tokens", "encoder": "source_tokens"}
        for stack, expected in keys.items():
            body = {"text": "The cat sat.", "target": "Die Katze", "stack": stack}
            answer = ask(at, **body, want=["tokens", "attention"], position=1)
            found = answer["attention"]
            assert (found["keys"], found["stack"]) == (expected, stack)
            assert all(len(row) == len(answer[expected]) for row in found["heads"])
        assert ask(at, text="The cat.", want=["odds"])["position"] == 0  # where it begins to write
        both = {"text": "a", "target": "b", "target_tokens": [1]}
        assert refused(at, **both)["param"] == "target"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "text"),
        ({"text": "a", "tokens": [1]}, "tokens"),
        ({"text": "a", "wish": 1}, "wish"),
        ({"text": "a", "want": ["mood"]}, "want.0"),
        ({"text": "a", "top": 1000}, "top"),
        ({"text": "a", "sampling": {"temperature": -1}}, "sampling.temperature"),
        ({"text": "a", "want": ["lens"], "positions": [0] * 4000}, "positions"),
        ({"text": "a", "want": ["fill"]}, "want"),
        ({"text": "a", "target": "b"}, "target"),
        ({"text": "a", "want": ["prediction"]}, "want"),
        ({"row": {"text": "a"}}, "want"),
        ({"tokens": [10**6]}, None),
        ({"text": "a", "position": 99}, None),
        ({"text": "a" * 1_000_001}, "text"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    address: str, body: dict[str, Any], param: str | None
) -> None:
    error = refused(address, **body)
    assert error["param"] == param and error["type"] == "invalid_request_error"
    assert "/" not in error["message"].replace("encoder–decoder", "")


def test_a_client_that_leaves_stops_the_work(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[float] = []

    def endless(*_: object) -> Iterator[None]:
        while True:
            taken.append(time.monotonic())
            yield None

    with monkeypatch.context() as patch:
        patch.setattr(Inspector, "steps", endless)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/inspect", json={"text": TEXT}, timeout=0.5)
        left = time.monotonic()
        while time.monotonic() - max(taken) < 0.5:
            assert time.monotonic() - left < 20, "the work goes on"
            time.sleep(0.05)
    assert ask(address, text="x")["odds"]


def test_texts_are_written_while_a_text_is_looked_at(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, written = threading.Event(), threading.Event()

    def until_written(*_: object) -> Iterator[dict[str, bool] | None]:
        while not written.is_set():
            looking.set()
            yield None
        yield {"looked": True}

    answers: list[dict[str, Any]] = []
    with monkeypatch.context() as patch:
        patch.setattr(Inspector, "steps", until_written)
        look = threading.Thread(target=lambda: answers.append(ask(address, text=TEXT)))
        look.start()
        assert looking.wait(20)
        ask(address, "/v1/completions", prompt="The cat", max_tokens=4)
        written.set()
        look.join(20)
    assert answers == [{"looked": True}]


def test_a_source_is_found_and_said_to_be_gone(base: str, runs: Path, address: str) -> None:
    line = SENTENCE.replace("17", "402")
    found = ask(base, "/source", text=line, context=10)
    assert found["available"] and found["verbatim_share"] == 1
    expected = nw.trace(runs / "base", line, context=10)
    assert {name: found[name] for name in expected if name != "built_seconds"} == {
        name: value for name, value in expected.items() if name != "built_seconds"
    }
    ids = ask(base, text=line, start=False, want=["tokens"])["tokens"]
    again = ask(base, "/source", tokens=[token["id"] for token in ids])
    assert again["passages"][0]["text"] == line
    assert ask(base, "/source", text="Zebras!")["passages"] == []
    unknown = ask(address, "/source", text=line)
    assert unknown == {"available": False, "reason": unknown["reason"]}
    assert "not known" in unknown["reason"] and "/" not in unknown["reason"]
    assert refused(address, "/source", text="a", tokens=[1])["param"] == "text"
    assert refused(address, "/source", tokens=[10**6])["param"] == "tokens"


def test_the_words_behind_a_prediction_are_those_left_out_one_by_one(
    tuned: str, runs: Path
) -> None:
    row = {"text": "The lamp burned, low."}
    answer = ask(tuned, row=row, want=["prediction", "words"])
    model = nw.load_task(runs / "tuned", precision="fp32")
    whole = model.classify(row["text"])
    assert answer["task"] == "classify"
    assert answer["prediction"]["label"] == whole["label"] == answer["words"]["of"]
    words = answer["words"]["words"]
    assert [word["text"] for word in words] == ["The", "lamp", "burned", "low"]
    without = ["lamp burned, low.", "The burned, low.", "The lamp, low.", "The lamp burned,."]
    for word, text in zip(words, without, strict=True):
        assert row["text"][word["start"] : word["end"]] == word["text"]
        left = model.classify(text)["probabilities"][whole["label"]]
        assert word["probability"] == pytest.approx(left, abs=1e-3)
        effect = answer["words"]["probability"] - word["probability"]
        assert word["effect"] == pytest.approx(effect, abs=2e-6)
    other = next(label for label in model.labels if label != whole["label"])
    named = ask(tuned, row=row, want=["words"], label=other)["words"]
    assert named["of"] == other
    assert named["words"][0]["effect"] == pytest.approx(-words[0]["effect"], abs=2e-3)
    assert "words" not in ask(tuned, row=row, want=["prediction"])
    assert "label" in refused(tuned, row=row, want=["words"], label="blue")["message"]
    assert refused(tuned, row=row, position=3)["param"] == "position"
    assert refused(tuned, text="The lamp")["param"] == "want"


def test_wrong_examples_are_a_page_away(tuned: str, runs: Path, address: str) -> None:
    lines = (runs / "tuned" / "held_out.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines]
    answer = httpx.get(f"{tuned}/inspect/held_out?limit=1000").json()
    assert answer["total"] == len(kept) == len(answer["rows"])
    for number, (row, record) in enumerate(zip(answer["rows"], kept, strict=True)):
        assert {**record, "number": number, "wrong": record["label"] != record["prediction"]} == row
    wrong = httpx.get(f"{tuned}/inspect/held_out?wrong=true&limit=1").json()
    assert wrong["wrong"] == sum(row["wrong"] for row in answer["rows"])
    assert all(row["wrong"] for row in wrong["rows"]) and len(wrong["rows"]) <= 1
    assert httpx.get(f"{address}/inspect/held_out").status_code == 404


def test_what_can_be_asked_is_told(base: str, tuned: str, address: str) -> None:
    (model,) = httpx.get(f"{base}/inspect").json()["models"]
    assert model["source"] and not model["held_out"] and model["kind"] == "decoder"
    assert model["model"]["layers"] == 1 and model["is_open"]
    (model,) = httpx.get(f"{tuned}/inspect").json()["models"]
    assert (model["task"], model["held_out"], model["source"]) == ("classify", True, True)
    (model,) = httpx.get(f"{address}/inspect").json()["models"]
    assert not model["source"] and "not known" in model["source_reason"]


def test_an_index_is_built_by_the_first_who_asks(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "base", tmp_path / "run", ignore=shutil.ignore_patterns("source-index"))
    with served(tmp_path / "run") as at:
        seconds = [ask(at, "/source", text=SENTENCE)["built_seconds"] for _ in range(2)]
    assert seconds[0] is not None and seconds[1] is None


def test_a_method_that_is_not_there_is_told_those_that_are(address: str) -> None:
    """Two routes share a path."""
    answer = httpx.put(f"{address}/inspect", json={})
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, POST"
    assert answer.json()["error"]["type"] == "invalid_request_error"
