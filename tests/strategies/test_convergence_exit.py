"""Convergence exit: it stops when the answer has settled, and asking changes nothing of the text."""

from __future__ import annotations

import pytest
from drawing import PROBLEM, Cue, solved
from test_budget_forcing import Forcible

from thence import conformance
from thence.core.completion import Finish, Sampling
from thence.core.errors import UsageError
from thence.core.search import Result, Search
from thence.core.solve import solve
from thence.core.tree import Kind
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare
from thence.strategies.convergence_exit import ConvergenceExit
from thence.strategies.greedy import Greedy
from thence.worlds import Chain

WORDS = [f" word{i}x" for i in range(60)]


def settling(after: int, length: int = 60, *, ends: str = " #### 15") -> ScriptedGenerator:
    """Sixty words; asked before word ``after``, the model gives a new wrong answer each time, later 15."""

    def write(cue: Cue) -> str:
        written = cue.reply.count("x")
        if cue.reply.endswith("answer is"):
            return " 15" if written >= after else f" {100 + written}"
        return "".join(WORDS[written:length]) + ends

    return ScriptedGenerator(write, pace=0)


def main(result: Result) -> str:
    return "".join(n.text for n in result.tree if n.kind in (Kind.STEP, Kind.FINISH))


@pytest.mark.parametrize(("after", "every", "patience"), [(0, 5, 2), (12, 5, 3), (30, 7, 2), (10, 10, 1)])
async def test_it_stops_at_the_first_run_of_equal_answers(after: int, every: int, patience: int) -> None:
    result = await solved(ConvergenceExit(every, patience), settling(after))
    first = max(1, -(-after // every))  # the first probe that gives 15
    stop = every * (first + patience - 1) if patience > 1 else every
    assert main(result) == "".join(WORDS[:stop])
    assert result.answer == ("15" if patience > 1 or after <= every else str(100 + every))
    probes = [n for n in result.tree if n.kind is Kind.PROBE]
    assert len(probes) == stop // every
    charged = result.ledger.charged["policy"]
    assert charged.generated == stop + sum(n.completion.generated or 0 for n in probes)


async def test_a_text_that_ends_is_read_as_it_stands() -> None:
    result = await solved(ConvergenceExit(20, 2), settling(55, ends=" #### 16"))
    assert (result.answer, main(result)) == ("16", "".join(WORDS) + " #### 16")
    silent = await solved(ConvergenceExit(25, 3), settling(0, ends=" and that is all"))
    assert silent.answer is None


async def test_a_text_that_meets_its_cap_has_the_answer_of_its_last_probe() -> None:
    result = await solve(
        PROBLEM,
        generator=settling(30),
        strategy=ConvergenceExit(20, 5),
        style=Bare(),
        reading=NumericReading(),
        sampling=Sampling(temperature=1.0, max_tokens=50),
    )
    assert result.answer == "15"
    assert main(result) == "".join(WORDS[:50])


async def test_no_probe_has_an_answer() -> None:
    generator = ScriptedGenerator(lambda cue: " hm" if cue.reply.endswith("is") else "x " * 30, pace=0)
    result = await solved(ConvergenceExit(10, 1), generator)
    assert result.answer is None


async def test_a_thought_is_closed_before_it_is_asked() -> None:
    def write(cue: Cue) -> str:
        if cue.reply.endswith("answer is"):
            assert "</think>" in cue.reply
            return " 15"
        return "<think>" + " hm" * 40 if not cue.reply else " hm" * 40

    result = await solved(ConvergenceExit(10, 2), ScriptedGenerator(write, pace=0))
    assert result.answer == "15"
    assert "</think>" not in main(result)


async def test_greedily_it_writes_what_greedy_decoding_writes() -> None:
    world = Chain(steps=12, size=5)
    for problem in world.problems():
        texts = []
        for strategy in (Greedy(), ConvergenceExit(3, 99, ask="\n####")):
            result = await solve(
                problem,
                generator=world.generator(pace=0),
                strategy=strategy,
                style=Bare(),
                reading=world.task().reading,
                sampling=Sampling(temperature=0.0),
            )
            texts.append((result.trace, result.answer))
        assert texts[0] == texts[1]


class Unprobed(ConvergenceExit):
    """The same stretches without a question in between."""

    __slots__ = ()

    async def _probe(self, search: Search, node: object) -> None:
        return None


async def test_probes_change_nothing_of_the_text() -> None:
    """At temperature 1: the same stretches with and without probes, up to where one stops."""
    world = Chain(steps=15, size=30)
    for problem in world.problems():
        texts = []
        for strategy in (Unprobed(4, 3), ConvergenceExit(4, 99, ask="\n####"), ConvergenceExit(4, 3, ask="\n####")):
            result = await solve(
                problem,
                generator=world.generator(pace=0),
                strategy=strategy,
                style=Bare(),
                reading=world.task().reading,
                sampling=Sampling(temperature=1.0),
                seed=5,
            )
            texts.append(main(result))
        assert texts[0] == texts[1]
        assert texts[1].startswith(texts[2])


@pytest.mark.parametrize(
    ("world", "gains"),
    [(Chain(steps=60, size=60), False), (Chain(steps=60, slip=0.0, fatal=0.008, size=60), True)],
    ids=["doubtful", "steady"],
)
async def test_what_it_saves_and_what_that_does_in_chains_of_long_texts(world: Chain, gains: bool) -> None:
    """60 steps, 123 tokens. The forced answer is the likeliest end of the state that was reached: better than writing
    on where that is the right one, and always wrong where it is not."""
    right, tokens = [], []
    for strategy in (ConvergenceExit(10_000, 1), ConvergenceExit(8, 3, ask="\n####")):
        got = [
            await solve(
                problem,
                generator=world.generator(pace=0),
                strategy=strategy,
                style=Bare(),
                reading=world.task().reading,
                sampling=Sampling(temperature=1.0),
            )
            for problem in world.problems()
        ]
        right.append(sum(r.answer == world.right(i) for i, r in enumerate(got)))
        tokens.append(sum(r.ledger.total_charged.generated or 0 for r in got))
        for result in got:
            if result.node is not None and result.node.completion.finish is Finish.LENGTH:
                law = world.answers(result.problem, main(result))
                assert law[result.answer] == max(law.values())
    assert tokens[1] < 0.3 * tokens[0]
    assert right[1] > right[0] + 5 if gains else right[1] == 0 < right[0]


@pytest.mark.parametrize("budget", [*range(1, 90, 3), 120])
async def test_a_budget_is_never_exceeded_and_the_last_probe_answers(budget: int) -> None:
    result = await solved(ConvergenceExit(6, 9), settling(0), budget=budget)
    total = result.ledger.total_charged.total
    assert total is not None
    assert total <= budget
    probed = [n for n in result.tree if n.kind is Kind.PROBE and n.completion.finish is not Finish.BUDGET]
    assert (result.answer is not None) == bool(probed) or result.stopped is None


@pytest.mark.parametrize("wrong", [{"every": 0}, {"patience": 0}, {"probe_tokens": 0}])
def test_what_makes_no_exit_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(wrong))} is 0"):
        ConvergenceExit(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="ask is empty"):
        ConvergenceExit(ask="")


@pytest.mark.parametrize("strategy", [ConvergenceExit(3, 2), ConvergenceExit(2, 1), ConvergenceExit(100, 1)])
@pytest.mark.parametrize("law", conformance.LAWS, ids=lambda law: law.__name__)
def test_it_keeps_all_laws(law: conformance.Law, strategy: ConvergenceExit, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a world whose texts can be asked for their answer at any place."""
    world = conformance._World("forcible", lambda **o: Forcible(texts=conformance.TEXTS, name="conformance", **o))
    monkeypatch.setattr(conformance, "ONE_CALL", world)
    monkeypatch.setattr(conformance._cases, "__defaults__", ((world, conformance.TWO_CALLS),))
    law(lambda: strategy)
