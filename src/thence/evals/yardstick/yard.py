"""The yardstick's worlds: an urn of four answers per problem, and a verifier with three scores.

A sample is a draw from its problem's law of answers; equal answers are equal texts. A verifier looks at a text and says
low, middle or high; the same text always gets the same score, as everywhere in thence (equal nodes are scored once), so
a wrong answer that looks good looks good every time. What a strategy can see of a problem is therefore, for each answer
it has drawn, how often and with which score, and nothing else: answers are random numbers, problems do not say of
which stratum they are, samples have no log-probabilities, and there is one sampling law (another temperature would
show the mode of the law for the price of one sample). All samples are equally long.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Failure, Request
from thence.core.errors import UsageError
from thence.core.scores import Score
from thence.core.search import Search
from thence.core.seeds import derive
from thence.core.tree import Node
from thence.worlds import Stratum, Urn, World, WorldGenerator

LEVELS = (0.1, 0.5, 0.9)  # the three scores
BUDGETS = (2, 4, 8, 16)  # samples per problem
CAP = 32  # most samples per problem where only their mean is bounded; up to 64 are solved exactly
TOKENS = 3  # of every sample: the mark, the answer, the end of the text

STRATA = (
    Stratum("easy", (0.70, 0.10, 0.10, 0.10), 0.3),
    Stratum("medium", (0.40, 0.20, 0.20, 0.20), 0.3),
    Stratum("hard", (0.25, 0.25, 0.25, 0.25), 0.3),
    Stratum("trap", (0.20, 0.60, 0.10, 0.10), 0.1),
)


def strata_of(answers: int) -> tuple[Stratum, ...]:
    """The four strata with another number of answers: the same right answer and trap, the rest shared out evenly."""
    if not 3 <= answers <= 16:
        raise UsageError(f"yardstick: {answers} answers were asked for; between 3 and 16 there are strata for")
    if answers == len(STRATA[0].law if isinstance(STRATA[0].law, tuple) else ()):
        return STRATA

    def law(*first: float) -> tuple[float, ...]:
        rest = answers - len(first)
        return (*first, *[(1.0 - sum(first)) / rest] * rest)

    laws = (law(0.7), law(0.4), law(1 / answers), law(0.2, 0.6))
    return tuple(Stratum(s.name, new, s.share) for s, new in zip(STRATA, laws, strict=True))


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a verifier is: the chances of a low, a middle and a high score for a right and for a wrong answer."""

    name: str
    right: tuple[float, float, float]
    wrong: tuple[float, float, float]

    def __post_init__(self) -> None:
        for law in (self.right, self.wrong):
            if min(law) < 0 or abs(sum(law) - 1.0) > 1e-9:
                raise UsageError(f"yardstick: the scores' law {law} of verifier {self.name!r} does not sum to 1")

    @property
    def auroc(self) -> float:
        """The chance that a right answer is scored above a wrong one, equal scores counted half."""
        above = sum(r * w for i, r in enumerate(self.right) for w in self.wrong[:i])
        return above + sum(r * w for r, w in zip(self.right, self.wrong, strict=True)) / 2


QUALITIES = (
    Quality("useless", (1 / 3, 1 / 3, 1 / 3), (1 / 3, 1 / 3, 1 / 3)),
    Quality("weak", (0.25, 0.30, 0.45), (0.45, 0.30, 0.25)),
    Quality("good", (0.10, 0.20, 0.70), (0.70, 0.20, 0.10)),
    Quality("near perfect", (0.01, 0.03, 0.96), (0.96, 0.03, 0.01)),
)


@dataclass(frozen=True, slots=True)
class Yard:
    """What a policy is told before it starts: the strata with their laws and shares, and the verifier's quality."""

    strata: tuple[Stratum, ...] = STRATA
    quality: Quality = QUALITIES[0]

    def __post_init__(self) -> None:
        for stratum, law in zip(self.strata, self.laws, strict=True):
            if len(law) != len(self.laws[0]) or abs(sum(law) - 1.0) > 1e-9:
                raise UsageError(
                    f"yardstick: the law of stratum {stratum.name!r} must sum to 1 and be as long as the first"
                )

    @property
    def laws(self) -> tuple[tuple[float, ...], ...]:
        """The law of answers of each stratum, the right one first."""
        if any(not isinstance(s.law, tuple) for s in self.strata):
            raise UsageError("yardstick: a stratum with a Beta law has no single law of answers; give its numbers")
        return tuple(s.law for s in self.strata if isinstance(s.law, tuple))

    @property
    def prior(self) -> tuple[float, ...]:
        """The share of each stratum."""
        total = sum(s.share for s in self.strata)
        return tuple(s.share / total for s in self.strata)

    def world(self, size: int, stratum: int | None = None, data_seed: int = 0) -> Urn:
        """``size`` problems: of one stratum, or of all in their shares."""
        return Urn(self.strata if stratum is None else (self.strata[stratum],), size, data_seed)


class YardGenerator(WorldGenerator):
    """The world's generator without anything but drawing whole samples from the one law."""

    abilities = frozenset({Ability.SEEDED, Ability.TOKEN_IDS})

    def __init__(self, world: World) -> None:
        super().__init__(world, pace=0)

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        """The same, for requests that the optimum could make too; UsageError for any other."""
        for request in requests:
            s = request.sampling
            if s.temperature != 1.0 or s.top_k or s.top_p != 1.0 or s.first_rank is not None or s.step_ends:
                raise UsageError("the yardstick has one law of samples; another temperature or cut would change it")
            if request.context.reply:
                raise UsageError("the yardstick's samples are drawn whole; it does not continue a begun text")
        async for outcome in super().run(requests, book):
            yield outcome


@dataclass(frozen=True, slots=True)
class YardVerifier:
    """Scores the answers of ``world``'s problems by the law of ``quality``; costs no tokens."""

    world: Urn
    quality: Quality
    seed: int = 0

    needs: ClassVar[frozenset[Ability]] = frozenset()

    @property
    def name(self) -> str:
        """Scores are kept under this name."""
        return f"yardstick verifier ({self.quality.name})"

    def level(self, number: int, answer: str) -> int:
        """0, 1 or 2 for an answer of problem ``number``."""
        law = self.quality.right if answer == self.world.right(number) else self.quality.wrong
        noise = derive("yardstick", self.seed, self.world.data_seed, self.world.strata[0].name, number, answer) / 2**63
        return int(noise >= law[0]) + int(noise >= law[0] + law[1])

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """One of three numbers per node, the lowest for a text without an answer."""
        number, scores = self.world.number(search.problem), []
        for node in nodes:
            found = await search.answer(node)
            scores.append(Score(LEVELS[0 if found is None else self.level(number, found.value)]))
        return scores


__all__ = [
    "BUDGETS",
    "CAP",
    "LEVELS",
    "QUALITIES",
    "STRATA",
    "TOKENS",
    "Quality",
    "Yard",
    "YardGenerator",
    "YardVerifier",
    "strata_of",
]
