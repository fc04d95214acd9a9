"""The engine on a GPU: whether texts that are served together are those served alone, and how many
tokens a second it generates."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from gpu.models import config_of, new_model
from gpu.section import Section
from nextword.inference.engine.engine import Engine, EngineOptions
from nextword.inference.engine.request import Request, Token
from nextword.inference.generate import generate
from nextword.inference.language_model import LanguageModel
from nextword.inference.loading import set_compute_dtype
from nextword.models.sizes import config_for
from nextword.settings import GenerateSettings, ModelSettings
from nextword.tokens.tokenizer_training import byte_tokenizer

TOY = {"layers": 2, "width": 64, "heads": 4, "context_length": 128, "mlp_width": 96}
STREAMS = (1, 8, 64)
SCALE = 3  # of random weights, so that a text does not repeat one token


def serving(section: Section) -> None:
    """Compare greedy texts in fp32, then time 124M in bf16."""
    for family in ("gpt2", "qwen3"):
        with section.part(f"{family}: together"):
            _together(section, family)
    with section.part("124M"):
        _rates(section)


def _served(section: Section, size: str | None, family: str, dtype: torch.dtype) -> LanguageModel:
    tokenizer = byte_tokenizer()
    settings = ModelSettings(family=family, **TOY)
    config = config_of(size, section.small) if size else config_for(settings, tokenizer.vocab_size)
    model = new_model(config, section.device, dtype).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.mul_(SCALE)
    set_compute_dtype(model, dtype)
    return LanguageModel(family, model, tokenizer, tokenizer.end_id, frozenset())


def _answers(engine: Engine, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
    settings = GenerateSettings(temperature=0, max_new_tokens=new)
    streams = [engine.submit(Request(prompt, settings)) for prompt in prompts]
    return [[event.id for event in stream if isinstance(event, Token)] for stream in streams]


def _together(section: Section, family: str) -> None:
    """Prompts of unlike lengths, some longer than a chunk."""
    model = _served(section, None, family, torch.float32)
    prompts = [[(7 * n + 3 * place) % 250 for place in range(1 + 13 * n)] for n in range(7)]
    engine = Engine(model, EngineOptions(slots=7, chunk=16, lookup=False))
    try:
        together = _answers(engine, prompts, 20)
        alone = [_answers(engine, [prompt], 20)[0] for prompt in prompts]
    finally:
        engine.close()
    settings = GenerateSettings(temperature=0, max_new_tokens=20)
    plain = [one.ids for one in generate(model.transformer, prompts, settings)]
    section.check(f"{family}: together as alone", together == alone, {"ids": together[0]})
    section.check(f"{family}: as generate writes", together == plain, {"ids": plain[0]})


def _rates(section: Section) -> None:
    model = _served(section, "124M", "gpt2", torch.bfloat16)
    new = 16 if section.small else 128
    engine = Engine(model, EngineOptions(slots=max(STREAMS), lookup=False, fast=True))
    try:
        for streams in STREAMS:
            prompts = [[(17 * n + 31 * place) % 250 for place in range(16)] for n in range(streams)]
            _answers(engine, prompts, 4)
            started = time.perf_counter()
            _answers(engine, prompts, new)
            seconds = time.perf_counter() - started
            section.note(f"124M, bf16, {streams} streams: tokens/s", streams * new / seconds)
    finally:
        engine.close()
