"""Values of trees against the closed forms of a world and hand-computed targets; the tutorial's misprints fail."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from thence.core.completion import Completion, Finish
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.tree import Kind, Node, Tree
from thence.evals.values import (
    Array,
    arrays,
    lambda_targets,
    max_targets,
    policy_values,
    sampled_max_values,
    step_bce,
    td_loss,
    td_targets,
    value_iteration,
)
from thence.worlds import Branches

WORLD = Branches(depth=3, branching=4, right_share=0.1, size=12)

# A hand-made tree:        0
#                      1       2
#                    3   4     5        rewards: 3 -> 1, 4 -> 0, 5 -> .5, and .1 for reaching 2
PARENTS = (-1, 0, 0, 1, 1, 2)
REWARDS = (0.0, 0.0, 0.1, 1.0, 0.0, 0.5)


def whole(world: Branches, problem: Problem) -> tuple[list[int], Array, Array, list[str]]:
    """All of a problem's tree: parents, rewards (1 at right leaves), the policy's shares, texts."""
    number = world.number(problem)
    paths = [p for d in range(world.depth + 1) for p in itertools.product(world.step_pieces, repeat=d)]
    row = {path: i for i, path in enumerate(paths)}
    parents = [row[p[:-1]] if p else -1 for p in paths]
    rewards = [float(len(p) == world.depth and world.is_right(number, p)) for p in paths]
    shares = [world.prior(number, p[:-1])[p[-1]] if p else 1.0 for p in paths]
    return parents, np.array(rewards), np.array(shares), ["".join(f"{s}\n" for s in p) for p in paths]


def agree(got: Array, wanted: Sequence[float]) -> None:
    np.testing.assert_allclose(got, wanted, atol=1e-12)


# --- against the world -----------------------------------------------------------------------------------------------


def test_values_are_the_worlds_own() -> None:
    for problem in WORLD.problems():
        parents, rewards, shares, texts = whole(WORLD, problem)
        agree(value_iteration(parents, rewards), [WORLD.best(problem, t) for t in texts])
        agree(policy_values(parents, rewards, shares), [WORLD.value(problem, t) for t in texts])
        for width in (1, 2, 3, 4):
            got = sampled_max_values(parents, rewards, width)
            agree(got, [WORLD.planned(problem, t, width=width, draws="subset") for t in texts])
            got = sampled_max_values(parents, rewards, width, draws="samples", shares=shares)
            agree(got, [WORLD.planned(problem, t, width=width, draws="samples") for t in texts])


def test_policy_sampled_maximum_and_optimum_are_ordered_and_rise_with_width() -> None:
    for problem in WORLD.problems():
        parents, rewards, shares, _ = whole(WORLD, problem)
        best = value_iteration(parents, rewards)
        last = policy_values(parents, rewards, shares)
        agree(sampled_max_values(parents, rewards, 1, draws="samples", shares=shares), last)
        for width in (2, 3, 8, 64):
            now = sampled_max_values(parents, rewards, width, draws="samples", shares=shares)
            assert np.all(last <= now + 1e-12)
            assert np.all(now <= best + 1e-12)
            last = now
        even = [sampled_max_values(parents, rewards, w) for w in (1, 2, 3, 4)]
        agree(even[0], policy_values(parents, rewards))
        assert all(np.all(a <= b + 1e-12) for a, b in itertools.pairwise(even))
        agree(even[3], best)


def test_a_subset_maximum_is_the_mean_over_all_subsets() -> None:
    values = [0.3, 0.9, 0.1, 0.9, 0.5]
    for width in range(1, 8):
        subsets = list(itertools.combinations(values, min(width, 5)))
        root = sampled_max_values((-1, 0, 0, 0, 0, 0), (0.0, *values), width)[0]
        assert root == pytest.approx(sum(map(max, subsets)) / len(subsets))


# --- value iteration and its misprint --------------------------------------------------------------------------------


Backup = Callable[[Sequence[int], Array, Array, float], Array]


def literal(parents: Sequence[int], rewards: Array, values: Array, gamma: float) -> Array:
    """What drives V - r + gamma max V to zero, as the tutorial prints it."""
    return 2 * rewards - max_targets(parents, rewards, values, gamma)


def converges_to_the_optimum(backup: Backup) -> None:
    """Sweeps from V = 0 reach V* after as many as the tree has levels; before, the error shrinks by gamma a sweep."""
    for problem, gamma in itertools.product(list(WORLD.problems())[:6], (1.0, 0.9)):
        parents, rewards, _, texts = whole(WORLD, problem)
        values, best = np.zeros(len(rewards)), value_iteration(parents, rewards, gamma)
        if gamma == 1.0:
            agree(best, [WORLD.best(problem, t) for t in texts])
        first = float(np.abs(best).max())
        for sweep in range(WORLD.depth + 1):
            assert np.abs(values - best).max() <= gamma**sweep * first + 1e-12
            values = backup(parents, rewards, values, gamma)
        agree(values, best.tolist())


def test_value_iteration_converges_and_the_literal_loss_does_not() -> None:
    converges_to_the_optimum(max_targets)
    with pytest.raises(AssertionError):
        converges_to_the_optimum(literal)


def test_the_literal_fixed_point_is_r_minus_the_maximum() -> None:
    values = np.zeros(3)
    for _ in range(3):
        values = literal((-1, 0, 1), np.array([0.0, 0.25, 1.0]), values, 1.0)
    agree(values, [0.75, -0.75, 1.0])
    agree(value_iteration((-1, 0, 1), (0.0, 0.25, 1.0)), [1.25, 1.25, 1.0])


def test_sweeps_are_value_iteration_and_the_loss_at_its_end_is_0() -> None:
    agree(value_iteration(PARENTS, REWARDS, sweeps=3), value_iteration(PARENTS, REWARDS).tolist())
    agree(value_iteration(PARENTS, REWARDS, sweeps=1), REWARDS)
    best = value_iteration(PARENTS, REWARDS, 0.9)
    assert td_loss(best, max_targets(PARENTS, REWARDS, best, 0.9)) == pytest.approx(0.0)
    mean = policy_values(PARENTS, REWARDS, gamma=0.9)
    assert td_loss(mean, max_targets(PARENTS, REWARDS, mean, 0.9)) > 0.01


def test_the_bootstrapped_maximum_of_noisy_values_is_too_large() -> None:
    """A node whose 8 children are all worth .5: with noise of .2 the target is on average .2 * 1.4236 too large (the
    mean of the largest of 8 normal numbers), the policy's target is not."""
    rng, n = np.random.default_rng(0), 4000
    parents, rewards = (-1, *[0] * 8), (0.0, *[0.5] * 8)
    exact = np.array(rewards)
    tops, means = np.empty(n), np.empty(n)
    for i in range(n):
        noisy = exact + 0.2 * rng.standard_normal(9)
        tops[i] = max_targets(parents, rewards, noisy)[0]
        means[i] = lambda_targets(parents, rewards, noisy, 0.0)[0]
    assert abs(tops.mean() - (0.5 + 0.2 * 1.42360)) <= 4 * tops.std() / n**0.5
    assert abs(means.mean() - 0.5) <= 4 * means.std() / n**0.5
    assert np.all(tops >= means)


# --- targets ---------------------------------------------------------------------------------------------------------


def test_targets_of_the_hand_made_tree() -> None:
    values = (9.0, 0.4, 0.6, 0.9, 0.2, 0.3)
    agree(value_iteration(PARENTS, REWARDS), [1.0, 1.0, 0.6, 1.0, 0.0, 0.5])
    agree(policy_values(PARENTS, REWARDS), [0.55, 0.5, 0.6, 1.0, 0.0, 0.5])
    agree(policy_values(PARENTS, REWARDS, (1, 0.25, 0.75, 0.9, 0.1, 1)), [0.675, 0.9, 0.6, 1.0, 0.0, 0.5])
    agree(max_targets(PARENTS, REWARDS, values, 0.5), [0.3, 0.45, 0.25, 1.0, 0.0, 0.5])
    agree(lambda_targets(PARENTS, REWARDS, values, 0.0), [0.5, 0.55, 0.4, 1.0, 0.0, 0.5])  # TD(0)
    agree(lambda_targets(PARENTS, REWARDS, values, 1.0), policy_values(PARENTS, REWARDS).tolist())  # Monte Carlo
    agree(lambda_targets(PARENTS, REWARDS, values, 0.5)[:3], [(0.4 + 0.525 + 0.6 + 0.5) / 4, 0.525, 0.5])


def test_targets_of_a_trace() -> None:
    rewards, values = (0.0, 0.0, 1.0), (0.2, 0.5, 0.7)
    agree(td_targets(rewards, values), [0.5, 0.7, 1.0])
    agree(td_targets(rewards, values, lam=1.0), [1.0, 1.0, 1.0])
    agree(td_targets(rewards, values, lam=1.0, gamma=0.5), [0.25, 0.5, 1.0])
    agree(td_targets(rewards, values, lam=0.5), [0.5 * 0.5 + 0.5 * 0.85, 0.85, 1.0])


def test_a_lambda_return_is_the_weighted_sum_of_n_step_returns() -> None:
    """The definition itself: (1 - lambda) sum of lambda^(n-1) G_n, the last with all the weight that is left."""
    rng = np.random.default_rng(1)
    rewards, values, lam, gamma = rng.random(6), rng.random(6), 0.7, 0.9
    got = td_targets(rewards, values, lam, gamma)
    for t in range(6):
        left, total = 5 - t, 0.0
        for n in range(1, left + 1):
            steps = sum(gamma**k * rewards[t + k] for k in range(n)) + gamma**n * values[t + n]
            total += (1 - lam) * lam ** (n - 1) * steps
        total += lam**left * sum(gamma**k * rewards[t + k] for k in range(left + 1))
        assert got[t] == pytest.approx(total)


def test_cross_entropy_and_its_misprint() -> None:
    assert step_bce((0.5, 0.8), (1, 0)) == pytest.approx((math.log(2) - math.log(0.2)) / 2)
    with pytest.raises(UsageError, match="are they swapped"):
        step_bce((1, 0), (0.5, 0.8))  # the tutorial's order: log 0
    right = step_bce((0.99, 0.01), (1, 0))
    assert 0 < right < step_bce((0.6, 0.4), (1, 0))  # falls as predictions get better: the sign


# --- trees of the package --------------------------------------------------------------------------------------------


def test_a_recorded_tree_is_its_solution_text_with_shares_by_draws() -> None:
    tree = Tree()

    def add(parent: Node, text: str, *, draws: int = 1, kind: Kind = Kind.STEP) -> Node:
        for i in range(draws):
            node = tree.add(parent, Completion(text, Finish.STEP), (*parent.draws[0], len(tree), i), kind=kind)
        return node

    a = add(tree.root, "a", draws=3)
    critique = add(a, "is it?", kind=Kind.CRITIQUE)
    b = add(tree.root, "b")
    add(critique, "lost", kind=Kind.FINISH)
    c, d = add(a, "c", kind=Kind.FINISH), add(b, "d", kind=Kind.FINISH)
    made = arrays(tree, lambda node: float(node.text == "c"))
    assert [n.text for n in made.nodes] == ["", "a", "b", "c", "d"]
    assert made.parents == (-1, 0, 0, 1, 2)
    agree(made.shares, [1.0, 0.75, 0.25, 1.0, 1.0])
    agree(policy_values(made.parents, made.rewards, made.shares), [0.75, 1.0, 0.0, 1.0, 0.0])
    assert made.nodes[3] is c
    assert made.nodes[4] is d


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: value_iteration((-1, 0), (0.0,)), "2 parents and 1 rewards"),
        (lambda: value_iteration((-1, 1), (0.0, 0.0)), "the parent of node 1 is 1"),
        (lambda: value_iteration((-1, 0), (0.0, 0.0), gamma=1.5), "gamma is 1.5"),
        (lambda: sampled_max_values((-1, 0), (0.0, 0.0), 0), "width is 0"),
        (lambda: lambda_targets((-1, 0), (0.0, 0.0), (0.0, 0.0), 2.0), "lam is 2.0"),
        (lambda: max_targets((-1, 0), (0.0, 0.0), (0.0,)), "1 values for 2 nodes"),
        (lambda: policy_values((-1, 0, 0), (0.0, 0.0, 1.0), (1.0, 0.5, 0.6)), "they sum to 1"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call()
