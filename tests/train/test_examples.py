"""What is asked of each token, what is masked, what is left out and counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from labelled import QUESTION, digit_problems, record

from thence.core.errors import DataError, ModelError
from thence.core.labels import Alternative, Label, Labelled, Source
from thence.core.scores import Meaning
from thence.train import examples as ex
from thence.train.examples import Writer
from thence.verifiers.formats import FORMATS
from tiny_models import word_tokenizer

WORDS = word_tokenizer()
WORDS.add_tokens(["Yes", " Yes", "No", " No"])
STEPS = (" Tom has 3\n", " Ann has 4\n", " so 7")


def writer(fmt: str = "plain", tokenizer: Any = WORDS, **more: Any) -> Writer:
    return Writer(FORMATS[fmt], tokenizer, **more)


def text(ids: Any) -> str:
    return str(WORDS.decode(list(ids)))


# ------------------------------------------------------------------------------------------------------ step labels


def test_a_number_is_asked_at_each_labelled_steps_last_token_and_nowhere_else() -> None:
    [example] = ex.step_examples([record(STEPS, (1.0, 0.25, 0.0), False)], writer(), Meaning.VALUE)
    prefixes = [text(example.ids[: t + 1]) for t in example.reads]
    prompt = f"Q: {QUESTION}\nA:"
    assert prefixes == [prompt + "".join(STEPS[:k]) for k in (1, 2, 3)]
    assert [example.targets[t] for t in example.reads] == [1.0, 0.25, 0.0]
    assert not any(example.words)


def test_the_shared_format_asks_one_token_earlier() -> None:
    labels = record(STEPS, (1.0, 0.25, 0.0), False)
    [late], [early] = (ex.step_examples([labels], writer(fmt), Meaning.VALUE) for fmt in ("plain", "shared"))
    # Of a solution that ended the last state is the one its end was drawn from, which is the last token's own.
    assert early.reads == (late.reads[0] - 1, late.reads[1] - 1, late.reads[2])
    assert early.ids == (*late.ids, WORDS.eos_token_id)
    unfinished = record(STEPS, (1.0, 0.25, 0.0), None)
    [begun] = ex.step_examples([unfinished], writer("shared"), Meaning.VALUE)
    assert begun.reads == tuple(t - 1 for t in late.reads)
    assert begun.ids == late.ids


def test_hard_labels_are_one_for_every_number_above_zero() -> None:
    [example] = ex.step_examples([record(STEPS, (1.0, 0.125, 0.0), False)], writer(), Meaning.VALUE, hard=True)
    assert [example.targets[t] for t in example.reads] == [1.0, 1.0, 0.0]


def test_an_unlabelled_step_is_masked_and_never_zero() -> None:
    [example] = ex.step_examples([record(STEPS, (1.0, None, 0.5), None)], writer(), Meaning.VALUE)
    [whole] = ex.step_examples([record(STEPS, (1.0, 0.0, 0.5), None)], writer(), Meaning.VALUE)
    assert example.reads == (whole.reads[0], whole.reads[2])
    assert example.weights[whole.reads[1]] == 0


def test_what_follows_the_first_error_can_be_masked() -> None:
    labels = record((*STEPS[:2], " so 9\n", " then 9"), (0.5, 0.0, 0.0, 1.0), False)
    [masked] = ex.step_examples([labels], writer(), Meaning.VALUE, mask_after_error=True)
    [whole] = ex.step_examples([labels], writer(), Meaning.VALUE)
    assert masked.reads == whole.reads[:2]


def test_the_verdict_is_the_value_of_an_unlabelled_last_step() -> None:
    [example] = ex.step_examples([record(STEPS, (0.5, None, None), True)], writer(), Meaning.VALUE)
    assert [example.targets[t] for t in example.reads] == [0.5, 1.0]
    valid = record(STEPS, (0.5, None, None), True, meaning=Meaning.PREFIX_VALID)
    [other] = ex.step_examples([valid], writer(), Meaning.PREFIX_VALID)
    assert len(other.reads) == 1  # a right answer says nothing of the steps' validity


def test_a_labels_weight_is_kept_and_a_weight_of_zero_masks() -> None:
    first, second = (Label(Meaning.VALUE, y, Source.EXACT, weight=w) for y, w in ((1.0, 0.25), (0.0, 0.0)))
    ends = (len(STEPS[0]), len(STEPS[0] + STEPS[1]))
    made = Labelled("p", "".join(STEPS[:2]), ends, ((first,), (second,)), None, {"question": QUESTION})
    [example] = ex.step_examples([made], writer(), Meaning.VALUE)
    assert [example.weights[t] for t in example.reads] == [0.25]


def test_text_after_the_last_step_belongs_to_it() -> None:
    [example] = ex.step_examples([record(STEPS, (1.0, 1.0, 1.0), True, tail=" .")], writer(), Meaning.VALUE)
    assert example.reads[-1] == len(example.ids) - 1
    assert text(example.ids).endswith(" so 7 .")


def test_a_rated_alternative_is_an_example_of_its_own_with_one_label() -> None:
    valid = Meaning.STEP_CORRECT
    good, bad = (Label(valid, x, Source.HUMAN) for x in (1.0, 0.0))
    rated = replace(
        record(STEPS, (1.0, 1.0, 1.0), None, meaning=valid),
        alternatives=((), (Alternative(" Ann has 5\n", (bad,)), Alternative(" so 4\n", (good,))), ()),
    )
    own, wrong, right = ex.step_examples(ex.with_alternatives(rated), writer(), valid)
    assert len(own.reads) == 3
    assert text(wrong.ids).endswith("A: Tom has 3\n Ann has 5\n")
    assert [wrong.targets[t] for t in wrong.reads] == [0.0]
    assert wrong.reads[0] == len(wrong.ids) - 1
    assert [right.targets[t] for t in right.reads] == [1.0]


def test_labels_of_another_meaning_are_an_error_that_names_those_there_are() -> None:
    with pytest.raises(DataError, match=r"label of step_correct \(1 solutions; labels there: value"):
        ex.step_examples([record(STEPS, (1.0, 1.0, 1.0), True)], writer(), Meaning.STEP_CORRECT)


def test_only_one_class_is_an_error() -> None:
    with pytest.raises(DataError, match=r"all labels of the training set are 1\.0"):
        ex.check_classes({1.0})
    ex.check_classes({1.0, 0.5})


# ----------------------------------------------------------------------------------------------------- what is left out


def test_longer_than_the_context_is_counted_and_skipped() -> None:
    short, long = record(STEPS, (1.0, 1.0, 1.0), True), record((*STEPS, " and 7" * 40), (1.0, 1.0, 1.0, 1.0), True)
    w = writer(context=60)
    assert len(ex.step_examples([short, long], w, Meaning.VALUE)) == 1
    assert w.counts == Counter({"longer than the context": 1})


def test_empty_steps_and_empty_texts_are_counted() -> None:
    w = writer()
    kept = record(STEPS, (1.0, 1.0, 1.0), True)
    blank, nothing = record((" so 7", " "), (1.0, 1.0), True), record((), (), True)
    assert len(ex.outcome_examples([kept, blank, nothing], w)) == 1
    assert w.counts == Counter({"with an empty step": 1, "without steps": 1})


def test_a_question_comes_from_the_record_or_from_the_task() -> None:
    bare = record(STEPS, (1.0, 1.0, 1.0), True, question=None)
    with pytest.raises(DataError, match=r"problem p has no question.*--task"):
        ex.outcome_examples([bare], writer())
    [example] = ex.outcome_examples([bare], writer(question_of={"p": "how many ?"}.get))
    assert text(example.ids).startswith("Q: how many ?\nA:")


def test_the_instruction_stands_below_the_question() -> None:
    [example] = ex.outcome_examples([record(STEPS, (1.0, 1.0, 1.0), True)], writer(instruction="give total"))
    assert text(example.ids).startswith(f"Q: {QUESTION}\ngive total\nA: Tom")


def test_an_end_of_text_is_there_only_if_the_sample_had_it() -> None:
    end = WORDS.eos_token_id
    without, said, written = (
        record(STEPS, (1.0, 1.0, 1.0), True),
        record(STEPS, (1.0, 1.0, 1.0), True, finish="eos"),
        record(STEPS, (1.0, 1.0, 1.0), True, tail="<eos>"),
    )
    ids = [ex.solution_examples([r], writer("reply"))[0].ids for r in (without, said, written)]
    assert [i.count(end) for i in ids] == [0, 1, 1]
    assert ids[1] == ids[2] == (*ids[0], end)


def test_padding_that_is_the_end_of_text_costs_no_token() -> None:
    """A tokenizer whose padding is its end-of-text: the end still counts, since weights say what counts."""
    tokenizer = word_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    [example] = ex.solution_examples([record(STEPS, (1.0,) * 3, True, finish="eos")], writer("reply", tokenizer))
    assert example.ids[-1] == tokenizer.pad_token_id
    assert example.words[-1] == 1.0


def test_equal_solutions_count_once_and_problems_stay_on_one_side() -> None:
    w = writer()
    records = digit_problems(60)
    again = [*records, *records[:5]]
    unique = ex.distinct(again, w)
    assert unique == records
    assert w.counts["duplicates"] == 5
    train, dev = ex.split(unique, w, 0.25, seed=3)
    assert {r.problem for r in train}.isdisjoint({r.problem for r in dev})
    assert len(train) + len(dev) == len(records)
    assert 0.1 < len(dev) / len(records) < 0.4
    assert ex.split(unique, w, 0.25, seed=3) == (train, dev)
    assert ex.split(unique, w, 0.25, seed=4) != (train, dev)
    renamed = [record(r.steps, (1.0,) * 3, r.correct, problem="x", question=r.extra["question"]) for r in train]
    assert not ex.split(renamed, w, 0.25, seed=3)[1]  # the question decides, not the id


# ---------------------------------------------------------------------------------------------------------- outcomes


def test_an_orm_learns_the_verdict_at_every_token_of_the_solution_and_none_of_the_question() -> None:
    right, wrong = ex.outcome_examples(
        [record(STEPS, (None,) * 3, True), record((*STEPS[:2], " so 9"), (None,) * 3, False)], writer()
    )
    prompt = len(WORDS(f"Q: {QUESTION}\nA:")["input_ids"])
    assert right.reads == tuple(range(prompt, len(right.ids)))
    assert {right.targets[t] for t in right.reads} == {1.0}
    assert {wrong.targets[t] for t in wrong.reads} == {0.0}
    assert sum(right.weights) == pytest.approx(1)
    assert not any(right.words[:prompt])
    assert sum(right.words) == pytest.approx(1)
    assert not any(wrong.words)  # the language-model loss is of right solutions


def test_solutions_without_a_verdict_are_counted_and_none_at_all_is_an_error() -> None:
    w = writer()
    made = ex.outcome_examples([record(STEPS, (None,) * 3, None), record(STEPS, (None,) * 3, True)], w)
    assert len(made) == 1
    assert w.counts["without a verdict"] == 1
    with pytest.raises(DataError, match="no usable solution has a verdict"):
        ex.outcome_examples([record(STEPS, (None,) * 3, None)], writer())


# ------------------------------------------------------------------------------------------------------------- pairs


def test_pairs_never_cross_problems_and_are_capped_by_seed() -> None:
    records = []
    for p in range(4):
        for k in range(5):
            for right in (True, False):
                steps = (f" Tom has {k}\n", f" so {k + (0 if right else 1)} in total" + " ." * p)
                records.append(record(steps, (None, None), right, problem=f"q{p}", question=f"how many {p} ?"))
    pairs = ex.pair_examples(records, writer(), cap=8, seed=0)
    assert Counter(p.chosen.problem for p in pairs) == {f"q{p}": 8 for p in range(4)}
    assert all(p.chosen.problem == p.rejected.problem and p.chosen.right and not p.rejected.right for p in pairs)
    assert len({(p.chosen.ids, p.rejected.ids) for p in pairs}) == len(pairs)
    assert pairs == ex.pair_examples(records, writer(), cap=8, seed=0)
    assert pairs != ex.pair_examples(records, writer(), cap=8, seed=1)
    assert len(ex.pair_examples(records, writer(), cap=100)) == 4 * 25


def test_problems_of_one_kind_and_equal_answers_give_no_pairs_and_are_counted() -> None:
    w = writer()
    records = [
        record((" so 7",), (None,), True, problem="a", question="a ?", answer="7"),
        record((" so 8",), (None,), False, problem="a", question="a ?", answer="8"),
        record((" so 7 .",), (None,), False, problem="a", question="a ?", answer="7"),
        record((" so 1",), (None,), True, problem="b", question="b ?"),
        record((" so 2",), (None,), False, problem="c", question="c ?"),
    ]
    assert len(ex.pair_examples(records, w)) == 1
    assert w.counts == Counter({"pairs with equal answers": 1, "problems all right": 1, "problems all wrong": 1})
    with pytest.raises(DataError, match="no pairs: no problem has both a right and a wrong solution"):
        ex.pair_examples(records[3:], writer())


def test_only_a_solutions_own_tokens_count_in_its_log_prob() -> None:
    [pair] = ex.pair_examples(digit_problems(1), writer())
    for side in (pair.chosen, pair.rejected):
        prompt = next(t for t, w in enumerate(side.words) if w)
        assert text(side.ids[:prompt]).endswith("A:")
        assert set(side.words[prompt:]) == {1.0}


# ----------------------------------------------------------------------------------------------- verdicts and critiques


def test_a_generative_verifier_learns_the_verdict_token_alone_and_both_verdicts_alike() -> None:
    records = [record((f" so {k}",), (None,), k == 7, question="how many ?") for k in range(8)]
    made = ex.verdict_examples(records, writer("genrm"))
    assert all([t for t, w in enumerate(e.words) if w] == [len(e.ids) - 1] for e in made)
    assert {text(e.ids[-1:]) for e in made if e.right} == {" Yes"}
    assert {text(e.ids[-1:]) for e in made if not e.right} == {" No"}
    weight = {side: sum(e.words[-1] for e in made if e.right is side) for side in (True, False)}
    assert weight[True] == pytest.approx(weight[False]) == pytest.approx(4)


def test_right_solutions_are_also_learnt_as_text_where_asked() -> None:
    right, wrong = record(STEPS, (None,) * 3, True), record((" so 9",), (None,), False)
    verdict_r, generated, verdict_w = ex.verdict_examples([right, wrong], writer("genrm"), generation=0.5)
    assert sum(generated.words) == pytest.approx(0.5)
    assert generated.ids == verdict_r.ids[: len(generated.ids)]  # the question comes after the solution
    assert text(generated.ids).endswith(" so 7")
    assert len(verdict_w.ids) > 0


def test_a_tokenizer_that_does_not_tell_the_verdicts_apart_is_an_error() -> None:
    with pytest.raises(ModelError, match="does not tell ' Yes' from ' No'"):
        ex.verdict_examples([record(STEPS, (None,) * 3, True)], writer("genrm", word_tokenizer()))


def test_only_the_critique_is_learnt_and_records_without_one_are_counted() -> None:
    w = writer()
    with_one = record(STEPS, (None,) * 3, True, critique="Tom has 3 and so 7 is total .")
    [example] = ex.critique_examples([with_one, record(STEPS, (None,) * 3, True)], w)
    asked = [t for t, x in enumerate(example.words) if x]
    assert text(example.ids[asked[0] :]) == "\nTom has 3 and so 7 is total ."
    assert asked[-1] == len(example.ids) - 1
    assert sum(example.words) == pytest.approx(1)
    assert w.counts["without a critique"] == 1
    with pytest.raises(DataError, match="minos learns critiques first"):
        ex.critique_examples([record(STEPS, (None,) * 3, True)], writer())


# ------------------------------------------------------------------------------------------------------- other formats


def test_at_a_step_tag_the_number_is_read_at_the_tag_itself_without_a_shift() -> None:
    """Public code trained the state before the tag and read the one at the tag."""
    tokenizer = word_tokenizer()
    tokenizer.add_tokens([" ки", " +", " -"])
    labels, shepherd = record(STEPS, (1.0, 0.0, 0.0), False), writer("math-shepherd", tokenizer)
    [example] = ex.step_examples([labels], shepherd, Meaning.VALUE)
    tag = tokenizer.convert_tokens_to_ids(" ки")
    assert [example.ids[t] for t in example.reads] == [tag] * 3
    assert example.ids.count(tag) == 3
