"""Every pinned package may be used in software that is given out under Apache-2.0.

The licence is read from what the package says of itself. One list serves both locks: what only the
tests need is not given out with nextword, and might ask for more, but none of it does.

Not looked at: what torch's builds for GPUs bring and pin, under NVIDIA's own licence.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")

# SPDX's names. Those of Mozilla cover their own files only, which stay as they are; GPL, LGPL and
# AGPL ask for more of whoever gives the whole out, and are left out.
COMPATIBLE = frozenset(
    (
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "ISC",
        "MIT",
        "MIT-CMU",
        "MPL-1.1",
        "MPL-2.0",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    )
)
# How packages without a License-Expression write them. A "BSD" without a number is the second or
# third; both are compatible.
SPELLINGS = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "the bsd 2-clause license": "BSD-2-Clause",
}
NO_NAME = {"OSI Approved", "DFSG approved"}  # classifiers that praise a licence without naming it
# Packages whose metadata this cannot judge: the licence, and what was found by reading.
EXCEPTIONS = {
    "scipy": (
        "BSD-3-Clause",
        "the field License holds the texts of all that its wheels bring, among them GCC's runtime "
        "library, under the GPL with the exception that lets programs of any licence use it",
    ),
}


def pinned() -> list[str]:
    lines = [line for lock in LOCKS for line in (ROOT / lock).read_text("utf-8").splitlines()]
    return [line.split("==")[0] for line in lines]


def licences(package: Message) -> list[str]:
    """All that a package's metadata says of its licence, as SPDX expressions where known.

    Where there is no License-Expression, the field License and the classifiers count, all of them.
    """
    expression = package.get("License-Expression")
    if expression:
        return [expression]
    field = package.get("License", "").strip()
    kinds = [c.split(" :: ") for c in package.get_all("Classifier", [])]
    stated = [kind[-1] for kind in kinds if kind[0] == "License" and kind[-1] not in NO_NAME]
    if field:
        stated.append(field)
    return [SPELLINGS.get(name.lower(), name) for name in stated]


def compatible(expression: str) -> bool:
    """Whether an SPDX expression can be met: one side of each OR, both sides of each AND."""

    def judged(name: re.Match[str]) -> str:
        word = name[0]
        return word.lower() if word in ("AND", "OR") else str(word in COMPATIBLE)

    def true(node: ast.AST) -> bool:
        if isinstance(node, ast.BoolOp):
            return (any if isinstance(node.op, ast.Or) else all)(map(true, node.values))
        return isinstance(node, ast.Constant) and node.value is True

    logic = re.sub(r"[^\s()]+( WITH [^\s()]+)?", judged, expression)
    try:
        return true(ast.parse(logic, mode="eval").body)
    except SyntaxError:  # words, and none of the spellings known
        return False


def fault(package: Message) -> str | None:
    found = licences(package)
    if found and all(map(compatible, found)):
        return None
    said = " and ".join(text.splitlines()[0] for text in found) or "no licence that is stated"
    return f"{package['Name']} has {said}: not known to be compatible with Apache-2.0"


@pytest.mark.parametrize("name", pinned())
def test_a_pinned_package_may_be_used_under_apache_2(name: str) -> None:
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.fail(f"{name} is pinned but not installed; `make setup-dev` installs it")
    assert isinstance(metadata, Message)
    if name in EXCEPTIONS:
        assert compatible(EXCEPTIONS[name][0])
        assert fault(metadata), f"{name} needs no exception any more"
    else:
        assert fault(metadata) is None


def described(**fields: str | list[str]) -> Message:
    package = Message()
    package["Name"] = "example"
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            package[name.replace("_", "-")] = value
    return package


@pytest.mark.parametrize(
    "fields",
    [
        {"License_Expression": "AGPL-3.0-or-later"},
        {"License_Expression": "MIT AND GPL-2.0-only"},
        {"License_Expression": "(MIT OR Apache-2.0) AND LGPL-2.1-or-later"},
        {"License_Expression": "Apache-2.0 WITH Some-exception"},
        {"License": "GPL-3.0"},
        {"License": "GNU Affero General Public License"},
        {"License": "MIT", "Classifier": ["License :: OSI Approved :: GNU General Public License"]},
        {"Classifier": ["License :: Other/Proprietary License"]},
        {"Classifier": ["License :: OSI Approved"]},
        {"License": "A text\nof lines", "Classifier": ["License :: OSI Approved :: BSD License"]},
        {},
    ],
)
def test_others_are_caught_and_named(fields: dict[str, str | list[str]]) -> None:
    said = fault(described(**fields))
    assert said is not None and said.startswith("example has ")


@pytest.mark.parametrize(
    "fields",
    [
        {"License_Expression": "MPL-1.1 OR GPL-2.0-only OR LGPL-2.1-or-later"},
        {"License_Expression": "(GPL-2.0-only OR MIT) AND (BSD-3-Clause AND Zlib)"},
        {"License_Expression": "Apache-2.0 AND Apache-2.0 WITH LLVM-exception"},
        {"License": "MPL-2.0 AND MIT"},
        {"License": "Apache 2.0", "Classifier": ["License :: DFSG approved"]},
        {"Classifier": ["License :: OSI Approved :: BSD License", "Framework :: Pytest"]},
    ],
)
def test_what_is_compatible_passes(fields: dict[str, str | list[str]]) -> None:
    assert fault(described(**fields)) is None
