"""What no file of the package may do: open pickles, run strings or others' code, load heavily."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys
import time
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
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "" and "usage: nextword" in done.stdout
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "nextword.cli.main", "--help"], check=True)
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.5
