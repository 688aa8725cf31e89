r"""Why an answer is wrong: the first step after which it is lost for good, found with few rollouts.

Let V(t) be the share of right completions after t steps of a wrong solution with M steps. The fatal step is the one
after the last t with V(t) > delta: from there on the value is at most delta and stays there. delta lies above the rate
at which a lost solution is right by luck (by default by .05). If V(0) <= delta the question itself is out of reach, and
no step is to blame.

Completing every prefix equally often (Wang et al. 2023, arXiv:2312.08935) spends most rollouts where nothing is in
doubt. Here the place c of the last living prefix has a posterior law,

    P(c | data)  ~  A(c)  prod_{t < c} [(1 - dip) A(t) + dip D(t)]  prod_{t > c} D(t)

where A(t) and D(t) are the likelihoods of the rollouts at t when its value is above or below delta, each averaged over
a prior: below it uniform, above it proportional to 1 / V, because a value just above delta looks much like one below.
``dip`` lets an earlier prefix look dead, as where a solver recovers. The next rollouts go where one outcome is expected
to say most about c (its mutual information with c), shared out in batches so that a server is kept busy; all rules are
deterministic but for ties, which the seed decides. It ends when one place has the asked ``confidence``.

The first solutions, of which one was wrong, are rollouts of the question and count as such. Binary search (OmegaPRM,
arXiv:2406.06592) is this with n equal rollouts a prefix, no doubt, and delta = 0.

Not covered: rollouts say what this completer can still make good, not which step is false; see ``exact``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

from thence.core.errors import DataError, UsageError, check_counts, check_shares
from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Meaning

from .math_shepherd import step_ends
from .rollouts import Estimate, Rollouts, outcome

ABOVE_GUESS = 0.05
DIP = 0.02  # chance that a prefix before the last living one is dead
GRID = 40  # points of each prior


@lru_cache(maxsize=1 << 14)
def log_likelihoods(successes: int, rollouts: int, delta: float) -> tuple[float, float]:
    """log P(these outcomes, in their order) for a value above and for one below ``delta``."""
    above = [delta ** (1 - (i + 0.5) / GRID) for i in range(GRID)]  # equal steps of log v: a density of 1 / v
    below = [delta * (i + 0.5) / GRID for i in range(GRID)]

    def averaged(grid: Sequence[float]) -> float:
        logs = [successes * math.log(v) + (rollouts - successes) * math.log1p(-v) for v in grid]
        return log_sum(logs) - math.log(GRID)

    return averaged(above), averaged(below)


def log_sum(logs: Sequence[float]) -> float:
    """log of the sum of exp."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(x - top) for x in logs))


def entropy(p: float) -> float:
    """Of one bit that is 1 with probability ``p``, in nats."""
    return 0.0 if p <= 0 or p >= 1 else -p * math.log(p) - (1 - p) * math.log(1 - p)


@dataclass(slots=True)
class ChangePoint:
    """What rollouts say about the last living one of the prefixes with 0, 1, ..., ``steps`` - 1 steps.

    (The whole solution is wrong, hence dead.) ``counts`` holds right answers and rollouts of each prefix.
    """

    steps: int
    delta: float
    counts: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = self.counts or [(0, 0)] * self.steps

    def law(self) -> list[float]:
        """P(c = i - 1 | data) for i = 0 ... steps: first that no prefix lives, then that the last has i - 1 steps."""
        each = [log_likelihoods(s, n, self.delta) for s, n in self.counts]
        alive, dead = [a for a, _ in each], [d for _, d in each]
        before = [log_sum((a + math.log(1 - DIP), d + math.log(DIP))) for a, d in each]
        logs = [math.fsum(dead)]
        logs += [math.fsum((*before[:c], alive[c], *dead[c + 1 :])) for c in range(self.steps)]
        total = log_sum(logs)
        return [math.exp(x - total) for x in logs]

    def lives(self) -> list[float]:
        """P(V(t) > delta from t to the last living prefix) = P(c >= t), for each prefix."""
        law = self.law()
        return [math.fsum(law[t + 1 :]) for t in range(self.steps)]

    def information(self) -> list[float]:
        """How much one more rollout of each prefix is expected to say about c, in nats."""
        gains = []
        for (s, n), alive in zip(self.counts, self.lives(), strict=True):
            now, then = log_likelihoods(s, n, self.delta), log_likelihoods(s + 1, n + 1, self.delta)
            right = [math.exp(b - a) for a, b in zip(now, then, strict=True)]  # chance of a right answer, alive, dead
            mean = alive * right[0] + (1 - alive) * right[1]
            gains.append(entropy(mean) - alive * entropy(right[0]) - (1 - alive) * entropy(right[1]))
        return gains

    def allocate(self, batch: int, luck: Callable[..., int]) -> list[int]:
        """How many of ``batch`` rollouts each prefix gets: in proportion to what they say, as a divisor rule does."""
        gains, given = self.information(), [0] * self.steps
        for _ in range(batch):
            most = max(range(self.steps), key=lambda t: (gains[t] / (1 + given[t]), luck(t)))
            given[most] += 1
        return given


@dataclass(frozen=True, slots=True)
class Explained:
    """The fatal step of one wrong solution, counted from 0 (None: lost from the start), and how sure that is.

    ``interval`` are the first and last step that may be it, with 95 %; -1 stands for none. ``estimates`` has one entry
    per prefix of 0, 1, ... steps, None where no rollout was made. ``decided`` is whether the asked confidence was
    reached; if not, the most probable step is given.
    """

    record: Labelled
    fatal: int | None
    certainty: float
    interval: tuple[int, int]
    estimates: tuple[Estimate | None, ...]
    decided: bool


@dataclass(frozen=True, slots=True)
class Why:
    """The fatal step of every wrong one of ``solutions`` sampled solutions, with ``confidence``.

    At most ``most`` rollouts a solution, ``batch`` in flight together. ``delta`` is by default ``guess`` + .05, where
    ``guess`` is how often a lost solution is right by luck (0 for free numbers, 1 / k for k choices).
    """

    confidence: float = 0.9
    guess: float = 0.0
    delta: float | None = None
    most: int = 400
    batch: int = 8
    solutions: int = 4

    def __post_init__(self) -> None:
        check_counts("why", most=self.most, batch=self.batch, solutions=self.solutions)
        check_shares("why", confidence=self.confidence, guess=self.guess)
        if not 0 < self.threshold < 1:
            raise UsageError(f"why: delta is {self.threshold}; it must be above 0 and below 1")

    @property
    def threshold(self) -> float:
        """delta: a value up to this is that of a lost solution."""
        return self.guess + ABOVE_GUESS if self.delta is None else self.delta

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]:
        """Sample solutions and explain the wrong ones; problems without a wrong one have no records."""
        wrong = await self.wrong(rollouts, self.solutions)
        return [(await self.explain(rollouts, text)).record for text in wrong]

    async def wrong(self, rollouts: Rollouts, n: int) -> list[str]:
        """The different wrong ones of ``n`` solutions; all of them are rollouts of the question."""
        nodes = await rollouts.more([""], [n])
        whole = {node.completion.reply: node for node in nodes if not node.truncated}
        return [text for text, node in whole.items() if text.strip() and not await rollouts.correct(node)]

    async def explain(self, rollouts: Rollouts, text: str) -> Explained:
        """The fatal step of one wrong solution. DataError if it has no steps; ends early when the budget does."""
        ends = step_ends(rollouts, text)
        if not ends:
            raise DataError(f"problem {rollouts.search.problem.id}: the wrong answer has no steps: {text[:60]!r}")
        prefixes = ["", *(text[:end] for end in ends[:-1])]
        search, spent = rollouts.search, 0
        while True:
            known = [rollouts.known(p) for p in prefixes]
            point = ChangePoint(
                len(ends), self.threshold, [(e.successes, e.rollouts) if e is not None else (0, 0) for e in known]
            )
            law = point.law()
            decided = max(law) >= self.confidence
            left = min(self.batch, self.most - spent)
            if decided or left < 1 or search.stopped:
                break
            shares = point.allocate(left, partial(search.chance, "why", text, spent))
            chosen = [(p, k) for p, k in zip(prefixes, shares, strict=True) if k]
            await rollouts.more([p for p, _ in chosen], [k for _, k in chosen])
            spent += left
        best = max(range(len(law)), key=lambda i: (law[i], search.chance("why", text, "best", i)))
        fatal = best - 1 if best else None
        interval = _interval(law)
        record = self._record(rollouts, text, ends, known, point.lives(), fatal, law[best], interval)
        return Explained(record, fatal, law[best], interval, tuple(known), decided)

    def _record(
        self,
        rollouts: Rollouts,
        text: str,
        ends: tuple[int, ...],
        known: Sequence[Estimate | None],
        lives: Sequence[float],
        fatal: int | None,
        certainty: float,
        interval: tuple[int, int],
    ) -> Labelled:
        """Two labels a step: P(still alive) as PREFIX_VALID, and the value by rollouts where some were made."""
        rows: list[tuple[Label, ...]] = []
        for estimate, alive in zip(known[1:], lives[1:], strict=True):
            sure = Label(Meaning.PREFIX_VALID, min(1.0, alive), Source.ROLLOUTS)
            rows.append((sure,) if estimate is None else (sure, rollouts.label(estimate)))
        rows.append((Label(Meaning.PREFIX_VALID, 0.0, Source.EXACT), outcome(correct=False)))
        found = {"step": fatal, "certainty": certainty, "interval": list(interval), "delta": self.threshold}
        if known[0] is not None:
            found |= {"question": [known[0].successes, known[0].rollouts]}
        return Labelled(rollouts.search.problem.id, text, ends, tuple(rows), correct=False, extra={"fatal": found})


def _interval(law: Sequence[float], outside: float = 0.05) -> tuple[int, int]:
    """The steps left when the tails of at most ``outside`` / 2 each are cut; -1 is that no step is to blame."""
    low, high, tail = 0, len(law) - 1, law[0]
    while tail <= outside / 2:
        low += 1
        tail += law[low]
    tail = law[high]
    while tail <= outside / 2:
        high -= 1
        tail += law[high]
    return low - 1, high - 1


__all__ = ["ChangePoint", "Explained", "Why", "entropy", "log_likelihoods"]
