"""nextword: from a person's own text to a working language model.

    import nextword as nw

    nw.pretrain(["my_books/"], "run", budget="10m")
    model = nw.load("run")
    print(model.generate("It was a dark night"))

    nw.finetune("run", "reviews.csv", "reviews", task="classify")
    print(nw.load_task("reviews").classify("Worth every penny."))

The verbs of the command line are functions here, with the same names for the same settings (but for
`chat`, which is for people).
Nothing heavy is imported until a verb is called. Import nextword before torch: two settings of
PyTorch's threads and memory are read when torch is loaded (docs/performance.md).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Large pages for PyTorch's tensors on a CPU: about a tenth faster.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
# OpenMP's threads yield soon when they wait for each other: where another program runs too,
# training is three times as fast, and alone it loses next to nothing.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

__version__ = "0.1.0"

_VERBS = {
    "prepare": "nextword.tokens.prepare",
    "plan": "nextword.verbs.plan",
    "pretrain": "nextword.verbs.pretrain",
    "finetune": "nextword.verbs.finetune",
    "load": "nextword.inference.language_model",
    "load_task": "nextword.verbs.load_task",
    "evaluate": "nextword.verbs.evaluate",
    "evaluate_task": "nextword.verbs.evaluate",
    "predict": "nextword.verbs.predict",
    "benchmark": "nextword.verbs.benchmark",
    "compare": "nextword.verbs.compare",
    "generate": "nextword.inference.language_model",
    "fill": "nextword.inference.masked_model",
    "trace": "nextword.verbs.trace",
    "serve": "nextword.serving.server",
    "export": "nextword.verbs.export",
    "info": "nextword.verbs.info",
    "doctor": "nextword.verbs.doctor",
    "report": "nextword.reports.report",
    "UserError": "nextword.errors",
}
__all__ = [
    "UserError",
    "benchmark",
    "compare",
    "doctor",
    "evaluate",
    "evaluate_task",
    "export",
    "fill",
    "finetune",
    "generate",
    "info",
    "load",
    "load_task",
    "plan",
    "predict",
    "prepare",
    "pretrain",
    "report",
    "serve",
    "trace",
]

if TYPE_CHECKING:
    from nextword.errors import UserError
    from nextword.inference.language_model import generate, load
    from nextword.inference.masked_model import fill
    from nextword.reports.report import report
    from nextword.serving.server import serve
    from nextword.tokens.prepare import prepare
    from nextword.verbs.benchmark import benchmark
    from nextword.verbs.compare import compare
    from nextword.verbs.doctor import doctor
    from nextword.verbs.evaluate import evaluate, evaluate_task
    from nextword.verbs.export import export
    from nextword.verbs.finetune import finetune
    from nextword.verbs.info import info
    from nextword.verbs.load_task import load_task
    from nextword.verbs.plan import plan
    from nextword.verbs.predict import predict
    from nextword.verbs.pretrain import pretrain
    from nextword.verbs.trace import trace


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module 'nextword' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_VERBS[name]), name)
