"""Finished keys and values by token prefix, on the heap, evicted least recently used first.

Two radix trees in one: blocks of a prompt, and below the prompt's last block the blocks of the replies to it. A block
holds up to `BLOCK` tokens. The two kinds never mix, because the engine computes the two by different passes, and in
exact mode the bits of a key depend on which one made it.

Rows at work own copies in the engine's buffers, so any block may be dropped at any time. Its memory goes to the next
new block: memory fresh from the operating system costs more than what is copied into it. For the same reason the
replies to a prompt that nobody will go on with (`cool`) are dropped before new memory is taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from .buffers import PAGE

BLOCK = PAGE // 4  # small, because every step of a search leaves a last block that is not full
Fill = Callable[[torch.Tensor, int], None]
SCANNED = 32  # siblings compared token by token when none matches whole: enough for branches, cheap with many prompts


@dataclass(slots=True, eq=False)
class Block:
    """Keys and values of ``tokens`` after the path to ``parent``; ``hidden`` is the last token's final state.

    ``slot`` is the block's memory, [layers, 2, kv_heads, BLOCK, d].
    """

    parent: Block | None
    tokens: tuple[int, ...]
    slot: torch.Tensor | None
    hidden: torch.Tensor | None = None
    used: int = 0
    alive: bool = True
    children: dict[tuple[int, ...], Block] = field(default_factory=dict)
    replies: dict[tuple[int, ...], Block] = field(default_factory=dict)

    @property
    def leaf(self) -> bool:
        """Nothing hangs below."""
        return not self.children and not self.replies


class Store:
    """The tree of blocks, at most ``limit`` bytes; ``new_slot`` makes the memory of one block."""

    def __init__(self, limit: int, new_slot: Callable[[], torch.Tensor]) -> None:
        self.limit = limit
        self.bytes = 0
        self.evicted = 0
        self._new_slot = new_slot
        self._spare: list[torch.Tensor] = []
        self._cold: deque[tuple[Block, int]] = deque()  # last blocks of prompts, and when they were left
        self._root = Block(None, (), None)
        self._clock = 0

    def prompt(self, ids: Sequence[int]) -> tuple[list[torch.Tensor], int, Block | None]:
        """Cached pieces of a prompt, how many tokens they cover, and its last block if all of it is there."""
        pieces, covered, node = self._walk(self._root, "children", ids)
        whole = node if covered == len(ids) and node is not None and node.hidden is not None else None
        return pieces, covered, whole

    def reply(self, end: Block, ids: Sequence[int]) -> tuple[list[torch.Tensor], int]:
        """Cached pieces of a reply to the prompt whose last block is ``end``."""
        pieces, covered, _ = self._walk(end, "replies", ids)
        return pieces, covered

    def add_prompt(self, ids: Sequence[int], fill: Fill, hidden: torch.Tensor) -> Block:
        """Keep a whole prompt; ``fill(piece, start)`` copies the keys and values from ``start`` on into ``piece``,
        [layers, 2, kv_heads, n, d]."""
        node = self._add(self._root, "children", ids, fill)
        node.hidden = hidden
        self._evict(keep=node)
        return node

    def add_reply(self, end: Block, ids: Sequence[int], fill: Fill) -> None:
        """Keep a reply to the prompt whose last block is ``end``, unless that has been evicted."""
        if end.alive:
            self._evict(keep=self._add(end, "replies", ids, fill))

    def cool(self, ids: Sequence[int]) -> None:
        """Nobody means to go on with the replies to this prompt: unless somebody does, they are the next to go."""
        end = self._walk(self._root, "children", ids)[2]
        if end is not None and end.replies:
            self._cold.append((end, self._clock))

    def clear(self) -> None:
        """Forget everything."""
        for node in list(self._blocks()):
            self._release(node)
        self._root = Block(None, (), None)
        self._cold.clear()

    def _slot(self) -> torch.Tensor:
        while self._cold and not self._spare:
            end, since = self._cold.popleft()
            # A block that was used again lies below blocks that were used again.
            for node in [n for n in _below(end.replies.values()) if n.used <= since]:
                self._drop(node)
        return self._spare.pop() if self._spare else self._new_slot()

    def _touch(self, node: Block) -> None:
        self._clock += 1
        node.used = self._clock

    def _walk(self, node: Block, kind: str, ids: Sequence[int]) -> tuple[list[torch.Tensor], int, Block | None]:
        pieces: list[torch.Tensor] = []
        at = 0
        first = kind
        self._touch(node)
        while at < len(ids):
            branches: dict[tuple[int, ...], Block] = getattr(node, first)
            key = tuple(ids[at : at + BLOCK])
            child = branches.get(key)
            if child is None:
                best, common = _closest(branches, key)
                if best is not None and best.slot is not None:
                    self._touch(best)
                    pieces.append(best.slot[:, :, :, :common])
                    at += common
                return pieces, at, None
            assert child.slot is not None
            self._touch(child)
            pieces.append(child.slot[:, :, :, : len(key)])
            at += len(key)
            node, first = child, "children"
        return pieces, at, node

    def _add(self, node: Block, kind: str, ids: Sequence[int], fill: Fill) -> Block:
        self._touch(node)
        for at in range(0, len(ids), BLOCK):
            branches: dict[tuple[int, ...], Block] = getattr(node, kind if at == 0 else "children")
            key = tuple(ids[at : at + BLOCK])
            child = branches.get(key)
            if child is None:
                slot = self._slot()
                fill(slot[:, :, :, : len(key)], at)
                child = branches[key] = Block(node, key, slot)
                self.bytes += slot.nbytes
            self._touch(child)
            node = child
        return node

    def _evict(self, keep: Block) -> None:
        if self.bytes <= self.limit:
            return
        path = set()
        node: Block | None = keep
        while node is not None:
            path.add(id(node))
            node = node.parent
        # Down to 90 %, so that the scan is paid once in a while and not at every addition.
        while self.bytes > self.limit * 0.9:
            leaves = sorted((n for n in self._blocks() if n.leaf and id(n) not in path), key=lambda n: n.used)
            if not leaves:
                return
            for leaf in leaves:
                self._drop(leaf)
                if self.bytes <= self.limit * 0.9:
                    return

    def _drop(self, node: Block) -> None:
        parent = node.parent
        assert parent is not None
        for branches in (parent.children, parent.replies):
            if branches.get(node.tokens) is node:
                del branches[node.tokens]
        self.evicted += len(node.tokens)
        self._release(node)

    def _blocks(self) -> Iterator[Block]:
        return _below(self._root.children.values())

    def _release(self, node: Block) -> None:
        assert node.slot is not None
        self.bytes -= node.slot.nbytes
        self._spare.append(node.slot)
        node.alive, node.slot = False, None


def _below(nodes: Iterable[Block]) -> Iterator[Block]:
    """These blocks and all below them, children after their parents."""
    stack = [*nodes]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.children.values())
        stack.extend(node.replies.values())


def _closest(branches: dict[tuple[int, ...], Block], key: tuple[int, ...]) -> tuple[Block | None, int]:
    """Among the newest siblings the one with the longest common beginning with ``key``."""
    best, longest = None, 0
    for scanned, (tokens, node) in enumerate(reversed(branches.items())):
        if scanned >= SCANNED:
            break
        if tokens[0] != key[0]:
            continue
        common = next(
            (i for i, (a, b) in enumerate(zip(tokens, key, strict=False)) if a != b), min(len(tokens), len(key))
        )
        if common > longest:
            best, longest = node, common
    return best, longest
