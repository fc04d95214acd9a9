"""Commands and code for what a run has made, to be copied as they stand."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from nextword.runs.record import Run

SENTINEL = "<extra_id_0>"  # what stands for a hidden span


@dataclass(frozen=True)
class Use:
    title: str
    code: str


def uses(run: Run) -> list[Use]:
    """Commands and code that can be copied as they stand."""
    if run.task and run.task != "text":
        return task_uses(run)
    if run.objective == "masked":
        return _filling(run) + _going_on(run)
    if run.objective == "denoise":
        return _teaching(run) + _going_on(run)
    path, folder = str(run.path), str(run.path / "model")
    quoted, prompt = shlex.quote(path), f'"{run.opening}"'
    found = []
    if run.has_model:
        python = [
            "import nextword as nw",
            "",
            f"model = nw.load({path!r})",
            f"print(model.generate({prompt}, temperature=0.8))",
            f"for piece in model.stream({prompt}):",
            '    print(piece, end="")',
        ]
        transformers = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f"model = AutoModelForCausalLM.from_pretrained({folder!r})",
            f"tokenizer = AutoTokenizer.from_pretrained({folder!r})",
            f'inputs = tokenizer("{run.opening or "The"}", return_tensors="pt")',
            "written = model.generate(**inputs, max_new_tokens=100, do_sample=True)",
            "print(tokenizer.decode(written[0]))",
        ]
        measure = [f"nextword evaluate {quoted}", f"nextword evaluate {quoted} other_text/"]
        found = [
            Use("Let it write", f"{run.trial} --max-new-tokens 200"),
            Use("Measure it", "\n".join(measure)),
            Use("In Python", "\n".join(python)),
            Use("In transformers", "\n".join(transformers)),
        ]
    return found + _going_on(run)


def _filling(run: Run) -> list[Use]:
    if not run.has_model:
        return []
    python = [
        "import nextword as nw",
        "",
        f"model = nw.load({str(run.path)!r})",
        f'print(model.fill("{run.gap}").text)',
    ]
    transformers = [
        "from transformers import pipeline",
        "",
        f'fill = pipeline("fill-mask", {str(run.path / "model")!r})',
        f'print(fill("{run.gap}"))',
    ]
    return [
        Use("Let it fill a gap", run.trial),
        Use("In Python", "\n".join(python)),
        Use("In transformers", "\n".join(transformers)),
    ]


def _teaching(run: Run) -> list[Use]:
    """Of an encoder–decoder, which has learnt no task yet."""
    if not run.has_model:
        return []
    path, folder, gap = str(run.path), str(run.path / "model"), run.gap.replace("[MASK]", SENTINEL)
    python = [
        "import nextword as nw",
        "",
        f'nw.finetune({path!r}, "DATA", "OUT", task="summarize")',
        'print(nw.load_task("OUT").summarize("A document."))',
    ]
    transformers = [
        "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
        "",
        f"model = AutoModelForSeq2SeqLM.from_pretrained({folder!r})",
        f"tokenizer = AutoTokenizer.from_pretrained({folder!r})",
        f'inputs = tokenizer("{gap}", return_tensors="pt")',
        "written = model.generate(**inputs, max_new_tokens=20)",
        "print(tokenizer.decode(written[0]))",
    ]
    return [
        Use("Teach it a task", run.trial),
        Use("Measure it", f"nextword evaluate {shlex.quote(path)}"),
        Use("In Python", "\n".join(python)),
        Use("In transformers", "\n".join(transformers)),
    ]


def task_uses(run: Run) -> list[Use]:
    """The same for a model that was fine-tuned."""
    path, quoted = str(run.path), shlex.quote(str(run.path))
    asked = {
        "classify": 'classify(["A text."])',
        "qa": 'answer("A text.", "A question?")',
        "summarize": 'summarize("A document.")',
        "translate": 'translate("A text.")',
        "chat": 'chat("A question?")',
        "tag": 'tag(["A text."])',
    }
    python = ["import nextword as nw", "", f"model = nw.load_task({path!r})"]
    python.append(f"print(model.{asked.get(run.task, 'predict([])')})")
    predicted = f"nextword predict {quoted} new_data.csv --out predictions.jsonl"
    found = [
        Use("Measure it on a test set", f"nextword evaluate {quoted} test_data.csv"),
        Use("Use it on new data", predicted),
        Use("Compare it", f"nextword compare {quoted} another_run test_data.csv"),
        Use("In Python", "\n".join(python)),
    ]
    return (found if run.has_model else []) + _going_on(run)


def _going_on(run: Run) -> list[Use]:
    if run.finished:
        return []
    words = ["nextword pretrain"]
    if run.task:
        words = ["nextword finetune", shlex.quote(str(run.settings.get("model")))]
    again = " ".join([*words, *map(shlex.quote, run.data)])
    task = f" --task {run.task}" if run.task else ""
    return [Use("Go on with the run", f"{again}{task} --out {shlex.quote(str(run.path))} --resume")]
