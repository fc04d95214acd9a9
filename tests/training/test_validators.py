from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.prepare import prepare
from nextword.training.validators import TextValidator

SHAPE: dict[str, Any] = {"layers": 1, "width": 32, "heads": 2, "context_length": 64}


@pytest.mark.parametrize(("sentences", "is_long"), [(20, False), (4000, True)])
def test_samples_go_on_with_held_out_words_where_texts_are_long(
    sentences: int, is_long: bool, tmp_path: Path
) -> None:
    """Of a few books a model hardly ever sees a beginning, so it cannot know how one goes."""
    text = "\n".join(f"The cat number {n} sat on mat number {n}." for n in range(sentences))
    (tmp_path / "book.txt").write_text(text)
    store = prepare(
        tmp_path / "book.txt", tmp_path / "store", tokenizer="bytes", workers=1, split="position"
    )
    validator = TextValidator(
        store.val,
        store.tokenizer,
        context_length=64,
        tokens_per_byte=1.0,
        batch_size=4,
        max_tokens=256,
        seed=1,
    )
    torch.manual_seed(0)
    model = Transformer(config_for(ModelSettings(**SHAPE), store.val.vocab_size), seed=0)
    prompt, written = validator.sample(model)
    assert written and bool(prompt) == is_long
    assert prompt in text
