"""Text that a tokenizer does not know is said by everything that learns from text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from nextword.errors import UserError
from nextword.hub.writing import save
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.prepare import prepare
from nextword.tokens.tokenizer import Tokenizer
from nextword.verbs.finetune import finetune
from nextword.verbs.pretrain import pretrain

KNOWN = "The lamp burned low, and nobody in the house had slept for three nights."


@pytest.fixture
def model(tmp_path: Path) -> Path:
    theirs = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    theirs.normalizer = normalizers.BertNormalizer()
    theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
    theirs.train_from_iterator([KNOWN], trainer)
    (tmp_path / "tokenizer").mkdir()
    theirs.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    size = ModelSettings(family="llama", layers=1, width=32, heads=4, context_length=64)
    save(tmp_path / "model", Transformer(config_for(size, tokenizer.vocab_size)), tokenizer)
    return tmp_path / "model"


def test_finetune_stops_on_texts_that_are_mostly_unknown(model: Path, tmp_path: Path) -> None:
    texts = [f"龘鱻 {'麤' * number} lamp" for number in range(1, 30)]
    rows = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(texts)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=r"unknown to the tokenizer .*麤.*take a model"):
        finetune(model, tmp_path / "data.jsonl", tmp_path / "run", task="classify")
    assert not (tmp_path / "run" / "model").exists()


def test_pretrain_says_what_a_store_has_lost(model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text((KNOWN + " ") * 50 + "龘鱻。")
    flags = {"tokenizer": str(model), "deduplicate": "none", "workers": 1}
    store = prepare(tmp_path / "text.txt", tmp_path / "store", **flags)
    manifest = json.loads((store.path / "manifest.json").read_text())
    manifest["unknown_tokens"] |= {"unknown": manifest["unknown_tokens"]["tokens"] // 2}
    (store.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"store: .* unknown to the tokenizer .*too much to learn"):
        pretrain(store.path, tmp_path / "run", steps=1)
