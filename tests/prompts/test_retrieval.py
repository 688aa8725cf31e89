"""Retrieval: masks, BM25 against its formula, near-duplicates, controls, what the model reads, notes."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from thence.core.errors import UsageError
from thence.core.problem import Message, Problem
from thence.core.solve import solve
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.recall import StepBack
from thence.prompts.retrieval import Asked, Passage, Retrieve, Shelf, covered, masked, near_duplicate, numbers, runs
from thence.prompts.styles import Bare, ChainOfThought, ZeroShotCoT
from thence.strategies.greedy import Greedy

needs_bm25s = pytest.mark.skipif(importlib.util.find_spec("bm25s") is None, reason="bm25s is not installed")

TWICE = "Ann has 5 apples. Tom has 3 more apples than Ann. Sam has twice as many apples as Tom. How many has Sam?"
PARTS = "Mary cuts 12 ropes into 4 parts each. She gives 6 parts to Kim. How many parts does Mary keep?"
FEWER = "Ivan has 58 plums. Emil has 26 fewer plums than Ivan. How many plums does Emil have?"
SOLVED = [
    Passage("a.jsonl line 1", TWICE, "5+3=8, 2*8=16\n#### 16"),
    Passage("a.jsonl line 2", PARTS, "12*4=48, 48-6=42\n#### 42"),
    Passage("a.jsonl line 3", FEWER, "58-26=32\n#### 32"),
]
OTHER_STORY = Problem("q", "Eva has 9 books. Omar has 2 more books than Eva. Rosa has twice as many books as Omar.")
PASSAGES = [
    Passage("notes.md line 1", "The sign # between two numbers means their product plus one."),
    Passage("notes.md line 3", "Boyle: at constant temperature pressure times volume stays the same."),
    Passage("notes.md line 5", "The Danube flows through Vienna and Budapest."),
]


def test_names_numbers_and_counted_things_are_masked_and_operations_stay() -> None:
    wanted = "<name> has <n> more <thing> than <name>"
    assert " ".join(masked("Tom has 3 more apples than Ann.")) == wanted
    assert " ".join(masked("Omar has twelve more cups than Eva.")) == wanted
    assert masked("The baker sells 1,250.5 rolls.") == ["the", "baker", "sells", "<n>", "<thing>"]
    assert masked("Rolls cost 2 dollars.", known={"rolls"})[0] == "rolls"
    assert masked("Mary buys 3 times more.")[2:4] == ["<n>", "times"]
    assert numbers("1,250 or 3.5. Then 3") == ["1250", "3", "3.5"]
    assert masked("") == []


def test_runs_are_all_pieces_of_one_to_three_words() -> None:
    assert runs(["a", "b", "c", "d"]) == ["a", "b", "c", "d", "a b", "b c", "c d", "a b c", "b c d"]
    assert covered(["a", "b", "c", "d"], ["x", "a", "b", "c"]) == 0.5
    assert covered(["a"], ["b", "a"]) == 1.0
    assert covered([], ["a"]) == 0.0


def test_a_copy_a_retold_copy_and_a_text_around_it_are_near_duplicates_and_other_numbers_are_not() -> None:
    retold = "Eva has 5 cups. Bob has 3 more cups than Eva. Jim has twice as many cups as Bob. How many has Jim?"
    assert near_duplicate(TWICE, TWICE.upper())
    assert near_duplicate(TWICE, retold)
    assert near_duplicate(TWICE, f"Quiz of the week. {TWICE} The answer is 16.")
    assert not near_duplicate(TWICE, retold.replace("5", "6"))
    assert not near_duplicate(TWICE, FEWER)
    assert near_duplicate(f"{PARTS} Explain.", PARTS)


@needs_bm25s
def test_scores_are_those_of_the_formula() -> None:
    shelf = Shelf("a.jsonl", SOLVED)
    texts = [Counter(shelf.terms(p.text)) for p in SOLVED]
    mean = sum(c.total() for c in texts) / len(texts)
    wanted = []
    for counts in texts:
        score = 0.0
        for term in shelf.terms(OTHER_STORY.text):
            holding = sum(term in c for c in texts)
            if holding:
                idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
                tf = counts[term]
                score += idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * counts.total() / mean))
        wanted.append(score)
    found = shelf.find(OTHER_STORY.text, 3)
    got = {hit.passage.source: hit.score for hit in found.hits}
    for passage, score in zip(SOLVED, wanted, strict=True):
        assert got[passage.source] == pytest.approx(score, rel=1e-5)
    assert list(got) == sorted(got, key=lambda source: -(got[source] or 0))


@needs_bm25s
def test_solved_problems_are_matched_by_operations_and_passages_by_words() -> None:
    shelf = Shelf("a.jsonl", SOLVED)
    assert shelf.find(OTHER_STORY.text, 1).hits[0].passage.source == "a.jsonl line 1"
    about_plums = "Zoe has 4 plums. Ida has 7 more plums than Zoe. Lia has twice as many plums as Ida."
    assert shelf.find(about_plums, 1).hits[0].passage.source == "a.jsonl line 1"  # and not the other one with plums
    texts = Shelf("notes", PASSAGES)
    assert not texts.solved
    assert texts.find("Which river flows through Vienna?", 1).hits[0].passage.source == "notes.md line 5"
    assert texts.find("What is 3 # 4?", 1).hits[0].passage.source in ("notes.md line 1",)
    assert texts.find("zzz qqq", 2).hits == ()


@needs_bm25s
def test_the_counts_of_a_question_find_no_passage_and_its_years_do() -> None:
    rules = [f"Rule {i}: {host} gives {i} coins to each person." for i, host in enumerate(("Ada", "Bob", "Eric"), 30)]
    rules += ["The fair of 1969 was in Vienna.", "The fair of 1970 was in Graz."]
    shelf = Shelf("rules", [Passage(f"line {i}", text) for i, text in enumerate(rules)])
    asked = "Tom has 30 coins and 31 pens. Then Tom visits Eric. How many coins does Tom have?"
    assert shelf.find(asked, 1).hits[0].passage.source == "line 2"
    assert shelf.find("Where was the fair of 1970?", 1).hits[0].passage.source == "line 4"
    assert shelf.find("30 and 3.5", 3).hits == ()


@needs_bm25s
def test_near_duplicates_are_left_out_and_counted_in_both_arms() -> None:
    shelf = Shelf("a.jsonl", SOLVED)
    found = shelf.find(TWICE, 3)
    assert found.duplicates == ("a.jsonl line 1",)
    assert "a.jsonl line 1" not in {h.passage.source for h in found.hits}
    for seed in range(10):
        assert "a.jsonl line 1" not in {h.passage.source for h in shelf.others(TWICE, 3, seed).hits}
    notes = Retrieve(shelf, Bare()).notes(Problem("p", TWICE))
    assert notes[-1] == "left out as near-duplicate of the question: 1"


@needs_bm25s
def test_the_random_control_shows_as_many_and_none_of_those_retrieved() -> None:
    many = [Passage(f"line {i}", f"{name} has {i} pens and gives {i % 7} away.", f"#### {i}") for i, name in
            enumerate(["Ann", "Tom", "Eva", "Ivan", "Omar", "Rosa"] * 8, 20)]  # fmt: skip
    shelf = Shelf("many", many)
    problem = Problem("p", "Kim has 9 cups and gives 4 away. How many are left?")
    hit, control = Retrieve(shelf, Bare(), k=3), Retrieve(shelf, Bare(), k=3, control="random")
    shown, drawn = ({h.passage.source for h in s.found(problem).hits} for s in (hit, control))
    assert len(shown) == len(drawn) == 3
    assert not shown & drawn
    assert control.found(problem) == control.found(problem)
    others = [{h.passage.source for h in control.found(Problem("x", f"Kim has {i} cups.")).hits} for i in range(8)]
    assert len(set(map(frozenset, others))) > 4  # drawn by the question, not once for all


@needs_bm25s
def test_solved_problems_are_earlier_turns_best_last_and_the_rest_is_the_inner_style() -> None:
    problem = Problem("p", (Message("system", "Be brief."), *OTHER_STORY.messages))
    shelf = Shelf("a.jsonl", SOLVED)
    plain = ZeroShotCoT().context(problem)
    context = Retrieve(shelf, ZeroShotCoT(), k=2).context(problem)
    assert [m.role for m in context.messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert context.messages[3].content == TWICE
    assert context.messages[4].content.endswith("#### 16")
    assert context.messages[-1] == plain.messages[-1]
    assert context.reply == plain.reply
    style = Retrieve(shelf, ZeroShotCoT(), k=2)
    assert (style.needs, style.followup, style.stop, style.cap) == (
        ZeroShotCoT().needs,
        ZeroShotCoT().followup,
        (),
        None,
    )
    orders = style.variants(problem, 5)
    assert orders[0] == context.messages
    assert len(set(orders)) == len(orders) == 2


@needs_bm25s
def test_passages_stand_above_the_question_and_nothing_found_is_the_plain_prompt() -> None:
    style = Retrieve(Shelf("notes", PASSAGES), ChainOfThought(), k=1)
    problem = Problem("p", "Which river flows through Vienna?")
    (message,) = style.context(problem).messages
    assert message.content.index("[1] The Danube") < message.content.index(problem.text)
    assert message.content.endswith(ChainOfThought().instruction)
    nothing = Problem("n", "zzz qqq")
    assert style.context(nothing) == ChainOfThought().context(nothing)
    assert style.notes(nothing) == ("retrieved: nothing found in notes",)
    assert style.variants(nothing, 3) == [ChainOfThought().context(nothing).messages]


@needs_bm25s
async def test_a_result_cites_its_sources_and_pays_for_the_longer_prompt() -> None:
    def echo(cue: Cue) -> str:
        return "#### 22" if len(cue.messages) > 1 else "#### 0"

    runs_ = [
        await solve(
            OTHER_STORY,
            generator=ScriptedGenerator(write=echo),
            strategy=Greedy(),
            style=style,
            reading=NumericReading(),
        )
        for style in (Bare(), Retrieve(Shelf("a.jsonl", SOLVED), Bare(), k=2))
    ]
    plain, told = runs_
    assert (plain.answer, told.answer) == ("0", "22")
    assert told.notes[0].startswith("retrieved: a.jsonl line 1 (")
    assert plain.notes == ()
    shown = sum(len(f"{p.text} {p.solution}".split()) for p in SOLVED if p.source in told.notes[0])
    assert told.ledger.total_charged.prompt is not None
    assert plain.ledger.total_charged.prompt is not None
    assert told.ledger.total_charged.prompt - plain.ledger.total_charged.prompt >= shown


@needs_bm25s
def test_the_hash_is_that_of_the_texts_and_not_of_where_they_lie() -> None:
    moved = [Passage("elsewhere", p.text, p.solution) for p in SOLVED]
    changed = [*SOLVED[:2], Passage("a.jsonl line 3", FEWER, "#### 33")]
    assert Shelf("x", SOLVED).data_hash == Shelf("y", moved).data_hash != Shelf("x", changed).data_hash
    assert Retrieve(Shelf("x", SOLVED), Bare()).data_hash == Shelf("x", SOLVED).data_hash


def test_a_function_of_the_users_own_is_asked_once_and_its_failures_are_told() -> None:
    calls: list[str] = []

    def find(question: str, k: int) -> Sequence[Any]:
        calls.append(question)
        return ["Pens are blue.", {"question": FEWER, "solution": "#### 32", "source": "mine:7", "score": 2}, TWICE]

    style = Retrieve(Asked("my:find", find), Bare(), k=2)
    problem = Problem("p", TWICE)
    context = style.context(problem)
    assert style.notes(problem) == (
        "retrieved: my:find no. 1; mine:7 (2.0)",
        "left out as near-duplicate of the question: 1",
    )
    assert calls == [TWICE]
    assert [m.role for m in context.messages] == ["user", "assistant", "user"]
    assert len(style.data_hash) == len(Asked("x", find).data_hash)
    for bad in (lambda q, k: [3], lambda q, k: 1 / 0, lambda q, k: [{"solution": "4"}]):
        with pytest.raises(UsageError, match=r"the retriever my:bad failed .* takes \(question, k\)"):
            Asked("my:bad", bad).find("q", 1)
    with pytest.raises(UsageError, match="control=random needs a file or a folder"):
        Retrieve(Asked("my:find", find), Bare(), control="random")


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked("my:find", lambda q, k: [])
    with pytest.raises(UsageError, match="k is 0"):
        Retrieve(asked, Bare(), k=0)
    with pytest.raises(UsageError, match="step-back asks the model twice"):
        Retrieve(asked, StepBack())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "thence\[retrieve\]"'):
        Shelf("a.jsonl", SOLVED)
