"""Prompts that make a model recall, step back, or check itself before it answers.

| name | paper | what it asks |
|---|---|---|
| analogical | Yasunaga et al. 2023, arXiv:2310.01714 | related problems of its own making, solved, then the problem |
| step-back | Zheng et al. 2023, arXiv:2310.06117 | first call: the general question behind it; second: the problem |
| self-verify | | words, then a program traced by hand, then a comparison |

**analogical.** One call with K problems of the model's own making, all distinct. ``kind=unrelated`` is the control that
Qin et al. 2024 (arXiv:2404.12728) found to do as well or better: the same prompt, but the problems come from other
fields. Without that arm a gain says nothing about relevance. ``tutorial`` asks for the core concept first, as the
paper does for code. Differs from the paper: our wording, and the answer is asked for after ``####``, which the recalled
problems may not use, so that none of their answers is read as the answer.

**step-back.** The first call is greedy and is made once for a problem, whatever the strategy then samples; it is in
the tree as a sub-question and in both books. If the budget ends in it, the question is put without what it would have
said, and a note says so. Differs from the paper: no exemplars for either call, and no retrieval on the step-back
question.

**self-verify.** Advice for any chat model that has no tool. The program is written and traced by the model in its
reply; thence runs nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from thence.core.completion import Context
from thence.core.errors import check_counts
from thence.core.problem import Message, Problem

from .styles import Plain, instructed

ANSWER = "Write the answer to it after ####, and write #### nowhere else."


@dataclass(frozen=True, slots=True)
class Analogical(Plain):
    """Ask for ``k`` solved problems of the model's own making first; ``kind=unrelated`` is the control."""

    name = "analogical"
    k: int = 3
    kind: Literal["related", "unrelated"] = "related"
    tutorial: bool = False

    def __post_init__(self) -> None:
        check_counts("analogical", k=self.k)

    def context(self, problem: Problem) -> Context:
        """The question, then what to recall."""
        lines = ["Do not answer at once."]
        if self.tutorial:
            lines.append("Name the core concepts of this problem and write a short tutorial on each.")
        lines.append(
            f"Under the heading Other problems, {_recall(self.k, self.kind)} "
            "State each of them, solve it and explain the solution."
        )
        lines.append(f"Under the heading Solution, solve the problem asked above step by step. {ANSWER}")
        return instructed(problem, "\n".join(lines))


def _recall(k: int, kind: str) -> str:
    what = "one other problem" if k == 1 else f"{k} other problems, all different,"
    if kind == "unrelated":
        return f"make up {what} from fields that have nothing to do with the problem above."
    return f"recall {what} that are solved in a related way." if k > 1 else f"recall {what} solved in a related way."


@dataclass(frozen=True, slots=True)
class StepBack(Plain):
    """Two calls: the general question behind the problem with its answer, then the problem with that beside it.

    ``tokens`` is the cap of the first call. What `context` alone makes is the second call with nothing said yet.
    """

    name = "step-back"
    tokens: int = 256

    def __post_init__(self) -> None:
        check_counts("step-back", tokens=self.tokens)

    @property
    def first_tokens(self) -> int:
        """The cap of the first call."""
        return self.tokens

    def first(self, problem: Problem) -> tuple[Message, ...]:
        """The first call."""
        return instructed(
            problem,
            "Do not answer this question. Take a step back: what more general question lies behind it? "
            "State that question, then answer it with the principles, rules or facts that are needed here.",
        ).messages

    def informed(self, problem: Problem, told: str) -> Context:
        """The second call; without anything ``told`` it is the question and the instruction to reason."""
        if not told.strip():
            return instructed(problem, "Think step by step.")
        return instructed(
            problem,
            f"What stands behind this question:\n{told.strip()}\n"
            "Answer the question from these principles, step by step. Write the answer after ####.",
        )

    def context(self, problem: Problem) -> Context:
        """The second call as it is where the first one gave nothing."""
        return self.informed(problem, "")


@dataclass(frozen=True, slots=True)
class SelfVerify(Plain):
    """Ask for a solution in words, a program for the same, its trace by hand, and a comparison of the two results."""

    name = "self-verify"
    instruction: str = (
        "Work in four parts.\n"
        "1. Solve it in words, step by step.\n"
        "2. Write a short Python program that computes the result from the question's own numbers, not from part 1.\n"
        "3. Trace the program line by line with the value of every variable. Nobody runs it: you are the interpreter.\n"
        "4. Compare both results. Where they differ, find the first step that differs, decide which is wrong, and "
        f"correct it. {ANSWER}"
    )

    def context(self, problem: Problem) -> Context:
        """The question, then the four parts."""
        return instructed(problem, self.instruction)
