"""Does a prompt teach a model anything, or does it move probability to what it could do before?

The claim of Denny Zhou's lecture and of CoT-decoding (Wang & Zhou 2024, arXiv:2402.10200): chains of thought are among
a pretrained model's continuations already, and prompts reorder them. So a prompt that only *moves mass* should

* raise the probability of a fixed right path (a stored solution) and lower the rank of its first token,
* raise greedy accuracy, which reads only the top of the distribution,
* and leave coverage alone: a question with a right answer among many samples, or among the greedy continuations of the
  k most likely first tokens, had one before.

Each is measured per problem and compared with the first prompt in pairs. "Unchanged" is an equivalence: the whole 95 %
interval of the difference lies within ``margin``. An interval that is merely wide shows nothing, and is called so.

A path's probability is that of its text after the prompt, summed over the ways a reply can open (a blank, a line break,
nothing: disjoint texts), because prompts that begin the reply open it differently. Its first token is the first with
something visible in it. Stored paths are the task's own reference solutions where it has them in the model's words (the
built-in word problems), else the first right sample of any prompt, in the order of the prompts; a path that one prompt
drew favours that prompt, so such a table says where its paths come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from thence.core.answers import Verdict
from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Request, Sampling, Segment, TokenLogprobs
from thence.core.errors import UsageError, check_counts
from thence.core.problem import Problem
from thence.core.protocols import Generator, PromptStyle, Scorer, Task
from thence.core.run import Stopper
from thence.core.search import Strategy
from thence.core.solve import check_no_form, check_one_call
from thence.core.tree import Tree
from thence.evals.statistics.intervals import t_interval
from thence.evals.statistics.metrics import Interval, Paired, paired
from thence.stores.sqlite import Cell, RunFile

from .compare import Grid, compare
from .evaluate import Arm, Progress
from .records import Record, sample_answer, whole_solution

OPENINGS = (" ", "\n", "")
MARGIN = 0.1
K = 10


@dataclass(frozen=True, slots=True)
class Path:
    """What a prompt makes of a stored path: log P(path), P(a reply begins as the path does), and the rank of its first
    token among the ``k`` most likely ones (0 is the best, k if it is none of them)."""

    logprob: float
    begins: float
    rank: int


@dataclass(frozen=True, slots=True)
class Prompted:
    """One prompt: means over problems. ``begins``, ``rank`` and ``logprob`` are None without a stored path."""

    prompt: str
    paths: int
    begins: float | None
    median_rank: float | None
    logprob: float | None
    greedy: float
    coverage: float
    branches: float
    tokens: float | None


@dataclass(frozen=True, slots=True)
class Shift:
    """One prompt against the first, by problem. ``logprob`` is the mean change of log10 P(path) with its interval."""

    prompt: str
    logprob: float | None
    interval: Interval | None
    greedy: Paired
    coverage: Paired
    branches: Paired
    margin: float

    @property
    def moved(self) -> bool:
        """Whether the path became more likely and greedy accuracy rose, both beyond their intervals."""
        return self.interval is not None and self.interval[0] > 0 and self.greedy.interval[0] > 0

    def unchanged(self, found: Paired) -> bool:
        """Whether a difference is shown to be smaller than the margin."""
        return -self.margin < found.interval[0] and found.interval[1] < self.margin


@dataclass(frozen=True, slots=True)
class Mass:
    """The table: every prompt, and each against the first. ``source`` says where the stored paths come from."""

    prompts: tuple[Prompted, ...]
    shifts: tuple[Shift, ...]
    problems: int
    samples: int
    k: int
    source: str
    failed: int = 0

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        shifts = [
            asdict(s)
            | {"moved": s.moved, "coverage_unchanged": s.unchanged(s.coverage)}
            | {"branches_unchanged": s.unchanged(s.branches)}
            for s in self.shifts
        ]
        return asdict(self) | {"shifts": shifts}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn under every prompt: a greedy reply, ``samples`` samples, and ``k`` branches on the first token.

    The three strategies come from the caller: this module imports none.
    """

    styles: tuple[tuple[str, PromptStyle], ...]
    greedy: Strategy
    sampled: Strategy
    branched: Strategy
    samples: int = 16
    k: int = K
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        check_counts("prompting", samples=self.samples, k=self.k)
        names = [name for name, _ in self.styles]
        if len(names) < 2 or len(set(names)) < len(names):
            raise UsageError(
                f"prompting compares at least two different prompts; given are {', '.join(names) or 'none'}"
            )

    def grid_for(self, seed: int) -> Grid:
        """All arms, three per prompt."""
        named = (
            ("greedy", self.greedy),
            (f"repeated-sampling(n={self.samples})", self.sampled),
            (f"cot-decoding(k={self.k})", self.branched),
        )
        arms = tuple(Arm(n, s, style, name, self.sampling) for name, style in self.styles for n, s in named)
        return Grid(arms, (seed,))


Paths = Callable[[Problem], str | None]


async def prompting(
    task: Task,
    generator: Generator,
    plan: Plan,
    store: RunFile,
    *,
    paths: Paths | None = None,
    model: str = "",
    seed: int = 0,
    limit: int | None = None,
    margin: float = MARGIN,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> Mass:
    """Draw what ``store`` does not hold yet, score the stored paths, and compare. UsageError for a generator that gives
    no log-probabilities of given text, and for a task without references."""
    if not task.has_references:
        raise UsageError(f"{task.spec} has no references; which path is right has to be known")
    if not isinstance(generator, Scorer) or Ability.SCORE_TEXT not in generator.abilities:
        raise UsageError(f"{generator.identity} gives no log-probabilities of given text; use a local model")
    grid = plan.grid_for(seed)
    run = await compare(
        task, generator, grid, model=model, limit=limit, store=store, progress=progress, stopper=stopper
    )
    cells = [Cell(key, seed) for key in grid.keys]
    records = [store.results(cell) for cell in cells]
    graded = [
        p for p in task.problems() if all(p.id in r and r[p.id]["verdict"] != Verdict.UNGRADABLE for r in records)
    ]
    if not graded:
        raise UsageError("no problem was solved under all prompts, so there is nothing to compare")
    source = "the task's reference solutions" if paths else "the first right sample of any prompt"
    texts = {p.id: paths(p) if paths else _drawn(task, p, store, cells[1::3]) for p in graded}
    outcomes: list[Outcomes] = []
    for i, (name, style) in enumerate(plan.styles):
        known = [p for p in graded if texts[p.id] is not None]
        scored = await score_paths(generator, style, known, {p.id: texts[p.id] or "" for p in known}, plan.k)
        greedy, drawn = records[3 * i : 3 * i + 2]
        outcomes.append(
            Outcomes(
                name,
                scored,
                {p.id: float(greedy[p.id]["verdict"] == Verdict.CORRECT) for p in graded},
                {p.id: float(any(right for _, _, right in drawn[p.id]["draws"])) for p in graded},
                {p.id: _branched(task, p, store, cells[3 * i + 2]) for p in graded},
                _mean_tokens(drawn, plan.samples),
            )
        )
    base = outcomes[0]
    return Mass(
        tuple(o.summary() for o in outcomes),
        tuple(_shift(base, o, margin) for o in outcomes[1:]),
        len(graded),
        plan.samples,
        plan.k,
        source,
        run.failed,
    )


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Everything measured under one prompt, by problem."""

    prompt: str
    paths: Mapping[str, Path]
    greedy: Mapping[str, float]
    coverage: Mapping[str, float]
    branches: Mapping[str, float]
    tokens: float | None

    def summary(self) -> Prompted:
        """The means."""
        found = list(self.paths.values())
        ranks = sorted(p.rank for p in found)
        middle = (ranks[(len(ranks) - 1) // 2] + ranks[len(ranks) // 2]) / 2 if ranks else None
        return Prompted(
            self.prompt,
            len(found),
            _mean([p.begins for p in found]) if found else None,
            middle,
            _mean([p.logprob / math.log(10) for p in found]) if found else None,
            _mean(list(self.greedy.values())),
            _mean(list(self.coverage.values())),
            _mean(list(self.branches.values())),
            self.tokens,
        )


def _shift(base: Outcomes, other: Outcomes, margin: float) -> Shift:
    shared = [q for q in base.paths if q in other.paths]
    changes = [(other.paths[q].logprob - base.paths[q].logprob) / math.log(10) for q in shared]
    mean, interval = t_interval(changes) if len(changes) > 1 else (None, None)
    return Shift(
        other.prompt,
        mean,
        interval,
        paired(base.greedy, other.greedy),
        paired(base.coverage, other.coverage),
        paired(base.branches, other.branches),
        margin,
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_tokens(drawn: Mapping[str, Record], samples: int) -> float | None:
    """Generated tokens per sample."""
    counts = [r["charged"]["generated"] for r in drawn.values()]
    return None if not counts or None in counts else sum(counts) / len(counts) / samples


def _branched(task: Task, problem: Problem, store: RunFile, cell: Cell) -> float:
    """1 if a greedy continuation of one of the k first tokens is right."""
    for node in Tree.from_record(store.tree(cell, problem.id) or []):
        answer = sample_answer(task.reading, node) if whole_solution(node) else None
        if answer is not None and task.grade(problem, node.completion.reply, answer).correct:
            return 1.0
    return 0.0


def _drawn(task: Task, problem: Problem, store: RunFile, cells: Sequence[Cell]) -> str | None:
    """The first right sample of any prompt."""
    for cell in cells:
        for node in Tree.from_record(store.tree(cell, problem.id) or []):
            answer = sample_answer(task.reading, node) if whole_solution(node) else None
            if answer is not None and task.grade(problem, node.completion.reply, answer).correct:
                return node.text
    return None


# --- stored paths -----------------------------------------------------------------------------------------------------


async def score_paths(
    generator: Generator, style: PromptStyle, problems: Sequence[Problem], texts: Mapping[str, str], k: int = K
) -> dict[str, Path]:
    """What ``style`` makes of each problem's stored path ``texts[id]``. UsageError where no way to open it can be
    written in the model's vocabulary."""
    assert isinstance(generator, Scorer)
    check_one_call(style, "stored paths")
    check_no_form(style, "stored paths")
    book = Spent()
    asked = [
        (p.id, style.context(p), opening + texts[p.id].strip())
        for p in problems
        for opening in OPENINGS
        if _writable(generator, style, p, opening + texts[p.id].strip())
    ]
    scored = await generator.logprobs([c for _, c, _ in asked], [t for _, _, t in asked], book) if asked else []
    ways: dict[str, list[tuple[TokenLogprobs, int]]] = {}
    for (name, _, _), found in zip(asked, scored, strict=True):
        ways.setdefault(name, []).append((found, _visible(generator, found.ids)))
    firsts = await _first_tokens(generator, style, problems, k, book)
    made: dict[str, Path] = {}
    for problem in problems:
        if problem.id not in ways:
            raise UsageError(f"the stored path of {problem.id} cannot be written in the words of {generator.identity}")
        totals = [math.fsum(found.logprobs) for found, _ in ways[problem.id]]
        begins = math.fsum(math.exp(math.fsum(found.logprobs[:n])) for found, n in ways[problem.id])
        best = ways[problem.id][max(range(len(totals)), key=lambda i: totals[i])][0]
        likely = firsts[problem.id]
        rank = likely.index(best.ids[0]) if best.ids[0] in likely else k
        top = max(totals)
        made[problem.id] = Path(top + math.log(math.fsum(math.exp(t - top) for t in totals)), min(1.0, begins), rank)
    return made


def _writable(generator: Generator, style: PromptStyle, problem: Problem, text: str) -> bool:
    """Whether a closed vocabulary has all of ``text``."""
    try:
        generator.tokens(style.context(problem).then(Segment(text)))
    except UsageError:
        return False
    return True


def _visible(generator: Generator, ids: Sequence[int]) -> int:
    """How many tokens it takes until something can be seen."""
    return next((n for n in range(1, len(ids) + 1) if generator.decode(ids[:n]).strip()), len(ids))


async def _first_tokens(
    generator: Generator, style: PromptStyle, problems: Sequence[Problem], k: int, book: Spent
) -> dict[str, list[int]]:
    """The ``k`` most likely first tokens, the best first."""
    requests = [
        Request(style.context(p), Sampling(temperature=0.0, max_tokens=1, first_rank=rank), 0)
        for p in problems
        for rank in range(k)
    ]
    found: dict[int, int] = {}
    async for index, outcome in generator.run(requests, book):
        if isinstance(outcome, Completion) and outcome.ids:
            found[index] = outcome.ids[0]
    return {p.id: [found[i * k + r] for r in range(k) if i * k + r in found] for i, p in enumerate(problems)}


__all__ = ["MARGIN", "K", "Mass", "Path", "Plan", "Prompted", "Shift", "prompting", "score_paths"]
