"""A wheel holds all that running needs: it works in an environment that has no repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.support.servers import process

ROOT = Path(__file__).parents[1]
CODE = {".py", ".pyc"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # building writes beside the sources
    tracked = ["pyproject.toml", "README.md", "LICENSE", "nextword"]
    source.mkdir()
    for name in tracked:
        subprocess.run(["cp", "-r", ROOT / name, source / name], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*pip, *options, source], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in (ROOT / "nextword").rglob("*") if path.is_file()]
    missing = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.suffix != ".pyc" and path.relative_to(ROOT).as_posix() not in held
    ]
    assert not missing


def test_it_trains_writes_and_serves_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    names = {"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")}
    packages = Path(sysconfig.get_path("purelib", vars=names))
    zipfile.ZipFile(wheel).extractall(packages)
    # What nextword needs is taken from here, what is installed as editable is not.
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    text = tmp_path / "text.txt"
    text.write_text("It was a dark night, and the lamp burned low.\n" * 300)

    def run(*words: str) -> str:
        done = subprocess.run(
            [python, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    place = run("-c", "import nextword; print(nextword.__file__)").strip()
    assert Path(place).is_relative_to(tmp_path / "venv")
    command = "from nextword.cli.main import main; import sys; sys.exit(main())"
    size = "--layers 1 --width 32 --heads 2 --context-length 32 --steps 2 --workers 1"
    run("-c", command, "pretrain", "text.txt", "--out", "run", *size.split())
    assert run("-c", command, "generate", "run", "It was", "--max-new-tokens", "4")
    assert (tmp_path / "run" / "report.html").is_file()
    called = (python, "-c", command)
    with process(tmp_path / "run", nextword=called, cwd=tmp_path, env=environment) as (address, _):
        answer = httpx.post(f"{address}/v1/completions", json={"prompt": "It was", "max_tokens": 4})
        assert answer.status_code == 200 and answer.json()["choices"][0]["text"]
        page = httpx.get(f"{address}/")
        assert page.status_code == 200
        scripts = re.findall(r'src="([^"]+[.]js)"', page.text)
        assert scripts
        assert all(
            httpx.get(f"{address}/{name.lstrip('/')}").status_code == 200 for name in scripts
        )
