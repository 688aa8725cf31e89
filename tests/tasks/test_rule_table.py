"""The rule table: what the question leaves out stands in one document, and only there."""

from __future__ import annotations

import re
from random import Random

import pytest

from thence.annotate.exact import truth_of
from thence.core.errors import UsageError
from thence.prompts.retrieval import Passage, Shelf
from thence.tasks.rule_table import HOSTS, RuleTable, beside, draw_rule, draw_table
from thence.tasks.word_families import RuleTableTask
from thence.tasks.wordproblems import ITEMS, StepTruth, check_steps, question_split, render_solution

VISIT = re.compile(r"Then (\w+) visits (\w+)\. How many (\w+) does \1 have now\?$")


def visit(question: str) -> tuple[str, str, str]:
    """Who visits whom, with what; fails where the question does not end so."""
    found = VISIT.search(question)
    assert found is not None
    return found[1], found[2], found[3]


@pytest.fixture(scope="module")
def table() -> RuleTable:
    return RuleTable(level=2, size=200)


def test_the_last_step_is_the_rule_of_the_host_for_the_thing(table: RuleTable) -> None:
    signs = set()
    for problem in table.items():
        visitor, host, item = visit(problem.question)
        rule, last = table.rules[host, item], problem.steps[-1]
        value = int(last.operands[0])
        right = {"+": value + rule.amount, "-": value - rule.amount, "*": value * rule.amount}[rule.sign]
        assert problem.answer == last.result == str(right)
        assert (last.entity, last.op, last.operands[1]) == (visitor, rule.sign, str(rule.amount))
        assert len(problem.steps) == problem.level == 2
        assert problem.steps[0].result == str(value)
        assert question_split(problem.question) == "test"
        assert all(c.truth is StepTruth.CORRECT for c in check_steps(problem, render_solution(problem, "cot")))
        signs.add(rule.sign)
    assert signs == {"+", "-", "*"}


def test_the_question_says_nothing_of_its_rule(table: RuleTable) -> None:
    """The same questions have other answers under another table."""
    other = draw_table(1)
    same = 0
    for problem in table.items():
        visitor, host, item = visit(problem.question)
        before = int(problem.steps[-1].operands[0])
        same += other[host, item].step(visitor, before).result == problem.answer
    assert same < 0.15 * len(table.items())


def test_documents_hold_each_rule_once_and_a_miss_holds_none_that_is_asked_for(table: RuleTable) -> None:
    every, missed = table.documents(), table.documents(visited=False)
    assert len(every) == len(set(every)) == len(HOSTS) * len(ITEMS)
    assert len(missed) == len(every) // 2
    assert set(missed) < set(every)
    asked = {visit(p.question)[1] for p in table.items()}
    assert asked <= set(table.visited)
    assert not {text.split()[0] for text in missed} & asked


def test_retrieval_finds_the_rule_by_host_and_thing(table: RuleTable) -> None:
    pytest.importorskip("bm25s")
    shelf = Shelf("rules", [Passage(text, text) for text in table.documents()])
    for problem in table.items()[:50]:
        _, host, item = visit(problem.question)
        assert table.rules[host, item].text in [hit.passage.text for hit in shelf.find(problem.question, 3).hits]


def test_a_rule_is_shown_among_others_and_no_host_has_two_rules_for_one_thing() -> None:
    rng, sizes, places = Random(0), set(), set()
    for _ in range(300):
        rule = draw_rule(rng, "Page", "pens")
        shown = beside(rng, rule)
        assert shown.count(rule) == 1
        assert len({(r.host, r.item) for r in shown}) == len(shown)
        sizes.add(len(shown))
        places.add((len(shown), shown.index(rule)))
    assert sizes == {1, 2, 3, 4}
    assert len(places) == 1 + 2 + 3 + 4


def test_the_task_has_exact_steps_and_writes_only_its_own_arguments() -> None:
    assert RuleTableTask().spec == "rule-table"
    assert RuleTableTask(level=3, data_seed=2).spec == "rule-table(level=3, data_seed=2)"
    assert truth_of(RuleTableTask(size=5)) is not None
    assert list(RuleTableTask(size=20).problems())[:10] == list(RuleTableTask(size=10).problems())
    assert RuleTableTask(data_seed=1, size=5).data_hash != RuleTableTask(size=5).data_hash
    for level, split, size in ((0, "test", 5), (2, "all", 5), (2, "test", 0)):
        with pytest.raises(UsageError, match="rule-table: "):
            RuleTableTask(level=level, split=split, size=size)
