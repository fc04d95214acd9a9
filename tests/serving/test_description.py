"""The API's own description (OpenAPI): schemathesis makes requests from it, right and wrong ones,
and compares the answers with it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.servers import served


def check(address: str, tmp_path: Path, examples: int, phases: str) -> int:
    """Return how many requests were made; none may fail."""
    # A prompt may fit its description and still be too long for the model, so that a request which
    # fits may be refused: `positive_data_acceptance` is left out, and nothing else.
    command = [
        *[sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"],
        *["--max-examples", str(examples), "--phases", phases, "--seed", "1"],
        *["--exclude-checks", "positive_data_acceptance", "--request-timeout", "60"],
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    told = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert told is not None and told.group(1) == told.group(2), done.stdout[-2000:]
    return int(told.group(1))


def test_answers_are_as_described(talking: str, tmp_path: Path) -> None:
    assert check(talking, tmp_path, 1, "fuzzing") > 10


@pytest.mark.slow(cases=5_000)
@pytest.mark.timeout(3600)
def test_five_thousand_answers_are_as_described(talker: Path, tmp_path: Path) -> None:
    with served(talker) as at:
        assert check(at, tmp_path, 260, "examples,coverage,fuzzing") >= 5000


def test_every_field_is_described_and_nothing_is_loaded_from_elsewhere(talking: str) -> None:
    described = httpx.get(f"{talking}/openapi.json").json()
    fields = described["components"]["schemas"]["ChatRequest"]["properties"]
    assert {"messages", "temperature", "response_format", "top_k", "logprobs"} <= set(fields)
    assert "422" not in str(described["paths"]["/v1/completions"]["post"]["responses"])
    for path in ("/v1/completions", "/v1/chat/completions"):
        content = described["paths"][path]["post"]["responses"]["200"]["content"]
        assert set(content) == {"application/json", "text/event-stream"}
    for page in ("/docs", "/redoc"):
        assert httpx.get(f"{talking}{page}").status_code == 404


@pytest.mark.parametrize("page", ["serving.md", "serving.zh-CN.md"])
def test_the_page_names_every_field_and_endpoint(talking: str, page: str) -> None:
    docs = Path(__file__).parents[2] / "docs"
    text = (docs / page).read_text(encoding="utf-8")
    described = httpx.get(f"{talking}/openapi.json").json()
    schemas = described["components"]["schemas"]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    for column, name in ((2, "CompletionRequest"), (3, "ChatRequest")):
        named = {
            field
            for row in rows
            if len(row) == 6 and "✓" in row[column]
            for field in re.findall(r"`(\w+)`", row[1])
        }
        assert named == set(schemas[name]["properties"])
    for path in described["paths"]:
        assert path.partition("/{")[0] in text or path == "/inspect/held_out"  # of another page
