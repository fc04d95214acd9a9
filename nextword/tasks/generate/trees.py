"""Conversations kept as trees: each message with its replies, as OpenAssistant publishes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nextword.errors import UserError

REPLIES = "replies"
OF_TREES = (REPLIES, "rank", "deleted")  # keys of a message that say where it stands


def is_tree(value: Any) -> bool:
    """Whether a value is a message with its replies."""
    return isinstance(value, Mapping) and isinstance(value.get(REPLIES), list)


def best_path(root: Mapping[str, Any], place: str) -> tuple[list[dict[str, Any]], int]:
    """Return the messages from a tree's root on, of replies always the best-ranked one, and how
    many messages stand beside this path.

    Rank 0 is the best; replies without a rank come after those that have one, in their order.
    Deleted messages are passed over. Raises UserError, with the place, for replies of another form.
    """
    path: list[dict[str, Any]] = []
    beside = 0
    message: Mapping[str, Any] | None = root
    while message is not None:
        path.append({key: value for key, value in message.items() if key not in OF_TREES})
        replies = _replies(message, place)
        usable = [reply for reply in replies if not reply.get("deleted")]
        message = min(usable, key=_rank, default=None)
        beside += sum(_size(reply, place) for reply in replies if reply is not message)
    return path, beside


def _replies(message: Mapping[str, Any], place: str) -> list[Mapping[str, Any]]:
    replies = message.get(REPLIES) or []
    if not isinstance(replies, list) or not all(isinstance(reply, Mapping) for reply in replies):
        raise UserError(
            "holds replies that are not messages", where=place, mend="give role and text of each"
        )
    return replies


def _rank(message: Mapping[str, Any]) -> float:
    rank = message.get("rank")
    return rank if isinstance(rank, int | float) else math.inf


def _size(root: Mapping[str, Any], place: str) -> int:
    """Count the messages of a tree."""
    count, left = 0, [root]
    while left:
        count += 1
        left += _replies(left.pop(), place)
    return count
