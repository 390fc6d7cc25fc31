"""taming's transformer over codes (Esser et al. 2021): a GPT in minGPT's layout, row by row after its condition.

Parameters have the names of taming's checkpoints (Net2NetTransformer), so that these load unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from vqclip.errors import UsageError

CONDITIONS = ("class", "coordinates", "none")
_CELL = 16  # pixels a side of a code's cell in taming's models


@dataclass(frozen=True)
class GPTArchitecture:
    """Sizes of taming's GPT. It sees `block` tokens: those of the condition, then `side` x `side` codes but the last.

    `vocabulary` tokens, of which the first `codes` are codes of the VQGAN, are embedded in `width` dimensions. The
    first `unmasked` tokens see one another. `condition` is a class (one of `classes`), coordinates (a token for each
    code, with its place in the picture) or none (the token `start`).
    """

    vocabulary: int
    codes: int
    block: int
    layers: int
    heads: int
    width: int
    side: int
    unmasked: int = 0
    condition: str = "none"
    classes: int = 0
    start: int = 0

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise ValueError(f"unknown condition {self.condition!r}: known are {', '.join(CONDITIONS)}")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        if not (0 <= self.start < self.vocabulary and 0 <= self.classes <= self.vocabulary):
            raise ValueError(f"{self.classes} classes and start {self.start} of {self.vocabulary} tokens")
        if self.condition_tokens + self.side**2 - 1 > self.block or self.codes > self.vocabulary:
            raise ValueError(
                f"{self.condition_tokens} tokens of condition and {self.side}x{self.side} codes do not fit its block"
            )

    @property
    def condition_tokens(self) -> int:
        """Number of tokens of the condition."""
        return self.side**2 if self.condition == "coordinates" else 1


class GPTPrior(nn.Module):
    """Codes (B, h, w) and conditions, tokens (B, c), to logits of every code given those before it."""

    kind = "causal"
    # as Esser et al. sample from their class model
    usual: ClassVar[Mapping[str, float]] = {"guidance": 1.0, "top_k": 600, "top_p": 0.92}

    def __init__(self, architecture: GPTArchitecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.codebook: Tensor | None = None
        self.tok_emb = nn.Embedding(a.vocabulary, a.width)
        self.pos_emb = nn.Parameter(torch.zeros(1, a.block, a.width))
        self.blocks = nn.ModuleList(_Block(a.width, a.heads) for _ in range(a.layers))
        self.ln_f = nn.LayerNorm(a.width)
        self.head = nn.Linear(a.width, a.vocabulary, bias=False)

    @property
    def side(self) -> int:
        """Codes along a side of the grids it was trained on; larger ones go through a window."""
        return self.architecture.side

    def conditions(self, height: int, width: int, index: int) -> Tensor:
        """Return the condition (1, c) of a grid: of a class, by its `index`, of coordinates, or of nothing.

        Raises UsageError for a class that it does not know, or for one given in vain.
        """
        a, device = self.architecture, self.pos_emb.device
        if a.condition == "class":
            if not 0 <= index < a.classes:
                given = "no class was given" if index < 0 else f"class {index}"
                raise UsageError(f"--prior-class: {given}: this prior draws 0 to {a.classes - 1}")
            return torch.tensor([[index]], device=device)
        if index >= 0:
            raise UsageError(f"--prior-class {index}: this prior draws no classes; leave it out")
        if a.condition == "none":
            return torch.tensor([[a.start]], device=device)
        # as taming's CoordStage: the mean over a cell of the pixels' numbers in reading order
        middle = (_CELL - 1) / 2
        rows = torch.arange(height, dtype=torch.float64) * _CELL + middle
        columns = torch.arange(width, dtype=torch.float64) * _CELL + middle
        numbers = (rows[:, None] * width * _CELL + columns) / (height * width * _CELL**2)
        return (numbers * a.codes).round().long().clamp(max=a.vocabulary - 1).view(1, -1).to(device)

    def conditions_in(self, condition: Tensor, grid_width: int, top: int, left: int, height: int, width: int) -> Tensor:
        """Return the part of a condition (B, c) that belongs to a window of the grid."""
        if self.architecture.condition != "coordinates":
            return condition
        return condition.view(len(condition), -1, grid_width)[:, top : top + height, left : left + width].flatten(1)

    def forward(self, indices: Tensor, condition: Tensor) -> Tensor:
        """Return logits (B, h, w, codes)."""
        x = self._features(torch.cat([condition, indices.flatten(1)[:, :-1]], 1), [[] for _ in self.blocks])
        return self._logits(x[:, condition.shape[1] - 1 :]).view(*indices.shape, -1)

    def following(self, codes: Tensor, condition: Tensor, width: int, caches: list[list[Tensor]]) -> Tensor:
        """Return logits (B, codes) of the code after `codes` (B, n).

        `caches`, a list for each block, empty at the start, remembers what was computed of the tokens before.
        """
        del width
        if self.architecture.unmasked > condition.shape[1]:
            # early codes see later ones: what was computed of them does not hold any more
            for cache in caches:
                cache.clear()
        return self._logits(self._features(torch.cat([condition, codes], 1), caches)[:, -1])

    def _features(self, tokens: Tensor, caches: list[list[Tensor]]) -> Tensor:
        """Return what comes out of the blocks for the tokens (B, n) that are not in the caches yet."""
        known, total = caches[0][0].shape[2] if caches[0] else 0, tokens.shape[1]
        x: Tensor = self.tok_emb(tokens[:, known:]) + self.pos_emb[:, known:total]
        place = torch.arange(total, device=tokens.device)
        visible = place <= place[known:, None]
        early = place < self.architecture.unmasked
        visible = visible | (early & early[known:, None])
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block(x, visible, cache)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.ln_f(x))[..., : self.architecture.codes]
        return out


class _Block(nn.Module):
    """A block of minGPT under its names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, visible: Tensor, cache: list[Tensor]) -> Tensor:
        x = x + self.attn(self.ln1(x), visible, cache)
        out: Tensor = x + self.mlp(self.ln2(x))
        return out


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key, self.query, self.value, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, visible: Tensor, cache: list[Tensor]) -> Tensor:
        """Return (B, n, width); `visible` (n, m) says which of all m tokens each of the n new ones sees."""
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        if cache:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        cache[:] = k, v
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=visible)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


def side_of(block: int, condition: str) -> int:
    """Return how many codes a side has in a block of tokens; ValueError if no square of codes fits it."""
    cells = {"coordinates": block / 2}.get(condition, block)
    side = math.isqrt(int(cells))
    if side < 1:
        raise ValueError(f"a block of {block} tokens holds no square of codes")
    return side
