"""The prompt styles that ship with thence.

Each style turns a problem into what the model reads. An instruction stands on its own line after the question.

| name | paper | what it asks |
|---|---|---|
| bare | | nothing: the question alone |
| direct | | only the answer |
| cot | Kojima et al. 2022, arXiv:2205.11916 | to think step by step, in one call |
| zero-shot-cot | the same paper, whole | "Let's think step by step." begins the reply; a second call reads the answer |
| few-shot-cot | Wei et al. 2022, arXiv:2201.11903 | worked exemplars come first |
| supervised-cot | Zhang & Ding 2024, arXiv:2410.14198 | what to write at each step, by family of problem |
| chain-of-draft | Xu et al. 2025, arXiv:2502.18600 | a short draft of each step |
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from thence.core.completion import Ability, Context, Origin, Segment
from thence.core.errors import DataError, UsageError
from thence.core.problem import Message, Problem
from thence.core.protocols import Followup

from .exemplars import EXEMPLARS, Exemplar

NO_NEEDS: frozenset[Ability] = frozenset()
ASK_ANSWER = "\nTherefore, the answer (arabic numerals) is"


@dataclass(frozen=True, slots=True)
class Plain:
    """Fields that most styles leave at their defaults."""

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond continuing a text."""
        return NO_NEEDS

    @property
    def stop(self) -> tuple[str, ...]:
        """No stop strings of its own."""
        return ()

    @property
    def cap(self) -> int | None:
        """No token cap of its own."""
        return None

    @property
    def followup(self) -> Followup | None:
        """The answer is read from the reply."""
        return None


def instructed(problem: Problem, instruction: str) -> Context:
    """The problem with an instruction on a line of its own after the last question."""
    messages = list(problem.messages)
    last = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
    if last < 0:
        raise UsageError(f"problem {problem.id!r} has no user message; add the question as one")
    if instruction:
        messages[last] = Message("user", f"{messages[last].content}\n{instruction}")
    return Context(tuple(messages))


@dataclass(frozen=True, slots=True)
class Bare(Plain):
    """The question and nothing else."""

    name = "bare"

    def context(self, problem: Problem) -> Context:
        """The problem's own messages."""
        return Context(problem.messages)


@dataclass(frozen=True, slots=True)
class Direct(Plain):
    """Ask for the answer without any reasoning."""

    name = "direct"
    instruction: str = "Give only the answer."

    def context(self, problem: Problem) -> Context:
        """The question, then the instruction."""
        return instructed(problem, self.instruction)


@dataclass(frozen=True, slots=True)
class ChainOfThought(Plain):
    """Ask to think step by step, in one call; the answer is read from the reply."""

    name = "cot"
    instruction: str = "Think step by step."

    def context(self, problem: Problem) -> Context:
        """The question, then the instruction."""
        return instructed(problem, self.instruction)


@dataclass(frozen=True, slots=True)
class ZeroShotCoT(Plain):
    """Zero-shot CoT in its two calls: the trigger begins the reply, a second call reads the answer.

    Reading the last number of the first call's text instead loses several points in the paper.
    """

    name = "zero-shot-cot"
    trigger: str = " Let's think step by step."
    ask: str = ASK_ANSWER

    @property
    def needs(self) -> frozenset[Ability]:
        """A begun reply has to be continued."""
        return frozenset({Ability.CONTINUE})

    @property
    def followup(self) -> Followup | None:
        """The second call."""
        return Followup(self.ask)

    def context(self, problem: Problem) -> Context:
        """The question; the reply begins with the trigger."""
        return Context(problem.messages, (Segment(self.trigger, None, Origin.FORCED),))


@dataclass(frozen=True, slots=True)
class FewShotCoT(Plain):
    """Worked exemplars as earlier turns of the chat, then the question. Unknown families get the general ones."""

    name = "few-shot-cot"
    shots: int = 2
    style: Literal["cot", "direct"] = "cot"

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise UsageError(f"few-shot-cot: shots is {self.shots}; it must be at least 1")

    def context(self, problem: Problem) -> Context:
        """Exemplars first."""
        return Context(self._messages(problem, self._known(problem)[: self.shots]))

    def variants(self, problem: Problem, m: int) -> list[tuple[Message, ...]]:
        """At most ``m`` different prompts for one problem, with other exemplars, then in other orders; the first one is
        the style's own. Fewer where there are no more."""
        return [self._messages(problem, chosen) for chosen in choices(self._known(problem), self.shots, m)]

    def _known(self, problem: Problem) -> tuple[Exemplar, ...]:
        known = EXEMPLARS.get(problem.family, EXEMPLARS[""])
        if self.shots > len(known):
            raise UsageError(f"few-shot-cot: shots is {self.shots}; there are {len(known)} exemplars for this family")
        return known

    def _messages(self, problem: Problem, chosen: Sequence[Exemplar]) -> tuple[Message, ...]:
        turns: list[Message] = []
        for exemplar in chosen:
            reply = exemplar.reasoning if self.style == "cot" else exemplar.answer
            turns += [Message("user", exemplar.question), Message("assistant", reply)]
        system = [m for m in problem.messages if m.role == "system"]
        return (*system, *turns, *(m for m in problem.messages if m.role != "system"))


T = TypeVar("T")


def choices(known: Sequence[T], n: int, m: int) -> list[tuple[T, ...]]:
    """At most ``m`` ordered choices of ``n`` of ``known``, the first ``n`` as they stand first; other sets come before
    other orders of the same ones. The same call gives the same choices."""
    noise = random.Random(0)
    made = [tuple(range(n))]
    for most, same in ((math.comb(len(known), n), frozenset), (math.perm(len(known), n), tuple)):
        seen = {same(chosen) for chosen in made}
        while len(made) < min(m, most):
            drawn = tuple(noise.sample(range(len(known)), n))
            if same(drawn) not in seen:
                seen.add(same(drawn))
                made.append(drawn)
    return [tuple(known[i] for i in chosen) for chosen in made[:m]]


SUPERVISION = {
    "": "For each step in turn, write what you work out and the equation. Write the answer after ####.",
    "graph": (
        "For each person in turn, write the name and the equation between << and >>. Write the answer after ####."
    ),
    "apples": (
        "For each person in turn, write the name and the equation between << and >>. Write the answer after ####."
    ),
    "letters": "For each word in turn, write its last letter. Write the joined letters after ####.",
}


@dataclass(frozen=True, slots=True)
class SupervisedCoT(Plain):
    """Name what to write at each step, by family of problem.

    ``task`` overrides the family: ``supervised-cot(task=letters)`` on word problems is the arm "another task's
    instruction", ``task=general`` the arm "one prompt for all".
    """

    name = "supervised-cot"
    task: str = ""

    def __post_init__(self) -> None:
        known = sorted(k for k in SUPERVISION if k)
        if self.task and self.task != "general" and self.task not in known:
            raise UsageError(f"supervised-cot: task is {self.task!r}; known are general, {', '.join(known)}")

    def context(self, problem: Problem) -> Context:
        """The question, then the family's instruction."""
        family = "" if self.task == "general" else self.task or problem.family
        return instructed(problem, SUPERVISION.get(family, SUPERVISION[""]))


@dataclass(frozen=True, slots=True)
class ChainOfDraft(Plain):
    """Ask for a short draft of each step. The limit is asked for, not enforced: that is the paper's method.

    ``limit`` makes the hard-capped variant: the whole draft is cut after so many tokens and the answer is then asked
    for by the separator. Differs from S0's wording in that the cap is on the draft and not on each step.
    """

    name = "chain-of-draft"
    limit: int = 0
    instruction: str = (
        "Think step by step, but keep only a short draft of each step, five words at most. Write the answer after ####."
    )

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise UsageError(f"chain-of-draft: limit is {self.limit}; it must be 0 (off) or more tokens")

    @property
    def needs(self) -> frozenset[Ability]:
        """The capped variant continues a cut reply."""
        return frozenset({Ability.CONTINUE}) if self.limit else NO_NEEDS

    @property
    def cap(self) -> int | None:
        """The hard cap in tokens."""
        return self.limit or None

    @property
    def followup(self) -> Followup | None:
        """A cut draft is asked for its answer."""
        return Followup(" ####", max_tokens=16, only_cut=True) if self.limit else None

    def context(self, problem: Problem) -> Context:
        """The question, then the instruction."""
        return instructed(problem, self.instruction)


@dataclass(frozen=True, slots=True)
class FromFile(Plain):
    """A user's own prompt: a text file with ``{question}``, or a JSON object.

    JSON fields, all optional but ``template``: ``template`` (with ``{question}``), ``system``, ``exemplars`` (a list of
    ``{"question": …, "answer": …}``), ``prefix`` (how the reply begins), ``stop`` (a list of strings).
    """

    path: str
    template: str
    system: str = ""
    exemplars: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    stops: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.path).name

    @property
    def needs(self) -> frozenset[Ability]:
        """A begun reply has to be continued."""
        return frozenset({Ability.CONTINUE}) if self.prefix else NO_NEEDS

    @property
    def stop(self) -> tuple[str, ...]:
        """The file's stop strings."""
        return self.stops

    def context(self, problem: Problem) -> Context:
        """System text, exemplars, then the filled template."""
        messages = self._messages(problem, self.exemplars)
        return Context(messages, (Segment(self.prefix),) if self.prefix else ())

    def variants(self, problem: Problem, m: int) -> list[tuple[Message, ...]]:
        """At most ``m`` different prompts for one problem: the exemplars in other orders, the file's own first."""
        orders = choices(self.exemplars, len(self.exemplars), m)
        return [self._messages(problem, chosen) for chosen in orders]

    def _messages(self, problem: Problem, exemplars: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
        turns = [Message("system", self.system)] if self.system else []
        for question, answer in exemplars:
            turns += [Message("user", self._fill(question)), Message("assistant", answer)]
        return (*turns, Message("user", self._fill(problem.text)))

    def _fill(self, question: str) -> str:
        return self.template.replace("{question}", question)

    @staticmethod
    def read(path: str) -> FromFile:
        """Read a prompt file; DataError says what is wrong with it."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"the prompt file {path} cannot be read: {error}") from error
        fields: dict[str, Any] = {"template": text.rstrip("\n")}
        if path.endswith(".json"):
            fields = _json_prompt(path, text)
        if "{question}" not in fields["template"]:
            raise DataError(
                f"the prompt file {path} has no {{question}} in its template; put it where the question goes"
            )
        return FromFile(path, **fields)


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(s, str) and s for s in value):
        raise ValueError(f"stop is {value!r}; it must be a list of strings that are not empty")
    return tuple(value)


def _json_prompt(path: str, text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
        fields: dict[str, Any] = {"template": str(row.pop("template", "{question}"))}
        fields["exemplars"] = tuple((str(e["question"]), str(e["answer"])) for e in row.pop("exemplars", []))
        fields["stops"] = _strings(row.pop("stop", []))
        fields["system"], fields["prefix"] = str(row.pop("system", "")), str(row.pop("prefix", ""))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DataError(f"the prompt file {path} is not a prompt: {error}; see `thence prompts`") from error
    if row:
        raise DataError(f"the prompt file {path} has unknown fields: {', '.join(map(str, row))}")
    return fields
