from __future__ import annotations

import pytest

from nextword.hub.heads import Outputs
from nextword.models.heads import TokenClassificationModel
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings, TaskSettings
from nextword.tasks.records import Record
from nextword.tasks.tag.task import Tag
from nextword.tokens.tokenizer_training import byte_tokenizer


@pytest.mark.parametrize("causal", [True, False])
def test_every_word_is_read_once_however_long_the_text(causal: bool) -> None:
    text = "".join(f"w{number} " for number in range(200)).strip()
    tokenizer = byte_tokenizer()
    family = "qwen3" if causal else "modernbert"
    size = ModelSettings(family=family, layers=1, width=32, heads=2, context_length=64)
    model = TokenClassificationModel(
        Transformer(config_for(size, tokenizer.vocab_size), seed=1), 3, seed=2
    )
    settings = TaskSettings(task="tag", max_length=64)
    tags = ("O", "B-p", "I-p")
    outputs = Outputs("single", tags)
    task = Tag("A", model, tokenizer, settings, start_id=tokenizer.end_id, outputs=outputs)
    dataset = task.read([Record({"text": text}, "x:1")], settings, labelled=False)
    (tagged,) = dataset.examples
    assert task.body.config.causal is causal
    windows = task.encode(dataset).items
    read = [number for window in windows for number in window.words.tolist()]
    assert sorted(read) == list(range(200)) and len(windows) > 10
    for window in windows:
        assert len(window.example.ids) <= 64
        for word, place in zip(window.words, window.read, strict=True):
            begin, end = tagged.words[word]
            edge = text[end - 1] if causal else (" " if begin else "") + text[begin]
            assert tokenizer.decode(window.example.ids[place : place + len(edge)]) == edge
