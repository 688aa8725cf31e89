r"""A Bayesian adaptive vote: sample while one more sample is worth its price, answer with what is most probably right.

It believes that problems are of a few kinds. A kind z is a law of answers, the chance of the right one first, then that
of the likeliest wrong one, then the others, all alike; it has a share of all problems, and who is who is unknown. With
counts n_a of the answers drawn so far and, per answer, the evidence e_a = log P(score | right) / P(score | wrong) of a
verifier,

    P(a right | draws)  ~  exp(e_a) sum_z P(z) sum over pi with pi(a) = first of prod_b p_z,pi(b)^n_b.

A trap (a kind whose likeliest answer is wrong) is part of it: what votes cannot express, a posterior can. Let a* be the
best answer now and G_k = E[max_a P(a right | k more draws) - P(a* right | k more draws)] >= 0, the value of deciding
after k more. Sampling goes on while G_k > ``price`` * k for some k, so that it does not stop where one sample cannot
change the decision but five can (looking one step ahead would). G_k is a mean over simulated futures, seeded by the
state, so equal states are always judged alike.

``fit`` learns kinds (by expectation-maximisation), the verifier's evidence, and the price at which a problem takes
``mean`` samples on average, from solved problems of known answers. Without it: five kinds made by hand, a verifier's
number taken for a probability, and the given ``price``. Answers beyond the ``answers`` most frequent do not count.

The stopping rule is that of optimal allocation under uncertainty (Wald 1945; the k-step form is the knowledge gradient
of Frazier and Powell 2010); no paper on language models has it in this form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import Result, Search, Verifier
from thence.core.seeds import derive
from thence.core.tree import SOLUTION, Node
from thence.core.votes import elect

Floats = npt.NDArray[np.float64]
Evidence = tuple[tuple[float, float, float], ...]  # per level: its upper edge, P(level | right), P(level | wrong)
State = tuple[tuple[int, float], ...]  # per answer drawn: count and evidence, sorted

AHEAD = (1, 2, 3, 5, 8, 12, 16)
FUTURES = 128
FLOOR = 1e-3  # no answer is impossible
KINDS = ((0.85, 0.07, 0.04, 0.04), (0.6, 0.2, 0.1, 0.1), (0.4, 0.2, 0.2, 0.2), (0.25,) * 4, (0.25, 0.5, 0.15, 0.1))
STARTS = 12
LEVELS = 5  # into which a verifier's numbers are cut where it has many


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is believed of problems: kinds with their shares, and the laws of a verifier's numbers."""

    laws: tuple[tuple[float, ...], ...] = KINDS
    shares: tuple[float, ...] = (0.2,) * 5
    evidence: Evidence = ()

    @property
    def answers(self) -> int:
        """Answers per problem."""
        return len(self.laws[0])

    def posterior(self, counts: Floats, weights: Floats) -> Floats:
        """[case, answer]: the chance that each answer is right, given [case, answer] counts and evidence."""
        joint = self._joint(counts, weights)
        first = np.tile(_orders(self.answers) == 0, (len(self.laws), 1))
        return np.asarray(joint @ first / joint.sum(axis=1, keepdims=True))

    def of(self, state: Sequence[tuple[int, float]]) -> list[float]:
        """The same for one state, seen answers only."""
        counts, weights = _padded(state, self.answers)
        return [float(p) for p in self.posterior(counts, weights)[0, : len(state)]]

    def weight(self, score: float) -> float:
        """log P(score | right) / P(score | wrong)."""
        if not self.evidence:
            inside = min(max(score, 0.01), 0.99)
            return math.log(inside / (1.0 - inside))
        _, right, wrong = next((level for level in self.evidence if score <= level[0]), self.evidence[-1])
        return math.log(right / wrong)

    def told(self, noise: np.random.Generator, order: npt.NDArray[np.int64]) -> Floats:
        """[future, answer]: the evidence that an answer not yet seen would come with."""
        if not self.evidence:
            return np.zeros(order.shape)
        right, wrong = (np.array([level[i] for level in self.evidence]) for i in (1, 2))
        logs = np.log(right / wrong)
        levels = [noise.choice(len(logs), size=order.shape, p=law / law.sum()) for law in (right, wrong)]
        return np.asarray(np.round(np.where(order == 0, logs[levels[0]], logs[levels[1]]), 3))

    def _joint(self, counts: Floats, weights: Floats) -> Floats:
        """[case, kind and order]: the chance of each hypothesis with the counts and evidence, up to a factor."""
        laws, orders = np.maximum(np.array(self.laws), FLOOR), _orders(self.answers)
        logs = np.log(laws)[:, orders].reshape(-1, self.answers)  # kind-major: (kind, order) x answer
        right = np.tile(orders == 0, (len(laws), 1)).astype(float)
        prior = np.repeat(np.log(np.maximum(self.shares, 1e-9)), len(orders))
        powers = counts @ logs.T + weights @ right.T + prior
        return np.asarray(np.exp(powers - powers.max(axis=1, keepdims=True)))


@lru_cache(maxsize=1 << 17)
def worth(beliefs: Beliefs, state: State) -> tuple[float, ...]:
    """G_k for each k in AHEAD, by simulated futures that depend on the state alone."""
    noise = np.random.default_rng(derive("bayes-adaptive", state))
    answers, orders = beliefs.answers, _orders(beliefs.answers)
    counts, weights = _padded(state, answers)
    joint = beliefs._joint(counts, weights)[0]
    now = beliefs.posterior(counts, weights)[0, : len(state)]
    chosen = noise.choice(len(joint), size=FUTURES, p=joint / joint.sum())
    kind, order = chosen // len(orders), orders[chosen % len(orders)]
    laws = np.maximum(np.array(beliefs.laws), FLOOR)
    chances = np.take_along_axis((laws / laws.sum(axis=1, keepdims=True))[kind], order, axis=1)
    places = noise.random((FUTURES, AHEAD[-1], 1)) > np.cumsum(chances, axis=1)[:, None, :]
    drawn = np.minimum(places.sum(axis=2), answers - 1)
    totals = (drawn[:, :, None] == np.arange(answers)).cumsum(axis=1)[:, [k - 1 for k in AHEAD]]
    more = (totals + counts).reshape(-1, answers)
    told = np.repeat(beliefs.told(noise, order), len(AHEAD), axis=0)
    after = beliefs.posterior(more, np.where((more > 0) & (counts == 0), told, weights)) * (more > 0)
    gains = (after.max(axis=1) - after[:, now.argmax()]).reshape(FUTURES, len(AHEAD)).mean(axis=0)
    return tuple(float(g) for g in gains)


@dataclass(frozen=True, slots=True)
class BayesAdaptive:
    """At most ``n`` samples per problem; see the module for what the others mean. ``second`` is a lower price and the
    share of problems that have it, chosen by seed: a mean between two policies is a mixture of them."""

    n: int = 64
    price: float = 0.01
    mean: float | None = None
    verifier: Verifier | None = None
    kinds: int = 4
    answers: int = 4
    beliefs: Beliefs = Beliefs()
    second: tuple[float, float] = (0.01, 0.0)

    def __post_init__(self) -> None:
        check_counts("bayes-adaptive", n=self.n, kinds=self.kinds)
        if not 2 <= self.answers <= 8:
            raise UsageError(f"bayes-adaptive: answers is {self.answers}; it must be between 2 and 8")
        if not self.price > 0 or (self.mean is not None and not self.mean >= 1):
            raise UsageError(f"bayes-adaptive: price is {self.price} and mean {self.mean}; above 0 and at least 1")

    @property
    def width(self) -> int:
        """Samples per problem that run at once: each waits for the one before."""
        return 1

    @property
    def needs(self) -> frozenset[Ability]:
        """What its verifier needs."""
        return frozenset() if self.verifier is None else self.verifier.needs

    async def solve(self, search: Search) -> Result:
        """Draw one after another; stop when more is not worth its price; answer with the largest posterior."""
        nodes: list[Node] = []
        seen: dict[str, list[float]] = {}  # per answer, the evidence of every sample
        price = self.second[0] if search.chance("price") < self.second[1] * 2**63 else self.price
        async with search.stream(n=self.n, ahead=0) as samples:
            async for node in samples:
                nodes.append(node)
                found = await search.answer(node)
                if found is not None:
                    told = seen.setdefault(search.reading.key(found.value), [])
                    told.append(await self._evidence(search, node))
                if not self._goes_on(list(_state(seen, self.beliefs.answers).values()), self.n - len(nodes), price):
                    break
        state = _state(seen, self.beliefs.answers)
        believed = dict(zip(state, self.beliefs.of(list(state.values())), strict=True))
        note = f"{len(nodes)} of at most {self.n} samples drawn"
        classes = await search.classes(nodes)
        result = elect(search, classes, len(nodes), lambda c: believed.get(c.key, 0.0), [note])
        result.confidence = max(believed.values(), default=0.0)
        return result

    async def _evidence(self, search: Search, node: Node) -> float:
        if self.verifier is None:
            return 0.0
        [score] = await search.score([node], self.verifier)
        return self.beliefs.weight(score.value)

    def _goes_on(self, seen: Sequence[tuple[int, float]], left: int, price: float) -> bool:
        """Whether some number of further samples, of ``left``, is worth its price."""
        if left < 1 or not seen:
            return left >= 1
        state = tuple(sorted(seen, reverse=True))
        if 1.0 - max(self.beliefs.of(state)) <= price:  # more than this cannot be won
            return False
        gains = worth(self.beliefs, state)
        return any(k <= left and g > price * k for k, g in zip(AHEAD, gains, strict=True))

    # --- learning ---------------------------------------------------------------------------------------------------

    def fit(self, results: Sequence[Result], references: Sequence[str]) -> BayesAdaptive:
        """The strategy after having seen solved problems: each result's tree holds samples, scored if there is a
        verifier; ``references`` are the right answers. UsageError where no problem has samples with answers."""
        examples = [_example(r, a) for r, a in zip(results, references, strict=True)]
        examples = [e for e in examples if e[0] or e[1]]
        if not examples:
            raise UsageError("bayes-adaptive: none of the solved problems has a sample with an answer")
        counts = [_ranked(right, wrong, self.answers) for right, wrong, _ in examples]
        laws, shares = _mixture(np.array(counts, dtype=float), self.kinds)
        evidence = _levels([pair for _, _, scores in examples for pair in scores]) if self.verifier else ()
        made = replace(self, beliefs=Beliefs(laws, shares, evidence))
        return made if self.mean is None else made._priced(self.mean)

    def _priced(self, mean: float, problems: int = 200) -> BayesAdaptive:
        """The prices at which simulated problems of the learned kinds take ``mean`` samples on average."""
        low, high = math.log(1e-5), 0.0
        dear, cheap = 1.0, self._cost(problems, math.exp(low))
        for _ in range(14):
            middle = (low + high) / 2
            drawn = self._cost(problems, math.exp(middle))
            if drawn < mean:
                high, dear = middle, drawn
            else:
                low, cheap = middle, drawn
        share = min(1.0, (mean - dear) / (cheap - dear)) if cheap > dear else 1.0
        return replace(self, price=math.exp(high), second=(math.exp(low), share))

    def _cost(self, problems: int, price: float) -> float:
        """The mean number of samples over simulated problems, the same ones for every price."""
        beliefs, total = self.beliefs, 0
        laws = np.maximum(np.array(beliefs.laws), FLOOR)
        for i in range(problems):
            noise = np.random.default_rng(derive("bayes-adaptive", "problem", i))
            kind = noise.choice(len(laws), p=np.array(beliefs.shares) / sum(beliefs.shares))
            stream = noise.choice(beliefs.answers, size=self.n, p=laws[kind] / laws[kind].sum())
            told = beliefs.told(noise, np.arange(beliefs.answers)[None, :])[0]
            counts: dict[int, int] = {}
            for drawn, answer in enumerate(stream.tolist(), 1):
                counts[answer] = counts.get(answer, 0) + 1
                if not self._goes_on([(c, float(told[a])) for a, c in counts.items()], self.n - drawn, price):
                    total += drawn
                    break
        return total / problems


def _state(seen: Mapping[str, Sequence[float]], answers: int) -> dict[str, tuple[int, float]]:
    """Count and mean evidence of the most frequent answers. What a verifier says of one answer's texts agrees, right or
    wrong, so many texts are no more evidence than one."""
    kept = sorted(seen, key=lambda key: -len(seen[key]))[:answers]
    return {key: (len(seen[key]), round(sum(seen[key]) / len(seen[key]), 3)) for key in kept}


@lru_cache(maxsize=8)
def _orders(answers: int) -> npt.NDArray[np.int64]:
    """Who has which rank: [order, answer]. The right and the likeliest wrong one are told apart, others not."""
    rows = []
    for right, wrong in permutations(range(answers), 2):
        rest = iter(range(2, answers))
        rows.append([0 if a == right else 1 if a == wrong else next(rest) for a in range(answers)])
    return np.array(rows, dtype=np.int64)


def _padded(seen: Sequence[tuple[int, float]], answers: int) -> tuple[Floats, Floats]:
    rows = [*seen, *[(0, 0.0)] * (answers - len(seen))]
    return np.array([[c for c, _ in rows]], dtype=float), np.array([[w for _, w in rows]])


def _example(result: Result, reference: str) -> tuple[int, list[int], list[tuple[float, bool]]]:
    """How often the right answer was drawn, how often each wrong one, and every answer's mean score."""
    counts: dict[str, int] = {}
    scores: dict[str, list[float]] = {}
    for node in result.tree:
        if node.kind in SOLUTION and node.found is not None:
            key = node.found.value
            counts[key] = counts.get(key, 0) + node.multiplicity
            scores.setdefault(key, []).extend(s.value for s in node.scores.values())
    right = counts.pop(reference, 0)
    told = [(sum(v) / len(v), key == reference) for key, v in scores.items() if v]
    return right, sorted(counts.values(), reverse=True), told


def _ranked(right: int, wrong: Sequence[int], answers: int) -> list[int]:
    kept = list(wrong[: answers - 1])
    return [right, *kept, *[0] * (answers - 1 - len(kept))]


def _mixture(counts: Floats, kinds: int) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Kinds of problems from counts (the right answer first): EM over the kind and the likeliest wrong answer, from
    evenly spaced kinds and from ``STARTS`` - 1 draws of problems that are far from each other; the likeliest wins. One
    start alone can end with two kinds for one and one for two."""
    answers = counts.shape[1]
    orders = np.array([(0, top, *(i for i in range(1, answers) if i != top)) for top in range(1, answers)])
    arranged = counts[:, orders]  # problem x order x rank
    firsts = np.linspace(0.15, 0.8, kinds)
    start = np.stack([[q, *((1 - q) * np.array([2.0, *[1.0] * (answers - 2)]) / answers)] for q in firsts])
    seen = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    seen[:, 1:] = -np.sort(-seen[:, 1:], axis=1)
    noise = np.random.default_rng(derive("bayes-adaptive", "kinds"))
    best = _climbed(arranged, start)
    for _ in range(STARTS - 1):
        far = [int(noise.integers(len(seen)))]
        while len(far) < kinds:  # with chances as the squared distance to the nearest one so far (k-means++)
            gaps = ((seen[:, None, :] - seen[far]) ** 2).sum(axis=2).min(axis=1) + 1e-9
            far.append(int(noise.choice(len(seen), p=gaps / gaps.sum())))
        best = max(best, _climbed(arranged, seen[far]), key=lambda fit: fit[2])
    laws, shares, _ = best
    return tuple(tuple(float(p) for p in law) for law in laws), tuple(float(s) for s in shares)


def _climbed(arranged: Floats, laws: Floats, rounds: int = 200) -> tuple[Floats, Floats, float]:
    """Laws, shares and log-likelihood after ``rounds`` of EM, or when they gain no more."""
    answers = arranged.shape[2]
    shares, reached = np.full(len(laws), 1.0 / len(laws)), -math.inf
    for _ in range(rounds):
        powers = np.einsum("por,zr->pzo", arranged, np.log(np.maximum(laws, FLOOR)))
        powers += np.log(np.maximum(shares, 1e-9))[None, :, None]
        most = powers.max(axis=(1, 2), keepdims=True)
        weights = np.exp(powers - most)
        sums = weights.sum(axis=(1, 2), keepdims=True)
        now = float((most + np.log(sums)).sum())
        if now < reached + 1e-6 and reached > -math.inf:
            break
        reached = now
        weights /= sums
        shares = weights.sum(axis=(0, 2)) / len(arranged)
        laws = np.einsum("pzo,por->zr", weights, arranged) + 0.5 / answers
        laws[:, 2:] = laws[:, 2:].mean(axis=1, keepdims=True)
        laws /= laws.sum(axis=1, keepdims=True)
    return laws, shares, reached


def _levels(pairs: Sequence[tuple[float, bool]]) -> Evidence:
    """The laws of a verifier's numbers for right and wrong answers, in at most LEVELS levels, with one half added to
    each count; one law for both where two do not earn their parameters by Schwarz's criterion (BIC, 1978)."""
    values = sorted({v for v, _ in pairs})
    if len(values) > LEVELS:
        values = sorted({float(q) for q in np.quantile([v for v, _ in pairs], np.arange(1, LEVELS + 1) / LEVELS)})
    rows = []
    for kind in (True, False):
        places = np.searchsorted(values, [v for v, right in pairs if right is kind])
        rows.append(np.bincount(np.minimum(places, len(values) - 1), minlength=len(values)) + 0.5)
    tallies = np.array(rows)
    expected = tallies.sum(axis=1, keepdims=True) * tallies.sum(axis=0) / tallies.sum()
    telling = 2.0 * float((tallies * np.log(tallies / expected)).sum())
    if telling < (len(values) - 1) * math.log(len(pairs)):
        tallies = expected
    right, wrong = tallies / tallies.sum(axis=1, keepdims=True)
    return tuple((v, float(r), float(w)) for v, r, w in zip(values, right, wrong, strict=True))


__all__ = ["BayesAdaptive"]
