"""Whether a model thinks before it replies: ``--think on|off|auto|N``.

How thinking is turned on and off is the generator's matter (``protocols.Thinks``); here is what a run makes of it.

``auto`` asks first, with thinking off, for a few short replies to the question. If enough of them give the same answer,
the question is taken for an easy one and the strategy runs with thinking off; else with thinking on. That agreement
tells easy questions from hard ones is the idea behind self-consistency as a measure of confidence (Wang et al. 2022,
arXiv:2203.11171); where a model is confidently wrong it also saves the thought that would have helped. The short
replies are on the books like any other sample. They cast no vote: they were drawn under another cap, and counting only
those of questions that turned out easy would make the vote's law depend on its outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .completion import Ability, Origin, Sampling, Think, too_long
from .errors import UsageError
from .protocols import Deals, Generator, Thinks
from .tree import Kind

if TYPE_CHECKING:
    from .search import Search

SHORT_REPLIES = 4
SHORT_TOKENS = 512  # a question that takes longer to answer is one to think about
AGREE = 0.75  # share of the short replies
SHORT_TEMPERATURE = 0.7  # where the run's own is 0: four equal replies would show nothing
TOKENS = frozenset({Ability.LOGPROBS, Ability.TOP2, Ability.VALUES})  # what a forced end of a thought has not
AUTO, UNHEEDED = "think auto:", "think ignored:"  # how notes begin


def think_fields(given: str | int | bool) -> dict[str, Any]:
    """The fields of ``Sampling`` for ``on``, ``off``, ``auto`` or a number N of tokens; UsageError otherwise.

    >>> think_fields("512")
    {'think': <Think.ON: 'on'>, 'thought_limit': 512}
    """
    text = {True: "on", False: "off"}[given] if isinstance(given, bool) else str(given).strip().lower()
    if text in set(Think):
        return {"think": Think(text)}
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"--think {given!r} is none of on, off, auto and a number of tokens from 1 up")
    return {"think": Think.ON, "thought_limit": int(text)}


def with_think(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of ``Sampling`` where ``think`` may be written as on the command line."""
    given = dict(sampling)
    think = given.pop("think", None)
    if isinstance(think, Think):
        return given | {"think": think}
    return given if think is None else given | think_fields(think)


async def ready(generator: Generator, sampling: Sampling, needs: frozenset[Ability] = frozenset()) -> None:
    """Let ``generator`` find out how it does what ``sampling`` asks; UsageError where it cannot, or where a thought's
    end would be forced under a strategy that ``needs`` numbers for every token, or a prompt that ``needs`` a schema."""
    if sampling.think is None:
        return
    if isinstance(generator, Deals):
        raise UsageError("--think: a pool's models think each in their own way; set it for one model at a time")
    if not isinstance(generator, Thinks):
        raise UsageError("--think: this kind of generator has no thinking to turn on or off; leave it out")
    forced = await generator.learn_thinking(sampling.think, sampling.thought_limit)
    if forced and Ability.JSON_SCHEMA in needs:
        raise UsageError(
            f"--think {sampling.thought_limit}: here a long thought's end is forced, and a JSON schema would guide the "
            "thought, too; ask for the format by tags, steps(by=tags), or use --think on"
        )
    if forced and sampling.thought_limit is not None and needs & TOKENS:
        lacking = ", ".join(sorted(map(str, needs & TOKENS)))
        raise UsageError(
            f"--think {sampling.thought_limit}: here a long thought's end is forced, and forced text has no {lacking}, "
            "which this strategy needs; use --think on, or another strategy"
        )


def check_begun(search: Search) -> None:
    """UsageError where the prompt style begins the reply: nothing is thought before what is already said."""
    if search.sampling.think not in (None, Think.OFF) and search.style.context(search.problem).reply:
        raise UsageError(
            f"--think: the prompt {search.style.name} begins the reply itself, so that no thought can come before it; "
            "use another prompt, such as cot, or --think off"
        )


async def decide(search: Search) -> tuple[str, ...]:
    """Under ``auto`` turn the search's thinking on or off for this question; notes that say which, and why."""
    if search.sampling.think is not Think.AUTO:
        return ()
    search.thinking = False
    caps = [c for c in (SHORT_TOKENS, search.sampling.max_tokens) if c is not None]
    temperature = search.sampling.temperature or SHORT_TEMPERATURE
    sampling = replace(search.sampling, max_tokens=min(caps), temperature=temperature)
    drawn = await search.expand(n=SHORT_REPLIES, sampling=sampling, kind=Kind.PROBE)
    answers: Counter[str] = Counter()
    for node in drawn:
        if node.truncated:
            continue
        followup = search.style.followup
        if followup is None or followup.only_cut:
            read = search.reading.extract(node.completion.reply)
            value = None if read is None else read.value
        else:
            found = await search.probe(node, followup)
            value = None if found is None else found.value
        if value is not None:
            answers[search.reading.key(value)] += 1
    most = max(answers.values(), default=0)
    search.thinking = most < AGREE * SHORT_REPLIES
    word = "on" if search.thinking else "off"
    if search.stopped:
        return (f"{AUTO} {word}, as the budget ended after {len(drawn)} of {SHORT_REPLIES} short replies",)
    said = f"{most} of {SHORT_REPLIES} short replies agree" if most else "no short reply has an answer"
    return (f"{AUTO} {word}, {said}",)


def unheeded(search: Search) -> tuple[str, ...]:
    """A note where the samples show that the model was not told in a way that it heeds: thoughts although thinking is
    off, or longer ones than the limit."""
    drawn = [n for n in search.tree if n.origin is Origin.SAMPLED and n.role == "policy"]
    short = [n for n in drawn if n.kind is Kind.PROBE or search.thinking is False]
    if search.sampling.think in (Think.OFF, Think.AUTO):
        thought = sum(n.multiplicity for n in short if n.completion.thought or n.completion.thought_tokens)
        if thought:
            return (f"{UNHEEDED} {thought} of {sum(n.multiplicity for n in short)} samples have a thought, though off",)
    limit = search.sampling.thought_limit
    if search.sampling.think is Think.ON and limit is not None:
        long = [n.completion.least_thought for n in drawn if too_long(n.completion.least_thought, limit)]
        if long:
            return (f"{UNHEEDED} a thought went on for {max(long)} tokens or more, though at most {limit} are allowed",)
    return ()


def summary(notes: Sequence[tuple[str, ...]]) -> list[str]:
    """What the notes of many results say together: one line per finding."""
    told = [note for each in notes for note in each]
    lines = []
    auto = [note for note in told if note.startswith(AUTO)]
    if auto:
        on = sum(note.startswith(f"{AUTO} on") for note in auto)
        lines.append(f"think auto: thinking was on for {on:,} of {len(auto):,} results, off for the rest")
    if ignored := [note for note in told if note.startswith(UNHEEDED)]:
        lines.append(
            f"think ignored on {len(ignored):,} of {len(notes):,} results; the first: "
            f"{ignored[0].removeprefix(UNHEEDED).strip()}. What this model costs and answers is not what was asked for"
        )
    return lines


__all__ = ["AGREE", "SHORT_REPLIES", "SHORT_TOKENS", "check_begun", "decide", "ready", "summary", "think_fields"]
