"""Encoders, as transformers writes them, are read, fine-tuned and refused what they cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers
from small_models import DATA, encoders_tokenizer, some, their_encoder

from nextword.cli.main import main
from nextword.errors import UserError
from nextword.inference.language_model import load
from nextword.models.config import ENCODERS
from nextword.tasks.records import read_records
from nextword.tokens.tokenizer import Tokenizer
from nextword.verbs.finetune import finetune
from nextword.verbs.predict import predict


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(f, marks=[pytest.mark.slow] * (f not in ("bert", "modernbert")))
        for f in ENCODERS
    ],
)
def test_ten_examples_are_learned_by_heart_by_an_encoder(family: str, tmp_path: Path) -> None:
    base = their_encoder(tmp_path / "base", family)
    (data,) = some("single", tmp_path / "ten", 10)
    finished = finetune(
        base,
        data,
        tmp_path / "run",
        task="classify",
        val=[str(data)],
        precision="fp32",
        learning_rate=2e-3,
        schedule="constant",
        batch_size=10,
        steps=1000,
        eval_every=25,
    )
    assert "nothing is left to learn" in finished.finished and finished.steps < 1000
    found = predict(tmp_path / "run", data)
    assert [row["label"] for row in found] == [r["label"] for r in read_records([str(data)])]


@pytest.mark.parametrize("family", ENCODERS)
def test_gaps_are_filled_as_transformers_fills_them(family: str, tmp_path: Path) -> None:
    """Theirs opened here; the template, the gaps and the probabilities of their pipeline."""
    base = their_encoder(tmp_path / "base", family)
    there = transformers.pipeline("fill-mask", str(base))
    mask = there.tokenizer.mask_token
    text = f"The {mask} lay on the {mask} for an hour."
    found = load(base, precision="fp32").fill(text)
    for gap, expected in zip(found.gaps, there(text), strict=True):
        assert [candidate.id for candidate in gap] == [row["token"] for row in expected]
        shares = [candidate.probability for candidate in gap]
        assert shares == pytest.approx([row["score"] for row in expected], abs=1e-4)


def test_an_encoder_is_asked_for_what_it_can_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = str(their_encoder(tmp_path / "base", "bert"))
    data = str(DATA / "summaries.jsonl")
    for command in (
        ["generate", base, "Once"],
        ["finetune", base, data, "--task", "summarize", "--out", str(tmp_path / "run")],
        ["evaluate", base, data, "--task", "summarize"],
        ["predict", base, data, "--task", "summarize", "--out", str(tmp_path / "out.jsonl")],
    ):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "is an encoder (bert)" in said and "nextword fill" in said, command
    asked = ["finetune", base, str(DATA / "qa.json"), "--task", "qa", "--out", str(tmp_path / "qa")]
    assert main(asked) == 2
    assert "is an encoder (bert)" in (said := capsys.readouterr().err) and "add --extract" in said
    assert "classify" not in said
    assert main(["info", base]) == 0
    assert "an encoder: it fills in masked words" in capsys.readouterr().err


@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoders_tokenizer_gives_the_ids_and_types_of_transformers(
    family: str, tmp_path: Path
) -> None:
    """Alone, in pairs and cut; its control tokens are known though its files leave them unnamed."""
    theirs_ = encoders_tokenizer(family)
    theirs_.save_pretrained(tmp_path)
    ours_ = Tokenizer.load(tmp_path)
    long, other = "An oak — 橡樹 ǎé! " * 12, "On the hill. " * 9
    for texts in ((long,), (long, other), (other, long), ("One oak.", "Two?"), ("",)):
        for limit in (None, 4, 31, 32):
            if limit == 4 and len(texts) > 1 and family == "roberta":
                continue  # no room but for the template's own tokens
            cut = {} if limit is None else {"truncation": True, "max_length": limit}
            expected = theirs_(*texts, **cut)
            types = expected.get("token_type_ids", [0] * len(expected["input_ids"]))
            text, pair = (*texts, None)[:2]
            assert ours_.encode_with_types(text, pair, limit) == (expected["input_ids"], types)
    roles = ("mask", "cls", "sep", "pad")
    wanted = [getattr(theirs_, f"{role}_token_id") for role in roles]
    bare = Tokenizer(ours_.definition, {"model_max_length": 512})
    for tokenizer in (ours_, bare):
        assert [tokenizer.role_id(f"{role}_token") for role in roles] == wanted
        assert tokenizer.mask_id == wanted[0] and tokenizer.end_id == wanted[2]
    assert wanted[0] not in ours_.encode(theirs_.mask_token)  # what people write is text


def test_word_pieces_without_a_definition_are_named_with_what_makes_one(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    with pytest.raises(UserError, match=r"has a vocab.txt, but no tokenizer.json; make it: Auto"):
        Tokenizer.load(tmp_path)
