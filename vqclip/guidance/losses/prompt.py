"""The distance between views and prompts: Crowson et al. 2022's squared great-circle distance, and a contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_ALMOST_ONE = 1 - 1e-6


@dataclass(frozen=True)
class Rivals:
    """What a prompt must beat: its embedding (D,), those of its rivals (R, D), and the prompt's weight."""

    own: Tensor
    others: Tensor
    weight: float


@dataclass(frozen=True)
class Targets:
    """Embeddings (P, D) of P prompts with their weights and stops, each (P,), and the rivals of some of them.

    `details` (P, D), if given, stand in for the embeddings where a view shows only a detail of the picture.
    """

    embeddings: Tensor
    weights: Tensor
    stops: Tensor
    rivals: Sequence[Rivals] = ()
    details: Tensor | None = None


def great_circle(a: Tensor, b: Tensor) -> Tensor:
    """Half the squared angle between unit vectors a (N, D) and b (P, D), as (N, P): 2 asin(|a - b| / 2)^2."""
    return torch.acos((a @ b.t()).clamp(-_ALMOST_ONE, _ALMOST_ONE)).square() / 2


def prompt_loss(views: Tensor, targets: Targets, detail: Tensor | None = None) -> Tensor:
    """Return the loss (N,) of view embeddings (N, D): the weighted distances to all prompts, summed.

    `detail` (N,) marks the views to compare with `targets.details`. A negative weight turns the distance round. Where
    the signed distance is below the prompt's stop the value stands but its gradient is cut, view by view.
    """
    distance = great_circle(views, targets.embeddings)
    if detail is not None and targets.details is not None:
        distance = torch.where(detail[:, None], great_circle(views, targets.details), distance)
    signed = distance * targets.weights.sign()
    gated = torch.where(signed > targets.stops, signed, signed.detach())
    return (targets.weights.abs() * gated).sum(1)


def contrast_loss(views: Tensor, rivals: Sequence[Rivals], scale: float) -> Tensor:
    """Return (N,): the cross entropy of each view naming its prompts among their rivals (InfoNCE, van den Oord 2018).

    `scale` multiplies the cosines, as CLIP's learned temperature does.
    """
    total = views.new_zeros(len(views))
    for rival in rivals:
        logits = scale * views @ torch.cat([rival.own[None], rival.others]).t()
        total = total + rival.weight * (logits.logsumexp(1) - logits[:, 0])
    return total
