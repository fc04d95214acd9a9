"""What an answer must look like: a JSON schema, a regular expression or a grammar.

llguidance tells after each token which may come next. A text that must end well ends within the
tokens it has: shortly before they are used up it is led to its end.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import llguidance
import numpy as np
import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.serving.ending import Endings
from nextword.tokens.control_tokens import hide_control_tokens, to_json
from nextword.tokens.tokenizer import Tokenizer

# Between the parts of JSON: a space, or a line's end and what the next one is indented by.
SPACE = r"( |\n[ \t]{0,20})?"
JSON_OPTIONS: Any = {"whitespace_flexible": True, "whitespace_pattern": SPACE}
SECONDS = 30.0  # of computing which tokens may come, in one answer
MOST_GROWTH = 48  # tokens that one more may make the shortest ending longer, more or less
UNENDED = 16  # tokens until another ending is looked for, where none was found
LIMITS = llguidance.LLParserLimits(verbose_errors=False)


class Grammars:
    """Compiles what answers of one model must look like."""

    def __init__(self, tokenizer: Tokenizer, end_ids: Collection[int]) -> None:
        """Raises UserError for a tokenizer of a kind that llguidance does not know."""
        self.size, self.end_ids = tokenizer.vocab_size, sorted(end_ids)
        # Where a text holds the name of a control token, llguidance would take that token.
        hidden = to_json(hide_control_tokens(json.loads(tokenizer.definition)))
        self.is_text = torch.ones(self.size, dtype=torch.bool)
        self.is_text[[*tokenizer.special_ids, *self.end_ids]] = False
        try:
            self._tokenizer = llguidance.LLTokenizer(
                hidden, n_vocab=self.size, eos_token=self.end_ids
            )
        except Exception as error:
            what = f"answers cannot be held to a form with this tokenizer ({_brief(error)})"
            raise UserError(what) from None
        self.endings = Endings([tokenizer.token_bytes(id) for id in range(self.size)])

    def schema(self, schema: dict[str, Any]) -> llguidance.LLMatcher:
        """Compile a JSON schema. This and the others raise UserError for one that is wrong, or is
        too much."""
        text = json.dumps(schema)
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(text, defaults=JSON_OPTIONS)
        except ValueError as error:
            raise UserError(f"the schema cannot be used ({_brief(error)})") from None
        return self._compiled(grammar)

    def regex(self, pattern: str) -> llguidance.LLMatcher:
        """Compile a regular expression, which the whole answer matches."""
        return self._compiled(llguidance.LLMatcher.grammar_from_regex(pattern))

    def lark(self, grammar: str) -> llguidance.LLMatcher:
        """Compile a grammar in Lark's notation, of which `start` is the answer."""
        return self._compiled(llguidance.LLMatcher.grammar_from_lark(grammar))

    def _compiled(self, grammar: str) -> llguidance.LLMatcher:
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise UserError(
                f"the form of the answer cannot be used ({_brief(matcher.get_error())})"
            )
        return matcher


@dataclass
class Form:
    """The form of one answer, which has at most `room` tokens; the engine's Constraint. `hurried`
    tells whether it was led to its end because of that."""

    grammars: Grammars
    matcher: llguidance.LLMatcher
    room: int

    def __post_init__(self) -> None:
        self.hurried = self._ended = False
        self._seconds = 0.0
        self._plan: list[int] = []  # tokens that end the text
        shortest = self.grammars.endings.shortest(self.matcher, self.room)
        self._growth = MOST_GROWTH
        self._checked = self.room  # tokens left at which the next ending is looked for
        if shortest is not None:
            self._growth = min(len(shortest), MOST_GROWTH) + 8
            self._checked = self._next_check(self.room, len(shortest))

    @property
    def is_finished(self) -> bool:
        return self._ended or self.matcher.is_stopped()

    def allowed(self) -> Tensor:
        """Return which tokens may come next, bool [vocabulary].

        Raises UserError where that takes too long.
        """
        begun = time.perf_counter()
        if not self._plan and self.room <= self._checked:
            self._look_ahead()
        if self._plan:
            mask = torch.zeros(self.grammars.size, dtype=torch.bool)
            mask[self._plan[0]] = True
        else:
            bits = np.frombuffer(self.matcher.compute_bitmask(), np.uint8)
            allowed = np.unpackbits(bits, bitorder="little")[: self.grammars.size]
            mask = torch.from_numpy(allowed.astype(np.bool_)) & self.grammars.is_text
            if self.matcher.is_accepting():
                mask[self.grammars.end_ids] = True
        self._seconds += time.perf_counter() - begun
        if self.matcher.is_error():
            raise UserError(f"the form is too much for this answer ({_brief(self._error)})")
        if self._seconds > SECONDS:
            raise UserError(f"the form of the answer takes more than {SECONDS:g} seconds to keep")
        return mask

    def accept(self, token: int) -> None:
        """Go on to the text with this token."""
        self.room -= 1
        self.matcher.consume_token(token)
        if self._plan:
            self._plan.pop(0)
            self._ended = not self._plan

    def _look_ahead(self) -> None:
        ending = self.grammars.endings.shortest(self.matcher, self.room)
        if not ending:
            self._checked = self.room - UNENDED
        elif self.room <= len(ending) + self._growth:
            self._plan, self.hurried = ending, True
        else:
            self._checked = self._next_check(self.room, len(ending))

    def _next_check(self, room: int, ending: int) -> int:
        """Return at how many tokens left an ending must be looked for, if each token until then
        made the ending as much longer as it can."""
        spare = room - ending - self._growth
        return room - max(spare // (self._growth + 1), 1)

    @functools.cached_property
    def _error(self) -> str:
        return self.matcher.get_error()


def _brief(error: object) -> str:
    return " ".join(str(error).split())[:300]
