"""Drawing picture embeddings from an embedding prior (Ramesh et al. 2022, section 2.2), by seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vqclip import seeding
from vqclip.types import EmbeddingNetwork

_STEPS = 16  # of the diffusion
# DALL-E 2 draws two and keeps the one nearer to the text
_CANDIDATES = 2


@torch.no_grad()
def sample_embeddings(network: EmbeddingNetwork, text: Tensor, seeds: Sequence[int], guidance: float = 1.0) -> Tensor:
    """Return embeddings (n, P, D) of pictures, unit vectors, that texts (P, D) might be said of, a set for each seed.

    Deterministic diffusion steps (Song et al. 2021, "DDIM") on a cosine schedule from noise that the seed draws.
    `guidance` above 1 moves away from what any text might mean.
    """
    count, dimensions = text.shape
    drawn_noise = [
        torch.randn(_CANDIDATES, count, dimensions, generator=seeding.generator(seed, "embedding")) for seed in seeds
    ]
    x = torch.stack(drawn_noise).to(text).flatten(0, 2)
    texts = text.repeat(len(seeds) * _CANDIDATES, 1)
    for step in range(_STEPS):
        now, then = 1 - step / _STEPS, 1 - (step + 1) / _STEPS
        clean = _denoised(network, x, now, texts, guidance)
        a, b = math.cos(math.pi / 2 * now), math.sin(math.pi / 2 * now)
        noise = (x - a * clean) / b
        x = math.cos(math.pi / 2 * then) * clean + math.sin(math.pi / 2 * then) * noise
    candidates = normalize(x, dim=1).view(len(seeds), _CANDIDATES, count, dimensions)
    nearest = (candidates * text).sum(-1).argmax(1)
    return candidates.gather(1, nearest[:, None, :, None].expand(-1, -1, -1, dimensions))[:, 0]


def _denoised(network: EmbeddingNetwork, x: Tensor, time: float, texts: Tensor, guidance: float) -> Tensor:
    times = torch.full((len(x),), time, device=x.device)
    clean = network(x, times, texts)
    if guidance == 1:
        return clean
    nothing = network(x, times, network.unconditional.expand_as(texts))
    return nothing + guidance * (clean - nothing)
