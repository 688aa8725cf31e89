"""Served process reward models against a real server (``make test-vllm``): the same numbers as the model run here.

Three tiny random checkpoints of published classes, one server at a time: a causal model (Math-Shepherd), the class of
Qwen2.5-Math-PRM, whose pooler picks the step tags, and a token classifier, which gives a number per token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving import Served, serve, skip_without_vllm
from tiny import make_reward

from thence.core.budget import Spent
from thence.core.completion import Sampling
from thence.core.errors import ThenceError
from thence.core.problem import Problem
from thence.core.scores import Score
from thence.core.search import POLICY, VERIFIER, Search
from thence.generators.scripted import ScriptedGenerator
from thence.methods import verifier
from thence.prompts.styles import Bare
from thence.tasks.wordproblems_task import WordProblemsTask

pytestmark = pytest.mark.vllm

# Longer than two of the blocks of 128 tokens that vLLM caches on a CPU; a byte is a token here.
QUESTION = "Tom has 3 pens and Ann has 4. " * 9 + "How many in all?"
STEPS = ("Tom: 3\n", "Ann: 4 <<3+4=7>>\n", "In all 7\n#### 7")
CAUSAL, TAGGED, LINES = "math-shepherd", "qwen-prm", "token-classification"
EQUAL = 1e-5  # measured: below 1e-6
OTHER = {CAUSAL: LINES, TAGGED: CAUSAL, LINES: CAUSAL}  # a format that is read through the other endpoint


@dataclass(frozen=True)
class Reward:
    """A reward model on a server, and how it is named there and here."""

    fmt: str
    served: Served

    @property
    def there(self) -> str:
        return self.named(self.fmt)

    @property
    def here(self) -> str:
        return f"prm:{self.served.folder}(format={self.fmt}, dtype=float32)"

    def named(self, fmt: str, name: str = "") -> str:
        """The verifier on the server, read by ``fmt``."""
        return f"prm:{name or self.served.name}@{self.served.url}(format={fmt}, tokenizer={self.served.folder})"


def tag_id(folder: Path) -> int:
    from transformers import AutoTokenizer

    tag: int = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<extra_0>")
    return tag


@pytest.fixture(scope="module", params=[CAUSAL, TAGGED, LINES])
def reward(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reward]:
    """One server after the other."""
    skip_without_vllm()
    folder = make_reward(tmp_path_factory.mktemp("reward"), request.param)
    flags: list[str] = [] if request.param == CAUSAL else ["--runner", "pooling"]
    if request.param == TAGGED:
        flags += ["--pooler-config", f'{{"step_tag_id": {tag_id(folder)}}}']
    with serve(folder, "prm", tmp_path_factory.mktemp("log") / "vllm.log", *flags) as served:
        yield Reward(request.param, served)


async def scored(spec: str, steps: tuple[str, ...] = STEPS, question: str = QUESTION) -> tuple[Score, Spent]:
    """What the verifier says of a solution that it has not seen before, and what that has cost."""
    search = Search(
        Problem("p", question),
        {POLICY: ScriptedGenerator(answers={})},
        Bare(),
        WordProblemsTask().reading,
        Sampling(temperature=1.0),
    )
    own = verifier(spec)
    [score] = await search.score([search.given("".join(steps))], own)
    return score, search.ledger.book(f"{VERIFIER}:{own.name}")


async def test_the_numbers_are_those_of_the_model_run_here(reward: Reward, tmp_path: Path) -> None:
    """And not those of another checkpoint of the same class."""
    there, _ = await scored(reward.there)
    here, _ = await scored(reward.here)
    assert len(there.steps) == len(STEPS)
    assert there.steps == pytest.approx(here.steps, abs=EQUAL)
    assert there.value == pytest.approx(here.value, abs=EQUAL)
    assert max(here.steps) - min(here.steps) > 1e-3, "steps with equal numbers would hide a wrong order"
    make_reward(tmp_path, reward.fmt, seed=1)
    other, _ = await scored(f"prm:{tmp_path}(format={reward.fmt}, dtype=float32)")
    assert max(abs(a - b) for a, b in zip(there.steps, other.steps, strict=True)) > 1000 * EQUAL


async def test_a_longer_solution_costs_what_is_not_in_the_cache(reward: Reward) -> None:
    """By the server's own count of what it had in its cache, and the metric of that cache."""
    question = QUESTION.replace("Tom", "Sam")  # not in the cache yet
    short, _ = await scored(reward.there, STEPS[:2], question)
    before = reward.served.metric("prefix_cache_hits_total")
    long, spent = await scored(reward.there, STEPS, question)
    hits = reward.served.metric("prefix_cache_hits_total") - before
    assert long.steps[:2] == pytest.approx(short.steps, abs=EQUAL)
    assert spent.verifier is not None
    assert spent.verifier > 0
    assert (spent.untold or 0) == 0
    if reward.fmt == CAUSAL:
        assert spent.reused == hits >= len(STEPS) * 256  # two blocks of the question at every place
        assert spent.verifier < hits
    else:  # a pooler needs the states of all tokens, which no cache has: the server reads them again
        assert spent.reused == 0
        assert spent.verifier > 256


async def test_the_wrong_endpoint_is_an_error(reward: Reward) -> None:
    with pytest.raises(ThenceError, match="404"):
        await scored(reward.named(OTHER[reward.fmt]))


async def test_a_model_that_is_not_served_is_an_error(reward: Reward) -> None:
    with pytest.raises(ThenceError, match="oak"):
        await scored(reward.named(reward.fmt, "oak"))


async def test_a_solution_longer_than_the_context_is_an_error(reward: Reward) -> None:
    with pytest.raises(ThenceError, match=r"context|maximum|tokens"):
        await scored(reward.there, ("Tom: 3 " * 200 + "\n",))
