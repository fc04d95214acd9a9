from __future__ import annotations

import random

import pytest

from nextword.errors import UserError
from nextword.inference.text_stream import StopFilter, TextStream
from nextword.tokens.tokenizer_training import byte_tokenizer


def pass_through(text: str, stops: list[str], cuts: list[int]) -> str:
    stop_filter = StopFilter(stops)
    shown = ""
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        shown += stop_filter.feed(text[start:end])
    return shown + stop_filter.flush()


def test_text_ends_before_the_first_stop_string_however_it_is_cut() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        text = "".join(rng.choices("ab语\n", k=rng.randrange(12)))
        stops = ["".join(rng.choices("ab语\n", k=rng.randrange(1, 5))) for _ in range(3)]
        cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randrange(6)))
        shown = pass_through(text, stops, cuts)
        # What stops a stream is the stop string that is complete first.
        ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
        if not ends:
            assert shown == text
        else:
            assert text.startswith(shown)
            assert not any(stop in shown for stop in stops)
            assert any(text.startswith(stop, len(shown)) for stop in stops)


def test_what_may_begin_a_stop_string_is_held_back_and_given_out_when_it_does_not() -> None:
    stop_filter = StopFilter(["</end>"])
    assert stop_filter.feed("one <") == "one "
    assert stop_filter.feed("/en") == ""
    assert stop_filter.feed("try>") == "</entry>"
    assert stop_filter.feed("x</end>y") == "x"
    assert stop_filter.stopped
    assert stop_filter.feed("more") == stop_filter.flush() == ""


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        StopFilter(["\n", ""])


def test_it_is_known_which_tokens_have_their_text_given_out() -> None:
    tokenizer = byte_tokenizer()
    written = TextStream(tokenizer, tokenizer.encode("x"), ["stop"])
    ends = []
    for token in tokenizer.encode("座st"):
        written.feed(token)
        ends.append((written.decoded, written.shown))
    assert ends == [(0, 0), (0, 0), (1, 1), (2, 1), (3, 1)]
    assert written.flush() == "st" and written.shown == 3
