"""What the pages of docs/tasks/ say works: their commands and their Python, on examples/data."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from nextword.cli.main import main
from nextword.hub.writing import save
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.tokenizer_training import byte_tokenizer

ROOT = Path(__file__).parents[2]
TASKS = ("classify", "qa", "summarize", "translate", "chat", "prefer", "text", "tag")
TINY = {  # appended to each command of a verb
    "finetune": "--steps 2 --batch-size 4 --max-length 480 --precision fp32",
    "predict": "--precision fp32",
    "generate": "--max-new-tokens 8",
}
ROWS = 20  # of the examples, that answers are written for
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of what stands in a page to be copied: commands and Python."""
    text = (ROOT / "docs" / "tasks" / page).read_text(encoding="utf-8")
    found = BLOCK.findall(text)
    return [(kind, block) for kind, block in found if kind == "python" or "nextword " in block]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples, shortened, and a tiny model in gpt2's place."""
    torch.set_num_threads(1)
    data = tmp_path / "examples" / "data"
    shutil.copytree(ROOT / "examples" / "data", data)
    for path in data.iterdir():
        if path.suffix in (".jsonl", ".tsv", ".en", ".zh"):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            path.write_text("".join(lines[:ROWS]), encoding="utf-8")
    tokenizer = byte_tokenizer()
    size = ModelSettings(family="gpt2", layers=1, width=16, heads=2, context_length=512)
    save(tmp_path / "gpt2", Transformer(config_for(size, tokenizer.vocab_size), seed=1), tokenizer)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("task", TASKS)
def test_every_command_and_line_of_python_runs(place: Path, task: str) -> None:
    ran = []
    for kind, block in blocks(f"{task}.md"):
        if kind == "python":
            exec(compile(block, f"{task}.md", "exec"), {})
            ran.append("python")
            continue
        for line in block.splitlines():
            _, verb, *words = shlex.split(line)
            assert main([verb, *words, *TINY.get(verb, "").split()]) == 0, line
            ran.append(verb)
    uses = "generate" if task == "text" else "predict"
    assert {"finetune", "evaluate", uses, "python"} <= set(ran)


@pytest.mark.parametrize("task", TASKS)
def test_both_languages_show_the_same_commands(task: str) -> None:
    assert blocks(f"{task}.md") == blocks(f"{task}.zh-CN.md")


def test_the_data_shown_is_in_the_files() -> None:
    data = "".join(
        path.read_text(encoding="utf-8").replace('", "', '","')
        for path in (ROOT / "examples" / "data").iterdir()
    )
    for task in TASKS:
        text = (ROOT / "docs" / "tasks" / f"{task}.md").read_text(encoding="utf-8")
        for kind, block in BLOCK.findall(text):
            lines = block.splitlines()[1:] if kind == "csv" else []
            for line in lines:
                assert line in data, f"{task}.md: {line}"
