"""Right answers by wrong steps: the trace error, beside accuracy.

Uesato et al. 2022 (arXiv:2211.14275): of the solutions with the right answer, the share in which some step is wrong. It
can be measured where a task or a world knows the truth of every written step; a solution with steps that cannot be read
is neither right nor wrong here, and is counted apart. Two wrong steps may cancel, an unused one may be wrong, and a
guess needs no steps at all: accuracy sees none of this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .intervals import cluster_interval
from .metrics import Interval, wilson


@dataclass(frozen=True, slots=True)
class TraceError:
    """Of ``right`` right answers: how many have a wrong step, only right ones, or steps that cannot be judged.

    ``error`` is the share with a wrong step among those that can be judged, with its 95 % ``interval``; ``wrong_clean``
    are wrong answers of which every step is right (a slip in the answer line, or an unfinished solution).
    """

    right: int
    flawed: int
    clean: int
    unknown: int
    wrong: int
    wrong_clean: int
    interval: Interval

    @property
    def error(self) -> float | None:
        """None where no right answer has steps that can be judged."""
        judged = self.flawed + self.clean
        return self.flawed / judged if judged else None

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self) | {"error": self.error}


def trace_error(solutions: Iterable[tuple[str, bool, bool | None]]) -> TraceError:
    """From (problem, is the answer right, is every step true) of each solution; None where steps cannot be judged.

    Solutions of one problem, such as those of several seeds, are a cluster.
    """
    counts = dict.fromkeys(("right", "flawed", "clean", "unknown", "wrong", "wrong_clean"), 0)
    flaws: dict[str, float] = {}
    problems: dict[str, str] = {}
    for i, (problem, correct, sound) in enumerate(solutions):
        if correct:
            counts["right"] += 1
            counts["unknown" if sound is None else "clean" if sound else "flawed"] += 1
            if sound is not None:
                flaws[str(i)], problems[str(i)] = float(not sound), problem
        else:
            counts["wrong"] += 1
            counts["wrong_clean"] += sound is True
    return TraceError(**counts, interval=_interval(flaws, problems))


def _interval(flaws: dict[str, float], problems: dict[str, str]) -> Interval:
    different = len(set(problems.values()))
    if different < 2 or different == len(flaws):
        share = sum(flaws.values()) / len(flaws) if flaws else 0.0
        return wilson(share * different, different)
    return cluster_interval(flaws, problems).interval
