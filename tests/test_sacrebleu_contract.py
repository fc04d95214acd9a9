"""What nextword takes from sacrebleu that is not public: the statistics of sentences.

A corpus is scored once for each of a thousand draws of its sentences. Counting the n-grams of each
sentence once and adding the counts up needs two private methods, which a new version may change:
pyproject.toml admits only versions that these tests have passed with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

ANSWERS = ["The cat sat on the mat.", "It was a dark and stormy night.", "", "Call me Ishmael."]
FIRST = [
    "The cat sat on a mat.",
    "It was a dark night, and stormy.",
    "Nothing.",
    "Call me Ishmael!",
]
SECOND = ["A cat was on the mat.", None, None, "My name is Ishmael."]  # not all have a second one
CHINESE = ["床前明月光，疑是地上霜。", "举头望明月", "低头", "思故乡。"]
METRICS: dict[str, Callable[[], Any]] = {
    "BLEU of words": lambda: BLEU(tokenize="13a"),
    "BLEU of Chinese": lambda: BLEU(tokenize="zh"),
    "BLEU of characters": lambda: BLEU(tokenize="char"),
    "chrF": CHRF,
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("chosen", [[0, 1, 2, 3], [3, 0, 0, 1], [2, 2]], ids=str)
@pytest.mark.parametrize("references", [[FIRST], [FIRST, SECOND], [CHINESE]], ids=len)
def test_statistics_of_sentences_add_up_to_the_score_of_a_corpus_of_them(
    name: str, chosen: list[int], references: list[list[str | None]]
) -> None:
    answers = CHINESE[::-1] if references == [CHINESE] else ANSWERS
    metric = METRICS[name]()
    statistics = np.array(metric._extract_corpus_statistics(answers, references))
    assert statistics.ndim == 2 and len(statistics) == len(answers)  # [sentences, counts]
    added = metric._compute_score_from_stats(statistics[chosen].sum(0).tolist()).score

    drawn = [[stream[n] for n in chosen] for stream in references]
    public = METRICS[name]()
    assert added == public.corpus_score([answers[n] for n in chosen], drawn).score


@pytest.mark.parametrize("name", METRICS)
def test_the_signature_is_that_of_a_corpus_scored_in_public(name: str) -> None:
    metric, public = METRICS[name](), METRICS[name]()
    metric._extract_corpus_statistics(ANSWERS, [FIRST])
    public.corpus_score(ANSWERS, [FIRST])
    assert str(metric.get_signature()) == str(public.get_signature())
