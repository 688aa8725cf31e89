"""``thence yardstick``: how far strategies are from the best possible one, on worlds where that one is known."""

from __future__ import annotations

import time
from dataclasses import fields, is_dataclass, replace
from json import dumps
from pathlib import Path
from typing import Annotated, Any, cast

from cyclopts import Parameter

from thence import methods
from thence.core.background import run_sync
from thence.core.errors import UsageError
from thence.core.search import Strategy, Verifier
from thence.evals.yardstick import BUDGETS, CAP, Cell, Entry, Report, Row, measure, strata_of

from .outputs import spared, write_text
from .present import err, out, plain, print_json, table

WITH_VERIFIER = {"best-of-n": ("best-of-n", "best-of-n(select=vote)")}
PLACE = "agreement"  # stands where the yard's own verifier will be put


def yardstick(
    *strategies: str,
    budgets: str = ",".join(map(str, BUDGETS)),
    cap: int = CAP,
    problems: int = 32,
    answers: int = 4,
    bounds: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 0,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> int:
    """Measure strategies against the best possible policy, in four strata, with four verifiers, at four budgets.

    Parameters
    ----------
    strategies
        Strategies by name or path.py:Class; default: every registered one that can run there. What is not given takes
        the budget (n, or mean) and the yardstick's verifier.
    budgets
        Samples per problem, e.g. 2,4,8,16.
    cap
        Most samples for one problem where a budget is a mean; up to 64 are solved exactly (about 15 s per verifier), at
        most 128 are bounded.
    problems
        Problems per stratum.
    answers
        Answers per problem, 3 to 16; with more than 4 the optimum is bounded.
    bounds
        Bound the optimum also where it could be solved.
    seed
        Seed of the sampling.
    output
        Write everything to this file, as JSON.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    spared(output)
    began = time.perf_counter()
    numbers = _numbers(budgets)
    entries, refused = entries_of(strategies)
    if not entries:
        raise UsageError("; ".join(f"{name}: {why}" for name, why in refused))

    def told(name: str) -> None:
        if not quiet and err.is_terminal:
            err.print(plain(f"measuring {name} …", "dim"))

    strata = strata_of(answers)
    report = run_sync(
        measure(
            entries,
            strata=strata,
            budgets=numbers,
            cap=cap,
            problems=problems,
            seed=seed,
            bounded=bounds,
            told=told,
        )
    )
    document = report.document() | {"seconds": round(time.perf_counter() - began, 1), "not_built": dict(refused)}
    if output is not None:
        write_text(output, dumps(document, indent=1) + "\n")
    if json:
        print_json(document)
    else:
        show(report, refused)
        err.print(plain(f"{time.perf_counter() - began:.0f} s", "dim"))
    return 0 if any(row.cells for row in report.rows) else 1


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--budgets {text!r} is no list of whole numbers; write e.g. 2,4,8,16") from None


def entries_of(texts: tuple[str, ...]) -> tuple[list[Entry], list[tuple[str, str]]]:
    """The strategies to be measured, and those that cannot be built from their names alone, with the reason."""
    if not texts:
        texts = tuple(t for name in methods.named("strategy") for t in WITH_VERIFIER.get(name, (name,)))
        entries, refused = [], []
        for text in texts:
            try:
                entries.append(entry_of(text))
            except UsageError as error:
                refused.append((text, str(error)))
        return entries, refused
    return [entry_of(str(spec)) for text in texts for spec in methods.parse(text)], []


def entry_of(text: str) -> Entry:
    """One strategy, ready to be built for any budget and verifier."""
    spec = methods.one(text, "strategy")
    given = {key.replace("-", "_") for key, _ in spec.arguments}
    try:
        built = methods.strategy(text)
    except UsageError:
        text = str(methods.Spec(spec.name, (*spec.arguments, ("verifier", PLACE))))
        built = methods.strategy(text)
    known: set[str] = {f.name for f in fields(built) if f.init} if is_dataclass(built) else set()
    verifier = "verifier" in known and "verifier" not in given
    by_mean = "mean" in known and not given & {"mean", "price"}

    def make(samples: int, cap: int, judge: Verifier) -> Strategy:
        changes: dict[str, Any] = {"verifier": judge} if verifier else {}
        if by_mean:
            changes["mean"] = float(samples)
        if "n" in known and "n" not in given:
            changes["n"] = cap if by_mean else samples
        made = methods.strategy(text)
        return cast(Strategy, replace(cast(Any, made), **changes)) if changes else made

    return Entry(str(spec), make, uses_verifier=verifier, by_mean=by_mean)


def show(report: Report, refused: list[tuple[str, str]]) -> None:
    """One table per verifier, then what every strategy closes of the gap, then what cannot run here."""
    names = [s.name for s in report.strata]
    shares = ", ".join(f"{s.name} {s.share:g}" for s in report.strata)
    out.print(plain(f"strata {shares}; {report.problems} problems of each; at most {report.cap} samples a problem"))
    for quality in report.qualities:
        rows = []
        for row in report.rows:
            name = row.name + (" (oracle)" if row.oracle else "")
            for cell in row.cells:
                if cell.quality == quality.name:
                    rows.append([name, *_cells(cell, report.bounded)])
                    name = ""
        title = f"verifier {quality.name} (AUROC {quality.auroc:.2f})"
        by_stratum = [] if report.bounded else names
        columns = ["strategy", "B", "samples", "right", "distance", *by_stratum, "closed"]
        out.print(table(title, columns, rows, right=range(1, len(columns))))
    out.print(plain(BOUNDED if report.bounded else LEGEND))
    measured = [r for r in report.rows if r.cells]
    verifiers = [q.name for q in report.qualities]
    closed = [[r.name, *(_closed(r, q, report.bounded) for q in (*verifiers, None))] for r in measured]
    columns = ["share of the gap closed", *verifiers, "all"]
    out.print(table("", columns, closed, right=range(1, len(columns))))
    cannot = [*refused]
    for r in report.rows:
        why = "; ".join(dict.fromkeys(r.refused.values()))
        at = f" (B = {', '.join(map(str, r.refused))})" if r.cells else ""
        cannot += [(r.name + at, why)] if why else []
    if cannot:
        together: dict[str, list[str]] = {}
        for name, why in cannot:
            together.setdefault(why.partition(": ")[2] or why, []).append(name)
        rows = [[", ".join(names), why] for why, names in together.items()]
        out.print(table("not measured", ["strategies", "why"], rows))


LEGEND = (
    "distance, and the four columns of strata: points of accuracy that the best policy with the same mean number of "
    "samples is ahead. It knows how common each stratum is and not which one it has, so a strategy can be ahead of it "
    "in one stratum, never over all. closed: of the gap from majority to the best, mean of all strata but the trap; "
    "gaps under 1 point are not divided."
)


BOUNDED = (
    "This world is too large to be solved. distance: points of accuracy that the best policy with the same mean number "
    "of samples is ahead, at least and at most. closed: of the gap from majority to the best, at least and at most, "
    "over all strata; gaps under 1 point are not divided."
)


def _cells(c: Cell, bounded: bool) -> list[str]:
    low, high = 100 * c.distance, 100 * (c.distance + c.slack)
    strata = [] if bounded else [f"{100 * d:+.1f}" for d in c.distance_strata]
    return [
        str(c.budget),
        f"{c.cost:.1f}",
        f"{100 * c.accuracy:.1f}",
        f"{low:.1f} to {high:.1f} ± {100 * c.error:.1f}" if bounded else f"{low:.1f} ± {100 * c.error:.1f}",
        *strata,
        _range(c.closed_least, c.closed) if bounded else _share(c.closed),
    ]


def _closed(row: Row, quality: str | None, bounded: bool) -> str:
    most, error = row.closed(quality), row.closed_error(quality)
    if most is None or error is None:
        return "-"
    middle = _range(row.closed_least(quality), most) if bounded else _share(most)
    return f"{middle.removesuffix(' %')} ± {100 * error:.0f} %"


def _range(one: float | None, other: float | None) -> str:
    if one is None or other is None:
        return "-"
    low, high = sorted((round(100 * one), round(100 * other)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
