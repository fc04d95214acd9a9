"""All that one document goes through on its own: what worker processes run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.settings import PrepareSettings
from nextword.text.clean import clean
from nextword.text.document import Document
from nextword.text.duplicates import digest, sketch
from nextword.text.language import language
from nextword.text.quality import quality


@dataclass(slots=True)
class Processed:
    text: str
    source: str
    language: str
    reason: str | None  # why it is to be left out; None if it is not
    digest: bytes  # [16]
    signature: NDArray[np.uint16] | None  # [128]


def process(
    document: Document, settings: PrepareSettings, *, always_sign: bool = False
) -> Processed:
    """Clean a document, judge it and make what duplicates are found by.

    It is signed where near duplicates are dropped, or with `always_sign`.
    """
    text = clean(document.text) if settings.clean else document.text
    spoken = language(text)
    reason = None
    if not text or text.isspace():
        reason = "empty"
    elif settings.languages and spoken not in settings.languages:
        reason = f"language {spoken}"
    elif settings.quality_filter:
        reason = quality(text)
        reason = reason and f"quality: {reason}"
    signature = None
    if reason is None and (always_sign or settings.deduplicate == "near"):
        signature = sketch(text)
    return Processed(text, document.source, spoken, reason, digest(text), signature)
