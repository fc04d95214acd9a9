"""Renders chat templates, which may be hostile, in a process of their own: run by rendering.py.

For each line of standard input, a JSON object, it writes a line: a list of texts, or a text that
says what is wrong.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from typing import Any, NoReturn

_GENERATION = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")


def main() -> None:
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        seconds, memory, longest = asked["bounds"]
        _bound(seconds, memory)
        try:
            answer: Any = list(_texts(asked, longest))
        except MemoryError:
            answer = "takes too much time or memory"
        except Exception as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            answer = f"cannot be used ({said})"
        print(json.dumps(answer), flush=True)


def _bound(seconds: int, memory: int) -> None:
    """Bound the memory, and the time from now on."""
    try:
        import resource
    except ImportError:  # not on Windows: there only the time is bounded, by the caller
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(used.ru_utime + used.ru_stime) + seconds
    for what, most in ((resource.RLIMIT_CPU, until), (resource.RLIMIT_AS, memory)):
        _, highest = resource.getrlimit(what)
        with contextlib.suppress(ValueError, OSError):  # some systems do not bound memory
            resource.setrlimit(what, (most, highest))


def _texts(asked: dict[str, Any], longest: int) -> Any:
    import jinja2
    import jinja2.sandbox

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    # Marks what the assistant says for transformers' own masks; here it is found by itself.
    source = _GENERATION.sub(_shown, asked["template"])
    template = environment.from_string(source)
    mark = asked["mark"]
    for roles, asks in asked["shapes"]:
        messages = [
            {"role": role, "content": f"{mark}{number}{mark}"} for number, role in enumerate(roles)
        ]
        values = asked["variables"] | {"enable_thinking": False, "add_generation_prompt": asks}
        text = ""
        for piece in template.generate(messages=messages, **values):
            text += piece
            if len(text) > longest:
                raise ValueError(f"it writes more than {longest:,} characters")
        yield text


def _shown(match: re.Match[str]) -> str:
    word = "endif" if match.group(2) else "if true"
    return f"{{%{match.group(1)} {word} {match.group(3)}%}}"


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


if __name__ == "__main__":
    main()
