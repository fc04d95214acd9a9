"""Ollama's Modelfile: how conversations are written, and where an answer stops.

Ollama makes neither of a GGUF file's own template, which is Jinja: its templates are Go's. So the
model's template is rendered with marks in the place of what people say, and what stands between the
marks is put into a Go template. Of a template that cannot be written so it is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nextword.errors import UserError
from nextword.tasks.generate.chat_template import MARKED, ChatTemplate
from nextword.tasks.generate.rendering import Renderer
from nextword.tokens.tokenizer import Tokenizer

ALONE = "{{ .Prompt }}"  # for a model that has learned no conversations
U, A, S = "user", "assistant", "system"
SHAPES: list[tuple[tuple[str, ...], bool]] = [
    ((U,), False),
    ((U,), True),
    ((U, A), False),
    ((U, A, U), False),
]


@dataclass(frozen=True)
class Turns:
    """What stands before and after each turn of a conversation. Without a system message it begins
    with `default`; with `system` None there can be none."""

    default: str
    system: tuple[str, str] | None
    user: tuple[str, str]
    assistant: tuple[str, str]


def modelfile(
    gguf: Path, tokenizer: Tokenizer, end_ids: Sequence[int], context: int, template: str = ""
) -> tuple[str, str]:
    """Return the text of a Modelfile, and what it could not say ("" for nothing).

    `template` is the Jinja template of conversations, "" for none.
    """
    stops = [tokenizer.id_to_token(id) or "" for id in end_ids]
    go, system, problem = ALONE, "", ""
    if template:
        try:
            turns = read_turns(tokenizer, template)
            go, system = go_template(turns, _begin(tokenizer))
            stops += _tokens_around(tokenizer, turns)
        except UserError as error:
            problem = f"Ollama's template could not be made of the model's own: {error.what}"
    lines = [f"FROM ./{gguf.name}", f"TEMPLATE {_quoted(go)}"]
    lines += [f"SYSTEM {_quoted(system)}"] if system else []
    stops = [stop for stop in dict.fromkeys(stops) if stop]
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops]
    lines.append(f"PARAMETER num_ctx {context}")
    return "\n".join(lines) + "\n", problem


def read_turns(tokenizer: Tokenizer, template: str) -> Turns:
    """Return what a template writes around each turn. Raises UserError for one that does not write
    all turns of a role alike."""
    renderer = Renderer(template, ChatTemplate(tokenizer, template).variables())
    one, asked, two, three = map(_between, renderer.render(SHAPES))
    if (len(one), len(asked), len(two), len(three)) != (2, 2, 3, 4):
        raise UserError("it leaves out turns, or writes them twice")
    after_user, after_answer = one[1], two[2]
    before_answer = _after(two[1], after_user)
    before_user = _after(three[2], after_answer)
    turns = Turns(
        _before(one[0], before_user),
        _read_system(renderer, before_user),
        (before_user, after_user),
        (before_answer, after_answer),
    )
    if three != [one[0], two[1], after_answer + before_user, after_user]:
        raise UserError("it writes the turns of a conversation in different ways")
    if asked[1] != after_user + before_answer:
        raise UserError("it asks for an answer otherwise than it writes one")
    return turns


def go_template(turns: Turns, begin: str) -> tuple[str, str]:
    """Return a template for Ollama, and the system message that stands where there is none.

    The text of the token `begin`, which llama.cpp adds by itself, is left out. Raises UserError for
    conversations that begin with other words than a system message.
    """
    default, system, parts = turns.default.removeprefix(begin), "", ""
    if turns.system is not None:
        before, after = turns.system[0].removeprefix(begin), turns.system[1]
        if len(default) > len(before + after):
            system = _before(_after(default, before), after)
            default = ""
        parts = (
            f"{{{{ if .System }}}}{_literal(before)}{{{{ .System }}}}{_literal(after)}{{{{ end }}}}"
        )
    if default:
        raise UserError("it begins conversations with words that are no system message")
    (before_user, after_user), (before_answer, after_answer) = turns.user, turns.assistant
    parts += f"{{{{ if .Prompt }}}}{_literal(before_user)}{{{{ .Prompt }}}}{_literal(after_user)}"
    parts += f"{{{{ end }}}}{_literal(before_answer)}{{{{ .Response }}}}{_literal(after_answer)}"
    return parts, system


def _read_system(renderer: Renderer, before_user: str) -> tuple[str, str] | None:
    try:
        found = _between(renderer.render([((S, U), False)])[0])
    except UserError:  # it takes no system message
        return None
    if len(found) != 3:
        return None
    return found[0], _before(found[1], before_user)


def _tokens_around(tokenizer: Tokenizer, turns: Turns) -> list[str]:
    """Return the control tokens that begin and end turns: an answer holds none of them."""
    around = turns.user[0] + turns.assistant[0] + turns.assistant[1]
    names = (tokenizer.id_to_token(id) for id in sorted(tokenizer.special_ids))
    return [name for name in names if name and name in around]


def _begin(tokenizer: Tokenizer) -> str:
    """Return the token that llama.cpp puts before a text, "" for none."""
    return "".join(tokenizer.id_to_token(id) or "" for id in tokenizer.frame().before)


def _between(text: str) -> list[str]:
    """Return what a rendered conversation has before, between and after the marks."""
    return re.sub(MARKED, "\0", text).split("\0")


def _after(text: str, start: str) -> str:
    if not text.startswith(start):
        raise UserError("it writes the turns of a conversation in different ways")
    return text[len(start) :]


def _before(text: str, end: str) -> str:
    if not text.endswith(end):
        raise UserError("it writes the turns of a conversation in different ways")
    return text[: len(text) - len(end)]


def _quoted(text: str) -> str:
    """Return a text as a Modelfile has it, over several lines."""
    if '"""' in text or text.endswith('"'):
        raise UserError('a template with """ in it cannot stand in a Modelfile')
    return f'"""{text}"""'


def _literal(text: str) -> str:
    """Return text that a Go template leaves as it is."""
    return text.replace("{{", '{{ "{{" }}')
