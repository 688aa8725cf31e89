"""Verifiers that ask a model, and need no training: P(True), and a vote of critiques.

`PTrue` is the chance of Yes after the question, the solution and "Is the answer correct (Yes/No)?" (Kadavath et al.
2022, arXiv:2207.05221; the direct verifier of Zhang et al. 2024, arXiv:2408.15240, without its training):

    score = P(Yes) / (P(Yes) + P(No))

exactly, from the log-probabilities of both words, where the model scores given text; elsewhere the share of Yes among
``n`` sampled verdicts, which estimates it. `Critique` has ``k`` critiques of each solution written (GenRM-CoT without
training), and its score is the share of them that find nothing wrong.

Let a critique find a right solution right with rate TPR and a wrong one right with rate FPR. Taken as a verdict (is the
score above one half?), more critiques help only where both rates lie on their own sides of 1/2: the majority of k
verdicts that are right with .45 is worse than one of them. As a ranking, the score gets better with k whenever
TPR > FPR, wherever 1/2 may lie.

Tokens are verifier tokens. A model that says neither (empty or unreadable replies, no mass on either word) has no
opinion: the score is 1/2. How far it answered is on every node beside its score, under the name ``NAME, Yes or No``:
the mass of both words, or the share of its replies that could be read. A solution without text, and one that the budget
left unjudged, scores 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from thence.core.completion import Ability, Context, Finish, Sampling, Segment
from thence.core.errors import UsageError, check_counts
from thence.core.problem import Message
from thence.core.protocols import Generator, Scorer
from thence.core.review import REVIEW, asked, found_nothing, said
from thence.core.scores import Score
from thence.core.search import VERIFIER, Search
from thence.core.tree import Node
from thence.core.verdicts import CONFIRM, said_yes

YES, NO = (" Yes", "Yes"), (" No", "No")  # the token after the question has the blank, or not
NEITHER = 0.5
UNJUDGED = 0.0
LEAST = 1e-12  # less mass than this on Yes and No together is none


def answered(name: str) -> str:
    """Under what name a node says how far the verifier ``name`` answered, from 0 to 1."""
    return f"{name}, Yes or No"


@dataclass(frozen=True, slots=True)
class PTrue:
    """P(Yes) by ``generator``, called ``label``; without one, by the policy itself.

    ``exact`` is by log-probabilities (the question then stands in the model's own reply, below the solution, so that
    nothing before it is read twice), or by ``n`` verdicts of at most ``max_tokens`` tokens, drawn at temperature 1 in
    a new turn of the chat; ``auto`` is exact wherever the model can be. The name says which, once it is known.
    """

    generator: Generator | None = None
    label: str = ""
    n: int = 8
    exact: Literal["auto", "yes", "no"] = "auto"
    max_tokens: int = 16
    times = 1
    lowest = UNJUDGED

    def __post_init__(self) -> None:
        check_counts("p-true", n=self.n, max_tokens=self.max_tokens)
        if self.exact == "yes" and self.generator is not None and not scores_text(self.generator):
            raise UsageError(f"p-true: {self.label} gives no log-probabilities of given text; leave exact=yes out")

    @property
    def name(self) -> str:
        """``p-true``, the model that it asks, and how."""
        exact = self.exact == "yes" if self.generator is None else self._exact_by(self.generator)
        unknown = self.generator is None and self.exact == "auto"
        how = f"auto, n={self.n}" if unknown else "exact" if exact else f"n={self.n}"
        return f"p-true{':' if self.label else ''}{self.label}({how})"

    @property
    def role(self) -> str:
        """Under what name its tokens are booked."""
        return f"{VERIFIER}:{self.name}"

    @property
    def needs(self) -> frozenset[Ability]:
        """That the policy scores given text, if it is the one to be asked and ``exact`` is ``yes``."""
        own = self.generator is None and self.exact == "yes"
        return frozenset({Ability.SCORE_TEXT}) if own else frozenset()

    def describe(self) -> dict[str, object]:
        """What a header should say: how the number is made."""
        how = {"auto": "log-probabilities where there are any", "yes": "log-probabilities", "no": "sampled verdicts"}
        return {"question": CONFIRM, "by": how[self.exact], "n": self.n}

    def reads(self, search: Search, node: Node) -> tuple[int, ...]:
        """What the exact number reads; a budget keeps nothing for sampled verdicts."""
        model = self._model(search)
        return (model.tokens(self._begun(search, node)) or ()) if self._exact_by(model) else ()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """A number in [0, 1] per node."""
        if self._exact_by(self._model(search)):
            return await self._by_probability(search, nodes)
        asked_for = Asked(self.name, CONFIRM, self.n, self.max_tokens, self.generator)
        return await asked_for.shares(search, nodes, lambda reply: said_yes(reply.completion.reply))

    def _model(self, search: Search) -> Generator:
        return self.generator or search.generator(self.role)

    def _exact_by(self, model: Generator) -> bool:
        return self.exact == "yes" or (self.exact == "auto" and scores_text(model))

    def _begun(self, search: Search, node: Node) -> Context:
        return search.context(node).then(Segment(f"\n{CONFIRM}"))

    async def _by_probability(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        model = self._model(search)
        told = with_text(search, nodes)
        words = distinct(model, self._begun(search, search.root), (*YES, *NO))
        pairs = [(self._begun(search, node), word) for node in told for word in words]
        found = await search.likelihood(
            [c for c, _ in pairs], [w for _, w in pairs], role=self.role, generator=self.generator
        )
        values = {node.index: UNJUDGED for node in nodes}
        for i, node in enumerate(told[: len(found) // len(words)]):
            read = found[i * len(words) : (i + 1) * len(words)]
            mass = [math.exp(math.fsum(each.logprobs)) for each in read]
            yes = math.fsum(m for m, word in zip(mass, words, strict=True) if word in YES)
            both = math.fsum(mass)
            values[node.index] = yes / both if both >= LEAST else NEITHER
            node.scores[answered(self.name)] = Score(min(1.0, both))
        return [Score(values[node.index]) for node in nodes]


@dataclass(frozen=True, slots=True)
class Critique:
    """The share of ``k`` critiques by ``generator`` (without one: by the policy) that find nothing wrong.

    A critique has at most ``max_tokens`` tokens and is drawn at temperature 1.
    """

    generator: Generator | None = None
    label: str = ""
    k: int = 8
    max_tokens: int = 512

    def __post_init__(self) -> None:
        check_counts("critique", k=self.k, max_tokens=self.max_tokens)

    @property
    def name(self) -> str:
        """``critique``, the model that it asks, and how often."""
        return f"critique{':' if self.label else ''}{self.label}(k={self.k})"

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond answering in a chat."""
        return frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """A share in [0, 1] per node."""
        return await Asked(self.name, REVIEW, self.k, self.max_tokens, self.generator).shares(search, nodes, _opinion)


@dataclass(frozen=True, slots=True)
class Asked:
    """``n`` replies of at most ``max_tokens`` tokens to ``question`` in the chat of each solution."""

    name: str
    question: str
    n: int
    max_tokens: int
    generator: Generator | None

    async def shares(self, search: Search, nodes: Sequence[Node], read: Callable[[Node], bool | None]) -> list[Score]:
        """Per node the share of yes (True) among the replies that ``read`` can read; the others are None to it."""
        own = search.sampling if self.generator is None else self.generator.defaults
        cap = min(c for c in (self.max_tokens, own.max_tokens) if c is not None)
        about = [node for node in with_text(search, nodes) for _ in range(self.n)]
        replies = await search.ask(
            [[*asked(search), said(search, node), Message("user", self.question)] for node in about],
            about=about,
            role=f"{VERIFIER}:{self.name}",
            sampling=Sampling(temperature=1.0, max_tokens=cap, stop=own.stop),
            generator=self.generator,
        )
        heard: dict[int, list[bool | None]] = {}
        for node, reply in zip(about, replies, strict=False):
            if reply.completion.finish is not Finish.BUDGET:
                heard.setdefault(node.index, []).append(read(reply))
        values = {node.index: UNJUDGED for node in nodes}
        for node in nodes:
            if node.index in heard:
                plain = [v for v in heard[node.index] if v is not None]
                values[node.index] = sum(plain) / len(plain) if plain else NEITHER
                node.scores[answered(self.name)] = Score(len(plain) / len(heard[node.index]))
        return [Score(values[node.index]) for node in nodes]


def scores_text(model: Generator) -> bool:
    """Whether ``model`` gives the log-probabilities of given text."""
    return Ability.SCORE_TEXT in model.abilities and isinstance(model, Scorer)


def distinct(model: Generator, before: Context, words: Sequence[str]) -> list[str]:
    """``words`` without those that are the same tokens as an earlier one: their mass must not count twice."""
    seen: dict[object, str] = {}
    for word in words:
        ids = model.tokens(before.then(Segment(word)))
        seen.setdefault(word if ids is None else ids, word)
    return list(seen.values())


def with_text(search: Search, nodes: Sequence[Node]) -> list[Node]:
    """Those that say anything at all."""
    return [node for node in nodes if search.tree.solution(node).strip()]


def _opinion(critique: Node) -> bool | None:
    """Whether a critique finds nothing; one without any text has no opinion."""
    return found_nothing(critique) if critique.completion.reply.strip() else None


__all__ = ["NEITHER", "Critique", "PTrue", "answered"]
