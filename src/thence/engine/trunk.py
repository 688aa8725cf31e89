"""The forward pass: a lean decoder over key/value buffers that stay in place.

One sample's cache has two parts. Its *prefix* is the rendered prompt; samples of one prompt form groups of at most
`GROUP_ROWS` rows and share one copy. Its *suffix* is its reply so far, in pages of `PAGE` tokens of the row's own.
Attention scores of the prefix are one matrix product per group, those of the suffix one per row and page; all go
through one softmax:

    s = [Q_group K_prefix^T | q K_page1^T | q K_page2^T | ...],  p = softmax(s + mask)
    o = p_prefix V_prefix + p_page1 V_page1 + p_page2 V_page2 + ...

so a shared prompt is read once per group and step, not once per sample. A page is one block of memory over all rows:
decoding many rows is bound by reading keys and values, and whole blocks are read about twice as fast as the same
tokens with gaps between them. Pages that only some rows have reached are read for those rows only.

Why a row's numbers do not depend on its neighbours (exact mode): every product used here gives, row for row, the same
bits whatever the number of rows, as long as there are at least `MIN_ROWS` rows (`tests/engine/test_exact.py` checks it
on the machine at hand); widths are padded with masked keys, which add exact zeros; the reply is always computed by
`decode`, one token per row, also when it is replayed after an eviction, and the prompt always by `prefill`.

Differs from transformers: gate and activation, and residual sums, are fused into the products (oneDNN post-ops, so in
bf16 they are rounded once and not twice); in float32 on a CPU the rotary embedding is one complex product, for which
the rows of the q and k projections are interleaved at load time (scores are invariant under that permutation).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F

from thence.nets.checkpoint import Checkpoint, Shape

GROUP_ROWS = 16
MIN_ROWS = 4
PAGE = 32
THIN_ROWS = 16
CHAIN = 192

Tensor = torch.Tensor


class Linear:
    """x W^T + b with fused followers; packed for oneDNN on a CPU, plain elsewhere.

    oneDNN's packed products are the fastest for many rows, but each call costs as much as 8 rows of a tiny model. With
    ``thin``, up to `THIN_ROWS` rows go to the plain product instead. Both add up in one chain over at most `CHAIN`
    inputs, so wider weights are cut into parts whose sums are added in order, and the bits agree; `Trunk` checks that
    on the weights at hand before it uses the short way.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, packed: bool, thin: bool = False) -> None:
        self.bias = bias
        self.ops: Any = torch.ops.mkldnn._linear_pointwise if packed else None
        self.cuts = [*range(0, weight.shape[1], CHAIN)] if thin else [0]
        self.cuts.append(weight.shape[1])
        parts = [weight[:, a:b].contiguous() for a, b in pairwise(self.cuts)] if thin else [weight.contiguous()]
        self.thin = [part.t().contiguous() for part in parts] if thin else []
        self.parts = [torch.ops.mkldnn._reorder_linear_weight(part, None) for part in parts] if packed else parts

    def plain(self, x: Tensor) -> Tensor:
        """x W^T + b."""
        if self.thin and x.shape[0] <= THIN_ROWS:
            if len(self.thin) == 1 and self.bias is None:
                return torch.mm(x, self.thin[0])
            return self._thin(x, self.bias)
        if self.ops is None:
            return F.linear(x, self.parts[0], self.bias)
        out: Tensor = self.ops(x[:, : self.cuts[1]], self.parts[0], self.bias, "none", [], "")
        return self._rest(x, out)

    def silu(self, x: Tensor) -> Tensor:
        """silu(x W^T + b)."""
        if self.ops is None or self.thin:
            return F.silu(self.plain(x), inplace=True)
        out: Tensor = self.ops(x, self.parts[0], self.bias, "swish", [], "")
        return out

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """(x W^T + b) * other."""
        if self.ops is None or len(self.parts) > 1:
            return self.plain(x).mul_(other)
        out: Tensor = self.ops.binary(x, other, self.parts[0], self.bias, "mul")
        return out

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """x W^T + b + other."""
        if self.thin and self.bias is None and x.shape[0] <= THIN_ROWS:
            return self._thin(x, other)
        if self.ops is None or self.bias is not None:
            return self.plain(x).add_(other)
        out: Tensor = self.ops.binary(x[:, : self.cuts[1]], other, self.parts[0], None, "add")
        return self._rest(x, out)

    def _thin(self, x: Tensor, out: Tensor | None) -> Tensor:
        for (a, b), part in zip(pairwise(self.cuts), self.thin, strict=True):
            out = torch.mm(x[:, a:b], part) if out is None else torch.addmm(out, x[:, a:b], part)
        assert out is not None
        return out

    def _rest(self, x: Tensor, out: Tensor) -> Tensor:
        for (a, b), part in zip(pairwise(self.cuts[1:]), self.parts[1:], strict=True):
            out = self.ops.binary(x[:, a:b], out, part, None, "add")
        return out


@dataclass(slots=True)
class Layer:
    """Weights of one layer; ``q_norm`` and ``k_norm`` are joined per head (None: the family has none)."""

    norm1: Tensor
    qkv: Linear
    qk_norm: Tensor | None
    out: Linear
    norm2: Tensor
    gate: Linear
    up: Linear
    gate_up: Linear | None
    down: Linear


@dataclass(slots=True)
class Buffers:
    """Prefix memory of all layers. The last place is scratch for padding.

    Keys lie transposed, [layers, places, kv_heads, head_dim, length], values [layers, places, kv_heads, length,
    head_dim]: both products over a group's prefix then read whole lines.
    """

    keys: Tensor
    values: Tensor

    @staticmethod
    def make(shape: Shape, places: int, length: int, dtype: torch.dtype, device: torch.device) -> Buffers:
        """Zeroed buffers: masked keys must be finite, because their weight of 0 multiplies them."""
        size = (shape.layers, places + 1, shape.kv_heads)
        keys = torch.zeros(*size, shape.head_dim, length, dtype=dtype, device=device)
        return Buffers(keys, torch.zeros(*size, length, shape.head_dim, dtype=dtype, device=device))

    @property
    def places(self) -> int:
        """Usable places, the scratch place not counted; its index is this number."""
        return int(self.keys.shape[1]) - 1

    @property
    def length(self) -> int:
        """Tokens per place."""
        return int(self.keys.shape[4])

    def resized(self, shape: Shape, places: int, length: int) -> Buffers:
        """Buffers of another size with the same content, as far as it fits."""
        new = Buffers.make(shape, places, length, self.keys.dtype, self.keys.device)
        kept = min(length, self.length)
        new.keys[:, : self.places, ..., :kept] = self.keys[:, : self.places, ..., :kept]
        new.values[:, : self.places, :, :kept] = self.values[:, : self.places, :, :kept]
        return new

    def read(self, place: int, length: int) -> Tensor:
        """A copy of the first ``length`` tokens of a place: [layers, 2, kv_heads, length, head_dim]."""
        keys = self.keys[:, place, :, :, :length].transpose(2, 3)
        return torch.stack((keys, self.values[:, place, :, :length]), 1)

    def write(self, place: int, start: int, kv: Tensor) -> None:
        """Put tokens at ``start``."""
        end = start + kv.shape[3]
        self.keys[:, place, :, :, start:end] = kv[:, 0].transpose(2, 3)
        self.values[:, place, :, start:end] = kv[:, 1]

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens of one place to another."""
        self.keys[:, target, ..., :length] = self.keys[:, source, ..., :length].clone()
        self.values[:, target, :, :length] = self.values[:, source, :, :length].clone()


@dataclass(slots=True)
class Pages:
    """Suffix memory: [layers, 2, pages, places, kv_heads, PAGE, head_dim]. The last place is scratch for padding."""

    data: Tensor
    flat: list[tuple[Tensor, Tensor]]
    keys: list[list[Tensor]]
    values: list[list[Tensor]]

    @staticmethod
    def make(shape: Shape, places: int, pages: int, dtype: torch.dtype, device: torch.device) -> Pages:
        """Zeroed pages: masked keys must be finite, because their weight of 0 multiplies them."""
        size = (shape.layers, 2, pages, places + 1, shape.kv_heads, PAGE, shape.head_dim)
        data = torch.zeros(size, dtype=dtype, device=device)
        flat = [(layer[0].view(-1, shape.head_dim), layer[1].view(-1, shape.head_dim)) for layer in data]
        return Pages(data, flat, [list(layer[0]) for layer in data], [list(layer[1]) for layer in data])

    @property
    def places(self) -> int:
        """Usable places, the scratch place not counted; its index is this number."""
        return int(self.data.shape[3]) - 1

    @property
    def pages(self) -> int:
        """Pages per place."""
        return int(self.data.shape[2])

    def resized(self, shape: Shape, places: int, pages: int) -> Pages:
        """More memory with the same content."""
        new = Pages.make(shape, places, pages, self.data.dtype, self.data.device)
        new.data[:, :, : self.pages, : self.places] = self.data[:, :, :, : self.places]
        return new

    def read(self, place: int, length: int) -> Tensor:
        """A copy of the first ``length`` tokens of a place: [layers, 2, kv_heads, length, head_dim]."""
        data = self.data[:, :, : -(-length // PAGE), place]
        return data.transpose(2, 3).flatten(3, 4)[:, :, :, :length]

    def write(self, place: int, start: int, kv: Tensor) -> None:
        """Put tokens at ``start``; the piece must not cross the end of a page."""
        page, offset = divmod(start, PAGE)
        self.data[:, :, page, place, :, offset : offset + kv.shape[3]] = kv

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens (whole pages) of one place to another."""
        pages = -(-length // PAGE)
        self.data[:, :, :pages, target] = self.data[:, :, :pages, source]


@dataclass(slots=True)
class DecodePlan:
    """Where the rows of one decode step read and write; index tensors are explained at `Trunk._attend`.

    ``spans`` has the range of rows that have reached each page, ``mask`` [rows * kv_heads, 1, prefix + pages * PAGE] is
    added to the scores. ``places`` None means that row i is suffix place i; otherwise the place of each row (replay).
    """

    rows: int
    prefix: int
    tiles: int
    spans: list[tuple[int, int]]
    tile_rows: Tensor
    row_tiles: Tensor
    mask: Tensor
    write: Tensor
    groups: Tensor | None = None
    places: Tensor | None = None
    views: list[tuple[Tensor, Tensor]] = field(default_factory=list)


@dataclass(slots=True)
class PrefillPlan:
    """Prompts to prefill together: ``count`` groups with ``rows`` new tokens each, ``prefix`` keys wide.

    ``places`` is the place of every token, ``groups`` that of every group.
    """

    count: int
    rows: int
    prefix: int
    mask: Tensor
    places: Tensor
    groups: Tensor


class Trunk:
    """The weights and the two forward passes, `prefill` for prompts and `decode` for replies."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        self.shape = shape = checkpoint.shape
        self.device, self.dtype = device, dtype
        self.packed = device.type == "cpu" and packable(dtype)
        self.complex_rope = device.type == "cpu" and dtype == torch.float32
        self.scale = shape.head_dim**-0.5
        weights = {k: v.to(device=device, dtype=dtype) for k, v in checkpoint.weights.items()}
        self.embedding = weights["model.embed_tokens.weight"]
        self.norm = weights["model.norm.weight"]
        self.thin = self.packed and dtype == torch.float32 and _tiny(weights)
        self._read(weights)
        if self.thin and not self._thin_agrees():
            self.thin = False
            self._read(weights)
        angles = torch.outer(torch.arange(shape.context + 1).float(), checkpoint.inv_freq.cpu())
        cos, sin = angles.cos() * checkpoint.rope_scale, angles.sin() * checkpoint.rope_scale
        if self.complex_rope:
            self.rotation = torch.complex(cos, sin).unsqueeze(1)
        else:
            self.cos = torch.cat((cos, cos), -1).unsqueeze(1).to(device=device, dtype=dtype)
            self.sin = torch.cat((-sin, sin), -1).unsqueeze(1).to(device=device, dtype=dtype)

    def _read(self, weights: dict[str, Tensor]) -> None:
        self.head = Linear(weights.get("lm_head.weight", self.embedding), None, packed=self.packed, thin=self.thin)
        self.layers = [self._layer(weights, f"model.layers.{i}.") for i in range(self.shape.layers)]

    def _thin_agrees(self) -> bool:
        """Whether few rows and many rows give the same bits with these weights on this machine."""
        generator = torch.Generator().manual_seed(0)
        linears = [self.head]
        for layer in self.layers:
            linears += [layer.qkv, layer.out, layer.gate, layer.up, layer.down]
        for linear in linears:
            x = torch.randn(64, linear.cuts[-1], generator=generator)
            many, summed = linear.plain(x), torch.randn(64, linear.thin[0].shape[1], generator=generator)
            for rows in (MIN_ROWS, 8, THIN_ROWS):
                few = x[:rows].contiguous()
                if not torch.equal(linear.plain(few), many[:rows]):
                    return False
                if not torch.equal(linear.plus(few, summed[:rows]), linear.plus(x, summed)[:rows]):
                    return False
        for layer in self.layers:
            x = torch.randn(64, self.shape.width, generator=generator)
            if not torch.equal(self._gated(layer, x[:MIN_ROWS].contiguous()), self._gated(layer, x)[:MIN_ROWS]):
                return False
        return True

    def _gated(self, layer: Layer, h: Tensor) -> Tensor:
        """silu(gate) * up."""
        if layer.gate_up is not None and h.shape[0] <= THIN_ROWS:
            gate, up = layer.gate_up.plain(h).chunk(2, -1)
            return F.silu(gate).mul_(up)
        return layer.up.times(h, layer.gate.silu(h))

    def _layer(self, weights: dict[str, Tensor], at: str) -> Layer:
        shape, attn, mlp = self.shape, at + "self_attn.", at + "mlp."

        def rotary(w: Tensor) -> Tensor:
            """Rows of a q or k projection in the order the rotary embedding wants."""
            if not self.complex_rope:
                return w
            half = shape.head_dim // 2
            return w.reshape(-1, 2, half, *w.shape[1:]).transpose(1, 2).reshape(w.shape).contiguous()

        def linear(name: str) -> Linear:
            return Linear(weights[name + ".weight"], weights.get(name + ".bias"), packed=self.packed, thin=self.thin)

        q, k, v = (attn + f"{x}_proj" for x in "qkv")
        weight = torch.cat((rotary(weights[q + ".weight"]), rotary(weights[k + ".weight"]), weights[v + ".weight"]))
        bias = None
        if q + ".bias" in weights:
            bias = torch.cat((rotary(weights[q + ".bias"]), rotary(weights[k + ".bias"]), weights[v + ".bias"]))
        qk_norm = None
        if attn + "q_norm.weight" in weights:
            q_norm, k_norm = rotary(weights[attn + "q_norm.weight"]), rotary(weights[attn + "k_norm.weight"])
            qk_norm = torch.cat((q_norm.expand(shape.heads, -1), k_norm.expand(shape.kv_heads, -1))).contiguous()
        joined = None
        if self.thin and mlp + "gate_proj.bias" not in weights:
            both = torch.cat((weights[mlp + "gate_proj.weight"], weights[mlp + "up_proj.weight"]))
            joined = Linear(both, None, packed=self.packed, thin=True)
        return Layer(
            norm1=weights[at + "input_layernorm.weight"],
            qkv=Linear(weight, bias, packed=self.packed, thin=self.thin),
            qk_norm=qk_norm,
            out=linear(attn + "o_proj"),
            norm2=weights[at + "post_attention_layernorm.weight"],
            gate=linear(mlp + "gate_proj"),
            up=linear(mlp + "up_proj"),
            gate_up=joined,
            down=linear(mlp + "down_proj"),
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits in float32, [rows, vocab]; ``hidden`` must have at least MIN_ROWS rows."""
        return self.head.plain(hidden).float()

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        if self.complex_rope:
            rotation = self.rotation.index_select(0, positions)
            return rotation, rotation
        return self.cos.index_select(0, positions), self.sin.index_select(0, positions)

    def _qkv(self, layer: Layer, x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries [rows, heads, d], rotated keys and values [rows, kv_heads, d]."""
        s = self.shape
        h = F.rms_norm(x, (s.width,), layer.norm1, s.eps)
        heads = layer.qkv.plain(h).view(-1, s.heads + 2 * s.kv_heads, s.head_dim)
        qk, v = heads[:, : s.heads + s.kv_heads], heads[:, s.heads + s.kv_heads :]
        if layer.qk_norm is not None:
            qk = F.rms_norm(qk, (s.head_dim,), None, s.eps).mul_(layer.qk_norm)
        if self.complex_rope:
            torch.view_as_complex(qk.view(-1, s.heads + s.kv_heads, s.head_dim // 2, 2)).mul_(rotation[0])
        else:
            qk = torch.addcmul(qk * rotation[0], qk.roll(s.head_dim // 2, -1), rotation[1])
        return qk[:, : s.heads], qk[:, s.heads :], v

    def _mlp(self, layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
        """Output projection, residual, and the gated MLP with its residual."""
        x = layer.out.plus(attended, x)
        h = F.rms_norm(x, (self.shape.width,), layer.norm2, self.shape.eps)
        return layer.down.plus(self._gated(layer, h), x)

    def decode(self, tokens: Tensor, positions: Tensor, prefix: Buffers, suffix: Pages, plan: DecodePlan) -> Tensor:
        """One reply token per row: writes its keys and values, returns final hidden states [rows, width]."""
        s = self.shape
        x = self.embedding.index_select(0, tokens)
        rotation = self._rotation(positions)
        for index, layer in enumerate(self.layers):
            q, k, v = self._qkv(layer, x, rotation)
            flat_keys, flat_values = suffix.flat[index]
            flat_keys.index_copy_(0, plan.write, k.reshape(-1, s.head_dim))
            flat_values.index_copy_(0, plan.write, v.reshape(-1, s.head_dim))
            attended = self._attend(q, index, prefix, suffix, plan)
            x = self._mlp(layer, x, attended)
        return F.rms_norm(x, (s.width,), self.norm, s.eps)

    def _attend(self, q: Tensor, layer: int, prefix: Buffers, suffix: Pages, plan: DecodePlan) -> Tensor:
        """Attention of one query per row over its group's prefix and its own suffix.

        A (row, kv head) pair is one line. ``tile_rows`` picks lines into tiles [tiles, kv_heads, tile width];
        ``row_tiles`` is the way back. Lines that pad a tile repeat line 0 and are never read back.
        """
        s, width = self.shape, plan.tile_rows.shape[0] // (plan.tiles * self.shape.kv_heads)
        kv, d, group, p = s.kv_heads, s.head_dim, s.group, plan.prefix
        lines = plan.rows * kv
        pk, pv = self._prefix_of(layer, prefix, plan)
        q = torch.mul(q, self.scale).view(lines, group, d)
        tiled = q.view(lines, group * d).index_select(0, plan.tile_rows).view(-1, width * group, d)
        scores = torch.bmm(tiled, pk)
        pieces = [scores.view(-1, group * p).index_select(0, plan.row_tiles).view(lines, group, p)]
        for (low, high), page in zip(plan.spans, suffix.keys[layer], strict=False):
            keys = page[low:high] if plan.places is None else page.index_select(0, plan.places)
            piece = torch.bmm(q[low * kv : high * kv], keys.flatten(0, 1).transpose(1, 2))
            if high - low < plan.rows:
                # What the other rows get here is masked; zeros are finite.
                piece = F.pad(piece, (0, 0, 0, 0, low * kv, (plan.rows - high) * kv))
            pieces.append(piece)
        weights = torch.softmax(torch.cat(pieces, -1).add_(plan.mask), -1)
        tiled = weights[:, :, :p].reshape(lines, -1).index_select(0, plan.tile_rows)
        out = torch.bmm(tiled.view(-1, width * group, p), pv)
        out = out.view(-1, group * d).index_select(0, plan.row_tiles).view(lines, group, d)
        at = p
        for (low, high), page in zip(plan.spans, suffix.values[layer], strict=False):
            values = page[low:high] if plan.places is None else page.index_select(0, plan.places)
            part = weights[low * kv : high * kv, :, at : at + PAGE]
            out[low * kv : high * kv].baddbmm_(part, values.flatten(0, 1))
            at += PAGE
        return out.view(plan.rows, -1)

    def _prefix_of(self, layer: int, prefix: Buffers, plan: DecodePlan) -> tuple[Tensor, Tensor]:
        """Keys [tiles * kv_heads, d, width] and values [.., width, d] of the groups; views are kept in the plan."""
        if plan.groups is None and layer < len(plan.views):
            return plan.views[layer]
        keys, values = prefix.keys[layer], prefix.values[layer]
        if plan.groups is None:
            keys, values = keys[: plan.tiles], values[: plan.tiles]
        else:
            keys, values = keys.index_select(0, plan.groups), values.index_select(0, plan.groups)
        keys, values = keys[..., : plan.prefix].flatten(0, 1), values[:, :, : plan.prefix].flatten(0, 1)
        if plan.groups is None:
            plan.views.append((keys, values))
        return keys, values

    def prefill(self, tokens: Tensor, positions: Tensor, prefix: Buffers, plan: PrefillPlan) -> Tensor:
        """Prompt tokens, ``plan.rows`` per group: writes keys and values, returns hidden states [rows, width]."""
        s = self.shape
        x = self.embedding.index_select(0, tokens)
        rotation = self._rotation(positions)
        split = (plan.count, plan.rows, s.kv_heads, s.group, s.head_dim)
        for index, layer in enumerate(self.layers):
            q, k, v = self._qkv(layer, x, rotation)
            prefix.keys[index].permute(0, 3, 1, 2).index_put_((plan.places, positions), k)
            prefix.values[index].permute(0, 2, 1, 3).index_put_((plan.places, positions), v)
            keys = prefix.keys[index][..., : plan.prefix].index_select(0, plan.groups).flatten(0, 1)
            values = prefix.values[index][:, :, : plan.prefix].index_select(0, plan.groups).flatten(0, 1)
            queries = q.reshape(split).permute(0, 2, 1, 3, 4).reshape(-1, plan.rows * s.group, s.head_dim)
            scores = torch.bmm(queries, keys).mul_(self.scale)
            scores.view(plan.count, s.kv_heads, plan.rows, s.group, plan.prefix).add_(plan.mask)
            out = torch.bmm(torch.softmax(scores, -1), values)
            out = out.view(plan.count, s.kv_heads, plan.rows, s.group, s.head_dim).permute(0, 2, 1, 3, 4)
            x = self._mlp(layer, x, out.reshape(plan.count * plan.rows, -1))
        return F.rms_norm(x, (s.width,), self.norm, s.eps)


def _tiny(weights: dict[str, Tensor]) -> bool:
    """Whether every product adds up at most two chains, and widths are whole vector registers (else the last elements
    of a row would take another path through silu)."""
    shapes = [w.shape for name, w in weights.items() if name.endswith("_proj.weight")]
    return all(inputs <= 2 * CHAIN and inputs % 32 == 0 and outputs % 32 == 0 for outputs, inputs in shapes)


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
