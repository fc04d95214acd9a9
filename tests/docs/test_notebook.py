"""The notebook does what it says, cell by cell, on a little text and for a few seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nextword as nw

NOTEBOOK = Path(__file__).parents[2] / "examples" / "nextword.ipynb"


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_no_cell_holds_an_output() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_every_cell_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(
        "".join(f"class Reader{n}:\n    size = {n % 7}\n\n" for n in range(900))
    )
    install, choose, *rest = code_cells()
    assert install.startswith("%pip install")
    names: dict = {}
    run_cell(choose, names)
    assert len(names["TEXT"]) > 50 and names["BUDGET"].endswith("m")
    names |= {"TEXT": ["text.txt"], "RUN": "run"}
    small = {"steps": 4, "layers": 1, "width": 32, "heads": 2, "context_length": 32}
    monkeypatch.setattr(nw, "pretrain", smaller(nw.pretrain, small), raising=False)
    for cell in rest:
        run_cell(cell, names)
    shown = capsys.readouterr().out
    assert "bits per byte" in shown and "report.html" in shown and "--- 0.8" in shown
    assert Path("model.zip").stat().st_size > 1000


def smaller(pretrain, small):
    """`pretrain` for these few steps instead of the time that the notebook gives it."""

    def call(text, run, *, budget, resume):
        return pretrain(text, run, resume=resume, workers=1, **small)

    return call


def run_cell(source: str, names: dict) -> None:
    exec(compile(source, str(NOTEBOOK), "exec"), names)
