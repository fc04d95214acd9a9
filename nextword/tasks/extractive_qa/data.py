"""Questions whose answers stand in a text: which tokens they are, and back to characters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.tasks.dataset import Dataset, Encoded, input_text, leading_spaces
from nextword.tasks.generate.data import PromptedExample
from nextword.tasks.generate.encoding import LEAST_CONTEXT, MOST_DROPPED
from nextword.tasks.generate.prompts import main_language
from nextword.tasks.tag.data import UNSPACED, begins_with_space, windows
from nextword.terminal import count_of
from nextword.tokens.packing import Example
from nextword.tokens.tokenizer import Tokenizer

SHORTEST_LIMIT = 30  # tokens that an answer may have at least, as is usual for SQuAD
_PIECE = re.compile(rf"[{UNSPACED}]|[^{UNSPACED}]+")
NOT_IN_TEXT = "whose answer does not stand in the text"


@dataclass(frozen=True)
class SpanFormat:
    """`language` is the one of the answers, by which they are judged; `answer_tokens` how long one
    may be. `declines` says whether questions without an answer were learned."""

    language: str
    answer_tokens: int
    declines: bool


@dataclass(frozen=True)
class Window:
    """Tokens of a question's text that are read together: from number `first` of its tokens on,
    they stand at `begin` to `end` in the example. `target` are first and last token of the answer,
    counted from `begin` on and from 1; 0 for none, which is read at place `nowhere`."""

    example: Example
    question: int
    first: int
    begin: int
    end: int
    nowhere: int
    target: tuple[int, int]


@dataclass(frozen=True)
class Question:
    """`offsets` [tokens, 2] say which characters of the text each of its tokens is; `span` [2] are
    the first and last token of the answer, None where there is none or none is known.
    `skipped` characters of space stand before the text in its record."""

    text: str
    skipped: int
    offsets: NDArray[np.int64]
    references: tuple[str, ...]
    span: tuple[int, int] | None
    place: str

    def cut(self, first: int, last: int) -> tuple[int, int]:
        """The characters of some tokens, without spaces at their ends."""
        begin, end = int(self.offsets[first, 0]), int(self.offsets[last, 1])
        part = self.text[begin:end]
        return begin + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())


@dataclass(frozen=True)
class EncodedQuestions(Encoded[Window]):
    """The windows of the texts of `questions`."""

    questions: list[Question] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    """How a model reads a question and its text: for `causal` models from `start_id` on, in windows
    of at most `max_length` tokens."""

    tokenizer: Tokenizer
    max_length: int
    causal: bool
    start_id: int

    def encode(self, dataset: Dataset[PromptedExample], *, training: bool) -> EncodedQuestions:
        """Encode questions with their texts.

        In training, a question whose answer is not in its text is left out and counted; otherwise
        none is. Raises UserError for records that cannot be used, and where more than one in twenty
        is left out.
        """
        texts: dict[str, tuple[list[int], NDArray[np.int64]]] = {}
        questions: list[Question] = []
        items: list[Window] = []
        dropped: Counter[str] = Counter()
        first_dropped, wider = "", 0
        context, asked = (dataset.columns.inputs[role] for role in ("context", "question"))
        for example in dataset.examples:
            record = example.record
            text = input_text(record, context)
            if text not in texts:
                texts[text] = _encode(text, self.tokenizer)
            ids, offsets = texts[text]
            skipped = leading_spaces(record, context)
            span = _find_span(text, example.references, (example.answer_start or 0) - skipped)
            words = input_text(record, asked, may_be_empty=True)
            reason = "" if words else "with an empty question"
            if example.references and span is None:
                reason = NOT_IN_TEXT
            if training and reason:
                dropped[reason] += 1
                first_dropped = first_dropped or record.place
                continue
            tokens = None if span is None else tokens_of(offsets, *span)
            question = Question(text, skipped, offsets, example.references, tokens, record.place)
            if span is not None and tokens is not None:
                wider += question.cut(*tokens) != span
            items += self._windows(question, len(questions), words, ids)
            questions.append(question)
        if dropped.total() > MOST_DROPPED * len(dataset):
            raise UserError(
                f"{dropped.total():,} of {len(dataset):,} questions cannot be learned from: "
                f"{', '.join(f'{count:,} {why}' for why, count in dropped.items())}",
                where=first_dropped,
                mend="mend or remove them, or leave --extract out: a written answer may say "
                "anything",
            )
        return EncodedQuestions(
            items,
            [len(window.example.ids) for window in items],
            [window.example.source for window in items],
            len(items),
            _describe(questions, dropped, len(items), wider) if training else [],
            questions,
        )

    def _windows(
        self, question: Question, number: int, words: str, ids: list[int]
    ) -> Iterator[Window]:
        before, between, after, kind = self._frame()
        head = [*before, *self.tokenizer.encode(words)[: self.max_length // 2], *between]
        room = self.max_length - len(head) - len(after)
        if room < LEAST_CONTEXT:
            raise UserError(
                f"{self.max_length} tokens leave no room for a text beside its question",
                where=question.place,
                mend="raise --max-length",
            )
        tokens = question.span
        for first, end in windows([1] * len(ids), room):
            whole = np.array([*head, *ids[first:end], *after], np.int64)
            types = np.where(np.arange(len(whole)) < len(head), 0, kind)
            example = Example(whole, np.zeros(len(whole), np.bool_), question.place, types)
            target = (0, 0)
            if tokens is not None and first <= tokens[0] and tokens[1] < end:
                target = (tokens[0] - first + 1, tokens[1] - first + 1)
            nowhere = len(whole) - 1 if self.causal else 0
            stop = len(head) + end - first
            yield Window(example, number, first, len(head), stop, nowhere, target)

    def _frame(self) -> tuple[list[int], list[int], list[int], int]:
        """The ids before a question, between it and its text, and after that; and the type of the
        text's tokens. A decoder says that there is no answer where it has read everything, at the
        end; an encoder at the first token."""
        if self.causal:
            return [self.start_id], self.tokenizer.encode("\n"), [self.tokenizer.end_id], 0
        frame = self.tokenizer.frame(pair=True)
        return frame.before, frame.between, frame.after, frame.kind


def _describe(
    questions: Sequence[Question], dropped: Counter[str], windows: int, wider: int
) -> list[str]:
    count = len(questions)
    notes = [
        f"{count_of(number, 'question')} left out: {reason}" for reason, number in dropped.items()
    ]
    if windows > count:
        notes.append(f"{count_of(count, 'question')} read in {windows:,} windows of the text")
    if without := sum(not question.references for question in questions):
        notes.append(f"{count_of(without, 'question')} without an answer")
    if wider:
        notes.append(
            f"{wider:,} answers begin or end inside a token: what is predicted holds a little more"
        )
    return notes


def _encode(text: str, tokenizer: Tokenizer) -> tuple[list[int], NDArray[np.int64]]:
    """Return ids and characters of a text's tokens.

    Each character of a script without spaces, as Chinese, is encoded by itself, though the
    tokenizer may join some: an answer may begin at any of them.
    """
    if begins_with_space(tokenizer):
        return tokenizer.encode_with_offsets(text)
    ids: list[int] = []
    offsets = [np.empty((0, 2), np.int64)]
    for match in _PIECE.finditer(text):
        some, places = tokenizer.encode_with_offsets(match.group())
        ids += some
        offsets.append(places + match.start())
    return ids, np.concatenate(offsets)


def span_format(questions: Sequence[Question]) -> SpanFormat:
    """Choose the format that questions need."""
    lengths = [q.span[1] - q.span[0] + 1 for q in questions if q.span is not None]
    texts = [r for q in questions for r in q.references[:1]] or [questions[0].text]
    return SpanFormat(
        main_language(texts),
        max([SHORTEST_LIMIT, *lengths]),
        any(not question.references for question in questions),
    )


def _find_span(text: str, references: Sequence[str], start: int) -> tuple[int, int] | None:
    """The characters of the first answer that stands in the text: nearest to where the data says
    that it starts (some count otherwise)."""
    for answer in references:
        places = [match.start() for match in re.finditer(re.escape(answer), text)]
        if places:
            nearest = min(places, key=lambda place: abs(place - start))
            return nearest, nearest + len(answer)
    return None


def tokens_of(offsets: NDArray[np.int64], begin: int, end: int) -> tuple[int, int]:
    """Return the first and last token that hold any character from `begin` to before `end`."""
    return (
        int(np.flatnonzero(offsets[:, 1] > begin)[0]),
        int(np.flatnonzero(offsets[:, 0] < end)[-1]),
    )
