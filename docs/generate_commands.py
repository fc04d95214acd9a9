"""Writes docs/commands.md and commands.zh-CN.md: every verb, flag and default, from the code.

The Chinese of each sentence stands in docs/commands.zh.yaml.

python docs/generate_commands.py
"""

# ruff: noqa: E501 (the lines of pages)

from __future__ import annotations

import argparse
import re
from pathlib import Path

import yaml

from nextword.cli.main import VERBS, load_command

HERE = Path(__file__).parent
INTRODUCTION = """# Commands

[中文](commands.zh-CN.md) · [How it works](how-it-works.md) · [Data formats](data-formats.md) · [README](../README.md)

This page is written by `make docs` from the code.

A MODEL is a run directory, a Hugging Face directory, a GGUF file, an adapter, or the name of a model on
the Hub (`gpt2`): [more](export.md).
DATA is any mix of files, folders, patterns and `hf://` data sets.

Every setting can also be given in a YAML file (`--config FILE`), under the name of its flag (`--batch-size` is
`batch_size`, DATA is `data`); the command line overrides the file.
In Python the verbs are functions with the same settings: `nextword.pretrain("my_books", "run",
budget="10m")`. A command reports to standard error; with `--json`, one JSON object goes to
standard output.

An error is one sentence on standard error, and exit status 2; with `--json`, an object with `error`
too. Exit status 1 means that the machine ran out of something, or a bug; 130, an interruption.
"""
INTRODUCTION_ZH = """# 命令

[English](commands.md) · [工作原理](how-it-works.zh-CN.md) · [数据格式](data-formats.zh-CN.md) · [README](../README.zh-CN.md)

本页由 `make docs` 从代码生成。

MODEL 是训练目录、Hugging Face 目录、GGUF 文件、适配器，或 Hub 上的模型名称（`gpt2`），[详见](export.zh-CN.md)。DATA 是文件、文件夹、通配符、`hf://` 数据集的任意组合。

命令行上的选项都可以写进 YAML 文件，名称与选项相同（`--batch-size` 写作 `batch_size`，DATA 写作 `data`），用 `--config FILE`
给出；命令行优先于文件。在 Python 里，每个命令都是带同样设置的函数：`nextword.pretrain("my_books", "run", budget="10m")`。
命令的报告写到标准错误；加 `--json` 则在标准输出打印一个 JSON 对象。

出错时在标准错误打印一句话，退出状态为 2；加 `--json` 时还会打印带 `error` 的对象。状态 1 表示机器的某种资源用尽，或者是程序的错；
130 表示被中断。
"""
HEADINGS = {"en": ("flag", "value", "meaning"), "zh": ("选项", "值", "含义")}
DEFAULT = re.compile(r" \(default: (.*)\)$")


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the parser of a verb, with all its flags."""
    _, parser = load_command(verb)
    return parser


def page(language: str = "en") -> str:
    introduction = INTRODUCTION if language == "en" else INTRODUCTION_ZH
    return "\n".join([introduction, *(section(verb, language) for verb in VERBS)])


def section(verb: str, language: str) -> str:
    parser = parser_of(verb)
    positionals = [action for action in parser._actions if not action.option_strings]
    flags = [a for a in parser._actions if a.option_strings and a.dest != "help"]
    purpose = translated(parser.description, language)
    lines = [f"## {verb}", "", purpose, "", "```", str(parser.usage), "```", ""]
    if positionals:
        mark = ": " if language == "en" else "："
        lines += [f"- `{p.metavar}`{mark}{translated(p.help, language)}" for p in positionals] + [
            ""
        ]
    lines += [f"| {' | '.join(HEADINGS[language])} |", "|---|---|---|"]
    return "\n".join([*lines, *(_row(flag, language) for flag in flags), ""])


def translated(text: str | None, language: str) -> str:
    """A sentence of the code, in Chinese where that is asked for; KeyError where it has none."""
    text = (text or "").replace("%%", "%")
    if language == "en":
        return text
    sentence, default = DEFAULT.sub("", text), DEFAULT.search(text)
    return TRANSLATIONS[sentence] + (f"（默认：{default[1]}）" if default else "")


def _row(action: argparse.Action, language: str) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    takes_value = action.nargs != 0 and action.metavar
    value = f"`{action.metavar}{' ...' if action.nargs == '+' else ''}`" if takes_value else ""
    cells = (names, value, translated(action.help, language))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


TRANSLATIONS = yaml.safe_load((HERE / "commands.zh.yaml").read_text(encoding="utf-8"))

if __name__ == "__main__":
    (HERE / "commands.md").write_text(page(), encoding="utf-8")
    (HERE / "commands.zh-CN.md").write_text(page("zh"), encoding="utf-8")
