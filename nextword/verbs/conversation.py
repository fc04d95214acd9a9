"""A conversation with a model, or a text that a person and a model write in turns."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nextword.errors import UserError
from nextword.inference.engine.engine import Engine, EngineOptions
from nextword.inference.engine.request import Finished, Request, Token
from nextword.inference.language_model import LanguageModel, load_language_model
from nextword.inference.text_stream import TextStream
from nextword.settings import ChatSettings, GenerateSettings, with_defaults
from nextword.tasks.generate.chat_template import ChatTemplate, choose_template, has_template
from nextword.tasks.generate.conversation_encoding import without_oldest
from nextword.tasks.generate.messages import Message

LEAST_ROOM = 4  # an answer has room for max_new_tokens, or for this part of the context


@dataclass
class Conversation:
    """Messages so far, and the model that answers. Without a `template` they are one text, which
    the model goes on with. `left_out` counts the messages, or the tokens of a text, that the model
    no longer sees: its context is too short for all. The same `seed` and the same words get the
    same answers."""

    model: LanguageModel
    engine: Engine
    settings: ChatSettings
    template: ChatTemplate | None
    messages: list[Message] = field(default_factory=list)
    seed: int = 0
    left_out: int = 0
    _tries: int = 0  # each has random numbers of its own

    @classmethod
    def open(cls, name: str | Path, settings: ChatSettings) -> Self:
        """Open a model to talk with; without a chat template, or with `plain`, to write with.

        Raises UserError for a model that cannot go on with a text, and a system message for one
        that has no place for it.
        """
        model = load_language_model(name, precision=settings.precision)
        options = EngineOptions(
            slots=1, max_queue=1, quantize=settings.quantize, threads=settings.threads
        )
        engine = Engine(model, options)
        template: ChatTemplate | None = None
        if has_template(model.tokenizer) and not settings.plain:
            text = choose_template(model.tokenizer, model.start_id, "en")
            template = ChatTemplate(model.tokenizer, text)
        opened = cls(model, engine, with_defaults(settings, model.sampling), template)
        opened.begin(settings.seed)
        if settings.system:
            opened.tell(settings.system)
        return opened

    def begin(self, seed: int | None = None) -> None:
        """Begin anew, with a seed or one that is drawn; what the model was told stays."""
        self.seed = random.getrandbits(32) if seed is None else seed
        self.messages = [message for message in self.messages if message.role == "system"]
        self._tries = 0

    def tell(self, system: str) -> None:
        """Set the system message, from now on; an empty one removes it.

        Raises UserError for a model that goes on with a text, or whose template has no place for
        such a message.
        """
        if self.template is None:
            raise UserError(
                f"{self.model.name} goes on with a text and is told nothing before it",
                mend="write it into the text, or fine-tune the model with --task chat",
            )
        if system:
            self._encode([Message("system", system), Message("user", "?")])  # has it a place?
        others = [message for message in self.messages if message.role != "system"]
        self.messages = [Message("system", system), *others] if system else others

    def say(self, text: str) -> Iterator[str]:
        """Say something and yield the answer in pieces."""
        self.messages.append(Message("user", text))
        return self._answer()

    def retry(self) -> Iterator[str]:
        """Yield another answer in place of the last one. Raises UserError where there is none."""
        if not self.messages or self.messages[-1].role == "system":
            raise UserError("nothing was said yet")
        if self.messages[-1].role == "assistant":
            self.messages.pop()
        return self._answer()

    def undo(self) -> str:
        """Take back what was said last, with its answer; return it. Raises UserError where there
        is nothing."""
        while self.messages and self.messages[-1].role == "assistant":
            self.messages.pop()
        if not self.messages or self.messages[-1].role != "user":
            raise UserError("nothing was said yet")
        return self.messages.pop().content

    def close(self) -> None:
        self.engine.close()

    @property
    def text(self) -> str:
        """All that was written, as one text."""
        return "".join(message.content for message in self.messages)

    def _answer(self) -> Iterator[str]:
        """Yield an answer, and keep it: as far as it came, where it is stopped. What cannot be
        answered is taken back."""
        try:
            prompt, ends = self._prompt()
            values = self.settings.model_dump(include=set(GenerateSettings.model_fields))
            room = max(self.model.transformer.config.context_limit - len(prompt), 1)
            settings = GenerateSettings(
                **values | {"max_new_tokens": min(self._most, room), "seed": self.seed}
            )
            request = Request(prompt, settings, sample=self._tries, end_ids=ends)
            stream = self.engine.submit(request)
        except UserError:
            self.messages.pop()
            raise
        self._tries += 1
        text = TextStream(self.model.tokenizer, prompt, settings.stop)
        try:
            for event in stream:
                piece = ""
                if isinstance(event, Token):
                    piece = text.feed(event.id)
                elif isinstance(event, Finished):
                    piece = text.flush()
                if text.stops.stopped:
                    stream.cancel()
                if piece:
                    yield piece
        finally:
            stream.cancel()
            if said := "".join(text.pieces):
                self.messages.append(Message("assistant", said))

    @property
    def _most(self) -> int:
        return self.settings.max_new_tokens

    def _prompt(self) -> tuple[list[int], frozenset[int]]:
        """Return the ids of what the model sees, and what an answer ends with."""
        context = self.model.transformer.config.context_limit
        limit = context - min(self._most, context // LEAST_ROOM)
        self.left_out = 0
        if self.template is None:
            ids = self.model.encode_prompt(self.text)
            self.left_out = max(len(ids) - limit, 0)
            return ids[-limit:], self.model.end_ids
        talk = self.messages
        ids = self._encode(talk)
        while len(ids) > limit:
            shorter = without_oldest(talk)
            if shorter is None:
                break  # the engine says what is too long
            talk, ids = shorter, self._encode(shorter)
        self.left_out = len(self.messages) - len(talk)
        return ids, self.model.end_ids | self.template.end_ids()

    def _encode(self, talk: Sequence[Message]) -> list[int]:
        assert self.template is not None
        encoded = self.template.encode(talk, asks=True)
        missing = next((n for n in range(len(talk)) if n not in encoded.turns), None)
        if missing is not None:
            raise UserError(f"the model's chat template leaves out a {talk[missing].role} message")
        return encoded.ids
