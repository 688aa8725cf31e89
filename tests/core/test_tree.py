"""The tree: duplicates are merged and counted, paths render, records come back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from thence.core.answers import Answer
from thence.core.completion import Completion, Context, Finish, Origin
from thence.core.errors import DataError
from thence.core.problem import Message
from thence.core.scores import Meaning, Score
from thence.core.tree import Kind, Tree, as_found, render


def said(text: str, ids: tuple[int, ...] | None = None, finish: Finish = Finish.EOS) -> Completion:
    return Completion.of(text, finish, ids=ids, generated=len(text))


def test_equal_samples_are_one_node_with_every_draw_path() -> None:
    tree = Tree()
    first = tree.add(tree.root, said("a"), (0,))
    assert tree.add(tree.root, said("b"), (1,)) is not first
    assert tree.add(tree.root, said("a"), (2,)) is first
    assert (first.multiplicity, first.draws) == (2, [(0,), (2,)])
    assert len(tree) == 3


def test_what_differs_in_tokens_end_kind_role_or_parent_is_not_merged() -> None:
    tree = Tree()
    first = tree.add(tree.root, said("ab", (1, 2, 0)), (0,))
    others = [
        tree.add(tree.root, said("ab", (12, 0)), (1,)),
        tree.add(tree.root, said("ab", (1, 2, 0), Finish.LENGTH), (2,)),
        tree.add(tree.root, said("ab", (1, 2, 0)), (3,), kind=Kind.STEP),
        tree.add(tree.root, said("ab", (1, 2, 0)), (4,), role="critic"),
        tree.add(tree.root, said("ab", (1, 2, 0)), (0,), origin=Origin.GIVEN),
        tree.add(first, said("ab", (1, 2, 0)), (5,)),
    ]
    assert len({n.index for n in [first, *others]}) == 7


def test_a_merged_node_knows_what_any_of_its_draws_was_asked_for() -> None:
    tree = Tree()
    node = tree.add(tree.root, said("a", (1, 0)), (0,))
    tree.add(tree.root, replace(said("a", (1, 0)), logprobs=(-0.1, -0.2), top2=((-0.1, -3.0), (-0.2, -4.0))), (1,))
    tree.add(tree.root, said("a", (1, 0)), (2,))
    assert node.completion.logprobs == (-0.1, -0.2)
    assert node.completion.top2 == ((-0.1, -3.0), (-0.2, -4.0))


def test_asides_and_forced_text_are_never_merged() -> None:
    tree = Tree()
    critiques = [tree.add(tree.root, said("fine"), (i,), kind=Kind.CRITIQUE) for i in range(2)]
    forced = [tree.add(tree.root, said("Wait"), (i,), kind=Kind.FORCED, origin=Origin.FORCED) for i in range(2)]
    assert len({n.index for n in critiques + forced}) == 4


def test_a_path_is_rendered_with_its_own_tokens() -> None:
    tree = Tree()
    step = tree.add(tree.root, said("one\n", (1, 2), Finish.STOP), (0,), kind=Kind.STEP)
    forced = tree.add(step, said("Wait, "), (0, 0), kind=Kind.FORCED, origin=Origin.FORCED)
    end = tree.add(forced, said("two", (3, 0)), (0, 0, 0))
    base = Context((Message("user", "Count."),))
    read = render(base, tree.path(end))
    assert [(s.text, s.ids, s.origin) for s in read.reply] == [
        ("one\n", None, Origin.SAMPLED),
        ("Wait, ", None, Origin.FORCED),
        ("two", (3,), Origin.SAMPLED),
    ]
    assert tree.solution(end) == "one\nWait, two"
    assert tree.children(step) == [forced]
    assert tree.path(tree.root) == []


def test_probes_are_no_solution_text() -> None:
    tree = Tree()
    end = tree.add(tree.root, said("It is 4."), (0,))
    probe = tree.add(end, said(" 4"), (0, 0), kind=Kind.PROBE)
    assert tree.solution(probe) == "It is 4."


def test_an_answer_is_placed_in_the_whole_text() -> None:
    tree = Tree()
    text = "<think>5?</think>\n#### 4"
    node = tree.add(tree.root, replace(said(text), ends=(7, 9, 17, 18, 22, 24, 24)), (0,))
    found = as_found(Answer("4", 5, 6), node)
    assert text[found.start : found.end] == "4"
    assert found.tokens == (5, 6)
    span = tree.answer_span(found)
    assert span is not None
    assert (span[0] is node.completion, span[1]) == (True, slice(5, 6))
    assert tree.answer_span(as_found(Answer("4", 0, 0), node)) is None


def test_a_record_comes_back() -> None:
    tree = Tree()
    step = tree.add(tree.root, said("<think>h</think>a\n", finish=Finish.STOP), (0,), kind=Kind.STEP)
    end = tree.add(step, replace(said("#### 4"), logprobs=(-0.5, -0.25)), (0, 0))
    tree.add(step, said("#### 4"), (0, 1))
    aside = tree.add(tree.root, replace(said("7/10"), generated=None), (0,), kind=Kind.CRITIQUE, about=[end])
    end.found, end.read = as_found(Answer("4", 5, 6), end), True
    end.scores["judge"] = Score(0.7, (0.9, 0.7), Meaning.VALUE)
    rows = json.loads(json.dumps(tree.record()))
    again = Tree.from_record(rows)
    assert again.record() == [{k: v for k, v in row.items() if k != "logprob"} for row in rows]
    assert again.nodes[step.index].completion.reply == "a\n"
    assert again.nodes[end.index].found == end.found
    assert again.nodes[aside.index].about == (end.index,)
    assert again.nodes[aside.index].completion.generated is None


@pytest.mark.parametrize("broken", [{}, {"text": "a", "finish": "sideways", "tokens": 1}])
def test_a_damaged_record_is_a_data_error(broken: dict[str, object]) -> None:
    with pytest.raises(DataError, match="stored tree"):
        Tree.from_record([broken])
