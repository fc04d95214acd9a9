"""A model's directory that means harm: nothing in it is run, nothing outside it is opened."""

from __future__ import annotations

import copy
import gzip
import io
import json
import pickle
import random
import resource
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nextword.errors import UserError
from nextword.hub.reading import FILES, load, load_model
from nextword.hub.writing import save
from nextword.inference.language_model import load_language_model
from nextword.models.config import DECODERS
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.tokenizer_training import byte_tokenizer

SETTINGS = ModelSettings(family="llama", layers=2, width=32, heads=2, context_length=16)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tokenizer = byte_tokenizer()
    model = Transformer(config_for(SETTINGS, tokenizer.vocab_size))
    save(tmp_path / "safe", model, tokenizer)
    return tmp_path / "safe"


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, opened: Path) -> None:
        self.opened = opened

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.opened,)


def wrapped(trap: Trap, way: str) -> bytes:
    if way.startswith("protocol"):
        return pickle.dumps(trap, int(way[-1]))
    if way == "torch":
        buffer = io.BytesIO()
        torch.save({"weight": torch.ones(1), "trap": trap}, buffer)
        return buffer.getvalue()
    if way == "old torch":
        buffer = io.BytesIO()
        torch.save({"trap": trap}, buffer, _use_new_zipfile_serialization=False)
        return buffer.getvalue()
    if way == "gzip":
        return gzip.compress(pickle.dumps(trap))
    if way == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(trap))
        return buffer.getvalue()
    payload = pickle.dumps(trap)  # as a safetensors header
    return len(payload).to_bytes(8, "little") + payload


WAYS = [*(f"protocol {n}" for n in range(6)), "torch", "old torch", "gzip", "zip", "header"]
SLOTS = ["model.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.json"]
SLOTS += ["tokenizer_config.json", "generation_config.json"]
BESIDE = ["pytorch_model.bin", "training_args.bin", "optimizer.pt", "rng_state.pth", "cache.pkl"]
BESIDE += [
    "adapter_model.bin",
    "adapter_model.safetensors",
    "tokenizer.model",
    "chat_template.jinja",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("slot", SLOTS)
def test_a_pickle_in_the_place_of_any_file_is_refused_and_never_opened(
    directory: Path, slot: str, way: str
) -> None:
    opened = directory.parent / "opened"
    (directory / slot).write_bytes(wrapped(Trap(opened), way))
    with pytest.raises(UserError) as caught:
        load_language_model(directory)
    assert slot in str(caught.value) and len(str(caught.value)) < 500
    assert not opened.exists()


@pytest.mark.parametrize("slot", BESIDE)
def test_a_pickle_beside_the_model_is_left_alone(directory: Path, slot: str) -> None:
    opened = directory.parent / "opened"
    (directory / slot).write_bytes(pickle.dumps(Trap(opened)))
    load_language_model(directory)
    assert not opened.exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "model.pkl"])
def test_pickled_weights_alone_are_named_and_never_opened(
    directory: Path, name: str, way: str
) -> None:
    opened = directory.parent / "opened"
    (directory / "model.safetensors").unlink()
    (directory / name).write_bytes(wrapped(Trap(opened), way))
    with pytest.raises(UserError, match="holds pickled weights"):
        load_language_model(directory)
    index = {"weight_map": {"model.norm.weight": name}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="holds pickled weights"):
        load_language_model(directory)
    assert not opened.exists()


def test_code_and_templates_that_come_with_a_model_are_not_run(directory: Path) -> None:
    opened = directory.parent / "opened"
    code = f"import pathlib; pathlib.Path({str(opened)!r}).touch()\nclass Evil: pass\n"
    (directory / "evil.py").write_text(code)
    template = "{{ cycler.__init__.__globals__.os.system('touch " + str(opened) + "') }}"
    (directory / "chat_template.jinja").write_text(template)
    changes: dict[str, dict[str, Any]] = {
        "config.json": {
            "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"},
            "custom_pipelines": {"x": {"impl": "evil.Evil"}},
            "trust_remote_code": True,
        },
        "tokenizer_config.json": {
            "auto_map": {"AutoTokenizer": ["evil.Evil", None]},
            "tokenizer_class": "Evil",
            "chat_template": template,
        },
        "generation_config.json": {"custom_generate": "evil", "trust_remote_code": True},
    }
    for file, change in changes.items():
        values = json.loads((directory / file).read_text())
        (directory / file).write_text(json.dumps(values | change))
    model = load_language_model(directory)
    assert isinstance(model.generate("x", max_new_tokens=2), str)
    assert not opened.exists()
    save(directory.parent / "again", model.transformer)
    assert "auto_map" not in (directory.parent / "again" / "config.json").read_text()


NAMES = ["../safe_x/model.safetensors", "../safe/../secret.safetensors", "sub/model.safetensors"]
NAMES += ["/tmp/model.safetensors", "..", ".", "", "model.safetensors/", "./model.safetensors"]


@pytest.mark.parametrize("name", NAMES)
def test_an_index_names_nothing_outside_the_directory(directory: Path, name: str) -> None:
    (directory / "sub").mkdir()
    (directory.parent / "safe_x").mkdir()
    for place in ("safe_x/model.safetensors", "secret.safetensors", "safe/sub/model.safetensors"):
        shutil.copy(directory / "model.safetensors", directory.parent / place)
    index = {"weight_map": dict.fromkeys(load_file(directory / "model.safetensors"), name)}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="not a plain file name"):
        load_model(directory)


@pytest.mark.parametrize("file", ["model.safetensors", *FILES])
def test_a_link_out_of_the_directory_is_not_followed(directory: Path, file: str) -> None:
    sibling = directory.parent / "safe_x"  # its name begins as the directory's does
    sibling.mkdir()
    shutil.move(directory / file, sibling / file)
    (directory / file).symlink_to(sibling / file)
    with pytest.raises(UserError, match=r"is a link to .*safe_x.* outside the model's directory"):
        load(directory)


def test_links_of_the_hubs_cache_are_followed_and_no_others(directory: Path) -> None:
    cache = directory.parent / "models--somebody--something"
    snapshot, blobs = cache / "snapshots" / "abc", cache / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in directory.iterdir():
        shutil.copy(file, blobs / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    load_language_model(snapshot)
    (cache / "blobs_x").mkdir()
    shutil.move(blobs / "model.safetensors", cache / "blobs_x" / "model.safetensors")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../blobs_x/model.safetensors")
    with pytest.raises(UserError, match="outside the model's directory"):
        load_language_model(snapshot)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow(cases=10_000))])
def test_damaged_headers_are_refused_or_harmless(directory: Path, count: int) -> None:
    """Bytes changed, inserted and cut, lengths and numbers made huge, names and types swapped."""
    path = directory / "model.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header, body = whole[8 : 8 + length], whole[8 + length :]
    names = set(load_model(directory).state_dict())
    random_ = random.Random(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused, slowest = 0, 0.0
    for _ in range(count):
        path.write_bytes(damaged(header, body, random_))
        started = time.process_time()
        try:
            loaded = load_model(directory)
        except UserError as error:
            refused += 1
            assert str(directory) in str(error) and len(str(error)) < 700
        else:
            # Spaces or metadata have changed, or tensors of one shape their places.
            assert set(loaded.state_dict()) == names
        slowest = max(slowest, time.process_time() - started)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert refused > 0.8 * count and slowest < 5 and grown < 100


def damaged(header: bytes, body: bytes, random_: random.Random) -> bytes:
    length = len(header)
    way = random_.randrange(7)
    if way == 0:  # bytes changed
        changed = bytearray(header)
        for _ in range(random_.randint(1, 8)):
            changed[random_.randrange(length)] = random_.randrange(256)
        header = bytes(changed)
    elif way == 1:  # cut, with its length told or not
        header = header[: random_.randrange(length)]
        length = len(header) if random_.random() < 0.5 else length
    elif way == 2:  # another length
        length = random_.choice([0, 1, 7, 2**31, 2**32, 2**63, 2**64 - 1, random_.getrandbits(64)])
    elif way == 3:  # bytes inserted
        place = random_.randrange(length)
        header = header[:place] + random_.randbytes(random_.randint(1, 50)) + header[place:]
        length = len(header)
    elif way == 4:  # JSON that is nested deeply, or repeats its names
        inner = b"[" * 10**5 if random_.random() < 0.5 else b'{"a":' * 10**4
        header = random_.choice([inner, b'{"x":' + inner, header[:-1] + b"," + header[1:]])
        length = len(header)
    else:  # one entry of one tensor
        values = json.loads(header)
        entry = values[random_.choice([name for name in values if name != "__metadata__"])]
        key = random_.choice(["dtype", "shape", "data_offsets"])
        huge = [2**31, 2**32, 2**62, 2**63, 2**64, -1, 0, 1.5, None, "x", [], {}]
        entry[key] = random_.choice(
            [random_.choice(huge), [random_.choice(huge)] * random_.randint(1, 3), "I64", "F8_E4M3"]
        )
        header = json.dumps(values).encode()
        length = len(header)
    if way == 6:
        body = body[: random_.randrange(len(body))]
    return length.to_bytes(8, "little") + header + body


WORDS: list[Any] = [None, True, 0, -1, 1, 3, 1.5, 1e-320, 1e300, 10**6, 2**31, 10**12, 10**40]
WORDS += [float("nan"), float("inf"), "", "x", "1", [], [1], {}, {"a": 1}, ["full_attention"]]
WORDS += ["linear", "yarn", {"rope_type": "yarn"}, {"rope_type": "yarn", "factor": 0}]
WORDS += [{"rope_type": "llama3", "factor": 2, "low_freq_factor": 1, "high_freq_factor": 1}]
WORDS += [{"type": "yarn", "factor": 4.0, "beta_fast": "x"}, {"rope_type": ["yarn"]}]
ROPES: list[Any] = [None, {"rope_type": "yarn", "factor": 2.0}, {"type": "linear", "factor": 2.0}]
ROPES += [{"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 2.0}]


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow(cases=10_000))])
def test_damaged_configs_are_refused_or_give_finite_numbers(tmp_path: Path, count: int) -> None:
    for family in DECODERS:
        config = config_for(SETTINGS, 50)
        if family == "gpt2":
            config = config_for(SETTINGS.model_copy(update={"family": "gpt2"}), 50)
        qwen = {"qk_norm": family == "qwen3", "attention_bias": family == "qwen2"}
        config = config if family == "gpt2" else replace(config, family=family, **qwen)
        save(tmp_path / family, Transformer(config))
    random_ = random.Random(0)
    opened = 0
    for _ in range(count):
        folder = tmp_path / random_.choice(DECODERS)
        sound = (folder / "config.json").read_text()
        values = json.loads(sound)
        if folder.name != "gpt2":
            values["rope_scaling"] = copy.deepcopy(random_.choice(ROPES))
            values |= {"use_sliding_window": True, "sliding_window": 5}
        for _ in range(random_.choice((1, 1, 2, 4))):
            inner = values.get("rope_scaling")
            target = inner if isinstance(inner, dict) and random_.random() < 0.3 else values
            names = [*target, "head_dim", "rope_parameters", "partial_rotary_factor"]
            target[random_.choice(names)] = copy.deepcopy(random_.choice(WORDS))
        (folder / "config.json").write_text(json.dumps(values))
        started = time.process_time()
        try:
            model = load_model(folder)
            with torch.no_grad():
                assert model(torch.zeros(1, 4, dtype=torch.int64)).isfinite().all(), values
            opened += 1
        except UserError as error:
            assert len(str(error)) < 500, values
        finally:
            (folder / "config.json").write_text(sound)
        assert time.process_time() - started < 5, values
    assert 0.1 * count < opened < 0.6 * count


@pytest.mark.parametrize("text", ["[" * 100_000, '{"vocab_size": ' + "9" * 5000 + "}", "\x00", '"'])
def test_a_config_that_is_no_json_is_refused(directory: Path, text: str) -> None:
    (directory / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        load_model(directory)


def test_a_config_that_asks_for_far_more_than_the_weights_hold_takes_no_memory(
    directory: Path,
) -> None:
    values = json.loads((directory / "config.json").read_text())
    changes: dict[str, Any] = {
        "vocab_size": 2**31 - 1,
        "head_dim": 2**30,
        "num_hidden_layers": 9999,
    }
    for key, value in changes.items():
        (directory / "config.json").write_text(json.dumps(values | {key: value}))
        with pytest.raises(UserError, match="parameters, but the weights beside it are"):
            load_model(directory)
