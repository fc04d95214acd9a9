"""Exact match and F1 of answers to questions, by the rules of SQuAD and, for Chinese, CMRC 2018.

SQuAD (Rajpurkar et al. 2016; 2018 for questions without an answer) compares bags of words, without
case, punctuation and articles. CMRC 2018 (Cui et al. 2019) compares the longest run that two
answers share, in characters of Chinese and words of anything else.
"""

from __future__ import annotations

import functools
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from nextword.evaluation.metrics import AnswerScoring, Floats, Metric, References, Texts, mean

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_HAN = "[\u4e00-\u9fa5]"
# What CMRC's script leaves out. "……" is in its list too, but as two characters, which no single
# one equals: an ellipsis stays.
_CMRC_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")

Scores = tuple[float, float]  # exact match and F1, each from 0 to 1


def qa_metrics(answers: Texts, references: References, language: str) -> dict[str, Metric]:
    """Return exact match and F1, from 0 to 1, of answers beside the references of each question.

    Each counts by the reference that suits it best. A question without a reference has no answer,
    and is answered rightly by an empty one. Where some questions have none, both kinds are also
    given apart, as SQuAD 2.0 does.
    """
    pairs = answer_scores(answers, references, language)
    answerable = np.array([any(texts) for texts in references])
    metrics = {"exact match": mean(pairs[:, 0]), "F1": mean(pairs[:, 1])}
    if answerable.any() and not answerable.all():
        for name, mask in (("answerable", answerable), ("no answer", ~answerable)):
            metrics[f"exact match ({name})"] = mean(pairs[mask, 0], mask)
            metrics[f"F1 ({name})"] = mean(pairs[mask, 1], mask)
    return metrics


def answer_scores(answers: Texts, references: References, language: str) -> Floats:
    """Return exact match and F1 of each answer, [answers, 2]."""
    score = cmrc if language == "zh" else squad
    pairs = [score(answer, texts) for answer, texts in zip(answers, references, strict=True)]
    return np.array(pairs, np.float64).reshape(-1, 2)


def f1_each(answers: Texts, references: References, language: str) -> list[dict[str, float]]:
    """Return the F1 of each answer by itself."""
    return [{"F1": f1} for f1 in answer_scores(answers, references, language)[:, 1].tolist()]


QA_SCORING = AnswerScoring(
    {"F1": "higher", "loss": "lower", "exact match": "higher"}, qa_metrics, f1_each
)


def squad(answer: str, references: Sequence[str]) -> Scores:
    """Score an answer by the rules of SQuAD 2.0, which are those of 1.1 if there is an answer."""
    targets = [text for text in references if squad_normal(text)] or [""]
    exact = max(float(squad_normal(answer) == squad_normal(text)) for text in targets)
    words = squad_normal(answer).split()
    return exact, max(_squad_f1(words, squad_normal(text).split()) for text in targets)


def squad_normal(text: str) -> str:
    """Remove case, punctuation, articles and needless spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _squad_f1(answer: list[str], target: list[str]) -> float:
    if not answer or not target:
        return float(answer == target)
    return _f1((Counter(answer) & Counter(target)).total(), len(answer), len(target))


def cmrc(answer: str, references: Sequence[str]) -> Scores:
    """Score an answer by the rules of CMRC 2018, or of SQuAD if the question has no answer."""
    targets = [text for text in references if text]
    if not targets:
        right = float(not answer.strip())
        return right, right
    exact = max(float(cmrc_normal(answer) == cmrc_normal(text)) for text in targets)
    own, others = cmrc_pieces(answer), map(cmrc_pieces, targets)
    return exact, max(_f1(longest_run(text, own), len(own), len(text)) for text in others)


def cmrc_normal(text: str) -> str:
    return "".join(c for c in text.lower().strip() if c not in _CMRC_PUNCTUATION)


def cmrc_pieces(text: str) -> list[str]:
    """Split an answer into Chinese characters and the words between them, without punctuation."""
    pieces: list[str] = []
    for part in filter(None, re.split(f"({_HAN})", cmrc_normal(text))):
        pieces += [part] if re.match(_HAN, part) else _word_cutter()(part)
    return pieces


@functools.cache
def _word_cutter() -> Callable[[str], list[str]]:
    """Return NLTK's rules for the words of a line. Its `word_tokenize` first looks for sentences,
    with a model that has to be fetched; that changes nothing but full stops inside an answer."""
    from nltk.tokenize.destructive import NLTKWordTokenizer

    cut: Callable[[str], list[str]] = NLTKWordTokenizer().tokenize
    return cut


def longest_run(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the pieces in the longest run that both hold."""
    longest, ends = 0, [0] * (len(other) + 1)  # ends[j]: the run that ends before other[j]
    for piece in one:
        above = 0
        for place, candidate in enumerate(other, start=1):
            above, ends[place] = ends[place], above + 1 if piece == candidate else 0
            longest = max(longest, ends[place])
    return longest


def _f1(shared: int, answer: int, target: int) -> float:
    if not shared:
        return 0.0
    precision, recall = shared / answer, shared / target
    return 2 * precision * recall / (precision + recall)
