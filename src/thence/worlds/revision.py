"""The revision world: a model that looks at its own answers again, as a Markov chain.

The first answer is right with probability p. Asked again (in the chat, or by a forced "Wait"), a wrong answer becomes
right with probability u and a right one wrong with probability d, whatever is said about it: the last answer is all
that counts. A share of the wrong first answers is *stuck*: such a chain is never right. Asked to review an answer, the
model flags a wrong one with probability t and a right one with probability f.

A state that is hidden in a paper is readable here: stuck chains give one wrong answer that nobody else gives, the
others ``wrong`` different ones in equal shares.

After Huang et al. 2023 (arXiv:2310.01798), Snell et al. 2024 (arXiv:2408.03314) and Muennighoff et al. 2025
(arXiv:2501.19393), whose loops it tests: u, d, t and f are what these papers measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from thence.core.completion import Ability, Completion, Failure, Request
from thence.core.errors import check_counts, check_shares
from thence.core.problem import Message
from thence.core.review import REVIEW

from .generator import WorldGenerator
from .laws import chains_fail
from .world import MARK, At, Moves, Odds, Place, World

WAIT = "Wait"
FLAG, PASS = "The answer is wrong.", "No problems found."
REVIEWED = "review of "  # before the answer under review: the state of a reviewer
GAVE = "gave "  # before the answer given last: the state of a chain


@dataclass(frozen=True)
class Revision(World):
    """``size`` problems, all with the same chances.

    ``right`` is p, ``mend`` u = P(wrong -> right), ``spoil`` d = P(right -> wrong), ``stuck`` the share of wrong first
    answers that are never mended, ``flag_wrong`` t and ``flag_right`` f. An answer that stays wrong is drawn anew from
    the ``wrong`` wrong ones.
    """

    chance: float = 0.5
    mend: float = 0.3
    spoil: float = 0.1
    stuck: float = 0.0
    flag_wrong: float = 0.7
    flag_right: float = 0.2
    wrong: int = 1
    size: int = 100
    data_seed: int = 0

    name: ClassVar[str] = "revision"

    def __post_init__(self) -> None:
        check_counts(self.name, 1, size=self.size, wrong=self.wrong)
        check_shares(self.name, **{f.name: getattr(self, f.name) for f in fields(self) if f.type == "float"})

    def generator(self, *, pace: int = 1, capacity: int = 64) -> RevisionGenerator:
        """A generator that reads the chat: what is asked, and the answers so far."""
        return RevisionGenerator(self, pace=pace, capacity=capacity)

    @property
    def step_pieces(self) -> Sequence[str]:
        """A second thought, and a reviewer's two verdicts."""
        return (WAIT, FLAG, PASS)

    def moves(self, number: int, steps: tuple[str, ...]) -> Moves:
        """An answer, as the last one was; or a verdict, then the end."""
        last = steps[-1] if steps else ""
        if last in (FLAG, PASS):
            return Moves()
        if last.startswith(REVIEWED):
            right = last.removeprefix(REVIEWED) == self.right(number)
            flagged = self.flag_right if right else self.flag_wrong
            return Moves(steps={FLAG: flagged, PASS: 1.0 - flagged})
        return Moves(answers=self.next(number, last.removeprefix(GAVE)))

    def next(self, number: int, last: str) -> Odds:
        """The law of the answer after ``last``; of the first one after nothing."""
        right, *wrong = self.choices(number, self.wrong + 2)
        stuck = wrong.pop()
        if last == stuck:
            return {stuck: 1.0}
        chance = self.chance if not last else 1.0 - self.spoil if last == right else self.mend
        lost = (1.0 - chance) * self.stuck if not last else 0.0
        return {right: chance, stuck: lost} | dict.fromkeys(wrong, (1.0 - chance - lost) / self.wrong)

    def opening(self, messages: Sequence[Message]) -> tuple[str, ...]:
        """The state in which a chat begins: what the last answer in it was, and whether that is to be reviewed."""
        given = [self.read(m.content).answer for m in messages if m.role == "assistant" and MARK in m.content]
        if not given or given[-1] is None:
            return ()
        return ((REVIEWED if REVIEW in messages[-1].content else GAVE) + given[-1],)

    def then(self, place: Place, piece: str) -> Place:
        """A second thought after an answer opens it again."""
        if piece == WAIT and place.at is At.DONE and place.answer is not None:
            return Place((*place.steps, GAVE + place.answer))
        return super().then(place, piece)

    # --- closed forms -----------------------------------------------------------------------------------------------

    @property
    def stationary(self) -> float:
        """Where a chain without stuck ones ends: u / (u + d); where it began if nothing ever changes."""
        rate = self.mend + self.spoil
        return self.mend / rate if rate else self.chance

    def after(self, revisions: int) -> float:
        """P(right) after so many revisions of the first answer: p' = p (1 - d) + (1 - p) u, the stuck ones apart."""
        lost = (1.0 - self.chance) * self.stuck
        p = self.chance
        for _ in range(revisions):
            p = p * (1.0 - self.spoil) + (1.0 - lost - p) * self.mend
        return p

    def refined(self, rounds: int) -> float:
        """P(right) after self-refinement that stops at the first review which finds nothing.

        One round is p [1 - f (1 - rho)] + (1 - p) t s, with the retention rho = 1 - d and the fix rate s = u of those
        that are not stuck.
        """
        lost = (1.0 - self.chance) * self.stuck
        right, wrong, kept = self.chance, 1.0 - self.chance - lost, 0.0
        for _ in range(rounds):
            kept += right * (1.0 - self.flag_right)
            right, wrong = right * self.flag_right, wrong * self.flag_wrong
            right, wrong = (
                right * (1.0 - self.spoil) + wrong * self.mend,
                right * self.spoil + wrong * (1.0 - self.mend),
            )
        return kept + right

    def covered(self, chains: int, length: int) -> float:
        """P(any answer of ``chains`` independent chains of ``length`` answers is right)."""
        return 1.0 - chains_fail(self.chance, self.mend, chains=chains, length=length, stuck=self.stuck)

    def majority(self, length: int) -> float:
        """P(the majority of one chain of ``length`` answers is right), ties at one half; for one wrong answer and no
        stuck chains."""
        law = {(1, True): self.chance, (0, False): 1.0 - self.chance}  # (right answers so far, is the last one right)
        for _ in range(length - 1):
            after: dict[tuple[int, bool], float] = {}
            for (count, now), p in law.items():
                up = 1.0 - self.spoil if now else self.mend
                for state, q in (((count + 1, True), p * up), ((count, False), p * (1.0 - up))):
                    after[state] = after.get(state, 0.0) + q
            law = after
        return sum(p * (1.0 if 2 * c > length else 0.5 if 2 * c == length else 0.0) for (c, _), p in law.items())


class RevisionGenerator(WorldGenerator):
    """A world's generator whose beginning depends on the chat; made by ``Revision.generator``."""

    abilities = frozenset(Ability) - {Ability.SCORE_TEXT, Ability.VALUES, Ability.THOUGHT_LIMIT}

    def __init__(self, world: Revision, *, pace: int = 1, capacity: int = 64) -> None:
        super().__init__(world, pace=pace, capacity=capacity)
        self._chain = world
        self._begin: tuple[str, ...] = ()

    def _write(self, request: Request) -> Completion | Failure:
        self._begin = self._chain.opening(request.context.messages)
        return super()._write(request)

    def _place(self, ids: Sequence[int]) -> Place:
        place = Place(self._begin)
        for i in ids:
            if i in self._own:
                place = self.world.then(place, self._own[i])
        return place


__all__ = ["Revision", "RevisionGenerator"]
