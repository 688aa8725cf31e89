"""Everything generated for one problem: a flat list of nodes with parent indexes.

In the view of Jun Wang's tutorial this is the explored part of a Markov decision process: a state is the question and
the steps so far (a root-to-node path), an action the next step or the whole rest, and the transition appends it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from .answers import Answer
from .completion import THINK_CLOSE, THINK_OPEN, Completion, Context, Finish, Origin, Segment, split_thought
from .errors import DataError
from .scores import Meaning, Score


class Kind(StrEnum):
    """What a node is. STEP, FINISH and REVISION (a whole solution, written anew) are solution text; the others never
    vote."""

    ROOT = "root"
    STEP = "step"
    FINISH = "finish"
    SUBQUESTION = "subquestion"
    REANSWER = "reanswer"
    REPHRASE = "rephrase"
    CRITIQUE = "critique"
    REVISION = "revision"
    PROBE = "probe"
    FORCED = "forced"


SOLUTION = (Kind.STEP, Kind.FINISH, Kind.REVISION)
MERGED = (Kind.STEP, Kind.FINISH)  # equal siblings are one node; revisions reply to different chats


@dataclass(frozen=True, slots=True)
class Found:
    """An answer found in a tree: its value, the node whose text holds it, characters and tokens of that text.

    ``tokens`` is the token range [first, last) of the node's completion, None where there are no token offsets.
    """

    value: str
    node: int
    start: int
    end: int
    tokens: tuple[int, int] | None = None


@dataclass(slots=True)
class Node:
    """One piece of text. ``draws`` are the draw paths of every sample that came out as this text: duplicates are
    merged for computing and scoring, and their number is the node's multiplicity."""

    index: int
    parent: int | None
    kind: Kind
    origin: Origin
    role: str
    completion: Completion
    draws: list[tuple[int, ...]] = field(default_factory=list)
    laws: list[str] = field(default_factory=list)  # per draw: under which sampling; empty is the run's own
    scores: dict[str, Score] = field(default_factory=dict)
    found: Found | None = None
    read: bool = False  # whether an answer has been looked for
    about: tuple[int, ...] = ()  # asides: the nodes that a fresh prompt is about
    malformed: str | None = None  # why it is not in the format that was asked for; empty: it is; None: none was

    @property
    def text(self) -> str:
        """All text of this node."""
        return self.completion.text

    @property
    def multiplicity(self) -> int:
        """How many samples this node stands for."""
        return len(self.draws)

    @property
    def truncated(self) -> bool:
        """Whether the text was cut by a token cap, the context or the budget."""
        return self.completion.finish in (Finish.LENGTH, Finish.BUDGET)


class Tree:
    """All nodes of one problem; ``nodes[0]`` is the root (the question, no text)."""

    def __init__(self) -> None:
        self.nodes: list[Node] = [Node(0, None, Kind.ROOT, Origin.GIVEN, "policy", Completion("", Finish.STOP), [()])]
        self._merge: dict[tuple[object, ...], int] = {}

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    @property
    def root(self) -> Node:
        """The question."""
        return self.nodes[0]

    def add(
        self,
        parent: Node,
        completion: Completion,
        draw: tuple[int, ...],
        *,
        kind: Kind = Kind.FINISH,
        origin: Origin = Origin.SAMPLED,
        role: str = "policy",
        about: Sequence[Node] = (),
        law: str = "",
    ) -> Node:
        """Add a child, or count it as one more draw of an equal sibling."""
        key = (parent.index, kind, origin, role, completion.ids or completion.text, completion.text, completion.finish)
        at = self._merge.get(key)
        if at is not None and origin is Origin.SAMPLED and kind in MERGED:
            known = self.nodes[at]
            known.draws.append(draw)
            known.laws.append(law)
            known.completion = replace(
                known.completion,
                logprobs=known.completion.logprobs or completion.logprobs,
                top2=known.completion.top2 or completion.top2,
            )
            return known
        about_ids = tuple(n.index for n in about)
        node = Node(len(self.nodes), parent.index, kind, origin, role, completion, [draw], [law], about=about_ids)
        self.nodes.append(node)
        self._merge[key] = node.index
        return node

    def drawn_ids(self, node: Node, text: str) -> tuple[int, ...] | None:
        """The tokens of ``text`` below ``node`` as they were drawn there; None where nothing drawn begins so, or where
        a token spans its end."""
        for child in self.nodes[node.index + 1 :]:
            c = child.completion
            if child.parent != node.index or child.kind not in SOLUTION or not c.text or c.ids is None:
                continue
            if text.startswith(c.text) and (ids := c.continuable_ids) is not None:
                rest = self.drawn_ids(child, text[len(c.text) :]) if len(c.text) < len(text) else ()
                if rest is not None:
                    return ids + rest
            elif c.text.startswith(text) and c.ends is not None and len(text) in c.ends:
                return c.ids[: c.ends.index(len(text)) + 1]
        return None

    def path(self, node: Node) -> list[Node]:
        """Root-to-node path, without the root."""
        path: list[Node] = []
        at: Node | None = node
        while at is not None and at.parent is not None:
            path.append(at)
            at = self.nodes[at.parent]
        return path[::-1]

    def children(self, node: Node) -> list[Node]:
        """The children of ``node``, in order of creation."""
        return [n for n in self.nodes if n.parent == node.index]

    def parts(self, node: Node) -> list[Node]:
        """The nodes of a path that are solution text: its steps and finish, and forced text between them."""
        return [n for n in self.path(node) if n.kind in (*SOLUTION, Kind.FORCED)]

    def solution(self, node: Node) -> str:
        """The solution text of a path."""
        return "".join(n.text for n in self.parts(node))

    def reply_at(self, node: Node) -> int:
        """Where the reply begins in the solution text of a path: after the thought, over however many nodes it goes."""
        parts = self.parts(node)
        if len(parts) < 2:
            return parts[0].completion.reply_at if parts else 0
        first, last = parts[0].completion, parts[-1].completion
        opened = first.reply_at > 0 and not first.text.lstrip().startswith(THINK_OPEN)
        text = "".join(n.text for n in parts)
        own = len(text) - len(last.text) + last.reply_at if last.reply_at else 0
        return max(split_thought(text, opened=opened)[1], own)

    def thinking(self, node: Node) -> bool:
        """Whether a path ends within a marked thought that has not been closed."""
        text = self.solution(node)
        return bool(text) and THINK_CLOSE not in text and self.reply_at(node) == len(text)

    def answer_span(self, found: Found) -> tuple[Completion, slice] | None:
        """The completion that holds an answer and the answer's tokens in it; None for an answer without tokens."""
        if found.tokens is None or found.tokens[0] >= found.tokens[1]:
            return None
        return self.nodes[found.node].completion, slice(*found.tokens)

    def record(self) -> list[dict[str, Any]]:
        """The tree as plain JSON values."""
        return [_node_record(n) for n in self.nodes[1:]]

    @staticmethod
    def from_record(rows: Sequence[Mapping[str, Any]]) -> Tree:
        """Read back what ``record`` wrote; token ids and log-probabilities are not part of it."""
        tree = Tree()
        for row in rows:
            try:
                tree.nodes.append(_read_node(row, len(tree.nodes)))
            except (KeyError, ValueError, TypeError) as error:
                raise DataError(f"a stored tree cannot be read: {error}") from error
        return tree


def formats_of(nodes: Iterable[Node]) -> tuple[int, Counter[str]]:
    """How many solutions were asked for in a format, every draw counted, and why how many of them are not in it. What
    the budget cut is no draw."""
    replies, unparsed = 0, Counter[str]()
    for node in nodes:
        if node.malformed is not None and node.completion.finish is not Finish.BUDGET:
            replies += node.multiplicity
            if node.malformed:
                unparsed[node.malformed] += node.multiplicity
    return replies, unparsed


def render(base: Context, path: Sequence[Node]) -> Context:
    """What the model reads when it continues ``path``: a pure function of the prompt and the path."""
    return base.then(*(Segment(n.text, n.completion.continuable_ids, n.origin) for n in path))


def _node_record(n: Node) -> dict[str, Any]:
    c = n.completion
    row: dict[str, Any] = {
        "parent": n.parent,
        "kind": str(n.kind),
        "origin": str(n.origin),
        "role": n.role,
        "text": c.text,
        "finish": str(c.finish),
        "tokens": c.generated,
        "draws": [list(d) for d in n.draws],
    }
    if any(n.laws):
        row["laws"] = list(n.laws)
    if c.reply_at:
        row["thought"], row["reply_at"] = c.thought, c.reply_at
    if c.logprobs is not None:
        row["logprob"] = round(sum(c.logprobs), 6)
    if n.found is not None:
        f = n.found
        row["answer"] = {"value": f.value, "node": f.node, "start": f.start, "end": f.end}
    if n.scores:
        row["scores"] = {
            name: {"value": s.value, "steps": list(s.steps), "meaning": str(s.meaning)} for name, s in n.scores.items()
        }
    if n.about:
        row["about"] = list(n.about)
    if n.malformed is not None:
        row["malformed"] = n.malformed
    return row


def _read_node(row: Mapping[str, Any], index: int) -> Node:
    text, reply_at = str(row["text"]), int(row.get("reply_at", 0))
    completion = Completion(
        text, Finish(row["finish"]), str(row.get("thought", "")), text[reply_at:], reply_at, generated=row["tokens"]
    )
    node = Node(
        index,
        row["parent"],
        Kind(row["kind"]),
        Origin(row["origin"]),
        str(row["role"]),
        completion,
        [tuple(d) for d in row["draws"]],
        [str(law) for law in row.get("laws", [""] * len(row["draws"]))],
        about=tuple(row.get("about", ())),
        read=bool(row.get("malformed")),
        malformed=row.get("malformed"),
    )
    if (a := row.get("answer")) is not None:
        node.found, node.read = Found(str(a["value"]), int(a["node"]), int(a["start"]), int(a["end"])), True
    for name, s in row.get("scores", {}).items():
        node.scores[name] = Score(s["value"], tuple(s["steps"]), Meaning(s["meaning"]))
    return node


def as_found(answer: Answer, node: Node, reply_at: int | None = None) -> Found:
    """Place an answer read from a node's *reply* (or from ``reply_at`` on) in the node's whole text, with its token
    range."""
    shift = node.completion.reply_at if reply_at is None else reply_at
    start, end = answer.start + shift, answer.end + shift
    tokens = node.completion.tokens_of(start, end) if node.completion.ends is not None else None
    return Found(answer.value, node.index, start, end, tokens)
