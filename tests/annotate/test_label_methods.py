"""Labels by pools, trees, judges and the truth, in worlds where everything is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from label_worlds import rollouts, sample

from thence.annotate.consensus import Consensus, agreed, filtered_error
from thence.annotate.diverse import Diverse, pseudo_labels, result
from thence.annotate.exact import Exact, exact, truth_of
from thence.annotate.math_shepherd import MathShepherd
from thence.annotate.mips import Mips, expected_min, score
from thence.annotate.tree_values import TreeValues, tree_values
from thence.core.completion import Ability, Completion, Finish
from thence.core.errors import DataError, UsageError
from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Aggregate, Meaning, Score
from thence.core.search import Search
from thence.core.seeds import derive
from thence.core.segmenter import Segmenter
from thence.core.tree import Kind, Node, Tree
from thence.tasks.wordproblems import render_solution
from thence.tasks.wordproblems_task import WordProblemsTask
from thence.worlds import Chain, World
from thence.worlds.chain import State
from thence.worlds.laws import coverage

# --- MiPS -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_smallest_of_noisy_labels_is_too_small(n: int) -> None:
    """E[min] by going through every outcome of every step's rollouts."""
    values = (0.8, 0.5, 0.6)

    def chance(successes: Sequence[int]) -> float:
        return math.prod(math.comb(n, s) * v**s * (1 - v) ** (n - s) for s, v in zip(successes, values, strict=True))

    enumerated = math.fsum(chance(s) * min(s) / n for s in itertools.product(range(n + 1), repeat=3))
    assert expected_min(values, n) == pytest.approx(enumerated)
    assert expected_min(values, n) < min(values)


def test_the_bias_of_the_smallest_label_shrinks_with_rollouts() -> None:
    world = Chain()
    values = [world.state_value(t, State.ON_TRACK) for t in range(1, world.steps)]
    gaps = [min(values) - expected_min(values, n) for n in (2, 8, 32, 128)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] > 0
    assert expected_min([0.4], 8) == pytest.approx(0.4), "one label is unbiased"
    assert expected_min([0.5] * 4, 1) == pytest.approx(0.5**4)
    under = [1 - v for v in values]  # what the completer's own mistakes take from a right step
    assert under == sorted(under, reverse=True)


async def test_the_smallest_label_of_a_chain_has_that_expectation() -> None:
    world, n = Chain(steps=5, size=120), 4
    found, expected, variance = 0.0, 0.0, 0.0
    for problem in world.problems():
        text, right = await sample(world, problem, seed=3)
        record = await MathShepherd(n).label(rollouts(world, problem), text, right)
        values = [world.value(problem, text[:end]) for end in record.ends[:-1]]
        found += score(record, Aggregate.MIN)
        expected += expected_min(values, n)
        variance += 0.25
    assert abs(found - expected) <= 4 * math.sqrt(variance)
    assert abs(found - expected) / 120 < 0.1


async def test_another_model_may_complete() -> None:
    """The sampled solutions are the policy's, the values the completer's."""
    world, better = Chain(steps=4, size=25), Chain(steps=4, slip=0.0, fatal=0.0, guess=1.0, size=25)
    for problem in world.problems():
        got = rollouts(world, problem, completer=better.generator(pace=0))
        records = await Mips(n=3, solutions=2).annotate(got)
        assert [r.text for r in records] == [
            r.text for r in await Mips(n=3, solutions=2).annotate(rollouts(world, problem))
        ]
        for record in records:
            for row in record.labels[:-1]:
                assert row[0].number == 1.0
                assert row[0].completer == f"world:{better.spec}"


def test_a_labelled_solution_is_read_by_any_aggregate() -> None:
    labels = [Label(Meaning.VALUE, v, Source.ROLLOUTS, round(10 * v), 10) for v in (0.9, 0.5, 0.8)]
    verdict = Label(Meaning.VALUE, 0.0, Source.EXACT)
    record = Labelled("p", "a\nb\nc\nd", (2, 4, 6, 7), tuple((x,) for x in (*labels, verdict)), correct=False)
    logits = sum(math.log(v / (1 - v)) for v in (0.9, 0.5, 0.8))
    expected = {"prod": 0.36, "min": 0.5, "last": 0.8, "mean": 2.2 / 3, "max": 0.9, "sum-logit": logits}
    assert {str(how): score(record, how) for how in Aggregate} == pytest.approx(expected)
    with pytest.raises(DataError, match="2 of 3 steps have a value"):
        score(replace(record, labels=((), *record.labels[1:])), Aggregate.MIN)


# --- exact ------------------------------------------------------------------------------------------------------------


async def test_exact_labels_are_the_worlds_own() -> None:
    world = Chain(size=60)
    seen = set()
    for problem in world.problems():
        for record in await Exact(2).annotate(rollouts(world, problem)):
            judged = world.judge(world.number(problem), world.read(record.text).steps)
            first = judged.index(False) if False in judged else None
            valid = [float(first is None or i < first) for i in range(len(judged))]
            assert list(record.numbers(Meaning.PREFIX_VALID)) == valid
            ok = [None if first is not None and i > first else float(judged[i]) for i in range(len(judged))]
            assert list(record.numbers(Meaning.STEP_CORRECT)) == ok
            values = [world.value(problem, record.text[:end]) for end in record.ends]
            assert record.numbers(Meaning.VALUE) == pytest.approx(values)
            assert values[-1] == float(record.correct is True)
            assert all(x.source is Source.EXACT for row in record.labels for x in row)
            seen.add((first is None, record.correct))
    assert seen == {(True, True), (False, True), (False, False)}, "validity and a right answer part ways"


async def test_value_and_validity_are_two_confusion_matrices() -> None:
    """Hard labels from 8 rollouts against both truths: most of what they call alive though invalid can come right."""
    world, counts = Chain(size=60), {True: [0, 0], False: [0, 0]}
    for problem in world.problems():
        text, right = await sample(world, problem, seed=2)
        got = rollouts(world, problem)
        by_rollouts = await MathShepherd(8).label(got, text, right)
        known = exact(got, text, right)
        for value, valid in zip(
            by_rollouts.numbers(Meaning.VALUE)[:-1], known.numbers(Meaning.PREFIX_VALID), strict=False
        ):
            assert value is not None
            counts[valid == 1.0][value > 0] += 1
    alive_though_invalid = counts[False][1] / sum(counts[False])
    assert counts[True][1] / sum(counts[True]) > 0.95
    assert alive_though_invalid > coverage(world.guess, 8)


def test_exact_labels_of_word_problems() -> None:
    task = WordProblemsTask(level=3, size=20)
    truth = truth_of(task)
    assert truth is not None
    assert truth.valued is None
    for problem in task.problems():
        text = render_solution(task.items[problem.id], "cot")
        steps = Segmenter().steps(text)
        ends = (*steps.ends[:-1], len(text))
        assert truth.judged(problem, text, ends) == [True] * len(ends)
        equation = task.items[problem.id].steps[1].equation
        wrong = text.replace(f"<<{equation}>>", f"<<{equation}1>>")
        judged = truth.judged(problem, wrong, (*Segmenter().steps(wrong).ends[:-1], len(wrong)))
        assert judged[0] is True
        assert judged[1] is False
    [first] = task.problems()[:1]
    assert truth.judged(first, "Let me see.\nHm.", (12, 15)) == [None, None]


async def test_a_wrong_answer_after_right_steps_is_the_last_steps_fault() -> None:
    world = Chain(steps=2, size=1)
    [problem] = world.problems()
    got = rollouts(world, problem)
    record = exact(got, world.line(State.ON_TRACK) * 2 + "#### 1", correct=False)
    assert record.numbers(Meaning.PREFIX_VALID) == (1.0, 0.0)
    unread = exact(got, "hm\n" + world.line(State.ON_TRACK) + world.line(State.LOST) + "#### 1", correct=False)
    assert unread.numbers(Meaning.STEP_CORRECT) == (None, 1.0, 0.0)
    assert unread.numbers(Meaning.PREFIX_VALID) == (None, None, 0.0)
    with pytest.raises(UsageError, match="does not know whether a written step is true"):
        exact(replace_truth(got), "a", correct=False)


def replace_truth(got):  # type: ignore[no-untyped-def]
    got.truth = None
    return got


# --- consensus --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flipped:
    """A judge that knows whether a prefix is alive and says the opposite with probability ``eta``, by its text."""

    world: World
    delta: float
    eta: float

    name = "flipped"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        scores = []
        for node in nodes:
            text = search.tree.solution(node)
            prefixes = [text[:end] for end in Segmenter().steps(text).ends]
            truth = [self.world.value(search.problem, p) > self.delta for p in prefixes]
            flips = [derive("flip", search.problem.hash, p) < self.eta * 2**63 for p in prefixes]
            steps = tuple(float(alive != flip) for alive, flip in zip(truth, flips, strict=True))
            scores.append(Score(steps[-1], steps, Meaning.VALUE))
        return scores


async def test_the_filtered_error_is_the_law() -> None:
    """Prefixes of value .05 (lost) have the hard label 1 with e = 1 - .95^4; a judge errs with eta."""
    world, eta, n = Chain(steps=5, slip=0.0, fatal=0.15, size=300), 0.2, 4
    e = coverage(world.guess, n)
    kept = wrong = labels = 0
    seen = set()
    for problem in world.problems():
        got = rollouts(world, problem)
        for record in await Consensus(MathShepherd(n, 2), Flipped(world, 0.1, eta)).annotate(got):
            for end, row in zip(record.ends[:-1], record.labels, strict=False):
                if world.value(problem, record.text[:end]) > 0.1 or (problem.id, record.text[:end]) in seen:
                    continue
                seen.add((problem.id, record.text[:end]))
                [label] = row
                labels += 1
                assert label.source is Source.CONSENSUS
                kept += label.number is not None
                wrong += label.number is not None and label.number > 0
    share = eta * e + (1 - eta) * (1 - e)
    assert abs(kept / labels - share) <= 4 * math.sqrt(share * (1 - share) / labels)
    law = filtered_error(e, eta)
    assert law == pytest.approx(eta * e / share)
    assert law < e
    assert abs(wrong / kept - law) <= 4 * math.sqrt(law * (1 - law) / kept)


def test_agreement_keeps_numbers_and_makes_the_rest_null() -> None:
    soft = [Label(Meaning.VALUE, s / 4, Source.ROLLOUTS, s, 4) for s in (4, 1, 0)]
    verdict = Label(Meaning.VALUE, 0.0, Source.EXACT)
    record = Labelled("p", "a\nb\nc\nd", (2, 4, 6, 7), tuple((x,) for x in (*soft, verdict)), correct=False)
    made = agreed(record, [True, False, None, True])
    assert made.numbers(Meaning.VALUE) == (1.0, None, None, 0.0)
    assert made.labels[0][0] == replace(soft[0], source=Source.CONSENSUS)
    assert made.labels[3] == record.labels[3]
    assert agreed(record, [True, False, False, False], alive=0.3).numbers(Meaning.VALUE) == (1.0, 0.25, 0.0, 0.0)
    with pytest.raises(DataError, match="2 opinions for 4 steps"):
        agreed(record, [True, False])


async def test_a_judge_without_step_scores_is_refused() -> None:
    world = Chain(size=1)
    [problem] = world.problems()
    with pytest.raises(UsageError, match="scored 0 steps"):
        await Consensus(MathShepherd(2, 1), world.verifier(Meaning.OUTCOME)).annotate(rollouts(world, problem))


# --- DiVeRSe ----------------------------------------------------------------------------------------------------------


def pool(*solutions: tuple[str, bool]) -> list[Labelled]:
    return pseudo_labels("p", [(text, Segmenter().steps(text).ends, right) for text, right in solutions])


def test_results_are_compared_as_multisets() -> None:
    right = "2+3=5\n5+5=10\n10-5=5\n"
    made = pool(
        (right, True),
        ("2+3=5\n2+3=5\n2+3=5\n4=4\n", False),  # a third 5 is in no right solution
        ("Let us see.\n5+5=10\nwell\n10-1=9\n1=1\n", False),
        ("9-4=5\n", False),  # met by chance, but the last step holds a wrong answer
    )
    numbers = [r.numbers(Meaning.PREFIX_VALID) for r in made]
    assert numbers == [(1, 1, 1), (1, 1, 0, 0), (None, 1, 1, 0, 0), (0,)]
    assert all(x.source is Source.POOL for r in made for row in r.labels for x in row)


def test_without_a_right_solution_nothing_is_known_but_the_end() -> None:
    [made] = pool(("2+3=5\n5+5=11\n", False))
    assert made.numbers(Meaning.PREFIX_VALID) == (None, 0)


@pytest.mark.parametrize(
    ("step", "value"),
    [
        ("Tom: 3 more <<5+3=8>>8 apples", 8),
        ("That is 40 * 3 = <<40*3=120>>120 dollars.", 120),
        ("total = $1,234.50.", Fraction(2469, 2)),
        ("x = 3/4", Fraction(3, 4)),
        ("3 + 4 = 7, so = -2", -2),
        ("no equation, 5 apples", None),
        ("a = b", None),
    ],
)
def test_the_result_of_a_step(step: str, value: Fraction | int | None) -> None:
    assert result(step) == value


async def test_pseudo_labels_against_the_truth_of_word_problems() -> None:
    """On corrupted reference solutions every step before the error is found right, and most after it wrong."""
    task = WordProblemsTask(level=4, size=60)
    truth = truth_of(task)
    assert truth is not None
    agree = total = 0
    for problem in task.problems():
        text = render_solution(task.items[problem.id], "cot")
        step = task.items[problem.id].steps[2]
        wrong = text.replace(step.equation, step.equation + "3")
        ends = (*Segmenter().steps(wrong).ends[:-1], len(wrong))
        _, record = pseudo_labels(problem.id, [(text, Segmenter().steps(text).ends, True), (wrong, ends, False)])
        valid = list(itertools.accumulate(truth.judged(problem, wrong, ends), lambda a, b: bool(a and b)))
        said = record.numbers(Meaning.PREFIX_VALID)
        agree += sum(x == float(v) for x, v in zip(said, valid, strict=True))
        total += len(said)
    assert agree == total, "a multiset that has lost a result never fits again"


async def test_the_pool_is_sampled_and_graded() -> None:
    world = Chain(size=3)
    for problem in world.problems():
        records = await Diverse(8).annotate(rollouts(world, problem))
        assert len({r.text for r in records}) == len(records) >= 1
        assert all(set(r.numbers(Meaning.PREFIX_VALID)) <= {None, 0.0, 1.0} for r in records)
        for r in records:
            assert r.numbers(Meaning.PREFIX_VALID)[-1] == float(r.correct is True)


# --- values of a tree -------------------------------------------------------------------------------------------------


def grown() -> tuple[Tree, dict[str, Node]]:
    """Root -> a (3 draws), b (1 draw); a -> a1, a2 (ended); b -> b1 (ended, 2 draws), b2 (never finished)."""
    tree = Tree()
    nodes: dict[str, Node] = {}

    def add(name: str, parent: Node, text: str, times: int, finish: Finish, kind: Kind) -> None:
        for i in range(times):
            nodes[name] = tree.add(
                parent, Completion.of(text, finish), (*parent.draws[0], 10 * len(nodes) + i), kind=kind
            )

    add("a", tree.root, "a\n", 3, Finish.STEP, Kind.STEP)
    add("b", tree.root, "b\n", 1, Finish.STEP, Kind.STEP)
    add("a1", nodes["a"], "right\n#### 1", 1, Finish.EOS, Kind.FINISH)
    add("a2", nodes["a"], "#### 2", 1, Finish.EOS, Kind.FINISH)
    add("b1", nodes["b"], "wrong", 2, Finish.EOS, Kind.FINISH)
    add("b2", nodes["b"], "on\n", 2, Finish.STEP, Kind.STEP)
    return tree, nodes


def test_grades_are_backed_up_by_draws() -> None:
    tree, nodes = grown()
    records = tree_values("p", tree, {nodes["a1"].index: True, nodes["a2"].index: False, nodes["b1"].index: False})
    assert [r.text for r in records] == ["a\nright\n#### 1", "a\n#### 2", "b\nwrong"]
    assert [r.numbers(Meaning.VALUE) for r in records] == [(0.5, 1.0), (0.0,), (0.0, 0.0)]
    assert records[1].steps == ("a\n#### 2",), "a closing answer line belongs to the last step"
    assert [[x.weight for x in row] for r in records for row in r.labels] == [[0.5], [1.0], [1.0], [0.5], [1.0]]
    assert [r.correct for r in records] == [True, False, False]
    assert tree_values("p", tree, {}) == []


async def test_values_of_a_whole_tree_are_unbiased_whatever_the_search_preferred() -> None:
    world = Chain(steps=2, slip=0.25, fatal=0.25, size=80)
    method = TreeValues(world.verifier(), simulations=400, actions=3, wave=4)  # enough to open all of 13 states
    found, expected, variance = 0.0, 0.0, 0.0
    for problem in world.problems():
        roots: dict[str, list[Labelled]] = {}
        for record in await method.annotate(rollouts(world, problem)):
            assert len(record.ends) == world.steps
            assert record.labels[-1][0].number == float(record.correct is True)
            roots.setdefault(record.steps[0], []).append(record)
        for step, below in roots.items():
            label, value = below[0].labels[0][0], world.value(problem, step)
            assert label.weight * len(below) == pytest.approx(1), "all was seen"
            assert label.number is not None
            found, expected, variance = found + label.number, expected + value, variance + value * (1 - value) / 3
    assert expected > 40
    assert abs(found - expected) <= 4 * math.sqrt(variance)


async def test_a_tree_that_was_not_opened_everywhere_says_so_in_its_weights() -> None:
    world = Chain(steps=4, size=10)
    weights = []
    for problem in world.problems():
        for record in await TreeValues(world.verifier(), simulations=6, actions=3).annotate(rollouts(world, problem)):
            weights += [label.weight for row in record.labels for label in row]
    assert all(0 < w <= 1 for w in weights)
    assert min(weights) < 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mips(n=0), "mips: n is 0"),
        (lambda: Exact(solutions=0), "exact: solutions is 0"),
        (lambda: Diverse(solutions=1), "diverse: solutions is 1; it must be at least 2"),
        (lambda: TreeValues(Chain().verifier(), simulations=0), "tree-values: simulations is 0"),
        (lambda: Consensus(Mips(), Chain().verifier(), alive=2), "consensus: alive is 2"),
    ],
)
def test_settings_out_of_range_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        make()
