"""Which methods work on a model, work degraded, or cannot, and why.

A method says what it ``needs``; without that it cannot. What else it asks for is found out in a rehearsal: it runs once
on one question with a scripted generator that can do everything, and its requests are looked at. If it draws several
samples of one prompt, and the server ignores ``n``, it works degraded: a way around exists, and costs something. Ways
around are those of the generators, as the visit reports them (``Shortfall``), and those of methods that take an ability
where it is there without needing it.

For a model of this process its prompts are also rendered: a closed vocabulary may lack their words, a small context
their length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from thence import api, methods
from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Context, Failure, Request, Sampling, Segment, TokenLogprobs
from thence.core.errors import ThenceError, UsageError
from thence.core.problem import Problem
from thence.core.protocols import AsksFirst, Formats, Generator, PromptStyle
from thence.core.search import Strategy
from thence.core.solve import check_needs, solve
from thence.generators.doctor import Finding, LocalReport, Report, Shortfall, Use
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.prompts.exemplars import EXEMPLARS

Kind = Literal["strategy", "prompt", "verifier", "option"]
VARIANTS = (  # of strategies whose needs depend on their arguments
    "self-consistency",
    "self-consistency(weight=prob)",
    "self-consistency(weight=confidence)",
    "confidence(by=mean)",
    "confidence(by=delta)",
    "best-of-n(verifier=agreement)",
    "best-of-n(verifier=logprob)",
    "budget-forcing(limit=64)",
    "budget-forcing(limit=64,waits=1)",
    "budget-forcing(limit=64,server=true)",
    "entropy-branching",
    "entropy-branching(where=random)",
)
PROMPT_VARIANTS = ("chain-of-draft(limit=48)",)
VERIFIERS = (
    "logprob",
    "agreement",
    "data-flow",
    "mixed(verifier=data-flow)",
    "p-true",
    "p-true(exact=yes)",
    "critique",
)
USUAL = ("cot", "bare")  # the prompt of strategies that bring none: the first that the model can read
INSTEAD = {  # of abilities that a method takes where they are there
    Ability.SCORE_TEXT: "no log-probabilities of given text: verdicts are sampled and counted",
    Ability.JSON_SCHEMA: "decoding is not guided: the format is asked for by tags, and replies may miss it",
}
BY_NEED = {Ability.CONTINUE: Use.BEGUN, Ability.LOGPROBS: Use.LOGPROBS, Ability.TOP2: Use.LOGPROBS}
TEXTS = ("3 + 2 = 5\n3 + 5 = 8\n#### 8", "3 + 2 = 5\n#### 5")
SHOWN = 5  # words of a prompt that a model does not know
APPLES = api.WORKING_QUESTIONS[0]


class State(StrEnum):
    """Whether a method works on a model."""

    WORKS = "works"
    DEGRADED = "degraded"
    CANNOT = "cannot"


@dataclass(frozen=True, slots=True)
class Fit:
    """One method on one model."""

    kind: Kind
    name: str
    state: State
    why: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a model: from a visit, or from what a generator says of itself.

    ``generator`` renders prompts, where it can; ``question`` is one that it can read, ``texts`` are replies of its own.
    """

    abilities: frozenset[Ability]
    kind: str  # of model, for reasons
    shortfalls: Mapping[Use, Shortfall] = field(default_factory=dict)
    generator: Generator | None = None
    question: str = APPLES
    texts: tuple[str, ...] = TEXTS


class _Stage(ScriptedGenerator):
    """A scripted generator that remembers of which texts log-probabilities were asked for. Like a server it gives those
    of what it draws only where they are asked for."""

    def __init__(self, texts: Sequence[str], abilities: frozenset[Ability]) -> None:
        def write(cue: Cue) -> str:
            order = [texts[(cue.seed + (cue.rank or 0) + i) % len(texts)] for i in range(len(texts))]
            begun = next((text[len(cue.reply) :] for text in order if text.startswith(cue.reply)), None)
            return begun if begun is not None else f" {order[0].split()[-1]}"

        super().__init__(write, abilities=abilities, pace=0)
        self.scored: list[Context] = []

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        async with aclosing(super().run(requests, book)) as outcomes:
            async for i, outcome in outcomes:
                if isinstance(outcome, Completion) and not _numbered(requests[i]):
                    outcome = replace(outcome, logprobs=None)
                yield i, outcome

    async def logprobs(
        self, contexts: Sequence[Context], continuations: Sequence[str], book: Spent
    ) -> list[TokenLogprobs]:
        self.scored += contexts
        return await super().logprobs(contexts, continuations, book)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What one run of a method asked for, and every prompt it made."""

    uses: frozenset[Use]
    took: frozenset[Ability]
    contexts: tuple[Context, ...]


async def rehearse(
    strategy: Strategy,
    style: PromptStyle,
    question: str = APPLES,
    texts: Sequence[str] = TEXTS,
    abilities: frozenset[Ability] = frozenset(Ability),
) -> Rehearsal:
    """Run a method once on scripted replies; an error of its own ends the run, and what was asked until then counts."""
    stage = _Stage(texts, abilities)
    try:
        await solve(
            Problem("question", question),
            generator=stage,
            strategy=strategy,
            style=style,
            reading=api.reading_for_questions(),
            sampling=Sampling(temperature=0.7, max_tokens=256),
        )
    except ThenceError:
        pass
    took = {Ability.SCORE_TEXT} if stage.scored else set()
    asked = tuple(dict.fromkeys([*(r.context for r in stage.requests), *stage.scored]))
    return Rehearsal(frozenset(_uses(stage.requests)), frozenset(took), asked)


def _uses(requests: Sequence[Request]) -> Iterator[Use]:
    """What the requests ask for beyond a text. Greedy ones are asked one by one anyway."""
    hot = Counter((r.context, r.sampling) for r in requests if r.sampling.temperature > 0)
    if any(count > 1 for count in hot.values()):
        yield Use.SAMPLES
    if any(r.sampling.stop for r in requests):
        yield Use.STOPS
    if any(r.sampling.step_ends for r in requests):
        yield Use.STEPS
    if any(r.context.reply for r in requests):
        yield Use.BEGUN
    if any(map(_numbered, requests)):
        yield Use.LOGPROBS


def _numbered(request: Request) -> bool:
    return request.sampling.logprobs or request.sampling.top2


def strategies() -> list[str]:
    """Every strategy of the map; one that must have a verifier has the one that costs no tokens."""
    variants = {name: [v for v in VARIANTS if v.partition("(")[0] == name] for name in methods.named("strategy")}
    return [text for name, own in variants.items() for text in own or [_complete(name)]]


def _complete(name: str) -> str:
    try:
        methods.strategy(name)
    except UsageError:
        return f"{name}(verifier=data-flow)"
    return name


def prompts() -> list[str]:
    """Every prompt style of the map that needs no file."""
    return [*(name for name in methods.named("prompt") if name != "retrieve"), *PROMPT_VARIANTS]


async def all_fits(found: Found) -> list[Fit]:
    """Every strategy, prompt style and verifier of the map on a model."""
    usual, greedy = _usual(found), methods.strategy("greedy")
    fits = []
    for text in strategies():
        strategy = methods.strategy(text)
        own = getattr(strategy, "default_prompt", None)
        fits.append(await fit(found, "strategy", text, strategy, methods.prompt(own) if own else usual))
    for text in prompts():
        fits.append(await fit(found, "prompt", text, greedy, methods.prompt(text)))
    for text in VERIFIERS:
        judged = methods.strategy(f'best-of-n(n=1, verifier="{text}")')
        fits.append(await fit(found, "verifier", text, judged, usual))
    return [*fits, *_trained(found)]


def _usual(found: Found) -> PromptStyle:
    styles = [methods.prompt(name) for name in USUAL]
    problem = Problem("question", found.question)
    return next((style for style in styles if not _unreadable(found, [style.context(problem)])), styles[-1])


async def fit(found: Found, kind: Kind, name: str, strategy: Strategy, style: PromptStyle) -> Fit:
    """One method on a model."""
    wishes = frozenset[Ability]()
    if isinstance(style, Formats):
        wishes, style = style.wishes, style.decided(found.abilities)
    needs = strategy.needs | style.needs
    if lacking := _lacking(name, needs, found):
        return Fit(kind, name, State.CANNOT, lacking)
    run = await rehearse(strategy, style, found.question, found.texts)
    around = run
    if run.took - found.abilities:
        around = await rehearse(strategy, style, found.question, found.texts, found.abilities)
    if unread := _unreadable(found, around.contexts):
        families = _families(found, style) if kind == "prompt" and not isinstance(style, AsksFirst) else []
        if families:
            kinds = ", ".join(families)
            return Fit(kind, name, State.DEGRADED, f"only on problems of the kinds {kinds}: else {unread}")
        return Fit(kind, name, State.CANNOT, unread)
    uses = around.uses | {use for ability, use in BY_NEED.items() if ability in needs}
    short = [found.shortfalls[use] for use in Use if use in uses and use in found.shortfalls]
    if fatal := [each.why for each in short if each.fatal]:
        return Fit(kind, name, State.CANNOT, fatal[0])
    wished = sorted((run.took | wishes) - needs - found.abilities)
    why = [INSTEAD.get(ability, f"without {ability}") for ability in wished] + [each.why for each in short]
    return Fit(kind, name, State.DEGRADED if why else State.WORKS, "; ".join(why))


def _families(found: Found, style: PromptStyle) -> list[str]:
    """The kinds of problems for which the style has a text of its own that the model can read."""
    asked = {family: style.context(Problem("question", found.question, family)) for family in EXEMPLARS if family}
    return [family for family, context in asked.items() if not _unreadable(found, [context])]


def _lacking(name: str, needs: frozenset[Ability], found: Found) -> str:
    """Why a run would be refused before any call, in the words of that refusal."""
    stand_in = ScriptedGenerator(lambda cue: "", abilities=found.abilities)
    try:
        check_needs(name, needs, stand_in, found.kind)
    except UsageError as error:
        return str(error).partition(" generator ")[2]
    return ""


def _unreadable(found: Found, contexts: Sequence[Context]) -> str:
    """Why the model cannot read one of the prompts; what others wrote before is tokenised as text."""
    generator = found.generator
    if generator is None:
        return ""
    unknown = getattr(generator, "unknown_words", None)
    for context in contexts:
        texts = [*(m.content for m in context.messages), *(s.text for s in context.reply)]
        words = list(dict.fromkeys(w.strip() for text in texts for w in unknown(text))) if unknown is not None else []
        if words:
            shown = ", ".join(map(repr, words[:SHOWN])) + (" …" if len(words) > SHOWN else "")
            return f"its closed vocabulary lacks words of the prompt: {shown}"
        ids = generator.tokens(replace(context, reply=tuple(Segment(s.text) for s in context.reply)))
        room = generator.max_context
        if ids is not None and room is not None and len(ids) >= room:
            return f"a prompt of {len(ids)} tokens does not fit its context of {room}"
    return ""


def _trained(found: Found) -> list[Fit]:
    """Trained verifiers: a shared head asks something of the model, the others run beside it."""
    from thence.verifiers.shared_head import SharedHead

    needs = object.__new__(SharedHead).needs  # of the class: no head has to be loaded
    lacking = _lacking("head", needs, found)
    others = ", ".join(f"{kind}:PATH" for kind in methods.LEARNED if kind != "head")
    return [
        Fit("verifier", "head:PATH", State.CANNOT if lacking else State.WORKS, lacking),
        Fit("verifier", f"{others} (trained models that run beside it)", State.WORKS),
    ]


def served_verifiers(report: Report) -> list[Fit]:
    """Verifiers that live on the server that was visited."""
    rows = (
        ("judge:NAME@URL", "chat endpoint", "the server has no chat endpoint"),
        (
            "prm:NAME@URL of a format with two tokens",
            "log-probabilities of chosen tokens",
            "no log-probabilities of chosen tokens (vLLM gives them); run it here: prm:PATH",
        ),
        (
            "prm:NAME@URL of a format with a head",
            "pooling endpoint",
            "no /pooling (serve it with vLLM's --runner pooling); run it here: prm:PATH",
        ),
    )
    fits = []
    for name, check, why in rows:
        works = report.found(check) is Finding.YES
        fits.append(Fit("verifier", name, State.WORKS if works else State.CANNOT, "" if works else why))
    return fits


def local_options(report: LocalReport) -> list[Fit]:
    """The same of a model of this process, which counts every token."""
    (switch,) = [check for check in report.checks if check.name == "switch of thinking"]
    works = switch.finding is Finding.YES
    think = Fit("option", "--think", State.WORKS if works else State.CANNOT, "" if works else switch.seen)
    counts = report.found("token ids") is Finding.YES
    why = "" if counts else "its token ids do not spell its texts"
    return [Fit("option", "--budget", State.WORKS if counts else State.CANNOT, why), think]


def options(report: Report) -> list[Fit]:
    """Options of a run that ask something of a server."""
    short = report.shortfalls.get(Use.BUDGET)
    state = State.WORKS if short is None else State.CANNOT if short.fatal else State.DEGRADED
    fits = [Fit("option", "--budget", state, "" if short is None else short.why)]
    for check in report.checks:
        if check.name.startswith("--think"):
            state = State.WORKS if check.finding is Finding.YES else State.CANNOT
            fits.append(Fit("option", check.name, state, check.seen))
    return fits
