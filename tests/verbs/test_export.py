"""`export` writes what reads back as the same model; Ollama's template says what Jinja's does."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest
import torch

import nextword as nw
from nextword.errors import UserError
from nextword.hub.writing import save
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tasks.generate.chat_template import CHATML, ChatTemplate, with_template
from nextword.tasks.generate.rendering import Renderer
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer, character_tokenizer
from nextword.verbs.export import compare
from nextword.verbs.modelfile import go_template, modelfile, read_turns

TOLD = "You are kind."
# As real ones: SmolLM2's says something where there is no system message; Zephyr's ends turns with
# the token that ends texts; Mistral's has no turn for the system.
SMOLLM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|endoftext|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INSTRUCT = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %}{{ m.content }}<|endoftext|>"
    "{% else %}{{ raise_exception('no system here') }}{% endif %}{% endfor %}"
)
FIRST_ONLY = (
    "{% for m in messages %}{% if loop.first %}Once: {% endif %}{{ m.content }}<|endoftext|>"
    "{% endfor %}{% if add_generation_prompt %}Now: {% endif %}"
)


pytestmark = pytest.mark.usefixtures("cache_is_elsewhere")


def saved(directory: Path, tokenizer: Tokenizer, family: str = "qwen3", scale: float = 2.0) -> Path:
    settings = ModelSettings(
        family=family,  # type: ignore[arg-type]
        layers=1,
        width=64,
        heads=2,
        context_length=48,
    )
    model = Transformer(config_for(settings, tokenizer.vocab_size))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= scale
    save(directory, model, tokenizer)
    return directory


def ollama(go: str, system: str, messages: list[tuple[str, str]]) -> str:
    """What Ollama makes of a template with .System, .Prompt and .Response: each turn in its place,
    up to where the answer begins."""
    text, turns = "", list(messages)
    if turns[0][0] == "system":
        system = turns.pop(0)[1]
    while turns:
        values = {"System": system, "Prompt": turns.pop(0)[1]}
        answer = turns.pop(0)[1] if turns else None
        system, piece = "", go
        for name in ("System", "Prompt"):
            inside = r"\1" if values[name] else ""
            piece = re.sub(
                rf"\{{\{{ if \.{name} \}}\}}(.*?)\{{\{{ end \}}\}}", inside, piece, flags=re.S
            )
            piece = piece.replace(f"{{{{ .{name} }}}}", values[name])
        before, after = piece.split("{{ .Response }}")
        text += before if answer is None else before + answer + after
    return text


@pytest.mark.parametrize("template", [CHATML, SMOLLM, ZEPHYR, INSTRUCT])
@pytest.mark.parametrize("roles", ["u", "uau", "su", "suauau"])
def test_ollamas_template_writes_what_the_models_own_writes(template: str, roles: str) -> None:
    if template == INSTRUCT and "s" in roles:
        pytest.skip("it takes no system message")
    tokenizer = byte_tokenizer()
    names = [{"u": "user", "a": "assistant", "s": "system"}[role] for role in roles]
    variables = ChatTemplate(tokenizer, template).variables()
    (marked,) = Renderer(template, variables).render([(names, True)])
    expected = re.sub("\ufdd1(\\d+)\ufdd1", r"message \1", marked)
    go, system = go_template(read_turns(tokenizer, template), "")
    messages = [(role, f"message {number}") for number, role in enumerate(names)]
    assert ollama(go, system, messages) == expected
    assert system == (TOLD if template == SMOLLM else "")


def test_a_modelfile_names_every_stop(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    end = tokenizer.special_id("<|im_end|>")
    assert end is not None
    text, problem = modelfile(Path("x/my.gguf"), tokenizer, [end, tokenizer.end_id], 48, SMOLLM)
    assert not problem
    lines = text.splitlines()
    assert lines[0] == "FROM ./my.gguf" and lines[-1] == "PARAMETER num_ctx 48"
    assert f'SYSTEM """{TOLD}"""' in lines
    stops = {line.split(" ", 2)[2] for line in lines if line.startswith("PARAMETER stop")}
    assert stops == {'"<|im_start|>"', '"<|im_end|>"', '"<|endoftext|>"'}


@pytest.mark.parametrize("template", [FIRST_ONLY, "{{ messages[0].content }}", "{{ oh no"])
def test_templates_that_go_cannot_write_are_said_to_be(template: str) -> None:
    text, problem = modelfile(Path("my.gguf"), byte_tokenizer(), [256], 48, template)
    assert problem.startswith("Ollama's template could not be made of the model's own")
    assert 'TEMPLATE """{{ .Prompt }}"""' in text


@pytest.mark.parametrize("quantize", ["f32", "f16", "bf16", "q8_0", "q4_0"])
def test_what_is_written_reads_back_as_the_same_model(quantize: str, tmp_path: Path) -> None:
    tokenizer = with_template(byte_tokenizer(), CHATML)
    model = saved(tmp_path / "model", tokenizer)
    out = tmp_path / "my.gguf"
    exported = nw.export(model, out, quantize=quantize)
    assert exported.parity.texts >= 8 and exported.parity.tokens == 48
    most = {"f32": 1e-6, "f16": 1e-4, "bf16": 1e-2, "q8_0": 1e-2, "q4_0": 0.4}
    assert 0 <= exported.parity.kl < most[quantize]
    same = nw.load(out, precision="fp32")
    if quantize == "f32":
        original = nw.load(model, precision="fp32")
        assert same.generate("It was", temperature=0) == original.generate("It was", temperature=0)
    assert same.end_ids == {tokenizer.special_id("<|im_end|>"), tokenizer.end_id}
    assert "<|im_start|>user" in Path(exported.modelfile).read_text()
    page = Path(exported.readme).read_text()
    assert f"vllm serve {model}" in page and "ollama create my -f my.Modelfile" in page
    again = nw.export(out, tmp_path / "again.gguf", quantize="f32")  # and a GGUF file is a MODEL
    assert again.parity.kl < 1e-6


def test_the_file_of_another_model_does_not_pass(tmp_path: Path) -> None:
    first, second = (saved(tmp_path / f, byte_tokenizer(), f, 8.0) for f in ("qwen3", "gpt2"))
    nw.export(first, tmp_path / "first.gguf")
    with pytest.raises(UserError, match=r"another distribution of the next token"):
        compare(nw.load(second, precision="fp32"), tmp_path / "first.gguf")


def test_what_cannot_be_exported_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    chars = saved(tmp_path / "chars", character_tokenizer(["It was a dark night"]))
    for model, out, sentence in (
        (chars, tmp_path / "my.gguf", "WordLevel tokenizer without bytes"),
        (chars, tmp_path / "my", "is no name of a GGUF file; say --out .*my.gguf"),
        (tmp_path / "none", tmp_path / "my.gguf", "no such directory"),
    ):
        with pytest.raises(UserError, match=sentence):
            nw.export(model, out)
    assert [path.name for path in tmp_path.glob("my*")] == []


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", byte_tokenizer())
    folder = tmp_path / "out"
    before, refused = resource.getrlimit(resource.RLIMIT_FSIZE), 0
    try:
        for limit in (100, 5_000, 30_000, 90_000, 150_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            with pytest.raises(UserError, match=r"my\.gguf: the disk is full; free some space"):
                nw.export(model, folder / "my.gguf", quantize="f32")
            refused += 1
            assert list(folder.iterdir()) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused == 5


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", byte_tokenizer())
    (tmp_path / "file").write_text("")
    for out in (
        tmp_path / "file" / "my.gguf",
        Path("/proc/my.gguf"),
        tmp_path / f"{'n' * 300}.gguf",
    ):
        with pytest.raises(UserError, match=r"cannot be written \(.*; choose another --out"):
            nw.export(model, out)


def test_a_model_exported_before_is_replaced_aloud_and_any_other_file_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(tmp_path / "model", byte_tokenizer())
    nw.export(model, tmp_path / "my.gguf")
    assert capsys.readouterr().err == ""  # nor a word on the text that it is compared on
    nw.export(model, tmp_path / "my.gguf", quantize="f32")
    said = capsys.readouterr().err
    assert "my.gguf, my.Modelfile, my.md, which were there, are replaced" in said
    for name, what in (
        ("my.gguf", "is no GGUF file"),
        ("my.Modelfile", "is no Modelfile"),
        ("my.md", "is no page of this command"),
    ):
        was = (tmp_path / name).read_bytes()
        (tmp_path / name).write_text("My own notes.")
        with pytest.raises(UserError, match=rf"{name}: exists and {what}; move it away"):
            nw.export(model, tmp_path / "my.gguf")
        assert (tmp_path / name).read_text() == "My own notes."
        (tmp_path / name).write_bytes(was)
