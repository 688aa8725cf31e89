"""What a visit finds: checks, and what a missing ability means for a method."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from thence.core.clean import one_line


class Finding(StrEnum):
    """The outcome of one check."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    MEASURED = "measured"  # a number, neither good nor bad


class Use(StrEnum):
    """What a method may ask of a model where there is a way around, or where an answer may be of little use."""

    SAMPLES = "samples"  # several samples of one prompt
    STOPS = "stops"  # stop strings
    STEPS = "steps"  # strings that end a step and stay in its text
    BEGUN = "begun"  # a begun reply is continued
    LOGPROBS = "logprobs"  # log-probabilities of sampled tokens
    BUDGET = "budget"  # token counts of every sample


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that may be possible, and what was seen."""

    name: str
    finding: Finding
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What happens instead. ``fatal``: nothing does, and a method that asks for it fails or gains nothing."""

    why: str
    fatal: bool = False


@dataclass(slots=True)
class Notes:
    """Findings as they come in."""

    checks: list[Check] = field(default_factory=list)
    shortfalls: dict[Use, Shortfall] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)

    def note(self, name: str, finding: bool | Finding, seen: str = "") -> bool:
        """Add a check; returns whether it is a yes."""
        state = finding if isinstance(finding, Finding) else Finding.YES if finding else Finding.NO
        self.checks.append(Check(name, state, one_line(seen, 200)))
        return state is Finding.YES

    def found(self, name: str) -> Finding | None:
        """The outcome of an earlier check."""
        return next((check.finding for check in self.checks if check.name == name), None)

    def falls_short(self, use: Use, why: str, *, fatal: bool = False) -> None:
        """What happens instead of ``use``; what is fatal comes before what is not."""
        known = self.shortfalls.get(use)
        if known is None or (fatal and not known.fatal):
            self.shortfalls[use] = Shortfall(why, fatal)


__all__ = ["Check", "Finding", "Notes", "Shortfall", "Use"]
