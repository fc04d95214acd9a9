"""What is declared is imported, what is imported is declared, and what is needed is pinned."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = DECLARED["project"]
EXTRAS = PROJECT["optional-dependencies"]
PACKAGES = {"yaml": "pyyaml"}  # imported: declared, where the names differ
# Declared, but imported by others.
FOR_OTHERS = {
    "lxml-html-clean": "jusText, which trafilatura imports, needs it and asks for it as "
    "lxml[html_clean]; pip before 23.3 does not find that extra, which lxml spells html-clean",
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# torch's builds for GPUs bring these, each pinned by torch itself.
FOR_GPUS = ("nvidia-", "cuda-", "triton")


def names(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def imported(source: str) -> set[str]:
    """The packages that a file imports, anywhere in it, but for Python's own and its own."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
    tops = {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {"nextword"}
    return {canonicalize_name(PACKAGES.get(top, top)) for top in tops}


def imported_by_nextword() -> set[str]:
    files = sorted((ROOT / "nextword").rglob("*.py"))
    assert len(files) > 50
    return set[str]().union(*(imported(file.read_text("utf-8")) for file in files))


def needed(requirements: Iterable[str]) -> set[str]:
    """The packages that requirements lead to on this system, with any Python that is supported."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        wanted, extra = waiting.pop()
        marker = wanted.marker
        if marker and not any(
            marker.evaluate({"python_version": python, "extra": extra}) for python in PYTHONS
        ):
            continue
        name = canonicalize_name(wanted.name)
        if name.startswith(FOR_GPUS):
            continue
        found.add(name)
        for of in ("", *map(canonicalize_name, wanted.extras)):
            if (name, of) not in seen:
                seen.add((name, of))
                further = importlib.metadata.requires(name) or []
                waiting += [(Requirement(text), of) for text in further]
    return found


def pinned(lock: str) -> set[str]:
    lines = (ROOT / lock).read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines]
    assert all([s.operator for s in pin.specifier] == ["=="] and not pin.marker for pin in pins)
    assert len(lines) == len(names(lines))
    return names(lines)


def test_every_dependency_is_imported() -> None:
    not_imported = names(PROJECT["dependencies"]) - imported_by_nextword()
    assert not_imported == set(FOR_OTHERS)


def test_every_import_is_declared() -> None:
    extras = [text for extra in EXTRAS if extra != "dev" for text in EXTRAS[extra]]
    undeclared = imported_by_nextword() - names(PROJECT["dependencies"]) - names(extras)
    assert not undeclared


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "import os\nimport yaml, numpy.linalg as la\nfrom . import near\n"
        "from nextword import errors\n"
        "def late():\n    from huggingface_hub.utils import x\n"
        "'''\nimport transformers\n'''\n"
    )
    assert imported(source) == {"pyyaml", "numpy", "huggingface-hub"}


def test_the_locks_hold_what_is_needed_and_nothing_else() -> None:
    """setuptools is in them because nextword itself is installed with theirs."""
    running = [*PROJECT["dependencies"], *DECLARED["build-system"]["requires"]]
    run, dev = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert run == needed(running)
    assert not run & dev
    assert run | dev == needed([*running, *EXTRAS["dev"]])


def test_tests_and_tracking_are_no_part_of_running() -> None:
    assert not pinned("requirements.lock") & names([*EXTRAS["dev"], *EXTRAS["tracking"]])
