"""The latent grid: how it starts, how the gradient passes its quantization, how it is kept near the codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqclip import seeding


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """Return z_q whose gradient goes to z unchanged (Bengio et al. 2013)."""
    return z + (z_q - z).detach()


def bounds(codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and greatest value of each channel over the codes (K, C), as (1, C, 1, 1)."""
    low, high = codebook.min(dim=0).values, codebook.max(dim=0).values
    return low.view(1, -1, 1, 1), high.view(1, -1, 1, 1)


def random_grid(codebook: Tensor, seeds: tuple[int, ...], height: int, width: int) -> Tensor:
    """Return a grid (B, C, height, width) of codes (K, C) drawn uniformly, one picture per seed."""
    grids = [
        torch.randint(len(codebook), (height, width), generator=seeding.generator(seed, "initial grid"))
        for seed in seeds
    ]
    return codebook[torch.stack(grids).to(codebook.device)].permute(0, 3, 1, 2).contiguous()


def blend(z: Tensor, codes: Tensor, strength: float) -> Tensor:
    """Return (1 - strength) of a grid and `strength` of random codes, both (B, C, h, w)."""
    return (1 - strength) * z + strength * codes


def noise(shape: torch.Size, seeds: Sequence[int], step: int) -> Tensor:
    """Return normal noise (B, C, h, w) of one step, each picture's drawn from its own seed."""
    return torch.stack(
        [torch.randn(shape[1:], generator=seeding.generator(seed, "latent noise", step)) for seed in seeds]
    )
