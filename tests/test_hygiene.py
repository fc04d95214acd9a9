"""What no file of the package may do: open pickles, run strings or others' code, load heavily; and
what no test may do: use a private name of the package."""

from __future__ import annotations

import ast
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nextword

PACKAGE = Path(nextword.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
BUILTINS = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
CALLS = {"torch.load", "numpy.load", "np.load", "pandas.read_pickle", "yaml.load", "os.system"}
KEYWORDS = {
    ("weights_only", False),
    ("trust_remote_code", True),
    ("allow_pickle", True),
    ("shell", True),
}
HEAVY = ("torch", "transformers", "numpy", "tokenizers", "datasets", "pyarrow", "matplotlib")


def faults(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
            yield from (f"{node.lineno}: imports {name}" for name in names & MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield f"{node.lineno}: imports from {node.module}"
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in BUILTINS | CALLS or name.split(".")[-1] == "import_string":
                yield f"{node.lineno}: calls {name}"
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, value) in KEYWORDS and isinstance(value, bool):
                    yield f"{node.lineno}: {keyword.arg}={value}"


def test_the_package_opens_no_pickle_and_runs_no_string_or_remote_code() -> None:
    assert len(FILES) > 50
    found = [f"{path}:{fault}" for path in FILES for fault in faults(path.read_text("utf-8"))]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import load",
        "import torch\ntorch.load('x')",
        "load('x', weights_only=False)",
        "AutoModel.from_pretrained('x', trust_remote_code=True)",
        "eval('1')",
        "exec('1')",
        "compile('1', 'x', 'exec')",
        "numpy.load('x', allow_pickle=True)",
        "subprocess.run('ls', shell=True)",
    ],
)
def test_each_of_them_would_be_found(source: str) -> None:
    assert list(faults(source))
    assert not list(faults("model.eval()\nre.compile('x')\nblock.compile()\njson.load(file)"))


def private_names() -> set[str]:
    """Every name that begins with `_` and is given to something in the package."""
    found: set[str] = set()
    for node in (node for path in FILES for node in ast.walk(ast.parse(path.read_text("utf-8")))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in found if name.startswith("_") and not name.endswith("__")} - {"_"}


def uses_of(names: set[str], source: str) -> Iterator[str]:
    """Yield where a test imports one of these names, reaches for it, or writes it to replace it."""
    for node in ast.walk(ast.parse(source)):
        used: set[str] = set()
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nextword"):
            used = {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            used = {node.attr}
        elif isinstance(node, ast.Call):
            used = {
                argument.value.split(".")[-1]
                for argument in node.args
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            }
        yield from (f"{node.lineno}: {name}" for name in used & names)


def test_no_test_uses_a_private_name_of_the_package() -> None:
    names, tests = private_names(), sorted(Path(__file__).parent.rglob("*.py"))
    assert len(names) > 100 and len(tests) > 100
    found = [f"{path}:{use}" for path in tests for use in uses_of(names, path.read_text("utf-8"))]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "from nextword.terminal import _hidden",
        "terminal._hidden()",
        "bar.shown._hidden = 3",
        "monkeypatch.setattr(terminal, '_hidden', None)",
        "monkeypatch.setattr('nextword.terminal._hidden', None)",
    ],
)
def test_each_use_of_one_would_be_found(source: str) -> None:
    assert list(uses_of({"_hidden"}, source))
    assert not list(uses_of({"_hidden"}, "self._hidden = 3\nfrom theirs import _hidden\nx._other"))


def test_the_network_is_off_in_tests() -> None:
    with (
        socket.socket() as connection,
        pytest.raises(OSError, match="tests run with the network off"),
    ):
        connection.connect(("192.0.2.1", 80))


def test_help_is_there_at_once_and_nothing_heavy_is_loaded_for_it() -> None:
    script = (
        "import sys, nextword.cli.main as cli\n"
        "for arguments in (['--help'], ['generate', '--help'], ['pretrain', '--help']):\n"
        "    try: cli.main(arguments)\n"
        "    except SystemExit: pass\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
        "print(len(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    heavy, modules = done.stderr.splitlines()
    assert heavy == "" and "usage: nextword" in done.stdout
    assert int(modules) < 400, "torch alone brings thousands"


@pytest.mark.slow
def test_help_takes_less_than_half_a_second_of_a_processor() -> None:
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "nextword.cli.main", "--help"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5
