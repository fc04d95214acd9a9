"""A model card: what the model is and how to use it, in the README.md that the Hub shows."""

from __future__ import annotations

from nextword.hub.labels import Outputs
from nextword.models.config import TransformerConfig
from nextword.models.sizes import parameter_count

CARD = """\
---
library_name: transformers
pipeline_tag: {pipeline}
tags: [nextword, {family}]
---
# A {millions}-parameter {what}

{about}

| | |
|---|---|
| architecture | {family} |
| shape | {layers} layers of width {width}; {heads} heads on {kv_heads} of keys and values |
| parameters | {parameters:,} |
| vocabulary | {vocab_size:,} tokens |
| context | {context_length:,} tokens |
{more}
## Use it

"""

LANGUAGE = """\
    nextword generate {here} "Once upon a time"

or with transformers:

    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("{here}")
    model = AutoModelForCausalLM.from_pretrained("{here}")
    prompt = tokenizer("Once upon a time", return_tensors="pt")
    print(tokenizer.decode(model.generate(**prompt, max_new_tokens=100, do_sample=True)[0]))

It writes what is likely after what it has read. It does not know what is true.
"""

ENCODER = """\
    nextword fill {here} "The cat sat on the {mask}."

or with transformers:

    from transformers import pipeline
    fill = pipeline("fill-mask", "{here}")
    print(fill("The cat sat on the {mask}."))

It says which words fit a gap, reading what comes before and after it. It writes no texts; it is the
start of a model that classifies them: `nextword finetune {here} DATA --task classify`.
"""

ENCODER_DECODER = """\
    nextword predict {here} texts.csv --out answers.jsonl

or with transformers:

    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("{here}")
    model = AutoModelForSeq2SeqLM.from_pretrained("{here}")
    source = tokenizer("A text.", return_tensors="pt")
    answer = model.generate(**source, max_new_tokens=100)[0]
    print(tokenizer.decode(answer, skip_special_tokens=True))

It reads a text and writes another: what it has learnt to, from texts like those.
"""

SPANS_WRITER = """\
    nextword finetune {here} pairs.csv --task translate --out translator
    nextword predict translator texts.csv --out answers.jsonl

or with transformers:

    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("{here}")
    model = AutoModelForSeq2SeqLM.from_pretrained("{here}")
    source = tokenizer("The cat <extra_id_0> the mat.", return_tensors="pt")
    print(tokenizer.decode(model.generate(**source, max_new_tokens=20)[0]))

It has learnt what may stand in the gaps of a text, `<extra_id_0>` and so on, and no task yet: it is
the start of a model that summarizes, translates or answers questions.
"""

CLASSIFIER = """\
    nextword predict {here} texts.csv --out labels.csv

or with transformers:

    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("{here}")
    model = AutoModelForSequenceClassification.from_pretrained("{here}")
    texts = tokenizer(["A text."], padding=True, truncation=True, return_tensors="pt")
    print(model(**texts).logits)

It knows the texts it learnt from; on texts of another kind it guesses, and does not say so.
"""

SPANS = """\
    nextword predict {here} questions.jsonl --out answers.jsonl

or with transformers:

    from transformers import AutoModelForQuestionAnswering, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("{here}")
    model = AutoModelForQuestionAnswering.from_pretrained("{here}")

It finds an answer among the words of a text, whether or not the text holds one.
"""

TAGS = """\
    nextword predict {here} texts.jsonl --out entities.jsonl

or with transformers:

    from transformers import AutoModelForTokenClassification, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("{here}")
    model = AutoModelForTokenClassification.from_pretrained("{here}")

Words are encoded one by one, the space before them included; a word's tag is that of its {which}
token.
"""

LABELS_SHOWN = 20


def model_card(
    config: TransformerConfig,
    about: str | None = None,
    here: str = "PATH",
    mask: str | None = None,
    *,
    only_pretrained: bool = False,
) -> str:
    """Markdown; `about` says what the model was trained on and how well it does, `mask` is what an
    encoder's gaps are written as."""
    if config.decoder_layers:
        what = _card(config, "encoder–decoder", "text2text-generation", about)
        return what + (SPANS_WRITER if only_pretrained else ENCODER_DECODER).format(here=here)
    if not config.causal:
        what = _card(config, "encoder", "fill-mask", about)
        return what + ENCODER.format(here=here, mask=mask or "[MASK]")
    return _card(config, "language model", "text-generation", about) + LANGUAGE.format(here=here)


def classifier_card(
    config: TransformerConfig, outputs: Outputs, about: str | None = None, here: str = "PATH"
) -> str:
    names = _listed(outputs.names)
    meaning = {"single": "one of", "several": "any of", "amount": "a number:"}[outputs.kind]
    more = f"| says | {meaning} {names} |\n"
    card = _card(config, "classifier of texts", "text-classification", about, more)
    return card + CLASSIFIER.format(here=here)


def span_card(config: TransformerConfig, about: str | None = None, here: str = "PATH") -> str:
    return _card(config, "finder of answers", "question-answering", about) + SPANS.format(here=here)


def tag_card(
    config: TransformerConfig, tags: tuple[str, ...], about: str | None = None, here: str = "PATH"
) -> str:
    more = f"| says | of each word one of {_listed(tags)} |\n"
    card = _card(config, "tagger of words", "token-classification", about, more)
    return card + TAGS.format(here=here, which="last" if config.causal else "first")


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:LABELS_SHOWN]).replace("|", "\\|").replace("\n", " ")
    more = len(names) - LABELS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _card(
    config: TransformerConfig, what: str, pipeline: str, about: str | None, more: str = ""
) -> str:
    parameters = parameter_count(config)
    millions = f"{parameters / 1e6:.3g}M" if parameters < 1e9 else f"{parameters / 1e9:.3g}B"
    return CARD.format(
        **{**vars(config), "about": about or "Trained with nextword."},
        what=what,
        pipeline=pipeline,
        parameters=parameters,
        millions=millions,
        more=more,
    )
