"""What the order of the responses does to a judge, from runs of universal self-consistency.

    thence eval TASK --strategy "universal-self-consistency(n=8,orders=8)" --role judge=MODEL --run usc.db
    python tools/order_effects.py usc.db

Per arm, over the problems on which a judge was asked and could be read: the share of replies (one per order) that name
the answer named most often, and the pull of the first and of the last place: how much more often than a judge that does
not look at places a reply names the answer that stands there, in points, with Student's interval over problems. A
judge that names the same answer in every order has a pull of exactly 0 where ``orders`` equals n, and of 0 in the mean
with fewer. 100 % and no pull is what one hopes for; a pull whose interval excludes 0 is an effect.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from thence.core.errors import ThenceError
from thence.evals.statistics.intervals import t_interval
from thence.evals.statistics.metrics import Interval
from thence.stores.sqlite import RunView
from thence.strategies.universal import OrderEffect, order_effect


@dataclass(frozen=True, slots=True)
class Effects:
    """One arm: shares and pulls with their intervals, over ``problems``."""

    arm: str
    problems: int
    replies: int
    agreement: float | None  # None where every problem has one readable reply
    first: tuple[float, Interval]
    last: tuple[float, Interval]

    @property
    def line(self) -> str:
        """A row of the table."""
        pulls = [
            f"{100 * mean:+6.1f} [{100 * low:+.1f}, {100 * high:+.1f}]" for mean, (low, high) in (self.first, self.last)
        ]
        agreeing = "-" if self.agreement is None else f"{100 * self.agreement:.1f} %"
        shown = f"{self.arm or 'the run':48} {self.problems:8d} {self.replies:8d} {agreeing:>10}"
        return f"{shown}  {pulls[0]:24} {pulls[1]}"


def summed(arm: str, effects: Sequence[OrderEffect]) -> Effects:
    """All problems of one arm together; UsageError with fewer than two."""
    several = [e.agreeing / e.readable for e in effects if e.readable > 1]
    return Effects(
        arm,
        len(effects),
        sum(e.readable for e in effects),
        sum(several) / len(several) if several else None,
        t_interval([(e.first - e.blind) / e.readable for e in effects]),
        t_interval([(e.last - e.blind) / e.readable for e in effects]),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per arm; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    made: list[Effects] = []
    try:
        with RunView(given.run) as run:
            for cell in run.cells():
                read = [order_effect(record.get("notes", ())) for record in run.results(cell).values()]
                found = [effect for effect in read if effect is not None]
                if len(found) > 1:
                    made.append(summed(cell.arm, found))
    except ThenceError as error:
        print(f"order_effects: {error}", file=sys.stderr)
        return error.exit_code
    if not made:
        print(f"order_effects: no arm of {given.run} has two problems on which a judge was read", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps([asdict(e) for e in made]))
        return 0
    print(f"{'arm':48} {'problems':>8} {'replies':>8} {'agreeing':>10}  {'pull of first place':24} pull of last place")
    for effects in made:
        print(effects.line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
