"""Parallel decoding as aMUSEd is drawn from: chance in which codes stay fades from the first step to the last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqclip import seeding
from vqclip.priors.drawing import gumbel, sample_codes
from vqclip.types import MASKED

if TYPE_CHECKING:
    from vqclip.priors.sampling import Sampling

_LEAST = math.log(1e-20)  # log-probabilities below count alike


def decode(logits_of: Callable[[Tensor], Tensor], grid: Tensor, seeds: Sequence[int], sampling: Sampling) -> Tensor:
    """Return codes (n, h, w), those of the grid that are MASKED drawn in parallel, the surest first.

    After each step but the last the cosine of its share of the way tells how many are masked again: at least one, and
    fewer than before. `sampling.choice` is the chance in the first step, and 0 in the last.
    """
    codes = grid.expand(len(seeds), -1, -1).clone()
    total = (codes == MASKED).flatten(1).sum(1)
    chances = torch.linspace(sampling.choice, 0, sampling.steps).tolist()
    for step, chance in enumerate(chances):
        masked = codes == MASKED
        noise = [seeding.generator(seed, "prior", step) for seed in seeds]
        drawn, sure = sample_codes(logits_of(codes), noise, sampling)
        codes = torch.where(masked, drawn, codes)
        if step + 1 == sampling.steps:
            break
        # in float32, as there: 256 * cos(pi / 3) is below 128
        share = torch.cos(torch.tensor((step + 1) / sampling.steps) * math.pi / 2).to(codes.device)
        wanted = (total * share).floor().long()
        left = torch.minimum(wanted, masked.flatten(1).sum(1) - 1).clamp(min=1)
        sure = sure.clamp(min=_LEAST) + chance * gumbel(sure[0].shape, noise).to(sure)
        order = sure.masked_fill(~masked, math.inf).flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
        codes = codes.masked_fill((order < left[:, None]).view_as(codes), MASKED)
    return codes
