"""Answers as data: extraction, equality and verdicts. Model text is never executed."""

from .extract import AutoReading, NumericReading, TextReading, canonical
from .grade import grade, grade_answer

__all__ = ["AutoReading", "NumericReading", "TextReading", "canonical", "grade", "grade_answer"]
