"""Battles between stored answers, decided by a model.

A judge is shown both answers in both orders, in two requests (`core.preferences`): each is a battle with its own
``first``, so that a liking for the answer shown first cancels out in the scores and can be measured (`Judging`). Two
equal answers are a tie without being asked. A reply without a readable verdict is counted, and is no battle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from thence.core.answers import Reading
from thence.core.completion import Ability
from thence.core.errors import CallFailed
from thence.core.preferences import FIRST, SECOND, TIE, Pair, question, said_better
from thence.core.problem import Message, Problem
from thence.core.protocols import Generator, SamplePool
from thence.core.run import Runner, Stopper, wants_more
from thence.core.search import VERIFIER, Result, Search
from thence.core.solve import solve
from thence.evals.records import shuffled
from thence.evals.statistics.metrics import Interval, wilson
from thence.prompts.styles import Bare

from .contests import Contestant, Row, meetings
from .style import OF_TEXT, measure

REPLY = 512  # most tokens of a judge's reply


@dataclass(frozen=True, slots=True)
class Question:
    """Two answers to one problem, to be judged in one order; ``swapped``: b's answer is shown first."""

    problem: Problem
    a: str
    b: str
    text_a: str
    text_b: str
    swapped: bool
    seed: int

    @property
    def pair(self) -> Pair:
        """As the judge sees it."""
        shown = Pair(self.problem.text, self.text_a, self.text_b)
        return shown.swapped if self.swapped else shown

    def row(self, share: float, judge: str) -> Row:
        """The battle that a verdict (the share of the answer shown first) decides."""
        winner = "tie" if share == TIE else "model_a" if (share == FIRST) != self.swapped else "model_b"
        sizes = {
            f"{name}_{side}": measure(text, name)
            for name in OF_TEXT
            for side, text in (("a", self.text_a), ("b", self.text_b))
        }
        first = "model_b" if self.swapped else "model_a"
        names = {"model_a": self.a, "model_b": self.b, "winner": winner, "problem": self.problem.id}
        return {**names, "seed": self.seed, "first": first, "judge": judge, **sizes}


@dataclass(frozen=True, slots=True)
class Judging:
    """What a judge said: ``rows`` are battles. Of ``pairs`` read in both orders ``same`` had one winner whatever the
    order, in ``to_first`` the answer shown first won both times, in ``to_second`` the other one. ``equal`` pairs had
    equal answers and were not asked, ``unread`` replies had no verdict, ``failed`` requests failed."""

    rows: list[Row]
    pairs: int
    same: int
    to_first: int
    to_second: int
    equal: int
    unread: int
    failed: list[str]

    @property
    def position(self) -> tuple[float, Interval] | None:
        """Share of shown-first among the pairs in which only the order decided; one half for a fair judge."""
        n = self.to_first + self.to_second
        return (self.to_first / n, wilson(self.to_first, n)) if n else None


@dataclass(frozen=True, slots=True)
class Asked:
    """A strategy that asks a judge one question; its node is the reply."""

    pair: Pair
    max_tokens: int

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond answering in a chat."""
        return frozenset()

    async def solve(self, search: Search) -> Result:
        """Ask once, greedily."""
        sampling = replace(search.sampling.greedy(), max_tokens=self.max_tokens)
        messages = [Message("user", question(self.pair))]
        replies = await search.ask([messages], role=f"{VERIFIER}:pairwise", sampling=sampling)
        return search.result(replies[0] if replies else None)


def questions(
    players: Sequence[Contestant], problems: Sequence[Problem], limit: int | None = None
) -> tuple[list[Question], list[Row]]:
    """(what to ask: every two different answers in both orders, the ties between equal answers).

    ``limit`` keeps the first so many, in the usual shuffle, of the problems that at least two contestants have.
    """
    held = Counter(problem for player in players for problem in player.records(0))
    common = shuffled([problem for problem in problems if held[problem.id] > 1], limit)
    asked: list[Question] = []
    ties: list[Row] = []
    for a, b, seed in meetings(players):
        left, right = a.records(seed), b.records(seed)
        for problem in common:
            if problem.id not in left or problem.id not in right:
                continue
            texts = a.reply(seed, left[problem.id]).strip(), b.reply(seed, right[problem.id]).strip()
            both = [Question(problem, a.name, b.name, *texts, swapped, seed) for swapped in (False, True)]
            if texts[0] == texts[1]:
                ties += [each.row(TIE, "equal answers") for each in both]
            else:
                asked += both
    return asked, ties


async def judge(
    asked: Sequence[Question],
    ties: Sequence[Row],
    generator: Generator,
    reading: Reading,
    *,
    name: str,
    seed: int = 0,
    max_tokens: int = REPLY,
    pool: SamplePool | None = None,
    told: Callable[[int], None] = lambda done: None,
    stopper: Stopper | None = None,
) -> Judging:
    """Have ``generator`` judge every question; a failed request is counted and is no battle."""
    shares: dict[int, float] = {}
    failed: list[str] = []
    unread = 0

    async def work(item: tuple[int, Question]) -> float | None:
        result = await solve(
            item[1].problem,
            generator=generator,
            strategy=Asked(item[1].pair, max_tokens),
            style=Bare(),
            reading=reading,
            seed=seed,
            pool=pool,
        )
        return None if result.node is None or result.truncated else said_better(result.node.completion.reply)

    def done(item: tuple[int, Question], share: float | None) -> None:
        nonlocal unread
        if share is None:
            unread += 1
        else:
            shares[item[0]] = share
        told(len(shares) + unread + len(failed))

    runner = Runner(
        work,
        done,
        lambda item, error: failed.append(f"{item[1].problem.id}: {error}"),
        hungry=wants_more([generator]),
        survive=(CallFailed,),
        stopper=stopper,
    )
    await runner.run(list(enumerate(asked)))
    rows = [asked[i].row(shares[i], name) for i in sorted(shares)]
    # Questions 2 k and 2 k + 1 are the two orders of one pair.
    both = [(shares[i], shares[i + 1]) for i in range(0, len(asked), 2) if i in shares and i + 1 in shares]
    return Judging(
        [*rows, *ties],
        len(both),
        sum(one == 1 - other for one, other in both),
        sum(one == other == FIRST for one, other in both),
        sum(one == other == SECOND for one, other in both),
        len(ties) // 2,
        unread,
        failed,
    )
