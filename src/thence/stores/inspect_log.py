"""A run as logs of UK AISI's inspect_ai (EvalLog, version 2, one JSON object), for its viewer and its data frames.

One log per arm and budget; seeds are epochs. Verdicts: correct is ``C``, incorrect and timeout ``I``, no answer ``N``,
and ungradable NaN, which inspect leaves out of its metrics as thence does. The score's metadata has thence's own words.
A problem whose calls failed is a sample with an error. A run file holds neither questions nor references: they come
from its task, and a reference that the task cannot show is empty.

Token counts are the *charged* ones. Times are those of the run's sessions; inspect wants them with a time zone.
What a strategy did on the way (trees, votes, both books) is in each sample's metadata, except the trees themselves:
``thence export`` has them.

Checked against inspect_ai 0.3.285: ``read_eval_log`` reads the file and finds the same counts
(``tests/stores/test_inspect_log.py``, where the package is installed).
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thence.core.answers import Verdict
from thence.core.errors import StoreError
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.core.seeds import digest

from .export import asked_in, chosen_text, reference_of
from .sqlite import Cell, Record, RunView

SCORER = "thence"
_VALUES = {
    Verdict.CORRECT: "C",
    Verdict.INCORRECT: "I",
    Verdict.TIMEOUT: "I",
    Verdict.NO_ANSWER: "N",
    Verdict.UNGRADABLE: math.nan,
}
_KEPT = ("confidence", "stopped", "truncated", "votes", "notes", "charged", "spent", "finishes", "draws")


def write_inspect(run: RunView, out: Path, task: Task) -> list[Path]:
    """Write ``run`` to ``out`` (.json); further arms and budgets to NAME.2.json, … Returns the files written."""
    logs = inspect_logs(run, task)
    if not logs:
        raise StoreError(f"{run.path} holds no result yet, so there is no log to write")
    paths = [out, *(out.with_name(f"{out.stem}.{i}{out.suffix}") for i in range(2, len(logs) + 1))]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for path, log in zip(paths, logs, strict=True):
            path.write_text(json.dumps(log), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror or error})") from error
    return paths


def inspect_logs(run: RunView, task: Task) -> list[dict[str, Any]]:
    """One log (plain JSON data, but for NaN) per arm and budget of ``run``; ``task`` is the run's own."""
    groups: dict[tuple[str, int | None], list[Cell]] = {}
    for cell in run.cells():
        groups.setdefault((cell.arm, cell.budget), []).append(cell)
    return [_log(run, task, cells) for cells in groups.values()]


def _log(run: RunView, task: Task, cells: Sequence[Cell]) -> dict[str, Any]:
    problems = {problem.id: problem for problem in task.problems()}
    model = str(run.header.get("model", {}).get("identity", "unknown"))
    samples: list[dict[str, Any]] = []
    for epoch, cell in enumerate(cells, 1):
        for name, record in run.results(cell).items():
            row = {**record, "problem": name, "tree": run.tree(cell, name)}
            samples.append(_sample(task, asked_in(row, problems.get(name), str(run.path)), row, epoch, model))
        for name, failure in run.failures(cell).items():
            error = {"message": f"{failure.kind}: {failure.message}", "traceback": "", "traceback_ansi": ""}
            problem = asked_in({"problem": name}, problems.get(name), str(run.path))
            samples.append({**_asked(task, problem, epoch), "error": error})
    started, stopped = _times(run)
    return {
        "version": 2,
        "status": "success",
        "eval": _spec(run, task, cells, model, started, samples),
        "results": _results(samples),
        "stats": {"started_at": started, "completed_at": stopped, "model_usage": {model: _usage(samples)}},
        "samples": samples,
    }


def _spec(
    run: RunView, task: Task, cells: Sequence[Cell], model: str, started: str, samples: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    header, cell = run.header, cells[0]
    who = digest(run.path.name, task.spec, cell.arm, cell.budget, started)[:22]
    ids = list(dict.fromkeys(s["id"] for s in samples))
    told = {"strategy": cell.arm or header.get("strategy"), "prompt": header.get("prompt"), "budget": cell.budget}
    return {
        "eval_id": who,
        "run_id": who,
        "task_id": digest(task.spec)[:22],
        "created": started,
        "task": task.name,
        "task_args": {"spec": task.spec, **{k: v for k, v in told.items() if v is not None}},
        "dataset": {"name": task.name, "samples": len(ids), "sample_ids": ids, "shuffled": False},
        "model": model,
        "config": {"epochs": len(cells)},
        "packages": {k: str(v) for s in run.sessions()[-1:] for k, v in s.items() if k == "thence"},
        "metadata": {"seeds": [c.seed for c in cells], "written_by": "thence export"},
        "scorers": [{"name": SCORER}],
    }


def _asked(task: Task, problem: Problem, epoch: int) -> dict[str, Any]:
    return {
        "id": problem.id,
        "epoch": epoch,
        "input": [{"role": m.role, "content": m.content} for m in problem.messages],
        "target": reference_of(task, problem) or "",
    }


def _sample(task: Task, problem: Problem, record: Record, epoch: int, model: str) -> dict[str, Any]:
    text = chosen_text(record) or record.get("answer") or ""
    charged = record.get("charged", {})
    read, written = charged.get("prompt") or 0, (charged.get("generated") or 0) + (charged.get("verifier") or 0)
    usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    said = {"role": "assistant", "content": text, "source": "generate", "model": model}
    asked = _asked(task, problem, epoch)
    made = {
        **asked,
        "messages": [*asked["input"], said],
        "output": {
            "model": model,
            "choices": [{"message": said, "stop_reason": "max_tokens" if record.get("truncated") else "stop"}],
            "completion": text,
            "usage": usage,
            "time": record.get("seconds"),
        },
        "model_usage": {model: usage},
        "total_time": record.get("seconds"),
        "metadata": {name: record[name] for name in _KEPT if name in record},
    }
    if record.get("verdict") is not None:
        verdict = Verdict(record["verdict"])
        made["scores"] = {
            SCORER: {
                "value": _VALUES[verdict],
                "answer": record.get("answer"),
                "explanation": record.get("reason") or None,
                "metadata": {"verdict": str(verdict)},
            }
        }
    return made


def _results(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Accuracy over samples that can be graded, with its standard error over problems (seeds averaged)."""
    done = [s for s in samples if "error" not in s]
    made: dict[str, Any] = {"total_samples": len(samples), "completed_samples": len(done)}
    values: dict[str, list[float]] = {}
    for sample in done:
        value = sample.get("scores", {}).get(SCORER, {}).get("value", math.nan)
        if value == value:  # not NaN
            values.setdefault(sample["id"], []).append(float(value == "C"))
    means = [sum(v) / len(v) for v in values.values()]
    if not means:
        return made
    mean = sum(means) / len(means)
    spread = sum((m - mean) ** 2 for m in means) / (len(means) - 1) if len(means) > 1 else 0.0
    metrics = {"accuracy": mean, "stderr": math.sqrt(spread / len(means))}
    scored = sum(map(len, values.values()))
    score = {
        "name": SCORER,
        "scorer": SCORER,
        "scored_samples": scored,
        "unscored_samples": len(done) - scored,
        "metrics": {name: {"name": name, "value": value} for name, value in metrics.items()},
    }
    return {**made, "scores": [score]}


def _usage(samples: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    each = [u for s in samples for u in s.get("model_usage", {}).values()]
    return {name: sum(u[name] for u in each) for name in ("input_tokens", "output_tokens", "total_tokens")}


def _times(run: RunView) -> tuple[str, str]:
    sessions = run.sessions()
    starts = [s["started"] for s in sessions]
    stops = [s["stopped"] or s["started"] for s in sessions]
    return _iso(min(starts, default=0.0)), _iso(max(stops, default=0.0))


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
