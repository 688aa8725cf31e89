"""All 106 tasks of reasoning-gym 0.1.25: each is classified, no answer is run, a full score is a right answer."""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

reasoning_gym = pytest.importorskip("reasoning_gym")

from reasoning_gym.dataset import ProceduralDataset  # noqa: E402
from reasoning_gym.factory import DATASETS  # noqa: E402

from thence.core.answers import Verdict  # noqa: E402
from thence.core.errors import UsageError  # noqa: E402
from thence.tasks.reasoning_gym import NAMES, ReasoningGym, TaggedReading  # noqa: E402
from thence.tasks.reasoning_gym_checks import OWN, REFUSED, SCORER, TEXT, VERSION, How, how, read_complex  # noqa: E402

RUN_ON_ANSWER = {  # model text would be run as code
    "binary_matrix",
    "countdown",
    "intermediate_integration",
    "n_queens",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
    "spiral_matrix",
    "string_insertion",
}
RUN_ON_OWN_DATA = {"bitwise_arithmetic", "number_sorting"}  # their own problem, or their own reference


def test_all_106_are_classified_once() -> None:
    listed = [*TEXT, *OWN, *SCORER, *REFUSED]
    assert len(listed) == len(set(listed)) == 106
    assert set(listed) == set(DATASETS)
    assert (len(TEXT), len(OWN), len(SCORER), len(REFUSED)) == (40, 17, 47, 2)
    assert set(NAMES) == set(DATASETS) - set(REFUSED)


def called(function: Any, owner: type, seen: set[Any]) -> Iterator[Any]:
    """Every function and module function that ``function`` may call, through the library's own code."""
    code = inspect.unwrap(function)
    if code in seen:
        return
    seen.add(code)
    space = getattr(code, "__globals__", {})
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(code)))):
        if not isinstance(node, ast.Call):
            continue
        target = resolved(node.func, space, owner)
        if target is None:
            continue
        yield target
        if getattr(target, "__module__", "").startswith("reasoning_gym"):
            inside = (
                [target]
                if inspect.isfunction(target)
                else [m for _, m in inspect.getmembers(target, inspect.isfunction)]
            )
            for each in inside:
                yield from called(each, owner if inspect.isfunction(target) else target, seen)


def resolved(node: ast.expr, space: dict[str, Any], owner: type) -> Any:
    if isinstance(node, ast.Name):
        return space.get(node.id, getattr(builtins, node.id, None))
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id in ("self", "cls"):
            return getattr(owner, node.attr, None)
        base = space.get(node.value.id)
        return getattr(base, node.attr, None) if isinstance(base, ModuleType | type) else None
    return None


def runs_code(name: str) -> bool:
    owner = DATASETS[name][0]
    dangerous = {"parse_expr", "sympify", "simplify", "N"}
    for target in called(owner.score_answer, owner, set()):
        if target in (eval, exec, compile):
            return True
        if getattr(target, "__module__", "").startswith("sympy") and target.__name__ in dangerous:
            return True
    return False


def test_every_scorer_that_runs_code_is_known_and_none_of_them_sees_an_answer() -> None:
    found = {name for name in DATASETS if runs_code(name)}
    assert found == RUN_ON_ANSWER | RUN_ON_OWN_DATA
    assert not RUN_ON_ANSWER & set(SCORER)


def test_the_one_scorer_in_use_that_calls_eval_calls_it_on_its_own_problem(tmp_path: Path) -> None:
    assert RUN_ON_OWN_DATA & set(SCORER) == {"bitwise_arithmetic"}
    dataset = reasoning_gym.create_dataset("bitwise_arithmetic", size=1, seed=1)
    payload = f"__import__('pathlib').Path({str(tmp_path / 'touched')!r}).touch()"
    assert dataset.score_answer(payload, dataset[0]) == 0.0
    assert dataset.score_answer(dataset[0]["answer"], dataset[0]) == 1.0
    assert not (tmp_path / "touched").exists()


def test_tasks_of_the_base_scorer_are_compared_as_text() -> None:
    base = {name for name, (cls, _) in DATASETS.items() if cls.score_answer is ProceduralDataset.score_answer}
    assert len(base) == 33
    assert base < set(TEXT)


def drawn(name: str, index: int = 0, **more: Any) -> tuple[ReasoningGym, Any, str]:
    """A task, one of its problems, and that problem's reference."""
    task = ReasoningGym(name, size=more.pop("size", 3), seed=more.pop("seed", 3))
    problem = task.problems()[index]
    return task, problem, str(task._entries[problem.id]["answer"])


CHEAP = [
    *(set(OWN) - {"puzzle24", "countdown", "figlet_font"}),
    *("gcd", "ab", "maze", "caesar_cipher", "spiral_matrix"),
]


@pytest.mark.parametrize("name", sorted(CHEAP))
def test_references_are_right_and_other_texts_are_not(name: str) -> None:
    task, problem, gold = drawn(name)
    assert task.kind is how(name) is not How.SCORER
    assert task.check_references() == []
    assert task.grade(problem, "", f" {gold}\n").correct
    for wrong in ("nan", "[]", "__import__('os').getpid()", f"{gold} {gold} x", f"{gold}, 1", "-1e9", "\x00"):
        assert task.grade(problem, "", wrong).verdict is Verdict.INCORRECT
    assert task.grade(problem, "", "9" * 30_000).verdict is Verdict.INCORRECT
    assert task.grade(problem, "", " ").verdict is Verdict.NO_ANSWER


# Answers that the library gives its full score, and that are wrong.
TOO_KIND = {
    "complex_arithmetic": lambda gold, entry: "nan",
    "game_of_life_halting": lambda gold, entry: "False" if gold == "True" else "certainly not True",
    "letter_jumble": lambda gold, entry: f"{gold} word",
    "word_sorting": lambda gold, entry: f"{gold}, word",
    "gsm_symbolic": lambda gold, entry: f"-{gold}",
    "polynomial_equations": lambda gold, entry: f"foo, {gold}",
    "number_sorting": lambda gold, entry: str([str(float(n) + 0.4) for n in entry["metadata"]["sorted_numbers"]]),
    "game_of_life": lambda gold, entry: gold[:-1] + ", [1, 1, 1]]",
    "coin_flip": lambda gold, entry: str(float(gold) + 0.00009),
}


@pytest.mark.parametrize("name", sorted(TOO_KIND))
def test_wrong_answers_with_the_library_s_full_score_are_wrong_here(name: str) -> None:
    dataset = reasoning_gym.create_dataset(name, size=15, seed=3)
    task = ReasoningGym(name, size=15, seed=3)
    cheated = 0
    for problem in task.problems():
        entry = task._entries[problem.id]
        wrong = TOO_KIND[name](str(entry["answer"]), entry)
        assert not task.grade(problem, "", wrong).correct
        cheated += dataset.score_answer(wrong, entry) == 1.0
    assert cheated > 0  # so this check of ours is needed


def test_expressions_must_use_the_given_numbers() -> None:
    task, problem, gold = drawn("puzzle24", size=1)
    entry = task._entries[problem.id]
    assert task.grade(problem, "", gold).correct
    assert task.grade(problem, "", f"{gold} = 24").correct
    other = next(
        e for e in ("6*4*1*1", "8*3*1*1") if sorted(map(int, e.split("*"))) != sorted(entry["metadata"]["numbers"])
    )
    assert not task.grade(problem, "", other).correct
    assert reasoning_gym.create_dataset("puzzle24", size=1, seed=3).score_answer(other, entry) == 1.0


def test_any_antiderivative_and_any_form_of_a_product_count() -> None:
    task, problem, gold = drawn("simple_integration")
    assert task.grade(problem, "", gold.replace(" + C", "")).correct
    assert task.grade(problem, "", f"7 + {gold}").correct
    assert not task.grade(problem, "", f"{gold} + 2*{task._entries[problem.id]['metadata']['variable']}").correct
    task, problem, gold = drawn("polynomial_multiplication")
    assert task.grade(problem, "", gold.replace("**", "^")).correct
    assert not task.grade(problem, "", f"{gold} + 1").correct


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-15.0 + 3.0i", (-15, 3)),
        ("3-j", (3, -1)),
        ("i", (0, 1)),
        ("(2)", (2, 0)),
        ("-2.5i", (0, -2.5)),
        ("-i", (0, -1)),
    ],
)
def test_complex_numbers_are_read(text: str, value: tuple[float, float]) -> None:
    assert read_complex(text) == value


@pytest.mark.parametrize("text", ["", "nan", "inf", "3i+2", "2 3i", "1e9", "i i", "3+", "9" * 200])
def test_other_texts_are_no_complex_numbers(text: str) -> None:
    with pytest.raises(ValueError):
        read_complex(text)


def test_scorers_run_in_the_worker_at_full_score_only() -> None:
    task, problem, gold = drawn("chain_sum")
    assert task.kind is How.SCORER
    other = task.problems()[1]
    grades = task.grade_all(
        [(problem, "", gold), (problem, "", f"it is {gold}"), (other, "", None), (other, "", "x" * 30_000)]
    )
    assert [g.verdict for g in grades] == ["correct", "incorrect", "no_answer", "incorrect"]
    assert grades[1].reason.startswith("its score is 0.")
    assert task.check_references() == []
    towers, first, moves = drawn("tower_of_hanoi")
    assert towers.grade(first, "", moves).correct
    assert not towers.grade(first, "", "\n".join(moves.splitlines()[:-1])).correct


def test_what_is_refused_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"intermediate_integration is refused: its scorer parses .* sympy.parse_expr"):
        ReasoningGym("intermediate_integration")
    with pytest.raises(UsageError, match="composite is refused"):
        ReasoningGym("composite")
    with pytest.raises(UsageError, match=r"name=… is missing; it is one of ab, acre"):
        ReasoningGym()
    with pytest.raises(UsageError, match="name is 'sudokus'"):
        ReasoningGym("sudokus")
    assert metadata.version("reasoning-gym") == VERSION
    monkeypatch.setattr("thence.tasks.reasoning_gym.version", lambda name: "9.9")
    with pytest.raises(UsageError, match=r"version 9\.9 is installed, and its scorers were not read"):
        ReasoningGym("gcd")


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("I think.\n<answer>\n1 2\n3 4 \n</answer>", "1 2\n3 4"),
        ("<answer>1</answer> no, <ANSWER>2</ANSWER>", "2"),
        ("<answer>7", "7"),
        ("So it goes.\n#### 7", "7"),
        ("just this", "just this"),
        ("one\ntwo", None),
        ("<answer> </answer>", None),
    ],
)
def test_the_answer_is_what_the_last_tag_holds(reply: str, value: str | None) -> None:
    found = TaggedReading().extract(reply)
    if value is None:
        assert found is None or "answer" in found.value
    else:
        assert found is not None
        assert found.value == value
        assert reply[found.start : found.end] == value
