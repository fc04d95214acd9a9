"""Records of questions, documents, sources and conversations as examples to learn to write from.

What people wrote is encoded apart from the template around it, and ids are joined. Only the answer
and the token that ends it are learnt: of a conversation, all that the assistant says.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.columns import (
    LONG,
    TaskColumns,
    answer_start,
    find_task_columns,
    input_text,
    leading,
    references_of,
)
from nextword.tasks.generate.prompts import default_template, main_language, parse_template
from nextword.tasks.records import Record, choose_column, columns_of
from nextword.text.columns import NAMES as TEXT_NAMES
from nextword.tokens.packing import Example
from nextword.tokens.tokenizer import Tokenizer

MOST_DROPPED = 0.05  # of the examples, that may be too long to learn from
MOST_ANSWERS = 98  # percent of the answers, that have to have room
LEAST_CONTEXT = 8  # tokens of a document that are worth asking about


@dataclass(frozen=True)
class Format:
    """How records become prompts: chosen once, from the training data, and kept with the model.

    `template` has {fields}, or is Jinja for conversations; `answer_tokens` is the room left for an
    answer and its end; `language` is the one that is written, by which answers are judged.
    """

    task: str
    template: str
    answer_tokens: int
    language: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TaskExample:
    """`prompt` is what the model is given to write an answer to, `references` the answers that
    would be right (none: unknown, or for a question that there is no answer)."""

    example: Example
    prompt: list[int]
    references: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Completions:
    """`dropped` counts the examples left out, by reason; `cut` those whose text was shortened."""

    examples: list[TaskExample]
    format: Format
    end_ids: frozenset[int]  # any of them ends an answer
    columns: TaskColumns = field(default_factory=TaskColumns)
    dropped: Counter[str] = field(default_factory=Counter)
    cut: int = 0


@dataclass(frozen=True)
class Reading:
    """How records are read: for a model that begins with `start_id` and takes `max_length` tokens,
    to train it or not, in a `format` chosen before or None, with answers or without.

    An encoder–decoder has no `start_id`: its prompt is a source, which ends as the tokenizer's
    template says, and as many tokens as that may have, its answer may.
    """

    settings: TaskSettings
    tokenizer: Tokenizer
    start_id: int | None
    max_length: int
    training: bool
    format: Format | None
    answered: bool


@dataclass
class Draft:
    """An example before it is made to fit: `parts` of the prompt, the `long` one of which may be
    cut; `kept` says which of its tokens, from and to, should stay when it is."""

    parts: list[list[int]]
    long: int | None
    kept: tuple[int, int]
    answer: list[int]
    references: tuple[str, ...]
    place: str
    reason: str = ""  # why it cannot be learnt from


def read_examples(
    found: Sequence[Record],
    settings: TaskSettings,
    tokenizer: Tokenizer,
    start_id: int | None,
    max_length: int,
    *,
    training: bool,
    format: Format | None = None,
    answered: bool = True,
) -> Completions:
    """Examples of at most `max_length` tokens; without a `format` one is chosen from the records.

    In training, what cannot fit is left out and counted, and a document that is too long is cut to
    a part that holds the answer, where it is known at which place. Otherwise nothing is left out,
    and a document is cut at its end, whatever the answer. With `answered` False the records need
    no answers. Raises UserError with the place for records that cannot be used, and where more
    than one in twenty does not fit.
    """
    how = Reading(settings, tokenizer, start_id, max_length, training, format, answered)
    if start_id is None and settings.task in ("chat", "text"):
        raise UserError(
            "an encoder–decoder reads one text and writes another: it cannot learn the task "
            f"{settings.task}",
            mend="choose --task qa, summarize or translate, or a decoder",
        )
    if settings.task == "chat":
        from nextword.tasks.generate.conversations import read_conversations

        made = read_conversations(found, how)
    else:
        made = _texts(found, how) if settings.task == "text" else _completions(found, how)
    check_dropped(made, len(found), max_length)
    return made


def check_dropped(made: Completions, count: int, max_length: int) -> None:
    dropped = made.dropped.total()
    if dropped > MOST_DROPPED * count:
        reasons = "; ".join(f"{number:,} {what}" for what, number in made.dropped.most_common())
        raise UserError(
            f"{dropped:,} of {count:,} examples cannot be learnt from with at most "
            f"{max_length:,} tokens each ({reasons})",
            mend="raise --max-length, take a model with a longer context, or shorten them",
        )


def _completions(found: Sequence[Record], how: Reading) -> Completions:
    settings, format, max_length = how.settings, how.format, how.max_length
    columns = find_task_columns(found, settings, answered=how.answered)
    references = [references_of(record, columns.targets, settings.task) for record in found]
    apart = how.start_id is None
    if format is None:
        read = list(columns.inputs.values()) or columns_of(found)[:1]
        spoken = main_language(str(record[read[0]]) for record in found)
        template = settings.prompt or default_template(settings.task, spoken, apart=apart)
        format = Format(settings.task, template, 0, spoken)
        if columns.targets:
            written = main_language(text for texts in references for text in texts[:1])
            format = replace(format, language=written)
    drafts = _drafts(found, references, format, columns, how)
    if not format.answer_tokens:
        lengths = [len(draft.answer) for draft in drafts] if how.answered else [max_length]
        room = min(max(lengths), max_length) if apart else room_for_answers(lengths, max_length)
        format = replace(format, answer_tokens=room)
    made = Completions([], format, frozenset({how.tokenizer.end_id}), columns)
    cut, answer_room = 0, min(format.answer_tokens, max_length if apart else max_length // 2)
    for draft in drafts:
        beside = 0 if apart else len(draft.answer) if how.training else answer_room
        limit = max_length - beside
        chances = random.Random(f"{settings.seed}/{draft.place}") if how.training else None
        prompt, reason = _prompt(draft, max(limit, 1), how.tokenizer, chances, apart)
        if len(draft.answer) > answer_room:
            reason = "with an answer that is too long"
        reason = draft.reason or reason
        if how.training and reason:
            made.dropped[reason] += 1
            continue
        cut += len(prompt) < sum(map(len, draft.parts))
        ids = prompt + draft.answer[:max_length] if apart else (prompt + draft.answer)[:max_length]
        scored = np.arange(len(ids)) >= len(prompt)
        example = Example(np.array(ids, np.int64), scored, draft.place)
        made.examples.append(TaskExample(example, prompt, draft.references, draft.place))
    return replace(made, cut=cut)


def room_for_answers(lengths: Sequence[int], max_length: int) -> int:
    """Tokens kept free for an answer and its end: the longest one's, but where that is more than a
    quarter of all no more than nearly all answers need, and never more than half."""
    longest, quarter = max(lengths), max_length // 4
    if longest <= quarter:
        return longest
    return min(max(quarter, int(np.percentile(lengths, MOST_ANSWERS))), max_length // 2)


def _drafts(
    found: Sequence[Record],
    all_references: Sequence[tuple[str, ...]],
    format: Format,
    columns: TaskColumns,
    how: Reading,
) -> list[Draft]:
    tokenizer = how.tokenizer
    known = [*columns.inputs, *columns_of(found)]
    pieces = parse_template(format.template, known)
    of_role = dict(columns.inputs)
    long_column = of_role.get(LONG.get(format.task, ""))
    literal = {piece: tokenizer.encode(piece) for piece in pieces if isinstance(piece, str)}
    before: list[int] = []
    after: list[int] = []
    if how.start_id is None:
        after = tokenizer.encode("", template=True)
    else:
        before = [how.start_id]
    drafts = []
    for record, references in zip(found, all_references, strict=True):
        parts, long, kept, reason = [before], None, (0, 0), ""
        for piece in pieces:
            if isinstance(piece, str):
                parts.append(literal[piece])
                continue
            column = of_role.get(piece.name, piece.name)
            is_question = column == of_role.get("question")
            text = input_text(record, column, may_be_empty=is_question)
            reason = reason if text else "with an empty question"
            if column == long_column:
                long = len(parts)
                start = answer_start(record, columns.targets)
                if start is not None and references:
                    start -= leading(record, column)
                    kept = _tokens_of(text, start, references[0], tokenizer)
            parts.append(tokenizer.encode(text))
        answer = tokenizer.encode(references[0]) if references else []
        if columns.targets:
            answer.append(tokenizer.end_id)
        drafts.append(Draft([*parts, after], long, kept, answer, references, record.place, reason))
    return drafts


def _tokens_of(text: str, start: int, answer: str, tokenizer: Tokenizer) -> tuple[int, int]:
    """About which tokens of a text an answer in it is; (0, 0) where it is not in it.

    The place nearest to the one that the data names is taken: some data counts otherwise.
    """
    places = [match.start() for match in re.finditer(re.escape(answer), text)]
    if not places:
        return 0, 0
    nearest = min(places, key=lambda place: abs(place - start))
    begin = len(tokenizer.encode(text[:nearest]))
    return max(begin - 1, 0), begin + len(tokenizer.encode(answer)) + 1


def _prompt(
    draft: Draft, limit: int, tokenizer: Tokenizer, chances: random.Random | None, apart: bool
) -> tuple[list[int], str]:
    """The ids of a prompt of at most `limit` tokens, and why it is not whole but for its document.

    With `chances`, for training, a document that is cut keeps the place of the answer, somewhere
    in what is left of it; otherwise its beginning.
    """
    whole = [id for part in draft.parts for id in part]
    if len(whole) <= limit:
        return whole, ""
    if draft.long is not None:
        document = draft.parts[draft.long]
        room = limit - (len(whole) - len(document))
        begin, end = (min(place, len(document)) for place in draft.kept)
        if room >= max(LEAST_CONTEXT, end - begin):
            first = 0
            if chances is not None and end > room:
                first = chances.randint(end - room, min(begin, len(document) - room))
            part = whole_characters(document[first : first + room], tokenizer)
            parts = [*draft.parts[: draft.long], part, *draft.parts[draft.long + 1 :]]
            return [id for part in parts for id in part], ""
    if apart:
        return whole[: limit - 1] + whole[-1:], "that are too long"
    return whole[:1] + whole[len(whole) - limit + 1 :], "without room for the answer"


def whole_characters(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """Ids without the halves of characters that a cut has left at either end."""
    for _ in range(8):  # some tokens are the end of one character and the beginning of another
        if ids and tokenizer.decode(ids[:4]).startswith("\ufffd"):
            ids = ids[1:]
        if ids and tokenizer.decode(ids[-4:]).endswith("\ufffd"):
            ids = ids[:-1]
    return ids


def _texts(found: Sequence[Record], how: Reading) -> Completions:
    """Texts to go on pretraining with; a long one in parts, each token of it learnt once."""
    tokenizer, max_length = how.tokenizer, how.max_length
    assert how.start_id is not None
    column = choose_column(found, "text", how.settings.text_column, TEXT_NAMES, "--text-column")
    spoken = main_language(str(record[column]) for record in found)
    format = Format("text", "", max_length // 2, spoken)
    columns = TaskColumns({"text": column})
    made = Completions([], format, frozenset({tokenizer.end_id}), columns)
    for record in found:
        text = tokenizer.encode(input_text(record, column))
        ids = np.array([how.start_id, *text, tokenizer.end_id], np.int64)
        for first in range(0, len(ids) - 1, max_length - 1):
            part = ids[first : first + max_length]
            scored = np.arange(len(part)) > 0  # the first one was the last of the part before
            example = Example(part, scored, record.place)
            made.examples.append(TaskExample(example, part[:1].tolist(), (), record.place))
    return made


def marked(example: Example, tokenizer: Tokenizer) -> str:
    """The text of an example, for people, with what is learnt of it between ⟦ and ⟧."""
    edges = np.flatnonzero(np.diff(example.scored)) + 1
    text = ""
    for ids, scored in zip(
        np.split(example.ids, edges), np.split(example.scored, edges), strict=True
    ):
        part = tokenizer.decode(ids.tolist(), skip_special=False)
        text += f"⟦{part}⟧" if scored.any() else part
    return text
