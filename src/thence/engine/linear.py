"""Products of a model's weights: three ways for few and many rows that give the same bits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

Tensor = torch.Tensor
MIN_ROWS = 4  # from here on MKL's products give the same bits for any number of rows
CHAIN = 192  # inputs that MKL adds up in one chain
BAG_INPUTS = 512  # inputs that oneDNN adds up in one chain
BAG_WORK = 400_000  # multiplications up to which a bag is the fastest way
PLAIN_WORK = 2048  # outputs of all rows up to which the plain product is


class Linear:
    """x W^T + b with fused followers; packed for oneDNN on a CPU, plain elsewhere.

    oneDNN's packed products are the fastest for many rows, but each call costs as much as 8 rows of a tiny model. With
    ``thin``, few rows take a short way: `bags`, or from `MIN_ROWS` rows on the plain product. Each adds up in one
    chain, over all inputs of a bag, over at most `CHAIN` of a plain product, so the bits agree; `Trunk` checks that on
    the weights at hand before it uses the short ways.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, packed: bool, thin: bool = False) -> None:
        outputs, inputs = weight.shape
        self.bias, self.thin = bias, thin
        self.ops: Any = torch.ops.mkldnn._linear_pointwise if packed else None
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None) if packed else weight.contiguous()
        if thin:
            self.bag_rows = max(MIN_ROWS - 1, BAG_WORK // (inputs * outputs))
            self.plain_rows = PLAIN_WORK // outputs if inputs <= CHAIN else 0
            self.table = weight.t().contiguous()
            self.index = torch.arange(inputs).repeat(self.bag_rows)
            self.starts = torch.arange(self.bag_rows) * inputs

    def plain(self, x: Tensor) -> Tensor:
        """x W^T + b."""
        if self.thin:
            rows = x.shape[0]
            if MIN_ROWS <= rows <= self.plain_rows:
                return torch.mm(x, self.table) if self.bias is None else torch.addmm(self.bias, x, self.table)
            if rows <= self.bag_rows:
                out = bags(self.table, self.index[: x.numel()], self.starts[:rows], x)
                return out if self.bias is None else out.add_(self.bias)
        if self.ops is None:
            return F.linear(x, self.weight, self.bias)
        product: Tensor = self.ops(x, self.weight, self.bias, "none", [], "")
        return product

    def silu(self, x: Tensor) -> Tensor:
        """silu(x W^T + b)."""
        if self.ops is None or self.thin:
            return F.silu(self.plain(x), inplace=True)
        out: Tensor = self.ops(x, self.weight, self.bias, "swish", [], "")
        return out

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """(x W^T + b) * other."""
        if self.ops is None or (self.thin and x.shape[0] <= max(self.bag_rows, self.plain_rows)):
            return self.plain(x).mul_(other)
        out: Tensor = self.ops.binary(x, other, self.weight, self.bias, "mul")
        return out

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """x W^T + b + other."""
        if self.thin and self.bias is None and MIN_ROWS <= x.shape[0] <= self.plain_rows:
            return torch.addmm(other, x, self.table)
        if self.ops is None or self.bias is not None or (self.thin and x.shape[0] <= self.bag_rows):
            return self.plain(x).add_(other)
        out: Tensor = self.ops.binary(x, other, self.weight, None, "add")
        return out


def bags(table: Tensor, index: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of rows of ``table``, [bags, columns]: bag i adds ``weights[j] * table[index[j]]``, one after the
    other, for j from ``starts[i]`` to the next start.

    The lookup kernel of embedding layers, for what it guarantees and MKL does not at one to three rows: a product of a
    vector and a matrix that adds up in the order of the rows, as products of four and more rows do.
    """
    out: Tensor = torch.embedding_bag(table, index, starts, False, 0, False, weights.reshape(-1))[0]
    return out


def packable(dtype: torch.dtype) -> bool:
    """Whether oneDNN's packed products exist here for ``dtype``."""
    ops = getattr(torch.ops, "mkldnn", None)
    backend: Any = torch.backends.mkldnn
    if not backend.is_available() or not hasattr(ops, "_linear_pointwise"):
        return False
    if dtype == torch.float32:
        return True
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False
