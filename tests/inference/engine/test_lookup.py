from __future__ import annotations

import random
from collections.abc import Callable

from nextword.inference.engine.engine import Engine
from nextword.inference.engine.lookup import AHEAD, PAUSE, Lookup
from tests.inference.engine.conftest import Pair, answer, prompts, request

Serve = Callable[..., Engine]


def test_what_followed_the_same_tokens_before_is_guessed() -> None:
    lookup = Lookup([1, 2, 3, 4, 5, 6, 9, 1, 2, 3], 1.5)
    assert lookup.guess() == [4, 5, 6]
    lookup.add(7)
    assert lookup.guess() == []
    for token in (1, 2, 3):
        lookup.add(token)
    assert lookup.guess() == [7, 1, 2]  # the latest occurrence


def test_guessing_pauses_where_it_does_not_pay() -> None:
    lookup = Lookup([1, 2, 3] * 4, 1.5)
    tries = 0
    while lookup.guess():
        lookup.judge(1)
        tries += 1
    assert 5 < tries < 50
    for place in range(PAUSE):
        assert lookup.guess() == []
        lookup.add((1, 2, 3)[place % 3])
    assert len(lookup.guess()) == AHEAD
    assert Lookup([1, 2, 3] * 4, 4.0).guess() == []


def test_texts_and_scores_are_those_without_guessing(pairs: dict[str, Pair], serve: Serve) -> None:
    """To the last bit; among others nothing is guessed."""
    rng = random.Random(2)
    piece = prompts(12)[0]
    row = piece * 4
    for name in ("gpt2", "llama", "qwen3"):
        engine = serve(pairs[name].ours, slots=8, prefix_bytes=0)
        object.__setattr__(engine.setup, "lookup_cost", 1.0)  # whatever it costs here
        for settings in (
            {"temperature": 0.0},
            {"temperature": 0.7, "seed": rng.randrange(100)},
            {"temperature": 0.0, "logit_bias": dict.fromkeys(piece, 60.0)},
            {"temperature": 1.0, "logit_bias": dict.fromkeys(piece[:3], 60.0)},
        ):
            asked = request(row, 60, logprobs=2, **settings)
            before = engine.stats.looked_up
            alone = answer(engine.submit(asked))
            guessed = engine.stats.looked_up
            first, *_ = [answer(s) for s in [engine.submit(asked) for _ in range(3)]]
            assert first == alone
            assert len(alone.ids) == 60
            if "logit_bias" in settings and settings["temperature"]:
                assert guessed > before
