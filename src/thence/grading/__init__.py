"""Answers as data: extraction, equality and verdicts. Model text is never executed."""

from .candidates import Candidate, extract_candidates
from .extract import AutoReading, NumericReading, TextReading, canonical
from .grade import grade, grade_answer
from .mathematics import MathReading, equal, grade_math

__all__ = [
    "AutoReading",
    "Candidate",
    "MathReading",
    "NumericReading",
    "TextReading",
    "canonical",
    "equal",
    "extract_candidates",
    "grade",
    "grade_answer",
    "grade_math",
]
