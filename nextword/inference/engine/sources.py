"""The sources of an encoder–decoder's rows: each is encoded once, and seen by its row alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from nextword.inference.cache import SourceCache, encode_sources
from nextword.inference.engine.row import Row
from nextword.models.blocks import Block
from nextword.models.encoder_decoder import EncoderDecoder


class Sources:
    """Encodes the rows' sources, and stacks what a step's rows attend to in each layer."""

    def __init__(self, model: EncoderDecoder) -> None:
        self._model = model
        self._rows: list[Row] = []  # of `_stacked`, which most steps share with the last one
        self._stacked: SourceCache | None = None

    def read(self, rows: Sequence[Row]) -> None:
        """Encode the sources of rows together; each keeps its layers' keys and values, [time,
        kv_heads, head]."""
        states = encode_sources(self._model, [row.source for row in rows]).states
        for block in self._model.decoder.blocks:
            assert isinstance(block, Block)
            pair = [part.transpose(1, 2) for part in block.cross.key_value(states)]
            for place, row in enumerate(rows):
                key, value = (part[place, : len(row.source)] for part in pair)
                row.source_keys_values.append((key, value))

    def of(self, rows: Sequence[Row]) -> SourceCache:
        """Return what a step's rows attend to."""
        if self._stacked is None or self._rows != list(rows):
            self._rows = list(rows)
            self._stacked = self._stack()
        return self._stacked

    def _stack(self) -> SourceCache:
        lengths = torch.tensor([len(row.source) for row in self._rows])
        is_token = torch.arange(int(lengths.max())) < lengths[:, None]
        mask = is_token[:, None, None].to(self._model.embedding.weight.device)
        stacked = SourceCache(mask, None if bool(is_token.all()) else mask)
        for layer in range(len(self._model.decoder.blocks)):
            pairs = zip(*(row.source_keys_values[layer] for row in self._rows), strict=True)
            key, value = (pad_sequence(list(p), batch_first=True).transpose(1, 2) for p in pairs)
            stacked.keys_values[layer] = key, value
        return stacked
