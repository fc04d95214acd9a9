from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nextword.errors import UserError
from nextword.tokens.infilling import InfillingLoader
from nextword.tokens.prepare import prepare
from nextword.tokens.specials import FIM
from nextword.verbs.pretrain import run_pretraining

SMALL: dict[str, Any] = {
    **{"layers": 1, "width": 32, "heads": 2, "context_length": 64, "precision": "fp32"},
    **{"batch_size": 4, "steps": 4, "eval_every": 4, "tokenizer": "bytes", "workers": 1},
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("\n".join(f"The cat number {n} sat on mat number {n}." for n in range(99)))
    return file


def test_a_decoder_that_learns_middles_is_validated_on_plain_text(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepare(text, tmp_path / "store", tokenizer="bytes", fim_rate=0.9, workers=1)
    ids = {store.tokenizer.special_id(name) for name in FIM}
    assert None not in ids
    seen: list[torch.Tensor] = []
    real = InfillingLoader.batch

    def noted(self: InfillingLoader, first: int, count: int) -> Any:
        batch = real(self, first, count)
        seen.append(batch.targets)
        return batch

    monkeypatch.setattr(InfillingLoader, "batch", noted)
    plain = run_pretraining(store.path, tmp_path / "plain", learning_rate=1e-12, **SMALL)
    assert not seen
    moved = run_pretraining(
        store.path, tmp_path / "moved", learning_rate=1e-12, fim_rate=0.9, **SMALL
    )
    assert ids <= set(torch.cat(seen).unique().tolist())
    assert plain.loss == pytest.approx(moved.loss, abs=1e-6)


def test_a_store_without_the_control_tokens_is_refused_before_training(
    text: Path, tmp_path: Path
) -> None:
    store = prepare(text, tmp_path / "store", tokenizer="bytes", workers=1)
    with pytest.raises(
        UserError, match=r"<\|fim_prefix\|>.*prepare the text again with --fim-rate"
    ):
        run_pretraining(store.path, tmp_path / "run", fim_rate=0.5, **SMALL)


@pytest.mark.parametrize("objective", ["masked", "denoise"])
def test_a_decoder_does_not_learn_from_a_store_whose_tokenizer_closes_prompts(
    objective: Any, text: Path, tmp_path: Path
) -> None:
    store = prepare(text, tmp_path / "store", tokenizer="bytes", objective=objective, workers=1)
    with pytest.raises(
        UserError, match=rf"store: is a store for --objective {objective}, .*give --objective"
    ):
        run_pretraining(store.path, tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def test_an_encoder_learns_from_a_store_whose_tokenizer_has_a_mask(
    text: Path, tmp_path: Path
) -> None:
    masked = prepare(text, tmp_path / "masked", tokenizer="bytes", objective="masked", workers=1)
    causal = prepare(text, tmp_path / "causal", tokenizer=str(masked.path), workers=1)
    assert causal.manifest["settings"]["objective"] == "causal"
    assert run_pretraining(causal.path, tmp_path / "run", objective="masked", **SMALL).steps == 4


@pytest.mark.parametrize(
    ("wanted", "lacks"),
    [
        ({"objective": "masked"}, "no cls_token, which --objective masked"),
        ({"objective": "denoise"}, "no <extra_id_0> .*, which --objective denoise"),
        ({"fim_rate": 0.5}, r"no <\|fim_prefix\|>, which --fim-rate"),
    ],
)
def test_a_tokenizer_that_lacks_what_is_needed_is_refused_before_text_is_read(
    wanted: dict[str, Any], lacks: str, text: Path, tmp_path: Path
) -> None:
    prepare(text, tmp_path / "causal", tokenizer="bytes", workers=1)
    given = SMALL | wanted | {"tokenizer": str(tmp_path / "causal")}
    for _ in range(2):  # nothing is left there that a second try would stumble on
        with pytest.raises(UserError, match=f"{lacks}.*choose another --tokenizer"):
            run_pretraining(text, tmp_path / "run", **given)
    assert not (tmp_path / "run" / "store").exists()
