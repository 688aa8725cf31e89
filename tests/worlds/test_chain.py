"""The chain's closed forms: known values, the plain list of solutions, and samples of the generator."""

from __future__ import annotations

from collections import Counter

import pytest
from world_runs import draws, near

from thence.core.errors import UsageError
from thence.worlds import Chain, State

CHAIN = Chain()
ODD = Chain(steps=4, slip=0.25, fatal=0.05, recover=0.5, relapse=0.1, guess=0.3, wrong=2, size=3)


def test_known_values() -> None:
    """eps_r = eps_d = .1, rho = delta = .3, g = .05, K = 6."""
    on_track = [0.3985, 0.4534, 0.5175, 0.5934, 0.6865, 0.8100, 1.0]
    recoverable = [0.2742, 0.3079, 0.3441, 0.3778, 0.3920, 0.3350, 0.05]
    for t in range(7):
        assert CHAIN.state_value(t, State.ON_TRACK) == pytest.approx(on_track[t], abs=5e-5)
        assert CHAIN.state_value(t, State.RECOVERABLE) == pytest.approx(recoverable[t], abs=5e-5)
        assert CHAIN.state_value(t, State.LOST) == 0.05
    assert CHAIN.valid == pytest.approx(0.2621, abs=5e-5)
    assert CHAIN.correct == pytest.approx(0.3985, abs=5e-5)
    assert CHAIN.trace_error == pytest.approx(0.342, abs=5e-4)


def test_each_rate_has_its_own_place() -> None:
    law = ODD.law(0, ODD.read("state b\n"))
    assert law == pytest.approx({"state a": 0.5, "state b": 0.4, "state c": 0.1})
    assert ODD.law(0, ODD.read("")) == pytest.approx({"state a": 0.7, "state b": 0.25, "state c": 0.05})
    assert ODD.law(0, ODD.read("state c\n")) == {"state c": 1.0}
    assert ODD.state_value(3, State.RECOVERABLE) == pytest.approx(0.5 + 0.4 * 0.3 + 0.1 * 0.3)
    assert ODD.state_value(3, State.ON_TRACK) == pytest.approx(0.7 + 0.25 * 0.3 + 0.05 * 0.3)


@pytest.mark.parametrize("world", [CHAIN, ODD, Chain(steps=3, wordings=2)], ids=["usual", "odd", "worded"])
def test_closed_forms_are_those_of_the_list_of_all_solutions(world: Chain) -> None:
    problem, right = world.problem(1), world.right(1)
    valid = correct = both = 0.0
    first_wrong: Counter[int | None] = Counter()
    first_lost: Counter[int | None] = Counter()
    at: list[Counter[State]] = [Counter() for _ in range(world.steps + 1)]
    for text, p in world.solutions(problem):
        letters = [line[6] for line in text.split("\n")[:-1]]
        good, lucky = set(letters) == {"a"}, text.endswith(right)
        valid, correct, both = valid + p * good, correct + p * lucky, both + p * (good and lucky)
        first_wrong[next((t for t, c in enumerate(letters, 1) if c != "a"), None)] += p  # type: ignore[assignment]
        first_lost[next((t for t, c in enumerate(letters, 1) if c == "c"), None)] += p  # type: ignore[assignment]
        for t, letter in enumerate(["a", *letters]):
            at[t][State(letter)] += p  # type: ignore[assignment]
    assert world.valid == pytest.approx(valid)
    assert world.correct == pytest.approx(correct)
    assert both == pytest.approx(valid)  # a valid solution is right
    assert world.trace_error == pytest.approx(1 - both / correct)
    assert world.first_wrong() == pytest.approx(dict(first_wrong))
    assert world.first_lost() == pytest.approx({None: 0.0, **first_lost})
    for t, counts in enumerate(at):
        assert {s: p for s, p in world.occupation(t).items() if p} == pytest.approx(dict(counts))


@pytest.mark.parametrize("world", [CHAIN, ODD, Chain(wordings=3)], ids=["usual", "odd", "worded"])
def test_the_backward_recursion_is_the_value_of_a_text(world: Chain) -> None:
    problem = world.problem(0)
    for t in range(world.steps + 1):
        for state in State if t else [State.ON_TRACK]:
            begun = world.line(State.RECOVERABLE, world.wordings - 1) * (t - 1) + world.line(state) * (t > 0)
            assert world.value(problem, begun) == pytest.approx(world.state_value(t, state), abs=1e-12)


@pytest.mark.parametrize(("t", "state"), [(0, State.ON_TRACK), (3, State.RECOVERABLE), (2, State.LOST)])
async def test_the_backward_recursion_is_what_samples_do(t: int, state: State) -> None:
    """V by the generator's own continuations, graded by the task."""
    problem, n = CHAIN.problem(0), 3000
    samples = await draws(CHAIN, problem, n, CHAIN.line(state) * t)
    right = sum(c.text.endswith(f"#### {CHAIN.right(0)}") for c in samples)
    near(right, n, CHAIN.state_value(t, state))


async def test_wordings_change_texts_and_no_chance() -> None:
    worded = Chain(wordings=5)
    assert worded.correct == CHAIN.correct
    assert worded.answers(worded.problem(0)) == pytest.approx(CHAIN.answers(CHAIN.problem(0)))
    few, many = [len({c.text for c in await draws(w, w.problem(0), 300)}) for w in (CHAIN, worded)]
    assert many > 2.5 * few
    assert worded.judge(0, worded.read("state a4\nstate b0\n").steps) == (True, False)


def test_wrong_answers_are_many_and_equally_likely() -> None:
    law = Chain(wrong=7).answers(Chain().problem(0))
    assert len(law) == 8
    others = [p for answer, p in law.items() if answer != CHAIN.right(0)]
    assert others == pytest.approx([(1 - CHAIN.correct) / 7] * 7)


def test_a_chain_that_cannot_fail_or_cannot_be_right() -> None:
    assert Chain(slip=0.0, fatal=0.0).correct == Chain(slip=0.0, fatal=0.0).valid == 1.0
    hopeless = Chain(slip=0.0, fatal=1.0, guess=0.0)
    assert (hopeless.correct, hopeless.trace_error) == (0.0, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"slip": 1.5}, {"slip": 0.6, "fatal": 0.6}, {"recover": 0.9, "relapse": 0.2}, {"wrong": 90}],
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="chain"):
        Chain(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no time 7"):
        CHAIN.state_value(7, State.LOST)
