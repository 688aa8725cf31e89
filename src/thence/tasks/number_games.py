"""Game of 24 and Countdown: make a target of given numbers, each used exactly once, with + - * / and brackets.

* Game of 24 (Yao et al. 2023, arXiv:2305.10601): the 1,362 puzzles of 4nums.com by the rate at which people solve them.
  The paper tests on rows 901 to 1000 (``first=901, size=100``).
* Countdown (as a task for search: Gandhi et al. 2024, arXiv:2404.03683): any numbers, any target. Puzzles are drawn
  here from a seed, or come from a file or the hub in the columns ``nums`` and ``target``.

Differs from the television game of Countdown: there a number may stay unused, here none may. The reference is an
expression found by exhaustive search, or the one a puzzle was drawn from; any other that is right counts as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from thence.core.answers import Grade, Reading
from thence.core.errors import DataError, UsageError, check_counts
from thence.core.problem import Problem
from thence.core.seeds import digest

from .answered import text_of
from .hub import Hub, Rows, published
from .spec import write_spec
from .target_numbers import MAX_SEARCHED, ExpressionReading, draw_target, grade_expression, solve_target

MAX_CHECKED = 2000  # puzzles whose solutions are searched for before a run


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Numbers, the target, and an expression that makes it where one is known."""

    id: str
    numbers: tuple[int, ...]
    target: int
    solution: str = ""


class TargetNumbers:
    """Puzzles of numbers and a target."""

    name: str
    default_prompt = "cot"
    has_references = True

    def __init__(self, arguments: Mapping[str, object], puzzles: Sequence[Puzzle]) -> None:
        self._arguments = dict(arguments)
        self._puzzles = {puzzle.id: puzzle for puzzle in puzzles}
        if len(self._puzzles) < len(puzzles):
            raise DataError(f"{self.name}: two puzzles have the same id; ids must differ")
        self._problems = tuple(Problem(p.id, question(p), "") for p in puzzles)

    @property
    def spec(self) -> str:
        """The task as it is written on the command line."""
        return write_spec(self.name, self._arguments)

    @property
    def reading(self) -> Reading:
        """The expression after the last marker, else the last line."""
        return ExpressionReading()

    @property
    def data_hash(self) -> str:
        """Hash of all puzzles: other data is another run."""
        return digest([(p.id, p.hash) for p in self._problems])

    def problems(self) -> Sequence[Problem]:
        """The puzzles, in the file's or the drawing's order."""
        return self._problems

    def puzzle(self, problem: Problem) -> Puzzle:
        """The numbers and the target of a problem."""
        return self._puzzles[problem.id]

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """Right if the answer has the target's value and uses every number exactly once."""
        puzzle = self._puzzles[problem.id]
        return grade_expression(puzzle.numbers, puzzle.target, answer)

    def solvable(self, problem: Problem) -> str | None:
        """An expression that solves the puzzle: the known one, else by exhaustive search. None: there is none."""
        puzzle = self._puzzles[problem.id]
        return puzzle.solution or solve_target(puzzle.numbers, puzzle.target)

    def check_references(self) -> list[tuple[str, str]]:
        """Puzzles without a solution, and known solutions that are not graded correct.

        A search is made for the first 2,000 puzzles of at most six numbers; others are taken as they are.
        """
        wrong = []
        searched = 0
        for problem in self._problems:
            puzzle = self._puzzles[problem.id]
            if not puzzle.solution:
                searched += 1
                if searched > MAX_CHECKED or len(puzzle.numbers) > MAX_SEARCHED:
                    continue
            solution = self.solvable(problem)
            given = grade_expression(puzzle.numbers, puzzle.target, solution)
            if not given.correct:
                wrong.append((problem.id, given.reason if solution else "no expression makes the target"))
        return wrong


def question(puzzle: Puzzle) -> str:
    """What is asked."""
    numbers = ", ".join(map(str, puzzle.numbers))
    return (
        f"Make {puzzle.target} of the numbers {numbers}. Use every number exactly once, with +, -, *, / and brackets. "
        "Write the expression after ####."
    )


class Game24(TargetNumbers):
    """``file`` is the published 24.csv (columns Rank and Puzzles) or any table with a column Puzzles; without it the
    hub is read. ``first`` and ``size`` take rows ``first`` to ``first + size - 1``, counted from 1."""

    name = "game24"

    def __init__(self, file: str | None = None, first: int = 1, size: int | None = None) -> None:
        check_counts(self.name, 1, first=first, **({} if size is None else {"size": size}))
        rows = published(self.name, file, Hub("test-time-compute/game-of-24", "train"))
        rows.need("Puzzles")
        chosen = rows.rows[first - 1 : None if size is None else first - 1 + size]
        if not chosen:
            raise UsageError(f"game24: first is {first}, and there are {len(rows.rows)} rows")
        puzzles = []
        for number, row in enumerate(chosen, first):
            given = text_of(rows, row, "Puzzles").split()
            if not given or not all(n.isascii() and n.isdigit() and len(n) < 10 for n in given):
                raise DataError(f"{rows.at(row)}: Puzzles must be numbers with blanks between; it is {given!r:.80}")
            puzzles.append(Puzzle(f"game24-{number:04d}", tuple(map(int, given)), 24))
        super().__init__({"file": file, "first": None if first == 1 else first, "size": size}, puzzles)


class Countdown(TargetNumbers):
    """Puzzles of ``numbers`` numbers from 1 to ``largest`` and a target up to ``most``, fixed by ``seed``; or those of
    a ``file`` or a ``hub`` data set with the columns nums and target (``Jiayi-Pan/Countdown-Tasks-3to4``).

    ``size`` is how many are drawn (200 if left out), or how many of a file or set are taken, from the first on.
    """

    name = "countdown"

    def __init__(
        self,
        file: str | None = None,
        hub: str | None = None,
        numbers: int = 4,
        largest: int = 50,
        most: int = 100,
        size: int | None = None,
        seed: int = 0,
    ) -> None:
        check_counts(self.name, 1, largest=largest, most=most, **({} if size is None else {"size": size}))
        if not 2 <= numbers <= MAX_SEARCHED:
            raise UsageError(f"countdown: numbers is {numbers}; it must be from 2 to {MAX_SEARCHED}")
        if file and hub:
            raise UsageError("countdown: give file= or hub=, not both")
        drawn = {"numbers": numbers, "largest": largest, "most": most, "seed": seed}
        defaults = {"numbers": 4, "largest": 50, "most": 100, "seed": 0}
        changed = {key: value for key, value in drawn.items() if value != defaults[key]}
        if (file or hub) and changed:
            raise UsageError(f"countdown: {', '.join(changed)} belongs to drawn puzzles, not to a file or the hub")
        if file or hub:
            cut = "train" if size is None else f"train[:{size}]"
            rows = published(self.name, file, Hub(hub or "", cut))
            puzzles = _puzzles(rows, size)
        else:
            puzzles = _drawn(
                Random(f"countdown-{numbers}-{largest}-{most}-{seed}"), numbers, largest, most, size or 200
            )
        super().__init__({"file": file, "hub": hub, **changed, "size": size}, puzzles)


def _drawn(rng: Random, numbers: int, largest: int, most: int, size: int) -> list[Puzzle]:
    """``size`` different puzzles; a larger size extends a smaller one."""
    puzzles: dict[tuple[tuple[int, ...], int], Puzzle] = {}
    repeats = 0
    while len(puzzles) < size:
        chosen, target, solution = draw_target(rng, numbers, largest, most)
        key = tuple(sorted(chosen)), target
        repeats = repeats + 1 if key in puzzles else 0
        if repeats > 1000:
            raise UsageError(f"countdown: there are about {len(puzzles)} such puzzles; ask for a smaller size")
        puzzles.setdefault(key, Puzzle(f"countdown-{len(puzzles) + 1:04d}", chosen, target, solution))
    return list(puzzles.values())


def _puzzles(rows: Rows, size: int | None) -> list[Puzzle]:
    rows.need("nums", "target")
    puzzles = []
    for number, row in enumerate(rows.rows[:size], 1):
        given, target = row.fields.get("nums"), row.fields.get("target")
        values = [n for n in given if _whole(n)] if isinstance(given, list | tuple) else []
        if not values or len(values) < len(given or ()) or not _whole(target):
            raise DataError(f"{rows.at(row)}: nums must be a list of whole numbers and target a whole number")
        puzzles.append(Puzzle(f"countdown-{number:04d}", tuple(values), int(str(target))))
    return puzzles


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


__all__ = ["Countdown", "Game24", "Puzzle", "TargetNumbers"]
