"""``thence runs | show | export``: what run files hold. Opening one imports nothing and runs nothing."""

from __future__ import annotations

import datetime
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from thence.cli.outputs import spared, write_text
from thence.cli.present import err, number, out, plain, print_json, table, tree_lines
from thence.core.clean import one_line
from thence.core.errors import StoreError, ThenceError, UsageError
from thence.core.tree import Tree
from thence.stores.sqlite import Cell, RunView

FOLDER = Path("runs")


def run_files(folder: Path) -> list[Path]:
    """The run files of a folder, the newest last."""
    return sorted(folder.glob("*.db"), key=lambda p: p.stat().st_mtime)


def last_run(folder: Path = FOLDER) -> Path:
    """The run that was written last."""
    files = run_files(folder)
    if not files:
        raise StoreError(f"there is no run in {folder}/; make one with: thence eval wordproblems")
    return files[-1]


def runs(folder: Path = FOLDER, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """List the run files of a folder.

    Parameters
    ----------
    folder
        Where to look.
    json
        Print one JSON object.
    """
    rows: list[dict[str, Any]] = []
    for path in run_files(folder):
        try:
            with RunView(path) as run:
                rows.append(_summary(path, run))
        except ThenceError as error:
            err.print(plain(f"{path}: {error}", "yellow"))
    if json:
        print_json({"runs": rows})
        return
    if not rows:
        out.print(f"no runs in {folder}/; make one with: thence eval wordproblems")
        return
    cells = [
        [str(r["run"]), str(r["task"]), str(r["model"]), str(r["arms"]), str(r["results"]), r["when"]] for r in rows
    ]
    out.print(table("", ["run", "task", "model", "arms", "results", "last written"], cells, right=(4,)))


def _summary(path: Path, run: RunView) -> dict[str, Any]:
    when = datetime.datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
    cells = run.cells()
    header = run.header
    arms = sorted({c.arm for c in cells}) if any(c.arm for c in cells) else [str(header.get("strategy", ""))]
    return {
        "run": str(path),
        "task": _text(header.get("task")),
        "model": _model(header),
        "arms": ", ".join(arms),
        "results": sum(len(run.results(c)) for c in cells),
        "failed": sum(len(run.failures(c)) for c in cells),
        "samples": run.sample_count(),
        "when": when,
    }


def _model(header: dict[str, Any]) -> str:
    """The model's name with what its samples depend on, in words."""
    facts = header.get("model") or {}
    policy = header.get("notes", {}).get("policy", {})
    name = str(policy.get("model") or facts.get("identity", ""))
    return " ".join([name, *(str(facts[k]) for k in ("dtype", "device") if facts.get(k))])


def _text(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("spec") or value.get("name") or value)
    return str(value)


def show(
    run: Path | None = None,
    /,
    *,
    problem: str | None = None,
    arm: str | None = None,
    seed: int | None = None,
    budget: str | None = None,
    limit: int = 20,
    html: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show a run (without arguments: the last one), or one problem's tree.

    Parameters
    ----------
    run
        A run file.
    problem
        A problem's id: print its tree.
    arm
        In a comparison: which strategy.
    seed
        In a comparison: which seed.
    budget
        In a comparison: which budget.
    limit
        How many problems to list.
    html
        With --problem: write its tree as one web page instead.
    json
        Print one JSON object.
    """
    if html is not None and problem is None:
        raise UsageError("--html writes one problem's tree; say which with --problem ID")
    path = run if run is not None else last_run()
    spared(html, path)
    with RunView(path) as view:
        cells = asked_cells(view, path, arm, seed, budget)
        if problem is not None:
            _show_problem(view, cells, problem, json, html)
        else:
            _show_run(view, cells, limit, json)


def _wanted(cell: Cell, arm: str | None, seed: int | None, budget: str | None) -> bool:
    """Whether a cell is one of those asked for by ``--arm``, ``--seed`` and ``--budget``."""
    from thence.api import tokens

    return (
        (arm is None or cell.arm == arm)
        and (seed is None or cell.seed == seed)
        and (budget is None or cell.budget == tokens(budget))
    )


def asked_cells(view: RunView, path: Path, arm: str | None, seed: int | None, budget: str | None) -> list[Cell]:
    """The cells that are asked for; StoreError, which names those there are, where there is none."""
    cells = list(view.cells())
    found = [cell for cell in cells if _wanted(cell, arm, seed, budget)]
    if found:
        return found
    if not cells:
        raise StoreError(f"{path} holds no result yet")
    there = "; ".join(dict.fromkeys(_cell_flags(cell) for cell in cells))
    raise StoreError(f"{path} has no result of this arm, seed and budget; it has {one_line(there, 1000)}")


def _cell_flags(cell: Cell) -> str:
    arm = f"--arm {cell.arm!r} " if cell.arm else ""
    return f"{arm}--seed {cell.seed}" + (f" --budget {cell.budget}" if cell.budget else "")


def _show_run(view: RunView, cells: list[Cell], limit: int, json: bool) -> None:
    if json:
        records = [{"cell": [c.arm, c.seed, c.budget], "results": view.results(c)} for c in cells]
        print_json({"run": str(view.path), "header": view.header, "cells": records})
        return
    header = view.header
    out.print(plain(f"{view.path}", "bold"))
    out.print(plain(f"{'model':<10} {_model(header)}"))
    for key in ("task", "strategy", "prompt", "seed", "budget", "limit"):
        if header.get(key) is not None:
            out.print(plain(f"{key:<10} {_text(header[key])}"))
    for cell in cells:
        results = view.results(cell)
        verdicts = Counter(_verdict(r) for r in results.values())
        title = f"{cell.arm or header.get('strategy', '')}  seed {cell.seed}"
        title += f"  budget {cell.budget:,}" if cell.budget else ""
        counts = ", ".join(f"{n} {v}" for v, n in verdicts.most_common())
        out.print(plain(f"\n{title}: {counts}; {len(view.failures(cell))} failed", "bold"))
        rows = [
            [pid, one_line(str(r.get("answer")), 24), _verdict(r), _confidence(r), _tokens(r)]
            for pid, r in list(results.items())[:limit]
        ]
        out.print(table("", ["problem", "answer", "verdict", "confidence", "charged"], rows, right=(3, 4)))
        if len(results) > limit:
            out.print(plain(f"and {len(results) - limit} more; --limit shows them", "dim"))
    first = next(iter(view.results(cells[0])), "ID")
    out.print(plain(f"one problem: thence show {view.path} --problem {first}", "dim"))


def _verdict(record: dict[str, Any]) -> str:
    return str(record.get("verdict") or "no reference")


def _confidence(record: dict[str, Any]) -> str:
    value = record.get("confidence")
    return "-" if value is None else f"{value:.2f}"


def _tokens(record: dict[str, Any]) -> str:
    charged = record.get("charged", {})
    values = [charged.get(k) for k in ("prompt", "generated", "verifier")]
    return "unknown" if any(v is None for v in values) else number(sum(values))


def _show_problem(view: RunView, cells: list[Cell], problem: str, json: bool, html: Path | None = None) -> None:
    found = False
    for cell in cells:
        record = view.results(cell).get(problem)
        if record is None:
            continue
        found = True
        rows = view.tree(cell, problem)
        if json:
            print_json({"cell": [cell.arm, cell.seed, cell.budget], **record, "tree": rows})
            continue
        if html is not None:
            _write_page(html, view, cell, problem, record)
            return
        out.print(plain(f"{problem}  {cell.arm or view.header.get('strategy', '')}  seed {cell.seed}", "bold"))
        if record.get("question"):
            out.print(plain(str(record["question"])))
        out.print(plain(f"answer {record.get('answer')!r}  {_verdict(record)}  {_tokens(record)} tokens"))
        for line in tree_lines(Tree.from_record(rows or []), record.get("node")):
            out.print(line)
    if not found:
        known = list(view.results(cells[0]))[:3]
        raise UsageError(f"{view.path} has no result for problem {problem!r}; it has e.g. {', '.join(known)}")


def _write_page(path: Path, view: RunView, cell: Cell, problem: str, record: dict[str, Any]) -> None:
    from thence.evals.pages.tree_page import page

    facts = {
        "question": str(record.get("question") or ""),
        "strategy": f"{cell.arm or view.header.get('strategy', '')}, seed {cell.seed}",
        "model": _model(view.header),
        "answer": f"{record.get('answer')} ({_verdict(record)})",
        "charged": f"{_tokens(record)} tokens",
    }
    shown = {name: text for name, text in facts.items() if text}
    tree = Tree.from_record(view.tree(cell, problem) or [])
    write_text(path, page(tree, title=problem, facts=shown, chosen=record.get("node")))
    out.print(plain(f"page {path}"))


def export(
    run: Path | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    samples: Annotated[bool, Parameter(negative="")] = False,
    trees: Annotated[bool, Parameter(negative="")] = False,
    texts: Annotated[bool, Parameter(negative="")] = False,
    task: str | None = None,
) -> None:
    """Write a run as JSONL, Parquet or an inspect log, by the output's suffix.

    Parameters
    ----------
    run
        A run file; default: the last one.
    output
        OUT.jsonl, OUT.parquet, or OUT.json: a log for inspect_ai, one per strategy and budget.
    samples
        Also every sample.
    trees
        Also every tree.
    texts
        Also question, reference and chosen text of each result (an inspect log always has them).
    task
        The task to take these from; default: the run's own.
    """
    from thence import methods
    from thence.stores.export import export as write
    from thence.stores.inspect_log import write_inspect

    path = run if run is not None else last_run()
    spared(output, path)
    with RunView(path) as view:
        inspect = output.suffix.lower() == ".json"
        if inspect and (samples or trees):
            raise UsageError("an inspect log has no place for --samples and --trees; write OUT.jsonl or OUT.parquet")
        made = methods.task(task or str(view.header["task"])) if inspect or texts or task is not None else None
        if inspect and made is not None:
            written = write_inspect(view, output, made)
        else:
            written = write(view, output, samples=samples, trees=trees, task=made)
        for path in written:
            out.print(plain(str(path)))
