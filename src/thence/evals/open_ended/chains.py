"""Judging whole chains of reasoning by criteria, where it is known which are sound: how good are the criteria?

The second half of AutoRace (Hao et al. 2024, arXiv:2404.05221): a chain is called sound if a judge finds that it meets
every criterion of a rubric. Measured are the share of verdicts that are true, unsound chains that pass, sound ones that
are accused, replies that cannot be read, and what the method is for: of chains with a right answer and a wrong step
(*lucky* ones, which an answer check cannot see), how many are found.

Two controls cost nothing: who calls every chain sound finds no lucky one, and who calls every chain unsound accuses all
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.completion import Completion, Finish, Origin
from thence.core.problem import Problem
from thence.core.protocols import Generator
from thence.core.search import POLICY, Search
from thence.core.tree import Kind
from thence.evals.critics import Rate, clustered
from thence.grading.extract import default_reading
from thence.prompts.styles import Bare
from thence.verifiers.rubric import Rubric, RubricVerifier


@dataclass(frozen=True, slots=True)
class Chain:
    """A solution to a question, whether its answer is right, and whether every step of it is."""

    question: str
    text: str
    right: bool
    sound: bool


@dataclass(frozen=True, slots=True)
class Soundness:
    """``accuracy``: true verdicts of those that could be read; ``passed``: unsound chains called sound; ``accused``:
    sound ones called unsound; ``lucky``: chains with a right answer and a wrong step that were found; ``unread``:
    chains without a verdict."""

    accuracy: Rate
    passed: Rate
    accused: Rate
    lucky: Rate
    unread: Rate


async def judge_chains(rubric: Rubric, generator: Generator, chains: Sequence[Chain]) -> list[bool | None]:
    """A verdict per chain, by one greedy reply each; None where not every criterion could be read."""
    verifier = RubricVerifier(rubric)
    said: list[bool | None] = []
    for chain in chains:
        search = Search(
            Problem("chain", chain.question),
            {POLICY: generator},
            Bare(),
            default_reading(),
            generator.defaults.greedy(),
        )
        text = Completion.of(chain.text, Finish.EOS)
        node = search.tree.add(search.root, text, (0,), kind=Kind.FINISH, origin=Origin.GIVEN)
        replies = await verifier.replies(search, [node])
        said.append(None if replies[0].truncated else rubric.sound(replies[0].completion.reply))
    return said


def soundness(verdicts: Sequence[bool | None], chains: Sequence[Chain]) -> Soundness:
    """What the verdicts are worth; questions are the independent units of every interval."""
    known = [(v, c) for v, c in zip(verdicts, chains, strict=True) if v is not None]

    def rate(pairs: Sequence[tuple[Chain, float]]) -> Rate:
        groups: dict[str, list[float]] = {}
        for chain, value in pairs:
            groups.setdefault(chain.question, []).append(value)
        return clustered(list(groups.values()))

    return Soundness(
        rate([(c, float(v is c.sound)) for v, c in known]),
        rate([(c, float(v)) for v, c in known if not c.sound]),
        rate([(c, float(not v)) for v, c in known if c.sound]),
        rate([(c, float(not v)) for v, c in known if c.right and not c.sound]),
        rate([(c, float(v is None)) for v, c in zip(verdicts, chains, strict=True)]),
    )


__all__ = ["Chain", "Soundness", "judge_chains", "soundness"]
