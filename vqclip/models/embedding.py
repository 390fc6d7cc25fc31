"""From what a prompt means to what a picture of it would mean: the first half of DALL-E 2 (Ramesh et al. 2022).

A small diffusion model over CLIP embeddings: given a noisy picture's embedding and the text's, it says what the
picture's embedding was. DALL-E 2 uses a transformer for embeddings of 768; for small ones a residual perceptron does.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from vqclip.errors import WeightsError


@dataclass(frozen=True)
class EmbeddingArchitecture:
    """Sizes of an embedding prior; `clip` is the sha256 of the weight file of the CLIP whose embeddings it knows."""

    dimensions: int
    clip: str = ""
    width: int = 512
    layers: int = 3
    frequencies: int = 16

    def __post_init__(self) -> None:
        sizes = (self.dimensions, self.width, self.layers, self.frequencies)
        if not isinstance(self.clip, str) or not all(type(n) is int and 0 < n <= 1 << 14 for n in sizes):
            raise ValueError("sizes must be whole numbers from 1 to 2**14")
        if self.layers > 64:
            raise ValueError("at most 64 layers")

    def to_json(self) -> str:
        """Return the record as JSON, the form it has in a weight file's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EmbeddingArchitecture:
        """Read the record back; raise WeightsError if it is damaged."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise WeightsError(f"damaged embedding architecture in the weight file: {error}; fetch it again") from None


class EmbeddingPrior(nn.Module):
    """Noisy embeddings (B, D) of unit variance, times (B,) in [0, 1] and texts (B, D), unit vectors, to embeddings."""

    def __init__(self, architecture: EmbeddingArchitecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.unconditional = nn.Parameter(torch.zeros(a.dimensions))
        # `told`, the embedding of text and time, is a name in weight files and stays
        self.told = nn.Linear(a.dimensions + 2 * a.frequencies, a.width)
        self.enter = nn.Linear(a.dimensions, a.width)
        self.layers = nn.ModuleList(_Layer(a.width) for _ in range(a.layers))
        self.norm = nn.LayerNorm(a.width)
        self.leave = nn.Linear(a.width, a.dimensions)

    def forward(self, noisy: Tensor, time: Tensor, text: Tensor) -> Tensor:
        """Return what the embeddings (B, D), of unit variance, were before the noise."""
        a = self.architecture
        turns = time[:, None] * math.pi * 2 ** (torch.arange(a.frequencies, device=time.device) / 2)
        modulation = silu(self.told(torch.cat([text * a.dimensions**0.5, turns.sin(), turns.cos()], 1)))
        x = self.enter(noisy)
        for layer in self.layers:
            x = layer(x, modulation)
        out: Tensor = self.leave(self.norm(x))
        return out


class _Layer(nn.Module):
    """A residual perceptron whose norm is shifted and scaled by its condition (Peebles and Xie 2023)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 2 * width)
        self.grow, self.shrink = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        nn.init.zeros_(self.shrink.weight)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale = self.modulate(modulation).chunk(2, 1)
        out: Tensor = x + self.shrink(silu(self.grow(self.norm(x) * (1 + scale) + shift)))
        return out
