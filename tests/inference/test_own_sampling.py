"""A model's generation_config.json says how it writes, unless it is told otherwise."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import nextword as nw
from nextword.errors import UserError
from nextword.settings import ChatSettings
from nextword.verbs.conversation import Conversation

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from small_models import ours

PROMPT = "The old "


def writes(directory: Path, said: dict[str, Any]) -> Path:
    """Add to what generation_config.json says."""
    file = directory / "generation_config.json"
    values = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(values | said))
    return directory


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return ours(tmp_path / "model")


def test_a_model_writes_as_its_makers_have_it(model: Path) -> None:
    greedy = nw.generate(model, PROMPT, temperature=0, max_new_tokens=20)
    assert nw.generate(model, PROMPT, max_new_tokens=20) != greedy
    writes(model, {"temperature": 0.9, "top_k": 1, "do_sample": True})
    assert nw.generate(model, PROMPT, max_new_tokens=20) == greedy
    assert nw.generate(model, PROMPT, max_new_tokens=20, top_k=0) != greedy


def test_so_does_it_in_a_conversation(model: Path) -> None:
    writes(model, {"top_k": 1})
    talks = []
    for settings in (ChatSettings(max_new_tokens=12), ChatSettings(max_new_tokens=12, seed=7)):
        talk = Conversation.open(model, settings)
        try:
            talks.append("".join(talk.say(PROMPT)))
        finally:
            talk.close()
    assert talks[0] == talks[1], "whatever the seed"


def test_one_that_does_not_sample_says_nothing_of_it(model: Path) -> None:
    plain = nw.generate(model, PROMPT, max_new_tokens=20)
    writes(model, {"top_k": 1, "do_sample": False})
    assert nw.generate(model, PROMPT, max_new_tokens=20) == plain


def test_what_no_text_can_be_written_with_is_refused_with_the_file(model: Path) -> None:
    writes(model, {"top_p": 1.5})
    with pytest.raises(UserError) as caught:
        nw.load(model)
    assert "generation_config.json" in str(caught.value.where) and "top_p" in str(caught.value)
