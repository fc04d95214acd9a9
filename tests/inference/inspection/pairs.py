"""Models written by transformers with random weights, and the same opened by nextword."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from nextword.inference.inspection.reading import AnyModel
from nextword.inference.language_model import load
from nextword.tokens.control_tokens import CAUSAL, DENOISE, MASKED
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import train_bpe

CORPUS = (
    "The cat sat on the mat, and the dog lay by the door. 床前明月光，疑是地上霜。\n"
    "It was a dark night; the old lamp burned low. 🙂 naïve café, and nobody came home.\n"
)
DECODERS = ("gpt2", "llama", "qwen3", "mistral", "gemma3_text")
ENCODERS = ("modernbert", "bert")
ENCODER_DECODERS = ("t5", "t5 v1.1")
FAMILIES = DECODERS + ENCODERS + ENCODER_DECODERS
LAYERS, HEADS, WIDTH, CONTEXT = 4, 4, 32, 48


@dataclass(frozen=True, repr=False)
class Pair:
    """The same weights twice; `theirs` computes attention so that its weights can be seen."""

    name: str
    ours: AnyModel
    theirs: Any


def write_pair(name: str, folder: Path) -> Pair:
    controls = MASKED if name in ENCODERS else DENOISE if name in ENCODER_DECODERS else CAUSAL
    tokenizer = train_bpe([CORPUS * 9], 420, 10**6, controls)
    config = _config(name, tokenizer)
    torch.manual_seed(len(name))
    auto = {
        "modernbert": transformers.AutoModelForMaskedLM,
        "bert": transformers.AutoModelForMaskedLM,
        "t5": transformers.T5ForConditionalGeneration,
        "t5 v1.1": transformers.T5ForConditionalGeneration,
    }.get(name, transformers.AutoModelForCausalLM)
    make = auto if name in ENCODER_DECODERS else auto.from_config
    theirs = make(config).eval()
    with torch.no_grad():
        for key, parameter in theirs.named_parameters():
            # So far from their beginnings that heads and layers differ.
            spread = 0.05 if parameter.dim() == 1 else 0.25
            parameter.add_(torch.randn(parameter.shape) * (0.6 if "shared" in key else spread))
        if name == "t5 v1.1":  # transformers begins with scores of 50 bits and more
            theirs.lm_head.weight.mul_(0.2)
    theirs.save_pretrained(folder)
    tokenizer.save(folder)
    theirs.set_attn_implementation("eager")
    return Pair(name, load(folder, precision="fp32", device="cpu"), theirs)


def _config(name: str, tokenizer: Tokenizer) -> Any:
    size = tokenizer.vocab_size
    end = {"bos_token_id": tokenizer.end_id, "eos_token_id": tokenizer.end_id}
    usual: dict[str, Any] = {
        "vocab_size": size,
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT,
    }
    grouped = {**usual, **end, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": None}
    if name == "gpt2":
        return transformers.GPT2Config(
            vocab_size=size, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=CONTEXT, **end
        )
    if name == "llama":
        return transformers.LlamaConfig(**grouped, tie_word_embeddings=False)
    if name == "qwen3":
        return transformers.Qwen3Config(**grouped, tie_word_embeddings=True)
    if name == "mistral":
        return transformers.MistralConfig(**grouped, tie_word_embeddings=False, sliding_window=6)
    if name == "gemma3_text":
        kinds = ["sliding_attention", "full_attention"] * (LAYERS // 2)
        return transformers.Gemma3TextConfig(**grouped, sliding_window=6, layer_types=kinds)
    if name in ENCODERS:
        kind: Any = transformers.CONFIG_MAPPING[name]
        ids = {f"{role}_token_id": tokenizer.role_id(f"{role}_token") for role in ("pad", "cls")}
        local = {"local_attention": 8} if name == "modernbert" else {}
        sep = tokenizer.role_id("sep_token")
        ids |= {"sep_token_id": sep, "bos_token_id": ids["cls_token_id"], "eos_token_id": sep}
        return kind(**usual, **ids, **local)
    gated = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    return transformers.T5Config(
        vocab_size=size,
        d_model=WIDTH,
        d_kv=8,
        d_ff=64,
        num_layers=LAYERS,
        num_heads=HEADS,
        decoder_start_token_id=tokenizer.pad_id,
        pad_token_id=tokenizer.pad_id,
        eos_token_id=tokenizer.end_id,
        **(gated if name == "t5 v1.1" else {}),
    )
