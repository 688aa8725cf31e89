"""The built-in templates and their variants: language, truth, pairing, proofs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random
from statistics import fmean, stdev

import pytest

import thence
from thence.core.errors import DataError
from thence.tasks.templates.template import (
    Clause,
    built_in,
    draw_numbers,
    needed,
    operations,
    program,
    quantities,
    read_templates,
    render,
)
from thence.tasks.templates.variants import SAME_LAW, VARIANTS, applies, draw_original, outside, vary
from thence.tasks.wordproblems import ITEMS, NAMES, RELATIVES, WordProblem, render_solution

TEMPLATES = {t.name: t for t in built_in()}
INSTANCES = 2


def made(name: str, variant: str, instance: int = 0) -> WordProblem:
    seed = f"test-{name}-{instance}"
    draw = draw_original(TEMPLATES[name], Random(seed))
    return render(*vary(TEMPLATES[name], draw, variant, Random(seed + variant)), f"{name}-{instance:03d}")


@pytest.fixture(scope="module")
def every() -> dict[tuple[str, str, int], WordProblem]:
    """Several instances of every variant of every template."""
    return {
        (name, variant, i): made(name, variant, i)
        for name, template in TEMPLATES.items()
        for variant in VARIANTS
        if applies(template, variant)
        for i in range(INSTANCES)
    }


def numbers(text: str) -> Counter[str]:
    return Counter(re.findall(r"\d+", text))


def skeleton(text: str) -> str:
    for word in (*NAMES, *ITEMS, *RELATIVES):
        text = re.sub(rf"\b{word}\b", "_", text)
    return re.sub(r"\b\d+( times)?|\btwice\b", "N", text)


def pairs(every: dict[tuple[str, str, int], WordProblem], variant: str) -> list[tuple[WordProblem, WordProblem]]:
    found = [(every[n, "original", i], p) for (n, v, i), p in every.items() if v == variant]
    assert found
    return found


def test_there_are_at_least_sixty_different_templates() -> None:
    made_of = {re.sub(r"more|fewer|half", "R", skeleton(made(name, "original").question)) for name in TEMPLATES}
    programs = {
        (t.question.text, tuple(c.text for c in t.clauses), tuple(source for _, source, _ in t.states))
        for t in TEMPLATES.values()
    }
    assert len(TEMPLATES) >= 60
    assert len(programs) == len(TEMPLATES)
    assert len(made_of) >= 60


def test_every_instance_is_written_in_acorns_vocabulary(every: dict[tuple[str, str, int], WordProblem]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(thence.__file__).parent / "acorn" / "tokenizer.json"))
    unknown = tokenizer.token_to_id("[UNK]")
    for problem in every.values():
        text = problem.question + "\n" + render_solution(problem, "cot")
        encoded = tokenizer.encode(text)
        bad = [text[slice(*at)] for id, at in zip(encoded.ids, encoded.offsets, strict=True) if id == unknown]
        assert not bad, (problem.template, bad)


def test_the_answer_is_that_of_the_steps_calculated_anew(every: dict[tuple[str, str, int], WordProblem]) -> None:
    calculate = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: divmod(a, b)[0] if a % b == 0 else None,
    }
    for problem in every.values():
        known = numbers(problem.question)
        known["2"] += 1  # twice and half
        for step in problem.steps:
            a, b = step.operands
            assert str(calculate[step.op](int(a), int(b))) == step.result, problem
            assert a in known, problem
            assert b in known, problem
            known[step.result] += 1
        assert problem.steps[-1].result == problem.answer
        assert problem.level == len(problem.steps) >= 1


def test_every_number_of_an_original_is_used_by_its_steps(every: dict[tuple[str, str, int], WordProblem]) -> None:
    for (_, variant, _), problem in every.items():
        if variant != "original":
            continue
        used = Counter(x for step in problem.steps for x in step.operands)
        told = numbers(problem.question)
        told.pop("10", None) if problem.template == "minutes" else None  # "in 10 minutes" is a circumstance
        assert set(told) <= set(used), problem


def test_names_change_names_only(every: dict[tuple[str, str, int], WordProblem]) -> None:
    for original, varied in pairs(every, "names"):
        assert skeleton(varied.question) == skeleton(original.question)
        assert numbers(varied.question) == numbers(original.question)
        assert varied.answer == original.answer
        before, after = (re.findall("|".join(rf"\b{n}\b" for n in NAMES), p.question) for p in (original, varied))
        assert all(a != b for a, b in zip(before, after, strict=True))


def test_items_change_items_only(every: dict[tuple[str, str, int], WordProblem]) -> None:
    for original, varied in pairs(every, "items"):
        assert varied.question != original.question
        assert varied.answer == original.answer
        for word in NAMES:
            assert varied.question.count(word) == original.question.count(word)


def test_numbers_change_numbers_only(every: dict[tuple[str, str, int], WordProblem]) -> None:
    def hidden(text: str) -> str:
        return re.sub(r"twice|\d+ times|\d+", "N", text)

    for original, varied in pairs(every, "numbers"):
        assert varied.question != original.question
        assert hidden(varied.question.replace("half", "")) == hidden(original.question.replace("half", ""))


def test_both_changes_names_and_numbers(every: dict[tuple[str, str, int], WordProblem]) -> None:
    for original, varied in pairs(every, "both"):
        assert skeleton(varied.question) == skeleton(original.question)
        assert numbers(varied.question) != numbers(original.question) or "twice" in varied.question + original.question


def test_relations_keep_the_numbers_and_turn_the_operations(every: dict[tuple[str, str, int], WordProblem]) -> None:
    turned = {"+": "-", "-": "+", "*": "/", "/": "*"}
    for original, varied in pairs(every, "relations"):
        assert numbers(varied.question) == numbers(original.question)
        signs = [(a.op, b.op) for a, b in zip(original.steps, varied.steps, strict=True)]
        assert any(b == turned[a] for a, b in signs)
        assert all(b in (a, turned[a]) for a, b in signs)


def test_order_moves_sentences_and_nothing_else(every: dict[tuple[str, str, int], WordProblem]) -> None:
    for original, varied in pairs(every, "order"):
        before, after = (re.split(r"(?<=[.?]) ", p.question) for p in (original, varied))
        assert sorted(before) == sorted(after)
        assert before != after
        assert before[-1] == after[-1]
        assert [s for s in before if s.startswith("Then")] == [s for s in after if s.startswith("Then")]
        assert varied.steps == original.steps


def test_noop_adds_one_sentence_that_changes_no_step(every: dict[tuple[str, str, int], WordProblem]) -> None:
    for original, varied in pairs(every, "noop"):
        before, after = (Counter(re.split(r"(?<=[.?]) ", p.question)) for p in (original, varied))
        assert before - after == Counter()
        assert (after - before).total() == 1
        assert varied.steps == original.steps
        assert varied.answer == original.answer


def test_the_answer_does_not_move_with_the_number_of_a_noop_sentence() -> None:
    for template in TEMPLATES.values():
        if not applies(template, "noop"):
            continue
        rng = Random(template.name)
        changed, draw = vary(template, draw_original(template, rng), "noop", rng)
        extra = [v for v in draw_numbers(changed, rng) if v in ("x9", "k9")]
        values = set()
        for n in range(2, 30):
            moved = type(draw)(draw.words, {**draw.numbers, **dict.fromkeys(extra, n)}, draw.relations)
            found = quantities(changed, moved)
            if found is not None:
                values.add(found[changed.answer])
        assert len(values) == 1
        assert not needed(changed) & set(extra)


def test_a_sentence_that_the_answer_needs_is_refused_as_a_distraction() -> None:
    template = TEMPLATES["more-more"]
    outside(template, Clause("{H9} has {x9} {item}.", (("H9", "x9"),)))
    with pytest.raises(DataError, match="depends on B"):
        outside(template, template.clauses[1])


@pytest.mark.parametrize(("variant", "more"), [("m1", -1), ("p1", 1), ("p2", 2)])
def test_clauses_removed_and_added_change_the_operations_by_as_many(
    every: dict[tuple[str, str, int], WordProblem], variant: str, more: int
) -> None:
    for original, varied in pairs(every, variant):
        assert len(varied.steps) == len(original.steps) + more
        assert not varied.unneeded
        small, large = sorted((original, varied), key=lambda p: p.level)
        assert not numbers(small.question) - numbers(large.question), "the original's numbers stay"


def test_a_template_has_the_variants_it_can_have() -> None:
    assert not applies(TEMPLATES["more"], "m1"), "nothing to calculate would be left"
    assert not applies(TEMPLATES["sells"], "order"), "one sentence and an event"
    assert not applies(TEMPLATES["times"], "relations")
    assert not applies(TEMPLATES["relative-total"], "names")
    assert sum(applies(t, "p2") for t in TEMPLATES.values()) >= 50


@pytest.mark.parametrize("variant", SAME_LAW)
def test_same_law_variants_have_numbers_of_the_originals_law(variant: str) -> None:
    template = TEMPLATES["more-times-total" if variant != "relations" else "scale-more"]
    answers: list[tuple[int, int]] = []
    for i in range(150):
        draw = draw_original(template, Random(f"law-{i}"))
        varied = render(*vary(template, draw, variant, Random(f"law-{i}-{variant}")), "")
        answers.append((int(render(template, draw, "").answer), int(varied.answer)))
    differences = [a - b for a, b in answers]
    assert abs(fmean(differences)) <= 4 * max(stdev(differences), 1e-9) / len(differences) ** 0.5
    above = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    assert abs(above[0] - above[1]) <= 4 * max(1, sum(above)) ** 0.5


def test_programs_use_only_what_was_defined_before() -> None:
    for template in TEMPLATES.values():
        assert template.answer in needed(template)
        assert operations(template) == sum(
            q in needed(template) and not re.fullmatch(r"\w+", source) for q, source, _ in template.states
        )
        for _, source, _ in template.states:
            program(source)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{A} has {x} {item}. -> A = x", "begins with its name"),
        ("[a]\n{A} has {x} {item}. -> A = x", "no question"),
        ("[a]\n{A} has {x} {item}.\n? How many? -> A", "states no quantity"),
        ("[a]\n{A} has {x} {item}. -> A = x + B | s\n? How many? -> A", "B is used before"),
        ("[a]\n{A} has {x} {item}. -> A = x\n{A} has {y} {item}. -> A = y\n? How many? -> A", "defined twice"),
        ("[a]\n{A} has {x} {item}. -> A = x\n? How many? -> B", "nothing states B"),
        ("[a]\n{A} has {x} {item}. -> A = x + 1\n? How many? -> A", "no step in short"),
        ("[a]\n{A} has {x} {item}. -> A = x +\n? How many? -> A", "a value is missing"),
        ("[a]\n? How many? -> A = 1 + 1 | s\n[a]\n? How many? -> A = 1 + 1 | s", "two templates"),
    ],
)
def test_a_wrong_template_file_is_refused_with_the_template_and_the_reason(text: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read_templates(text)


def test_conditions_that_nothing_satisfies_are_an_error_and_no_endless_search() -> None:
    (template,) = read_templates("[never]\n{A} has {x} {item}. -> A = x\nwhere x > 100\n? How many? -> A")
    with pytest.raises(DataError, match="never"):
        draw_original(template, Random(0))
