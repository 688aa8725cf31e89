"""Critiques are kept where they agree with what is known of a solution, and counted where they do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from label_worlds import HOT

from thence.annotate.active import Unlabelled
from thence.annotate.critiques import CRITIC, Critiques, Known, known, verdicts
from thence.annotate.exact import Exact
from thence.annotate.label import LabelReport, label, open_rollouts
from thence.annotate.math_shepherd import MathShepherd
from thence.annotate.rollouts import Rollouts
from thence.core.completion import Completion, Failure, Finish
from thence.core.errors import DataError, UsageError
from thence.core.label_files import read_labels, write_labels
from thence.core.labels import Label, Labelled, Source
from thence.core.review import REVIEW
from thence.core.scores import Meaning
from thence.core.tree import Tree
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.prompts.styles import Bare
from thence.stores.sqlite import RunFile
from thence.train.examples import Writer, critique_examples
from thence.verifiers.formats import FORMATS
from thence.worlds import Chain
from tiny_models import word_tokenizer

FINE, FLAW = "No problems found.", "The second number is not the one from before."
WORLD = Chain(steps=4, size=30)


def critic(write: Callable[[Cue], str | Failure]) -> ScriptedGenerator:
    return ScriptedGenerator(write, name="critic", pace=0)


def opened(world: Chain, number: int, reviewer: ScriptedGenerator, budget: int | None = None) -> Rollouts:
    return open_rollouts(
        world.task(),
        world.generator(pace=0),
        Bare(),
        HOT,
        world.problem(number),
        roles={CRITIC: reviewer},
        budget=budget,
    )


async def written(method: Critiques, reviewer: ScriptedGenerator, world: Chain = WORLD) -> list[Labelled]:
    return [r for i in range(world.size) for r in await method.annotate(opened(world, i, reviewer))]


def faithful(cue: Cue) -> str:
    """Says what it was told."""
    return FINE if "nothing is wrong" in cue.question else FLAW


def contrary(cue: Cue) -> str:
    """Says the opposite of what it was told."""
    return FLAW if "nothing is wrong" in cue.question else FINE


def stepwise(cue: Cue) -> str:
    """One line a step, as told."""
    steps = [line for line in cue.question.splitlines() if line.startswith("Step ")]
    first = next((int(w) for w in cue.question.partition("wrong step is step ")[2].partition(":")[:1] if w), None)
    n = first or sum(": " in s for s in steps)
    return "\n".join(f"Step {k} is {'wrong' if k == first else 'right'}: I looked." for k in range(1, n + 1))


async def test_a_critic_that_says_what_is_known_is_kept_at_once_and_labels_stay() -> None:
    reviewer = critic(faithful)
    made = await written(Critiques(Exact(2)), reviewer)
    plain = [r for i in range(WORLD.size) for r in await Exact(2).annotate(opened(WORLD, i, reviewer))]
    assert [replace(r, extra={}) for r in made] == [replace(r, extra={}) for r in plain]
    for record in made:
        fact = known(record)
        assert fact is not None
        assert record.extra["critique"] == (FLAW if fact.wrong else FINE)
        assert record.extra["criticised"] == {"critic": "scripted:critic", "dropped": 0}
    assert {bool(known(r).wrong) for r in made} == {True, False}  # type: ignore[union-attr]
    assert len(reviewer.requests) == len(made)
    chat = reviewer.requests[0].context.messages
    assert [m.role for m in chat] == ["user", "assistant", "user"]
    assert chat[1].content == made[0].text
    assert chat[2].content.startswith(REVIEW)


async def test_a_critic_that_is_always_wrong_writes_nothing_and_everything_is_counted() -> None:
    reviewer = critic(contrary)
    made = await written(Critiques(Exact(2), tries=3), reviewer)
    assert not any("critique" in record.extra for record in made)
    assert all(record.extra["criticised"]["dropped"] == 3 for record in made)
    assert len(reviewer.requests) == 3 * len(made)
    with pytest.raises(DataError, match="minos learns critiques first"):
        critique_examples([replace(r, extra={**r.extra, "question": "?"}) for r in made], writer())


def writer() -> Writer:
    return Writer(FORMATS["plain"], word_tokenizer())


async def test_a_critic_that_guesses_is_kept_as_often_as_its_tries_say() -> None:
    """1 - q^tries of the right solutions and 1 - (1 - q)^tries of the wrong ones, for a critic that says "wrong" with
    chance q whatever it sees; and what was dropped is counted."""
    q, tries, world = 0.25, 2, Chain(steps=3, size=250)
    reviewer = critic(lambda cue: FLAW if cue.seed % 1000 < 1000 * q else FINE)
    made = await written(Critiques(Exact(2), tries=tries, told=False), reviewer, world)
    assert all(request.context.messages[-1].content == REVIEW for request in reviewer.requests)
    for wrong, chance in ((False, 1 - q**tries), (True, 1 - (1 - q) ** tries)):
        group = [r for r in made if known(r) == Known(wrong, (known(r) or Known(True)).first)]
        kept = sum("critique" in r.extra for r in group) / len(group)
        assert len(group) > 60
        assert abs(kept - chance) <= 4 * math.sqrt(chance * (1 - chance) / len(group)), wrong
        for record in group:
            assert 0 <= record.extra["criticised"]["dropped"] <= tries - ("critique" in record.extra)


async def test_one_line_a_step_up_to_the_first_wrong_one() -> None:
    reviewer = critic(stepwise)
    made = await written(Critiques(Exact(2), tries=1, per="step"), reviewer)
    assert all("critique" in record.extra for record in made)
    for record in made:
        lines, fact = record.extra["critique"].splitlines(), known(record)
        assert fact is not None
        assert len(lines) == (WORLD.steps if fact.first is None else fact.first + 1)
        assert ("wrong" in lines[-1]) == fact.wrong
    for request in reviewer.requests:  # the steps are shown with their numbers
        assert f"\nStep {WORLD.steps}: " in request.context.messages[-1].content
    misplaced = critic(lambda cue: stepwise(cue).replace("Step 1 is right", "Step 1 is wrong"))
    other = await written(Critiques(Exact(2), tries=1, per="step"), misplaced)
    kept = [r for r in other if "critique" in r.extra]
    assert kept
    assert all(r.numbers(Meaning.PREFIX_VALID)[0] == 0 for r in kept)


def labelled(meaning: Meaning, numbers: tuple[float | None, ...], correct: bool | None) -> Labelled:
    text = "".join(f"{i}\n" for i in range(len(numbers)))
    ends = tuple(2 * (i + 1) for i in range(len(numbers)))
    return Labelled("p", text, ends, tuple((Label(meaning, x, Source.EXACT),) for x in numbers), correct)


@pytest.mark.parametrize(
    ("meaning", "numbers", "correct", "fact"),
    [
        (Meaning.PREFIX_VALID, (1.0, 1.0), True, Known(False)),
        (Meaning.PREFIX_VALID, (1.0, 0.0, 0.0), False, Known(True, 1)),
        (Meaning.PREFIX_VALID, (1.0, 0.0, 0.0), True, Known(True, 1)),  # right by luck
        (Meaning.PREFIX_VALID, (None, 0.0), False, Known(True)),  # the first step may be it
        (Meaning.STEP_CORRECT, (1.0, 0.5, 0.0), None, Known(True, 2)),  # neutral is not wrong
        (Meaning.STEP_CORRECT, (1.0, 1.0), None, None),
        (Meaning.VALUE, (0.5, 0.1, 0.0, 0.0), False, Known(True, 2)),
        (Meaning.VALUE, (0.5, 0.0, 1.0), True, Known(False)),  # no rollout came right, and the answer did
        (Meaning.VALUE, (0.5, None), False, Known(True)),
    ],
)
def test_what_is_known_of_a_solution(
    meaning: Meaning, numbers: tuple[float | None, ...], correct: bool | None, fact: Known | None
) -> None:
    assert known(labelled(meaning, numbers, correct)) == fact


@dataclass(frozen=True)
class Given:
    """A method that labels nothing new."""

    records: tuple[Labelled, ...]

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]:
        return list(self.records)


async def test_solutions_of_which_nothing_is_known_are_not_asked_about() -> None:
    reviewer = critic(faithful)
    without = labelled(Meaning.VALUE, (None, None), None)
    none = Labelled("p", "", (), (), False)
    made = await Critiques(Given((without, none))).annotate(opened(WORLD, 0, reviewer))
    assert not reviewer.requests
    assert [r.extra for r in made] == [{"criticised": {"critic": "scripted:critic", "dropped": 0}}] * 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Step 1 is right: yes.\nStep 2 is wrong: no.", [True, False]),
        ("**Step 1**: correct, since 3 + 4 = 7\n- Step 2: incorrect", [True, False]),
        ("Step 2 is right: a\nStep 1 is right: b", None),
        ("Step 1 is right: a\nStep 3 is wrong: b", None),
        ("step 1 is not right", None),
        ("All steps are right.", None),
        ("", None),
    ],
)
def test_verdicts_are_read_from_lines_in_order_and_nowhere_else(text: str, found: list[bool] | None) -> None:
    assert verdicts(text) == found


@pytest.mark.parametrize(
    ("lines", "fact", "fits"),
    [
        ("right right", Known(False), True),
        ("right", Known(False), False),  # one step was not judged
        ("right wrong", Known(False), False),
        ("right wrong", Known(True, 1), True),
        ("wrong", Known(True, 1), False),
        ("right wrong", Known(True), True),
        ("right right", Known(True), False),
        ("wrong right", Known(True), False),  # it went on after the first wrong step
        ("right right wrong", Known(True), False),  # there are two steps only
    ],
)
def test_lines_agree_with_what_is_known(lines: str, fact: Known, fits: bool) -> None:
    text = "\n".join(f"Step {k} is {word}: so." for k, word in enumerate(lines.split(), 1))
    tree = Tree()
    node = tree.add(tree.root, Completion.of(text, Finish.EOS), (1,))
    cut = tree.add(tree.root, Completion.of(text, Finish.LENGTH), (2,))
    method = Critiques(Unlabelled(), per="step")
    assert method.agrees(node, fact, 2) is fits
    assert not method.agrees(cut, fact, 2)


async def test_an_empty_critique_says_nothing_even_of_a_right_solution() -> None:
    made = await written(Critiques(Exact(1), tries=1), critic(lambda cue: " "))
    assert all(r.extra["criticised"]["dropped"] == 1 and "critique" not in r.extra for r in made)


async def test_a_budget_is_kept_and_what_it_cut_is_not_held_against_the_critic() -> None:
    reviewer = critic(lambda cue: faithful(cue) + " so" * 40)
    free = opened(WORLD, 0, critic(faithful))
    await Exact(3).annotate(free)
    rollouts = opened(WORLD, 0, reviewer, budget=(free.search.ledger.total_charged.total or 0) + 150)
    made = await Critiques(Exact(3), tries=2).annotate(rollouts)
    assert rollouts.search.stopped == "budget"
    assert (rollouts.search.ledger.total_charged.total or 0) <= (free.search.ledger.total_charged.total or 0) + 150
    assert sum("critique" in r.extra for r in made) < len(made)
    assert all(r.extra["criticised"]["dropped"] == 0 for r in made)


async def test_a_run_counts_resumes_and_its_file_trains_minos(tmp_path: Path) -> None:
    """By chance a critic contradicts what it is told; the counts are those of the records, and a second run asks
    nobody."""
    world = Chain(steps=3, size=12)

    def moody(cue: Cue) -> str:
        return contrary(cue) if cue.seed % 3 == 0 else faithful(cue)

    async def go(reviewer: ScriptedGenerator) -> tuple[LabelReport, list[Labelled]]:
        with RunFile.open(tmp_path / "run.db", {"kind": "label"}) as store:
            task = world.task()
            method = Critiques(MathShepherd(2, 2), tries=2)
            return await label(
                task,
                world.generator(pace=0),
                method,
                Bare(),
                HOT,
                task.problems(),
                store,
                roles={CRITIC: reviewer},
            )

    report, records = await go(critic(moody))
    silent = critic(lambda cue: Failure("call", "nobody should ask"))
    again, same = await go(silent)
    assert (again, same) == (report, records)
    assert not silent.requests
    assert report.criticised == sum("critique" in r.extra for r in records)
    assert report.dropped == sum(r.extra["criticised"]["dropped"] for r in records) > 0
    write_labels(tmp_path / "labels.jsonl", records)
    assert read_labels(tmp_path / "labels.jsonl") == records
    w = writer()
    examples = critique_examples(read_labels(tmp_path / "labels.jsonl"), w)
    assert len(examples) == report.criticised
    assert w.counts == {"without a critique": n} if (n := len(records) - report.criticised) else not w.counts


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="tries"):
        Critiques(Exact(1), tries=0)
