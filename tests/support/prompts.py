"""Prompts as a task's model is given them, with no model that has learned anything."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings, TaskSettings
from nextword.tasks.dataset import Dataset
from nextword.tasks.generate.encoding import EncodedPrompts, PromptFormat
from nextword.tasks.opening import task_class
from nextword.tasks.records import Record
from nextword.tokens.tokenizer import Tokenizer

# A chat template in the manner of well-known ones.
THINKING = (
    "{%- for m in messages %}"
    "{{- '<|im_start|>' + m.role + '\\n' }}"
    "{%- if m.role == 'assistant' and loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- set said = m.content.strip() %}{% generation %}{{- said }}{% endgeneration %}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)


def as_records(*rows: dict[str, Any]) -> list[Record]:
    return [Record(row, f"rows.jsonl:{number}") for number, row in enumerate(rows, start=1)]


def read(
    task: str, records: Sequence[Record], *, labelled: bool = True, **settings: Any
) -> Dataset[Any]:
    chosen = TaskSettings(task=task, **settings)  # type: ignore[arg-type]
    return task_class(task).read(records, chosen, labelled=labelled)


def encode(
    tokenizer: Tokenizer,
    dataset: Dataset[Any],
    task: str,
    max_length: int = 256,
    *,
    training: bool = True,
    format: PromptFormat | None = None,
    **settings: Any,
) -> EncodedPrompts:
    chosen = TaskSettings(task=task, max_length=max_length, **settings)  # type: ignore[arg-type]
    model: Any = task_class(task)(
        "A",
        _decoder(tokenizer.vocab_size),
        tokenizer,
        chosen,
        start_id=tokenizer.end_id,
        format=format,  # type: ignore[call-arg]
    )
    encoded: EncodedPrompts = model.encode(dataset, training=training)
    return encoded


@functools.cache
def _decoder(vocab_size: int) -> Transformer:
    size = ModelSettings(family="llama", layers=1, width=32, heads=2, context_length=4096)
    return Transformer(config_for(size, vocab_size), seed=1)
