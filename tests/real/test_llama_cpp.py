"""What is exported is the same model in llama.cpp: its ids, its text, its probabilities."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import nextword as nw
from nextword.hub.writing import save
from nextword.inference.language_model import LanguageModel, load_language_model
from nextword.models.config import Family, TransformerConfig
from nextword.models.sizes import STYLES
from nextword.models.transformer import Transformer
from nextword.tokens.tokenizer_training import train_bpe

Ask = Callable[..., dict[str, Any]]
KINDS = {
    "gpt2": ["--family", "gpt2"],
    "llama": ["--family", "llama", "--kv-heads", "2"],
    "qwen3": ["--kv-heads", "2"],
    "bytes": ["--family", "llama", "--tokenizer", "bytes"],
}
PIECES = [
    *("'s", "'S", "'LL", "’", " ", "  ", "  \n", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\0"),
    *(
        "1",
        "23",
        "²",
        "٣",
        "a",
        "x",
        "É",
        "ª",
        "Æ",
        "中",
        "。",
        "…",
        "!?",
        "--",
        "🙂",
        "\u200d",
        "e\u0301",
    ),
    *("<|endoftext|>", "<|im_start|>", "[PAD300]", "</s>"),
]


def odd_texts(count: int, source: str, seed: int = 5) -> list[str]:
    """Passages of a text, characters drawn from all of Unicode's planes, and joined oddities."""
    rng = random.Random(seed)

    def one(number: int) -> str:
        if number % 3 == 0:
            start = rng.randrange(len(source) - 200)
            return source[start : start + rng.randrange(1, 120)]
        if number % 3 == 1:
            spans = [(32, 127), (160, 0x600), (0x900, 0x1200), (0x4E00, 0x9FFF), (0x1F300, 0x1F700)]
            drawn = (chr(rng.randrange(*rng.choice(spans))) for _ in range(rng.randrange(1, 25)))
            return "".join(drawn)
        return "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 14)))

    return [one(number) for number in range(count)]


@pytest.fixture(scope="session")
def source() -> str:
    """Python's own standard library: there on every machine."""
    import argparse
    import typing

    return "".join(Path(str(m.__file__)).read_text("utf-8") for m in (argparse, typing))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, source: str) -> Callable[[str], Path]:
    """A model of each kind, trained for a moment."""
    made: dict[str, Path] = {}

    def train(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            (folder / "text.txt").write_text(source)
            from nextword.cli.main import main

            shape = [
                "--layers",
                "2",
                "--width",
                "64",
                "--heads",
                "4",
                "--context-length",
                "128",
                "--steps",
                "120",
            ]
            out = ["--out", str(folder / "run"), "--batch-size", "16"]
            assert main(["pretrain", str(folder / "text.txt"), *out, *shape, *KINDS[kind]]) == 0
            made[kind] = folder / "run"
        return made[kind]

    return train


@pytest.mark.parametrize("quantize", ["f32", "q8_0"])
@pytest.mark.parametrize("kind", KINDS)
def test_models_trained_here(
    kind: str,
    quantize: str,
    run: Callable[[str], Path],
    llama_cpp: Ask,
    tmp_path: Path,
    source: str,
) -> None:
    place = run(kind)
    out = Path(nw.export(place, tmp_path / "my.gguf", quantize=quantize).path)
    same(load_language_model(place, precision="fp32"), out, quantize, llama_cpp, source, 1000)


@pytest.mark.parametrize("family", ["smollm3", "gemma3_text"])
def test_families_that_are_not_pretrained_here(
    family: Family, llama_cpp: Ask, tmp_path: Path, source: str
) -> None:
    """With random weights; the passage that is scored is longer than Gemma's window."""
    tokenizer = train_bpe([source], 400, 10**6)
    own: dict[str, Any] = {"unrotated_layers": (3,)}
    if family == "gemma3_text":
        own = {"window": 9, "windowed_layers": (0, 1, 2, 3, 4, 6)}
    shape = {"layers": 7, "width": 64, "heads": 4, "kv_heads": 2, "head_width": 16, "mlp_width": 96}
    config = TransformerConfig(
        family=family,
        vocab_size=tokenizer.vocab_size,
        context_length=256,
        init_std=0.1,
        **shape,
        **STYLES[family] | own,
    )
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += torch.randn(parameter.shape) * 0.1
    save(tmp_path / "model", model, tokenizer)
    out = Path(nw.export(tmp_path / "model", tmp_path / "my.gguf", quantize="f32").path)
    loaded = load_language_model(tmp_path / "model", precision="fp32")
    same(loaded, out, "f32", llama_cpp, source, 100)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_thousand_texts_have_the_same_ids(
    kind: str, run: Callable[[str], Path], llama_cpp: Ask, tmp_path: Path, source: str
) -> None:
    place = run(kind)
    out = Path(nw.export(place, tmp_path / "my.gguf", quantize="f32").path)
    tokenizer = load_language_model(place).tokenizer
    texts = odd_texts(100_000, source)
    answer = llama_cpp(out, texts=texts, context=64)
    assert answer["tokens"] == [tokenizer.encode(text) for text in texts]


@pytest.mark.parametrize("quantize", ["f16", "q8_0"])
def test_smollm2(quantize: str, smollm: Path, llama_cpp: Ask, tmp_path: Path, source: str) -> None:
    out = Path(nw.export(smollm, tmp_path / "again.gguf", quantize=quantize).path)
    same(load_language_model(smollm, precision="fp32"), out, quantize, llama_cpp, source, 1000)


def same(
    model: LanguageModel, path: Path, quantize: str, ask: Ask, source: str, count: int
) -> None:
    texts = odd_texts(count, source)
    length = min(64, model.transformer.config.context_length // 2)
    prompts = [model.encode_prompt(text) for text in ("import os", "class A:\n", "The ")]
    scored = model.encode_prompt(source[1000:1500])[:100]
    answer = ask(
        path, texts=texts, prompts=prompts, count=length, context=256, scored=[scored], top=10**6
    )
    assert answer["tokens"] == [model.tokenizer.encode(text) for text in texts]
    with torch.no_grad():
        logits = model.transformer.logits(model.transformer(torch.tensor([scored]))[0])
    expected = logits.log_softmax(-1)
    found = torch.full_like(expected, 1e-12)
    for row, probabilities in enumerate(answer["scores"][0]):
        for id, probability in probabilities:
            found[row, id] = max(probability, 1e-12)
    divergence = (expected.exp() * (expected - found.log())).sum(-1).mean().item()
    assert divergence < (0.01 if quantize.startswith("q") else 1e-4)
    if not quantize.startswith("q"):
        for prompt, written in zip(prompts, answer["continued"], strict=True):
            assert written == greedy(model, prompt, length)[: len(written)]
            assert len(written) == length or written[-1] in model.end_ids


@torch.no_grad()
def greedy(model: LanguageModel, prompt: list[int], length: int) -> list[int]:
    ids = list(prompt)
    for _ in range(length):
        hidden = model.transformer(torch.tensor([ids]))[0, -1:]
        ids.append(int(model.transformer.logits(hidden).argmax()))
    return ids[len(prompt) :]
