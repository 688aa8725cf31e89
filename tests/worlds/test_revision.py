"""The revision world is the Markov chain that it says it is."""

from __future__ import annotations

from collections import Counter

import pytest
from world_runs import HOT, ask, near

from thence.core.completion import Completion, Context, Request, Segment
from thence.core.errors import UsageError
from thence.core.problem import Message
from thence.core.review import AGAIN, REVIEW
from thence.worlds.laws import revised, self_corrected
from thence.worlds.revision import FLAG, PASS, Revision

N = 3000
WORLD = Revision(chance=0.4, mend=0.3, spoil=0.1, stuck=0.25, flag_wrong=0.7, flag_right=0.2, wrong=2, size=1)
RIGHT, LOOSE, OTHER, STUCK = WORLD.choices(0, 4)


async def replies(*turns: Message, begun: str = "") -> Counter[str]:
    """What the world says in a chat that goes on with ``turns``, N times."""
    messages = (*WORLD.problem(0).messages, *turns)
    reply = (Segment(begun),) if begun else ()
    requests = [Request(Context(messages, reply), HOT, seed) for seed in range(N)]
    outcomes = await ask(WORLD.generator(pace=0), requests)
    assert all(isinstance(o, Completion) for o in outcomes)
    return Counter(o.text.removeprefix("#### ").strip() for o in outcomes if isinstance(o, Completion))


def gave(answer: str) -> Message:
    return Message("assistant", f"I say\n#### {answer}")


AGAIN_TURN, REVIEW_TURN = Message("user", AGAIN), Message("user", REVIEW)


async def test_first_answers_follow_the_law() -> None:
    said = await replies()
    for answer, p in ((RIGHT, 0.4), (STUCK, 0.15), (LOOSE, 0.225), (OTHER, 0.225)):
        near(said[answer], N, p)
    assert sum(said.values()) == N


@pytest.mark.parametrize(("last", "chance"), [(RIGHT, 0.9), (LOOSE, 0.3), (OTHER, 0.3), (STUCK, 0.0)])
async def test_only_the_last_answer_of_a_chat_or_a_text_counts(last: str, chance: float) -> None:
    in_a_chat = await replies(gave(RIGHT if last != RIGHT else STUCK), AGAIN_TURN, gave(last), AGAIN_TURN)
    in_a_text = await replies(begun=f"#### {last}\nWait")
    twice = await replies(begun=f"#### {LOOSE}\nWait#### {last}\nWait")
    for said in (in_a_chat, in_a_text, twice):
        near(said[RIGHT], N, chance)
        assert said[STUCK] == (N if last == STUCK else 0)


@pytest.mark.parametrize(("last", "flagged"), [(RIGHT, 0.2), (LOOSE, 0.7), (STUCK, 0.7)])
async def test_a_review_flags_at_its_rates(last: str, flagged: float) -> None:
    said = await replies(gave(last), REVIEW_TURN)
    near(said[FLAG], N, flagged)
    assert set(said) <= {FLAG, PASS}


async def test_after_a_review_the_answer_is_revised_and_not_the_review() -> None:
    said = await replies(gave(LOOSE), REVIEW_TURN, Message("assistant", FLAG), AGAIN_TURN)
    near(said[RIGHT], N, 0.3)


def test_an_answer_that_was_not_reopened_stays() -> None:
    assert WORLD.read(f"#### {RIGHT}\nHm. #### {LOOSE}").answer == RIGHT
    assert WORLD.read(f"#### {RIGHT}\nWait#### {LOOSE}").answer == LOOSE


def test_closed_forms_by_hand() -> None:
    world = Revision(chance=0.5, mend=0.3, spoil=0.1, flag_wrong=0.7, flag_right=0.2)
    assert world.stationary == pytest.approx(0.75)
    assert world.after(0) == 0.5
    assert world.after(1) == pytest.approx(0.5 * 0.9 + 0.5 * 0.3)
    assert world.after(60) == pytest.approx(world.stationary)
    assert world.refined(0) == 0.5
    assert world.refined(1) == pytest.approx(0.5 * (1 - 0.2 * 0.1) + 0.5 * 0.7 * 0.3)
    assert world.refined(1) == pytest.approx(self_corrected(0.5, flag_wrong=0.7, flag_right=0.2, fix=0.3, keep=0.9))
    assert world.after(7) == pytest.approx(revised(0.5, 7, mend=0.3, spoil=0.1))
    assert Revision(mend=0.0, spoil=0.0).stationary == 0.5
    assert world.covered(1, 1) == 0.5
    assert world.covered(2, 2) == pytest.approx(1 - (0.5 * 0.7) ** 2)
    assert world.majority(1) == 0.5
    assert world.majority(2) == pytest.approx(0.45 + 0.5 * (0.05 + 0.15))  # right twice, or a tie
    always = 0.5 * 0.9 * 0.9 + 0.5 * (0.9 * 0.1 + 0.1 * 0.3 + 0.3 * 0.9)
    assert world.majority(3) == pytest.approx(always)
    stuck = Revision(chance=0.5, mend=0.3, spoil=0.0, stuck=0.4)
    assert stuck.after(200) == pytest.approx(0.8)
    assert stuck.covered(1, 200) == pytest.approx(0.8)
    assert stuck.covered(3, 200) == pytest.approx(1 - 0.2**3)


@pytest.mark.parametrize("wrong", [{"chance": 1.5}, {"mend": -0.1}, {"flag_right": 2.0}])
def test_chances_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"must be between 0 and 1"):
        Revision(**wrong)  # type: ignore[arg-type]
