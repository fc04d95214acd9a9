from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from nextword.errors import UserError
from nextword.evaluation.held_out import read_text, seen_in_training
from nextword.evaluation.language_model import Evaluation, Windows, token_losses
from nextword.evaluation.parts import first_tokens
from nextword.hub.writing import save
from nextword.inference.language_model import LanguageModel, load_language_model
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.text.cleaning import clean
from nextword.tokens.loader import window_bounds
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer
from nextword.verbs.evaluate import evaluate

CONTEXT = 32
DOCUMENTS = [
    "It was a dark night.",
    "从前有座山,山里有座庙,庙里有个老和尚在给小和尚讲故事。",
    "x",
    "The lamp burned low, and nobody in the house had slept for three nights and three days. " * 3,
]


@pytest.fixture(scope="module", params=["llama", "gpt2"])  # rotary and learned positions
def directory(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    tokenizer = byte_tokenizer()
    size = ModelSettings(family=request.param, layers=2, width=32, heads=4, context_length=CONTEXT)
    model = Transformer(config_for(size, tokenizer.vocab_size), seed=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    folder = tmp_path_factory.mktemp("model")
    save(folder, model, tokenizer)
    return folder


@pytest.fixture(scope="module")
def model(directory: Path) -> LanguageModel:
    return load_language_model(directory, precision="fp32")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    lines = [json.dumps({"text": document}) for document in DOCUMENTS]
    (tmp_path / "text.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "text.jsonl"


def naive_losses(directory: Path, model: LanguageModel, stride: int) -> list[float]:
    """Token by token with transformers: each one is given what its window shows of its document."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
    end = model.tokenizer.end_id
    stream: list[int] = []  # targets
    begins: list[int] = []  # where the document of each target begins
    for document in DOCUMENTS:
        begin = len(stream)
        stream += [*model.tokenizer.encode(document), end]
        begins += [begin] * (len(stream) - begin)
    losses: list[float] = []
    stop = min(CONTEXT, len(stream))
    while len(losses) < len(stream):
        for target in range(len(losses), stop):
            first = max(stop - CONTEXT, begins[target])
            before = [end, *stream][first : target + 1]  # the token before target t stands at t
            with torch.no_grad():
                scores = theirs(torch.tensor([before])).logits[0, -1]
            losses.append(-float(scores.log_softmax(-1)[stream[target]]))
        stop = min(stop + stride, len(stream))
    return losses


@pytest.mark.parametrize("stride", [CONTEXT, 7])
def test_losses_equal_transformers_token_by_token(
    directory: Path, model: LanguageModel, text: Path, stride: int
) -> None:
    expected = naive_losses(directory, model, stride)
    split = read_text([str(text)], model.tokenizer)
    losses = token_losses(model.transformer, split, Windows(CONTEXT, stride, 3))
    np.testing.assert_allclose(losses, expected, atol=2e-5)
    result = evaluate(model, str(text), stride=stride)
    assert result.loss == pytest.approx(np.mean(expected), abs=1e-5)
    assert result.perplexity == pytest.approx(math.exp(np.mean(expected)), rel=1e-5)
    size = sum(len(document.encode()) for document in DOCUMENTS)
    assert result.bytes == size
    assert result.bits_per_byte == pytest.approx(sum(expected) / math.log(2) / size, abs=1e-5)


def figures(result: Evaluation) -> dict[str, object]:
    return {name: value for name, value in result.to_json().items() if name != "seconds"}


@pytest.mark.parametrize("stride", [None, 5])
def test_the_batch_size_changes_nothing(
    model: LanguageModel, text: Path, stride: int | None
) -> None:
    results = [figures(evaluate(model, text, batch_size=b, stride=stride)) for b in (1, 3, 16)]
    assert results[0] == results[1] == results[2]


def test_intervals_hold_the_figure(model: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_text(
        "\n".join(json.dumps({"text": f"{n} " + "words and words " * (n % 5)}) for n in range(40))
    )
    result = evaluate(model, tmp_path / "many.jsonl")
    assert result.interval_units == "documents"
    for name in ("loss", "perplexity", "bits_per_byte"):
        low, high = getattr(result, f"{name}_interval")
        assert low < getattr(result, name) < high


def test_text_is_cleaned_as_prepare_does(model: LanguageModel, tmp_path: Path) -> None:
    raw = "cafe\u0301\r\nsecond\x00 line\ufeff"
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": raw}))
    split = read_text([str(tmp_path / "a.jsonl")], model.tokenizer)
    assert model.tokenizer.decode(split.tokens.tolist()) == clean(raw) != raw


def test_special_tokens_in_the_text_stay_text(model: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one<|endoftext|>two")
    split = read_text([str(tmp_path / "a.txt")], model.tokenizer)
    assert len(split.starts) - 1 == 1
    assert np.count_nonzero(split.tokens == model.tokenizer.end_id) == 1


def test_documents_do_not_change_each_others_losses(model: LanguageModel, tmp_path: Path) -> None:
    losses = []
    for first in ("abcdefghij", "0123456789"):
        path = tmp_path / "two.jsonl"
        path.write_text("\n".join(json.dumps({"text": t}) for t in (first, "the same document")))
        split = read_text([str(path)], model.tokenizer)
        losses.append(token_losses(model.transformer, split, Windows(CONTEXT, CONTEXT, 1))[11:])
    assert np.array_equal(losses[0], losses[1])


def test_a_model_with_its_own_start_token_begins_documents_with_it(
    model: LanguageModel, text: Path
) -> None:
    split = read_text([str(text)], model.tokenizer)
    windows = Windows(CONTEXT, CONTEXT, 4)
    usual = token_losses(model.transformer, split, windows)
    same = token_losses(model.transformer, split, windows, model.tokenizer.end_id)
    other = token_losses(model.transformer, split, windows, 65)
    assert np.array_equal(usual, same)
    assert usual[0] != other[0]


def test_max_tokens_scores_the_beginning_of_files(model: LanguageModel, text: Path) -> None:
    split = read_text([str(text)], model.tokenizer)
    whole = token_losses(model.transformer, split, Windows(CONTEXT, CONTEXT, 4))
    result = evaluate(model, text, max_tokens=2 * CONTEXT)
    assert result.tokens == 2 * CONTEXT
    assert result.loss == pytest.approx(float(whole[: 2 * CONTEXT].mean()), abs=1e-6)
    assert first_tokens(split, 25, model.tokenizer).starts.tolist() == [0, 21, 25]


@pytest.mark.parametrize("stride", [CONTEXT, 8])
def test_max_tokens_scores_some_of_a_store_as_all_of_it_would_be(
    model: LanguageModel, text: Path, tmp_path: Path, stride: int
) -> None:
    lines = [json.dumps({"text": f"{n} {document}"}) for n in range(30) for document in DOCUMENTS]
    text.write_text("\n".join(lines), encoding="utf-8")
    flags = {"tokenizer": "bytes", "deduplicate": "none", "val_fraction": 0.5, "workers": 1}
    split = prepare([str(text)], tmp_path / "store", **flags).val
    whole = token_losses(model.transformer, split, Windows(CONTEXT, stride, 4))
    starts, stops = window_bounds(len(split), CONTEXT, stride, 500)
    places = [n for start, stop in zip(starts, stops, strict=True) for n in range(start, stop)]
    result = evaluate(model, tmp_path / "store", max_tokens=500, stride=stride)
    assert result.tokens == len(places) <= 500 < len(split) / 4
    assert result.loss == pytest.approx(float(whole[places].mean()), abs=1e-6)
    sizes = np.where(split.tokens == split.end_id, 0, 1)  # one byte a token, but the end tokens
    assert result.bytes == int(sizes[places].sum())
    owners = [int(np.searchsorted(split.starts, place, side="right")) - 1 for place in places]
    assert result.documents == len(set(owners))
    lengths = np.diff(split.starts)
    assert result.documents_over_context == sum(lengths[n] > CONTEXT for n in set(owners))


def test_documents_seen_in_training_are_counted() -> None:
    generator = np.random.default_rng(0)

    def split(*documents: np.ndarray) -> Split:
        ended = [np.append(document, 0) for document in documents]
        starts = np.cumsum([0, *map(len, ended)])
        return Split("x", np.concatenate(ended).astype(np.uint16), starts, 0, 60_000)

    seen, half, new = (generator.integers(1, 60_000, 800) for _ in range(3))
    train = split(generator.integers(1, 60_000, 500), seen, half[:300])
    held_out = split(seen, half, new, np.arange(1, 5))
    assert seen_in_training(train, held_out) == 1
    assert seen_in_training(train, held_out, np.array([1, 2])) == 0


def test_documents_longer_than_the_context_are_counted(model: LanguageModel, text: Path) -> None:
    assert evaluate(model, text).documents_over_context == 2


def test_what_cannot_be_evaluated_is_said(
    model: LanguageModel, directory: Path, text: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no held-out text of its own"):
        evaluate(directory)
    with pytest.raises(UserError, match="no such file"):
        evaluate(model, tmp_path / "missing.txt")
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(UserError, match="holds no text"):
        evaluate(model, tmp_path / "empty.txt")
    with pytest.raises(UserError, match="stride"):
        evaluate(model, text, stride=CONTEXT + 1)


def test_text_of_fewer_tokens_than_a_window_is_scored_whole(
    model: LanguageModel, tmp_path: Path
) -> None:
    (tmp_path / "short.txt").write_text("ab")
    result = evaluate(model, tmp_path / "short.txt")
    assert (result.tokens, result.bytes, result.loss_interval) == (3, 2, None)


def test_a_space_that_the_tokenizer_puts_before_a_text_is_no_byte_of_it(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Theirs
    from tokenizers import decoders, models, pre_tokenizers, trainers

    theirs = Theirs(models.BPE(byte_fallback=True, unk_token="<unk>"))
    theirs.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    theirs.decoder = decoders.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    theirs.train_from_iterator(["It was a dark night", "the lamp burned low"], trainer)
    (tmp_path / "tokenizer").mkdir()
    theirs.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    size = ModelSettings(family="llama", layers=1, width=32, heads=4, context_length=CONTEXT)
    model = Transformer(config_for(size, tokenizer.vocab_size))
    save(tmp_path / "model", model, tokenizer)
    documents = ["a dark lamp", "low", "It was night"]
    lines = [json.dumps({"text": document}) for document in documents]
    (tmp_path / "text.jsonl").write_text("\n".join(lines))
    result = evaluate(tmp_path / "model", tmp_path / "text.jsonl")
    assert result.bytes == sum(map(len, documents))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_batch_size_changes_nothing_where_short_documents_follow_long_ones(
    directory: Path, tmp_path: Path, precision: str
) -> None:
    long, short = "The lamp burned low, and nobody slept. " * 30, ["one", "two", "three"]
    lines = [json.dumps({"text": text}) for text in (long, *short, long, *short)]
    (tmp_path / "mixed.jsonl").write_text("\n".join(lines))
    model = load_language_model(directory, precision=precision)  # type: ignore[arg-type]
    results = [
        figures(evaluate(model, tmp_path / "mixed.jsonl", batch_size=b, precision=precision))
        for b in (1, 3, 16)
    ]
    assert results[0] == results[1] == results[2]
