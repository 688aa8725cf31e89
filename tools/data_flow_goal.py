"""The zero-token data-flow check against its goal, from recorded samples.

``python tools/data_flow_goal.py DATA_DIR`` reads ``gsm8k/multi_model_solutions_8.jsonl.gz`` and ``gsm8k/test.jsonl.gz``
and prints every figure of docs/data-flow.md: the AUROC per source with its length-matched twin and its controls, the
votes, and how often an error is reported. ``--fit`` prints the weights as they stand in the verifier instead.

Labels: every solution is graded again against the published reference. Questions are cut in two by their hash: the
weights are fitted on the even half, the headline is measured on the odd half. A vote's strength is chosen on the other
half, and so are its weights (they are fitted again for the fold that the verifier's own weights have seen).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from thence.core.segmenter import Segmenter
from thence.tasks.gsm8k import Gsm8k
from thence.verifiers.data_flow import WEIGHTS, Finding, explain, first_error

Array = NDArray[np.float64]
FILE, REFERENCES = "gsm8k/multi_model_solutions_8.jsonl.gz", "gsm8k/test.jsonl.gz"
GPT3, TORA, ROUTE = "openai-gpt3-", "microsoft-tora-", "routellm-"
GOAL = (f"{GPT3}6b_finetuning", f"{GPT3}175b_finetuning", f"{ROUTE}Mixtral-8x7B-Instruct-v0.1")
CHOSEN = (f"{GPT3}6b_verification", f"{GPT3}175b_verification")
GPT4 = f"{ROUTE}gpt-4-1106-preview"
PROGRAMS = (f"{TORA}70b-v1.0", f"{TORA}code-34b-v1.0")
FOUR = (GOAL[0], CHOSEN[0], GOAL[1], CHOSEN[1])
SIX = (*FOUR, GOAL[2], GPT4)
FINDINGS = list(Finding)
STRENGTHS = (0.125, 0.25, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
RIDGE = 1.0
RESAMPLES = 2000


@dataclass(slots=True)
class Source:
    """All solutions of one source, one row per question."""

    name: str
    counts: Array  # question x finding
    equations: Array
    steps: Array
    characters: Array
    right: Array
    keys: list[str | None]
    flagged: Array  # whether `first_error` reports one
    repaired: int  # labels in the file that our grader does not share


@dataclass(slots=True)
class Data:
    """Everything recorded, and which questions are held out."""

    sources: dict[str, Source]
    held: NDArray[np.bool_]


def read(folder: Path) -> Data:
    """Grade and check every solution."""
    task = Gsm8k(file=str(folder / REFERENCES))
    problems = {p.text: p for p in task.problems()}
    with gzip.open(folder / FILE, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    lists: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        for sample in row["solutions"]:
            lists.setdefault(sample["source"], []).append(check(task, problems[row["question"]], sample))
    held = np.array([hashlib.blake2b(r["question"].encode(), digest_size=8).digest()[-1] % 2 == 1 for r in rows])
    return Data({name: gather(name, samples) for name, samples in lists.items()}, held)


def check(task: Gsm8k, problem: Any, sample: dict[str, Any]) -> dict[str, Any]:
    """One solution: its grade by our grader, its answer's key, its data flow."""
    text = sample["text"]
    answer = task.reading.extract(text)
    right = task.grade(problem, text, answer.value if answer else None).correct
    flow = explain(problem.text, text)
    counts = flow.counts()
    return {
        "counts": [counts[f] for f in FINDINGS],
        "equations": sum(any(side.operators for side in e.sides) for s in flow.steps for e in s.equations),
        "steps": len(flow.steps),
        "characters": len(text.strip()),
        "right": right,
        "key": task.reading.key(answer.value) if answer else None,
        "flagged": flow.first_error is not None,
        "repaired": right != sample["correct"],
    }


def gather(name: str, samples: list[dict[str, Any]]) -> Source:
    """Columns of one source."""

    def column(field: str) -> Array:
        return np.array([s[field] for s in samples], dtype=np.float64)

    return Source(
        name,
        column("counts"),
        column("equations"),
        column("steps"),
        column("characters"),
        column("right"),
        [s["key"] for s in samples],
        column("flagged"),
        int(column("repaired").sum()),
    )


# --- the fit ---------------------------------------------------------------------------------------------------------


def fit(data: Data, half: NDArray[np.bool_], names: Sequence[str] = GOAL) -> Array:
    """Weights w >= 0 of P(right) = exp(-w . counts - v * equations), maximum likelihood with a ridge of 1.

    The number of equations is fitted beside the findings and then left out: it says how hard a question is, so it
    would let a vote prefer short solutions, and the verifier would in part measure length.
    """
    sources = [data.sources[name] for name in names]
    x = np.vstack([np.column_stack([s.counts, s.equations])[half] for s in sources])
    y = np.concatenate([s.right[half] for s in sources])

    def loss(w: Array) -> tuple[float, Array]:
        log_p = -(x @ w) - 1e-3
        p, q = np.exp(log_p), -np.expm1(log_p)
        value = -(y * log_p + (1 - y) * np.log(q)).sum() + RIDGE / 2 * (w**2).sum()
        return value, x.T @ (y - (1 - y) * p / q) + RIDGE * w

    found = minimize(loss, np.full(x.shape[1], 0.1), jac=True, bounds=[(0, 6)] * x.shape[1])
    return np.round(np.asarray(found.x[:-1], dtype=np.float64), 2)


def shipped() -> Array:
    """The verifier's own weights."""
    return np.array([WEIGHTS.get(f, 0.0) for f in FINDINGS])


# --- how well it tells right from wrong ------------------------------------------------------------------------------


def auroc(score: Array, right: Array) -> float:
    """The chance that a right solution scores above a wrong one; ties count half."""
    ones = right.sum()
    zeros = len(right) - ones
    if not ones or not zeros:
        return float("nan")
    return float((rankdata(score)[right == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def matched(score: Array, right: Array, alike: NDArray[np.bool_]) -> float:
    """The same over those pairs of a right and a wrong solution that are ``alike``."""
    good, bad = right == 1, right == 0
    pairs = alike[np.ix_(good, bad)]
    gap = score[good][:, None] - score[bad][None, :]
    wins = np.where(np.abs(gap) < 1e-12, 0.5, gap > 0)
    return float(wins[pairs].mean())


def interval(score: Array, right: Array, rng: np.random.Generator) -> tuple[float, float]:
    """95 % bootstrap interval of the AUROC over questions."""
    draws = [auroc(score[i], right[i]) for i in rng.integers(0, len(right), (500, len(right)))]
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return float(low), float(high)


def discrimination(data: Data, weights: Array) -> None:
    """One row per source."""
    rng = np.random.default_rng(0)
    print("AUROC of right against wrong solutions, held out but for the column 'fitted half'. Same steps, chars: only")
    print("pairs of that length. Shortest text, fewest steps: a score that is only that. Findings counted: no weights.")
    for head in (
        "|right|labels|held-out|fitted|same|chars|shortest|fewest|findings|shuffled",
        "source|%|mended|[95 %]|half|steps|±10 %|text|steps|counted|labels",
    ):
        print(_row(head.split("|")))
    for name in (*GOAL, *CHOSEN, GPT4, *PROGRAMS):
        source, held = data.sources[name], data.held
        score = -(source.counts @ weights)
        s, y = score[held], source.right[held]
        low, high = interval(s, y, rng)
        steps, chars = source.steps[held], np.log(source.characters[held] + 1)
        same_steps = steps[:, None] == steps[None, :]
        same_chars = np.abs(chars[:, None] - chars[None, :]) <= np.log(1.1)
        cells = (
            name.split("-", 1)[1].removesuffix("-v0.1"),
            f"{100 * source.right.mean():.1f}",
            str(source.repaired),
            f"{auroc(s, y):.3f} [{low:.3f}, {high:.3f}]",
            f"{auroc(score[~held], source.right[~held]):.3f}",
            f"{matched(s, y, same_steps):.3f}",
            f"{matched(s, y, same_chars):.3f}",
            f"{auroc(-chars, y):.3f}",
            f"{auroc(-steps, y):.3f}",
            f"{auroc(-source.counts[held] @ (weights > 0), y):.3f}",
            f"{auroc(s, rng.permutation(y)):.3f}",
        )
        print(_row(cells))


def _row(cells: Sequence[str]) -> str:
    widths = (23, 6, 7, 21, 7, 6, 6, 9, 7, 9, 9)
    return " ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()


# --- votes -----------------------------------------------------------------------------------------------------------


def vote(data: Data, names: Sequence[str], scores: dict[str, Array], strength: float) -> Array:
    """Per question the chance that the vote is right: exp(strength * score) summed per answer, ties shared."""
    sources = [data.sources[n] for n in names]
    outcome = np.zeros(len(data.held))
    for i in range(len(outcome)):
        weights: dict[str, float] = {}
        right: dict[str, float] = {}
        for source in sources:
            key = source.keys[i]
            if key is not None:
                weights[key] = weights.get(key, 0.0) + float(np.exp(strength * scores[source.name][i]))
                right[key] = source.right[i]
        top = max(weights.values(), default=0.0)
        best = [key for key, weight in weights.items() if weight >= top * (1 - 1e-12)]
        outcome[i] = sum(right[key] for key in best) / len(best) if best else 0.0
    return outcome


def votes(data: Data, weights: Array) -> None:
    """Majority against the weighted vote, strength and weights from the other half."""
    rng = np.random.default_rng(1)
    print("\nVotes, % right; majority and weighted vote share ties alike; strength chosen on the other half")
    for label, names in (("four OpenAI sources", FOUR), ("six sources (no programs)", SIX)):
        majority = vote(data, names, _scores(data, names, weights), 0.0)
        crossed, chosen, shuffled = majority.copy(), [], majority.copy()
        for test, fitted in ((data.held, weights), (~data.held, fit(data, data.held))):
            scores = _scores(data, names, fitted)
            strength = max(STRENGTHS, key=lambda x: vote(data, names, scores, x)[~test].mean())
            crossed[test] = vote(data, names, scores, strength)[test]
            mixed = {n: rng.permutation(s) for n, s in scores.items()}
            shuffled[test] = vote(data, names, mixed, strength)[test]
            chosen.append(strength)
        for part, where in (("held-out half", data.held), ("all, two folds", np.ones_like(data.held))):
            gain, low, high = difference(crossed[where], majority[where], rng)
            print(
                f"  {label:26s} {part:15s} majority {100 * majority[where].mean():.1f}  weighted "
                f"{100 * crossed[where].mean():.1f}  {gain:+.1f} [{low:+.1f}, {high:+.1f}]  strengths {chosen}  "
                f"control (scores shuffled) {100 * (shuffled[where] - majority[where]).mean():+.1f}"
            )
        fixed = _scores(data, names, weights)
        curve = [(x, 100 * (vote(data, names, fixed, x) - majority)[data.held].mean()) for x in STRENGTHS]
        print("    held-out gain by strength: " + "  ".join(f"{x:g}: {g:+.1f}" for x, g in curve))


def _scores(data: Data, names: Sequence[str], weights: Array) -> dict[str, Array]:
    return {name: -(data.sources[name].counts @ weights) for name in names}


def difference(a: Array, b: Array, rng: np.random.Generator) -> tuple[float, float, float]:
    """Points that ``a`` is above ``b``, with a paired 95 % bootstrap interval over questions."""
    gaps = 100 * (a - b)
    means = gaps[rng.integers(0, len(gaps), (RESAMPLES, len(gaps)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(gaps.mean()), float(low), float(high)


# --- errors ----------------------------------------------------------------------------------------------------------


def errors(data: Data, folder: Path) -> None:
    """How often an error is reported, in right and in wrong solutions, and in the published references."""
    print("\nAn error is reported (first_error), % of right and of wrong solutions, all questions")
    for name in (*GOAL, *CHOSEN, GPT4):
        s = data.sources[name]
        good, bad = 100 * s.flagged[s.right == 1].mean(), 100 * s.flagged[s.right == 0].mean()
        print(f"  {name:40s} right {good:5.1f}   wrong {bad:5.1f}")
    with gzip.open(folder / REFERENCES, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    alarms = np.mean([explain(r["question"], r["answer"]).first_error is not None for r in rows])
    print(f"  {'published references':40s} right {100 * alarms:5.1f}")
    first_steps(folder)


def first_steps(folder: Path) -> None:
    """The first wrong step by people's labels (MR-GSM8K, Zeng et al. 2023, arXiv:2312.17080), wrong solutions only."""
    path = folder / "mr_gsm8k" / "mr_gsm8k_wrong_590.jsonl.gz"
    if not path.exists():
        return
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    labels, found, lengths = [], [], []
    for row in rows:
        text = "\n".join(row["model_output_steps"])
        labels.append(int(row["model_output_solution_first_error_step"]) - 1)
        found.append(first_error(row["question"], text, Segmenter()))
        lengths.append(len(row["model_output_steps"]))
    said = [(f, at) for f, at in zip(found, labels, strict=True) if f is not None]
    exact = sum(f == at for f, at in said)
    near = sum(abs(f - at) <= 1 for f, at in said)
    common = max(set(labels), key=labels.count)
    guess = np.mean([1 / n for n in lengths])
    print(
        f"\nFirst wrong step, {len(rows)} wrong solutions labelled by people (MR-GSM8K): reported in {len(said)}; of "
        f"these {100 * exact / len(said):.1f} % the labelled step, {100 * near / len(said):.1f} % within one step; "
        f"always step {common + 1}: {100 * labels.count(common) / len(rows):.1f} %, any step: {100 * guess:.1f} %"
    )


def main() -> int:
    """Print everything; returns the exit code."""
    parser = argparse.ArgumentParser(description="The data-flow check against its goal")
    parser.add_argument("data", type=Path, help="folder with gsm8k/multi_model_solutions_8.jsonl.gz")
    parser.add_argument("--fit", action="store_true", help="print the weights, fitted on the even half")
    given = parser.parse_args()
    data = read(given.data)
    if given.fit:
        for finding, weight in zip(FINDINGS, fit(data, ~data.held), strict=True):
            if weight:
                print(f"    Finding.{finding.name}: {weight},")
        return 0
    print(f"{len(data.held)} questions, {int(data.held.sum())} held out; {', '.join(map(short, data.sources))}\n")
    discrimination(data, shipped())
    votes(data, shipped())
    errors(data, given.data)
    return 0


def short(name: str) -> str:
    """A source without its publisher."""
    return name.split("-", 1)[1]


if __name__ == "__main__":
    sys.exit(main())
