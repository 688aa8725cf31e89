"""Families of the built-in word problems as tasks of their own.

* ``last-letters(names=2)``: last-letter concatenation (Wei et al. 2022, arXiv:2201.11903). The paper trains on two
  names and tests on four; ``names`` says how many. The answer is letters, compared without case.
* ``apples``: one- and two-step problems in the style of MultiArith (Roy & Roth 2015, arXiv:1608.01413) in the shape of
  the example of Wang & Zhou 2024 (arXiv:2402.10200): "I have 3 apples, my dad has 2 more than me."

* ``rule-table(level=2)``: the last operation is a rule that stands in documents only (see ``rule_table``).

All are drawn by ``wordproblems``, in the vocabulary of the embedded model; the question's hash decides its split.
Differs from the papers: the words are from a list of 49 names, not from name statistics, and the problems are ours.
"""

from __future__ import annotations

from thence.core.errors import UsageError

from .rule_table import RuleTable
from .spec import write_spec
from .wordproblems import MAX_LEVEL
from .wordproblems_task import WordProblemsTask


class _Family(WordProblemsTask):
    """A family with its own name and arguments; ``defaults`` are the arguments that need not be written."""

    def _arguments(self) -> dict[str, object]:
        raise NotImplementedError

    @property
    def spec(self) -> str:
        """The task as it is written on the command line, with what is not a default."""
        made = type(self)()._arguments()
        return write_spec(self.name, {k: v for k, v in self._arguments().items() if v != made[k]})


class LastLetters(_Family):
    """``size`` questions for the last letters of ``names`` names (2 to 9), joined."""

    name = "last-letters"

    def __init__(self, names: int = 2, split: str = "test", data_seed: int = 0, size: int = 200) -> None:
        if not 2 <= names <= MAX_LEVEL + 1:
            raise UsageError(f"last-letters: names is {names}; it must be from 2 to {MAX_LEVEL + 1}")
        super().__init__(level=names - 1, split=split, data_seed=data_seed, size=size, family="letters")

    def _arguments(self) -> dict[str, object]:
        return {"names": self.level + 1, "split": self.split, "data_seed": self.data_seed, "size": self.size}


class Apples(_Family):
    """``size`` questions of one or two steps about two people's apples, books, coins, …"""

    name = "apples"

    def __init__(self, split: str = "test", data_seed: int = 0, size: int = 500) -> None:
        super().__init__(level=2, split=split, data_seed=data_seed, size=size, family="apples")

    def _arguments(self) -> dict[str, object]:
        return {"split": self.split, "data_seed": self.data_seed, "size": self.size}


class RuleTableTask(_Family):
    """``size`` questions of ``level`` operations, the last of which needs a rule that the question does not state.

    ``documents`` of :class:`~thence.tasks.rule_table.RuleTable` with the same ``data_seed`` hold the rules.
    """

    name = "rule-table"

    def __init__(self, level: int = 2, split: str = "test", data_seed: int = 0, size: int = 500) -> None:
        super().__init__(level=level, split=split, data_seed=data_seed, size=size)

    @property
    def _set(self) -> RuleTable:
        return RuleTable(self.level, self.split, self.data_seed, self.size)

    def _arguments(self) -> dict[str, object]:
        return {"level": self.level, "split": self.split, "data_seed": self.data_seed, "size": self.size}


__all__ = ["Apples", "LastLetters", "RuleTableTask"]
