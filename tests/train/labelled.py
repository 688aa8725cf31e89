"""Hand-made label records on the small word tokenizer, for the tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Meaning

QUESTION = "Tom has 3 apples and Ann has 4 . how many in total ?"


def record(
    steps: Sequence[str],
    numbers: Sequence[float | None],
    correct: bool | None,
    *,
    problem: str = "p",
    meaning: Meaning = Meaning.VALUE,
    tail: str = "",
    **extra: Any,
) -> Labelled:
    """A solution of ``steps`` with one number each (None: unlabelled) and ``tail`` after the last one."""
    ends = [sum(map(len, steps[: i + 1])) for i in range(len(steps))]
    labels = tuple((Label(meaning, x, Source.EXACT),) for x in numbers)
    extra = {"question": QUESTION, **extra}
    return Labelled(problem, "".join(steps) + tail, tuple(ends), labels, correct, extra)


def digit_problems(n: int, *, labelled: bool = True) -> list[Labelled]:
    """Two solutions of each of ``n`` questions, one right (it repeats the question's digits), one wrong.

    The wrong one copies a wrong digit in its second step. Anyone who can compare digits tells them apart.
    """
    made = []
    for i in range(n):
        a, b = (i * 7) % 10, (i * 3 + i // 10) % 10
        question = f"Tom has {a} apples and Ann has {b} . how many in total ?"
        for right in (True, False):
            second = b if right else (b + 1 + i % 8) % 10
            steps = (f" Tom has {a}\n", f" Ann has {second}\n", f" so {(a + second) % 10}")
            numbers = (1.0, float(right), float(right)) if labelled else (None, None, None)
            made.append(record(steps, numbers, right, problem=f"q{i}", question=question))
    return made
