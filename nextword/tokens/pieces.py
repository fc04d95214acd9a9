"""A text as the tokenizer sees it: which part of it each token stands for.

The parts joined are the text. A character whose bytes are spread over several tokens belongs to the
last of them; space that no token stands for, to the token after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nextword.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Piece:
    """A token, and the characters of the text that are its own, from `start` to `end`.

    `name` is what the vocabulary calls it, `bytes` what it stands for by itself, None where that is
    not known. A `special` token stands for no text.
    """

    id: int
    name: str
    text: str
    start: int
    end: int
    special: bool
    bytes: bytes | None


def pieces_of_text(tokenizer: Tokenizer, text: str, *, masked: bool = False) -> list[Piece]:
    """Return the tokens of a text in the tokenizer's template; with `masked` the mask token's name
    is that token. Raises UserError as Tokenizer.encode does."""
    ids, offsets, added = tokenizer.encode_in_place(text, masked=masked)
    own = [number for number, is_added in enumerate(added) if not is_added]
    ends = [0] * len(ids)
    done = 0
    for number, follower in zip(own, [*own[1:], None][: len(own)], strict=True):
        start, end = (int(place) for place in offsets[number])
        # Where the next token stands for the same character, that one has it.
        end = end if follower is None else max(start, min(end, int(offsets[follower][0])))
        done = max(done, end) if follower is not None else len(text)
        ends[number] = done
    pieces: list[Piece] = []
    at = 0
    for id, end, is_added in zip(ids, ends, added, strict=True):
        end = at if is_added else end
        pieces.append(_piece(tokenizer, id, text[at:end], at, is_added))
        at = end
    return pieces


def pieces_of_ids(tokenizer: Tokenizer, ids: Sequence[int]) -> list[Piece]:
    """Return ids with the text that each completes, as they would be generated one by one."""
    stream = tokenizer.stream()
    texts = [stream.feed(id) for id in ids]
    if texts:
        texts[-1] += stream.flush()
    at, pieces = 0, []
    for id, text in zip(ids, texts, strict=True):
        pieces.append(_piece(tokenizer, id, text, at, id in tokenizer.special_ids))
        at += len(text)
    return pieces


def shown(tokenizer: Tokenizer, id: int) -> str:
    """Return the text of a single token, U+FFFD for the parts of characters; the name of a control
    token."""
    value = tokenizer.token_bytes(id)
    if value is None:
        return tokenizer.id_to_token(id) or ""
    return value.decode("utf-8", "replace")


def _piece(tokenizer: Tokenizer, id: int, text: str, at: int, special: bool) -> Piece:
    name = tokenizer.id_to_token(id) or ""
    value = tokenizer.token_bytes(id) if tokenizer.tells_bytes else None
    return Piece(id, name, text, at, at + len(text), special, value)
