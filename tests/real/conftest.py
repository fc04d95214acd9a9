"""Real weights, where their packages are installed, and llama.cpp, where npm has brought it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import UserError
from nextword.hub.starter import find_starter

Ask = Callable[..., dict[str, Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = str(Path(__file__).parent)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker("real")


def _starter(name: str) -> Path:
    try:
        place = find_starter(name)
    except UserError as error:
        pytest.skip(str(error))
    assert place is not None
    return place


@pytest.fixture(scope="session")
def smollm() -> Path:
    return _starter("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def minilm() -> Path:
    return _starter("minilm-l6")


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Ask:
    """Asks llama.cpp about a GGUF file: see llama_cpp.mjs."""
    home = os.environ.get("NODE_LLAMA_CPP", "")
    if not shutil.which("node") or not (Path(home) / "node_modules/node-llama-cpp").is_dir():
        pytest.skip("needs the npm package node-llama-cpp at NODE_LLAMA_CPP")

    def ask(path: Path, **questions: Any) -> dict[str, Any]:
        (tmp_path / "questions.json").write_text(json.dumps(questions))
        script = Path(__file__).with_name("llama_cpp.mjs")
        command = ["node", str(script), str(path), str(tmp_path / "questions.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stderr[-2000:]
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return ask
