from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import errors

from nextword.errors import UserError
from nextword.hub.model_files import find_directory


def test_a_run_is_its_model_and_a_directory_itself(tmp_path: Path) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "config.json").write_text("{}")
    assert find_directory(tmp_path / "run") == tmp_path / "run" / "model"
    assert find_directory(str(tmp_path / "run" / "model")) == tmp_path / "run" / "model"


def test_what_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no model"):
        find_directory(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(UserError, match="this run has kept no model yet"):
        find_directory(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        find_directory(tmp_path / "config.yaml")
    for name in ("./absent", "/absent/model", "../absent", "a/b/c", "a..b"):
        with pytest.raises(UserError, match="no such directory"):
            find_directory(name)


def test_only_safetensors_json_text_and_templates_are_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_directory("openai-community/gpt2") == tmp_path
    assert asked["name"] == "openai-community/gpt2"
    assert sorted(asked["allow_patterns"]) == ["*.jinja", "*.json", "*.safetensors", "*.txt"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (errors.RepositoryNotFoundError, "neither a directory here nor a model on the Hub"),
        (errors.GatedRepoError, "asks you to accept its terms"),
        (errors.LocalEntryNotFoundError, "the Hub cannot be reached"),
        (OSError, "the Hub cannot be reached"),
    ],
)
def test_the_hubs_refusals_are_sentences(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], sentence: str
) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise error.__new__(error)  # as it is, without an answer of the Hub to be made from

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(UserError, match=sentence):
        find_directory("somebody/something")


def test_the_hub_is_not_reached_from_these_tests() -> None:
    with pytest.raises(UserError, match="the Hub cannot be reached"):
        find_directory("nextword-tests/absent")
