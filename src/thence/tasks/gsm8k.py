"""GSM8K: 8,500 grade-school word problems (Cobbe et al. 2021, arXiv:2110.14168), test split of 1,319.

The reference is the number after ``####``. All references are whole numbers and compare exactly; a reply's answer is
what follows its last marker, else its last number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from thence.core.answers import Grade, Reading, Verdict
from thence.core.clean import one_line
from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.core.seeds import digest
from thence.grading.custom import CustomReading
from thence.grading.extract import NumericReading
from thence.grading.grade import grade_answer

from .files import Row, need_column, read_rows
from .spec import write_spec

HUB = "openai/gsm8k"


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
        rows = read_rows(file, self.name) if file else _from_hub(split)
        for column in ("question", "answer"):
            need_column(rows, column, column, f"gsm8k: {file or HUB}")
        self._solutions: dict[str, str] = {}
        problems = []
        for number, row in enumerate(rows, 1):
            question, solution = row.fields.get("question"), row.fields.get("answer")
            if not isinstance(question, str) or not isinstance(solution, str) or not question.strip():
                raise DataError(f"gsm8k: {file or HUB}, {row.where}: question and answer must be texts; check the row")
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


def _from_hub(split: str) -> list[Row]:
    """The published rows, through the ``datasets`` library and its cache."""
    instead = "or download the file once and write gsm8k(file=PATH)"
    try:
        from datasets import load_dataset
    except ImportError:
        raise UsageError(f'gsm8k: reading the hub needs pip install "thence[hub]", {instead}') from None
    try:
        data = load_dataset(HUB, "main", split=split)
    except Exception as error:  # the library raises its own, the network's and the file system's errors
        said = one_line(f"{type(error).__name__}: {error}", 200)
        raise DataError(
            f"gsm8k: {HUB} cannot be loaded from the Hugging Face hub ({said}); go online, {instead}"
        ) from None
    return [Row(f"row {number}", dict(row)) for number, row in enumerate(data, 1)]
