"""Greedy decoding is one sample without chance."""

from __future__ import annotations

from drawing import drawing, solved

from thence.strategies.greedy import Greedy


async def test_it_takes_the_likeliest_text_under_every_seed() -> None:
    results = [await solved(Greedy(), drawing({"14": 0.3, "15": 0.4, "16": 0.3}), seed=s) for s in range(20)]
    assert {r.answer for r in results} == {"15"}
    assert all(len(r.tree) == 2 for r in results)


async def test_a_budget_that_buys_nothing_gives_nothing() -> None:
    result = await solved(Greedy(), drawing({"15": 1.0}), budget=3)
    assert (result.answer, result.node, result.stopped) == (None, None, "budget")
