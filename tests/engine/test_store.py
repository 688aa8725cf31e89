"""The prefix store."""

from __future__ import annotations

import torch

from thence.engine.store import BLOCK, Fill, Store


def kv(ids: list[int]) -> Fill:
    """A recognisable cache: every number is the token's id. [layers 1, 2, kv_heads 1, tokens, d 1]"""

    def fill(piece: torch.Tensor, start: int) -> None:
        piece.copy_(torch.tensor(ids[start : start + piece.shape[3]]).view(1, 1, 1, -1, 1))

    return fill


def new_slot() -> torch.Tensor:
    return torch.empty(1, 2, 1, BLOCK, 1)


def joined(pieces: list[torch.Tensor]) -> list[int]:
    return [int(x) for piece in pieces for x in piece[0, 0, 0, :, 0]]


def test_a_whole_prompt_comes_back_with_its_last_state_and_a_longer_one_shares_whole_blocks() -> None:
    store = Store(10**6, new_slot)
    ids = list(range(BLOCK + 10))
    end = store.add_prompt(ids, kv(ids), torch.ones(3))
    pieces, covered, whole = store.prompt(ids)
    assert (joined(pieces), covered, whole) == (ids, len(ids), end)
    longer = [*ids, 500, 501]
    pieces, covered, whole = store.prompt(longer)
    assert (joined(pieces), covered, whole) == (ids, len(ids), None)
    other = [*ids[: BLOCK + 3], 900]
    pieces, covered, whole = store.prompt(other)
    assert (joined(pieces), covered, whole) == (ids[: BLOCK + 3], BLOCK + 3, None)
    assert store.prompt([999])[1] == 0


def test_replies_hang_below_their_prompt_and_never_mix_with_prompts() -> None:
    store = Store(10**6, new_slot)
    end = store.add_prompt([1, 2], kv([1, 2]), torch.ones(3))
    store.add_reply(end, [3, 4, 5], kv([3, 4, 5]))
    assert joined(store.reply(end, [3, 4, 9])[0]) == [3, 4]
    assert store.prompt([1, 2, 3, 4, 5])[1] == 2


def test_the_limit_holds_and_the_least_recently_used_goes_first() -> None:
    store = Store(4 * new_slot().nbytes, new_slot)
    prompts = [[100 * p + i for i in range(BLOCK)] for p in range(6)]
    for ids in prompts[:4]:
        store.add_prompt(ids, kv(ids), torch.ones(3))
    store.prompt(prompts[0])  # used again
    for ids in prompts[4:]:
        store.add_prompt(ids, kv(ids), torch.ones(3))
    assert store.bytes <= store.limit
    assert store.prompt(prompts[0])[1] == BLOCK
    assert store.prompt(prompts[1])[1] == 0
    assert store.evicted >= 2 * BLOCK
    gone = Store(1, new_slot)
    end = gone.add_prompt(prompts[0], kv(prompts[0]), torch.ones(3))
    gone.add_prompt(prompts[1], kv(prompts[1]), torch.ones(3))
    assert not end.alive
    gone.add_reply(end, [1], kv([1]))  # its prompt is gone: kept nowhere, no error


def test_the_memory_of_a_dropped_block_serves_the_next_one() -> None:
    made = []

    def counted() -> torch.Tensor:
        made.append(new_slot())
        return made[-1]

    store = Store(2 * new_slot().nbytes, counted)
    for p in range(20):
        ids = [100 * p + i for i in range(BLOCK)]
        store.add_prompt(ids, kv(ids), torch.ones(3))
        assert joined(store.prompt(ids)[0]) == ids
    assert len(made) == 3  # two that the limit allows, and one before the oldest is dropped
    store.clear()
    assert store.bytes == 0
    store.add_prompt([7, 8], kv([7, 8]), torch.ones(3))
    assert joined(store.prompt([7, 8])[0]) == [7, 8]
    assert len(made) == 3


def test_replies_that_nobody_goes_on_with_make_room_before_new_memory_is_taken() -> None:
    made = []

    def counted() -> torch.Tensor:
        made.append(new_slot())
        return made[-1]

    store = Store(10**9, counted)
    end = store.add_prompt([1, 2], kv([1, 2]), torch.ones(3))
    other = store.add_prompt([8, 9], kv([8, 9]), torch.ones(3))
    replies = [[100 * r + i for i in range(2 * BLOCK)] for r in range(3)]
    for ids in replies:
        store.add_reply(end, ids, kv(ids))
    store.add_reply(other, replies[0], kv(replies[0]))
    store.cool([1, 2])
    assert store.reply(end, replies[1])[1] == 2 * BLOCK, "until the room is needed they are there"
    taken = len(made)
    more = [900 + i for i in range(4 * BLOCK)]
    store.add_reply(other, more, kv(more))
    assert len(made) == taken
    assert store.evicted == 4 * BLOCK
    assert [store.reply(end, ids)[1] for ids in replies] == [0, 2 * BLOCK, 0], "the one that was used again stays"
    assert joined(store.reply(other, more)[0]) == more
    assert joined(store.reply(other, replies[0])[0]) == replies[0]
    assert store.prompt([1, 2])[1] == 2
    assert store.bytes == len(made) * made[0].nbytes
    store.cool([77])  # a prompt nobody knows
