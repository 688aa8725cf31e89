import builtins
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.core.protocols import Task
from thence.tasks.gsm8k import Gsm8k

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")
ROWS = [
    {"question": "2 and 3?", "answer": "2+3 = <<2+3=5>>5\n#### 5"},
    {"question": "A lot?", "answer": "many\n#### 1,200"},
]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def test_problems_from_a_file(file: str) -> None:
    task: Task = Gsm8k(file=file)
    first, second = task.problems()
    assert (first.id, first.family) == ("gsm8k-test-0001", "word-problems")
    assert task.check_references() == []
    assert task.grade(second, "#### 1200", "1200").correct
    assert task.grade(second, "#### 1", "1").verdict is Verdict.INCORRECT
    assert task.spec == f"gsm8k(file={file})"
    assert Gsm8k(file=file, split="train").problems()[0].id == "gsm8k-train-0001"


def test_references_without_their_line_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"question": "q", "answer": "5"}\n{"question": "r", "answer": "#### x"}\n')
    assert [i for i, _ in Gsm8k(file=str(path)).check_references()] == ["gsm8k-test-0001", "gsm8k-test-0002"]


def test_bad_arguments_and_rows(file: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="test or train"):
        Gsm8k(file=file, split="dev")  # type: ignore[arg-type]
    (tmp_path / "x.jsonl").write_text('{"question": 5, "answer": "#### 5"}\n')
    with pytest.raises(DataError, match="line 1: question and answer must be texts"):
        Gsm8k(file=str(tmp_path / "x.jsonl"))
    (tmp_path / "y.jsonl").write_text('{"input": "q"}\n')
    with pytest.raises(UsageError, match="the columns are input"):
        Gsm8k(file=str(tmp_path / "y.jsonl"))


def test_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(name: str, config: str, *, split: str) -> list[dict[str, str]]:
        asked.append((name, config, split))
        return ROWS

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert len(Gsm8k().problems()) == 2
    assert asked == [("openai/gsm8k", "main", "test")]


def test_offline_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataError, match=r"no route.*gsm8k\(file=PATH\)") as caught:
        Gsm8k()
    assert "\n" not in str(caught.value)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fake(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(UsageError, match=r"thence\[hub\]"):
        Gsm8k()


@needs_data
def test_all_1319_references_grade_themselves() -> None:
    task = Gsm8k(file=str(DATA / "gsm8k/test.jsonl.gz"))
    assert len(task.problems()) == 1319
    assert task.check_references() == []
    assert len({p.hash for p in task.problems()}) == 1319


@needs_data
@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("gsm_variants/svamp.jsonl.gz", {"question": "Question", "answer": "Answer", "id": "ID"}, 1000),
        ("gsm_variants/gsm_hard.jsonl.gz", {"question": "input", "answer": "target", "id": "idx"}, 1319),
    ],
)
def test_other_sets_load_as_a_users_own_file(name: str, arguments: dict[str, str], count: int) -> None:
    from thence.tasks.jsonl import Jsonl

    task = Jsonl(file=str(DATA / name), **arguments)
    assert len(task.problems()) == count
    assert task.check_references() == []
