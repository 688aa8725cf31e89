"""Critic-guided search: when it asks, what it says, and that a remark about nothing is worth a plain draw."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from thence.conformance import check
from thence.core.completion import Ability, Sampling
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.protocols import Generator
from thence.core.review import REVIEW_STEP
from thence.core.scores import Meaning, Score
from thence.core.search import Result, Search
from thence.core.solve import solve
from thence.core.tree import Kind, Node
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare
from thence.strategies.critic_guided import REMARKS, CriticGuided
from thence.verifiers.basic import Agreement, LogProb
from thence.worlds import Branches

PROBLEM = Problem("p", "What is 7 + 8?")
HOT = Sampling(temperature=1.0, max_tokens=60)


@dataclass(frozen=True, slots=True)
class Exact:
    """1 for texts without an error, 0 for others."""

    name: str = "exact"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        return [Score(float("bad" not in search.tree.solution(n))) for n in nodes]


def policy(share: float = 0.15, told: float = 0.9, when: str = "carry the one") -> ScriptedGenerator:
    """Three steps, each good with chance ``share``, or ``told`` when the question says what was wrong."""

    def write(cue: Cue) -> str:
        steps = cue.reply.count("\n")
        if steps == 3:
            return f"#### {15 if 'bad' not in cue.reply else 14}"
        chance = told if when in cue.question else share
        return ("good" if random.Random(cue.seed).random() < chance else "bad") + f" step {steps}\n"

    return ScriptedGenerator(write, pace=0)


def critic(text: str) -> ScriptedGenerator:
    return ScriptedGenerator(lambda cue: text, name="critic", pace=0)


async def run(
    strategy: CriticGuided, generator: Generator, reviewer: Generator | None = None, *, seed: int = 0, **more: int
) -> Result:
    return await solve(
        PROBLEM,
        generator=generator,
        strategy=strategy,
        style=Bare(),
        reading=NumericReading(),
        sampling=HOT,
        seed=seed,
        roles={"critic": reviewer} if reviewer is not None else None,
        **more,
    )


async def test_a_critique_is_asked_for_once_where_no_step_is_good() -> None:
    generator, reviewer = policy(0.0, 1.0), critic("You did not carry the one.")
    result = await run(CriticGuided(Exact(), expansions=4, actions=2), generator, reviewer)
    assert result.answer == "15"
    assert result.trace == "good step 0\ngood step 1\ngood step 2\n#### 15"
    chats = [[m.content for m in r.context.messages] for r in reviewer.requests]
    assert chats[0] == [PROBLEM.text, "bad step 0\n", REVIEW_STEP]
    assert chats[1] == [PROBLEM.text, "good step 0\nbad step 1\n", REVIEW_STEP]
    hint = next(r for r in generator.requests if "carry" in r.context.messages[-1].content)
    assert hint.context.messages[-1].content == (
        "What is 7 + 8?\n\nA first try at the next step was:\nbad step 0\nA reviewer says about it:\n"
        "You did not carry the one.\nWrite a better one."
    )
    about = [n.about for n in result.tree if n.kind is Kind.CRITIQUE]
    assert len(about) == len(set(about)) == 3
    siblings = [n for n in result.tree if n.parent == 0 and n.kind is Kind.STEP]
    assert [(n.text, n.laws) for n in siblings] == [("bad step 0\n", ["", ""]), ("good step 0\n", ["hinted"])]


async def test_a_good_step_needs_no_critique() -> None:
    reviewer = critic("x")
    await run(CriticGuided(Exact(), actions=2), policy(1.0), reviewer)
    await run(CriticGuided(Exact(), actions=2, threshold=0.0), policy(0.0), reviewer)
    assert reviewer.requests == []


async def test_a_true_critique_helps_and_a_random_one_is_worth_a_plain_draw() -> None:
    strategy = CriticGuided(Exact(), expansions=8, actions=1)
    arms: list[tuple[Literal["model", "random", "off"], str]] = [
        ("model", "You did not carry the one."),
        ("model", "It looks odd."),
        ("random", ""),
        ("off", ""),
    ]
    right: list[list[bool]] = []
    for kind, text in arms:
        got = [await run(replace(strategy, critic=kind), policy(), critic(text), seed=s) for s in range(120)]
        right.append([r.answer == "15" for r in got])
    assert sum(right[0]) > sum(right[3]) + 40
    assert right[1] == right[2] == right[3]  # the retry has the same seed, whatever was said


@pytest.mark.parametrize("retries", [1, 3])
async def test_in_a_world_that_reads_no_remarks_it_equals_plain_resampling_at_equal_calls(retries: int) -> None:
    """Draw by draw: the same tree apart from what was said."""
    world = Branches(depth=3, branching=4, right_share=0.1, size=25)
    verifier = world.verifier(Meaning.VALUE, noise=1.0, logit=True)
    seen: list[list[object]] = []
    for kind in ("random", "off"):
        strategy = CriticGuided(verifier, 8, 2, 0.3, retries, critic=kind)  # type: ignore[arg-type]
        trees = []
        for problem in world.problems():
            result = await solve(
                problem,
                generator=world.generator(pace=0),
                strategy=strategy,
                style=Bare(),
                reading=world.task().reading,
                sampling=Sampling(temperature=1.0),
            )
            charged = result.ledger.total_charged.generated
            trees.append(([(n.parent, n.text, n.draws) for n in result.tree], result.answer, charged))
        seen.append(trees)  # type: ignore[arg-type]
    assert seen[0] == seen[1]


async def test_a_hint_is_read_for_the_first_time_and_so_is_what_it_led_to() -> None:
    """Charged: the question, the hinted question, and the step drawn under the hint when it is continued plainly."""
    generator = policy(0.0, 1.0, "A reviewer says")
    result = await run(CriticGuided(Exact(), expansions=2, actions=1, critic="random", depth=2), generator)
    assert [n.text for n in result.tree][1:5] == [f"{how} step {i}\n" for i in (0, 1) for how in ("bad", "good")]
    prompts = [generator.tokens(r.context) for r in generator.requests[:4]]  # the fifth continues a plain step
    distinct = {p[:i] for p in prompts for i in range(1, len(p) + 1)}
    told = result.ledger.charged["policy"].prompt
    assert told == len(distinct)
    assert any(remark in generator.requests[1].context.messages[-1].content for remark in REMARKS)


@pytest.mark.parametrize("text", ["", "No problems found."])
async def test_a_critic_that_says_nothing_leads_to_a_plain_draw(text: str) -> None:
    generator = policy(0.3)
    said = await run(CriticGuided(Exact(), 6, 1), generator, critic(text), seed=3)
    plain = await run(CriticGuided(Exact(), 6, 1, critic="off"), policy(0.3), seed=3)
    assert all("reviewer" not in r.context.messages[-1].content for r in generator.requests)
    assert said.trace == plain.trace


async def test_a_search_without_an_end_continues_its_best_state() -> None:
    result = await run(CriticGuided(Exact(), expansions=1, actions=2), policy(1.0))
    assert result.answer == "15"
    short = await run(CriticGuided(Exact(), expansions=9, actions=1, depth=2), policy(1.0))
    assert short.node is None


@pytest.mark.parametrize("budget", [*range(1, 60, 3), 100, 300])
@pytest.mark.parametrize("kind", ["model", "random", "off"])
async def test_a_budget_is_never_exceeded(budget: int, kind: Literal["model", "random", "off"]) -> None:
    strategy = CriticGuided(Exact(), 6, 2, critic=kind)
    result = await run(strategy, policy(), critic("It is wrong."), budget=budget)
    total = result.ledger.total_charged.total
    assert total is not None
    assert total <= budget
    assert result.answer is not None or result.stopped == "budget"


@pytest.mark.parametrize("field", ["expansions", "actions", "retries", "depth", "step_tokens", "critique_tokens"])
def test_what_makes_no_search_is_refused(field: str) -> None:
    with pytest.raises(UsageError, match=f"{field} is 0"):
        CriticGuided(LogProb(), **{field: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("verifier", [LogProb(), Agreement()], ids=["logprob", "agreement"])
@pytest.mark.parametrize("kind", ["model", "random", "off"])
def test_it_keeps_all_laws(kind: Literal["model", "random", "off"], verifier: LogProb | Agreement) -> None:
    check(lambda: CriticGuided(verifier, 6, 2, 0.9, critic=kind))
