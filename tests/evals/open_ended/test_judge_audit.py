"""The audit of judges: clean ones pass, planted faults are found, panels, win rates, bad input, the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from thence.cli import run
from thence.core.errors import DataError, UsageError
from thence.core.preferences import CRITERIA, Pair, in_both_orders, question, said_better
from thence.evals.open_ended.audit import Equals, audit, padded, styled, truths, unstyled
from thence.evals.open_ended.judges import (
    ModelJudge,
    PairJudge,
    PanelJudge,
    PlantedJudge,
    Shares,
    agreement,
    fair,
    marks,
)
from thence.evals.open_ended.sides import of_equal_truth
from thence.evals.open_ended.win_rate import Answered, caution, win_rate
from thence.evals.regrading.saved import Saved
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import default_reading

KNOWN = truths(40)
OWN = [Equals(t.question, "I said:\n" + t.right, "He says\n" + t.right) for t in KNOWN]


@cache
def key(text: str) -> str | None:
    found = default_reading().extract(text)
    return None if found is None else default_reading().key(found.value)


RIGHT = {t.question: key(t.right) for t in KNOWN}


def planted(**faults: float) -> PlantedJudge:
    seed = int(faults.pop("seed", 0))
    return PlantedJudge(
        lambda q, text: float(key(text) == RIGHT.get(q)),
        mine=lambda text: text.startswith("I said"),
        seed=seed,
        **faults,
    )


def test_pairs_of_known_truth_are_what_they_say() -> None:
    assert len(KNOWN) == 40
    for truth in KNOWN:
        assert key(truth.right) != key(truth.wrong)
        assert key(padded(truth.right)) == key(styled(truth.right)) == key(unstyled(truth.right)) == key(truth.right)
        assert len(padded(truth.right)) > len(truth.right)
        assert len(styled(truth.right)) == len(unstyled(truth.right))
        assert marks(styled(truth.right)) > 0 == marks(unstyled(truth.right)) == marks(padded(truth.right))


async def test_a_clean_judge_is_accused_in_at_most_one_of_twenty_audits() -> None:
    accused = 0
    for seed in range(40):
        found = await audit(planted(seed=seed, sharpness=1.5), KNOWN, OWN)
        accused += bool(found.faults)
    assert (
        accused <= 4
    )  # 2 are expected at the level of 5 % itself, fewer of an exact test; tools/judge_alarms.py has 400


@pytest.mark.parametrize(
    ("fault", "name"), [("position", "position"), ("length", "length"), ("style", "style"), ("own", "self")]
)
async def test_a_planted_fault_is_found_and_named(fault: str, name: str) -> None:
    found = await audit(planted(**{fault: 1.2}), KNOWN, OWN)
    assert found.faults == [name]
    bias = next(b for b in found.biases if b.name == name)
    assert bias.paired.difference > 0.05
    assert bias.paired.interval[0] > 0
    assert found.right.value is not None
    assert found.right.value > 0.9


async def test_a_judge_that_sees_only_length_is_found_out_by_wrong_answers_that_are_longer() -> None:
    found = await audit(planted(sharpness=0.0, length=8.0), KNOWN)
    assert found.against["longer"].value is not None
    assert found.against["longer"].value < 0.1
    assert "length" in found.faults
    assert "length" in caution(found)


async def test_ties_are_no_bias_and_silence_is_counted() -> None:
    class Tied:
        name = "tied"

        async def compare(self, pairs: Sequence[Pair]) -> Shares:
            return [0.5] * len(pairs)

    tied = await audit(Tied(), KNOWN)
    assert (tied.faults, tied.right.value, tied.consistent.value) == ([], 0.5, 1.0)
    assert "no better" in caution(tied) or "better than a coin" in caution(tied)
    mute = await audit(planted(mute=1.0), KNOWN)
    assert (mute.unread.value, mute.right.value, mute.faults) == (1.0, None, [])
    assert "no verdict" in caution(mute)
    some = await audit(planted(mute=0.3), KNOWN)
    assert some.unread.interval is not None
    assert some.unread.interval[0] < 0.3 < some.unread.interval[1]
    with pytest.raises(UsageError, match="there are none"):
        await audit(Tied(), [])


def test_verdicts_are_read_only_where_they_are_plain() -> None:
    read = {
        "I compared.\nBetter: A": 1.0,
        "better: **B**": 0.0,
        "Better: tie": 0.5,
        "Better: Answer B.": 0.0,
        "Better: A\nNo, wait.\nBetter: B": 0.0,
        "A is better": None,
        "Better: Ann": None,
        "": None,
    }
    assert {reply: said_better(reply) for reply in read} == read
    assert in_both_orders([1.0, 1.0, None, None, 0.5], [0.0, 1.0, 0.0, None, 0.0]) == [1.0, 0.5, 1.0, None, 0.75]


async def test_a_model_judge_sees_no_reference_and_is_charged() -> None:
    def write(cue: Cue) -> str:
        shown = cue.question
        return "Better: A" if shown.index("gold") < shown.index("dross") else "Better: B"

    policy = ScriptedGenerator(write)
    judge = ModelJudge(policy, "scripted")
    pairs = [Pair("which?", "gold", "dross"), Pair("which?", "dross", "gold")]
    assert await judge.compare(pairs) == [1.0, 0.0]
    assert await fair(judge, pairs) == [1.0, 0.0]
    assert (judge.charged.total or 0) > 0
    assert CRITERIA in question(pairs[0])
    cut = ModelJudge(ScriptedGenerator(lambda cue: "so many words before " * 9 + "Better: A"), "cut", max_tokens=5)
    assert await cut.compare(pairs) == [None, None]


async def test_a_panel_of_noisy_judges_beats_its_members() -> None:
    judges: tuple[PairJudge, ...] = tuple(
        PlantedJudge(planted().quality, sharpness=1.0, seed=s, name=str(s)) for s in range(5)
    )
    panel = PanelJudge(judges)
    pairs = [Pair(t.question, t.right, t.wrong) for t in KNOWN]
    members = [sum(s or 0.0 for s in await j.compare(pairs)) for j in judges]
    assert sum(s or 0.0 for s in await panel.compare(pairs)) > max(members)
    said = await panel.members(pairs)
    share = agreement(said)
    assert share is not None
    assert 0.5 < share < 0.8  # p^2 + (1 - p)^2 = .61 for p = sigma(1) = .73
    assert agreement([[None], [1.0]]) is None
    with pytest.raises(UsageError, match="at least two different"):
        PanelJudge((judges[0], judges[0]))


async def test_a_win_rate_is_a_share_with_an_interval_and_says_what_to_doubt() -> None:
    questions = {str(i): t.question for i, t in enumerate(KNOWN)}
    good = Answered("good", {str(i): t.right for i, t in enumerate(KNOWN)})
    bad = Answered("bad", {str(i): padded(t.wrong) for i, t in enumerate(KNOWN)})
    fair_judge, lover = planted(), planted(sharpness=0.5, length=3.0)
    won = await win_rate(fair_judge, good, bad, questions, await audit(fair_judge, KNOWN))
    assert won.interval is not None
    assert won.interval[0] > 0.8
    assert (won.n, won.longer, won.caution) == (40, 0.0, "")
    lost = await win_rate(lover, good, bad, questions, await audit(lover, KNOWN))
    assert lost.rate is not None
    assert lost.rate < 0.2
    assert "length" in lost.caution
    same = await win_rate(fair_judge, good, good, questions)
    assert (same.rate, same.tied) == (0.5, 40)
    assert "not audited" in same.caution
    assert "accuracy" not in json.dumps(won.document())
    with pytest.raises(DataError, match="no question in common"):
        await win_rate(fair_judge, good, Answered("other", {"x": "y"}), questions)


def test_pairs_of_equal_truth_have_one_verdict_and_two_texts() -> None:
    def saved(i: str, text: str, label: bool | None) -> Saved:
        return Saved(i, "row", text, label=label, question="q" + i)

    own = [
        saved("1", "a", True),
        saved("2", "b", True),
        saved("3", "c", False),
        saved("4", "d", None),
        saved("5", "e", True),
    ]
    other = [
        saved("1", "A", True),
        saved("2", "B", False),
        saved("3", "C", False),
        saved("4", "D", None),
        saved("5", "e", True),
    ]
    assert [pair.marked for pair in of_equal_truth(own, other)] == ["a", "c"]
    with pytest.raises(DataError, match="one question in the first file"):
        of_equal_truth(own, [Saved("1", "row", "A", question="another")])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, word in (("a", "right"), ("b", "wrong")):
        rows = [{"id": i, "question": t.question, "text": getattr(t, word)} for i, t in enumerate(KNOWN[:20])]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    a, b = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    assert run(["prefer", a, b, "--judge", "planted(length=3)", "--pairs", "24"]) == 0
    printed = capsys.readouterr().out
    assert "no accuracy" in printed
    assert "BIASED" in printed
    assert "caution" in printed
    assert run(["prefer", a, b, "--judge", "planted", "--judge", "planted(seed=1)", "--pairs", "40", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [x["judge"] for x in document["audits"]][-1].startswith("panel(")
    assert document["win_rate"]["n"] == 20
    assert document["win_rate"]["rate"] > 0.8
    for wrong, says in (
        (["prefer"], "who judges"),
        (["prefer", a, "--judge", "planted"], "two files"),
        (["prefer", "--judge", "planted(tilt=1)"], "no fault 'tilt'"),
        (["prefer", "--judge", "planted", "--own", a], "both --own and --others"),
    ):
        assert run(wrong) == 2
        assert says in capsys.readouterr().err
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": 1, "text": "x"}) + "\n")
    assert run(["prefer", a, str(tmp_path / "c.jsonl"), "--judge", "planted"]) != 0
    assert "question" in capsys.readouterr().err
