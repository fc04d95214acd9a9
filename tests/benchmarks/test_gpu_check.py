from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gpu_check
import pytest
from gpu import correctness
from gpu.commands import WORDS, write_store
from gpu.section import Section
from gpu.steps import covered

from nextword.tokens.control_tokens import CAUSAL
from nextword.tokens.store import Store

PROCESSES = ("correctness", "commands")  # tested in part: they take longer


def rehearse(name: str, out: Path) -> tuple[int, dict[str, Any]]:
    """A section at tiny sizes in this process: its status, and its figures by name."""
    status = gpu_check.run_section(name, out, small=True, seconds=120.0)
    return status, gpu_check.figures_of(out)[name]


@pytest.mark.parametrize("name", [name for name in gpu_check.SECTIONS if name not in PROCESSES])
def test_a_section_runs_whole_on_this_machine(name: str, tmp_path: Path) -> None:
    status, figures = rehearse(name, tmp_path)
    assert status == 0, figures
    assert len(figures) > 2  # beside the outcome


@pytest.mark.parametrize("family", ["gpt2", "modernbert", "t5"])
def test_what_is_right_is_called_right(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correctness, "KINDS", {family: {}})
    status, figures = rehearse("correctness", tmp_path)
    assert status == 0, figures
    assert figures[f"{family}: documents stay apart in float32"]["holds"]


def test_the_store_of_the_commands_is_sound(tmp_path: Path) -> None:
    write_store(tmp_path / "store", "causal", CAUSAL, documents=20)
    store = Store.open(tmp_path / "store")
    store.verify()
    assert (store.counts("train")["documents"], store.counts("val")["documents"]) == (20, 2)
    assert store.counts("train")["tokens"] == len(store.train)
    text = store.tokenizer.decode(store.train.tokens[: store.train.starts[1] - 1])
    assert set(text.rstrip(".").split()) <= set(WORDS)


def test_what_is_wrong_is_called_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a leak between documents, that a mask of ones lets through."""
    monkeypatch.setattr(correctness, "KINDS", {"gpt2": {}})
    monkeypatch.setattr(
        "nextword.objectives.language_modeling.document_mask",
        lambda documents: (documents[:, :, None] > -1).expand(-1, -1, documents.shape[1])[:, None],
    )
    status, figures = rehearse("correctness", tmp_path)
    assert status == 1
    assert "gpt2: documents stay apart in float32" in figures["outcome"]["wrong"]


def test_a_part_that_fails_costs_the_others_nothing(tmp_path: Path) -> None:
    section = Section("versions", tmp_path, small=True)
    with section.part("first"):
        raise ValueError("no such kernel")
    section.note("second", 2.0)
    figures = gpu_check.figures_of(tmp_path)["versions"]
    assert figures["first"]["error"] == "ValueError: no such kernel"
    assert figures["second"] == 2.0
    assert section.failed == ["first"]


def test_a_section_over_its_time_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        gpu_check.SECTIONS, "correctness", gpu_check.Limit("correctness", 0.05, True)
    )
    assert gpu_check.run_all(["correctness", "rates"], tmp_path, small=True, budget=600.0) == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["sections"]["correctness"]["verdict"] == "over time"
    assert summary["sections"]["rates"]["verdict"] == "right"
    assert "bf16 square: TFLOP/s" in summary["sections"]["rates"]["figures"]
    assert "correctness: over time" in capsys.readouterr().out


def test_a_spent_budget_is_said(tmp_path: Path) -> None:
    assert gpu_check.run_all(["versions"], tmp_path, small=True, budget=1.0) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["sections"]["versions"]["verdict"] == "skipped: the budget is spent"


def test_a_figure_cut_short_is_left_out(tmp_path: Path) -> None:
    Section("rates", tmp_path, small=True).note("copy", 1.5)
    with open(tmp_path / "figures.jsonl", "a") as file:
        file.write('{"section": "rates", "na')
    assert gpu_check.figures_of(tmp_path) == {"rates": {"copy": 1.5}}


def test_missing_packages_are_named_with_how_to_bring_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert gpu_check.missing_packages() == ""
    monkeypatch.setattr(gpu_check, "NEEDED", ("torch", "nosuchpackage"))
    sentence = gpu_check.missing_packages()
    assert "nosuchpackage" in sentence and "torch" not in sentence.split(" are missing")[0]
    assert "pip install --no-index" in sentence


def test_time_in_which_kernels_overlap_counts_once() -> None:
    assert covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 2.5)]) == 4.0
    assert covered([]) == 0.0
