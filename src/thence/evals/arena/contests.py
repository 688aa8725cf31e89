"""Contestants out of stored runs, and their battles by the verdicts that the runs hold.

A contestant is one arm of one run file under one budget. Two contestants meet once per problem (and seed) that both
have. With exact verdicts the right answer beats the wrong one; both right is a tie, both wrong a tie (bothbad), and
an ungradable problem is no battle. Battles of one problem hang together, so the problem is their cluster.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thence.core.answers import Verdict
from thence.core.errors import UsageError
from thence.core.tree import Tree
from thence.stores.sqlite import Cell, RunView

Row = dict[str, object]
COUNTED = frozenset(map(str, Verdict)) - {str(Verdict.UNGRADABLE)}


@dataclass(frozen=True, slots=True)
class Contestant:
    """One arm under one budget: where its results are, one cell per seed."""

    name: str
    view: RunView
    cells: tuple[Cell, ...]

    def records(self, seed: int) -> dict[str, dict[str, Any]]:
        """Records by problem of the ``seed``-th cell."""
        return self.view.results(self.cells[seed])

    def reply(self, seed: int, record: dict[str, Any]) -> str:
        """The chosen solution without its thought; empty where there is none."""
        rows = self.view.tree(self.cells[seed], record["problem"])
        if rows is None or record.get("node") is None:
            return ""
        tree = Tree.from_record(rows)
        node = tree.nodes[record["node"]]
        return tree.solution(node)[tree.reply_at(node) :]


def contestants(views: Sequence[RunView]) -> list[Contestant]:
    """Everybody in these run files, under the shortest names that tell them apart.

    UsageError when the runs are of different problems, or when there are fewer than two contestants.
    """
    tasks = {str(view.header.get("data")): str(view.header.get("task")) for view in views}
    if len(tasks) > 1:
        raise UsageError(f"the runs are of different problems: {', '.join(tasks.values())}; compare runs of one task")
    groups: dict[tuple[int, str, int | None], list[Cell]] = {}
    for k, view in enumerate(views):
        for cell in view.cells():
            groups.setdefault((k, cell.arm, cell.budget), []).append(cell)
    facts = [_facts(views[k], arm, budget) for k, arm, budget in groups]
    if len(facts) < 2:
        raise UsageError(f"{len(facts)} contestants in {len(views)} run files; an arena needs two runs, or two arms")
    return [
        Contestant(name, views[key[0]], tuple(sorted(cells, key=lambda cell: cell.seed)))
        for name, (key, cells) in zip(_names(facts), groups.items(), strict=True)
    ]


def _facts(view: RunView, arm: str, budget: int | None) -> tuple[str, ...]:
    """Model, strategy, budget and file: what may tell two contestants apart."""
    header = view.header
    policy = (header.get("notes") or {}).get("policy") or {}
    model = str(policy.get("model") or (header.get("model") or {}).get("identity") or "model")
    limit = "" if budget is None else f"within {budget:,} tokens"
    return model, arm or str(header.get("strategy") or ""), limit, view.path.stem


def _names(facts: Sequence[tuple[str, ...]]) -> list[str]:
    """Of model, strategy, budget and file the fewest parts in which all differ."""
    for size in range(1, 5):
        for parts in itertools.combinations(range(4), size):
            names = [" ".join(filter(None, (fact[p] for p in parts))) for fact in facts]
            if len(set(names)) == len(names) and all(names):
                return names
    return [f"{' '.join(filter(None, fact))} #{k}" for k, fact in enumerate(facts, 1)]


def by_verdict(players: Sequence[Contestant]) -> list[Row]:
    """Battles by the stored verdicts. UsageError where there are none."""
    made: list[Row] = []
    for a, b, seed in meetings(players):
        left, right = a.records(seed), b.records(seed)
        for problem in left:
            verdicts = [str(r.get(problem, {}).get("verdict")) for r in (left, right)]
            if not COUNTED.issuperset(verdicts):
                continue
            first, second = (v == Verdict.CORRECT for v in verdicts)
            winner = ("tie" if first else "tie (bothbad)") if first == second else "model_a" if first else "model_b"
            made.append({"model_a": a.name, "model_b": b.name, "winner": winner, "problem": problem, "first": None})
    if not made:
        raise UsageError("the runs hold no verdicts on the same problems; let a model judge: --judge MODEL")
    return made


def meetings(players: Sequence[Contestant]) -> list[tuple[Contestant, Contestant, int]]:
    """Every two contestants, and every seed (by its place in the list) that both have."""
    return [
        (a, b, seed) for a, b in itertools.combinations(players, 2) for seed in range(min(len(a.cells), len(b.cells)))
    ]
