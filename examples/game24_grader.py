"""An exact checker for the Game of 24, used as ``--grader examples/game24_grader.py:check``.

The question holds four numbers; the answer is an expression with each of them exactly once and the value 24, such as
``(10 - 4) * (6 - 2) = 24``. Arithmetic is exact (fractions), and the expression is parsed here, never evaluated.

    thence eval 'jsonl(file=24.csv, question=Puzzles, id=Rank, grader=examples/game24_grader.py:check)' --model …
"""

from __future__ import annotations

import re
from fractions import Fraction

TARGET = 24
MAX_CHARS = 500


def check(question: str, text: str) -> dict[str, object]:
    """Grade the expression on the last line of a reply (after ``Answer:``, up to ``=``)."""
    lines = text.strip().split("\n")
    expression = re.sub(r"^\s*answer:\s*", "", lines[-1], flags=re.IGNORECASE).split("=")[0].strip()
    if not expression:
        return {"verdict": "no_answer", "reason": "the last line holds no expression"}
    try:
        value, used = evaluate(expression)
    except (ValueError, ZeroDivisionError) as error:
        return {"verdict": "incorrect", "answer": expression[:MAX_CHARS], "reason": str(error)}
    given = sorted(int(n) for n in re.findall(r"\d+", question))
    if sorted(used) != given:
        reason = f"it uses {sorted(used)}, the puzzle gives {given}"
    else:
        reason = f"its value is {value}"
    correct = sorted(used) == given and value == TARGET
    return {"verdict": "correct" if correct else "incorrect", "answer": expression, "reason": reason}


def evaluate(expression: str) -> tuple[Fraction, list[int]]:
    """The exact value of an expression of whole numbers, + - * / and brackets, and the numbers in it."""
    if len(expression) > MAX_CHARS:
        raise ValueError(f"the expression has more than {MAX_CHARS} characters")
    tokens = re.findall(r"\d+|\S", expression.replace("×", "*").replace("÷", "/"))
    parser = Parser(tokens)
    value = parser.sum()
    if parser.at < len(tokens):
        raise ValueError(f"{tokens[parser.at]!r} is not expected here")
    return value, parser.used


class Parser:
    """Recursive descent: sum = product (±product)*, product = factor (*/factor)*, factor = -factor | (sum) | number."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.used = tokens, 0, list[int]()
        self.depth = 0

    def take(self, *wanted: str) -> str | None:
        """The next token if it is one of ``wanted``."""
        if self.at < len(self.tokens) and self.tokens[self.at] in wanted:
            self.at += 1
            return self.tokens[self.at - 1]
        return None

    def sum(self) -> Fraction:
        value = self.product()
        while sign := self.take("+", "-"):
            right = self.product()
            value = value + right if sign == "+" else value - right
        return value

    def product(self) -> Fraction:
        value = self.factor()
        while sign := self.take("*", "/"):
            right = self.factor()
            value = value * right if sign == "*" else value / right
        return value

    def factor(self) -> Fraction:
        self.depth += 1
        if self.depth > 50:
            raise ValueError("the expression is nested too deeply")
        if self.take("-"):
            value = -self.factor()
        elif self.take("("):
            value = self.sum()
            if not self.take(")"):
                raise ValueError("a bracket is not closed")
        elif self.at < len(self.tokens) and self.tokens[self.at].isdecimal() and len(self.tokens[self.at]) < 10:
            value = Fraction(int(self.tokens[self.at]))
            self.used.append(int(value))
            self.at += 1
        else:
            raise ValueError(f"a number is missing at token {self.at + 1}")
        self.depth -= 1
        return value
