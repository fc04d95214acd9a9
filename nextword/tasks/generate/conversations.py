"""Conversations as examples: all that the assistant says is learnt, with the end of each turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.columns import MESSAGES, TaskColumns, input_text
from nextword.tasks.generate.chat_template import ChatFormat, Message, chat_template, read_messages
from nextword.tasks.generate.examples import (
    Completions,
    Format,
    Reading,
    TaskExample,
    room_for_answers,
)
from nextword.tasks.generate.prompts import main_language
from nextword.tasks.records import Record, columns_of
from nextword.tokens.packing import Example

PAIRS = [("instruction", "output"), ("instruction", "response"), ("prompt", "response")]
PAIRS += [("prompt", "completion"), ("question", "answer"), ("input", "output")]


def read_conversations(found: Sequence[Record], how: Reading) -> Completions:
    """One too long loses its oldest exchanges; if that is no help it is left out in training."""
    assert how.start_id is not None  # an encoder–decoder does not chat
    tokenizer, max_length, format = how.tokenizer, how.max_length, how.format
    columns, talks = _messages(found, how.settings, how.answered)
    if format is None:
        spoken = main_language(talk[-1].content for talk in talks)
        template = chat_template(tokenizer, how.start_id, spoken)
        format = Format("chat", template, 0, spoken)
    chat = ChatFormat(tokenizer, format.template)
    chat.prepare(
        shape
        for talk in talks
        for shape in (
            ([message.role for message in talk], False),
            ([message.role for message in _asked(talk)], True),
        )
    )
    if not format.answer_tokens:
        answers = [len(tokenizer.encode(t[-1].content)) + 2 for t in talks if _is_answered(t)]
        room = room_for_answers(answers or [max_length], max_length)
        format = replace(format, answer_tokens=room)
    made = Completions([], format, chat.end_ids(), columns)
    answer_room = min(format.answer_tokens, max_length // 2)
    cut, limit = 0, max_length - answer_room
    for record, talk in zip(found, talks, strict=True):
        whole, messages = talk, talk
        while _length(chat, messages, answer_room, how.training) > max_length:
            shorter = _without_oldest(messages)
            if shorter is None:
                break
            messages = shorter
        example = _example(chat, messages, record.place)
        is_long = len(example.example.ids) > max_length
        if how.training and is_long:
            made.dropped["with a last exchange that is too long"] += 1
            continue
        prompt = example.prompt
        if not how.training and len(prompt) > limit:
            prompt = prompt[len(prompt) - limit :]
        if is_long:
            kept = example.example
            shortened = Example(kept.ids[-max_length:], kept.scored[-max_length:], kept.source)
            example = replace(example, example=shortened)
        cut += messages is not whole or is_long or prompt is not example.prompt
        made.examples.append(replace(example, prompt=prompt))
    return replace(made, cut=cut)


def _messages(
    found: Sequence[Record], settings: TaskSettings, answered: bool
) -> tuple[TaskColumns, list[list[Message]]]:
    """The conversation of each record: `messages`, or an instruction with its output."""
    known = {name.lower(): name for name in reversed(columns_of(found))}
    named = settings.text_column if settings.target_column is None else None
    column = named or next((known[name] for name in MESSAGES if name in known), None)
    if column is not None and settings.target_column is None and _holds_messages(found, column):
        talks = [read_messages(record[column], record.place) for record in found]
        columns = TaskColumns({"messages": column})
    else:
        ask, answer = _pair(found, known, settings, answered)
        extra = known.get("input") if ask.lower() != "input" else None
        columns = TaskColumns({"prompt": ask}, [answer] if answer else ())
        talks = []
        for record in found:
            asked = input_text(record, ask)
            more = record[extra] if extra is not None else None
            if isinstance(more, str) and more.strip():
                asked = f"{asked}\n\n{more.strip()}"
            talk = [Message("user", asked)]
            system = record[known["system"]] if "system" in known else None
            if isinstance(system, str) and system.strip():
                talk.insert(0, Message("system", system.strip()))
            if answer:
                talk.append(Message("assistant", input_text(record, answer)))
            talks.append(talk)
    for record, talk in zip(found, talks, strict=True):
        if answered and not any(message.role == "assistant" for message in talk):
            raise UserError(
                "holds nothing that the assistant says",
                where=record.place,
                mend='give a message with "role": "assistant", or remove the row',
            )
        while answered and talk[-1].role != "assistant":
            talk.pop()  # a question without an answer teaches nothing
    return columns, talks


def _holds_messages(found: Sequence[Record], column: str) -> bool:
    """Not where instructions stand there, whose answers are another column, or not known."""
    values = [value for record in found[:50] if (value := record[column]) is not None]
    return not values or any(
        not isinstance(value, str) or value.lstrip().startswith("[") for value in values
    )


def _pair(
    found: Sequence[Record], known: dict[str, str], settings: TaskSettings, answered: bool
) -> tuple[str, str | None]:
    for ask, answer in PAIRS:
        question = settings.text_column or known.get(ask)
        reply = settings.target_column or known.get(answer)
        if question and (reply or not answered):
            return question, reply if answered else None
    raise UserError(
        f"holds no conversations (columns: {', '.join(known.values())})",
        where=found[0].place,
        mend="give messages, or instruction and output; or name --text-column, --target-column",
    )


def _is_answered(talk: Sequence[Message]) -> bool:
    return talk[-1].role == "assistant"


def _asked(talk: Sequence[Message]) -> Sequence[Message]:
    """All before the last answer."""
    return talk[:-1] if _is_answered(talk) else talk


def _length(chat: ChatFormat, talk: Sequence[Message], room: int, training: bool) -> int:
    if training:
        return len(chat.encode(talk).ids)
    return len(chat.encode(_asked(talk), asks=True).ids) + room


def _without_oldest(talk: list[Message]) -> list[Message] | None:
    """Without what was first asked and answered; None where only one question is left."""
    first = next((n for n, message in enumerate(talk) if message.role != "system"), len(talk))
    questions = [n for n, message in enumerate(talk) if message.role == "user" and n > first]
    return talk[:first] + talk[questions[0] :] if questions else None


def _example(chat: ChatFormat, talk: Sequence[Message], place: str) -> TaskExample:
    prompt = chat.encode(_asked(talk), asks=True).ids
    if not _is_answered(talk):
        unlearnt = Example(np.array(prompt, np.int64), np.zeros(len(prompt), bool), place)
        return TaskExample(unlearnt, prompt, (), place)
    encoded = chat.encode(talk)
    ids = np.array(encoded.ids, np.int64)
    scored = np.zeros(len(ids), bool)
    for number, (begin, end) in encoded.turns.items():
        if talk[number].role == "assistant":
            if number == len(talk) - 1:  # what the template adds to an answer is learnt with it
                begin = min(begin, _shared(prompt, encoded.ids))
            scored[begin:end] = True
    return TaskExample(Example(ids, scored, place), prompt, (talk[-1].content,), place)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    for number, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return number
    return min(len(one), len(other))
