"""The loop draw by draw, what is refused, and the laws. Its chances are tested in worlds (tests/worlds)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from drawing import PROBLEM, Cue, solved

from thence import conformance
from thence.core.completion import Ability, Sampling
from thence.core.errors import UsageError
from thence.core.scores import Score
from thence.core.search import Search
from thence.core.solve import solve
from thence.core.tree import Node
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare
from thence.strategies.stepwise_acceptance import StepwiseAcceptance
from thence.verifiers.basic import Agreement, LogProb


@dataclass(frozen=True, slots=True)
class Likes:
    """1 for a path whose text holds none of ``bad``, in the order of asking kept in ``asked``."""

    bad: tuple[str, ...]
    asked: list[str] = field(default_factory=list)
    name: str = "likes"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        texts = [search.tree.solution(n) for n in nodes]
        self.asked.extend(texts)
        return [Score(float(not any(b in t for b in self.bad))) for t in texts]


def lines(by_reply: dict[str, list[str]]) -> ScriptedGenerator:
    """Draw i after a reply is its i-th line, over and over."""

    def write(cue: Cue) -> str:
        options = by_reply[cue.reply]
        return options[(cue.draw or 0) % len(options)]

    return ScriptedGenerator(write, pace=0)


async def test_a_rejected_step_is_drawn_again_and_a_dead_end_left() -> None:
    """a is accepted, nothing after it is within two draws, so the search goes back and takes b."""
    likes = Likes(("x", "y", "z"))
    script = {"": ["z\n", "a\n", "b\n"], "a\n": ["x\n", "y\n"], "b\n": ["#### 5"]}
    result = await solved(StepwiseAcceptance(likes, retries=1), lines(script))
    assert likes.asked == ["z\n", "a\n", "a\nx\n", "a\ny\n", "b\n", "b\n#### 5"]
    assert result.answer == "5"
    assert result.notes == ()


async def test_an_end_without_an_answer_is_no_end() -> None:
    script = {"": ["I give up", "#### 3"]}
    result = await solved(StepwiseAcceptance(Likes(()), retries=1), lines(script))
    assert result.answer == "3"


async def test_the_best_rejected_end_answers() -> None:
    script = {"": ["bad #### 4"]}
    result = await solved(StepwiseAcceptance(Likes(("bad",)), retries=2, draws=7), lines(script))
    assert result.answer == "4"
    assert result.notes == ("no path was accepted within 7 draws",)
    assert sum(n.multiplicity for n in result.tree) == 1 + 7


async def test_without_any_end_the_accepted_steps_are_continued() -> None:
    script = {"": ["a\n"], "a\n": ["bad\n"], "a\nbad\n": ["#### 6"]}
    result = await solved(StepwiseAcceptance(Likes(("bad",)), retries=5, draws=4), lines(script))
    assert result.trace == "a\nbad\n#### 6"
    assert result.answer == "6"


async def test_no_path_is_longer_than_the_depth() -> None:
    generator = ScriptedGenerator(lambda cue: "and\n", pace=0)
    result = await solved(StepwiseAcceptance(Likes(()), depth=3, draws=20), generator)
    assert result.answer is None
    assert max(len(result.tree.path(n)) for n in result.tree) == 3


async def test_another_model_may_write_the_retries() -> None:
    """The first draw of a step is the policy's, the others are the critic's and on its book."""
    strategy = StepwiseAcceptance(Likes(("bad",)), retry_role="critic")
    result = await solve(
        PROBLEM,
        generator=ScriptedGenerator(lambda cue: "bad\n", pace=0),
        strategy=strategy,
        style=Bare(),
        reading=NumericReading(),
        sampling=Sampling(max_tokens=50),
        roles={"critic": ScriptedGenerator(lambda cue: "good\n" if not cue.reply else "#### 9", pace=0)},
    )
    assert result.trace == "good\n#### 9"
    assert [n.role for n in result.tree][1:] == ["policy", "critic", "policy", "critic"]
    assert set(result.ledger.charged) == {"policy", "critic"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"retries": -1}, "retries is -1"),
        ({"draws": 0}, "draws is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"step_tokens": 0}, "step_tokens is 0"),
        ({"verifier": Agreement()}, "one at a time"),
    ],
)
def test_what_cannot_accept_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        StepwiseAcceptance(**{"verifier": LogProb(), **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.99])
def test_it_keeps_all_laws(threshold: float) -> None:
    conformance.check(lambda: StepwiseAcceptance(LogProb(), threshold, retries=1, draws=8))
