"""One arm of ``grader.py``: grades the pairs of a JSON file in two processes, prints verdicts and seconds.

    python benchmarks/grader_side.py thence|math-verify solution|reply|answer PAIRS.json

math-verify is called as its documentation says: LaTeX and plain expressions on both sides, the gold first. An answer
without dollars or a box is put into dollars, which its LaTeX pattern needs, and so is the gold for ``reply``; for
``solution`` both texts are given as they are.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable

PROCESSES = 2
Pair = tuple[str, str]


def _thence(mode: str) -> Callable[[Pair], bool]:
    from thence.grading.mathematics import grade_math, grade_solution

    grade = grade_math if mode == "answer" else grade_solution
    return lambda pair: grade(*pair).correct


def _math_verify(mode: str) -> Callable[[Pair], bool]:
    import logging

    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    kinds = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())

    def dressed(text: str) -> str:
        return text if text.startswith("$") or "\\boxed" in text else f"${text}$"

    def grade(pair: Pair) -> bool:
        gold, answer = pair
        gold = gold if mode == "solution" else dressed(gold)
        answer = dressed(answer) if mode == "answer" else answer
        return bool(verify(parse(gold, kinds), parse(answer, kinds)))

    return grade


_GRADE: Callable[[Pair], bool] | None = None


def _start(name: str, mode: str) -> None:
    global _GRADE
    _GRADE = _thence(mode) if name == "thence" else _math_verify(mode)
    _GRADE(("$x+1$", "$1+x$"))  # imports and first use are not timed
    _GRADE(("$1$", "$2$"))


def _one(pair: Pair) -> bool | None:
    """The verdict; nothing if the grader raised, which no case expects."""
    assert _GRADE is not None
    try:
        return _GRADE(pair)
    except Exception as error:
        print(f"raised on {pair!r:.200}: {error!r:.200}", file=sys.stderr)
        return None


def main() -> None:
    """Grade all pairs."""
    name, mode, path = sys.argv[1:]
    with open(path) as file:
        pairs = [(gold, answer) for gold, answer in json.load(file)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES, _start, (name, mode)) as pool:
        pool.map(_one, [("$1$", "$1$")] * 200, chunksize=1)  # both are up
        started = time.perf_counter()
        verdicts = pool.map(_one, pairs, chunksize=50)
        seconds = time.perf_counter() - started
    print(json.dumps({"verdicts": verdicts, "seconds": seconds}))


if __name__ == "__main__":
    main()
