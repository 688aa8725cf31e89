"""Label records as tokenised examples: what is asked of each token, and how much it counts.

An example's tokens are written by an input format (`thence.verifiers.formats`), as the verifier will read them. At each
token there may be a number to be read from its state (``targets``, ``weights``) and a weight on its own log-probability
(``words``); a weight of 0 means that nothing is asked there. An unlabelled step has the weight 0, never the target 0.
Nothing is appended: the end-of-text token is in an example only if the sample had it.

Training and dev set are split by question, never by solution.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from thence.core.errors import DataError
from thence.core.labels import Label, Labelled
from thence.core.scores import Meaning
from thence.core.seeds import derive
from thence.verifiers.formats import Format, Read, Written, row, with_end, write

QuestionOf = Callable[[str], str | None]  # a problem's id to its question


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised solution; ``targets``, ``weights`` and ``words`` have the length of ``ids``.

    ``targets[t]`` is the number wanted from the state at token t, ``weights[t]`` how much it counts; ``words[t]`` is
    the weight of -log p(ids[t] | before), always 0 for the first token. ``right`` is the solution's verdict. ``steps``
    are (token, number, weight) of what is asked about single steps beside it.
    """

    problem: str
    ids: tuple[int, ...]
    targets: tuple[float, ...]
    weights: tuple[float, ...]
    words: tuple[float, ...]
    right: bool | None = None
    steps: tuple[tuple[int, float, float], ...] = ()

    @property
    def reads(self) -> tuple[int, ...]:
        """The tokens whose states are asked for a number."""
        return tuple(t for t, w in enumerate(self.weights) if w > 0)

    def of_steps(self) -> Example:
        """The same solution asked about its steps alone."""
        targets, weights = [0.0] * len(self.ids), [0.0] * len(self.ids)
        for at, number, weight in self.steps:
            targets[at], weights[at] = number, weight
        nothing = (0.0,) * len(self.ids)
        return Example(self.problem, self.ids, tuple(targets), tuple(weights), nothing, self.right)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two solutions of one problem, the better one first; ``words`` of both mark the tokens of the solution.

    ``reference`` are the reference model's log-probs of the two (sums), where the loss has one.
    """

    chosen: Example
    rejected: Example
    reference: tuple[float, float] = (0.0, 0.0)


@dataclass(slots=True)
class Writer:
    """Writes records in a format, none longer than ``context`` tokens. ``counts`` says what was left out, and why."""

    fmt: Format
    tokenizer: Any
    instruction: str = ""
    context: int = 1 << 30
    question_of: QuestionOf | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def question(self, record: Labelled) -> str:
        """The record's question: its own ``question`` field, else by its problem's id. DataError if neither knows."""
        own = record.extra.get("question")
        if own is None and self.question_of is not None:
            own = self.question_of(record.problem)
        if not isinstance(own, str) or not own.strip():
            raise DataError(
                f"problem {record.problem} has no question: its record has no question field, and "
                f"{'the task has no problem of this id' if self.question_of else 'no task was given'}; "
                "give the one that the labels were made from (--task)"
            )
        return own

    def written(self, record: Labelled) -> Written | None:
        """The tokens of a record; None, and counted, if they are too many or there is nothing to read.

        Text after the last labelled step (an answer line) belongs to that step. Where the solution's own probability
        is read, the end-of-text token is there if the record says that the sample had it (``finish``: "eos"). A format
        that reads early takes a solution with a verdict as ended: its last state is the one that token was drawn from.
        """
        steps = list(record.steps)
        if not steps:
            self.counts["without steps"] += 1
            return None
        steps[-1] += record.text[record.ends[-1] :]
        if any(not step.strip() for step in steps):
            self.counts["with an empty step"] += 1
            return None
        made = write(self.fmt, self.tokenizer, self.question(record), steps, self.instruction)
        end = getattr(self.tokenizer, "eos_token_id", None)
        if end is not None and made.ids[-1] != end:
            if self.fmt.early and record.correct is not None:
                made = with_end(self.fmt, made, end)
            elif self.fmt.read is Read.LOGPROBS and record.extra.get("finish") == "eos":
                made = replace(made, ids=(*made.ids, end))
        if len(made.ids) > self.context:
            self.counts["longer than the context"] += 1
            return None
        return made

    def ids(self, text: str) -> list[int]:
        """The tokens of a text that continues another one."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def with_alternatives(record: Labelled) -> list[Labelled]:
    """The record, and one more for each rated alternative of a step (PRM800K): the steps before it, then it.

    Only the alternative is labelled there, so that no label counts twice.
    """
    made = [replace(record, alternatives=())]
    for k, each in enumerate(record.alternatives):
        ends = record.ends[:k]
        for other in each:
            text = record.text[: ends[-1] if ends else 0] + other.text
            labels = (*((),) * k, other.labels)
            made.append(Labelled(record.problem, text, (*ends, len(text)), labels, None, record.extra))
    return made


def distinct(records: Sequence[Labelled], writer: Writer) -> list[Labelled]:
    """Each solution of a question once, the first one; others are counted."""
    seen: dict[tuple[str, str], Labelled] = {}
    for record in records:
        seen.setdefault((writer.question(record), record.text), record)
    writer.counts["duplicates"] += len(records) - len(seen)
    return list(seen.values())


def split(
    records: Sequence[Labelled], writer: Writer, share: float, seed: int
) -> tuple[list[Labelled], list[Labelled]]:
    """(training, dev): a question's hash decides, so all solutions of a problem are on one side, whatever its id."""
    parts: tuple[list[Labelled], list[Labelled]] = ([], [])
    for record in records:
        parts[derive("dev", seed, writer.question(record)) < share * 2**63].append(record)
    return parts


# ------------------------------------------------------------------------------------------------- numbers from states


def step_examples(
    records: Sequence[Labelled], writer: Writer, meaning: Meaning, *, hard: bool = False, mask_after_error: bool = False
) -> list[Example]:
    """A number at each labelled step (process reward models, values).

    ``hard``: 1 for every number above 0 (Math-Shepherd). ``mask_after_error``: what follows the first step with 0 is
    not asked for (Lightman et al. 2023 label no further). For VALUE the verdict is the label of an unlabelled last
    step. DataError if no step has a label of this meaning.
    """
    made = []
    for record in records:
        labels = [_label(row, meaning) for row in record.labels]
        if meaning is Meaning.VALUE and labels and labels[-1] is None and record.correct is not None:
            labels[-1] = (float(record.correct), 1.0)
        if not any(labels):
            writer.counts["unlabelled"] += 1
            continue
        written = writer.written(record)
        if written is None:
            continue
        asked, dead = [], False
        for at, label in zip(written.reads, labels, strict=True):
            if label is not None and not dead:
                asked.append((at, float(label[0] > 0) if hard else label[0], label[1]))
                dead = mask_after_error and label[0] <= 0
        made.append(_example(record, written.ids, asked))
    if not made:
        raise _unlabelled(records, writer, meaning, "--meaning")
    return made


def _unlabelled(records: Sequence[Labelled], writer: Writer, meaning: Meaning, option: str) -> DataError:
    known = sorted({x.meaning for r in records for row in r.labels for x in row})
    return DataError(
        f"no usable step has a label of {meaning} ({len(records)} solutions; labels there: "
        f"{', '.join(known) or 'none'}; left out: {dict(writer.counts)}); name another {option} or other files"
    )


def _label(row: Sequence[Label], meaning: Meaning) -> tuple[float, float] | None:
    """(number, weight) of the first label of a meaning that has a number and counts."""
    return next(((x.number, x.weight) for x in row if x.meaning is meaning and x.number is not None and x.weight), None)


def outcome_examples(records: Sequence[Labelled], writer: Writer) -> list[Example]:
    """The verdict at every token of the solution (Cobbe et al. 2021), each draw of a solution counting 1 in all.

    ``words`` mark the solution's tokens where it is right, for the joint language-model loss.
    """
    return [_outcome(record, written) for record, written in _graded(records, writer)]


def step_aware_examples(records: Sequence[Labelled], writer: Writer, meaning: Meaning) -> list[Example]:
    """The same, and beside it a number at the end of each step that has a label of ``meaning``.

    What DiVeRSe's step-aware verifier learns (Li et al. 2022, arXiv:2206.02336). Each step of a solution counts as
    often as the solution was drawn; one without such labels has its verdict alone. DataError if no step has one.
    """
    made = []
    for record, written in _graded(records, writer):
        labels = [_label(row, meaning) for row in record.labels]
        asked = [
            (t, label[0], label[1] * drawn(record)) for t, label in zip(written.reads, labels, strict=True) if label
        ]
        made.append(replace(_outcome(record, written), steps=tuple(asked)))
    if not any(example.steps for example in made):
        raise _unlabelled(records, writer, meaning, "--step-meaning")
    return made


def _outcome(record: Labelled, written: Written) -> Example:
    tokens = range(written.prompt, len(written.ids))
    made = _example(record, written.ids, [(t, float(bool(record.correct)), 1 / len(tokens)) for t in tokens])
    return replace(made, words=_marked(written, 1 / len(tokens))) if record.correct else made


def _graded(records: Sequence[Labelled], writer: Writer) -> list[tuple[Labelled, Written]]:
    made = []
    for record in records:
        if record.correct is None:
            writer.counts["without a verdict"] += 1
        elif (written := writer.written(record)) is not None:
            made.append((record, written))
    if not made:
        raise DataError(
            f"no usable solution has a verdict (correct: true or false) among {len(records)}; "
            f"left out: {dict(writer.counts)}"
        )
    return made


def _example(record: Labelled, ids: tuple[int, ...], asked: Sequence[tuple[int, float, float]]) -> Example:
    targets, weights = [0.0] * len(ids), [0.0] * len(ids)
    for at, number, weight in asked:
        targets[at], weights[at] = number, weight * drawn(record)
    return Example(record.problem, ids, tuple(targets), tuple(weights), (0.0,) * len(ids), record.correct)


def drawn(record: Labelled) -> float:
    """How often the solution was sampled, where its record says so (``draws``): it counts so often, because a verifier
    that is to choose among samples must know how likely each is."""
    times = record.extra.get("draws", 1)
    return float(times) if isinstance(times, (int, float)) and times > 0 else 1.0


def _marked(written: Written, weight: float = 1.0) -> tuple[float, ...]:
    """``weight`` on every token after the prompt."""
    return tuple(weight if t >= max(written.prompt, 1) else 0.0 for t in range(len(written.ids)))


def check_classes(numbers: set[float]) -> None:
    """DataError if every number asked for is the same: nothing can be learnt from that."""
    if len(numbers) < 2:
        raise DataError(
            f"all labels of the training set are {numbers.pop() if numbers else 'missing'}: a verifier needs right and "
            "wrong solutions; label more problems, harder or easier ones"
        )


# --------------------------------------------------------------------------------------------------------------- pairs


def pair_examples(records: Sequence[Labelled], writer: Writer, *, cap: int = 8, seed: int = 0) -> list[Pair]:
    """Right x wrong solutions of the same question, at most ``cap`` per question, drawn by ``seed``.

    Questions whose solutions are all right or all wrong give none, pairs of equal texts or equal answers are left
    out; both are counted. DataError if nothing is left.
    """
    groups: dict[str, tuple[list[Labelled], list[Labelled]]] = defaultdict(lambda: ([], []))
    for record in records:
        if record.correct is None:
            writer.counts["without a verdict"] += 1
        else:
            groups[writer.question(record)][not record.correct].append(record)
    pairs: list[Pair] = []
    for question, (right, wrong) in groups.items():
        if not right or not wrong:
            writer.counts["problems all right" if right else "problems all wrong"] += 1
            continue
        rng = Random(derive(seed, "pairs", question))
        candidates = [(a, b) for a in right for b in wrong]
        usable = [(a, b) for a, b in candidates if not _same(a, b)]
        writer.counts["pairs with equal answers"] += len(candidates) - len(usable)
        kept = 0
        for a, b in rng.sample(usable, len(usable)):
            if kept < cap and (pair := _pair(a, b, writer)) is not None:
                pairs.append(pair)
                kept += 1
    if not pairs:
        raise DataError(
            f"no pairs: no problem has both a right and a wrong solution ({len(groups)} problems; left out: "
            f"{dict(writer.counts)}); sample more solutions per problem"
        )
    return pairs


def _same(a: Labelled, b: Labelled) -> bool:
    given = a.extra.get("answer")
    return a.text == b.text or (given is not None and given == b.extra.get("answer"))


def _pair(right: Labelled, wrong: Labelled, writer: Writer) -> Pair | None:
    both = [writer.written(record) for record in (right, wrong)]
    if both[0] is None or both[1] is None or both[0].ids == both[1].ids:
        return None
    return Pair(solution_example(right, both[0]), solution_example(wrong, both[1]))


def solution_example(record: Labelled, written: Written) -> Example:
    """A solution with weight 1 on each of its own tokens, for log-probs of the whole."""
    return replace(_example(record, written.ids, []), words=_marked(written))


def solution_examples(records: Sequence[Labelled], writer: Writer) -> list[Example]:
    """Every graded solution for its log-prob."""
    return [solution_example(record, written) for record, written in _graded(records, writer)]


# --------------------------------------------------------------------------------------------------- verdicts in words


def verdict_examples(
    records: Sequence[Labelled], writer: Writer, *, generation: float = 0.0, balanced: bool = True
) -> list[Example]:
    """A generative verifier's rows (GenRM, Zhang et al. 2024, arXiv:2408.15240): solution, question, its verdict.

    All but the verdict token is masked; ``balanced`` weighs the two verdicts so that each counts one half. With
    ``generation`` a right solution is also learnt as text, counting so much of one verdict.
    """
    graded = _graded(records, writer)
    good, bad = writer.fmt.candidates(writer.tokenizer, "the base")
    alone = replace(writer, fmt=row("reply"))
    right = sum(bool(record.correct) for record, _ in graded)
    made = []
    for record, written in graded:
        share = right if record.correct else len(graded) - right
        weight = len(graded) / (2 * share) if balanced else 1.0
        ids = (*written.ids, good if record.correct else bad)
        if len(ids) > writer.context:
            writer.counts["longer than the context"] += 1
            continue
        words = (*(0.0,) * (len(ids) - 1), weight)
        made.append(replace(_example(record, ids, []), words=words))
        if generation > 0 and record.correct and (text := alone.written(record)) is not None:
            words = _marked(text, generation / (len(text.ids) - text.prompt))
            made.append(replace(_example(record, text.ids, []), words=words))
    return made


def critique_examples(records: Sequence[Labelled], writer: Writer) -> list[Example]:
    """Solutions followed by a critique, a record's ``critique`` field, which alone is learnt as text.

    Stage 1 of Math-Minos (Gao et al. 2024, arXiv:2406.14024): a model that has learnt to say what is wrong makes a
    better trunk for a head. Each critique counts 1. DataError if no record has one.
    """
    made = []
    for record in records:
        text = record.extra.get("critique")
        if not isinstance(text, str) or not text.strip():
            writer.counts["without a critique"] += 1
            continue
        written = writer.written(record)
        if written is None:
            continue
        tail = writer.ids("\n" + text.strip("\n"))
        ids = (*written.ids, *tail)
        if len(ids) > writer.context:
            writer.counts["longer than the context"] += 1
            continue
        words = (*(0.0,) * len(written.ids), *(1 / len(tail),) * len(tail))
        made.append(replace(_example(record, ids, []), words=words))
    if not made:
        raise DataError(
            f"none of {len(records)} records has a critique: minos learns critiques first; add a critique field "
            "(one text per solution), or train a prm"
        )
    return made
