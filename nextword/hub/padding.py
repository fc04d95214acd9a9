"""Which token fills up a batch, for those who pad: a classifier's place to read hangs on it."""

from __future__ import annotations

from typing import Any

from nextword.errors import UserError
from nextword.tokens.tokenizer import Tokenizer

USUAL = ("<|pad|>", "<pad>", "[PAD]", "<|endoftext|>")


def pad_token(tokenizer: Tokenizer) -> int:
    """A token to pad with that no text ends with, though many models pad with the end of a text.

    transformers' classifiers read the last token that is not the padding token, by its number; so
    with one that ends texts they would read the token before. Raises UserError where none is left.
    """
    taken = _ends_texts(tokenizer)
    specials = sorted(tokenizer.special_ids)
    usual = [id for id in specials if tokenizer.id_to_token(id) in USUAL]
    for id in (tokenizer.pad_id, *usual, tokenizer.end_id, *specials):
        if id is not None and id != taken:
            return id
    raise UserError(
        "the tokenizer has no token to pad with: its only special token ends every text",
        where=tokenizer.where,
        mend='add one, such as "<|pad|>", to its tokenizer.json',
    )


def for_classifier(tokenizer: Tokenizer, context_length: int) -> Tokenizer:
    """The same tokenizer, made to pad as a classifier needs and to cut what is too long.

    Padding on the left would move GPT-2's positions. A padding token that it has is kept, because
    the model has learnt to read the token before it. Raises UserError as `pad_token`.
    """
    id = pad_token(tokenizer) if tokenizer.pad_id is None else tokenizer.pad_id
    length = tokenizer.config.get("model_max_length")
    if not isinstance(length, int) or not 0 < length < context_length:
        length = context_length
    return with_pad(tokenizer, id, {"padding_side": "right", "model_max_length": length})


def with_pad(
    tokenizer: Tokenizer, id: int | None, changes: dict[str, Any] | None = None
) -> Tokenizer:
    """The same tokenizer with this padding token, or none."""
    name = None if id is None else tokenizer.id_to_token(id)
    config = tokenizer.config | {"pad_token": name} | (changes or {})
    return Tokenizer(tokenizer.definition, config, where=tokenizer.where)


def _ends_texts(tokenizer: Tokenizer) -> int | None:
    """The control token that the tokenizer's template puts after a text."""
    for id in range(tokenizer.vocab_size):
        text = "" if id in tokenizer.special_ids else tokenizer.decode([id])
        if text.isprintable() and text.strip() and "\N{REPLACEMENT CHARACTER}" not in text:
            last = tokenizer.encode(text, template=True)[-1]
            return last if last in tokenizer.special_ids else None
    return None
