"""Step 7: where a vote is surely wrong: a question of the task, and the trap of the exact world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from thence import api
from thence.core.protocols import Task
from thence.evals.records import Record
from thence.evals.statistics.confidence import forecasts
from thence.evals.statistics.metrics import maj_at_k_population, wilson
from thence.worlds.urn import EASY, HARD, MEDIUM, TRAP, Stratum, Urn

from ..bench import MODEL, SURE, TASK, Bench, command, records_of, right, row_of, share, tally, task_of
from ..step import Finding

MORE = f"{TASK}(data_seed=1)"  # other questions, looked at where the tour's own hold no trap
KS = (1, 2, 4, 8, 16, 32, 64)
STRATA = (EASY, MEDIUM, HARD, TRAP)
WORLD_SIZE = 200
OUTCOMES = ("found", "none", "often_wrong", "rarely_wrong", "never_wrong", "none_sure", "world")


def measure(bench: Bench) -> Finding:
    """The question on whose wrong answer most samples agree, among a bounded number; votes in the exact world."""
    questions = bench.questions()
    commands = [bench.comparing((bench.vote,))]
    records = records_of(row_of(bench.compare((bench.vote,)), bench.vote))
    trapped = _trapped(records)
    show = bench.showing(bench.vote, trapped[0]) if trapped else ""
    if not trapped:
        strategy, limit, run = bench.vote.partition(" @ ")[0], 2 * bench.problems, bench.folder / "more.db"
        report = api.evaluate(
            task_of(MORE), MODEL, strategy, "cot", limit=limit, seed=bench.seed, run=run, progress=bench.progress
        )
        flags = ("--limit", str(limit), "--seed", str(bench.seed), "--run", str(run))
        commands.append(command("eval", MORE, "--strategy", strategy, "--prompt", "cot", *flags))
        questions |= {p.id: p.text for p in task_of(MORE).problems()}
        records = records | {r["problem"]: r for r in report.records}
        trapped = _trapped(records)
        show = command("show", str(run), "--problem", trapped[0]) if trapped else ""
    sure = [f for f in forecasts(list(records.values())) if f.confidence >= SURE]
    wrong = sum(not f.right for f in sure)
    counted = tally(records[trapped[0]]) if trapped else []
    world, table = _world(bench)
    total = max(1, sum(count for _, count, _ in counted))
    values = {
        "n": str(len(records)),
        "threshold": f"{SURE:g}",
        "sure": str(len(sure)),
        "wrong": str(wrong),
        "wrong_share": share(wrong / len(sure), wilson(wrong, len(sure))) if sure else "-",
        "answer": str(counted[0][0]) if counted else "-",
        "agreement": f"{counted[0][1] / total:.2f}" if counted else "-",
        "trap_one": f"{100 * _closed(TRAP, 1):.0f} %",
        "trap_many": f"{100 * _closed(TRAP, KS[-1]):.0f} %",
        "many": str(KS[-1]),
    }

    def draw() -> bytes:
        from ..pictures import Bar, bars_and_lines

        shapes = [Bar(key or "-", count / total, hit, "right" if hit else "wrong") for key, count, hit in counted]
        title = f"a question of {TASK}: {total} samples" if counted else f"no such question among {len(records)}"
        labels = ("share of the samples with this answer", "n samples in the vote", "P(the vote is right)")
        return bars_and_lines(shapes, (title, "the exact world, by stratum (closed form)"), labels, world, KS)

    often = "never_wrong" if not wrong else "often_wrong" if 10 * wrong >= len(sure) else "rarely_wrong"
    return Finding(
        holds=bool(trapped),
        says=("found" if trapped else "none", often if sure else "none_sure", "world"),
        values=values,
        columns=("stratum", "law", "vote_of_one", "vote_exact", "measured"),
        rows=table,
        right=(2, 3, 4),
        commands=(*commands, *([show] if show else []), command("laws")),
        draw=draw,
        exhibit=_exhibit(questions[trapped[0]], counted) if trapped else "",
    )


def _trapped(records: Mapping[str, Record]) -> list[str]:
    """Problems on whose wrong answer at least ``SURE`` of the samples agree, the surest first."""
    found = [f for f in forecasts(list(records.values())) if not f.right and f.confidence >= SURE]
    return [f.problem for f in sorted(found, key=lambda f: -f.confidence)]


def _exhibit(question: str, counted: list[tuple[str | None, int, bool]]) -> str:
    answers = ", ".join(f"{key or '-'} ×{count}" + (" ✓" if hit else "") for key, count, hit in counted)
    return f"{question}\n\n{answers}"


def _closed(stratum: Stratum, n: int) -> float:
    """The chance that the vote of ``n`` samples is right."""
    law = stratum.law
    assert isinstance(law, tuple)
    return maj_at_k_population(law, [i == 0 for i in range(len(law))], n)


def _world(bench: Bench) -> tuple[dict[str, list[float]], list[list[str]]]:
    """By stratum the closed form over ``KS``, and a row with what the real strategy measured there."""
    world = Urn(STRATA, size=WORLD_SIZE)
    strategy = f"self-consistency(n={bench.samples})"
    task = cast(Task, world.task())
    report = api.evaluate(task, world.generator(pace=0), strategy, "bare", seed=bench.seed)
    problems = {p.id: p for p in world.problems()}
    lines: dict[str, list[float]] = {}
    rows = []
    for stratum in STRATA:
        lines[stratum.name] = [_closed(stratum, k) for k in KS]
        mine = [right(r) for r in report.records if world.stratum(problems[r["problem"]]) == stratum]
        assert isinstance(stratum.law, tuple)
        law = " ".join(f"{p:g}" for p in stratum.law)
        exact = [f"{100 * _closed(stratum, k):.1f} %" for k in (1, bench.samples)]
        rows.append([stratum.name, law, *exact, share(sum(mine) / len(mine), wilson(sum(mine), len(mine)))])
    return lines, rows
