"""What is found is compared with the documents' own text, searched as text."""

from __future__ import annotations

import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextword.errors import UserError
from nextword.settings import TraceSettings
from nextword.tokens import source_index
from nextword.tokens.passages import Trace, trace
from nextword.tokens.prepare import prepare
from nextword.tokens.shards import ShardWriter, id_dtype, write_index
from nextword.tokens.source_index import FOLDER, is_current, open_index
from nextword.tokens.store import Store, write_manifest
from nextword.tokens.suffix_array import maximal_matches
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import train_bpe

WORDS = """the old lamp burned low and nobody came home while rain fell on every roof of that town
naïve cafés 🙂 床前 明月光 疑是 地上霜 sailors sang of whales they had never seen""".split()  # noqa: SIM905


def written(seed: int, words: int) -> str:
    """Sentences of drawn words on lines of their own."""
    drawn = random.Random(seed)
    text = ""
    for _ in range(words):
        text += drawn.choice(WORDS) + drawn.choice([" ", " ", " ", ", ", ".\n", "。\n"])
    return text.rstrip() + "\n"


DOCUMENTS = {f"book {number}.txt": written(number, 150) for number in range(6)}
TWICE = DOCUMENTS["book 1.txt"][200:300]
DOCUMENTS["book 5.txt"] += TWICE


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(list(DOCUMENTS.values()), 420, 10**6)


def make_store(path: Path, tokenizer: Tokenizer, texts: dict[str, str], ends: bool = True) -> Store:
    path.mkdir()
    splits = {}
    for name, part in (("train", texts), ("val", {"v": "held out"})):
        lists = [[*tokenizer.encode(text), tokenizer.end_id] for text in part.values()]
        shard = f"{name}-00000"
        if ends:
            with ShardWriter(path, shard, tokenizer.vocab_size, tokenizer.end_id) as writer:
                for source, ids in zip(part, lists, strict=True):
                    writer.append(np.array(ids), [len(ids)], [source])
        else:  # as another tool may write it
            dtype = id_dtype(tokenizer.vocab_size)
            lists = [ids[:-1] for ids in lists]
            np.concatenate([np.array(ids, dtype) for ids in lists]).tofile(path / f"{shard}.bin")
            lengths = np.array([len(ids) for ids in lists], np.int32)
            write_index(path / f"{shard}.idx", lengths, dtype)
        splits[name] = {"documents": len(part), "shards": [{"name": shard}]}
    tokenizer.save(path / "tokenizer")
    write_manifest(path, tokenizer, {"splits": splits}, "bpe")
    return Store.open(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Store:
    return make_store(tmp_path_factory.mktemp("stores") / "store", tokenizer, DOCUMENTS)


def traced(store: Store, text: str, **settings: Any) -> Trace:
    return trace(open_index(store), text, TraceSettings(**settings))


def test_every_passage_is_found_at_its_place(store: Store) -> None:
    drawn = random.Random(1)
    for _ in range(100):
        source = drawn.choice(sorted(DOCUMENTS))
        text = DOCUMENTS[source]
        start = drawn.randrange(len(text) - 90)
        asked = text[start : start + 80]
        found = traced(store, asked, places=10)
        assert found.verbatim_share == 1 and found.text_bytes == len(asked.encode())
        passage = found.passages[0]
        assert passage.text == asked and (passage.start, passage.end) == (0, len(asked))
        assert source in [place.source for place in passage.places]
        for place in passage.places:
            whole = DOCUMENTS[place.source]
            assert place.byte is not None
            at = len(whole.encode()[: place.byte].decode())
            assert whole[at : at + len(asked)] == asked
            assert place.line == 1 + whole[:at].count("\n")
            assert whole[:at].endswith(place.before) and len(place.before) == min(at, 80)
            rest = whole[at + len(asked) :]
            assert rest.startswith(place.after) and len(place.after) == min(len(rest), 80)
        assert passage.occurrences >= sum(text.count(asked) for text in DOCUMENTS.values()) >= 1


def test_a_passage_that_stands_twice_is_found_twice(store: Store) -> None:
    passage = traced(store, TWICE).passages[0]
    assert passage.text == TWICE and passage.occurrences == 2
    assert [place.source for place in passage.places] == ["book 1.txt", "book 5.txt"]
    assert len(traced(store, TWICE, places=1).passages[0].places) == 1


def test_what_was_never_written_is_not_found(store: Store) -> None:
    for seed in range(20):
        found = traced(store, written(seed + 1000, 40), min_tokens=20)
        assert found.passages == [] and found.verbatim_share == 0 and found.longest > 0
    assert traced(store, "").passages == [] and traced(store, "").longest == 0
    assert traced(store, "QQQQ").passages == []


def test_shares_and_passages_are_those_of_the_parts_that_were_copied(store: Store) -> None:
    first, second = DOCUMENTS["book 2.txt"][100:250], DOCUMENTS["book 3.txt"][40:150]
    text = f"QQQ!{first}QQ{second}QQQ"
    found = traced(store, text)
    spans = sorted((passage.start, passage.end) for passage in found.passages)
    assert spans == [(4, 4 + len(first)), (6 + len(first), 6 + len(first) + len(second))]
    copied = len((first + second).encode())
    assert found.verbatim_bytes == copied
    assert found.verbatim_share == pytest.approx(copied / len(text.encode()), abs=1e-6)
    assert [passage.tokens for passage in found.passages] == sorted(
        (passage.tokens for passage in found.passages), reverse=True
    )
    assert len(traced(store, text, top=1).passages) == 1
    assert traced(store, text, top=1).verbatim_share == found.verbatim_share


def test_a_match_that_begins_or_ends_within_a_word_is_found(store: Store) -> None:
    text = DOCUMENTS["book 4.txt"]
    start = text.index("burned") + 2
    for length in (11, 30, 31, 32, 33):
        asked = text[start : start + length]
        (passage,) = traced(store, asked).passages
        assert passage.text == asked
        whole = DOCUMENTS[passage.places[0].source].encode()
        byte = passage.places[0].byte
        assert byte is not None and whole[byte:].startswith(asked.encode())


@pytest.mark.parametrize("ends", [True, False])
def test_no_match_crosses_documents(tmp_path: Path, tokenizer: Tokenizer, ends: bool) -> None:
    texts = {"a": "the old lamp burned low", "b": " and nobody came home", "c": "rain fell"}
    store = make_store(tmp_path / "store", tokenizer, texts, ends)
    found = traced(store, "the old lamp burned low and nobody came home", min_tokens=2)
    assert sorted(passage.text for passage in found.passages) == [
        " and nobody came home",
        "the old lamp burned low",
    ]
    places = [place for passage in found.passages for place in passage.places]
    assert {(place.document, place.byte) for place in places} == {(0, 0), (1, 0)}
    rain = traced(store, "rain fell").passages[0].places[0]
    assert (rain.document, rain.token, rain.line, rain.before, rain.after) == (2, 0, 1, "", "")
    assert rain.source == ("c" if ends else "train document 2")
    assert traced(store, "rain fell" + tokenizer.decode([tokenizer.end_id], False)).longest > 0


def test_parts_of_the_text_give_what_all_of_it_gives(
    store: Store, tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [TWICE, DOCUMENTS["book 0.txt"][:300] + "Q" + DOCUMENTS["book 5.txt"][50:500]]
    assert len(open_index(store).parts) == 1
    whole = [asdict(traced(store, text)) for text in texts]
    monkeypatch.setattr(source_index, "PART", 300)
    parted = make_store(tmp_path / "store", tokenizer, DOCUMENTS)
    assert len(open_index(parted).parts) > 3
    assert [asdict(traced(parted, text)) for text in texts] == whole


def test_the_index_is_kept_and_made_anew_for_another_store(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    store = make_store(tmp_path / "store", tokenizer, {"a": "the old lamp"})
    assert not is_current(store)
    open_index(store)
    assert is_current(store)
    written = (store.path / FOLDER / "suffixes-0.bin").stat().st_mtime_ns
    open_index(store)
    assert (store.path / FOLDER / "suffixes-0.bin").stat().st_mtime_ns == written
    (store.path / FOLDER).rename(tmp_path / "kept")
    other = make_store(tmp_path / "other", tokenizer, {"a": "every roof of that town"})
    (tmp_path / "kept").rename(other.path / FOLDER)
    assert not is_current(other)
    assert traced(other, "roof of that").passages[0].places[0].byte == len("every ")
    assert is_current(other)


def test_a_damaged_index_is_made_anew(tmp_path: Path, tokenizer: Tokenizer) -> None:
    store = make_store(tmp_path / "store", tokenizer, DOCUMENTS)
    expected = asdict(traced(store, TWICE))
    for file in sorted((store.path / FOLDER).iterdir()):
        file.write_bytes(file.read_bytes()[:-8])
        if file.name == "manifest.json":
            file.write_text("{}")
        assert not is_current(store)
        assert asdict(traced(store, TWICE)) == expected
    store.verify()


def test_where_nothing_can_be_written_the_index_is_made_in_memory(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "store", tokenizer, DOCUMENTS)
    monkeypatch.setattr(source_index.os, "access", lambda *_: False)
    assert traced(store, TWICE).passages[0].text == TWICE
    assert not (store.path / FOLDER).exists()


def test_a_store_without_training_text_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    store = make_store(tmp_path / "store", tokenizer, {})
    with pytest.raises(UserError, match="holds no training text"):
        open_index(store)


@pytest.mark.slow
def test_novels_are_searched_as_fast_as_one_types(shared_data: Path, tmp_path: Path) -> None:
    """1,000 passages of 20 tokens at their places, 1,000 shuffled ones nowhere."""
    store = prepare(shared_data / "novels", tmp_path / "store", workers=1)
    began = time.perf_counter()
    index = open_index(store)
    built = time.perf_counter() - began
    tokens, drawn = np.asarray(store.train.tokens), np.random.default_rng(7)
    seconds = []
    for at in drawn.integers(0, len(tokens) - 20, 1000).tolist():
        passage = tokens[at : at + 20].tolist()
        began = time.perf_counter()
        matches = maximal_matches(index.arrays, passage)
        count, places = index.occurrences(passage, 100) if matches == [(0, 20)] else (0, [])
        seconds.append(time.perf_counter() - began)
        if store.train.end_id not in passage:
            found = [int(store.train.starts[document]) + token for document, token in places]
            assert at in found or count > 100
        shuffled = drawn.permutation(passage).tolist()
        assert (0, 20) not in maximal_matches(index.arrays, shuffled)
    print(f"built in {built:.2f} s; a query {1000 * np.mean(seconds):.2f} ms")
