"""Chance in codes: how one is drawn from logits, by the noise of each picture's own generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vqclip.priors.sampling import Sampling


def sample_codes(logits: Tensor, noise: Sequence[torch.Generator], sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Return a code of every place (n, h, w), drawn by the Gumbel trick, and its log-probability."""
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    scaled = logits / max(sampling.temperature, 1e-3)
    if sampling.top_p < 1:
        ordered, order = scaled.softmax(-1).sort(dim=-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered > sampling.top_p
        scaled = scaled.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -math.inf)
    drawn = (scaled + gumbel(logits[0].shape, noise).to(logits)).argmax(-1)
    return drawn, scaled.log_softmax(-1).gather(-1, drawn[..., None])[..., 0]


def gumbel(shape: torch.Size, noise: Sequence[torch.Generator]) -> Tensor:
    """Return Gumbel noise (n, ...), each picture's from its own generator."""
    uniform = torch.stack([torch.rand(shape, generator=g) for g in noise])
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
