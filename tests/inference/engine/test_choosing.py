from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from nextword.inference.engine.batch import Batch
from nextword.inference.engine.engine import Engine
from nextword.inference.engine.slots import WIDTH
from tests.inference.engine.conftest import Pair, answer, prompts, request

READING = ("tolist", "item", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__")


def test_a_step_waits_for_the_device_once_whatever_is_asked_for(
    pairs: dict[str, Pair], serve: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading numbers from a GPU waits until it is done with all that it was given."""
    engine = serve(pairs["llama"].ours, slots=8)
    read: list[str] = []
    steps: list[list[str]] = []

    def noting(name: str) -> Callable[..., Any]:
        method = getattr(torch.Tensor, name)

        def noted(*arguments: Any, **named: Any) -> Any:
            read.append(name)
            return method(*arguments, **named)

        return noted

    decode = Batch.decode

    def counted(batch: Batch) -> int:
        read.clear()
        count = decode(batch)
        steps.append(list(read))
        return count

    for name in READING:
        monkeypatch.setattr(torch.Tensor, name, noting(name))
    monkeypatch.setattr(Batch, "decode", counted)
    asked = [
        request(prompts(5)[0]),
        request(prompts(9)[0], temperature=0.7, top_k=20, top_p=0.9),
        request(prompts(7)[0], temperature=1.1, min_p=0.1, logprobs=3),
        request(prompts(8)[0], logprobs=5, repetition_penalty=1.2),
        request(prompts(6)[0], logit_bias={4: 2.0}, min_tokens=9, end_ids=frozenset({1})),
    ]
    streams = [engine.submit(each) for each in asked]
    for stream in streams:
        answer(stream)
    assert len(steps) > 20
    assert {tuple(each) for each in steps} == {("tolist",)}


def test_prompts_that_fit_into_one_chunk_are_read_in_one_pass(
    pairs: dict[str, Pair], serve: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = serve(pairs["gpt2"].ours, slots=8, chunk=WIDTH)
    passes: list[int] = []
    prefill = Batch.prefill

    def counted(batch: Batch) -> tuple[int, int]:
        passes.append(len(batch.rows) - batch.decoding)
        return prefill(batch)

    monkeypatch.setattr(Batch, "prefill", counted)
    begun = engine.run(lambda model: [engine.submit(request(row, 4)) for row in prompts(*[8] * 8)])
    for stream in begun.result():
        assert len(answer(stream).ids) == 4
    assert passes == [8]
