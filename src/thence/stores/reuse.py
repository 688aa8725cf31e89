"""``--reuse RUN.db``: samples of earlier runs, at no cost.

A sample found in an earlier run is copied into the present one, whose file so stays complete by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from thence.core.completion import Completion
from thence.core.protocols import SamplePool

from .sqlite import RunView


@dataclass(slots=True)
class ReusePool:
    """A ``SamplePool`` that asks ``primary`` first and the ``others`` in order; it writes to ``primary`` alone.

    ``reused`` counts samples taken from the others.
    """

    primary: SamplePool
    others: Sequence[RunView]
    reused: int = field(default=0, init=False)

    def get(self, key: str) -> Completion | None:
        """The sample of ``key`` from the first run that has it."""
        found = self.primary.get(key)
        if found is not None:
            return found
        for other in self.others:
            found = other.get(key)
            if found is not None:
                self.primary.put(key, other.problem_of(key) or "", found)
                self.reused += 1
                return found
        return None

    def put(self, key: str, problem: str, completion: Completion) -> None:
        """Keep a sample in the present run."""
        self.primary.put(key, problem, completion)
