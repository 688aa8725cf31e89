"""Whether retrieval matches operations: a collection of word problems to retrieve from, and a count without any model.

``python tools/retrieval_structure.py write solved.jsonl`` writes solved problems of the training split (levels 1 to 3,
equal shares), none of which is in any test split.

``python tools/retrieval_structure.py gsm8k DATA_DIR`` asks for the best match of test questions in the training
questions, and prints for how many of them the operations of the solutions are the same in order (the signs between
``<<`` and ``>>``), by masked structure, by the words as they stand, and at random. Chains of one operation agree often
by chance, so chains of at least three are also counted alone. Intervals are over questions, paired by bootstrap.

``python tools/retrieval_structure.py wordproblems solved.jsonl`` counts the same for ``wordproblems(level=3)``, as
``thence compare`` retrieves for it, with the mean number of operations of what is shown.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from thence.methods import from_file
from thence.prompts.retrieval import Passage, Retrieve, Shelf, words
from thence.prompts.styles import Bare
from thence.tasks.files import as_text, read_rows, write_rows
from thence.tasks.passages import read_collection
from thence.tasks.wordproblems import WordProblems, render_solution
from thence.tasks.wordproblems_task import WordProblemsTask

LEVELS = (1, 2, 3)


class ByWords(Shelf):
    """The same collection matched by its words as they stand."""

    def terms(self, text: str) -> list[str]:
        """Lower-case words, names and numbers included."""
        return [w.lower() for w in words(text)]


def operations(solution: str) -> str:
    """The signs of all equations between calculator marks, in order."""
    return "".join("".join(re.findall(r"(?<=[\d.%)])\s*([-+*/])", e)) for e in re.findall(r"<<(.*?)=", solution))


def write(path: Path, size: int, levels: Sequence[int]) -> None:
    """Solved problems, one per line."""
    share = size // len(levels)
    items = [p for level in levels for p in WordProblems(level=level, split="train", size=share).items()]
    rows = [{"id": p.id, "question": p.question, "solution": render_solution(p, "cot").strip()} for p in items]
    write_rows(path, rows)
    print(f"{len(rows)} solved problems of the training split in {path}")


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean with its 95 % bootstrap interval over questions, in percent."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (4000, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return 100 * float(values.mean()), 100 * float(low), 100 * float(high)


def gsm8k(data: Path, limit: int) -> None:
    """The table of same operations."""
    kept = [Passage(r.where, as_text(r.fields["question"]), as_text(r.fields["answer"])) for r in _rows(data, "train")]
    asked = [(as_text(r.fields["question"]), operations(as_text(r.fields["answer"]))) for r in _rows(data, "test")]
    random.Random(0).shuffle(asked)
    asked = asked[:limit]
    shelves = {"structure": Shelf("train", kept), "words": ByWords("train", kept)}
    same: dict[str, list[bool]] = {name: [] for name in (*shelves, "random")}
    left_out = 0
    for i, (question, wanted) in enumerate(asked):
        for name, shelf in shelves.items():
            found = shelf.find(question, 1)
            left_out += len(found.duplicates) if name == "structure" else 0
            same[name].append(bool(found.hits) and operations(found.hits[0].passage.solution) == wanted)
        drawn = shelves["structure"].others(question, 1, i)
        same["random"].append(operations(drawn.hits[0].passage.solution) == wanted)
    print(f"{len(asked)} test questions, {len(kept)} training problems, {left_out} near-duplicates left out")
    long = np.array([len(wanted) >= 3 for _, wanted in asked])
    for title, rows in (("all", np.ones(len(asked), bool)), (f"three operations or more (n = {long.sum()})", long)):
        print(title)
        values = {name: np.array(v, float)[rows] for name, v in same.items()}
        for name, v in values.items():
            print("  {:<22} {:5.1f} % [{:.1f}, {:.1f}]".format(name, *interval(v)))
        for other in ("words", "random"):
            print(
                "  structure - {:<10} {:+5.1f} [{:+.1f}, {:+.1f}]".format(
                    other, *interval(values["structure"] - values[other])
                )
            )


def wordproblems(path: Path, limit: int) -> None:
    """Same operations and lengths, retrieved and at random."""
    task = WordProblemsTask(level=3, size=limit)
    shelf = read_collection(str(path), from_file)
    for control in ("none", "random"):
        style = Retrieve(shelf, Bare(), k=2, control=control)
        same, shown = [], []
        for problem in task.problems():
            found = [operations(hit.passage.solution) for hit in style.found(problem).hits]
            same.append(found[:1] == ["".join(step.op for step in task.items[problem.id].steps)])
            shown += map(len, found)
        text = "same operations {:5.1f} % [{:.1f}, {:.1f}]".format(*interval(np.array(same, float)))
        print(f"control={control:<7} {text}   operations shown, mean {np.mean(shown):.2f}")


def _rows(data: Path, split: str) -> list:
    return read_rows(data / "gsm8k" / f"{split}.jsonl.gz", "gsm8k")


def main() -> None:
    """Read the arguments and do what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "gsm8k", "wordproblems"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", type=int, default=3000)
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS)
    parser.add_argument("--limit", type=int, default=500)
    given = parser.parse_args()
    if given.what == "write":
        write(given.path, given.size, given.levels)
    elif given.what == "wordproblems":
        wordproblems(given.path, given.limit)
    else:
        gsm8k(given.path, given.limit)


if __name__ == "__main__":
    main()
