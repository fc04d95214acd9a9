"""Encoder–decoders against transformers' T5, and from data to a model that writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file
from small_models import ARGUMENTS, DATA, our_encoder_decoder, some

from nextword.cli.main import main
from nextword.hub.reading import load_model
from nextword.hub.writing import WeightFormat, save
from nextword.inference.beam import BeamSettings, beam_search
from nextword.inference.generate import generate
from nextword.inference.language_model import load_language_model
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.settings import GenerateSettings
from nextword.tasks.records import read_records
from nextword.tokens.control_tokens import SENTINELS
from nextword.tokens.tokenizer import Tokenizer
from nextword.verbs.evaluate import evaluate_task
from nextword.verbs.finetune import finetune
from nextword.verbs.load_task import load_task
from nextword.verbs.predict import predict

TOLERANCE = 1e-4
VOCABULARY = 131
VERSIONS: dict[str, dict[str, Any]] = {
    "v1.0": {},
    "v1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "v1.1, tied": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "narrow distances": {
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 20,
        "num_decoder_layers": 1,
    },
    "mT5": {"feed_forward_proj": "gated-gelu"},
    "mT5, tied": {"feed_forward_proj": "gated-gelu"},
}
UNTIED = ("v1.1", "mT5")
FEW: dict[str, Any] = {
    "precision": "fp32",
    "learning_rate": 2e-3,
    "steps": 6,
    "batch_size": 4,
    "eval_every": 3,
    "save_every": 2,
}


def theirs(version: str) -> Any:
    kind = transformers.MT5Config if version.startswith("mT5") else transformers.T5Config
    config = kind(
        **{
            "vocab_size": VOCABULARY,
            "d_model": 48,
            "d_kv": 8,
            "d_ff": 80,
            "num_layers": 2,
            "num_heads": 6,
            "decoder_start_token_id": 0,
        }
        | VERSIONS[version]
    )
    torch.manual_seed(3)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scaled = getattr(config, "scale_decoder_outputs", False)
            spread = 1.0 if name == "shared.weight" and scaled else 0.2
            parameter.normal_(1.0 if "norm" in name else 0.0, spread)
        if version in UNTIED:
            model.lm_head.weight = torch.nn.Parameter(torch.randn(VOCABULARY, 48) * 0.2)
    return model


def sources() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    lengths = (5, 12, 30, 31, 12)
    return [torch.randint(2, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


def padded(rows: list[list[int]]) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    held = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": held}


@torch.no_grad()
def difference(ours: EncoderDecoder, model: Any) -> float:
    target = torch.randint(2, VOCABULARY, (5, 40), generator=torch.Generator().manual_seed(2))
    expected = model(**padded(sources()), decoder_input_ids=target).logits
    logits = [
        ours.logits(ours(torch.tensor([source]), target[row : row + 1]))
        for row, source in enumerate(sources())
    ]
    return float((torch.cat(logits) - expected).abs().max())


@pytest.mark.parametrize("limit", [10**9, 40_000], ids=["one file", "shards"])
@pytest.mark.parametrize("version", VERSIONS)
def test_logits_are_the_same_both_ways(version: str, limit: int, tmp_path: Path) -> None:
    model = theirs(version)
    model.save_pretrained(tmp_path / "theirs", max_shard_size=limit)
    ours = load_model(tmp_path / "theirs")
    assert isinstance(ours, EncoderDecoder)
    assert ours.config.tied is (version not in UNTIED)
    assert difference(ours, model) < TOLERANCE
    save(tmp_path / "ours", ours, weights=WeightFormat(shard_bytes=limit))
    back, loading = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(loading.values()), loading
    assert difference(ours, back.eval()) < TOLERANCE
    assert load_model(tmp_path / "ours").config == ours.config
    for folder in (tmp_path / "theirs", tmp_path / "ours"):
        assert (len(list(folder.glob("*.safetensors"))) > 1) is (limit < 10**9)


@pytest.mark.parametrize("tied", [True, False])
def test_a_config_of_an_older_version_is_read_as_it_was_meant(tied: bool, tmp_path: Path) -> None:
    """It says of the first version alone that head and embedding are tied, and means the scale."""
    model = theirs("v1.0" if tied else "v1.1")
    model.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values.pop("scale_decoder_outputs")
    values |= {"tie_word_embeddings": tied, "n_positions": 77}
    values.pop("decoder_start_token_id")
    (tmp_path / "config.json").write_text(json.dumps(values))
    ours = load_model(tmp_path)
    assert isinstance(ours, EncoderDecoder)
    assert difference(ours, model) < TOLERANCE
    assert (ours.config.context_length, ours.config.start_id) == (77, 0)


@pytest.mark.parametrize("version", ["v1.0", "v1.1", "mT5"])
@pytest.mark.parametrize(("beams", "penalty"), [(1, 1.0), (2, 0.4), (4, 1.0), (4, 2.0)])
def test_greedy_and_beam_search_write_what_transformers_writes(
    version: str, beams: int, penalty: float, tmp_path: Path
) -> None:
    model, ends = theirs(version), [1, 7, 9, 30]
    model.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    expected = model.generate(
        **padded(sources()),
        num_beams=beams,
        do_sample=False,
        max_new_tokens=24,
        length_penalty=penalty,
        eos_token_id=ends,
        pad_token_id=0,
    ).tolist()
    if beams == 1:
        settings = GenerateSettings(temperature=0, max_new_tokens=24)
        found = generate(ours, sources(), settings, ends)
    else:
        found = beam_search(ours, sources(), BeamSettings(beams, 24, penalty), ends)
    for row, result in zip(expected, found, strict=True):
        assert row[0] == 0
        until = next((n for n, id in enumerate(row) if id in ends), len(row))
        assert result.ids == row[1:until]
    assert any(len(result.ids) > 3 for result in found)


def test_the_source_is_read_once_and_its_keys_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs("v1.1").save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    assert isinstance(ours, EncoderDecoder)
    seen: list[str] = []
    for block in [*ours.encoder.blocks, *ours.decoder.blocks]:
        block.register_forward_hook(lambda *_: seen.append("block"))
    for block in ours.decoder.blocks:
        real = block.cross.key_value  # type: ignore[union-attr]
        monkeypatch.setattr(
            block.cross, "key_value", lambda x, real=real: (seen.append("keys"), real(x))[1]
        )
    beam_search(ours, sources(), BeamSettings(3, 10))
    assert seen.count("keys") == 2 and seen.count("block") == 2 + 2 * 10


def test_samples_are_drawn_with_the_source_of_their_row(tmp_path: Path) -> None:
    theirs("v1.1").save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    settings = GenerateSettings(temperature=1.0, max_new_tokens=12, repetition_penalty=1.3)
    together = generate(ours, sources(), settings)
    alone = [generate(ours, [source], settings)[0] for source in sources()]
    assert [result.ids for result in together] == [result.ids for result in alone]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """T5's tokenizer as transformers saves it: unigrams, sentinels at the end."""
    texts = [p.read_text(encoding="utf-8") for p in sorted(DATA.iterdir()) if p.suffix != ".md"]
    unigram = tokenizers.SentencePieceUnigramTokenizer()
    unigram.train_from_iterator(texts, vocab_size=600, show_progress=False, unk_token="<unk>")
    vocabulary = [(name, score) for name, score in json.loads(unigram.to_str())["model"]["vocab"]]
    first = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary = first + [piece for piece in vocabulary if piece[0] != "<unk>"]
    vocabulary += [(f"<extra_id_{n}>", 0.0) for n in reversed(range(100))]
    folder = tmp_path_factory.mktemp("pieces")
    transformers.T5Tokenizer(vocab=vocabulary).save_pretrained(folder)
    return folder


def test_t5s_tokenizer_gives_the_ids_of_transformers(pieces: Path) -> None:
    other, ours = transformers.AutoTokenizer.from_pretrained(pieces), Tokenizer.load(pieces)
    texts = ["An oak stood on the hill.", "  two  spaces\nand a line ", "", "ärger 橡樹 x", "a"]
    for text in texts:
        ids = other(text)["input_ids"]
        assert ours.encode(text, template=True) == ids and ids[-1] == ours.end_id
        assert ours.decode(ids) == other.decode(ids, skip_special_tokens=True)
    assert (ours.pad_id, ours.end_id) == (other.pad_token_id, other.eos_token_id) == (0, 1)
    for name in SENTINELS:
        assert ours.special_id(name) == other.convert_tokens_to_ids(name)
    written = set(ours.encode("<extra_id_0> </s>"))  # text is text, its rare characters unknown
    assert written & ours.special_ids <= {other.unk_token_id}


def test_a_vocabulary_larger_than_the_tokenizer_is_never_written_from(
    pieces: Path, tmp_path: Path
) -> None:
    size = Tokenizer.load(pieces).vocab_size
    config = transformers.T5Config(
        vocab_size=size + 28, d_model=48, d_kv=8, d_ff=80, num_layers=2, num_heads=6
    )
    transformers.set_seed(1)
    model = transformers.T5ForConditionalGeneration(config)
    model.shared.weight.data[size:] *= 50
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(pieces).save_pretrained(tmp_path)
    ours = load_language_model(tmp_path, precision="fp32")
    source = ours.encode_prompt("An oak.")
    settings = GenerateSettings(temperature=0, max_new_tokens=8)
    (free,) = generate(ours.transformer, [source], settings)
    (kept,) = generate(ours.transformer, [source], settings, vocab_size=size)
    assert max(free.ids) >= size > max(kept.ids)
    assert ours.generate("An oak.", temperature=0, max_new_tokens=8) == ours.tokenizer.decode(
        kept.ids
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return our_encoder_decoder(tmp_path_factory.mktemp("model") / "ours")


def data_of(name: str) -> list[str]:
    return [str(DATA / file) for file in ARGUMENTS[name][0]]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name != "translate"))
        for name in ("translate", "summarize", "qa", "qa in Chinese")
    ],
)
def test_ten_examples_are_learned_by_heart_and_then_it_stops(
    name: str, model: Path, tmp_path: Path
) -> None:
    data = [str(path) for path in some(name, tmp_path / "ten", 10)]
    finished = finetune(
        model,
        data,
        tmp_path / "run",
        **ARGUMENTS[name][1],
        val=data,
        precision="fp32",
        learning_rate=4e-3,
        schedule="constant",
        batch_size=10,
        steps=1000,
        eval_every=25,
    )
    assert "nothing is left to learn" in finished.finished and finished.steps < 1000
    column = {"translate": "de", "summarize": "summary"}.get(name, "answers")
    records = read_records(data)
    for found, record in zip(predict(tmp_path / "run", data), records, strict=True):
        wanted = record[column]
        if isinstance(wanted, str):
            assert found["answer"] == wanted
        else:
            assert found["answer"] in wanted or (not wanted and not found["answer"])


def test_a_task_is_learned_measured_used_and_opens_in_transformers(
    model: Path, tmp_path: Path
) -> None:
    data = data_of("translate")
    finished = finetune(model, data, tmp_path / "run", **FEW, task="translate", dropout=0.1)
    evaluation = evaluate_task(tmp_path / "run", data)
    assert set(finished.metrics) <= set(evaluation.metrics)
    found = [p["answer"] for p in predict(tmp_path / "run", data, num_beams=3, precision="fp32")]
    texts = [record["en"] for record in read_records(data)]
    assert load_task(tmp_path / "run", num_beams=3, precision="fp32").translate(texts) == found
    other = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run" / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    kept = json.loads((tmp_path / "run" / "task.json").read_text())["format"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    written = other.generate(**batch, num_beams=3, max_new_tokens=kept["answer_tokens"])
    assert [t.strip() for t in tokenizer.batch_decode(written, skip_special_tokens=True)] == found
    labels = tokenizer([record["de"] for record in read_records(data)], padding=True)
    wanted = torch.tensor(labels["input_ids"])
    wanted[torch.tensor(labels["attention_mask"]) == 0] = -100
    with torch.no_grad():
        loss = other(**batch, labels=wanted).loss
    assert evaluation.metrics["loss"].value == pytest.approx(float(loss), rel=1e-4)


def test_how_a_step_is_cut_up_changes_nothing(model: Path, tmp_path: Path) -> None:
    kept = []
    for micro in (1, 3, 4):
        own = {**FEW, "steps": 3, "micro_batch": micro, "optimizer": "sgd", "learning_rate": 0.1}
        finetune(model, data_of("qa"), tmp_path / f"{micro}", task="qa", **own)
        kept.append(load_file(tmp_path / f"{micro}/checkpoints/step-00000003/model.safetensors"))
    for key, tensor in kept[0].items():
        for other in kept[1:]:
            assert torch.allclose(tensor, other[key], atol=2e-6), key


def test_predictions_do_not_depend_on_batch_or_order(model: Path, tmp_path: Path) -> None:
    data = some("translate", tmp_path / "some", 12)
    finetune(model, data, tmp_path / "run", **FEW, task="translate")
    figures = []
    for size in (1, 3, 16):
        found = predict(tmp_path / "run", data, precision="fp32", batch_size=size)
        loss = evaluate_task(tmp_path / "run", data, precision="fp32", batch_size=size)
        figures.append((found, round(loss.metrics["loss"].value, 5)))
    assert figures[0] == figures[1] == figures[2]


def test_low_rank_updates_open_with_peft_and_merged_in_transformers(
    model: Path, tmp_path: Path
) -> None:
    own = {**FEW, "task": "translate", "lora": True, "lora_rank": 4, "eval_every": 1}
    finetune(model, data_of("translate"), tmp_path / "run", **own)
    kind = transformers.AutoModelForSeq2SeqLM
    begun = kind.from_pretrained(model)
    adapted = peft.PeftModel.from_pretrained(begun, tmp_path / "run" / "adapter").eval()
    merged = kind.from_pretrained(tmp_path / "run" / "model").eval()
    ids = torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one, other = (m(input_ids=ids, decoder_input_ids=ids).logits for m in (adapted, merged))
        with adapted.disable_adapter():
            base = adapted(input_ids=ids, decoder_input_ids=ids).logits
    assert (one - other).abs().max() < TOLERANCE < (one - base).abs().max()
    tensors = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert sum("EncDecAttention" in name for name in tensors) == 2 * 4 * 2


def moves(model: Path, run: Path, **more: Any) -> dict[str, float]:
    own = {**FEW, "steps": 1, "warmup": 0, "weight_decay": 0, "task": "translate", **more}
    finetune(model, data_of("translate"), run, **own)
    before, after = (load_file(p / "model.safetensors") for p in (model, run / "model"))
    return {name: float((after[name] - tensor).abs().max()) for name, tensor in before.items()}


def test_frozen_layers_stay_and_lower_ones_learn_slower(model: Path, tmp_path: Path) -> None:
    for name, moved in moves(model, tmp_path / "frozen", freeze=1).items():
        still = name in ("shared.weight", "lm_head.weight") or "encoder.block.0." in name
        assert (moved == 0) is still, name
    moved = moves(model, tmp_path / "decayed", layer_decay=0.1)
    for stack, part in (("encoder", "layer.1"), ("decoder", "layer.2")):
        low, high = (moved[f"{stack}.block.{n}.{part}.DenseReluDense.wo.weight"] for n in (0, 1))
        assert low == pytest.approx(0.1 * high, rel=0.01)  # AdamW's first step is the rate


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["finetune", "{model}", "chat.jsonl", "--task", "chat"], "cannot learn the task chat"),
        (["finetune", "{model}", "text.jsonl", "--task", "text"], "cannot learn the task text"),
        (["finetune", "{model}", "classify.csv", "--task", "classify"], "takes no other head"),
        (
            ["finetune", "{model}", "translate.tsv", "--task", "translate", "--freeze", "3"],
            "cannot",
        ),
        (["fill", "{model}", "A [MASK]."], "is an encoder–decoder (t5)"),
    ],
)
def test_what_it_cannot_do_is_said(
    command: list[str],
    sentence: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(model) if word == "{model}" else word for word in command]
    words = [str(DATA / w) if (DATA / w).is_file() else w for w in words]
    words += ["--out", str(tmp_path / "run")] if "finetune" in words else []
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_a_source_that_is_too_long_is_cut_and_still_ends(model: Path, tmp_path: Path) -> None:
    finetune(model, data_of("translate"), tmp_path / "run", **FEW, task="translate")
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"en": "An oak stood on the hill. " * 90, "de": "x"}) + "\n")
    assert predict(tmp_path / "run", long)[0]["answer"] is not None
    assert predict(tmp_path / "run", long, max_length=900)[0]["answer"] is not None


def test_a_task_is_learned_from_texts_longer_than_in_pretraining(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = tmp_path / "long.jsonl"
    record = {"document": "An oak stood on the hill. " * 90, "summary": "An oak. " * 99}
    long.write_text(f"{json.dumps(record)}\n" * 4)
    few = FEW | {"steps": 1, "max_length": 2048, "val": [str(long)]}
    finetune(model, [str(long)], tmp_path / "run", **few, task="summarize")
    assert "cut" not in capsys.readouterr().err
    written = load_language_model(model).generate(
        "An oak. " * 300, temperature=0, max_new_tokens=280
    )
    assert written is not None


@pytest.mark.parametrize("beams", [1, 3])
def test_there_is_no_last_position_to_read_or_to_write(beams: int, tmp_path: Path) -> None:
    other = theirs("v1.1")
    other.config.n_positions = 32
    other.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    assert isinstance(ours, EncoderDecoder) and ours.config.context_length == 32
    source = torch.randint(2, VOCABULARY, (90,), generator=torch.Generator().manual_seed(4))
    expected = other.generate(
        source[None], num_beams=beams, do_sample=False, max_new_tokens=50, eos_token_id=None
    )[0].tolist()
    if beams == 1:
        settings = GenerateSettings(temperature=0, max_new_tokens=50)
        (found,) = generate(ours, [source.tolist()], settings)
    else:
        (found,) = beam_search(ours, [source.tolist()], BeamSettings(beams, 50))
    assert found.ids == expected[1:] and found.finish == "length" and len(found.ids) == 50
