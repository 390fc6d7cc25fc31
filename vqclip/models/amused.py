"""aMUSEd (Patil et al. 2024): a transformer from the words of a prompt to the codes of a VQGAN of its own.

It fills masked grids as MaskGIT does (Chang et al. 2022), told by the text tower of a CLIP: its pooled embedding scales
and shifts every norm, the states before its last layer are attended to. Parameters have the names of the public files
(diffusers' `UVit2DModel`, transformers' `CLIPTextModelWithProjection`), so that these load unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, rms_norm, scaled_dot_product_attention, silu

from vqclip.models.clip_text import TextArchitecture, TextEncoder
from vqclip.models.vqgan import VQGAN
from vqclip.types import MASKED

# what the pictures are said to be beside their size: cut at no place, liked by people
_CUT_AT, _LIKED = (0, 0), 6
_CONDITIONS = 5  # numbers that tell of a picture: sides, place of the cut, how much it is liked


@dataclass(frozen=True)
class AmusedArchitecture:
    """Sizes of the transformer: of its layers, of the convolutional blocks around them, and of the codes.

    `tokens` counts the codes and what stands for a masked one, the last. Raises ValueError for heads that do not fit.
    """

    text: TextArchitecture
    width: int = 1024
    heads: int = 16
    layers: int = 22
    inner: int = 2816
    channels: int = 768
    block_heads: int = 12
    blocks: int = 3
    embedded: int = 768
    tokens: int = 8256
    codes: int = 8192
    micro: int = 256
    side: int = 16
    eps: float = 1e-6

    def __post_init__(self) -> None:
        pairs = ((self.width, self.heads), (self.channels, self.block_heads))
        if any(heads < 1 or width % heads for width, heads in pairs) or self.codes >= self.tokens:
            raise ValueError(f"heads that do not fit {pairs}, or {self.codes} codes of {self.tokens} tokens")


class FullPrecision(VQGAN):
    """A VQGAN whose decoder is never computed in half precision, where aMUSEd's overflows."""

    def decode(self, z_q: Tensor) -> Tensor:
        """Decode codes (B, C, h, w) to images (B, 3, f*h, f*w) in [0, 1]."""
        with torch.autocast(z_q.device.type, enabled=False):
            return super().decode(z_q.float())


class Amused(nn.Module):
    """Grids of codes, MASKED where unknown, to logits, given conditions (B, D) of texts; `detokenizer` draws codes.

    A condition is the pooled embedding of a text followed by the states of its tokens.
    """

    kind = "annealed"
    # as diffusers' pipeline draws from it
    usual: ClassVar[Mapping[str, float]] = {"guidance": 10.0, "top_k": 0, "top_p": 1.0}

    def __init__(self, architecture: AmusedArchitecture, detokenizer: VQGAN) -> None:
        super().__init__()
        self.architecture, self.detokenizer = architecture, detokenizer
        self.transformer, self.text_encoder = Transformer(architecture), TextEncoder(architecture.text)

    @property
    def side(self) -> int:
        """Codes along a side of its grids."""
        return self.architecture.side

    @property
    def unconditional(self) -> Tensor:
        """The condition (D,) of an empty prompt."""
        return self.conditions([""])[0]

    def conditions(self, texts: Sequence[str]) -> Tensor:
        """Return the conditions (P, D) of texts, cut to what the text tower reads."""
        device = self.transformer.embed.embeddings.weight.device
        tokens = torch.tensor([self.architecture.text.tokens(text) for text in texts], device=device)
        pooled, states = self.text_encoder(tokens)
        return torch.cat([pooled, states.flatten(1)], 1)

    def forward(self, indices: Tensor, condition: Tensor) -> Tensor:
        """Return logits (B, h, w, codes) of codes (B, h, w), MASKED where unknown, given conditions (B, D)."""
        text, factor = self.architecture.text, self.detokenizer.factor
        height, width = indices.shape[1:]
        micro = torch.tensor([width * factor, height * factor, *_CUT_AT, _LIKED], device=indices.device)
        tokens = indices.masked_fill(indices == MASKED, self.architecture.tokens - 1)
        pooled, states = condition[:, : text.projected], condition[:, text.projected :]
        states = states.unflatten(1, (text.places, text.width))
        out: Tensor = self.transformer(tokens, states, pooled, micro.float().expand(len(indices), -1))
        return out


class Transformer(nn.Module):
    """diffusers' `UVit2DModel`, its parameters and results, where no block changes the size of the grid."""

    def __init__(self, a: AmusedArchitecture) -> None:
        super().__init__()
        self.micro = a.micro
        self.encoder_proj = _linear(a.text.width, a.width)
        self.encoder_proj_layer_norm = RMSNorm(a.width, a.eps)
        self.embed = _Embedding(a)
        self.cond_embed = _Condition(a)
        self.down_block, self.up_block = _Block(a), _Block(a)
        self.project_to_hidden_norm, self.project_from_hidden_norm = RMSNorm(a.channels, a.eps), RMSNorm(a.width, a.eps)
        self.project_to_hidden, self.project_from_hidden = _linear(a.channels, a.width), _linear(a.width, a.channels)
        self.transformer_layers = nn.ModuleList(_Layer(a) for _ in range(a.layers))
        self.mlm_layer = _Head(a)

    def forward(self, tokens: Tensor, states: Tensor, pooled: Tensor, micro: Tensor) -> Tensor:
        """Return logits (B, h, w, codes) of tokens (B, h, w), given a text and numbers (B, 5) that tell of pictures.

        Of the text `states` (B, L, D) are those of its tokens and `pooled` (B, P) its embedding.
        """
        states = self.encoder_proj_layer_norm(self.encoder_proj(states))
        told = self.cond_embed(torch.cat([pooled, _waves(micro, self.micro).flatten(1)], 1).to(pooled.dtype))
        x = self.down_block(self.embed(tokens), told, states)
        height, width = x.shape[1:3]
        x = self.project_to_hidden(self.project_to_hidden_norm(x.flatten(1, 2)))
        for layer in self.transformer_layers:
            x = layer(x, told, states)
        x = self.project_from_hidden(self.project_from_hidden_norm(x)).unflatten(1, (height, width))
        out: Tensor = self.mlm_layer(self.up_block(x, told, states))
        return out


class RMSNorm(nn.Module):
    """A norm by the root of the mean square (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        """Return x (..., width) scaled to a mean square of 1, then by the weights."""
        return rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class _Embedding(nn.Module):
    def __init__(self, a: AmusedArchitecture) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(a.tokens, a.embedded)
        self.layer_norm = RMSNorm(a.embedded, a.eps)
        self.conv = nn.Conv2d(a.embedded, a.channels, 1, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return features (B, h, w, channels)."""
        return _by_pixel(self.conv, self.layer_norm(self.embeddings(tokens)))


class _Condition(nn.Module):
    def __init__(self, a: AmusedArchitecture) -> None:
        super().__init__()
        self.linear_1 = _linear(a.text.projected + _CONDITIONS * a.micro, a.width)
        self.linear_2 = _linear(a.width, a.width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear_2(silu(self.linear_1(x)))
        return out


class _Block(nn.Module):
    """Convolutions over the grid (Woo et al. 2023, "ConvNeXt V2"), each followed by a look at the text."""

    def __init__(self, a: AmusedArchitecture) -> None:
        super().__init__()
        self.res_blocks = nn.ModuleList(_ConvNext(a) for _ in range(a.blocks))
        self.attention_blocks = nn.ModuleList(_TextAttention(a) for _ in range(a.blocks))

    def forward(self, x: Tensor, told: Tensor, states: Tensor) -> Tensor:
        """Return features like x (B, h, w, C)."""
        for convolution, attention in zip(self.res_blocks, self.attention_blocks, strict=True):
            x = convolution(x, told)
            x = attention(x.flatten(1, 2), states).view_as(x)
        return x


class _ConvNext(nn.Module):
    def __init__(self, a: AmusedArchitecture) -> None:
        super().__init__()
        c = a.channels
        self.depthwise = nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False)
        self.norm, self.channelwise_norm = RMSNorm(c, a.eps), _ResponseNorm(4 * c)
        self.channelwise_linear_1, self.channelwise_linear_2 = _linear(c, 4 * c), _linear(4 * c, c)
        self.cond_embeds_mapper = _linear(a.width, 2 * c)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        h = self.channelwise_linear_2(self.channelwise_norm(gelu(self.channelwise_linear_1(h))))
        scale, shift = self.cond_embeds_mapper(silu(told))[:, None, None].chunk(2, -1)
        out: Tensor = (x + h) * (1 + scale) + shift
        return out


class _ResponseNorm(nn.Module):
    """Channels in competition: each is scaled by its norm over the grid, as a share of the mean over channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(torch.zeros(1, 1, 1, width)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        out: Tensor = self.gamma * (x * (size / (size.mean(-1, keepdim=True) + 1e-6))) + self.beta + x
        return out


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (_linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([_linear(width, width)])

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return what each of x (B, L, C) finds among `seen` (B, S, C)."""
        parts = (self.to_q(x), self.to_k(seen), self.to_v(seen))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        out: Tensor = self.to_out[0](scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class _TextAttention(nn.Module):
    def __init__(self, a: AmusedArchitecture) -> None:
        super().__init__()
        c = a.channels
        self.kv_mapper = _linear(a.width, c) if a.width != c else None
        self.norm1, self.norm2 = RMSNorm(c, 1e-6), RMSNorm(c, 1e-6)
        self.attn1, self.attn2 = _Attention(c, a.block_heads), _Attention(c, a.block_heads)

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        seen = states if self.kv_mapper is None else self.kv_mapper(silu(states))
        x = x + self.attn1(self.norm1(x), seen)
        out: Tensor = x + self.attn2(self.norm2(x), seen)
        return out


class _AdaptiveNorm(nn.Module):
    def __init__(self, a: AmusedArchitecture, norm: nn.Module) -> None:
        super().__init__()
        self.linear, self.norm = _linear(a.width, 2 * a.width), norm

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.linear(silu(told))[:, None].chunk(2, -1)
        out: Tensor = self.norm(x) * (1 + scale) + shift
        return out


class _Layer(nn.Module):
    """Attention to the grid and to the text, then a gated perceptron (Shazeer 2020)."""

    def __init__(self, a: AmusedArchitecture) -> None:
        super().__init__()
        self.norm1, self.norm2 = (_AdaptiveNorm(a, RMSNorm(a.width, a.eps)) for _ in range(2))
        # the third takes the mean away too, as it does there
        self.norm3 = _AdaptiveNorm(a, nn.LayerNorm(a.width, a.eps, bias=False))
        self.attn1, self.attn2 = _Attention(a.width, a.heads), _Attention(a.width, a.heads)
        gate = nn.Module()
        gate.proj = _linear(a.width, 2 * a.inner)
        self.ff = nn.Module()
        # under the places that the public files give them
        self.ff.net = nn.ModuleList([gate, nn.Identity(), _linear(a.inner, a.width)])

    def forward(self, x: Tensor, told: Tensor, states: Tensor) -> Tensor:
        normal = self.norm1(x, told)
        x = x + self.attn1(normal, normal)
        x = x + self.attn2(self.norm2(x, told), states)
        gate, _, narrow = cast("nn.ModuleList", self.ff.net)
        value, gated = cast("Any", gate).proj(self.norm3(x, told)).chunk(2, -1)
        out: Tensor = x + narrow(value * gelu(gated))
        return out


class _Head(nn.Module):
    def __init__(self, a: AmusedArchitecture) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(a.channels, a.embedded, 1, bias=False)
        self.layer_norm = RMSNorm(a.embedded, a.eps)
        self.conv2 = nn.Conv2d(a.embedded, a.codes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return _by_pixel(self.conv2, self.layer_norm(_by_pixel(self.conv1, x)))


def _linear(before: int, after: int) -> nn.Linear:
    return nn.Linear(before, after, bias=False)


def _by_pixel(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Return what a convolution of one pixel makes of x (B, h, w, C)."""
    return nn.functional.linear(x, convolution.weight.flatten(1))


def _waves(values: Tensor, width: int) -> Tensor:
    """Return cosines and sines (..., width) of values at falling frequencies (Vaswani et al. 2017)."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=values.device) / half)
    angles = values.float()[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], -1)
