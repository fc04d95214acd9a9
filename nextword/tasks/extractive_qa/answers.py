"""The likeliest answers of questions, by the scores of where they begin and end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.tasks.extractive_qa.data import EncodedQuestions, Question, SpanFormat

CANDIDATES = 20  # of the best spans, that share the probability


@dataclass(frozen=True)
class Span:
    """`begin` and `end` are characters of the record's text, both 0 where it is predicted to hold
    no answer."""

    answer: str
    begin: int
    end: int
    probability: float


def best_answers(
    encoded: EncodedQuestions,
    scores: Sequence[NDArray[np.float64]],
    format: SpanFormat,
    count: int = CANDIDATES,
) -> list[list[Span]]:
    """Return the likeliest answers of each question, the best first: spans of at most so many
    tokens by the sum of the scores of begin and end, over all windows. `scores` [1 + tokens, 2] are
    those of each window, of no answer first.

    No answer is one of them where such were learned, with its score in the window that gives it the
    least. Probabilities are a softmax over the candidates (Devlin et al. 2018, 4.3).
    """
    questions = encoded.questions
    ranked: list[dict[tuple[int, int], float]] = [{} for _ in questions]
    none = np.full(len(questions), np.inf)
    for window, rows in zip(encoded.items, scores, strict=True):
        spans = ranked[window.question]
        none[window.question] = min(none[window.question], rows[0].sum())
        for first, last, score in best_spans(rows[1:], format.answer_tokens, count):
            span = questions[window.question].cut(window.first + first, window.first + last)
            if span[0] < span[1]:
                spans[span] = max(score, spans.get(span, -np.inf))
    return [
        _ranked(question, spans, float(nothing) if format.declines or not spans else None, count)
        for question, spans, nothing in zip(questions, ranked, none, strict=True)
    ]


def _ranked(
    question: Question, spans: Mapping[tuple[int, int], float], none: float | None, count: int
) -> list[Span]:
    known = dict(sorted(spans.items(), key=lambda item: -item[1])[:count])
    known |= {} if none is None else {(0, 0): none}
    order = sorted(known.items(), key=lambda item: -item[1])
    weights = np.exp(np.array([score for _, score in order]) - order[0][1])
    shares = (weights / weights.sum()).tolist()
    return [
        Span(question.text[begin:end], begin + skipped, end + skipped, share)
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
