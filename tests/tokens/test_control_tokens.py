from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from nextword.tokens.control_tokens import (
    CAUSAL,
    CAUSAL_WITH_FIM,
    DENOISE,
    MASKED,
    SENTINELS,
    ControlTokens,
)
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer, character_tokenizer, train_bpe

TEXT = "The cat sat, on the mat. 床前明月光，疑是地上霜。 [MASK][SEP]\n"


def made(kind: str, specials: ControlTokens) -> Tokenizer:
    if kind == "bpe":
        return train_bpe([TEXT * 20], 500, 10**6, specials)
    return byte_tokenizer(specials) if kind == "bytes" else character_tokenizer([TEXT], specials)


@pytest.mark.parametrize("kind", ["bpe", "bytes", "chars"])
@pytest.mark.parametrize("specials", [CAUSAL, CAUSAL_WITH_FIM, MASKED, DENOISE])
def test_transformers_gives_the_same_ids(
    kind: str, specials: ControlTokens, tmp_path: Path
) -> None:
    tokenizer = made(kind, specials)
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    text = "The cat sat, 床前明月光。"
    assert tokenizer.encode(text, template=True) == theirs(text)["input_ids"]
    assert set(theirs(text)) == {"input_ids", "attention_mask"} or specials in (
        CAUSAL,
        CAUSAL_WITH_FIM,
    )
    assert {theirs.convert_tokens_to_ids(name) for name in specials.names} <= tokenizer.special_ids
    for role in ("cls", "sep", "mask", "pad", "eos"):
        assert getattr(theirs, f"{role}_token_id") == tokenizer.role_id(f"{role}_token")


@pytest.mark.parametrize("kind", ["bpe", "bytes", "chars"])
def test_control_names_in_text_are_characters_but_the_mask_of_a_prompt_is_the_mask(
    kind: str, tmp_path: Path
) -> None:
    tokenizer = made(kind, MASKED)
    text = "The [MASK] sat on the [MASK].[SEP]"
    ids = tokenizer.encode(text)
    assert not tokenizer.special_ids & set(ids)
    assert tokenizer.decode(ids) == text
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    prompt = "The [MASK] sat on the [MASK]."
    assert tokenizer.encode_masked(prompt) == theirs(prompt)["input_ids"]
    space = "" if kind == "bpe" else " "  # which the mask takes up where words carry it
    parts = [tokenizer.encode(part) for part in (f"The{space}", f" sat on the{space}", ".")]
    inner = [id for part in parts for id in [*part, tokenizer.role_id("mask_token")]][:-1]
    assert tokenizer.encode_masked(prompt)[1:-1] == inner
    assert tokenizer.decode(inner, skip_special=False).count(" [MASK]") == (2 if space else 0)
    few = character_tokenizer(["床前明月光"], MASKED)
    assert few.encode_masked("床前[MASK]月光")[3] == few.role_id("mask_token")
    both = tokenizer.encode_masked(text)
    assert both.count(tokenizer.role_id("mask_token")) == 2
    assert both.count(tokenizer.role_id("sep_token")) == 1, "[SEP] as text is characters"


def test_documents_end_with_the_objectives_own_token() -> None:
    masked, denoise = made("bytes", MASKED), made("bytes", DENOISE)
    assert masked.end_id == masked.role_id("sep_token")
    assert denoise.id_to_token(denoise.end_id) == "</s>"
    assert [denoise.special_id(name) for name in SENTINELS] == list(range(258, 358))
