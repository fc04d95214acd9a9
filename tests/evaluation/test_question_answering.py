from __future__ import annotations

import random
from pathlib import Path

import pytest

from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.metrics import estimate
from nextword.evaluation.question_answering import cmrc, cmrc_pieces, longest_run, qa_metrics, squad
from nextword.tasks.records import Record, read_records


def perturbed(record: Record, rng: random.Random) -> str:
    """An answer that is right, nearly right, or any stretch of the passage."""
    answer, context = record["answers"][0], record["context"]
    start = rng.randrange(len(context))
    stretch = context[start : start + rng.randrange(1, 60)]
    cut = rng.randrange(len(answer) + 1)
    choices = [answer, answer[:cut], answer[cut:], answer.upper() + "。", stretch, ""]
    choices += [f"{answer[:cut]} {stretch}", f"the answer is {answer}, an {stretch}."]
    return rng.choice(choices)


@pytest.mark.parametrize(
    ("file", "rules", "exact", "f1"),
    [
        ("test.json", "zh", 27.345309381237524, 51.258232432492974),
        ("test.json", "en", 15.169660678642714, 21.778809751687564),
        ("train.json", "zh", 28.42497670083877, 46.92428620114244),
        ("train.json", "en", 16.93072382727555, 23.817189162016575),
    ],
)
def test_scores_of_a_whole_data_set_equal_those_of_the_official_scripts(
    shared_data: Path, file: str, rules: str, exact: float, f1: float
) -> None:
    """The figures are what the published scripts, with NLTK's sentence model, print for these
    answers."""
    questions = read_records([str(shared_data / "cmrc2018" / file)])
    rng = random.Random(7)
    answers = [perturbed(question, rng) for question in questions]
    metrics = qa_metrics(answers, [question["answers"] for question in questions], rules)
    estimates = estimate(metrics, Resampler(0))
    assert 100 * estimates["exact match"].value == pytest.approx(exact, abs=1e-10)
    assert 100 * estimates["F1"].value == pytest.approx(f1, abs=1e-10)
    low, high = estimates["F1"].interval or (0, 0)
    assert low < estimates["F1"].value < high < low + 0.06


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [  # as SQuAD 2.0's published script scores them
        ("The Eiffel Tower!", ["eiffel tower", "Tower"], 1, 1.0),
        ("in 1889, in Paris", ["1889", "in 1889"], 0, 2 / 3),
        ("a the an", ["an"], 1, 1),
        ("", [], 1, 1),
        ("something", [], 0, 0),
        ("U.S.A.", ["USA"], 1, 1),
        ("an apple and a pear", ["the pear and apple pie", "apple"], 0, 0.8571428571428571),
        ("it's  the\tcafé", ["its café"], 1, 1),
        ("“quoted”", ["quoted"], 0, 0),
        ("", ["x"], 0, 0),
        ("theatre", ["atre"], 0, 0),
        ("ten", ["the", ""], 0, 0),
    ],
)
def test_english_answers_score_as_in_the_official_script(
    answer: str, references: list[str], exact: float, f1: float
) -> None:
    assert squad(answer, references) == (exact, pytest.approx(f1, abs=1e-12))


def test_chinese_is_compared_by_characters_and_the_rest_by_words() -> None:
    expected = ["在", "1998", "年", "由", "koei", *"公司光荣"]
    assert cmrc_pieces("在1998年，由Koei 公司（光荣）") == expected
    assert cmrc("光荣公司", ["由光荣开发"]) == (0.0, pytest.approx(2 * 0.5 * 0.4 / 0.9))
    assert cmrc("《光荣》。", ["光荣"]) == (1.0, 1.0)
    assert cmrc(" ", []) == (1.0, 1.0)
    assert cmrc("光荣", []) == (0.0, 0.0)


def test_a_run_is_of_neighbours_in_both() -> None:
    assert longest_run("abcdef", "zabxcdefz") == 4
    assert longest_run("", "abc") == longest_run("abc", "") == longest_run("abc", "xyz") == 0


def test_questions_with_and_without_an_answer_are_also_scored_apart() -> None:
    metrics = qa_metrics(["Rome", "", "Oslo", ""], [["Rome"], [], [], ["Bern"]], "en")
    assert {name: metric.value for name, metric in metrics.items()} == {
        "exact match": 0.5,
        "F1": 0.5,
        "exact match (answerable)": 0.5,
        "F1 (answerable)": 0.5,
        "exact match (no answer)": 0.5,
        "F1 (no answer)": 0.5,
    }
    assert set(qa_metrics(["a"], [["a"]], "en")) == {"exact match", "F1"}
