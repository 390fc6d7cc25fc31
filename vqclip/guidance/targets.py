"""What views are compared with: a function of the step and of each view, of what it shows of the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vqclip.drawables.protocol import Moment
from vqclip.guidance.views import Views
from vqclip.prompts import Prompt


@dataclass(frozen=True)
class Target:
    """Embeddings (P, D) of prompts, how much each of N views is compared with each, (N, P), and their stops (P,).

    The weights of a view may be 0 for some prompts; a negative one pushes the view away.
    """

    embeddings: Tensor
    weights: Tensor
    stops: Tensor


class Targets(Protocol):
    """What the views of one CLIP are compared with, over time and space."""

    def at(self, moment: Moment, views: Sequence[Views]) -> Sequence[Sequence[Target]]:
        """Return what the views of B pictures, `views[b]` those of picture b, are compared with at a step.

        One entry says it of the views of all pictures, one after the other; else there is an entry for each picture.
        An entry is a sequence of targets whose losses add up.
        """


@dataclass(frozen=True)
class PromptTargets:
    """Prompts: embeddings (P, D), weights and stops (P,).

    `details` (P, D), if given, stand in for the embeddings where a view shows less than `below` short sides.
    """

    embeddings: Tensor
    weights: Tensor
    stops: Tensor
    details: Tensor | None = None
    below: float = 0.0

    @classmethod
    def of(
        cls, embeddings: Sequence[Tensor], prompts: Sequence[Prompt], details: Sequence[Tensor] = (), below: float = 0.0
    ) -> PromptTargets:
        """Return the targets of prompts with their embeddings (D,), and the embeddings (D,) of their details."""
        stacked = torch.stack(list(embeddings))
        weights, stops = (stacked.new_tensor([getattr(p, name) for p in prompts]) for name in ("weight", "stop"))
        return cls(stacked, weights, stops, torch.stack(list(details)) if details else None, below)

    def at(self, moment: Moment, views: Sequence[Views]) -> list[list[Target]]:
        """Return the same prompts for all pictures and steps."""
        del moment
        count = sum(len(each) for each in views)
        weights = self.weights.expand(count, -1)
        if self.details is None:
            return [[Target(self.embeddings, weights, self.stops)]]
        detail = torch.cat([each.side for each in views]).to(weights.device)[:, None] < self.below
        return [
            [
                Target(self.embeddings, weights * ~detail, self.stops),
                Target(self.details, weights * detail, self.stops),
            ]
        ]


@dataclass(frozen=True)
class SeededTargets:
    """Prompts that mean something else in every picture, by its seed."""

    of_seed: Callable[[int], PromptTargets]

    def at(self, moment: Moment, views: Sequence[Views]) -> list[list[Target]]:
        """Return the prompts of each picture's seed."""
        pairs = zip(moment.seeds, views, strict=True)
        return [self.of_seed(seed).at(moment, [each])[0] for seed, each in pairs]
