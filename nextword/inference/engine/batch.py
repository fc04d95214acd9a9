"""The requests being served together: chunks of prompts, then one token for all at each step."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.engine.attending import slot_cache
from nextword.inference.engine.choosing import choose, score_all
from nextword.inference.engine.prefixes import PrefixStore
from nextword.inference.engine.request import Request, Token
from nextword.inference.engine.row import Row
from nextword.inference.engine.slots import on_device
from nextword.inference.engine.sources import Sources
from nextword.inference.engine.tuning import PROBED_ROWS, Served


class Batch:
    """A model and its rows. The first `decoding` rows generate, the others' prompts are not yet
    computed; a row's place in `rows` is its place in the cache.

    A step's products have at least `least_rows` rows: some that nobody uses are computed with them.
    Where the bits of a row always depend on the others, each row has products of its own.
    """

    def __init__(
        self,
        served: Served,
        rows: list[Row],
        slots: int,
        prefixes: PrefixStore,
        cache_bytes: int,
    ) -> None:
        self.model, self.logits, self.chunk = served.model, served.logits, prefixes.chunk
        self.least_rows, self.exact = served.setup.least_rows, served.setup.exact
        self.sources = None if served.sourced is None else Sources(served.sourced)
        device, dtype = self.model.embedding.weight.device, self.model.activation_dtype
        self.cache = slot_cache(self.model.config, slots, cache_bytes, dtype, device)
        self.prefixes, self.rows = prefixes, rows
        self.decoding = 0
        self.looked_up = 0  # tokens that were guessed

    def admit(self, row: Row) -> None:
        """Give a request a slot, and what is known of its prompt."""
        self.rows.append(row)
        if row.request.prompt_logprobs is None:
            for keys, values in self.prefixes.find(row.prompt):
                self.cache.write(len(self.rows) - 1, keys, values)
                row.cached += self.chunk
        row.seen = row.cached
        row.chunk_keys = self.prefixes.keys(row.prompt)
        for _ in range(row.cached // self.chunk):
            next(row.chunk_keys)

    def check_room(self, request: Request) -> None:
        """Raise UserError for a request that the cache has no room for."""
        tokens = len(request.prompt) + request.settings.max_new_tokens * (not request.prompt_only)
        tokens, limit = min(tokens, self.model.config.context_limit), self.cache.limit
        if tokens > limit:
            raise UserError(
                f"prompt and answer may have {tokens:,} tokens, and the cache of "
                f"{self.cache.values.shape[1]:,} slots has room for {limit:,} in each",
                mend="ask for fewer tokens, or serve fewer requests at once",
            )

    def step(self) -> tuple[int, int]:
        """Compute prompts, as many tokens as a chunk has, then one token for every other row.
        Return the numbers of tokens that were generated and of the prompts'."""
        generated = tokens = 0
        while len(self.rows) > self.decoding and tokens < self.chunk:
            begun, count = self.prefill()
            generated, tokens = generated + begun, tokens + count
        if self.decoding:
            generated += self.decode()
        return generated, tokens

    def prefill(self) -> tuple[int, int]:
        """Compute the next chunks of prompts. With the last chunk of one, its first token is
        generated. Return the numbers of tokens that were generated and computed."""
        if self.sources is not None:
            rows = self.rows[self.decoding :]
            self.sources.read(rows)
            for row in rows:
                row.last = row.prompt[-1]
            self.decoding = len(self.rows)
            return 0, sum(len(row.source) for row in rows)
        chunks = self._next_chunks()
        counts = {index: len(tokens) for index, tokens in chunks.items()}
        total = sum(counts.values())
        padding = max((self.least_rows or 0) - total, 0)
        positions = self.cache.extend(counts, padding)
        ids = [token for tokens in chunks.values() for token in tokens] + [0] * padding
        tokens = on_device(ids, torch.int64, positions.device)[None]
        hidden = self.model(tokens, positions=positions, cache=self.cache)[0]  # [tokens, width]
        done, end = [], 0
        for index, count in counts.items():
            end += count
            row = self.rows[index]
            self._read_on(index, hidden[end - count : end])
            if row.seen == len(row.prompt):
                row.send_prompt_scores()
                done.append((row, end - 1))
        return self._begin(done, hidden), total

    def _next_chunks(self) -> dict[int, list[int]]:
        """Return the tokens to read next, by row: the next chunk of the prompt that is first in
        order, and those of others that fit into one pass with it."""
        waiting = sorted(range(self.decoding, len(self.rows)), key=lambda i: self.rows[i].order)
        chunks: dict[int, list[int]] = {}
        room = min(self.chunk, self.model.config.context_length)
        if self.exact and (self.least_rows is None or self.chunk > PROBED_ROWS[-1]):
            waiting = waiting[:1]  # more rows in a product would change its bits
        for index in waiting:
            row = self.rows[index]
            tokens = row.prompt[row.seen : row.seen + self.chunk]
            if chunks and len(tokens) > room:
                break
            chunks[index] = tokens
            room -= len(tokens)
        return chunks

    def _read_on(self, index: int, hidden: Tensor) -> None:
        """Take note that a row's next tokens were read; their hidden states are [tokens, width]."""
        row, start = self.rows[index], self.rows[index].seen
        row.seen += len(hidden)
        if len(hidden) == self.chunk:
            key = next(row.chunk_keys)
            if key not in self.prefixes:
                self.prefixes.add(key, self.cache.read(index, start, row.seen))
        if (count := row.request.prompt_logprobs) is not None:
            targets = row.prompt[start + 1 : row.seen + 1]
            if targets:
                logits = self.logits(hidden[: len(targets)])
                row.prompt_scores += score_all(logits, targets, count)

    def _begin(self, done: list[tuple[Row, int]], hidden: Tensor) -> int:
        """Generate the first tokens of the rows whose prompts end at these places of `hidden`;
        return their number."""
        first, places = self.decoding, []
        for row, place in done:
            index = self.rows.index(row)
            if row.request.prompt_only:
                row.stream.put(row.finish("length"))
                self.remove(index)
            else:
                self._swap(index, self.decoding)
                self.decoding += 1
                places.append(place)
        if places:
            count, padding = len(places), max((self.least_rows or 0) - len(places), 0)
            at = on_device(places + [0] * padding, torch.int64, hidden.device)
            self._emit(self.logits(hidden[at])[:count], first)
        return len(places)

    def decode(self) -> int:
        """Generate one token in every decoding row, or several in the only one; return their
        number."""
        count = self.decoding
        if count == 1 and (guessed := self._guess(self.rows[0])):
            return self._verify(self.rows[0], guessed)
        logits = [self._step(rows) for rows in self._steps()]
        self._emit(logits[0] if len(logits) == 1 else torch.cat(logits), 0)
        return count

    def _guess(self, row: Row) -> list[int]:
        """Return tokens that may come next, where verifying them pays."""
        text = len(row.prompt) + row.generated
        room = min(self.model.config.context_limit, self.cache.limit) - text
        guessed = row.lookup.guess()[: max(room, 0)]
        return guessed if self.least_rows and len(guessed) + 1 >= self.least_rows else []

    def _verify(self, row: Row, guessed: list[int]) -> int:
        """Generate a token in the only row, and go on as long as the guesses come true; return the
        number of tokens."""
        positions, mask = self.cache.advance_ahead(0, len(guessed) + 1)
        ids = torch.tensor([row.last, *guessed], device=positions.device)[:, None]
        hidden = self.model(ids, positions=positions, mask=mask, cache=self.cache)[:, 0]
        logits, before = self.logits(hidden), row.generated
        for place, guess in enumerate([*guessed, None]):
            self._emit(logits[place : place + 1], 0)
            if not self.decoding:
                return place + 1
            if row.last != guess:
                break
        self.cache.take_back(0, len(guessed) - place)
        self.looked_up += place
        row.lookup.judge(row.generated - before)
        return place + 1

    def _steps(self) -> list[slice]:
        """Return the rows to compute together, parts of equal size within the probed ones."""
        count = self.decoding
        most = PROBED_ROWS[-1] if self.least_rows else 1
        parts = -(-count // most)
        bounds = [count * part // parts for part in range(parts + 1)]
        return [slice(start, end) for start, end in pairwise(bounds)]

    def _step(self, rows: slice) -> Tensor:
        """Return the scores of the next tokens of these rows, [rows, vocabulary]."""
        count = rows.stop - rows.start
        padding = max((self.least_rows or 1) - count, 0)
        positions, mask = self.cache.advance_rows(rows, padding)
        tokens = [row.last for row in self.rows[rows]] + [0] * padding
        ids = on_device(tokens, torch.int64, positions.device)[:, None]
        source = source_mask = None
        if self.sources is not None:
            self.cache.sources = self.sources.of(self.rows[rows])
            source, source_mask = self.cache.sources.states, self.cache.sources.mask
        hidden = self.model(
            ids,
            positions=positions,
            mask=mask,
            cache=self.cache,
            source=source,
            source_mask=source_mask,
        )[:, 0]
        return self.logits(hidden)[:count]

    def drop_cancelled(self) -> list[Row]:
        """Remove the rows that were cancelled, and return them."""
        cancelled = [row for row in self.rows if row.stream.is_cancelled]
        for row in cancelled:
            self.remove(self.rows.index(row))
        return cancelled

    def remove(self, index: int) -> None:
        """Give a slot back; the last rows move up."""
        if index < self.decoding:
            self.decoding -= 1
            self._swap(index, self.decoding)
            index = self.decoding
        self.cache.release(index, len(self.rows) - 1)
        self.rows[index] = self.rows[-1]
        self.rows.pop()

    def _emit(self, logits: Tensor, first: int) -> None:
        """Choose and send the next tokens of the rows from `first` on."""
        rows = self.rows[first : first + len(logits)]
        ended = []
        for index, (row, token) in enumerate(zip(rows, choose(logits, rows), strict=True), first):
            if isinstance(token, Token):
                try:
                    finished = row.accept(token, self.model.config.context_limit)
                except Exception as error:  # a constraint's own
                    token = error
                else:
                    if finished is not None:
                        row.stream.put(finished)
                        ended.append(index)
                    continue
            row.stream.put(token)
            ended.append(index)
        for index in reversed(ended):
            self.remove(index)

    def _swap(self, index: int, other: int) -> None:
        self.cache.swap(index, other)
        self.rows[index], self.rows[other] = self.rows[other], self.rows[index]
