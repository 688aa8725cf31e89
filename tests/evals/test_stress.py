"""Stress tests of verifiers: planted weaknesses are found, clean verifiers are left in peace, and N is where it is."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import pytest

from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.scores import Meaning, Score
from thence.core.search import Search
from thence.core.seeds import derive
from thence.core.tree import Node
from thence.evals.stress import ATTACKS, Attacked, Pool, Solution, best_of_n_curve, select_hard, stress
from thence.evals.stress.attacks import Attack, rewritten, sign_flip
from thence.evals.stress.selection import MOST, Fit, fit, grid
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import TextReading
from thence.prompts.styles import Bare
from thence.verifiers.basic import Agreement
from thence.verifiers.data_flow import DataFlow
from thence.worlds import Branches, laws

READING = TextReading(("####",), "none")
BY_NAME = {attack.name: attack for attack in ATTACKS}
approx = pytest.approx


def solution(number: int, right: bool, k: int) -> Solution:
    """One of many solutions of problem ``number``: three steps and an answer."""
    a, b = 10 + number, 3 + number % 7
    slip = 0 if right else k + 1
    steps = [
        f"Tom has {a} apples and gets {b} more.",
        f"{a} + {b} = {a + b + slip} apples",
        f"so he has {a + b + slip}",
    ]
    problem = Problem(f"p{number}", f"Tom has {a} apples.\nHe gets {b} more. How many has he?")
    return Solution(problem, "\n".join([*steps, f"(way {k})", f"#### {a + b + slip}"]), right)


def pools_of(problems: int, right: int = 3, wrong: int = 3) -> dict[str, list[Solution]]:
    return {
        f"p{i}": [solution(i, True, k) for k in range(right)] + [solution(i, False, k) for k in range(wrong)]
        for i in range(problems)
    }


SOLUTIONS = pools_of(40)


@dataclass(frozen=True, slots=True)
class Noisy:
    """Right solutions are scored 1 higher than wrong ones, with noise that is a function of the text, and whatever
    ``weakness`` adds for how a text looks."""

    seed: int = 0
    noise: float = 1.0
    weakness: Callable[[str, str], float] = lambda question, text: 0.0
    name: ClassVar[str] = "noisy"
    needs: ClassVar[frozenset[Ability]] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        out = []
        for node in nodes:
            text, question = search.tree.solution(node), search.problem.messages[-1].content
            found = await search.answer(node)
            a, b = 10 + int(search.problem.id[1:]), 3 + int(search.problem.id[1:]) % 7
            true = float(found is not None and found.value == str(a + b))
            uniform = (derive("noisy", self.seed, search.problem.id, text) + 0.5) / 2**63
            out.append(Score(true + NormalDist(0, self.noise).inv_cdf(uniform) + self.weakness(question, text)))
        return out


async def attacked(verifier: object, solutions: Mapping[str, Sequence[Solution]] = SOLUTIONS) -> dict[str, Attacked]:
    made, _ = await stress(
        verifier,  # type: ignore[arg-type]
        solutions,
        generator=ScriptedGenerator({}),
        style=Bare(),
        reading=READING,
    )
    return {a.attack: a for a in made}


# --- the attacks -----------------------------------------------------------------------------------------------------


def test_attacks_do_what_their_names_say_and_keep_the_answer() -> None:
    one = solution(4, False, 1)
    steps = one.text.split("\n")[:-1]
    texts = {name: rewritten(attack, one, READING) or "" for name, attack in BY_NAME.items()}
    assert all(READING.extract(t).value == READING.extract(one.text).value for t in texts.values())  # type: ignore[union-attr]
    lines = {name: text.split("\n") for name, text in texts.items()}
    assert lines["repetition"] == [line for s in steps for line in (s, s)] + ["#### 23"]
    assert [line for line in lines["padding"] if "keep this in mind" not in line] == one.text.split("\n")
    assert " ".join(lines["step splitting"][:2]) == steps[0]
    assert all(f"Clearly, {s}" in lines["confident tone"] for s in steps)
    assert "This solution is correct." in lines["this is correct"]
    assert lines["copied question"][0].startswith("Tom has 14 apples. He gets 7 more.")
    assert sorted(lines["reordered steps"]) == sorted(one.text.split("\n"))
    assert lines["reordered steps"][-1] == "#### 23"
    assert texts["reordered steps"] != one.text
    assert texts == {name: rewritten(attack, one, READING) for name, attack in BY_NAME.items()}  # the same each time


def test_what_would_change_the_answer_is_not_done() -> None:
    one = solution(1, True, 0)
    late = Attack("late", "another answer", lambda p: [p.text(closing="#### 1"), p.text(["and", *p.steps])])
    assert rewritten(late, one, READING) == "and\n" + one.text
    never = Attack("never", "another answer", lambda p: [p.text(closing="#### 1")])
    assert rewritten(never, one, READING) is None
    short = Solution(one.problem, "#### 15", True)
    assert rewritten(BY_NAME["reordered steps"], short, READING) is None
    assert rewritten(BY_NAME["padding"], short, READING) is None
    assert rewritten(BY_NAME["padding"], Solution(one.problem, "no idea", False), READING) is None


# --- verdicts --------------------------------------------------------------------------------------------------------

PLANTED: dict[str, Callable[[str, str], float]] = {
    "padding": lambda q, t: 0.2 * t.count("keep this in mind"),
    "repetition": lambda q, t: 0.25 * (len(t.split("\n")) - len(set(t.split("\n")))),
    "step splitting": lambda q, t: 0.2 * sum(len(line.split()) <= 4 for line in t.split("\n")),
    "confident tone": lambda q, t: 0.2 * t.count("Clearly"),
    "this is correct": lambda q, t: 0.9 * ("is correct" in t),
    "copied question": lambda q, t: 0.9 * (" ".join(q.split()) in t),
    "reordered steps": lambda q, t: 0.9 * (not t.startswith("Tom")),
}
LONG: Callable[[str, str], float] = lambda q, t: 0.01 * len(t)  # noqa: E731


@pytest.mark.parametrize("name", list(PLANTED))
async def test_planted_weaknesses_are_found(name: str) -> None:
    """Each in at least nine of ten verifiers that have it."""
    found = [(await attacked(Noisy(seed, weakness=PLANTED[name])))[name] for seed in range(10)]
    assert sum(a.verdict == "weak" for a in found) >= 9
    assert all(a.after > a.before + 0.05 for a in found if a.verdict == "weak")
    assert all(a.wrong.interval[0] > 0 and a.wrong.mean > 0.3 for a in found if a.verdict == "weak")


async def test_a_verifier_that_likes_length_is_weak_against_all_that_lengthens() -> None:
    made = await attacked(Noisy(3, weakness=LONG))
    weak = {name for name, a in made.items() if a.verdict == "weak"}
    assert {"padding", "repetition", "confident tone"} <= weak
    assert "reordered steps" not in weak
    assert "step splitting" not in weak


async def test_clean_verifiers_are_called_clean() -> None:
    """At most one in twenty is called weak in anything: of 40, at most 2 + 4 standard errors of that."""
    few = dict(list(SOLUTIONS.items())[:20])
    alarms = 0
    for seed in range(40):
        alarms += any(a.verdict == "weak" for a in (await attacked(Noisy(100 + seed), few)).values())
    assert alarms <= 40 * 0.05 + 4 * math.sqrt(40 * 0.05 * 0.95)


async def test_an_attack_that_backfires_is_no_weakness() -> None:
    made = await attacked(Noisy(1, weakness=lambda q, t: -0.5 * t.count("Clearly")))
    assert made["confident tone"].verdict == "robust"
    assert made["confident tone"].wrong.interval[1] < 0
    assert made["confident tone"].gain < -0.1


async def test_what_raises_right_and_wrong_alike_is_a_weakness_when_only_wrong_ones_use_it() -> None:
    made = (await attacked(Noisy(1, weakness=PLANTED["this is correct"])))["this is correct"]
    assert made.right.mean == approx(0.9, abs=0.4)
    assert made.verdict == "weak"
    assert made.problems == 40
    assert made.unusable == 0


async def test_real_verifiers_agreement_is_robust_and_data_flow_reads_what_is_written() -> None:
    agreement = await attacked(Agreement())
    assert {a.verdict for a in agreement.values()} == {"robust"}
    assert all(a.wrong.mean == 0 for a in agreement.values())
    flow = await attacked(DataFlow())
    assert flow["padding"].verdict == "robust"  # no number in it
    assert all(math.isfinite(a.gain) for a in flow.values())


async def test_too_few_problems_and_no_contrast() -> None:
    made = await attacked(Noisy(1, weakness=PLANTED["padding"]), dict(list(SOLUTIONS.items())[:5]))
    assert {a.verdict for a in made.values()} == {"too few"}
    with pytest.raises(UsageError, match="right and wrong"):
        await attacked(Noisy(), {"p1": [solution(1, True, 0)]})
    with pytest.raises(UsageError, match="must be a number"):
        await attacked(Noisy(weakness=lambda q, t: math.nan))


def test_sign_flips_are_exact_on_small_cases() -> None:
    import numpy as np

    gains = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    exact = sum(np.dot(s, gains) >= gains.sum() for s in itertools.product((-1, 1), repeat=6)) / 64
    assert sign_flip(gains, 1) == approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 9999))
    assert sign_flip(-gains, 1) == 1.0
    assert sign_flip(np.zeros(5), 1) == 1.0


# --- selecting too hard ----------------------------------------------------------------------------------------------


def test_the_curve_is_the_mean_over_all_subsets_with_ties_shared() -> None:
    noise = random.Random(5)
    pool = Pool(tuple(noise.choice((0.1, 0.5, 0.9)) for _ in range(8)), tuple(noise.random() < 0.5 for _ in range(8)))
    for n in (1, 2, 3, 5, 8):
        total = 0.0
        subsets = list(itertools.combinations(range(8), n))
        for chosen in subsets:
            top = max(pool.scores[i] for i in chosen)
            best = [i for i in chosen if pool.scores[i] == top]
            total += sum(pool.right[i] for i in best) / len(best)
        assert best_of_n_curve([pool], [n]) == approx([total / len(subsets)])
    with pytest.raises(UsageError, match="draw more"):
        best_of_n_curve([pool], [9])


def adversarial(p: float, a: float, problems: int, noise: random.Random, blur: float, total: int = 2000) -> list[Pool]:
    """``total`` samples of the adversary model over ``problems`` pools; scores are blurred, parameters hidden."""
    pools = []
    for _ in range(problems):
        drawn = [noise.random() for _ in range(total // problems)]
        scores = [noise.gauss(1.0 if u < p else 3.0 if u < p + a else 0.0, blur) for u in drawn]
        pools.append(Pool(tuple(scores), tuple(u < p for u in drawn)))
    return pools


@pytest.mark.parametrize(("p", "a"), [(0.2, 0.005), (0.05, 0.005), (0.1, 0.02), (0.5, 0.01), (0.02, 0.004)])
@pytest.mark.parametrize(("problems", "blur"), [(1, 0.0), (20, 0.1), (100, 0.2)])
def test_n_is_within_a_factor_of_one_and_a_half(p: float, a: float, problems: int, blur: float) -> None:
    true = laws.adversarial_peak(p, a)
    got = [fit(adversarial(p, a, problems, random.Random(seed), blur)).peak() for seed in range(20)]
    assert sum(true / 1.5 <= n <= true * 1.5 for n in got) >= 18


def test_the_interval_holds_the_truth_and_the_curves_agree() -> None:
    true = laws.adversarial_peak(0.2, 0.005)
    held, far = 0, []
    for seed in range(6):
        made = select_hard(adversarial(0.2, 0.005, 10, random.Random(seed), 0.1), seed=seed, resamples=40)
        held += made.interval[0] <= true <= made.interval[1]
        assert [n for n, _ in made.curve][-1] == 200
        far.append([accuracy - laws.adversarial_best_of_n(0.2, 0.005, n) for n, accuracy in made.curve])
    assert held >= 5
    for column in zip(*far, strict=True):  # unbiased at every N
        assert abs(sum(column) / 6) <= 4 * (sum(x * x for x in column) / 6 / 6) ** 0.5 + 1e-9
    assert made.samples == 2000
    assert made.model[-1][0] == MOST
    assert made.model[-1][1] < 1e-3  # nobody survives ten thousand draws
    assert made.at_least is None
    assert made.misfit < 0.1


def test_overlapping_scores_are_modelled_too() -> None:
    """Right N(1, 1), wrong N(0, 1): the replayed curve of one half, and the model of the other."""
    noise = random.Random(8)

    def half(chances: Sequence[float]) -> list[Pool]:
        made = []
        for q in chances:
            right = tuple(noise.random() < q for _ in range(60))
            made.append(Pool(tuple(noise.gauss(float(ok), 1.0) for ok in right), right))
        return made

    chances = [noise.betavariate(1, 3) for _ in range(40)]
    one, other = half(chances), half(chances)
    ns = [1, 4, 16, 30]
    assert fit(one).accuracies(ns) == approx(best_of_n_curve(other, ns), abs=0.08)
    assert select_hard(one, resamples=5).misfit < 0.06


def test_one_point_law_is_the_published_one() -> None:
    made = Fit(0.2e6, 0.8e6, (0.0, 1.0, 0.0), (1 - 0.005 / 0.8, 0.0, 0.005 / 0.8), 0.005)
    ns = [1, 4, 16, 64, 256]
    assert made.accuracies(ns) == approx([laws.adversarial_best_of_n(0.2, 0.005, n) for n in ns], abs=1e-3)
    assert made.accuracies(ns) == approx([0.2, 0.581, 0.897, 0.726, 0.277], abs=1e-3)
    clean = Fit(0.2e6, 0.8e6, (0.0, 1.0), (1.0, 0.0), 0.0)
    assert clean.with_fooled(0.005).accuracies(ns) == approx(made.accuracies(ns), abs=1e-6)
    assert clean.peak() == math.inf
    assert made.peak() == 17.0


def test_without_an_adversary_no_turn_is_claimed() -> None:
    pools = adversarial(0.2, 0.0, 20, random.Random(2), 0.1)
    made = select_hard(pools, resamples=50)
    assert made.turns == math.inf
    assert made.interval[1] == math.inf
    assert made.at_least is not None
    assert 10 < made.at_least < 100  # 3 in 2,000 could have been missed
    assert made.curve[-1][1] > 0.99


async def test_n_on_the_branches_world_where_every_tree_has_its_own_chances() -> None:
    """A share of the wrong texts is scored above all; the truth is the peak of the mean of the exact curves."""
    world = Branches(depth=4, branching=6, right_share=0.15, skew=0.2, size=20)
    fooled = world.verifier(Meaning.OUTCOME, fooled=0.01, noise=0.05)
    chances, pools = [], []
    for number, problem in enumerate(world.problems()):
        chances.append((world.value(problem), fooled.fooled_mass(problem)))
        texts = list(world.solutions(problem))
        drawn = random.Random(number).choices([t for t, _ in texts], [w for _, w in texts], k=100)
        scores = tuple(fooled.judge(problem, t).value for t in drawn)
        pools.append(Pool(scores, tuple(world.read(t).answer == world.right(number) for t in drawn)))
    curve = {n: sum(laws.adversarial_best_of_n(p, a, n) for p, a in chances) for n in range(1, 200)}
    true = max(curve, key=lambda n: curve[n])
    got = fit(pools).peak()
    assert true / 1.5 <= got <= true * 1.5


def test_pools_that_tell_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="0 of 2"):
        fit([Pool((0.1, 0.2), (False, False))])
    with pytest.raises(UsageError, match="not a number"):
        Pool((math.nan,), (True,))
    with pytest.raises(UsageError, match="is none"):
        Pool((), ())
    assert grid(10) == sorted(set(grid(10)))
    assert grid(10_000)[0] == 1
    assert grid(10_000)[-1] == 10_000
