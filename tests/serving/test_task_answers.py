from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from small_models import ARGUMENTS, DATA, our_encoder_decoder
from support.servers import served

import nextword as nw


def trained(folder: Path, name: str, base: Path) -> Path:
    files, arguments = ARGUMENTS[name]
    data = [str(DATA / file) for file in files]
    nw.finetune(base, data, folder / "run", epochs=1, **arguments)
    return folder / "run"


def ask(address: str, route: str, **body: Any) -> list[dict[str, Any]]:
    answer = httpx.post(f"{address}/{route}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def test_a_classifier_says_what_it_says_in_python(writer: Path, tmp_path: Path) -> None:
    run = trained(tmp_path, "single", writer)
    texts = ["Worth every penny.", "It broke at once."]
    with served(run) as at:
        assert ask(at, "classify", input=texts) == nw.load_task(run).classify(texts)
        assert len(ask(at, "classify", input=texts[0])) == 1
        refused = httpx.post(f"{at}/v1/completions", json={"prompt": "a"})
        assert refused.status_code == 404 and "cannot go on" in refused.json()["error"]["message"]
        refused = httpx.post(f"{at}/tag", json={"input": "a"})
        assert refused.status_code == 404 and "classify" in refused.json()["error"]["message"]
        pair = httpx.post(f"{at}/classify", json={"input": [["a", "b"]]})
        assert pair.status_code == 400 and "not pairs" in pair.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["decoder", "encoder–decoder"])
def test_a_translator_writes_what_it_writes_in_python(
    writer: Path, tmp_path: Path, kind: str
) -> None:
    base = writer if kind == "decoder" else our_encoder_decoder(tmp_path / "base")
    run = trained(tmp_path, "translate", base)
    texts = ["The cat is here.", "<|endoftext|>"]
    expected = nw.load_task(run).translate(texts)
    with served(run) as at:
        assert [one["answer"] for one in ask(at, "translate", input=texts)] == expected


def test_questions_are_answered_and_words_tagged_as_in_python(writer: Path, tmp_path: Path) -> None:
    run = trained(tmp_path, "qa, pointed at", writer)
    context, question = "The mill stood by the river since 1850.", "Since when?"
    with served(run) as at:
        (found,) = ask(at, "answer", context=context, question=question)
        assert found["answer"] == nw.load_task(run).answer(context, question)
    (tmp_path / "tags").mkdir()
    run = trained(tmp_path / "tags", "tag", writer)
    text = "Ada met Bob in Paris."
    with served(run) as at:
        (found,) = ask(at, "tag", input=text)
        assert (found.get("entities") or found.get("tagged") or []) == nw.load_task(run).tag(text)


def test_an_encoder_fills_gaps_as_in_python(tmp_path: Path) -> None:
    from nextword.hub.writing import save
    from nextword.models.config import TransformerConfig
    from nextword.models.sizes import STYLES
    from nextword.models.transformer import Transformer
    from nextword.tokens.control_tokens import MASKED
    from nextword.tokens.tokenizer_training import train_bpe

    tokenizer = train_bpe(["The cat sat on the mat. " * 50], 300, 10**6, MASKED)
    config = TransformerConfig(
        family="modernbert", vocab_size=tokenizer.vocab_size, context_length=128, layers=2,
        width=32, heads=2, kv_heads=2, head_width=16, mlp_width=64, **STYLES["modernbert"],
    )  # fmt: skip
    save(tmp_path / "tiny", Transformer(config, seed=3), tokenizer)
    text = "The cat [MASK] on the [MASK]."
    with served(tmp_path / "tiny") as at:
        (found,) = ask(at, "fill", input=text, top_k=3)
        expected = nw.load(tmp_path / "tiny").fill(text, 3)
        assert found["text"] == expected.text
        assert [[one["word"] for one in gap] for gap in found["gaps"]] == [
            [one.word for one in gap] for gap in expected.gaps
        ]
        refused = httpx.post(f"{at}/fill", json={"input": "no gap"})
        assert refused.status_code == 400 and "[MASK]" in refused.json()["error"]["message"]
        assert (
            len(httpx.post(f"{at}/v1/embeddings", json={"input": ["a", "b b b"]}).json()["data"])
            == 2
        )
