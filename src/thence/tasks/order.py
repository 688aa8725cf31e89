"""The order in which a limited run takes problems: fixed by their content, never by a seed or by the file's order."""

from __future__ import annotations

from collections.abc import Iterable

from thence.core.problem import Problem


def by_content(problems: Iterable[Problem]) -> list[Problem]:
    """The problems by the hash of their content, then by id: a shuffle that all seeds and arms share."""
    return sorted(problems, key=lambda problem: (problem.hash, problem.id))
