"""Classifiers of transformers open here and ours there: the same labels, the same logits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from nextword.errors import UserError
from nextword.hub.heads import CLASSIFIER, SPAN_ENDS, SPANS, TAGS, Outputs
from nextword.hub.reading import load, load_headed, start_headed
from nextword.hub.writing import WeightFormat, save, save_headed
from nextword.models.config import DECODERS, ENCODERS, Family, TransformerConfig
from nextword.models.heads import (
    QuestionAnsweringModel,
    SequenceClassificationModel,
    TokenClassificationModel,
    strip_padding,
)
from nextword.models.sizes import STYLES
from nextword.models.transformer import Transformer
from nextword.objectives.heads import sequence_scores
from nextword.settings import TaskSettings
from nextword.tasks.classify.task import Classify, LabelledExample
from nextword.tokens.control_tokens import to_json
from nextword.tokens.packing import Example
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer

TOLERANCE = 1e-4  # of logits in fp32, largest absolute difference
TEXTS = ["Fine.", "It was the worst of times — 時代", "No", "A tale, told twice"]
MOODS = Outputs("single", ("glad", "sad", "其他"))
SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
PAD = 259  # of the tokenizer of bytes
ALL = DECODERS + ENCODERS
GPT2_SHAPE: dict[str, Any] = {"n_embd": 48, "n_layer": 2, "n_head": 6, "n_positions": 64}


def transformer(
    family: Family, *, vocab_size: int = 260, tied: bool = True, mean: bool = False
) -> Transformer:
    counts_from_pad = family in ("roberta", "xlm-roberta")
    style = STYLES[family] | ({"position_offset": PAD + 1} if counts_from_pad else {})
    config = TransformerConfig(
        family=family,
        vocab_size=vocab_size,
        context_length=64,
        layers=2,
        width=48,
        heads=6,
        kv_heads=6 if family in ("gpt2", *ENCODERS) else 2,
        head_width=8,
        mlp_width=80,
        init_std=0.2,
        mean_pooling=mean,
        **style | {"tied": tied},
    )
    if family == "modernbert":
        config = replace(config, window=5, windowed_layers=(1,))
    return Transformer(config)


class NarrowRows(Classify):
    row_length = 40


def packed_scores(
    model: SequenceClassificationModel, tokenizer: Tokenizer, texts: Sequence[str] = TEXTS
) -> Tensor:
    """What ours gives for texts packed into rows of 40 tokens."""
    ids = [strip_padding(tokenizer.encode(t, template=True), tokenizer.pad_id) for t in texts]
    items = [LabelledExample(Example(np.array(i), np.zeros(len(i), bool)), 0) for i in ids]
    outputs = Outputs("single", tuple(map(str, range(len(model.score.weight)))))
    settings = TaskSettings(task="classify")
    batch = NarrowRows("A", model, tokenizer, settings, outputs=outputs).collate(items, [])
    with torch.no_grad():
        return sequence_scores(model, batch)


def padded_scores(directory: Path, texts: Sequence[str] = TEXTS) -> Tensor:
    """What theirs gives for the same texts in one padded batch."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
    with torch.no_grad():
        batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        logits: Tensor = model(**batch).logits
    return logits


def their_config(family: Family, **changes: Any) -> Any:
    shape = GPT2_SHAPE if family == "gpt2" else SHAPE
    common = {"vocab_size": 260, "initializer_range": 0.2, "bos_token_id": 256}
    if family in ENCODERS:
        common["pad_token_id"] = PAD
        shape = {name: n for name, n in shape.items() if name not in ("num_key_value_heads",)}
        shape["max_position_embeddings"] = PAD + 1 + 64
    if family == "distilbert":
        shape |= {"dim": 48, "hidden_dim": 80, "n_layers": 2, "n_heads": 6}
    return transformers.AutoConfig.for_model(
        family, **shape | common | {"eos_token_id": 256} | changes
    )


def write_theirs(directory: Path, family: Family, **changes: Any) -> Any:
    """A classifier of theirs, with the tokenizer of bytes, which pads with <|pad|> (259)."""
    config = their_config(family, **changes)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(directory)
    byte_tokenizer().save(directory)
    return model


def ending_with(tokenizer: Tokenizer, name: str) -> Tokenizer:
    """The tokenizer, its template putting a control token after every text."""
    definition = json.loads(tokenizer.definition)
    id = next(t["id"] for t in definition["added_tokens"] if t["content"] == name)
    definition["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": name, "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]}},
    }
    return Tokenizer(to_json(definition), tokenizer.config)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", [*ALL, "modernbert by the mean"])
def test_our_classifier_opens_in_transformers(family: Any, tied: bool, tmp_path: Path) -> None:
    mean = family.endswith("mean")
    model = SequenceClassificationModel(
        transformer(family.split()[0], tied=tied, mean=mean), 3, seed=2
    ).eval()
    save_headed(tmp_path / "model", model, byte_tokenizer(), MOODS, "On letters.")
    there = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert there.config.id2label == {0: "glad", 1: "sad", 2: "其他"}
    assert there.config.label2id == {"glad": 0, "sad": 1, "其他": 2}
    assert there.config.problem_type == "single_label_classification"
    assert there.config.pad_token_id == byte_tokenizer().pad_id
    assert "On letters." in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    ours, tokenizer, outputs = load_headed(tmp_path / "model", CLASSIFIER)
    assert outputs == MOODS
    expected = padded_scores(tmp_path / "model")
    assert (packed_scores(model, byte_tokenizer()) - expected).abs().max() < TOLERANCE
    assert (packed_scores(ours, tokenizer) - expected).abs().max() < TOLERANCE
    assert expected.std(0).min() > 0.01  # the texts are told apart


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("family", ALL)
def test_a_classifier_of_transformers_opens_here(
    family: Family, pooling: str, tmp_path: Path
) -> None:
    if pooling == "mean" and family != "modernbert":
        pytest.skip("only ModernBERT reads the mean")
    names = {0: "low", 1: "middle", 2: "high", 3: "none"}
    write_theirs(
        tmp_path,
        family,
        classifier_pooling=pooling,
        id2label=names,
        label2id={name: id for id, name in names.items()},
        problem_type="multi_label_classification",
        pad_token_id=byte_tokenizer().pad_id,
        tie_word_embeddings=False,
    )
    model, tokenizer, outputs = load_headed(tmp_path, CLASSIFIER)
    assert outputs == Outputs("several", ("low", "middle", "high", "none"))
    difference = packed_scores(model, tokenizer) - padded_scores(tmp_path)
    assert difference.abs().max() < TOLERANCE


def test_labels_that_are_not_named_are_numbered_as_transformers_does(tmp_path: Path) -> None:
    write_theirs(tmp_path / "two", "gpt2", pad_token_id=259)
    assert "id2label" not in json.loads((tmp_path / "two" / "config.json").read_text())
    _, _, outputs = load_headed(tmp_path / "two", CLASSIFIER)
    assert outputs == Outputs("single", ("LABEL_0", "LABEL_1"))
    write_theirs(tmp_path / "one", "llama", num_labels=1, pad_token_id=259)
    _, _, outputs = load_headed(tmp_path / "one", CLASSIFIER)
    assert outputs == Outputs("amount", ("LABEL_0",))


def test_where_padding_also_ends_texts_the_token_before_is_read_as_there(tmp_path: Path) -> None:
    write_theirs(tmp_path, "gpt2", pad_token_id=256, num_labels=3)
    ending = ending_with(byte_tokenizer(), "<|endoftext|>")
    Tokenizer(ending.definition, ending.config | {"pad_token": "<|endoftext|>"}).save(tmp_path)
    model, tokenizer, _ = load_headed(tmp_path, CLASSIFIER)
    assert tokenizer.encode("No", template=True)[-1] == tokenizer.pad_id == 256
    expected = padded_scores(tmp_path)
    assert (packed_scores(model, tokenizer) - expected).abs().max() < TOLERANCE
    # Read at the very last token, they would differ:
    unaware = Tokenizer(tokenizer.definition, tokenizer.config | {"pad_token": None})
    assert (packed_scores(model, unaware) - expected).abs().max() > 100 * TOLERANCE


def test_a_classifier_begun_here_never_pads_with_the_token_that_ends_a_text(
    tmp_path: Path,
) -> None:
    ending = ending_with(byte_tokenizer(), "<|endoftext|>")
    trap = Tokenizer(
        ending.definition, ending.config | {"pad_token": "<|endoftext|>", "padding_side": "left"}
    )
    save(tmp_path / "base", transformer("gpt2"), trap)
    model, tokenizer = start_headed(tmp_path / "base", CLASSIFIER, MOODS)
    assert tokenizer.pad_id == 259
    save_headed(tmp_path / "model", model, tokenizer, MOODS)
    saved = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert (saved.pad_token, saved.padding_side) == ("<|pad|>", "right")
    ids = saved(TEXTS, padding=True)["input_ids"]
    assert ids[0][-1] == 259 and 256 in ids[0]
    difference = packed_scores(model, tokenizer) - padded_scores(tmp_path / "model")
    assert difference.abs().max() < TOLERANCE


def test_a_classifier_that_reads_before_the_end_goes_on_doing_so(tmp_path: Path) -> None:
    names = {0: "glad", 1: "sad", 2: "其他"}
    write_theirs(tmp_path / "theirs", "gpt2", pad_token_id=256, id2label=names)
    ending = ending_with(byte_tokenizer(), "<|endoftext|>")
    trap = Tokenizer(ending.definition, ending.config | {"pad_token": "<|endoftext|>"})
    trap.save(tmp_path / "theirs")
    model, tokenizer = start_headed(tmp_path / "theirs", CLASSIFIER, MOODS)
    save_headed(tmp_path / "ours", model, tokenizer, MOODS)
    difference = padded_scores(tmp_path / "ours") - padded_scores(tmp_path / "theirs")
    assert difference.abs().max() < TOLERANCE


def test_where_the_config_names_no_padding_the_very_last_token_is_read(tmp_path: Path) -> None:
    names = {0: "glad", 1: "sad", 2: "其他"}
    write_theirs(tmp_path / "theirs", "gpt2", pad_token_id=None, id2label=names)
    ending = ending_with(byte_tokenizer(), "<|endoftext|>")
    trap = Tokenizer(ending.definition, ending.config | {"pad_token": "<|endoftext|>"})
    trap.save(tmp_path / "theirs")
    model, tokenizer, _ = load_headed(tmp_path / "theirs", CLASSIFIER)
    alone = torch.cat([padded_scores(tmp_path / "theirs", [text]) for text in TEXTS])
    assert tokenizer.pad_id is None
    assert (packed_scores(model, tokenizer) - alone).abs().max() < TOLERANCE
    again, its_tokenizer = start_headed(tmp_path / "theirs", CLASSIFIER, MOODS)
    save_headed(tmp_path / "ours", again, its_tokenizer, MOODS)
    assert (padded_scores(tmp_path / "ours") - alone).abs().max() < TOLERANCE


@pytest.mark.parametrize("pad", [-1, 260, 2**40, True, "0", [0], None])
def test_a_padding_number_that_no_text_holds_pads_nothing(pad: Any, tmp_path: Path) -> None:
    model = SequenceClassificationModel(transformer("gpt2"), 3)
    save_headed(tmp_path / "model", model, byte_tokenizer(), MOODS)
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": pad}))
    _, tokenizer, _ = load_headed(tmp_path / "model", CLASSIFIER)
    assert tokenizer.pad_id is None


def test_a_text_longer_than_the_model_is_cut_by_their_tokenizer(tmp_path: Path) -> None:
    model = SequenceClassificationModel(transformer("gpt2"), 3, seed=2).eval()
    save_headed(tmp_path / "model", model, byte_tokenizer(), MOODS)
    long = ["x" * 500, "y"]
    expected = packed_scores(model, byte_tokenizer(), ["x" * 64, "y"])
    assert (padded_scores(tmp_path / "model", long) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("left", [["<|endoftext|>"], ["<|endoftext|>", "<|im_end|>"]])
def test_a_tokenizer_without_padding_is_given_a_token_for_it(
    left: list[str], tmp_path: Path
) -> None:
    definition = json.loads(byte_tokenizer().definition)
    definition["added_tokens"] = [t for t in definition["added_tokens"] if t["content"] in left]
    bare = Tokenizer(to_json(definition), {"eos_token": "<|endoftext|>"})
    model = SequenceClassificationModel(transformer("llama"), 3, seed=2).eval()
    if len(left) == 2:  # one of which ends every text
        bare = ending_with(bare, "<|endoftext|>")
    save_headed(tmp_path / "model", model, bare, MOODS)
    saved = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert saved.pad_token == left[-1]
    difference = packed_scores(model, bare) - padded_scores(tmp_path / "model")
    assert difference.abs().max() < TOLERANCE


def test_a_tokenizer_with_no_token_left_to_pad_with_is_refused(tmp_path: Path) -> None:
    definition = json.loads(byte_tokenizer().definition)
    definition["added_tokens"] = [
        t for t in definition["added_tokens"] if t["content"] == "<|endoftext|>"
    ]
    only = ending_with(Tokenizer(to_json(definition), {}), "<|endoftext|>")
    with pytest.raises(UserError, match="no token to pad with"):
        save_headed(
            tmp_path / "m", SequenceClassificationModel(transformer("llama"), 3), only, MOODS
        )
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_model_is_the_start_of_a_classifier(tied: bool, tmp_path: Path) -> None:
    body = transformer("qwen3", tied=tied)
    save(tmp_path / "model", body, byte_tokenizer())
    model, _ = start_headed(tmp_path / "model", CLASSIFIER, MOODS, seed=5)
    assert model.score.weight.shape == (3, 48)
    assert not any("head" in name for name, _ in model.named_parameters())
    held = dict(body.named_parameters())
    for name, parameter in model.transformer.named_parameters():
        assert torch.equal(parameter, held[name]), name
    again, _ = start_headed(tmp_path / "model", CLASSIFIER, MOODS, seed=5)
    other, _ = start_headed(tmp_path / "model", CLASSIFIER, MOODS, seed=6)
    assert torch.equal(again.score.weight, model.score.weight)
    assert not torch.equal(other.score.weight, model.score.weight)
    with pytest.raises(UserError, match=r"has no 'score.weight'; make one of it"):
        load_headed(tmp_path / "model", CLASSIFIER)


def test_a_bare_body_of_transformers_is_a_start_too(tmp_path: Path) -> None:
    config = their_config("llama", tie_word_embeddings=False)
    body = transformers.AutoModel.from_config(config)
    body.save_pretrained(tmp_path)
    byte_tokenizer().save(tmp_path)
    model, _ = start_headed(tmp_path, CLASSIFIER, MOODS)
    assert torch.equal(model.transformer.embedding.weight, body.embed_tokens.weight)


def test_an_output_head_is_never_taken_for_a_missing_embedding(tmp_path: Path) -> None:
    save(tmp_path / "model", transformer("llama", tied=False), byte_tokenizer())
    weights = tmp_path / "model" / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.embed_tokens.weight"]
    save_file(tensors, weights)
    with pytest.raises(UserError, match=r"tensor 'model.embed_tokens.weight' is missing"):
        start_headed(tmp_path / "model", CLASSIFIER, MOODS)


def test_a_classifier_may_be_written_in_bf16_and_in_shards(tmp_path: Path) -> None:
    model = SequenceClassificationModel(transformer("qwen3"), 3, seed=2)
    save_headed(
        tmp_path / "model",
        model,
        byte_tokenizer(),
        MOODS,
        weights=WeightFormat(torch.bfloat16, 20_000),
    )
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 2
    ours, tokenizer, _ = load_headed(tmp_path / "model", CLASSIFIER)
    for mine, exact in zip(ours.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, exact.bfloat16().float())
    there = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", dtype=torch.float32
    ).eval()
    ids = torch.tensor([tokenizer.encode("No")])
    with torch.no_grad():
        difference = packed_scores(ours, tokenizer, ["No"]) - there(ids).logits
    assert difference.abs().max() < TOLERANCE


def test_a_classifier_goes_on_with_its_head_only_for_the_same_labels(tmp_path: Path) -> None:
    model = SequenceClassificationModel(transformer("gpt2"), 3, seed=2)
    save_headed(tmp_path / "model", model, byte_tokenizer(), MOODS)
    same, _ = start_headed(tmp_path / "model", CLASSIFIER, MOODS)
    assert torch.equal(same.score.weight, model.score.weight)
    other, _ = start_headed(tmp_path / "model", CLASSIFIER, Outputs("single", ("a", "b", "c")))
    assert not torch.equal(other.score.weight, model.score.weight)


def test_a_classifier_is_no_language_model(tmp_path: Path) -> None:
    save_headed(
        tmp_path / "model",
        SequenceClassificationModel(transformer("qwen2"), 3),
        byte_tokenizer(),
        MOODS,
    )
    with pytest.raises(UserError, match="classifies texts and cannot write"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, "id2label names 2 labels for 3 outputs"),
        ({"id2label": {"0": "a", "1": "b", "7": "c"}}, "does not number its labels from 0"),
        ({"id2label": ["a", "b", "c"]}, "does not number its labels from 0"),
        ({"id2label": {"0": "a", "1": "b", "2": 5}}, "holds a name that is not text"),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, "holds 'a' twice"),
        ({"problem_type": "ranking"}, "problem_type 'ranking' is not known"),
        ({"problem_type": ["regression"]}, "is not known"),
        ({"problem_type": "regression"}, "regression of 3 amounts"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    model = SequenceClassificationModel(transformer("gpt2"), 3)
    save_headed(tmp_path / "model", model, byte_tokenizer(), MOODS)
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=sentence) as caught:
        load_headed(tmp_path / "model", CLASSIFIER)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        (torch.ones(48), r"'score.weight' has shape \[48\], not \[labels, 48\]"),
        (torch.ones(0, 48), r"has shape \[0, 48\]"),
        (torch.ones(3, 47), r"has shape \[3, 47\]"),
        (torch.ones(3, 48, dtype=torch.int64), "is of type I64, which is no float"),
        (torch.ones(5, 48), "id2label names 3 labels for 5 outputs"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(tensor: Tensor, sentence: str, tmp_path: Path) -> None:
    save_headed(
        tmp_path / "model",
        SequenceClassificationModel(transformer("gpt2"), 3),
        byte_tokenizer(),
        MOODS,
    )
    weights = tmp_path / "model" / "model.safetensors"
    save_file(load_file(weights) | {"score.weight": tensor}, weights)
    with pytest.raises(UserError, match=sentence):
        load_headed(tmp_path / "model", CLASSIFIER)


@pytest.mark.parametrize("family", [family for family in ALL if family != "gemma3_text"])
def test_a_finder_of_answers_opens_in_transformers_and_theirs_here(
    family: Family, tmp_path: Path
) -> None:
    model = QuestionAnsweringModel(transformer(family, tied=False), seed=3).eval()
    with torch.no_grad():
        model.span.bias.copy_(torch.tensor([0.5, -0.25]))
    save_headed(tmp_path / "ours", model, byte_tokenizer(), SPAN_ENDS)
    ids = torch.tensor([byte_tokenizer().encode("Where? Under the oak.")])
    there = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "ours").eval()
    there.save_pretrained(tmp_path / "theirs")
    byte_tokenizer().save(tmp_path / "theirs")
    assert load_file(tmp_path / "ours" / "model.safetensors").keys() == (
        load_file(tmp_path / "theirs" / "model.safetensors").keys()
    )
    with torch.no_grad():
        answer = there(ids)
        expected = torch.stack((answer.start_logits, answer.end_logits), -1)
        for found in (model, load_headed(tmp_path / "theirs", SPANS)[0]):
            assert (found(found.transformer(ids)) - expected).abs().max() < TOLERANCE
    with pytest.raises(UserError, match=r"(answers in|classifies) texts and cannot (write|fill)"):
        load(tmp_path / "ours")


@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoders_classifier_begins_with_what_was_pretrained(
    family: Family, tmp_path: Path
) -> None:
    """BERT's pooler and ModernBERT's head are the checkpoint's where it has them."""
    # Of BERT's models this is the one that has learned a pooler.
    pretrained = family == "bert" and transformers.AutoModelForPreTraining
    kind: Any = pretrained or transformers.AutoModelForMaskedLM
    kind.from_config(their_config(family)).save_pretrained(tmp_path)
    byte_tokenizer().save(tmp_path)
    model, _ = start_headed(tmp_path, CLASSIFIER, MOODS)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    held = theirs.state_dict()
    drawn = {"classifier", "classifier.dense", "classifier.out_proj", "pre_classifier"}
    save_headed(tmp_path / "begun", model, byte_tokenizer(), MOODS)
    begun = load_file(tmp_path / "begun" / "model.safetensors")
    assert begun.keys() == held.keys()
    for name, tensor in begun.items():
        if name.rsplit(".", 1)[0] not in drawn:
            assert torch.equal(tensor, held[name]), name
    poolless = family in ("modernbert", "distilbert")
    without = {} if poolless else {"add_pooling_layer": False}
    bare = transformers.AutoModel.from_config(their_config(family), **without)
    bare.save_pretrained(tmp_path / "bare")
    byte_tokenizer().save(tmp_path / "bare")
    fresh, _ = start_headed(tmp_path / "bare", CLASSIFIER, MOODS)
    assert all(torch.isfinite(parameter).all() for parameter in fresh.parameters())


@pytest.mark.parametrize("family", [family for family in DECODERS if family != "gemma3_text"])
def test_a_tagger_opens_in_transformers_and_theirs_here(family: Family, tmp_path: Path) -> None:
    tags = ("O", "B-人", "I-人")
    model = TokenClassificationModel(transformer(family, tied=False), 3, seed=3).eval()
    with torch.no_grad():
        model.tag.bias.copy_(torch.tensor([0.5, -0.25, 1.0]))
    save_headed(tmp_path / "ours", model, byte_tokenizer(), Outputs("single", tags))
    ids = torch.tensor([byte_tokenizer().encode("Under the oak.")])
    there = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "ours").eval()
    assert there.config.id2label == dict(enumerate(tags))
    there.save_pretrained(tmp_path / "theirs")
    byte_tokenizer().save(tmp_path / "theirs")
    found, _, outputs = load_headed(tmp_path / "theirs", TAGS)
    again, _ = start_headed(tmp_path / "theirs", TAGS, outputs)
    assert outputs == Outputs("single", tags)
    with torch.no_grad():
        for tagger in (model, found, again):
            difference = tagger(tagger.transformer(ids)) - there(ids).logits
            assert difference.abs().max() < TOLERANCE
    with pytest.raises(UserError, match="tags words and cannot write"):
        load(tmp_path / "ours")
    classifier, _ = start_headed(tmp_path / "ours", CLASSIFIER, MOODS)
    assert classifier.score.weight.shape == (3, 48)
