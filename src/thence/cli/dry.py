"""``--dry-run``: what a run would cost, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from thence.core.protocols import Generator, Task
from thence.evals.evaluate import Arm, chosen_problems

from .present import number, out, plain, print_json, table


def show_estimate(
    task: Task,
    generator: Generator,
    arms: Sequence[Arm],
    *,
    seeds: int,
    limit: int | None,
    budgets: Sequence[int | None],
    price: str | None,
    json: bool,
) -> int:
    """Print requests, tokens, seconds and money with their ranges; returns the exit code."""
    from thence.evals.estimate import Price, estimate

    problems = chosen_problems(task, limit)
    prices = Price.parse(price) if price is not None else None
    made = [
        (budget, estimate(problems, generator, arm, seeds=seeds, budget=budget, price=prices))
        for budget in budgets
        for arm in arms
    ]
    if json:
        print_json({"estimates": [{"budget": b, **e.document()} for b, e in made]})
        return 0
    rows = [
        [
            e.arm,
            "none" if b is None else f"{b:,}",
            number(e.requests),
            number(e.prompt_tokens),
            _range(e.generated),
            _range(e.seconds),
            _range(e.money, 4),
        ]
        for b, e in made
    ]
    columns = ["strategy", "budget", "requests", "prompt tokens", "generated tokens", "seconds", "money"]
    notes = dict.fromkeys(note for _, e in made for note in e.notes)
    out.print(table("nothing was run", columns, rows, (1, 2, 3, 4, 5, 6)))
    for note in notes:
        out.print(plain(note, "dim"))
    return 0


def _range(pair: tuple[float, float] | None, digits: int = 0) -> str:
    return "unknown" if pair is None else f"{pair[0]:,.{digits}f} to {pair[1]:,.{digits}f}"
