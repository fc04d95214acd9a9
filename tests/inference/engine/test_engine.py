from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nextword.errors import UserError
from nextword.inference.engine.engine import Engine, EngineStopped, QueueFull
from nextword.inference.engine.request import Finished, Token
from tests.inference.engine.conftest import Pair, answer, prompts, request

Serve = Callable[..., Engine]


def greedy_of_transformers(theirs: Any, prompt: list[int], count: int, **settings: Any) -> Any:
    ids = torch.tensor([prompt])
    return theirs.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        max_new_tokens=count,
        **settings,
    )[0, len(prompt) :].tolist()


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_greedy_texts_equal_those_of_transformers(
    pairs: dict[str, Pair], serve: Serve, name: str
) -> None:
    pair = pairs[name]
    engine = serve(pair.ours, slots=6, chunk=16)
    rows = prompts(3, 40, 1, 16, 17, 100, 64, 33, 5, 12)
    streams = [engine.submit(request(row, 20 + 3 * n)) for n, row in enumerate(rows)]
    for n, (row, stream) in enumerate(zip(rows, streams, strict=True)):
        theirs = greedy_of_transformers(pair.theirs, row, 20 + 3 * n)
        result = answer(stream)
        assert result.ids == theirs
        assert result.finished == Finished("length", len(row), 20 + 3 * n, 0)


@pytest.mark.parametrize(
    ("name", "quantize", "threads"),
    [("gpt2", "none", 2), ("gpt2", "int8", 1), ("llama", "none", 1), ("llama", "int8", 2)],
)
def test_text_alone_equals_the_text_among_63_others(
    pairs: dict[str, Pair], serve: Serve, name: str, quantize: str, threads: int
) -> None:
    """Tokens, their log-probabilities and the prompt's, to the last bit."""
    rows = prompts(*(1 + 7 * n % 90 for n in range(64)))
    requests = [
        request(row, 16, temperature=0.9 * (n % 4 == 3), seed=n, logprobs=3, prompt_logprobs=0)
        for n, row in enumerate(rows)
    ]
    options = {"quantize": quantize, "threads": threads}
    engine = serve(pairs[name].ours, slots=64, chunk=16, prefix_bytes=0, **options)
    assert engine.setup.least_rows is not None
    alone = [answer(engine.submit(asked)) for asked in requests]
    together = [answer(stream) for stream in [engine.submit(asked) for asked in requests]]
    assert together == alone


def test_a_prompt_that_begins_like_another_is_not_computed_again(
    pairs: dict[str, Pair], serve: Serve
) -> None:
    first, second = prompts(70, 30)
    engine = serve(pairs["qwen3"].ours, slots=4, chunk=16)
    fresh = serve(pairs["qwen3"].ours, slots=4, chunk=16)
    assert answer(engine.submit(request(first))).finished.cached_tokens == 0
    for prompt, cached in ((first[:50] + second, 48), (first, 64), (first[:64], 48)):
        asked = request(prompt, logprobs=2)
        again, new = answer(engine.submit(asked)), answer(fresh.submit(asked))
        assert again.finished.cached_tokens == cached
        assert again.tokens == new.tokens
        fresh.close()
        fresh = serve(pairs["qwen3"].ours, slots=4, chunk=16)
    assert engine.stats.cached_tokens == 48 + 64 + 48


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_log_probabilities_equal_those_of_transformers(
    pairs: dict[str, Pair], serve: Serve, name: str
) -> None:
    pair = pairs[name]
    engine = serve(pair.ours, chunk=16)
    for prompt in prompts(1, 45):
        result = answer(engine.submit(request(prompt, 10, logprobs=4, prompt_logprobs=4)))
        whole = torch.tensor([prompt + result.ids])
        with torch.no_grad():
            theirs = pair.theirs(whole).logits[0].log_softmax(-1)
        assert result.prompt is not None
        scored = [*result.prompt.tokens, *result.tokens]
        assert [token.id for token in scored] == whole[0].tolist()
        assert scored[0].logprob is None and scored[0].top is None
        for place, token in enumerate(scored[1:]):
            assert token.logprob == pytest.approx(float(theirs[place, token.id]), abs=1e-4)
            values, ids = theirs[place].topk(4)
            assert token.top is not None
            assert [i for i, _ in token.top] == ids.tolist()
            assert [value for _, value in token.top] == pytest.approx(values.tolist(), abs=1e-4)


def test_a_prompt_can_be_scored_without_an_answer(pairs: dict[str, Pair], serve: Serve) -> None:
    engine = serve(pairs["llama"].ours, chunk=64)
    full = prompts(256)[0]
    result = answer(engine.submit(request(full, prompt_logprobs=0, prompt_only=True)))
    assert result.tokens == []
    assert result.prompt is not None and len(result.prompt.tokens) == 256
    assert result.finished == Finished("length", 256, 0, 0)
    with pytest.raises(UserError, match="leaves no room"):
        engine.submit(request(full))


def test_a_text_ends_at_its_end_tokens_and_not_before_its_least_length(
    pairs: dict[str, Pair], serve: Serve
) -> None:
    engine = serve(pairs["llama"].ours)
    prompt = prompts(9)[0]
    free = answer(engine.submit(request(prompt, 30))).ids
    end = free[10]
    place = free.index(end)
    for kind, reason in (("end_ids", "end"), ("stop_token_ids", "stop")):
        result = answer(engine.submit(request(prompt, 30, **{kind: frozenset({end})})))
        assert result.ids == free[:place]
        assert result.finished == Finished(reason, 9, place, 0, end)  # type: ignore[arg-type]
    ends = frozenset({end})
    longer = answer(engine.submit(request(prompt, 30, end_ids=ends, min_tokens=25)))
    assert end not in longer.ids[:25] and len(longer.ids) >= 25


def test_the_context_is_the_last_limit(pairs: dict[str, Pair], serve: Serve) -> None:
    result = answer(serve(pairs["gpt2"].ours).submit(request(prompts(250)[0], 100)))
    assert result.finished == Finished("context", 250, 6, 0)


def test_penalties_and_biases_equal_those_of_transformers(
    pairs: dict[str, Pair], serve: Serve
) -> None:
    pair = pairs["llama"]
    engine = serve(pair.ours)
    for prompt in prompts(20, 7):
        free = answer(engine.submit(request(prompt, 30))).ids
        bias = {free[3]: -4.0, free[5]: -50.0, 7: 2.5}
        result = answer(engine.submit(request(prompt, 30, logit_bias=bias, repetition_penalty=1.3)))
        theirs = greedy_of_transformers(
            pair.theirs,
            prompt,
            30,
            sequence_bias={(token,): value for token, value in bias.items()},
            repetition_penalty=1.3,
        )
        assert result.ids == theirs != free


class Alternating:
    """Allows even tokens, then odd ones, in turn; complete after `length` tokens."""

    def __init__(self, vocab_size: int, length: int) -> None:
        self.vocab_size, self.length = vocab_size, length
        self.accepted: list[int] = []

    @property
    def is_finished(self) -> bool:
        return len(self.accepted) == self.length

    def allowed(self) -> torch.Tensor:
        return torch.arange(self.vocab_size) % 2 == len(self.accepted) % 2

    def accept(self, token: int) -> None:
        self.accepted.append(token)


class Failing(Alternating):
    def allowed(self) -> torch.Tensor:
        raise ValueError("the grammar took too long")


def test_a_constraint_is_kept_and_ends_the_text(pairs: dict[str, Pair], serve: Serve) -> None:
    engine = serve(pairs["qwen3"].ours)
    size = pairs["qwen3"].ours.tokenizer.vocab_size
    prompt = prompts(12)[0]
    free = engine.submit(request(prompt))
    failing = engine.submit(request(prompt, constraint=Failing(size, 5)))
    result = answer(engine.submit(request(prompt, constraint=Alternating(size, 9))))
    assert [token % 2 for token in result.ids] == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert result.finished.reason == "end"
    assert len(answer(free).ids) == 24  # a constraint that fails is its own request's matter
    with pytest.raises(ValueError, match="took too long"):
        list(failing)
    assert engine.stats.alive


def test_a_cancelled_request_stops_within_two_steps_and_gives_its_slot_back(
    pairs: dict[str, Pair], serve: Serve
) -> None:
    engine = serve(pairs["llama"].ours, slots=2)
    steps_after = []
    for prompt in prompts(*[5] * 40):
        stream = engine.submit(request(prompt, 240))
        assert isinstance(stream.get(30), Token)
        stream.cancel()
        steps = engine.stats.steps
        events = list(stream)
        steps_after.append(engine.stats.steps - steps)
        assert isinstance(events[-1], Finished) and events[-1].reason == "cancelled"
    assert max(steps_after) <= 2
    wait_until(lambda: engine.stats.running == 0)
    assert engine.stats.cancelled == 40
    assert answer(engine.submit(request(prompts(4)[0], 5))).finished.reason == "length"


def test_a_full_queue_refuses_and_a_higher_priority_is_served_first(
    pairs: dict[str, Pair], serve: Serve
) -> None:
    engine = serve(pairs["llama"].ours, slots=1, max_queue=3)
    gate = threading.Event()
    job = engine.run(lambda model: gate.wait(30))
    wait_until(job.running)
    order: list[int] = []
    streams = []
    for priority in (0, 0, 1, 5):
        streams.append(engine.submit(request(prompts(4)[0], 5, priority=priority)))
        streams[-1].on_event(
            lambda event, p=priority: order.append(p) if isinstance(event, Finished) else None
        )
    with pytest.raises(QueueFull, match="4 requests are waiting"):
        engine.submit(request(prompts(4)[0]))
    gate.set()
    wait_until(lambda: len(order) == 4)
    assert order == [5, 1, 0, 0]


def test_jobs_run_between_steps_and_their_errors_are_their_own(
    pairs: dict[str, Pair], serve: Serve
) -> None:
    engine = serve(pairs["llama"].ours)
    stream = engine.submit(request(prompts(4)[0], 200))
    assert engine.run(lambda model: model.name).result(30) == "llama"
    with pytest.raises(ZeroDivisionError):
        engine.run(lambda model: 1 // 0).result(30)
    assert len(answer(stream).ids) == 200


def test_a_dead_engine_is_seen_and_nobody_waits_for_it(
    pairs: dict[str, Pair], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = serve(pairs["gpt2"].ours)
    stream = engine.submit(request(prompts(4)[0], 200))
    assert isinstance(stream.get(30), Token)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("nextword.inference.engine.batch.choose", broken)
    waiting = engine.submit(request(prompts(4)[0]))
    for each in (stream, waiting):
        with pytest.raises(EngineStopped, match="out of memory"):
            list(each)
    assert not engine.stats.alive
    assert isinstance(engine.stats.error, RuntimeError)
    for attempt in (lambda: engine.submit(request([1])), lambda: engine.run(lambda model: None)):
        with pytest.raises(EngineStopped, match="out of memory"):
            attempt()


def test_closing_ends_what_is_served(pairs: dict[str, Pair], serve: Serve) -> None:
    engine = serve(pairs["gpt2"].ours, slots=1)
    streams = [engine.submit(request(prompts(4)[0], 240)) for _ in range(3)]
    streams[0].get(30)
    engine.close()
    assert {answer(stream).finished.reason for stream in streams} == {"cancelled"}
    assert not engine.stats.alive
    with pytest.raises(EngineStopped, match="closed"):
        engine.submit(request([1]))


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)
