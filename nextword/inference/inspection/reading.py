"""A text, or ids, as a model reads it: its tokens, and the part of them that it can see at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nextword.errors import UserError
from nextword.inference.language_model import LanguageModel
from nextword.inference.masked_model import MaskedLanguageModel
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.models.transformer import Transformer
from nextword.tokens.pieces import Piece, pieces_of_ids, pieces_of_text

AnyModel = LanguageModel | MaskedLanguageModel
Kind = Literal["decoder", "encoder", "encoder–decoder"]
MOST_TOKENS = 32_768


def kind_of(model: AnyModel) -> Kind:
    if isinstance(model, MaskedLanguageModel):
        return "encoder"
    return "encoder–decoder" if isinstance(model.transformer, EncoderDecoder) else "decoder"


def stack_of(model: AnyModel) -> Transformer:
    """Return the Transformer whose states are scored."""
    whole = model.transformer
    return whole.decoder if isinstance(whole, EncoderDecoder) else whole


@dataclass(frozen=True)
class Reading:
    """The tokens that a model scores, and for an encoder–decoder those of its source.

    `text` is what `pieces` stand for. The first of a decoder's tokens may be its start token.
    """

    kind: Kind
    text: str
    pieces: list[Piece]
    source: list[Piece] | None = None

    @property
    def ids(self) -> list[int]:
        return [piece.id for piece in self.pieces]

    @property
    def source_ids(self) -> list[int]:
        return [piece.id for piece in self.source or []]

    def place(self, position: int) -> int:
        """Return a token's number; negative ones count from the end. Raises UserError where there
        is no such token."""
        count = len(self.pieces)
        if not -count <= position < count:
            raise UserError(
                f"position {position}: the text has {count:,} tokens",
                mend=f"give one from 0 to {count - 1}",
            )
        return position % count


def read_text(model: AnyModel, text: str, *, start: bool = True, target: str = "") -> Reading:
    """Read a text as the model's tokenizer frames it.

    With `start`, a decoder's text begins with its start token, as in training; else it is a prompt.
    Of an encoder–decoder `text` is the source and `target` what it has written. Raises UserError
    for a text that cannot be encoded, or is too long to be looked at.
    """
    kind, tokenizer = kind_of(model), model.tokenizer
    pieces = pieces_of_text(tokenizer, text, masked=kind == "encoder")
    _check_length(pieces)
    if kind == "encoder":
        return Reading(kind, text, pieces)
    assert isinstance(model, LanguageModel)
    if kind == "encoder–decoder":
        ids = tokenizer.encode(target)
        written = [*_start(model), *pieces_of_ids(tokenizer, ids)]
        return Reading(kind, target, written, pieces)
    if not pieces or (start and pieces[0].id != model.start_id):
        pieces = [*_start(model), *pieces]
    return Reading(kind, text, pieces)


def read_ids(
    model: AnyModel, ids: Sequence[int], target_ids: Sequence[int] | None = None
) -> Reading:
    """Read ids as they are; of an encoder–decoder they are the source, and the target's follow its
    start token. Raises UserError for unknown ids, for none at all, or for too many."""
    kind, tokenizer = kind_of(model), model.tokenizer
    for id in (*ids, *(target_ids or ())):
        if not 0 <= id < model.transformer.config.vocab_size:
            raise UserError(f"token {id} is not in the vocabulary")
    if not ids:
        raise UserError("there are no tokens", mend="give at least one")
    pieces = pieces_of_ids(tokenizer, ids)
    _check_length(pieces)
    source = None
    if kind == "encoder–decoder":
        assert isinstance(model, LanguageModel)
        source, pieces = pieces, [*_start(model), *pieces_of_ids(tokenizer, target_ids or ())]
    return Reading(kind, "".join(piece.text for piece in pieces), pieces, source)


def context_of(model: AnyModel) -> int:
    """Return how many tokens are looked at together: the model's context, or what is the most."""
    return min(model.transformer.config.context_limit, MOST_TOKENS)


def _start(model: LanguageModel) -> list[Piece]:
    config_start = model.transformer.config.start_id
    id = model.start_id if config_start is None else config_start
    return [Piece(id, model.tokenizer.id_to_token(id) or "", "", 0, 0, True, None)]


def _check_length(pieces: Sequence[Piece]) -> None:
    if len(pieces) > MOST_TOKENS:
        raise UserError(
            f"the text is {len(pieces):,} tokens long, and {MOST_TOKENS:,} are looked at at most",
            mend="give a shorter text",
        )
