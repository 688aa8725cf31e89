"""Overthinking in a stored run: what second thoughts mend and spoil, what comes after the answer was right.

`lengths` asks whether longer samples are better. This module follows single trajectories:

* a *trajectory* is one line of thought with the answers it states, in order: the steps of one path (a forced "Wait" in
  between, or not), or a chain of revisions, each of which replies to the one before;
* a *revision* is what lies between two answers of a trajectory that are different solutions, or between which the text
  checks, goes back or tries another way. An answer that is only stated twice is none;
* a revision *repairs* (wrong to right), *breaks* (right to wrong), or changes nothing that counts. u = P(repaired |
  wrong before) and d = P(broken | right before) are the two numbers of the revision law p' = p (1 - d) + (1 - p) u
  (worlds/revision.py), whose limit u / (u + d) says whether thinking on helps or hurts;
* *wasted* tokens are those after the end of the first right answer of a trajectory.

Every share has an interval in which problems, not trajectories, are the independent units.

A position in a text is turned into tokens by the share of its node's characters: run files keep a text's number of
tokens, not their places. At the borders of nodes (steps, revisions, forced texts) that is exact.

After Zeng et al. 2025 (arXiv:2502.12215) and Chen et al. 2024 (arXiv:2412.21187), who measure what comes after the
first right answer.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from thence.core.answers import Verdict
from thence.core.completion import Finish, Origin
from thence.core.errors import DataError
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.core.search import POLICY
from thence.core.tree import SOLUTION, Kind, Node, Tree
from thence.evals.critics import Rate, Results, clustered
from thence.evals.records import counted_law, sample_answer, whole_solution
from thence.stores.sqlite import Cell

from .lengths import Lengths, Sample, measure
from .segments import REVISING, Segment, Tag, by_grammar, by_phrases

Reader = Callable[[str], list[Segment]]
READERS: Mapping[str, Reader] = {"phrases": by_phrases, "grammar": by_grammar}


@dataclass(frozen=True, slots=True)
class Said:
    """An answer that a trajectory states: its key, whether it is right, the length up to its end, and whether a second
    look stands between it and the answer before it."""

    key: str
    right: bool
    at: float
    looked_again: bool


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One line of thought: the answers it states, its whole length, and how many segments of each kind it has."""

    problem: str
    said: tuple[Said, ...]
    length: float
    tags: Mapping[Tag, int]

    @property
    def revisions(self) -> list[tuple[Said, Said]]:
        """Pairs of answers, before and after each revision."""
        return [(a, b) for a, b in pairwise(self.said) if b.looked_again or a.key != b.key]

    @property
    def wasted(self) -> float | None:
        """Length after the first right answer; None if it never had one."""
        first = next((s for s in self.said if s.right), None)
        return None if first is None else max(0.0, self.length - first.at)


@dataclass(frozen=True, slots=True)
class Revised:
    """What the revisions of some trajectories did.

    ``repaired`` is u, ``broken`` d; ``limit`` is u / (u + d), where accuracy goes if one only thinks long enough, None
    where neither ever happened. ``first`` and ``last`` are the accuracies of first and last answers.
    """

    revisions: int
    per_trajectory: float
    repaired: Rate
    broken: Rate
    limit: float | None
    first: Rate
    last: Rate
    outcomes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Wasted:
    """Of trajectories that had a right answer: ``share`` of their length that came after it, ``mean`` length of that,
    and how often the right answer was ``lost`` in the end. Over all trajectories: ``of_all``, the share of all
    length."""

    trajectories: int
    share: Rate
    mean: float | None
    lost: Rate
    of_all: float


@dataclass(frozen=True, slots=True)
class Tagged:
    """Mean number of segments of one kind per trajectory that ends right, and per one that does not."""

    tag: Tag
    right: float | None
    wrong: float | None


@dataclass(frozen=True, slots=True)
class Overthinking:
    """The whole finding. ``lengths`` is None where no question has two samples of one law; ``uncut`` is the same
    without samples that a cap cut (None: there are none such, or nothing is left)."""

    unit: str
    problems: int
    trajectories: int
    lengths: Lengths | None
    uncut: Lengths | None
    revised: Revised
    wasted: Wasted
    tags: tuple[Tagged, ...]

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


# --- reading a run ----------------------------------------------------------------------------------------------------


def read(
    task: Task, run: Results, cells: Iterable[Cell], reader: Reader = by_phrases
) -> tuple[list[Sample], list[Trajectory], str]:
    """Samples, trajectories and the unit of their lengths. Cells of other seeds are more samples of the same questions.

    DataError where the run's questions are not the task's, and for a run without graded problems.
    """
    problems = {p.id: p for p in task.problems()}
    trees: list[tuple[Problem, Tree]] = []
    for cell in cells:
        for name, record in run.results(cell).items():
            rows = run.tree(cell, name)
            if rows is None or record["verdict"] in (None, Verdict.UNGRADABLE):
                continue
            if name not in problems or problems[name].hash != record["hash"]:
                raise DataError(f"problem {name} of this run is another question in {task.spec}; name its task: --task")
            trees.append((problems[name], Tree.from_record(rows)))
    if not trees:
        raise DataError("this run has no graded problem with its texts; it needs a task with references")
    counted = all(n.completion.generated is not None for _, t in trees for n in t if n.origin is Origin.SAMPLED)
    size: Size = _tokens if counted else _characters
    samples, lines = list[Sample](), list[Trajectory]()
    for problem, tree in trees:
        samples += whole_samples(task, problem, tree, size)
        lines += trajectories(task, problem, tree, size, reader)
    return samples, lines, "tokens" if counted else "characters"


Size = Callable[[Node], float]


def _tokens(node: Node) -> float:
    return float(node.completion.generated or 0)


def _characters(node: Node) -> float:
    return float(len(node.text)) if node.origin is Origin.SAMPLED else 0.0


def whole_samples(task: Task, problem: Problem, tree: Tree, size: Size = _tokens) -> list[Sample]:
    """Every draw of a whole solution from the question to its end, of the one law whose draws count together."""
    whole = [n for n in tree if whole_solution(n) and n.completion.finish is not Finish.BUDGET]
    law = counted_law(whole)
    made: list[Sample] = []
    for node in whole if law is not None else ():
        answer = sample_answer(task.reading, node)
        right = answer is not None and task.grade(problem, node.completion.reply, answer).correct
        key = None if answer is None else task.reading.key(answer)
        one = Sample(problem.id, size(node), right, key, node.completion.finish is Finish.LENGTH)
        made += [one] * node.laws.count(law or "")
    return made


def trajectories(
    task: Task, problem: Problem, tree: Tree, size: Size = _tokens, reader: Reader = by_phrases
) -> list[Trajectory]:
    """Every line of thought in a tree, one per draw; those that the budget cut are none."""
    solution = [n for n in tree if n.kind in (*SOLUTION, Kind.FORCED) and n.role == POLICY]
    revised = {i for n in solution if n.kind is Kind.REVISION for i in n.about}
    continued = {n.parent for n in solution}
    made: list[Trajectory] = []
    for node in solution:
        ends = node.index not in continued and node.index not in revised and node.kind is not Kind.FORCED
        if not ends or node.completion.finish is Finish.BUDGET:
            continue
        line = _line(task, problem, tree, node, size, reader)
        made += [line] * (node.multiplicity if node.kind is not Kind.REVISION else 1)
    return made


def _line(task: Task, problem: Problem, tree: Tree, node: Node, size: Size, reader: Reader) -> Trajectory:
    """The trajectory that ends in ``node``."""
    chain = [node]
    while chain[0].kind is Kind.REVISION and chain[0].about:
        chain.insert(0, tree.nodes[chain[0].about[0]])
    said: list[Said] = []
    tags: Counter[Tag] = Counter()
    before = 0.0
    for i, attempt in enumerate(chain):
        found, length = _attempt(task, problem, tree, attempt, size, reader, tags)
        if i and found:
            found[0] = replace(found[0], looked_again=True)
        said += [replace(s, at=s.at + before) for s in found]
        before += length
    return Trajectory(problem.id, tuple(said), before, dict(tags))


def _attempt(
    task: Task, problem: Problem, tree: Tree, node: Node, size: Size, reader: Reader, tags: Counter[Tag]
) -> tuple[list[Said], float]:
    """The answers that one path states, and its length. The last is the one that was read when the run was made."""
    path = [n for n in tree.path(node) if n.kind in (*SOLUTION, Kind.FORCED)]
    text = "".join(n.text for n in path)
    segments = _segments(path, reader)
    tags.update(s.tag for s in segments)
    said: list[Said] = []
    again = False
    for segment in segments:
        again = again or segment.tag in REVISING
        if segment.tag is not Tag.ANSWER:
            continue
        answer = task.reading.extract(text[segment.start : segment.end])
        if answer is None:
            continue
        at = _length_to(path, segment.end, size)
        said.append(_said(task, problem, text[: segment.end], answer.value, at, again and bool(said)))
        again = False
    total = math.fsum(size(n) for n in path)
    final = sample_answer(task.reading, node)
    if final is not None and (not said or said[-1].key != task.reading.key(final)):
        said.append(_said(task, problem, text, final, total, again and bool(said)))
    return said, total


def _segments(path: Sequence[Node], reader: Reader) -> list[Segment]:
    """Each node's own segments: where a node ends (a step, a text before a forced one), a segment ends."""
    made: list[Segment] = []
    at = 0
    for node in path:
        made += [Segment(s.start + at, s.end + at, s.tag) for s in reader(node.text)]
        at += len(node.text)
    return made


def _said(task: Task, problem: Problem, text: str, answer: str, at: float, again: bool) -> Said:
    return Said(task.reading.key(answer), task.grade(problem, text, answer).correct, at, again)


def _length_to(path: Sequence[Node], end: int, size: Size) -> float:
    """The length of a path up to character ``end`` of its text."""
    length, left = 0.0, end
    for node in path:
        if left <= 0:
            break
        length += size(node) * min(1.0, left / len(node.text)) if node.text else 0.0
        left -= len(node.text)
    return length


# --- measuring --------------------------------------------------------------------------------------------------------


def overthinking(samples: Sequence[Sample], lines: Sequence[Trajectory], unit: str, groups: int = 5) -> Overthinking:
    """All figures of one run."""
    counts = Counter(s.problem for s in samples)
    several = any(n > 1 for n in counts.values())
    whole = [s for s in samples if not s.cut]
    left = Counter(s.problem for s in whole)
    uncut = len(whole) < len(samples) and any(n > 1 for n in left.values())
    return Overthinking(
        unit,
        len({line.problem for line in lines} | counts.keys()),
        len(lines),
        measure(samples, groups) if several else None,
        measure(whole, groups) if uncut else None,
        revised(lines),
        wasted(lines),
        tagged(lines),
    )


def revised(lines: Sequence[Trajectory]) -> Revised:
    """What the revisions of ``lines`` did."""
    mended, spoiled = _Groups(), _Groups()
    first, last = _Groups(), _Groups()
    outcomes: Counter[str] = Counter()
    for line in lines:
        for before, after in line.revisions:
            (spoiled if before.right else mended).add(line.problem, float(before.right != after.right))
            outcomes[_outcome(before, after)] += 1
        if line.said:
            first.add(line.problem, float(line.said[0].right))
            last.add(line.problem, float(line.said[-1].right))
    u, d = mended.rate(), spoiled.rate()
    moved = (u.value or 0.0) + (d.value or 0.0)
    total = sum(outcomes.values())
    known = u.value is not None and d.value is not None and moved > 0
    limit = (u.value or 0.0) / moved if known else None
    each = total / len(lines) if lines else 0.0
    return Revised(total, each, u, d, limit, first.rate(), last.rate(), dict(outcomes))


def _outcome(before: Said, after: Said) -> str:
    if before.right == after.right:
        kept = before.right or before.key == after.key
        return ("right kept" if before.right else "wrong kept") if kept else "wrong to other wrong"
    return "broken" if before.right else "repaired"


def wasted(lines: Sequence[Trajectory]) -> Wasted:
    """What came after the first right answers."""
    share, lost = _Groups(), _Groups()
    after: list[float] = []
    for line in lines:
        if (rest := line.wasted) is None:
            continue
        after.append(rest)
        share.add(line.problem, rest / line.length if line.length else 0.0)
        lost.add(line.problem, float(not line.said[-1].right))
    total = math.fsum(line.length for line in lines)
    mean = math.fsum(after) / len(after) if after else None
    return Wasted(len(after), share.rate(), mean, lost.rate(), math.fsum(after) / total if total else 0.0)


def tagged(lines: Sequence[Trajectory]) -> tuple[Tagged, ...]:
    """Segments of each kind per trajectory, by how it ends; kinds that never occur are left out."""
    ends: Mapping[bool, list[Trajectory]] = {True: [], False: []}
    for line in lines:
        ends[bool(line.said) and line.said[-1].right].append(line)

    def mean(of: list[Trajectory], tag: Tag) -> float | None:
        return sum(line.tags.get(tag, 0) for line in of) / len(of) if of else None

    return tuple(
        Tagged(tag, mean(ends[True], tag), mean(ends[False], tag)) for tag in Tag if any(tag in x.tags for x in lines)
    )


class _Groups:
    """Values by problem."""

    def __init__(self) -> None:
        self._values: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, problem: str, value: float) -> None:
        """One more value of a problem."""
        self._values[problem].append(value)

    def rate(self) -> Rate:
        """Their mean, problems being the independent units."""
        return clustered(list(self._values.values()))


__all__ = [
    "READERS",
    "Overthinking",
    "Revised",
    "Said",
    "Trajectory",
    "Wasted",
    "overthinking",
    "read",
    "revised",
    "trajectories",
    "wasted",
    "whole_samples",
]
