"""Rows of label files that hold many begun solutions of one question: MATH-APS, flat and as a tree. See
``label_files``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .errors import DataError
from .label_rows import Row, closed_steps, joined, question, question_hash, share, text_of, unjoined, without
from .labels import Label, Labelled, Source
from .scores import Meaning
from .seeds import digest

# --- MATH-APS ---------------------------------------------------------------------------------------------------------


def read_prefixes(row: Row) -> list[Labelled]:
    """One record for each prefix that no other one extends; equal prefixes are one step with several labels."""
    asked = text_of(row, "question")
    entries = dict[str, list[tuple[int, Any]]]()
    for i, each in enumerate(row["reasoning_steps"]):
        prefix = text_of(each, "solution_prefix", f"solution_prefix {i + 1}")
        if not prefix.startswith(asked):
            raise DataError(f"solution_prefix {i + 1} does not begin with the question")
        entries.setdefault(prefix[len(asked) :], []).append((i, each))
    solutions = sorted(entries)  # a prefix stands before everything that extends it
    paths, chain = list[list[str]](), list[str]()
    for i, text in enumerate(solutions):
        while chain and not text.startswith(chain[-1]):
            chain.pop()
        chain.append(text)
        if i + 1 == len(solutions) or not solutions[i + 1].startswith(text):
            paths.append([t for t in chain if t])
    through = {text: sum(text in path for path in paths) for text in solutions}
    paths.sort(key=lambda path: [entries[t][0][0] for t in path[-1:]])
    kept: dict[str, Any] = {"id": digest("math-aps", json.dumps(row, sort_keys=True))}
    records = list[Labelled]()
    for path in paths:
        labels = tuple(
            tuple(_worth(each, f"solution_prefix {i + 1}", through[text]) for i, each in entries[text]) for text in path
        )
        note = kept | {"at": [[i for i, _ in entries[text]] for text in path]}
        note["fields"] = [[without(e, "solution_prefix", "mc_value") for _, e in entries[text]] for text in path]
        note["row"] = without(row, "question", "reasoning_steps")
        note["root"] = [[i, without(e, "solution_prefix")] for i, e in entries.get("", [])]
        ends = tuple(len(text) for text in path)
        extra = {"question": asked, "math-aps": note}
        records.append(Labelled(question_hash(asked), path[-1] if path else "", ends, labels, None, extra))
    return records


def _worth(node: Row, what: str, paths: int) -> Label:
    number = share(node["mc_value"], f"mc_value of {what}")
    return Label(Meaning.VALUE, number, Source.ROLLOUTS, weight=1 / paths)


def write_prefixes(records: Sequence[Labelled]) -> dict[str, Any]:
    """The prefixes of records of one question, equal ones once."""
    asked, entries = question(records[0]), dict[int, dict[str, Any]]()
    head = records[0].extra.get("math-aps") or {}
    for i, more in head.get("root", []):
        entries[i] = {"solution_prefix": asked, **more}
    seen = set[str]()
    for record in records:
        note = record.extra.get("math-aps")
        for k, (end, labels) in enumerate(zip(record.ends, record.labels, strict=True)):
            prefix = record.text[:end]
            if note is None:
                if prefix not in seen:
                    seen.add(prefix)
                    entries[len(entries)] = {"solution_prefix": asked + prefix, "mc_value": _value(labels)}
                continue
            for i, label, more in zip(note["at"][k], labels, note["fields"][k], strict=False):
                entries[i] = {"solution_prefix": asked + prefix, "mc_value": label.number, **more}
    row = {"question": asked, "reasoning_steps": [entries[i] for i in sorted(entries)]}
    return row | (head.get("row") or _unknown(records[0]))


def _value(labels: Sequence[Label]) -> float | None:
    return next((x.number for x in labels if x.meaning is Meaning.VALUE and x.number is not None), None)


def _unknown(record: Labelled) -> dict[str, Any]:
    """What the format says of a problem and a record of another origin does not know."""
    return {"final_answer": record.extra.get("final_answer"), "question_id": record.problem}


def read_tree(row: Row) -> list[Labelled]:
    """One record for each path to a leaf."""
    asked, root = text_of(row, "question"), row["reasoning_steps"]
    paths = list(_leaves(root, (), []))
    through = dict[tuple[int, ...], int]()
    for address, _ in paths:
        for k in range(1, len(address) + 1):
            through[address[:k]] = through.get(address[:k], 0) + 1
    kept: dict[str, Any] = {"id": digest("math-aps-tree", json.dumps(row, sort_keys=True))}
    records = list[Labelled]()
    for address, nodes in paths:
        where = ["node " + ".".join(map(str, address[:k])) for k in range(1, len(address) + 1)]
        text, ends = joined([text_of(n, "text", f"the text of {w}") for n, w in zip(nodes, where, strict=True)])
        labels = tuple(
            (_worth(n, w, through[address[: k + 1]]),) for k, (n, w) in enumerate(zip(nodes, where, strict=True))
        )
        note = kept | {"at": list(address), "fields": [_fields(n) for n in nodes]}
        note |= {"row": without(row, "question", "reasoning_steps"), "root": without(root, "children")}
        extra = {"question": asked, "math-aps-tree": note}
        records.append(Labelled(question_hash(asked), text, ends, labels, None, extra))
    return records


def _leaves(node: Row, address: tuple[int, ...], path: list[Row]) -> Iterator[tuple[tuple[int, ...], list[Row]]]:
    children = node.get("children", [])
    if not isinstance(children, list):
        raise DataError(f"children is {json.dumps(children)[:40]}; it must be a list")
    if not children:
        yield address, path
    for i, child in enumerate(children):
        yield from _leaves(child, (*address, i), [*path, child])


def _fields(node: Row) -> dict[str, Any]:
    """What else a node says; the absence of ``children`` is kept as a null."""
    more = without(node, "text", "mc_value", "children")
    return more if "children" in node else more | {"children": None}


def write_tree(records: Sequence[Labelled]) -> dict[str, Any]:
    """The tree that records of one question make; steps of other origins are equal if their texts are."""
    asked, head = question(records[0]), records[0].extra.get("math-aps-tree") or {}
    root: dict[str, Any] = {**head.get("root", {"text": asked, "mc_value": None})}
    tree = dict[Any, Any]()  # address -> (node, its children by place)
    for record in records:
        note = record.extra.get("math-aps-tree")
        steps = unjoined(closed_steps(record))
        at = tree
        for k, (step, labels) in enumerate(zip(steps, record.labels, strict=True)):
            key = note["at"][k] if note is not None else step
            made = {"text": step, "mc_value": _value(labels)} | (note["fields"][k] if note is not None else {})
            node, at = at.setdefault(key, (made, {}))
            if node["mc_value"] is None:
                node["mc_value"] = made["mc_value"]
    root["children"] = _grown(tree)
    return {"question": asked, "reasoning_steps": root} | (head.get("row") or _unknown(records[0]))


def _grown(tree: Mapping[Any, Any]) -> list[dict[str, Any]]:
    nodes = []
    numbered = all(isinstance(key, int) for key in tree)
    for _, (node, below) in sorted(tree.items()) if numbered else tree.items():
        children = _grown(below)
        leaf = {} if "children" in node and not children else {"children": children}
        nodes.append({k: v for k, v in node.items() if k != "children"} | leaf)
    return nodes
