"""Moving averages of weights that hold from the first step on."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

_RATE = 5e-3  # share of the way to the current weights that a step goes, at least
_Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


def averaged(network: nn.Module) -> AveragedModel:
    """Return a copy of a network that follows its weights, a two hundredth of the way a step, faster at first."""
    return AveragedModel(network, multi_avg_fn=_follow)


@torch.no_grad()
def _follow(average: _Tensors, current: _Tensors, count: Tensor | int) -> None:
    torch._foreach_lerp_(average, current, max(_RATE, 9 / (10 + int(count))))
