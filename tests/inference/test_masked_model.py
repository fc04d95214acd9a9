from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nextword as nw
from nextword.cli.main import main
from nextword.errors import UserError
from nextword.hub.writing import save
from nextword.inference import loading
from nextword.inference.language_model import load
from nextword.inference.masked_model import (
    Candidate,
    FilledText,
    MaskedLanguageModel,
    load_masked_model,
)
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.control_tokens import CAUSAL, MASKED
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import train_bpe

TEXT = "The cat sat on the mat, and the dog lay by the door. 床前明月光，疑是地上霜。\n"
PROMPTS = [
    "The cat sat on the [MASK].",
    "[MASK] cat [MASK] on the mat.",
    "床前明月[MASK]，疑是地上霜。",
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with random weights, large enough that its probabilities differ."""
    path = tmp_path_factory.mktemp("encoder")
    tokenizer = train_bpe([TEXT * 9], 400, 10**6, MASKED)
    settings = ModelSettings.model_validate(
        {"family": "modernbert", "layers": 4, "width": 32, "heads": 4, "context_length": 64}
    )
    model = Transformer(config_for(settings, tokenizer.vocab_size), seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    save(path, model, tokenizer)
    return path


@pytest.mark.parametrize("prompt", PROMPTS)
def test_candidates_are_those_of_transformers_pipeline(directory: Path, prompt: str) -> None:
    from transformers import pipeline

    theirs = pipeline("fill-mask", str(directory), top_k=7)(prompt)
    gaps = theirs if isinstance(theirs[0], list) else [theirs]
    ours = load_masked_model(directory, precision="fp32").fill(prompt, top_k=7).gaps
    assert len(ours) == len(gaps) == prompt.count("[MASK]")
    for gap, expected in zip(ours, gaps, strict=True):
        assert [one.id for one in gap] == [one["token"] for one in expected]
        assert [one.word for one in gap] == [one["token_str"].strip() for one in expected]
        assert [one.probability for one in gap] == pytest.approx(
            [one["score"] for one in expected], abs=1e-4
        )


def test_what_stands_in_the_gaps_is_the_likeliest(directory: Path) -> None:
    model = load(directory, precision="fp32")
    assert isinstance(model, MaskedLanguageModel)
    filled = model.fill("The cat sat on the [MASK].")
    best = model.tokenizer.decode([filled.gaps[0][0].id])
    assert filled.text == f"The cat sat on the{best}."
    assert nw.fill(directory, "The cat sat on the [MASK].") == filled


def test_what_cannot_be_filled_is_said(directory: Path, tmp_path: Path) -> None:
    model = load_masked_model(directory)
    with pytest.raises(UserError, match=r"has no \[MASK\]; write \[MASK\] where a word is missing"):
        model.fill("The cat sat on the mat. [SEP]")
    with pytest.raises(UserError, match="tokens long, and the model sees 64 at once"):
        model.fill("[MASK] " * 80)
    settings = ModelSettings.model_validate({"layers": 1, "width": 32, "heads": 2})
    tokenizer = train_bpe([TEXT], 300, 10**6, CAUSAL)
    save(tmp_path, Transformer(config_for(settings, tokenizer.vocab_size)), tokenizer)
    with pytest.raises(UserError, match=r"is a decoder .*use `nextword generate`"):
        load_masked_model(tmp_path)
    with pytest.raises(UserError, match="top_k = 0: expected at least 1"):
        model.fill("[MASK]", top_k=0)


def test_a_large_encoder_is_opened_in_the_precision_that_the_command_uses(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "LARGE", 0)
    monkeypatch.setattr(loading, "multiplies_bf16", lambda: True)
    if torch.backends.mkldnn.is_available():
        assert load(directory, precision="auto").transformer.activation_dtype == torch.bfloat16
    for opened in (load(directory), load_masked_model(directory)):
        assert opened.transformer.activation_dtype == torch.float32


def test_candidates_stand_in_columns_and_space_can_be_seen(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = Tokenizer.load(directory).encode("a\n")[-1]
    gap = [Candidate("床", 0.5, 9), Candidate("mat", 0.25, 8), Candidate("", 0.125, space)]
    found = FilledText("A 床.", [gap])
    monkeypatch.setattr(MaskedLanguageModel, "fill", lambda *_: found)
    assert main(["fill", str(directory), "A [MASK]."]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert lines == ["  床     50.0%", "  mat    25.0%", "  '\\n'   12.5%"]
