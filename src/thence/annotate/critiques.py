"""Critiques to learn from, as Math-Minos does before its head (Gao et al. 2024, arXiv:2406.14024).

A critic, the role ``critic`` (the policy itself where nobody else plays it), writes about each labelled solution what
is right or wrong with it and why. Critics err, so it is told what is known: that the solution is right, or that it is
wrong, and where. The paper calls this label-aware. What it says is kept only where it agrees with what is known, as the
critiques of generative verifiers are filtered (Zhang et al. 2024, arXiv:2408.15240); else it is asked again, up to
``tries`` times. A solution without a kept critique stays in the file with its other labels.

* ``per=solution``: the review that strategies ask for. It agrees if it finds nothing in a right solution, or something
  in a wrong one.
* ``per=step``: one line for each step, up to the first wrong one, as in the paper. It agrees if every line does.

What is known of a solution: its first wrong step by labels of validity; else, of a wrong answer, the first step that no
rollout came right from; else the verdict on its answer. A critic that guesses "wrong" with chance q is kept in a share
1 - q^tries of the right and 1 - (1 - q)^tries of the wrong solutions: agreement makes a critique's verdict true, not
its reasons. ``told=no`` says nothing to the critic, which is the control for a critic that only repeats what it heard.

The record keeps the text (``critique``) and, under ``criticised``, who wrote it and how many were dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from thence.core.completion import Finish, Sampling
from thence.core.errors import check_counts
from thence.core.labels import Labelled
from thence.core.problem import Message
from thence.core.review import REVIEW, asked, found_nothing, said
from thence.core.scores import Meaning
from thence.core.search import POLICY, Search
from thence.core.tree import Node

from .label import Annotator
from .rollouts import Rollouts

CRITIC = "critic"
STEPS = (
    "Judge your previous answer step by step. Its steps are:\n{steps}\nWrite one line for each of them, which begins "
    'with "Step 1 is right:" or "Step 1 is wrong:" (and so on) and says why. Stop after the first wrong step.'
)
KNOWN_RIGHT = "It is known that nothing is wrong with this answer."
KNOWN_WRONG = "It is known that this answer is wrong."
KNOWN_STEP = "It is known that something is wrong with this answer, and that its first wrong step is step {k}:\n{step}"
AS_IF = "Give reasons from the answer itself, as if this had not been said."
_LINE = re.compile(
    r"^[^\w\n]{0,8}step[ \t]?(\d{1,4})\W{1,4}(?:is\W{1,4})?(right|correct|wrong|incorrect)\b",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a solution: whether something is wrong with it, and with which step first (from 0)."""

    wrong: bool
    first: int | None = None


@dataclass(frozen=True, slots=True)
class Critiques:
    """The records of ``inner``, with a critique of at most ``max_tokens`` tokens each from up to ``tries`` ones."""

    inner: Annotator
    tries: int = 4
    per: Literal["solution", "step"] = "solution"
    told: bool = True
    max_tokens: int = 512

    def __post_init__(self) -> None:
        check_counts("critiques", tries=self.tries, max_tokens=self.max_tokens)

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]:
        """All solutions are criticised together, and those without a kept critique again."""
        records = await self.inner.annotate(rollouts)
        search, dropped, kept = rollouts.search, [0] * len(records), dict[int, str]()
        facts = {i: fact for i, r in enumerate(records) if r.ends and (fact := known(r)) is not None}
        for _ in range(self.tries):
            left = [i for i in facts if i not in kept]
            if not left or search.stopped:
                break
            about = [rollouts.place(records[i].text) for i in left]
            chats = [self._chat(search, node, records[i], facts[i]) for node, i in zip(about, left, strict=True)]
            replies = await search.ask(chats, about=about, role=CRITIC, sampling=self._sampling(search))
            for i, reply in zip(left, replies, strict=False):
                if self.agrees(reply, facts[i], len(records[i].ends)):
                    kept[i] = reply.completion.reply.strip()
                elif reply.completion.finish is not Finish.BUDGET:
                    dropped[i] += 1
        who = search.generator(CRITIC).identity
        return [_with(record, kept.get(i), dropped[i], who) for i, record in enumerate(records)]

    def agrees(self, critique: Node, fact: Known, steps: int) -> bool:
        """Whether a critique of a solution of so many steps says what is known; an empty or a cut one says nothing."""
        text = critique.completion.reply
        if critique.truncated or not text.strip():
            return False
        if self.per == "solution":
            return found_nothing(critique) != fact.wrong
        found = verdicts(text)
        return found is not None and _agree(found, fact, steps)

    def _chat(self, search: Search, node: Node, record: Labelled, fact: Known) -> Sequence[Message]:
        steps = [step.strip() for step in (*record.steps[:-1], record.text[(0, *record.ends)[-2] :])]
        listed = "\n".join(f"Step {k}: {step}" for k, step in enumerate(steps, 1))
        request = REVIEW if self.per == "solution" else STEPS.replace("{steps}", listed)
        if self.told:
            hint = KNOWN_WRONG if fact.wrong else KNOWN_RIGHT
            if fact.first is not None:
                hint = KNOWN_STEP.replace("{k}", str(fact.first + 1)).replace("{step}", steps[fact.first])
            request = f"{request}\n{hint}\n{AS_IF}"
        return [*asked(search), said(search, node), Message("user", request)]

    def _sampling(self, search: Search) -> Sampling:
        """Temperature 1, because greedy tries would all be the same."""
        critic = search.generator(CRITIC)
        own = search.sampling if critic is search.generator(POLICY) else critic.defaults
        cap = min(c for c in (self.max_tokens, own.max_tokens) if c is not None)
        return Sampling(temperature=1.0, max_tokens=cap, stop=own.stop)


def known(record: Labelled) -> Known | None:
    """What the labels of a solution and the verdict on its answer say; None if they say nothing."""
    for meaning in (Meaning.PREFIX_VALID, Meaning.STEP_CORRECT):
        if (first := _first(record.numbers(meaning), 0.5)) is not None:
            return Known(True, first)
    if record.correct is not False:
        return None if record.correct is None else Known(False)
    return Known(True, _first(record.numbers(Meaning.VALUE), 0.0))


def _first(numbers: Sequence[float | None], least: float) -> int | None:
    """The first number that is 0 or below ``least``; None if there is none, or one before it is not known."""
    for k, number in enumerate(numbers):
        if number is None:
            return None
        if number < least or number == 0:
            return k
    return None


def verdicts(critique: str) -> list[bool] | None:
    """What a critique's lines say of step 1, 2, ...; None if it has no such lines, or not in this order."""
    found = [(int(m[1]), m[2].lower() in ("right", "correct")) for m in _LINE.finditer(critique)]
    return [right for _, right in found] if found and [k for k, _ in found] == list(range(1, len(found) + 1)) else None


def _agree(found: Sequence[bool], fact: Known, steps: int) -> bool:
    if not fact.wrong:
        return list(found) == [True] * steps
    if fact.first is not None:
        return list(found) == [True] * fact.first + [False]
    return len(found) <= steps and False in found and found.index(False) == len(found) - 1


def _with(record: Labelled, critique: str | None, dropped: int, who: str) -> Labelled:
    more = {} if critique is None else {"critique": critique}
    return replace(record, extra={**record.extra, **more, "criticised": {"critic": who, "dropped": dropped}})


__all__ = ["CRITIC", "Critiques", "Known", "known", "verdicts"]
