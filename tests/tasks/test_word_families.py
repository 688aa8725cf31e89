"""Last letters and apples: the built-in families under their own names."""

from __future__ import annotations

import pytest

from thence.annotate.exact import truth_of
from thence.core.errors import UsageError
from thence.tasks.word_families import Apples, LastLetters
from thence.tasks.wordproblems_task import WordProblemsTask


@pytest.mark.parametrize("names", [2, 3, 4, 9])
def test_last_letters_join_the_last_letters_of_so_many_names(names: int) -> None:
    task = LastLetters(names=names, size=30)
    for problem in task.problems():
        quoted = problem.text.split('"')[1].split()
        assert len(quoted) == names
        right = "".join(word[-1] for word in quoted)
        assert task.grade(problem, "", right).correct
        assert task.grade(problem, "", right.upper()).correct
        assert not task.grade(problem, "", right + "x").correct
    reply = "Elon: n\nMusk: k\n#### nk"
    found = task.reading.extract(reply)
    assert found is not None
    assert found.value == "nk"


def test_they_are_the_families_of_the_built_in_word_problems() -> None:
    whole = WordProblemsTask(family="letters", level=1, size=50)
    assert list(LastLetters(size=50).problems()) == list(whole.problems())
    apples = WordProblemsTask(family="apples", level=2, size=50)
    assert list(Apples(size=50).problems()) == list(apples.problems())
    assert truth_of(Apples(size=5)) is not None  # so that labels of written steps are exact


def test_only_their_own_arguments_are_written() -> None:
    assert LastLetters().spec == "last-letters"
    assert LastLetters(names=4, size=9).spec == "last-letters(names=4, size=9)"
    assert Apples(split="dev", data_seed=2).spec == "apples(split=dev, data_seed=2)"
    with pytest.raises(UsageError, match="names is 1; it must be from 2 to 9"):
        LastLetters(names=1)
    with pytest.raises(UsageError, match="split 'all'"):
        Apples(split="all")
