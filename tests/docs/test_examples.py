from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
BENCHMARKS = EXAMPLES.parent / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def library(tmp_path: Path) -> Path:
    files = {
        "abc.py": "one = 1\n",
        "json/decoder.py": "# -*- coding: latin-1 -*-\nname = '\xe9'\n",
        "test/test_abc.py": "two = 2\n",
        "site-packages/installed.py": "three = 3\n",
        "_sysconfigdata_here.py": "build_time_vars = {}\n",
        "broken.py": "# -*- coding: no-such-coding -*-\n",
        "empty.py": "",
        "notes.txt": "not Python\n",
    }
    for name, content in files.items():
        path = tmp_path / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="latin-1")
    return tmp_path / "library"


def test_the_librarys_own_modules_are_gathered_and_nothing_else(
    library: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    assert load("python_source").gather(library, folder)[0] == 2
    assert sorted(path.name for path in folder.iterdir()) == ["abc.py.txt", "json-decoder.py.txt"]
    assert "é" in (folder / "json-decoder.py.txt").read_text(encoding="utf-8")


def test_gathering_again_touches_nothing_so_that_a_run_can_go_on(
    library: Path, tmp_path: Path
) -> None:
    module = load("python_source")
    module.gather(library, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.txt")}
    module.gather(library, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.txt")} == before


def test_what_is_gathered_is_bounded(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("python_source")
    monkeypatch.setattr(module, "LARGEST", 10)
    assert module.gather(library, tmp_path) == (1, 8)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_examples_import_without_running(name: str) -> None:
    before = set(sys.modules)
    load(name)
    assert "torch" not in set(sys.modules) - before


@pytest.mark.parametrize("file", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_benchmarks_take_what_there_is(file: str) -> None:
    """Many of their imports stand in functions, which nothing here runs."""
    for node in ast.walk(ast.parse((BENCHMARKS / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nextword"):
            module = importlib.import_module(str(node.module))
            for name in [alias.name for alias in node.names]:
                if not hasattr(module, name):
                    importlib.import_module(f"{node.module}.{name}")
