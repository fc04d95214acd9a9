"""Text and tokenizers of several kinds."""

from __future__ import annotations

import json
import random

import tokenizers
from tokenizers import decoders, models, normalizers, trainers

PROSE = (
    "He said: “I haven't 1,234 reasons—only one!”\n\n"
    "  \tThe café was closed; 第3章：他說，今天天氣很好。\n"
    "def f(x):\r\n    return x ** 2  # naïve 🙂 ſ's 'S\n"
) * 40
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>", "<|unknown|>"]


def random_text(rng: random.Random, length: int) -> str:
    ranges = [(0, 0x80), (0, 0x500), (0x2000, 0x3100), (0x4E00, 0x5000), (0x1F300, 0x1F700)]
    ranges.append((0, 0x110000))
    points = (rng.randrange(*rng.choice(ranges)) for _ in range(length))
    return "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)


def sentence_piece_bpe() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=specials, show_progress=False)
    backend.train_from_iterator([PROSE], trainer)
    definition = json.loads(backend.to_str())
    definition["added_tokens"] = definition["added_tokens"][:3]
    return tokenizers.Tokenizer.from_str(json.dumps(definition))
