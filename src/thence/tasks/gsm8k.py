"""GSM8K: 8,500 grade-school word problems (Cobbe et al. 2021, arXiv:2110.14168), test split of 1,319.

The reference is the number after ``####``. All references are whole numbers and compare exactly; a reply's answer is
what follows its last marker, else its last number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from thence.core.answers import Grade, Reading, Verdict
from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.core.seeds import digest
from thence.grading.custom import CustomReading
from thence.grading.extract import NumericReading
from thence.grading.grade import grade_answer

from .hub import Hub, published
from .spec import write_spec

HUB = Hub("openai/gsm8k", "test", "main")


class Gsm8k:
    """GSM8K from a file (``question`` and ``answer`` columns, as published) or from the Hugging Face hub.

    ``split`` names the problems (``gsm8k-test-0001``) and chooses the hub's split. ``extract`` replaces the reading
    of answers, see ``jsonl``.
    """

    name = "gsm8k"
    default_prompt = "cot"
    has_references = True

    def __init__(
        self, file: str | None = None, split: Literal["test", "train"] = "test", extract: str | None = None
    ) -> None:
        if split not in ("test", "train"):
            raise UsageError(f"gsm8k: split is {split!r}; it must be test or train")
        self._arguments = {"file": file, "split": None if split == "test" else split, "extract": extract}
        self._reading: Reading = CustomReading(extract) if extract else NumericReading()
        found = published(self.name, file, replace(HUB, split=split))
        found.need("question", "answer")
        self._solutions: dict[str, str] = {}
        problems = []
        for number, row in enumerate(found.rows, 1):
            question, solution = row.fields.get("question"), row.fields.get("answer")
            if not isinstance(question, str) or not isinstance(solution, str) or not question.strip():
                raise DataError(f"{found.at(row)}: question and answer must be texts; check the row")
            name = f"gsm8k-{split}-{number:04d}"
            problems.append(Problem(name, question, "word-problems"))
            self._solutions[name] = solution
        self._problems = tuple(problems)

    @property
    def spec(self) -> str:
        """The task as it is written on the command line."""
        return write_spec(self.name, self._arguments)

    @property
    def reading(self) -> Reading:
        """The number after the last marker, else the last number."""
        return self._reading

    @property
    def data_hash(self) -> str:
        """Hash of all questions with their references: other data is another run."""
        return digest([(p.id, p.hash, self._gold(p)) for p in self._problems])

    def problems(self) -> Sequence[Problem]:
        """The questions in the file's order."""
        return self._problems

    def _gold(self, problem: Problem) -> str:
        return self._solutions[problem.id].rpartition("####")[2].strip()

    def reference(self, problem: Problem) -> str:
        """The number after ``####``."""
        return self._gold(problem)

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """Exact equality with the number after ``####``."""
        given = grade_answer(self._gold(problem), answer)
        if given.verdict is Verdict.NO_ANSWER and isinstance(self._reading, CustomReading):
            found = self._reading.look(reply)
            return Grade(Verdict.TIMEOUT if found.timeout else Verdict.NO_ANSWER, None, found.reason)
        return given

    def check_references(self) -> list[tuple[str, str]]:
        """Reference solutions whose own text is not graded correct by the default reading."""
        reading, wrong = NumericReading(), []
        for problem in self._problems:
            found = reading.extract(self._solutions[problem.id])
            graded = grade_answer(self._gold(problem), found)
            if "####" not in self._solutions[problem.id]:
                wrong.append((problem.id, "the reference solution has no line '#### NUMBER'"))
            elif not graded.correct:
                wrong.append((problem.id, graded.reason))
        return wrong
