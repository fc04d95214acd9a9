"""Conversations as examples: all that the assistant says is learned, with the end of each turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nextword.tasks.dataset import Dataset
from nextword.tasks.generate.chat_template import ChatTemplate, choose_template
from nextword.tasks.generate.encoding import (
    EncodedPrompts,
    ExampleEncoder,
    GenerationExample,
    PromptFormat,
    room_for_answers,
)
from nextword.tasks.generate.messages import Message, Talk
from nextword.tasks.generate.prompts import main_language
from nextword.tokens.packing import Example


@dataclass(frozen=True)
class ConversationEncoder(ExampleEncoder):
    """Encodes conversations. One that is too long loses its oldest exchanges; if that is no help
    it is left out in training."""

    def encode_talks(
        self, dataset: Dataset[Talk], format: PromptFormat | None, *, training: bool
    ) -> EncodedPrompts:
        """Encode conversations; without a `format` one is chosen from them."""
        assert self.start_id is not None  # an encoder–decoder does not chat
        talks = dataset.examples
        if format is None:
            language = main_language(talk[-1].content for talk in talks)
            template = choose_template(self.tokenizer, self.start_id, language)
            format = PromptFormat("chat", template, 0, language)
        chat = ChatTemplate(self.tokenizer, format.template)
        chat.prepare(
            shape
            for talk in talks
            for shape in (
                ([message.role for message in talk], False),
                ([message.role for message in _before_answer(talk)], True),
            )
        )
        if not format.answer_tokens:
            answers = [
                len(self.tokenizer.encode(talk[-1].content)) + 2
                for talk in talks
                if _is_answered(talk)
            ]
            room = room_for_answers(answers or [self.max_length], self.max_length)
            format = replace(format, answer_tokens=room)
        answer_room = min(format.answer_tokens, self.max_length // 2)
        items: list[GenerationExample] = []
        dropped: Counter[str] = Counter()
        cut, limit = 0, self.max_length - answer_room
        for index, whole in enumerate(talks):
            talk = whole
            while _length(chat, talk, answer_room, training) > self.max_length:
                shorter = without_oldest(talk)
                if shorter is None:
                    break
                talk = shorter
            example, prompt = encode_talk(chat, talk, dataset.places[index])
            is_long = len(example.ids) > self.max_length
            if training and is_long:
                dropped["with a last exchange that is too long"] += 1
                continue
            is_cut = talk is not whole or is_long
            if not training and len(prompt) > limit:
                prompt, is_cut = prompt[len(prompt) - limit :], True
            if is_long:
                ids, scored = example.ids[-self.max_length :], example.scored[-self.max_length :]
                example = Example(ids, scored, example.source)
            cut += is_cut
            items.append(GenerationExample(example, prompt, index))
        return self.finish(items, format, chat.end_ids(), dropped, cut)


def _is_answered(talk: Sequence[Message]) -> bool:
    return talk[-1].role == "assistant"


def _before_answer(talk: Sequence[Message]) -> Sequence[Message]:
    return talk[:-1] if _is_answered(talk) else talk


def _length(chat: ChatTemplate, talk: Sequence[Message], room: int, training: bool) -> int:
    if training:
        return len(chat.encode(talk).ids)
    return len(chat.encode(_before_answer(talk), asks=True).ids) + room


def without_oldest(talk: Talk) -> Talk | None:
    """Return the conversation without its first exchange; None for a single question."""
    first = next((n for n, message in enumerate(talk) if message.role != "system"), len(talk))
    questions = [n for n, message in enumerate(talk) if message.role == "user" and n > first]
    return talk[:first] + talk[questions[0] :] if questions else None


def encode_talk(
    chat: ChatTemplate, talk: Sequence[Message], place: str, *, last_only: bool = False
) -> tuple[Example, list[int]]:
    """Return a conversation of which all that the assistant says is to be learned, except what is
    only to be read, or the last answer alone; and the prompt of that."""
    prompt = chat.encode(_before_answer(talk), asks=True).ids
    if not _is_answered(talk):
        return Example(np.array(prompt, np.int64), np.zeros(len(prompt), bool), place), prompt
    encoded = chat.encode(talk)
    ids = np.array(encoded.ids, np.int64)
    scored = np.zeros(len(ids), bool)
    for number, (begin, end) in encoded.turns.items():
        is_last = number == len(talk) - 1
        message = talk[number]
        if message.role == "assistant" and message.learned and (is_last or not last_only):
            if is_last:  # what the template adds to an answer is learned with it
                begin = min(begin, _common_start(prompt, encoded.ids))
            scored[begin:end] = True
    return Example(ids, scored, place), prompt


def _common_start(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    for number, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return number
    return min(len(one), len(other))
