"""The upsampler: from a grid of codes to one of twice the side, drawn as a prior draws (Chang et al. 2023, "Muse").

Muse enlarges tokens with a second transformer. What a code of the finer grid shows depends on its surroundings and on
what the picture is to show, hardly on what stands far away: so this network convolves, and takes grids of any size.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, silu

from vqclip.errors import WeightsError
from vqclip.models.prior import cells, patches
from vqclip.types import MASKED

SCALE = 2


@dataclass(frozen=True)
class UpsamplerArchitecture:
    """Sizes of an upsampler: `codes` of `channels`, conditions of `condition` dimensions.

    `clip` is the sha256 of the weight file of the CLIP whose embeddings are the conditions.
    """

    codes: int
    channels: int
    condition: int
    clip: str = ""
    width: int = 224
    layers: int = 6
    code_width: int = 32

    def __post_init__(self) -> None:
        sizes = [value for name, value in asdict(self).items() if name != "clip"]
        if not isinstance(self.clip, str) or not all(type(n) is int and 0 < n <= 1 << 16 for n in sizes):
            raise ValueError("sizes must be whole numbers from 1 to 2**16")
        if self.layers > 64 or self.width % 2:
            raise ValueError("at most 64 layers, of an even width")

    def to_json(self) -> str:
        """Return the record as JSON, the form it has in a weight file's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> UpsamplerArchitecture:
        """Read the record back; raise WeightsError if it is damaged."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise WeightsError(f"damaged upsampler architecture in the weight file: {error}; fetch it again") from None


class Upsampler(nn.Module):
    """Codes (B, 2h, 2w), MASKED where unknown, coarse ones (B, h, w) and conditions (B, D) to logits of every code."""

    codebook: Tensor

    def __init__(self, architecture: UpsamplerArchitecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.register_buffer("codebook", torch.zeros(a.codes, a.channels))
        # `own`, embeddings of fine codes, and `told`, that of the condition, are names in weight files and stay
        self.own, self.coarse = nn.Embedding(a.codes + 1, a.code_width), nn.Embedding(a.codes, a.code_width)
        self.unconditional = nn.Parameter(torch.zeros(a.condition))
        self.enter = nn.Linear((SCALE**2 + 1) * (a.channels + a.code_width), a.width)
        self.told = nn.Linear(a.condition, a.width)
        self.modulate = nn.Linear(a.width, 2 * a.width)
        self.tables = nn.Parameter(torch.zeros(a.layers, 2, a.width))
        self.blocks = nn.ModuleList(ConvolutionBlock(a.width) for _ in range(a.layers))
        self.norm = nn.LayerNorm(a.width)
        self.unpatch = nn.Linear(a.width, SCALE**2 * a.width // 2)
        self.head = nn.Linear(a.width // 2, a.codes)
        for embedding in (self.own, self.coarse):
            nn.init.normal_(embedding.weight, std=0.02)
        for parameter in self.modulate.parameters():
            nn.init.zeros_(parameter)

    def forward(self, indices: Tensor, coarse: Tensor, condition: Tensor) -> Tensor:
        """Return logits (B, 2h, 2w, codes); `condition` (B, D) are unit vectors, or `unconditional` expanded."""
        out: Tensor = self.head(self.features(indices, coarse, condition))
        return out

    def features(self, indices: Tensor, coarse: Tensor, condition: Tensor) -> Tensor:
        """Return (B, 2h, 2w, width / 2), from which `head` makes logits."""
        a = self.architecture
        known = indices != MASKED
        place = indices.clamp(min=0)
        fine = torch.cat([self.codebook[place] * known[..., None], self.own(torch.where(known, place, a.codes))], -1)
        above = torch.cat([self.codebook[coarse], self.coarse(coarse)], -1)
        condition_features = silu(self.told(condition * a.condition**0.5))
        x = self.enter(torch.cat([patches(fine, SCALE), above.flatten(1, 2)], -1)) + condition_features[:, None]
        x = x.unflatten(1, coarse.shape[1:])
        modulation = self.modulate(condition_features).view(-1, 1, 1, 2, a.width)
        for block, table in zip(self.blocks, self.tables, strict=True):
            x = block(x, *(modulation + table).unbind(3))
        x = gelu(self.unpatch(self.norm(x).flatten(1, 2)))
        return cells(x, coarse.shape[1], SCALE)


class ConvolutionBlock(nn.Module):
    """A residual 3x3 convolution whose norm is shifted and scaled by its condition; pixels (B, h, w, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        # a matrix, as the optimizer of matrices wants it
        self.kernel = nn.Parameter(torch.empty(width, 9 * width))
        nn.init.normal_(self.kernel, std=(9 * width) ** -0.5)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Return pixels (B, h, w, width); `shift` and `scale` are (B, 1, 1, width)."""
        width = x.shape[-1]
        h = (self.norm(x) * (1 + scale) + shift).permute(0, 3, 1, 2)
        kernel = self.kernel.view(width, 3, 3, width).permute(0, 3, 1, 2)
        out: Tensor = x + self.out(silu(conv2d(h, kernel, padding=1)).permute(0, 2, 3, 1))
        return out
