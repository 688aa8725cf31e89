r"""The chain: a solution that is on track, has slipped but can recover, or is lost.

Three states, ``steps`` steps (K in the formulas). From *on track* a step slips to *recoverable* with ``slip``
(eps_r), is fatal with ``fatal`` (eps_d), and stays on track otherwise. From *recoverable* it comes back with
``recover`` (rho) and is lost with ``relapse`` (delta). *Lost* is for ever. At the end an answer on track is right, any
other is right by luck with ``guess`` (g), else one of ``wrong`` wrong values. Backwards in t, with o = on track and
r = recoverable:

    V(K, o) = 1,  V(t, o) = (1 - slip - fatal) V(t+1, o) + slip V(t+1, r) + fatal g
    V(K, r) = g,  V(t, r) = recover V(t+1, o) + (1 - recover - relapse) V(t+1, r) + relapse g

A step is right when it leaves the solution on track; a solution is valid when all of its steps are. So validity and a
right answer part ways in both directions that matter for process labels: a slip can be made good (Wang et al. 2023,
arXiv:2312.08935, label values), and a lost solution can be lucky, the trace error 1 - P(valid) / P(right) of Uesato et
al. 2022 (arXiv:2211.14275). With the defaults P(valid) = .2621, P(right) = .3985 and the trace error is 34.2 %.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import ClassVar

from thence.core.errors import UsageError, check_counts, check_shares

from .world import Moves, World


class State(StrEnum):
    """Where a chain stands; the value is its letter in a step's text."""

    ON_TRACK = "a"
    RECOVERABLE = "b"
    LOST = "c"


@dataclass(frozen=True)
class Chain(World):
    """Steps that slip, recover or fail. ``wordings`` is in how many ways (equally likely) each step can be written."""

    steps: int = 6
    slip: float = 0.1
    fatal: float = 0.1
    recover: float = 0.3
    relapse: float = 0.3
    guess: float = 0.05
    wrong: int = 4
    wordings: int = 1
    size: int = 100
    data_seed: int = 0

    name: ClassVar[str] = "chain"

    def __post_init__(self) -> None:
        check_counts(self.name, 1, steps=self.steps, wrong=self.wrong, wordings=self.wordings, size=self.size)
        check_shares(self.name, slip=self.slip, fatal=self.fatal, recover=self.recover, relapse=self.relapse)
        check_shares(self.name, guess=self.guess)
        if self.slip + self.fatal > 1 or self.recover + self.relapse > 1:
            raise UsageError("chain: slip + fatal and recover + relapse must each be at most 1")
        if self.wrong > 89:
            raise UsageError(f"chain: wrong is {self.wrong}; there are 89 wrong answers")

    @property
    def step_pieces(self) -> Sequence[str]:
        """One piece per state and wording."""
        return [piece for state in State for piece in self._written(state)]

    def moves(self, number: int, steps: tuple[str, ...]) -> Moves:
        """The next state in each wording, or after the last step the answer."""
        state = self.state(steps)
        if len(steps) < self.steps:
            odds = {p: q / self.wordings for to, q in self.turns(state).items() for p in self._written(to)}
            return Moves(steps=odds)
        right, *others = self.choices(number, 1 + self.wrong)
        lucky = 1.0 if state is State.ON_TRACK else self.guess
        return Moves(answers={right: lucky, **dict.fromkeys(others, (1 - lucky) / self.wrong)})

    def future(self, number: int, steps: tuple[str, ...]) -> Hashable:
        """Number of steps and state are all that matters."""
        return number, len(steps), self.state(steps)

    def judge(self, number: int, steps: tuple[str, ...]) -> tuple[bool, ...]:
        """A step is right when it leaves the solution on track, also when an earlier one was wrong."""
        return tuple(self._states[piece] is State.ON_TRACK for piece in steps)

    def state(self, steps: Sequence[str]) -> State:
        """The state that ``steps`` lead to."""
        return self._states[steps[-1]] if steps else State.ON_TRACK

    def line(self, state: State, wording: int = 0) -> str:
        """A step into ``state`` as it stands in a text, with its line break."""
        return self._written(state)[wording] + "\n"

    @cached_property
    def _states(self) -> dict[str, State]:
        return {piece: state for state in State for piece in self._written(state)}

    def _written(self, state: State) -> list[str]:
        many = self.wordings > 1
        return [f"state {state}{k if many else ''}" for k in range(self.wordings)]

    # --- closed forms -----------------------------------------------------------------------------------------------

    def turns(self, state: State) -> dict[State, float]:
        """The law of the next state."""
        if state is State.ON_TRACK:
            return {
                State.ON_TRACK: 1.0 - self.slip - self.fatal,
                State.RECOVERABLE: self.slip,
                State.LOST: self.fatal,
            }
        if state is State.RECOVERABLE:
            return {
                State.ON_TRACK: self.recover,
                State.RECOVERABLE: 1.0 - self.recover - self.relapse,
                State.LOST: self.relapse,
            }
        return {State.LOST: 1.0}

    def state_value(self, t: int, state: State) -> float:
        """V(t, state): the chance of a right answer after ``t`` steps that lead to ``state``."""
        if not 0 <= t <= self.steps:
            raise UsageError(f"chain: there is no time {t}; a solution has {self.steps} steps")
        values = {s: 1.0 if s is State.ON_TRACK else self.guess for s in State}
        for _ in range(self.steps - t):
            values = {s: sum(p * values[to] for to, p in self.turns(s).items()) for s in State}
        return values[state]

    def occupation(self, t: int) -> dict[State, float]:
        """The law of the state after ``t`` steps."""
        law = {State.ON_TRACK: 1.0, State.RECOVERABLE: 0.0, State.LOST: 0.0}
        for _ in range(t):
            law = {to: sum(p * self.turns(s).get(to, 0.0) for s, p in law.items()) for to in State}
        return law

    @property
    def step_valid(self) -> float:
        """P(step right | all earlier ones right), the same at every step."""
        return 1.0 - self.slip - self.fatal

    def prefix_valid(self, t: int) -> float:
        """P(the first ``t`` steps are all right)."""
        return self.step_valid**t

    @property
    def valid(self) -> float:
        """P(all steps right); the answer is then right, too."""
        return self.prefix_valid(self.steps)

    @property
    def correct(self) -> float:
        """P(answer right) of one sample."""
        return self.state_value(0, State.ON_TRACK)

    @property
    def trace_error(self) -> float:
        """P(some step wrong | answer right) = 1 - P(valid) / P(right); 0 where no answer is ever right."""
        return 1.0 - self.valid / self.correct if self.correct > 0 else 0.0

    def first_wrong(self) -> dict[int | None, float]:
        """The law of the first wrong step, counted from 1; None is a valid solution."""
        law: dict[int | None, float] = {t: self.prefix_valid(t - 1) - self.prefix_valid(t) for t in self._times}
        return law | {None: self.valid}

    def first_lost(self) -> dict[int | None, float]:
        """The law of the step that loses the solution for good, counted from 1; None is never."""
        lost = [0.0, *(self.occupation(t)[State.LOST] for t in self._times)]
        law: dict[int | None, float] = {t: lost[t] - lost[t - 1] for t in self._times}
        return law | {None: 1.0 - lost[-1]}

    @property
    def _times(self) -> range:
        return range(1, self.steps + 1)


__all__ = ["Chain", "State"]
