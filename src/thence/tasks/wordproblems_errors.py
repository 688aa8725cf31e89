"""Wrong solutions of word problems with a known first error, made from right ones.

One step is spoiled in one of three ways: its result is off, it takes another number, or it does another operation; the
number that it gives goes on into the steps that use it. What such solutions teach is to find planted errors: a model's
own are of other kinds and at other places.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from .wordproblems import Step, WordProblem

OPERATIONS = {"+": "-*", "-": "+", "*": "+", "/": "*-"}


def spoil(problem: WordProblem, rng: Random) -> tuple[WordProblem, int]:
    """The problem with wrong steps and a wrong answer, and the index of its first wrong step.

    Drawn again until the step's result differs from the true one.
    """
    at = rng.randrange(len(problem.steps))
    true = problem.steps[at]
    while True:
        wrong = _letter(true, rng) if true.op == "last" else _spoiled(true, problem, rng)
        if wrong is not None and wrong.result != true.result:
            break
    steps = [*problem.steps[:at], wrong]
    for step in problem.steps[at + 1 :]:
        steps.append(_carried(step, problem.steps, steps))
    answer = "".join(step.result for step in steps) if true.op == "last" else steps[-1].result
    return replace(problem, steps=tuple(steps), answer=answer), at


def _letter(step: Step, rng: Random) -> Step:
    return replace(step, result=rng.choice(step.operands[0].lower()))


def _spoiled(step: Step, problem: WordProblem, rng: Random) -> Step | None:
    kind = rng.choices(("result", "operand", "operation"), (5, 3, 2))[0]
    a, b = step.operands
    if kind == "result":
        off = rng.choice((1, 1, 2, 10, 10, 20, 100))
        result = int(step.result) + rng.choice((-off, off))
        return replace(step, result=str(result)) if 1 <= result <= 999 else None
    if kind == "operation":
        return computed(replace(step, op=rng.choice(OPERATIONS[step.op])))
    others = {x for each in (*problem.steps, *problem.unneeded) for x in (*each.operands, each.result)} - {a, b}
    if not others:
        return None
    other = rng.choice(sorted(others))
    return computed(replace(step, operands=(other, b) if rng.random() < 0.7 else (a, other)))


def computed(step: Step) -> Step | None:
    """The step with the result of its own operation; None where that is no whole number from 1 to 999."""
    a, b = map(int, step.operands)
    if step.op == "/" and (b == 0 or a % b):
        return None
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[step.op]
    return replace(step, result=str(value)) if 1 <= value <= 999 else None


def _carried(step: Step, true: tuple[Step, ...], written: list[Step]) -> Step:
    """A later step with the wrong numbers of earlier ones in it, rightly computed where that gives a number."""
    operands = list(step.operands)
    for now, was in zip(written, true, strict=False):
        uses = was.entity == step.entity or was.entity in step.relation.split()
        if now.result != was.result and uses and was.result in operands:
            operands[operands.index(was.result)] = now.result
    if tuple(operands) == step.operands or step.op == "last":
        return step
    return computed(replace(step, operands=tuple(operands))) or step
