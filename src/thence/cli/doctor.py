"""``thence doctor``: what a server or a local model can do, and which strategies, prompts and verifiers work on it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from thence import methods
from thence.core.errors import UsageError
from thence.core.protocols import Generator

from .doctor_fits import Fit, Found, State, all_fits, local_options, options, served_verifiers
from .options import ModelFlags
from .present import out, plain, print_json, table

if TYPE_CHECKING:
    from thence.generators.doctor import Check, Report
    from thence.generators.local import LocalGenerator

HOST = re.compile(r"[\w.-]+:\d+(/\S*)?")
HEADS = {State.WORKS: "work", State.DEGRADED: "work degraded", State.CANNOT: "cannot work here"}


def doctor(
    where: str,
    /,
    *,
    quick: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    models: ModelFlags = ModelFlags(),
) -> int:
    """Ask a server or a model small questions and say what works on it, what works degraded, what cannot, and why.

    A server gets about sixty calls of a few thousand tokens, and then short ones, more and more at once, until one
    takes twice as long as alone (at most 64 at once, no new level after 20 s).

    Parameters
    ----------
    where
        A server's URL (http://127.0.0.1:8000/v1), openai:NAME@URL, or a local model (acorn, hf:PATH).
    quick
        Leave out how latency grows with the calls at once.
    json
        Print one JSON object.
    """
    name, url = "", where
    if where.startswith("openai:"):
        name, _, url = where.removeprefix("openai:").rpartition("@")
    if HOST.fullmatch(url):
        raise UsageError(f"{url} is no URL; write http://{url}{'' if '/' in url else '/v1'}")
    if url.startswith(("http://", "https://")):
        return _server(url, name, models, quick, json)
    return _local(where, models, quick, json)


def _server(url: str, name: str, models: ModelFlags, quick: bool, json: bool) -> int:
    from thence.generators.doctor import probe

    given = models.options()
    key = None
    if given.key_var is not None and (key := os.environ.get(given.key_var)) is None:
        raise UsageError(f"--key-var names {given.key_var}, which is not set; export it with the server's key")

    async def visit() -> tuple[Report, list[Fit]]:
        report = await probe(
            url, name, key=key, headers=dict(given.headers), extra_body=dict(given.extra_body), quick=quick
        )
        return report, await server_fits(report)

    report, fits = asyncio.run(visit())
    if json:
        print_json({**report.record(), "methods": [asdict(fit) for fit in fits]})
        return 0
    out.print(plain(f"{report.url}  model {report.model}  {report.server}".rstrip(), "bold"))
    context = "unknown" if report.max_context is None else f"{report.max_context:,} tokens"
    tokens = "an unknown number of" if report.tokens is None else f"{report.tokens:,}"
    out.print(plain(f"context {context}; asked {report.calls} times, {tokens} tokens", "dim"))
    _show(report.checks, fits)
    for line in report.advice:
        out.print(plain(f"advice: {line}"))
    return 0


async def server_fits(report: Report) -> list[Fit]:
    """Every method on a server that was visited."""
    found = Found(report.abilities, "openai", report.shortfalls)
    fits = await all_fits(found)
    if report.endpoint is None:
        why = "the server completes no text"
        fits = [fit if _here(fit) else Fit(fit.kind, fit.name, State.CANNOT, why) for fit in fits]
        return [*fits, *served_verifiers(report)]
    return [*fits, *served_verifiers(report), *options(report)]


def _here(fit: Fit) -> bool:
    """Whether a method asks nothing of the server."""
    return fit.kind == "verifier" and fit.name in ("agreement", "data-flow")


def _local(where: str, models: ModelFlags, quick: bool, json: bool) -> int:
    generator = methods.model(where, models.options())

    async def visit() -> tuple[dict[str, Any], Sequence[Check], list[Fit]]:
        try:
            return await local_findings(generator, where, quick=quick)
        finally:
            await generator.close()

    facts, checks, fits = asyncio.run(visit())
    if json:
        print_json({**facts, "methods": [asdict(fit) for fit in fits]})
        return 0
    own: Mapping[str, object] = facts.get("facts", facts)
    for key, value in {"identity": facts["identity"], **own, "context": facts["max_context"]}.items():
        out.print(plain(f"{key:<14} {value}"))
    _show(checks, fits)
    return 0


async def local_findings(
    generator: Generator, where: str, *, quick: bool = False
) -> tuple[dict[str, Any], Sequence[Check], list[Fit]]:
    """A model of this process: what it says of itself, what was tried, and every method on it.

    A generator that only repeats or deals what others wrote is not tried; its stated abilities are taken.
    """
    kind = where.partition(":")[0]
    if generator.describe().get("generator") != "local":
        facts: dict[str, Any] = {"identity": generator.identity, "max_context": generator.max_context}
        facts |= {"facts": dict(generator.describe()), "abilities": sorted(generator.abilities)}
        return facts, (), await all_fits(Found(generator.abilities, kind))
    from thence.generators.doctor import examine

    report = await examine(cast("LocalGenerator", generator), quick=quick)
    found = Found(report.abilities, kind, {}, generator, report.question, report.texts or (report.question,))
    return report.record(), report.checks, [*await all_fits(found), *local_options(report)]


def _show(checks: Sequence[Check], fits: Sequence[Fit]) -> None:
    if checks:
        out.print(table("", ["check", "", "seen"], [[c.name, str(c.finding), c.seen] for c in checks]))
    groups: dict[tuple[str, State, str], list[str]] = {}
    for fit in fits:
        groups.setdefault((fit.kind, fit.state, fit.why), []).append(fit.name)
    for state in State:
        rows = [[kind, ", ".join(names), why] for (kind, at, why), names in groups.items() if at is state]
        if rows:
            columns = ["", "methods", "why"] if state is not State.WORKS else ["", "methods"]
            title = f"{sum(fit.state is state for fit in fits)} {HEADS[state]}"
            out.print(table(title, columns, [row[: len(columns)] for row in rows]))


__all__ = ["doctor"]
