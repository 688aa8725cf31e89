"""Rows of ``thence laws`` for searches by steps: where they have a closed form, or a textbook's few lines.

Visits of the tree search are compared with ``textbook`` below, which shares no code with it; all else with the worlds'
closed forms.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from thence.core.completion import Ability
from thence.core.problem import Problem
from thence.core.scores import Meaning, Score
from thence.core.search import Search, Verifier
from thence.core.tree import Node
from thence.strategies.beam import Beam
from thence.strategies.best_first import BestFirst
from thence.strategies.critic_guided import CriticGuided
from thence.strategies.dvts import DiverseTreeSearch
from thence.strategies.entropy_branching import EntropyBranching
from thence.strategies.lookahead import Lookahead
from thence.strategies.mcts import Mcts
from thence.strategies.mcts import State as Visited
from thence.strategies.particle_filtering import Cloud, ParticleFiltering
from thence.strategies.rap import Rap
from thence.strategies.rstar import RStar
from thence.strategies.rstar import State as Thought
from thence.strategies.self_eval_beam import SelfEvalBeam
from thence.strategies.stepwise_acceptance import StepwiseAcceptance
from thence.worlds import Branches, Chain, Oracle, Stratum, Table, Urn, laws

from .law_rows import Bench, Rows, Watch, chances, covered, mean, right

MODES: tuple[Literal["rollouts", "moves"], ...] = ("rollouts", "moves")
ORDERS: tuple[Literal["depth", "best"], ...] = ("depth", "best")
RESAMPLING: tuple[Literal["systematic", "multinomial"], ...] = ("systematic", "multinomial")
REMARKS: tuple[Literal["off", "random"], ...] = ("off", "random")
WHERE: tuple[tuple[Literal["entropy", "uniform"], float], ...] = (("entropy", 0.75), ("uniform", 0.5))
BEST = Meaning.STEP_CORRECT  # in Branches: whether a right leaf can still be reached, V*


async def beams(bench: Bench) -> Rows:
    """Beams and trees that keep one path each, with and without lookahead."""
    world = Chain(size=bench.size(400))
    made = await bench.results(world, Beam(world.verifier(), n=1, width=1, select="max"))
    yield chances(
        "a beam of one path is a sample", "chain", "2408.03314", right(world, made), [world.correct] * world.size
    )
    trees = Branches(depth=1, branching=6, right_share=0.25, size=bench.size(300))
    made = await bench.results(trees, Beam(trees.verifier(), n=4, width=4, select="max"))
    expected = [trees.planned(p, width=4) for p in trees.problems()]
    yield chances("one step, exact values: V^max,4", "branches", "2309.17179", right(trees, made), expected)
    for critic in REMARKS:  # this world reads no remarks: a remark is worth a plain draw
        guided = CriticGuided(trees.verifier(BEST), expansions=1, actions=2, retries=2, critic=critic)
        made = await bench.results(trees, guided)
        law = f"2 draws, 2 retries, critic {critic}: V^max,4"
        yield chances(law, "branches", "", right(trees, made), expected)
    deep = Branches(depth=3, branching=3, right_share=0.12, size=bench.size(200))
    walks = [deep.walked(p, width=2) for p in deep.problems()]
    made = await bench.results(deep, DiverseTreeSearch(deep.verifier(), n=2, width=2))
    yield chances("DVTS, one tree: best of 2 a step", "branches", "", right(deep, made), walks)
    made = await bench.results(deep, DiverseTreeSearch(deep.verifier(), n=8, width=2))
    four = [laws.coverage(p, 4) for p in walks]
    yield chances("DVTS, 4 trees: 1-(1-G)^4", "branches", "", right(deep, made), four)
    for k in (1, deep.depth):
        made = await bench.results(deep, Lookahead(deep.verifier(), n=2, width=2, k=k))
        expected = [deep.walked(p, width=2, ahead=k) for p in deep.problems()]
        yield chances(f"best of 2 a step, {k} greedy ahead", "branches", "2408.03314", right(deep, made), expected)


async def trees(bench: Bench) -> Rows:
    """Tree search: visits by the textbook, and what a tree of known draws must hold."""
    world = Branches(depth=3, branching=2, right_share=0.3, skew=0.0, size=bench.size(15))
    noisy = world.verifier(noise=0.3)
    equal: list[bool] = []

    async def compare(search: Search) -> None:
        root = Visited(search.root)
        await Mcts(noisy, simulations=24, actions=24, prior="uniform").simulate(search, root)
        visits = textbook(world, search.problem, noisy, simulations=24, c=1.25)
        equal.extend(state.visits == visits[search.tree.solution(state.node)] for state in root.walk())

    await bench.results(world, Watch(compare))
    yield chances("visits by PUCT: the textbook's", "branches", "2309.17179", equal, [1.0] * len(equal))
    flat = Branches(depth=3, branching=4, right_share=1.0, size=bench.size(15))  # V* is 1 everywhere
    fair: list[bool] = []

    async def divide(search: Search) -> None:
        root = Visited(search.root)
        await Mcts(flat.verifier(BEST), simulations=40, actions=12).simulate(search, root)
        for state in root.walk():
            if len(state.children) > 1:  # seats by d'Hondt: nobody's next seat is worth more than another's last one
                most = max(s.prior / (1 + s.visits) for s in state.children)
                fair.append(all(s.prior / s.visits >= most - 1e-12 for s in state.children if s.visits))

    await bench.results(flat, Watch(divide))
    yield chances("one value: visits by d'Hondt", "branches", "2309.17179", fair, [1.0] * len(fair))
    lone = Branches(depth=3, branching=3, right_share=1 / 27, size=2 * bench.size(150))
    ways = [(p, way) for p in lone.problems() if (way := only_right(lone, p))]
    expected = [found_by(lone, p, way, 3) for p, way in ways]
    for mode in MODES:
        mcts = Mcts(lone.verifier(BEST), simulations=5, actions=3, c=0.1, mode=mode)
        made = await bench.results(lone, mcts, [p for p, _ in ways])
        law = f"MCTS by V*, {mode}: prod 1-(1-pi)^3"
        yield chances(law, "branches", "2309.17179", right(lone, made), expected)
    small = Branches(depth=2, branching=3, right_share=0.25, size=bench.size(150))
    expected = [small.held(p, width=2) for p in small.problems()]
    made = await bench.results(small, Mcts(small.verifier(), simulations=60, actions=2, c=5.0))
    yield chances("exhausted tree of 2 draws, MCTS", "branches", "2309.17179", right(small, made), expected)
    for order in ORDERS:
        made = await bench.results(small, BestFirst(small.verifier(), 32, 2, order=order))
        law = f"exhausted tree of 2 draws, {order}-first"
        yield chances(law, "branches", "2305.10601", right(small, made), expected)
    plan = Branches(depth=4, branching=3, right_share=0.03, skew=0.0, size=bench.size(20))
    made = await bench.results(plan, Rap(plan.verifier(BEST), iterations=3, actions=30, alpha=1.0))
    best = [plan.best(p) for p in plan.problems()]
    yield chances("RAP by V* finds what there is", "branches", "2305.14992", right(plan, made), best)


def textbook(world: Branches, problem: Problem, judge: Oracle, *, simulations: int, c: float) -> Counter[str]:
    """Visits per begun solution by AlphaZero's rules, all children known and equally likely: PUCT down, the value of
    the first state that was not visited back up as a mean, and the root expanded before the first simulation."""
    number, visits = world.number(problem), Counter[str]()
    total: defaultdict[str, float] = defaultdict(float)

    def after(text: str) -> list[str]:
        steps = world.read(text).steps
        if "####" in text:
            return []
        if len(steps) == world.depth:
            return [f"{text}#### {answer}" for answer in world.moves(number, steps).answers]
        return [f"{text}{step}\n" for step in world.step_pieces]

    def mean_value(text: str) -> float:
        return total[text] / visits[text] if visits[text] else judge.judge(problem, text).value

    for _ in range(simulations):
        path = [""]
        while (children := after(path[-1])) and (visits[path[-1]] or path[-1] == ""):
            seen = sum(visits[t] for t in children)
            rate = math.log((seen + 19652 + 1) / 19652) + c
            bonus = {t: rate * math.sqrt(seen) / len(children) / (1 + visits[t]) for t in children}
            path.append(max(children, key=lambda t: mean_value(t) + bonus[t]))
        value = judge.judge(problem, path[-1]).value
        for text in path:
            visits[text] += 1
            total[text] += value
    return visits


def only_right(world: Branches, problem: Problem) -> tuple[str, ...]:
    """The way to the one right leaf; nothing where there is none or more than one."""
    number = world.number(problem)
    ways = [w for w in itertools.product(world.step_pieces, repeat=world.depth) if world.is_right(number, w)]
    return ways[0] if len(ways) == 1 else ()


def found_by(world: Branches, problem: Problem, way: tuple[str, ...], width: int) -> float:
    """The chance that ``width`` draws hold the next step of ``way`` at every level."""
    number = world.number(problem)
    steps = [world.prior(number, way[:k])[way[k]] for k in range(world.depth)]
    return math.prod(laws.coverage(p, width) for p in steps)


async def particles(bench: Bench) -> Rows:
    """Particle filtering: estimates without bias, and resampling that keeps expectations."""
    paper = "2502.01618"
    world = Branches(depth=3, branching=3, right_share=0.3, size=bench.size(200))
    values = [world.value(p) for p in world.problems()]
    blurred = SureAtTheEnd(world.verifier(noise=1.0, logit=True), world.verifier())
    judges: tuple[tuple[str, Verifier], ...] = (("exact", world.verifier()), ("blurred on the way", blurred))
    for name, judge in judges:
        made = await bench.results(world, ParticleFiltering(judge, 6, weight="ratio"))
        evidence = [float(r.notes[0].removeprefix("evidence: ")) for r in made]
        yield mean(f"mean evidence: V, values {name}", "branches", paper, evidence, values)
    first, shares = world.step_pieces[0], []

    async def look(search: Search) -> None:
        cloud = await ParticleFiltering(world.verifier(), 6, weight="ratio", resample="multinomial").filter(search)
        shares.append(share_of(cloud, lambda i: search.tree.solution(cloud.particles[i]).startswith(first)))

    await bench.results(world, Watch(look))
    expected = [world.prior(i, ())[first] * world.value(p, first + "\n") for i, p in enumerate(world.problems())]
    yield mean("evidence x share of a: pi(a) V(a)", "branches", paper, shares, expected)
    weights = (0.1, 0.25, 0.4, 0.05, 1.2, 0.0)
    copies: dict[str, list[float]] = {how: [] for how in RESAMPLING}

    async def redraw(search: Search) -> None:
        for how in RESAMPLING:
            filtering = ParticleFiltering(world.verifier(), len(weights), resample=how)
            copies[how] += [filtering.redrawn(search, weights, level).count(2) for level in range(4)]

    await bench.results(world, Watch(redraw))
    for how in RESAMPLING:
        expected = [len(weights) * weights[2] / sum(weights)] * len(copies[how])
        yield mean(f"copies of a particle: n w / sum w, {how}", "branches", paper, copies[how], expected)
    made = await bench.results(world, ParticleFiltering(world.verifier(), 1, weight="ratio"))
    yield chances("one particle is a sample", "branches", paper, right(world, made), values)


@dataclass(frozen=True, slots=True)
class SureAtTheEnd:
    """A verifier that is exact where a path has ended, and another one before."""

    before: Oracle
    after: Oracle
    needs: frozenset[Ability] = frozenset()

    @property
    def name(self) -> str:
        """Scores are kept under this name."""
        return f"{self.before.name}, then {self.after.name}"

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """One score per node."""
        ways = [self.after if search.ended(node) else self.before for node in nodes]
        return [way.judge(search.problem, search.tree.solution(n)) for way, n in zip(ways, nodes, strict=True)]


def share_of(cloud: Cloud, is_it: Callable[[int], bool]) -> float:
    """The evidence times the share of weight that those particles have."""
    mine = math.fsum(w for i, w in enumerate(cloud.weights) if is_it(i))
    return cloud.evidence * mine / math.fsum(cloud.weights) if cloud.evidence else 0.0


FORK = {"": {"a": 1.0}, "a": {"b": 1.0}, "ab": {"c": 0.5, "d": 0.5}} | {
    key: value
    for side, answer in (("c", "2"), ("d", "1"))
    for key, value in {
        **{"ab" + side + "efg"[:k]: {"efg"[k]: 1.0} for k in range(3)},
        f"ab{side}efg": {answer: 1.0},
    }.items()
}


async def steps(bench: Bench) -> Rows:
    """Acceptance by steps, branching where it is uncertain, self-evaluation, mutual consistency."""
    chain = Chain(steps=4, slip=0.2, fatal=0.2, size=bench.size(150))
    a, visits, last = chain.step_valid, 0.0, 0.0
    up = laws.coverage(a, 2)
    for level in range(chain.steps):
        last = 1 / up + ((1 - up) / up * last if level else 0.0)
        visits += last
    made = await bench.results(chain, StepwiseAcceptance(chain.verifier(Meaning.PREFIX_VALID), 0.5, 1, draws=5000))
    counts = [float(sum(n.multiplicity for n in r.tree if n.parent is not None)) for r in made]
    yield mean("accepted steps, draws of the walk", "chain", "2504.07891", counts, visits * up / a + 1)
    coin = Table.of({"": {"1": 0.7, "2": 0.3}}, "2", size=bench.size(400))
    made = await bench.results(coin, StepwiseAcceptance(coin.verifier(), 0.5, retries=1, draws=5))
    yield chances(
        "acceptance in 5 draws", "table", "2504.07891", right(coin, made), [laws.coverage(0.3, 5)] * coin.size
    )
    fork = Table.of(FORK, "2", size=bench.size(150))
    for where, chance in WHERE:
        made = await bench.results(fork, EntropyBranching(2, 1, where=where))
        seen = [covered(fork, r) for r in made]
        yield chances(f"one fork, branching by {where}", "table", "", seen, [chance] * fork.size)
    world = Branches(depth=1, branching=3, right_share=0.5, skew=0.0, size=bench.size(300))
    taken: list[bool] = []
    expected: list[float] = []

    async def draw(search: Search) -> None:
        beam = SelfEvalBeam(world.verifier(), temperature=0.5, alpha=0.0)
        nodes = list({n.index: n for n in await search.steps(n=24)}.values())
        worth = await beam.worth(search, nodes)
        noisy = beam.noisy(search, nodes, worth, beam.temperature)
        weights = [math.exp(w / beam.temperature) for w in worth]
        right_ones = [w > 0 for w in worth]
        taken.append(right_ones[noisy.index(max(noisy))])
        expected.append(sum(w for w, ok in zip(weights, right_ones, strict=True) if ok) / sum(weights))

    await bench.results(world, Watch(draw))
    yield chances("self-evaluation: softmax of worth", "branches", "2305.00633", taken, expected)
    law, critic = (0.4, 0.15, 0.15, 0.15, 0.15), (0.5, 0.125, 0.125, 0.125, 0.125)
    policy, other = (Urn((Stratum("one", p),), size=bench.size(200)) for p in (law, critic))
    kept: dict[bool, list[bool]] = {True: [], False: []}

    async def judge(search: Search) -> None:
        rstar = RStar(rollouts=1, depth=2, thoughts=2, questions=0, votes=1, masks=1)
        root = Thought("question", search.root)
        await rstar.roll(search, root, 0)
        found = [s for s in root.walk() if s.answer is not None]
        consistent = await rstar.consistent(search, found)
        for state in found:
            ok = state.answer == policy.right(policy.number(search.problem))
            kept[ok].append(any(state is k for k in consistent))

    await bench.results(policy, Watch(judge), roles={"critic": other.generator(pace=0)})
    for ok, name in ((True, "right"), (False, "wrong")):
        chance = critic[0] if ok else critic[1]
        yield chances(f"consistent with a critic, {name} ones", "urn", "2408.06195", kept[ok], [chance] * len(kept[ok]))


SEARCH = (beams, trees, particles, steps)

__all__ = ["SEARCH", "found_by", "only_right", "textbook"]
