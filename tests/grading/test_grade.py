import gzip
import json
import os
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Literal

import pytest

from thence.core.answers import Answer, Verdict
from thence.core.errors import UsageError
from thence.grading import NumericReading, canonical, grade, grade_answer

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")


def rows(name: str) -> list[dict]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(
    ("gold", "text", "verdict"),
    [
        ("18", "so 16+2 = 18", Verdict.CORRECT),
        ("18", "#### 18.00", Verdict.CORRECT),
        ("18 dollars", "#### $18", Verdict.CORRECT),
        ("long solution\n#### 1,234", "The answer is 1234.", Verdict.CORRECT),
        ("18", "so 17", Verdict.INCORRECT),
        ("18", "I do not know", Verdict.NO_ANSWER),
        ("18", "", Verdict.NO_ANSWER),
        ("18", "<think>18</think>so 17", Verdict.INCORRECT),
        ("18", "<think>it is 18", Verdict.NO_ANSWER),
        ("nk", "Elon n\n#### NK.", Verdict.CORRECT),
        ("nk", "#### kn", Verdict.INCORRECT),
        ("", "18", Verdict.UNGRADABLE),
        ("  ", "18", Verdict.UNGRADABLE),
        ("1" * 300, "18", Verdict.UNGRADABLE),
        ("18", "9" * 300, Verdict.INCORRECT),
        ("18", "1e999999", Verdict.INCORRECT),
        ("0.3", "0.30000000000000004", Verdict.INCORRECT),
        ("5", "500%", Verdict.INCORRECT),
    ],
)
def test_verdicts_on_completions(gold: str, text: str, verdict: Verdict) -> None:
    given = grade(gold, text)
    assert given.verdict is verdict
    assert given.reason


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("18", "18", Verdict.CORRECT),
        ("18", "18 eggs", Verdict.CORRECT),
        ("1/2", ".5", Verdict.CORRECT),
        ("18", "18 or 19", Verdict.INCORRECT),
        ("18", "eighteen", Verdict.INCORRECT),
        ("18", "", Verdict.NO_ANSWER),
        ("18", None, Verdict.NO_ANSWER),
        ("18", Answer("18", 3, 5), Verdict.CORRECT),
        ("Paris", "paris", Verdict.CORRECT),
        ("", None, Verdict.UNGRADABLE),
    ],
)
def test_verdicts_on_answers(gold: str, answer: Answer | str | None, verdict: Verdict) -> None:
    assert grade_answer(gold, answer).verdict is verdict
    if isinstance(answer, str):
        assert grade(gold, answer, kind="answer").verdict is verdict


def test_a_grade_says_what_it_read() -> None:
    given = grade("18", "so $1,017")
    assert (given.answer, given.reason, given.correct) == ("1017", "expected 18, found 1017", False)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="completion"):
        grade("1", "1", kind="text")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "payload", ["__import__('os').system('touch pwned')", "9**9**9", "(lambda: 1)()", "factorial(10**9)"]
)
def test_text_is_never_executed(payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grade(payload, payload)
    grade(payload, payload, kind="answer")
    assert not list(tmp_path.iterdir())


@needs_data
def test_gsm8k_references_grade_themselves() -> None:
    texts = [row["answer"] for row in rows("gsm8k/test.jsonl.gz")]
    assert sum(grade(text.split("####")[1], text).correct for text in texts) == len(texts) == 1319


@needs_data
def test_recorded_gsm8k_solutions_get_their_recorded_grades() -> None:
    """Graded from the texts: 21.7 and 39.0 % (6B, without and with verification), 34.7 and 56.3 % (175B)."""
    references = [row["answer"].split("####")[1] for row in rows("gsm8k/test.jsonl.gz")]
    recorded = rows("gsm8k/example_model_solutions.jsonl.gz")
    expected = {"6b_finetuning": 286, "6b_verification": 515, "175b_finetuning": 458, "175b_verification": 742}
    for source, correct in expected.items():
        grades = [grade(gold, row[source]["solution"]).correct for gold, row in zip(references, recorded, strict=True)]
        assert sum(grades) == correct
        assert grades == [row[source]["is_correct"] for row in recorded]


def shared_vote(gold: str, keys: list[str | None]) -> Fraction:
    """Whether the most frequent answer is right; a tie is shared."""
    counts = Counter(key for key in keys if key is not None)
    top = [key for key in counts if counts[key] == max(counts.values())]
    return Fraction(canonical(gold) in top, max(1, len(top)))


@needs_data
def test_the_vote_of_unlike_models_loses_to_the_best_of_them() -> None:
    """86.9 % on recorded answers; the best single model has 88.9 %.

    On the last number of the texts it is 84.5 %. Reading ``1/3`` as 3, as a plain regex does, makes it 84.4 % and
    gains GPT-4 one answer: problem 659 has the answer 3, and two texts on it end in "1/3 pound walnuts".
    """
    data = rows("gsm8k/multi_model_solutions_8.jsonl.gz")
    reading = NumericReading()

    def key(reading: NumericReading, text: str) -> str | None:
        answer = reading.extract(text)
        return None if answer is None else canonical(answer.value)

    recorded = [[key(reading, s["answer"] or "") for s in row["solutions"]] for row in data]
    vote = sum(shared_vote(str(row["gold"]), keys) for row, keys in zip(data, recorded, strict=True)) / len(data)
    single = max(sum(k[i] == canonical(str(r["gold"])) for r, k in zip(data, recorded, strict=True)) for i in range(8))
    assert (round(float(vote) * 100, 1), round(100 * single / len(data), 1)) == (86.9, 88.9)
    last = NumericReading(markers=())
    texts = [[key(last, s["text"]) for s in row["solutions"]] for row in data]
    vote = sum(shared_vote(str(row["gold"]), keys) for row, keys in zip(data, texts, strict=True)) / len(data)
    assert round(float(vote) * 100, 2) == 84.46


def test_a_reference_with_latex_is_graded_as_mathematics():
    assert grade("\\frac{\\pi}{2}", "so it is \\boxed{0.5\\pi}").correct
    assert grade("\\frac{\\pi}{2}", "\\pi/2", "answer").correct
    assert not grade("\\frac{\\pi}{2}", "2\\pi", "answer").correct
    assert grade("We get $x = \\boxed{18}$ eggs.", "It is 18.").correct  # a number stays one
    assert grade("\\text{(C)}", "The answer is C", "completion").correct
    assert grade("a path \\ b", "a path \\ b", "answer").correct  # text without commands stays text


@pytest.mark.parametrize(
    ("gold", "text", "kind", "verdict"),
    [
        ("[[1, 2], [3, 4]]", "It is\n1 2\n3 4", "completion", Verdict.CORRECT),
        ("[[1, 2],\n [3, 4]]", "It is [[1,2],[3,4]].", "completion", Verdict.CORRECT),
        ("[[1, 2], [3, 4]]", "1 2\n3 5", "completion", Verdict.INCORRECT),
        ("[[1, 2], [3, 4]]", "no idea", "completion", Verdict.NO_ANSWER),
        ("[[1], [2]]", "1/2", "answer", Verdict.CORRECT),  # rows as an answer's value
        ("[[1], [2]]", "2/4", "answer", Verdict.INCORRECT),  # and no fraction
        ("[[1], [2]]", "[[1], [2]]", "answer", Verdict.CORRECT),
        ("[[1, 12]]", "[[1, 12]]", "answer", Verdict.CORRECT),  # 12 is no colour: compared as text
    ],
)
def test_an_array_of_colours_is_graded_as_a_grid(
    gold: str, text: str, kind: Literal["completion", "answer"], verdict: Verdict
) -> None:
    assert grade(gold, text, kind).verdict is verdict
