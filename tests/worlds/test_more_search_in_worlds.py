"""Lookahead, particles, acceptance, branching and self-evaluation where every value and every chance is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
from world_runs import COLD, HOT, is_right, near, near_mean, results

from thence.core.beams import chains, path_steps
from thence.core.completion import Ability
from thence.core.problem import Problem
from thence.core.scores import Meaning, Score
from thence.core.search import Result, Search, Strategy
from thence.core.solve import solve
from thence.core.tree import Kind, Node
from thence.prompts.styles import Bare
from thence.recipes.laws_of_search import SureAtTheEnd
from thence.strategies.beam import Beam
from thence.strategies.entropy_branching import EntropyBranching
from thence.strategies.lookahead import Lookahead
from thence.strategies.particle_filtering import Cloud, ParticleFiltering
from thence.strategies.rap import Rap
from thence.strategies.rap import State as Plan
from thence.strategies.rstar import RStar
from thence.strategies.rstar import State as Thought
from thence.strategies.self_eval_beam import SelfEvalBeam
from thence.strategies.stepwise_acceptance import StepwiseAcceptance
from thence.worlds import Branches, Chain, State, Stratum, Table, Urn, World

EXACT = Meaning.VALUE


@dataclass(slots=True)
class Noted:
    """A verifier that notes the text of all it scored."""

    world: World
    inner: Meaning = EXACT
    seen: list[str] = field(default_factory=list)
    name: str = "noted"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        self.seen += [search.tree.solution(n) for n in nodes]
        return await self.world.verifier(self.inner).score(search, nodes)


def cost(result: Result) -> int:
    total = result.ledger.total_charged.total
    assert total is not None
    return total


# --- lookahead -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["vote", "max"])
async def test_looking_nowhere_is_the_beam(keep: Literal["vote", "max"]) -> None:
    world = Branches(depth=4, branching=4, right_share=0.1, size=20)
    verifier = world.verifier(EXACT, noise=0.3)
    for a, b in zip(
        await results(world, Lookahead(verifier, 8, 4, k=0, select="max")),
        await results(world, Beam(verifier, 8, 4, select="max")),
        strict=True,
    ):
        assert a.record() == b.record()


@pytest.mark.parametrize("k", [1, 2, 3, 9])
async def test_a_step_is_ranked_by_the_value_k_greedy_steps_later(k: int) -> None:
    """The first steps that are continued are those with the largest exact value where greedy play leads them, and these
    texts were scored; of nine greedy steps only as many are taken as there are."""
    world = Branches(depth=4, branching=6, right_share=0.15, skew=1.0, size=12)
    differs = 0
    for problem in world.problems():
        noted = Noted(world)
        [result] = await results(world, Lookahead(noted, 6, 3, k=k), [problem])
        first = [n for n in result.tree if n.parent == 0 and "" in n.laws]
        ahead: dict[int, float] = {}
        for node in first:
            text = node.text
            for _ in range(k):
                text = greedily(world, world.number(problem), text)
            assert len(first) <= 2 or text in noted.seen
            ahead[node.index] = world.value(problem, text)
        continued = {n.index for n in first if any(m.parent == n.index and "" in m.laws for m in result.tree)}
        if len(first) > 2:
            worst_kept = min(ahead[i] for i in continued)
            assert all(v <= worst_kept for i, v in ahead.items() if i not in continued)
            now = {n.index: world.value(problem, n.text) for n in first}
            differs += max(now, key=lambda i: now[i]) not in continued
    assert differs > 0  # the ranking is not that of the steps themselves


def greedily(world: Branches, number: int, text: str) -> str:
    """``text`` with its most likely next line; the same after the end."""
    place = world.read(text)
    if place.answer is not None:
        return text
    if len(place.steps) == world.depth:
        return text + "#### " + next(iter(world.moves(number, place.steps).answers))
    prior = world.prior(number, place.steps)
    return text + max(prior, key=lambda a: prior[a]) + "\n"


async def test_the_continuations_are_charged_and_left() -> None:
    """One level of n candidates costs at most n (k + 1) steps; greedy steps are no part of the path unless drawn."""
    world = Branches(depth=4, branching=6, right_share=0.1, skew=0.0, size=8)
    verifier = world.verifier(EXACT)
    plain = await results(world, Beam(verifier, 8, 4, select="max"))
    for k in (1, 2):
        for a, b in zip(await results(world, Lookahead(verifier, 8, 4, k=k, select="max")), plain, strict=True):
            assert cost(b) < cost(a) <= (k + 1) * cost(b)
            drawn = sum(n.multiplicity for n in a.tree if n.parent is not None)
            assert drawn <= 4 * 8 * (k + 1) + 8
            assert a.node is not None
            assert all("" in n.laws for n in a.tree.path(a.node))


async def test_where_nothing_is_left_out_nobody_looks_ahead() -> None:
    world = Branches(depth=3, size=5)
    for result in await results(world, Lookahead(world.verifier(EXACT), 3, 1, k=2)):
        assert all(law == "" for n in result.tree for law in n.laws if n.parent is not None)


async def test_continuations_answer_where_no_path_of_the_beam_does() -> None:
    world = Branches(depth=4, branching=4, size=10)
    for result in await results(world, Lookahead(world.verifier(EXACT), 8, 4, k=5, depth=2)):
        assert result.answer is not None
        assert result.node is not None
        assert len(result.tree.path(result.node)) == 5


# --- particles -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filter:
    """Only filters, and keeps the clouds and the texts of their particles."""

    filtering: ParticleFiltering
    clouds: list[tuple[Cloud, list[str]]] = field(default_factory=list)
    needs: frozenset[Ability] = frozenset({Ability.CONTINUE})

    async def solve(self, search: Search) -> Result:
        cloud = await self.filtering.filter(search)
        self.clouds.append((cloud, [search.tree.solution(n) for n in cloud.particles]))
        return search.result(None)


async def clouds(world: World, filtering: ParticleFiltering, runs: int) -> list[list[tuple[Cloud, list[str]]]]:
    """One list per problem, one cloud per seed."""
    out: list[list[tuple[Cloud, list[str]]]] = [[] for _ in world.problems()]
    for seed in range(runs):
        run = Filter(filtering)
        await results(world, run, seed=seed)
        for made, cloud in zip(out, run.clouds, strict=True):
            made.append(cloud)
    return out


@pytest.mark.parametrize("resample", ["systematic", "multinomial"])
@pytest.mark.parametrize("noise", [0.0, 1.0])
async def test_the_evidence_is_an_unbiased_estimate_of_the_chance_of_a_right_answer(
    resample: Literal["systematic", "multinomial"], noise: float
) -> None:
    """Ratios telescope to the value of the ended path, so their evidence has the mean P(right), whatever the verifier
    says in between (here: exact, or blurred before the end)."""
    world = Branches(depth=3, branching=3, right_share=0.3, size=4)
    judge = SureAtTheEnd(world.verifier(EXACT, noise=noise, logit=True), world.verifier(EXACT))
    filtering = ParticleFiltering(judge, 6, weight="ratio", resample=resample)
    spread = 0
    for problem, made in zip(world.problems(), await clouds(world, filtering, 60), strict=True):
        values = [cloud.evidence for cloud, _ in made]
        spread += len(set(values)) > 1
        near_mean(values, world.value(problem))
    assert spread >= 3


async def test_with_exact_ratios_the_particles_are_draws_of_right_solutions() -> None:
    """The weighted share of a first step times the evidence has the mean P(a) V(a): steps come as they do in the
    policy's right solutions."""
    world = Branches(depth=2, branching=3, right_share=0.4, size=5)
    filtering = ParticleFiltering(world.verifier(EXACT), 8, weight="ratio")
    tested = 0
    for problem, made in zip(world.problems(), await clouds(world, filtering, 60), strict=True):
        for action, p in world.prior(world.number(problem), ()).items():
            expected = p * world.value(problem, action + "\n")
            shares = []
            for cloud, texts in made:
                mine = [w for t, w in zip(texts, cloud.weights, strict=True) if world.read(t).steps[0] == action]
                shares.append(cloud.evidence * sum(mine) / sum(cloud.weights) if cloud.evidence else 0.0)
            near_mean(shares, expected)
            tested += expected > 0 and len(set(shares)) > 1
    assert tested >= 6


@dataclass(frozen=True, slots=True)
class Redraw:
    """Only redraws, many times."""

    filtering: ParticleFiltering
    weights: Sequence[float]
    counts: list[Counter[int]] = field(default_factory=list)
    needs: frozenset[Ability] = frozenset()

    async def solve(self, search: Search) -> Result:
        self.counts.extend(Counter(self.filtering.redrawn(search, self.weights, level)) for level in range(800))
        return search.result(None)


@pytest.mark.parametrize("resample", ["systematic", "multinomial"])
async def test_resampling_keeps_expected_counts(resample: Literal["systematic", "multinomial"]) -> None:
    """Copies of particle i have the mean n w_i / sum w; systematic ones differ from it by less than 1."""
    world = Branches(size=1)
    weights = [0.0, 0.1, 0.25, 0.4, 0.05, 0.0, 1.2, 0.0]
    redraw = Redraw(ParticleFiltering(world.verifier(), 8, resample=resample), weights)
    await results(world, redraw)
    assert all(c.total() == 8 for c in redraw.counts)
    for i, weight in enumerate(weights):
        expected = 8 * weight / sum(weights)
        copies = [c[i] for c in redraw.counts]
        if weight == 0:
            assert sum(copies) == 0
        else:
            near_mean([float(c) for c in copies], expected)
        if resample == "systematic":
            assert all(math.floor(expected) <= c <= math.ceil(expected) for c in copies)


async def test_particles_that_all_die_at_once_go_on_as_they_are() -> None:
    world = Branches(depth=3, branching=3, right_share=0.0, size=5)
    for result in await results(world, ParticleFiltering(world.verifier(EXACT), 4, weight="score")):
        assert result.notes == ("evidence: 0",)
        assert result.answer is not None
        first = [n for n in result.tree if n.parent == 0]
        assert sum(m.multiplicity for m in result.tree if m.parent in {n.index for n in first}) == 4


async def test_one_particle_is_one_sample() -> None:
    world = Branches(depth=3, size=20)
    beam = await results(world, Beam(world.verifier(EXACT), 1, 1, select="max"))
    for weight in ("odds", "score", "ratio"):
        made = await results(world, ParticleFiltering(world.verifier(EXACT), 1, weight=weight))
        assert [r.trace for r in made] == [r.trace for r in beam]


async def test_a_filter_beats_sampling_with_exact_values_and_its_vote_weighs_particles() -> None:
    world = Branches(depth=4, branching=4, right_share=0.1, size=30)
    right: dict[str, int] = {}
    for weight in ("odds", "score", "ratio"):
        got = await results(world, ParticleFiltering(world.verifier(EXACT), 8, weight=weight))
        right[weight] = sum(is_right(world, r) for r in got)
        votes = await results(world, ParticleFiltering(world.verifier(EXACT), 8, weight=weight, select="vote"))
        assert [r.answer for r in votes if r.votes[0].weight > 0] == [
            r.answer for r, v in zip(got, votes, strict=True) if v.votes[0].weight > 0
        ]
    coverage = sum(1 - (1 - world.value(p)) ** 8 for p in world.problems())
    print(f"of 30 right: {right}; coverage of 8 samples {coverage:.1f}")
    assert min(right.values()) > coverage + 7


# --- stepwise acceptance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_accepted_steps_are_a_walk_of_known_length(retries: int) -> None:
    """Up with A = 1 - (1 - a)^(r + 1), down with 1 - A, A / a draws a visit; every solution is valid."""
    world = Chain(steps=4, slip=0.2, fatal=0.2, size=150)
    a = world.step_valid
    up = 1 - (1 - a) ** (retries + 1)
    visits, last = 0.0, 0.0
    for level in range(world.steps):
        last = 1 / up + ((1 - up) / up * last if level else 0.0)
        visits += last
    verifier = world.verifier(Meaning.PREFIX_VALID)
    got = await results(world, StepwiseAcceptance(verifier, 0.5, retries, draws=5000))
    assert all(is_right(world, r) and r.notes == () for r in got)
    assert all(r.trace.startswith(world.line(State.ON_TRACK) * world.steps) for r in got)
    draws = [float(sum(n.multiplicity for n in r.tree if n.parent is not None)) for r in got]
    near_mean(draws, visits * up / a + 1)


async def test_an_accepted_step_has_the_policys_law_given_acceptance() -> None:
    world = Branches(depth=1, branching=4, right_share=0.5, size=4)
    tested = 0
    for problem in world.problems():
        prior = world.prior(world.number(problem), ())
        good = {a: p for a, p in prior.items() if world.value(problem, a + "\n") == 1.0}
        if len(good) < 2:
            continue
        strategy = StepwiseAcceptance(world.verifier(EXACT), 0.5)
        taken: Counter[str] = Counter()
        for seed in range(300):
            [result] = await results(world, strategy, [problem], seed=seed)
            taken[world.read(result.trace).steps[0]] += 1
        assert set(taken) <= set(good)
        for action, p in good.items():
            near(taken[action], 300, p / sum(good.values()))
            tested += 1
    assert tested >= 4


async def test_when_nothing_is_accepted_the_best_end_or_an_unjudged_path_answers() -> None:
    short = Chain(steps=1, size=30)
    verifier = short.verifier(EXACT, noise=0.2)
    for result in await results(short, StepwiseAcceptance(verifier, 9.0, draws=6)):
        assert result.notes == ("no path was accepted within 6 draws",)
        assert sum(n.multiplicity for n in result.tree if n.parent == 0) == 7  # six refused, one to go on from
        assert result.answer is not None
    once = Table.of({"": {"1": 0.5, "2": 0.3, "3": 0.2}}, "2", size=40)
    judge = once.verifier(EXACT)
    for result in await results(once, StepwiseAcceptance(judge, 9.0, draws=5)):
        ends = [n for n in result.tree if n.parent is not None]
        assert sum(n.multiplicity for n in ends) == 5
        assert is_right(once, result) == any(n.scores[judge.name].value == 1.0 for n in ends)


async def test_acceptance_is_right_as_often_as_a_right_answer_comes_in_its_draws() -> None:
    world = Table.of({"": {"1": 0.7, "2": 0.3}}, "2", size=400)
    got = await results(world, StepwiseAcceptance(world.verifier(EXACT), 0.5, retries=1, draws=5))
    near(sum(is_right(world, r) for r in got), 400, 1 - 0.7**5)


# --- branching -----------------------------------------------------------------------------------------------------

Way = Literal["entropy", "margin", "uniform", "random"]
WAYS: tuple[Way, ...] = ("entropy", "margin", "uniform", "random")

FORK = {"": {"a": 1.0}, "a": {"b": 1.0}, "ab": {"c": 0.5, "d": 0.5}}
for _side, _answer in (("c", "2"), ("d", "1")):
    for _k, _next in enumerate(("e", "f", "g")):
        FORK["ab" + _side + "efg"[:_k]] = {_next: 1.0}
    FORK["ab" + _side + "efg"] = {_answer: 1.0}


async def test_the_fork_is_found_and_what_comes_before_it_is_not_paid_again() -> None:
    """One fork in seven steps. Branching at it covers as two samples do; evenly spaced (step 4) it comes too late, and
    at random it is early enough in 3 of 7 cases, where it pays for more of the common beginning."""
    world = Table.of(FORK, "2", size=100)
    tokens: dict[str, float] = {}
    chances: dict[Way, float] = {"entropy": 0.75, "margin": 0.75, "uniform": 0.5, "random": 0.5 + 0.25 * 3 / 7}
    for where, coverage in chances.items():
        got = await results(world, EntropyBranching(2, 1, where=where))
        covered = sum(any(n.found is not None and n.found.value == "2" for n in r.tree) for r in got)
        near(covered, 100, coverage)
        tokens[where] = sum(r.ledger.total_charged.generated or 0 for r in got) / 100
        assert all(sum(v.count for v in r.votes) == 2 for r in got)
    assert tokens["entropy"] == tokens["margin"]
    assert tokens["entropy"] == pytest.approx(15 + 11)  # six steps of two tokens and the answer's three; 4 are shared
    assert tokens["uniform"] == pytest.approx(15 + 9)


@pytest.mark.parametrize("where", WAYS)
async def test_every_way_has_as_many_branches(where: Way) -> None:
    world = Branches(depth=4, branching=4, skew=1.0, size=20)
    for result in await results(world, EntropyBranching(7, 2, where=where)):
        assert sum(v.count for v in result.votes) == 7
        ends = [n for n in result.tree if n.kind is Kind.FINISH]
        assert sum(n.multiplicity for n in ends) == 7
        assert result.confidence == max(v.count for v in result.votes) / 7


@dataclass(frozen=True, slots=True)
class Places:
    """Only the chain and where it would branch."""

    branching: EntropyBranching
    seen: list[tuple[str, list[int]]] = field(default_factory=list)
    needs: frozenset[Ability] = frozenset({Ability.CONTINUE, Ability.TOP2})

    async def solve(self, search: Search) -> Result:
        [end] = await chains(search, [(search.root, 40)], 256, replace(search.sampling, top2=True))
        self.seen.append((search.tree.solution(end), self.branching.places(search, path_steps(search, end))))
        return search.result(end)


async def test_the_branches_are_at_the_most_uncertain_steps() -> None:
    """The entropy of a step is that of the tree's own prior, of its two likeliest actions and the rest; the margin is
    theirs, too. Evenly spaced places are in the middles of equal parts, random ones all different."""
    world = Branches(depth=4, branching=5, skew=1.5, size=30)
    looks = {where: Places(EntropyBranching(3, 2, where=where)) for where in WAYS}
    for look in looks.values():
        await results(world, look)
    unlike = 0
    for i, problem in enumerate(world.problems()):
        text, _ = looks["entropy"].seen[i]
        steps = world.read(text).steps
        doubts, margins = [], []
        for at in range(4):
            best, second, *_ = sorted(world.prior(world.number(problem), steps[:at]).values(), reverse=True)
            doubts.append(-sum(p * math.log(p) for p in (best, second, 1 - best - second)))
            margins.append(best - second)
        assert looks["entropy"].seen[i][1] == sorted(range(4), key=lambda k: -doubts[k])[:2]
        assert looks["margin"].seen[i][1] == sorted(range(4), key=lambda k: margins[k])[:2]
        assert looks["uniform"].seen[i][1] == [1, 3]  # of five steps, the answer's included
        assert len(set(looks["random"].seen[i][1])) == 2
        unlike += looks["random"].seen[i][1] != looks["entropy"].seen[i][1]
    assert unlike > 15
    assert {at for _, places in looks["random"].seen for at in places} == set(range(5))


# --- self-evaluation -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """Draws some paths of ``depth`` steps, and keeps their texts, what they are worth, and that with noise."""

    beam: SelfEvalBeam
    depth: int = 2
    seen: list[tuple[list[str], list[float], list[float]]] = field(default_factory=list)
    needs: frozenset[Ability] = frozenset({Ability.CONTINUE})

    async def solve(self, search: Search) -> Result:
        nodes = await search.steps(n=24)
        for _ in range(1, self.depth):
            nodes = await search.steps(nodes)
        nodes = list({n.index: n for n in nodes}.values())
        worth = await self.beam.worth(search, nodes)
        noisy = self.beam.noisy(search, nodes, worth, self.beam.temperature)
        self.seen.append(([search.tree.solution(n) for n in nodes], worth, noisy))
        return search.result(None)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
async def test_a_path_is_worth_its_steps_probabilities_and_values(alpha: float) -> None:
    """A step here is two tokens, its action and a certain line break: per token the root of its prior."""
    world = Branches(depth=3, branching=4, right_share=0.3, size=10)
    look = Look(SelfEvalBeam(world.verifier(EXACT), alpha=alpha))
    await results(world, look)
    compared = 0
    for problem, (texts, worth, _) in zip(world.problems(), look.seen, strict=True):
        for text, got in zip(texts, worth, strict=True):
            steps, expected = world.read(text).steps, 1.0
            for k, step in enumerate(steps):
                p = world.prior(world.number(problem), steps[:k])[step] ** 0.5
                value = world.value(problem, "".join(f"{s}\n" for s in steps[: k + 1]))
                expected *= p**alpha * value ** (1 - alpha)
            assert got == pytest.approx(expected)
            compared += 0 < got < 1
    assert compared > 50


async def test_who_goes_on_is_drawn_by_a_softmax_without_replacement() -> None:
    """The first by exp(E / tau), the next by the same among the others (Plackett and Luce)."""
    world = Branches(depth=2, branching=3, right_share=0.5, skew=0.0, size=1)
    look = Look(SelfEvalBeam(world.verifier(EXACT), temperature=0.3), depth=1)
    for seed in range(500):
        await results(world, look, seed=seed)
    firsts: Counter[str] = Counter()
    seconds: Counter[tuple[str, str]] = Counter()
    for texts, _, noisy in look.seen:
        best, second, *_ = sorted(range(len(texts)), key=lambda i: -noisy[i])
        firsts[texts[best]] += 1
        seconds[texts[best], texts[second]] += 1
    chances = {t: math.exp(w / 0.3) for texts, worth, _ in look.seen for t, w in zip(texts, worth, strict=True)}
    total = sum(chances.values())
    assert len(set(chances.values())) > 1
    for text, weight in chances.items():
        near(firsts[text], 500, weight / total)
        for other, more in chances.items():
            if other != text:
                near(seconds[text, other], 500, weight / total * more / (total - weight))


async def test_without_temperature_it_is_a_beam_and_with_much_it_is_blind() -> None:
    """With C that says whether a right leaf can still be reached a path is worth 1 or 0: a cold beam loses none that it
    has drawn, a cooling one few (and more of its places are different paths), a hot one follows no value at all."""
    world = Branches(depth=4, branching=4, right_share=0.047, skew=0.0, size=60)
    judge = world.verifier(Meaning.STEP_CORRECT)
    plain = sum(is_right(world, r) for r in await results(world, Beam(judge, 8, 4, select="max")))

    async def right(temperature: float, decay: float = 0.5) -> int:
        made = SelfEvalBeam(judge, 8, 4, alpha=0.0, temperature=temperature, decay=decay)
        return sum(is_right(world, r) for r in await results(world, made))

    cold, cooling, hot = await right(0.0), await right(0.5), await right(1e6, 1.0)
    once = await right(1e6, 0.0)  # blind at the first step, cold from the second on
    print(
        f"of 60 right: beam {plain}, tau 0 {cold}, tau .5 halved every step {cooling}, blind once {once}, blind {hot}"
    )
    assert cold == plain
    assert min(cold, cooling) > hot + 20
    assert once > hot + 8


# --- planning ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grow:
    """Only grows the tree of states, and keeps it."""

    rap: Rap
    trees: list[Plan] = field(default_factory=list)
    texts: dict[tuple[int, str], str] = field(default_factory=dict)
    needs: frozenset[Ability] = frozenset({Ability.CONTINUE, Ability.LOGPROBS})

    async def solve(self, search: Search) -> Result:
        root = Plan(search.root)
        await self.rap.grow(search, root)
        self.trees.append(root)
        self.texts.update({(n.index, search.problem.id): search.tree.solution(n) for n in search.tree})
        return search.result(None)


async def test_every_iteration_reaches_an_end_and_a_state_is_as_good_as_its_best_path() -> None:
    world = Branches(depth=3, branching=3, right_share=0.3, size=15)
    grow = Grow(Rap(world.verifier(EXACT), iterations=12, actions=3))
    await results(world, grow)
    for root in grow.trees:
        assert root.visits == 12
        for state in root.walk():
            if state.children:
                assert sum(child.visits for child in state.children) == state.visits
            elif state.visits:
                assert state.ended
                assert state.best == pytest.approx(state.reward)
            if state.visits and state is not root:
                above = len(state.rewards) - 1
                ends = [s for s in state.walk() if s.ended and s.visits]
                means = [sum(s.rewards[above:]) / len(s.rewards[above:]) for s in ends]
                assert state.best == pytest.approx(max(means))


async def test_a_reward_is_use_times_confidence() -> None:
    """r = C^alpha P^(1 - alpha); a step is two tokens, its action and a certain line break: P is the prior's root."""
    world = Branches(depth=2, branching=3, right_share=0.4, size=5)
    compared = 0
    for alpha in (0.0, 0.3, 1.0):
        grow = Grow(Rap(world.verifier(EXACT), iterations=6, alpha=alpha))
        await results(world, grow)
        for problem, root in zip(world.problems(), grow.trees, strict=True):
            for state in root.walk():
                if state.rewards and not state.ended:
                    steps = world.read(grow.texts[state.node.index, problem.id]).steps
                    p = world.prior(world.number(problem), steps[:-1])[steps[-1]] ** 0.5
                    value = world.value(problem, "".join(f"{s}\n" for s in steps))
                    assert state.reward == pytest.approx(value**alpha * p ** (1 - alpha))
                    compared += 1
    assert compared > 30


async def test_planning_finds_what_can_be_found_and_exploration_is_what_w_says() -> None:
    """With rewards that say whether a right leaf can still be reached no iteration leaves a path of ones once it has
    one. Without exploration it stays on its first end for ever; with much of it all actions are tried in turn."""
    world = Branches(depth=4, branching=3, right_share=0.02, skew=0.0, size=20)
    judge = world.verifier(Meaning.STEP_CORRECT)
    got = await results(world, Rap(judge, iterations=3, actions=30, alpha=1.0))
    assert [float(is_right(world, r)) for r in got] == [world.best(p) for p in world.problems()]
    assert 5 < sum(is_right(world, r) for r in got) < 20
    flat = Branches(depth=2, branching=3, right_share=1.0, skew=0.0, size=10)
    still, wide = (Grow(Rap(flat.verifier(EXACT), iterations=9, actions=12, alpha=1.0, w=w)) for w in (0.0, 5.0))
    await results(flat, still)
    await results(flat, wide)
    for root in still.trees:
        assert sorted(c.visits for c in root.children) == [0, 0, 9]
    for root in wide.trees:
        assert sorted(c.visits for c in root.children) == [3, 3, 3]


# --- mutual consistency --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filtered:
    """The trajectories of a search, with whether each is right and whether it is consistent."""

    rstar: RStar
    world: World
    seen: list[tuple[bool, bool]] = field(default_factory=list)
    needs: frozenset[Ability] = frozenset({Ability.CONTINUE})

    async def solve(self, search: Search) -> Result:
        root = Thought("question", search.root)
        for rollout in range(self.rstar.rollouts):
            await self.rstar.roll(search, root, rollout)
        found = [s for s in root.walk() if s.answer is not None]
        kept = await self.rstar.consistent(search, found)
        right = self.world.right(self.world.number(search.problem))
        self.seen.extend((s.answer == right, any(s is k for k in kept)) for s in found)
        return search.result(None)


async def agreement(policy: World, critic: World, rstar: RStar) -> tuple[int, int, int, int]:
    """Right ones, how many of them are kept, wrong ones, how many of them are kept."""
    filtered = Filtered(rstar, policy)
    for problem in policy.problems():
        await with_critic(policy, critic, filtered, problem)
    count = Counter(filtered.seen)
    right, wrong = (count[r, False] + count[r, True] for r in (True, False))
    return right, count[True, True], wrong, count[False, True]


async def with_critic(policy: World, critic: World, strategy: Strategy, problem: Problem) -> Result:
    return await solve(
        problem,
        generator=policy.generator(pace=0),
        strategy=strategy,
        style=Bare(),
        reading=policy.task().reading,
        sampling=HOT,
        roles={"critic": critic.generator(pace=0)},
    )


def urn(*law: float) -> Urn:
    return Urn((Stratum("one", law),), size=200)


@pytest.mark.parametrize(
    ("critic", "gains"),
    [
        ((0.5, 0.125, 0.125, 0.125, 0.125), True),  # errs elsewhere: 1 in 8 of its answers is a given wrong one
        ((0.25, 0.1875, 0.1875, 0.1875, 0.1875), True),  # weak, but still likelier right than wrong in the same way
        ((0.1, 0.225, 0.225, 0.225, 0.225), False),  # likelier to make the same error than to be right
    ],
)
async def test_consistency_raises_precision_where_errors_collide_less_than_right_answers_meet(
    critic: tuple[float, ...], gains: bool
) -> None:
    """A right trajectory survives with the critic's chance of being right, a wrong one with that of the same error;
    of four completions two must agree."""
    policy = urn(0.4, 0.15, 0.15, 0.15, 0.15)

    def two_of_four(q: float) -> float:
        return 1 - (1 - q) ** 4 - 4 * q * (1 - q) ** 3

    for masks, survives in ((1, lambda q: q), (4, two_of_four)):
        rstar = RStar(rollouts=1, depth=2, thoughts=2, questions=0, votes=1, masks=masks)
        right, right_kept, wrong, wrong_kept = await agreement(policy, urn(*critic), rstar)
        near(right_kept, right, survives(critic[0]))
        near(wrong_kept, wrong, survives(critic[1]))
        before, after = right / (right + wrong), right_kept / (right_kept + wrong_kept)
        assert (after > before + 0.05) if gains else (after < before - 0.05)


LED = {"": {"a": 0.4, "b": 0.6}, "a": {"c": 1.0}, "b": {"c": 1.0}, "ac": {"2": 1.0}, "bc": {"1": 1.0}}
DOUBTS = LED | {"ac": {"2": 0.9, "3": 0.1}, "bc": {"1": 0.2, "2": 0.8}}


async def test_a_critic_that_errs_as_the_policy_does_adds_nothing() -> None:
    """The first step decides, and every cut keeps it. The policy as its own critic agrees with all it wrote; another
    model takes 4 of 5 wrong beginnings back, and then the minority of right ones answers."""
    policy, other = Table.of(LED, "2", size=60), Table.of(DOUBTS, "2", size=60)
    rstar = RStar(rollouts=3, depth=3, thoughts=2, questions=0, votes=3, masks=1)
    right, right_kept, wrong, wrong_kept = await agreement(policy, policy, rstar)
    assert (right_kept, wrong_kept) == (right, wrong)
    right, right_kept, wrong, wrong_kept = await agreement(policy, other, rstar)
    near(right_kept, right, 0.9)
    near(wrong_kept, wrong, 0.2)

    async def solved_by(critic: World) -> int:
        return sum([is_right(policy, await with_critic(policy, critic, rstar, p)) for p in policy.problems()])

    alone, together = await solved_by(policy), await solved_by(other)
    print(f"of 60 right: own critic {alone}, another {together}")
    assert together > alone + 10


# --- all -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, 15, 40, 90, 200])
async def test_a_budget_is_never_exceeded_and_who_stops_early_says_so(budget: int) -> None:
    world = Branches(size=4)
    exact = world.verifier(EXACT)
    made: list[Strategy] = [
        Lookahead(exact, 8, 4, k=2),
        ParticleFiltering(exact, 8),
        ParticleFiltering(exact, 8, weight="ratio", select="vote"),
        StepwiseAcceptance(exact, 0.2),
        EntropyBranching(6),
        SelfEvalBeam(exact, 8, 4),
        Rap(exact, 6),
        RStar(3, 3, 1, 1, 2, 2),
    ]
    for problem in world.problems():
        for strategy in made:
            result = await solve(
                problem,
                generator=world.generator(pace=0),
                strategy=strategy,
                style=Bare(),
                reading=world.task().reading,
                sampling=HOT,
                budget=budget,
            )
            assert cost(result) <= budget
            if result.answer is None:
                assert result.stopped == "budget"
                assert all(n.found is None for n in result.tree)


async def test_greedy_sampling_is_no_obstacle() -> None:
    """All draws are equal: one path, merged, whatever looks for others."""
    world = Branches(depth=3, branching=3, size=5)
    exact = world.verifier(EXACT)
    for strategy in (
        Lookahead(exact, 4, 2),
        ParticleFiltering(exact, 4),
        StepwiseAcceptance(exact, 0.5, draws=9),
        EntropyBranching(4),
        SelfEvalBeam(exact, 4, 2),
        Rap(exact, 3),
    ):
        for result in await results(world, strategy, sampling=COLD):
            assert result.answer is not None
            assert len(result.tree) == 1 + 4
