"""What a model of this process can do, found out by running it: every ability it states is tried on a short question.

What is drawn, scored and continued must agree with each other: the log-probabilities of a drawn text are those of the
same text when it is given, and a text cut in the middle goes on as it did.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Context, Failure, Request, Sampling, Segment, Think
from thence.core.errors import ModelError, UsageError
from thence.core.problem import Message

from .findings import Check, Finding, Notes
from .load import Latency, doubling
from .visit import QUESTION

if TYPE_CHECKING:
    from ..local import LocalGenerator

APPLES = "I have 3 apples, my dad has 2 more than me. How many do we have in total?"
GREEDY = Sampling(temperature=0.0, max_tokens=24)
HOT = Sampling(temperature=1.5, max_tokens=24)
MANY = 8
CLOSE = 1e-3  # log-probabilities of one token by two ways of computing them
LEVELS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STEPS = 16  # tokens of each draw when a step is timed


@dataclass(frozen=True, slots=True)
class LocalReport:
    """What was found out. ``facts`` is what the generator says of itself, ``texts`` what it wrote to ``question``.

    ``latency`` has the median seconds of a decoding step by draws at once.
    """

    identity: str
    facts: dict[str, Any]
    max_context: int
    checks: tuple[Check, ...]
    abilities: frozenset[Ability]
    latency: tuple[Latency, ...]
    question: str
    texts: tuple[str, ...]
    calls: int
    tokens: int

    def found(self, name: str) -> Finding | None:
        """The outcome of one check."""
        return next((check.finding for check in self.checks if check.name == name), None)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "abilities": sorted(self.abilities)}


class _Examination(Notes):
    """The state of one examination."""

    def __init__(self, generator: LocalGenerator) -> None:
        super().__init__()
        self.generator = generator
        self.spent = Spent()
        self.calls = 0
        self.abilities = {Ability.VALUES} & generator.abilities  # a head of its own would be needed to try it
        self.question = known_question(generator)

    def context(self, text: str = "") -> Context:
        """The question, or another one."""
        return Context((Message("user", text or self.question),))

    async def draw(self, *requests: Request) -> tuple[list[Completion], Spent]:
        """Draw, in order; ModelError for a draw that failed."""
        self.calls += len(requests)
        book = Spent()
        drawn: dict[int, Completion] = {}
        async with aclosing(self.generator.run(list(requests), book)) as outcomes:
            async for i, outcome in outcomes:
                if isinstance(outcome, Failure):
                    raise ModelError(outcome.message)
                drawn[i] = outcome
        self.spent += book
        return [drawn[i] for i in range(len(requests))], book

    def proven(self, ability: Ability, name: str, works: bool, seen: str = "") -> None:
        """A check of an ability; it counts as one only where it works."""
        if self.note(name, works, seen):
            self.abilities.add(ability)


def known_question(generator: LocalGenerator) -> str:
    """A question whose words the model knows: for a closed vocabulary, what is left of one without the other words."""
    for text in (QUESTION, APPLES):
        if not generator.unknown_words(text):
            return text
    words = [word for word in APPLES.split() if not generator.unknown_words(f" {word}")]
    if not words:
        raise UsageError("the model's closed vocabulary knows no word of the questions that the doctor asks")
    return " ".join(words)


async def examine(generator: LocalGenerator, *, quick: bool = False) -> LocalReport:
    """Try everything on one question. ``quick`` leaves out how a step's time grows with the draws at once."""
    visit = _Examination(generator)
    texts = await _draws(visit)
    await _numbers(visit)
    await _continues(visit)
    visit.note("JSON schema", False, "the local engine does not guide decoding")
    await _thinking(visit)
    await _context(visit)
    await _prefix_cache(visit)
    latency = () if quick else await _latency(visit)
    return LocalReport(
        generator.identity,
        dict(generator.describe()),
        generator.max_context,
        tuple(visit.checks),
        frozenset(visit.abilities),
        latency,
        visit.question,
        texts,
        visit.calls,
        (visit.spent.prefilled or 0) + (visit.spent.generated or 0),
    )


async def _draws(visit: _Examination) -> tuple[str, ...]:
    """Greedy texts, seeds, several samples of one prompt, token ids; what was written."""
    asked = visit.context()
    (greedy,), _ = await visit.draw(Request(asked, GREEDY, 0))
    visit.note("writes text", bool(greedy.ids), repr(greedy.text[:60]))
    drawn, book = await visit.draw(*(Request(asked, HOT, seed) for seed in range(1, MANY + 1)))
    (again,), _ = await visit.draw(Request(asked, HOT, 1))
    visit.proven(Ability.SEEDED, "a seed repeats its text", again.ids == drawn[0].ids, "token for token, alone too")
    different, whole = len({c.ids for c in drawn}), drawn[0].prompt_tokens or 0
    once = (book.prefilled or 0) <= whole
    read = "the prompt is read once" if once else "the prompt is read more than once"
    visit.note("n samples of one prompt", different > 1 and once, f"{different} different texts of {MANY}; {read}")
    spelled = greedy.ids is not None and greedy.text.startswith(
        visit.generator.decode(greedy.ids[: len(greedy.ids) // 2])
    )
    counted = greedy.ids is not None and len(greedy.ids) == greedy.generated
    visit.proven(Ability.TOKEN_IDS, "token ids", spelled and counted, f"{greedy.generated} tokens")
    return tuple(dict.fromkeys(c.text for c in (greedy, *drawn) if c.text.strip()))


async def _numbers(visit: _Examination) -> None:
    """Log-probabilities: drawn ones, the two best, the forced first token, and those of a given text."""
    asked = visit.context()
    (best,), _ = await visit.draw(Request(asked, replace(GREEDY, top2=True), 0))
    values, tops = best.logprobs, best.top2
    works = values is not None and len(values) == len(best.ids or ()) and all(v <= 1e-6 for v in values)
    visit.proven(Ability.LOGPROBS, "log-probabilities", works)
    ordered = tops is not None and all(a >= b for a, b in tops)
    greedy = ordered and all(abs(v - a) < CLOSE for v, (a, _) in zip(values or (), tops or (), strict=False))
    visit.proven(Ability.TOP2, "the two best per token", greedy, "a greedy token is the best one")
    (second,), _ = await visit.draw(Request(asked, replace(GREEDY, first_rank=1, max_tokens=1), 0))
    other = second.ids != (best.ids or ())[:1]
    ranked = bool(other and tops and second.logprobs and abs(second.logprobs[0] - tops[0][1]) < CLOSE)
    visit.proven(Ability.FIRST_TOKEN, "forces the first token", ranked, "the second best is the second of the two best")
    (hot,), _ = await visit.draw(Request(asked, replace(HOT, temperature=2.0, max_tokens=1, top2=True), 3))
    same = bool(hot.top2 and tops and abs(hot.top2[0][0] - tops[0][0]) < CLOSE)
    visit.note("log-probabilities are untempered", same)
    text = _cut(visit, best)
    (given,) = await visit.generator.logprobs([asked], [text], visit.spent)
    check, drawn = "log-probabilities of given text", list(zip(best.ids or (), values or (), strict=False))
    same_ids = takewhile(lambda pair: pair[0][0] == pair[1], zip(drawn, given.ids, strict=False))
    gaps = [abs(value - told) for ((_, value), _), told in zip(same_ids, given.logprobs, strict=False)]
    if not gaps:  # half a text may be cut within a character
        visit.note(check, Finding.UNKNOWN, "a part of its own text has other tokens when it is given")
        visit.abilities |= {Ability.SCORE_TEXT} & visit.generator.abilities
        return
    agrees = max(gaps) < CLOSE
    seen = f"as when they were drawn, to {max(gaps):.1e}" if agrees else "not those of the same text when it was drawn"
    visit.proven(Ability.SCORE_TEXT, check, agrees, seen)


def _cut(visit: _Examination, done: Completion) -> str:
    """The first half of a text, at the end of a token."""
    ids = done.ids or ()
    return visit.generator.decode(ids[: max(1, len(ids) // 2)])


async def _continues(visit: _Examination) -> None:
    """A greedy text cut in the middle must go on as it did."""
    asked = visit.context()
    (whole,), _ = await visit.draw(Request(asked, GREEDY, 0))
    ids = whole.ids or ()
    half = max(1, len(ids) // 2)
    begun = asked.then(Segment(visit.generator.decode(ids[:half]), ids[:half]))
    (rest,), _ = await visit.draw(Request(begun, replace(GREEDY, max_tokens=24 - half), 0))
    visit.proven(Ability.CONTINUE, "continues a begun reply", rest.ids == ids[half:], "token by token")


async def _thinking(visit: _Examination) -> None:
    """Whether thinking can be switched and limited here, as ``--think`` would."""
    check = "switch of thinking"
    try:
        await visit.generator.learn_thinking(Think.OFF)
        sizes = [len(visit.generator.tokens(replace(visit.context(), thinking=thinking))) for thinking in (False, True)]
    except UsageError as error:
        visit.note(check, False, str(error).partition(": ")[2])
        return
    visit.note(check, True, f"the prompt has {sizes[0]} tokens off, {sizes[1]} on")


async def _context(visit: _Examination) -> None:
    """The context length, and that a prompt longer than it is refused before anything is computed."""
    length, unit = visit.generator.max_context, visit.question
    long = " ".join([unit] * (1 + length // max(1, len(unit.split()))))
    while len(visit.generator.tokens(visit.context(long))) < length:
        long = f"{long} {long}"
    size = len(visit.generator.tokens(visit.context(long)))
    try:
        await visit.draw(Request(visit.context(long), GREEDY, 0))
    except ModelError:
        visit.note("context length", True, f"{length} tokens; a prompt of {size} is refused before it is read")
    else:
        visit.note("context length", False, f"said to be {length} tokens, but a prompt of {size} is read")


async def _prefix_cache(visit: _Examination) -> None:
    """The same long prefix twice with different endings."""
    length, unit = visit.generator.max_context, visit.question
    times = max(2, length // (4 * max(1, len(visit.generator.tokens(visit.context())))))
    long = " ".join([unit] * times)
    one = replace(GREEDY, max_tokens=1)
    words = unit.split()
    await visit.draw(Request(visit.context(f"{long} {words[0]}"), one, 0))
    (done,), book = await visit.draw(Request(visit.context(f"{long} {words[-1]} {words[0]}"), one, 0))
    reused = book.reused or 0
    visit.note("reuses a prefix", reused > 0, f"{reused} of {done.prompt_tokens} prompt tokens the second time")


async def _latency(visit: _Examination) -> tuple[Latency, ...]:
    """Seconds of one decoding step with more and more draws at once."""

    async def level(at_once: int) -> list[float]:
        hot = replace(HOT, max_tokens=STEPS)
        start = time.monotonic()
        drawn, _ = await visit.draw(*(Request(visit.context(), hot, seed) for seed in range(at_once)))
        return [(time.monotonic() - start) / max(c.generated or 1 for c in drawn)]

    levels = [n for n in LEVELS if n <= visit.generator.capacity]
    return await doubling(visit, level, levels, "a step's time doubles")


__all__ = ["LocalReport", "examine"]
