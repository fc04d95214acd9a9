from __future__ import annotations

import pytest

from nextword.evaluation.contamination import find_duplicates
from nextword.settings import FinetuneSettings
from nextword.tasks.opening import task_class
from nextword.tasks.records import Record
from nextword.verbs.finetune_plan import hold_out, usual_epochs


def test_a_rare_label_is_never_held_out_alone() -> None:
    rows = [
        Record({"text": f"t{n}", "label": "rare" if n == 3 else str(n % 2)}, "") for n in range(30)
    ]
    classify = task_class("classify")
    for seed in range(40):
        settings = FinetuneSettings(task="classify", seed=seed, val_fraction=0.2)
        dataset = classify.read(rows, settings)
        train, held_out = hold_out(dataset, classify.label_names(dataset, settings), settings)
        assert len(train) + len(held_out) == 30 and len(held_out)
        assert any(record["label"] == "rare" for record in train.records)


def test_equal_texts_are_held_out_together() -> None:
    rows = [
        Record({"text": f"{'Same ' if n % 2 else ' same  '}{n // 4}", "label": str(n % 2)}, "")
        for n in range(80)
    ]
    settings, classify = FinetuneSettings(task="classify"), task_class("classify")
    dataset = classify.read(rows, settings)
    train, held_out = hold_out(dataset, classify.label_names(dataset, settings), settings)
    duplicates = find_duplicates(train.inputs, train.places, held_out.inputs)
    assert len(held_out) and duplicates == [None] * len(held_out)


def test_a_group_that_is_too_large_does_not_end_what_is_held_out() -> None:
    rows = [Record({"context": "same", "question": str(n)}, "a") for n in range(60)]
    rows += [Record({"context": str(n), "question": "?"}, "a") for n in range(40)]
    qa = task_class("qa")
    for seed in range(5):
        settings = FinetuneSettings(task="qa", split_seed=seed)
        dataset = qa.read(rows, settings, labelled=False)
        _, held_out = hold_out(dataset, qa.label_names(dataset, settings), settings)
        assert len(held_out) == 10


@pytest.mark.parametrize(
    ("examples", "epochs"), [(10, 20), (60, 17), (500, 6), (2_000, 3), (100_000, 3), (900_000, 1)]
)
def test_fewer_examples_are_read_more_often(examples: int, epochs: float) -> None:
    assert usual_epochs(examples) == epochs
