"""Beginnings of prompts that were computed before: keys and values, chunk by chunk."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from torch import Tensor

KeysValues = tuple[Tensor, Tensor]  # [layers, kv_heads, chunk, head] each


class PrefixStore:
    """Whole chunks of prompts, found by everything up to their end. Those unused for longest go
    first when there are more than `limit` bytes.

    Chunks begin at multiples of their length in every prompt, so a chunk found here has the bits
    that computing it again would give.
    """

    def __init__(self, chunk: int, limit: int) -> None:
        self.chunk, self.limit, self.size = chunk, limit, 0
        self._chunks: OrderedDict[bytes, KeysValues] = OrderedDict()

    def keys(self, prompt: Sequence[int]) -> Iterator[bytes]:
        """Yield the name of each whole chunk: a hash of the prompt up to its end."""
        key = b""
        for start in range(0, len(prompt) - self.chunk + 1, self.chunk):
            tokens = array("q", prompt[start : start + self.chunk]).tobytes()
            key = hashlib.blake2b(key + tokens, digest_size=16).digest()
            yield key

    def find(self, prompt: Sequence[int]) -> list[KeysValues]:
        """Return the chunks that a prompt begins with, but for its last token: a model must see
        at least that one to go on."""
        found = []
        for key in self.keys(prompt[:-1]):
            if key not in self._chunks:
                break
            self._chunks.move_to_end(key)
            found.append(self._chunks[key])
        return found

    def __contains__(self, key: bytes) -> bool:
        return key in self._chunks

    def add(self, key: bytes, keys_values: KeysValues) -> None:
        """Keep a chunk under its name."""
        size = sum(tensor.nbytes for tensor in keys_values)
        if key in self._chunks or size > self.limit:
            return
        self._chunks[key] = keys_values
        self.size += size
        while self.size > self.limit:
            _, dropped = self._chunks.popitem(last=False)
            self.size -= sum(tensor.nbytes for tensor in dropped)
