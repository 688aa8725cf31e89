"""Accuracy at equal charged tokens: voting, best-of-N and step search on the built-in word problems, in one table.

Every method gets the same budgets of charged tokens per problem (what the policy draws and what a verifier reads) on
the same test problems and seeds. Methods that only draw samples take as many as the budget allows, all from one pool.
A search has a width to choose: the largest one whose mean cost on dev problems is within the budget, estimated here
first, without looking at accuracy. Differences are against majority voting at the same budget, paired by problem.

    python benchmarks/equal_tokens.py --limit 200 --seeds 0,1,2 --out out/equal-tokens
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from thence import api, methods
from thence.core.budget import Charged
from thence.core.protocols import Generator, Task
from thence.evals.compare import EXTENDABLE, Comparison, Difference, Grid, Row, compare, compare_header
from thence.evals.evaluate import evaluate
from thence.evals.pages.plot import COLOURS, MARKERS
from thence.stores.sqlite import RunFile

PALETTE = (*COLOURS, "#8C564B", "#6A3D9A", "#7F7F00")
MOST = 256  # samples: more than any budget here pays for
SAMPLING = {
    "one sample": "repeated-sampling(n=1)",
    "majority": f"self-consistency(n={MOST})",
    "ORM, best of N": f"best-of-n(n={MOST}, verifier=orm:acorn)",
    "PRM, best of N": f"best-of-n(n={MOST}, verifier=prm:acorn)",
    "PRM, weighted vote": f"best-of-n(n={MOST}, select=vote, verifier=prm:acorn)",
    "head, weighted vote": f"best-of-n(n={MOST}, select=vote, verifier=head:acorn)",
}
SEARCH = {
    "beam, PRM": "beam(n={}, width=4, verifier=prm:acorn)",
    "DVTS, PRM": "dvts(n={}, width=4, verifier=prm:acorn)",
    "MCTS, PRM": "mcts(simulations={}, wave=4, verifier=prm:acorn)",
    "compute-optimal": "compute-optimal(verifier=prm:acorn, samples={})",
}
TRIED = (8, 32)  # cost grows with the width along a line, near enough to choose by
DEV = "wordproblems(split=dev, level={}, data_seed=7)"


async def mean_cost(task: Task, generator: Generator, spec: str, limit: int) -> float:
    """Charged tokens per problem without a budget."""
    (arm,), _, model = api.make_arms([spec], "cot", task, generator, None, {})
    report = await evaluate(task, generator, arm, model=model, limit=limit)
    charges = [Charged(**record["charged"]).total for record in report.records]
    return sum(total or 0 for total in charges) / len(charges)


async def widths(generator: Generator, level: int, budgets: Sequence[int], limit: int) -> dict[str, dict[int, int]]:
    """For every search and budget the largest multiple of 4 whose mean cost on dev problems is within the budget."""
    task = methods.task(DEV.format(level))
    chosen: dict[str, dict[int, int]] = {}
    for name, spec in SEARCH.items():
        low, high = [await mean_cost(task, generator, spec.format(width), limit) for width in TRIED]
        each = (high - low) / (TRIED[1] - TRIED[0])
        chosen[name] = {b: max(4, int((TRIED[0] + (b - low) / each) // 4 * 4)) for b in budgets}
        print(
            f"{name:22} cost at {TRIED[0]} and {TRIED[1]}: {low:,.0f}, {high:,.0f}; widths {chosen[name]}", flush=True
        )
    return chosen


async def measure(
    generator: Generator, task: Task, budgets: Sequence[int], seeds: tuple[int, ...], limit: int, run: Path
) -> Comparison:
    """All methods at all budgets, as one comparison whose arms have the methods' names."""
    level = int(getattr(task, "level", 3))
    width_of = await widths(generator, level, budgets, min(40, limit))
    together: Comparison | None = None
    for budget in budgets:
        specs = SAMPLING | {name: spec.format(width_of[name][budget]) for name, spec in SEARCH.items()}
        arms, _, model = api.make_arms(list(specs.values()), "cot", task, generator, None, {})
        grid = Grid(tuple(arms), seeds, (budget,), model)
        header = compare_header(task, generator, grid, limit=limit)
        path = run.with_name(f"{run.stem}-{budget}.db")
        path.parent.mkdir(parents=True, exist_ok=True)
        with RunFile.open(path, header, extendable=EXTENDABLE) as store:
            made = await compare(
                task, generator, grid, model=model, limit=limit, store=store, baseline=SAMPLING["majority"]
            )
        names = dict(zip(grid.labels, specs, strict=True))
        made.rows = [replace(row, arm=names[row.arm], reports=[]) for row in made.rows]
        made.differences = [replace(d, arm=names[d.arm], baseline="majority") for d in made.differences]
        print(table([made]), flush=True)
        if together is None:
            together = made
        else:
            together.rows += made.rows
            together.differences += made.differences
            together.failed += made.failed
    assert together is not None
    together.model = "acorn"
    return together


def table(comparisons: Sequence[Comparison]) -> str:
    """Markdown: a line per method and, per budget, accuracy, its difference to majority and the tokens used."""
    rows: list[Row] = [row for made in comparisons for row in made.rows]
    paired: dict[tuple[str, int | None], Difference] = {
        (d.arm, d.budget): d for c in comparisons for d in c.differences
    }
    budgets = list(dict.fromkeys(row.budget for row in rows))
    lines = ["| method | " + " | ".join(f"{b:,}" for b in budgets if b) + " |", "|---" * (1 + len(budgets)) + "|"]
    for name in dict.fromkeys(row.arm for row in rows):
        cells = []
        for budget in budgets:
            row = next(r for r in rows if (r.arm, r.budget) == (name, budget))
            d = paired.get((name, budget))
            gain = ""
            if d is not None and d.paired is not None:
                low, high = d.paired.interval
                gain = f", {100 * d.paired.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            cells.append(f"{100 * (row.accuracy or 0):.1f}{gain} ({row.tokens or 0:,.0f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(made: Comparison, out: Path) -> None:
    """Accuracy against the budget, one line per method; methods that only draw samples are dashed."""
    figure = Figure(figsize=(9.0, 5.6), dpi=160)
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.08, right=0.76, bottom=0.11, top=0.92)
    names = list(dict.fromkeys(row.arm for row in made.rows))
    ends = []
    for i, name in enumerate(names):
        rows = [row for row in made.rows if row.arm == name and row.accuracy is not None and row.interval]
        x = [(row.budget or 0) * (1 + 0.012 * (i - len(names) / 2)) for row in rows]
        y = [100 * (row.accuracy or 0) for row in rows]
        bars = [[100 * abs((row.accuracy or 0) - (row.interval or (0, 0))[side]) for row in rows] for side in (0, 1)]
        style: Any = {"linestyle": "--" if name in SAMPLING else "-", "marker": MARKERS[i % len(MARKERS)]}
        colour = PALETTE[i % len(PALETTE)]
        axes.errorbar(x, y, bars, color=colour, markersize=5, linewidth=1.3, capsize=2, elinewidth=0.6, **style)
        ends.append((y[-1], name, colour))
    low, high = axes.get_ylim()
    right, apart, at = max(row.budget or 0 for row in made.rows), (high - low) / 28, low
    for height, name, colour in sorted(ends):
        at = max(height, at + apart)
        line = {"arrowstyle": "-", "color": colour, "lw": 0.5}
        where: Any = {"xy": (right, height), "xytext": (1.02, at), "textcoords": ("axes fraction", "data")}
        axes.annotate(name, **where, color=colour, fontsize=9, va="center", arrowprops=line)
    axes.set_xscale("log")
    budgets = sorted({row.budget or 0 for row in made.rows})
    axes.set_xticks(budgets, [f"{b:,}" for b in budgets])
    axes.minorticks_off()
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("budget: charged tokens per problem, policy and verifier")
    axes.set_ylabel("accuracy, % (95 % interval)")
    axes.set_title(f"{made.task}, {made.model}, seeds {', '.join(map(str, made.seeds))}", loc="left", fontsize=11)
    figure.savefig(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write ``OUT.md``, ``OUT.json`` and ``OUT.png``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--budgets", default="500,1000,2000,4000")
    parser.add_argument("--level", type=int, default=3)
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/equal-tokens"))
    given = parser.parse_args(argv)
    budgets, seeds = ([int(x) for x in text.split(",")] for text in (given.budgets, given.seeds))
    generator = api.load("acorn")
    task = methods.task(f"wordproblems(level={given.level}, data_seed={given.data_seed})")
    made = asyncio.run(_run(generator, task, budgets, tuple(seeds), given.limit, given.out))
    document: Mapping[str, Any] = made.document()
    given.out.with_suffix(".md").write_text(table([made]) + "\n", encoding="utf-8")
    given.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    plot(made, given.out.with_suffix(".png"))
    print(table([made]))
    return 1 if made.failed else 0


async def _run(
    generator: Generator, task: Task, budgets: Sequence[int], seeds: tuple[int, ...], limit: int, out: Path
) -> Comparison:
    try:
        return await measure(generator, task, budgets, seeds, limit, out)
    finally:
        await api.close_loaded()


if __name__ == "__main__":
    raise SystemExit(main())
