from __future__ import annotations

from nextword.inference.engine.request import Finished, Token
from nextword.inference.engine.tuning import prepare
from nextword.inference.engine.writing import ROWS_AT_ONCE, Writing
from tests.inference.engine.conftest import Pair, prompts, request


def written(writing: Writing) -> dict[int, list[int]]:
    texts: dict[int, list[int]] = {}
    for number, event in writing.events():
        if isinstance(event, Token):
            texts.setdefault(number, []).append(event.id)
    return texts


def test_more_requests_than_rows_are_written_as_each_is_alone(pairs: dict[str, Pair]) -> None:
    model = pairs["llama"].ours
    served = prepare(model.transformer, model.tokenizer, "none", 1, exact=True)
    asked = [
        request(prompt, 5 + number % 7, temperature=float(number % 2), sample=number)
        for number, prompt in enumerate(prompts(*range(1, ROWS_AT_ONCE + 9)))
    ]
    together = written(Writing(served, asked))
    for number, one in enumerate(asked):
        assert written(Writing(served, [one])) == {0: together[number]}


def test_the_place_of_a_stopped_request_goes_to_the_next(pairs: dict[str, Pair]) -> None:
    model = pairs["gpt2"].ours
    served = prepare(model.transformer, model.tokenizer, "none", 1, exact=True)
    endless = request([1, 2, 3], 200)
    writing = Writing(served, [endless] * ROWS_AT_ONCE + [request([4], 3)])
    seen: set[int] = set()
    for number, event in writing.events():
        seen.add(number)
        if number < ROWS_AT_ONCE:
            assert isinstance(event, Token)
            writing.stop(number)
        elif isinstance(event, Finished):
            assert event.reason == "length" and event.generated_tokens == 3
    assert seen == set(range(ROWS_AT_ONCE + 1))
