"""What ``thence compare`` adds: FLOPs, clusters, seeds, the arm chosen on one half of the problems, wrong steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from thence.annotate.exact import truth_of
from thence.core.answers import Verdict
from thence.core.budget import Charged
from thence.core.errors import UsageError
from thence.core.protocols import Task
from thence.core.tree import Tree
from thence.evals.compare import Comparison, Row
from thence.evals.records import Record
from thence.evals.statistics.curves import Parameters, Priced, against, knee, pareto
from thence.evals.statistics.intervals import Seeds, cluster_bootstrap, cluster_interval, over_seeds, paired_by_cluster
from thence.evals.statistics.metrics import paired
from thence.evals.statistics.selection import Chosen, select, split
from thence.evals.statistics.trace_error import TraceError, trace_error
from thence.stores.sqlite import Cell, RunView

from .curves import show_front
from .present import out, percent, plain, table

# ---------------------------------------------------------------------------------------------------- FLOPs


def sizes_of(given: Sequence[str], models: Mapping[str, str]) -> dict[str, Parameters]:
    """Parameters by arm from ``7b,1.5b`` (every model) and ``MODEL=14b`` (that one); ``models`` are the arms' own.

    UsageError where an arm's model has no size, or a size belongs to no model.
    """
    own: dict[str, Parameters] = {}
    for text in given:
        model, equals, size = text.rpartition("=")
        own[model if equals else ""] = Parameters.parse(size)
    unknown = sorted(own.keys() - {"", *models.values()})
    if unknown:
        raise UsageError(f"--flops {unknown[0]}=…: no arm runs on it; the models are {', '.join(set(models.values()))}")
    made = {}
    for arm, model in models.items():
        found = own.get(model, own.get(""))
        if found is None:
            raise UsageError(f"--flops does not say how large {model} is; add --flops {model}=7b")
        made[arm] = found
    return made


def charged_of(row: Row) -> Charged | None:
    """Mean charged tokens per problem and seed, rounded; None without a record."""
    total, n = Charged(), 0
    for report in row.reports:
        total += report.charged
        n += len(report.records)
    if not n:
        return None
    parts = (total.prompt, total.generated, total.verifier)
    return Charged(*(None if v is None else round(v / n) for v in parts))


def cost_document(result: Comparison, cost: Callable[[Row, Charged], float | None]) -> dict[str, Any]:
    """Cost per problem of every row in one unit, the front and the knee."""
    rows, priced = [], []
    for row in result.rows:
        charged = charged_of(row)
        value = None if charged is None else cost(row, charged)
        rows.append({"arm": row.arm, "budget": row.budget, "cost": value})
        if value is not None and row.accuracy is not None:
            priced.append(Priced(_named(row), value, row.accuracy))
    best = knee(priced)
    return {"arms": rows, "front": [asdict(p) for p in pareto(priced)], "knee": None if best is None else best.name}


def flops_document(result: Comparison, sizes: Mapping[str, Parameters]) -> dict[str, Any]:
    """FLOPs per problem of every row, and each smaller model against each larger one."""
    pairs = []
    for small, large in ((a, b) for a in result.rows for b in result.rows):
        if sizes[small.arm].policy < sizes[large.arm].policy and small.budget == large.budget:
            costs = charged_of(small), charged_of(large)
            if costs[0] is None or costs[1] is None:
                continue
            found = against(costs[0], sizes[small.arm], costs[1], sizes[large.arm])
            gain = paired(_means(large), _means(small))
            pairs.append(
                {
                    "small": _named(small),
                    "large": _named(large),
                    "points": None if gain.n == 0 else gain.difference,
                    "interval": gain.interval,
                    "at": [asdict(a) | {"within": a.within} for a in found or []],
                }
            )
    return cost_document(result, lambda row, charged: sizes[row.arm].flops(charged)) | {"against": pairs}


def _named(row: Row) -> str:
    return row.arm + ("" if row.budget is None else f" ≤{row.budget:,}")


def show_cost(document: Mapping[str, Any], unit: str, title: str) -> None:
    """The cost of every arm, the front and the knee."""
    rows = []
    for a in document["arms"]:
        budget = "none" if a["budget"] is None else f"{a['budget']:,}"
        rows.append([a["arm"], budget, "unknown" if a["cost"] is None else f"{a['cost']:.3g}"])
    out.print(table(title, ["strategy", "budget", unit], rows, right=(1, 2)))
    front = [Priced(**p) for p in document["front"]]
    show_front(front, next((p for p in front if p.name == document["knee"]), None), unit)


def show_flops(document: Mapping[str, Any]) -> None:
    """FLOPs per problem, and what the large models' cost would have paid for."""
    show_cost(document, "FLOPs", "FLOPs per problem: 2 per parameter and charged token, verifier included")
    rows = [
        [
            p["small"],
            p["large"],
            "unknown" if p["points"] is None else f"{100 * p['points']:+.1f} {_points(p['interval'])}",
            f"{a['ratio']:g}",
            f"{a['used']:.2f}",
            f"{a['allowed']:.2f}",
            "yes" if a["within"] else "no",
        ]
        for p in document["against"]
        for a in p["at"]
    ]
    if rows:
        columns = ["small model", "large model", "points [95 %]", "R", "tokens used", "allowed", "within"]
        title = "the small model at the large one's total cost (R: tokens used by tokens trained on)"
        out.print(table(title, columns, rows, right=(2, 3, 4, 5)))


def show_tokens_front(result: Comparison) -> None:
    """Pareto front and knee of a comparison by charged tokens; nothing with fewer than three arms."""
    priced = [Priced(_named(r), r.tokens, r.accuracy) for r in result.rows if r.tokens and r.accuracy is not None]
    if len(priced) > 2:
        show_front(pareto(priced), knee(priced), "tokens")


def outcomes(row: Row) -> dict[str, list[float]]:
    """1 or 0 of every graded problem, one per seed."""
    found: dict[str, list[float]] = {}
    for report in row.reports:
        for r in report.records:
            if r["verdict"] not in (None, Verdict.UNGRADABLE):
                found.setdefault(r["problem"], []).append(float(r["verdict"] == Verdict.CORRECT))
    return found


def _means(row: Row) -> dict[str, float]:
    return {problem: sum(v) / len(v) for problem, v in outcomes(row).items()}


# ---------------------------------------------------------------------------------------------------- clusters, seeds


def clusters_of(pattern: str, problems: Iterable[str]) -> dict[str, str]:
    """Each problem's cluster: what ``pattern`` matches in its id (its first group, if it has one).

    UsageError for a pattern that is none or that an id does not match.
    """
    try:
        made = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--cluster {pattern!r} is no regular expression ({error})") from error
    found = {}
    for problem in problems:
        match = made.search(problem)
        if match is None:
            raise UsageError(f"--cluster {pattern!r} matches nothing in the id {problem!r}")
        found[problem] = match[1 if made.groups else 0] or ""
    return found


def clustered_document(result: Comparison, pattern: str) -> dict[str, Any]:
    """Accuracy and paired differences where problems of one cluster resemble each other."""
    values = {_named(row): _means(row) for row in result.rows}
    clusters = clusters_of(pattern, sorted(set().union(*values.values())))
    rows, differences = [], []
    for row in result.rows:
        mine = values[_named(row)]
        if not mine:
            continue
        boot = cluster_bootstrap(mine, clusters).interval
        rows.append({"arm": _named(row), **asdict(cluster_interval(mine, clusters)), "bootstrap": boot})
        base = next((r for r in result.rows if r.arm == result.baseline and r.budget == row.budget), None)
        if base is not None and base is not row and values[_named(base)]:
            found = paired_by_cluster(values[_named(base)], mine, clusters)
            differences.append({"arm": _named(row), "baseline": _named(base), **asdict(found)})
    return {"arms": rows, "differences": differences}


def show_clusters(document: Mapping[str, Any]) -> None:
    """Two tables: every arm, and its difference to the baseline."""
    rows = [
        [a["arm"], str(a["clusters"]), _interval(a["mean"], a["interval"]), _interval(a["mean"], a["bootstrap"])]
        for a in document["arms"]
    ]
    columns = ["by cluster", "clusters", "accuracy [95 %]", "bootstrap [95 %]"]
    out.print(table("", columns, rows, right=(1, 2, 3)))
    rows = [
        [d["arm"], f"{100 * d['difference']:+.1f} {_points(d['interval'])}", f"{d['p']:.4f}"]
        for d in document["differences"]
    ]
    if rows:
        out.print(table("", ["difference by cluster", "points [95 %]", "p (t)"], rows, right=(1, 2)))


def seeds_of(row: Row) -> Seeds | None:
    """Variance between problems and seeds; None with one seed, or where a problem lacks the result of one."""
    found = outcomes(row)
    if len(row.reports) < 2 or len(found) < 2 or {len(v) for v in found.values()} != {len(row.reports)}:
        return None
    return over_seeds(found)


def show_seeds(found: Sequence[tuple[str, Seeds]]) -> None:
    """What varies: problems, seeds, or the single draw; and the accuracy for other seeds of these problems."""
    rows = [
        [
            arm,
            " ".join(f"{100 * mean:.1f}" for mean in s.per_seed),
            f"{100 * s.problems_sd:.1f}",
            f"{100 * s.seeds_sd:.1f}",
            f"{100 * s.rest_sd:.1f}",
            _points(s.interval),
            _points(s.same_problems),
        ]
        for arm, s in found
    ]
    if rows:
        columns = ["over seeds", "each seed", "sd problems", "sd seeds", "sd rest", "95 %", "95 %, these problems"]
        out.print(table("", columns, rows, right=range(1, 7)))


def _interval(value: float, interval: Sequence[float]) -> str:
    return f"{100 * value:.1f} % {_points(interval)}"


def _points(interval: Sequence[float]) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


# ---------------------------------------------------------------------------------------------------- selection


def selected(result: Comparison) -> Chosen:
    """The best arm on the development half, on the other half: with its interval, and against the baseline."""
    hashes = {r["problem"]: r["hash"] for row in result.rows for report in row.reports for r in report.records}
    development, test = split({_named(row): _means(row) for row in result.rows}, hashes)
    chosen = select(development)
    budget = next(row.budget for row in result.rows if _named(row) == chosen.arm)
    baseline = next((_named(r) for r in result.rows if r.arm == result.baseline and r.budget == budget), None)
    return chosen.report(test, baseline)


def show_selected(chosen: Chosen, baseline: str) -> None:
    """Two lines: what was chosen, and what it is worth elsewhere."""
    low, high = chosen.interval
    found = f"{100 * chosen.accuracy:.1f} % [{100 * low:.1f}, {100 * high:.1f}] on {chosen.n} others"
    out.print(plain(f"chosen on the development half: {chosen.arm}, {percent(chosen.on_development)} there; {found}"))
    if chosen.against is not None:
        p = chosen.against
        points = f"{100 * p.difference:+.1f} [{100 * p.interval[0]:+.1f}, {100 * p.interval[1]:+.1f}] points"
        out.print(plain(f"there against {baseline}: {points}, McNemar p {p.p:.3g}"))


# ---------------------------------------------------------------------------------------------------- steps


def traced(task: Task, run: Path, cells: Sequence[Cell], records: Sequence[Sequence[Record]]) -> TraceError | None:
    """How many right answers of these cells of a run file have a wrong step; None where the task cannot tell."""
    truth = truth_of(task)
    if truth is None:
        return None
    problems = {p.id: p for p in task.problems()}

    def solutions(view: RunView) -> Iterator[tuple[str, bool, bool | None]]:
        for cell, mine in zip(cells, records, strict=True):
            for r in mine:
                if r["verdict"] in (None, Verdict.UNGRADABLE):
                    continue
                sound: bool | None = None
                rows = view.tree(cell, r["problem"]) if r["node"] is not None else None
                if rows is not None:
                    tree = Tree.from_record(rows)
                    node = tree.nodes[r["node"]]
                    text = tree.solution(node)[tree.reply_at(node) :]
                    (sound,) = truth.judged(problems[r["problem"]], text, [len(text)]) or [None]
                yield r["problem"], r["verdict"] == Verdict.CORRECT, sound

    with RunView(run) as view:
        return trace_error(solutions(view))


def trace_text(found: TraceError) -> str:
    """``3.1 % [1.2, 7.8] of 64``: the share of right answers with a wrong step, and how many could be judged."""
    if found.error is None:
        return "no right answer has steps that can be judged"
    low, high = found.interval
    return f"{100 * found.error:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {found.flawed + found.clean}"


def show_traces(found: Sequence[tuple[str, TraceError]]) -> None:
    """One line per arm; nothing where the task does not know its steps."""
    if found:
        rows = [[arm, trace_text(each)] for arm, each in found]
        out.print(table("", ["strategy", "right answers with a wrong step [95 %]"], rows, right=(1,)))
