"""Messages of conversations, as data sets write them.

OpenAI's have a "role" and "content", ShareGPT's "from" and "value", those of OpenAssistant a role
and "text"; some data sets hold a question with its answer in each turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError, nearest
from nextword.text.cells import read_value
from nextword.text.columns import holds

ROLES = ("system", "user", "assistant")
ROLE_OF = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "bing", "bard", "model"), "assistant"),
}
TOOL_ROLES = ("tool", "function", "function_call", "tool_call", "observation", "ipython")
TOOL_CALLS = ("tool_calls", "function_call")
ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value", "text")
WEIGHT_KEYS = (
    *("weight", "train", "training", "trainable", "train_on_turn", "learn", "loss"),
    *("loss_mask", "loss_weight"),
)
MASK_KEYS = ("mask", "masked", "is_masked")  # some mean: to be learned, and some the opposite
TEXT_PARTS = (None, "text", "input_text", "output_text")
WITHOUT_TOOLS = "remove these turns, or write as text what the user and the assistant say in them"
_MESSAGES_AS_TEXT = re.compile(r"\[?\s*\{\s*(['\"])(?:role|from|content|value)\1\s*:")
_FLAGS = {"0": False, "1": True, "false": False, "true": True}


@dataclass(frozen=True)
class Message:
    """What one side says; `learned` is False where an answer is to be read and not learned."""

    role: str
    content: str
    learned: bool = True


Talk = list[Message]


def is_message(value: Any) -> bool:
    """Whether a value is built like a message, whatever its role."""
    return isinstance(value, Mapping) and (
        any(isinstance(value.get(key), str) for key in ROLE_KEYS) or _is_exchange(value)
    )


def are_messages(value: Any) -> bool:
    """Whether a value is built like a list of messages."""
    return isinstance(value, list) and bool(value) and is_message(value[0])


def messages_in(value: Any, place: str) -> Any:
    """Return the list of messages that a value is, or holds as text; None for any other text.

    Raises UserError, with the place, for such text that is damaged.
    """
    if isinstance(value, str) and _MESSAGES_AS_TEXT.match(value.lstrip()):
        value = parse_text(value, place)
        if isinstance(value, str):
            what = "holds messages as text that is cut off or damaged"
            raise UserError(what, where=place, mend="write them as JSON")
    value = [value] if is_message(value) else value
    return value if are_messages(value) else None


def parse_text(value: Any, place: str) -> Any:
    """Return the list or object that a cell of a table holds as text; any other value as it is, a
    call such as `set([1])` too. Raises UserError, with the place, for one that is damaged."""
    is_printed = isinstance(value, str) and value.lstrip().startswith(("[", "{"))
    return read_value(value, place) if is_printed else value


def read_messages(
    value: Any, place: str, column: str = "messages", unused: set[str] | None = None
) -> Talk:
    """Return the messages in a list, which may be held as text.

    Keys that hold something and are not read are put in `unused` as "messages.key", by the name of
    the `column`. Raises UserError, with the place, for what is no conversation of texts, and for
    calls of tools.
    """
    value = _turned(parse_text(value, place), place)
    if not isinstance(value, list) or not value:
        raise UserError(
            "messages are not a list", where=place, mend="give role and content of each"
        )
    keys = set[str]()
    talk = [
        message
        for number, item in enumerate(value, start=1)
        for message in _read_item(item, f"message {number}", place, keys)
    ]
    if unused is not None:
        unused |= {f"{column}.{key}" for key in keys}
    return talk


def _turned(value: Any, place: str) -> Any:
    """Return messages that are one object of lists, as Parquet may hold them, as a list."""
    if not isinstance(value, Mapping) or not all(isinstance(part, list) for part in value.values()):
        return value
    if len({len(part) for part in value.values()}) > 1:
        raise UserError(
            f"messages are lists of different lengths: {', '.join(map(str, value))}",
            where=place,
            mend="give as many roles as contents",
        )
    return [dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=True)]


def _read_item(item: Any, name: str, place: str, unused: set[str]) -> Iterator[Message]:
    if not isinstance(item, Mapping) or not is_message(item):
        raise UserError(f"{name} has no role", where=place)
    if any(holds(item.get(key)) for key in TOOL_CALLS):
        raise UserError(
            f"{name} calls a tool, which is not learned", where=place, mend=WITHOUT_TOOLS
        )
    if _is_exchange(item):
        sides = {ROLE_OF[key.lower()]: key for key in item if _is_side(key) and holds(item[key])}
        unused |= {key for key, value in item.items() if not _is_side(key) and holds(value)}
        for role in ROLES:
            if role in sides:
                yield Message(role, _read_content(item[sides[role]], name, place, unused))
        return
    role_key = next(key for key in ROLE_KEYS if isinstance(item.get(key), str))
    role = _read_role(item[role_key], name, place)
    roles = {ROLE_OF.get(str(item.get(key)).strip().lower(), role) for key in ROLE_KEYS}
    if len(roles) > 1:
        said = " and ".join(f"{key} {item[key]!r}" for key in ROLE_KEYS)
        raise UserError(f"{name} contradicts itself: it has {said}", where=place, mend="mend it")
    text_key = next((key for key in TEXT_KEYS if holds(item.get(key))), None)
    text_key = text_key or next((key for key in TEXT_KEYS if key in item), TEXT_KEYS[0])
    content = _read_content(item.get(text_key), name, place, unused)
    learned = _is_learned(item, role, name, place, unused)
    known = {role_key, text_key, *WEIGHT_KEYS}
    unused |= {str(key) for key, value in item.items() if key not in known and holds(value)}
    yield Message(role, content, learned)


def _is_side(key: Any) -> bool:
    return isinstance(key, str) and key.lower() in ROLE_OF


def _is_exchange(item: Mapping[str, Any]) -> bool:
    """Whether a turn holds what each side says under the side's name: {"human": "Hi", ...}."""
    has_keys = any(key in item for key in (*ROLE_KEYS, *TEXT_KEYS))
    return not has_keys and any(_is_side(key) and isinstance(item[key], str) for key in item)


def _read_role(role: str, name: str, place: str) -> str:
    written, role = role, role.strip().lower()
    if role in TOOL_ROLES:
        raise UserError(
            f"{name} has the role {written!r}: calls of tools are not learned",
            where=place,
            mend=WITHOUT_TOOLS,
        )
    if role not in ROLE_OF:
        raise UserError(
            f"{name} has the role {written!r}", where=place, mend=nearest(role, ROLE_OF)
        )
    return ROLE_OF[role]


def _read_content(content: Any, name: str, place: str, unused: set[str]) -> str:
    if isinstance(content, list):
        content = "".join(_read_part(part, name, place, unused) for part in content)
    elif isinstance(content, int | float) and not isinstance(content, bool) and holds(content):
        content = str(content)
    if not isinstance(content, str):
        raise UserError(f"{name} has no text", where=place, mend="only text can be learned")
    if not content.strip():
        raise UserError(f"{name} is empty", where=place, mend="write it, or remove the row")
    return content


def _read_part(part: Any, name: str, place: str, unused: set[str]) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
        raise UserError(
            f"{name} holds a part of the type {kind!r}",
            where=place,
            mend="only text can be learned",
        )
    known = ("type", "text")
    unused |= {f"content.{key}" for key, value in part.items() if key not in known and holds(value)}
    return str(part["text"])


def _is_learned(
    item: Mapping[str, Any], role: str, name: str, place: str, unused: set[str]
) -> bool:
    """Whether an answer is learned: not where "weight" is 0 or "train" is false."""
    masked = next((key for key in MASK_KEYS if holds(item.get(key))), None)
    if masked is not None and role == "assistant":
        raise UserError(
            f"{name} has the {masked} {item[masked]!r}, which may mean that it is learned, or that "
            "it is not",
            where=place,
            mend='write "weight": 1 for an answer that is learned, 0 for one that is only read',
        )
    flags: dict[str, bool] = {}
    for key in WEIGHT_KEYS:
        value = item.get(key)
        if not holds(value):
            continue
        flag = _flag(value)
        if key == "loss" and not isinstance(value, bool):
            unused.add(key)  # a number that was measured
        elif flag is None:
            raise UserError(
                f"{name} has the {key} {value!r}",
                where=place,
                mend="give 1 for an answer that is learned, 0 for one that is only read",
            )
        elif role == "assistant":
            flags[key] = flag
        elif flag:
            unused.add(key)  # only what the assistant says is learned
    if len(set(flags.values())) > 1:
        said = " and ".join(f"{key} {item[key]!r}" for key in flags)
        raise UserError(f"{name} is to be learned and not: it has {said}", where=place)
    return all(flags.values())


def _flag(value: Any) -> bool | None:
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None
