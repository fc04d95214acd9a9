"""Questions whose answers stand in a text: which tokens they are, and back to characters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.columns import (
    TaskColumns,
    answer_start,
    find_task_columns,
    input_text,
    leading,
    references_of,
)
from nextword.tasks.generate.examples import LEAST_CONTEXT, MOST_DROPPED
from nextword.tasks.generate.prompts import main_language
from nextword.tasks.records import Record
from nextword.tasks.tag.data import UNSPACED, begins_with_space
from nextword.tasks.windows import windows
from nextword.tokens.packing import Example
from nextword.tokens.tokenizer import Tokenizer

SHORTEST_LIMIT = 30  # tokens that an answer may have at least, as is usual for SQuAD
CANDIDATES = 20  # of the best spans, that share the probability
_PIECE = re.compile(rf"[{UNSPACED}]|[^{UNSPACED}]+")
NOT_THERE = "whose answer does not stand in the text"


@dataclass(frozen=True)
class SpanFormat:
    """`language` is the one of the answers, by which they are judged; `answer_tokens` how long one
    may be. `declines` says whether questions without an answer were learnt."""

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
class Questions:
    """`dropped` counts the questions that are left out, by reason; `wider` those whose answer
    begins or ends inside a token, so that what is found holds more."""

    questions: list[Question]
    windows: list[Window]
    format: SpanFormat
    columns: TaskColumns
    dropped: Counter[str] = field(default_factory=Counter)
    wider: int = 0


def read_questions(
    found: Sequence[Record],
    settings: TaskSettings,
    tokenizer: Tokenizer,
    start_id: int,
    limit: int,
    *,
    causal: bool,
    training: bool,
    format: SpanFormat | None = None,
    answered: bool = True,
) -> Questions:
    """Questions and their texts in windows of at most `limit` tokens; without a `format` one is
    made of them.

    In training, a question whose answer is not in its text is left out and counted; otherwise none
    is. Raises UserError for records that cannot be used, and where more than one in twenty is left
    out.
    """
    columns = find_task_columns(found, settings, answered=answered)
    before, between, after, kind = _around(tokenizer, causal, start_id)
    encoded: dict[str, tuple[list[int], NDArray[np.int64]]] = {}
    made: list[Question] = []
    cut: list[Window] = []
    dropped: Counter[str] = Counter()
    lost, wider = "", 0
    for record in found:
        text = input_text(record, columns.inputs["context"])
        if text not in encoded:
            encoded[text] = _encode(text, tokenizer)
        ids, offsets = encoded[text]
        references = references_of(record, columns.targets, "qa")
        skipped = leading(record, columns.inputs["context"])
        span = _span(record, columns, text, references, skipped)
        wanted = input_text(record, columns.inputs["question"], may_be_empty=True)
        reason = "" if wanted else "with an empty question"
        if references and span is None:
            reason = NOT_THERE
        if training and reason:
            dropped[reason] += 1
            lost = lost or record.place
            continue
        tokens = None if span is None else tokens_of(offsets, *span)
        question = Question(text, skipped, offsets, references, tokens, record.place)
        if span is not None and tokens is not None:
            wider += question.cut(*tokens) != span
        asked = tokenizer.encode(wanted)[: limit // 2]
        head = [*before, *asked, *between]
        room = limit - len(head) - len(after)
        if room < LEAST_CONTEXT:
            raise UserError(
                f"{limit} tokens leave no room for a text beside its question",
                where=record.place,
                mend="raise --max-length",
            )
        for first, end in windows([1] * len(ids), room):
            whole = np.array([*head, *ids[first:end], *after], np.int64)
            types = np.where(np.arange(len(whole)) < len(head), 0, kind)
            example = Example(whole, np.zeros(len(whole), np.bool_), record.place, types)
            target = (0, 0)
            if tokens is not None and first <= tokens[0] and tokens[1] < end:
                target = (tokens[0] - first + 1, tokens[1] - first + 1)
            nowhere = len(whole) - 1 if causal else 0
            stop = len(head) + end - first
            cut.append(Window(example, len(made), first, len(head), stop, nowhere, target))
        made.append(question)
    if dropped.total() > MOST_DROPPED * len(found):
        raise UserError(
            f"{dropped.total():,} of {len(found):,} questions cannot be learnt from: "
            f"{', '.join(f'{count:,} {why}' for why, count in dropped.items())}",
            where=lost,
            mend="mend or remove them, or leave --extract out: a written answer may say anything",
        )
    return Questions(made, cut, format or _format(made), columns, dropped, wider)


def _encode(text: str, tokenizer: Tokenizer) -> tuple[list[int], NDArray[np.int64]]:
    """Ids and characters of a text's tokens. Each character of a script without spaces, as Chinese,
    is encoded by itself, though the tokenizer may join some: an answer may begin at any of them."""
    if begins_with_space(tokenizer):
        return tokenizer.encode_with_offsets(text)
    ids: list[int] = []
    offsets = [np.empty((0, 2), np.int64)]
    for match in _PIECE.finditer(text):
        some, places = tokenizer.encode_with_offsets(match.group())
        ids += some
        offsets.append(places + match.start())
    return ids, np.concatenate(offsets)


def _around(
    tokenizer: Tokenizer, causal: bool, start_id: int
) -> tuple[list[int], list[int], list[int], int]:
    """The ids before a question, between it and its text, and after that; and the type of the
    text's tokens. A decoder says that there is no answer where it has read everything, at the
    end; an encoder at the first token."""
    if causal:
        return [start_id], tokenizer.encode("\n"), [tokenizer.end_id], 0
    frame = tokenizer.frame(pair=True)
    return frame.before, frame.between, frame.after, frame.kind


def _format(questions: Sequence[Question]) -> SpanFormat:
    lengths = [q.span[1] - q.span[0] + 1 for q in questions if q.span is not None]
    spoken = main_language([r for q in questions for r in q.references[:1]] or [questions[0].text])
    return SpanFormat(
        spoken,
        max([SHORTEST_LIMIT, *lengths]),
        any(not question.references for question in questions),
    )


def _span(
    record: Record, columns: TaskColumns, text: str, references: Sequence[str], skipped: int
) -> tuple[int, int] | None:
    """The characters of the first answer that stands in the text: where the data says, or nearest
    to that (some count otherwise), or for the first time."""
    start = (answer_start(record, columns.targets) or 0) - skipped
    for answer in references:
        places = [match.start() for match in re.finditer(re.escape(answer), text)]
        if places:
            nearest = min(places, key=lambda place: abs(place - start))
            return nearest, nearest + len(answer)
    return None


def tokens_of(offsets: NDArray[np.int64], begin: int, end: int) -> tuple[int, int]:
    """The first and last token that hold any of the characters from `begin` to before `end`."""
    return (
        int(np.flatnonzero(offsets[:, 1] > begin)[0]),
        int(np.flatnonzero(offsets[:, 0] < end)[-1]),
    )


@dataclass(frozen=True)
class Found:
    """`begin` and `end` are characters of the record's text, both 0 where it is said to hold no
    answer."""

    answer: str
    begin: int
    end: int
    probability: float


def best_answers(
    made: Questions, scores: Sequence[NDArray[np.float64]], count: int = CANDIDATES
) -> list[list[Found]]:
    """Of each question the likeliest answers, the best first: spans of at most so many tokens by
    the sum of the scores of begin and end, over all windows. `scores` [1 + tokens, 2] are those of
    each window, of no answer first.

    No answer is one of them where such were learnt, with its score in the window that gives it the
    least. Probabilities are a softmax over the candidates (Devlin et al. 2018, 4.3).
    """
    ranked: list[dict[tuple[int, int], float]] = [{} for _ in made.questions]
    none = np.full(len(made.questions), np.inf)
    for window, given in zip(made.windows, scores, strict=True):
        mine = ranked[window.question]
        none[window.question] = min(none[window.question], given[0].sum())
        for first, last, score in best_spans(given[1:], made.format.answer_tokens, count):
            span = made.questions[window.question].cut(window.first + first, window.first + last)
            if span[0] < span[1]:
                mine[span] = max(score, mine.get(span, -np.inf))
    declines = made.format.declines
    return [
        _ranked(question, spans, float(nothing) if declines or not spans else None, count)
        for question, spans, nothing in zip(made.questions, ranked, none, strict=True)
    ]


def _ranked(
    question: Question, spans: Mapping[tuple[int, int], float], none: float | None, count: int
) -> list[Found]:
    known = dict(sorted(spans.items(), key=lambda item: -item[1])[:count])
    known |= {} if none is None else {(0, 0): none}
    order = sorted(known.items(), key=lambda item: -item[1])
    weights = np.exp(np.array([score for _, score in order]) - order[0][1])
    shares = (weights / weights.sum()).tolist()
    return [
        Found(question.text[begin:end], begin + skipped, end + skipped, share)
        for ((begin, end), _), share in zip(order, shares, strict=True)
        for skipped in [question.skipped if end else 0]
    ]


def best_spans(
    scores: NDArray[np.float64], longest: int, count: int
) -> list[tuple[int, int, float]]:
    """(first, last, score) of the `count` best spans of at most `longest` tokens, of scores
    [tokens, 2]."""
    tokens = len(scores)
    if not tokens:
        return []
    reach = min(longest, tokens)
    ends = np.append(scores[:, 1], np.full(reach, -np.inf))
    sums = scores[:, :1] + ends[np.arange(tokens)[:, None] + np.arange(reach)]  # [tokens, reach]
    flat = sums.ravel()
    chosen = np.argsort(-flat, kind="stable")[:count]
    return [
        (int(first), int(first + more), float(flat[place]))
        for place in chosen
        for first, more in [divmod(int(place), reach)]
        if np.isfinite(flat[place])
    ]
