"""The process in which a user's regex, extractor or grader runs; started and killed by ``worker``.

Protocol: JSON lines on the standard input and output it was started with. Both are moved away first and replaced by
the null device, so that user code that prints or reads ``input()`` cannot disturb it. The alarm that is set before
each job is delivered by the kernel with its default action: it ends this process even inside a regular expression
that never returns and even if the parent is gone.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

MAX_VALUE = 20_000  # characters of an extracted value or a reason
PARAMETERS = ("gold", "answer", "text", "question")

Run = Callable[[dict[str, Any]], dict[str, Any]]


def main() -> None:
    """Serve jobs until the input ends. Argument 1 is the memory limit in bytes (0: none)."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    limit_memory(int(sys.argv[1]))
    sys.path.insert(0, "")  # a user's module lies where the command was given
    _send(replies, {"ready": True})
    made: dict[tuple[str, str], Run] = {}
    for line in requests:
        job = json.loads(line)
        try:
            _alarm(job["seconds"])
            key = job["role"], job["how"]
            if key not in made:
                made[key] = make(*key)
            result = made[key](job) if "text" in job else {}
        except BaseException as error:  # user code may raise anything, SystemExit included
            result = {"error": f"{type(error).__name__}: {error}"[:MAX_VALUE]}
        _alarm(0)
        _send(replies, result)


def _send(replies: BinaryIO, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message).encode() + b"\n")
    replies.flush()


def _alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def limit_memory(limit: int) -> None:
    """Bound this process's address space where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limit:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))


def make(role: str, how: str) -> Run:
    """What runs a job: ``role`` is ``extract`` or ``grade``, ``how`` starts with regex:, json: or call:."""
    kind, _, rest = how.partition(":")
    if kind == "algebra":
        import sympy  # noqa: F401  here, so that loading it does not count as the first proof's time

        from .algebra import run

        return run
    if role == "grade":
        return _grader(load(rest))
    if kind == "regex":
        return _regex(re.compile(rest))
    if kind == "json":
        return lambda job: _json_path(job["text"], rest.split("."))
    function = load(rest)
    return lambda job: _found(function(job["text"]), job["text"])


def load(where: str) -> Callable[..., Any]:
    """The function ``module:name`` or ``path.py:name``."""
    path, _, name = where.rpartition(":")
    if path.endswith(".py"):
        spec = importlib.util.spec_from_file_location(f"_user_{Path(path).stem}", path)
        if spec is None or spec.loader is None or not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path} in {Path.cwd()}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(path)
    function = getattr(module, name, None)
    if not callable(function):
        raise TypeError(f"{path} has no function {name}")
    return function  # type: ignore[no-any-return]


def _regex(pattern: re.Pattern[str]) -> Run:
    """The last match: its group ``answer``, else its first group that took part, else all of it."""

    def run(job: dict[str, Any]) -> dict[str, Any]:
        matches = deque(pattern.finditer(job["text"]), maxlen=1)
        if not matches:
            return {"value": None}
        last = matches[0]
        groups = ["answer"] if "answer" in pattern.groupindex else list(range(1, pattern.groups + 1))
        group = next((g for g in groups if last[g] is not None), 0)
        return {"value": last[group][:MAX_VALUE], "start": last.start(group), "end": last.end(group)}

    return run


def _json_path(text: str, path: list[str]) -> dict[str, Any]:
    """The value at ``path`` in the last JSON object of ``text`` that has it."""
    decoder = json.JSONDecoder()
    found: dict[str, Any] = {"value": None}
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        for part in path:
            if isinstance(value, list) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
                value = value[int(part)]
            else:
                value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            start = text.rfind(plain, at, end)
            span = (start, start + len(plain)) if start >= 0 else (at, end)
            found = {"value": plain[:MAX_VALUE], "start": span[0], "end": span[1]}
        at = text.find("{", end)
    return found


def _found(value: Any, text: str) -> dict[str, Any]:
    """What a user's extractor returned: None, a string, or (value, start, end)."""
    if value is None:
        return {"value": None}
    if isinstance(value, tuple) and len(value) == 3:
        return {"value": str(value[0])[:MAX_VALUE], "start": int(value[1]), "end": int(value[2])}
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise TypeError(f"the extractor returned a {type(value).__name__}; it must return a string or None")
    plain = str(value)
    at = text.rfind(plain)
    return {"value": plain[:MAX_VALUE], "start": max(at, 0), "end": at + len(plain) if at >= 0 else len(text)}


def _grader(function: Callable[..., Any]) -> Run:
    parameters = inspect.signature(function).parameters.values()
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    strange = [p.name for p in named if p.name not in PARAMETERS and p.default is p.empty]
    if strange or any(p.kind is p.POSITIONAL_ONLY for p in parameters):
        raise TypeError(
            f"the grader needs {', '.join(strange) or 'positional arguments'}; it can have {', '.join(PARAMETERS)}"
        )
    wanted = PARAMETERS if takes_all else tuple(p.name for p in named if p.name in PARAMETERS)
    return lambda job: _verdict(function(**{name: job[name] for name in wanted}))


def _verdict(value: Any) -> dict[str, Any]:
    """What a user's grader returned, as the fields of a Grade."""
    if hasattr(value, "item") and not isinstance(value, bool):
        value = value.item()  # a numpy bool
    if hasattr(value, "verdict"):
        value = {name: getattr(value, name, None) for name in ("verdict", "answer", "reason")}
    if isinstance(value, bool | str):
        value = {"verdict": value}
    if not isinstance(value, dict):
        raise TypeError(f"the grader returned a {type(value).__name__}; it must return a bool, a verdict or a grade")
    verdict = value.get("verdict", value.get("correct"))
    if isinstance(verdict, bool):
        verdict = "correct" if verdict else "incorrect"
    answer, reason = value.get("answer"), value.get("reason") or ""
    return {
        "verdict": str(verdict),
        "answer": None if answer is None else str(answer)[:MAX_VALUE],
        "reason": str(reason)[:MAX_VALUE],
    }
