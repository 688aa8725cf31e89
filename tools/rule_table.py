"""Retrieval where it must help: problems whose last rule stands only in documents (docs/prompts.md).

``python tools/rule_table.py write DIR`` writes the documents of ``rule-table``: ``all.jsonl`` (every rule) and
``missed.jsonl`` (the rules of hosts that no question visits). Then ``thence compare`` with the arms in docs/prompts.md.

``python tools/rule_table.py found DIR`` counts, without a model, for how many questions the rule is among the k best.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thence.methods import from_file
from thence.tasks.files import write_rows
from thence.tasks.passages import read_collection
from thence.tasks.rule_table import RuleTable


def write(folder: Path, data_seed: int) -> None:
    """The two collections, one rule a row."""
    folder.mkdir(parents=True, exist_ok=True)
    table = RuleTable(data_seed=data_seed)
    for name, visited in (("all.jsonl", True), ("missed.jsonl", False)):
        texts = table.documents(visited=visited)
        write_rows(folder / name, [{"text": text} for text in texts])
        print(f"{len(texts)} rules in {folder / name}")


def found(folder: Path, table: RuleTable, ks: tuple[int, ...] = (1, 2, 3)) -> None:
    """For how many questions the right rule is retrieved, by collection and k."""
    problems = table.items()
    needed = [p.question.rpartition(" visits ")[2].split(". How many ") for p in problems]
    rules = [table.rules[host, rest.split()[0]].text for host, rest in needed]
    for name in ("all.jsonl", "missed.jsonl"):
        shelf = read_collection(str(folder / name), from_file)
        for k in ks:
            hits = [{h.passage.text for h in shelf.find(p.question, k).hits} for p in problems]
            share = sum(rule in shown for rule, shown in zip(rules, hits, strict=True)) / len(problems)
            print(f"{name:<13} k={k}  the rule is among them: {share:.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "found"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--level", type=int, default=2)
    parser.add_argument("--size", type=int, default=500)
    given = parser.parse_args()
    if given.what == "write":
        write(given.folder, given.data_seed)
    else:
        found(given.folder, RuleTable(given.level, data_seed=given.data_seed, size=given.size))
