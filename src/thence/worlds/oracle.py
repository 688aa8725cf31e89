"""A world as a verifier: one that knows the truth, blurred by a noise of known law.

What a number means decides how a solution's number is made of its steps' (``core.scores``), and here every rule is
exact: the product of STEP_CORRECT and the last of PREFIX_VALID say whether all steps are right, the last VALUE is the
chance that the answer will be right. The step that is followed by the answer is judged with it, as in Math-Shepherd
(Wang et al. 2023, arXiv:2312.08935), where the last label is the outcome itself. OUTCOME looks at the whole text and
gives no numbers to steps.

The noise of a number is a function of the seed, the problem and the text it is about: the same text always has the same
number, in any order and any run, and different prefixes of one solution have independent noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from statistics import NormalDist

from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.scores import EXACT, Aggregate, Meaning, Score
from thence.core.search import Search
from thence.core.seeds import derive
from thence.core.tree import Node

from .world import PLAIN, At, Place, World

ABOVE = 2.0  # what a wrong solution gets that fools the verifier: more than any right one without noise
EDGE = 1e-3  # logits of 0 and 1 are infinite: with logit noise numbers are first moved into [EDGE, 1 - EDGE]


@dataclass(frozen=True, slots=True)
class Oracle:
    """The exact numbers of ``world`` with the given ``meaning``; made by ``World.verifier``.

    ``noise`` is the standard deviation of a normal error added to each number, or, with ``logit``, to its log-odds
    (then numbers stay in (0, 1)). ``fooled`` is the share of whole wrong solutions, chosen by their text, that are
    scored above everything else, the adversarial samples of Cobbe et al. 2021 (arXiv:2110.14168). It costs no tokens.
    """

    world: World
    meaning: Meaning = Meaning.VALUE
    _: KW_ONLY
    noise: float = 0.0
    logit: bool = False
    fooled: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise UsageError(f"oracle: noise is {self.noise}; it must be 0 or more")
        if not 0.0 <= self.fooled <= 1.0:
            raise UsageError(f"oracle: fooled is {self.fooled}; it must be between 0 and 1")

    @property
    def name(self) -> str:
        """World, meaning and noise: scores are kept under this name."""
        scale = "logit-noise" if self.logit else "noise"
        return (
            f"oracle({self.world.spec}, {self.meaning}, {scale}={self.noise}, fooled={self.fooled}, seed={self.seed})"
        )

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing: it reads the text."""
        return frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """One score per path that ends in one of ``nodes``."""
        return [self.judge(search.problem, search.tree.solution(node)) for node in nodes]

    def judge(self, problem: Problem, text: str) -> Score:
        """The score of a begun or whole solution."""
        place = self.world.read(text)
        if self.fools(problem, text):
            steps = self._steps(problem, place)[:-1]
            return Score(ABOVE, (*steps, ABOVE) if self._has_steps(place) else (), self.meaning)
        numbers = self._steps(problem, place)
        product = EXACT.get(self.meaning) is Aggregate.PROD
        value = math.prod(numbers) if product else (numbers or (1.0,))[-1]  # ``aggregate`` refuses noise beyond [0, 1]
        return Score(value, numbers if self._has_steps(place) else (), self.meaning)

    def fools(self, problem: Problem, text: str) -> bool:
        """Whether ``text`` is one of the wrong solutions that are scored above all."""
        place = self.world.read(text)
        if place.at is not At.DONE or place.answer == self.world.right(self.world.number(problem)):
            return False
        return derive("fooled", self.seed, problem.hash, place.steps, place.answer) < self.fooled * 2**63

    def fooled_mass(self, problem: Problem) -> float:
        """The exact chance that a sample fools the verifier, by going through all solutions."""
        return math.fsum(p for text, p in self.world.solutions(problem) if self.fools(problem, text))

    def _has_steps(self, place: Place) -> bool:
        return bool(place.steps) and self.meaning is not Meaning.OUTCOME

    def _steps(self, problem: Problem, place: Place) -> tuple[float, ...]:
        """The number after each step, with its noise; of a solution without steps, and for OUTCOME, one number."""
        if self.meaning in (Meaning.VALUE, Meaning.OUTCOME):
            first = 1 if self._has_steps(place) else len(place.steps)
            prefixes = [Place(place.steps[:k]) for k in range(first, len(place.steps))] + [place]
            exact = [self._value(problem, prefix) for prefix in prefixes]
        else:
            exact = [float(v) for v in self._validity(problem, place)]
            prefixes = [Place(place.steps[: k + 1]) for k in range(len(exact))]
        return tuple(self._blurred(v, problem, p) for v, p in zip(exact, prefixes, strict=True))

    def _validity(self, problem: Problem, place: Place) -> list[bool]:
        right = self.world.judge(self.world.number(problem), place.steps)
        if self.meaning is Meaning.STEP_CORRECT:
            return list(right)
        return [all(right[: k + 1]) for k in range(len(right))]

    def _value(self, problem: Problem, place: Place) -> float:
        return self.world.value_at(self.world.number(problem), place, PLAIN)

    def _blurred(self, number: float, problem: Problem, place: Place) -> float:
        if not self.noise:
            return number
        what = (self.seed, str(self.meaning), problem.hash, place.steps, place.at is At.DONE, place.answer)
        error = NormalDist(0.0, self.noise).inv_cdf((derive("noise", *what) + 0.5) / 2**63)
        if not self.logit:
            return number + error
        inside = min(max(number, EDGE), 1.0 - EDGE)
        return 1.0 / (1.0 + math.exp(-(math.log(inside / (1.0 - inside)) + error)))


__all__ = ["ABOVE", "Oracle"]
