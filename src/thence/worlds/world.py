"""A world: a language model so small that everything about it is known in closed form.

A world writes solutions of one form: some steps, one to a line, then the answer::

    state a
    state b
    #### 42

It is defined by one law, ``moves``: given the steps so far, with what probability each next step or each final answer
follows. Everything else is made of it: the law of the next *piece* (what a token is here), the exact law of the answer
after any begun text and under any sampling, and a list of all solutions. ``generator``, ``task`` and ``verifier`` put
it behind the project's own protocols, so that the real estimators, annotators and searches run on it unchanged and can
be compared with the truth.

A state that is hidden in a paper must be readable here, because a generator continues text: each step names the state
it leads to. Text that is not the world's own (a hint, a forced "Wait") is read over and changes nothing.

Not covered: laws that depend on the wording of the question. Answers revised after they were given: `revision`.
"""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum, auto
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from thence.core.completion import Sampling
from thence.core.errors import UsageError
from thence.core.problem import Message, Problem
from thence.core.scores import Meaning
from thence.core.seeds import derive

if TYPE_CHECKING:
    from .generator import WorldGenerator
    from .oracle import Oracle
    from .task import WorldTask

Odds = Mapping[str, float]

EOS = ""  # the piece that ends a text
BREAK = "\n"
MARK = "####"
ANSWERS = range(10, 100)  # the numbers that are answers
PLAIN = Sampling(temperature=1.0)  # the model's own law


class At(Enum):
    """What may be written next."""

    LINE = auto()  # a step, or the mark of the answer
    STEP = auto()  # the line break after a step
    MARK = auto()  # the answer after its mark
    DONE = auto()  # the end


@dataclass(frozen=True, slots=True)
class Place:
    """Where a begun solution stands: all of its past that its future depends on."""

    steps: tuple[str, ...] = ()
    at: At = At.LINE
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Moves:
    """What may follow some steps: another step or the final answer, each with its probability.

    The missing mass, if any, is that of a text which ends without an answer.
    """

    steps: Odds = field(default_factory=dict)
    answers: Odds = field(default_factory=dict)


class World(ABC):
    """The base of all worlds; subclasses are frozen dataclasses with at least ``size`` and ``data_seed``.

    ``size`` is the number of problems. Their answers (and their trees, or their shares of right answers, where they
    differ) follow from ``data_seed`` and the problem's number, never from a run's seed.
    """

    name: ClassVar[str]
    size: int
    data_seed: int

    @abstractmethod
    def moves(self, number: int, steps: tuple[str, ...]) -> Moves:
        """What may follow ``steps`` of problem ``number``."""

    @property
    @abstractmethod
    def step_pieces(self) -> Sequence[str]:
        """All steps there are, without their line breaks."""

    @property
    def answer_pieces(self) -> Sequence[str]:
        """All answers there are."""
        return [str(a) for a in ANSWERS]

    def right(self, number: int) -> str:
        """The reference answer of problem ``number``."""
        return self.choices(number, 1)[0]

    def future(self, number: int, steps: tuple[str, ...]) -> Hashable:
        """What of ``steps`` the rest depends on: steps with equal futures are computed once."""
        return number, steps

    def judge(self, number: int, steps: tuple[str, ...]) -> tuple[bool, ...]:
        """Whether each step is right in itself; UsageError in a world whose steps are neither right nor wrong."""
        raise UsageError(f"{self.name}: steps are neither right nor wrong in this world; use value or outcome")

    # --- behind the project's protocols -----------------------------------------------------------------------------

    def generator(self, *, pace: int = 1, capacity: int = 64) -> WorldGenerator:
        """A generator that writes by this world's law; ``pace`` is event-loop turns per token (0 is fastest)."""
        from .generator import WorldGenerator

        return WorldGenerator(self, pace=pace, capacity=capacity)

    def task(self) -> WorldTask:
        """The problems with their references."""
        from .task import WorldTask

        return WorldTask(self)

    def verifier(
        self,
        meaning: Meaning = Meaning.VALUE,
        *,
        noise: float = 0.0,
        logit: bool = False,
        fooled: float = 0.0,
        seed: int = 0,
    ) -> Oracle:
        """A verifier that knows the truth, blurred as asked; see ``Oracle``."""
        from .oracle import Oracle

        return Oracle(self, meaning, noise=noise, logit=logit, fooled=fooled, seed=seed)

    # --- problems ---------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> str:
        """The world with all its parameters: what its samples depend on."""
        given = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(cast(Any, self)))
        return f"{self.name}({given})"

    def problem(self, number: int) -> Problem:
        """Problem ``number``; its question names the world, the number and the data seed, and nothing of the answer."""
        if not 0 <= number < self.size:
            raise UsageError(f"{self.name}: there is no problem {number}; there are {self.size}, counted from 0")
        question = f"{self.name} {number} of set {self.data_seed}: what does it come to?"
        return Problem(f"{self.name}-{number:04d}", question)

    def problems(self) -> tuple[Problem, ...]:
        """All problems."""
        return tuple(self.problem(number) for number in range(self.size))

    def number(self, asked: Problem | Sequence[Message]) -> int:
        """Which problem is asked for, by the last question in the user's turns; UsageError if it is none of these."""
        messages = asked.messages if isinstance(asked, Problem) else asked
        text = "\n".join(m.content for m in messages if m.role == "user")
        found = re.findall(rf"\b{self.name} (\d+) of set {self.data_seed}\b", text)
        if not found or int(found[-1]) >= self.size:
            raise UsageError(f"{self.name}: no problem of this world is asked in {text[-60:]!r}; ask one of its task's")
        return int(found[-1])

    def choices(self, number: int, n: int) -> tuple[str, ...]:
        """``n`` different answers of a problem, the right one first; the numbers themselves tell nothing."""
        if (key := ("choices", number)) not in self._known:
            shuffled = random.Random(derive(self.name, self.data_seed, number)).sample(ANSWERS, len(ANSWERS))
            self._known[key] = tuple(map(str, shuffled))
        return cast(tuple[str, ...], self._known[key])[:n]

    # --- the law of the next piece ----------------------------------------------------------------------------------

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """All pieces there are, the end of text first."""
        return (EOS, BREAK, MARK, *self.step_pieces, *(f" {a}" for a in self.answer_pieces))

    @cached_property
    def _order(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.vocabulary)}

    @cached_property
    def _steps(self) -> frozenset[str]:
        return frozenset(self.step_pieces)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self.vocabulary[1:], key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)))

    @cached_property
    def _known(self) -> dict[Hashable, Any]:
        return {}

    def pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        """``text`` cut into the world's own pieces (True) and what stands between them (False)."""
        at = 0
        for match in self._pattern.finditer(text):
            if match.start() > at:
                yield text[at : match.start()], False
            yield match.group(), True
            at = match.end()
        if at < len(text):
            yield text[at:], False

    def then(self, place: Place, piece: str) -> Place:
        """Where a solution stands after one more piece. What makes no sense there is read over."""
        if place.at is At.DONE:
            return place
        if place.at is At.MARK:
            said = piece.startswith(" ") and piece in self._order
            return Place(place.steps, At.DONE, piece[1:]) if said else place
        if piece == MARK:
            return Place(place.steps, At.MARK)
        if piece in self._steps:
            return Place((*place.steps, piece), At.STEP)
        return Place(place.steps) if piece == BREAK else place

    def read(self, text: str) -> Place:
        """Where a begun (or whole) solution stands."""
        place = Place()
        for piece, own in self.pieces(text):
            if own:
                place = self.then(place, piece)
        return place

    def law(self, number: int, place: Place) -> Odds:
        """The exact law of the next piece: probabilities above 0 that sum to 1."""
        if place.at is At.DONE:
            return {EOS: 1.0}
        if place.at is At.STEP:
            return {BREAK: 1.0}
        key = ("law", self.future(number, place.steps), place.at)
        if key not in self._known:
            moves = self.moves(number, place.steps)
            made = self._line(moves) if place.at is At.LINE else self._answer(number, place, moves)
            self._known[key] = {piece: p for piece, p in made.items() if p > 0}
        return cast(Odds, self._known[key])

    def _line(self, moves: Moves) -> dict[str, float]:
        answered = sum(moves.answers.values())
        silent = 1.0 - answered - sum(moves.steps.values())
        return {**moves.steps, MARK: answered, EOS: silent if silent > 1e-12 else 0.0}

    def _answer(self, number: int, place: Place, moves: Moves) -> dict[str, float]:
        """The answer after its mark. A mark that was forced too early is answered by the law of how it would end."""
        named = moves.answers
        if not named:
            ends = self._ends(number, Place(place.steps), PLAIN)
            named = {answer: p for answer, p in ends.items() if answer is not None}
        total = sum(named.values())
        return {f" {answer}": p / total for answer, p in named.items()} if total > 0 else {EOS: 1.0}

    def tempered(self, odds: Odds, sampling: Sampling) -> Odds:
        """``odds`` under temperature, top-k and top-p (in this order): p^(1/T), cut and normalised.

        Temperature 0 leaves the most likely piece, of equals the first in the vocabulary.
        """
        if sampling.temperature == 1.0 and not sampling.top_k and sampling.top_p == 1.0:
            return odds
        ranked = self.ranked(odds)
        if sampling.temperature == 0:
            return {ranked[0]: 1.0}
        best = odds[ranked[0]]
        weights = {p: (odds[p] / best) ** (1 / sampling.temperature) for p in ranked[: sampling.top_k or None]}
        total, mass, kept = sum(weights.values()), 0.0, {}
        for piece, weight in weights.items():
            kept[piece] = weight
            mass += weight
            if mass >= sampling.top_p * total:
                break
        return {piece: weight / mass for piece, weight in kept.items()}

    def ranked(self, odds: Odds) -> list[str]:
        """The pieces of ``odds``, the most likely first, equals in the vocabulary's order."""
        return sorted(odds, key=lambda piece: (-odds[piece], self._order[piece]))

    # --- closed forms -----------------------------------------------------------------------------------------------

    def answers(self, problem: Problem, begun: str = "", sampling: Sampling = PLAIN) -> dict[str | None, float]:
        """The exact law of the final answer when ``begun`` is continued under ``sampling``; None is no answer.

        Token caps, stop strings and a forced first token are not looked at.
        """
        return dict(self._ends(self.number(problem), self.read(begun), sampling))

    def value(self, problem: Problem, begun: str = "", sampling: Sampling = PLAIN) -> float:
        """V^pi: the chance that ``begun``, continued under ``sampling``, ends in the right answer."""
        return self.value_at(self.number(problem), self.read(begun), sampling)

    def value_at(self, number: int, place: Place, sampling: Sampling = PLAIN) -> float:
        """The same for problem ``number`` and a place."""
        return self._ends(number, place, sampling).get(self.right(number), 0.0)

    def _ends(self, number: int, place: Place, sampling: Sampling) -> Mapping[str | None, float]:
        if place.at is At.DONE:
            return {place.answer: 1.0}
        key = ("ends", number, self.future(number, place.steps), place.at, sampling.key())
        if key not in self._known:
            ends: dict[str | None, float] = {}
            for piece, p in self.tempered(self.law(number, place), sampling).items():
                rest = {None: 1.0} if piece == EOS else self._ends(number, self.then(place, piece), sampling)
                for answer, chance in rest.items():
                    ends[answer] = ends.get(answer, 0.0) + p * chance
            self._known[key] = ends
        return cast(Mapping[str | None, float], self._known[key])

    def solutions(self, problem: Problem, begun: str = "") -> Iterator[tuple[str, float]]:
        """All ways to go on after ``begun``, each with its exact probability; their number grows with every step."""
        number = self.number(problem)

        def walk(place: Place, text: str, chance: float) -> Iterator[tuple[str, float]]:
            for piece, p in self.law(number, place).items():
                if piece == EOS:
                    yield text, chance * p
                else:
                    yield from walk(self.then(place, piece), text + piece, chance * p)

        return walk(self.read(begun), "", 1.0)
