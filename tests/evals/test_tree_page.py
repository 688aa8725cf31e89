"""The page of a tree: whole, offline, and harmless whatever a model wrote."""

from __future__ import annotations

import re

from thence.core.completion import Completion, Finish
from thence.core.scores import Score
from thence.core.tree import Found, Kind, Node, Tree
from thence.evals.pages.tree_page import page

HOSTILE = "</pre><script>alert(1)</script><img src=http://x onerror=y>\x1b[31m"


def grown(depth: int, text: str = "a & b\n") -> tuple[Tree, Node]:
    tree = Tree()
    node = tree.root
    for i in range(depth):
        finish, kind = (Finish.STEP, Kind.STEP) if i < depth - 1 else (Finish.EOS, Kind.FINISH)
        node = tree.add(node, Completion.of(text, finish, generated=3), (*node.draws[0], 0), kind=kind)
    return tree, node


def test_text_is_shown_and_never_run() -> None:
    tree, last = grown(3, HOSTILE)
    last.scores["v"] = Score(1.7)
    last.found = Found(HOSTILE, last.index, 0, 1)
    made = page(tree, title=HOSTILE, facts={"question": HOSTILE}, chosen=last.index)
    assert "<script" not in made
    assert "<img" not in made
    assert "\x1b" not in made
    assert "&lt;script&gt;" in made
    assert not re.search(r"(?:src|href)=", made.replace("src=http://x", ""))
    assert "default-src 'none'" in made
    assert 'width:4.00em"' in made  # a number above 1 is shown as 1


def test_the_chosen_path_is_marked_and_what_beside_it_is_not() -> None:
    tree, last = grown(3)
    tree.add(tree.root, Completion.of("other", Finish.EOS, generated=1), (9,))
    made = page(tree, title="t", facts={}, chosen=last.index)
    assert made.count("class=chosen") == 3
    assert made.count("<li") == made.count("</li>") == 4
    assert made.count("<ul>") == made.count("</ul>")
    assert page(tree, title="t", facts={}).count("class=chosen") == 0


def test_a_deep_tree_is_no_recursion() -> None:
    tree, last = grown(5000, "x\n")
    assert page(tree, title="deep", facts={}, chosen=last.index).count("<li") == 5000
