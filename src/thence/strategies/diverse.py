"""DiVeRSe, diverse verifier on reasoning steps (Li et al. 2022, arXiv:2206.02336): several prompts, one weighted vote.

The same question is asked under M1 prompts with different exemplars, M2 samples each, and the answer is

    argmax_a sum_i 1[a_i = a] f(x, z_i, a_i)

over all M1 x M2 solutions z_i, with a verifier's number f as the weight of each vote. What a prompt makes wrong it
makes wrong in its own way: with prompt j right with chance p_j and its wrong votes on answers of its own, a single
prompt below one half is lost however often it is sampled, while together the right votes, sum_j M2 p_j, have to beat
the wrong ones of one prompt only. Compare at equal numbers of samples: ``prompts=1`` is the control.

The prompts are the style's own variants, the first of them its plain one, whose samples are those of any other method.
A style that has fewer (one that shows no exemplars has one) is sampled more often under each; a note says so.

Differs from the paper: the verifier is any (its step-aware one: ``thence train orm --step-weight 0.1`` on labels of
``thence label --method diverse``), and exemplars come from a short list and not from a training set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from thence.core.completion import Ability
from thence.core.errors import check_counts
from thence.core.problem import Message, Problem
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import Select, select


@runtime_checkable
class Varied(Protocol):
    """A prompt style that can put a problem in several ways, its own first; fewer than ``m`` where there are no more.

    All of them begin the reply as the style's own does.
    """

    def variants(self, problem: Problem, m: int) -> Sequence[tuple[Message, ...]]: ...


@dataclass(frozen=True, slots=True)
class Diverse:
    """``n`` samples, spread evenly over ``prompts`` prompts, and a vote weighted by ``verifier`` (or its favourite)."""

    verifier: Verifier
    n: int = 20
    prompts: int = 5
    select: Select = "vote"
    default_prompt = "few-shot-cot"

    def __post_init__(self) -> None:
        check_counts("diverse", n=self.n, prompts=self.prompts)

    @property
    def width(self) -> int:
        """Samples per problem that run at once: those of one prompt."""
        return -(-self.n // self.prompts)

    @property
    def needs(self) -> frozenset[Ability]:
        """What its verifier needs."""
        return self.verifier.needs

    async def solve(self, search: Search) -> Result:
        """Sample under each prompt in turn, then vote."""
        nodes: list[Node] = []
        style, plain = search.style, search.context(search.root).messages
        wanted = min(self.prompts, self.n)
        prompts = list(style.variants(search.problem, wanted)) if isinstance(style, Varied) else [plain]
        for i, messages in enumerate(prompts):
            if search.stopped:
                break
            count = self.n // len(prompts) + (i < self.n % len(prompts))
            nodes += await search.expand(n=count, messages=None if messages == plain else messages)
        for node in nodes:
            await search.answer(node)
        few = f"{len(prompts)} of {wanted} prompts: {style.name} has no more for this problem"
        notes = [few] if len(prompts) < wanted else []
        return await select(search, nodes, self.verifier, self.select, "diverse", notes)
