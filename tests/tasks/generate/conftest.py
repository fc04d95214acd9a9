from __future__ import annotations

from pathlib import Path

import pytest

from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.training import train_bpe

DATA = Path(__file__).parents[3] / "examples" / "data"


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    texts = [path.read_text(encoding="utf-8") for path in sorted(DATA.iterdir())]
    return train_bpe(texts, 1200, 10**6)
