"""Products for few and many rows."""

from __future__ import annotations

import pytest
import torch

from thence.engine.linear import BAG_INPUTS, MIN_ROWS, Linear, bags, packable

needs_packing = pytest.mark.skipif(not packable(torch.float32), reason="this torch has no packed float32 products")


@pytest.fixture(autouse=True)
def _one_thread():
    """The engine's number for tiny models: `Trunk` checks the bits under the number it will run with."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_bag_is_a_weighted_sum_of_the_rows_it_names() -> None:
    table = torch.arange(12.0).view(4, 3)
    index, starts = torch.tensor([0, 2, 3, 3, 1]), torch.tensor([0, 3])
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, -1.0])
    expected = torch.stack((table[0] + 2 * table[2] + 0.5 * table[3], table[3] - table[1]))
    assert torch.equal(bags(table, index, starts, weights), expected)


@needs_packing
@pytest.mark.parametrize(("inputs", "outputs"), [(128, 384), (128, 768), (384, 128), (128, 128), (512, 64)])
@pytest.mark.parametrize("biased", [False, True])
def test_each_row_has_the_same_bits_however_many_there_are(inputs: int, outputs: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(inputs + outputs)
    weight = torch.randn(outputs, inputs, generator=generator)
    bias = torch.randn(outputs, generator=generator) if biased else None
    thin, plain = Linear(weight, bias, packed=True, thin=True), Linear(weight, bias, packed=False)
    assert inputs <= BAG_INPUTS
    x, other = torch.randn(200, inputs, generator=generator), torch.randn(200, outputs, generator=generator)
    with torch.inference_mode():
        many, summed, times, silu = thin.plain(x), thin.plus(x, other), thin.times(x, other), thin.silu(x)
        torch.testing.assert_close(many, plain.plain(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(summed, plain.plus(x, other), rtol=1e-4, atol=1e-4)
        ways = set()
        for rows in (*range(1, 20), 33, 64):
            few, beside = x[:rows].contiguous(), other[:rows].contiguous()
            assert torch.equal(thin.plain(few), many[:rows]), rows
            assert torch.equal(thin.plus(few, beside), summed[:rows]), rows
            assert torch.equal(thin.times(few, beside), times[:rows]), rows
            assert torch.equal(thin.silu(few), silu[:rows]), rows
            ways.add("plain" if MIN_ROWS <= rows <= thin.plain_rows else "bags" if rows <= thin.bag_rows else "packed")
        assert {"bags", "packed"} <= ways
