"""``thence tour``: what sampling, voting and confidence give, in measured steps, offline."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from thence import api
from thence.cli.outputs import spared
from thence.cli.present import err, out, plain, print_json
from thence.cli.progress import make
from thence.cli.texts import Language, read_texts
from thence.core.errors import UsageError, check_counts

from .bench import Bench
from .show import conclude, document, drawn, introduce, listed, paragraph
from .step import Step
from .steps import STEPS


def tour(
    step: str | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(name="--out")] = Path("runs/tour"),
    lang: Language = "en",
    seed: int = 0,
    problems: int = 100,
    samples: int = 16,
    yes: Annotated[bool, Parameter(alias="-y", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> int:
    """Show in eight measured steps what sampling, voting and confidence give, and when they do not.

    Offline, with the embedded model. Without a step all of them run in order.

    Parameters
    ----------
    step
        One step by number or name, or list.
    output
        Folder of the run file with all samples, and of the pictures.
    lang
        Language of the texts: en or zh.
    seed
        Seed of the sampling.
    problems
        How many questions are answered.
    samples
        Samples per question.
    yes
        Do not wait between the steps; nobody is asked where no terminal is.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    check_counts("tour", 4, problems=problems, samples=samples)
    texts = read_texts("tour", lang)
    bench = Bench(output, seed, problems, samples, make(quiet or json))
    if step == "list":
        if json:
            print_json({"steps": [{"step": s.name, "title": texts["steps"][s.name]["title"]} for s in STEPS]})
        else:
            listed(STEPS, texts, bench)
        return 0
    chosen = STEPS if step is None else (named(step),)
    if output.exists() and not output.is_dir():
        raise UsageError(f"--out {output} is a file; give a folder")
    waits = len(chosen) > 1 and not (yes or json) and sys.stdin.isatty() and out.is_terminal
    try:
        found = _run(chosen, texts, bench, json=json, waits=waits)
    finally:
        api.unload()
    if json:
        print_json({"run": str(bench.run), "steps": found})
    return 0


def named(text: str) -> Step:
    """A step by its number or its name; UsageError that lists them."""
    found = [s for i, s in enumerate(STEPS, 1) if text in (str(i), s.name)]
    if not found:
        names = ", ".join(f"{i} {s.name}" for i, s in enumerate(STEPS, 1))
        raise UsageError(f"there is no step {text!r} in the tour; the steps are {names}")
    return found[0]


def _run(
    chosen: Sequence[Step], texts: dict[str, Any], bench: Bench, *, json: bool, waits: bool
) -> list[dict[str, Any]]:
    """Run the steps one after another; returns each as data."""
    frame = texts["frame"]
    made: list[dict[str, Any]] = []
    bench.check()
    if not json:
        paragraph(frame["opening"].format_map(bench.facts), "dim")
    for place, step in enumerate(chosen):
        if waits and place and not _goes_on(frame["next"]):
            return made
        if not json:
            introduce(step, STEPS.index(step) + 1, len(STEPS), texts, bench)
        target = bench.folder / f"{step.name}.png"
        spared(target)
        found = step.measure(bench)
        picture = drawn(found, target)
        made.append(document(step, found, picture, texts, bench))
        if not json:
            conclude(step, found, picture, texts, bench)
    if not json and len(chosen) > 1:
        out.print()
        paragraph(frame["closing"], "dim")
    return made


def _goes_on(prompt: str) -> bool:
    err.print(plain(prompt, "dim"), end="")
    line = sys.stdin.readline()
    return bool(line) and line.strip().lower() not in ("q", "quit")
