"""Rating by keys, and which solutions are shown first."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from label_worlds import rollouts

from thence.annotate.active import Active, Unlabelled, convincing
from thence.annotate.by_hand import Session, agreement
from thence.annotate.math_shepherd import MathShepherd
from thence.core.errors import DataError, UsageError
from thence.core.label_files import from_row, read_labels, to_rows
from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Meaning
from thence.verifiers.basic import Agreement as ByAgreement
from thence.worlds import Chain


def solution(name: str, *steps: str) -> Labelled:
    """An unlabelled solution of a question of its own."""
    text = "".join(steps)
    ends = tuple(itertools.accumulate(map(len, steps)))
    return Labelled(name, text, ends, ((),) * len(ends), False, {"question": f"{name}?"})


A = solution("a", "one\n", "two\n", "three\n#### 3")
B = solution("b", "uno\n", "due")


@dataclass
class Desk:
    """Keys that come one after another, and what was shown."""

    keys: Iterator[str]
    shown: list[str]

    def read(self) -> str:
        return next(self.keys, "q")


def rated(path: Path, keys: str, *solutions: Labelled, labeler: str = "l") -> list[str]:
    """The texts that were shown while these keys were pressed."""
    desk = Desk(iter(keys), [])
    ticks = itertools.count(100)
    Session(solutions, path, desk.read, desk.shown.append, labeler, lambda: float(next(ticks))).run()
    return desk.shown


def ratings(path: Path) -> list[list[int | None]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [[s["completions"][0]["rating"] for s in row["label"]["steps"]] for row in rows]


def test_a_session_writes_rows_of_prm800k_and_stops_at_the_first_error(tmp_path: Path) -> None:
    path = tmp_path / "rated.jsonl"
    shown = rated(path, "+0+" + "+-", A, B)
    assert ratings(path) == [[1, 0, 1], [1, -1]]
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first["label"]["finish_reason"] == "solution"
    assert second["label"]["finish_reason"] == "found_error"
    assert [s["chosen_completion"] for s in second["label"]["steps"]] == [0, None]
    assert first["question"] == {"problem": "a?", "pre_generated_steps": ["one", "two", "three\n#### 3"]}
    assert first["labeler"] == "l"
    assert first["label"]["total_time"] == 1000
    assert first["timestamp"] == "1970-01-01T00:01:40"
    assert [s["completions"][0]["text"] for s in first["label"]["steps"]] == ["one", "two", "three\n#### 3"]
    assert any("step 3 of 3: three\n#### 3" in text for text in shown)
    [record] = from_row(first)
    assert record.numbers(Meaning.STEP_CORRECT) == (1.0, 0.5, 1.0)
    assert record.text == A.text
    assert list(to_rows(read_labels(path), "prm800k")) == [first, second]


def test_steps_after_the_first_error_are_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "rated.jsonl"
    shown = rated(path, "-++", A, B)
    assert ratings(path) == [[-1], [1, 1]]
    assert not any("two" in text for text in shown)


def test_undo_within_a_solution_and_back_into_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "rated.jsonl"
    rated(path, "+-" + "u" + "+0u+0" + "++", A, B)
    assert ratings(path) == [[1, 1, 0], [1, 1]]
    shown = rated(tmp_path / "other.jsonl", "u+++", A)
    assert any("nothing to undo" in text for text in shown)
    assert ratings(tmp_path / "other.jsonl") == [[1, 1, 1]]


def test_quitting_keeps_what_was_finished_and_the_same_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rated.jsonl"
    shown = rated(path, "++++q", A, B)
    assert any("the 1 ratings of this solution are not kept" in text for text in shown)
    assert ratings(path) == [[1, 1, 1]]
    shown = rated(path, "uxg", A, B)
    assert not any("one" in text for text in shown)
    assert any("solution 1 of 1" in text for text in shown)
    assert any("nothing to undo" in text for text in shown), "what an earlier session made stays"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["label"]["finish_reason"] for row in rows] == ["solution", "give_up"]
    assert rows[1]["label"]["steps"] == []
    assert rated(path, "++", A, B) == [], "all is rated"
    assert rated(tmp_path / "none.jsonl", "", A)[-1].startswith("step 1 of 3")
    assert not (tmp_path / "none.jsonl").exists()


def test_an_empty_step_is_refused_before_anything_is_shown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="problem c: a step is empty"):
        rated(tmp_path / "r.jsonl", "++", solution("c", "one\n", " \n"))
    with pytest.raises(DataError, match="does not say its question"):
        rated(tmp_path / "r.jsonl", "++", replace(A, extra={}))


def test_agreement_by_hand(tmp_path: Path) -> None:
    """Steps rated by both: (+,+) (0,+) (+,+) (+,-) and (-,-): p = 3/5, e = (3*3 + 1*2 + 1*0) / 25."""
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    third = solution("c", "x\n", "y")
    rated(one, "+0+" + "++" + "-", A, B, third)
    rated(other, "+++" + "-" + "-", A, B, third)
    found = agreement(read_labels(one), read_labels(other))
    assert (found.solutions, found.steps) == (3, 5)
    assert found.raw == pytest.approx(3 / 5)
    chance = (3 * 3 + 1 * 2) / 25
    assert found.kappa == pytest.approx((3 / 5 - chance) / (1 - chance))
    assert found.first_error == pytest.approx(2 / 3)
    assert agreement(read_labels(other), read_labels(other)).kappa == pytest.approx(1)
    same = tmp_path / "same.jsonl"
    rated(same, "+++", A)
    assert agreement(read_labels(same), read_labels(same)).kappa is None
    with pytest.raises(DataError, match="no step in common"):
        agreement(read_labels(same), [])


def test_convincing_wrong_answers_come_first() -> None:
    """Five of ten: the four best of the wrong ones, then the best of the rest."""
    candidates = [(score, score in (9, 8, 4)) for score in range(10)]
    chosen = convincing(candidates, 5, lambda c: (-c[0], 0), lambda c: c[1], 0.8)
    assert [score for score, _ in chosen] == [7, 6, 5, 3, 9]
    only_right = [(score, True) for score in range(3)]
    assert len(convincing(only_right, 5, lambda c: (-c[0], 0), lambda c: c[1], 0.8)) == 3
    only_wrong = [(score, False) for score in range(8)]
    picked = convincing(only_wrong, 5, lambda c: (-c[0], 0), lambda c: c[1], 0.8)
    assert [score for score, _ in picked] == [7, 6, 5, 4, 3]


async def test_active_labels_what_the_verifier_likes_though_it_is_wrong() -> None:
    world = Chain(steps=4, size=40)
    shares = {"active": [0, 0], "plain": [0, 0]}
    liked = {"active": 0.0, "plain": 0.0}
    for problem in world.problems():
        for name, method in (
            ("active", Active(MathShepherd(2, solutions=5), ByAgreement(), pool=24)),
            ("plain", MathShepherd(2, solutions=5)),
        ):
            got = rollouts(world, problem)
            records = await method.annotate(got)
            assert len(records) <= 5
            assert all(len(r.labels) == world.steps for r in records)
            shares[name][0] += sum(r.correct is False for r in records)
            shares[name][1] += len(records)
            wrong = [r.text.rpartition(" ")[2] for r in records if not r.correct]
            liked[name] += sum(wrong.count(a) ** 2 for a in set(wrong)) / max(1, len(wrong) ** 2)
    assert shares["active"][0] / shares["active"][1] == pytest.approx(0.8, abs=0.06)
    assert shares["plain"][0] / shares["plain"][1] < 0.75
    assert liked["active"] > liked["plain"], "the most frequent wrong answer is the most convincing one"


async def test_active_is_the_same_for_the_same_seed() -> None:
    world = Chain(steps=3, size=1)
    [problem] = world.problems()
    method = Active(Unlabelled(3), ByAgreement(), pool=9)
    first, again, other = [await method.annotate(rollouts(world, problem, seed=s)) for s in (1, 1, 2)]
    assert first == again != other
    assert all(row == () for r in first for row in r.labels)
    with pytest.raises(UsageError, match="a pool of 2 has no 3 solutions"):
        Active(Unlabelled(3), ByAgreement(), pool=2)


def test_labels_of_people_have_their_source(tmp_path: Path) -> None:
    path = tmp_path / "rated.jsonl"
    rated(path, "++", B)
    [record] = read_labels(path)
    assert record.labels[0] == (Label(Meaning.STEP_CORRECT, 1.0, Source.HUMAN),)
