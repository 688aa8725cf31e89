"""math-verify (Kydlicek et al. 2024, github.com/huggingface/Math-Verify) as a second grader, for comparison only.

``grade`` runs in thence's killable grading worker. math-verify's own time limits are signals, which work in a main
thread only and would disarm the worker's alarm; they are turned off, the worker's deadline stands in for them. A
reference without LaTeX signs is given as ``$…$``, the form that math-verify's documentation asks for.

math-verify has no verdict for a reference that it cannot read (it says False); here that is ``ungradable``.
"""

from __future__ import annotations

import importlib.util

from thence.core.clean import one_line
from thence.core.errors import UsageError

GRADER = f"{__name__}:grade"
GRADER_OF_ANSWERS = f"{__name__}:grade_answer"
_SHOWN = 120


def check_installed() -> None:
    """UsageError unless the package is there."""
    if importlib.util.find_spec("math_verify") is None:
        raise UsageError('math-verify is not installed: pip install "thence[math-verify]"')


def grade(gold: str, text: str) -> dict[str, str | None]:
    """The verdict on a whole reply, as the fields of a ``Grade``."""
    return _compared(_as_latex(_reference(gold)), text)


def grade_answer(gold: str, text: str) -> dict[str, str | None]:
    """The same on an answer alone, which is put into dollars as the reference is."""
    return _compared(_as_latex(_reference(gold)), _as_latex(text))


def _compared(gold: str, text: str) -> dict[str, str | None]:
    import math_verify

    wanted = math_verify.parse(gold, parsing_timeout=None)
    if not wanted:
        return {"verdict": "ungradable", "answer": None, "reason": f"math-verify reads nothing in {_short(gold)!r}"}
    found = math_verify.parse(text, parsing_timeout=None)
    if not found:
        return {"verdict": "no_answer", "answer": None, "reason": "math-verify finds no answer"}
    same = math_verify.verify(wanted, found, timeout_seconds=None)
    return {
        "verdict": "correct" if same else "incorrect",
        "answer": _short(found[-1]),
        "reason": f"math-verify reads {_short(wanted[0])} in the reference, {_short(found[0])} in the text",
    }


def _reference(gold: str) -> str:
    """The part after ``####`` of a whole solution."""
    return gold.rpartition("####")[2].strip() if "####" in gold else gold


def _as_latex(value: str) -> str:
    marked = "$" in value.replace("\\$", "") or "\\boxed" in value
    return value if marked or not value.strip() else f"${value}$"


def _short(value: object) -> str:
    return one_line(str(value), _SHOWN)
