"""A prior conditioned on the prompts of a run: it fills grids, and says how likely it finds the codes of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vqclip import priors
from vqclip.config.resolved import Resolved, ResolvedPrior
from vqclip.errors import UsageError
from vqclip.generation.models import Models
from vqclip.generation.picturing import PICTURING, natural_grid
from vqclip.guidance.targets import PromptTargets
from vqclip.models.amused import Amused
from vqclip.models.dalle import DalleMini
from vqclip.models.gpt import GPTPrior
from vqclip.models.prior import AutoregressivePrior, FlowPrior, MaskedPrior
from vqclip.models.vqgan import VQGAN, Detokenizer
from vqclip.precision import autocast
from vqclip.prompts import Prompt


@dataclass(frozen=True)
class Proposer:
    """A prior with the conditions (P, ...) of a run's prompts, and their weights (P,).

    `conditions_of(height, width)` returns those of a grid, since coordinates depend on its size.
    `tokenizer` makes pictures of its codes if they are not those of the run's VQGAN.
    """

    prior: MaskedPrior | AutoregressivePrior | FlowPrior | GPTPrior | DalleMini | Amused
    conditions_of: Callable[[int, int], Tensor]
    weights: Tensor
    sampling: priors.Sampling
    precision: str
    tokenizer: Detokenizer | VQGAN | None = None

    @classmethod
    def of(
        cls, config: Resolved, models: Models, targets: Sequence[PromptTargets], texts: Sequence[Prompt]
    ) -> Proposer | None:
        """Return the proposer of a resolved run; None if it has no prior.

        Raises UsageError for conditions that the prior does not take.
        """
        prior, sampling = models.prior, _sampling(config.prior)
        if prior is None:
            return None
        if isinstance(prior, GPTPrior):
            index, weights = config.prior.class_index, torch.ones(1)
            if sampling.guidance != 1:
                raise UsageError(f"prior.guidance is {sampling.guidance:g}: this prior cannot be guided, give 1")
            prior.conditions(1, 1, index)
            return cls(prior, lambda h, w: prior.conditions(h, w, index), weights, sampling, config.run.precision)
        if config.prior.class_index >= 0:
            raise UsageError(f"--prior-class {config.prior.class_index}: this prior takes words, leave it out")
        if isinstance(prior, PICTURING):
            if not any(text.weight > 0 for text in texts):
                raise UsageError("this prior takes words: give a text prompt of a weight above 0")
            words = prior.conditions([text.text for text in texts])
            weights = torch.tensor([text.weight for text in texts], device=words.device)
            return cls(prior, lambda h, w: words, weights, sampling, config.run.precision, prior.detokenizer)
        wanted = targets[models.clip_index(prior)]
        return cls(prior, lambda h, w: wanted.embeddings, wanted.weights, sampling, config.run.precision)

    @torch.no_grad()
    def fill(self, grid: Tensor, seeds: Sequence[int], steps: int | None = None) -> Tensor:
        """Return codes (n, h, w), one grid for each seed; what is not MASKED in `grid`, (h, w) or (n, h, w), stays."""
        sampling = self.sampling if steps is None else replace(self.sampling, steps=min(steps, self.sampling.steps))
        conditions = self.conditions_of(*grid.shape[-2:])
        with autocast(grid.device.type, self.precision):
            return priors.sample(self.prior, conditions, self.weights, grid, seeds, sampling)

    @torch.no_grad()
    def likelihood(self, codes: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the log-probability (n, h, w) of each code given others; `seeds` decide which are hidden together."""
        conditions = self.conditions_of(*codes.shape[-2:])
        with autocast(codes.device.type, self.precision):
            return priors.likelihood(self.prior, codes, conditions, self.weights, seeds, self.sampling.guidance)

    def natural(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width, in codes, of the grid that the prior knows best: see `picturing.natural_grid`."""
        return natural_grid(self.prior, height, width)

    def judges(self, height: int, width: int) -> bool:
        """Whether it can say how likely such a grid is: of the codes of the run's VQGAN, of the size it knows."""
        fits = self.prior.kind != "causal" or max(height, width) <= self.prior.side
        return self.tokenizer is None and fits and self.natural(height, width) == (height, width)


def _sampling(c: ResolvedPrior) -> priors.Sampling:
    return priors.Sampling(c.steps, c.guidance, c.temperature, c.top_k, c.top_p, c.choice)
