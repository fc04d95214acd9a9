from __future__ import annotations

import openai
import pytest
from support.servers import client


def test_models_and_what_they_can_do_are_listed(address: str, talking: str) -> None:
    (model,) = client(address).models.list().data
    assert model.id == "tiny" and model.model_extra is not None
    assert model.model_extra["abilities"] == ["completions", "embeddings"]
    assert model.model_extra["max_model_len"] == 256 and model.model_extra["is_open"]
    found = client(talking).models.retrieve("tiny")
    assert found.model_extra is not None
    assert found.model_extra["abilities"] == ["completions", "chat", "embeddings"]
    with pytest.raises(openai.NotFoundError, match="'other'"):
        client(address).models.retrieve("other")
