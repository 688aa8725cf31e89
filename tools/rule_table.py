"""Retrieval where it must help: problems whose last rule stands only in documents (docs/prompts.md).

``python tools/rule_table.py write DIR`` writes the documents of ``rule-table``: ``all.jsonl`` (every rule) and
``missed.jsonl`` (the rules of hosts that no question visits). Then ``thence compare`` with the arms in docs/prompts.md.

``python tools/rule_table.py found DIR`` counts, without a model, for how many questions the rule is among the k best.

``python tools/rule_table.py followed DIR --run RUN.db -k 3`` counts, in the arm of that run which retrieves k passages
from ``all.jsonl`` greedily, whose rule the last step of the solution follows: the needed one, another of those shown,
or none.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

from thence.core.tree import Tree
from thence.methods import from_file
from thence.stores.sqlite import RunView
from thence.tasks.files import write_rows
from thence.tasks.passages import read_collection
from thence.tasks.rule_table import Rule, RuleTable
from thence.tasks.wordproblems import WordProblem


def write(folder: Path, data_seed: int) -> None:
    """The two collections, one rule a row."""
    folder.mkdir(parents=True, exist_ok=True)
    table = RuleTable(data_seed=data_seed)
    for name, visited in (("all.jsonl", True), ("missed.jsonl", False)):
        texts = table.documents(visited=visited)
        write_rows(folder / name, [{"text": text} for text in texts])
        print(f"{len(texts)} rules in {folder / name}")


def needed(table: RuleTable, problem: WordProblem) -> Rule:
    """The rule that a question leaves out."""
    host, rest = problem.question.rpartition(" visits ")[2].split(". How many ")
    return table.rules[host, rest.split()[0]]


def _is(rule: Rule, step: tuple[str, str, str] | None) -> bool:
    return step is not None and step[1] == rule.sign and str(rule.amount) in (step[0], step[2])


def followed(folder: Path, run: Path, table: RuleTable, k: int) -> None:
    """Whose rule the last written step is."""
    shelf, counts = read_collection(str(folder / "all.jsonl"), from_file), Counter[tuple[str, bool]]()
    problems, rules = {p.id: p for p in table.items()}, {rule.text: rule for rule in table.rules.values()}
    with RunView(run) as view:
        cells = [c for c in view.cells() if f"k={k}" in c.arm and "all.jsonl" in c.arm and c.arm.startswith("greedy")]
        for cell in (c for c in cells if "control" not in c.arm):
            for id, record in view.results(cell).items():
                problem = problems[id]
                tree = Tree.from_record(view.tree(cell, id))
                written = re.findall(r"(\d+)([-+*/])(\d+)=", tree.solution(tree.nodes[record["node"]]))
                step = written[-1] if len(written) >= problem.level else None
                right = needed(table, problem)
                shown = [rules[hit.passage.text] for hit in shelf.find(problem.question, k).hits]
                others = [rule for rule in shown if rule != right]
                follows = "right" if _is(right, step) else "other" if any(_is(r, step) for r in others) else "none"
                counts[follows, right in shown] += 1
    for (follows, present), count in sorted(counts.items()):
        print(f"the rule is {'' if present else 'not '}shown, the solution follows: {follows:<6} {count:4} times")


def found(folder: Path, table: RuleTable, ks: tuple[int, ...] = (1, 2, 3)) -> None:
    """For how many questions the right rule is retrieved, by collection and k."""
    problems = table.items()
    rules = [needed(table, problem).text for problem in problems]
    for name in ("all.jsonl", "missed.jsonl"):
        shelf = read_collection(str(folder / name), from_file)
        for k in ks:
            hits = [{h.passage.text for h in shelf.find(p.question, k).hits} for p in problems]
            share = sum(rule in shown for rule, shown in zip(rules, hits, strict=True)) / len(problems)
            print(f"{name:<13} k={k}  the rule is among them: {share:.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "found", "followed"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--level", type=int, default=2)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--run", type=Path)
    parser.add_argument("-k", type=int, default=3)
    given = parser.parse_args()
    if given.what == "write":
        write(given.folder, given.data_seed)
    elif given.what == "followed":
        followed(given.folder, given.run, RuleTable(given.level, data_seed=given.data_seed, size=given.size), given.k)
    else:
        found(given.folder, RuleTable(given.level, data_seed=given.data_seed, size=given.size))
