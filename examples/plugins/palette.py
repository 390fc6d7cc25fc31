"""A loss: few colors.

vqclip "a boat" --plugin palette.py --set losses.palette=20

Each pixel is pulled towards the nearest color of a palette; other colors:
    --set "losses.palette={weight: 20, colors: ['#222222', '#eeeeee', '#cc3311']}"
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

import vqclip
from vqclip.guidance.losses.protocol import LossContext, LossInputs

DUSK = ["#1b1b3a", "#693668", "#a74482", "#f84aa7", "#ff9f6b", "#fff1d0"]


@vqclip.register.loss("palette")
class Palette:
    @dataclass(frozen=True)
    class Options:
        weight: float = 1.0
        colors: list[str] = field(default_factory=lambda: list(DUSK))

    def __init__(self, options: Options, context: LossContext) -> None:
        rows = [[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in options.colors]
        self.colors = torch.tensor(rows)

    def __call__(self, inputs: LossInputs) -> Tensor:
        colors = self.colors.to(inputs.image)
        distance = (inputs.image[:, None] - colors[None, :, :, None, None]).square().sum(2)
        return distance.min(1).values.mean((1, 2))
