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


def test_rouge_of_real_summaries_equals_rouge_score_with_the_best_of_three_references(
    shared_data: Path,
) -> None:
    """The first sentence or two of a dialogue as its summary."""
    lines = (shared_data / "dialogsum" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:200]]
    answers = [" ".join(row["dialogue"].split()[: 10 + n % 30]) for n, row in enumerate(rows)]
    references = [[row[f"summary{n}"] for n in (1, 2, 3)] for row in rows]
    found = summary_metrics(answers, references, "en", draws=Resampler(0))
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for kind, name in (("rouge1", "ROUGE-1"), ("rouge2", "ROUGE-2"), ("rougeL", "ROUGE-L")):
        best = [
            max(scorer.score(wanted, answer)[kind].fmeasure for wanted in several)
            for answer, several in zip(answers, references, strict=True)
        ]
        assert found[name].value == pytest.approx(np.mean(best), abs=1e-12)
        low, high = found[name].interval or (0, 0)
        assert low < found[name].value < high


def test_chinese_is_compared_by_characters_and_german_keeps_its_letters() -> None:
    assert Words().tokenize("《光荣》在1998年, Koei公司。") == [
        *"光荣在",
        "1998",
        "年",
        "koei",
        *"公司",
    ]
    assert Words().tokenize("Größe_x ändert") == ["größe_x", "ändert"]
    found = summary_metrics(["学校屋顶坏了"], [["学校的屋顶坏了"]], "zh", draws=Resampler(0))
    assert found["ROUGE-1"].value == pytest.approx(2 * 1 * (6 / 7) / (1 + 6 / 7))
    assert found["ROUGE-2"].value == pytest.approx(2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6))
    assert found["ROUGE-L"].interval is None
    umlauts = summary_metrics(["für"], [["vor"]], "de", draws=Resampler(0))
    assert umlauts["ROUGE-1"].value == 0.0  # rouge-score alone reads "f r" and finds nothing either
    assert (
        summary_metrics(["über Öl"], [["über Öl"]], "de", draws=Resampler(0))["ROUGE-2"].value
        == 1.0
    )


def test_an_empty_answer_scores_nothing() -> None:
    found = summary_metrics(["", "a cat"], [["a dog"], ["a cat"]], "en", draws=Resampler(0))
    assert found["ROUGE-1"].value == 0.5 and found["length ratio"].value == 0.5
    assert (
        translation_metrics([""], [["eine Katze"]], "de", draws=Resampler(0))["BLEU"].value == 0.0
    )


def test_bleu_and_chrf_of_real_translations_equal_sacrebleu(shared_data: Path) -> None:
    """Another part of the data set's German, with words left out, as its translation."""
    lines = (shared_data / "multi30k" / "val.de").read_text(encoding="utf-8").splitlines()[:300]
    answers = [" ".join(line.split()[n % 3 :]) for n, line in enumerate(lines)]
    found = translation_metrics(answers, [[line] for line in lines], "de", draws=Resampler(0))
    bleu, chrf = corpus_bleu(answers, [lines]), corpus_chrf(answers, [lines])
    assert found["BLEU"].value == bleu.score and found["chrF"].value == chrf.score
    assert "tok:13a" in found["BLEU"].signature and "version:" in found["chrF"].signature
    for name in ("BLEU", "chrF"):
        low, high = found[name].interval or (0, 0)
        assert low < found[name].value < high < low + 6


def test_chinese_is_translated_by_characters_and_references_may_differ_in_number() -> None:
    answers = ["老人在河边看书。", "一个女孩在窗前唱歌。"]
    wanted = [["老人在河边看书。", "老人正在河边看书。"], ["女孩在窗前唱歌。"]]
    found = translation_metrics(answers, wanted, "zh", draws=Resampler(0))
    streams = [[wanted[0][0], wanted[1][0]], [wanted[0][1], None]]
    assert found["BLEU"].value == corpus_bleu(answers, streams, tokenize="zh").score  # type: ignore[arg-type]
    assert "tok:zh" in found["BLEU"].signature and "nrefs:var" in found["BLEU"].signature
    assert found["BLEU"].to_json()["signature"] == found["BLEU"].signature


def test_the_length_ratio_is_of_all_words_together() -> None:
    found = length_ratio(["a b c", "a"], [["a"], ["a b c", "a b c d e"]], draws=Resampler(0))
    assert found.value == pytest.approx(4 / 5)
    assert found == length_ratio(
        ["a b c", "a"], [["a"], ["a b c", "a b c d e"]], draws=Resampler(0)
    )


def test_translations_that_now_and_then_share_nothing_have_intervals_too() -> None:
    """Of some draws of sentences every score is zero."""
    written = ["zzz", "qqq", "the cat sat on the mat"]
    wanted = [["a dog runs"], ["it rains"], ["the cat sat on the mat"]]
    found = translation_metrics(written, wanted, "en", Resampler(1))
    for name in ("BLEU", "chrF"):
        low, high = found[name].interval or (1, 1)
        assert low == 0 and high > 99
