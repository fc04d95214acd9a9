from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from nextword.cli.main import main
from nextword.errors import UserError
from nextword.hub.writing import save
from nextword.inference.language_model import LanguageModel, load_language_model
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import GenerateSettings, ModelSettings
from nextword.tokens.control_tokens import CAUSAL_WITH_FIM
from nextword.tokens.fill_in_the_middle import FillInTheMiddleLoader, fill_in_the_middle_for
from nextword.tokens.store import Split
from nextword.tokens.tokenizer_training import byte_tokenizer, train_bpe

TEXT = (
    "从前有座山,山里有座庙。 It was a dark night; the old lamp burned low. 🙂🙂 naïve café\n" * 40
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights over bytes: it writes broken characters all the time."""
    torch.set_num_threads(1)
    tokenizer = byte_tokenizer()
    config = config_for(
        ModelSettings(layers=2, width=32, heads=2, context_length=256), tokenizer.vocab_size
    )
    model = Transformer(config, seed=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    folder = tmp_path_factory.mktemp("model")
    save(folder, model, tokenizer)
    return folder


@pytest.fixture(scope="module")
def model(directory: Path) -> LanguageModel:
    return load_language_model(directory)


class Scripted:
    """In place of the transformer's choice: writes a given text, then the end token."""

    def __init__(self, model: LanguageModel, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ids = [*model.tokenizer.encode(text), model.tokenizer.end_id]
        self.steps = 0

        def pick(logits: torch.Tensor, *_: object) -> torch.Tensor:
            self.steps += 1
            return torch.full((len(logits),), self.ids[self.steps - 1])

        monkeypatch.setattr("nextword.inference.engine.choosing.pick", pick)


def test_streamed_pieces_are_whole_characters_and_join_to_the_text(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "山里有座庙。🙂 naïve"
    Scripted(model, text, monkeypatch)
    pieces = list(model.stream("x", max_new_tokens=200))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert len(pieces) == len(text)


def test_a_character_cut_off_by_the_length_is_left_out(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scripted(model, "山🙂", monkeypatch)
    assert model.generate("x", max_new_tokens=5) == "山"


@pytest.mark.parametrize(
    ("stops", "expected"),
    [
        (["里有"], "从前,山"),
        (["庙"], "从前,山里有座"),
        (["庙。x"], "从前,山里有座庙。"),
        (["nothing", "座庙", "有座庙。"], "从前,山里有"),
        (["从"], ""),
    ],
)
def test_stop_strings_that_span_tokens_are_found_and_never_shown(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch, stops: list[str], expected: str
) -> None:
    script = Scripted(model, "从前,山里有座庙。", monkeypatch)
    (completion,) = model.complete(["x"], GenerateSettings(stop=stops, max_new_tokens=100))
    found = expected != "从前,山里有座庙。"
    assert completion.text == expected
    assert completion.finish == ("stop" if found else "end")
    if found:
        assert script.steps < len(script.ids), "the model goes on after the stop string"
    script.steps = 0
    assert "".join(model.stream("x", stop=stops, max_new_tokens=100)) == expected


def test_generate_and_stream_agree(model: LanguageModel) -> None:
    settings = GenerateSettings(max_new_tokens=100, temperature=1.0, seed=3)
    assert model.generate("座", settings) == "".join(model.stream("座", settings))


def test_no_prompt_begins_a_new_text(model: LanguageModel) -> None:
    assert model.encode_prompt("") == [model.start_id] == [model.tokenizer.end_id]
    assert model.generate(temperature=0) == model.generate("", temperature=0)


def test_answers_have_the_shape_of_the_prompts(model: LanguageModel) -> None:
    settings = GenerateSettings(max_new_tokens=5, temperature=1.0)
    three = settings.model_copy(update={"num_samples": 3})
    assert isinstance(model.generate("a", settings), str)
    assert len(model.generate(["a", "bcd"], settings)) == 2
    assert [type(x) for x in model.generate("a", three)] == [str] * 3
    grouped = model.generate(["a", "bcd"], three)
    assert [len(group) for group in grouped] == [3, 3]
    assert grouped[1] == model.generate("bcd", three), "the answer depends on the batch"
    assert model.generate([], settings) == []


def test_special_tokens_in_a_prompt_are_read_as_characters(model: LanguageModel) -> None:
    for name in ("<|endoftext|>", "a<|im_start|>b", "<|pad|><|endoftext|>"):
        ids = model.encode_prompt(name)
        assert not set(ids) & model.tokenizer.special_ids
        assert model.tokenizer.decode(ids) == name


def test_greedy_text_equals_transformers(tmp_path: Path) -> None:
    tokenizer = train_bpe([TEXT], 400, 10_000)
    config = config_for(
        ModelSettings(layers=2, width=32, heads=2, context_length=128), tokenizer.vocab_size
    )
    save(tmp_path, Transformer(config, seed=1), tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = load_language_model(tmp_path)
    for prompt in ("It was a dark", "从前有座", "🙂 "):
        ids = their_tokenizer(prompt, return_tensors="pt")
        answer = theirs.generate(**ids, max_new_tokens=64, do_sample=False, pad_token_id=0)[0]
        written = answer[ids["input_ids"].shape[1] :]
        expected = their_tokenizer.decode(written, skip_special_tokens=True)
        text = ours.generate(prompt, temperature=0, max_new_tokens=64)
        assert text == expected.rstrip("\ufffd")


def test_end_tokens_are_those_the_model_names(directory: Path, tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(directory, tmp_path / "model")
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 7]}))
    model = load_language_model(tmp_path / "model")
    assert model.end_ids == {5, 7, model.tokenizer.end_id}


def test_what_is_wrong_with_a_call_is_said(model: LanguageModel) -> None:
    with pytest.raises(UserError, match="did you mean 'temperature'"):
        model.generate("x", temprature=1)
    with pytest.raises(UserError, match="sees 256 at once"):
        model.generate("x" * 300)
    with pytest.raises(UserError, match="surrogate"):
        model.generate("a\ud800b")
    with pytest.raises(UserError, match="only one"):
        model.stream("x", num_samples=2)
    with pytest.raises(UserError, match="loaded in fp32, not bf16"):
        model.generate("x", precision="bf16")
    with pytest.raises(UserError, match="stop string is empty"):
        model.stream("x", stop=[""])


def test_bf16_is_used_throughout_where_it_is_asked_for(directory: Path) -> None:
    model = load_language_model(directory, precision="bf16")
    assert model.transformer.activation_dtype == torch.bfloat16
    assert model.transformer.output_weight.dtype == torch.bfloat16
    assert model.transformer.rotary[None][0].dtype == torch.float32
    assert isinstance(model.generate("x", max_new_tokens=9), str)


def test_more_than_the_context_holds_is_said_beforehand(
    model: LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    (completion,) = model.complete(["x" * 200], GenerateSettings(max_new_tokens=500))
    assert completion.tokens <= 56 and completion.finish in ("context", "end")
    assert "the model sees 256 tokens at once, prompt included: it writes 56" in (
        capsys.readouterr().err
    )
    model.generate("x" * 200)
    assert "sees 256" not in capsys.readouterr().err  # the default, which nobody asked for


@pytest.fixture
def infilling(tmp_path: Path) -> Path:
    """A model whose tokenizer has the tokens of a middle that comes last."""
    tokenizer = byte_tokenizer(CAUSAL_WITH_FIM)
    size = ModelSettings(layers=1, width=32, heads=2, context_length=128)
    save(tmp_path / "model", Transformer(config_for(size, tokenizer.vocab_size), 5), tokenizer)
    return tmp_path / "model"


def test_a_middle_is_asked_for_as_it_was_learned(infilling: Path) -> None:
    model = load_language_model(infilling)
    tokens = fill_in_the_middle_for(model.tokenizer, 1.0)
    text, end = "def f(x):\n    return x\n", model.tokenizer.end_id
    ids = [*model.tokenizer.encode(text), end]
    starts = np.arange(9) * len(ids)
    split = Split("train", np.array(ids * 8), starts, end, model.tokenizer.vocab_size)
    batch = FillInTheMiddleLoader(split, 64, 2, tokens).batch(0, 30)
    assert batch.documents is not None
    seen = 0
    for row, numbers in zip(batch.tokens, batch.documents, strict=True):
        for number in numbers.unique():
            read = row[numbers == number].tolist()
            if tokens.middle_id not in read or read[2] == tokens.suffix_id:  # the other order
                continue
            read = read[: read.index(tokens.middle_id) + 1]
            at = read.index(tokens.suffix_id)
            parts = read[2:at], read[at + 1 : -1]
            before, after = (model.tokenizer.decode(part) for part in parts)
            assert before in text and after in text, "blocks begin anywhere"
            assert model.encode_prompt(before, after) == read
            seen += 1
    assert seen > 5


def test_a_middle_is_written_and_printed_between_what_surrounds_it(
    infilling: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_language_model(infilling)
    Scripted(model, "(x)", monkeypatch)
    assert model.generate("def f", suffix=": pass") == "(x)"
    Scripted(model, "(x)", monkeypatch)
    assert main(["generate", str(infilling), "def f", "--suffix", ": <|fim_middle|>"]) == 0
    assert capsys.readouterr().out == "def f(x): <|fim_middle|>\n"
    Scripted(model, "(x)", monkeypatch)
    assert main(["generate", str(infilling), "def f", "--suffix", ":", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["suffix"] == ":" and told["samples"][0]["text"] == "(x)"


def test_a_middle_is_refused_where_it_cannot_have_been_learned(model: LanguageModel) -> None:
    with pytest.raises(
        UserError, match=r"has no <\|fim_prefix\|>, which a suffix needs; leave the suffix out"
    ):
        model.generate("a", suffix="b")
