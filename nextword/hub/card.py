"""A model card: what the model is and how to use it, in the README.md that the Hub shows."""

from __future__ import annotations

from nextword.models.config import TransformerConfig
from nextword.models.sizes import parameter_count

CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
tags: [nextword, {family}]
---
# A {millions} language model

{about}

| | |
|---|---|
| architecture | {family} |
| shape | {layers} layers of width {width}; {heads} heads on {kv_heads} of keys and values |
| parameters | {parameters:,} |
| vocabulary | {vocab_size:,} tokens |
| context | {context_length:,} tokens |

## Use it

    nextword generate {here} "Once upon a time"

or with transformers:

    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("{here}")
    model = AutoModelForCausalLM.from_pretrained("{here}")
    prompt = tokenizer("Once upon a time", return_tensors="pt")
    print(tokenizer.decode(model.generate(**prompt, max_new_tokens=100, do_sample=True)[0]))

It writes what is likely after what it has read. It does not know what is true.
"""


def model_card(config: TransformerConfig, about: str | None = None, here: str = "PATH") -> str:
    """Markdown; `about` says what the model was trained on and how well it does."""
    parameters = parameter_count(config)
    millions = f"{parameters / 1e6:.3g}M" if parameters < 1e9 else f"{parameters / 1e9:.3g}B"
    return CARD.format(
        **{**vars(config), "about": about or "Trained with nextword."},
        parameters=parameters,
        millions=f"{millions}-parameter",
        here=here,
    )
