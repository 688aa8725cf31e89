"""One finished problem as a record: what a run file keeps, and all that a report is made of.

A report is a function of records alone, so a run that was killed and resumed ends in the same table.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from thence.core.answers import Grade, Reading, Verdict
from thence.core.budget import POOL, Charged, Spent
from thence.core.completion import Finish, Origin
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.core.search import POLICY, Result
from thence.core.tree import Kind, Node, formats_of
from thence.tasks.order import by_content

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draws:
    """Whole-solution samples with one answer (None: no answer): how many, and how many of them are right."""

    key: str | None
    count: int
    right: int


def shuffled(problems: list[Problem], limit: int | None = None) -> list[Problem]:
    """The problems in the order of their content hashes, the first ``limit`` of them.

    The hash is the shuffle: it depends on neither seed nor file order, so all seeds and arms share their problems.
    """
    ordered = by_content(problems)
    return ordered if limit is None else ordered[:limit]


def make_record(task: Task, result: Result, seconds: float) -> tuple[Record, list[dict[str, Any]]]:
    """Grade ``result``; returns (record, tree), both plain JSON data. ``seconds`` is how long the problem took.

    ``verdict`` is None where the task has no references.
    """
    record = result.record()
    tree: list[dict[str, Any]] = record.pop("tree")
    grade = task.grade(result.problem, result.reply, result.answer) if task.has_references else None
    samples = [n for n in result.tree if whole_solution(n)]
    graded = grade is not None and grade.verdict is not Verdict.UNGRADABLE
    record |= {
        "key": task.reading.key(result.answer) if result.answer is not None else None,
        "verdict": str(grade.verdict) if grade is not None else None,
        "reason": grade.reason if grade is not None else "",
        "seconds": round(seconds, 4),
        "finishes": dict(_finishes(result)),
        "draws": [[d.key, d.count, d.right] for d in draws(task, result.problem, samples, graded=graded)],
    }
    replies, unparsed = formats_of(result.tree)
    if replies:
        record["format"] = {"replies": replies, "unparsed": dict(unparsed)}
    pooled = {n.role for n in result.tree if n.role.startswith(POOL)} | result.lost.keys()
    if pooled:
        record["models"] = {
            role.removeprefix(POOL): _model_record(task, result, role, graded) for role in sorted(pooled)
        }
    return record, tree


def all_draws(record: Record) -> list[Draws]:
    """The samples of a finished problem by answer: of a pool those of all its models together, which are draws of no
    one law, but the votes that were cast."""
    told = record.get("models")
    if not told:
        return [Draws(*d) for d in record["draws"]]
    counts: Counter[str | None] = Counter()
    right: Counter[str | None] = Counter()
    for model in told.values():
        for key, count, hits in model["draws"]:
            counts[key] += count
            right[key] += hits
    return [Draws(key, n, right[key]) for key, n in counts.items()]


def _model_record(task: Task, result: Result, role: str, graded: bool) -> Record:
    """The samples and both books of one of a pool's models on one problem."""
    own = [n for n in result.tree if whole_solution(n, role)]
    charged, spent = result.ledger.charged.get(role, Charged()), result.ledger.spent.get(role, Spent())
    return {
        "draws": [[d.key, d.count, d.right] for d in draws(task, result.problem, own, graded=graded)],
        "charged": {"prompt": charged.prompt, "generated": charged.generated},
        "spent": {k: getattr(spent, k) for k in ("prefilled", "reused", "generated", "wasted")},
        "lost": result.lost.get(role, 0),
    }


def draws(task: Task, problem: Problem, nodes: list[Node], *, graded: bool) -> list[Draws]:
    """The answers of whole-solution samples by answer class, every draw counted, in order of first appearance.

    A sample cut by its own cap or the context counts, without an answer; one cut by the budget is no draw of the
    model's distribution and does not. Only draws of one law are counted together: those of the run's own sampling,
    else those of the only other law; branches on the first token have a law each, and then there is none.
    """
    counts: Counter[str | None] = Counter()
    right: Counter[str | None] = Counter()
    law = counted_law(nodes)
    for node in nodes:
        if node.completion.finish is Finish.BUDGET:
            continue
        value = sample_answer(task.reading, node)
        key = None if value is None else task.reading.key(value)
        drawn = node.laws.count(law) if law is not None else 0
        if not drawn:
            continue
        counts[key] += drawn
        if graded and value is not None and _right(task.grade(problem, node.completion.reply, value)):
            right[key] += drawn
    return [Draws(key, n, right[key]) for key, n in counts.items()]


def counted_law(nodes: list[Node]) -> str | None:
    """The law whose draws count together: the run's own, else the only other one; None where there are several."""
    laws = {law for node in nodes for law in node.laws}
    return "" if "" in laws else laws.pop() if len(laws) == 1 else None


def sample_answer(reading: Reading, node: Node) -> str | None:
    """The answer of one sample: the one the strategy read, else what stands in its reply. A cut sample has none."""
    if node.found is not None or node.read:
        return None if node.found is None else node.found.value
    if node.truncated:
        return None
    read = reading.extract(node.completion.reply)
    return None if read is None else read.value


def whole_solution(node: Node, role: str = POLICY) -> bool:
    """Whether a node is one sample of a whole solution by ``role``, from the question to its end."""
    return node.kind is Kind.FINISH and node.parent == 0 and node.origin is Origin.SAMPLED and node.role == role


def _right(grade: Grade) -> bool:
    return grade.verdict is Verdict.CORRECT


def _finishes(result: Result) -> Counter[str]:
    """How often the model's texts ended in each way, every draw counted."""
    finishes: Counter[str] = Counter()
    for node in result.tree:
        if node.origin is Origin.SAMPLED:
            finishes[str(node.completion.finish)] += node.multiplicity
    return finishes


def duplicate_ids(problems: list[Problem]) -> list[str]:
    """Ids that more than one problem has."""
    return [i for i, n in Counter(p.id for p in problems).items() if n > 1]
