"""Scripted draws for the tests of strategies."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from thence.core.completion import Sampling
from thence.core.problem import Problem
from thence.core.protocols import Generator, PromptStyle
from thence.core.search import Result, Strategy
from thence.core.solve import solve
from thence.generators.scripted import Cue, Line, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare

QUESTION = "What is 7 + 8?"
PROBLEM = Problem("p", QUESTION)
ALMOST = -1e-9  # the log of a probability of almost one


def said(*texts: str | Line) -> ScriptedGenerator:
    """Draw i is texts[i]; without event-loop turns, for speed."""
    return ScriptedGenerator(lambda cue: texts[cue.draw or 0], pace=0)


def answering(*answers: object) -> ScriptedGenerator:
    """Draw i answers answers[i]; None gives no answer."""
    return said(*("no idea" if a is None else f"#### {a}" for a in answers))


def drawing(law: dict[str, float]) -> ScriptedGenerator:
    """Samples whose answers follow ``law``."""
    return ScriptedGenerator(answers={QUESTION: list(law.items())}, template="#### {answer}", pace=0)


def weighed(answer: object, *logprobs: float) -> Line:
    """``#### answer`` with the log-probabilities of its marker, its answer and (0 unless given) its end."""
    given = (*logprobs, *[0.0] * (3 - len(logprobs)))
    return Line(f"#### {answer}", given, tuple((max(g, ALMOST), -50.0) for g in given))


def gapped(text: str, gaps: Sequence[float]) -> Line:
    """A text whose tokens have the given gaps between their two best probabilities, which sum to 1."""
    pairs = tuple((log((1 + g) / 2), log((1 - g) / 2) if g < 1 else -100.0) for g in gaps)
    return Line(text, tuple(best for best, _ in pairs), pairs)


async def solved(
    strategy: Strategy,
    generator: Generator,
    *,
    seed: int = 0,
    budget: int | None = None,
    style: PromptStyle = Bare(),
    temperature: float = 1.0,
) -> Result:
    """One problem solved."""
    return await solve(
        PROBLEM,
        generator=generator,
        strategy=strategy,
        style=style,
        reading=NumericReading(),
        sampling=Sampling(temperature=temperature, max_tokens=200),
        seed=seed,
        budget=budget,
    )


__all__ = ["PROBLEM", "QUESTION", "Cue", "answering", "drawing", "gapped", "said", "solved", "weighed"]
