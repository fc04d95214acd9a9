"""Every task that a model can be fine-tuned for: its name and its class under nextword.tasks.

To add a task, write its class (see nextword/tasks/base.py) in a folder of its own and name it here.
"""

from __future__ import annotations

TASKS = {
    "classify": "classify.task:Classify",
    "qa": "generate.task:AnswerQuestions",
    "summarize": "generate.task:Summarize",
    "translate": "generate.task:Translate",
    "chat": "generate.chat:Chat",
    "text": "generate.chat:Continue",
    "tag": "tag.task:Tag",
    "prefer": "prefer.task:Prefer",
}
TASK_FILE = "task.json"  # in the directory of a model for a task
EXTRACTIVE = {"qa": "extractive_qa.task:ExtractiveQA"}  # --extract
