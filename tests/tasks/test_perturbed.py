"""The task ``perturbed``: ids that pair variants, stable instances, honest arguments."""

from __future__ import annotations

import pytest

from thence import methods
from thence.core.answers import Verdict
from thence.core.errors import UsageError
from thence.core.protocols import NamesReferences
from thence.grading.grade import grade
from thence.tasks.perturbed import Perturbed, template_of
from thence.tasks.templates.variants import VARIANTS


def test_the_spec_makes_the_same_task_again() -> None:
    for text in ("perturbed", "perturbed(variant=p1, instances=1, data_seed=3)"):
        task = methods.task(text)
        assert task.spec == text
        assert methods.task(task.spec).data_hash == task.data_hash


def test_variants_share_ids_with_the_originals() -> None:
    originals = Perturbed(instances=2, data_seed=4)
    ids = [p.id for p in originals.problems()]
    assert len(set(ids)) == len(ids) == 2 * len({i.template for i in originals.items.values()})
    for variant in VARIANTS:
        varied = originals.of(variant)
        assert {p.id for p in varied.problems()} <= set(ids)
        assert all(template_of(i) == item.template for i, item in varied.items.items())


def test_more_instances_and_another_variant_change_nothing_that_is_there() -> None:
    few, many = Perturbed("both", instances=1).items, Perturbed("both", instances=2).items
    assert {i: x.question for i, x in few.items()} == {i: many[i].question for i in few}
    assert Perturbed(instances=1, data_seed=1).data_hash != Perturbed(instances=1).data_hash


def test_answers_are_graded_by_the_template_and_references_grade_themselves() -> None:
    task = Perturbed(instances=1)
    assert task.check_references() == []
    problem = task.problems()[0]
    gold = task.items[problem.id].answer
    assert task.grade(problem, "", gold).correct
    assert task.grade(problem, "", str(int(gold) + 1)).verdict is Verdict.INCORRECT
    found = task.reading.extract(task.items[problem.id].solution)
    assert found is not None
    assert found.value == gold


@pytest.mark.parametrize(
    "text", ["perturbed(variant=nmaes)", "perturbed(instances=0)", "perturbed(skip=0001)", "perturbed(size=3)"]
)
def test_wrong_arguments_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        methods.task(text)


def test_an_id_without_an_instance_is_its_own_template() -> None:
    assert [template_of(i) for i in ("more-times-003", "gsm8k-test-0001", "q7", "a-b")] == [
        "more-times", "gsm8k-test", "q7", "a-b"
    ]  # fmt: skip


@pytest.mark.parametrize("variant", ["original", "numbers"])
def test_the_reference_of_every_problem_is_right_by_the_task_and_by_a_plain_grader(variant: str) -> None:
    task = methods.task(f"perturbed(instances=1, variant={variant})")
    assert isinstance(task, NamesReferences)
    for problem in task.problems():
        gold = task.reference(problem)
        assert gold is not None
        assert task.grade(problem, f"#### {gold}", gold).correct
        assert grade(gold, f"So it is #### {gold}").correct
