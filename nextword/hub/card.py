"""Model cards: what a model is and how to use it, in the README.md that the Hub shows.

A card is a jinja2 template that includes those of a usage; all see the model's config.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import jinja2

from nextword.models.config import TransformerConfig
from nextword.models.sizes import parameter_count

CARD = """\
---
library_name: transformers
pipeline_tag: {{ usage.pipeline }}
tags: [nextword, {{ family }}]
---
# A {{ millions }}-parameter {{ usage.title }}

{{ about }}

| | |
|---|---|
| architecture | {{ family }} |
| shape | {{ layers }} layers of width {{ width }}; {{ heads }} heads on {{ kv_heads }} of keys and values |
| parameters | {{ "{:,}".format(parameters) }} |
| vocabulary | {{ "{:,}".format(vocab_size) }} tokens |
| context | {{ "{:,}".format(context_length) }} tokens |
{% if outputs %}
| says | {{ outputs }} |
{% endif %}

## Use it

{% include "commands" %}

or with transformers:

{% if usage.auto_class %}
    from transformers import AutoModel{{ usage.auto_class }}, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("PATH")
    model = AutoModel{{ usage.auto_class }}.from_pretrained("PATH")
{% endif %}
{% include "code" %}

{% include "closing" %}
"""  # noqa: E501
LISTED_NAMES = 20


@dataclass(frozen=True)
class Usage:
    """How people use one kind of model, as templates: `commands` of nextword, lines of `code` with
    transformers after tokenizer and model are loaded, and what to expect of it."""

    title: str
    pipeline: str  # the Hub's name of its task
    auto_class: str  # what follows AutoModel in the name of transformers' class
    commands: tuple[str, ...]
    code: tuple[str, ...]
    closing: str


DECODER = Usage(
    "language model",
    "text-generation",
    "ForCausalLM",
    ('nextword generate PATH "Once upon a time"',),
    (
        'prompt = tokenizer("Once upon a time", return_tensors="pt")',
        "print(tokenizer.decode(model.generate(**prompt, max_new_tokens=100, do_sample=True)[0]))",
    ),
    "It writes what is likely after what it has read. It does not know what is true.",
)
ENCODER = Usage(
    "encoder",
    "fill-mask",
    "",  # a pipeline loads it
    ('nextword fill PATH "The cat sat on the {{ mask }}."',),
    (
        "from transformers import pipeline",
        'fill = pipeline("fill-mask", "PATH")',
        'print(fill("The cat sat on the {{ mask }}."))',
    ),
    "It says which words fit a gap, reading what comes before and after it. It writes no texts; it "
    "is the\nstart of a model that classifies them: `nextword finetune PATH DATA --task classify`.",
)
ENCODER_DECODER = Usage(
    "encoder–decoder",
    "text2text-generation",
    "ForSeq2SeqLM",
    ("nextword predict PATH texts.csv --out answers.jsonl",),
    (
        'source = tokenizer("A text.", return_tensors="pt")',
        "answer = model.generate(**source, max_new_tokens=100)[0]",
        "print(tokenizer.decode(answer, skip_special_tokens=True))",
    ),
    "It reads a text and writes another: what it has learned to, from texts like those.",
)
PRETRAINED_ENCODER_DECODER = replace(
    ENCODER_DECODER,
    commands=(
        "nextword finetune PATH pairs.csv --task translate --out translator",
        "nextword predict translator texts.csv --out answers.jsonl",
    ),
    code=(
        'source = tokenizer("The cat <extra_id_0> the mat.", return_tensors="pt")',
        "print(tokenizer.decode(model.generate(**source, max_new_tokens=20)[0]))",
    ),
    closing="It has learned what may stand in the gaps of a text, `<extra_id_0>` and so on, and no "
    "task yet: it\nis the start of a model that summarizes, translates or answers questions.",
)
CLASSIFIER = Usage(
    "classifier of texts",
    "text-classification",
    "ForSequenceClassification",
    ("nextword predict PATH texts.csv --out labels.csv",),
    (
        'texts = tokenizer(["A text."], padding=True, truncation=True, return_tensors="pt")',
        "print(model(**texts).logits)",
    ),
    "It knows the texts it learned from; on texts of another kind it guesses, and does not say so.",
)
SPANS = Usage(
    "finder of answers",
    "question-answering",
    "ForQuestionAnswering",
    ("nextword predict PATH questions.jsonl --out answers.jsonl",),
    (),
    "It finds an answer among the words of a text, whether or not the text holds one.",
)
TAGS = Usage(
    "tagger of words",
    "token-classification",
    "ForTokenClassification",
    ("nextword predict PATH texts.jsonl --out entities.jsonl",),
    (),
    "Words are encoded one by one, the space before them included; a word's tag is that of its "
    "{{ 'last' if causal else 'first' }}\ntoken.",
)


def language_model_usage(config: TransformerConfig, only_pretrained: bool = False) -> Usage:
    """Return the usage of a model that has a language model's head."""
    if config.decoder_layers:
        return PRETRAINED_ENCODER_DECODER if only_pretrained else ENCODER_DECODER
    return DECODER if config.causal else ENCODER


def render_card(
    usage: Usage,
    config: TransformerConfig,
    about: str | None = None,
    *,
    outputs: str = "",
    mask: str | None = None,
) -> str:
    """Return a model card in Markdown.

    `about` says what the model was trained on and how well it does, `outputs` what its outputs are,
    and `mask` is the text of a gap for an encoder.
    """
    parameters = parameter_count(config)
    millions = f"{parameters / 1e6:.3g}M" if parameters < 1e9 else f"{parameters / 1e9:.3g}B"
    parts = {"commands": usage.commands, "code": usage.code}
    templates = {name: "".join(f"    {line}\n" for line in lines) for name, lines in parts.items()}
    templates |= {"card": CARD, "closing": f"{usage.closing}\n"}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(templates),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    return environment.get_template("card").render(
        **vars(config),
        usage=usage,
        about=about or "Trained with nextword.",
        outputs=outputs,
        mask=mask or "[MASK]",
        parameters=parameters,
        millions=millions,
    )


def list_names(names: tuple[str, ...]) -> str:
    """Return the first names of outputs, as a cell of a Markdown table."""
    listed = ", ".join(names[:LISTED_NAMES]).replace("|", "\\|").replace("\n", " ")
    more = len(names) - LISTED_NAMES
    return f"{listed} and {more} more" if more > 0 else listed


HeadName = Literal["classifier", "spans", "tags"]
OF_HEAD: dict[HeadName, Usage] = {"classifier": CLASSIFIER, "spans": SPANS, "tags": TAGS}


def head_of(architectures: Any) -> HeadName | None:
    """Return the head of a model whose config.json has these `architectures`; None for a language
    model, and where they name no known class."""
    for name in map(str, architectures if isinstance(architectures, list) else ()):
        for head, usage in OF_HEAD.items():
            if name.endswith(usage.auto_class):
                return head
    return None
