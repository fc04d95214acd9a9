"""How near a written text is to those that people wrote: ROUGE, BLEU, chrF, and its length.

ROUGE (Lin 2004) is rouge-score's, its F1, with Porter's stemmer for English as is the custom for
summaries. Chinese and Japanese are compared by characters, other languages by words of any
alphabet, where rouge-score alone would keep a to z. BLEU (Papineni et al. 2002) and chrF (Popović
2015) are sacrebleu's, with its signatures and its bootstrap (Koehn 2004).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from nextword.tasks.metrics import REPLICATES, Ints, Metric, mean, resampled

ROUGE = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
BY_CHARACTERS = ("zh", "ja")
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_WORDS = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")


class Words:
    """For rouge-score, in languages other than English: ideographs one by one, and words."""

    def tokenize(self, text: str) -> list[str]:
        return _WORDS.findall(text.lower())


def judge_summaries(
    answers: Sequence[str], references: Sequence[Sequence[str]], language: str, seed: int | None
) -> dict[str, Metric]:
    """ROUGE-1, -2 and -L from 0 to 1, each by the reference that suits it best, and the length."""
    from rouge_score.rouge_scorer import RougeScorer

    english = language == "en"
    tokenizer = None if english else Words()
    scorer = RougeScorer(list(ROUGE), use_stemmer=english, tokenizer=tokenizer)
    scores = [
        scorer.score_multi(list(wanted), answer)
        for answer, wanted in zip(answers, references, strict=True)
    ]
    found = {
        name: mean([float(score[kind].fmeasure) for score in scores], seed)
        for kind, name in ROUGE.items()
    }
    return found | {"length ratio": length_ratio(answers, references, seed)}


def judge_translations(
    answers: Sequence[str], references: Sequence[Sequence[str]], language: str, seed: int | None
) -> dict[str, Metric]:
    """BLEU and chrF from 0 to 100, with sacrebleu's signatures, and the length."""
    from sacrebleu.metrics import BLEU, CHRF

    tokenizer = {"zh": "zh", "ja": "char"}.get(language, "13a")
    columns = range(max(map(len, references)))
    streams: list[Any] = [  # None where there is no such reference
        [wanted[n] if n < len(wanted) else None for wanted in references] for n in columns
    ]
    found = {}
    for name, metric in (("BLEU", BLEU(tokenize=tokenizer)), ("chrF", CHRF())):
        replicates = REPLICATES if len(answers) > 1 and seed is not None else 1
        score = metric.corpus_score(list(answers), streams, n_bootstrap=replicates)
        interval = None
        if replicates > 1:
            interval = (float(score._mean - score._ci), float(score._mean + score._ci))
        found[name] = Metric(float(score.score), interval, str(metric.get_signature()))
    return found | {"length ratio": length_ratio(answers, references, seed)}


def length_ratio(
    answers: Sequence[str], references: Sequence[Sequence[str]], seed: int | None
) -> Metric:
    """Words (of Chinese and Japanese, characters) written for each one in the references."""
    count = Words().tokenize
    written = np.array([len(count(answer)) for answer in answers], np.float64)
    wanted = np.array([np.mean([len(count(t)) for t in texts]) for texts in references])

    def ratio(chosen: Ints) -> float:
        return float(written[chosen].sum() / max(wanted[chosen].sum(), 1.0))

    return resampled(len(answers), seed, ratio)
