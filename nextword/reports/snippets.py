"""Commands and code for what a run has made, to be copied as they stand."""

from __future__ import annotations

import shlex
from typing import NamedTuple

import jinja2

from nextword.runs.record import Run

SENTINEL = "<extra_id_0>"  # what stands for a hidden span

# Titles and templates for each kind of run whose model is there. `python` and `shell` quote.
GENERATE = {
    "Generate text": "{{ run.trial }} --max-new-tokens 200",
    "Evaluate it": """\
nextword evaluate {{ run.path | shell }}
nextword evaluate {{ run.path | shell }} other_text/""",
    "In Python": """\
import nextword as nw

model = nw.load({{ run.path | python }})
print(model.generate("{{ run.opening }}", temperature=0.8))
for piece in model.stream("{{ run.opening }}"):
    print(piece, end="")""",
    "In transformers": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({{ model | python }})
tokenizer = AutoTokenizer.from_pretrained({{ model | python }})
inputs = tokenizer("{{ run.opening or 'The' }}", return_tensors="pt")
outputs = model.generate(**inputs, max_new_tokens=100, do_sample=True)
print(tokenizer.decode(outputs[0]))""",
}
FILL = {
    "Fill a gap": "{{ run.trial }}",
    "In Python": """\
import nextword as nw

model = nw.load({{ run.path | python }})
print(model.fill("{{ run.gap }}").text)""",
    "In transformers": """\
from transformers import pipeline

fill = pipeline("fill-mask", {{ model | python }})
print(fill("{{ run.gap }}"))""",
}
TEACH = {  # an encoder–decoder, which has not learned a task yet
    "Teach it a task": "{{ run.trial }}",
    "Evaluate it": "nextword evaluate {{ run.path | shell }}",
    "In Python": """\
import nextword as nw

nw.finetune({{ run.path | python }}, "DATA", "OUT", task="summarize")
print(nw.load_task("OUT").summarize("A document."))""",
    "In transformers": """\
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

model = AutoModelForSeq2SeqLM.from_pretrained({{ model | python }})
tokenizer = AutoTokenizer.from_pretrained({{ model | python }})
inputs = tokenizer("{{ run.gap | replace('[MASK]', sentinel) }}", return_tensors="pt")
outputs = model.generate(**inputs, max_new_tokens=20)
print(tokenizer.decode(outputs[0]))""",
}
USE = {  # a model that was fine-tuned
    "Evaluate it on a test set": "nextword evaluate {{ run.path | shell }} test_data.csv",
    "Use it on new data": (
        "nextword predict {{ run.path | shell }} new_data.csv --out predictions.jsonl"
    ),
    "Compare it with another run": (
        "nextword compare {{ run.path | shell }} another_run test_data.csv"
    ),
    "In Python": """\
import nextword as nw

model = nw.load_task({{ run.path | python }})
print(model.{{ call }})""",
}
CONTINUE = """\
nextword {{ 'finetune' if run.task else 'pretrain' }}\
{% if run.task %} {{ run.settings.get('model') | shell }}{% endif %}\
{% for name in run.data %} {{ name | shell }}{% endfor %}\
{% if run.task %} --task {{ run.task }}{% endif %}\
 --out {{ run.path | shell }} --resume"""
CALLS = {
    "classify": 'classify(["A text."])',
    "qa": 'answer("A text.", "A question?")',
    "summarize": 'summarize("A document.")',
    "translate": 'translate("A text.")',
    "chat": 'chat("A question?")',
    "tag": 'tag(["A text."])',
}


class Snippet(NamedTuple):
    title: str
    code: str


def snippets(run: Run) -> list[Snippet]:
    """Return what can be done with a run: use its model, and continue it while it is not over."""
    if run.task and run.task != "text":
        templates = USE
    else:
        templates = {"masked": FILL, "denoise": TEACH}.get(run.objective, GENERATE)
    templates = templates if run.has_model else {}
    if not run.finished:
        templates = templates | {"Continue the run": CONTINUE}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "python": lambda value: repr(str(value)),
        "shell": lambda value: shlex.quote(str(value)),
    }
    values = {
        "run": run,
        "model": run.path / "model",
        "call": CALLS.get(run.task, "predict([])"),
        "sentinel": SENTINEL,
    }
    return [
        Snippet(title, environment.from_string(template).render(values))
        for title, template in templates.items()
    ]
