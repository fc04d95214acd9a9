"""Conversations as ids: a tokenizer's own template, ChatML, or plain text with names.

Templates are Jinja, as transformers keeps them in tokenizer_config.json, and come from anyone: they
are rendered in jinja2's sandbox, in a process of its own with bounds on time and memory. They never
see what people wrote, only marks in its place, so that no text becomes a control token or an
instruction of the template. Contents are encoded apart and put where the marks came out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nextword.errors import UserError
from nextword.hub.tensor_files import inside
from nextword.tasks.generate.messages import ROLES, Message
from nextword.tasks.generate.rendering import MARK, Renderer
from nextword.tokens.tokenizer import Tokenizer

TEMPLATE = "chat_template"
KEPT = 1024  # shapes of conversations, and texts of templates, that are remembered
MARKED = re.compile(f"{MARK}(\\d+){MARK}")

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GAP = '{{ "\\n\\n" }}'  # Jinja drops a line's end after a block
NAMES = {
    "en": {"system": "System:", "user": "User:", "assistant": "Assistant:"},
    "zh": {"system": "系统：", "user": "用户：", "assistant": "助手："},
}


@dataclass(frozen=True)
class Conversation:
    """`turns` says where the ids of each message's content begin and end; the end of what the
    assistant says is after the token that ends its turn."""

    ids: list[int]
    turns: dict[int, tuple[int, int]]  # message number: begin, end


def plain_template(start: str, end: str, spoken: str) -> str:
    """For tokenizers without tokens for turns: names on lines of their own, answers ended by the
    end token, and a start token at the very beginning."""
    names = NAMES["zh" if spoken == "zh" else "en"]
    said = "".join(
        f"{{% {'if' if role == 'system' else 'elif'} message.role == '{role}' %}}"
        f"{names[role]}\n{{{{ message.content }}}}{_quoted(end) if role == 'assistant' else _GAP}"
        for role in ROLES
    )
    return (
        f"{_quoted(start)}{{% for message in messages %}}{said}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{names['assistant']}\n{{% endif %}}"
    )


def _quoted(name: str) -> str:
    return "{{ " + json.dumps(name, ensure_ascii=False) + " }}"


def choose_template(tokenizer: Tokenizer, start_id: int, spoken: str) -> str:
    """The tokenizer's own template; else ChatML where it has the tokens, else a plain one."""
    if own := own_template(tokenizer):
        return own
    names = control_names(tokenizer)
    if {"<|im_start|>", "<|im_end|>"} <= set(names.values()):
        return CHATML
    return plain_template(names.get(start_id, ""), names[tokenizer.end_id], spoken)


def _beside(tokenizer: Tokenizer) -> str:
    """The template in a file of its own, which transformers writes since 4.5x, and prefers."""
    if tokenizer.where is None:
        return ""
    file = inside(Path(tokenizer.where).parent, f"{TEMPLATE}.jinja")
    try:
        return file.read_text(encoding="utf-8") if file.is_file() else ""
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 at byte {error.start}", where=file) from None


def has_template(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer says how conversations are written."""
    return bool(_beside(tokenizer) or tokenizer.config.get(TEMPLATE))


def own_template(tokenizer: Tokenizer) -> str:
    """The template that a tokenizer has itself; "" where it has none."""
    own = _beside(tokenizer) or tokenizer.config.get(TEMPLATE)
    if isinstance(own, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in own}
        own = named.get("default") or next(iter(named.values()), None)
    return own if isinstance(own, str) and own.strip() else ""


def with_template(tokenizer: Tokenizer, template: str) -> Tokenizer:
    """The same tokenizer, which says in its tokenizer_config.json how conversations are written."""
    config = tokenizer.config | {TEMPLATE: template}
    return Tokenizer(tokenizer.definition, config, where=tokenizer.where)


def control_names(tokenizer: Tokenizer) -> dict[int, str]:
    """What each control token is called in templates."""
    return {
        number: tokenizer.decode([number], skip_special=False) for number in tokenizer.special_ids
    }


class ChatTemplate:
    """A template with the tokenizer it is for."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self.tokenizer, self.template = tokenizer, template
        self._controls = {name: number for number, name in control_names(tokenizer).items()}
        names = sorted(filter(None, self._controls), key=len, reverse=True)
        self._cut = re.compile("|".join([MARKED.pattern, *map(re.escape, names)]))
        self._renderer = Renderer(template, self.variables())
        self._rendered: dict[tuple[tuple[str, ...], bool], str] = {}
        self._literal: dict[str, list[int]] = {}

    def prepare(self, shapes: Iterable[tuple[Sequence[str], bool]]) -> None:
        """Render these shapes at once, and remember them: (roles, whether an answer is asked
        for)."""
        wanted = dict.fromkeys((tuple(roles), asks) for roles, asks in shapes)
        missing = [shape for shape in wanted if shape not in self._rendered]
        if missing:
            texts = self._renderer.render(missing)
            self._rendered |= dict(zip(missing, texts, strict=True))

    def encode(self, messages: Sequence[Message], *, asks: bool = False) -> Conversation:
        """Ids of a conversation; with `asks` up to where the assistant is to go on.

        Raises UserError where the template leaves out what the assistant says.
        """
        shape = (tuple(message.role for message in messages), asks)
        text, ids, turns = self._render(shape), list[int](), dict[int, tuple[int, int]]()
        begun: int | None = None  # the assistant's turn that has not ended yet
        end = 0
        for match in [*self._cut.finditer(text), None]:
            ids += self._text(text[end : match.start() if match else len(text)])
            if match is None:
                break
            end = match.end()
            if match.group(1) is None:
                ids.append(self._controls[match.group()])
                if begun is not None:
                    turns[begun] = (turns[begun][0], len(ids))
                    begun = None
                continue
            number = int(match.group(1))
            content = self.tokenizer.encode(messages[number].content)
            turns[number] = (len(ids), len(ids) + len(content))
            ids += content
            begun = number if messages[number].role == "assistant" else None
        if begun is not None:  # the template has no token for the end of a turn
            ids.append(self.tokenizer.end_id)
            turns[begun] = (turns[begun][0], len(ids))
        for number, message in enumerate(messages):
            if message.role == "assistant" and number not in turns:
                raise UserError(
                    f"the model's chat template leaves out message {number + 1}, an answer",
                    mend="mend chat_template in its tokenizer_config.json",
                )
        return Conversation(ids, turns)

    def end_ids(self) -> frozenset[int]:
        """What an answer ends with."""
        two = self.encode([Message("user", "?"), Message("assistant", "!")])
        last = two.ids[two.turns[1][1] - 1]
        ends = {last} if last in self.tokenizer.special_ids else set()
        return frozenset(ends | {self.tokenizer.end_id})

    def _render(self, shape: tuple[tuple[str, ...], bool]) -> str:
        text = self._rendered.get(shape)
        if text is None:
            (text,) = self._renderer.render([shape])
            if len(self._rendered) < KEPT:
                self._rendered[shape] = text
        return text

    def _text(self, text: str) -> list[int]:
        ids = self._literal.get(text)
        if ids is None:
            ids = self.tokenizer.encode(text)
            if len(self._literal) < KEPT:
                self._literal[text] = ids
        return ids

    def variables(self) -> dict[str, str]:
        """Return the names of the tokenizer's tokens that a template may use."""
        found = {}
        for role in ("bos_token", "eos_token", "pad_token", "unk_token"):
            named = self.tokenizer.config.get(role)
            named = named.get("content") if isinstance(named, Mapping) else named
            if isinstance(named, str):
                found[role] = named
        return found
