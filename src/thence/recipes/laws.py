r"""The worlds' laws in one table: what a closed form predicts, and what the real code does.

Every row runs a strategy (or the rollouts behind step labels) through ``core.solve.solve`` on a world of known truth
and compares a mean with its exact expectation. ``law_rows`` says when a row holds, ``laws_of_search`` has the rows of
searches by steps, ``laws_of_choosing`` those of certified votes and of a model that chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from thence.annotate.consensus import Consensus
from thence.annotate.math_shepherd import MathShepherd
from thence.annotate.omegaprm import OmegaPRM, first_dead
from thence.annotate.rollouts import Rollouts
from thence.core.problem import Problem
from thence.core.scores import Meaning
from thence.core.search import POLICY, Result, Search
from thence.core.seeds import derive
from thence.core.tree import Kind, Node
from thence.core.verdicts import CONFIRM_NAMED
from thence.evals.statistics.metrics import maj_at_k_population
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.prompts.styles import Bare
from thence.strategies.adaptive_consistency import AdaptiveConsistency
from thence.strategies.best_of_n import BestOfN
from thence.strategies.budget_forcing import BudgetForcing
from thence.strategies.compute_optimal import ComputeOptimal
from thence.strategies.confidence import ConfidenceSelection
from thence.strategies.esc import EarlyStoppingConsistency
from thence.strategies.greedy import Greedy
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.strategies.revisions import Revisions
from thence.strategies.self_check import CRITIC, SelfCheck
from thence.strategies.self_consistency import SelfConsistency
from thence.strategies.self_refine import SelfRefine
from thence.worlds import Beta, Branches, Chain, State, Stratum, Table, Urn, World, laws
from thence.worlds.revision import Revision
from thence.worlds.urn import EASY, HARD, MEDIUM, TRAP

from .law_rows import ERRORS, HOT, Bench, Law, Rows, chances, covered, draws, mean, right
from .laws_of_choosing import CHOOSING
from .laws_of_search import SEARCH


async def sampling(bench: Bench) -> Rows:
    """One sample, greedy decoding, coverage."""
    world: World = Chain(size=bench.size(800))
    values = [world.value(p) for p in world.problems()]
    made = await bench.results(world, RepeatedSampling(4))
    yield chances("one sample is right: V", "chain", "", right(world, made), values)
    seen = [covered(world, r) for r in made]
    yield chances("coverage of 4: 1-(1-V)^4", "chain", "2107.03374", seen, [laws.coverage(v, 4) for v in values])
    cool = replace(HOT, temperature=0.5)
    made = await bench.results(world, RepeatedSampling(1), sampling=cool)
    values = [world.value(p, sampling=cool) for p in world.problems()]
    yield chances("one sample at temperature .5", "chain", "", right(world, made), values)
    branches = Branches(depth=3, branching=3, right_share=0.4, size=bench.size(100))
    made = await bench.results(branches, Greedy())
    values = [branches.value(p, sampling=HOT.greedy()) for p in branches.problems()]
    yield chances("greedy decoding", "branches", "", right(branches, made), values)
    tail = Urn((Stratum("tail", Beta(0.5, 1.5, wrong=2)),), size=bench.size(600))
    made = await bench.results(tail, RepeatedSampling(8))
    yield mean(
        "coverage of 8, p ~ Beta(.5, 1.5)",
        "urn",
        "2407.21787",
        [float(covered(tail, r)) for r in made],
        laws.beta_coverage(0.5, 1.5, 8),
    )
    guess = Urn((HARD,), size=bench.size(400))
    seen = [covered(guess, r) for r in await bench.results(guess, RepeatedSampling(5))]
    yield chances("coverage of 5 by guessing", "urn", "2407.21787", seen, [laws.coverage(0.1, 5)] * guess.size)


async def votes(bench: Bench) -> Rows:
    """Votes, on every stratum and a mixture, and votes that stop early."""
    for stratum in (EASY, MEDIUM, HARD, TRAP):
        assert isinstance(stratum.law, tuple)
        world = Urn((stratum,), size=bench.size(400))
        expected = [voted(stratum.law, 9)] * world.size
        made = await bench.results(world, SelfConsistency(9))
        yield chances(f"vote of 9, {stratum.name}", "urn", "2203.11171", right(world, made), expected)
    up, down = (0.6, 0.4), (0.35, 0.40, 0.25)
    mixed = Urn((Stratum("up", up), Stratum("down", down)), size=2 * bench.size(250))
    for n in (1, 17):
        made = await bench.results(mixed, SelfConsistency(n))
        expected = [voted(mixed.shares(p), n) for p in mixed.problems()]
        yield chances(f"vote of {n}, mixture", "urn", "2203.11171", right(mixed, made), expected)
    sure = [
        r.confidence is not None and r.confidence >= 9 / 17 and ok
        for r, ok in zip(made, right(mixed, made), strict=True)
    ]
    expected = [math.fsum(laws.binomial(17, mixed.shares(p)[0])[9:]) for p in mixed.problems()]
    yield chances("vote of 17 right by over half", "urn", "2203.11171", sure, expected)
    trap = Urn((TRAP,), size=bench.size(300))
    made = await bench.results(trap, ComputeOptimal())
    seen = [r.notes[0].endswith("easy") for r in made]
    assert isinstance(TRAP.law, tuple)
    yield chances("4 probes agree, trap: sum p^4", "urn", "2408.03314", seen, [sum(p**4 for p in TRAP.law)] * trap.size)
    table = Table(size=bench.size(60))
    made = await bench.results(table, Greedy())
    yield chances("greedy gives the likeliest text", "table", "2203.11171", right(table, made), [0.0] * table.size)
    made = await bench.results(table, SelfConsistency(51))
    p = table.value(table.problem(0))
    yield chances(
        "a vote the likeliest answer", "table", "2203.11171", right(table, made), [voted((p, 1 - p), 51)] * table.size
    )
    made = await bench.results(table, SelfConsistency(100, "prob"))
    shares = [sum(v.weight for v in r.votes if v.answer == "1") / sum(v.weight for v in r.votes) for r in made]
    yield mean("weight p elects by sum p^2 (n = 100)", "table", "", shares, table.squares(table.problem(0))["1"])
    law, n = (0.7, 0.2, 0.1), 20
    world, exact = Urn((Stratum("all", law),), size=bench.size(400)), laws.adaptive_vote(law, n)
    made = await bench.results(world, AdaptiveConsistency(n, ahead=0))
    yield chances("adaptive vote, accuracy", "urn", "2305.11860", right(world, made), [exact.accuracy] * world.size)
    yield mean("adaptive vote, samples", "urn", "2305.11860", [draws(r) for r in made], exact.draws)
    law = (0.6, 0.3, 0.1)
    world = Urn((Stratum("all", law),), size=bench.size(250))
    made = await bench.results(world, EarlyStoppingConsistency(40, 5))
    samples = [draws(r) for r in made]
    yield mean("early stopping, samples", "urn", "2401.10480", samples, laws.esc_draws(law, 5, 40))


def voted(law: Sequence[float], n: int) -> float:
    """P(the vote of ``n`` is right), the right answer first."""
    return maj_at_k_population(law, [True] + [False] * (len(law) - 1), n)


async def verifiers(bench: Bench) -> Rows:
    """Best-of-N with exact, blind, process and fooled verifiers."""
    world = Chain(size=bench.size(600))
    outcome = world.verifier(Meaning.OUTCOME)
    made = await bench.results(world, BestOfN(outcome, 4))
    correct = right(world, made)
    exact = laws.coverage(world.correct, 4)
    yield chances("best of 4, exact verifier: coverage", "chain", "2110.14168", correct, [exact] * world.size)
    lucky = [off_track(r) for r, ok in zip(made, correct, strict=True) if ok]
    yield chances("trace error, exact outcomes", "chain", "2211.14275", lucky, [world.trace_error] * len(lucky))
    made = await bench.results(world, BestOfN(world.verifier(Meaning.PREFIX_VALID), 4))
    seen = [not off_track(r) for r in made]
    exact = laws.coverage(world.valid, 4)
    yield chances("best of 4 by validity: P(valid)", "chain", "2305.20050", seen, [exact] * world.size)
    wordy = Chain(size=bench.size(500), wordings=30)  # so that hardly any two samples are equal
    made = await bench.results(wordy, BestOfN(wordy.verifier(Meaning.OUTCOME, noise=1e6), 5))
    yield chances(
        "best of 5, blind verifier: V", "chain", "2110.14168", right(wordy, made), [wordy.correct] * wordy.size
    )
    trees = Branches(depth=4, branching=5, right_share=0.15, skew=0.3, size=bench.size(40))
    fooled = trees.verifier(Meaning.OUTCOME, fooled=0.02)
    pairs = [(trees.value(p), fooled.fooled_mass(p)) for p in trees.problems()]
    for n in (1, 8, 64):
        made = await bench.results(trees, BestOfN(fooled, n))
        expected = [laws.adversarial_best_of_n(p, a, n) for p, a in pairs]
        law = f"best of {n}, fooled: (1-a)^N-(1-p-a)^N"
        yield chances(law, "branches", "2110.14168", right(trees, made), expected)
    guesses = Chain(size=bench.size(600), wrong=19, guess=0.05)  # every guess of .05 is calibrated
    good = guesses.occupation(guesses.steps)[State.ON_TRACK]
    stated = laws.coverage(good, 3) + (1 - laws.coverage(good, 3)) * 0.05
    made = await bench.results(guesses, ConfidenceSelection(3, "answer"))
    yield chances("surest of 3, calibrated", "chain", "", right(guesses, made), [stated] * guesses.size)


def off_track(result: Result) -> bool:
    """Whether some step of the chosen chain is wrong."""
    return any(f"state {s}" in result.trace for s in (State.RECOVERABLE, State.LOST))


async def labels(bench: Bench) -> Rows:
    """Labels by rollouts, and the search for the step where a solution died."""
    world, rollouts = Chain(size=bench.size(100)), 8
    for t, state in ((2, State.ON_TRACK), (3, State.RECOVERABLE), (6, State.LOST)):
        v, soft, hard = world.state_value(t, state), [], []
        for problem in world.problems():
            got = rollouts_of(world, problem, bench.seed)
            [estimate] = await got.estimate([world.line(state) * t], rollouts)
            soft.append(estimate.value)
            hard.append(estimate.successes > 0)
        name = f"{state.name.lower().replace('_', ' ')} after {t}"
        yield mean(f"soft label: V, {name}", "chain", "2312.08935", soft, v)
        expected = [laws.coverage(v, rollouts)] * world.size
        yield chances(f"hard label: 1-(1-V)^8, {name}", "chain", "2312.08935", hard, expected)
    half, lowest, luckiest = Chain(size=bench.size(80), wordings=4), [], []
    value = half.state_value(2, State.ON_TRACK)
    path = [half.line(State.ON_TRACK) * t for t in range(1, 5)]
    twins = [half.line(State.ON_TRACK) + half.line(State.ON_TRACK, k) for k in range(4)]  # all of one value
    for problem in half.problems():
        got = rollouts_of(half, problem, bench.seed)
        lowest.append(min(e.value for e in await got.estimate(path, rollouts)))
        luckiest.append(max(e.value for e in await got.estimate(twins, rollouts)))
    values = [half.state_value(t, State.ON_TRACK) for t in range(1, 5)]
    yield mean("smallest of 4 soft labels", "chain", "2402.02658", lowest, laws.min_soft_label(values, rollouts))
    yield mean("largest of 4 equal soft labels", "chain", "", luckiest, laws.max_soft_label(value, rollouts, 4))
    chain, found, expected_right = Chain(steps=8, slip=0.0, fatal=0.12, guess=0.0, size=bench.size(80)), [], []
    for problem in chain.problems():
        got = rollouts_of(chain, problem, bench.seed)
        for record in (records := await OmegaPRM(k=4, searches=1).annotate(got)):
            values = [chain.value(problem, record.text[:e]) for e in record.ends]
            truth = values.index(0.0)
            found.append(first_dead(records)[0] == truth)
            expected_right.append(laws.found_first_error(values, 4).get(truth + 1, 0.0))
    yield chances("binary search finds the fatal step", "chain", "2406.06592", found, expected_right)


def rollouts_of(world: World, problem: Problem, seed: int) -> Rollouts:
    """Rollouts by the world's generator, graded by its task."""
    search = Search(problem, {POLICY: world.generator(pace=0)}, Bare(), world.task().reading, HOT, seed=seed)

    async def correct(node: Node) -> bool:
        found = await search.answer(node)
        return found is not None and found.value == world.right(world.number(problem))

    return Rollouts(search, correct)


async def revising(bench: Bench) -> Rows:
    """Chains of revisions as Markov chains."""
    world = Revision(chance=0.4, mend=0.3, spoil=0.1, size=bench.size(500))
    made = await bench.results(world, Revisions(chains=1, length=4))
    wanted = [world.right(i) for i in range(world.size)]
    last = [[n.found.value for n in r.tree if n.found is not None][-1] == a for r, a in zip(made, wanted, strict=True)]
    yield chances(
        "right after 3 revisions: p'=p(1-d)+(1-p)u", "revision", "2408.03314", last, [world.after(3)] * world.size
    )
    yield chances(
        "majority of a chain of 4", "revision", "2408.03314", right(world, made), [world.majority(4)] * world.size
    )
    stuck = Revision(chance=0.2, mend=0.4, stuck=0.3, size=bench.size(500))
    made = await bench.results(stuck, Revisions(chains=2, length=3))
    seen = [covered(stuck, r) for r in made]
    yield chances(
        "any of 2 chains of 3, some stuck", "revision", "2408.03314", seen, [stuck.covered(2, 3)] * stuck.size
    )
    told = Revision(chance=0.6, mend=0.5, flag_wrong=0.8, flag_right=0.0, size=bench.size(500))
    made = await bench.results(told, SelfRefine(1))
    expected = laws.self_corrected(0.6, flag_wrong=0.8, flag_right=0.0, fix=0.5, keep=1.0)
    yield chances("self-correction, oracle stop", "revision", "2310.01798", right(told, made), [expected] * told.size)
    waits = Revision(chance=0.9, mend=0.3, spoil=0.2, size=bench.size(500))
    made = await bench.results(waits, BudgetForcing(waits=3))
    yield chances("right after 3 Waits", "revision", "2501.19393", right(waits, made), [waits.after(3)] * waits.size)
    strong = Revision(chance=0.9, mend=0.4, spoil=0.3, flag_wrong=0.5, flag_right=0.5, size=bench.size(500))
    made = await bench.results(strong, SelfRefine(1))
    expected = laws.self_corrected(0.9, flag_wrong=0.5, flag_right=0.5, fix=0.4, keep=0.7)
    yield chances(
        "self-correction, blind critic", "revision", "2310.01798", right(strong, made), [expected] * strong.size
    )


async def checking(bench: Bench) -> Rows:
    """Answers that a model is asked to confirm, and labels that two sources agree on."""
    law, n, certainty = (0.4, 0.35, 0.25), 5, 0.7
    world = Urn((Stratum("all", law),), size=bench.size(400))
    for name, confirmed, wrongly in (("informed", 0.9, 0.2), ("blind", 0.5, 0.5)):
        critic = confirming(world, confirmed, wrongly)
        made = await bench.results(world, SelfCheck(n, certainty), roles={CRITIC: critic})
        exact, questions = laws.self_checked(law, n, certainty, confirmed, wrongly)
        seen = right(world, made)
        yield chances(f"self-check of 5, {name} critic", "urn", "2310.04815", seen, [exact] * world.size)
        asked = [float(sum(node.kind is Kind.CRITIQUE for node in r.tree)) for r in made]
        yield mean(f"questions of self-check, {name} critic", "urn", "2310.04815", asked, questions)
    chain, rollouts, noise = Chain(slip=0.0, fatal=0.15, guess=0.2, size=bench.size(150)), 2, 0.5
    judge_error = 0.5 * math.erfc(0.5 / noise / math.sqrt(2))  # the noise takes a 0 or 1 past a half
    filtered = Consensus(MathShepherd(rollouts, 1), chain.verifier(Meaning.PREFIX_VALID, noise=noise))
    kept: list[tuple[bool, float]] = []
    wrong: list[tuple[bool, float]] = []
    for problem in chain.problems():
        for record in await filtered.annotate(rollouts_of(chain, problem, bench.seed)):
            for end, [label] in zip(record.ends[:-1], record.labels, strict=False):
                steps = chain.read(record.text[:end]).steps
                state = chain.state(steps)
                none = (1.0 - chain.state_value(len(steps), state)) ** rollouts  # no rollout comes right
                label_error = none if state is State.ON_TRACK else 1.0 - none
                kept.append((label.number is not None, laws.consensus_kept(label_error, judge_error)))
                if label.number is not None:
                    is_wrong = (label.number > 0) != (state is State.ON_TRACK)
                    wrong.append((is_wrong, laws.consensus_error(label_error, judge_error)))
    yield chances("labels a noisy judge agrees with", "chain", "2501.07301", *zip(*kept, strict=True))
    yield chances("wrong ones among them", "chain", "2501.07301", *zip(*wrong, strict=True))


def confirming(world: World, confirmed: float, wrongly: float) -> ScriptedGenerator:
    """A critic that says yes to the right answer with the chance ``confirmed``, to others with ``wrongly``."""
    wanted = {p.id: world.right(world.number(p)) for p in world.problems()}
    before, after = CONFIRM_NAMED.split("{answer}")

    def write(cue: Cue) -> str:
        answer = cue.question.removeprefix(before).removesuffix(after)
        chance = confirmed if answer == wanted[cue.problem] else wrongly
        return "Yes" if derive("confirmed", cue.seed) < chance * 2**63 else "No"

    return ScriptedGenerator(write, pace=0)


GROUPS: tuple[Callable[[Bench], Rows], ...] = (
    sampling,
    votes,
    *CHOOSING,
    verifiers,
    labels,
    *SEARCH,
    revising,
    checking,
)


async def check_laws(bench: Bench | None = None, told: Callable[[Law], None] | None = None) -> list[Law]:
    """All rows; ``told`` is called with each as it is made."""
    rows = []
    for group in GROUPS:
        async for row in group(bench or Bench()):
            rows.append(row)
            if told is not None:
                told(row)
    return rows


__all__ = ["ERRORS", "GROUPS", "Bench", "Law", "Rows", "chances", "check_laws", "mean"]
