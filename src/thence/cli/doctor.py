"""``thence doctor``: what a server or a local model can do, and which strategies and prompts work on it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Annotated

from cyclopts import Parameter

from thence import methods
from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.protocols import missing

from .options import ModelFlags
from .present import out, plain, print_json, table

VARIANTS = (  # of strategies whose needs depend on their arguments
    "self-consistency",
    "self-consistency(weight=prob)",
    "self-consistency(weight=confidence)",
    "confidence(by=mean)",
    "confidence(by=delta)",
    "best-of-n(verifier=agreement)",
    "best-of-n(verifier=logprob)",
)


def all_strategies() -> list[str]:
    """Every strategy of the map; one that must have a verifier has the one that costs no tokens."""
    variants = {name: [v for v in VARIANTS if v.partition("(")[0] == name] for name in methods.named("strategy")}
    return [text for name, own in variants.items() for text in own or [_complete(name)]]


def _complete(name: str) -> str:
    try:
        methods.strategy(name)
    except UsageError:
        return f"{name}(verifier=data-flow)"
    return name


def all_needs() -> dict[str, frozenset[Ability]]:
    """What every strategy (in its variants) and every prompt style needs of a model."""
    needs = {text: methods.strategy(text).needs for text in all_strategies()}
    prompts = [*(name for name in methods.named("prompt") if name != "retrieve"), "chain-of-draft(limit=48)"]
    return needs | {f"prompt {name}": methods.prompt(name).needs for name in prompts}


def doctor(
    where: str,
    /,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
    models: ModelFlags = ModelFlags(),
) -> int:
    """Ask a server about twenty small questions (a few hundred tokens) and say what works on it, and why not.

    Parameters
    ----------
    where
        A server's URL (http://127.0.0.1:8000/v1), openai:NAME@URL, or a local model (acorn, hf:PATH).
    json
        Print one JSON object.
    """
    name, url = "", where
    if where.startswith("openai:"):
        name, _, url = where.removeprefix("openai:").rpartition("@")
    if not url.startswith(("http://", "https://")):
        return _local(where, models, json)
    from thence.generators.doctor import probe

    options = models.options()
    key = None
    if options.key_var is not None and (key := os.environ.get(options.key_var)) is None:
        raise UsageError(f"--key-var names {options.key_var}, which is not set; export it with the server's key")
    report = asyncio.run(
        probe(
            url,
            name,
            key=key,
            headers=dict(options.headers),
            extra_body=dict(options.extra_body),
            needs=all_needs(),
        )
    )
    if json:
        print_json(report.record())
        return 0
    out.print(plain(f"{report.url}  model {report.model}  {report.server}".rstrip(), "bold"))
    context = "unknown" if report.max_context is None else f"{report.max_context:,} tokens"
    out.print(plain(f"context {context}; asked {report.calls} times, {report.tokens} tokens", "dim"))
    rows = [[c.name, str(c.finding), c.seen] for c in report.checks]
    out.print(table("", ["check", "", "seen"], rows))
    _show_methods(report.lacking)
    for line in report.advice:
        out.print(plain(line))
    return 0


def _local(where: str, models: ModelFlags, json: bool) -> int:
    generator = methods.model(where, models.options())
    lacking = {name: tuple(missing(needs, generator.abilities)) for name, needs in all_needs().items()}
    facts = {"identity": generator.identity, "max_context": generator.max_context, **generator.describe()}
    asyncio.run(generator.close())
    if json:
        lists = {k: list(v) for k, v in lacking.items()}
        print_json({**facts, "abilities": sorted(generator.abilities), "lacking": lists})
        return 0
    for key, value in facts.items():
        out.print(plain(f"{key:<14} {value}"))
    out.print(plain(f"{'abilities':<14} {', '.join(sorted(generator.abilities))}"))
    _show_methods(lacking)
    return 0


def _show_methods(lacking: Mapping[str, tuple[str, ...]]) -> None:
    rows = [[name, "no" if why else "works", f"needs {', '.join(why)}" if why else ""] for name, why in lacking.items()]
    out.print(table("", ["method", "", "why not"], rows))
