"""Actions, bound and discriminator of rStar on scripts, and the laws. Its claims are tested in worlds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from drawing import PROBLEM, Cue, answering, solved

from thence import conformance
from thence.core.completion import Ability, Completion, Finish, Sampling
from thence.core.errors import UsageError
from thence.core.search import Result, Search
from thence.core.solve import solve
from thence.core.tree import Kind, Tree
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare
from thence.strategies.rstar import AGAIN, ASK, REPHRASE, REPLY, RStar, State, uct


def obedient(cue: Cue) -> str:
    """Does what it is told; without an instruction it writes one step and, asked for the rest, the answer."""
    for instruction, line in (
        (ASK, "What is half?"),
        (REPLY, "Half is 3"),
        (AGAIN, "Half is 4"),
        (REPHRASE, "We know"),
    ):
        if instruction in cue.question:
            return f"{line}\n"
    return "A thought\n" if cue.sampling.step_ends else f"#### {7 + cue.seed % 2}"


@dataclass(frozen=True, slots=True)
class Grow:
    """Only the tree of states."""

    rstar: RStar
    roots: list[State] = field(default_factory=list)
    needs: frozenset[Ability] = frozenset({Ability.CONTINUE})

    async def solve(self, search: Search) -> Result:
        self.roots.append(State("question", search.root))
        for rollout in range(self.rstar.rollouts):
            await self.rstar.roll(search, self.roots[0], rollout)
        return search.result(None)


async def grown(rstar: RStar, generator: ScriptedGenerator) -> tuple[State, Result]:
    grow = Grow(rstar)
    result = await solved(grow, generator)
    return grow.roots[0], result


async def test_each_state_has_the_actions_that_may_follow_it() -> None:
    root, _ = await grown(RStar(rollouts=40, depth=4, thoughts=1, questions=1), ScriptedGenerator(obedient, pace=0))
    follow: dict[str, set[str]] = {}
    for state in root.walk():
        if state.children and state.depth < 3:
            follow.setdefault(state.action, set()).update(c.action for c in state.children)
        elif state.children:
            assert {c.action for c in state.children} == {"finish"}
        assert state.depth <= 4
        assert state.ended == (state.action == "finish")
    assert follow == {
        "question": {"finish", "thought", "subquestion", "rephrase"},
        "rephrase": {"finish", "thought", "subquestion"},
        "subquestion": {"finish", "thought", "subquestion", "reanswer"},
        "reanswer": {"finish", "thought", "subquestion"},
        "thought": {"finish", "thought"},
    }


async def test_a_new_answer_takes_the_old_ones_place_and_questions_are_no_solution_text() -> None:
    root, result = await grown(
        RStar(rollouts=30, depth=3, thoughts=1, questions=1), ScriptedGenerator(obedient, pace=0)
    )
    tree = result.tree
    first = next(s for s in root.children if s.action == "subquestion")
    again = next(s for s in first.children if s.action == "reanswer")
    assert [n.kind for n in tree.path(first.node)] == [Kind.SUBQUESTION, Kind.STEP]
    assert "".join(n.text for n in tree.path(first.node)) == "What is half?\nHalf is 3\n"
    assert "".join(n.text for n in tree.path(again.node)) == "What is half?\nHalf is 4\n"
    assert tree.solution(again.node) == "Half is 4\n"
    reworded = next(s for s in root.children if s.action == "rephrase")
    assert [n.kind for n in tree.path(reworded.node)] == [Kind.REPHRASE]
    assert tree.solution(reworded.node) == ""


async def test_every_rollout_reaches_an_end_and_rewards_are_shares() -> None:
    rstar = RStar(rollouts=25, depth=4, votes=5)
    root, _ = await grown(rstar, ScriptedGenerator(obedient, pace=0))
    assert root.visits == 25
    for state in root.walk():
        if state.children and state.visits:
            below = [c for c in state.children if c.visits]
            passed = sum(c.visits for c in below)
            assert passed in (state.visits, state.visits - 1)  # who is expanded goes on, who is met first ends there
            assert state.total == pytest.approx(sum(c.total for c in below))
        if state.ended:
            assert state.reward in (0.6, 0.8, 1.0)  # the majority of five between two answers
            assert state.total == pytest.approx(state.visits * state.reward)


def test_uct_is_the_mean_reward_and_rare_visits() -> None:
    """ln 4 = 1.386: with c = 1 that is 2/3 + .680 against .2 + 1.177; without exploration the mean alone."""
    tree = Tree()
    node = tree.add(tree.root, Completion("x", Finish.STEP), (0,))
    often, once = State("thought", node, visits=3, total=2.0), State("thought", node, visits=1, total=0.2)
    parent = State("question", tree.root, visits=4, children=[often, once])
    assert often.total / 3 + math.sqrt(math.log(4) / 3) < 0.2 + math.sqrt(math.log(4))
    assert uct(parent, 1.0) is once
    assert uct(parent, 0.0) is often


async def test_the_share_of_an_answer_is_its_reward() -> None:
    """Votes 5 5 6 5: the child stands for 5 and three quarters."""
    root, _ = await grown(RStar(rollouts=1, depth=1, votes=4), answering(5, 5, 6, 5))
    [child] = root.children
    assert (child.action, child.answer, child.reward) == ("finish", "5", 0.75)


async def judged(critic: ScriptedGenerator, policy: ScriptedGenerator, **options: int) -> Result:
    return await solve(
        PROBLEM,
        generator=policy,
        strategy=RStar(**{"rollouts": 6, "depth": 3, "thoughts": 1, "questions": 0, "votes": 3, "masks": 4, **options}),
        style=Bare(),
        reading=NumericReading(),
        sampling=Sampling(temperature=1.0, max_tokens=60),
        roles={"critic": critic},
    )


def torn(cue: Cue) -> str:
    """A first step, then 1 from the question and 2 from the step."""
    if cue.reply:
        return "#### 2" if not cue.sampling.step_ends else "and so on\n"
    return "First\n" if cue.sampling.step_ends else "#### 1"


async def test_the_critic_decides_between_answers_and_is_on_its_own_book() -> None:
    for said in (1, 2):
        critic = ScriptedGenerator(lambda cue, said=said: f"#### {said}", pace=0)  # type: ignore[misc]
        result = await judged(critic, ScriptedGenerator(torn, pace=0))
        assert result.answer == str(said)
        assert "are consistent" in result.notes[0]
        generated = sum(n.multiplicity * (n.completion.generated or 0) for n in result.tree if n.role == "critic")
        assert result.ledger.charged["critic"].generated == generated
        assert len(critic.requests) % 4 == 0
        for request in critic.requests:  # the critic never sees the answer that it is asked for
            assert all("####" not in segment.text for segment in request.context.reply)


async def test_where_nobody_is_consistent_the_largest_reward_answers() -> None:
    critic = ScriptedGenerator(lambda cue: "#### 9", pace=0)
    result = await judged(critic, ScriptedGenerator(torn, pace=0))
    assert result.answer in ("1", "2")
    assert result.notes[0].startswith("0 of ")


async def test_one_answer_needs_no_critic() -> None:
    critic = ScriptedGenerator(lambda cue: "#### 9", pace=0)
    result = await judged(critic, ScriptedGenerator(lambda cue: "#### 4", pace=0))
    assert result.answer == "4"
    assert critic.requests == []


async def test_no_answer_at_all_is_no_answer() -> None:
    result = await solved(RStar(rollouts=3, depth=2), ScriptedGenerator(lambda cue: "I cannot say", pace=0))
    assert result.answer is None
    assert result.node is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rollouts": 0}, "rollouts is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"votes": 0}, "votes is 0"),
        ({"thoughts": -1}, "thoughts is -1"),
        ({"masks": -1}, "masks is -1"),
        ({"c": -1.0}, "c is -1.0"),
    ],
)
def test_what_makes_no_search_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RStar(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("masks", [0, 2])
def test_it_keeps_all_laws(masks: int) -> None:
    conformance.check(lambda: RStar(3, 3, 1, 1, 3, masks))
