"""One question, one strategy, one result: the line on which everything meets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace

from .answers import Reading
from .budget import POLICY, Ledger
from .completion import Ability, Sampling
from .errors import UsageError
from .problem import Problem
from .protocols import AsksFirst, Cites, Formats, Generator, PromptStyle, SamplePool, missing
from .result import Result
from .search import WHOLE_ONLY, Priced, Search, Strategy
from .segmenter import Segmenter
from .think import check_begun, decide, ready, unheeded
from .tree import Tree, formats_of


def check_needs(name: str, needs: frozenset[Ability], generator: Generator, kind: str) -> None:
    """Refuse before any call what a generator cannot do."""
    lacking = missing(needs, generator.abilities)
    if lacking:
        reasons = {
            "first-token": "cannot branch on the first token; use a local model",
            "top2": "gives no top-2 log-probabilities; use a local model or a server with logprobs",
            "logprobs": "gives no log-probabilities; use a local model or a server with logprobs",
            "values": "cannot run a head on its own states; use a local model",
            "score-text": "gives no log-probabilities of given text; use a local model, or p-true(exact=no)",
            "thought-limit": "closes no thought by itself (vLLM does, started with --reasoning-parser or "
            "--reasoning-config); leave out server=true, and thence closes it",
            "continue": "cannot continue a begun reply; use a local model or a server with continue_final_message",
            "json-schema": "guides no decoding by a JSON schema; ask by tags: steps(by=tags)",
        }
        why = "; ".join(reasons.get(a, f"lacks {a}") for a in lacking)
        raise UsageError(f"{name}: the {kind} generator {why}")


def check_one_call(style: PromptStyle, what: str) -> None:
    """Refuse a style of two calls where prompts are made without asking."""
    if isinstance(style, AsksFirst):
        raise UsageError(f"{what}: the prompt {style.name} asks the model twice; only solve, eval and compare do that")


def check_no_form(style: PromptStyle, what: str) -> None:
    """Refuse a format where solutions are cut, continued or compared as they were written."""
    if isinstance(style, Formats) and style.form is not None:
        raise UsageError(f"{what}: the prompt {style.name} asks for a format; only solve, eval and compare do that")


def check_form(style: PromptStyle, name: str, needs: frozenset[Ability]) -> None:
    """Refuse a format for the strategy ``name`` if it begins replies or goes on with them."""
    lacking = {Ability.CONTINUE, Ability.FIRST_TOKEN} & needs
    if lacking and isinstance(style, Formats) and style.form is not None:
        raise UsageError(f"{name} @ {style.name}: {WHOLE_ONLY}")


def format_note(tree: Tree) -> tuple[str, ...]:
    """How many solutions are not in the format that was asked for, and why; nothing where all are or none was."""
    replies, unparsed = formats_of(tree)
    if not unparsed:
        return ()
    why = ", ".join(f"{count} {reason}" for reason, count in unparsed.most_common())
    return (f"{unparsed.total()} of {replies} replies are not in the format asked for and have no answer: {why}",)


def parts(strategy: object) -> Iterator[object]:
    """A strategy and whatever it is made of: verifiers, inner strategies, and theirs."""
    yield strategy
    for each in fields(strategy) if is_dataclass(strategy) else ():
        value = getattr(strategy, each.name, None)
        if hasattr(value, "needs"):
            yield from parts(value)


def head_of(strategy: Strategy) -> str:
    """The head whose numbers the samples of ``strategy`` carry; UsageError if it wants those of two."""
    heads = {head for part in parts(strategy) if isinstance(head := getattr(part, "values", ""), str) and head}
    if len(heads) > 1:
        raise UsageError(f"samples can carry the numbers of one head, not of {', '.join(sorted(heads))}")
    return next(iter(heads), "")


async def solve(
    problem: Problem,
    *,
    generator: Generator,
    strategy: Strategy,
    style: PromptStyle,
    reading: Reading,
    sampling: Sampling | None = None,
    seed: int = 0,
    budget: int | None = None,
    pool: SamplePool | None = None,
    roles: Mapping[str, Generator] | None = None,
    segmenter: Segmenter | None = None,
) -> Result:
    """One question, one strategy, one result. Raises CallFailed when a model call failed for good."""
    chosen = sampling or generator.defaults
    check_form(style, type(strategy).__name__, strategy.needs)
    if style.stop:
        chosen = replace(chosen, stop=tuple(dict.fromkeys((*chosen.stop, *style.stop))))
    if Ability.LOGPROBS in strategy.needs:
        chosen = replace(chosen, logprobs=True)
    if Ability.VALUES in strategy.needs:
        chosen = replace(chosen, values=head_of(strategy))
    search = Search(
        problem,
        {POLICY: generator, **(roles or {})},
        style,
        reading,
        chosen,
        seed=seed,
        segmenter=segmenter or Segmenter(),
        ledger=Ledger(budget),
        pool=pool,
    )
    search.checker = next((part for part in parts(strategy) if isinstance(part, Priced)), None)
    try:
        await ready(generator, chosen, strategy.needs | style.needs)
        check_begun(search)
        told = await search.prepare() + await decide(search)
        result = await strategy.solve(search)
        cited = style.notes(problem) if isinstance(style, Cites) else ()
        result.notes += told + unheeded(search) + cited + format_note(search.tree)
        return result
    finally:
        search.release()
