"""Memory of keys and values: prompts by group, replies in pages."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from thence.nets.checkpoint import Shape

Tensor = torch.Tensor
PAGE = 32  # tokens of a reply's page


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

    def read(self, place: int, into: Tensor, start: int) -> None:
        """Copy tokens of a place from ``start`` on: [layers, 2, kv_heads, n, head_dim]."""
        end = start + into.shape[3]
        into[:, 0] = self.keys[:, place, :, :, start:end].transpose(2, 3)
        into[:, 1] = self.values[:, place, :, start:end]

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
    flat: list[Tensor]

    @staticmethod
    def slot(shape: Shape, tokens: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Memory for a part of one place: [layers, 2, kv_heads, tokens, head_dim]."""
        return torch.empty(shape.layers, 2, shape.kv_heads, tokens, shape.head_dim, dtype=dtype, device=device)

    @staticmethod
    def make(shape: Shape, places: int, pages: int, dtype: torch.dtype, device: torch.device) -> Pages:
        """Zeroed pages: masked keys must be finite, because their weight of 0 multiplies them."""
        size = (shape.layers, 2, pages, places + 1, shape.kv_heads, PAGE, shape.head_dim)
        data = torch.zeros(size, dtype=dtype, device=device)
        return Pages(data, [layer.view(-1, shape.head_dim) for layer in data])

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

    def read(self, place: int, into: Tensor, start: int) -> None:
        """Copy tokens of a place from ``start`` on, within one page: [layers, 2, kv_heads, n, head_dim]."""
        page, offset = divmod(start, PAGE)
        into.copy_(self.data[:, :, page, place, :, offset : offset + into.shape[3]])

    def write(self, place: int, start: int, kv: Tensor) -> None:
        """Put tokens at ``start``; the piece must not cross the end of a page."""
        page, offset = divmod(start, PAGE)
        self.data[:, :, page, place, :, offset : offset + kv.shape[3]] = kv

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens (whole pages) of one place to another."""
        pages = -(-length // PAGE)
        self.data[:, :, :pages, target] = self.data[:, :, :pages, source]
