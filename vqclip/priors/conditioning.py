"""Upsamplers that know the prompts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vqclip.config.schema import UpsamplingConfig
from vqclip.priors.sampling import Sampling, upsample
from vqclip.types import CodeUpsampler


@dataclass(frozen=True)
class ConditionedUpsampler:
    """An upsampler with the prompts of a run: conditions (P, D), and their weights (P,)."""

    network: CodeUpsampler
    conditions: Tensor
    weights: Tensor
    sampling: Sampling

    @classmethod
    def of(
        cls, network: CodeUpsampler, conditions: Tensor, weights: Tensor, config: UpsamplingConfig
    ) -> ConditionedUpsampler:
        """Return an upsampler with the embeddings (P, D) and weights (P,) of prompts."""
        sampling = Sampling(config.steps, config.guidance, config.temperature, choice=config.choice)
        return cls(network, conditions, weights, sampling)

    def double(self, codes: Tensor, known: Tensor | None, seeds: Sequence[int]) -> Tensor:
        """Return codes (n, 2h, 2w) of codes (n, h, w); what `known` (1, 2h, 2w) holds, MASKED elsewhere, stays."""
        return upsample(self.network, codes, self.conditions, self.weights, known, seeds, self.sampling)
