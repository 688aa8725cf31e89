"""A check of the numbers in a solution that costs no tokens and sees no reference: where does each number come from?

A solution to a word problem is a small program in prose. Its text is cut into steps, its equations are read
(``grading.equations``), and every number that enters one is traced: to the question (digits, number words, "half",
percentages), to the result of an earlier equation, to common knowledge (``KNOWLEDGE``: seven days in a week, only
where such a word stands), or to nowhere. The other way round, what the answer was computed from is followed back,
which leaves facts of the question and results of steps that never reached it. `explain` returns all of it; the
verifier turns it into a number.

The number: each finding multiplies the probability that a step is right by a fixed factor (``WEIGHTS`` are the negative
logarithms), findings about the whole solution by the last step's. So the steps' numbers mean STEP_CORRECT, and their
product is the value, exactly: exp(-sum of weight * count). The weights are a maximum-likelihood fit of that formula
(all at least 0) to recorded solutions of GSM8K questions (Cobbe et al. 2021, arXiv:2110.14168) by three models, on
the half of the questions whose hash is even; ``tools/data_flow_goal.py --fit`` makes them again, and docs/data-flow.md
has what came out on the other half. The number of equations was fitted beside them and is left out, since it measures
length. The numbers are therefore optimistic: they rank solutions and weigh votes, and are no calibrated probabilities.
``strength`` is an exponent on all of them: 0 makes every vote equal, more trusts the check more; the order of solutions
stays.

Limits: a number is known by its value, so a wrong use of the right number is invisible, and so is a right number that
is in the question by chance; a unit is one word after a number; a fact may be rightly unused, and a number may be
rightly thought of. It knows nothing about programs, algebra and geometry.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.scores import Meaning, Score
from thence.core.search import Search
from thence.core.segmenter import Segmenter, detect
from thence.core.tree import SOLUTION, Kind, Node
from thence.grading.equations import Equation, Operand, Truth, find_equations
from thence.grading.extract import NumericReading
from thence.grading.facts import MAX_CHARS, SURE_CUES, Fact, facts
from thence.grading.knowledge import CONVERSIONS, has, is_common
from thence.grading.numbers import find_numbers, parse_number


class Source(StrEnum):
    """Where a number comes from."""

    QUESTION = "question"
    EARLIER = "earlier"  # the result of an earlier equation, also rounded, as a percentage, or from dollars to cents
    KNOWLEDGE = "knowledge"  # the table below, where one of its words stands
    NOWHERE = "nowhere"


class Finding(StrEnum):
    """What can be noticed about a step, or (from UNUSED_FACT on) about a whole solution."""

    FALSE = "false equation"
    REWRITTEN = "result rewritten"  # the number after <<5-8=-3>> is not the one inside
    NOWHERE = "number from nowhere"  # enters an equation, and neither question nor earlier steps have it
    MENTION = "number stated from nowhere"  # the same outside equations
    KNOWLEDGE = "number from common knowledge"
    PERCENT = "percentage as a plain number"  # 20% in the question, 20 in a sum
    UNITS = "units mixed"  # a sum of two numbers of the question with different units
    NEGATIVE = "negative result"
    BROKEN = "result not whole"  # in a solution whose question has whole numbers only
    REPEATED = "equation repeated"
    DEAD_END = "result unused"
    UNUSED_FACT = "fact unused"
    UNUSED_WORD = "number word unused"
    CONVERSION = "conversion missing"  # the question changes its unit (days, weeks), no factor between them is used
    PART = "answer is a part"  # a count ("how many") that is not whole, or negative
    NO_ANSWER = "no answer"
    UNDERIVED = "answer not computed"
    NOT_LAST = "answer not the last result"
    GIVEN = "answer stands in the question"
    NO_EQUATION = "no equation"


ERRORS = (Finding.FALSE, Finding.REWRITTEN, Finding.NOWHERE)
"""The findings that `first_error` reports; the others are signs, not errors."""

WEIGHTS: Mapping[Finding, float] = {
    Finding.FALSE: 0.76,
    Finding.REWRITTEN: 0.09,
    Finding.NOWHERE: 0.14,
    Finding.KNOWLEDGE: 0.03,
    Finding.PERCENT: 0.84,
    Finding.UNITS: 0.24,
    Finding.NEGATIVE: 0.84,
    Finding.BROKEN: 0.38,
    Finding.REPEATED: 0.55,
    Finding.UNUSED_FACT: 0.72,
    Finding.UNUSED_WORD: 0.22,
    Finding.CONVERSION: 0.23,
    Finding.PART: 2.33,
    Finding.NO_ANSWER: 0.25,
    Finding.UNDERIVED: 1.07,
    Finding.NOT_LAST: 0.44,
    Finding.GIVEN: 0.15,
    Finding.NO_EQUATION: 0.53,
}
"""How much one occurrence of a finding takes from the logarithm of the probability. See the module for their source."""

# --- the solution ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Use:
    """A number that enters an equation, at characters [start, end) of the solution.

    ``of`` is the index of the fact or of the earlier step it comes from, None for the other sources.
    """

    start: int
    end: int
    value: Fraction
    source: Source
    of: int | None = None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step: characters [start, end) of the solution, its equations, the numbers they use, what was found."""

    start: int
    end: int
    equations: tuple[Equation, ...]
    uses: tuple[Use, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """What `explain` returns. ``unused`` are indexes into ``facts``; ``findings`` are about the whole solution."""

    facts: tuple[Fact, ...]
    steps: tuple[StepRecord, ...]
    answer: Fraction | None
    unused: tuple[int, ...]
    findings: tuple[Finding, ...]

    @property
    def first_error(self) -> int | None:
        """The first step with one of ``ERRORS``; a solution that computes, but not its answer, errs in its last."""
        for index, step in enumerate(self.steps):
            if any(f in ERRORS for f in step.findings):
                return index
        return len(self.steps) - 1 if Finding.UNDERIVED in self.findings and self.steps else None

    def counts(self) -> Counter[Finding]:
        """How often each finding occurs."""
        return Counter([*self.findings, *(f for step in self.steps for f in step.findings)])


@dataclass(frozen=True, slots=True)
class DataFlow:
    """Scores each solution by its data flow; no tokens, nothing needed of the policy. See the module's text.

    A score of 1 says that nothing was found, not that the solution is right. ``strength`` is at least 0.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength < math.inf:
            raise UsageError(f"data-flow: strength is {self.strength}; it must be 0 or more")

    @property
    def name(self) -> str:
        """``data-flow``, with its strength if it is not 1."""
        return "data-flow" if self.strength == 1 else f"data-flow(strength={self.strength:g})"

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond continuing a text."""
        return frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """A number in [0, 1] per node and one per step (STEP_CORRECT); their product is the value.

        A node that does not end its solution is scored as a beginning: what only a whole solution can lack costs
        nothing yet. A solution without any step has no step numbers, and its value means OUTCOME.
        """
        return [self._score(search, node) for node in nodes]

    def _score(self, search: Search, node: Node) -> Score:
        path = [n for n in search.tree.path(node) if n.kind in (*SOLUTION, Kind.FORCED)]
        text = "".join(n.text for n in path[:-1]) + "".join(n.completion.reply for n in path[-1:])
        stepwise = sum(n.kind in SOLUTION for n in path) > 1  # then the search has said what a step is
        segmenter = search.segmenter if stepwise else None
        return score(explain(search.problem.text, text, segmenter, complete=search.ended(node)), self.strength)


def score(flow: Flow, strength: float = 1.0) -> Score:
    """The number for a data flow that has been read: exp(-strength * sum of the weights of all findings)."""
    costs = [_cost(step.findings) for step in flow.steps]
    if not costs:
        return Score(math.exp(-strength * _cost(flow.findings)))
    costs[-1] += _cost(flow.findings)
    steps = tuple(math.exp(-strength * cost) for cost in costs)
    return Score(math.prod(steps), steps, Meaning.STEP_CORRECT)


def _cost(findings: Sequence[Finding]) -> float:
    return sum(WEIGHTS.get(finding, 0.0) for finding in findings)


def explain(question: str, solution: str, segmenter: Segmenter | None = None, *, complete: bool = True) -> Flow:
    """Where every number of ``solution`` comes from, step by step.

    ``segmenter`` cuts the steps (by default the rule that fits this text). ``complete=False`` is for the beginning of
    a solution: what only a whole one can lack is not looked for. At most the first 20,000 characters are read.
    """
    text = solution[:MAX_CHARS]
    cut = (segmenter or detect([text])).steps(text)
    trace = _Trace(question, text)
    at = 0
    for step in cut.steps:
        trace.read(at, at + len(step))
        at += len(step)
    return trace.flow(complete)


def first_error(question: str, solution: str, segmenter: Segmenter | None = None) -> int | None:
    """The 0-based index of the first step with an error; None when none was found. See `Flow.first_error`."""
    return explain(question, solution, segmenter).first_error


@dataclass(slots=True)
class _Result:
    """A computed value: in which step, from which facts and which earlier results."""

    step: int
    value: Fraction
    facts: set[int]
    parents: set[int]
    also: set[Fraction]


@dataclass(slots=True)
class _Step:
    start: int
    end: int
    equations: list[Equation] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


_NEXT_NUMBER = re.compile(r">>\s?\\?[$€£]?\s?(?=[-−\d.])")
_LABEL = re.compile(r"(?:^|\n)\s*(?:[#>*-]*\s*)?(?:\*\*)?(?:Step\s*)?\d{1,3}(?:\*\*)?[.):]", re.IGNORECASE)
_COUNT = re.compile(
    r"\bhow many\b(?!\s+(?:hours|miles|gallons|pounds|liters|cups|ounces|dollars|feet|inches|percent))", re.IGNORECASE
)


class _Trace:
    """Follows numbers through a solution, step by step."""

    def __init__(self, question: str, text: str) -> None:
        self._text, self._question, self._asked = text, question, question.lower()
        self._facts = facts(question)
        self._given: dict[Fraction, list[int]] = {}
        known: set[tuple[object, ...]] = set()
        for index, fact in enumerate(self._facts):
            kind = (fact.value, fact.same, fact.word, fact.percent, fact.unit)
            for value in () if kind in known else fact.same:
                self._given.setdefault(value, []).append(index)
            known.add(kind)
        self._whole = all(f.value.denominator == 1 and not f.percent for f in self._facts)
        self._results: list[_Result] = []
        self._known: dict[Fraction, int] = {}  # a value -> the last result that has it
        self._stated: set[Fraction] = set()  # from nowhere, but said before
        self._touched: set[int] = set()  # facts that entered any equation
        self._seen: set[tuple[Fraction, ...]] = set()
        self._steps: list[_Step] = []

    # -- one step --

    def read(self, start: int, end: int) -> None:
        """Read the step at characters [start, end)."""
        step = _Step(start, end)
        self._steps.append(step)
        piece = self._text[start:end]
        equations = find_equations(piece)
        notes = [e.start for e in equations if e.noted]
        for equation in equations:
            if equation.truth is Truth.FALSE:
                step.findings.append(Finding.FALSE)
            if equation.noted or not _has_note(equation, notes):
                self._compute(step, equation, piece)
        self._mentions(step, piece, equations)

    def _compute(self, step: _Step, equation: Equation, piece: str) -> None:
        shifted = step.start
        step.equations.append(equation)
        if not equation.operands:  # a conversion, or an assignment
            self._stated |= {side.value for side in equation.sides if side.value is not None}
            return
        used_facts: set[int] = set()
        parents: set[int] = set()
        for operand in equation.operands:
            if operand.value is None:
                continue
            source, of = self._source(operand, piece)
            known = self._known.get(operand.value)
            if known is not None:
                parents.add(known)
            if source is Source.EARLIER and of is not None:
                parents.add(of)
            mine = self._given.get(operand.value, [])
            used_facts.update(mine)
            where = mine[0] if source is Source.QUESTION and mine else None
            if source is Source.EARLIER and of is not None:
                where = self._results[of].step
            step.uses.append(Use(operand.start + shifted, operand.end + shifted, operand.value, source, where))
            if source is Source.NOWHERE:
                step.findings.append(Finding.NOWHERE)
                self._stated.add(operand.value)
            elif source is Source.KNOWLEDGE and operand.value != 1:
                step.findings.append(Finding.KNOWLEDGE)
        self._touched |= used_facts
        self._judge(step, equation)
        if equation.result is not None and any(side.operators for side in equation.sides):
            self._settle(step, equation, piece, used_facts, parents)

    def _settle(self, step: _Step, equation: Equation, piece: str, used: set[int], parents: set[int]) -> None:
        """Remember the result, and the number written after an annotation."""
        assert equation.result is not None
        values = {side.value for side in equation.sides if side.value is not None} | {equation.result}
        values |= {side.plain for side in equation.sides if side.plain is not None}
        written = _written_after(piece, equation) if equation.noted else None
        if written is not None and written not in values:
            if not _rounded(equation.result, written):
                step.findings.append(Finding.REWRITTEN)
            values.add(written)
        self._results.append(_Result(len(self._steps) - 1, equation.result, used, parents, values))
        for value in values:
            self._known[value] = len(self._results) - 1

    def _judge(self, step: _Step, equation: Equation) -> None:
        """Signs inside one equation."""
        if equation.result is not None and equation.result < 0:
            step.findings.append(Finding.NEGATIVE)
        elif equation.result is not None and self._whole and equation.result.denominator != 1:
            step.findings.append(Finding.BROKEN)
        values = tuple(sorted(o.value for o in equation.operands if o.value is not None))
        signs = "".join(sorted(equation.sides[0].operators))
        key = (*values, Fraction(sum(ord(c) for c in signs)))
        if key in self._seen:
            step.findings.append(Finding.REPEATED)
        self._seen.add(key)
        if signs and set(signs) <= set("+-"):
            step.findings += self._sum_signs(equation)

    def _sum_signs(self, equation: Equation) -> list[Finding]:
        """Percentages and different units in a sum or difference of numbers of the question."""
        units, found = set(), []
        for operand in equation.operands:
            if operand.value is None or operand.value in self._known:
                continue
            mine = [self._facts[i] for i in self._given.get(operand.value, ())]
            plain = [f for f in mine if f.value == operand.value]
            if plain and all(f.percent for f in plain) and not operand.percent and operand.value != 100:
                found.append(Finding.PERCENT)
            names = {f.unit for f in plain}
            if len(names) == 1 and "" not in names:
                units |= names
        if len(units) > 1:
            found.append(Finding.UNITS)
        return found

    def _source(self, operand: Operand, piece: str) -> tuple[Source, int | None]:
        value = operand.value
        assert value is not None
        if value in self._known:
            return Source.EARLIER, self._known[value]
        if value in self._given or (operand.percent and value / 100 in self._given):
            return Source.QUESTION, None
        for index in range(len(self._results) - 1, max(-1, len(self._results) - 30), -1):
            if any(_derived(one, value) for one in self._results[index].also):
                return Source.EARLIER, index
        if value in self._stated:
            return Source.EARLIER, None
        return (Source.KNOWLEDGE if is_common(value, self._asked, piece.lower()) else Source.NOWHERE), None

    def _mentions(self, step: _Step, piece: str, equations: Sequence[Equation]) -> None:
        """Numbers outside equations that nothing before, and nothing in this step, accounts for."""
        spans = [(e.start, e.end) for e in equations] + [m.span() for m in _LABEL.finditer(piece)]
        spans = _joined(spans)[::-1]
        for number in find_numbers(piece):
            value = number.value
            while spans and spans[-1][1] <= number.start:
                spans.pop()
            if value is None or (spans and spans[-1][0] <= number.start):
                continue
            if value in self._known or value in self._given or value in self._stated:
                continue
            if any(_rounded(r.value, value) or _derived(r.value, value) for r in self._results[-30:]):
                continue
            if not is_common(value, self._asked, piece.lower()):
                step.findings.append(Finding.MENTION)
            self._stated.add(value)

    # -- the whole --

    def flow(self, complete: bool) -> Flow:
        """What was found; the facts and results that never reached the answer only if ``complete``."""
        answer = _answer(self._text)
        whole: list[Finding] = []
        unused: tuple[int, ...] = ()
        if complete:
            target = self._target(answer)
            reached = self._reach(target)
            for result in (r for i, r in enumerate(self._results) if i not in reached):
                self._steps[result.step].findings.append(Finding.DEAD_END)
            used = set().union(*(self._results[i].facts for i in reached))
            unused = self._unused(used)
            whole = [*self._unused_findings(unused), *self._answer_findings(answer, target)]
        steps = tuple(
            StepRecord(s.start, s.end, tuple(s.equations), tuple(s.uses), tuple(s.findings)) for s in self._steps
        )
        return Flow(self._facts, steps, answer, unused, tuple(whole))

    def _target(self, answer: Fraction | None) -> int | None:
        """The last result that is the answer, else the last of which it is the rounded value."""
        if answer is None:
            return None
        indexes = range(len(self._results) - 1, -1, -1)
        exact = next((i for i in indexes if answer in self._results[i].also), None)
        if exact is not None:
            return exact
        return next((i for i in indexes if _derived(self._results[i].value, answer)), None)

    def _reach(self, target: int | None) -> set[int]:
        """The results that the answer was computed from, itself included; without one, from the last result."""
        start = len(self._results) - 1 if target is None else target
        todo, reached = ([start] if self._results else []), set[int]()
        while todo:
            at = todo.pop()
            if at not in reached:
                reached.add(at)
                todo += [p for p in self._results[at].parents if p != at]
        return reached

    def _unused(self, used: set[int]) -> tuple[int, ...]:
        """Facts whose value is in no fact that was used; 1 is never missed."""
        values = {v for i in used for v in self._facts[i].same}
        return tuple(
            i for i, f in enumerate(self._facts) if i not in used and f.value not in values and f.value not in (0, 1)
        )

    def _unused_findings(self, unused: tuple[int, ...]) -> Iterable[Finding]:
        missed: set[Fraction] = set()
        for index in unused:
            fact = self._facts[index]
            if fact.value in missed:
                continue
            missed.add(fact.value)
            sure = self._question[fact.start : fact.end].lower() in SURE_CUES
            yield Finding.UNUSED_WORD if fact.word and not sure else Finding.UNUSED_FACT
        if self._lacks_conversion():
            yield Finding.CONVERSION

    def _lacks_conversion(self) -> bool:
        """Whether the asked unit and another one of the question differ, and no factor between them was used."""
        asked = re.split(r"[.!]\s", self._question.strip())[-1].lower()
        before = self._question.lower()[: -len(asked)] if asked else ""
        used = {u.value for s in self._steps for u in s.uses}
        for small, large, factors in CONVERSIONS:
            for here, there in ((small, large), (large, small)):
                only_asked = has(here, asked) and not has(here, before)
                if only_asked and has(there, before) and not has(there, asked):
                    return not any(Fraction(f) in used or Fraction(1, f) in used for f in factors)
        return False

    def _answer_findings(self, answer: Fraction | None, target: int | None) -> Iterable[Finding]:
        if not self._results:
            yield Finding.NO_EQUATION
        if answer is None:
            yield Finding.NO_ANSWER
            return
        if answer < 0 or (answer.denominator != 1 and _COUNT.search(self._question)):
            yield Finding.PART
        if self._results and target is None:
            yield Finding.UNDERIVED
        elif self._results and target is not None and answer not in self._results[-1].also:
            yield Finding.NOT_LAST
        if any(f.value == answer for f in self._facts):
            yield Finding.GIVEN


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same places as spans that do not overlap, left to right."""
    whole: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if whole and start <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((start, end))
    return whole


def _has_note(equation: Equation, notes: Sequence[int]) -> bool:
    """Whether an annotation (``notes``: where they start) stands inside a prose equation and says it better."""
    at = bisect_left(notes, equation.start)
    return at < len(notes) and notes[at] <= equation.end


def _written_after(piece: str, note: Equation) -> Fraction | None:
    """The number that directly follows an annotation."""
    match = _NEXT_NUMBER.match(piece, note.end)
    if match is None:
        return None
    number = next(find_numbers(piece, match.end(), match.end() + 40), None)
    return number.value if number is not None and number.start <= match.end() else None


def _rounded(exact: Fraction, written: Fraction) -> bool:
    """Whether one is the other to the places it is written with, or to a whole number either way."""
    if written.denominator == 1:
        return math.floor(exact) <= written <= math.ceil(exact)
    return abs(exact - written) * 100 <= 1


def _derived(earlier: Fraction, value: Fraction) -> bool:
    """Whether ``value`` is an earlier result rounded, in hundredths or hundreds, or what it leaves of the whole."""
    return value in (earlier * 100, earlier / 100, 1 - earlier, 100 - earlier) or (
        earlier.denominator != 1 and _rounded(earlier, value)
    )


def _answer(text: str) -> Fraction | None:
    found = NumericReading().extract(text)
    number = parse_number(found.value) if found is not None else None
    return number.value if number is not None else None
