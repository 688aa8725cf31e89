"""How results look in a terminal. Model text is printed as inert plain text, never as markup."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from thence.core.budget import Charged, Spent
from thence.core.clean import one_line, printable
from thence.core.completion import Finish
from thence.core.search import Result
from thence.core.tree import Kind, Node, Tree

PIPED_WIDTH = 120  # characters of a line where nobody's terminal sets the width
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def plain(text: str, style: str = "") -> Text:
    """Model text as an inert rich text."""
    return Text(printable(text), style=style)


def print_json(value: object) -> None:
    """One JSON object on stdout, and nothing else."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def number(value: float | int | None, digits: int = 1) -> str:
    """A count or a figure; an unknown one says so."""
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent."""
    return "-" if value is None else f"{100 * value:.1f} %"


def show_result(result: Result, *, model: str, strategy: str, prompt: str, seconds: float, trace: bool = True) -> None:
    """An answer, how it was chosen, and what it cost."""
    out.print(Text.assemble(("answer      ", "dim"), (printable(result.answer or "none found"), "bold green")))
    how = f"{strategy} on {model}, prompt {prompt}"
    out.print(Text.assemble(("how         ", "dim"), how))
    if result.confidence is not None:
        out.print(Text.assemble(("confidence  ", "dim"), f"{result.confidence:.2f}"))
    if result.stopped:
        out.print(Text.assemble(("stopped     ", "dim"), (f"early: the {result.stopped} was used up", "yellow")))
    if result.truncated:
        out.print(Text.assemble(("truncated   ", "dim"), ("the chosen text was cut; raise --max-tokens", "yellow")))
    show_votes(result)
    for note in result.notes:
        out.print(Text.assemble(("            ", ""), (printable(note), "dim")))
    if trace and result.node is not None:
        out.print(Text("chosen text", style="dim"))
        for line in printable(result.trace).strip().split("\n"):
            out.print(Text("  " + line))
    show_cost(result.ledger.total_charged, result.ledger.total_spent, seconds)


def show_votes(result: Result, most: int = 6) -> None:
    """The classes of answers with a bar each."""
    if len(result.votes) == 0:
        return
    top = max(v.weight for v in result.votes) or 1.0
    width = max(len(one_line(v.answer, 20)) for v in result.votes[:most])
    for i, vote in enumerate(result.votes[:most]):
        bar = "█" * max(1, round(24 * vote.weight / top)) if vote.weight > 0 else ""
        weight = "" if vote.weight == vote.count else f"  weight {vote.weight:.3g}"
        label = "votes       " if i == 0 else "            "
        shown = one_line(vote.answer, 20)
        out.print(Text.assemble((label, "dim"), f"{shown:>{width}}  ", (bar, "cyan"), f" {vote.count}{weight}"))
    if len(result.votes) > most:
        out.print(Text(f"            and {len(result.votes) - most} more answers", style="dim"))


def show_cost(charged: Charged, spent: Spent, seconds: float) -> None:
    """Both books on two lines."""
    parts = f"{number(charged.prompt)} prompt, {number(charged.generated)} generated"
    if charged.verifier:
        parts += f", {number(charged.verifier)} verifier"
    out.print(Text.assemble(("charged     ", "dim"), f"{number(charged.total)} tokens ({parts})"))
    out.print(
        Text.assemble(
            ("spent       ", "dim"),
            f"{number(spent.prefilled)} prefilled, {number(spent.reused)} reused, {number(spent.generated)} generated"
            f" ({number(spent.wasted)} for nothing), {seconds:.2f} s",
        )
    )


def tree_lines(tree: Tree, chosen: int | None = None) -> list[Text]:
    """A tree as indented plain text, children under their parents."""
    children: dict[int, list[Node]] = {}
    for node in tree.nodes[1:]:
        children.setdefault(node.parent or 0, []).append(node)
    lines: list[Text] = []

    def visit(parent: int, indent: str) -> None:
        group = children.get(parent, [])
        for i, node in enumerate(group):
            last = i == len(group) - 1
            lines.append(_node_line(node, indent + ("└─ " if last else "├─ "), node.index == chosen))
            rest = indent + ("   " if last else "│  ")
            for line in printable(node.text).strip("\n").split("\n"):
                lines.append(Text.assemble((rest + "  ", "dim"), line))
            visit(node.index, rest)

    visit(0, "")
    return lines


def _node_line(node: Node, indent: str, chosen: bool) -> Text:
    c = node.completion
    facts = [f"#{node.index}"]
    if node.kind is not Kind.FINISH:
        facts.append(str(node.kind))
    if node.multiplicity > 1:
        facts.append(f"x{node.multiplicity}")
    facts.append(f"{number(c.generated)} tokens")
    if c.finish is not Finish.STEP:
        facts.append(str(c.finish))
    facts += [f"{name} {score.value:.3f}" for name, score in node.scores.items()]
    if node.malformed:
        facts.append(f"not in the format: {node.malformed}")
    if node.found is not None:
        facts.append(f"answer {one_line(node.found.value, 40)}")
    return Text.assemble(
        (indent, "dim"), (", ".join(facts), "bold green" if chosen else "cyan"), " ← chosen" if chosen else ""
    )


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Table:
    """A plain table; columns whose index is in ``right`` are right-aligned."""
    made = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def accuracy_text(report: Mapping[str, Any]) -> str:
    """Accuracy with its 95 % interval; never a bare mean."""
    if report.get("accuracy") is None:
        return "unknown (no references)"
    low, high = report["interval"]
    return f"{100 * report['accuracy']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
