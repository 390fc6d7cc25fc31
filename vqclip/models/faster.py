"""Layers of vision and text transformers: their own parameters and results by faster operations."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vqclip.models.attention import attend
from vqclip.models.convolution import linear

# of QuickGELU
SHARPNESS = 1.702


class Attention(nn.MultiheadAttention):
    """torch's self-attention, its parameters and result, by products of plain matrices.

    torch's own turns the batch to the second place, and what is not contiguous there goes through batched products of
    the expanded weights, forward and back: with ViT-B/32 a third of a step in bf16 (docs/performance.md).
    """

    def forward(  # type: ignore[override]  # open_clip's blocks give nothing else
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **ignored: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Attend within rows (N, L, E), each to those that `attn_mask` (L, L) lets it see; no weights are returned."""
        if key is not query or value is not query or not self.batch_first or self.in_proj_weight is None:
            return super().forward(query, key, value, attn_mask=attn_mask, **ignored)
        count, length, width = query.shape
        rows = linear(query.reshape(-1, width), self.in_proj_weight, self.in_proj_bias)
        q, k, v = rows.view(count, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        seen = attend(q, k, v, None if attn_mask is None else attn_mask.to(q.dtype))
        mixed = linear(seen.transpose(1, 2).reshape(-1, width), self.out_proj.weight, self.out_proj.bias)
        return mixed.view(count, length, width), None


class Linear(nn.Linear):
    """torch's linear layer, its parameters and result, by the faster product."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x (..., features) times the weights, plus the bias."""
        return linear(x, self.weight, self.bias)


class QuickGELU(nn.Module):
    """OpenAI's x * sigmoid(1.702 x) by torch's own silu, which keeps one tensor for the way back, not two."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of x."""
        return nn.functional.silu(SHARPNESS * x) / SHARPNESS
