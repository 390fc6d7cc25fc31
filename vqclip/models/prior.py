"""The prior: a masked transformer from a CLIP embedding to a grid of codes (Chang et al. 2022, "MaskGIT").

It sees a grid in which some codes are masked, and says for each of these how likely every code is there. Like Muse
(Chang et al. 2023) it is conditioned on what the picture shows, and now and then is not, so that both can be compared.
One token of the transformer stands for a patch of codes: a quarter of the cost, and still each code is masked by
itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

from vqclip.errors import WeightsError
from vqclip.types import MASKED

_KINDS = ("masked", "causal", "flow")


@dataclass(frozen=True)
class PriorArchitecture:
    """Sizes of a prior: of the codebook, of the grid it was trained on, of a patch of codes, and of the transformer.

    There are `codes` of `channels`, `side` to a side of the grid. `clip` is the sha256 of the weight file of the CLIP
    whose embeddings, of `condition` dimensions, are its conditions. `kind` is masked (fills in any order), causal
    (writes one code after the other) or flow (clears noise from the latents of all codes at once).
    """

    codes: int
    channels: int
    condition: int
    clip: str = ""
    side: int = 16
    patch: int = 2
    width: int = 256
    layers: int = 6
    heads: int = 4
    prefix: int = 4
    code_width: int = 32
    kind: str = "masked"

    def __post_init__(self) -> None:
        sizes = [value for name, value in asdict(self).items() if name not in ("clip", "kind")]
        if self.kind not in _KINDS:
            raise ValueError(f"unknown kind {self.kind!r}: known are {', '.join(_KINDS)}")
        if (
            not isinstance(self.clip, str)
            or not all(type(n) is int and 0 < n <= 1 << 16 for n in sizes)
            or self.layers > 64
        ):
            raise ValueError("sizes must be whole numbers from 1 to 2**16")
        if self.width % self.heads or self.side % self.patch:
            raise ValueError("heads must divide the width, and the patch the side")

    def to_json(self) -> str:
        """Return the record as JSON, the form it has in a weight file's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PriorArchitecture:
        """Read the record back; raise WeightsError if it is damaged."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise WeightsError(f"damaged prior architecture in the weight file: {error}; fetch it again") from None


def build(architecture: PriorArchitecture) -> MaskedPrior | AutoregressivePrior | FlowPrior:
    """Return a prior of any kind, its weights at random and its codebook empty."""
    kinds: dict[str, type[MaskedPrior | AutoregressivePrior | FlowPrior]] = {
        "masked": MaskedPrior,
        "causal": AutoregressivePrior,
        "flow": FlowPrior,
    }
    return kinds[architecture.kind](architecture)


class _Prior(nn.Module):
    """What masked and causal priors share: learned embeddings of codes and places, and the condition."""

    codebook: Tensor
    # how it is sampled unless the config says otherwise
    usual: ClassVar[Mapping[str, float]] = {"guidance": 3.0, "top_k": 0, "top_p": 1.0}

    def __init__(self, architecture: PriorArchitecture, names: int) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.register_buffer("codebook", torch.zeros(a.codes, a.channels))
        # `own`, the learned embedding of each code beside the codebook's, is a name in weight files and stays
        self.own = nn.Embedding(names, a.code_width)
        self.row, self.column = nn.Embedding(a.side, a.width), nn.Embedding(a.side, a.width)
        self.unconditional = nn.Parameter(torch.zeros(a.condition))
        self.prefix = nn.Linear(a.condition, a.prefix * a.width)
        self.blocks = nn.ModuleList(Block(a.width, a.heads) for _ in range(a.layers))
        self.norm = nn.LayerNorm(a.width)
        self.head = nn.Linear(a.width // 2, a.codes)
        for embedding in (self.own, self.row, self.column):
            nn.init.normal_(embedding.weight, std=0.02)

    @property
    def side(self) -> int:
        """Codes along a side of the grids it was trained on."""
        return self.architecture.side

    @property
    def kind(self) -> str:
        """How it draws: masked, causal or flow."""
        return self.architecture.kind

    def _prefix(self, condition: Tensor) -> Tensor:
        out: Tensor = self.prefix(condition).view(len(condition), self.architecture.prefix, -1)
        return out


class MaskedPrior(_Prior):
    """Codes (B, h, w), MASKED where unknown, and conditions (B, D) to logits of every code at every place."""

    def __init__(self, architecture: PriorArchitecture) -> None:
        a = architecture
        super().__init__(a, a.codes + 1)
        self.patch = nn.Linear(a.patch**2 * (a.channels + a.code_width), a.width)
        self.everywhere = nn.Linear(a.condition, a.width)
        self.unpatch = nn.Linear(a.width, a.patch**2 * a.width // 2)

    def forward(self, indices: Tensor, condition: Tensor) -> Tensor:
        """Return logits (B, h, w, codes); `condition` (B, D) are unit vectors, or `unconditional` expanded."""
        out: Tensor = self.head(self.features(indices, condition))
        return out

    def features(self, indices: Tensor, condition: Tensor) -> Tensor:
        """Return (B, h, w, width / 2), from which `head` makes logits; h and w at most the side it was trained on."""
        a = self.architecture
        rows, columns = (length // a.patch for length in indices.shape[1:])
        known = indices != MASKED
        place = indices.clamp(min=0)
        codes = self.codebook[place] * known[..., None]
        x = torch.cat([codes, self.own(torch.where(known, place, a.codes))], -1)
        x = patches(x, a.patch)
        position = (self.row.weight[:rows, None] + self.column.weight[None, :columns]).flatten(0, 1)
        x = self.patch(x) + position + self.everywhere(condition)[:, None]
        x = torch.cat([self._prefix(condition), x], 1)
        for block in self.blocks:
            x = block(x)
        x = gelu(self.unpatch(self.norm(x[:, a.prefix :])))
        return cells(x, rows, a.patch)


class Block(nn.Module):
    """A transformer's block with its norms first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.grow, self.shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, causal: bool = False, cache: list[Tensor] | None = None) -> Tensor:
        """Return tokens (B, n, width) after attention and perceptron.

        `causal` tokens see those before them only. A `cache` holds the keys and values of earlier tokens, which these
        see too, and takes these in.
        """
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = k, v
        mixed = _attend(q, k, v, causal and tokens > 1)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.out(mixed)
        out: Tensor = x + self.shrink(gelu(self.grow(self.norm2(x))))
        return out


def patches(x: Tensor, patch: int) -> Tensor:
    """Return cells (B, h, w, C) as tokens (B, n, patch * patch * C), one for each patch, row by row."""
    out: Tensor = x.unflatten(1, (-1, patch)).unflatten(3, (-1, patch)).transpose(2, 3).flatten(3).flatten(1, 2)
    return out


def cells(x: Tensor, rows: int, patch: int) -> Tensor:
    """Return tokens (B, n, patch * patch * C) of `rows` of patches as cells (B, h, w, C)."""
    out: Tensor = (
        x.unflatten(1, (rows, -1)).unflatten(3, (patch, patch, -1)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    )
    return out


def _attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Return attention (B, heads, n, d); trained on a CPU in plain products, whose gradient takes a quarter there."""
    if not (q.requires_grad and q.device.type == "cpu"):
        return scaled_dot_product_attention(q, k, v, is_causal=causal)
    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
    if causal:
        scores = scores.masked_fill(scores.new_ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
    out: Tensor = scores.softmax(-1) @ v
    return out


class AutoregressivePrior(_Prior):
    """The twin that writes codes one after the other, row by row (Esser et al. 2021): every code is a token."""

    def __init__(self, architecture: PriorArchitecture) -> None:
        a = architecture
        super().__init__(a, a.codes)
        self.code = nn.Linear(a.channels + a.code_width, a.width)
        self.squeeze = nn.Linear(a.width, a.width // 2)

    def forward(self, indices: Tensor, condition: Tensor) -> Tensor:
        """Return logits (B, h, w, codes) of every code given those before it; indices (B, h, w) hold no mask."""
        batch, height, width = indices.shape
        before = self._codes(indices.flatten(1), width)[:, :-1]
        x = torch.cat([self._prefix(condition), before], 1)
        for block in self.blocks:
            x = block(x, causal=True)
        return self._logits(x[:, self.architecture.prefix - 1 :]).view(batch, height, width, -1)

    def conditions_in(self, condition: Tensor, grid_width: int, top: int, left: int, height: int, width: int) -> Tensor:
        """Return the part of a condition that belongs to a window of the grid: all of it."""
        del grid_width, top, left, height, width
        return condition

    def following(self, codes: Tensor, condition: Tensor, width: int, caches: list[list[Tensor]]) -> Tensor:
        """Return logits (B, codes) of the code after `codes` (B, n), of a grid `width` wide.

        `caches`, a list for each block, empty at the start, remembers what was computed of the tokens before.
        """
        known = caches[0][0].shape[2] if caches[0] else 0
        x = torch.cat([self._prefix(condition), self._codes(codes, width)], 1)[:, known:]
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block(x, causal=True, cache=cache)
        return self._logits(x[:, -1])

    def _codes(self, codes: Tensor, width: int) -> Tensor:
        place = torch.arange(codes.shape[1], device=codes.device)
        position = self.row.weight[place // width] + self.column.weight[place % width]
        out: Tensor = self.code(torch.cat([self.codebook[codes], self.own(codes)], -1)) + position
        return out

    def _logits(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(gelu(self.squeeze(self.norm(x))))
        return out


class FlowPrior(nn.Module):
    """Noisy latents (B, h, w, C) of codes, times and conditions to the direction that clears the noise.

    A transformer over patches of 2x2 codes as in Peebles and Xie 2023 ("DiT"), its norms shifted and scaled by time and
    condition as in Chen et al. 2024 ("PixArt-alpha"), trained to rectify the flow from noise (Liu et al. 2023). `mean`
    and `spread` bring the channels of the codes to zero mean and unit variance.
    """

    codebook: Tensor
    mean: Tensor
    spread: Tensor
    kind = "flow"
    usual: ClassVar[Mapping[str, float]] = {"guidance": 3.0, "top_k": 0, "top_p": 1.0}

    def __init__(self, architecture: PriorArchitecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.register_buffer("codebook", torch.zeros(a.codes, a.channels))
        self.register_buffer("mean", torch.zeros(a.channels))
        self.register_buffer("spread", torch.ones(a.channels))
        self.row, self.column = nn.Embedding(a.side, a.width), nn.Embedding(a.side, a.width)
        self.unconditional = nn.Parameter(torch.zeros(a.condition))
        self.enter = nn.Linear(a.patch**2 * a.channels, a.width)
        self.prefix = nn.Linear(a.condition, a.prefix * a.width)
        # `told`, the embedding of condition and time, is a name in weight files and stays
        self.told = nn.Linear(a.condition + 2 * _FREQUENCIES, a.width)
        self.modulate = nn.Linear(a.width, 6 * a.width)
        self.tables = nn.Parameter(torch.zeros(a.layers, 6, a.width))
        self.blocks = nn.ModuleList(ModulatedBlock(a.width, a.heads) for _ in range(a.layers))
        self.norm = nn.LayerNorm(a.width)
        self.leave = nn.Linear(a.width, a.patch**2 * a.channels)
        for embedding in (self.row, self.column):
            nn.init.normal_(embedding.weight, std=0.02)
        for layer in (self.leave, self.modulate):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def side(self) -> int:
        """Codes along a side of the grids it was trained on."""
        return self.architecture.side

    def latents(self, indices: Tensor) -> Tensor:
        """Return the latents (B, h, w, C) of codes (B, h, w), of zero mean and unit variance."""
        return (self.codebook[indices] - self.mean) / self.spread

    def nearest(self, latents: Tensor) -> Tensor:
        """Return the codes (B, h, w) that are nearest to latents (B, h, w, C)."""
        with torch.autocast(latents.device.type, enabled=False):  # near codes differ by less than bf16 tells
            flat = (latents.float() * self.spread + self.mean).flatten(0, 2)
            scores = torch.addmm(-0.5 * self.codebook.square().sum(1), flat, self.codebook.t())
        return scores.argmax(1).view(latents.shape[:3])

    def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Return velocities (B, h, w, C); times (B,) run from 0, noise, to 1, latents."""
        a = self.architecture
        batch, height, width, _ = noisy.shape
        rows, columns = height // a.patch, width // a.patch
        x = patches(noisy, a.patch)
        position = (self.row.weight[:rows, None] + self.column.weight[None, :columns]).flatten(0, 1)
        x = torch.cat([self.prefix(condition).view(batch, a.prefix, -1), self.enter(x) + position], 1)
        turns = time[:, None] * math.pi * 2 ** (torch.arange(_FREQUENCIES, device=time.device) / 2)
        condition_features = silu(self.told(torch.cat([condition * a.condition**0.5, turns.sin(), turns.cos()], 1)))
        modulation = self.modulate(condition_features).view(batch, 1, 6, -1)
        for block, table in zip(self.blocks, self.tables, strict=True):
            x = block(x, modulation + table)
        x = self.leave(self.norm(x[:, a.prefix :]))
        return cells(x, rows, a.patch)


_FREQUENCIES = 16


class ModulatedBlock(Block):
    """A transformer's block whose norms are shifted and scaled, and whose additions are weighed, by its condition."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))

    # a block is called by who built it, never as one of its base
    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:  # type: ignore[override]
        """Return tokens (B, n, width); `modulation` (B, 1, 6, width) holds shift, scale and weight of both halves."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unbind(2)
        qkv = self.qkv(self.norm1(x) * (1 + scale1) + shift1)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + (1 + gate1) * self.out(_attend(q, k, v, causal=False).transpose(1, 2).flatten(2))
        out: Tensor = x + (1 + gate2) * self.shrink(gelu(self.grow(self.norm2(x) * (1 + scale2) + shift2)))
        return out
