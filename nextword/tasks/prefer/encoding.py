"""Encodes a prompt with both of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nextword.errors import UserError
from nextword.tasks.generate.chat_template import ChatTemplate
from nextword.tasks.generate.conversation_encoding import encode_talk, without_oldest
from nextword.tasks.generate.messages import Message, Talk
from nextword.tasks.prefer.data import Preference
from nextword.tokens.packing import Example
from nextword.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class EncodedPair:
    """Two answers to one `prompt`. `reference_margin` is log p(chosen) - log p(rejected) of the
    reference model."""

    chosen: Example
    rejected: Example
    prompt: list[int]
    reference_margin: float = 0.0


@dataclass(frozen=True)
class PairEncoder:
    """Encodes pairs as conversations by `chat`, or as plain text where it is None."""

    tokenizer: Tokenizer
    chat: ChatTemplate | None
    start_id: int
    max_length: int

    def prepare(self, examples: Sequence[Preference]) -> None:
        """Render the shapes of all conversations at once."""
        if self.chat is None:
            return
        roles = [[message.role for message in _talk_of(example)] for example in examples]
        answered = [([*before, "assistant"], False) for before in roles]
        self.chat.prepare([*answered, *((before, True) for before in roles)])

    def encode(self, example: Preference, place: str) -> tuple[EncodedPair, bool]:
        """Return a pair, and whether its prompt is cut: of a text the beginning, of a conversation
        the oldest exchanges."""
        if self.chat is None:
            return self._encode_text(example, place)
        talk = whole = _talk_of(example)
        while True:
            pair = self._encode_talk(self.chat, talk, example, place)
            longest = max(len(pair.chosen.ids), len(pair.rejected.ids))
            shorter = without_oldest(talk) if longest > self.max_length else None
            if shorter is None:
                return pair, talk is not whole
            talk = shorter

    def _encode_text(self, example: Preference, place: str) -> tuple[EncodedPair, bool]:
        if not isinstance(example.prompt, str):
            raise UserError(
                "has messages, and the model has learned prompts that are text",
                where=place,
                mend="give prompts as text, without a system message or earlier turns",
            )
        prompt = self.tokenizer.encode(example.prompt)
        answers = example.chosen, example.rejected
        ends = [[*self.tokenizer.encode(text), self.tokenizer.end_id] for text in answers]
        room = max(self.max_length - 1 - max(map(len, ends)), 1)
        before = [self.start_id, *prompt[max(len(prompt) - room, 0) :]]
        chosen, rejected = (
            Example(
                np.array(before + end, np.int64),
                np.arange(len(before) + len(end)) >= len(before),
                place,
            )
            for end in ends
        )
        return EncodedPair(chosen, rejected, before), len(prompt) > room

    def _encode_talk(
        self, chat: ChatTemplate, talk: Talk, example: Preference, place: str
    ) -> EncodedPair:
        (chosen, prompt), (rejected, _) = (
            encode_talk(chat, [*talk, Message("assistant", answer)], place, last_only=True)
            for answer in (example.chosen, example.rejected)
        )
        return EncodedPair(chosen, rejected, prompt)


def _talk_of(example: Preference) -> Talk:
    prompt = example.prompt
    return [Message("user", prompt)] if isinstance(prompt, str) else prompt
