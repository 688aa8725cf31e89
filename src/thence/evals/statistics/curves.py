r"""What accuracy costs: FLOPs, the Pareto front, the knee, and search against a larger model.

* **FLOPs**: a forward pass of a model with N parameters takes about 2 N per token, read or written (Kaplan et al. 2020,
  arXiv:2001.08361); training takes 6 N per token. Prompt tokens count, and so does the verifier, with its own N and the
  tokens it is charged for. Attention over the context is left out: below a context of about 12 times the width it is
  the smaller part.
* **Pareto front**: the arms that no other arm beats in accuracy at equal or lower cost.
* **Knee**: on that front, the first arm from which a doubling of the cost gains less than one point; not the dearest.
* **Against a larger model** (Snell et al. 2024, arXiv:2408.03314, section 7): a model m times as large costs m (X + Y)
  where the small one costs X = 6 N D_pre to train and Y = 2 N D_inf to use. With R = D_inf / D_pre, the same total lets
  the small model use c = m + 3 (m - 1) / R times its own inference tokens: 257.75, 63.37 and 15.77 for m = 14 and
  R = .16, .79 and 22.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.budget import Charged
from thence.core.errors import DataError, UsageError

RATIOS = (0.16, 0.79, 22.0)  # Snell et al.: far fewer, about as many, far more tokens used than trained on
GAIN = 0.01  # accuracy per doubling below which more is not worth it


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many parameters the policy and its verifier have."""

    policy: float
    verifier: float | None = None

    @staticmethod
    def parse(text: str) -> Parameters:
        """``"7e9"``, ``"7b"`` or, with the verifier's, ``"7b,1.5b"``."""
        sizes = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
        try:
            values = [
                float(part[:-1]) * sizes[part[-1]] if part[-1:] in sizes else float(part)
                for part in (p.strip().lower() for p in text.split(","))
            ]
        except ValueError:
            values = []
        if len(values) not in (1, 2) or not all(0 < v < math.inf for v in values):
            raise UsageError(f"parameters {text!r} are not POLICY or POLICY,VERIFIER; write e.g. 7b or 7b,1.5b")
        return Parameters(*values)

    def flops(self, charged: Charged) -> float | None:
        """2 N for every charged token; None where a count is unknown. UsageError if the verifier's size is missing."""
        if charged.prompt is None or charged.generated is None or charged.verifier is None:
            return None
        if charged.verifier and self.verifier is None:
            raise UsageError(
                f"{charged.verifier:,} verifier tokens are charged; say how large the verifier is, e.g. 7b,1.5b"
            )
        return 2 * (self.policy * (charged.prompt + charged.generated) + (self.verifier or 0.0) * charged.verifier)


def matched_factor(times_larger: float, ratio: float) -> float:
    """How many times its own inference tokens a model may use at the total cost of one ``times_larger`` as large.

    ``ratio`` is R = D_inf / D_pre, the tokens it will be used for by the tokens it was trained on.
    """
    if times_larger < 1 or ratio <= 0 or not math.isfinite(times_larger * ratio):
        raise UsageError(f"a model {times_larger} times as large at R = {ratio}: give at least 1, and R above 0")
    return times_larger + 3 * (times_larger - 1) / ratio


@dataclass(frozen=True, slots=True)
class Priced:
    """One arm: what it costs (in any one unit) and how often it is right."""

    name: str
    cost: float
    accuracy: float


def pareto(arms: Sequence[Priced]) -> list[Priced]:
    """The arms that no other one beats, cheapest first; of equal ones the first. DataError for a cost that is none."""
    for arm in arms:
        if not (math.isfinite(arm.accuracy) and math.isfinite(arm.cost) and arm.cost >= 0):
            raise DataError(f"{arm.name}: cost {arm.cost} and accuracy {arm.accuracy} must be numbers")
    front: list[Priced] = []
    for arm in sorted(arms, key=lambda a: (a.cost, -a.accuracy)):
        if not front or arm.accuracy > front[-1].accuracy:
            front.append(arm)
    return front


def knee(arms: Sequence[Priced], gain: float = GAIN) -> Priced | None:
    """The first arm of the front from which no dearer one gains ``gain`` per doubling of the cost.

    The gain to each dearer arm counts, not only to the next: a flat stretch before a rise is no knee. None where even
    the dearest arm still gains: what lies beyond was not measured.
    """
    for arm in pareto(arms):
        dearer = [other for other in arms if other.cost > arm.cost]
        if dearer and all(other.accuracy - arm.accuracy < gain * _doublings(arm, other) for other in dearer):
            return arm
    return None


def _doublings(cheap: Priced, dear: Priced) -> float:
    return math.log2(dear.cost / cheap.cost) if cheap.cost > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Against:
    """A small model with search against a larger one, at one ratio R of tokens used to tokens trained on.

    ``used`` is the small arm's cost per problem in the large arm's inference tokens at the small model's size (so
    verifier FLOPs are in it), ``allowed`` what the same total cost would pay for.
    """

    ratio: float
    used: float
    allowed: float

    @property
    def within(self) -> bool:
        """Whether the small model with its search costs at most as much as the large one."""
        return self.used <= self.allowed


def against(
    small: Charged, sizes: Parameters, large: Charged, large_sizes: Parameters, ratios: Sequence[float] = RATIOS
) -> list[Against] | None:
    """Snell et al.'s comparison of two arms for each ratio; None where a count is unknown.

    UsageError if the second model is not the larger one. Both are taken to be trained on the same number of tokens.
    """
    if large_sizes.policy <= sizes.policy:
        raise UsageError(f"{large_sizes.policy:g} parameters are not more than {sizes.policy:g}; swap the arms")
    cost, tokens = sizes.flops(small), large_sizes.flops(large)
    if cost is None or not tokens:
        return None
    inference = tokens / (2 * large_sizes.policy)  # tokens that the large model is paid for
    used = cost / (2 * sizes.policy * inference)
    return [Against(r, used, matched_factor(large_sizes.policy / sizes.policy, r)) for r in ratios]
