"""What every world is: one exact law from which texts, answers and values follow."""

from __future__ import annotations

import math

import pytest
from world_runs import near

from thence.core.completion import Sampling
from thence.core.errors import UsageError
from thence.core.problem import Message
from thence.worlds import At, Beta, Branches, Chain, Place, Stratum, Table, Urn, World
from thence.worlds.world import EOS

SILENT = Urn((Stratum("silent", (0.5, 0.2)),), size=3)
WORLDS: list[World] = [
    Chain(steps=4),
    Chain(steps=2, wordings=3, wrong=7),
    Branches(depth=3, branching=3, right_share=0.3, size=4),
    Branches(depth=2, branching=5, skew=0.0, size=2),
    Urn(size=8),
    Urn((Stratum("beta", Beta(0.5, 2.0)),), size=3),
    SILENT,
    Table(),
    Table.drawn(3),
]
every_world = pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.spec[:40])


@every_world
def test_the_next_piece_has_a_law_at_every_place(world: World) -> None:
    for problem in world.problems()[:4]:
        number, seen = world.number(problem), 0
        for text, _ in world.solutions(problem):
            place = Place()
            for piece, own in world.pieces(text):
                assert own  # solutions are made of the world's own pieces
                odds = world.law(number, place)
                assert math.fsum(odds.values()) == pytest.approx(1.0, abs=1e-12)
                assert min(odds.values()) > 0
                assert piece in odds
                place = world.then(place, piece)
                seen += 1
            assert EOS in world.law(number, place)
        assert seen > 0


@every_world
def test_all_solutions_together_are_the_law_of_the_answer(world: World) -> None:
    """The recursion over places against the plain list of all texts, after every begun text."""
    for problem in world.problems()[:2]:
        texts = list(world.solutions(problem))
        assert math.fsum(p for _, p in texts) == pytest.approx(1.0, abs=1e-12)
        begins = {text[:end] for text, _ in texts for end in range(len(text) + 1) if text[:end].endswith("\n")}
        for begun in ["", *sorted(begins)[:40]]:
            mass = math.fsum(p for text, p in texts if text.startswith(begun))
            law: dict[str | None, float] = {}
            for text, p in texts:
                if text.startswith(begun):
                    answer = text.rpartition("#### ")[2] if "####" in text else None
                    law[answer] = law.get(answer, 0.0) + p / mass
            assert world.answers(problem, begun) == pytest.approx(law, abs=1e-12)
            assert world.value(problem, begun) == pytest.approx(law.get(world.right(world.number(problem)), 0.0))


@every_world
def test_the_task_reads_the_answer_of_every_solution_and_accepts_its_own_references(world: World) -> None:
    task = world.task()
    assert task.check_references() == []
    assert len(task.problems()) == world.size == len({p.hash for p in task.problems()})
    problem = world.problem(0)
    for text, _ in list(world.solutions(problem))[:200]:
        found = task.reading.extract(text)
        place = world.read(text)
        assert (None if found is None else found.value) == place.answer
        assert task.grade(problem, text, place.answer).correct == (place.answer == world.right(0))


def test_a_solution_that_was_cut_has_no_answer() -> None:
    for text in ("state a", "state a\n", "####", "42"):
        assert Chain().task().reading.extract(text) is None


def test_text_that_is_not_the_worlds_is_read_over() -> None:
    world = Chain()
    plain = world.read("state a\nstate b\n")
    for text in ("Let's think.\nstate a\nstate b\n", "state a\nWait, 42 is it?\nstate b\n", "state a state b\n"):
        assert world.read(text) == plain
    assert world.read("state a\nstate b") == Place(plain.steps, At.STEP)
    assert world.read("state a\n#### 42\nstate b\n") == Place(("state a",), At.DONE, "42")


def test_a_mark_forced_too_early_is_answered_by_the_law_of_how_it_would_end() -> None:
    world = Chain(steps=3)
    problem = world.problem(0)
    law = world.law(0, world.read("state b\n####"))
    assert {piece[1:]: p for piece, p in law.items()} == pytest.approx(world.answers(problem, "state b\n"))


def test_a_text_without_an_answer_has_the_mass_that_the_law_leaves_out() -> None:
    assert SILENT.answers(SILENT.problem(0))[None] == pytest.approx(0.3)


def test_temperature_and_cuts_by_hand() -> None:
    world = Table()
    odds = {"say a": 0.5, "say b": 0.3, "####": 0.2}
    squares = world.tempered(odds, Sampling(temperature=0.5))
    assert squares == pytest.approx({"say a": 25 / 38, "say b": 9 / 38, "####": 4 / 38})
    two = pytest.approx({"say a": 0.625, "say b": 0.375})
    assert world.tempered(odds, Sampling(temperature=1.0, top_k=2)) == two
    assert world.tempered(odds, Sampling(temperature=1.0, top_p=0.5)) == {"say a": 1.0}
    assert world.tempered(odds, Sampling(temperature=1.0, top_p=0.51)) == two
    assert world.tempered(odds, Sampling(temperature=0.0)) == {"say a": 1.0}
    assert world.tempered({"say b": 0.5, "say a": 0.5}, Sampling(temperature=0.0)) == {"say a": 1.0}


def test_a_problem_is_found_in_the_last_question_and_another_is_refused() -> None:
    world = Chain(size=30)
    assert [world.number(p) for p in world.problems()] == list(range(30))
    turns = [*world.problem(3).messages, Message("assistant", "#### 11"), *world.problem(21).messages]
    assert world.number(turns) == 21
    for stranger in (Chain(data_seed=1).problem(0), Chain(size=40).problem(35), Urn().problem(0)):
        with pytest.raises(UsageError, match="no problem of this world"):
            world.number(stranger)
    with pytest.raises(UsageError, match="counted from 0"):
        world.problem(30)


def test_neither_the_question_nor_the_number_tells_which_answer_is_right() -> None:
    world = Chain(size=1000)
    assert len({world.right(i) for i in range(1000)}) == 90
    near(sum(world.choices(i, 5)[0] == min(world.choices(i, 5)) for i in range(1000)), 1000, 0.2)
    assert all(len(set(world.choices(i, 90))) == 90 for i in range(20))
    assert all(world.right(i) not in p.text for i, p in enumerate(world.problems()[:10]))


def test_worlds_that_differ_have_other_identities() -> None:
    worlds = [Chain(), Chain(slip=0.11), Chain(data_seed=1), Chain(size=7), Branches(), Urn(), Table(), Table.drawn(0)]
    assert len({w.generator().identity for w in worlds}) == len(worlds)
    assert len({w.task().data_hash for w in worlds}) == len(worlds) - 1  # a slip changes no reference
    assert Chain().spec.startswith("chain(steps=6, slip=0.1, fatal=0.1, recover=0.3, relapse=0.3, guess=0.05, ")
