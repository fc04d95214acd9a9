from __future__ import annotations

import io
import json

import pytest
import torch

from nextword.cli.main import main
from nextword.cli.use import joined_blanks
from nextword.hub.writing import save
from nextword.inference.language_model import load_language_model
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.tokenizer_training import byte_tokenizer, train_bpe


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    tokenizer = train_bpe(["It was a dark night, and the lamp burned low. " * 50], 300, 5000)
    size = ModelSettings(layers=2, width=32, heads=2, context_length=128)
    folder = tmp_path_factory.mktemp("model")
    save(folder, Transformer(config_for(size, tokenizer.vocab_size), seed=1), tokenizer)
    return str(folder)


def test_the_prompt_and_its_continuation_are_written(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", model, "It was", "--max-new-tokens", "9", "--temperature", "0"]) == 0
    expected = load_language_model(model).generate("It was", max_new_tokens=9, temperature=0)
    assert capsys.readouterr().out == f"It was{expected}\n"


def test_the_same_seed_writes_the_same(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for seed in ("1", "1", "2"):
        main(["generate", model, "--max-new-tokens", "20", "--seed", seed])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_json_holds_every_sample(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--json", "--num-samples", "3", "--max-new-tokens", "5", "--temperature", "1.5"]
    assert main(["generate", model, "the", *flags]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["prompt"] == "the" and len(answer["samples"]) == 3
    assert all(set(sample) == {"text", "tokens", "finish"} for sample in answer["samples"])
    assert len({sample["text"] for sample in answer["samples"]}) > 1


def test_samples_are_told_apart(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["generate", model, "the", "--num-samples", "2", "--max-new-tokens", "3"])
    out = capsys.readouterr().out
    assert "--- 1 of 2\nthe" in out and "--- 2 of 2\nthe" in out


def test_a_blank_at_the_end_belongs_to_the_next_word(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    greedy = ["--max-new-tokens", "9", "--temperature", "0"]
    main(["generate", model, "It was", *greedy])
    expected = capsys.readouterr().out
    main(["generate", model, "It was ", *greedy])
    written = capsys.readouterr()
    assert written.out == expected and "is left to the model" in written.err


@pytest.mark.parametrize(("prompt", "joined"), [("It was \t ", 3), ("It was\n", 0), ("  ", 0)])
def test_blanks_that_join_the_next_word_are_counted(model: str, prompt: str, joined: int) -> None:
    tokenizer = load_language_model(model).tokenizer
    assert joined_blanks(prompt, tokenizer) == joined
    assert joined_blanks(prompt, byte_tokenizer()) == 0


def test_a_dash_reads_the_prompt_from_standard_input(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("It was\n"))
    main(["generate", model, "-", "--max-new-tokens", "1"])
    assert capsys.readouterr().out.startswith("It was")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing_dir/x/y", "a"], "missing_dir/x/y"),
        (["MODEL", "a", "--temprature", "1"], "did you mean '--temperature'"),
        (["MODEL", "a", "--temperature", "-1"], "--temperature"),
        (["MODEL", "a", "--top-p", "0"], "--top-p"),
        (["MODEL", "a", "--stop", ""], "stop string is empty"),
        (["MODEL", "x " * 400], "the model sees 128 at once"),
        (["MODEL", "bad \udcff byte"], "surrogate"),
    ],
)
def test_bad_input_gets_one_sentence(
    model: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", *(model if word == "MODEL" else word for word in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err
    assert captured.err.startswith("nextword: ") and captured.err.count("\n") == 1
