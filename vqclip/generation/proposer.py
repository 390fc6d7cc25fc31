"""A prior that was told the prompts of a run: it fills grids, and says how likely it finds the codes of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vqclip import priors
from vqclip.config import Config
from vqclip.generation.models import Models
from vqclip.guidance import Guidance, autocast
from vqclip.models.prior import AutoregressivePrior, MaskedPrior


@dataclass(frozen=True)
class Proposer:
    """A prior with its conditions, `told` (P, D) with `weights` (P,), how it draws, and a resolved precision."""

    prior: MaskedPrior | AutoregressivePrior
    told: Tensor
    weights: Tensor
    how: priors.Sampling
    precision: str

    @classmethod
    def of(cls, config: Config, models: Models, guidance: Guidance) -> Proposer | None:
        """Return the proposer of a run; None if it has no prior."""
        if models.prior is None:
            return None
        c = config.prior
        _, targets = guidance.pairs[models.teller]
        how = priors.Sampling(c.steps, c.guidance, c.temperature, c.top_k, c.choice)
        return cls(models.prior, targets.embeddings, targets.weights, how, config.run.precision)

    @torch.no_grad()
    def fill(self, grid: Tensor, seeds: Sequence[int], steps: int | None = None) -> Tensor:
        """Return codes (n, h, w), one grid for each seed; what is not MASKED in `grid`, (h, w) or (n, h, w), stays."""
        how = self.how if steps is None else replace(self.how, steps=min(steps, self.how.steps))
        with autocast(grid.device.type, self.precision):
            return priors.sample(self.prior, self.told, self.weights, grid, seeds, how)

    @torch.no_grad()
    def likelihood(self, codes: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the log-probability (n, h, w) of each code given others; `seeds` decide which are hidden together."""
        with autocast(codes.device.type, self.precision):
            return priors.likelihood(self.prior, codes, self.told, self.weights, seeds, self.how.guidance)

    def natural(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width, in codes, of the grid of the same proportions that the prior knows best."""
        architecture = self.prior.architecture
        scale = architecture.side / min(height, width) / architecture.patch
        sides = (architecture.patch * max(round(side * scale), 1) for side in (height, width))
        return tuple(sides)
