"""The recorded trees of Tree of Thoughts on the Game of 24, searched again by thence's own breadth-first search.

Yao et al. 2023 (arXiv:2305.10601) published what GPT-4 proposed and how it valued each proposal on puzzles 901 to 1000:
100 trees of four levels, of which the best five states went on each time. Here a generator proposes what was proposed,
a verifier gives the recorded values, and ``best-first(order=breadth, keep=5)`` chooses. Of equal values it takes what
was listed first, as the authors' code does: only for what they kept is there a record of how it goes on. (Without
recorded trees thence decides between equals by seed.)

    python examples/game24_tree_replay.py gpt4_tot_bfs5_trees_900_1000.json.gz

The file is ``logs/game24/gpt-4_0.7_propose1_value3_greedy5_start900_end1000.json`` of the authors' repository.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from game24_grader import check

from thence.core.completion import Ability, Sampling
from thence.core.problem import Problem
from thence.core.scores import Score
from thence.core.search import Result, Search
from thence.core.solve import solve
from thence.core.tree import Node, Tree
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import default_reading
from thence.prompts.styles import Bare
from thence.strategies.best_first import BestFirst

KEEP = 5
LEVELS = 4  # three equations, then the answer


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded tree: the proposals after each state, and the value and the place of each proposed state."""

    puzzle: str
    proposals: dict[str, list[str]]
    values: dict[tuple[int, str], float]
    places: dict[tuple[int, str], int]
    kept: list[list[str]]  # per level the states that went on, the best first

    name = "recorded-values"
    needs: frozenset[Ability] = frozenset()

    @staticmethod
    def read(row: dict[str, Any]) -> Recorded:
        """The tree of one puzzle."""
        made = Recorded(row["steps"][0]["x"], {}, {}, {}, [step["select_new_ys"] for step in row["steps"]])
        for level, step in enumerate(row["steps"], 1):
            for place, (state, value) in enumerate(zip(step["new_ys"], step["values"], strict=True)):
                before = next(y for y in step["ys"] if state.startswith(y))
                made.proposals.setdefault(before, []).append(state[len(before) :])
                key = (level, state.strip())
                made.values[key] = max(value, made.values.get(key, 0.0))  # repeated proposals were recorded as 0
                made.places.setdefault(key, place)
        return made

    @property
    def widest(self) -> int:
        """The most proposals after one state."""
        return max(map(len, self.proposals.values()))

    def propose(self, cue: Cue) -> str:
        """What was proposed as the next step; the answer, the last one, ends the text."""
        known = self.proposals[cue.reply]
        step = known[(cue.draw or 0) % len(known)]
        return step.rstrip("\n") if cue.reply.count("\n") == LEVELS - 1 else step

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """The recorded value of each state; of equals the one that was listed first is a trifle better."""
        keys = [(len(search.tree.path(n)), search.tree.solution(n).strip()) for n in nodes]
        return [Score(self.values[key] - 1e-9 * self.places[key]) for key in keys]


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of one tree: per level whether the same states went on, the five leaves, and which are right."""

    same: tuple[bool, ...]
    leaves: tuple[str, ...]
    right: tuple[bool, ...]


async def replay(recorded: Recorded) -> Replay:
    """Search one recorded tree."""
    strategy = BestFirst(
        recorded,
        expansions=1 + KEEP * (LEVELS - 1),
        actions=recorded.widest,
        order="breadth",
        keep=KEEP,
        depth=LEVELS,
        select="max",
    )
    result: Result = await solve(
        Problem("puzzle", recorded.puzzle),
        generator=ScriptedGenerator(recorded.propose, pace=0),
        strategy=strategy,
        style=Bare(),
        reading=default_reading(),
        sampling=Sampling(temperature=1.0),
    )
    tree = result.tree
    chosen = [expanded(tree, level) for level in range(1, LEVELS)]
    best = sorted(at(tree, LEVELS), key=lambda n: -n.scores[recorded.name].value)[:KEEP]
    chosen.append([tree.solution(n) for n in best])
    same = [alike(ours, theirs) for ours, theirs in zip(chosen, recorded.kept, strict=True)]
    leaves = tuple(chosen[-1])
    right = tuple(check(recorded.puzzle, leaf)["verdict"] == "correct" for leaf in leaves)
    return Replay(tuple(same), leaves, right)


def at(tree: Tree, level: int) -> list[Node]:
    """The states of a level; the first level is that of the first equation."""
    return [n for n in tree.nodes[1:] if len(tree.path(n)) == level]


def expanded(tree: Tree, level: int) -> list[str]:
    """The states of a level that went on."""
    inner = {n.parent for n in tree.nodes}
    return [tree.solution(n) for n in at(tree, level) if n.index in inner]


def alike(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether both kept the same states, each as often."""
    return sorted(s.strip() for s in ours) == sorted(s.strip() for s in theirs)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of the file, gzipped or not."""
    data = path.read_bytes()
    rows: list[dict[str, Any]] = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    return rows


def main(path: Path) -> None:
    """Replay all trees and print what came out."""
    replays = [asyncio.run(replay(Recorded.read(row))) for row in read(path)]
    going_on = [same for each in replays for same in each.same[:-1]]
    print(f"keep-5 by value gives the recorded choice in {sum(going_on)} of {len(going_on)} steps,")
    print(f"and in {sum(r.same[-1] for r in replays)} of {len(replays)} for the five answers")
    print(f"solved by any of the five leaves: {sum(any(r.right) for r in replays)} of {len(replays)}")
    print(f"solved by the first: {sum(r.right[0] for r in replays)} of {len(replays)} (the paper says 74)")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("which file? python examples/game24_tree_replay.py TREES.json.gz")
    main(Path(sys.argv[1]))
