"""The skill of models as a run file holds it: graded samples of every model, alone or in a pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thence.core.errors import UsageError
from thence.core.skill import Answers, Skill

from .sqlite import Record, RunView


def read_skill(path: str | Path) -> Skill:
    """The samples of all models in a run of ``thence eval`` or ``compare``; of several arms with the same model and
    problem the one with the most samples. UsageError where there is no graded sample."""
    found: dict[str, dict[str, Answers]] = {}
    with RunView(path) as view:
        for cell in view.cells():
            arm = view.header.get("arms", {}).get(cell.arm) or {}
            model = arm.get("model") or view.header.get("model") or {}
            for record in view.results(cell).values():
                for identity, answers in _answers(model, record):
                    known = found.setdefault(identity, {})
                    if _size(answers) > _size(known.get(record["hash"], ())):
                        known[record["hash"]] = answers
        name = view.path.name
    if not any(found.values()):
        raise UsageError(f"--skill {name} holds no graded sample; name a finished run on a task with references")
    return Skill(found, name)


def _answers(model: Mapping[str, Any], record: Record) -> Iterator[tuple[str, Answers]]:
    """(identity, its samples' answers) of every model that answered one problem."""
    if record.get("verdict") in (None, "ungradable"):
        return
    pooled = model.get("models", {})
    for name, told in record.get("models", {}).items():
        if name in pooled:
            yield str(pooled[name]["identity"]), [(k, n, right) for k, n, right in told["draws"]]
    if not pooled and record.get("draws"):
        yield str(model.get("identity", "")), [(k, n, right) for k, n, right in record["draws"]]


def _size(answers: Answers) -> int:
    return sum(count for _, count, _ in answers)
