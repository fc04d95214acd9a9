"""What can be wrong with data, model or settings: one sentence each, before any training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import UserError
from nextword.tasks.opening import read_task_file
from nextword.verbs.compare import compare
from nextword.verbs.evaluate import evaluate_task
from nextword.verbs.finetune import finetune
from nextword.verbs.predict import predict

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from small_models import DATA, ours, theirs

FEW: dict[str, Any] = {"steps": 2, "batch_size": 4, "precision": "fp32", "learning_rate": 1e-3}
ROWS = [(f"word number {n} stands here", "even" if n % 2 == 0 else "odd") for n in range(20)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ours(tmp_path_factory.mktemp("model") / "ours", layers=1, width=32)


@pytest.fixture(scope="module")
def runs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    table(folder / "train.csv")
    finetune(model, folder / "train.csv", folder / "classify", task="classify", **FEW)
    finetune(model, DATA / "translate.tsv", folder / "translate", task="translate", **FEW)
    finetune(model, DATA / "text.jsonl", folder / "text", task="text", **FEW)
    return {p.name: p for p in folder.iterdir() if p.is_dir()} | {"data": folder / "train.csv"}


def table(
    path: Path, rows: list[tuple[str, Any]] = ROWS, names: tuple[str, str] = ("text", "label")
) -> Path:
    lines = [",".join(names), *(f"{text},{label}" for text, label in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def asked(answer: str | None = "yes") -> dict[str, Any]:
    return {"context": "It is so.", "question": "Is it so?", "answers": [answer]}


USER = {"role": "user", "content": "Well?"}
TRAPS: dict[str, tuple[list[tuple[str, Any]] | list[dict[str, Any]], dict[str, Any], str]] = {
    "an empty label": ([*ROWS, ("more", "")], {}, "column 'label' is empty"),
    "a blank label": ([*ROWS, ("more", " ")], {}, "column 'label' is empty"),
    "a flag of another task": (
        ROWS,
        {"num_beams": 4},
        "--num-beams does nothing for --task classify",
    ),
    "a rank without updates": (ROWS, {"lora_rank": 4}, "--lora-rank does nothing without --lora"),
    "a prompt for what is pointed at": (
        [asked()] * 4,
        {"task": "qa", "extract": True, "prompt": "{context}"},
        "--prompt does nothing with --extract",
    ),
    "an empty text": ([*ROWS, ("", "odd")], {}, "column 'text' is empty"),
    "only spaces": ([*ROWS, ("  ", "odd")], {}, "column 'text' is empty"),
    "one class": ([(t, "same") for t, _ in ROWS], {}, "all 20 examples have the label 'same'"),
    "text as labels": ([(f"{n} words", f"a label {n}") for n in range(60)], {}, "hardly classes"),
    "amounts and a word": (
        [*((f"weigh {n}", n / 3) for n in range(20)), ("weigh more", "n/a")],
        {},
        "label 'n/a' is not a number, as most of the others are",
    ),
    "a number that is none": (
        [*((f"weigh {n}", n / 3) for n in range(20)), ("weigh more", "inf")],
        {},
        "not a finite number",
    ),
    "another column": (
        ROWS,
        {"label_column": "labell"},
        "no column 'labell'; did you mean 'label'",
    ),
    "a metric misspelt": (
        ROWS,
        {"metric": "acuracy"},
        "no metric 'acuracy'; did you mean 'accuracy'",
    ),
    "a metric of another task": (ROWS, {"metric": "BLEU"}, "no metric 'BLEU'"),
    "too long a length": (ROWS, {"max_length": 4000}, "more than the 256 tokens"),
    "too many layers": (ROWS, {"freeze": 4}, "4 layers cannot be frozen: the model has 1"),
    "weights for amounts": (
        [(f"weigh {n}", n / 3) for n in range(20)],
        {"class_weights": "balanced"},
        "--class-weights balanced is for one class an example",
    ),
    "random weights frozen": (
        ROWS,
        {"from_scratch": True, "freeze": 1},
        "expected neither --lora nor --freeze beside it",
    ),
    "a length given twice": (ROWS, {"epochs": 2}, "since epochs gives the run's length already"),
    "too few to hold out": (ROWS[:1] * 20, {"labels": "several"}, "too few to hold some out"),
    "no answers": (
        [{"context": "It is.", "question": "Is it?"}] * 3,
        {"task": "qa", "val_fraction": 0},
        "no column is clearly the answer",
    ),
    "a summary that is missing": (
        [{"document": "Long.", "summary": "Short."}, {"document": "Long too.", "summary": ""}],
        {"task": "summarize"},
        "column 'summary' is empty; write it, or remove the row",
    ),
    "no assistant": (
        [{"messages": [USER]}] * 3,
        {"task": "chat", "val_fraction": 0},
        "holds nothing that the assistant says",
    ),
    "an empty turn": (
        [{"messages": [USER, {"role": "assistant", "content": " "}]}] * 3,
        {"task": "chat", "val_fraction": 0},
        "message 2 is empty",
    ),
    "no conversations": (
        [{"x": "1"}] * 3,
        {"task": "chat", "val_fraction": 0},
        "holds no conversations (columns: x)",
    ),
    "no documents": (
        [{"x": "1", "y": "2"}] * 3,
        {"task": "summarize"},
        "clearly the document (columns: x, y)",
    ),
    "one language": ([{"en": "a"}] * 3, {"task": "translate"}, "clearly the source"),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_named_in_one_sentence_before_training(
    name: str, model: Path, tmp_path: Path
) -> None:
    rows, settings, sentence = TRAPS[name]
    if isinstance(rows[0], dict):
        data = jsonl(tmp_path / "data.jsonl", rows)
    else:
        data = table(tmp_path / "data.csv", rows)
    with pytest.raises(UserError) as raised:
        finetune(model, data, tmp_path / "run", **({"task": "classify"} | FEW | settings))
    assert sentence in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "run" / "run.json").exists()


def test_rows_are_named_by_their_place(model: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "data.csv", [*ROWS, ("more", "")])
    with pytest.raises(UserError) as raised:
        finetune(model, data, tmp_path / "run", task="classify", **FEW)
    assert str(raised.value.where).endswith("data.csv:22")


@pytest.mark.parametrize("out", ["data.csv", "data.csv/run", "full"])
def test_an_out_that_cannot_be_written_is_named_before_training(
    out: str, model: Path, tmp_path: Path
) -> None:
    data = table(tmp_path / "data.csv")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"needs a folder|Not a directory|exists already"):
        finetune(model, data, tmp_path / out, task="classify", **FEW)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_labels_that_validation_data_has_alone_are_named(model: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "data.csv")
    val = table(tmp_path / "val.csv", [("a new one", "odd"), ("another", "prime")])
    with pytest.raises(UserError, match=r"val.csv:3: label 'prime' was never seen in training"):
        finetune(model, data, tmp_path / "run", task="classify", val=[str(val)], **FEW)


def test_labels_that_test_data_has_alone_are_named(runs: dict[str, Path], tmp_path: Path) -> None:
    data = table(tmp_path / "test.csv", [("a new one", "odd"), ("another", "evenn")])
    with pytest.raises(UserError, match=r"test.csv:3: label 'evenn' was never seen in training"):
        evaluate_task(runs["classify"], data)


def test_validation_data_may_name_its_columns_otherwise(model: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "data.csv", names=("sentence", "sentiment"))
    val = table(tmp_path / "val.csv", [(f"new {t}", label) for t, label in ROWS[:6]])
    finished = finetune(model, data, tmp_path / "run", task="classify", val=[str(val)], **FEW)
    assert "accuracy" in finished.metrics
    other = table(tmp_path / "other.csv", ROWS, ("a", "b"))
    assert evaluate_task(tmp_path / "run", other).examples == 20  # the longer one is the text
    rows = [{"a": text, "b": label, "c": label} for text, label in ROWS]
    other = jsonl(tmp_path / "other.jsonl", rows)
    with pytest.raises(UserError, match=r"clearly the label: it may be 'b' \(even, odd\) or 'c'"):
        evaluate_task(tmp_path / "run", other)
    found = evaluate_task(tmp_path / "run", other, text_column="a", label_column="b")
    assert found.examples == 20


def test_columns_that_were_named_for_training_are_used_again(model: Path, tmp_path: Path) -> None:
    rows = [{"text": "nothing", "real": t, "label": "no", "kind": k} for t, k in ROWS]
    data = jsonl(tmp_path / "data.jsonl", rows)
    names: dict[str, Any] = {"text_column": "real", "label_column": "kind"}
    finetune(model, data, tmp_path / "run", task="classify", **names, **FEW)
    predictions = predict(tmp_path / "run", data)
    assert len({p["probabilities"]["odd"] for p in predictions}) > 1  # not all of "nothing"
    assert evaluate_task(tmp_path / "run", data).metrics["accuracy"].value > 0


def test_a_translation_keeps_its_direction(model: Path, tmp_path: Path) -> None:
    rows = [{"en": f"word {n}", "de": f"Wort {n}"} for n in range(20)]
    data = jsonl(tmp_path / "data.jsonl", rows)
    finetune(model, data, tmp_path / "run", task="translate", **FEW)
    swapped = jsonl(tmp_path / "new.jsonl", [{"de": r["de"], "en": r["en"]} for r in rows])
    kept = predict(tmp_path / "run", data, precision="fp32")
    assert predict(tmp_path / "run", swapped, precision="fp32") == kept
    alone = jsonl(tmp_path / "alone.jsonl", [{"en": r["en"]} for r in rows])
    assert predict(tmp_path / "run", alone, precision="fp32") == kept


def test_tests_that_overlap_training_are_counted(runs: dict[str, Path], tmp_path: Path) -> None:
    rows = [(t.upper(), label) for t, label in ROWS[:3]] + [("quite another", "odd")]
    found = evaluate_task(runs["classify"], table(tmp_path / "test.csv", rows))
    assert (found.seen, found.examples) == (3, 4)
    compared = compare(runs["classify"], runs["classify"], tmp_path / "test.csv")
    assert all("of 4 examples 3 are in the data" in remark for remark in compared.remarks)
    assert len(compared.remarks) == 1, "the same model twice"
    assert evaluate_task(runs["classify"] / "model", tmp_path / "test.csv").seen == 3


@pytest.mark.parametrize(
    ("run", "task", "sentence"),
    [
        ("classify", "qa", "classifies texts: it cannot be used with --task qa"),
        ("translate", "classify", "is no classifier: it cannot be used with --task classify"),
        ("text", None, "has no answers to predict"),
    ],
)
def test_a_model_for_another_task_is_named(
    run: str, task: Any, sentence: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    data = jsonl(tmp_path / "data.jsonl", [asked() | {"text": "a", "label": "odd"}])
    with pytest.raises(UserError) as raised:
        predict(runs[run], data, task=task)
    assert sentence in str(raised.value)


def test_a_classifier_cannot_learn_to_write(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="classifies texts and cannot write"):
        finetune(runs["classify"], DATA / "qa.json", tmp_path / "run", task="qa", **FEW)


def test_aligned_files_have_as_many_lines(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\ntwo\nthree\n")
    (tmp_path / "a.de").write_text("eins\nzwei\n")
    files = [tmp_path / "a.en", tmp_path / "a.de"]
    with pytest.raises(UserError, match=r"a.de: has 2 lines, fewer than .*a.en"):
        finetune(model, files, tmp_path / "run", task="translate", **FEW)


def test_long_texts_are_cut_and_counted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*ROWS, ("word " * 2000, "odd")]
    finetune(
        model,
        table(tmp_path / "d.csv", rows),
        tmp_path / "run",
        task="classify",
        **FEW,
        val_fraction=0,
    )
    shown = capsys.readouterr().err
    assert "1 of 21 texts are cut at 256 tokens (--max-length)" in shown
    assert "columns: text 'text', label 'label'" in shown
    predict(tmp_path / "run", tmp_path / "d.csv")
    assert "1 of 21 texts are cut at 256 tokens" in capsys.readouterr().err
    kept = read_task_file(tmp_path / "run")
    assert kept is not None and kept.max_length == 256


def test_a_tokenizer_without_a_padding_token_gets_one(tmp_path: Path) -> None:
    base = theirs(tmp_path / "base", "gpt2")
    finetune(base, table(tmp_path / "d.csv"), tmp_path / "run", task="classify", **FEW)
    values = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert isinstance(values["pad_token_id"], int)


def test_data_that_changed_is_not_gone_on_with(model: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "data.csv")
    finetune(model, data, tmp_path / "run", task="classify", **FEW)
    table(data, [*ROWS, ("one more", "odd")])
    with pytest.raises(UserError, match="is not the data that this run was started on"):
        finetune(model, data, tmp_path / "run", task="classify", **FEW, resume=True)


def test_validation_data_that_changed_is_not_gone_on_with(model: Path, tmp_path: Path) -> None:
    data, val = table(tmp_path / "data.csv"), table(tmp_path / "val.csv", ROWS[:6])
    own: dict[str, Any] = {**FEW, "task": "classify", "val": [str(val)]}
    finetune(model, data, tmp_path / "run", **own)
    table(val, ROWS[:7])
    with pytest.raises(UserError, match=r"val.csv: is not the data .* validated on"):
        finetune(model, data, tmp_path / "run", **own, resume=True)


def test_another_setting_is_not_gone_on_with(runs: dict[str, Path], model: Path) -> None:
    own = {**FEW, "lora": True}
    with pytest.raises(UserError, match="lora is False in this run, not True"):
        finetune(model, runs["data"], runs["classify"], task="classify", **own, resume=True)


@pytest.mark.parametrize("content", ["[]", "{}", '{"task": 3}', "{"])
def test_a_damaged_task_file_is_named(content: str, runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(content)
    (tmp_path / "model").symlink_to(runs["classify"] / "model")
    with pytest.raises(UserError, match=r"task\.json"):
        predict(tmp_path, runs["data"])


def test_predictions_that_cannot_be_written_are_named(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "file" / "out.jsonl"):
        with pytest.raises(UserError, match=r"is a folder|cannot be written"):
            predict(runs["classify"], runs["data"], out)


def test_predictions_leave_the_rows_own_fields(runs: dict[str, Path], tmp_path: Path) -> None:
    predict(runs["classify"], runs["data"], tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["text"], row["label"]) for row in rows] == ROWS


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("test.csv", "test.csv: is the data itself; choose another --out"),
        ("said.csv", "said.csv: predictions are JSON lines, not .csv; name the file said.jsonl"),
        ("", "is a folder; name a file of predictions in it"),
    ],
)
def test_predictions_go_to_a_file_of_their_own(
    runs: dict[str, Path], tmp_path: Path, name: str, sentence: str
) -> None:
    data = table(tmp_path / "test.csv")
    before = data.read_bytes()
    with pytest.raises(UserError, match=sentence):
        predict(runs["classify"], data, tmp_path / name)
    assert data.read_bytes() == before
