"""The code of transformers' tutorials on the directory of a model that was pretrained here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import our_encoder_decoder
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    pipeline,
)

from nextword.verbs.pretrain import run_pretraining

SIZE = {"layers": 1, "width": 32, "heads": 2, "context_length": 32, "tokenizer": "bytes"}
SHORT = {"steps": 1, "batch_size": 2, "micro_batch": 2, "sample_every": 0}
TEXTS = ["A fine day, and a long one: " * 8, "Rain."]  # the first is longer than the context


@pytest.fixture(scope="module", params=["gpt2", "llama", "qwen3", "bert", "modernbert"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    words = "The cat sat on the mat and the dog lay on the rug. "
    for number in range(12):
        (folder / f"{number}.txt").write_text(words * 3 + f"It was day {number}.")
    encoder = request.param in ("bert", "modernbert")
    objective = {"objective": "masked"} if encoder else {}
    more = {"deduplicate": "none", "workers": 1, "family": request.param, **objective}
    run_pretraining(folder, folder / "run", **SIZE, **SHORT, **more)
    return folder / "run" / "model"


def test_the_classification_tutorial_trains_on_texts_longer_than_the_context(
    model: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    classifier = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2)
    encodings = tokenizer(TEXTS * 4, truncation=True, padding=True)
    assert {len(ids) for ids in encodings["input_ids"]} == {tokenizer.model_max_length} == {32}
    rows = [
        {name: torch.tensor(values[n]) for name, values in encodings.items()} | {"labels": n % 2}
        for n in range(8)
    ]
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=4, report_to=[]
    )
    trained = Trainer(model=classifier, args=arguments, train_dataset=rows).train()
    assert trained.global_step == 3 and trained.training_loss > 0


def test_the_pipelines_of_its_kind_open_the_directory(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    if tokenizer.mask_token is None:
        write = pipeline("text-generation", model=str(model), max_new_tokens=4, do_sample=False)
        (found,) = write("The cat")
        assert found["generated_text"].startswith("The cat")
    else:
        fill = pipeline("fill-mask", model=str(model))
        assert len(fill(f"The c{tokenizer.mask_token}t sat.")) == 5


def test_an_encoder_decoder_pads_and_cuts_a_batch_as_the_summarization_tutorial_does(
    tmp_path: Path,
) -> None:
    place = our_encoder_decoder(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(place)
    inputs = tokenizer([text * 9 for text in TEXTS], truncation=True, padding=True)
    labels = tokenizer(text_target=TEXTS, truncation=True, padding=True, return_tensors="pt")
    assert max(map(len, inputs["input_ids"])) == tokenizer.model_max_length == 256
    model = AutoModelForSeq2SeqLM.from_pretrained(place)
    loss = model(**inputs.convert_to_tensors("pt"), labels=labels["input_ids"]).loss
    assert torch.isfinite(loss)
