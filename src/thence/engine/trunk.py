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

Tiny models in float32 on a CPU do the prefix by `linear.bags` instead, one sum per query head: no call has to gather
rows into tiles, and as the prefix of a group stays in the processor's cache, reading it again costs little.

Why a row's numbers do not depend on its neighbours (exact mode): every product used here gives, row for row, the same
bits whatever the number of rows, as long as there are at least `MIN_ROWS` rows or bags stand in for fewer
(`tests/engine/test_exact.py` checks it on the machine at hand); widths are padded with masked keys, which add exact
zeros; the reply is always computed by `decode`, one token per row, also when it is replayed after an eviction, and the
prompt always by `prefill`.

Differs from transformers: gate and activation, and residual sums, are fused into the products (oneDNN post-ops, so in
bf16 they are rounded once and not twice); in float32 the weights of the norms, and the scale of the scores, are
multiplied into the products beside them at load time, and on a CPU the rotary embedding is one complex product, for
which the rows of the q and k projections are interleaved (scores are invariant under that permutation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from thence.nets.checkpoint import Checkpoint
from thence.nets.heads import Head

from .buffers import PAGE, Buffers, Pages
from .linear import BAG_INPUTS, CHAIN, MIN_ROWS, Linear, Tensor, bags, packable
from .plans import Bags, DecodePlan, PrefillPlan, Span, Tiles, View

GROUP_ROWS = 16
GATED_ROWS = 16  # rows up to which gate and up projection are one product


@dataclass(slots=True)
class Layer:
    """Weights of one layer; ``q_norm`` and ``k_norm`` are joined per head (None: the family has none).

    When `Trunk.folded`, the weights of the norms are part of the products that follow them.
    """

    norm1: Tensor
    qkv: Linear
    qk_norm: Tensor | None
    out: Linear
    norm2: Tensor
    gate: Linear
    up: Linear
    gate_up: Linear | None
    down: Linear


class Trunk:
    """The weights and the two forward passes, `prefill` for prompts and `decode` for replies."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        self.shape = shape = checkpoint.shape
        self.device, self.dtype = device, dtype
        self.packed = device.type == "cpu" and packable(dtype)
        self.complex_rope = device.type == "cpu" and dtype == torch.float32
        self.scale = shape.head_dim**-0.5
        self.folded = dtype == torch.float32
        self.epsilon = [torch.tensor((n * shape.eps) ** 0.5, device=device) for n in (shape.width, shape.head_dim)]
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
        head = self._after(self.norm, weights.get("lm_head.weight", self.embedding))
        self.head = Linear(head, None, packed=self.packed, thin=self.thin)
        self.layers = [self._layer(weights, f"model.layers.{i}.") for i in range(self.shape.layers)]

    def _thin_agrees(self) -> bool:
        """Whether few rows and many rows give the same bits with these weights on this machine."""
        generator = torch.Generator().manual_seed(0)
        linears = [self.head]
        for layer in self.layers:
            linears += [layer.qkv, layer.out, layer.gate, layer.up, layer.down]
        for linear in linears:
            few_rows = max(linear.bag_rows, linear.plain_rows)
            x = torch.randn(4 * few_rows, linear.table.shape[0], generator=generator)
            many, summed = linear.plain(x), torch.randn(len(x), linear.table.shape[1], generator=generator)
            for rows in {*range(1, MIN_ROWS + 1), linear.bag_rows, linear.bag_rows + 1, few_rows}:
                few = x[:rows].contiguous()
                if not torch.equal(linear.plain(few), many[:rows]):
                    return False
                if not torch.equal(linear.plus(few, summed[:rows]), linear.plus(x, summed)[:rows]):
                    return False
        for layer in self.layers:
            x = torch.randn(64, self.shape.width, generator=generator)
            for rows in (1, MIN_ROWS, GATED_ROWS):
                if not torch.equal(self._gated(layer, x[:rows].contiguous()), self._gated(layer, x)[:rows]):
                    return False
        return self._bags_agree(generator)

    def _bags_agree(self, generator: torch.Generator) -> bool:
        """Whether bags over a prompt give the bits of the products they stand for, also for the longest prompt."""
        d, rows, length = self.shape.head_dim, 8, CHAIN
        q, keys = torch.randn(rows, d, generator=generator), torch.randn(d, length, generator=generator)
        weights, values = torch.randn(rows, length, generator=generator), keys.t().contiguous()
        for x, table in ((q, keys), (weights, values)):
            n = len(table)
            many = torch.bmm(x.unsqueeze(0), table.unsqueeze(0))[0]
            if not torch.equal(bags(table, torch.arange(n).repeat(rows), torch.arange(rows) * n, x), many):
                return False
        return True

    def _after(self, norm: Tensor, weight: Tensor) -> Tensor:
        """The weight of a product that follows a norm."""
        if not self.folded:
            return weight
        factor = norm.double() * math.sqrt(norm.shape[0])
        return (weight.double() * factor).to(weight.dtype)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """Root mean square norm over the width; when folded, up to the factor in the next weight."""
        if self.folded:
            length: Tensor = torch.linalg.vector_norm(x, 2, -1, True)
            return x.div(torch.hypot(length, self.epsilon[0]))
        return F.rms_norm(x, (self.shape.width,), weight, self.shape.eps)

    def _gated(self, layer: Layer, h: Tensor) -> Tensor:
        """silu(gate) * up."""
        if layer.gate_up is not None and h.shape[0] <= GATED_ROWS:
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

        def linear(name: str, norm: Tensor | None = None) -> Linear:
            weight = weights[name + ".weight"]
            weight = weight if norm is None else self._after(norm, weight)
            return Linear(weight, weights.get(name + ".bias"), packed=self.packed, thin=self.thin)

        norm1, norm2 = weights[at + "input_layernorm.weight"], weights[at + "post_attention_layernorm.weight"]
        q, k, v = (attn + f"{x}_proj" for x in "qkv")
        weight = torch.cat((rotary(weights[q + ".weight"]), rotary(weights[k + ".weight"]), weights[v + ".weight"]))
        weight = self._after(norm1, weight)
        bias = None
        if q + ".bias" in weights:
            bias = torch.cat((rotary(weights[q + ".bias"]), rotary(weights[k + ".bias"]), weights[v + ".bias"]))
        qk_norm = None
        if attn + "q_norm.weight" in weights:
            q_norm, k_norm = rotary(weights[attn + "q_norm.weight"]), rotary(weights[attn + "k_norm.weight"])
            qk_norm = torch.cat((q_norm.expand(shape.heads, -1), k_norm.expand(shape.kv_heads, -1))).contiguous()
            if self.folded:
                qk_norm *= shape.head_dim**0.5
        if self.folded:  # the scale of the scores goes into what makes the queries
            scaled = [weight[: shape.heads * shape.head_dim], bias] if qk_norm is None else [qk_norm[: shape.heads]]
            for part in scaled:
                if part is not None:
                    part[: shape.heads * shape.head_dim] *= self.scale
        joined = None
        if self.thin and mlp + "gate_proj.bias" not in weights:
            both = torch.cat((weights[mlp + "gate_proj.weight"], weights[mlp + "up_proj.weight"]))
            joined = Linear(self._after(norm2, both), None, packed=self.packed, thin=True)
        return Layer(
            norm1=norm1,
            qkv=Linear(weight, bias, packed=self.packed, thin=self.thin),
            qk_norm=qk_norm,
            out=linear(attn + "o_proj"),
            norm2=norm2,
            gate=linear(mlp + "gate_proj", norm2),
            up=linear(mlp + "up_proj", norm2),
            gate_up=joined,
            down=linear(mlp + "down_proj"),
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits in float32, [rows, vocab], of states that `decode` or `prefill` returned."""
        return self.head.plain(hidden).float()

    def reader(self, head: Head) -> Head:
        """``head`` for the states that this trunk returns, which lack the factors that are folded into weights."""
        (weight, bias), *rest = head.layers
        layers = ((self._after(self.norm, weight.to(self.device)), bias), *rest)
        return Head(tuple((w.to(self.device).float(), b if b is None else b.to(self.device)) for w, b in layers))

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        if self.complex_rope:
            rotation = self.rotation.index_select(0, positions)
            return rotation, rotation
        return self.cos.index_select(0, positions), self.sin.index_select(0, positions)

    def _qkv(self, layer: Layer, x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Rotated and scaled queries [rows, heads, d], and rotated keys with values [rows, 2 * kv_heads, d]."""
        s = self.shape
        turned = s.heads + s.kv_heads
        heads = layer.qkv.plain(self._normed(x, layer.norm1)).view(-1, turned + s.kv_heads, s.head_dim)
        qk = heads[:, :turned]
        if layer.qk_norm is not None:
            if self.folded:
                qk.div_(torch.hypot(torch.linalg.vector_norm(qk, 2, -1, True), self.epsilon[1])).mul_(layer.qk_norm)
            else:
                qk = F.rms_norm(qk, (s.head_dim,), None, s.eps).mul_(layer.qk_norm)
        if self.complex_rope:
            torch.view_as_complex(qk.view(-1, turned, s.head_dim // 2, 2)).mul_(rotation[0])
            return heads[:, : s.heads], heads[:, s.heads :]
        qk = torch.addcmul(qk * rotation[0], qk.roll(s.head_dim // 2, -1), rotation[1])
        q = qk[:, : s.heads] if self.folded else qk[:, : s.heads] * self.scale
        return q, torch.cat((qk[:, s.heads :], heads[:, turned:]), 1)

    def _mlp(self, layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
        """Output projection, residual, and the gated MLP with its residual."""
        x = layer.out.plus(attended, x)
        return layer.down.plus(self._gated(layer, self._normed(x, layer.norm2)), x)

    def decode(self, tokens: Tensor, positions: Tensor, prefix: Buffers, suffix: Pages, plan: DecodePlan) -> Tensor:
        """One reply token per row: writes its keys and values, returns final hidden states [rows, width]."""
        x = self.embedding.index_select(0, tokens)
        rotation = self._rotation(positions)
        for index, layer in enumerate(self.layers):
            q, kv = self._qkv(layer, x, rotation)
            suffix.flat[index].index_copy_(0, plan.write, kv.reshape(-1, self.shape.head_dim))
            x = self._mlp(layer, x, self._attend(q, self._view(index, prefix, suffix, plan), plan))
        return self._normed(x, self.norm)

    def _attend(self, q: Tensor, view: View, plan: DecodePlan) -> Tensor:
        """Attention of one query per row over its group's prefix and its own suffix, [rows, heads * d]."""
        kv, group = self.shape.kv_heads, self.shape.group
        q = q.reshape(plan.rows * kv, group, self.shape.head_dim)
        pieces = [self._over_keys(q, view.keys, plan)]
        for span in view.spans:
            if span.high - span.low == plan.rows:
                pieces.append(torch.bmm(q, span.keys))
            else:
                low, high = span.low * kv, span.high * kv
                # What the other rows get here is masked; zeros are finite.
                pieces.append(F.pad(torch.bmm(q[low:high], span.keys), (0, 0, 0, 0, low, plan.rows * kv - high)))
        weights = torch.softmax(torch.cat(pieces, -1).add_(plan.mask), -1)
        parts = weights.split_with_sizes([plan.prefix] + [PAGE] * len(view.spans), -1)
        out = self._over_values(parts[0], view.values, plan)
        for span, part in zip(view.spans, parts[1:], strict=True):
            if span.high - span.low == plan.rows:
                out.baddbmm_(part, span.values)
            else:
                low, high = span.low * kv, span.high * kv
                out[low:high].baddbmm_(part[low:high], span.values)
        return out.view(plan.rows, -1)

    def _over_keys(self, q: Tensor, keys: Tensor, plan: DecodePlan) -> Tensor:
        """Scores [lines, group, prefix] of queries [lines, group, d] with the keys of their prefix."""
        if isinstance(plan.reach, Bags):
            return bags(keys, *plan.reach.keys, q).view(*q.shape[:2], -1)[..., : plan.prefix]
        return self._over_tiles(q, keys, plan.reach)

    def _over_values(self, weights: Tensor, values: Tensor, plan: DecodePlan) -> Tensor:
        """Sums [lines, group, d] of the values of the prefix with weights [lines, group, prefix]."""
        if isinstance(plan.reach, Bags):
            return bags(values, *plan.reach.values, weights).view(*weights.shape[:2], -1)
        return self._over_tiles(weights, values, plan.reach)

    def _over_tiles(self, x: Tensor, table: Tensor, tiles: Tiles) -> Tensor:
        lines, group, n = x.shape
        tiled = x.reshape(lines, group * n).index_select(0, tiles.rows).view(-1, tiles.width * group, n)
        out = torch.bmm(tiled, table)
        return out.view(-1, group * out.shape[2]).index_select(0, tiles.back).view(lines, group, -1)

    def _view(self, layer: int, prefix: Buffers, suffix: Pages, plan: DecodePlan) -> View:
        """What to read in a layer. Plans that name places are for one pass and read copies, made after its writes."""
        if layer < len(plan.views):
            return plan.views[layer]
        keys, values, reach = prefix.keys[layer], prefix.values[layer], plan.reach
        if isinstance(reach, Bags):
            keys, values = keys.view(-1, prefix.length), values.view(-1, self.shape.head_dim)
        else:
            if reach.groups is None:
                keys, values = keys[: reach.count], values[: reach.count]
            else:
                keys, values = keys.index_select(0, reach.groups), values.index_select(0, reach.groups)
            keys, values = keys[..., : plan.prefix].flatten(0, 1), values[:, :, : plan.prefix].flatten(0, 1)
        spans = []
        for (low, high), page in zip(plan.spans, suffix.data[layer].unbind(1), strict=False):
            page = page[:, low:high] if plan.places is None else page.index_select(1, plan.places)
            page_keys, page_values = page.flatten(1, 2)
            spans.append(Span(low, high, page_keys.transpose(1, 2), page_values))
        view = View(keys, values, spans)
        if plan.places is None:
            plan.views.append(view)
        return view

    def prefill(self, tokens: Tensor, positions: Tensor, prefix: Buffers, plan: PrefillPlan) -> Tensor:
        """Prompt tokens, ``plan.rows`` per group: writes keys and values, returns hidden states [rows, width]."""
        s = self.shape
        x = self.embedding.index_select(0, tokens)
        rotation = self._rotation(positions)
        split = (plan.count, plan.rows, s.kv_heads, s.group, s.head_dim)
        for index, layer in enumerate(self.layers):
            q, kv = self._qkv(layer, x, rotation)
            prefix.keys[index].permute(0, 3, 1, 2).index_put_((plan.places, positions), kv[:, : s.kv_heads])
            prefix.values[index].permute(0, 2, 1, 3).index_put_((plan.places, positions), kv[:, s.kv_heads :])
            keys = prefix.keys[index][..., : plan.prefix].index_select(0, plan.groups).flatten(0, 1)
            values = prefix.values[index][:, :, : plan.prefix].index_select(0, plan.groups).flatten(0, 1)
            queries = q.reshape(split).permute(0, 2, 1, 3, 4).reshape(-1, plan.rows * s.group, s.head_dim)
            scores = torch.bmm(queries, keys)
            scores.view(plan.count, s.kv_heads, plan.rows, s.group, plan.prefix).add_(plan.mask)
            out = torch.bmm(torch.softmax(scores, -1), values)
            out = out.view(plan.count, s.kv_heads, plan.rows, s.group, s.head_dim).permute(0, 2, 1, 3, 4)
            x = self._mlp(layer, x, out.reshape(plan.count * plan.rows, -1))
        return self._normed(x, self.norm)


def _tiny(weights: dict[str, Tensor]) -> bool:
    """Whether every product adds up one chain, and widths are whole vector registers (else the last elements of a row
    would take another path through silu)."""
    shapes = [w.shape for name, w in weights.items() if name.endswith("_proj.weight")]
    return all(inputs <= BAG_INPUTS and inputs % 32 == 0 and outputs % 32 == 0 for outputs, inputs in shapes)
