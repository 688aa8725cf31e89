"""Word problems made from a typed graph of operations, so that the truth of every written step is known.

A problem is a directed acyclic graph: a leaf is a number that a person owns ("Ann has 5 apples"), an inner node is
one operation (+ - * /) on earlier nodes ("Tom has 3 more apples than Ann"). The same graph is rendered as an English
question and as a reference solution in three styles:

* direct: `` 16``
* CoT, one line per operation, equations in the calculator marks of GSM8K (Cobbe et al. 2021, arXiv:2110.14168):
  `` Tom: 3 more than Ann <<5+3=8>>\\nSam: twice Tom <<8*2=16>>\\n#### 16``
* draft (after Chain of Draft, Xu et al. 2025, arXiv:2502.18600): `` 5+3=8;8*2=16 #### 16``

Three families share one vocabulary:

* ``graph``: people who own items; level = number of operations (1 to 8). Part of the problems has its sentences
  shuffled, part has a sentence that the answer does not need.
* ``apples``: the two-step example of Wang & Zhou 2024 (arXiv:2402.10200), "I have 3 apples, my dad has 2 more than
  me. How many do we have in total?", with other numbers, items and relatives.
* ``letters``: last-letter concatenation (Wei et al. 2022, arXiv:2201.11903); level = number of words - 1.

A problem is fixed by (family, level, split, data_seed, index). The split of a question is a hash of its text: the
same question can never be in two splits, whatever seeds or levels produced it.

Not covered: fractions, negative numbers, units other than items and dollars, pronouns.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

FAMILIES = ("graph", "apples", "letters")
SPLITS = ("train", "dev", "test")
STYLES = ("direct", "cot", "draft")


def words(text: str) -> tuple[str, ...]:
    """A word list written as one string."""
    return tuple(text.split())


NAMES = words(
    "Ann Tom Sam Mary Anna Ben Kim Leo Eva Max Zoe Dan Lucy Jack Nina Paul Rosa Omar Ivan Jane Emil Carl Ruth Hugo"
)
ITEMS = words("apples pears plums books pens coins cards marbles stamps balls toys shells eggs nuts keys cups")
RELATIVES = words("dad mom brother sister uncle aunt cousin friend")
# Words that only the letters family uses, next to the names.
WORDS = words(
    "Elon Musk Bill Gates Barack Obama Steve Jobs Larry Page Marie Curie Isaac Newton David Sarah Oscar Frank Alice "
    "Peter Grace Alan Turing Ada Bob Eric"
)

LARGEST = 60  # the largest number that the question gives a person
MAX_VALUE = 999  # every quantity has at most three digits
SHUFFLED = 0.65  # share of graph problems whose statements stand in random order
DISTRACTED = 0.0  # share of graph problems with one or two statements that the answer does not need
MAX_LEVEL = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One operation and its true result. Operands and results are text, so that numbers and letters share a type."""

    entity: str  # whose quantity this is: a name, "Total", "Difference", or the word whose letter is taken
    relation: str  # how the question says it, in short: "3 more than Ann"
    op: str  # "+", "-", "*", "/" or "last"
    operands: tuple[str, ...]
    result: str

    @property
    def equation(self) -> str:
        """The step as written between the calculator marks: ``5+3=8``; for a letter only the letter."""
        if self.op == "last":
            return self.result
        return f"{self.operands[0]}{self.op}{self.operands[1]}={self.result}"


@dataclass(frozen=True, slots=True)
class WordProblem:
    """One question with its reference. ``unneeded`` holds true operations that the answer does not depend on."""

    id: str
    family: str
    level: int
    template: str  # which sentences were drawn: "chain", "shuffled", "distracted", "shuffled+distracted", ...
    question: str
    answer: str
    steps: tuple[Step, ...]
    unneeded: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Mix:
    """How hard graph problems of one level are."""

    largest: int = LARGEST
    shuffled: float = SHUFFLED
    distracted: float = DISTRACTED


class StepTruth(StrEnum):
    """What the graph says about one written step."""

    CORRECT = "correct"
    WRONG_RESULT = "wrong_result"  # the right quantity from the right operands, but a wrong number
    WRONG_OPERANDS = "wrong_operands"  # a quantity of this problem, computed from something else
    UNKNOWN_QUANTITY = "unknown_quantity"  # the problem has no such quantity (left)
    UNREADABLE = "unreadable"  # no equation or letter in it


@dataclass(frozen=True, slots=True)
class StepCheck:
    """The truth of ``text[start:end]``; ``quantity`` is the entity it was matched with."""

    start: int
    end: int
    quantity: str | None
    truth: StepTruth


# --- the split of a question -----------------------------------------------------------------------------------------


def question_split(question: str) -> str:
    """The split a question belongs to, by a hash of its text: 80 % train, 10 % dev, 10 % test."""
    bucket = int.from_bytes(hashlib.sha256(question.encode()).digest()[:4], "big") % 10
    return "test" if bucket == 0 else "dev" if bucket == 1 else "train"


# --- the graph family ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """A quantity: its owner, its value, the sentence that states it, and the step that computes it (None: a leaf)."""

    name: str
    value: int
    sentence: str
    step: Step | None = None


class Impossible(Exception):
    """The drawn operation has no result in range; the caller draws the whole problem again."""


class Graph:
    """Draws one graph of ``ops`` operations in the order in which a solution writes them."""

    def __init__(self, rng: Random, ops: int, largest: int) -> None:
        self.rng = rng
        self.largest, self.largest_change = largest, max(2, 2 * largest // 3)
        self.item = rng.choice(ITEMS)
        self.free_names = rng.sample(NAMES, len(NAMES))
        self.nodes: list[Node] = []
        self.closing = ""  # an event after all statements: "Then Tom loses 2 apples."
        self.question = ""
        self._draw(ops)

    def _draw(self, ops: int) -> None:
        kind = self.rng.random()
        if ops >= 2 and kind < 0.25:
            self._total(ops)
        elif ops >= 2 and kind < 0.35:
            self._difference(ops)
        elif kind < 0.55:
            self._event(ops)
        else:
            target = self._person(ops)
            self.question = f"How many {self.item} does {target.name} have?"

    def _person(self, ops: int) -> Node:
        """A person whose quantity takes ``ops`` operations."""
        if ops == 0:
            value = self.rng.randint(2, self.largest)
            name = self.free_names.pop()
            return self._add(Node(name, value, f"{name} has {value} {self.item}."))
        if ops >= 2 and self.rng.random() < 0.2:
            return self._sum(ops)
        return self.unary(self._person(ops - 1))

    def _add(self, node: Node) -> Node:
        if not 1 <= node.value <= MAX_VALUE:
            raise Impossible
        self.nodes.append(node)
        return node

    def unary(self, base: Node) -> Node:
        """A new person described relative to ``base``."""
        rng, name, item, a = self.rng, self.free_names.pop(), self.item, base.value
        kind = rng.choices(("more", "fewer", "times", "half"), (4, 4, 3, 1))[0]
        if kind == "half" and a % 2:
            kind = "more"
        if kind == "half":
            step = Step(name, f"half of {base.name}", "/", (str(a), "2"), str(a // 2))
            return self._add(Node(name, a // 2, f"{name} has half as many {item} as {base.name}.", step))
        if kind == "times":
            k = rng.choice((2, 2, 3, 4, 5, 6))
            many, short = ("twice", "twice") if k == 2 else (f"{k} times", f"{k} times")
            step = Step(name, f"{short} {base.name}", "*", (str(a), str(k)), str(a * k))
            return self._add(Node(name, a * k, f"{name} has {many} as many {item} as {base.name}.", step))
        k = rng.randint(2, self.largest_change)
        sign, value = ("+", a + k) if kind == "more" else ("-", a - k)
        step = Step(name, f"{k} {kind} than {base.name}", sign, (str(a), str(k)), str(value))
        middle = f"{k} {kind} {item}" if rng.random() < 0.8 else f"{k} {item} {kind}"
        return self._add(Node(name, value, f"{name} has {middle} than {base.name}.", step))

    def _pair(self, ops: int) -> tuple[Node, Node]:
        """Two different people who together take ``ops`` operations: the second is new or already known."""
        left_ops = ops if self.rng.random() < 0.6 else self.rng.randint((ops + 1) // 2, ops)
        left = self._person(left_ops)
        known = [node for node in self.nodes if node is not left]
        if left_ops == ops and known and self.rng.random() < 0.6:
            return left, self.rng.choice(known)
        return left, self._person(ops - left_ops)

    def _sum(self, ops: int) -> Node:
        left, right = self._pair(ops - 1)
        name, value = self.free_names.pop(), left.value + right.value
        step = Step(name, f"{left.name} and {right.name}", "+", (str(left.value), str(right.value)), str(value))
        sentence = f"{name} has as many {self.item} as {left.name} and {right.name} together."
        return self._add(Node(name, value, sentence, step))

    def _total(self, ops: int) -> None:
        left, right = self._pair(ops - 1)
        value = left.value + right.value
        step = Step("Total", f"{left.name} and {right.name}", "+", (str(left.value), str(right.value)), str(value))
        self._add(Node("Total", value, "", step))
        self.question = f"How many {self.item} do {left.name} and {right.name} have in total?"

    def _difference(self, ops: int) -> None:
        pair = sorted(self._pair(ops - 1), key=lambda node: -node.value)
        more, less = pair
        value = more.value - less.value
        operands = (str(more.value), str(less.value))
        self._add(
            Node("Difference", value, "", Step("Difference", f"{more.name} and {less.name}", "-", operands, str(value)))
        )
        self.question = f"How many more {self.item} does {more.name} have than {less.name}?"

    def _event(self, ops: int) -> None:
        owner = self._person(ops - 1)
        rng, name, a = self.rng, owner.name, owner.value
        others = [node.name for node in self.nodes if node is not owner] or [self.free_names.pop()]
        other = rng.choice(others)
        kind = rng.choice(("gives", "gets", "loses", "buys", "sells"))
        k = rng.randint(2, 9) if kind == "sells" else rng.randint(2, self.largest_change)
        self.question = f"How many {self.item} does {name} have now?"
        if kind == "gives":
            self.closing = f"Then {name} gives {k} {self.item} to {other}."
        elif kind == "gets":
            self.closing = f"Then {other} gives {k} {self.item} to {name}."
        elif kind == "loses":
            self.closing = f"Then {name} loses {k} {self.item}."
        elif kind == "buys":
            self.closing = f"Then {name} buys {k} more {self.item}."
        else:
            self.closing = f"Then {name} sells all {self.item} for {k} dollars each."
            self.question = f"How many dollars does {name} get?"
        sign, value = {"gives": ("-", a - k), "loses": ("-", a - k), "sells": ("*", a * k)}.get(kind, ("+", a + k))
        relation = f"{kind} for {k} each" if kind == "sells" else f"{kind} {k}"
        self._add(Node(name, value, "", Step(name, relation, sign, (str(a), str(k)), str(value))))


Drawn = tuple[str, str, tuple[Step, ...], tuple[Step, ...], str]  # question, answer, steps, unneeded steps, template


def draw_graph(rng: Random, level: int, mix: Mix, made: Callable[[Random, int, int], Graph] = Graph) -> Drawn:
    """One graph problem; ``made`` draws its graph from (rng, operations, largest number)."""
    while True:
        try:
            graph = made(rng, level, mix.largest)
            needed = list(graph.nodes)
            people = [node for node in needed if node.sentence]
            distracted = rng.random() < mix.distracted
            for _ in range(distracted and rng.randint(1, 2)):
                graph.unary(rng.choice(people))
            break
        except Impossible:
            continue
    statements = [node.sentence for node in graph.nodes if node.sentence]
    for _ in range(len(people), len(statements)):
        statements.insert(rng.randint(1, len(statements) - 1), statements.pop())
    shuffled = rng.random() < mix.shuffled and len(statements) > 1
    if shuffled:
        rng.shuffle(statements)
    if len(statements) > 1 and rng.random() < 0.1:
        statements[:2] = [f"{statements[0][:-1]} and {statements[1]}"]
    closing = [graph.closing] if graph.closing else []
    question = " ".join([*statements, *closing, graph.question])
    steps = tuple(node.step for node in needed if node.step)
    unneeded = tuple(node.step for node in graph.nodes[len(needed) :] if node.step)
    template = "+".join(["shuffled"] * shuffled + ["distracted"] * distracted) or "chain"
    return question, steps[-1].result, steps, unneeded, template


# --- the apples and letters families ---------------------------------------------------------------------------------


def _draw_apples(rng: Random) -> Drawn:
    """The example of arXiv:2402.10200 with other numbers, items, relatives and relations."""
    item, relative, mine = rng.choice(ITEMS), rng.choice(RELATIVES), rng.randint(2, 20)
    kind = rng.choice(("more", "more", "fewer", "times"))
    if kind == "fewer":
        k = rng.randint(1, min(9, mine - 1))
        relation, sign, theirs = f"{k} fewer than me", "-", mine - k
    elif kind == "more":
        k = rng.randint(1, 9)
        relation, sign, theirs = f"{k} more than me", "+", mine + k
    else:
        k, mine = rng.choice(((2, mine), (3, mine), (4, min(mine, 19))))
        relation, sign, theirs = "twice as many" if k == 2 else f"{k} times as many", "*", mine * k
    short = relation if kind != "times" else "twice me" if k == 2 else f"{k} times me"
    steps = [Step(relative.capitalize(), short, sign, (str(mine), str(k)), str(theirs))]
    opening = f"I have {mine} {item}, my {relative} has {relation}{' as me' if kind == 'times' else ''}."
    if rng.random() < 0.8:
        question, template = "How many do we have in total?", f"total+{kind}"
        steps.append(Step("Total", f"me and {relative}", "+", (str(mine), str(theirs)), str(mine + theirs)))
    else:
        question, template = f"How many {item} does my {relative} have?", f"relative+{kind}"
    return f"{opening} {question}", steps[-1].result, tuple(steps), (), template


def _draw_letters(rng: Random, level: int) -> Drawn:
    words = [rng.choice(NAMES if rng.random() < 0.6 else WORDS) for _ in range(level + 1)]
    steps = tuple(Step(word, "", "last", (word,), word[-1]) for word in words)
    question = f'Take the last letters of the words in "{" ".join(words)}" and join them.'
    return question, "".join(step.result for step in steps), steps, (), "join"


# --- problems --------------------------------------------------------------------------------------------------------


def draw_problem(
    rng: Random,
    family: str,
    level: int,
    split: str,
    id: str,
    mix: Mix,
) -> WordProblem:
    """Draws from the family until the question's hash falls into the split."""
    while True:
        if family == "graph":
            question, answer, steps, unneeded, template = draw_graph(rng, level, mix)
        elif family == "apples":
            question, answer, steps, unneeded, template = _draw_apples(rng)
        else:
            question, answer, steps, unneeded, template = _draw_letters(rng, level)
        if question_split(question) == split:
            return WordProblem(id, family, level, template, question, answer, steps, unneeded)


@dataclass(frozen=True, slots=True)
class WordProblems:
    """A fixed set of ``size`` different problems; a larger ``size`` extends a smaller one.

    ``largest`` is the largest number that the question gives a person (changes go up to two thirds of it);
    ``shuffled`` and ``distracted`` are the shares of graph problems with statements in random order, and with one or
    two statements that the answer does not need. The apples family has one level of difficulty and ignores ``level``.
    """

    level: int = 3
    split: str = "test"
    data_seed: int = 0
    size: int = 500
    family: str = "graph"
    largest: int = LARGEST
    shuffled: float = SHUFFLED
    distracted: float = DISTRACTED

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"wordproblems: family {self.family!r} is not one of {', '.join(FAMILIES)}")
        if self.split not in SPLITS:
            raise ValueError(f"wordproblems: split {self.split!r} is not one of {', '.join(SPLITS)}")
        if not 1 <= self.level <= MAX_LEVEL:
            raise ValueError(f"wordproblems: level {self.level} is not between 1 and {MAX_LEVEL}")
        if not (0 <= self.shuffled <= 1 and 0 <= self.distracted <= 1):
            raise ValueError(
                f"wordproblems: shuffled={self.shuffled} and distracted={self.distracted} are shares, 0 to 1"
            )
        if not 2 <= self.largest <= MAX_VALUE:
            raise ValueError(f"wordproblems: largest={self.largest} is not a number from 2 to {MAX_VALUE}")
        if self.size < 1:
            raise ValueError(f"wordproblems: size {self.size} is not a positive number of problems")

    def items(self) -> Sequence[WordProblem]:
        """The problems, in a fixed order, no question twice.

        Raises ValueError when the family has fewer than ``size`` different questions of this level in this split.
        """
        mix = Mix(self.largest, self.shuffled, self.distracted)

        def draw(rng: Random, id: str) -> WordProblem:
            return draw_problem(rng, self.family, self.level, self.split, id, mix)

        return distinct(f"{self.family}-{self.level}-{self.split}-{self.data_seed}", self.size, draw)


def distinct(name: str, size: int, draw: Callable[[Random, str], WordProblem]) -> list[WordProblem]:
    """``size`` problems, no question twice; the one of index i depends on ``name`` and i only.

    Raises ValueError when 1000 in a row are known.
    """
    problems: dict[str, WordProblem] = {}
    index = repeats = 0
    while len(problems) < size:
        id = f"{name}-{index}"
        problem = draw(Random(id), id)
        repeats = repeats + 1 if problem.question in problems else 0
        if repeats > 1000:
            raise ValueError(f"wordproblems: {name} has about {len(problems)} problems; ask for a smaller size")
        problems.setdefault(problem.question, problem)
        index += 1
    return list(problems.values())


# --- renderings and their truth --------------------------------------------------------------------------------------


def render_solution(problem: WordProblem, style: str) -> str:
    """The reference solution after ``A:``, with its leading space, in one of ``STYLES``."""
    if style == "direct":
        return f" {problem.answer}"
    letters = problem.family == "letters"
    if style == "draft":
        body = (" " if letters else ";").join(step.equation for step in problem.steps)
        return f" {body} #### {problem.answer}"
    if style != "cot":
        raise ValueError(f"wordproblems: style {style!r} is not one of {', '.join(STYLES)}")
    lines = [
        f"{step.entity}: {step.result}" if letters else f"{step.entity}: {step.relation} <<{step.equation}>>"
        for step in problem.steps
    ]
    return " " + "\n".join([*lines, f"#### {problem.answer}"])


_FINAL = re.compile(r"####[ ]*(\S+)")
_LAST_NUMBER = re.compile(r"\d+")


def extract_answer(text: str) -> str | None:
    """What follows the last ``####``, else the last number, else the last word, else None."""
    marked = _FINAL.findall(text)
    if marked:
        return str(marked[-1]).rstrip(".")
    numbers = _LAST_NUMBER.findall(text)
    words = text.split()
    return str(numbers[-1]) if numbers else words[-1].rstrip(".") if words else None


_EQUATION = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")
_ENTITY = re.compile(r"\s*([A-Za-z]+):")


def step_spans(text: str) -> list[tuple[int, int]]:
    """Character spans of the written steps before ``####``: lines, and within a line the parts between ``;``."""
    end = text.find("####")
    body = text if end < 0 else text[:end]
    return [match.span() for match in re.finditer(r"[^\n;]+", body) if match.group().strip()]


def check_steps(problem: WordProblem, text: str) -> list[StepCheck]:
    """The truth of every step written in ``text`` (CoT or draft), by the problem's graph.

    A step is matched with the first operation not yet written that has its entity; a draft equation, which names no
    entity, with the first one of the same operation and operands. Steps the answer does not need are true if the
    graph holds them.
    """
    if problem.family == "letters":
        return _check_letters(problem, text)
    left = [*problem.steps, *problem.unneeded]
    checks: list[StepCheck] = []
    for start, end in step_spans(text):
        written = text[start:end]
        equation, entity = _EQUATION.search(written), _ENTITY.match(written)
        if equation is None:
            checks.append(StepCheck(start, end, None, StepTruth.UNREADABLE))
            continue
        a, op, b, result = equation.groups()
        operands = sorted((a, b)) if op in "+*" else [a, b]

        def same(step: Step, op: str = op, operands: list[str] = operands) -> bool:
            theirs = sorted(step.operands) if step.op in "+*" else list(step.operands)
            return step.op == op and theirs == operands

        named = [step for step in left if entity is None or step.entity == entity.group(1)]
        matches = [step for step in named if same(step)] or (named if entity else [])
        if not matches:
            checks.append(StepCheck(start, end, None, StepTruth.UNKNOWN_QUANTITY))
            continue
        step = matches[0]
        if not same(step):
            truth = StepTruth.WRONG_OPERANDS
        else:
            truth = StepTruth.CORRECT if step.result == result else StepTruth.WRONG_RESULT
        left.remove(step)
        checks.append(StepCheck(start, end, step.entity, truth))
    return checks


def _check_letters(problem: WordProblem, text: str) -> list[StepCheck]:
    """Steps of last-letter concatenation are matched by position; in a draft every letter is a step."""
    spans = step_spans(text)
    if len(spans) == 1 and ":" not in text:
        offset = spans[0][0]
        spans = [(offset + m.start(), offset + m.end()) for m in re.finditer(r"\S+", text[slice(*spans[0])])]
    checks: list[StepCheck] = []
    for index, (start, end) in enumerate(spans):
        entity, written = _ENTITY.match(text[start:end]), text[start:end].split()
        if index >= len(problem.steps):
            checks.append(StepCheck(start, end, None, StepTruth.UNKNOWN_QUANTITY))
            continue
        step = problem.steps[index]
        if entity is not None and entity.group(1) != step.entity:
            truth = StepTruth.WRONG_OPERANDS
        else:
            truth = StepTruth.CORRECT if written[-1] == step.result else StepTruth.WRONG_RESULT
        checks.append(StepCheck(start, end, step.entity, truth))
    return checks
