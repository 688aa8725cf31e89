"""How a step of the tour looks in a terminal, and as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thence.cli.outputs import needs_matplotlib
from thence.cli.present import out, plain, table
from thence.cli.wrapping import wrapped
from thence.core.errors import UsageError

from .bench import Bench
from .step import Finding, Step

WIDEST = 100  # cells of a paragraph's line

Texts = Mapping[str, Any]


def paragraph(text: str, style: str = "", indent: str = "") -> None:
    """A paragraph in lines of a width that can be read."""
    for line in wrapped(text, min(WIDEST, out.width) - len(indent)):
        out.print(plain(indent + line, style))


def introduce(step: Step, number: int, count: int, texts: Texts, bench: Bench) -> None:
    """What a step does and why, before it is measured."""
    own, frame = texts["steps"][step.name], texts["frame"]
    out.print()
    out.print(plain(f"{number}/{count}  {own['title']}", "bold cyan"))
    paragraph(own["what"].format_map(bench.facts))
    paragraph(own["why"].format_map(bench.facts))
    out.print(plain(f"{frame['paper']}{frame['colon']}{own['paper']}", "dim"))


def conclude(step: Step, found: Finding, picture: Path | None, texts: Texts, bench: Bench) -> None:
    """What a step found, the commands that make it, and the question."""
    frame = texts["frame"]
    out.print()
    if found.exhibit:
        paragraph(found.exhibit, "italic", "  ")
        out.print()
    columns = [texts["columns"][name].format_map(bench.facts) for name in found.columns]
    out.print(table("", columns, found.rows, right=found.right))
    verdict, colour = {
        True: ("holds", "green"),
        False: ("fails", "red"),
        None: ("unclear", "yellow"),
    }[found.holds]
    colon = frame["colon"]
    paragraph(colon.join((frame["claim"], claim(step, texts, bench), frame[verdict])), colour)
    for sentence in sentences(step, found, texts):
        paragraph(sentence)
    out.print()
    out.print(plain(frame["no_picture"] if picture is None else f"{frame['picture']}{colon}{picture}", "dim"))
    out.print(plain(frame["commands"] + colon.rstrip(), "dim"))
    for line in found.commands:
        out.print(plain(f"  {line}"))
    question = texts["steps"][step.name]["question"].format_map(bench.facts)
    paragraph(f"{frame['question']}{colon}{question}", "bold")


def claim(step: Step, texts: Texts, bench: Bench) -> str:
    """What a step is there to show."""
    text: str = texts["steps"][step.name]["claim"]
    return text.format_map(bench.facts)


def sentences(step: Step, found: Finding, texts: Texts) -> list[str]:
    """What is true of this run, in words."""
    says = texts["steps"][step.name]["says"]
    return [says[key].format_map(found.values) for key in found.says]


def document(step: Step, found: Finding, picture: Path | None, texts: Texts, bench: Bench) -> dict[str, Any]:
    """A step as plain JSON data."""
    own = texts["steps"][step.name]
    return {
        "step": step.name,
        "title": own["title"],
        "claim": claim(step, texts, bench),
        "holds": found.holds,
        "outcomes": list(found.says),
        "says": sentences(step, found, texts),
        "values": dict(found.values),
        "table": {"columns": list(found.columns), "rows": [list(row) for row in found.rows]},
        "picture": None if picture is None else str(picture),
        "commands": list(found.commands),
        "question": own["question"].format_map(bench.facts),
    }


def listed(steps: Sequence[Step], texts: Texts, bench: Bench) -> None:
    """The steps by number and name, with what each is there to show."""
    words = texts["columns"]
    colon = texts["frame"]["colon"]
    rows = [
        [str(i), step.name, texts["steps"][step.name]["title"] + colon + claim(step, texts, bench)]
        for i, step in enumerate(steps, 1)
    ]
    out.print(table("", [words["step"], words["name"], words["about"]], rows, right=(0,)))


def drawn(found: Finding, path: Path) -> Path | None:
    """The picture's path after it was written; None without matplotlib."""
    try:
        with needs_matplotlib():
            from thence.evals.pages.plot import save

            image = found.draw()
    except UsageError:
        return None
    return save(image, path)


__all__ = ["conclude", "document", "drawn", "introduce", "listed", "paragraph", "sentences"]
