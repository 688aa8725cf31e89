"""The steps of the tour, in their order. A new step is one entry here, and its texts in every language."""

from __future__ import annotations

from ..step import Step
from . import branches, chains, confidence, cost, coverage, greedy, trap, voting

STEPS = (
    Step("greedy", greedy.measure, greedy.OUTCOMES),
    Step("coverage", coverage.measure, coverage.OUTCOMES),
    Step("voting", voting.measure, voting.OUTCOMES),
    Step("chains", chains.measure, chains.OUTCOMES),
    Step("branches", branches.measure, branches.OUTCOMES),
    Step("confidence", confidence.measure, confidence.OUTCOMES),
    Step("trap", trap.measure, trap.OUTCOMES),
    Step("cost", cost.measure, cost.OUTCOMES),
)

__all__ = ["STEPS"]
