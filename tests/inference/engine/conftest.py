"""Small models with random weights, written by transformers and served by the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from nextword.hub.reading import load_model
from nextword.inference.engine.engine import Engine, EngineOptions
from nextword.inference.engine.request import Finished, PromptScores, Request, Token
from nextword.inference.language_model import LanguageModel
from nextword.settings import GenerateSettings
from nextword.tokens.tokenizer_training import byte_tokenizer

TOKENIZER = byte_tokenizer()
SIZES: dict[str, Any] = {
    "vocab_size": TOKENIZER.vocab_size,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "head_dim": 12,
}
CONFIGS = {
    "gpt2": transformers.GPT2Config(
        vocab_size=TOKENIZER.vocab_size, n_embd=48, n_layer=3, n_head=4, n_positions=256
    ),
    "llama": transformers.LlamaConfig(**SIZES),
    "qwen3": transformers.Qwen3Config(**SIZES),
}


@dataclass
class Pair:
    """One model as transformers runs it and as nextword does."""

    theirs: Any
    ours: LanguageModel


@dataclass
class Answer:
    """All events of a request."""

    tokens: list[Token]
    finished: Finished
    prompt: PromptScores | None = None

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]


def request(prompt: list[int], count: int = 24, **arguments: Any) -> Request:
    """A greedy request, if nothing else is said."""
    names = set(GenerateSettings.model_fields) & set(arguments)
    chosen = {"temperature": 0.0} | {name: arguments.pop(name) for name in names}
    return Request(prompt, GenerateSettings(max_new_tokens=count, **chosen), **arguments)


def prompts(*lengths: int, seed: int = 5) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(0, TOKENIZER.vocab_size, (n,), generator=generator).tolist() for n in lengths
    ]


def answer(stream: Any) -> Answer:
    events = list(stream)
    assert isinstance(events[-1], Finished)
    scores = [event for event in events if isinstance(event, PromptScores)]
    tokens = [event for event in events if isinstance(event, Token)]
    return Answer(tokens, events[-1], scores[0] if scores else None)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Models with weights large enough that greedy answers do not repeat themselves."""
    made = {}
    for name, config in CONFIGS.items():
        torch.manual_seed(len(name))
        theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for parameter in theirs.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(4)
        folder: Path = tmp_path_factory.mktemp(name)
        theirs.save_pretrained(folder)
        ours = load_model(folder)
        ours.requires_grad_(False)
        made[name] = Pair(theirs, LanguageModel(name, ours, TOKENIZER, 0, frozenset()))
    return made


@pytest.fixture
def serve() -> Iterator[Callable[..., Engine]]:
    """Start engines that are closed when the test ends."""
    engines: list[Engine] = []

    def start(model: LanguageModel, **options: Any) -> Engine:
        engines.append(Engine(model, EngineOptions(**options)))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()
