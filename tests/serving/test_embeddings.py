from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import torch
import transformers
from support.servers import client, served

TEXTS = [
    "The cat sat on the mat.",
    "从前有座山",
    "x",
    "A much longer text than the others are. " * 3,
]


def test_vectors_are_the_means_of_the_hidden_states_that_transformers_gives(
    address: str, writer: Path
) -> None:
    answer = client(address).embeddings.create(model="tiny", input=TEXTS, encoding_format="float")
    tokenizer = transformers.AutoTokenizer.from_pretrained(writer)
    model = transformers.AutoModel.from_pretrained(writer).float().eval()
    for text, found in zip(TEXTS, answer.data, strict=True):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            mean = model(ids).last_hidden_state[0].mean(0)
        expected = torch.nn.functional.normalize(mean, dim=0)
        torch.testing.assert_close(torch.tensor(found.embedding), expected, atol=2e-5, rtol=0)


def test_base64_ids_and_single_texts_give_the_same(address: str) -> None:
    create = client(address).embeddings.create
    whole = create(model="tiny", input=TEXTS, encoding_format="float")
    # By default the client asks for base64, which its own strict types do not foresee.
    decoded = client(address, strict=False).embeddings.create(model="tiny", input=TEXTS)
    for found, expected in zip(decoded.data, whole.data, strict=True):
        assert found.embedding == pytest.approx(expected.embedding, abs=1e-6)
    one = create(model="tiny", input=TEXTS[1], encoding_format="float", dimensions=64).data[0]
    assert torch.allclose(
        torch.tensor(one.embedding), torch.tensor(whole.data[1].embedding), atol=1e-5
    )
    ids = httpx.post(f"{address}/tokenize", json={"prompt": TEXTS[1]}).json()["tokens"]
    assert create(model="tiny", input=ids, encoding_format="float").data[0].embedding == (
        pytest.approx(one.embedding, abs=1e-6)
    )
    assert whole.usage.prompt_tokens > 20


@pytest.mark.parametrize(
    "body",
    [{"input": ""}, {"input": []}, {"input": "word " * 900}, {"input": [10**6]},
     {"input": "a", "dimensions": 3}, {"input": "a", "encoding_format": "int8"}, {}],
)  # fmt: skip
def test_what_has_no_vector_is_refused(address: str, body: dict[str, object]) -> None:
    answer = httpx.post(f"{address}/v1/embeddings", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["param"]


def test_an_encoders_padding_changes_nothing(tmp_path: Path) -> None:
    from small_models import our_encoder_decoder

    with served(our_encoder_decoder(tmp_path / "tiny")) as at:
        create = client(at).embeddings.create
        together = create(model="tiny", input=TEXTS, encoding_format="float").data
        for text, found in zip(TEXTS, together, strict=True):
            alone = create(model="tiny", input=text, encoding_format="float").data[0].embedding
            assert found.embedding == pytest.approx(alone, abs=1e-5)
