"""Step 5: chains of thought are there without a prompt (Wang & Zhou 2024, arXiv:2402.10200)."""

from __future__ import annotations

from thence import api
from thence.core.clean import one_line
from thence.core.tree import Kind, Node
from thence.grading.grade import grade_answer
from thence.strategies.cot_decoding import delta, first_token

from ..bench import MODEL, Bench, command
from ..step import Finding

APPLES, ANSWER = api.WORKING_QUESTIONS[0], "8"
STRATEGY = "cot-decoding(k=10)"
OUTCOMES = ("rescued", "both_right", "both_wrong", "lost", "sure_right", "sure_wrong", "none_sure")
SURE = 0.5
SHOWN = 80  # characters of a path in the table


def measure(bench: Bench) -> Finding:
    """Every likely first token of the bare question, continued greedily: its answer, and how sure the path is of it."""
    result = api.solve(APPLES, MODEL, STRATEGY, seed=bench.seed)
    paths = [n for n in result.tree.nodes if n.kind is Kind.FINISH]
    chosen = result.node.index if result.node is not None else -1
    gaps = {n.index: delta(result.tree, n.found) for n in paths}
    greedy = paths[0]
    worked, plain = _is_right(result.node), _is_right(greedy)
    said = {(True, False): "rescued", (True, True): "both_right", (False, False): "both_wrong", (False, True): "lost"}
    sure = [n for n in paths if (gaps[n.index] or 0.0) >= SURE]
    right_of_sure = sum(map(_is_right, sure))
    rows = [
        [
            repr(first_token(n)),
            n.found.value if n.found is not None else "-",
            "-" if gaps[n.index] is None else f"{gaps[n.index]:.3f}",
            str(n.completion.generated),
            "✓" if _is_right(n) else "",
            "✓" if n.index == chosen else "",
            one_line(n.text.strip(), SHOWN),
        ]
        for n in paths
    ]

    def draw() -> bytes:
        from ..pictures import Bar, bars

        shapes = [
            Bar(row[0], gaps[n.index] or 0.0, _is_right(n), _answer(n) + (", greedy" if n is greedy else ""))
            for n, row in zip(paths, rows, strict=True)
        ]
        return bars(shapes, "branches by first token, the likeliest first", "delta: how sure the path is of its answer")

    return Finding(
        holds=True if worked and not plain else None if worked else False,
        says=(
            said[worked, plain],
            "none_sure" if not sure else "sure_right" if 2 * right_of_sure > len(sure) else "sure_wrong",
        ),
        values={
            "greedy": greedy.found.value if greedy.found is not None else "-",
            "chosen": str(result.answer),
            "answer": ANSWER,
            "branches": str(len(paths)),
            "sure": str(len(sure)),
            "sure_right": str(right_of_sure),
            "threshold": f"{SURE:g}",
        },
        columns=("first_token", "answer", "delta", "length", "right", "chosen", "text"),
        rows=rows,
        right=(1, 2, 3),
        commands=(
            command("solve", APPLES, "--strategy", STRATEGY),
            command("solve", APPLES, "--strategy", "greedy", "--prompt", "bare"),
        ),
        draw=draw,
        exhibit=f"{APPLES}\n\n{result.trace.strip()}",
    )


def _answer(node: Node) -> str:
    return "no answer" if node.found is None else f"answer {node.found.value}"


def _is_right(node: Node | None) -> bool:
    return node is not None and node.found is not None and grade_answer(ANSWER, node.found.value).correct
