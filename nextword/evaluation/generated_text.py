"""Metrics of generated text beside references: ROUGE, BLEU, chrF, and length.

ROUGE (Lin 2004) is rouge-score's, its F1, with Porter's stemmer for English as is the custom for
summaries. Chinese and Japanese are compared by characters, other languages by words of any
alphabet, where rouge-score alone would keep a to z. BLEU (Papineni et al. 2002) and chrF (Popović
2015) are sacrebleu's, with its signatures; intervals are bootstraps over sentences (Koehn 2004).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from nextword.evaluation.metrics import (
    AnswerScoring,
    Floats,
    Ints,
    Metric,
    References,
    Texts,
    mean,
    ratio,
)

ROUGE = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_WORDS = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")


class Words:
    """A tokenizer for rouge-score in languages other than English: ideographs, and words."""

    def tokenize(self, text: str) -> list[str]:
        """Split a text into words in lower case, and ideographs."""
        return _WORDS.findall(text.lower())


def summary_metrics(answers: Texts, references: References, language: str) -> dict[str, Metric]:
    """Return ROUGE-1, -2 and -L from 0 to 1, each by the best reference, and the length."""
    metrics = {name: mean(scores) for name, scores in rouge(answers, references, language).items()}
    return metrics | {"length ratio": length_ratio(answers, references)}


def rouge(
    answers: Texts, references: References, language: str, kinds: Sequence[str] = tuple(ROUGE)
) -> dict[str, Floats]:
    """Return ROUGE-1, -2 and -L of each answer, [answers], or those of the `kinds`."""
    from rouge_score.rouge_scorer import RougeScorer

    english = language == "en"
    scorer = RougeScorer(kinds, use_stemmer=english, tokenizer=None if english else Words())
    scores = [
        scorer.score_multi(list(texts), answer)
        for answer, texts in zip(answers, references, strict=True)
    ]
    return {
        ROUGE[kind]: np.array([score[kind].fmeasure for score in scores], np.float64)
        for kind in kinds
    }


def rouge_each(answers: Texts, references: References, language: str) -> list[dict[str, float]]:
    """Return ROUGE-L of each answer by itself."""
    scores = rouge(answers, references, language, ["rougeL"])["ROUGE-L"]
    return [{"ROUGE-L": score} for score in scores.tolist()]


def chrf_each(answers: Texts, references: References, language: str) -> list[dict[str, float]]:
    """Return chrF of each answer by itself."""
    from sacrebleu.metrics import CHRF

    chrf = _corpus_metric(CHRF(), answers, references)
    return [{"chrF": chrf.compute(np.array([number]))} for number in range(len(answers))]


def translation_metrics(answers: Texts, references: References, language: str) -> dict[str, Metric]:
    """Return BLEU and chrF from 0 to 100, with sacrebleu's signatures, and the length."""
    from sacrebleu.metrics import BLEU, CHRF

    tokenizer = {"zh": "zh", "ja": "char"}.get(language, "13a")
    return {
        "BLEU": _corpus_metric(BLEU(tokenize=tokenizer), answers, references),
        "chrF": _corpus_metric(CHRF(), answers, references),
        "length ratio": length_ratio(answers, references),
    }


def _corpus_metric(scorer: Any, answers: Texts, references: References) -> Metric:
    """Return a score of sacrebleu, from its statistics of each sentence, which are added up.

    Its own bootstrap fails where some draws score nothing at all (it adds floats of two kinds), and
    lays all draws out in memory.
    """
    streams = list(map(list, itertools.zip_longest(*references)))  # None for no such reference
    statistics = np.array(scorer._extract_corpus_statistics(list(answers), streams))

    def compute(chosen: Ints) -> float:
        sums = statistics[chosen].sum(0).tolist()
        return float(scorer._compute_score_from_stats(sums).score)

    return Metric(len(answers), compute, signature=str(scorer.get_signature()))


def length_ratio(answers: Texts, references: References) -> Metric:
    """Return words (of Chinese and Japanese, characters) written for each in the references."""
    return ratio(*lengths(answers, references))


def lengths(answers: Texts, references: References) -> tuple[Floats, Floats]:
    """Count words written, and words in the references on average, [answers] each; of Chinese and
    Japanese, characters."""
    count = Words().tokenize
    written = np.array([len(count(answer)) for answer in answers], np.float64)
    means = [np.mean([len(count(text)) for text in texts]) for texts in references]
    return written, np.array(means, np.float64)


SUMMARY_SCORING = AnswerScoring(
    {
        **{"ROUGE-L": "higher", "loss": "lower", "ROUGE-1": "higher", "ROUGE-2": "higher"},
        "length ratio": "neither",
    },
    summary_metrics,
    rouge_each,
)
TRANSLATION_SCORING = AnswerScoring(
    {"BLEU": "higher", "loss": "lower", "chrF": "higher", "length ratio": "neither"},
    translation_metrics,
    chrf_each,
)
