"""A task as an environment: Gymnasium's own checker, and rollouts that are the paths of a search's tree."""

from __future__ import annotations

import builtins
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.scores import Meaning, Score
from thence.core.search import Result, Search
from thence.core.segmenter import Kind, Segmenter
from thence.core.solve import solve
from thence.core.tree import Node
from thence.evals import environment as module
from thence.evals.environment import environment
from thence.prompts.styles import Bare
from thence.strategies.mcts import Mcts
from thence.tasks.jsonl import Jsonl
from thence.verifiers.basic import Agreement, LogProb
from thence.verifiers.data_flow import DataFlow
from thence.worlds import Branches, Chain, World

gymnasium = pytest.importorskip("gymnasium")
checker = pytest.importorskip("gymnasium.utils.env_checker")

WORLD = Branches(depth=3, branching=3, right_share=0.3, size=6)


@dataclass(frozen=True, slots=True)
class Whole:
    """A number for whole solutions only."""

    name: str = "whole"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        return [Score(len(search.tree.solution(node)) / 100) for node in nodes]


async def searched(world: World, problem: Problem, meaning: Meaning) -> Result:
    verifier = world.verifier(meaning)
    return await solve(
        problem,
        generator=world.generator(pace=0),
        strategy=Mcts(verifier, simulations=60, actions=3, c=5.0),
        style=Bare(),
        reading=world.task().reading,
    )


def taken(
    env: Any, problem: Problem, actions: Sequence[str]
) -> tuple[list[float], dict[str, str], bool, dict[str, Any]]:
    """Rewards, the last observation, whether it ended, the last info; nothing ends before the last action."""
    observation, info = env.reset(options={"problem": problem.id})
    assert observation == {"question": problem.text, "solution": ""}
    rewards, ended = [], False
    for action in actions:
        assert not ended
        observation, reward, ended, cut, info = env.step(action)
        assert not cut
        assert observation in env.observation_space
        rewards.append(reward)
    return rewards, observation, ended, info


@pytest.mark.parametrize("verifier", [None, DataFlow(), Whole(), WORLD.verifier(Meaning.VALUE)])
def test_gymnasium_finds_nothing_wrong(verifier: Any) -> None:
    env = environment(WORLD.task(), verifier, max_steps=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(env, skip_render_check=True)


@pytest.mark.parametrize("world", [WORLD, Chain(steps=3, size=4)])
async def test_rollouts_are_the_paths_of_a_search(world: World) -> None:
    """Every ended path of an MCTS's tree, step by step: same text, same scores, the task's grade at the end."""
    by_grade, by_value = environment(world.task()), environment(world.task(), world.verifier(Meaning.VALUE))
    paths, right = 0, 0
    for problem in world.problems():
        tree = (await searched(world, problem, Meaning.VALUE)).tree
        for leaf in (n for n in tree.nodes if n.kind == "finish"):
            paths += 1
            actions = [n.text for n in tree.path(leaf)]
            rewards, observation, ended, info = taken(by_grade, problem, actions)
            assert observation["solution"] == tree.solution(leaf)
            assert ended
            assert leaf.found is not None
            grade = world.task().grade(problem, tree.solution(leaf), leaf.found.value)
            assert rewards == [0.0] * (len(actions) - 1) + [float(grade.correct)]
            assert (info["verdict"], info["answer"]) == (grade.verdict, leaf.found.value)
            right += grade.correct
            values = taken(by_value, problem, actions)[0]
            known = [world.value(problem, tree.solution(node)) for node in tree.path(leaf)]
            assert values == pytest.approx(known)
    assert paths > 2 * len(world.problems())
    assert 0 < right < paths


async def test_a_process_reward_is_the_step_score_of_the_same_node_in_the_search() -> None:
    """For validity, whose step scores do not count the line of the answer: it is paid its last step's again."""
    world = Chain(steps=3, size=5)
    env = environment(world.task(), world.verifier(Meaning.PREFIX_VALID))
    for problem in world.problems():
        result = await searched(world, problem, Meaning.PREFIX_VALID)
        for node in result.tree.nodes:
            for score in node.scores.values():
                rewards = taken(env, problem, [n.text for n in result.tree.path(node)])[0]
                assert rewards[-1] == score.steps[-1]


def test_a_number_for_the_whole_is_paid_once_at_the_end() -> None:
    problem = WORLD.problems()[0]
    env = environment(WORLD.task(), Whole())
    rewards, _, ended, _ = taken(env, problem, ["take 1.\n", "take 2.\n", ""])
    assert (rewards, ended) == ([0.0, 0.0, 0.16], True)


def test_the_end_of_text_is_no_step() -> None:
    problem = WORLD.problems()[0]
    env = environment(WORLD.task(), WORLD.verifier(Meaning.VALUE))
    rewards, observation, ended, info = taken(env, problem, ["take 1.\n", ""])
    assert rewards == [WORLD.value(problem, "take 1.\n"), 0.0]
    assert (ended, info["verdict"], observation["solution"]) == (True, "no_answer", "take 1.\n")
    rewards, *_ = taken(environment(WORLD.task()), problem, [""])
    assert rewards == [0.0]


def test_the_same_seed_gives_the_same_problem_and_all_are_reached() -> None:
    env = environment(WORLD.task())
    first = [env.reset(seed=s)[1]["problem"] for s in range(40)]
    assert first == [env.reset(seed=s)[1]["problem"] for s in range(40)]
    assert set(first) == {p.id for p in WORLD.problems()}


def test_an_episode_is_cut_and_then_over() -> None:
    env = environment(WORLD.task(), max_steps=2)
    with pytest.raises(UsageError, match="call reset first"):
        env.step("take 1.\n")
    env.reset(seed=1)
    assert env.step("take 1.\n")[2:4] == (False, False)
    assert env.step("take 1.\n")[2:4] == (False, True)
    with pytest.raises(UsageError, match="over; call reset"):
        env.step("take 1.\n")


def test_steps_end_where_the_segmenter_says() -> None:
    env = environment(WORLD.task(), segmenter=Segmenter(Kind.STEP))
    env.reset(seed=0)
    assert not env.step("Step 1: 2 + 2 = 4\n")[2]
    assert env.step("Step 2: The answer is: 4")[2]


@pytest.mark.parametrize(
    ("verifier", "said"), [(LogProb(), r"logprob needs a model \(logprobs\)"), (None, "has no references")]
)
def test_what_can_never_be_paid_is_refused(tmp_path: Path, verifier: Any, said: str) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "why?"}\n')
    with pytest.raises(UsageError, match=said):
        environment(Jsonl(str(tmp_path / "q.jsonl")), verifier)


def test_bad_actions_and_unknown_problems_are_named() -> None:
    env: Any = environment(WORLD.task(), step_chars=10)
    with pytest.raises(UsageError, match="no problem 'nobody'"):
        env.reset(options={"problem": "nobody"})
    env.reset(seed=0)
    for action in ("x" * 11, 3, None):
        with pytest.raises(UsageError, match="a text of at most 10 characters"):
            env.step(action)
    with pytest.raises(UsageError, match="max_steps is 0"):
        environment(WORLD.task(), max_steps=0)


def test_without_gymnasium_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "gymnasium":
            raise ImportError(name)
        return original(name, *rest, **more)

    module._environment_class.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="pip install gymnasium"):
        environment(WORLD.task())
    monkeypatch.undo()
    assert environment(WORLD.task()).reset(seed=0)


def test_importing_the_module_imports_no_gymnasium() -> None:
    code = "import sys, thence.evals.environment; print('gymnasium' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_agreement_is_alone_here() -> None:
    """A verifier that compares samples sees one solution only: it agrees with itself as soon as it has an answer."""
    problem = WORLD.problems()[0]
    rewards = taken(environment(WORLD.task(), Agreement()), problem, ["take 1.\n", "#### 42"])[0]
    assert rewards == [0.0, 1.0]
