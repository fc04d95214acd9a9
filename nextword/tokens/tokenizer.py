"""A tokenizer: text to ids and back, as Hugging Face's `tokenizers` gives them, but faster.

What a person writes never becomes a control token: "<|endoftext|>" in a text is encoded as the
characters it is made of. Control tokens are joined to text as ids.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.text.document import lone_surrogate
from nextword.tokens.control_tokens import FIM_TOKENS, SENTINELS, hide_control_tokens, to_json
from nextword.tokens.fast_encoders import SPLIT_CHARACTERS, Encoder, fast_encoder
from nextword.tokens.losses import Losses
from nextword.tokens.vocabulary import Vocabulary, build_backend

if TYPE_CHECKING:
    import tokenizers

_SHORT = 2000  # characters, below which the fast encoder is not worth building


@dataclass(frozen=True)
class Frame:
    """What a tokenizer adds to texts by itself.

    `space` bytes before each text; ids `before` the first, `between` two and `after` the last. The
    last one's tokens are of type `kind`.
    """

    space: int
    before: list[int]
    between: list[int]
    after: list[int]
    kind: int


class Tokenizer(Vocabulary):
    """Encodes text to the ids of a vocabulary, and counts in `losses` what is lost of it."""

    @functools.cached_property
    def losses(self) -> Losses:
        """Of all text encoded so far."""
        return Losses()

    @functools.cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """Without its control tokens: for encoding text."""
        return build_backend(to_json(hide_control_tokens(self._parse())), self.where)

    @functools.cached_property
    def _with_mask(self) -> tokenizers.Tokenizer:
        """With the mask token as its only control token."""
        mask = self._role_name("mask_token")
        return build_backend(to_json(hide_control_tokens(self._parse(), mask)), self.where)

    @functools.cached_property
    def fast_encoder(self) -> Encoder | None:
        """The proven faster encoder of text, None where there is none."""
        return fast_encoder(hide_control_tokens(self._parse()), lambda: self._plain)

    @functools.cached_property
    def _characters(self) -> frozenset[str] | None:
        """All that a tokenizer of characters can encode; None for other tokenizers."""
        parsed = self._parse()
        is_word_level = parsed["model"].get("type") == "WordLevel"
        if not is_word_level or parsed.get("pre_tokenizer") != SPLIT_CHARACTERS:
            return None
        return frozenset(name for name in parsed["model"]["vocab"] if len(name) == 1)

    def encode(self, text: str, *, template: bool = False) -> list[int]:
        """Return the ids of a text, in which nothing is a control token.

        `template` adds what the tokenizer itself puts around a text (BOS, EOS), as transformers
        does. Raises UserError for text that is not Unicode, or holds a character that a tokenizer
        of characters has never seen.
        """
        if template:
            return list(self._in_template(self._encode(text)).ids)
        # Once built, the fast encoder serves short texts too.
        if text and (len(text) > _SHORT or "fast_encoder" in self.__dict__) and self.fast_encoder:
            self._check(text)
            ids = self.fast_encoder(text)
            if ids is not None:
                return ids.tolist()
        return list(self._encode(text).ids)

    def _encode(self, text: str) -> tokenizers.Encoding:
        self._check(text)
        encoding = self._plain.encode(text, add_special_tokens=False)
        self._count(text, encoding)
        return encoding

    def _count(self, text: str, encoding: tokenizers.Encoding) -> None:
        if self.drops_unknown:
            dropped = Counter(_uncovered(text, encoding))
            self.losses.tokens += len(encoding) + dropped.total()
            self.losses.unknown += dropped.total()
            self.losses.lose(dropped)
        elif self.unknown_id is not None:
            ids = encoding.ids
            self.losses.tokens += len(ids)
            if unknown := ids.count(self.unknown_id):
                self.losses.unknown += unknown
                self.losses.lose(self._lost(text, encoding))

    def _lost(self, text: str, encoding: tokenizers.Encoding) -> Counter[str]:
        """Count the characters that unknown tokens stand for; words, where each is known alone."""
        pieces = (
            text[slice(*place)]
            for id, place in zip(encoding.ids, encoding.offsets, strict=True)
            if id == self.unknown_id
        )
        lost = Counter[str]()
        for piece, count in Counter(pieces).items():
            unknown = [character for character in piece.strip() if self._is_unknown(character)]
            lost.update(unknown * count or {piece.strip(): count})
        return lost

    def _is_unknown(self, character: str) -> bool:
        if character not in self._unknown_alone:
            ids = self._plain.encode(character, add_special_tokens=False).ids
            self._unknown_alone[character] = self.unknown_id in ids
        return self._unknown_alone[character]

    @functools.cached_property
    def _unknown_alone(self) -> dict[str, bool]:
        return {}

    def take_losses(self) -> Losses:
        """Return what was lost since this was last asked."""
        losses = self.losses
        del self.losses
        return losses

    def normalize(self, text: str) -> str:
        """Return a text as the tokenizer reads it, before it is cut into tokens."""
        normalizer = self._plain.normalizer
        return text if normalizer is None else str(normalizer.normalize_str(text))

    def encode_masked(self, text: str) -> list[int]:
        """Return the ids of a text, in its template, in which the mask token's name is that token.

        No other name is a control token. Raises UserError as `encode` does.
        """
        return self.encode_in_place(text, masked=True)[0]

    def _in_template(
        self, first: tokenizers.Encoding, second: tokenizers.Encoding | None = None
    ) -> tokenizers.Encoding:
        return self._whole.post_process(first, second, add_special_tokens=True)

    def encode_with_types(
        self, text: str, pair: str | None = None, limit: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Return ids and token types of a text, or of a pair of them, in their template.

        They are those of transformers: above `limit` tokens the longer text is cut first. Raises
        UserError as `encode` does.
        """
        encodings = [self._encode(part) for part in ([text] if pair is None else [text, pair])]
        if limit is not None:
            room = limit - self._whole.num_special_tokens_to_add(pair is not None)
            lengths = _longest_first([len(encoding) for encoding in encodings], max(room, 0))
            for encoding, length in zip(encodings, lengths, strict=True):
                encoding.truncate(length)
        whole = self._in_template(*encodings)
        return list(whole.ids), list(whole.type_ids) if self._has_types else [0] * len(whole.ids)

    @property
    def _has_types(self) -> bool:
        return "token_type_ids" in self.config.get("model_input_names", ["token_type_ids"])

    def frame(self, pair: bool = False) -> Frame:
        """Return what is added to a text, or to a pair of them."""
        inside = self._plain.encode(self._letter, add_special_tokens=False)
        whole = self._in_template(inside, inside if pair else None)
        ids, texts = list(whole.ids), list(whole.sequence_ids)
        first, last = texts.index(0), texts.index(int(pair))
        size = sum(len(self.token_bytes(id) or b"") for id in inside.ids)
        return Frame(
            space=max(size - len(self._letter.encode()), 0),  # Llama's older tokenizers have one
            before=ids[:first],
            between=ids[first + len(inside) : last],
            after=ids[last + len(inside) :],
            kind=whole.type_ids[last] if self._has_types else 0,
        )

    @functools.cached_property
    def _letter(self) -> str:
        """A letter that the tokenizer knows; one made of Chinese text may not know "a"."""

        def is_known(letter: str) -> bool:
            ids = self._plain.encode(letter, add_special_tokens=False).ids
            return b"".join(self.token_bytes(id) or b"" for id in ids).endswith(letter.encode())

        names = (name.strip("▁") for name in self._whole.get_vocab(with_added_tokens=False))
        letters = (name for name in names if len(name) == 1 and not name.isspace())
        return next(filter(is_known, itertools.chain("a", letters)), "a")

    def encode_with_offsets(self, text: str) -> tuple[list[int], NDArray[np.int64]]:
        """Return the ids of `encode`, and the characters each stands for: from, to [tokens, 2].

        The parts of one character all stand for it.
        """
        encoding = self._encode(text)
        return list(encoding.ids), np.array(encoding.offsets, np.int64).reshape(-1, 2)

    def encode_in_place(
        self, text: str, *, masked: bool = False
    ) -> tuple[list[int], NDArray[np.int64], list[bool]]:
        """Return the ids of a text in its template, the characters each stands for: from, to
        [tokens, 2]; and which of them the template adds.

        With `masked` the mask token's name is that token. Raises UserError as `encode` does.
        """
        mask = self._role_name("mask_token") if masked else None
        self._check(text.replace(mask, "") if mask else text)
        backend = self._with_mask if masked else self._plain
        encoding = backend.encode(text, add_special_tokens=False)
        self._count(text, encoding)
        whole = self._in_template(encoding)
        offsets = np.array(whole.offsets, np.int64).reshape(-1, 2)
        return list(whole.ids), offsets, [bool(added) for added in whole.special_tokens_mask]

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return all ids one after another, uint32 [tokens], and how many each text has, [texts].

        Raises UserError as `encode` does.
        """
        parts: list[NDArray[np.uint32] | None] = [None] * len(texts)
        for number, text in enumerate(texts):
            self._check(text)
            parts[number] = self.fast_encoder(text) if self.fast_encoder and text else None
        slow = [number for number, part in enumerate(parts) if part is None]
        if slow:
            # Only with places in the text can it be told which of its characters are unknown.
            fast = self.unknown_id is None and not self.drops_unknown
            encode = self._plain.encode_batch_fast if fast else self._plain.encode_batch
            encodings = encode([texts[number] for number in slow], add_special_tokens=False)
            for number, encoding in zip(slow, encodings, strict=True):
                self._count(texts[number], encoding)
                parts[number] = np.array(encoding.ids, np.uint32)
        lengths = np.array([len(part) for part in parts if part is not None], np.int64)
        return np.concatenate([np.empty(0, np.uint32), *parts]), lengths

    def _check(self, text: str) -> None:
        if found := lone_surrogate(text):
            raise UserError("the text holds a lone surrogate ({}) at character {}".format(*found))
        if self._characters is not None and (unknown := sorted(set(text) - self._characters)):
            raise UserError(
                f"the text holds {unknown[0]!r} (U+{ord(unknown[0]):04X}) at character "
                f"{text.index(unknown[0])}, which this tokenizer of characters has never seen",
                mend="leave it out, or train with --tokenizer bpe, which knows all characters",
            )

    def require_control_tokens(
        self, objective: str, fim_rate: float = 0.0, mend: str = "", needed_by: str = ""
    ) -> None:
        """Raise UserError where control tokens are missing that an objective needs.

        The error names `needed_by`, or the flag for the objective.
        """
        missing, flag = "", f"--objective {objective}"
        if objective == "masked":
            roles = [f"{role}_token" for role in ("cls", "sep", "mask")]
            missing = next((role for role in roles if self.role_id(role) is None), "")
        elif objective == "denoise":
            if self.pad_id is None or None in map(self.special_id, SENTINELS):
                missing = f"{SENTINELS[0]} … {SENTINELS[-1]} or no pad_token"
        elif fim_rate:
            missing = next((name for name in FIM_TOKENS if self.special_id(name) is None), "")
            flag = "--fim-rate"
        if missing:
            flag = needed_by or flag
            raise UserError(
                f"the tokenizer has no {missing}, which {flag} needs",
                where=self.where,
                mend=mend or f"prepare the text again with {flag}, or choose another --tokenizer",
            )


def _uncovered(text: str, encoding: tokenizers.Encoding) -> Iterator[str]:
    """Yield the characters, but spaces, that no token stands for."""
    done = 0
    for start, stop in [*encoding.offsets, (len(text), len(text))]:
        yield from "".join(text[done:start].split())
        done = max(done, stop)


def _longest_first(lengths: list[int], room: int) -> list[int]:
    """Return how much of one or two texts fits in a room if the longer one is cut first."""
    if len(lengths) == 1 or sum(lengths) <= room:
        return [min(length, room) for length in lengths]
    shorter = min(min(lengths), room // 2)
    shares = [shorter, room - shorter]
    return shares if lengths[0] <= lengths[1] else shares[::-1]
