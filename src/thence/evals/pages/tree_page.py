"""One problem's tree as one web page: everything in the file, nothing from the network, model text shown as text."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from thence.core.clean import printable
from thence.core.completion import Finish
from thence.core.tree import Kind, Node, Tree

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.2rem; margin-bottom: .2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .5rem 0 1rem; }
dt { opacity: .7; } dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
TREE_STYLE = """
.tree ul { list-style: none; margin: 0; padding-left: 1.2rem; border-left: 1px solid #8886; }
.tree > ul { padding-left: 0; border: 0; }
.tree li { margin: .3rem 0; }
.tree summary { cursor: pointer; }
.tree pre { margin: .2rem 0 .2rem 1.1rem; padding: .4rem .6rem; background: #8883; border-radius: .3rem;
  white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.45 ui-monospace, monospace; }
.facts { opacity: .75; font-size: 13px; }
.chosen > details > summary { color: #1a7f37; font-weight: 600; }
.chosen > details > pre { outline: 2px solid #1a7f37; }
.bar { display: inline-block; height: .6em; background: #1a7f37; border-radius: .2em; margin: 0 .3em; }
"""


def page(tree: Tree, *, title: str, facts: Mapping[str, str], chosen: int | None = None) -> str:
    """The page: ``facts`` above (question, answer, cost), then the tree; the chosen path is open and marked."""
    shown = escape(printable(title))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{shown}</title>"
        '<meta name=viewport content="width=device-width">'
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{STYLE}{TREE_STYLE}</style><h1>{shown}</h1>{fact_list(facts)}{tree_list(tree, chosen)}</html>\n"
    )


def fact_list(facts: Mapping[str, str]) -> str:
    """Names and what they are, as a definition list."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(printable(text))}</dd>" for name, text in facts.items())
    return f"<dl>{rows}</dl>"


def tree_list(tree: Tree, chosen: int | None = None) -> str:
    """The tree as nested lists; the path to the node ``chosen`` is marked."""
    on_path = set() if chosen is None else {node.index for node in tree.path(tree.nodes[chosen])}
    below: dict[int, list[Node]] = {}
    for node in tree.nodes[1:]:
        below.setdefault(node.parent or 0, []).append(node)
    return f"<div class=tree>{_list(below, 0, on_path)}</div>"


def _list(below: Mapping[int, list[Node]], at: int, on_path: set[int]) -> str:
    """Nested lists without recursion over depth: a search may be thousands of steps deep."""
    out: list[str] = []
    work: list[Node | str] = ["</ul>", *reversed(below.get(at, [])), "<ul>"]
    while work:
        item = work.pop()
        if isinstance(item, str):
            out.append(item)
            continue
        out.append(_node(item, on_path))
        work.append("</details></li>")
        if inside := below.get(item.index):
            work += ["</ul>", *reversed(inside), "<ul>"]
    return "".join(out)


def _node(node: Node, on_path: set[int]) -> str:
    completion = node.completion
    facts = [f"#{node.index}"] if node.kind is Kind.FINISH else [f"#{node.index} {node.kind}"]
    if node.multiplicity > 1:
        facts.append(f"drawn {node.multiplicity} times")
    facts.append(f"{completion.generated} tokens" if completion.generated is not None else "tokens unknown")
    if completion.finish is not Finish.STEP:
        facts.append(str(completion.finish))
    scores = "".join(f" {escape(name)} {score.value:.3f}{_bar(score.value)}" for name, score in node.scores.items())
    answer = f" <b>answer {escape(printable(node.found.value))}</b>" if node.found is not None else ""
    chosen = node.index in on_path
    return (
        f"<li{' class=chosen' if chosen else ''}><details open><summary>"
        f"<span class=facts>{escape(', '.join(facts))}</span>{scores}{answer}</summary>"
        f"<pre>{escape(printable(completion.text))}</pre>"
    )


def _bar(value: float) -> str:
    """A number in [0, 1] as a length; others are shown as the nearest of both."""
    return f'<span class=bar style="width:{4 * min(1.0, max(0.0, value)):.2f}em"></span>'
