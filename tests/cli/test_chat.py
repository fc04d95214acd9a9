from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nextword.cli.main import main
from nextword.hub.writing import save
from nextword.inference.engine.engine import Engine, EngineOptions
from nextword.inference.engine.request import Request, Token
from nextword.inference.language_model import load_language_model
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import GenerateSettings, ModelSettings
from nextword.tasks.generate.chat_template import CHATML, ChatTemplate, with_template
from nextword.tasks.generate.messages import Message
from nextword.tokens.tokenizer_training import train_bpe

TEXT = "从前有座山,山里有座庙。 It was a dark night; the old lamp burned low. user assistant\n" * 40


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = train_bpe([TEXT], 400, 10**6)
    shape = ModelSettings(layers=2, width=32, heads=2, context_length=128)
    folder = tmp_path_factory.mktemp("talker")
    config = config_for(shape, tokenizer.vocab_size)
    save(folder, Transformer(config, seed=5), with_template(tokenizer, CHATML))
    return folder


def talk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: str, *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    status = main(["chat", *words, "--max-new-tokens", "6"])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_answers_are_those_to_the_whole_conversation(
    talker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["It was", "从前 <|im_end|>", "low"]
    words = (str(talker), "--temperature", "0", "--system", "Be brief.")
    status, out, _ = talk(monkeypatch, capsys, "\n".join(said), *words)
    assert status == 0
    model = load_language_model(talker)
    template = ChatTemplate(model.tokenizer, CHATML)
    messages, expected = [Message("system", "Be brief.")], ""
    for text in said:
        messages.append(Message("user", text))
        prompt = template.encode(messages, asks=True).ids
        answer = greedy(model.transformer, prompt, 6, model.end_ids | template.end_ids())
        messages.append(Message("assistant", model.tokenizer.decode(answer)))
        expected += messages[-1].content + "\n"
    assert out == expected


def greedy(model: Transformer, prompt: list[int], most: int, ends: frozenset[int]) -> list[int]:
    import torch

    written: list[int] = []
    while len(written) < most:
        with torch.no_grad():
            hidden = model(torch.tensor([prompt + written]))[0, -1:]
        best = int(model.logits(hidden).argmax())
        if best in ends:
            break
        written.append(best)
    return written


def test_a_base_model_goes_on_with_the_text(
    talker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (str(talker), "--plain", "--temperature", "0")
    _, out, _ = talk(monkeypatch, capsys, "It was\n and\n", *words)
    model = load_language_model(talker)
    first = model.generate("It was", temperature=0, max_new_tokens=6)
    second = model.generate(f"It was{first} and", temperature=0, max_new_tokens=6)
    assert out == f"{first}\n{second}\n"
    status, _, err = talk(monkeypatch, capsys, "/system Be kind.\n", *words)
    assert status == 2 and "is told nothing before it" in err


def test_commands_change_the_conversation_and_save_it(
    talker: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    file = tmp_path / "talk.json"
    lines = f"one\ntwo\\\nlines\n/undo\nthree\n/retry\n/system Be kind.\n//x\n/save {file}\n"
    status, out, err = talk(monkeypatch, capsys, lines, str(talker), "--seed", "1")
    assert status == 0 and "taken back: two\nlines" in err
    saved = json.loads(file.read_text())["messages"]
    roles = [message["role"] for message in saved]
    assert roles == ["system", *["user", "assistant"] * 3]
    said = [message["content"] for message in saved if message["role"] == "user"]
    assert said == ["one", "three", "/x"]
    first, again, last = (saved[at]["content"] for at in (2, 4, 6))
    assert out.startswith(f"{first}\n") and out.endswith(f"\n{again}\n{last}\n")
    replaced = out.removesuffix(f"\n{again}\n{last}\n")
    assert not replaced.endswith(f"\n{again}"), "another answer in place of the last"
    status, _, err = talk(monkeypatch, capsys, f"/save {file}\n", str(talker))
    assert status == 2 and "exists" in err


def test_what_no_longer_fits_is_left_out_and_said(
    talker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "the old lamp burned low; the night was dark and it was low\n" * 6
    status, out, err = talk(monkeypatch, capsys, lines, str(talker))
    assert status == 0 and len(out.splitlines()) >= 6
    assert "the model no longer sees the first" in err
    status, _, err = talk(monkeypatch, capsys, "lamp " * 300 + "\n", str(talker))
    assert status == 2 and "at once" in err


def test_each_conversation_draws_a_seed_which_brings_its_answers_back(
    talker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answers(lines: str, *words: str) -> tuple[list[str], int]:
        _, out, _ = talk(monkeypatch, capsys, lines, str(talker), "--json", *words)
        told = json.loads(out)
        said = [one["content"] for one in told["messages"] if one["role"] == "assistant"]
        return said, told["seed"]

    first, seed = answers("one\ntwo\n")
    other, another = answers("one\ntwo\n")
    assert seed != another and first != other
    assert answers("one\ntwo\n", "--seed", str(seed)) == (first, seed)
    assert answers(f"one\n/new {seed}\none\ntwo\n") == (first, seed)
    _, _, err = talk(monkeypatch, capsys, "/seed\n", str(talker), "--seed", "7")
    assert "seed 7" in err
    status, _, err = talk(monkeypatch, capsys, "/new seven\n", str(talker))
    assert status == 2 and "is no seed" in err


@pytest.mark.parametrize(
    ("lines", "message"),
    [("/undo\n", "nothing was said"), ("/retry\n", "nothing was said"),
     ("/rety\n", "did you mean 'retry'"), ("/save\n", "needs the name")],
)  # fmt: skip
def test_a_mistake_is_named(
    talker: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: str,
    message: str,
) -> None:
    status, _, err = talk(monkeypatch, capsys, lines, str(talker))
    assert status == 2 and message in err


def test_json_is_one_object(
    talker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = talk(monkeypatch, capsys, "one\n", str(talker), "--json")
    assert [message["role"] for message in json.loads(out)["messages"]] == ["user", "assistant"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
def test_control_c_stops_an_answer_and_not_the_program(talker: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nextword.cli.main", "chat", str(talker), "--plain"]
    process = subprocess.Popen(
        [*command, "--max-new-tokens", "100000", "--temperature", "0"],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, close_fds=True,
        env=os.environ | {"TERM": "dumb"},
    )  # fmt: skip
    os.close(theirs)
    shown = ""

    def wait_for(text: str) -> None:
        nonlocal shown
        until = time.monotonic() + 120
        while text not in shown:
            assert time.monotonic() < until, shown
            shown += os.read(ours, 65536).decode("utf-8", "replace")

    try:
        wait_for("> ")
        os.write(ours, b"It was\n")
        wait_for("It was\r\n")
        length = len(shown)
        while len(shown) < length + 20:
            shown += os.read(ours, 65536).decode("utf-8", "replace")
        process.send_signal(signal.SIGINT)
        shown = ""
        wait_for("> ")
        os.write(ours, b"/undo\n")
        wait_for("taken back: It was")
        os.write(ours, b"/quit\n")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_weights_in_eight_bits_write_as_the_engine_does_with_them_and_it_is_said(
    talker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (str(talker), "--plain", "--temperature", "0", "--precision", "fp32")
    _, _, err = talk(monkeypatch, capsys, "It was\n", *words)
    assert "weights:" not in err
    status, out, err = talk(monkeypatch, capsys, "It was\n", *words, "--quantize", "int8")
    assert status == 0 and "weights: int8 (" in err and "nats per token" in err
    model = load_language_model(talker, precision="fp32")
    engine = Engine(model, EngineOptions(slots=1, quantize="int8"))
    try:
        settings = GenerateSettings(temperature=0, max_new_tokens=6)
        stream = engine.submit(Request(model.encode_prompt("It was"), settings))
        ids = [event.id for event in stream if isinstance(event, Token)]
    finally:
        engine.close()
    assert out == f"{model.tokenizer.decode(ids)}\n"
