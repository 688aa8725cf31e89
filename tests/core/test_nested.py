"""Strategies inside strategies: whose draws are whose, what is paid, and what a budget does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from test_search import search_with

from thence import conformance, methods
from thence.core.completion import Ability, Completion, Sampling
from thence.core.errors import UsageError
from thence.core.nested import samples
from thence.core.problem import Problem
from thence.core.search import Result, Search, Strategy
from thence.core.solve import solve
from thence.core.tree import Kind
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare
from thence.strategies.best_of_n import BestOfN
from thence.strategies.greedy import Greedy
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.strategies.self_consistency import SelfConsistency
from thence.strategies.self_refine import SelfRefine
from thence.verifiers.basic import Agreement, LogProb
from thence.worlds import Chain

PROBLEM = Problem("p", "What is 7 + 8?")


def numbered() -> ScriptedGenerator:
    """Every draw says which one it is."""
    return ScriptedGenerator(lambda cue: f"#### {cue.draw}", pace=0)


@dataclass(frozen=True, slots=True)
class Recording:
    """Draws as told, twice, and keeps what it got."""

    took: list[list[str]]
    n: int = 2
    needs: frozenset[Ability] = frozenset()

    async def solve(self, search: Search) -> Result:
        nodes = [*await search.expand(n=self.n), *await search.expand(n=self.n)]
        self.took.append([n.text.split()[-1] for n in nodes])
        await search.answer(nodes[0])
        return search.result(nodes[0])


async def test_runs_share_no_draw_and_each_begins_with_the_plain_one() -> None:
    search = search_with(numbered())
    took: list[list[str]] = []
    nodes, begun = await samples(search, 3, Recording(took))
    assert took == [["0", "3", "6", "9"], ["1", "4", "7", "10"], ["2", "5", "8", "11"]]
    assert [n.text for n in nodes] == [f"#### {i}" for i in range(3)]
    assert begun == 3


async def test_deeper_runs_share_no_draw_either() -> None:
    took: list[list[str]] = []

    @dataclass(frozen=True, slots=True)
    class Two:
        needs: frozenset[Ability] = frozenset()

        async def solve(self, search: Search) -> Result:
            nodes, _ = await samples(search, 2, Recording(took, 1))
            return search.result(nodes[0])

    await samples(search_with(numbered()), 2, Two())
    assert took == [["0", "4"], ["2", "6"], ["1", "5"], ["3", "7"]]


async def test_a_run_of_one_draw_is_the_plain_sample() -> None:
    for seed in range(4):
        made = [
            await solved(strategy, seed=seed)
            for strategy in (SelfConsistency(5), SelfConsistency(5, inner=RepeatedSampling(1)))
        ]
        assert made[0].record() | {"spent": 0} == made[1].record() | {"spent": 0}


async def test_a_draw_that_is_in_the_tree_is_not_paid_twice() -> None:
    search = search_with(numbered())
    first = await search.expand(n=3)
    paid = search.ledger.total_charged
    took: list[list[str]] = []
    await search.nested(Recording(took, 1))
    assert took == [["0", "1"]]
    assert search.ledger.total_charged == paid
    assert search.ledger.total_spent.generated == paid.generated
    assert [n.multiplicity for n in first] == [1, 1, 1]
    await search.nested(Recording(took, 2))
    assert took[1] == ["0", "1", "2", "3"]
    assert len(search.tree) == 5


async def test_a_draw_that_is_in_the_tree_needs_no_budget() -> None:
    generator = ScriptedGenerator(lambda cue: "one two three #### 15", pace=0)
    search = search_with(generator, budget=8 + 6 + 6 + 2)
    await search.expand(n=2)
    took: list[list[str]] = []
    await search.nested(Recording(took, 1))
    assert took == [["15", "15"]]
    assert search.stopped is None


async def test_a_clipped_draw_is_not_taken_for_a_whole_one() -> None:
    search = search_with(ScriptedGenerator(lambda cue: "one two three #### 15", pace=0))
    (short,) = await search.expand(sampling=Sampling(temperature=search.sampling.temperature, max_tokens=2))
    took: list[list[str]] = []
    await search.nested(Recording(took, 1))
    assert took[0][0] == "15"
    assert short.text == "one two"


async def solved(strategy: Strategy, *, seed: int = 0, budget: int | None = None, pool: Pool | None = None) -> Result:
    return await solve(
        PROBLEM,
        generator=ScriptedGenerator(answers={PROBLEM.text: [("15", 0.5), ("14", 0.3), ("16", 0.2)]}, pace=0),
        strategy=strategy,
        style=Bare(),
        reading=NumericReading(),
        sampling=Sampling(temperature=1.0, max_tokens=40),
        seed=seed,
        budget=budget,
        pool=pool,
    )


class Pool:
    """A sample pool in memory."""

    def __init__(self) -> None:
        self.samples: dict[str, Completion] = {}

    def get(self, key: str) -> Completion | None:
        return self.samples.get(key)

    def put(self, key: str, problem: str, completion: Completion) -> None:
        self.samples[key] = completion


NESTED: list[Callable[[], Strategy]] = [
    lambda: BestOfN(LogProb(), 2, inner=SelfRefine(1)),
    lambda: BestOfN(Agreement(), 2, select="vote", inner=SelfConsistency(2)),
    lambda: SelfConsistency(3, inner=SelfConsistency(2)),
    lambda: SelfConsistency(2, weight="prob", inner=Greedy()),
]


@pytest.mark.parametrize("strategy", NESTED)
@pytest.mark.parametrize(
    "law", [x for x in conformance.LAWS if x.__name__ != "one_sample_is_one_sample"], ids=lambda x: x.__name__
)
def test_nested_strategies_keep_the_laws(strategy: Callable[[], Strategy], law: conformance.Law) -> None:
    """All but one: a sample of theirs is more than one draw."""
    law(strategy)


async def test_the_budget_binds_both() -> None:
    strategy = BestOfN(LogProb(), 4, inner=SelfConsistency(3))
    whole = (await solved(strategy)).ledger.total_charged.total or 0
    answers = []
    for budget in range(1, whole + 2):
        result = await solved(strategy, budget=budget)
        assert (result.ledger.total_charged.total or 0) <= budget
        assert result.stopped == ("budget" if budget < whole else None)
        answers.append(result.answer)
    assert answers[-1] is not None
    assert None in answers


async def test_runs_without_a_node_count_in_the_confidence() -> None:
    def write(cue: Cue) -> str:
        return "#### 15" if (cue.draw or 0) % 2 else "no idea"

    search = search_with(ScriptedGenerator(write, pace=0))
    result = await SelfConsistency(4, inner=SelfConsistency(1)).solve(search)
    assert (result.answer, result.confidence) == ("15", 0.5)


async def test_equal_steps_of_two_runs_go_on_differently() -> None:
    """Two beams that come to the same state continue it with draws of their own."""
    from thence.core.scores import Meaning
    from thence.strategies.beam import Beam

    world = Chain(size=1)
    problem = world.problem(0)
    result = await solve(
        problem,
        generator=world.generator(pace=0),
        strategy=SelfConsistency(6, inner=Beam(world.verifier(Meaning.VALUE), n=2, width=2)),
        style=Bare(),
        reading=world.task().reading,
        sampling=Sampling(temperature=1.0),
    )
    draws: list[Sequence[int]] = [draw for node in result.tree for draw in node.draws]
    assert len(draws) == len(set(map(tuple, draws)))
    assert any(n.multiplicity > 2 for n in result.tree if n.kind is Kind.STEP)


def test_they_are_written_as_text() -> None:
    made = methods.strategy('best-of-n(n=4, inner="self-consistency(n=2)", verifier=logprob)')
    assert made == BestOfN(LogProb(), 4, inner=SelfConsistency(2))
    assert methods.strategy("self-consistency(n=2, inner=none)") == SelfConsistency(2)
    unquoted = "best-of-n(inner=best-of-n(n=2,verifier=logprob),verifier=logprob)"
    assert methods.strategy(unquoted) == BestOfN(LogProb(), inner=BestOfN(LogProb(), 2))
    assert methods.strategy(methods.canonical(unquoted)) == methods.strategy(unquoted)
    assert [t for t, _ in methods.strategies("self-consistency(n=2,inner={greedy,esc})")] == [
        "self-consistency(n=2, inner=greedy)",
        "self-consistency(n=2, inner=esc)",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("self-consistency(inner=nope)", "unknown strategy 'nope'"),
        ('self-consistency(inner="esc(n={4,8})")', "is a grid of 2"),
        ("self-consistency(inner=greedy(n=1))", "unknown parameter 'n'"),
    ],
)
def test_wrong_inner_strategies_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        methods.strategy(text)
