"""Small models with random weights, and the small data sets of examples/data."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import tokenizers
import transformers

from nextword.hub.writing import save
from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.models.sizes import STYLES
from nextword.models.transformer import Transformer
from nextword.tokens.control_tokens import DENOISE
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import train_bpe

DATA = Path(__file__).parents[2] / "examples" / "data"
ARGUMENTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "single": (["classify.csv"], {"task": "classify"}),
    "several": (["topics.jsonl"], {"task": "classify"}),
    "amount": (["amounts.csv"], {"task": "classify"}),
    "pair": (["pairs.csv"], {"task": "classify"}),
    "qa": (["qa.json"], {"task": "qa"}),
    "qa in Chinese": (["qa.zh.jsonl"], {"task": "qa"}),
    "qa, pointed at": (["qa.json"], {"task": "qa", "extract": True}),
    "qa in Chinese, pointed at": (["qa.zh.jsonl"], {"task": "qa", "extract": True}),
    "tag": (["entities.conll"], {"task": "tag"}),
    "tag in Chinese": (["entities.zh.jsonl"], {"task": "tag"}),
    "summarize": (["summaries.jsonl"], {"task": "summarize"}),
    "translate": (["translate.tsv"], {"task": "translate"}),
    "aligned files": (["translate.en", "translate.zh"], {"task": "translate"}),
    "chat": (["chat.jsonl"], {"task": "chat"}),
    "instructions": (["instructions.jsonl"], {"task": "chat"}),
    "text": (["text.jsonl"], {"task": "text"}),
}


@functools.cache
def tokenizer() -> Tokenizer:
    files = sorted(path for path in DATA.iterdir() if path.suffix != ".md")
    return train_bpe([path.read_text(encoding="utf-8") for path in files], 900, 10**6)


def ours(directory: Path, family: Any = "qwen3", width: int = 64, layers: int = 2) -> Path:
    config = TransformerConfig(
        family=family,
        vocab_size=tokenizer().vocab_size,
        context_length=256,
        layers=layers,
        width=width,
        heads=4,
        kv_heads=4 if family == "gpt2" else 2,
        head_width=width // 4,
        mlp_width=2 * width,
        **STYLES[family],
    )
    save(directory, Transformer(config, seed=7), tokenizer())
    return directory


@functools.cache
def tokenizer_with_sentinels() -> Tokenizer:
    files = sorted(path for path in DATA.iterdir() if path.suffix != ".md")
    return train_bpe([path.read_text(encoding="utf-8") for path in files], 1000, 10**6, DENOISE)


def our_encoder_decoder(directory: Path, width: int = 64, layers: int = 2) -> Path:
    tokenizer = tokenizer_with_sentinels()
    config = TransformerConfig(
        family="t5",
        vocab_size=tokenizer.vocab_size,
        context_length=256,
        layers=layers,
        decoder_layers=layers,
        width=width,
        heads=4,
        kv_heads=4,
        head_width=width // 4,
        mlp_width=2 * width,
        **STYLES["t5"] | {"start_id": tokenizer.pad_id, "tied": True},
    )
    save(directory, EncoderDecoder(config, seed=7), tokenizer)
    return directory


def theirs(directory: Path, family: str) -> Path:
    """Written by transformers, with a tokenizer that has no padding token."""
    size = tokenizer().vocab_size
    end = tokenizer().end_id
    ids = {"bos_token_id": end, "eos_token_id": end}
    if family == "gpt2":
        config: Any = transformers.GPT2Config(
            vocab_size=size, n_embd=64, n_layer=2, n_head=4, n_positions=256, **ids
        )
    else:
        kind = {"llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config}[family]
        config = kind(
            vocab_size=size,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            intermediate_size=128,
            max_position_embeddings=256,
            tie_word_embeddings=family == "qwen3",
            **ids,
        )
    transformers.set_seed(3)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    tokenizer().save(directory)
    values = json.loads((directory / "tokenizer_config.json").read_text())
    values.pop("pad_token", None)
    (directory / "tokenizer_config.json").write_text(json.dumps(values))
    return directory


def their_encoder(directory: Path, family: str) -> Path:
    """A masked language model and a tokenizer of its own kind, written by transformers."""
    words: Any = encoders_tokenizer(family)
    kind = transformers.CONFIG_MAPPING[family]
    more: dict[str, Any] = {"local_attention": 16} if family == "modernbert" else {}
    if family == "distilbert":
        more = {"hidden_dim": 128}
    config = kind(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=256 + words.pad_token_id + 1,
        **{
            f"{role}_token_id": getattr(words, f"{role}_token_id") for role in ("pad", "cls", "sep")
        },
        **{"bos_token_id": words.cls_token_id, "eos_token_id": words.sep_token_id},
        **more,
    )
    transformers.set_seed(3)
    transformers.AutoModelForMaskedLM.from_config(config).save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


@functools.cache
def encoders_tokenizer(family: str) -> Any:
    """Word pieces, byte pairs or unigrams of the small data sets' texts, as the family has them."""
    texts = [p.read_text(encoding="utf-8") for p in sorted(DATA.iterdir()) if p.suffix != ".md"]
    size: dict[str, Any] = {"vocab_size": 700, "show_progress": False}
    if family in ("bert", "distilbert"):
        pieces = tokenizers.BertWordPieceTokenizer(lowercase=True)
        pieces.train_from_iterator(texts, **size)
        # DistilBERT has no types.
        inputs = ["input_ids", "token_type_ids", "attention_mask"][:: 1 + (family != "bert")]
        return transformers.BertTokenizer(vocab=pieces.get_vocab(), model_input_names=inputs)
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    if family == "xlm-roberta":
        unigram = tokenizers.SentencePieceUnigramTokenizer()
        unigram.train_from_iterator(texts, **size, unk_token="<unk>")
        learned = json.loads(unigram.to_str())["model"]["vocab"]
        scored = [(name, score) for name, score in learned if name != "<unk>"]
        first, last = [(name, 0.0) for name in names[:4]], [(names[4], 0.0)]
        return transformers.XLMRobertaTokenizer(vocab=[*first, *scored, *last])
    if family == "modernbert":
        names = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    pairs = tokenizers.ByteLevelBPETokenizer()
    pairs.train_from_iterator(texts, **size, special_tokens=names)
    if family == "roberta":
        model = json.loads(pairs.to_str())["model"]
        merges = [tuple(merge) for merge in model["merges"]]
        return transformers.RobertaTokenizer(vocab=model["vocab"], merges=merges)
    whole = tokenizers.Tokenizer.from_str(pairs.to_str())
    whole.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 0), ("[SEP]", 2)],
    )
    roles = {f"{name.strip('[]').lower()}_token": name for name in names}
    inputs = ["input_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=whole, model_input_names=inputs, **roles
    )


def some(name: str, folder: Path, count: int) -> list[Path]:
    """The first examples of a data set, in files of their own."""
    return first_examples(ARGUMENTS[name][0], folder, count)


def first_examples(names: list[str], folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for file in names:
        source = DATA / file
        if source.suffix == ".json":
            content = json.dumps({"data": list(_first_questions(source, count))})
        elif source.suffix == ".conll":
            content = "\n\n".join(source.read_text().split("\n\n")[: count + 1])
        else:
            lines = source.read_text(encoding="utf-8").splitlines()
            kept = count + (source.suffix in (".csv", ".tsv"))
            content = "\n".join(lines[:kept]) + "\n"
        (folder / file).write_text(content, encoding="utf-8")
        files.append(folder / file)
    return files


def _first_questions(source: Path, count: int) -> Any:
    for article in json.loads(source.read_text())["data"]:
        for paragraph in article["paragraphs"]:
            asked = list(itertools.islice(paragraph["qas"], count))
            count -= len(asked)
            if asked:
                yield {"paragraphs": [{"context": paragraph["context"], "qas": asked}]}
