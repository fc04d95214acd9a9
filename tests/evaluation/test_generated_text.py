from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu, corpus_chrf

from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.generated_text import (
    Words,
    length_ratio,
    summary_metrics,
    translation_metrics,
)
from nextword.evaluation.metrics import estimate


def test_rouge_of_real_summaries_equals_rouge_score_with_the_best_of_three_references(
    shared_data: Path,
) -> None:
    """The first sentence or two of a dialogue as its summary."""
    lines = (shared_data / "dialogsum" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:200]]
    answers = [" ".join(row["dialogue"].split()[: 10 + n % 30]) for n, row in enumerate(rows)]
    references = [[row[f"summary{n}"] for n in (1, 2, 3)] for row in rows]
    estimates = estimate(summary_metrics(answers, references, "en"), Resampler(0))
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for kind, name in (("rouge1", "ROUGE-1"), ("rouge2", "ROUGE-2"), ("rougeL", "ROUGE-L")):
        best = [
            max(scorer.score(text, answer)[kind].fmeasure for text in texts)
            for answer, texts in zip(answers, references, strict=True)
        ]
        assert estimates[name].value == pytest.approx(np.mean(best), abs=1e-12)
        low, high = estimates[name].interval or (0, 0)
        assert low < estimates[name].value < high


def test_chinese_is_compared_by_characters_and_german_keeps_its_letters() -> None:
    assert Words().tokenize("《光荣》在1998年, Koei公司。") == [
        *"光荣在",
        "1998",
        "年",
        "koei",
        *"公司",
    ]
    assert Words().tokenize("Größe_x ändert") == ["größe_x", "ändert"]
    metrics = summary_metrics(["学校屋顶坏了"], [["学校的屋顶坏了"]], "zh")
    assert metrics["ROUGE-1"].value == pytest.approx(2 * 1 * (6 / 7) / (1 + 6 / 7))
    assert metrics["ROUGE-2"].value == pytest.approx(2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6))
    assert estimate(metrics, Resampler(0))["ROUGE-L"].interval is None
    umlauts = summary_metrics(["für"], [["vor"]], "de")
    assert umlauts["ROUGE-1"].value == 0.0  # rouge-score alone reads "f r" and finds nothing either
    assert summary_metrics(["über Öl"], [["über Öl"]], "de")["ROUGE-2"].value == 1.0


def test_an_empty_answer_scores_nothing() -> None:
    metrics = summary_metrics(["", "a cat"], [["a dog"], ["a cat"]], "en")
    assert metrics["ROUGE-1"].value == 0.5 and metrics["length ratio"].value == 0.5
    assert translation_metrics([""], [["eine Katze"]], "de")["BLEU"].value == 0.0


def test_bleu_and_chrf_of_real_translations_equal_sacrebleu(shared_data: Path) -> None:
    """Another part of the data set's German, with words left out, as its translation."""
    lines = (shared_data / "multi30k" / "val.de").read_text(encoding="utf-8").splitlines()[:300]
    answers = [" ".join(line.split()[n % 3 :]) for n, line in enumerate(lines)]
    metrics = translation_metrics(answers, [[line] for line in lines], "de")
    estimates = estimate(metrics, Resampler(0))
    bleu, chrf = corpus_bleu(answers, [lines]), corpus_chrf(answers, [lines])
    assert estimates["BLEU"].value == bleu.score and estimates["chrF"].value == chrf.score
    assert "tok:13a" in estimates["BLEU"].signature and "version:" in estimates["chrF"].signature
    for name in ("BLEU", "chrF"):
        low, high = estimates[name].interval or (0, 0)
        assert low < estimates[name].value < high < low + 6


def test_chinese_is_translated_by_characters_and_references_may_differ_in_number() -> None:
    answers = ["老人在河边看书。", "一个女孩在窗前唱歌。"]
    references = [["老人在河边看书。", "老人正在河边看书。"], ["女孩在窗前唱歌。"]]
    bleu = estimate(translation_metrics(answers, references, "zh"), Resampler(0))["BLEU"]
    streams = [[references[0][0], references[1][0]], [references[0][1], None]]
    assert bleu.value == corpus_bleu(answers, streams, tokenize="zh").score  # type: ignore[arg-type]
    assert "tok:zh" in bleu.signature and "nrefs:var" in bleu.signature
    assert bleu.to_json()["signature"] == bleu.signature


def test_the_length_ratio_is_of_all_words_together() -> None:
    ratios = [length_ratio(["a b c", "a"], [["a"], ["a b c", "a b c d e"]]) for _ in range(2)]
    assert ratios[0].value == pytest.approx(4 / 5)
    one, other = (estimate({"length ratio": ratio}, Resampler(0)) for ratio in ratios)
    assert one == other and one["length ratio"].interval is not None


def test_translations_that_now_and_then_share_nothing_have_intervals_too() -> None:
    """Of some draws of sentences every score is zero."""
    answers = ["zzz", "qqq", "the cat sat on the mat"]
    references = [["a dog runs"], ["it rains"], ["the cat sat on the mat"]]
    estimates = estimate(translation_metrics(answers, references, "en"), Resampler(1))
    for name in ("BLEU", "chrF"):
        low, high = estimates[name].interval or (1, 1)
        assert low == 0 and high > 99
