"""The distance between views and prompts: Crowson et al. 2022's squared great-circle distance, and a contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vqclip.guidance.losses.protocol import VIEWS, LossContext, Rivals, ViewInputs, total
from vqclip.guidance.targets import Target

_ALMOST_ONE = 1 - 1e-6


def great_circle(a: Tensor, b: Tensor) -> Tensor:
    """Half the squared angle between unit vectors a (N, D) and b (P, D), as (N, P): 2 asin(|a - b| / 2)^2."""
    return torch.acos((a @ b.t()).clamp(-_ALMOST_ONE, _ALMOST_ONE)).square() / 2


def prompt_loss(embeddings: Tensor, target: Target) -> Tensor:
    """Return the loss (N,) of view embeddings (N, D): the weighted distances to all prompts, summed.

    A negative weight turns the distance round. Where the signed distance is below the prompt's stop the value stands
    but its gradient is cut, view by view.
    """
    signed = great_circle(embeddings, target.embeddings) * target.weights.sign()
    gated = torch.where(signed > target.stops, signed, signed.detach())
    return (target.weights.abs() * gated).sum(1)


class PromptLoss:
    """How far each view is from what it is to show."""

    needs: ClassVar[frozenset[str]] = frozenset({VIEWS})

    @dataclass(frozen=True)
    class Options:
        """`weight` scales the loss."""

        weight: float = 1.0

    def __init__(self, options: Options, context: LossContext) -> None:
        del options, context

    def __call__(self, inputs: ViewInputs) -> Tensor:
        """Return the loss of each view, (b * n,)."""
        parts = zip(inputs.embeddings.chunk(len(inputs.targets)), inputs.targets, strict=True)
        return torch.cat([total([prompt_loss(part, target) for target in targets]) for part, targets in parts])


def contrast_loss(embeddings: Tensor, rivals: Sequence[Rivals], scale: float) -> Tensor:
    """Return (N,): the cross entropy of each view naming its prompts among their rivals (InfoNCE, van den Oord 2018).

    `scale` multiplies the cosines, as CLIP's learned temperature does.
    """
    loss = embeddings.new_zeros(len(embeddings))
    for rival in rivals:
        logits = scale * embeddings @ torch.cat([rival.prompt[None], rival.others]).t()
        loss = loss + rival.weight * (logits.logsumexp(1) - logits[:, 0])
    return loss


class ContrastLoss:
    """How easily views are taken for what the prompts do not say; of prompts from outside the picture world 0."""

    needs: ClassVar[frozenset[str]] = frozenset({VIEWS})

    @dataclass(frozen=True)
    class Options:
        """`weight` scales the loss; `scale` multiplies the cosines of the contrast."""

        weight: float = 0.0
        scale: float = 30.0

    def __init__(self, options: Options, context: LossContext) -> None:
        self.scale, self.rivals = options.scale, context.rivals
        views = context.config.views
        # where details are compared with texts of their own, rivals are rivals of the whole
        self.below = views.detail_below if views.detail_prompt else 0.0

    def __call__(self, inputs: ViewInputs) -> Tensor:
        """Return the contrast of each view, (b * n,)."""
        contrast = contrast_loss(inputs.embeddings, self.rivals[inputs.perceptor], self.scale)
        if not self.below:
            return contrast
        side = torch.cat([each.side for each in inputs.views]).to(contrast.device)
        return contrast * (side >= self.below)
