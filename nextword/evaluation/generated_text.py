"""How near a written text is to those that people wrote: ROUGE, BLEU, chrF, and its length.

ROUGE (Lin 2004) is rouge-score's, its F1, with Porter's stemmer for English as is the custom for
summaries. Chinese and Japanese are compared by characters, other languages by words of any
alphabet, where rouge-score alone would keep a to z. BLEU (Papineni et al. 2002) and chrF (Popović
2015) are sacrebleu's, with its signatures; intervals are bootstraps over sentences (Koehn 2004).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.classification import Floats, Ints, Metric, mean, resampled

ROUGE = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_WORDS = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")


class Words:
    """For rouge-score, in languages other than English: ideographs one by one, and words."""

    def tokenize(self, text: str) -> list[str]:
        return _WORDS.findall(text.lower())


def judge_summaries(
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    language: str,
    draws: Resampler | None,
) -> dict[str, Metric]:
    """ROUGE-1, -2 and -L from 0 to 1, each by the reference that suits it best, and the length."""
    scores = rouge(answers, references, language)
    found = {name: mean(values, draws) for name, values in scores.items()}
    return found | {"length ratio": length_ratio(answers, references, draws)}


def rouge(
    answers: Sequence[str], references: Sequence[Sequence[str]], language: str
) -> dict[str, Floats]:
    """ROUGE-1, -2 and -L of each answer, [answers]."""
    from rouge_score.rouge_scorer import RougeScorer

    english = language == "en"
    tokenizer = None if english else Words()
    scorer = RougeScorer(list(ROUGE), use_stemmer=english, tokenizer=tokenizer)
    scores = [
        scorer.score_multi(list(wanted), answer)
        for answer, wanted in zip(answers, references, strict=True)
    ]
    return {
        name: np.array([score[kind].fmeasure for score in scores], np.float64)
        for kind, name in ROUGE.items()
    }


def judge_translations(
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    language: str,
    draws: Resampler | None,
) -> dict[str, Metric]:
    """BLEU and chrF from 0 to 100, with sacrebleu's signatures, and the length."""
    found = {}
    for name, score in translation_scores(answers, references, language).items():
        metric = resampled(len(answers), draws, score.of)
        found[name] = Metric(metric.value, metric.interval, score.signature)
    return found | {"length ratio": length_ratio(answers, references, draws)}


@dataclass(frozen=True)
class CorpusScore:
    """`of(chosen)` is sacrebleu's score of the sentences chosen, as one corpus."""

    of: Callable[[Ints], float]
    signature: str


def translation_scores(
    answers: Sequence[str], references: Sequence[Sequence[str]], language: str
) -> dict[str, CorpusScore]:
    """BLEU and chrF, from sacrebleu's statistics of each sentence, which are added up.

    Its own bootstrap fails where some draws score nothing at all (it adds floats of two kinds), and
    lays all draws out in memory.
    """
    from sacrebleu.metrics import BLEU, CHRF

    tokenizer = {"zh": "zh", "ja": "char"}.get(language, "13a")
    columns = range(max(map(len, references)))
    streams: list[Any] = [  # None where there is no such reference
        [wanted[n] if n < len(wanted) else None for wanted in references] for n in columns
    ]

    def score(metric: Any) -> CorpusScore:
        statistics = np.array(metric._extract_corpus_statistics(list(answers), streams))

        def of(chosen: Ints) -> float:
            return float(metric._compute_score_from_stats(statistics[chosen].sum(0).tolist()).score)

        return CorpusScore(of, str(metric.get_signature()))

    return {"BLEU": score(BLEU(tokenize=tokenizer)), "chrF": score(CHRF())}


def length_ratio(
    answers: Sequence[str], references: Sequence[Sequence[str]], draws: Resampler | None
) -> Metric:
    """Words (of Chinese and Japanese, characters) written for each one in the references."""
    written, wanted = lengths(answers, references)

    def ratio(chosen: Ints) -> float:
        return float(written[chosen].sum() / max(wanted[chosen].sum(), 1.0))

    return resampled(len(answers), draws, ratio)


def lengths(answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Floats, Floats]:
    """[answers] each: words written, and words in the references on average; of Chinese and
    Japanese, characters."""
    count = Words().tokenize
    written = np.array([len(count(answer)) for answer in answers], np.float64)
    wanted = [np.mean([len(count(text)) for text in texts]) for texts in references]
    return written, np.array(wanted, np.float64)
